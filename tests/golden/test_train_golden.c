/* Does training compute what PyTorch computes? Ten losses, the first gradients and the statistics
   of whole networks, batch-norm frozen and in training; transformer encoders as it exports them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "exec/trainer.h"
#include "formats/onnx.h"
#include "golden/zoo_nets.h"
#include "zoo/zoo.h"

enum { BATCH = 4, STEPS = 10, CLASSES = 10, MAX = 2000, PROBES = 3, WORDS = 40 };

static void check(enum graft_status s, const struct graft_error *err, const char *what)
{
    if (s)
        fail_msg("%s: %s", what, err->message);
}

static size_t read_numbers(FILE *f, double *v)
{
    char *text = NULL, *end;
    size_t cap = 0, n = 0;
    assert_true(getline(&text, &cap, f) > 0);
    char *p = text;
    for (double d = strtod(p, &end); end != p && n < MAX; d = strtod(p, &end)) {
        v[n++] = d;
        p = end;
    }
    free(text);
    return n;
}

static bool has(const struct gr_weights *w, const char *layer, const char *end)
{
    char name[300];
    snprintf(name, sizeof name, "%s%s", layer, end);
    return gr_weights_find(w, name) >= 0;
}

/* The parameters in the order of the file; all, or all but those of batch-norms. */
static int find_params(const struct golden_net *net, const struct gr_graph *g, bool with_bn,
                       int *params)
{
    int n = 0;
    for (size_t i = 0; i < net->weights.n; i++) {
        const char *name = net->weights.items[i].name, *dot = strrchr(name, '.');
        char layer[300];
        snprintf(layer, sizeof layer, "%.*s", (int)(dot - name), name);
        if ((strcmp(dot, ".weight") && strcmp(dot, ".bias")) ||
            (!with_bn && has(&net->weights, layer, ".running_mean")))
            continue;
        params[n] = gr_graph_find_value(g, name);
        if (params[n] < 0)
            fail_msg("%s: the network has no '%s'", net->title, name);
        n++;
    }
    return n;
}

/* Mean cross-entropy, and its gradient. */
static double loss_of(const float *logits, float *dlogits)
{
    double loss = 0;
    for (int n = 0; n < BATCH; n++) {
        const float *l = logits + n * CLASSES;
        double top = -INFINITY, sum = 0;
        int y = n * 3 % 10;
        for (int i = 0; i < CLASSES; i++)
            top = fmax(top, (double)l[i]);
        for (int i = 0; i < CLASSES; i++)
            sum += exp((double)l[i] - top);
        loss += (log(sum) + top - (double)l[y]) / BATCH;
        for (int i = 0; i < CLASSES; i++)
            dlogits[n * CLASSES + i] = (float)((exp((double)l[i] - top) / sum - (i == y)) / BATCH);
    }
    return loss;
}

static double length(const float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

/* Of a gradient, its length and its products with random vectors: returns the worst error as a part
   of the length, of `least` more: some are 0 but for rounding. */
static double gradient_error(const struct gr_trainer_param *p, const float *grads,
                             const double *want, double least)
{
    const float *g = grads + p->offset;
    double worst = fabs(length(g, p->count) - want[0]);
    float *probe = gr_alloc_array(p->count, sizeof *probe);
    for (int k = 0; k < PROBES; k++) {
        double got = 0;
        char name[32];
        snprintf(name, sizeof name, "probe%d", k);
        golden_uniform(name, probe, p->count, 2, -1);
        for (size_t i = 0; i < p->count; i++)
            got += (double)g[i] * (double)probe[i];
        double off = fabs(got - want[1 + k]);
        worst = off <= worst ? worst : off;
    }
    gr_free(probe);
    return worst / (want[0] + least);
}

/* A step with momentum 0.9. */
static void descend(size_t n, float *p, const float *grads, float *moved, double rate)
{
    for (size_t i = 0; i < n; i++) {
        moved[i] = 0.9f * moved[i] + grads[i];
        p[i] -= (float)rate * moved[i];
    }
}

/* One network in one mode; returns the worst relative error of a loss. */
static double train(const struct golden_net *net, const struct gr_model *m, bool bn_train,
                    double rate, int picture, FILE *f, double *worst_grad)
{
    static double losses[MAX], grads_want[MAX], stats_want[MAX];
    struct gr_trainer_options o;
    struct gr_trainer *t = NULL;
    struct graft_error err = {0};
    struct gr_shape shape = gr_shape_from(4, (int64_t[]){BATCH, 3, net->height, net->width});
    size_t n_x = (size_t)gr_shape_count(&shape), n_stats;
    int params[MAX], n_params = find_params(net, m->graph, bn_train, params);
    float logits[BATCH * CLASSES], dlogits[BATCH * CLASSES];
    double worst = 0;
    char name[32];
    assert_int_equal(read_numbers(f, losses), STEPS);
    assert_int_equal(read_numbers(f, grads_want), (1 + PROBES) * n_params);
    size_t n_want = read_numbers(f, stats_want);
    gr_trainer_options_init(&o);
    o.batch = BATCH;
    o.bn = bn_train ? GR_BN_TRAIN : GR_BN_FROZEN;
    check(gr_trainer_new(m->graph, m->graph->outputs[0], &shape, (size_t)n_params, params, &o, &t,
                         &err),
          &err, net->title);
    size_t size = gr_trainer_size(t);
    float *p = gr_trainer_params(t), *x = gr_alloc_array(n_x, sizeof *x),
          *grads = gr_alloc_zero(size, sizeof *grads), *moved = gr_alloc_zero(size, sizeof *moved);
    snprintf(name, sizeof name, "input%d", picture);
    golden_uniform(name, x, n_x, 2, -1);
    for (int step = 0; step < STEPS; step++) {
        check(gr_trainer_forward(t, (const void *[]){x}, true, (uint64_t)step, logits, &err), &err,
              net->title);
        double loss = loss_of(logits, dlogits);
        double off = fabs(loss - losses[step]) / losses[step];
        worst = off <= worst ? worst : off;
        check(gr_trainer_backward(t, dlogits, grads, &err), &err, net->title);
        for (int i = 0; step == 0 && i < n_params; i++) {
            const struct gr_trainer_param *q = gr_trainer_get_param(t, (size_t)i);
            off = gradient_error(q, grads, grads_want + (1 + PROBES) * i, 0.1);
            *worst_grad = off <= *worst_grad ? *worst_grad : off;
        }
        descend(size, p, grads, moved, rate);
    }
    float *stats = gr_trainer_stats(t, &n_stats);
    size_t at = 0, n_bn = 0;
    if (bn_train) { /* the order of the graph may be another: compared all together */
        double sum = 0, want = 0;
        for (; at < n_stats; at++)
            sum += (double)stats[at] * (double)stats[at];
        for (; n_bn < n_want; n_bn++)
            want += stats_want[n_bn] * stats_want[n_bn];
        if (!(fabs(sqrt(sum) - sqrt(want)) <= 1e-4 * sqrt(want)))
            fail_msg("%s: statistics are %g long, expected %g", net->title, sqrt(sum), sqrt(want));
    } else {
        assert_int_equal(n_stats, 0);
    }
    gr_free(x);
    gr_free(grads);
    gr_free(moved);
    gr_trainer_free(t);
    return worst;
}

/* The same network comes with other pictures: see train_golden.py. Gradients must agree with one of
   them, and so must losses. */
static void networks(void **state)
{
    struct golden_net net;
    char title[sizeof net.title] = "";
    bool grads[2] = {true, true}, losses[2] = {true, true};
    FILE *f = fopen("train_golden.txt", "r");
    int n = 0;
    (void)state;
    assert_non_null(f);
    while (golden_read(f, &net)) {
        struct gr_model m = {0};
        struct graft_error err = {0};
        assert_int_equal(net.n_out, 4); /* two rates, two pictures */
        check(gr_zoo_build(&net.weights, &m, &err), &err, net.title);
        if (strcmp(title, net.title)) {
            if (!grads[0] || !grads[1] || !losses[0] || !losses[1])
                fail_msg("%s: gradients or losses agree with no picture", title);
            snprintf(title, sizeof title, "%s", net.title);
            grads[0] = grads[1] = losses[0] = losses[1] = false;
            n++;
        }
        for (int bn_train = 0; bn_train < 2; bn_train++) {
            double worst_grad = 0, worst = train(&net, &m, bn_train, net.out[bn_train],
                                                 (int)net.out[2 + bn_train], f, &worst_grad);
            printf("%-20s picture %-2d %-8s gradients off by %.1e, losses by %.1e\n", net.title,
                   (int)net.out[2 + bn_train], bn_train ? "training" : "frozen", worst_grad, worst);
            /* A kink turned over moves MobileNetV2's gradients by up to 5e-2 (kinks.py). With the
               kernels for AVX-512 one of its pictures agrees to 5e-5 in training; other orders of
               summation turn a small one over in each. */
            bool kinks = bn_train && !strncmp(net.title, "MobileNetV2", 11);
            grads[bn_train] = grads[bn_train] || worst_grad <= (kinks ? 2e-3 : 1e-4);
            losses[bn_train] = losses[bn_train] || worst <= 1e-4;
        }
        gr_model_clear(&m);
        golden_clear(&net);
    }
    fclose(f);
    if (!grads[0] || !grads[1] || !losses[0] || !losses[1])
        fail_msg("%s: gradients or losses agree with no picture", title);
    assert_int_equal(n, 4);
}

/* The weights, which the file leaves out, from the formula; returns how many there are. */
static int fill_weights(struct gr_graph *g, int *params)
{
    struct graft_error err = {0};
    struct gr_weights made = {0};
    int n = 0;
    for (; (size_t)n + 1 < g->n_inputs; n++) {
        const struct gr_value *v = &g->values[g->inputs[n + 1]];
        params[n] = g->inputs[n + 1];
        golden_add(&made, v->name, v->type.shape.rank, v->type.shape.dim);
    }
    g->n_inputs = 1;
    for (int i = 0; i < n; i++)
        check(gr_graph_set_const(g, params[i], &made.items[i].tensor, &err), &err, "weights");
    gr_weights_clear(&made);
    return n;
}

/* A picture, or the numbers of words: the n-th example ends with n times 0. */
static void *make_input(const struct gr_type *type, size_t n)
{
    float *u = gr_alloc_array(n, sizeof *u);
    golden_uniform("input", u, n, type->dtype == GR_F32 ? 2 : 1, type->dtype == GR_F32 ? -1 : 0);
    if (type->dtype == GR_F32)
        return u;
    assert_int_equal(type->dtype, GR_I64);
    int64_t *ids = gr_alloc_array(n, sizeof *ids), words = (int64_t)n / BATCH;
    for (int64_t i = 0; i < (int64_t)n; i++)
        ids[i] = i % words >= words - i / words ? 0 : (int64_t)((double)u[i] * WORDS);
    gr_free(u);
    return ids;
}

/* The gradient of the parameter that the next line names. */
static double next_gradient_error(FILE *f, const struct gr_graph *g, const struct gr_trainer *t,
                                  const float *grads)
{
    char name[200];
    double want[1 + PROBES];
    assert_int_equal(fscanf(f, "%199s", name), 1);
    for (int i = 0; i <= PROBES; i++)
        assert_int_equal(fscanf(f, "%lf", &want[i]), 1);
    int value = gr_graph_find_value(g, name);
    for (size_t k = 0; k < gr_trainer_n_params(t); k++)
        if (gr_trainer_get_param(t, k)->value == value)
            return gradient_error(gr_trainer_get_param(t, k), grads, want, 0);
    fail_msg("there is no parameter '%s'", name);
    return NAN;
}

static void encoder(FILE *f, const char *file, double rate, int n_params)
{
    struct gr_model m = {0};
    struct gr_trainer_options o;
    struct gr_trainer *t = NULL;
    struct graft_error err = {0};
    int params[MAX];
    float logits[BATCH * CLASSES], dlogits[BATCH * CLASSES];
    double loss[STEPS], worst_grad = 0, worst_loss = 0;
    check(gr_onnx_read(file, NULL, &m, &err), &err, file);
    assert_int_equal(fill_weights(m.graph, params), n_params);
    check(gr_graph_bind(m.graph, &err), &err, file);
    const struct gr_type *type = &m.graph->values[m.graph->inputs[0]].type;
    void *x = make_input(type, (size_t)gr_shape_count(&type->shape));
    gr_trainer_options_init(&o);
    o.batch = BATCH;
    check(
        gr_trainer_new(m.graph, m.graph->outputs[0], NULL, (size_t)n_params, params, &o, &t, &err),
        &err, file);
    size_t size = gr_trainer_size(t);
    float *grads = gr_alloc_zero(size, sizeof *grads), *moved = gr_alloc_zero(size, sizeof *moved);
    for (int step = 0; step < STEPS; step++) {
        check(gr_trainer_forward(t, (const void *[]){x}, true, (uint64_t)step, logits, &err), &err,
              file);
        loss[step] = loss_of(logits, dlogits);
        check(gr_trainer_backward(t, dlogits, grads, &err), &err, file);
        for (int i = 0; step == 0 && i < n_params; i++) {
            double off = next_gradient_error(f, m.graph, t, grads);
            worst_grad = off <= worst_grad ? worst_grad : off;
        }
        descend(size, gr_trainer_params(t), grads, moved, rate);
    }
    assert_int_equal(fscanf(f, " losses"), 0);
    for (int step = 0; step < STEPS; step++) {
        double want;
        assert_int_equal(fscanf(f, "%lf", &want), 1);
        double off = fabs(loss[step] - want) / want;
        worst_loss = off <= worst_loss ? worst_loss : off;
    }
    printf("%-24s gradients off by %.1e, losses by %.1e\n", file, worst_grad, worst_loss);
    if (!(worst_grad <= 1e-4) || !(worst_loss <= 1e-4))
        fail_msg("%s: gradients off by %g, losses by %g", file, worst_grad, worst_loss);
    gr_free(x);
    gr_free(grads);
    gr_free(moved);
    gr_trainer_free(t);
    gr_model_clear(&m);
}

static void encoders(void **state)
{
    char file[64];
    double rate;
    int n = 0, n_params;
    FILE *f = fopen("encoder_golden.txt", "r");
    (void)state;
    assert_non_null(f);
    for (; fscanf(f, " net %63s %lf %d", file, &rate, &n_params) == 3; n++)
        encoder(f, file, rate, n_params);
    fclose(f);
    assert_int_equal(n, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(networks), cmocka_unit_test(encoders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
