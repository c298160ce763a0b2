/* oneDNN behind a few plain functions: only dnn_compat.c includes dnnl.h and knows its versions. */
#ifndef GR_CPU_DNN_COMPAT_H
#define GR_CPU_DNN_COMPAT_H

#include "core/kernel.h"

/* A primitive with its packed weights; immutable once made. */
struct dnn;

/* A dense or strided operand of floats, or of 8-bit integers. */
struct dnn_operand {
    int rank;
    int64_t dim[GR_MAX_RANK];
    int64_t stride[GR_MAX_RANK]; /* in elements */
    enum gr_dtype dtype;
};

/* What follows the sum of products; `add`: the destination is read and added first. */
struct dnn_tail {
    bool add;
    int n_acts;
    const struct gr_act *acts;
};

/* Of a product of 8-bit integers: y = out * acts(product[c] * (sum + bias[c]) + residual * y),
   rounded to even and saturated where y is 8 bits; without acts `out` is 1. The weights are then
   GR_I8. */
struct dnn_quant {
    const float *product; /* for each output channel */
    float residual, out;
    enum gr_dtype residual_dtype; /* as what the destination is read first; as wide as dst */
};

/* Convolution of (n, ic, in...) to (n, oc, out...), channels last on both sides. Weights are
   (groups, oc/groups, ic/groups, kernel...) dense fp32, or for a transposed convolution
   (groups, ic/groups, oc/groups, kernel...). pad_r may be negative. */
struct dnn_conv {
    int n_spatial; /* 1 to 3 */
    int64_t n, ic, oc, groups;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad_l[3], pad_r[3];
    bool transposed;
    enum gr_dtype src, dst; /* weights are multiplied in src's type */
    const void *w;          /* copied, as b, which may be NULL; neither need be aligned */
    const float *b;
    struct dnn_tail tail;
    const struct dnn_quant *quant; /* NULL: src and dst are floats, w is fp32 */
};

/* y = a w + bias; all operands of one rank >= 2. w_data: constant, dense in w's strides, packed
   once; else w is run-time input 1. */
struct dnn_matmul {
    struct dnn_operand a, w, y;
    const void *w_data;
    int64_t n_bias; /* 0: none; else y's last dimension; from `bias`, or run-time input 2 */
    const float *bias;
    struct dnn_tail tail;
    const struct dnn_quant *quant; /* as above; of rank 2, with w_data and without run-time bias */
};

struct dnn_pool {
    int n_spatial;
    int64_t n, c;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad_l[3], pad_r[3];
    enum { DNN_POOL_MAX, DNN_POOL_AVG, DNN_POOL_AVG_WITH_PAD } kind;
    struct gr_layout layout; /* of both sides */
};

/* GRAFT_E_UNSUPPORTED when oneDNN has no implementation. */
enum graft_status dnn_conv_new(const struct dnn_conv *c, struct dnn **d, struct graft_error *err);
enum graft_status dnn_matmul_new(const struct dnn_matmul *m, struct dnn **d,
                                 struct graft_error *err);
enum graft_status dnn_pool_new(const struct dnn_pool *p, struct dnn **d, struct graft_error *err);
/* dst = scale * src */
enum graft_status dnn_reorder_new(const struct dnn_operand *src, const struct dnn_operand *dst,
                                  float scale, struct dnn **d, struct graft_error *err);

const char *dnn_get_impl(const struct dnn *d);
size_t dnn_get_scratch_size(const struct dnn *d);
size_t dnn_get_weights_size(const struct dnn *d);

/* `d` becomes the choice's state, with its name and sizes. */
void dnn_choose(struct dnn *d, struct gr_choice *k);
/* These fit struct gr_kernel; state is a struct dnn. */
enum graft_status dnn_bind(const void *state, void **bound, struct graft_error *err);
void dnn_unbind(void *bound);
enum graft_status dnn_forward(const void *state, void *bound, const void *const *in,
                              void *const *out, void *scratch, struct graft_error *err);
void dnn_unplan(void *state);

/* This processor multiplies tiles of bf16, and oneDNN was not told to do without them. */
bool dnn_has_amx(void);

/* Strides of a shape in a layout. */
struct dnn_operand dnn_operand_of(const struct gr_shape *shape, struct gr_layout layout);

#endif
