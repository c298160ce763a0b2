/* How long does each step of a network take, and how far is that from what the machine could do? */
#include "base/events.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/rng.h"
#include "core/kernel.h"
#include "core/peak.h"
#include "exec/ranges.h"
#include "exec/trainer.h"
#include "job/job.h"
#include "job/tune.h"
#include "train/optim.h"
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_RUNS = 5, MOST_RUNS = 200, MOST_THREADS = 1024 };
#define PEAK_SECONDS 0.02
#define MOST_BYTES   ((size_t)4 << 30)

/* The public struct first; what it points to is in the arena, or here. */
struct result {
    struct graft_bench_result r;
    struct gr_arena arena;
    struct gr_peaks peaks;
};

struct bench {
    const struct graft_bench_options *o;
    const struct graft_events *ev;
    struct gr_model m;
    struct gr_graph *graph; /* a copy with a free batch */
    struct gr_type *types;  /* of its inputs */
    void **inputs, **outputs;
    struct gr_plan *plan;
    struct gr_exec *exec;
    struct gr_trainer *trainer;
    struct gr_moving moving; /* its `upper` is what trains, where not the whole network does */
    struct gr_optim optim;   /* the last of a training step's steps */
    float *dlogits, *grads;
    size_t n_steps;
    double *seconds; /* n_steps per run */
    double whole[MOST_RUNS];
    int runs;
    struct result *out;
};

void graft_bench_result_free(struct graft_bench_result *r)
{
    struct result *p = (struct result *)r;
    if (!p)
        return;
    gr_arena_clear(&p->arena);
    gr_free(p);
}

static void bench_clear(struct bench *b)
{
    for (size_t i = 0; b->inputs && i < b->graph->n_inputs; i++)
        gr_free_aligned(b->inputs[i]);
    for (size_t i = 0; b->outputs && i < b->graph->n_outputs; i++)
        gr_free_aligned(b->outputs[i]);
    gr_free(b->inputs);
    gr_free(b->outputs);
    gr_exec_free(b->exec);
    gr_plan_free(b->plan);
    gr_trainer_free(b->trainer);
    gr_optim_clear(&b->optim);
    gr_moving_clear(&b->moving);
    gr_free_aligned(b->dlogits);
    gr_free_aligned(b->grads);
    gr_free(b->seconds);
    gr_free(b->types);
    gr_graph_free(b->graph);
    gr_model_clear(&b->m);
    graft_bench_result_free(b->out ? &b->out->r : NULL);
}

/* ---- made ready ------------------------------------------------------------------------------ */

static enum graft_status read_model(struct bench *b, struct graft_error *err)
{
    struct gr_type *one = NULL;
    enum graft_status s = gr_job_open_model(b->o->model, &b->o->load, &b->m, err);
    if (!s)
        s = gr_graph_copy(b->m.graph, &b->graph, err);
    if (!s && !(b->graph->n_inputs && b->graph->n_outputs))
        s = gr_error(err, GRAFT_E_FORMAT, "%s: a network with %zu inputs and %zu outputs",
                     b->m.path, b->graph->n_inputs, b->graph->n_outputs);
    if (!s && b->o->batch > 1 && b->graph->n_inputs == 1) {
        s = gr_job_input_types(&b->m, 1, &one, err);
        if (!s) {
            b->graph->values[b->graph->inputs[0]].type = one[0];
            s = gr_graph_free_batch(b->graph, err);
        }
    }
    if (!s)
        s = gr_job_input_types(&b->m, b->o->batch, &b->types, err);
    gr_free(one);
    return s;
}

/* Numbers as pictures have them after preprocessing; 0 for what is not a float. */
static enum graft_status make_inputs(struct bench *b, struct graft_error *err)
{
    b->inputs = gr_alloc_zero(b->graph->n_inputs, sizeof *b->inputs);
    if (!b->inputs)
        return gr_error_nomem(err);
    for (size_t i = 0; i < b->graph->n_inputs; i++) {
        const struct gr_type *t = &b->types[i];
        const size_t count = (size_t)gr_shape_count(&t->shape);
        size_t size = gr_is_float(t->dtype) ? sizeof(float) : gr_dtype_size(t->dtype);
        if (!gr_mul_size(count, size, &size) || size > MOST_BYTES)
            return gr_error(err, GRAFT_E_LIMIT, "%s: input '%s' has %zu numbers", b->m.path,
                            b->graph->values[b->graph->inputs[i]].name, count);
        float *x = b->inputs[i] = gr_alloc_aligned(size, true);
        if (!x)
            return gr_error_nomem(err);
        for (size_t k = 0; t->dtype == GR_F32 && k < count; k++)
            x[k] = (float)gr_rng_normal(1, i, k);
    }
    return GRAFT_OK;
}

/* Every output has the batch first, so that it can be cut into parts. */
static bool divides(const struct gr_plan *p, int64_t batch)
{
    for (size_t i = 0; i < gr_plan_n_outputs(p); i++) {
        const struct gr_shape *y = &gr_plan_get_output(p, i)->shape;
        if (!y->rank || y->dim[0] != batch)
            return false;
    }
    return true;
}

/* Those of the model, or of the first examples that will be timed. */
static enum graft_status find_ranges(struct bench *b, const struct gr_shape *shapes,
                                     struct gr_ranges *r, struct graft_error *err)
{
    const char *text = gr_model_get_prop(&b->m, "graft.int8");
    struct gr_calibrator *c = NULL;
    if (text)
        return gr_job_parse_ranges(text, r, err);
    enum graft_status s = gr_calibrator_new(b->graph, shapes, &c, err);
    if (!s)
        s = gr_calibrator_look(c, (const void *const *)b->inputs, err);
    if (!s)
        s = gr_calibrator_get_ranges(c, r, err);
    if (!s)
        gr_note(b->ev, "precision",
                "int8: ranges of %zu values, from the random input that is timed", r->n);
    gr_calibrator_free(c);
    return s;
}

static enum graft_status plan_forward(struct bench *b, struct graft_error *err)
{
    struct graft_bench_result *r = &b->out->r;
    const struct gr_graph *g = b->graph;
    struct gr_plan_options po;
    struct gr_ranges ranges = {0};
    enum graft_status s = GRAFT_OK;
    struct gr_shape *shapes = gr_alloc_array(g->n_inputs, sizeof *shapes);
    if (!shapes)
        return gr_error_nomem(err);
    for (size_t i = 0; i < g->n_inputs; i++)
        shapes[i] = b->types[i].shape;
    gr_plan_options_init(&po);
    po.batch = b->o->batch;
    po.precision = gr_model_precision(&b->m, b->o->precision);
    po.ranges = &ranges;
    po.parts = g->n_inputs == 1 ? gr_plan_usual_parts(po.batch) : 1;
    if (po.precision == GR_PRECISION_INT8)
        s = find_ranges(b, shapes, &ranges, err);
    if (!s)
        s = gr_plan_new(g, 0, NULL, shapes, &po, &b->plan, err);
    if (!s && po.parts > 1 && !divides(b->plan, po.batch)) {
        gr_plan_free(b->plan);
        b->plan = NULL;
        po.parts = 1;
        s = gr_plan_new(g, 0, NULL, shapes, &po, &b->plan, err);
    }
    gr_free(shapes);
    gr_ranges_clear(&ranges);
    if (!s)
        s = gr_exec_new(b->plan, &b->exec, err);
    if (!s && !(b->outputs = gr_alloc_zero(g->n_outputs, sizeof *b->outputs)))
        s = gr_error_nomem(err);
    for (size_t i = 0; !s && i < g->n_outputs; i++) {
        const struct gr_type *y = gr_plan_get_output(b->plan, i);
        const size_t size = (size_t)gr_shape_count(&y->shape) * gr_dtype_size(y->dtype);
        if (!(b->outputs[i] = gr_alloc_aligned(size, true)))
            s = gr_error_nomem(err);
    }
    if (s)
        return s;
    b->n_steps = gr_plan_n_steps(b->plan);
    r->parts = po.parts;
    r->precision = gr_precision_told(gr_plan_get_precision(b->plan));
    r->weights_size = gr_plan_get_weights_size(b->plan);
    r->work_size = gr_plan_get_work_size(b->plan);
    return GRAFT_OK;
}

/* Weights and biases of all layers; the trainer leaves those of batch-norms out. */
static size_t find_params(const struct gr_graph *g, int *params, bool *seen)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 1; k < g->nodes[i].n_in && k < 3; k++) {
            const int v = g->nodes[i].in[k];
            if (v < 0 || seen[v] || !gr_value_is_const(&g->values[v]) ||
                g->values[v].data.dtype != GR_F32 || !g->values[v].data.shape.rank)
                continue;
            seen[v] = true;
            params[n++] = v;
        }
    return n;
}

/* What moves, as fine-tuning would have it: the graph and its input are those of that part then. */
static enum graft_status choose_part(struct bench *b, enum gr_bn_mode bn, struct graft_error *err)
{
    struct gr_inferred types = {0};
    struct gr_graph *backbone = NULL;
    struct gr_head_site head;
    enum graft_status s = gr_graph_infer(b->graph, b->types, 0, NULL, &types, err);
    if (!s)
        s = gr_graph_find_head(b->graph, &types, &head, err);
    if (!s && head.node < 0)
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "no classifier at the network's end");
    if (!s)
        s = gr_graph_copy(b->graph, &backbone, err);
    if (!s)
        s = gr_graph_cut(backbone, 1, &head.features, err);
    if (!s && backbone->n_nodes != (size_t)head.node)
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "other nodes lie between those of the head");
    if (!s)
        s = gr_moving_choose(&b->m, backbone, b->graph, b->o->unfreeze, bn, &b->moving, err);
    gr_graph_free(backbone);
    gr_inferred_clear(&types);
    if (s)
        return s;
    gr_note(b->ev, "bench", "%s", b->moving.text);
    gr_graph_free(b->graph);
    b->graph = b->moving.upper;
    b->moving.upper = NULL;
    if (!b->moving.from_pictures) {
        b->types[0] = (struct gr_type){GR_F32, b->moving.border_shape};
        b->types[0].shape.dim[0] = b->o->batch;
    }
    return GRAFT_OK;
}

static enum graft_status plan_training(struct bench *b, struct graft_error *err)
{
    struct graft_bench_result *r = &b->out->r;
    const bool bf16 = b->o->precision == GRAFT_PRECISION_BF16;
    struct gr_trainer_options to;
    struct gr_optim_options oo;
    gr_trainer_options_init(&to);
    gr_optim_options_init(&oo, GR_OPTIM_SGD);
    to.batch = b->o->batch;
    to.max_work = MOST_BYTES;
    to.bn = (enum gr_bn_mode)gr_bn_mode_find(b->o->bn);
    to.precision = bf16 ? GR_PRECISION_BF16 : GR_PRECISION_FP32;
    if (b->o->unfreeze) {
        const enum graft_status s = choose_part(b, to.bn, err);
        if (s)
            return s;
    }
    const struct gr_graph *g = b->graph;
    const int logits = b->o->unfreeze ? b->moving.logits : g->outputs[0];
    struct gr_shape *shapes = gr_alloc_array(g->n_inputs, sizeof *shapes);
    int *params = gr_alloc_array(g->n_values + 1, sizeof *params);
    bool *seen = gr_alloc_zero(g->n_values, sizeof *seen);
    enum graft_status s = shapes && params && seen ? GRAFT_OK : gr_error_nomem(err);
    for (size_t i = 0; !s && i < g->n_inputs; i++) {
        shapes[i] = b->types[i].shape;
        if (b->types[i].dtype != GR_F32)
            s = gr_error(err, GRAFT_E_UNSUPPORTED, "input '%s' is %s, training needs float32",
                         g->values[g->inputs[i]].name, gr_dtype_name(b->types[i].dtype));
    }
    if (!s && b->o->unfreeze)
        s = gr_trainer_new(g, logits, shapes, b->moving.n_params, b->moving.params, &to,
                           &b->trainer, err);
    else if (!s)
        s = gr_trainer_new(g, logits, shapes, find_params(g, params, seen), params, &to,
                           &b->trainer, err);
    if (!s && gr_trainer_get_work_size(b->trainer) > MOST_BYTES)
        s = gr_error(err, GRAFT_E_LIMIT, "a batch of %d needs %zu MB, the limit is %zu MB",
                     b->o->batch, gr_trainer_get_work_size(b->trainer) >> 20, MOST_BYTES >> 20);
    gr_free(seen);
    gr_free(shapes);
    gr_free(params);
    if (s)
        return s;
    const size_t n = gr_trainer_n_logits(b->trainer), size = gr_trainer_size(b->trainer);
    const struct gr_optim_group all = {.count = size, .lr_scale = 1};
    s = gr_optim_init(&b->optim, &oo, size, &all, 1, NULL, err);
    if (s)
        return s;
    b->outputs = gr_alloc_zero(g->n_outputs, sizeof *b->outputs);
    if (!b->outputs || !(b->outputs[0] = gr_alloc_aligned(n * sizeof(float), true)))
        return gr_error_nomem(err);
    b->dlogits = gr_alloc_aligned(n * sizeof(float), true);
    b->grads = gr_alloc_aligned(size * sizeof(float), true);
    if (!b->dlogits || !b->grads)
        return gr_error_nomem(err);
    for (size_t i = 0; i < n; i++)
        b->dlogits[i] = (float)gr_rng_normal(2, 0, i) / (float)n;
    if (gr_trainer_is_alone(b->trainer) && omp_get_max_threads() > 1)
        gr_note(b->ev, "bench", "a step is so small that one thread does it all");
    b->n_steps = gr_trainer_n_moments(b->trainer) + 1;
    r->parts = 1;
    r->precision = bf16 ? GRAFT_PRECISION_BF16 : GRAFT_PRECISION_FP32;
    r->weights_size = 3 * size * sizeof(float);
    r->work_size = gr_trainer_get_work_size(b->trainer);
    return GRAFT_OK;
}

/* ---- timed ----------------------------------------------------------------------------------- */

/* A rate at which the weights stay as they are for as long as this takes. */
#define RATE 1e-9

static enum graft_status run_training(struct bench *b, double *seconds, struct graft_error *err)
{
    const void *const *in = (const void *const *)b->inputs;
    enum graft_status s;
    if (seconds) {
        s = gr_trainer_time(b->trainer, in, 0, b->outputs[0], b->dlogits, b->grads, seconds, err);
    } else {
        s = gr_trainer_forward(b->trainer, in, true, 0, b->outputs[0], err);
        if (!s)
            s = gr_trainer_backward(b->trainer, b->dlogits, b->grads, err);
    }
    const double start = gr_seconds();
    if (!s)
        gr_optim_step(&b->optim, RATE, gr_trainer_params(b->trainer), b->grads);
    if (seconds)
        seconds[b->n_steps - 1] = gr_seconds() - start;
    return s;
}

/* A whole run where `seconds` is NULL, else each step. */
static enum graft_status run(struct bench *b, double *seconds, struct graft_error *err)
{
    const void *const *in = (const void *const *)b->inputs;
    if (b->trainer)
        return run_training(b, seconds, err);
    if (seconds)
        return gr_exec_time(b->exec, in, b->outputs, 1, seconds, err);
    return gr_exec_run(b->exec, in, b->outputs, err);
}

/* Whole runs and watched ones in turn, until the time is over. */
static enum graft_status measure(struct bench *b, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    b->seconds = gr_alloc_zero(b->n_steps * MOST_RUNS + 1, sizeof *b->seconds);
    if (!b->seconds)
        return gr_error_nomem(err);
    double start = gr_seconds();
    s = run(b, NULL, err);
    b->out->r.first_seconds = gr_seconds() - start;
    const double began = gr_seconds();
    while (!s && b->runs < MOST_RUNS &&
           (b->runs < LEAST_RUNS || gr_seconds() - began < b->o->seconds)) {
        if (gr_cancelled(b->ev, err))
            return GRAFT_E_CANCELLED;
        start = gr_seconds();
        s = run(b, NULL, err);
        b->whole[b->runs] = gr_seconds() - start;
        if (!s)
            s = run(b, b->seconds + (size_t)b->runs * b->n_steps, err);
        b->runs++;
        gr_progress(b->ev, "bench", b->runs, MOST_RUNS, "runs");
    }
    return s;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* ---- told ------------------------------------------------------------------------------------ */

/* Weights and momenta, read and written, and gradients. */
static void tell_optimiser(const struct bench *b, struct gr_step_info *info, bool *backward)
{
    *info = (struct gr_step_info){.node = "", .op = "SGD", .kernel = "", .fused = ""};
    info->bytes = 5.0 * sizeof(float) * (double)b->optim.n;
    *backward = true;
}

static enum graft_status tell_steps(struct bench *b, struct graft_error *err)
{
    struct result *out = b->out;
    const bool bf16 = out->r.precision == GRAFT_PRECISION_BF16 ||
                      (out->r.precision == GRAFT_PRECISION_INT8 && gr_cpu_has_fast_bf16());
    struct graft_bench_step *steps = gr_arena_alloc(&out->arena, (b->n_steps + 1) * sizeof *steps);
    if (!steps)
        return gr_error_nomem(err);
    for (size_t i = 0; i < b->n_steps; i++) {
        struct graft_bench_step *to = &steps[i];
        struct gr_step_info info;
        double seconds[MOST_RUNS];
        if (b->trainer && i + 1 == b->n_steps)
            tell_optimiser(b, &info, &to->backward);
        else if (b->trainer)
            gr_trainer_get_moment(b->trainer, i, &info, &to->backward);
        else
            gr_plan_get_step(b->plan, i, &info);
        to->node = gr_arena_strdup(&out->arena, info.node ? info.node : "");
        to->op = gr_arena_strdup(&out->arena, info.op);
        to->kernel = gr_arena_strdup(&out->arena, info.kernel ? info.kernel : "");
        to->fused = gr_arena_strdup(&out->arena, info.fused);
        if (!to->node || !to->op || !to->kernel || !to->fused)
            return gr_error_nomem(err);
        to->rank = info.out.shape.rank;
        memcpy(to->shape, info.out.shape.dim, sizeof to->shape);
        if (to->rank) /* what the plan says is about one part */
            to->shape[0] *= out->r.parts;
        to->flops = 2 * info.macs * out->r.parts;
        to->bytes = info.bytes * out->r.parts;
        for (int k = 0; k < b->runs; k++)
            seconds[k] = b->seconds[(size_t)k * b->n_steps + i];
        to->seconds = median(seconds, b->runs);
        const struct gr_peaks *p = &out->peaks;
        const double peak = info.int8 ? p->int8 : bf16 ? p->bf16 : p->fp32;
        const double least = gr_peaks_least(p, peak, to->flops, to->bytes);
        to->share = to->seconds > 0 ? least / to->seconds : 0;
        out->r.step_seconds += to->seconds;
    }
    out->r.steps = steps;
    out->r.n_steps = (int)b->n_steps;
    return GRAFT_OK;
}

static enum graft_status tell(struct bench *b, struct graft_error *err)
{
    struct graft_bench_result *r = &b->out->r;
    struct gr_peaks *p = &b->out->peaks;
    size_t now;
    r->batch = b->o->batch;
    r->threads = p->threads;
    r->runs = b->runs;
    r->seconds = median(b->whole, b->runs);
    gr_process_memory(&now, &r->process_size);
    r->peaks = (struct graft_bench_peaks){PEAK_SECONDS,  p->fp32, p->bf16, p->int8,
                                          GR_PEAK_SIZES, p->size, p->bytes};
    return tell_steps(b, err);
}

static enum graft_status check_options(const struct graft_bench_options *o, struct graft_error *err)
{
    if (!o->model)
        return gr_error(err, GRAFT_E_ARG, "a model must be given");
    if (o->batch < 1 || o->batch > 65536)
        return gr_error(err, GRAFT_E_ARG, "the batch is %d, expected 1 to 65536", o->batch);
    if (o->threads < 0 || o->threads > MOST_THREADS)
        return gr_error(err, GRAFT_E_ARG, "%d threads, expected 0 to %d", o->threads, MOST_THREADS);
    if ((unsigned)o->precision > GRAFT_PRECISION_INT8)
        return gr_error(err, GRAFT_E_ARG, "unknown precision %d", (int)o->precision);
    if (o->train && o->precision == GRAFT_PRECISION_INT8)
        return gr_error(err, GRAFT_E_ARG, "training in int8 is not possible; fp32 or bf16 are");
    if (gr_bn_mode_find(o->bn) < 0)
        return gr_error(err, GRAFT_E_ARG, "batch-norm is '%s', expected frozen, adapt or train",
                        o->bn);
    if (!(o->seconds >= 0 && o->seconds <= 3600))
        return gr_error(err, GRAFT_E_ARG, "%g seconds, expected 0 to 3600", o->seconds);
    return GRAFT_OK;
}

enum graft_status graft_bench(const struct graft_bench_options *o, const struct graft_events *ev,
                              struct graft_bench_result **result, struct graft_error *err)
{
    const int threads = omp_get_max_threads();
    struct bench *b = NULL;
    enum graft_status s = check_options(o, err);
    if (s)
        return s;
    b = gr_alloc_zero(1, sizeof *b);
    if (!b || !(b->out = gr_alloc_zero(1, sizeof *b->out))) {
        gr_free(b);
        return gr_error_nomem(err);
    }
    b->o = o;
    b->ev = ev;
    if (o->threads)
        omp_set_num_threads(o->threads);
    double start = gr_seconds();
    s = read_model(b, err);
    b->out->r.read_seconds = gr_seconds() - start;
    if (!s)
        gr_job_tell_notes(&b->m, ev);
    if (!s)
        s = gr_cpu_measure(omp_get_max_threads(), PEAK_SECONDS, &b->out->peaks, err);
    if (!s && !o->train)
        s = make_inputs(b, err);
    start = gr_seconds();
    if (!s) {
        s = o->train ? plan_training(b, err) : plan_forward(b, err);
        if (s)
            gr_error_in(err, gr_job_size_error(&b->m, s, err), "%s", b->m.path);
    }
    b->out->r.plan_seconds = gr_seconds() - start;
    if (!s && o->train) /* the part that moves has another input */
        s = make_inputs(b, err);
    if (!s)
        s = measure(b, err);
    if (!s)
        s = tell(b, err);
    if (!s) {
        *result = &b->out->r;
        b->out = NULL;
    }
    omp_set_num_threads(threads);
    bench_clear(b);
    gr_free(b);
    return s;
}
