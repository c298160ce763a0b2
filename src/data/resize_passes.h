/* The two passes of a resize where the processor has AVX-512 with permutes of bytes (Ice Lake, Zen
   4 and later). The same integers as the portable loops in resize.c. */
#ifndef GR_DATA_RESIZE_PASSES_H
#define GR_DATA_RESIZE_PASSES_H

#include "data/resize.h"

#define GR_TAPS_PRECISION 22 /* Pillow's PRECISION_BITS = 32 - 8 - 2 */

/* Bytes that may be written behind a row of the first pass. */
#define GR_BEHIND_ROW 16

bool gr_resize_has_avx512(void);

/* Prepares the taps of n outputs for gr_rows_across_avx512. */
enum graft_status gr_taps_spread(struct gr_taps *t, int n, struct graft_error *err);

/* `rows` rows of n pixels; up to GR_IMAGE_SLACK bytes behind a row of `in` are read, up to
   GR_BEHIND_ROW behind one of `out` written. */
void gr_rows_across_avx512(const struct gr_taps *t, const uint8_t *in, size_t in_stride, int rows,
                           int n, uint8_t *out, size_t out_stride);

/* n bytes, each the sum of `count` rows; up to GR_IMAGE_SLACK bytes behind a row are read. */
void gr_row_down_avx512(const uint8_t *rows, size_t stride, const int32_t *weight, int count,
                        size_t n, uint8_t *out);

#endif
