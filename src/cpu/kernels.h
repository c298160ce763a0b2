/* The kernels, for the table; and what several of them share. */
#ifndef GR_CPU_KERNELS_H
#define GR_CPU_KERNELS_H

#include "core/kernel.h"

extern const struct gr_kernel gr_kernel_conv, gr_kernel_gemm, gr_kernel_matmul, gr_kernel_pool,
    gr_kernel_mean, gr_kernel_eltwise, gr_kernel_rows, gr_kernel_move, gr_kernel_max_pool,
    gr_kernel_shuffle, gr_kernel_depthwise, gr_kernel_winograd, gr_kernel_conv_int8,
    gr_kernel_gemm_int8, gr_kernel_matmul_int8, gr_kernel_max_pool_int8, gr_kernel_bottleneck,
    gr_kernel_conv_tiles, gr_kernel_conv_planes, gr_kernel_pointwise, gr_kernel_attention;

/* Constant `t` as aligned fp32; NULL is GRAFT_E_UNSUPPORTED. */
enum graft_status gr_const_f32(const struct gr_tensor *t, struct gr_tensor *out,
                               struct graft_error *err);
/* Where the case has a residual: wanted like output 0, in whose memory it must lie. */
void gr_choose_tail(const struct gr_case *c, struct gr_choice *k);
/* A convolution of pictures in fp32 whose weights, and bias if it has one, are constants. */
bool gr_is_const_conv(const struct gr_case *c);
/* The bias of such a one, or NULL. */
const struct gr_tensor *gr_conv_bias(const struct gr_case *c);
/* In which type a product of matrices gives its result. */
enum gr_dtype gr_product_dtype(const struct gr_case *c);
/* The bounds that the case's functions come to, infinite where there are none; false if they are
   not all bounds. */
bool gr_read_clip(const struct gr_case *c, float *low, float *high);
/* The pooling of a case as oneDNN wants it, channels last; UNSUPPORTED where it means something
   else. */
struct dnn_pool;
enum graft_status gr_pool_read(const struct gr_case *c, struct dnn_pool *pool,
                               struct graft_error *err);

#endif
