/* How long does each moment of a training step take? */
#include "base/events.h"
#include "exec/trainer_steps.h"

size_t gr_trainer_n_moments(const struct gr_trainer *t)
{
    size_t n = t->n_backs;
    for (size_t i = 0; i < t->n_steps; i++)
        n += t->steps[i].kernel != NULL;
    return n;
}

size_t gr_trainer_n_logits(const struct gr_trainer *t)
{
    return t->logits_size / sizeof(float);
}

static double slot_size(const struct gr_trainer *t, int slot)
{
    return slot < 0 ? 0 : (double)t->slots[slot].size;
}

static double var_size(const struct gr_trainer *t, int var)
{
    return var < 0 ? 0 : slot_size(t, t->vars[var].slot);
}

static void describe(const struct gr_trainer *t, const struct train_step *st, bool backward,
                     struct gr_step_info *info)
{
    int n_grads = 0;
    *info = (struct gr_step_info){.node = st->node, .op = st->op, .kernel = st->impl, .fused = ""};
    if (st->n_out && st->out[0] >= 0)
        info->out = t->types.type[t->vars[st->out[0]].value];
    for (int i = 0; i < st->n_in; i++) {
        if (!backward || st->keep_in[i])
            info->bytes += var_size(t, st->in[i]);
        if (backward)
            info->bytes += slot_size(t, st->din[i]);
        n_grads += st->din[i] >= 0 && t->types.type[t->vars[st->in[i]].value].shape.rank > 1;
    }
    for (int i = 0; i < st->n_out; i++) {
        if (!backward || st->keep_out[i])
            info->bytes += var_size(t, st->out[i]);
        if (backward)
            info->bytes += slot_size(t, st->dout[i]);
    }
    info->bytes += slot_size(t, st->saved);
    info->macs = st->macs * (backward ? n_grads : 1);
}

void gr_trainer_get_moment(const struct gr_trainer *t, size_t i, struct gr_step_info *info,
                           bool *backward)
{
    for (size_t k = 0; k < t->n_steps; k++) {
        if (!t->steps[k].kernel || i--)
            continue;
        *backward = false;
        describe(t, &t->steps[k], false, info);
        return;
    }
    const struct train_back *b = &t->backs[i];
    *backward = true;
    if (b->kind == BACK_STEP || b->kind == BACK_AGAIN) {
        describe(t, &t->steps[b->step], b->kind == BACK_STEP, info);
        return;
    }
    *info = (struct gr_step_info){.node = "", .kernel = "", .fused = ""};
    info->op = b->kind == BACK_ADD ? "sum of gradients" : "copy of a gradient";
    info->bytes = b->kind == BACK_ADD ? 3.0 * (double)b->count * (double)gr_dtype_size(b->dtype)
                                      : 2.0 * (double)b->count;
}

struct watch {
    double *seconds, began;
    size_t n;
};

static void watch_moment(void *user, const struct train_step *step, enum train_moment m)
{
    struct watch *w = user;
    (void)step;
    if (m == TRAIN_BEGIN)
        w->began = gr_seconds();
    else
        w->seconds[w->n++] = gr_seconds() - w->began;
}

enum graft_status gr_trainer_time(struct gr_trainer *t, const void *const *inputs, uint64_t step,
                                  float *logits, const float *dlogits, float *grads,
                                  double *seconds, struct graft_error *err)
{
    struct watch w = {.seconds = seconds};
    t->watch = watch_moment;
    t->watch_user = &w;
    enum graft_status s = gr_trainer_forward(t, inputs, true, step, logits, err);
    if (!s)
        s = gr_trainer_backward(t, dlogits, grads, err);
    t->watch = NULL;
    return s;
}
