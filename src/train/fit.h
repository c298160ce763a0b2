/* What the files of the fit loop share: finetune.c (epochs), fit_step.c (one step, validation),
   fit_keep.c (best weights, checkpoint). */
#ifndef GR_TRAIN_FIT_H
#define GR_TRAIN_FIT_H

#include "train/finetune.h"

/* Where training stands; written to checkpoints as it is (fields of 8 bytes only). */
struct gr_fit_state {
    int64_t epoch, batch, step; /* done: validated epochs, batches of the next, steps in all */
    int64_t n_rows, n_kept, stale, finished;
    uint64_t optim_step;
    double loss, weight;       /* sums over the epoch so far */
    double smooth, first_loss; /* of single steps, for seeing it run away */
    double seconds;
};

/* Weights kept for the end, best first. */
struct gr_fit_kept {
    int64_t epoch;
    double loss, accuracy;
};

struct gr_fit {
    const struct gr_finetune_task *t;
    const struct gr_finetune_options *o;
    size_t n, n_stats, batch;
    int64_t n_batches, epoch_steps;
    float *params, *stats; /* the trainer's */
    float *stats_before;   /* the step in progress */
    float *source;         /* weights at the start; NULL: not needed */
    float *grads, *part;   /* `part`: of one batch of several */
    float *ema;
    float **x; /* inputs */
    float *logits, *dlogits, *target, *row_weight;
    float *outputs,
        *doutputs; /* of the network: logits and soft ones; without the latter the same */
    int *label;
    int64_t *order; /* n_batches * batch, filled up; also of the validation */
    struct gr_optim optim;
    double *rate; /* by group: its lr_scale once it moves */
    struct gr_schedule schedule;
    struct gr_fit_state s;
    struct gr_history_row *rows; /* epochs + 1 */
    size_t n_keep, each_kept;    /* floats: n + n_stats */
    float *kept;
    struct gr_fit_kept *kept_info;
    double *each_loss; /* gr_fit_validate writes there the loss of each example; NULL: nowhere */
    struct gr_hash key;
    double since; /* gr_seconds when s.seconds was last brought up to date */
};

/* ---- fit_step.c ---- */

/* Examples of an epoch in their order, whole batches. */
void gr_fit_order(struct gr_fit *f, int64_t epoch);
/* The next step of s.epoch from s.batch on; advances s. */
enum graft_status gr_fit_step(struct gr_fit *f, double lr, double *loss, struct graft_error *err);
/* Of the weights now in the trainer; NaN without validation examples. */
enum graft_status gr_fit_validate(struct gr_fit *f, double *loss, double *accuracy,
                                  struct graft_error *err);

/* ---- fit_keep.c ---- */

bool gr_fit_better(const struct gr_fit *f, const struct gr_fit_kept *a,
                   const struct gr_fit_kept *b);
/* Keeps the trainer's weights if they are among the best; true when they are the best. */
bool gr_fit_keep(struct gr_fit *f, struct gr_fit_kept info);
void gr_fit_load_best(struct gr_fit *f);
/* Averages into the best what does not make it worse; *n: how many went in. */
enum graft_status gr_fit_soup(struct gr_fit *f, int *n, struct graft_error *err);
enum graft_status gr_fit_make_key(struct gr_fit *f, struct graft_error *err);
enum graft_status gr_fit_save(struct gr_fit *f, struct graft_error *err);
enum graft_status gr_fit_load(struct gr_fit *f, struct graft_error *err);

#endif
