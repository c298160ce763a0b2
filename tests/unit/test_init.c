/* Do networks begin with the weights that their families begin with? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "core/edit.h"
#include "core/model.h"
#include "train/init.h"
#include "zoo/zoo.h"

/* Learned numbers of the published networks (torchvision's documentation; He and others 2016 give
   0.27 and 0.85 million, 1.7 for 110 layers). Statistics of batch-norms do not count. */
static int64_t count_params(const struct gr_graph *g)
{
    int64_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 1; k < g->nodes[i].n_in && k < 3; k++) {
            int v = g->nodes[i].in[k];
            if (gr_value_is_const(&g->values[v]) && g->values[v].data.dtype == GR_F32 &&
                gr_tensor_count(&g->values[v].data) > 1)
                n += gr_tensor_count(&g->values[v].data);
        }
    return n;
}

static void test_sizes(void **state)
{
    static const struct {
        const char *name, *title;
        int64_t classes, params;
    } known[] = {
        {"resnet20", "CIFAR ResNet-20", 10, 269722},
        {"resnet56", "CIFAR ResNet-56", 10, 853018},
        {"resnet110", "CIFAR ResNet-110", 10, 1727962},
        {"resnet18", "ResNet-18", 1000, 11689512},
        {"resnet34", "ResNet-34", 1000, 21797672},
        {"resnet50", "ResNet-50", 1000, 25557032},
        {"mobilenet_v2", "MobileNetV2 1.0", 1000, 3504872},
        {"mobilenet_v1", "MobileNetV1 1.0", 1000, 4231976},
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct gr_model m = {0};
        struct graft_error err;
        assert_int_equal(gr_zoo_new(known[i].name, known[i].classes, &m, &err), GRAFT_OK);
        assert_string_equal(m.arch, known[i].title);
        assert_int_equal(count_params(m.graph), known[i].params);
        gr_model_clear(&m);
    }
    for (size_t i = 0; gr_zoo_name(i); i++) { /* every recipe is recognised */
        struct gr_model m = {0};
        struct graft_error err;
        assert_int_equal(gr_zoo_new(gr_zoo_name(i), 7, &m, &err), GRAFT_OK);
        gr_model_clear(&m);
    }
}

static void test_unknown(void **state)
{
    struct gr_model m = {0};
    struct graft_error err;
    (void)state;
    assert_int_equal(gr_zoo_new("resnet21", 10, &m, &err), GRAFT_E_ARG);
    assert_non_null(strstr(err.message, "resnet20"));
    assert_int_equal(gr_zoo_new("resnet20", 0, &m, &err), GRAFT_E_ARG);
}

static const float *weights(const struct gr_model *m, const char *name, size_t *n)
{
    int v = gr_graph_find_value(m->graph, name);
    assert_true(v >= 0);
    *n = (size_t)gr_tensor_count(&m->graph->values[v].data);
    return m->graph->values[v].data.data;
}

static void moments(const float *x, size_t n, double *mean, double *deviation, double *largest)
{
    double sum = 0, squares = 0;
    *largest = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
        *largest = fmax(*largest, fabs((double)x[i]));
    }
    *mean = sum / (double)n;
    *deviation = sqrt(squares / (double)n - *mean * *mean);
}

static void make(const char *name, uint64_t seed, struct gr_model *m)
{
    struct gr_init_report r;
    struct graft_error err;
    assert_int_equal(gr_zoo_new(name, 10, m, &err), GRAFT_OK);
    assert_int_equal(gr_init_weights(m->graph, m->arch, seed, &r, &err), GRAFT_OK);
    assert_true(r.n_weights > 10);
    assert_int_equal(r.n_left, 0);
}

static void test_rules(void **state)
{
    static const struct {
        const char *arch, *tensor;
        double deviation, bound; /* bound 0: normal */
    } rules[] = {
        {"resnet18", "layer3.0.conv2.weight", 0.0294628, 0},          /* sqrt(2 / (256 * 9)) */
        {"resnet18", "fc.weight", 0.0255155, 0.0441942},              /* 1 / sqrt(512) */
        {"resnet20", "layer3.0.conv2.weight", 0.0589256, 0},          /* sqrt(2 / (64 * 9)) */
        {"resnet20", "layer2.0.conv1.weight", 0.1178511, 0},          /* fan in: 16 * 9 */
        {"mobilenet_v2", "classifier.1.weight", 0.01, 0},             /* normal */
        {"mobilenet_v2", "features.10.conv.1.0.weight", 0.0240563, 0} /* fan out of depthwise */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        struct gr_model m = {0};
        double mean, deviation, largest;
        size_t n;
        make(rules[i].arch, 3, &m);
        const float *w = weights(&m, rules[i].tensor, &n);
        moments(w, n, &mean, &deviation, &largest);
        assert_true(fabs(mean) < 5 * rules[i].deviation / sqrt((double)n));
        assert_true(fabs(deviation / rules[i].deviation - 1) < 4 / sqrt((double)n));
        if (rules[i].bound > 0)
            assert_true(largest <= rules[i].bound * 1.0001 && largest > rules[i].bound * 0.99);
        else
            assert_true(largest > 3 * rules[i].deviation);
        gr_model_clear(&m);
    }
}

static void test_seeds(void **state)
{
    struct gr_model a = {0}, b = {0}, c = {0};
    size_t n;
    (void)state;
    make("resnet20", 1, &a);
    make("resnet20", 1, &b);
    make("resnet20", 2, &c);
    const float *x = weights(&a, "conv1.weight", &n), *y = weights(&b, "conv1.weight", &n);
    const float *z = weights(&c, "conv1.weight", &n);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_memory_not_equal(x, z, n * sizeof *x);
    assert_memory_not_equal(x, weights(&a, "layer1.0.conv1.weight", &n), 64 * sizeof *x);
    const float *scale = weights(&a, "bn1.weight", &n), *var = weights(&a, "bn1.running_var", &n);
    for (size_t i = 0; i < n; i++)
        assert_true(scale[i] == 1 && var[i] == 1);
    gr_model_clear(&a);
    gr_model_clear(&b);
    gr_model_clear(&c);
}

/* conv (bias) -> relu -> conv (bias) -> output: both get a batch-norm, readers see its output. */
static void test_unfold(void **state)
{
    static const float data[64] = {1, 2, 3};
    struct gr_graph *g;
    struct graft_error err;
    const struct gr_shape w_shape = gr_shape_of(4, 4, 4, 1, 1), b_shape = gr_shape_of(1, 4);
    const struct gr_type x_type = {GR_F32, gr_shape_of(4, -1, 4, 5, 5)};
    int x, y, w, b, node;
    size_t n;
    (void)state;
    assert_int_equal(gr_graph_new(&g, &err), GRAFT_OK);
    assert_int_equal(gr_graph_set_opset(g, "", 17, &err), GRAFT_OK);
    assert_int_equal(gr_graph_value(g, "x", &x, &err), GRAFT_OK);
    assert_int_equal(gr_graph_add_input(g, x, &x_type, &err), GRAFT_OK);
    y = x;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gr_graph_append_const(g, "w", GR_F32, &w_shape, data, &w, &err), GRAFT_OK);
        assert_int_equal(gr_graph_append_const(g, "b", GR_F32, &b_shape, data, &b, &err), GRAFT_OK);
        assert_int_equal(gr_graph_append(g, "Conv", "conv", 3, (int[]){y, w, b}, &node, &y, &err),
                         GRAFT_OK);
        if (!i)
            assert_int_equal(gr_graph_append(g, "Relu", "relu", 1, &y, &node, &y, &err), GRAFT_OK);
    }
    assert_int_equal(gr_graph_add_output(g, y, NULL, &err), GRAFT_OK);
    assert_int_equal(gr_graph_check(g, &err), GRAFT_OK);
    assert_int_equal(gr_graph_bind(g, &err), GRAFT_OK);
    assert_int_equal(gr_init_unfold_batch_norm(g, &n, &err), GRAFT_OK);
    assert_int_equal(n, 2);
    assert_int_equal(g->n_nodes, 5);
    static const char *const order[] = {"Conv", "BatchNormalization", "Relu", "Conv",
                                        "BatchNormalization"};
    for (int i = 0; i < 5; i++)
        assert_string_equal(g->nodes[i].op_type, order[i]);
    assert_int_equal(g->nodes[0].n_in, 2);
    assert_int_equal(g->nodes[4].out[0], y);
    assert_int_equal(g->nodes[1].in[0], g->nodes[0].out[0]);
    assert_int_equal(gr_init_unfold_batch_norm(g, &n, &err), GRAFT_OK);
    assert_int_equal(n, 0); /* it has its own now */
    gr_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_unknown), cmocka_unit_test(test_rules),
        cmocka_unit_test(test_seeds), cmocka_unit_test(test_unfold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
