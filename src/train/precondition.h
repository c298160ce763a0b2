/* Coordinates for the weights of a softmax head in which its loss curves about alike in every
   direction, so that L-BFGS needs fewer steps. */
#ifndef GR_TRAIN_PRECONDITION_H
#define GR_TRAIN_PRECONDITION_H

#include "base/error.h"
#include <stddef.h>

/* The Hessian of softmax.h's objective, by the features of one class, is about
   curvature * gram + lambda * I = L L^T, gram being the features' second moments. With W = V L^-1
   it is about I by V. */
struct gr_precond {
    size_t ld;
    float *gram;            /* (ld, ld), of which the lower triangle is used */
    float *inverse, *upper; /* L^-1 and its transpose, (ld, ld) */
    float *room;
    double bias_unit; /* b = bias_unit * v */
};

/* Of rows x (n, ld), ld a multiple of GR_GEMM_PAD; some thousands of them serve for all. Clear may
   be called twice, and on zeros. */
enum graft_status gr_precond_init(struct gr_precond *p, const float *x, size_t n, size_t ld,
                                  struct graft_error *err);
void gr_precond_clear(struct gr_precond *p);
/* For a penalty. What features repeat of others is left to it. */
void gr_precond_factor(struct gr_precond *p, size_t n_classes, double lambda);
/* Multiply-adds of both. */
double gr_precond_init_work(size_t n, size_t ld);
double gr_precond_factor_work(size_t ld);

/* w = v L^-1 and dv = dw L^-T, for m classes; all are (m, ld). */
void gr_precond_weights(const struct gr_precond *p, size_t m, const float *v, float *w);
void gr_precond_gradient(const struct gr_precond *p, size_t m, const float *dw, float *dv);

#endif
