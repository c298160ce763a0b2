/* Training the upper part of a network: forward, backward, and the parameters that move. */
#ifndef GR_EXEC_TRAINER_H
#define GR_EXEC_TRAINER_H

#include "core/infer.h"
#include "exec/plan.h"

/* What batch-norm does inside the trained part. */
enum gr_bn_mode {
    GR_BN_FROZEN, /* stored statistics, neither they nor scale and bias ever change */
    GR_BN_ADAPT,  /* stored statistics used and kept; scale and bias are trained */
    GR_BN_TRAIN   /* batch statistics in training, running ones updated; scale and bias trained */
};

/* What forward keeps for backward. The numbers are the same to the last bit. */
enum gr_trainer_keep {
    GR_KEEP_ALL,
    GR_KEEP_PRODUCTS, /* cheap steps between convolutions and matrix products are done again */
    GR_KEEP_BORDERS   /* only values at cut points; forward is done twice */
};

struct gr_trainer_options {
    int64_t batch;
    enum gr_bn_mode bn;
    double bn_momentum;          /* as in PyTorch: running = (1-m) running + m batch; 0.1 */
    enum gr_precision precision; /* of compute; parameters and gradients are always fp32 */
    uint64_t seed;               /* of Dropout nodes with ratio > 0 */
    bool reference;              /* every node by its double reference; only in tests */
    enum gr_trainer_keep keep;   /* ALL: as much as fits into max_work */
    size_t max_work;             /* bytes; 0: no limit. Where no plan fits it is the smallest one:
                                    see gr_trainer_get_work_size */
};
void gr_trainer_options_init(struct gr_trainer_options *o); /* batch 32, frozen, fp32 */

/* One trained tensor: parameters[offset .. offset + count-1], row-major as in the graph. */
struct gr_trainer_param {
    int value; /* id in the graph */
    const char *name;
    struct gr_shape shape;
    size_t offset, count;
};

struct gr_trainer;
/* `graph`: what lies above the frozen border: its inputs are the border's values (float32
   features), `output` its logits (N, classes). `params`: ids of the constants to be trained; in
   GR_BN_FROZEN scales and biases of batch-norms among them are left out here, so that no caller has
   to: gr_trainer_n_params tells what is trained.
   Operators without gradient on the way from them to the output are all reported before any work
   (UNSUPPORTED). The graph is only read and must outlive the trainer. */
enum graft_status gr_trainer_new(const struct gr_graph *graph, int output,
                                 const struct gr_shape *input_shapes, size_t n_params,
                                 const int *params, const struct gr_trainer_options *options,
                                 struct gr_trainer **trainer, struct graft_error *err);
void gr_trainer_free(struct gr_trainer *t);

size_t gr_trainer_n_params(const struct gr_trainer *t); /* tensors */
const struct gr_trainer_param *gr_trainer_get_param(const struct gr_trainer *t, size_t i);
size_t gr_trainer_size(const struct gr_trainer *t); /* floats in the flat block */
/* The fp32 master weights, one flat block, the caller may change them between steps. */
float *gr_trainer_params(struct gr_trainer *t);
/* Running mean and variance of batch-norms in GR_BN_TRAIN, one flat block (size 0 otherwise). */
float *gr_trainer_stats(struct gr_trainer *t, size_t *size);
/* Bytes of activations, gradients and scratch. */
size_t gr_trainer_get_work_size(const struct gr_trainer *t);
enum gr_trainer_keep gr_trainer_get_keep(const struct gr_trainer *t);
/* Whether one thread does it all, because a step is so small. */
bool gr_trainer_is_alone(const struct gr_trainer *t);

/* logits (batch, classes). training false: no dropout, stored batch-norm statistics, and nothing is
   kept for backward; else backward reads the inputs once more, from where they lie. `step` names
   the step for Dropout's counter-based numbers. */
enum graft_status gr_trainer_forward(struct gr_trainer *t, const void *const *inputs, bool training,
                                     uint64_t step, float *logits, struct graft_error *err);
/* After a forward with training true: overwrites grads (gr_trainer_size floats) with the gradient
   of the sum over elements of dlogits * logits. */
enum graft_status gr_trainer_backward(struct gr_trainer *t, const float *dlogits, float *grads,
                                      struct graft_error *err);
size_t gr_trainer_n_logits(const struct gr_trainer *t); /* floats, of the whole batch */

/* ---- trainer_time.c: where a training step's time goes ---- */

/* The steps forward, then those of the way back, sums and copies of gradients among them. */
size_t gr_trainer_n_moments(const struct gr_trainer *t);
/* `info` without `fused`; what a gradient costs is counted per gradient, as much as forward. */
void gr_trainer_get_moment(const struct gr_trainer *t, size_t i, struct gr_step_info *info,
                           bool *backward);
/* Forward and backward, and the seconds of each moment. */
enum graft_status gr_trainer_time(struct gr_trainer *t, const void *const *inputs, uint64_t step,
                                  float *logits, const float *dlogits, float *grads,
                                  double *seconds, struct graft_error *err);

/* Puts the present parameters and statistics into a graph whose values have the same numbers and
   names; it may have others besides. */
enum graft_status gr_trainer_store(const struct gr_trainer *t, struct gr_graph *graph,
                                   struct graft_error *err);

#endif
