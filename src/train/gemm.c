/* How are the heads' float matrices multiplied? */
#include "train/gemm.h"
#include <omp.h>
#include <stdbool.h>
#include <string.h>

size_t gr_gemm_block_rows(size_t k)
{
    size_t rows = 256 * 1024 / (4 * (k ? k : 1));
    return rows < 32 ? 32 : rows > 256 ? 256 : rows;
}

#define ISA(name) base_##name
#define TARGET
#define LANES  4
#define TILE_M 4
#define TILE_N 2
#include "train/gemm_tile.h"

#ifdef __x86_64__
#define ISA(name) avx2_##name
#define TARGET    __attribute__((target("avx2,fma")))
#define LANES     8
#define TILE_M    4
#define TILE_N    2
#include "train/gemm_tile.h"

#define ISA(name) avx512_##name
#define TARGET    __attribute__((target("avx512f")))
#define LANES     16
#define TILE_M    4
#define TILE_N    4
#include "train/gemm_tile.h"
#endif

enum gr_gemm_isa gr_gemm_best_isa(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return GR_GEMM_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return GR_GEMM_AVX2;
#endif
    return GR_GEMM_BASE;
}

void gr_gemm_nt_isa(enum gr_gemm_isa isa, size_t m, size_t n, size_t k, const float *a, size_t lda,
                    const float *b, size_t ldb, float *c, size_t ldc)
{
    switch (isa) {
#ifdef __x86_64__
    case GR_GEMM_AVX512:
        avx512_nt(m, n, k, a, lda, b, ldb, c, ldc);
        return;
    case GR_GEMM_AVX2:
        avx2_nt(m, n, k, a, lda, b, ldb, c, ldc);
        return;
#endif
    default:
        base_nt(m, n, k, a, lda, b, ldb, c, ldc);
    }
}

void gr_gemm_tn_add_isa(enum gr_gemm_isa isa, size_t m, size_t n, size_t k, const float *a,
                        size_t lda, const float *b, size_t ldb, float *c, size_t ldc)
{
    const bool many = m >= GR_GEMM_MANY;
    switch (isa) {
#ifdef __x86_64__
    case GR_GEMM_AVX512:
        (many ? avx512_tn_many : avx512_tn)(m, n, k, a, lda, b, ldb, c, ldc);
        return;
    case GR_GEMM_AVX2:
        (many ? avx2_tn_many : avx2_tn)(m, n, k, a, lda, b, ldb, c, ldc);
        return;
#endif
    default:
        (many ? base_tn_many : base_tn)(m, n, k, a, lda, b, ldb, c, ldc);
    }
}

void gr_gemm_nt_packed_isa(enum gr_gemm_isa isa, size_t m, size_t n, size_t k, const float *a,
                           size_t lda, const float *packed, float *c, size_t ldc)
{
    switch (isa) {
#ifdef __x86_64__
    case GR_GEMM_AVX512:
        avx512_nt_packed(m, n, k, a, lda, packed, c, ldc);
        return;
    case GR_GEMM_AVX2:
        avx2_nt_packed(m, n, k, a, lda, packed, c, ldc);
        return;
#endif
    default:
        base_nt_packed(m, n, k, a, lda, packed, c, ldc);
    }
}

void gr_gemm_nt_packed_1(size_t m, size_t n, size_t k, const float *a, size_t lda,
                         const float *packed, float *c, size_t ldc)
{
    gr_gemm_nt_packed_isa(gr_gemm_best_isa(), m, n, k, a, lda, packed, c, ldc);
}

void gr_gemm_nt_1(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                  size_t ldb, float *c, size_t ldc)
{
    gr_gemm_nt_isa(gr_gemm_best_isa(), m, n, k, a, lda, b, ldb, c, ldc);
}

void gr_gemm_tn_add_1(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                      size_t ldb, float *c, size_t ldc)
{
    gr_gemm_tn_add_isa(gr_gemm_best_isa(), m, n, k, a, lda, b, ldb, c, ldc);
}

/* Below this many multiply-adds, waking the other threads costs more than they save. */
#define PARALLEL_WORK 200000.0

void gr_gemm_nt(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                size_t ldb, float *c, size_t ldc)
{
    size_t rows = gr_gemm_block_rows(k), n_blocks = (m + rows - 1) / rows;
    if (n_blocks < 8) { /* few rows: smaller blocks, so that every thread has one */
        rows = (m + 7) / 8 > 16 ? (m + 7) / 8 : 16;
        n_blocks = (m + rows - 1) / rows;
    }
#pragma omp parallel for schedule(dynamic, 1) if ((double)m * (double)n * (double)k > PARALLEL_WORK)
    for (size_t t = 0; t < n_blocks; t++) {
        size_t i = t * rows, mb = m - i < rows ? m - i : rows;
        gr_gemm_nt_1(mb, n, k, a + i * lda, lda, b, ldb, c + i * ldc, ldc);
    }
}

void gr_gemm_tn_add(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc)
{
    const size_t rows = 16;
    size_t n_blocks = (m + rows - 1) / rows;
#pragma omp parallel for schedule(dynamic, 1) if ((double)m * (double)n * (double)k > PARALLEL_WORK)
    for (size_t t = 0; t < n_blocks; t++) {
        size_t i = t * rows, mb = m - i < rows ? m - i : rows;
        gr_gemm_tn_add_1(mb, n, k, a + i, lda, b, ldb, c + i * ldc, ldc);
    }
}
