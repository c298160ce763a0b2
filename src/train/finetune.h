/* Fine-tuning: the fit loop over a trainer. What an example looks like (cached border features, one
   of several views, a freshly augmented picture) is the business of who fills the batches. */
#ifndef GR_TRAIN_FINETUNE_H
#define GR_TRAIN_FINETUNE_H

#include "base/events.h"
#include "base/hash.h"
#include "exec/trainer.h"
#include "train/loss.h"
#include "train/mix.h"
#include "train/optim.h"
#include "train/schedule.h"

/* Examples 0..n-1. */
struct gr_batch_source {
    size_t n;
    const int *label; /* class of each */
    void *user;
    /* May be NULL. Tells which examples fill will be asked for next, in this order, until the next
       begin: for reading ahead. */
    enum graft_status (*begin)(void *user, int64_t epoch, const int64_t *indices, size_t n,
                               struct graft_error *err);
    /* inputs[k]: n rows of the network's input k, for the examples indices[0..n-1] as epoch `epoch`
       sees them. n is always the trainer's batch: the last batch of an epoch is filled up with
       examples that count nothing. Must depend on nothing but epoch and indices. CANCELLED from it
       interrupts as the events do. */
    enum graft_status (*fill)(void *user, int64_t epoch, const int64_t *indices, size_t n,
                              float *const *inputs, struct graft_error *err);
    const float *soft; /* (n, n_soft) a teacher's probabilities; NULL: there is no teacher */
};

struct gr_finetune_options {
    int64_t epochs;                 /* 5 */
    int64_t accumulate;             /* batches per step: 1 */
    double lr;                      /* of the head: 1e-3 */
    enum gr_schedule_kind schedule; /* one-cycle */
    double warmup;                  /* fraction of the steps, all but one-cycle: 0 */
    struct gr_optim_options optim;  /* AdamW */
    double momentum_low;            /* one-cycle: momentum at the top of the rate: 0.85 */
    double weight_decay;            /* 0.01, of tensors with more than one dimension */
    double pull;                    /* L2-SP towards the weights at the start: 0 */
    double layer_decay;             /* rate * layer_decay^(depth below the head); 1: none */
    double lowest; /* else the rate goes from lr * lowest to lr over the depth: 0.01; 1: none */
    bool gradual;  /* only the highest depth moves in the first epoch, one more in each after it
                      (Howard, Ruder 2018): false */
    double clip;   /* largest norm of the gradient; 0: none. 1 */
    struct gr_loss loss; /* smoothing 0, no focal, no class weights */
    struct gr_mix mix;   /* none */
    double ema; /* decay of the averaged weights, which are then validated and kept; 0: none */
    int64_t patience;      /* epochs without improvement; 0: all epochs are run */
    bool best_by_accuracy; /* else by loss (plain cross-entropy) */
    bool beat_start;       /* an epoch is better than the start only where more validation examples
                              are right: false */
    bool keep_last;        /* of all epochs only the last is held against the start: false */
    int n_soup;            /* > 1: greedy average of so many best epochs */
    uint64_t seed;
    const char *checkpoint;   /* file; NULL: none. Also written when interrupted */
    int64_t checkpoint_every; /* steps; 0: at the end of each epoch */
    bool resume;              /* go on from the checkpoint if there is one */
};
void gr_finetune_options_init(struct gr_finetune_options *o);

/* How a step is cut: `accumulate` batches of `batch` examples. */
struct gr_fit_split {
    int64_t batch, accumulate;
};
/* Examples a step, of n in all: what may be cut in one way or another for the same result. */
int64_t gr_fit_split_step(const struct gr_fit_split *s, size_t n);
/* That of a checkpoint: going on takes a trainer of this batch and this `accumulate`. Zeros where
   there is no file. */
enum graft_status gr_fit_split_load(const char *checkpoint, struct gr_fit_split *s,
                                    struct graft_error *err);

struct gr_history_row {
    int64_t epoch;                                 /* 0: before the first step; then 1.. */
    int64_t step;                                  /* steps so far */
    double lr, train_loss, val_loss, val_accuracy; /* NaN where there is none */
    double seconds;                                /* of training so far, over all interruptions */
};

struct gr_finetune_task {
    struct gr_trainer *trainer; /* with the weights to start from, also when resuming */
    size_t n_inputs;
    const struct gr_shape *input_shapes; /* as given to the trainer; dim[0] is the batch */
    size_t n_classes;
    /* Distillation (Hinton and others, arXiv 1503.02531, at temperature 1): the network has n_soft
       further outputs after those of the classes, whose cross-entropy with the teacher's
       probabilities is added to the loss with this weight. 0: none. Not with mixing. */
    size_t n_soft;
    double soft_weight;
    const struct gr_batch_source *train;
    const struct gr_batch_source *val; /* NULL: the last weights are the best */
    /* Per tensor of the trainer, whose tensors are in order from input to output. */
    const int *depth;   /* 0 lowest; NULL: one depth */
    const bool *fresh;  /* newly made: not pulled to its start; NULL: none is */
    const char *topic;  /* of notes and progress; NULL: "fine-tune" */
    struct gr_hash key; /* of data, network and preprocessing: a checkpoint fits no other */
    const struct graft_events *events;
    /* After each epoch, and when resuming again for those already done; may be NULL. */
    void (*on_epoch)(void *user, const struct gr_history_row *row);
    void *user;
};

struct gr_finetune_report {
    int64_t n_epochs, n_steps;                                   /* done */
    int64_t best_epoch;                                          /* 0: the start was never beaten */
    double start_loss, start_accuracy, best_loss, best_accuracy; /* validation; NaN without */
    double last_accuracy; /* of the last epoch that was run */
    int n_souped;         /* epochs averaged; 1: none */
    bool stopped_early;   /* out of patience */
    double seconds;
};

/* Trains. Whatever it returns, once it has begun the trainer holds the best weights so far: by
   validation, else those of the last whole epoch (with keep_last those of the start until all is
   done). COMPUTE: something was not finite or the loss ran away; the message says at which step and
   where first. CANCELLED: the checkpoint was written. `report` is filled in all these cases. */
enum graft_status gr_finetune(const struct gr_finetune_task *t, const struct gr_finetune_options *o,
                              struct gr_finetune_report *report, struct graft_error *err);

/* The plain cross-entropy of each validation example (task->val->n) with the trainer's weights. */
enum graft_status gr_finetune_losses(const struct gr_finetune_task *t, double *losses,
                                     struct graft_error *err);

/* Bytes that the loop takes beside the trainer: gradients, the optimiser's state, what is kept, a
   batch of `n_input` floats. n, n_stats: floats in the trainer's blocks. */
size_t gr_finetune_size(const struct gr_finetune_options *o, size_t n, size_t n_stats, size_t batch,
                        size_t n_input, size_t n_classes, size_t n_examples);

/* Tries rising rates for up to 100 steps and puts the weights back. *lr: the suggestion for
   options.lr, 0 when there is none. */
enum graft_status gr_finetune_find_lr(const struct gr_finetune_task *t,
                                      const struct gr_finetune_options *o,
                                      struct gr_lr_finder *finder, double *lr,
                                      struct graft_error *err);

#endif
