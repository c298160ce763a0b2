/* What the files that plan a trainer share: trainer_plan.c (what is computed), trainer_kernel.c (by
   which kernel), trainer_vars.c (on which values), trainer_back.c (the way back), trainer_memory.c
   (what is kept for it, and where everything lies). */
#ifndef GR_EXEC_TRAINER_PLAN_H
#define GR_EXEC_TRAINER_PLAN_H

#include "exec/program.h"
#include "exec/trainer_steps.h"

/* What one step computes: a node, or a batch-norm with the sum and activation that follow. */
struct train_item {
    const struct gr_node *node;
    int node_id;
    int residual; /* value, or -1 */
    int out;      /* of the last of the fused */
    struct gr_act act;
    bool has_act, skip;
};

struct train_planner {
    struct gr_trainer *t;
    const struct gr_graph *g;
    int output;
    unsigned char *needed;    /* per node */
    bool *live;               /* per value: depends on a trained parameter */
    bool *reached;            /* per value: the output depends on it through floats */
    int *n_uses;              /* per value, by needed nodes and as the output */
    struct train_item *items; /* per node */
    int *first_var;           /* per value, or -1 */
    bool *shared; /* per slot: its gradient is that of several vars, not to be added to */
    /* What is done again (trainer_memory.c); NULL: nothing. */
    const int *segment; /* per step */
    bool *dropped;      /* per slot of the forward pass */
    bool *runs;         /* per step: it takes part in backward */
    /* As long as the longest step: */
    struct gr_type *types;
    const struct gr_tensor **konst;
    struct gr_layout *arrive, *want;
    bool *flags;
};

static inline const struct gr_tensor *train_konst(const struct train_planner *w, int v)
{
    return v >= 0 && w->t->types.konst[v].buf ? &w->t->types.konst[v] : NULL;
}

static inline const struct gr_type *train_type(const struct train_planner *w, int v)
{
    return &w->t->types.type[v];
}

/* ---- trainer_vars.c ---- */

enum graft_status train_add_slot(struct train_planner *w, int kind, int index, size_t size,
                                 const void *data, int *slot, struct graft_error *err);
/* The slot is in use at that time: a forward step, or (after the last of them) an entry of backs.
   -1 is no slot. */
void train_touch(struct train_planner *w, int slot, int time);
enum graft_status train_add_var(struct train_planner *w, int value, int slot,
                                struct gr_layout layout, bool wants, int *var,
                                struct graft_error *err);
/* A step with empty lists; the state is owned from here, also on failure. */
enum graft_status train_add_step(struct train_planner *w, const struct gr_train_kernel *kernel,
                                 void *state, int n_in, int n_out, struct train_step **step,
                                 struct graft_error *err);
/* The value in that layout; a constant or a reorder is added where it is not there yet. */
enum graft_status train_get_var(struct train_planner *w, int value, struct gr_layout layout,
                                int *var, struct graft_error *err);

/* ---- trainer_kernel.c ---- */

/* A gradient flows through the node. */
bool train_is_diff(const struct train_planner *w, const struct gr_node *n);
/* The case lies in the planner's lists until the next one is asked for; so does the choice. */
enum graft_status train_fill_case(struct train_planner *w, const struct train_item *it,
                                  struct gr_train_case *tc, struct graft_error *err);
enum graft_status train_choose_kernel(struct train_planner *w, const struct gr_train_case *tc,
                                      bool diff, const struct gr_train_kernel **kernel,
                                      struct gr_train_choice *k, struct graft_error *err);

/* ---- trainer_back.c ---- */

/* Adds the gradients' way back; before the way back through a segment's steps those are done
   again. */
enum graft_status train_plan_backward(struct train_planner *w, int logits, struct graft_error *err);
enum graft_status train_add_back(struct train_planner *w, struct train_back b,
                                 struct graft_error *err);

/* ---- trainer_memory.c ---- */

/* Backward, what is kept for it, and where everything lies. */
enum graft_status train_plan_memory(struct train_planner *w, int logits, struct graft_error *err);
/* When step `at` is the last of a segment: what was dropped in it, as far as backward needs it. */
enum graft_status train_plan_again(struct train_planner *w, int at, struct graft_error *err);
/* A slot for the step's scratch, or -1. */
enum graft_status train_add_scratch(struct train_planner *w, const struct train_step *step,
                                    int *slot, struct graft_error *err);

#endif
