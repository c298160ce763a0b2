/* Convolutions of each channel with its own 3x3 or 5x5 window, for a part of a picture. x86 with
   AVX-512 and bf16 only. */
#ifndef GR_CPU_DEPTHWISE_H
#define GR_CPU_DEPTHWISE_H

#include "core/kernel.h"

enum { DEPTHWISE_BLOCK = 32 }; /* channels at a time */

struct depthwise {
    int64_t n, c, in[2], out[2], kernel, stride, pad[2];
    int64_t strip;          /* pixels of y in a row that are computed at a time */
    enum gr_dtype src, dst; /* of x and y: both alike, or fp32 to bf16 or GR_U8 */
    float low, high;        /* y is clipped to them */
    float *w;               /* (block, row, column, 32) */
    float *b;               /* (block, 32) */
};
/* y in the case's precision, or from fp32 in 8 bits, as `quant` says (NULL: not).
   GRAFT_E_UNSUPPORTED: the case is none of these. */
enum graft_status depthwise_init(struct depthwise *d, const struct gr_case *c, enum gr_dtype src,
                                 const struct gr_quant *quant, struct graft_error *err);
void depthwise_clear(struct depthwise *d);
size_t depthwise_get_weights_size(const struct depthwise *d);

/* Some rows of one picture, of some channels. */
struct depthwise_part {
    const void *x;               /* the first channel of the first pixel in row x_row of x */
    void *y;                     /* ... in row y_row of y */
    int64_t x_step, y_step;      /* bytes from pixel to pixel */
    int64_t x_row, y_row;        /* x must reach over all windows, but for what is padded */
    int64_t x_ring;              /* rows after which x begins again, 0: never */
    int64_t n_rows;              /* of y */
    int64_t channel, n_channels; /* the first, a multiple of 32 */
};
void depthwise_run(const struct depthwise *d, const struct depthwise_part *p);

#endif
