/* What are the values and steps of a trainer, and where do they lie? */
#include "base/mem.h"
#include "exec/trainer_plan.h"
#include <limits.h>

enum graft_status train_add_slot(struct train_planner *w, int kind, int index, size_t size,
                                 const void *data, int *slot, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    size_t had = t->cap_slots;
    if (!GR_GROW(t->slots, t->n_slots, t->cap_slots))
        return gr_error_nomem(err);
    if (had != t->cap_slots) {
        bool *shared = gr_realloc_array(w->shared, t->cap_slots, sizeof *shared);
        w->shared = shared ? shared : w->shared;
        int *again = gr_realloc_array(t->again, t->cap_slots, sizeof *again);
        t->again = again ? again : t->again;
        if (!shared || !again)
            return gr_error_nomem(err);
    }
    t->again[t->n_slots] = -1;
    w->shared[t->n_slots] = kind == SLOT_INPUT;
    t->slots[t->n_slots] = (struct plan_slot){kind, index, size, INT_MAX, -1, 0, 0, data};
    *slot = (int)t->n_slots++;
    return GRAFT_OK;
}

void train_touch(struct train_planner *w, int slot, int time)
{
    if (slot < 0)
        return;
    struct plan_slot *s = &w->t->slots[slot];
    s->first = time < s->first ? time : s->first;
    s->last = time > s->last ? time : s->last;
}

enum graft_status train_add_var(struct train_planner *w, int value, int slot,
                                struct gr_layout layout, bool wants, int *var,
                                struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    if (!GR_GROW(t->vars, t->n_vars, t->cap_vars))
        return gr_error_nomem(err);
    int *head = &w->first_var[value];
    t->vars[t->n_vars] = (struct train_var){value, slot, layout, wants, -1, -1, -1};
    while (*head >= 0)
        head = &t->vars[*head].next;
    *head = (int)t->n_vars;
    *var = (int)t->n_vars++;
    return GRAFT_OK;
}

enum graft_status train_add_step(struct train_planner *w, const struct gr_train_kernel *kernel,
                                 void *state, int n_in, int n_out, struct train_step **step,
                                 struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    size_t n = (size_t)(n_in + n_out);
    int *ids = gr_arena_alloc(&t->arena, (2 * n + 1) * sizeof *ids);
    bool *flags = gr_arena_alloc(&t->arena, (2 * n + (size_t)n_in + 1) * sizeof *flags);
    if (!ids || !flags || !GR_GROW(t->steps, t->n_steps, t->cap_steps)) {
        if (kernel)
            kernel->unplan(state);
        return gr_error_nomem(err);
    }
    for (size_t i = 0; i < 2 * n; i++)
        ids[i] = -1;
    memset(flags, 0, (2 * n + (size_t)n_in + 1) * sizeof *flags);
    struct train_step *s = &t->steps[t->n_steps++];
    *s = (struct train_step){.kernel = kernel,
                             .state = state,
                             .n_in = n_in,
                             .n_out = n_out,
                             .in = ids,
                             .out = ids + n_in,
                             .dout = ids + n,
                             .din = ids + n + n_out,
                             .wants = flags,
                             .same = flags + n_in,
                             .keep_in = flags + 2 * n_in,
                             .keep_out = flags + 3 * n_in,
                             .scratch = -1,
                             .saved = -1,
                             .node = "",
                             .op = "",
                             .impl = ""};
    t->most_args = n_in + n_out > t->most_args ? n_in + n_out : t->most_args;
    *step = s;
    return GRAFT_OK;
}

/* A constant in a wanted layout: the graph's own bytes where they fit. */
static enum graft_status place_const(struct train_planner *w, int value, struct gr_layout layout,
                                     int *var, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    struct gr_tensor c = {0};
    int slot;
    if (!GR_GROW(t->consts, t->n_consts, t->cap_consts))
        return gr_error_nomem(err);
    enum graft_status s = plan_arrange(train_konst(w, value), layout, &c, err);
    if (!s)
        s = train_add_slot(w, SLOT_CONST, 0, c.size, c.data, &slot, err);
    if (s) {
        gr_tensor_clear(&c);
        return s;
    }
    t->consts[t->n_consts++] = c;
    return train_add_var(w, value, slot, layout, false, var, err);
}

/* A step that brings a var into another layout, and its gradient back. */
static enum graft_status add_reorder(struct train_planner *w, int from, struct gr_layout to,
                                     int *var, struct graft_error *err)
{
    struct train_var v = w->t->vars[from];
    const struct gr_type *type = train_type(w, v.value);
    struct train_step *step = NULL;
    void *there = NULL, *back = NULL, *state = NULL;
    size_t size, scratch = 0;
    const char *impl = "";
    int slot;
    enum graft_status s = train_plan_reorder(type, v.layout, to, &there, &scratch, &impl, err);
    if (!s && v.wants)
        s = train_plan_reorder(type, to, v.layout, &back, &scratch, &impl, err);
    if (s) {
        if (there)
            gr_kernel_reorder.unplan(there);
        return s;
    }
    s = train_wrap_new(&gr_kernel_reorder, there, back, &state, err);
    if (!s)
        s = train_add_step(w, &train_wrap, state, 1, 1, &step, err);
    if (!s)
        s = plan_size_of(type, to.dtype, &size, err);
    if (!s)
        s = train_add_slot(w, SLOT_WORK, 0, size, NULL, &slot, err);
    if (!s)
        s = train_add_var(w, v.value, slot, to, v.wants, var, err);
    if (s)
        return s;
    step->in[0] = from;
    step->out[0] = *var;
    step->wants[0] = v.wants;
    step->scratch_size = scratch;
    step->node = w->g->values[v.value].name;
    step->op = "reorder";
    step->impl = impl;
    train_touch(w, v.slot, (int)w->t->n_steps - 1);
    train_touch(w, slot, (int)w->t->n_steps - 1);
    return GRAFT_OK;
}

enum graft_status train_get_var(struct train_planner *w, int value, struct gr_layout layout,
                                int *var, struct graft_error *err)
{
    const struct gr_shape *shape = &train_type(w, value)->shape;
    for (int i = w->first_var[value]; i >= 0; i = w->t->vars[i].next)
        if (gr_layout_equal(w->t->vars[i].layout, layout, shape)) {
            *var = i;
            return GRAFT_OK;
        }
    if (train_konst(w, value))
        return place_const(w, value, layout, var, err);
    return add_reorder(w, w->first_var[value], layout, var, err);
}
