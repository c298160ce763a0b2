/* Products of float matrices, for the heads. Rows start lda, ldb, ldc floats apart; any alignment.
   Each element of the result is summed in an order that depends on k alone, so results are the same
   however the work is split over threads. */
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
/* The same for one instruction set, which the processor must have: tests compare them. */
enum gr_gemm_isa { GR_GEMM_BASE, GR_GEMM_AVX2, GR_GEMM_AVX512 };
enum gr_gemm_isa gr_gemm_best_isa(void);
void gr_gemm_nt_isa(enum gr_gemm_isa isa, size_t m, size_t n, size_t k, const float *a, size_t lda,
                    const float *b, size_t ldb, float *c, size_t ldc);
void gr_gemm_tn_add_isa(enum gr_gemm_isa isa, size_t m, size_t n, size_t k, const float *a,
                        size_t lda, const float *b, size_t ldb, float *c, size_t ldc);
/* The same with all OpenMP threads. */
void gr_gemm_nt(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                size_t ldb, float *c, size_t ldc);
void gr_gemm_tn_add(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                    size_t ldb, float *c, size_t ldc);

#endif
