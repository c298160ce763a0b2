/* Standardisation: each feature to mean 0 and standard deviation 1. */
#ifndef GR_TRAIN_SCALER_H
#define GR_TRAIN_SCALER_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct gr_scaler {
    size_t d;
    double *mean, *scale; /* scale: 1 / standard deviation, 1 for a constant feature */
};

/* From x (n,d). A value that is not finite is an error that names its row and column. */
enum graft_status gr_scaler_fit(const float *x, size_t n, size_t d, struct gr_scaler *s,
                                struct graft_error *err);
void gr_scaler_clear(struct gr_scaler *s);
/* Row i of out (n rows, ld floats apart, zeros after d) = standardised row order[i] of x (n,d);
   order NULL: row i. */
void gr_scaler_apply(const struct gr_scaler *s, const float *x, size_t n, const int64_t *order,
                     float *out, size_t ld);
/* Weights w (n_out rows, ld apart) and biases b learned on standardised features, as raw_w
   (n_out,d) and raw_b for raw ones. */
void gr_scaler_fold(const struct gr_scaler *s, const double *w, size_t ld, const double *b,
                    size_t n_out, float *raw_w, float *raw_b);

#endif
