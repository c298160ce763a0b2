/* Sums of products for a few rows and 32 columns, all in registers. Needs AVX-512. */
#ifndef GR_CPU_PANEL_SUMS_H
#define GR_CPU_PANEL_SUMS_H

#include "cpu/zmm.h"
#include <string.h>

/* PANEL_AHEAD: bytes of w that are asked for before they are needed; they may lie far away. */
enum { PANEL_ROWS = 12, PANEL_AHEAD = 8192 };
#define PANEL_UNROLL _Pragma("GCC unroll 12")

/* How many of the rows that are left the next group has: groups are as equal as can be. */
static inline int64_t panel_group(int64_t left)
{
    const int64_t groups = (left + PANEL_ROWS - 1) / PANEL_ROWS;
    return (left + groups - 1) / groups;
}

/* DO(n) with n as a constant. */
#define PANEL_CASE(n, DO)                                                                          \
    case n:                                                                                        \
        DO(n);                                                                                     \
        break
#define PANEL_SWITCH(n, DO)                                                                        \
    switch (n) {                                                                                   \
        PANEL_CASE(1, DO);                                                                         \
        PANEL_CASE(2, DO);                                                                         \
        PANEL_CASE(3, DO);                                                                         \
        PANEL_CASE(4, DO);                                                                         \
        PANEL_CASE(5, DO);                                                                         \
        PANEL_CASE(6, DO);                                                                         \
        PANEL_CASE(7, DO);                                                                         \
        PANEL_CASE(8, DO);                                                                         \
        PANEL_CASE(9, DO);                                                                         \
        PANEL_CASE(10, DO);                                                                        \
        PANEL_CASE(11, DO);                                                                        \
        PANEL_CASE(12, DO);                                                                        \
    }

/* For two lines of what is read in turn. */
static inline void panel_ask(const void *now)
{
    __builtin_prefetch((const char *)now + PANEL_AHEAD);
    __builtin_prefetch((const char *)now + PANEL_AHEAD + 64);
}

/* acc += `rows` rows of x, x_step numbers apart, times w (k, 32). Constant: rows, at most 12, and
   whether more than the first 16 columns are wanted. */
static inline __attribute__((always_inline, target("avx512f"))) void
panel_sums(const int rows, const bool wide, int64_t k, const float *x, int64_t x_step,
           const float *w, __m512 acc[PANEL_ROWS][2])
{
    for (int64_t i = 0; i < k; i++) {
        const __m512 a = _mm512_loadu_ps(w + i * 32), b = _mm512_loadu_ps(w + i * 32 + 16);
        panel_ask(w + i * 32);
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
ZMM_INLINE void panel_add_pair(const int rows, const bool wide, const bool half, const char *x,
                               int64_t x_step, const char *w, __m512 acc[PANEL_ROWS][2])
{
    const __m512bh a = (__m512bh)_mm512_loadu_ps(w), b = (__m512bh)_mm512_loadu_ps(w + 64);
    panel_ask(w);
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
ZMM_INLINE void panel_sums_bf16(const int rows, const bool wide, int64_t k, const char *x,
                                int64_t x_step, const char *w, __m512 acc[PANEL_ROWS][2])
{
    int64_t i = 0;
    for (; i + 2 <= k; i += 2)
        panel_add_pair(rows, wide, false, x + i * 2, x_step, w + i * 64, acc);
    if (i < k)
        panel_add_pair(rows, wide, true, x + i * 2, x_step, w + i * 64, acc);
}

/* The same in 8 bits, with w (k / 4, 32, 4), always all 32 columns. x is unsigned once it is
   flipped. */
ZMM_INLINE void panel_sums_int8(const int rows, int64_t k, const char *x, int64_t x_step,
                                const char *w, uint32_t flip, __m512i acc[PANEL_ROWS][2])
{
    const __m512i f = _mm512_set1_epi32((int)flip);
    for (int64_t i = 0; i < k; i += 4, w += 128) {
        const __m512i a = _mm512_loadu_si512(w), b = _mm512_loadu_si512(w + 64);
        panel_ask(w);
        PANEL_UNROLL for (int r = 0; r < rows; r++)
        {
            int32_t four;
            memcpy(&four, x + r * x_step + i, sizeof four);
            const __m512i v = _mm512_xor_si512(_mm512_set1_epi32(four), f);
            acc[r][0] = zmm_dot_fours(acc[r][0], v, a);
            acc[r][1] = zmm_dot_fours(acc[r][1], v, b);
        }
    }
}

#endif
