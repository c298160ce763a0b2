/* Does a network that gets other planes or another size compute what it computed before? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "exec/plan.h"
#include "formats/onnx.h"
#include "job/job.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct graft_error err = {0};                                                              \
        if (call)                                                                                  \
            fail_msg("%s", err.message);                                                           \
    } while (0)

enum { SIDE = 5, PIXELS = SIDE * SIDE, OUTPUTS = 2 };

static int value(struct gr_graph *g, const char *name)
{
    int id;
    OK(gr_graph_value(g, name, &id, &err));
    return id;
}

static int node(struct gr_graph *g, const char *op, const char *a, const char *b, const char *y)
{
    int in[2] = {value(g, a), b ? value(g, b) : -1}, out = value(g, y), id;
    OK(gr_graph_add_node(g, op, "", y, b ? 2 : 1, in, 1, &out, &id, &err));
    return id;
}

/* Small whole numbers: every sum is exact. */
static void constant(struct gr_graph *g, const char *name, struct gr_shape shape)
{
    struct gr_tensor t = {0};
    OK(gr_tensor_new(GR_F32, &shape, &t, &err));
    for (int64_t i = 0; i < gr_tensor_count(&t); i++)
        ((float *)gr_tensor_mut(&t))[i] = (float)((i * 7 + 3) % 11 - 5);
    OK(gr_graph_set_const(g, value(g, name), &t, &err));
    gr_tensor_clear(&t);
}

/* x (N,planes,SIDE,SIDE) or, with `last`, (N,SIDE,SIDE,planes); a padded 3x3 convolution of the
   planes, or of the planes less a constant; y (N,OUTPUTS,SIDE,SIDE). */
static struct gr_graph *make_net(int planes, bool last, bool arithmetic)
{
    struct gr_graph *g = NULL;
    struct gr_type x = {GR_F32, {4, {-1, planes, SIDE, SIDE}}}, y = {GR_UNKNOWN, {0}};
    const char *from = "x";
    if (last)
        x.shape = (struct gr_shape){4, {-1, SIDE, SIDE, planes}};
    OK(gr_graph_new(&g, &err));
    OK(gr_graph_set_opset(g, "", 17, &err));
    OK(gr_graph_add_input(g, value(g, "x"), &x, &err));
    if (last) {
        int t = node(g, "Transpose", from, NULL, "first");
        OK(gr_node_set_ints(g, t, "perm", 4, (int64_t[]){0, 3, 1, 2}, &err));
        from = "first";
    }
    if (arithmetic) {
        constant(g, "shift", gr_shape_of(4, 1, planes, 1, 1));
        node(g, "Sub", from, "shift", "shifted");
        from = "shifted";
    }
    constant(g, "w", gr_shape_of(4, OUTPUTS, planes, 3, 3));
    int conv = node(g, "Conv", from, "w", "y");
    OK(gr_node_set_ints(g, conv, "pads", 4, (int64_t[]){1, 1, 1, 1}, &err));
    OK(gr_graph_add_output(g, value(g, "y"), &y, &err));
    OK(gr_graph_check(g, &err));
    OK(gr_graph_bind(g, &err));
    return g;
}

static void compute(const struct gr_graph *g, const float *x, float *y)
{
    struct gr_plan_options o;
    struct gr_plan *p = NULL;
    struct gr_exec *e = NULL;
    const void *in = x;
    void *out = y;
    gr_plan_options_init(&o);
    o.batch = 1;
    o.precision = GR_PRECISION_FP32;
    OK(gr_plan_new(g, 0, NULL, NULL, &o, &p, &err));
    OK(gr_exec_new(p, &e, &err));
    OK(gr_exec_run(e, &in, &out, &err));
    gr_exec_free(e);
    gr_plan_free(p);
}

/* Runs the net on planes made from the new ones by the map, and the changed net on the new ones. */
static void same_after(int from, bool last, bool arithmetic, const struct gr_planes *m, int how,
                       const char *first)
{
    struct gr_graph *g = make_net(from, last, arithmetic), *changed = NULL;
    struct gr_planes_report report;
    float x[GR_MAX_PLANES * PIXELS], z[GR_MAX_PLANES * PIXELS];
    float want[OUTPUTS * PIXELS], got[OUTPUTS * PIXELS];
    for (int t = 0; t < m->n_to; t++)
        for (int i = 0; i < PIXELS; i++)
            z[last ? i * m->n_to + t : t * PIXELS + i] = (float)((i * 5 + t * 3) % 13 - 6);
    for (int f = 0; f < from; f++)
        for (int i = 0; i < PIXELS; i++) {
            double sum = m->d[f];
            for (int t = 0; t < m->n_to; t++)
                sum += m->a[f][t] * z[last ? i * m->n_to + t : t * PIXELS + i];
            x[last ? i * from + f : f * PIXELS + i] = (float)sum;
        }
    compute(g, x, want);
    OK(gr_graph_copy(g, &changed, &err));
    OK(gr_graph_map_planes(changed, last ? 3 : 1, m, &report, &err));
    assert_int_equal(report.how, how);
    assert_string_equal(report.node, first);
    assert_int_equal(changed->values[changed->inputs[0]].type.shape.dim[last ? 3 : 1], m->n_to);
    assert_string_equal(changed->values[changed->inputs[0]].name, "x");
    compute(changed, z, got);
    assert_memory_equal(got, want, sizeof got);
    const struct gr_shape *w = &changed->values[value(changed, "w")].data.shape;
    assert_int_equal(w->dim[1], how == GR_PLANES_IN_FRONT ? from : m->n_to + how);
    gr_graph_free(changed);
    compute(g, x, got); /* the copy's weights were not the original's */
    assert_memory_equal(got, want, sizeof got);
    gr_graph_free(g);
}

static void test_planes(void **state)
{
    const struct gr_planes grey = {3, 1, {{1}, {2}, {.5}}, {0}};
    const struct gr_planes shifted = {3, 1, {{1}, {2}, {.5}}, {1, -3, .25}};
    const struct gr_planes alpha = {3, 4, {{1, 0, 0, .5}, {0, 1, 0, .5}, {0, 0, 1, .5}}, {0}};
    const struct gr_planes repeat = {1, 3, {{.25, .5, .25}}, {0}};
    const struct gr_planes opaque = {4, 3, {{0, 0, 1}, {0, 1}, {1}}, {0, 0, 0, 2}};
    (void)state;
    same_after(3, false, false, &grey, GR_PLANES_IN_KERNELS, "y");
    same_after(3, false, false, &shifted, GR_PLANES_WITH_ONES, "y");
    same_after(3, false, false, &alpha, GR_PLANES_IN_KERNELS, "y");
    same_after(1, false, false, &repeat, GR_PLANES_IN_KERNELS, "y");
    same_after(4, false, false, &opaque, GR_PLANES_WITH_ONES, "y");
    same_after(3, false, true, &shifted, GR_PLANES_IN_FRONT, "shifted");
    same_after(3, true, false, &shifted, GR_PLANES_IN_FRONT, "first");
    same_after(3, true, true, &alpha, GR_PLANES_IN_FRONT, "first");
    same_after(1, true, false, &repeat, GR_PLANES_IN_FRONT, "first");
}

/* Two convolutions that share their kernels, and one of those kernels' other uses. */
static void test_shared(void **state)
{
    const struct gr_planes grey = {3, 1, {{1}, {1}, {1}}, {0}};
    struct gr_graph *g = make_net(3, false, false);
    struct gr_planes_report report;
    struct gr_type unknown = {GR_UNKNOWN, {0}};
    (void)state;
    node(g, "Conv", "x", "w", "twin");
    node(g, "Abs", "w", NULL, "other");
    OK(gr_graph_add_output(g, value(g, "twin"), &unknown, &err));
    OK(gr_graph_add_output(g, value(g, "other"), &unknown, &err));
    OK(gr_graph_map_planes(g, 1, &grey, &report, &err));
    assert_int_equal(report.how, GR_PLANES_IN_KERNELS);
    assert_int_equal(g->values[value(g, "w")].data.shape.dim[1], 3);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (!strcmp(g->nodes[i].op_type, "Conv"))
            assert_int_equal(g->values[g->nodes[i].in[1]].data.shape.dim[1], 1);
    gr_graph_free(g);
}

/* ---- from a file, as a job opens it ---------------------------------------------------------- */

static char path[] = "test_input.XXXXXX.onnx";

/* A classifier that ends in a pool over the whole map, or in a product that knows the map's size.
 */
static void write_net(int planes, bool tied)
{
    struct gr_model m = {.graph = make_net(planes, false, false), .ir_version = 8};
    struct gr_graph *g = m.graph;
    struct gr_type y = {GR_F32, {2, {-1, 3}}};
    const char *map = "y";
    if (!tied) {
        int pool = node(g, "AveragePool", map, NULL, "pool");
        OK(gr_node_set_ints(g, pool, "kernel_shape", 2, (int64_t[]){SIDE, SIDE}, &err));
        map = "pool";
    }
    node(g, "Flatten", map, NULL, "flat");
    constant(g, "hw", gr_shape_of(2, tied ? OUTPUTS * PIXELS : OUTPUTS, 3));
    node(g, "MatMul", "flat", "hw", "scores");
    g->n_outputs = 0;
    OK(gr_graph_add_output(g, value(g, "scores"), &y, &err));
    OK(gr_graph_check(g, &err));
    OK(gr_graph_bind(g, &err));
    OK(gr_onnx_write(&m, path, &err));
    gr_model_clear(&m);
}

static void open_net(const struct graft_preprocess *p, const enum graft_channels *channels,
                     struct gr_model *m, struct gr_network *net)
{
    struct graft_load_options o;
    bool softmax;
    graft_load_options_init(&o);
    o.preprocess = p;
    o.channels = channels;
    *m = (struct gr_model){0};
    OK(gr_job_open_model(path, &o, m, &err));
    OK(gr_network_scores(m, 1, GRAFT_PRECISION_FP32, net, &softmax, &err));
}

/* The scores of a picture of noise; grey: the same byte thrice, from then on by plane. */
static void scores(const struct gr_network *net, bool grey, float *y)
{
    const struct graft_preprocess *p = &net->pre;
    const int n = p->width * p->height;
    const int planes = p->channels == GRAFT_GREY ? 1 : p->channels == GRAFT_RGBA ? 4 : 3;
    float *x = gr_alloc_array((size_t)(n * planes), sizeof *x);
    struct gr_exec *e = NULL;
    const void *in = x;
    void *out = y;
    for (int c = 0; c < planes; c++)
        for (int i = 0; i < n; i++) {
            int colour = p->channels == GRAFT_BGR ? 2 - c : c;
            int pixel = c == 3 ? 255 : (i * 37 + (grey ? 0 : colour * 71)) % 256;
            x[c * n + i] = (float)((pixel * p->scale - p->mean[c]) / p->std[c]);
        }
    OK(gr_exec_new(net->plan, &e, &err));
    OK(gr_exec_run(e, &in, &out, &err));
    gr_exec_free(e);
    gr_free(x);
}

static void near(const float *a, const float *b)
{
    for (int i = 0; i < 3; i++)
        assert_true(fabsf(a[i] - b[i]) <= 1e-5f * (1 + fabsf(b[i])));
}

static void check_same(int planes, const struct graft_preprocess *p, enum graft_channels channels,
                       bool grey, const char *says)
{
    struct gr_model a, b;
    struct gr_network na, nb;
    float want[3], got[3];
    write_net(planes, false);
    open_net(p, NULL, &a, &na);
    open_net(p, &channels, &b, &nb);
    scores(&na, grey, want);
    scores(&nb, grey, got);
    near(got, want);
    assert_int_equal(b.pre.channels, channels);
    assert_true(says ? b.n_notes == 1 && strstr(b.notes[0], says) : !b.n_notes);
    gr_network_clear(&na);
    gr_network_clear(&nb);
    gr_model_clear(&a);
    gr_model_clear(&b);
}

static void test_channels(void **state)
{
    struct graft_preprocess p;
    (void)state;
    graft_preprocess_init(&p);
    p.width = p.height = SIDE;
    p.resize = GRAFT_RESIZE_STRETCH;
    check_same(3, &p, GRAFT_GREY, true, "a plane of ones carries");
    check_same(3, &p, GRAFT_RGBA, false, "alpha's are the mean of theirs");
    check_same(3, &p, GRAFT_RGB, false, NULL);
    p.channels = GRAFT_BGR;
    p.scale = 1; /* another scale and unequal spreads */
    p.mean[0] = 100, p.mean[1] = p.mean[2] = 120;
    p.std[0] = 50, p.std[1] = 60, p.std[2] = 70;
    check_same(3, &p, GRAFT_GREY, true, "a plane of ones carries");
    check_same(3, &p, GRAFT_RGBA, false, "alpha's are the mean of theirs");
    p.mean[0] = 120; /* one mean for all: summed kernels are enough */
    check_same(3, &p, GRAFT_GREY, true, "are summed over their 3 planes");
    p.channels = GRAFT_GREY;
    check_same(1, &p, GRAFT_RGB, true, "repeated, divided by 3");
    check_same(1, &p, GRAFT_BGR, true, "repeated, divided by 3");
    check_same(1, &p, GRAFT_GREY, true, NULL);
    p = (struct graft_preprocess){.width = SIDE,
                                  .height = SIDE,
                                  .resize = GRAFT_RESIZE_STRETCH,
                                  .channels = GRAFT_RGBA,
                                  .scale = 1,
                                  .mean = {10, 20, 30, 40},
                                  .std = {50, 60, 70, 80}};
    check_same(4, &p, GRAFT_RGB, false, "alpha is taken as opaque; a plane of ones carries");
    check_same(4, &p, GRAFT_BGR, false, "alpha is taken as opaque; a plane of ones carries");
    check_same(4, &p, GRAFT_GREY, true, "are summed over their 4 planes");
}

/* Only the order: the numbers go along, the graph stays. */
static void test_order(void **state)
{
    const enum graft_channels bgr = GRAFT_BGR;
    struct graft_load_options o;
    struct gr_model m = {0};
    (void)state;
    write_net(3, false);
    graft_load_options_init(&o);
    o.channels = &bgr;
    OK(gr_job_open_model(path, &o, &m, &err));
    assert_true(m.pre.channels == GRAFT_BGR && m.pre.mean[0] == 0.406 && m.pre.std[2] == 0.229);
    assert_int_equal(m.graph->values[m.graph->inputs[0]].type.shape.dim[1], 3);
    gr_model_clear(&m);
}

static void test_refused(void **state)
{
    const enum graft_channels grey = GRAFT_GREY, wrong = (enum graft_channels)9;
    struct graft_load_options o;
    struct gr_model m = {0};
    struct graft_error err = {0};
    (void)state;
    write_net(6, false);
    graft_load_options_init(&o);
    o.channels = &grey;
    assert_int_equal(gr_job_open_model(path, &o, &m, &err), GRAFT_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "the network takes 6 planes, pictures have 1, 3 or 4"));
    o.channels = &wrong;
    assert_int_equal(gr_job_open_model(path, &o, &m, &err), GRAFT_E_ARG);
    write_net(3, false); /* no allocation that fails leaves anything behind */
    o.channels = &grey;
    for (int i = 1;; i++) {
        gr_mem_fail_at(i);
        enum graft_status s = gr_job_open_model(path, &o, &m, &err);
        gr_mem_fail_at(0);
        if (!s)
            break;
        assert_int_equal(s, GRAFT_E_NOMEM);
    }
    gr_model_clear(&m);
}

static void test_size(void **state)
{
    struct graft_preprocess p;
    struct gr_model m;
    struct gr_network net;
    struct graft_error why = {0};
    struct graft_load_options o;
    bool softmax;
    (void)state;
    graft_preprocess_init(&p);
    p.width = 7;
    p.height = 9;
    write_net(3, false);
    open_net(&p, NULL, &m, &net);
    assert_int_equal(m.n_notes, 2);
    assert_string_equal(m.notes[0], "input 7x9, in the file 5x5");
    assert_string_equal(m.notes[1],
                        "1 average pool goes over the whole map, whatever its size now");
    assert_int_equal(net.width, 3);
    OK(gr_job_check_size(&m, &err));
    gr_network_clear(&net);
    gr_model_clear(&m);

    write_net(3, true);
    graft_load_options_init(&o);
    o.preprocess = &p;
    m = (struct gr_model){0};
    OK(gr_job_open_model(path, &o, &m, &err));
    assert_int_equal(gr_network_scores(&m, 1, GRAFT_PRECISION_FP32, &net, &softmax, &why),
                     GRAFT_E_SHAPE);
    assert_non_null(strstr(why.message, "input 7x9, in the file 5x5"));
    assert_non_null(strstr(why.message, "'scores' (MatMul)"));
    assert_int_equal(gr_job_check_size(&m, &why), GRAFT_E_SHAPE);
    OK(gr_network_features(&m, "y", 1, GRAFT_PRECISION_FP32, &net, &err)); /* cut below it */
    assert_int_equal(net.width, OUTPUTS);
    gr_network_clear(&net);
    gr_model_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planes),   cmocka_unit_test(test_shared),
        cmocka_unit_test(test_channels), cmocka_unit_test(test_order),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_size),
    };
    int fd = mkstemps(path, 5);
    if (fd < 0)
        return perror(path), 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove(path);
    return failed;
}
