/* Sums of products for a few rows and 32 columns, all in registers. Needs AVX-512. */
#ifndef GR_CPU_PANEL_SUMS_H
#define GR_CPU_PANEL_SUMS_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { PANEL_ROWS = 12 };
#define PANEL_UNROLL _Pragma("GCC unroll 12")

/* acc += `rows` rows of x, x_step numbers apart, times w (k, 32). Constant: rows, at most 12, and
   whether more than the first 16 columns are wanted. */
static inline __attribute__((always_inline, target("avx512f"))) void
panel_sums(const int rows, const bool wide, int64_t k, const float *x, int64_t x_step,
           const float *w, __m512 acc[PANEL_ROWS][2])
{
    for (int64_t i = 0; i < k; i++) {
        const __m512 a = _mm512_loadu_ps(w + i * 32), b = _mm512_loadu_ps(w + i * 32 + 16);
        PANEL_UNROLL for (int r = 0; r < rows; r++)
        {
            const __m512 v = _mm512_set1_ps(x[r * x_step + i]);
            acc[r][0] = _mm512_fmadd_ps(v, a, acc[r][0]);
            if (wide)
                acc[r][1] = _mm512_fmadd_ps(v, b, acc[r][1]);
        }
    }
}

/* Of one pair of rows of w (32, 2), or of the first of them. */
static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512bf16"))) void
panel_add_pair(const int rows, const bool wide, const bool half, const char *x, int64_t x_step,
               const char *w, __m512 acc[PANEL_ROWS][2])
{
    const __m512bh a = (__m512bh)_mm512_loadu_ps(w), b = (__m512bh)_mm512_loadu_ps(w + 64);
    PANEL_UNROLL for (int r = 0; r < rows; r++)
    {
        int32_t pair;
        int16_t one;
        __m512i v;
        if (half) {
            memcpy(&one, x + r * x_step, sizeof one);
            v = _mm512_maskz_set1_epi16(0x55555555, one);
        } else {
            memcpy(&pair, x + r * x_step, sizeof pair);
            v = _mm512_set1_epi32(pair);
        }
        acc[r][0] = _mm512_dpbf16_ps(acc[r][0], a, (__m512bh)v);
        if (wide)
            acc[r][1] = _mm512_dpbf16_ps(acc[r][1], b, (__m512bh)v);
    }
}

/* The same in bf16, with w (k / 2 rounded up, 32, 2); x_step counts bytes. Where k is odd, what
   follows a row of x is not read: it might be infinite, and 0 times that is not 0. */
static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512bf16"))) void
panel_sums_bf16(const int rows, const bool wide, int64_t k, const char *x, int64_t x_step,
                const char *w, __m512 acc[PANEL_ROWS][2])
{
    int64_t i = 0;
    for (; i + 2 <= k; i += 2)
        panel_add_pair(rows, wide, false, x + i * 2, x_step, w + i * 64, acc);
    if (i < k)
        panel_add_pair(rows, wide, true, x + i * 2, x_step, w + i * 64, acc);
}

#endif
