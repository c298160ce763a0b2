/* Learning rates: of a step, of a depth, and a suggestion by trying. */
#ifndef GR_TRAIN_SCHEDULE_H
#define GR_TRAIN_SCHEDULE_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

enum gr_schedule_kind {
    GR_SCHEDULE_ONE_CYCLE, /* PyTorch's OneCycleLR, cosine: lr/div up to lr, down to lr/final_div */
    GR_SCHEDULE_COSINE,    /* after the warm-up PyTorch's CosineAnnealingLR down to 0 */
    GR_SCHEDULE_STEP,      /* lr * gamma^(step / every) */
    GR_SCHEDULE_CONSTANT
};

struct gr_schedule {
    enum gr_schedule_kind kind;
    double lr; /* the largest */
    int64_t n_steps;
    int64_t warmup;        /* steps of linear rise to lr, first lr/warmup; all but ONE_CYCLE */
    double rise;           /* ONE_CYCLE: fraction of the steps with rising rate */
    double div, final_div; /* ONE_CYCLE */
    int64_t every;         /* STEP */
    double gamma;          /* STEP */
};
/* fastai's: rise 0.25, div 25, final_div 1e5; STEP: thirds by 0.1; no warm-up. */
void gr_schedule_init(struct gr_schedule *s, enum gr_schedule_kind kind, double lr,
                      int64_t n_steps);
enum graft_status gr_schedule_check(const struct gr_schedule *s, struct graft_error *err);
/* Pure functions of step (0..n_steps-1; later ones count as the last). */
double gr_schedule_lr(const struct gr_schedule *s, int64_t step);
/* ONE_CYCLE moves momentum against the rate, high - low - high; `high` otherwise. */
double gr_schedule_momentum(const struct gr_schedule *s, int64_t step, double high, double low);

/* Factors for the rate at depth 0 (lowest trained layer) .. n-1 (the head, always 1). */
double gr_layer_decay(int depth, int n, double decay); /* decay^(n-1-depth) */
/* From `lowest` (fastai: 1/100) to 1 in equal ratios. */
double gr_layer_spread(int depth, int n, double lowest);

/* Learning-rate finder: rates from 1e-7 to 10 in equal ratios, one step with each, until the
   smoothed loss is 4 times its best. */
enum { GR_LR_FINDER_STEPS = 100 };
struct gr_lr_finder {
    int n; /* losses so far; a zeroed struct is ready */
    double mean, best;
    double loss[GR_LR_FINDER_STEPS]; /* smoothed as fastai does (0.98, bias corrected) */
};
double gr_lr_finder_rate(int i);
/* The loss at rate number f->n; true: go on. */
bool gr_lr_finder_add(struct gr_lr_finder *f, double loss);
/* fastai's "valley": two thirds down the longest run of falling losses. 0: too few points. */
double gr_lr_finder_suggest(const struct gr_lr_finder *f);

#endif
