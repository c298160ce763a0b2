/* Loops over short rows of floats, compiled for several processors. */
#ifndef GR_CPU_VEC_H
#define GR_CPU_VEC_H

#include "core/kernel.h"

enum { VEC_ROW = 1024 }; /* rows in buffers are at most this long */

enum vec_op { VEC_ADD, VEC_SUB, VEC_MUL, VEC_DIV, VEC_MIN, VEC_MAX, VEC_POW, VEC_PRELU };

/* y[i] = x[i * stride] as fp32; x is F32 or BF16. */
void vec_load(enum gr_dtype t, float *y, const void *x, int64_t offset, int64_t stride, int n);
void vec_store(enum gr_dtype t, void *y, int64_t offset, const float *x, int n);
/* y = y op x, elementwise. */
void vec_binary(enum vec_op op, float *y, const float *x, int n);
void vec_act(const struct gr_act *act, float *y, int n);
/* y = exp(y - shift), and their sum. */
float vec_exp_sum(float *y, float shift, int n);

/* y = (y - mean) / sqrt(variance + eps) * w + b, of n values; b may be NULL. */
void vec_norm(float *y, float eps, const float *w, const float *b, int n);

float vec_sum(const float *x, int n);
float vec_sum_squares(const float *x, float mean, int n); /* of x - mean */
float vec_largest(const float *x, int n);                 /* n > 0; NaN wins */
/* Largest values in an order that integers of bf16 have too: y = x, y = max(y, x) from values;
   y = max(y, x), back to values. NaN wins. */
void vec_max_first(enum gr_dtype t, void *y, const void *x, int64_t n);
void vec_max_next(enum gr_dtype t, void *y, const void *x, int64_t n);
void vec_max_pair(enum gr_dtype t, void *y, const void *x, int64_t n);
void vec_max_store(enum gr_dtype t, void *y, const void *x, int64_t n);
/* y[i * group + k] = x[k][i] for i < n; elements of 2 or 4 bytes. */
void vec_interleave(size_t elem_size, void *y, const void *const *x, int group, int64_t n);

#endif
