/* Which kernels are there for training? */
#include "cpu/train_util.h"

const struct gr_train_kernel *const gr_train_table[] = {&gr_train_winograd,   &gr_train_conv,
                                                        &gr_train_batch_norm, &gr_train_act,
                                                        &gr_train_pool,       &gr_train_mean,
                                                        &gr_train_gemm,       &gr_train_matmul,
                                                        &gr_train_binary,     &gr_train_softmax,
                                                        &gr_train_layer_norm, &gr_train_move,
                                                        &gr_train_erf,        NULL};
