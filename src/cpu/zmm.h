/* 16 numbers at once, which lie in memory in fp32 or bf16. Needs AVX-512, and for storing bf16 its
   instructions for that. */
#ifndef GR_CPU_ZMM_H
#define GR_CPU_ZMM_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

enum { ZMM_LANES = 16 };
#define ZMM_TARGET __attribute__((target("avx512f,avx512bw,avx512bf16")))
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

#endif
