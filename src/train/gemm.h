/* Products of float matrices, for the heads. Rows start lda, ldb, ldc floats apart; any alignment.
   Each element of the result is summed in an order that depends on the sizes alone, so results are
   the same however the work is split over threads. */
#ifndef GR_TRAIN_GEMM_H
#define GR_TRAIN_GEMM_H

#include <stddef.h>

/* Rows are best padded to this many floats. */
#define GR_GEMM_PAD 16
static inline size_t gr_gemm_pad(size_t d)
{
    return (d + GR_GEMM_PAD - 1) / GR_GEMM_PAD * GR_GEMM_PAD;
}

/* How many rows of k floats stay in the second-level cache. */
size_t gr_gemm_block_rows(size_t k);

/* On the calling thread: c (m,n) = a (m,k) times the transpose of b (n,k). */
void gr_gemm_nt_1(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                  size_t ldb, float *c, size_t ldc);
/* On the calling thread: c (m,n) += the transpose of a (k,m) times b (k,n). */
void gr_gemm_tn_add_1(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                      size_t ldb, float *c, size_t ldc);
/* For many rows of b, which many blocks of a are multiplied by: b is laid out once in panels, its
   rows side by side. Each row of c needs room for n rounded up to GR_GEMM_PAD; what goes there
   beyond n is 0. */
enum { GR_GEMM_PANEL = 64, GR_GEMM_MANY = 32 };
static inline size_t gr_gemm_packed_rows(size_t n)
{
    return (n + GR_GEMM_PANEL - 1) / GR_GEMM_PANEL * GR_GEMM_PANEL;
}
/* Where element (row, p) of b lies among gr_gemm_packed_rows(n) * k floats; the rest must be 0. */
static inline size_t gr_gemm_packed_at(size_t row, size_t p, size_t k)
{
    return (row / GR_GEMM_PANEL * k + p) * GR_GEMM_PANEL + row % GR_GEMM_PANEL;
}
/* Rows of a that are best multiplied at a time. */
enum { GR_GEMM_PACKED_BLOCK = 126 };
void gr_gemm_nt_packed_1(size_t m, size_t n, size_t k, const float *a, size_t lda,
                         const float *packed, float *c, size_t ldc);
/* The same for one instruction set, which the processor must have: tests compare them. */
enum gr_gemm_isa { GR_GEMM_BASE, GR_GEMM_AVX2, GR_GEMM_AVX512 };
enum gr_gemm_isa gr_gemm_best_isa(void);
void gr_gemm_nt_isa(enum gr_gemm_isa isa, size_t m, size_t n, size_t k, const float *a, size_t lda,
                    const float *b, size_t ldb, float *c, size_t ldc);
void gr_gemm_tn_add_isa(enum gr_gemm_isa isa, size_t m, size_t n, size_t k, const float *a,
                        size_t lda, const float *b, size_t ldb, float *c, size_t ldc);
void gr_gemm_nt_packed_isa(enum gr_gemm_isa isa, size_t m, size_t n, size_t k, const float *a,
                           size_t lda, const float *packed, float *c, size_t ldc);
/* The same with all OpenMP threads. */
void gr_gemm_nt(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                size_t ldb, float *c, size_t ldc);
void gr_gemm_tn_add(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc);

#endif
