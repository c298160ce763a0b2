/* Does the fit loop train a real network (batch statistics, Dropout, CutMix), and does it resume to
   the byte? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "base/rng.h"
#include "train/finetune.h"

enum { BATCH = 4, SIDE = 8, PIXELS = 3 * SIDE * SIDE, CLASSES = 3, MID = 8, N = 38, N_VAL = 30 };

static char checkpoint[] = "/tmp/test_finetune_net.XXXXXX";
static int label[N];

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct graft_error err = {0};                                                              \
        if (call)                                                                                  \
            fail_msg("%s", err.message);                                                           \
    } while (0)

/* ---- Conv, BatchNormalization, Relu, GlobalAveragePool, Flatten, Dropout, Gemm ---- */

struct net {
    struct gr_graph *g;
    int params[5], n_params, output;
    uint64_t drawn;
};

static int value(struct net *w, const char *name)
{
    int id = -1;
    OK(gr_graph_value(w->g, name, &id, &err));
    return id;
}

static int weight(struct net *w, const char *name, double scale, double shift, bool trained,
                  struct gr_shape shape)
{
    struct gr_tensor t = {0};
    int id = value(w, name);
    OK(gr_tensor_new(GR_F32, &shape, &t, &err));
    for (int64_t i = 0; i < gr_tensor_count(&t); i++)
        ((float *)gr_tensor_mut(&t))[i] = (float)(scale * gr_rng_normal(3, 0, w->drawn++) + shift);
    OK(gr_graph_set_const(w->g, id, &t, &err));
    gr_tensor_clear(&t);
    if (trained)
        w->params[w->n_params++] = id;
    return id;
}

static int node(struct net *w, const char *op, int n_in, const int *in)
{
    int id, out = value(w, op);
    OK(gr_graph_add_node(w->g, op, "", op, n_in, in, 1, &out, &id, &err));
    return out;
}

static void net_open(struct net *w)
{
    struct gr_type in = {GR_F32, {4, {-1, 3, SIDE, SIDE}}}, out = {GR_F32, {2, {-1, CLASSES}}};
    const int64_t one[4] = {1, 1, 1, 1};
    *w = (struct net){0};
    OK(gr_graph_new(&w->g, &err));
    OK(gr_graph_set_opset(w->g, "", 14, &err));
    int x = value(w, "x");
    OK(gr_graph_add_input(w->g, x, &in, &err));
    int conv[2] = {x, weight(w, "conv.weight", 0.2, 0, true, gr_shape_of(4, MID, 3, 3, 3))};
    x = node(w, "Conv", 2, conv);
    OK(gr_node_set_ints(w->g, 0, "pads", 4, one, &err));
    int norm[5] = {x, weight(w, "bn.weight", 0, 1, true, gr_shape_of(1, MID)),
                   weight(w, "bn.bias", 0.1, 0, true, gr_shape_of(1, MID)),
                   weight(w, "bn.mean", 0, 0, false, gr_shape_of(1, MID)),
                   weight(w, "bn.var", 0, 1, false, gr_shape_of(1, MID))};
    x = node(w, "BatchNormalization", 5, norm);
    x = node(w, "Relu", 1, &x);
    x = node(w, "GlobalAveragePool", 1, &x);
    x = node(w, "Flatten", 1, &x);
    x = node(w, "Dropout", 1, &x);
    int head[3] = {x, weight(w, "head.weight", 0.1, 0, true, gr_shape_of(2, CLASSES, MID)),
                   weight(w, "head.bias", 0, 0, true, gr_shape_of(1, CLASSES))};
    w->output = node(w, "Gemm", 3, head);
    OK(gr_node_set_int(w->g, (int)w->g->n_nodes - 1, "transB", 1, &err));
    OK(gr_graph_add_output(w->g, w->output, &out, &err));
    OK(gr_graph_check(w->g, &err));
    OK(gr_graph_bind(w->g, &err));
}

/* ---- pictures: the class is the brightest channel ---- */

static enum graft_status fill(void *user, int64_t epoch, const int64_t *indices, size_t n,
                              float *const *inputs, struct graft_error *err)
{
    const uint64_t seed = *(const uint64_t *)user;
    (void)err;
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < PIXELS; k++)
            inputs[0][i * PIXELS + (size_t)k] =
                (float)((k / (SIDE * SIDE) == label[indices[i]] ? 0.7 : 0) +
                        gr_rng_normal(seed, (uint64_t)(indices[i] + 1000 * epoch), (uint64_t)k));
    return GRAFT_OK;
}

struct run {
    int64_t asked, stop_at;
    size_t n, n_stats;
    float weights[400], stats[2 * MID];
    struct gr_finetune_report report;
};

static bool cancelled(void *user)
{
    struct run *r = user;
    return r->asked++ == r->stop_at;
}

static enum graft_status train(struct net *w, struct run *r, int64_t stop_at, const char *path)
{
    static uint64_t seeds[2] = {21, 22};
    static const int depth[5] = {0, 0, 0, 1, 1};
    const struct gr_shape shape = gr_shape_of(4, BATCH, 3, SIDE, SIDE);
    const struct gr_batch_source train_set = {N, label, &seeds[0], NULL, fill};
    const struct gr_batch_source val_set = {N_VAL, label, &seeds[1], NULL, fill};
    const struct graft_events events = {.user = r, .cancelled = cancelled};
    struct gr_trainer_options to;
    struct gr_finetune_options o;
    struct graft_error why = {0};
    *r = (struct run){.stop_at = stop_at};
    gr_trainer_options_init(&to);
    to.batch = BATCH;
    to.bn = GR_BN_TRAIN;
    to.seed = 4;
    struct gr_finetune_task t = {.n_inputs = 1,
                                 .input_shapes = &shape,
                                 .n_classes = CLASSES,
                                 .train = &train_set,
                                 .val = &val_set,
                                 .depth = depth,
                                 .events = &events};
    OK(gr_trainer_new(w->g, w->output, &shape, (size_t)w->n_params, w->params, &to, &t.trainer,
                      &err));
    gr_finetune_options_init(&o);
    o.epochs = 4; /* of 10 steps */
    o.lr = 0.03;
    o.ema = 0.9;
    o.n_soup = 2;
    o.loss.smoothing = 0.1;
    o.mix = (struct gr_mix){.mixup = 0.2, .cutmix = 1};
    o.checkpoint = path;
    o.resume = true;
    enum graft_status s = gr_finetune(&t, &o, &r->report, &why);
    if (s && s != GRAFT_E_CANCELLED)
        fail_msg("%s", why.message);
    r->n = gr_trainer_size(t.trainer);
    assert_in_range(r->n, 1, sizeof r->weights / sizeof *r->weights);
    memcpy(r->weights, gr_trainer_params(t.trainer), r->n * sizeof(float));
    const float *stats = gr_trainer_stats(t.trainer, &r->n_stats);
    assert_int_equal(r->n_stats, 2 * MID);
    memcpy(r->stats, stats, r->n_stats * sizeof(float));
    gr_trainer_free(t.trainer);
    return s;
}

static void test_network(void **state)
{
    (void)state;
    struct net w;
    struct run straight, r;
    for (int i = 0; i < N; i++)
        label[i] = i % CLASSES;
    net_open(&w);
    assert_int_equal(train(&w, &straight, -1, NULL), GRAFT_OK);
    assert_int_equal(straight.report.n_steps, 40);
    if (!(straight.report.best_accuracy > straight.report.start_accuracy + 0.2))
        fail_msg("accuracy %g to %g", straight.report.start_accuracy,
                 straight.report.best_accuracy);
    for (int64_t k = 0; k < straight.asked; k += 7) {
        unlink(checkpoint);
        assert_int_equal(train(&w, &r, k, checkpoint), GRAFT_E_CANCELLED);
        assert_int_equal(train(&w, &r, -1, checkpoint), GRAFT_OK);
        assert_memory_equal(r.weights, straight.weights, r.n * sizeof(float));
        assert_memory_equal(r.stats, straight.stats, r.n_stats * sizeof(float));
        assert_true(r.report.best_loss == straight.report.best_loss);
    }
    gr_graph_free(w.g);
}

static int setup(void **state)
{
    (void)state;
    int fd = mkstemp(checkpoint);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    unlink(checkpoint);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_network)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
