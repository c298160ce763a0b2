/* How is the upper part of a network trained? */
#include "exec/trainer.h"
#include "base/mem.h"
#include "exec/trainer_steps.h"
#include <omp.h>
#include <sys/mman.h>

void gr_trainer_options_init(struct gr_trainer_options *o)
{
    *o = (struct gr_trainer_options){
        .batch = 32, .bn = GR_BN_FROZEN, .bn_momentum = 0.1, .precision = GR_PRECISION_FP32};
}

void gr_trainer_free(struct gr_trainer *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_steps; i++)
        if (t->steps[i].kernel)
            t->steps[i].kernel->unplan(t->steps[i].state);
    for (size_t i = 0; i < t->n_consts; i++)
        gr_tensor_clear(&t->consts[i]);
    gr_free(t->steps);
    gr_free(t->backs);
    gr_free(t->consts);
    gr_free(t->slots);
    gr_free(t->vars);
    gr_free(t->params);
    gr_free(t->stats);
    gr_free(t->again);
    gr_free(t->args);
    gr_free(t->given);
    gr_free_aligned(t->master);
    gr_free_aligned(t->running);
    gr_free_aligned(t->block);
    gr_inferred_clear(&t->types);
    gr_graph_free(t->graph);
    gr_arena_clear(&t->arena);
    gr_free(t);
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

static enum graft_status check_options(struct gr_trainer_options *o, struct graft_error *err)
{
    if (o->batch < 1)
        return gr_error(err, GRAFT_E_ARG, "batch is %lld, expected at least 1",
                        (long long)o->batch);
    if (!(o->bn_momentum >= 0 && o->bn_momentum <= 1))
        return gr_error(err, GRAFT_E_ARG, "bn_momentum is %g, expected 0 to 1", o->bn_momentum);
    if (o->precision == GR_PRECISION_AUTO)
        o->precision = gr_cpu_has_fast_bf16() ? GR_PRECISION_BF16 : GR_PRECISION_FP32;
    if (o->reference)
        o->precision = GR_PRECISION_FP32;
    if (o->precision == GR_PRECISION_BF16 && !gr_cpu_has_bf16())
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "this processor cannot multiply in bf16 (it has no AVX-512)");
    return GRAFT_OK;
}

enum graft_status gr_trainer_new(const struct gr_graph *graph, int output,
                                 const struct gr_shape *input_shapes, size_t n_params,
                                 const int *params, const struct gr_trainer_options *options,
                                 struct gr_trainer **trainer, struct graft_error *err)
{
    struct gr_trainer *t = gr_alloc_zero(1, sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    t->options = *options;
    enum graft_status s = check_options(&t->options, err);
    if (!s)
        s = train_plan(t, graph, output, input_shapes, n_params, params, err);
    if (!s) {
        t->block = gr_alloc_aligned(t->work_size, false);
        t->args = gr_alloc_zero(2 * (size_t)t->most_args + 2, sizeof *t->args);
        t->given = gr_alloc_zero(t->n_inputs + 1, sizeof *t->given);
        if (!t->block || !t->args || !t->given)
            s = gr_error_nomem(err);
    }
    if (s) {
        gr_trainer_free(t);
        return s;
    }
    ask_for_huge_pages(t->block, t->work_size);
    *trainer = t;
    return GRAFT_OK;
}

size_t gr_trainer_n_params(const struct gr_trainer *t)
{
    return t->n_params;
}

const struct gr_trainer_param *gr_trainer_get_param(const struct gr_trainer *t, size_t i)
{
    return &t->params[i];
}

size_t gr_trainer_size(const struct gr_trainer *t)
{
    return t->size;
}

float *gr_trainer_params(struct gr_trainer *t)
{
    return t->master;
}

float *gr_trainer_stats(struct gr_trainer *t, size_t *size)
{
    *size = t->stats_size;
    return t->running;
}

size_t gr_trainer_get_work_size(const struct gr_trainer *t)
{
    return t->work_size;
}

bool gr_trainer_is_alone(const struct gr_trainer *t)
{
    return t->alone;
}

enum gr_trainer_keep gr_trainer_get_keep(const struct gr_trainer *t)
{
    return t->keep;
}

static const void *address(const struct gr_trainer *t, int slot, const float *dlogits,
                           const float *grads)
{
    if (slot < 0)
        return NULL;
    const struct plan_slot *s = &t->slots[slot];
    switch (s->kind) {
    case SLOT_WORK:
        return t->block + s->offset;
    case SLOT_INPUT:
        return s->index < (int)t->n_inputs ? t->given[s->index] : dlogits;
    case SLOT_OUTPUT:
        return grads + t->params[s->index].offset;
    case SLOT_CONST:
        return s->data;
    }
    return NULL;
}

enum pass { PASS_FORWARD, PASS_AGAIN, PASS_BACKWARD };

static int slot_of(const struct gr_trainer *t, enum pass pass, int var)
{
    if (var < 0)
        return -1;
    int slot = t->vars[var].slot;
    return pass == PASS_FORWARD ? slot : train_late(t, slot);
}

static void tell(const struct gr_trainer *t, const struct train_step *st, enum train_moment m)
{
    if (t->watch)
        t->watch(t->watch_user, st, m);
}

/* One call of a step; `scratch` is a slot, or -1. */
static enum graft_status run_step(struct gr_trainer *t, const struct train_step *st, enum pass pass,
                                  bool training, int scratch, const float *dlogits, float *grads,
                                  struct graft_error *err)
{
    const bool back = pass == PASS_BACKWARD;
    const int saved = pass == PASS_FORWARD ? st->saved : train_late(t, st->saved);
    const void **in = t->args, **out = in + st->n_in, **dout = out + st->n_out,
               **din = dout + st->n_out;
    for (int i = 0; i < st->n_in; i++) {
        in[i] = address(t, slot_of(t, pass, st->in[i]), dlogits, grads);
        din[i] = back ? address(t, st->din[i], dlogits, grads) : NULL;
    }
    for (int i = 0; i < st->n_out; i++) {
        out[i] = address(t, slot_of(t, pass, st->out[i]), dlogits, grads);
        dout[i] = back ? address(t, st->dout[i], dlogits, grads) : NULL;
    }
    struct gr_train_pass p = {.n_in = st->n_in,
                              .in = in,
                              .out = (void **)(uintptr_t)out,
                              .saved = (void *)(uintptr_t)address(t, saved, NULL, NULL),
                              .scratch =
                                  scratch < 0 ? t->block : t->block + t->slots[scratch].offset,
                              .training = training,
                              .again = pass == PASS_AGAIN,
                              .step = t->step};
    enum graft_status s;
    tell(t, st, TRAIN_BEGIN);
    if (back) {
        p.dout = dout;
        p.din = (void **)(uintptr_t)din;
        s = st->kernel->backward(st->state, &p, err);
    } else {
        s = st->kernel->forward(st->state, &p, err);
    }
    tell(t, st, back ? TRAIN_BACKWARD : TRAIN_FORWARD);
    if (s) {
        s = s == GRAFT_E_NOMEM ? s : GRAFT_E_COMPUTE;
        return gr_error_in(err, s, "'%s' (%s)%s", st->node, st->op, back ? ", backward" : "");
    }
    return GRAFT_OK;
}

/* As many threads as it was planned for; returns what to go back to. */
static int take_threads(const struct gr_trainer *t)
{
    const int threads = omp_get_max_threads();
    if (t->alone)
        omp_set_num_threads(1);
    return threads;
}

enum graft_status gr_trainer_forward(struct gr_trainer *t, const void *const *inputs, bool training,
                                     uint64_t step, float *logits, struct graft_error *err)
{
    const int threads = take_threads(t);
    enum graft_status s = GRAFT_OK;
    t->trained = false;
    t->step = step;
    for (size_t i = 0; i < t->n_inputs; i++)
        t->given[i] = inputs[i];
    for (size_t i = 0; !s && i < t->n_steps; i++) {
        const struct train_step *st = &t->steps[i];
        if (st->kernel)
            s = run_step(t, st, PASS_FORWARD, training, st->scratch, NULL, NULL, err);
    }
    omp_set_num_threads(threads);
    if (s)
        return s;
    memcpy(logits, address(t, t->logits, NULL, NULL), t->logits_size);
    t->trained = training;
    return GRAFT_OK;
}

enum graft_status gr_trainer_backward(struct gr_trainer *t, const float *dlogits, float *grads,
                                      struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    if (!t->trained)
        return gr_error(err, GRAFT_E_ARG, "backward needs a forward for training before it");
    const int threads = take_threads(t);
    for (size_t i = 0; i < t->n_vars; i++) { /* what the logits do not depend on */
        const struct train_var *v = &t->vars[i];
        if (v->param >= 0 && v->grad < 0)
            memset(grads + t->params[v->param].offset, 0,
                   t->params[v->param].count * sizeof *grads);
    }
    for (size_t i = 0; !s && i < t->n_backs; i++) {
        const struct train_back *b = &t->backs[i];
        void *dst = (void *)(uintptr_t)address(t, b->dst, dlogits, grads);
        const void *src = address(t, b->src, dlogits, grads);
        if (b->kind == BACK_STEP || b->kind == BACK_AGAIN) {
            s = run_step(t, &t->steps[b->step], b->kind == BACK_STEP ? PASS_BACKWARD : PASS_AGAIN,
                         true, b->scratch, dlogits, grads, err);
            continue;
        }
        tell(t, NULL, TRAIN_BEGIN);
        if (b->kind == BACK_ADD)
            gr_train_add(b->dtype, dst, src, b->count);
        else
            memcpy(dst, src, b->count);
        tell(t, NULL, TRAIN_BACKWARD);
    }
    omp_set_num_threads(threads);
    t->trained = false;
    return s;
}

static enum graft_status store(struct gr_graph *g, int value, const struct gr_shape *shape,
                               const float *data, struct graft_error *err)
{
    struct gr_tensor tensor = {0};
    enum graft_status s = gr_tensor_from(GR_F32, shape, data, &tensor, err);
    if (!s)
        s = gr_graph_set_const(g, value, &tensor, err);
    gr_tensor_clear(&tensor);
    return s;
}

enum graft_status gr_trainer_store(const struct gr_trainer *t, struct gr_graph *graph,
                                   struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < t->n_params; i++) {
        const int v = t->params[i].value;
        if ((size_t)v >= graph->n_values || strcmp(graph->values[v].name, t->params[i].name) != 0)
            s = gr_error(err, GRAFT_E_ARG, "'%s' is not value %d of the graph", t->params[i].name,
                         v);
        else
            s = store(graph, v, &t->params[i].shape, t->master + t->params[i].offset, err);
    }
    for (size_t i = 0; !s && i < t->n_stats; i++) {
        const struct train_stats *b = &t->stats[i];
        struct gr_shape shape = graph->values[b->mean].type.shape;
        s = store(graph, b->mean, &shape, t->running + b->offset, err);
        if (!s)
            s = store(graph, b->var, &shape, t->running + b->offset + b->count, err);
    }
    return s;
}
