/* Products of 8-bit integers: what is the same for convolutions and matrices. */
#ifndef GR_CPU_INT8_H
#define GR_CPU_INT8_H

#include "cpu/dnn_compat.h"

struct int8_product {
    enum gr_dtype src, dst;
    int8_t *w;                       /* in the order of the floats */
    float *product, *bias;           /* of each output channel; the bias in units of the sum */
    struct gr_act acts[GR_MAX_ACTS]; /* of the tail */
    struct dnn_tail tail;
    struct dnn_quant quant; /* points to product */
};

/* Input 0 is kept in 8 bits, and where output 0 is, so is the residual. */
bool int8_suits(const struct gr_case *c);
/* Weights of channel c are w[c * channel_stride + i * inner_stride], i < inner; together they fill
   n * inner places. Each channel is scaled so that its largest is 127. `bias` may be NULL. */
enum graft_status int8_prepare(const struct gr_case *c, const float *w, const float *bias,
                               int64_t n, int64_t inner, int64_t channel_stride,
                               int64_t inner_stride, struct int8_product *p,
                               struct graft_error *err);
/* The bounds of its tail, in units of y and within what y can hold; false: there are other
   functions. */
bool int8_read_clip(const struct gr_case *c, const struct int8_product *p, float *low, float *high);
void int8_clear(struct int8_product *p);

#endif
