/* A convolution of pictures in a few planes, as they come into a network, some rows at a time.
   x86 with AVX-512 and bf16 only. */
#ifndef GR_CPU_PLANES_H
#define GR_CPU_PLANES_H

#include "cpu/panels.h"

/* x (N,C,H,W) in fp32. What lies under one row of the window is a row of a matrix as soon as the
   channels lie last: a convolution is the sum of as many products as the window has rows. */
struct planes {
    struct panels panels;
    int64_t n, ic, oc, in[2], out[2], stride[2], pad[2], kernel;
    int64_t wide;     /* pixels of a row with its padding */
    int64_t row_size; /* bytes of such a row */
};
/* GRAFT_E_UNSUPPORTED: the case is none of these. */
enum graft_status planes_init(struct planes *p, const struct gr_case *c, struct graft_error *err);
void planes_clear(struct planes *p); /* may be called twice */

/* Turns around what n rows of y, from `first`, need of one picture; `woven` has the size for it. */
size_t planes_get_woven_size(const struct planes *p, int64_t n);
void planes_read(const struct planes *p, const float *x, int64_t first, int64_t n, char *woven);
/* Then 32 columns of y's channels, for all pixels of the rows in turn. */
void planes_run(const struct planes *p, int64_t panel, int64_t n, const char *woven,
                const struct panel_tail *t);

#endif
