/* Optimisers over one flat block of parameters. A group is a range with its own rate and decay, so
   that each optimiser is one loop. Results do not depend on the number of threads. */
#ifndef GR_TRAIN_OPTIM_H
#define GR_TRAIN_OPTIM_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

enum gr_optim_kind { GR_OPTIM_ADAMW, GR_OPTIM_SGD };

struct gr_optim_group {
    size_t offset, count;
    double lr_scale;     /* its rate is lr * lr_scale */
    double weight_decay; /* towards 0; AdamW: decoupled, SGD: as part of the gradient (PyTorch) */
    double pull;         /* L2-SP: the same towards the source weights */
};

struct gr_optim_options {
    enum gr_optim_kind kind;
    double momentum; /* SGD; AdamW's beta1 */
    bool nesterov;   /* SGD */
    double beta2, epsilon;
};
/* PyTorch's: AdamW 0.9, 0.999, 1e-8; SGD momentum 0.9 with Nesterov. */
void gr_optim_options_init(struct gr_optim_options *o, enum gr_optim_kind kind);

struct gr_optim {
    struct gr_optim_options o; /* momentum may be changed between steps */
    size_t n, n_groups;
    struct gr_optim_group *groups; /* copied */
    const float *source;           /* n weights for `pull`; borrowed, may be NULL */
    float *state;                  /* momentum, then for AdamW second moments */
    size_t n_state;
    uint64_t step; /* steps taken */
};

/* ARG when a group leaves 0..n-1 or a setting makes no sense. What no group covers never moves. */
enum graft_status gr_optim_init(struct gr_optim *p, const struct gr_optim_options *o, size_t n,
                                const struct gr_optim_group *groups, size_t n_groups,
                                const float *source, struct graft_error *err);
void gr_optim_clear(struct gr_optim *p);
void gr_optim_step(struct gr_optim *p, double lr, float *params, const float *grads);

/* Euclidean norm, summed in double in a fixed order; not finite when an element is not. */
double gr_grad_norm(const float *g, size_t n);
void gr_grad_scale(float *g, size_t n, double factor);
void gr_grad_add(float *sum, const float *g, size_t n);
/* mean = decay * mean + (1 - decay) * params */
void gr_ema_update(float *mean, const float *params, size_t n, double decay);

#endif
