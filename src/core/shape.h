/* Shapes: all dimensions are known numbers by the time a shape is used in a computation. */
#ifndef GR_CORE_SHAPE_H
#define GR_CORE_SHAPE_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

enum { GR_MAX_RANK = 8 };
/* No tensor has more elements than this (2^40); refused with GRAFT_E_LIMIT or GRAFT_E_SHAPE. */
#define GR_MAX_COUNT ((int64_t)1 << 40)

struct gr_shape {
    int rank;
    int64_t dim[GR_MAX_RANK]; /* -1 where unknown, only in what a file declares */
};

/* gr_shape_of(3, 2, 3, 4) is (2,3,4). */
struct gr_shape gr_shape_of(int rank, ...); /* int64_t or int arguments are read as int: small */
struct gr_shape gr_shape_from(int rank, const int64_t *dim);
/* Product of the dimensions; -1 when one is unknown or negative or it exceeds GR_MAX_COUNT. */
int64_t gr_shape_count(const struct gr_shape *s);
/* Product of dimensions from..to-1. */
int64_t gr_shape_count_range(const struct gr_shape *s, int from, int to);
bool gr_shape_equal(const struct gr_shape *a, const struct gr_shape *b);
/* "(2,3,4)" into text of at least GR_SHAPE_TEXT bytes; returns text. */
enum { GR_SHAPE_TEXT = 8 * 21 + 3 };
const char *gr_shape_print(const struct gr_shape *s, char *text);
/* NumPy's rule; GRAFT_E_SHAPE naming both shapes when they do not fit. */
enum graft_status gr_shape_broadcast(const struct gr_shape *a, const struct gr_shape *b,
                                     struct gr_shape *out, struct graft_error *err);
/* Maps an axis in -rank..rank-1 to 0..rank-1; -1 when out of range. */
int gr_axis(int64_t axis, int rank);

#endif
