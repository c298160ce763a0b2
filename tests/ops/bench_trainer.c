/* How long does a training step of a whole network take, and where? Not a test: the target
   bench_trainer is built on request. */
#include "base/mem.h"
#include "base/rng.h"
#include "exec/trainer_steps.h"
#include "job/job.h"
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KINDS = 400 };

struct row {
    char name[80];
    double seconds;
    int n;
};

struct watch {
    struct row row[KINDS];
    int n_rows;
    bool each; /* every step has a row of its own, not every kind */
    double start;
};

/* With one thread the processor's time, in which others on the machine do not count. */
static double now(void)
{
    struct timespec t;
    clock_gettime(omp_get_max_threads() > 1 ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void watch_step(void *user, const struct train_step *st, enum train_moment m)
{
    struct watch *w = user;
    char name[80];
    int i;
    if (m == TRAIN_BEGIN) {
        w->start = now();
        return;
    }
    double took = now() - w->start;
    snprintf(name, sizeof name, "%s %s %s %.40s", m == TRAIN_FORWARD ? "forward " : "backward",
             st ? st->op : "sum of gradients", st ? st->impl : "", w->each && st ? st->node : "");
    for (i = 0; i < w->n_rows && strcmp(w->row[i].name, name); i++)
        ;
    if (i == KINDS)
        return;
    if (i == w->n_rows) {
        strcpy(w->row[i].name, name);
        w->n_rows++;
    }
    w->row[i].seconds += took;
    w->row[i].n++;
}

static int by_time(const void *a, const void *b)
{
    double x = ((const struct row *)a)->seconds, y = ((const struct row *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return fprintf(stderr, "usage: bench_trainer MODEL BATCH fp32|bf16 frozen|adapt|train "
                               "STEPS [kinds|steps]\n"),
               2;
    struct graft_error err = {0};
    struct gr_model m = {0};
    struct gr_type *types = NULL;
    struct gr_trainer *t = NULL;
    struct gr_trainer_options o;
    struct watch w = {.each = argc > 6 && !strcmp(argv[6], "steps")};
    struct graft_load_options load;
    static const char *const modes[] = {"frozen", "adapt", "train"};
    int steps = atoi(argv[5]), *params = NULL, code = 1;
    size_t n_params = 0, n_in, n_out;
    float *in = NULL, *logits = NULL, *dlogits = NULL, *grads = NULL, *velocity = NULL;
    graft_load_options_init(&load);
    gr_trainer_options_init(&o);
    o.batch = atoi(argv[2]);
    o.precision = strcmp(argv[3], "bf16") ? GR_PRECISION_FP32 : GR_PRECISION_BF16;
    for (int i = 0; i < 3; i++)
        if (!strcmp(argv[4], modes[i]))
            o.bn = (enum gr_bn_mode)i;
    if (gr_job_open_model(argv[1], &load, &m, &err) ||
        gr_job_input_types(&m, o.batch, &types, &err))
        goto out;
    struct gr_graph *g = m.graph;
    params = gr_alloc_array(g->n_values + 1, sizeof *params);
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 1; k < g->nodes[i].n_in && k < 3; k++) {
            int v = g->nodes[i].in[k];
            if (v >= 0 && gr_value_is_const(&g->values[v]) && g->values[v].data.dtype == GR_F32 &&
                g->values[v].data.shape.rank > 0 &&
                !(o.bn == GR_BN_FROZEN && train_is_bn(&g->nodes[i])))
                params[n_params++] = v;
        }
    if (gr_trainer_new(g, g->outputs[0], &types[0].shape, n_params, params, &o, &t, &err))
        goto out;
    n_in = (size_t)gr_shape_count(&types[0].shape);
    n_out = t->logits_size / sizeof *logits;
    in = gr_alloc_aligned(n_in * sizeof *in, false);
    logits = gr_alloc_array(n_out, sizeof *logits);
    dlogits = gr_alloc_array(n_out, sizeof *dlogits);
    grads = gr_alloc_aligned(t->size * sizeof *grads, true);
    velocity = gr_alloc_aligned(t->size * sizeof *velocity, true);
    if (!in || !logits || !dlogits || !grads || !velocity)
        goto out;
    for (size_t i = 0; i < n_in; i++)
        in[i] = (float)gr_rng_normal(1, 0, i);
    for (size_t i = 0; i < n_out; i++)
        dlogits[i] = (float)gr_rng_normal(2, 0, i) / (float)n_out;
    double best = 1e9, back = 0, front = 0;
    for (int i = -2; i < steps; i++) {
        if (i == 0 && argc > 6) {
            t->watch = watch_step;
            t->watch_user = &w;
        }
        double a = now();
        if (gr_trainer_forward(t, (const void *[]){in}, true, (uint64_t)(i + 2), logits, &err))
            goto out;
        double b = now();
        if (gr_trainer_backward(t, dlogits, grads, &err))
            goto out;
        double c = now();
        for (size_t k = 0; k < t->size; k++) {
            velocity[k] = 0.9f * velocity[k] + grads[k];
            t->master[k] -= 1e-6f * velocity[k];
        }
        double d = now();
        if (d - a < best) {
            best = d - a;
            front = b - a;
            back = c - b;
        }
    }
    printf(
        "%s batch %lld %s bn %s: %.1f img/s, %.1f ms (forward %.1f, backward %.1f, update %.1f), "
        "%.0f MB\n",
        argv[1], (long long)o.batch, argv[3], argv[4], (double)o.batch / best, best * 1e3,
        front * 1e3, back * 1e3, (best - front - back) * 1e3, (double)t->work_size * 1e-6);
    qsort(w.row, (size_t)w.n_rows, sizeof *w.row, by_time);
    for (int i = 0; i < w.n_rows && i < 45; i++)
        printf("%9.3f ms %5d  %s\n", w.row[i].seconds * 1e3 / steps, w.row[i].n / steps,
               w.row[i].name);
    code = 0;
out:
    if (code)
        fprintf(stderr, "%s\n", err.message);
    gr_trainer_free(t);
    gr_model_clear(&m);
    gr_free(types);
    gr_free(params);
    gr_free_aligned(in);
    gr_free(logits);
    gr_free(dlogits);
    gr_free_aligned(grads);
    gr_free_aligned(velocity);
    return code;
}
