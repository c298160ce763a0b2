/* Which kernels are there? */
#include "cpu/kernels.h"

const struct gr_kernel *const gr_kernel_table[] = {&gr_kernel_bottleneck,    &gr_kernel_conv_int8,
                                                   &gr_kernel_gemm_int8,     &gr_kernel_matmul_int8,
                                                   &gr_kernel_max_pool_int8, &gr_kernel_depthwise,
                                                   &gr_kernel_conv_planes,   &gr_kernel_conv_tiles,
                                                   &gr_kernel_pointwise,     &gr_kernel_winograd,
                                                   &gr_kernel_conv,          &gr_kernel_gemm,
                                                   &gr_kernel_matmul,        &gr_kernel_attention,
                                                   &gr_kernel_mean,          &gr_kernel_max_pool,
                                                   &gr_kernel_pool,          &gr_kernel_rows,
                                                   &gr_kernel_eltwise,       &gr_kernel_move,
                                                   &gr_kernel_shuffle,       NULL};
