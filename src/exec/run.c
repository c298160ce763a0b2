/* How is a plan run? */
#include "base/mem.h"
#include "exec/plan_steps.h"
#include <omp.h>
#include <string.h>
#include <sys/mman.h>

struct gr_exec {
    const struct gr_plan *plan;
    char *block;
    void **bound;      /* per step */
    const void **args; /* inputs, then outputs, of the step at hand */
};

void gr_exec_free(struct gr_exec *e)
{
    if (!e)
        return;
    for (size_t i = 0; e->bound && i < e->plan->n_steps; i++)
        if (e->bound[i])
            e->plan->steps[i].kernel->unbind(e->bound[i]);
    gr_free(e->bound);
    gr_free(e->args);
    gr_free_aligned(e->block);
    gr_free(e);
}

/* Large activations suffer from misses of the page table; advice only. */
static void ask_for_huge_pages(char *block, size_t size)
{
    const uintptr_t huge = (uintptr_t)1 << 21;
    uintptr_t first = ((uintptr_t)block + huge - 1) & ~(huge - 1);
    uintptr_t end = ((uintptr_t)block + size) & ~(huge - 1);
    if (end > first)
        madvise((void *)first, end - first, MADV_HUGEPAGE);
}

enum graft_status gr_exec_new(const struct gr_plan *p, struct gr_exec **out,
                              struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct gr_exec *e = gr_alloc_zero(1, sizeof *e);
    if (!e)
        return gr_error_nomem(err);
    e->plan = p;
    e->block = gr_alloc_aligned(p->work_size, false);
    e->bound = gr_alloc_zero(p->n_steps + 1, sizeof *e->bound);
    e->args = gr_alloc_zero((size_t)p->most_args + 1, sizeof *e->args);
    if (!e->block || !e->bound || !e->args)
        s = gr_error_nomem(err);
    if (!s)
        ask_for_huge_pages(e->block, p->work_size);
    for (size_t i = 0; !s && i < p->n_steps; i++)
        if (p->steps[i].kernel->bind)
            s = p->steps[i].kernel->bind(p->steps[i].state, &e->bound[i], err);
    if (s)
        gr_exec_free(e);
    else
        *out = e;
    return s;
}

static const void *address(const struct gr_exec *e, int slot, const void *const *inputs,
                           void *const *outputs)
{
    if (slot < 0)
        return NULL;
    const struct plan_slot *s = &e->plan->slots[slot];
    switch (s->kind) {
    case SLOT_WORK:
        return e->block + s->offset;
    case SLOT_INPUT:
        return inputs[s->index];
    case SLOT_OUTPUT:
        return outputs[s->index];
    case SLOT_CONST:
        return s->data;
    }
    return NULL;
}

static enum graft_status run(struct gr_exec *e, const void *const *inputs, void *const *outputs,
                             double *seconds, struct graft_error *err)
{
    for (size_t i = 0; i < e->plan->n_steps; i++) {
        const struct plan_step *st = &e->plan->steps[i];
        double start = seconds ? omp_get_wtime() : 0;
        for (int k = 0; k < st->n_in; k++)
            e->args[k] = address(e, st->in[k], inputs, outputs);
        void **out = (void **)(uintptr_t)(e->args + st->n_in);
        for (int k = 0; k < st->n_out; k++)
            out[k] = (void *)(uintptr_t)address(e, st->out[k], inputs, outputs);
        enum graft_status s = st->kernel->forward(st->state, e->bound[i], e->args, out,
                                                  e->block + e->plan->scratch_offset, err);
        if (s) {
            s = s == GRAFT_E_NOMEM ? s : GRAFT_E_COMPUTE;
            return gr_error_in(err, s, "step %zu '%s' (%s)", i, st->info.node, st->info.op);
        }
        if (seconds)
            seconds[i] += omp_get_wtime() - start;
    }
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
