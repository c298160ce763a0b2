/* oneDNN's primitives for training, each with run-time operands only. */
#ifndef GR_CPU_DNN_TRAIN_H
#define GR_CPU_DNN_TRAIN_H

#include "cpu/dnn_compat.h"

/* A primitive with the memories that it is called with; for one thread at a time. */
struct dnn_prim;
void dnn_prim_free(struct dnn_prim *p);
const char *dnn_prim_get_impl(const struct dnn_prim *p);
size_t dnn_prim_get_scratch_size(const struct dnn_prim *p);
/* Operands in the order that the maker below names; scratch as large as the primitive asks. */
enum graft_status dnn_prim_run(struct dnn_prim *p, const void *const *operands, void *scratch,
                               struct graft_error *err);

/* The three primitives of a convolution, channels last, with weights and their gradient dense and
   row-major fp32 outside; where a primitive wants them otherwise they are packed on the way.
   `c` as in dnn_compat.h, but w, b and tail are not read; transposed is refused. */
struct dnn_conv_train;
enum graft_status dnn_conv_train_new(const struct dnn_conv *c, bool bias, bool data, bool weights,
                                     struct dnn_conv_train **t, struct graft_error *err);
void dnn_conv_train_free(struct dnn_conv_train *t);
const char *dnn_conv_train_get_impl(const struct dnn_conv_train *t);
size_t dnn_conv_train_get_scratch_size(const struct dnn_conv_train *t);
enum graft_status dnn_conv_train_forward(struct dnn_conv_train *t, const void *x, const float *w,
                                         const float *b, void *y, void *scratch,
                                         struct graft_error *err);
/* dx, dw, db may be NULL. */
enum graft_status dnn_conv_train_backward(struct dnn_conv_train *t, const void *x, const float *w,
                                          const void *dy, void *dx, float *dw, float *db,
                                          void *scratch, struct graft_error *err);

/* forward: x, y, workspace; backward: dx, dy, workspace. *workspace_size is 0 where none is
   needed. */
enum graft_status dnn_pool_train_new(const struct dnn_pool *p, struct dnn_prim **forward,
                                     struct dnn_prim **backward, size_t *workspace_size,
                                     struct graft_error *err);
/* forward: x, y; backward: x or y as *by_y says, dx, dy. */
enum graft_status dnn_eltwise_train_new(const struct gr_act *act, const struct dnn_operand *x,
                                        struct dnn_prim **forward, struct dnn_prim **backward,
                                        bool *by_y, struct graft_error *err);
/* Over the last of `rank` dimensions. forward: x, y; backward: y, dx, dy. */
enum graft_status dnn_softmax_train_new(const struct dnn_operand *x, struct dnn_prim **forward,
                                        struct dnn_prim **backward, struct graft_error *err);
/* to = from: x, y. */
enum graft_status dnn_convert_new(const struct dnn_operand *from, const struct dnn_operand *to,
                                  struct dnn_prim **p, struct graft_error *err);
/* y = a w + b (run-time operands a, w, y and, with n_bias, b); strides as given. */
enum graft_status dnn_product_new(const struct dnn_operand *a, const struct dnn_operand *w,
                                  const struct dnn_operand *y, int64_t n_bias, struct dnn_prim **p,
                                  struct graft_error *err);

#endif
