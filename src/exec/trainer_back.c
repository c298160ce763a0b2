/* In which steps do gradients flow back? */
#include "base/mem.h"
#include "exec/trainer_plan.h"

enum graft_status train_add_back(struct train_planner *w, struct train_back b,
                                 struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    if (!GR_GROW(t->backs, t->n_backs, t->cap_backs))
        return gr_error_nomem(err);
    int time = (int)(t->n_steps + t->n_backs);
    t->backs[t->n_backs++] = b;
    train_touch(w, b.dst, time);
    train_touch(w, b.src, time);
    return GRAFT_OK;
}

/* A further part of a var's gradient lies in `slot`. */
static enum graft_status contribute(struct train_planner *w, int var, int slot,
                                    struct graft_error *err)
{
    struct train_var *v = &w->t->vars[var];
    const struct gr_type *type = train_type(w, v->value);
    if (v->grad < 0) {
        v->grad = slot;
        return GRAFT_OK;
    }
    struct train_back b = {.kind = BACK_ADD,
                           .step = -1,
                           .scratch = -1,
                           .dst = v->grad,
                           .src = slot,
                           .count = (size_t)gr_shape_count(&type->shape),
                           .dtype = v->layout.dtype};
    if (w->shared[b.dst] && !w->shared[b.src]) {
        b.dst = slot;
        b.src = v->grad;
    } else if (w->shared[b.dst]) {
        struct train_back copy = {.kind = BACK_COPY, .step = -1, .scratch = -1, .src = v->grad};
        enum graft_status s = plan_size_of(type, v->layout.dtype, &copy.count, err);
        if (!s)
            s = train_add_slot(w, SLOT_WORK, 0, copy.count, NULL, &copy.dst, err);
        if (!s)
            s = train_add_back(w, copy, err);
        if (s)
            return s;
        b.dst = copy.dst;
    }
    v->grad = b.dst;
    return train_add_back(w, b, err);
}

static enum graft_status plan_back_step(struct train_planner *w, int at, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    struct train_step *step = &t->steps[at];
    enum graft_status s = GRAFT_OK;
    bool wants = false, has = false;
    for (int i = 0; i < step->n_in; i++)
        wants = wants || step->wants[i];
    for (int i = 0; i < step->n_out; i++) {
        step->dout[i] = step->out[i] >= 0 ? t->vars[step->out[i]].grad : -1;
        has = has || step->dout[i] >= 0;
    }
    if (!wants || !has)
        return GRAFT_OK;
    bool runs = false;
    for (int i = 0; !s && i < step->n_in; i++) {
        struct train_var *v = step->wants[i] ? &t->vars[step->in[i]] : NULL;
        size_t size;
        if (!v || !step->kernel || step->same[i])
            continue;
        runs = true;
        if (v->param >= 0 && v->grad < 0) {
            s = plan_size_of(train_type(w, v->value), GR_F32, &size, err);
            if (!s)
                s = train_add_slot(w, SLOT_OUTPUT, v->param, size, NULL, &step->din[i], err);
        } else {
            s = plan_size_of(train_type(w, v->value), v->layout.dtype, &size, err);
            if (!s)
                s = train_add_slot(w, SLOT_WORK, 0, size, NULL, &step->din[i], err);
        }
        /* Two inputs that are one parameter: the second must not take its place too. */
        for (int k = 0; !s && v->param >= 0 && k < i; k++)
            if (step->din[k] >= 0 && step->in[k] == step->in[i])
                s = train_add_slot(w, SLOT_WORK, 0, size, NULL, &step->din[i], err);
    }
    if (s)
        return s;
    if (runs) {
        struct train_back back = {.kind = BACK_STEP, .step = at, .dst = -1, .src = -1};
        s = train_add_scratch(w, step, &back.scratch, err);
        if (!s)
            s = train_add_back(w, back, err);
        if (s)
            return s;
        int time = (int)(t->n_steps + t->n_backs) - 1;
        train_touch(w, back.scratch, time);
        for (int i = 0; i < step->n_in; i++) {
            train_touch(w, step->din[i], time);
            if (step->keep_in[i] && step->in[i] >= 0)
                train_touch(w, train_late(t, t->vars[step->in[i]].slot), time);
        }
        for (int i = 0; i < step->n_out; i++) {
            train_touch(w, step->dout[i], time);
            if (step->keep_out[i] && step->out[i] >= 0)
                train_touch(w, train_late(t, t->vars[step->out[i]].slot), time);
        }
        train_touch(w, train_late(t, step->saved), time);
    }
    for (int i = 0; !s && i < step->n_in; i++) {
        if (!step->wants[i])
            continue;
        int slot = step->din[i];
        if (!step->kernel || step->same[i]) { /* the gradient of the output itself */
            slot = step->dout[0];
            w->shared[slot] = true;
        }
        s = contribute(w, step->in[i], slot, err);
    }
    return s;
}

enum graft_status train_plan_backward(struct train_planner *w, int logits, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    int slot;
    enum graft_status s =
        train_add_slot(w, SLOT_INPUT, (int)t->n_inputs, t->logits_size, NULL, &slot, err);
    if (s)
        return s;
    if (t->vars[logits].wants)
        t->vars[logits].grad = slot;
    for (size_t i = t->n_steps; !s && i-- > 0;) {
        s = train_plan_again(w, (int)i, err);
        if (!s)
            s = plan_back_step(w, (int)i, err);
    }
    /* What has not come to lie in the caller's block is copied there. */
    for (size_t i = 0; !s && i < t->n_vars; i++) {
        struct train_var v = t->vars[i];
        if (v.param < 0 || v.grad < 0)
            continue;
        struct plan_slot *from = &t->slots[v.grad];
        if (from->kind == SLOT_OUTPUT && from->index == v.param)
            continue;
        struct train_back b = {.kind = BACK_COPY,
                               .step = -1,
                               .scratch = -1,
                               .src = v.grad,
                               .count = t->params[v.param].count * sizeof(float)};
        s = train_add_slot(w, SLOT_OUTPUT, v.param, b.count, NULL, &b.dst, err);
        if (!s)
            s = train_add_back(w, b, err);
    }
    return s;
}
