/* The transforms of Winograd's F(m x m, 3x3), m being 2 or 4, as Lavin and Gray describe it: m + 2
   points stand for as many values, for m results, or for three weights. Each works in place on one
   line of up to six registers. Needs AVX-512. */
#ifndef GR_CPU_WINOGRAD_H
#define GR_CPU_WINOGRAD_H

#include <immintrin.h>

enum { WINO_SIDE = 6, WINO_POINTS = WINO_SIDE * WINO_SIDE }; /* at most */

#define WINO_TARGET target("avx512f")
#define WINO_INLINE static inline __attribute__((always_inline, WINO_TARGET))
#define WINO_UNROLL _Pragma("GCC unroll 36")

#define ADD(a, b)     _mm512_add_ps(a, b)
#define SUB(a, b)     _mm512_sub_ps(a, b)
#define MUL(k, a)     _mm512_mul_ps(_mm512_set1_ps(k), a)
#define MADD(k, a, b) _mm512_fmadd_ps(_mm512_set1_ps(k), a, b)

/* The transpose of B times m + 2 values gives points. */
WINO_INLINE void wino_values(const int m, __m512 v[WINO_SIDE])
{
    if (m == 2) {
        const __m512 first = SUB(v[0], v[2]), last = SUB(v[1], v[3]), sum = ADD(v[1], v[2]);
        v[2] = SUB(v[2], v[1]);
        v[0] = first;
        v[1] = sum;
        v[3] = last;
        return;
    }
    const __m512 a = MADD(-4, v[2], v[4]), b = MADD(-4, v[1], v[3]);
    const __m512 c = SUB(v[4], v[2]), d = SUB(v[3], v[1]);
    const __m512 first = MADD(4, v[0], MADD(-5, v[2], v[4])),
                 last = MADD(4, v[1], MADD(-5, v[3], v[5]));
    v[0] = first;
    v[1] = ADD(a, b);
    v[2] = SUB(a, b);
    v[3] = MADD(2, d, c);
    v[4] = MADD(-2, d, c);
    v[5] = last;
}

/* The transpose of A times the points gives m results. */
WINO_INLINE void wino_results(const int m, __m512 v[WINO_SIDE])
{
    if (m == 2) {
        v[0] = ADD(v[0], ADD(v[1], v[2]));
        v[1] = SUB(SUB(v[1], v[2]), v[3]);
        return;
    }
    const __m512 a = ADD(v[1], v[2]), b = SUB(v[1], v[2]), c = ADD(v[3], v[4]), d = SUB(v[3], v[4]);
    v[0] = ADD(ADD(v[0], a), c);
    v[1] = MADD(2, d, b);
    v[2] = MADD(4, c, a);
    v[3] = ADD(MADD(8, d, b), v[5]);
}

/* A times the gradients of m results gives points. */
WINO_INLINE void wino_gradients(const int m, __m512 v[WINO_SIDE])
{
    if (m == 2) {
        const __m512 sum = ADD(v[0], v[1]);
        v[2] = SUB(v[0], v[1]);
        v[3] = SUB(_mm512_setzero_ps(), v[1]);
        v[1] = sum;
        return;
    }
    const __m512 a = ADD(v[0], v[2]), b = ADD(v[1], v[3]);
    const __m512 c = MADD(4, v[2], v[0]), d = MADD(8, v[3], ADD(v[1], v[1]));
    v[5] = v[3];
    v[1] = ADD(a, b);
    v[2] = SUB(a, b);
    v[3] = ADD(c, d);
    v[4] = SUB(c, d);
}

/* G times three weights gives points. */
WINO_INLINE void wino_weights(const int m, __m512 v[WINO_SIDE])
{
    const __m512 a = v[0], b = v[1], c = v[2];
    if (m == 2) {
        const __m512 ends = MUL(0.5f, ADD(a, c));
        v[1] = MADD(0.5f, b, ends);
        v[2] = MADD(-0.5f, b, ends);
        v[3] = c;
        return;
    }
    const __m512 sum = MUL(-1.f / 6, ADD(a, c)), ends = MADD(1.f / 24, a, MUL(1.f / 6, c));
    v[0] = MUL(1.f / 4, a);
    v[1] = MADD(-1.f / 6, b, sum);
    v[2] = MADD(1.f / 6, b, sum);
    v[3] = MADD(1.f / 12, b, ends);
    v[4] = MADD(-1.f / 12, b, ends);
    v[5] = c;
}

/* The transpose of G times the points gives the gradients of three weights. */
WINO_INLINE void wino_taps(const int m, __m512 v[WINO_SIDE])
{
    const __m512 a = ADD(v[1], v[2]), b = SUB(v[2], v[1]);
    if (m == 2) {
        v[0] = MADD(0.5f, a, v[0]);
        v[1] = MUL(-0.5f, b);
        v[2] = MADD(0.5f, a, v[3]);
        return;
    }
    const __m512 c = ADD(v[3], v[4]), d = SUB(v[3], v[4]);
    v[0] = MADD(1.f / 24, c, MADD(-1.f / 6, a, MUL(1.f / 4, v[0])));
    v[1] = MADD(1.f / 12, d, MUL(1.f / 6, b));
    v[2] = MADD(1.f / 6, SUB(c, a), v[5]);
}

#endif
