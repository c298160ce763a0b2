/* What the training kernels share: numbers of two types. */
#ifndef GR_CPU_TRAIN_UTIL_H
#define GR_CPU_TRAIN_UTIL_H

#include "core/kernel.h"
#include "base/clones.h"

#define TRAIN_INLINE static inline __attribute__((always_inline))

TRAIN_INLINE float train_load(enum gr_dtype t, const void *p, int64_t i)
{
    float f;
    if (t == GR_F32)
        return ((const float *)p)[i];
    uint32_t u = (uint32_t)((const uint16_t *)p)[i] << 16;
    memcpy(&f, &u, 4);
    return f;
}

TRAIN_INLINE void train_store(enum gr_dtype t, void *p, int64_t i, float f)
{
    uint32_t u;
    if (t == GR_F32) {
        ((float *)p)[i] = f;
        return;
    }
    memcpy(&u, &f, 4);
    uint32_t r = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    ((uint16_t *)p)[i] = (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 0x40 : r);
}

/* Sums are made in this many pieces whatever the number of threads, so that they do not depend on
   it. */
enum { TRAIN_PIECES = 16 };

static inline int64_t train_piece(int64_t n, int piece)
{
    return n / TRAIN_PIECES * piece + (n % TRAIN_PIECES) * piece / TRAIN_PIECES;
}

/* ---- train_conv.c ---- */

struct dnn_conv;
static inline bool train_conv_has_bias(const struct gr_train_case *tc)
{
    return tc->c.node->n_in > 2 && tc->c.node->in[2] >= 0;
}
/* A convolution of fp32 values (UNSUPPORTED: another), to be computed channels last. */
enum graft_status train_conv_read(const struct gr_case *c, struct dnn_conv *v,
                                  struct graft_error *err);
/* Where its operands lie, and what backward reads. */
void train_conv_choose(const struct gr_train_case *tc, struct gr_train_choice *k);

/* The kernels, for the table. */
extern const struct gr_train_kernel gr_train_winograd, gr_train_conv, gr_train_gemm,
    gr_train_matmul, gr_train_act, gr_train_pool, gr_train_mean, gr_train_softmax,
    gr_train_batch_norm, gr_train_layer_norm, gr_train_binary, gr_train_move, gr_train_erf;

#endif
