/* The loops of batch-norm over rows of numbers, and sums of gradients: one source, rows_loops.h,
   compiled for several processors. */
#ifndef GR_CPU_ROWS_H
#define GR_CPU_ROWS_H

#include "core/dtype.h"
#include <stdbool.h>
#include <stdint.h>

/* What the loops work on: rows first..last of `width`, coefficients for each column. */
struct rows {
    int64_t first, last, width;
    const void *x, *residual, *y, *dy;
    void *out, *out_residual;
    const float *a, *b;          /* z = a (x - shift) + b: near the mean no digits are lost */
    const float *by_x, *summand; /* dx = a g + by_x x + summand; by_x NULL: a g */
    const float *shift;
    float lo, hi;
    double *sum, *product;
};

/* Where the activation's slope is 1: strictly between its bounds, as the reference has it. */
enum slope { SLOPE_ONE, SLOPE_BY_Y, SLOPE_BY_X };

struct rows_loops {
    /* out = min(max(a (x - shift) + b + residual, lo), hi) */
    void (*apply)(enum gr_dtype t, const struct rows *r);
    /* Sums of x - shift and of its square: the shift keeps digits where the mean is far from 0. */
    void (*stats)(enum gr_dtype t, const struct rows *r);
    /* Sums of the gradient before the activation and of its product with x - shift; with
       SLOPE_BY_Y the gradient itself goes to out_residual, unless that is NULL. */
    void (*reduce)(enum gr_dtype t, enum slope slope, const struct rows *r);
    /* out = dx, out_residual = the gradient before the activation; either may be NULL. */
    void (*back)(enum gr_dtype t, enum slope slope, const struct rows *r);
    /* y = a + b */
    void (*add)(enum gr_dtype t, int64_t n, const void *a, const void *b, void *y);
};
/* Those for this processor. */
const struct rows_loops *rows_get_loops(void);

/* Each level, for rows.c and tests. Where the compiler cannot make the first two they are not
 * there. */
extern const struct rows_loops rows_loops_v4, rows_loops_v3, rows_loops_any;

#endif
