/* The objective of multinomial logistic regression and its minimum. */
#ifndef GR_TRAIN_SOFTMAX_H
#define GR_TRAIN_SOFTMAX_H

#include "base/error.h"
#include "train/precondition.h"
#include <stdbool.h>
#include <stddef.h>

/* f(W, b) = sum_i row_weight[i] * cross-entropy(softmax(W x_i' + b), y_i) + lambda/2 |W|^2
   with x' = (x - mean) * scale where mean and scale are set. Parameters lie as W (n_classes, ld)
   followed by b (padded): n_params doubles, the padding staying 0. */
struct gr_softmax {
    /* set by the caller, borrowed */
    const float *x; /* (n, ld), ld a multiple of GR_GEMM_PAD, zeros after the features */
    const int *y;
    size_t n, ld, n_classes;
    const double *row_weight;   /* rows of weight 0 cost nothing where they lie together */
    const double *mean, *scale; /* (ld), or NULL */
    double lambda;
    const struct gr_precond *precond; /* for gr_softmax_minimise: made for lambda; or NULL */
    /* own */
    bool packed; /* w, as gr_gemm_nt_packed_1 wants it */
    size_t n_params, n_slabs, block, ldz;
    float *w, *b, *slab_grad, *slab_z;
    double *slab_bias, *slab_loss, *class_norm;
};

struct gr_softmax_end {
    int iterations;
    double loss, gradient_norm;
    bool converged; /* false: max_iterations came first */
};

/* After the caller's fields are set. Clear frees only what is its own. */
enum graft_status gr_softmax_init(struct gr_softmax *p, struct graft_error *err);
void gr_softmax_clear(struct gr_softmax *p);
/* f at params, and its gradient. */
double gr_softmax_eval(struct gr_softmax *p, const double *params, double *grad);
/* Over rows [from, to): *loss = weighted sum of cross-entropies, *right = how many argmax right. */
void gr_softmax_score(struct gr_softmax *p, const double *params, size_t from, size_t to,
                      const double *weights, double *loss, size_t *right);
/* Minimises f from params in place with L-BFGS, until the gradient norm is at most `tolerance`,
   the loss falls by less than `delta` (relative, over 5 iterations, or 3 with a preconditioner; 0:
   not used) or max_iterations. params must come from gr_alloc_aligned. */
enum graft_status gr_softmax_minimise(struct gr_softmax *p, double *params, double tolerance,
                                      double delta, int max_iterations,
                                      const struct graft_events *ev, struct gr_softmax_end *end,
                                      struct graft_error *err);

#endif
