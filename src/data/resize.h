/* Resampling equal to Pillow's Image.resize on 8-bit RGB, bit for bit: antialiased filters in
   22-bit fixed point, across first and then down, rounded to 8 bits between the two passes. Only
   the wanted part of the result, and only the rows and columns that it depends on, are computed.
   (Pillow 13 goes down first where the height shrinks much more than the width, which can change a
   value by 1. We keep the order that all versions before it have, whatever the shape.) */
#ifndef GR_DATA_RESIZE_H
#define GR_DATA_RESIZE_H

#include "data/image.h"
#include "graft.h"

/* One resize: the whole picture (of any size) becomes full_width x full_height, of which the part
   at x, y (inside it) is wanted. 64 bits: a strip of 1 x 60000 has a very long side when its short
   side becomes 256. */
struct gr_resize {
    enum graft_filter filter;
    int64_t full_width, full_height;
    int64_t x, y; /* corner of the part */
    int width, height;
};

/* Tables and the buffer between the passes, reused; zeroed is empty. One per thread. */
struct gr_resizer {
    struct gr_taps {
        int *first, *n;  /* per output: first input, count */
        int32_t *weight; /* per output: `most` weights */
        double *real;    /* one output's weights before rounding */
        int32_t *spread; /* where `close`: the same by five outputs, for resize_avx512.c */
        int most;
        bool close;
        size_t cap_outputs, cap_weights, cap_real, cap_spread;
    } across, down;
    uint8_t *between; /* after the first pass */
    size_t between_cap;
    bool portable; /* for tests: no loops for one kind of processor */
};

void gr_resizer_clear(struct gr_resizer *rs);

/* The part of a width x height picture that `plan` reads. */
struct gr_rect gr_resize_source(const struct gr_resize *plan, int width, int height);

/* Resizes `src`, which must contain gr_resize_source of its full size, into out: plan->height rows
   of plan->width RGB pixels, `stride` bytes apart. */
enum graft_status gr_resize(struct gr_resizer *rs, const struct gr_image *src,
                            const struct gr_resize *plan, uint8_t *out, size_t stride,
                            struct graft_error *err);

#endif
