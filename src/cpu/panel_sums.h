/* Sums of products for a few rows and 32 columns, all in registers. Needs AVX-512. */
#ifndef GR_CPU_PANEL_SUMS_H
#define GR_CPU_PANEL_SUMS_H

#include <immintrin.h>
#include <stdint.h>

enum { PANEL_ROWS = 12 };
#define PANEL_UNROLL _Pragma("GCC unroll 12")

/* acc += `rows` (a constant, at most 12) rows of x, x_step numbers apart, times w (k, 32). */
static inline __attribute__((always_inline, target("avx512f"))) void
panel_sums(const int rows, int64_t k, const float *x, int64_t x_step, const float *w,
           __m512 acc[PANEL_ROWS][2])
{
    for (int64_t i = 0; i < k; i++) {
        const __m512 a = _mm512_loadu_ps(w + i * 32), b = _mm512_loadu_ps(w + i * 32 + 16);
        PANEL_UNROLL for (int r = 0; r < rows; r++)
        {
            const __m512 v = _mm512_set1_ps(x[r * x_step + i]);
            acc[r][0] = _mm512_fmadd_ps(v, a, acc[r][0]);
            acc[r][1] = _mm512_fmadd_ps(v, b, acc[r][1]);
        }
    }
}

#endif
