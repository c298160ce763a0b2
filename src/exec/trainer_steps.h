/* A trainer as trainer_plan.c makes it and trainer.c runs it. */
#ifndef GR_EXEC_TRAINER_STEPS_H
#define GR_EXEC_TRAINER_STEPS_H

#include "exec/plan_steps.h"
#include "exec/trainer.h"

/* A value in one arrangement, and its gradient in the same. */
struct train_var {
    int value, slot;
    struct gr_layout layout;
    bool wants; /* a gradient */
    int param;  /* or -1 */
    int grad;   /* the slot in which the sum lies as far as it is known, or -1 */
    int next;   /* another arrangement of the same value, or -1 */
};

struct train_step {
    const struct gr_train_kernel *kernel; /* NULL: the same bytes under another shape */
    void *state;
    int n_in, n_out;
    int *in, *out;   /* vars, or -1 */
    int *din, *dout; /* slots, or -1 */
    bool *wants, *keep_in, *keep_out, *same;
    size_t scratch_size;
    int scratch, saved; /* slots, or -1 */
    bool once;          /* it moves statistics: what it saved is kept for when it is done again */
    const char *node, *op, *impl;
    double macs; /* multiply-adds of forward */
};

struct train_back {
    enum { BACK_STEP, BACK_AGAIN, BACK_ADD, BACK_COPY } kind; /* AGAIN: the step forward */
    int step, scratch;
    int dst, src; /* slots: dst += src, dst = src */
    size_t count; /* elements, to add; bytes, to copy */
    enum gr_dtype dtype;
};

struct train_stats { /* of one batch-norm: mean, then var, in the flat block */
    int mean, var;   /* value ids */
    size_t offset, count;
};

/* Told to whoever watches: a step (NULL: a sum or copy of gradients) begins, or has been done. */
enum train_moment { TRAIN_BEGIN, TRAIN_FORWARD, TRAIN_BACKWARD };

struct gr_trainer {
    struct gr_arena arena;
    struct gr_trainer_options options;
    struct gr_graph *graph; /* a copy in which the trained constants are inputs */
    struct gr_inferred types;
    size_t n_params, size;
    struct gr_trainer_param *params;
    float *master;
    struct train_stats *stats;
    size_t n_stats, stats_size;
    float *running;
    struct plan_slot *slots; /* inputs, then the gradient of the logits, are SLOT_INPUT; SLOT_OUTPUT
                                is the gradient of parameter `index` */
    size_t n_slots, cap_slots;
    struct train_var *vars;
    size_t n_vars, cap_vars;
    struct train_step *steps;
    size_t n_steps, cap_steps;
    struct train_back *backs;
    size_t n_backs, cap_backs;
    struct gr_tensor *consts; /* that slots refer to */
    size_t n_consts, cap_consts;
    size_t n_inputs;
    int *again; /* per slot: where forward puts it when a step is done again, or -1 */
    enum gr_trainer_keep keep;
    bool alone; /* one thread does it all */
    int logits; /* slot */
    size_t logits_size;
    int most_args;
    size_t work_size;
    char *block;
    const void **args;  /* in, out, dout, din of the step at hand */
    const void **given; /* inputs of the last forward */
    uint64_t step;
    bool trained; /* the last forward was for training */
    void (*watch)(void *user, const struct train_step *step, enum train_moment m); /* or NULL */
    void *watch_user;
};

/* Where a value lies once its step was done again. */
static inline int train_late(const struct gr_trainer *t, int slot)
{
    return slot >= 0 && t->again[slot] >= 0 ? t->again[slot] : slot;
}

enum graft_status train_plan(struct gr_trainer *t, const struct gr_graph *g, int output,
                             const struct gr_shape *input_shapes, size_t n_params,
                             const int *params, struct graft_error *err);

/* Parts of planning: the trained constants, the types of a graph in which they are inputs, and the
   statistics of the batch-norms among the nodes `diff`. */
enum graft_status train_read_params(struct gr_trainer *t, const struct gr_graph *g, size_t n,
                                    const int *ids, struct graft_error *err);
enum graft_status train_read_types(struct gr_trainer *t, const struct gr_graph *g, int output,
                                   const struct gr_shape *shapes, struct graft_error *err);
enum graft_status train_read_stats(struct gr_trainer *t, const bool *diff, struct graft_error *err);
/* A function that can follow a batch-norm in one step. */
bool train_read_act(const struct gr_trainer *t, const struct gr_node *n, struct gr_act *a);
static inline bool train_is_bn(const struct gr_node *n)
{
    return gr_node_is(n, "BatchNormalization") && n->n_in >= 5;
}

/* Any operator, both ways, by its double reference. */
extern const struct gr_train_kernel train_reference;
/* An inference kernel as one for training without gradients, or a reorder with its way back. Takes
   the states over, also on failure. */
enum graft_status train_plan_reorder(const struct gr_type *t, struct gr_layout from,
                                     struct gr_layout to, void **state, size_t *scratch,
                                     const char **impl, struct graft_error *err);
extern const struct gr_train_kernel train_wrap;
enum graft_status train_wrap_new(const struct gr_kernel *kernel, void *forward, void *backward,
                                 void **state, struct graft_error *err);

#endif
