/* Are low-rank adapters nothing at the start, and the same network after merging? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "base/rng.h"
#include "core/edit.h"
#include "exec/plan.h"
#include "train/lora.h"

enum { BATCH = 3, N_X = BATCH * 6 * 4 * 4, N_Y = BATCH * 5, N_LAYERS = 4, RANK = 3 };

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct graft_error err = {0};                                                              \
        if (call)                                                                                  \
            fail_msg("%s", err.message);                                                           \
    } while (0)

static uint64_t drawn;

static int weight(struct gr_graph *g, const char *name, struct gr_shape shape)
{
    float v[2048];
    int id = -1;
    for (int64_t i = 0; i < gr_shape_count(&shape); i++)
        v[i] = (float)(0.3 * gr_rng_normal(1, 2, drawn++));
    OK(gr_graph_append_const(g, name, GR_F32, &shape, v, &id, &err));
    return id;
}

static int node(struct gr_graph *g, const char *op, const char *name, int n_in, const int *in)
{
    int id = -1, out = -1;
    OK(gr_graph_append(g, op, name, n_in, in, &id, &out, &err));
    return out;
}

static void set_int(struct gr_graph *g, const char *name, int64_t v)
{
    OK(gr_node_set_int(g, (int)g->n_nodes - 1, name, v, &err));
}

/* What can be adapted: "body.0" (1x1, every second pixel), "fc1", "fc2" and the product "net.mix".
   What cannot: 3x3, two groups, a factor, a weight used twice. */
static struct gr_graph *make_net(int *all, size_t *n_all)
{
    const struct gr_type type = {GR_F32, {4, {-1, 6, 4, 4}}};
    const int64_t two[2] = {2, 2}, pads[4] = {1, 1, 1, 1};
    struct gr_graph *g = NULL;
    int x = -1, in[3] = {-1, -1, -1}, y[2];
    size_t n = 0;
    drawn = 0;
    OK(gr_graph_new(&g, &err));
    OK(gr_graph_set_opset(g, "", 13, &err));
    OK(gr_graph_value(g, "x", &x, &err));
    OK(gr_graph_add_input(g, x, &type, &err));
    in[0] = x, in[1] = all[n++] = weight(g, "wide.weight", gr_shape_of(4, 6, 6, 3, 3));
    in[0] = node(g, "Conv", "/wide/Conv", 2, in);
    OK(gr_node_set_ints(g, 0, "pads", 4, pads, &err));
    in[1] = all[n++] = weight(g, "grouped.weight", gr_shape_of(4, 6, 3, 1, 1));
    in[0] = node(g, "Conv", "/grouped/Conv", 2, in);
    set_int(g, "group", 2);
    in[1] = all[n++] = weight(g, "body.0.weight", gr_shape_of(4, 8, 6, 1, 1));
    in[2] = weight(g, "body.0.bias", gr_shape_of(1, 8));
    in[0] = node(g, "Conv", "/body/body.0/Conv", 3, in);
    OK(gr_node_set_ints(g, 2, "strides", 2, two, &err));
    in[0] = node(g, "Relu", "relu", 1, in);
    in[0] = node(g, "Flatten", "flat", 1, in);
    in[1] = all[n++] = weight(g, "fc1.weight", gr_shape_of(2, 10, 32));
    in[2] = weight(g, "fc1.bias", gr_shape_of(1, 10));
    in[0] = node(g, "Gemm", "fc1", 3, in);
    set_int(g, "transB", 1);
    in[1] = all[n++] = weight(g, "tf/fc2", gr_shape_of(2, 10, 7));
    in[0] = node(g, "Gemm", "fc2", 2, in);
    in[1] = all[n++] = weight(g, "halved.weight", gr_shape_of(2, 7, 7));
    in[0] = node(g, "Gemm", "halved", 2, in);
    OK(gr_node_set_float(g, (int)g->n_nodes - 1, "alpha", 0.5f, &err));
    in[1] = all[n++] = weight(g, "onnx::MatMul_9", gr_shape_of(2, 7, 5));
    in[0] = node(g, "MatMul", "/net/net.mix/MatMul", 2, in);
    in[1] = all[n++] = weight(g, "tied.weight", gr_shape_of(2, 5, 5));
    y[0] = node(g, "MatMul", "tied1", 2, in);
    in[0] = y[0];
    y[1] = node(g, "MatMul", "tied2", 2, in);
    OK(gr_graph_cut(g, 1, &y[1], &err));
    OK(gr_graph_check(g, &err));
    OK(gr_graph_bind(g, &err));
    *n_all = n;
    return g;
}

static void run(const struct gr_graph *g, float *y)
{
    struct gr_plan_options o;
    struct gr_plan *plan = NULL;
    struct gr_exec *exec = NULL;
    float x[N_X];
    const void *in = x;
    void *out = y;
    for (int i = 0; i < N_X; i++)
        x[i] = (float)gr_rng_normal(3, 4, (uint64_t)i);
    gr_plan_options_init(&o);
    o.batch = BATCH;
    o.reference = true;
    OK(gr_plan_new(g, 0, NULL, NULL, &o, &plan, &err));
    OK(gr_exec_new(plan, &exec, &err));
    OK(gr_exec_run(exec, &in, &out, &err));
    gr_exec_free(exec);
    gr_plan_free(plan);
}

static void draw(struct gr_graph *g, int value)
{
    struct gr_tensor t = {0};
    OK(gr_tensor_new(GR_F32, &g->values[value].data.shape, &t, &err));
    for (int64_t i = 0; i < gr_tensor_count(&t); i++)
        ((float *)gr_tensor_mut(&t))[i] =
            (float)(0.2 * gr_rng_normal(7, (uint64_t)value, (uint64_t)i));
    OK(gr_graph_set_const(g, value, &t, &err));
    gr_tensor_clear(&t);
}

static void test_find(void **state)
{
    static const char *const modules[N_LAYERS] = {"body.0", "fc1", "tf.fc2", "net.mix"};
    static const int64_t sides[N_LAYERS][2] = {{6, 8}, {32, 10}, {10, 7}, {7, 5}};
    int all[16];
    size_t n;
    struct gr_graph *g = make_net(all, &n);
    struct gr_lora l;
    struct graft_error why;
    (void)state;
    OK(gr_lora_find(g, n, all, RANK, 6, &l, &err));
    assert_int_equal(l.n, N_LAYERS);
    for (size_t i = 0; i < N_LAYERS; i++) {
        assert_string_equal(l.layers[i].module, modules[i]);
        assert_int_equal(l.layers[i].n_in, sides[i][0]);
        assert_int_equal(l.layers[i].n_out, sides[i][1]);
    }
    gr_lora_clear(&l);
    OK(gr_lora_find(g, 2, all, 1000, 1, &l,
                    &err)); /* nothing among them, so no rank is too large */
    assert_int_equal(l.n, 0);
    assert_int_equal(gr_lora_find(g, n, all, 0, 1, &l, &why), GRAFT_E_ARG);
    assert_non_null(strstr(why.message, "is 0, expected at least 1"));
    assert_int_equal(gr_lora_find(g, n, all, 6, 1, &l, &why), GRAFT_E_ARG);
    assert_string_equal(why.message,
                        "adapters of rank 6: layer 'onnx::MatMul_9' maps 7 numbers to 5 "
                        "and allows at most 5");
    gr_graph_free(g);
}

static void test_attach_and_merge(void **state)
{
    int all[16];
    size_t n;
    float before[N_Y], y[N_Y], merged[N_Y];
    struct gr_graph *g = make_net(all, &n), *branched = NULL, *plain = NULL;
    struct gr_lora l;
    double moved = 0;
    (void)state;
    run(g, before);
    OK(gr_graph_copy(g, &branched, &err));
    OK(gr_graph_copy(g, &plain, &err));
    OK(gr_lora_find(g, n, all, RANK, 6, &l, &err));
    OK(gr_lora_attach(&l, branched, 11, &err));
    assert_int_equal(branched->n_nodes, g->n_nodes + 4 * N_LAYERS);
    run(branched, y);
    for (int i = 0; i < N_Y; i++)
        assert_true(y[i] == before[i]);
    for (size_t i = 0; i < l.n; i++) {
        struct gr_tensor a = {0}, b = {0};
        OK(gr_lora_factors(&l, branched, i, &a, &b, &err));
        const struct gr_lora_layer *e = &l.layers[i];
        const int64_t da[] = {RANK, e->n_in, 1, 1}, db[] = {e->n_out, RANK, 1, 1};
        const struct gr_shape sa = gr_shape_from(e->conv ? 4 : 2, da);
        const struct gr_shape sb = gr_shape_from(e->conv ? 4 : 2, db);
        assert_true(gr_shape_equal(&a.shape, &sa) && gr_shape_equal(&b.shape, &sb));
        double bound = 1 / sqrt((double)e->n_in), largest = 0;
        for (int64_t k = 0; k < gr_tensor_count(&a); k++)
            largest = fmax(largest, fabs((double)((const float *)a.data)[k]));
        assert_true(largest <= bound * 1.000001 && largest > 0.6 * bound);
        gr_tensor_clear(&a);
        gr_tensor_clear(&b);
        draw(branched, e->b);
    }
    run(branched, y);
    OK(gr_lora_merge(&l, branched, plain, &err));
    assert_int_equal(plain->n_nodes, g->n_nodes);
    run(plain, merged);
    for (int i = 0; i < N_Y; i++) {
        moved = fmax(moved, fabs((double)y[i] - (double)before[i]));
        if (!(fabs((double)merged[i] - (double)y[i]) <= 2e-6 * (1 + fabs((double)y[i]))))
            fail_msg("logit %d: merged %g, with adapters %g", i, (double)merged[i], (double)y[i]);
    }
    assert_true(moved > 0.1);
    run(g, y); /* the source stays as it was */
    assert_memory_equal(y, before, sizeof y);
    gr_lora_clear(&l);
    gr_graph_free(g);
    gr_graph_free(branched);
    gr_graph_free(plain);
}

/* W' - W = s B A with A and B as PEFT holds them, whichever way round the graph holds W. */
static void test_factors(void **state)
{
    int all[16];
    size_t n;
    struct gr_graph *g = make_net(all, &n), *branched = NULL, *plain = NULL;
    struct gr_lora l;
    (void)state;
    OK(gr_graph_copy(g, &branched, &err));
    OK(gr_graph_copy(g, &plain, &err));
    OK(gr_lora_find(g, n, all, RANK, 6, &l, &err));
    OK(gr_lora_attach(&l, branched, 11, &err));
    for (size_t i = 0; i < l.n; i++)
        draw(branched, l.layers[i].b);
    OK(gr_lora_merge(&l, branched, plain, &err));
    for (size_t i = 0; i < l.n; i++) {
        const struct gr_lora_layer *e = &l.layers[i];
        const float *w0 = g->values[e->weight].data.data, *w1 = plain->values[e->weight].data.data;
        const bool turned = i > 1; /* fc2 and mix hold (n_in,n_out) */
        struct gr_tensor a = {0}, b = {0};
        OK(gr_lora_factors(&l, branched, i, &a, &b, &err));
        const float *av = a.data, *bv = b.data;
        for (int64_t o = 0; o < e->n_out; o++)
            for (int64_t k = 0; k < e->n_in; k++) {
                const int64_t at = turned ? k * e->n_out + o : o * e->n_in + k;
                double sum = 0;
                for (int64_t r = 0; r < RANK; r++)
                    sum += 2 * (double)bv[o * RANK + r] * (double)av[r * e->n_in + k];
                assert_true(fabs((double)w1[at] - (double)w0[at] - sum) < 1e-6);
            }
        gr_tensor_clear(&a);
        gr_tensor_clear(&b);
    }
    gr_lora_clear(&l);
    gr_graph_free(g);
    gr_graph_free(branched);
    gr_graph_free(plain);
}

static void test_seed(void **state)
{
    int all[16];
    size_t n;
    float first[3];
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct gr_graph *g = make_net(all, &n);
        struct gr_lora l;
        OK(gr_lora_find(g, n, all, RANK, 6, &l, &err));
        OK(gr_lora_attach(&l, g, seed / 2, &err));
        first[seed] = *(const float *)g->values[l.layers[0].a].data.data;
        gr_lora_clear(&l);
        gr_graph_free(g);
    }
    assert_true(first[0] == first[1] && first[0] != first[2]);
}

/* Every allocation fails once; nothing leaks and the last try succeeds. */
static void test_torture(void **state)
{
    int all[16];
    size_t n;
    struct gr_graph *g = make_net(all, &n);
    bool done = false;
    (void)state;
    for (uint64_t at = 1; !done && at < 2000; at++) {
        struct gr_graph *branched = NULL, *plain = NULL;
        struct gr_lora l = {0};
        struct graft_error why = {0};
        OK(gr_graph_copy(g, &branched, &err));
        OK(gr_graph_copy(g, &plain, &err));
        gr_mem_fail_at(at);
        enum graft_status s = gr_lora_find(g, n, all, RANK, 6, &l, &why);
        if (!s)
            s = gr_lora_attach(&l, branched, 1, &why);
        if (!s)
            s = gr_lora_merge(&l, branched, plain, &why);
        gr_mem_fail_at(0);
        if (s && s != GRAFT_E_NOMEM)
            fail_msg("allocation %d: %s", (int)at, why.message);
        done = !s;
        gr_lora_clear(&l);
        gr_graph_free(branched);
        gr_graph_free(plain);
    }
    assert_true(done);
    gr_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),    cmocka_unit_test(test_attach_and_merge),
        cmocka_unit_test(test_factors), cmocka_unit_test(test_seed),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
