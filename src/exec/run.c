/* How is a plan run? */
#include "base/mem.h"
#include "exec/plan_steps.h"
#include <omp.h>
#include <string.h>

/* What one part of the batch works with. */
struct lane {
    char *block;
    void **bound;      /* per step */
    const void **args; /* inputs, then outputs, of the step at hand */
    const void **in;   /* the plan's, for this part */
    void **out;
    enum graft_status status;
    struct graft_error err;
};

struct gr_exec {
    const struct gr_plan *plan;
    struct lane *lanes; /* plan->parts of them */
};

static void lane_clear(const struct gr_plan *p, struct lane *l)
{
    for (size_t i = 0; l->bound && i < p->n_steps; i++)
        if (l->bound[i])
            p->steps[i].kernel->unbind(l->bound[i]);
    gr_free(l->bound);
    gr_free(l->args);
    gr_free(l->in);
    gr_free(l->out);
    gr_free_aligned(l->block);
}

void gr_exec_free(struct gr_exec *e)
{
    if (!e)
        return;
    for (int i = 0; e->lanes && i < e->plan->parts; i++)
        lane_clear(e->plan, &e->lanes[i]);
    gr_free(e->lanes);
    gr_free(e);
}

static enum graft_status lane_init(const struct gr_plan *p, struct lane *l, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    l->block = gr_alloc_aligned(p->work_size, false);
    l->bound = gr_alloc_zero(p->n_steps + 1, sizeof *l->bound);
    l->args = gr_alloc_zero((size_t)p->most_args + 1, sizeof *l->args);
    l->in = gr_alloc_zero(p->n_inputs + 1, sizeof *l->in);
    l->out = gr_alloc_zero(p->n_outputs + 1, sizeof *l->out);
    if (!l->block || !l->bound || !l->args || !l->in || !l->out)
        return gr_error_nomem(err);
    for (size_t i = 0; !s && i < p->n_steps; i++)
        if (p->steps[i].kernel->bind)
            s = p->steps[i].kernel->bind(p->steps[i].state, &l->bound[i], err);
    return s;
}

enum graft_status gr_exec_new(const struct gr_plan *p, struct gr_exec **out,
                              struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct gr_exec *e = gr_alloc_zero(1, sizeof *e);
    if (!e)
        return gr_error_nomem(err);
    e->plan = p;
    e->lanes = gr_alloc_zero((size_t)p->parts, sizeof *e->lanes);
    if (!e->lanes)
        s = gr_error_nomem(err);
    for (int i = 0; !s && i < p->parts; i++)
        s = lane_init(p, &e->lanes[i], err);
    if (s)
        gr_exec_free(e);
    else
        *out = e;
    return s;
}

static const void *address(const struct gr_plan *p, const struct lane *l, int slot,
                           const void *const *inputs, void *const *outputs)
{
    if (slot < 0)
        return NULL;
    const struct plan_slot *s = &p->slots[slot];
    switch (s->kind) {
    case SLOT_WORK:
        return l->block + s->offset;
    case SLOT_INPUT:
        return inputs[s->index];
    case SLOT_OUTPUT:
        return outputs[s->index];
    case SLOT_CONST:
        return s->data;
    }
    return NULL;
}

static enum graft_status run_lane(const struct gr_plan *p, struct lane *l,
                                  const void *const *inputs, void *const *outputs, double *seconds,
                                  struct graft_error *err)
{
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *st = &p->steps[i];
        double start = seconds ? omp_get_wtime() : 0;
        for (int k = 0; k < st->n_in; k++)
            l->args[k] = address(p, l, st->in[k], inputs, outputs);
        void **out = (void **)(uintptr_t)(l->args + st->n_in);
        for (int k = 0; k < st->n_out; k++)
            out[k] = (void *)(uintptr_t)address(p, l, st->out[k], inputs, outputs);
        enum graft_status s = st->kernel->forward(st->state, l->bound[i], l->args, out,
                                                  l->block + p->scratch_offset, err);
        if (s) {
            s = s == GRAFT_E_NOMEM ? s : GRAFT_E_COMPUTE;
            return gr_error_in(err, s, "step %zu '%s' (%s)", i, st->info.node, st->info.op);
        }
        if (seconds)
            seconds[i] += omp_get_wtime() - start;
    }
    return GRAFT_OK;
}

static size_t part_size(const struct gr_plan *p, const struct gr_type *t)
{
    return (size_t)gr_shape_count(&t->shape) / (size_t)p->parts * gr_dtype_size(t->dtype);
}

static enum graft_status run(struct gr_exec *e, const void *const *inputs, void *const *outputs,
                             double *seconds, struct graft_error *err)
{
    const struct gr_plan *p = e->plan;
    if (p->parts == 1)
        return run_lane(p, &e->lanes[0], inputs, outputs, seconds, err);
#pragma omp parallel for num_threads(p->parts) schedule(static, 1)
    for (int k = 0; k < p->parts; k++) {
        struct lane *l = &e->lanes[k];
        for (size_t i = 0; i < p->n_inputs; i++)
            l->in[i] = (const char *)inputs[i] + (size_t)k * part_size(p, &p->inputs[i]);
        for (size_t i = 0; i < p->n_outputs; i++)
            l->out[i] = (char *)outputs[i] + (size_t)k * part_size(p, &p->outputs[i]);
        l->status = run_lane(p, l, l->in, l->out, k ? NULL : seconds, &l->err);
    }
    for (int k = 0; k < p->parts; k++)
        if (e->lanes[k].status)
            return gr_error(err, e->lanes[k].status, "%s", e->lanes[k].err.message);
    return GRAFT_OK;
}

enum graft_status gr_exec_run(struct gr_exec *e, const void *const *inputs, void *const *outputs,
                              struct graft_error *err)
{
    return run(e, inputs, outputs, NULL, err);
}

enum graft_status gr_exec_time(struct gr_exec *e, const void *const *inputs, void *const *outputs,
                               int reps, double *seconds, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    memset(seconds, 0, e->plan->n_steps * sizeof *seconds);
    for (int r = 0; !s && r < reps; r++)
        s = run(e, inputs, outputs, seconds, err);
    for (size_t i = 0; i < e->plan->n_steps; i++)
        seconds[i] /= reps > 0 ? reps : 1;
    return s;
}
