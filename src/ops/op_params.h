/* Attributes of the operators that kernels need to read, as GR_PARAMS(node, struct ...) gives them.
   Names are those of the ONNX specification. */
#ifndef GR_OPS_OP_PARAMS_H
#define GR_OPS_OP_PARAMS_H

#include "core/op.h"

enum gr_auto_pad { GR_PAD_NOTSET, GR_PAD_SAME_UPPER, GR_PAD_SAME_LOWER, GR_PAD_VALID };

/* How a window moves: first member of the convolution's and the pools' attributes. Lists may be
   absent (n == 0); geometry.h turns them into numbers for given shapes. */
struct gr_window_params {
    int64_t auto_pad; /* enum gr_auto_pad */
    struct gr_ints kernel_shape, strides, pads, dilations;
    int64_t ceil_mode; /* pools only */
};

/* Conv: x (N,C,...), w (M,C/group,...), optional b (M). */
struct gr_conv_params {
    struct gr_window_params win;
    int64_t group;
};

/* ConvTranspose: x (N,C,...), w (C,M/group,...), optional b (M). */
struct gr_conv_transpose_params {
    struct gr_window_params win;
    int64_t group;
    struct gr_ints output_padding, output_shape;
};

/* MaxPool and AveragePool. */
struct gr_pool_params {
    struct gr_window_params win;
    int64_t count_include_pad; /* AveragePool: padding counts in the divisor */
    int64_t storage_order;     /* MaxPool: only for Indices, which is unsupported */
};

/* Gemm: y = alpha * a' * b' + beta * c; a' = transA ? a^T : a; c is broadcast, may be absent. */
struct gr_gemm_params {
    float alpha, beta;
    int64_t transA, transB;
};

/* BatchNormalization: y = scale * (x - mean) / sqrt(var + epsilon) + bias. Only inference: infer
   refuses training_mode 1 and spatial 0. */
struct gr_bn_params {
    float epsilon, momentum;
    int64_t training_mode, spatial;
};

/* Batch-norm in training, which no file asks for but training may: x and y are (N,C,...), the rest
   (C). mean and the biased var are those of the batch. running_mean and running_var, where not
   NULL, become (1 - momentum) * running + momentum * batch, as in PyTorch with the unbiased
   variance. All are the caller's. */
struct gr_bn_train {
    const struct gr_shape *shape; /* of x */
    double epsilon, momentum;
    const double *x, *scale, *bias;
    double *y, *mean, *var, *running_mean, *running_var;
};
/* Refuses a batch with less than two values for each channel. */
enum graft_status gr_bn_train_ref(const struct gr_bn_train *b, struct graft_error *err);
/* Reads shape, epsilon, x, scale, mean, var; overwrites the gradients that are not NULL. */
enum graft_status gr_bn_train_ref_grad(const struct gr_bn_train *b, const double *dy, double *dx,
                                       double *dscale, double *dbias, struct graft_error *err);

/* LayerNormalization, InstanceNormalization, GroupNormalization. */
struct gr_norm_params {
    float epsilon;
    int64_t axis;       /* LayerNormalization: first of the normalized axes, may be negative */
    int64_t num_groups; /* GroupNormalization */
    int64_t stash_type;
};

/* All one-input elementwise operators:
   LeakyRelu alpha; Elu, Celu alpha; Selu alpha gamma; HardSigmoid alpha beta;
   ThresholdedRelu alpha; Shrink: alpha = lambd, beta = bias; Gelu approximate. */
struct gr_unary_params {
    float alpha, beta, gamma;
    int64_t approximate; /* Gelu: 0 erf, 1 tanh */
};

/* Clip before operator set 11; later ones have bounds as inputs. */
struct gr_clip_params {
    float min, max;
};
/* The bounds for a Clip of any version; konst[i] is the constant value of input i or NULL. False
   when a bound is an input that is not known before running. Absent bounds are -+DBL_MAX. */
bool gr_clip_bounds(const struct gr_node *node, int n_in, const struct gr_tensor *const *konst,
                    double *lo, double *hi);

/* Softmax, LogSoftmax: normalized over `axis`; before operator set 13 over all axes from `axis`. */
struct gr_softmax_params {
    int64_t axis;
};
/* x as (outer, n, inner), normalized over n. False when the axis is out of range. */
bool gr_softmax_split(const struct gr_node *node, const struct gr_shape *x, int64_t *outer,
                      int64_t *n, int64_t *inner);

/* LRN over channels: y = x / (bias + alpha / size * sum x^2)^beta. */
struct gr_lrn_params {
    float alpha, beta, bias;
    int64_t size;
};

/* Concat, Gather, GatherElements, Flatten, Split and others with one axis. */
struct gr_axis_params {
    int64_t axis;
    int64_t allowzero;    /* Reshape */
    struct gr_ints split; /* Split before operator set 13 */
    int64_t num_outputs;  /* Split since 18; 0: absent */
};

/* Transpose: perm absent: axes reversed. */
struct gr_transpose_params {
    struct gr_ints perm;
};
/* perm[i]: input axis that becomes output axis i. False: no permutation. */
bool gr_transpose_perm(const struct gr_node *node, int rank, int *perm);

/* ReduceMean, ReduceSum, ... ; also Squeeze and Unsqueeze (axes only). */
struct gr_reduce_params {
    struct gr_ints axes; /* before axes became an input (13 or 18) */
    int64_t keepdims, noop_with_empty_axes;
};
/* reduced[i] for each axis of an input of that rank; `axes` is the constant value of input 1, or
   NULL where absent. */
enum graft_status gr_reduce_axes(const struct gr_node *node, const struct gr_tensor *axes, int rank,
                                 bool *reduced, struct graft_error *err);

/* DepthToSpace, SpaceToDepth. */
struct gr_depth_params {
    int64_t blocksize;
    int64_t mode; /* DepthToSpace: 0 DCR, 1 CRD */
};

#endif
