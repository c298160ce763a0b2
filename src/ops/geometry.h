/* Where does a moving window go? Shared by convolutions and pools, references and kernels. */
#ifndef GR_OPS_GEOMETRY_H
#define GR_OPS_GEOMETRY_H

#include "ops/op_params.h"

enum { GR_MAX_SPATIAL = GR_MAX_RANK - 2 };

/* For spatial axis i < n, output o and tap k look at input
   o * stride[i] - pad[i] + k * dilation[i], which is padding where outside 0..in[i]-1.
   All numbers are >= 0, all sizes, kernels, strides and dilations >= 1. With ceil_mode the last
   window may reach beyond in + pad_end; then (out-1) * stride + (kernel-1) * dilation + 1 is larger
   than in + pad + pad_end. */
struct gr_geometry {
    int n;
    int64_t in[GR_MAX_SPATIAL], out[GR_MAX_SPATIAL], kernel[GR_MAX_SPATIAL];
    int64_t stride[GR_MAX_SPATIAL], dilation[GR_MAX_SPATIAL];
    int64_t pad[GR_MAX_SPATIAL], pad_end[GR_MAX_SPATIAL];
};

/* x is (N,C,...), w is (M,C/group,...). Checks everything that does not concern dtypes and bias. */
enum graft_status gr_conv_geometry(const struct gr_conv_params *p, const struct gr_shape *x,
                                   const struct gr_shape *w, struct gr_geometry *g,
                                   struct graft_error *err);
/* w is (C,M/group,...). Here input i and tap k add to output i * stride - pad + k * dilation. */
enum graft_status gr_conv_transpose_geometry(const struct gr_conv_transpose_params *p,
                                             const struct gr_shape *x, const struct gr_shape *w,
                                             struct gr_geometry *g, struct graft_error *err);
enum graft_status gr_pool_geometry(const struct gr_pool_params *p, const struct gr_shape *x,
                                   struct gr_geometry *g, struct graft_error *err);
/* (d0, d1, out...) */
struct gr_shape gr_geometry_shape(const struct gr_geometry *g, int64_t d0, int64_t d1);

#endif
