/* 16 numbers at once, which lie in memory in fp32 or bf16. Needs AVX-512, and for storing bf16 its
   instructions for that. */
#ifndef GR_CPU_ZMM_H
#define GR_CPU_ZMM_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

enum { ZMM_LANES = 16 };
#define ZMM_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define ZMM_INLINE static inline __attribute__((always_inline)) ZMM_TARGET

ZMM_INLINE __m512 zmm_load(const bool bf16, const void *p, int64_t i)
{
    if (!bf16)
        return _mm512_loadu_ps((const float *)p + i);
    const __m256i h = _mm256_loadu_si256((const void *)((const uint16_t *)p + i));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

ZMM_INLINE void zmm_store(const bool bf16, void *p, int64_t i, __m512 v)
{
    if (bf16)
        _mm256_storeu_si256((void *)((uint16_t *)p + i), (__m256i)_mm512_cvtneps_pbh(v));
    else
        _mm512_storeu_ps((float *)p + i, v);
}

/* 32 numbers, rounded to bytes, in whose range they are; those in the mask are stored. A mask of so
   many parts costs more than a branch. */
ZMM_INLINE void zmm_store_bytes(void *p, __mmask32 m, const __m512 x[2])
{
    const __m128i low = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x[0])),
                  high = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x[1]));
    const __m256i v = _mm256_set_m128i(high, low);
    if (m == ~(__mmask32)0)
        _mm256_storeu_si256((__m256i *)p, v);
    else
        _mm256_mask_storeu_epi8(p, m, v);
}

/* Fours of products of u, unsigned, with s, signed 8-bit integers, added to 32-bit sums. GCC 12
   copies registers back and forth around the intrinsic. */
ZMM_INLINE __m512i zmm_dot_fours(__m512i sums, __m512i u, __m512i s)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(u), "v"(s));
    return sums;
}

/* Number j of register i becomes number i of register j. */
ZMM_INLINE void zmm_transpose(__m512 v[ZMM_LANES])
{
    __m512 t[ZMM_LANES];
#pragma GCC unroll 8
    for (int i = 0; i < ZMM_LANES; i += 2) {
        t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < ZMM_LANES; i += 4) {
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            const __m512d a = _mm512_castps_pd(t[i + k]), b = _mm512_castps_pd(t[i + k + 2]);
            v[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            v[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m512 a = _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88),
                     b = _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd),
                     c = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0x88),
                     d = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0xdd);
        v[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        v[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        v[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

#endif
