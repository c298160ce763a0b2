/* Does the zoo recognise networks, and say what is wrong with the others? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "golden/zoo_nets.h"
#include "zoo/zoo.h"

#define NETS "../golden/zoo_nets.txt"

/* The network of that title from the golden file. */
static void get_net(const char *title, struct golden_net *net)
{
    FILE *f = fopen(NETS, "r");
    bool found = false;
    assert_non_null(f);
    while (!found && golden_read(f, net)) {
        found = !strcmp(net->title, title);
        if (!found)
            golden_clear(net);
    }
    fclose(f);
    assert_true(found);
}

/* Renames or, for NULL, removes a tensor. */
static void rename_tensor(struct gr_weights *w, const char *name, const char *to)
{
    int64_t i = gr_weights_find(w, name);
    assert_true(i >= 0);
    gr_free(w->items[i].name);
    if (to) {
        w->items[i].name = gr_strdup(to);
        return;
    }
    gr_tensor_clear(&w->items[i].tensor);
    w->n--;
    memmove(&w->items[i], &w->items[i + 1], (w->n - (size_t)i) * sizeof *w->items);
}

static void set_shape(struct gr_weights *w, const char *name, int rank, const int64_t *dim)
{
    rename_tensor(w, name, NULL);
    golden_add(w, name, rank, dim);
}

static void add_prefix(struct gr_weights *w, const char *prefix)
{
    for (size_t i = 0; i < w->n; i++) {
        char *name = gr_sprintf("%s%s", prefix, w->items[i].name);
        gr_free(w->items[i].name);
        w->items[i].name = name;
    }
}

static void expect_failure(const struct gr_weights *w, const char *part1, const char *part2)
{
    struct gr_model m = {0};
    struct graft_error err = {0};
    assert_int_equal(gr_zoo_build(w, &m, &err), GRAFT_E_UNSUPPORTED);
    if (!strstr(err.message, part1) || !strstr(err.message, part2))
        fail_msg("'%s' says neither '%s' nor '%s'", err.message, part1, part2);
    assert_null(m.graph);
    assert_null(m.arch);
}

static void all_golden_networks_are_recognised(void **state)
{
    (void)state;
    struct golden_net net;
    FILE *f = fopen(NETS, "r");
    int n = 0;
    assert_non_null(f);
    for (; golden_read(f, &net); n++) {
        struct gr_model m = {0};
        struct graft_error err = {0};
        if (gr_zoo_build(&net.weights, &m, &err))
            fail_msg("%s: %s", net.title, err.message);
        assert_string_equal(m.arch, net.title);
        assert_int_equal(m.graph->n_inputs, 1);
        assert_int_equal(m.graph->n_outputs, 1);
        assert_int_equal(gr_graph_get_opset(m.graph, ""), 17);
        const struct gr_value *in = &m.graph->values[m.graph->inputs[0]];
        const struct gr_value *out = &m.graph->values[m.graph->outputs[0]];
        assert_string_equal(in->name, "input");
        assert_int_equal(in->type.shape.dim[0], -1);
        assert_int_equal(in->type.shape.dim[2], 224);
        assert_string_equal(out->name, "logits");
        assert_int_equal(out->type.shape.rank, 2);
        assert_int_equal(out->type.shape.dim[1], 10);
        for (size_t i = 0; i < net.weights.n; i++) { /* shared, under their own names */
            int v = gr_graph_find_value(m.graph, net.weights.items[i].name);
            assert_true(v >= 0);
            assert_ptr_equal(m.graph->values[v].data.data, net.weights.items[i].tensor.data);
        }
        assert_int_equal(m.n_notes, 0);
        assert_non_null(m.pre_source);
        assert_int_equal(m.pre.resize_to, 256);
        assert_string_equal(m.pre_source, "torchvision ImageNet, assumed");
        assert_null(m.pretrain); /* ten classes: nobody knows which */
        gr_model_clear(&m);
        golden_clear(&net);
    }
    fclose(f);
    assert_true(n >= 7);
}

static void names_follow_the_modules(void **state)
{
    (void)state;
    struct golden_net net;
    struct gr_model m = {0};
    get_net("ResNet-18", &net);
    assert_int_equal(gr_zoo_build(&net.weights, &m, NULL), GRAFT_OK);
    assert_true(gr_graph_find_value(m.graph, "layer1.0.relu_1") >= 0);
    assert_true(gr_graph_find_value(m.graph, "avgpool") >= 0);
    int node = gr_graph_find_node(m.graph, "/layer1/0/conv1/Conv");
    assert_true(node >= 0);
    assert_string_equal(m.graph->nodes[node].op_type, "Conv");
    gr_model_clear(&m);
    golden_clear(&net);
}

static void a_thousand_classes_are_imagenet(void **state)
{
    (void)state;
    struct golden_net net;
    struct gr_model m = {0};
    get_net("SqueezeNet 1.1", &net);
    set_shape(&net.weights, "classifier.1.weight", 4, (int64_t[]){1000, 512, 1, 1});
    set_shape(&net.weights, "classifier.1.bias", 1, (int64_t[]){1000});
    assert_int_equal(gr_zoo_build(&net.weights, &m, NULL), GRAFT_OK);
    assert_string_equal(m.pretrain, "ImageNet-1k");
    assert_int_equal(m.graph->values[m.graph->outputs[0]].type.shape.dim[1], 1000);
    gr_model_clear(&m);
    golden_clear(&net);
}

static void without_head_the_map_is_the_output(void **state)
{
    (void)state;
    static const struct {
        const char *net, *head;
        int64_t channels;
    } cases[] = {{"ResNet-18", "fc", 512},
                 {"ResNet-50", "fc", 2048},
                 {"MobileNetV2 1.0", "classifier.1", 1280},
                 {"ShuffleNetV2 x0.5", "fc", 1024},
                 {"SqueezeNet 1.0", "classifier.1", 512}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct golden_net net;
        struct gr_model m = {0};
        struct graft_error err = {0};
        char name[64];
        get_net(cases[i].net, &net);
        snprintf(name, sizeof name, "%s.weight", cases[i].head);
        rename_tensor(&net.weights, name, NULL);
        snprintf(name, sizeof name, "%s.bias", cases[i].head);
        rename_tensor(&net.weights, name, NULL);
        if (gr_zoo_build(&net.weights, &m, &err))
            fail_msg("%s: %s", cases[i].net, err.message);
        const struct gr_value *out = &m.graph->values[m.graph->outputs[0]];
        assert_string_equal(out->name, "features");
        assert_int_equal(out->type.shape.rank, 4);
        assert_int_equal(out->type.shape.dim[1], cases[i].channels);
        gr_model_clear(&m);
        golden_clear(&net);
    }
}

static void wrappers_before_the_names_are_seen_through(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"module.", "model.", "module.model.", "backbone."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        struct golden_net net;
        struct gr_model m = {0};
        get_net("ResNet-18", &net);
        add_prefix(&net.weights, prefixes[i]);
        assert_int_equal(gr_zoo_build(&net.weights, &m, NULL), GRAFT_OK);
        assert_string_equal(m.arch, "ResNet-18");
        assert_true(gr_graph_find_value(m.graph, net.weights.items[0].name) >= 0);
        assert_int_equal(m.n_notes, 0);
        gr_model_clear(&m);
        golden_clear(&net);
    }
}

static void a_linear_layer_in_a_sequential_head_is_found(void **state)
{
    (void)state;
    struct golden_net net;
    struct gr_model m = {0};
    get_net("ResNet-18", &net);
    rename_tensor(&net.weights, "fc.weight", "fc.1.weight");
    rename_tensor(&net.weights, "fc.bias", "fc.1.bias");
    assert_int_equal(gr_zoo_build(&net.weights, &m, NULL), GRAFT_OK);
    assert_string_equal(m.graph->values[m.graph->outputs[0]].name, "logits");
    gr_model_clear(&m);
    golden_clear(&net);
}

static void a_misfit_is_named_with_both_shapes(void **state)
{
    (void)state;
    struct golden_net net;
    get_net("ResNet-18", &net);
    set_shape(&net.weights, "layer1.0.conv1.weight", 4, (int64_t[]){64, 64, 1, 1});
    expect_failure(&net.weights, "nearest: ResNet-18",
                   "'layer1.0.conv1.weight' has shape (64,64,1,1), expected (64,64,3,3)");
    golden_clear(&net);

    get_net("ShuffleNetV2 x0.5", &net);
    set_shape(&net.weights, "stage3.2.branch2.3.weight", 4, (int64_t[]){48, 48, 3, 3});
    expect_failure(&net.weights, "nearest: ShuffleNetV2 x0.5", "expected (48,1,3,3)");
    golden_clear(&net);

    get_net("MobileNetV2 1.0", &net);
    set_shape(&net.weights, "features.3.conv.0.0.weight", 4, (int64_t[]){0, 24, 1, 1});
    expect_failure(&net.weights, "nearest: MobileNetV2", "features.3.conv.0.0");
    golden_clear(&net);
}

static void a_missing_tensor_is_named(void **state)
{
    (void)state;
    struct golden_net net;
    get_net("ResNet-50", &net);
    rename_tensor(&net.weights, "layer3.2.bn2.running_var", NULL);
    expect_failure(&net.weights, "nearest: ResNet-50",
                   "'layer3.2.bn2.running_var' is missing, expected shape (256)");
    golden_clear(&net);
}

static void extra_tensors_are_noted_or_refused(void **state)
{
    (void)state;
    struct golden_net net;
    struct gr_model m = {0};
    get_net("ResNet-18", &net);
    golden_add(&net.weights, "bn1.num_batches_tracked", 1, (int64_t[]){1});
    assert_int_equal(gr_zoo_build(&net.weights, &m, NULL), GRAFT_OK);
    assert_int_equal(m.n_notes, 0);
    gr_model_clear(&m);

    golden_add(&net.weights, "aux.weight", 2, (int64_t[]){3, 4});
    assert_int_equal(gr_zoo_build(&net.weights, &m, NULL), GRAFT_OK);
    assert_int_equal(m.n_notes, 1);
    assert_non_null(strstr(m.notes[0], "'aux.weight' (3,4)"));
    gr_model_clear(&m);

    golden_add(&net.weights, "layer1.0.se.fc1.weight", 4, (int64_t[]){4, 64, 1, 1});
    expect_failure(&net.weights, "nearest: ResNet-18", "'layer1.0.se.fc1.weight'");
    golden_clear(&net);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    struct gr_weights w = {0};
    struct gr_model m = {0};
    struct graft_error err = {0};
    assert_int_equal(gr_zoo_build(&w, &m, &err), GRAFT_E_FORMAT);
    golden_add(&w, "encoder.layer.0.attention.weight", 2, (int64_t[]){8, 8});
    expect_failure(&w, "'encoder.layer.0.attention.weight' (8,8)", "SqueezeNet");
    golden_add(&w, "conv1.weight", 2, (int64_t[]){64, 3});
    expect_failure(&w, "nearest: ", "'conv1.weight' has shape (64,3), expected (64,3,7,7)");
    gr_weights_clear(&w);
}

static void a_list_of_convolutions_is_not_vgg(void **state)
{
    (void)state;
    struct gr_weights w = {0};
    golden_add(&w, "features.0.weight", 4, (int64_t[]){64, 3, 3, 3});
    golden_add(&w, "features.0.bias", 1, (int64_t[]){64});
    golden_add(&w, "features.3.weight", 4, (int64_t[]){64, 64, 3, 3});
    golden_add(&w, "features.3.bias", 1, (int64_t[]){64});
    expect_failure(&w, "nearest: VGG", "2 convolutions");
    gr_weights_clear(&w);
}

static void half_precision_is_converted(void **state)
{
    (void)state;
    struct golden_net net;
    struct gr_model m = {0};
    struct gr_tensor half;
    get_net("SqueezeNet 1.1", &net);
    struct gr_tensor *t = &net.weights.items[0].tensor;
    assert_int_equal(gr_tensor_convert(t, GR_F16, &half, NULL), GRAFT_OK);
    gr_tensor_clear(t);
    *t = half;
    assert_int_equal(gr_zoo_build(&net.weights, &m, NULL), GRAFT_OK);
    int v = gr_graph_find_value(m.graph, net.weights.items[0].name);
    assert_int_equal(m.graph->values[v].data.dtype, GR_F32);
    gr_model_clear(&m);
    t->dtype = GR_I16;
    expect_failure(&net.weights, "features.0.weight", "int16");
    golden_clear(&net);
}

static void running_out_of_memory_is_an_error(void **state)
{
    (void)state;
    struct golden_net net;
    struct gr_model m = {0};
    get_net("SqueezeNet 1.1", &net);
    gr_mem_fail_at(0);
    assert_int_equal(gr_zoo_build(&net.weights, &m, NULL), GRAFT_OK);
    uint64_t n = gr_mem_fail_at(0);
    gr_model_clear(&m);
    for (uint64_t i = 1; i <= n; i += 1 + i / 16) {
        struct graft_error err = {0};
        gr_mem_fail_at(i);
        enum graft_status s = gr_zoo_build(&net.weights, &m, &err);
        gr_mem_fail_at(0);
        assert_int_equal(s, GRAFT_E_NOMEM);
        assert_null(m.graph);
    }
    golden_clear(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_golden_networks_are_recognised),
        cmocka_unit_test(names_follow_the_modules),
        cmocka_unit_test(a_thousand_classes_are_imagenet),
        cmocka_unit_test(without_head_the_map_is_the_output),
        cmocka_unit_test(wrappers_before_the_names_are_seen_through),
        cmocka_unit_test(a_linear_layer_in_a_sequential_head_is_found),
        cmocka_unit_test(a_misfit_is_named_with_both_shapes),
        cmocka_unit_test(a_missing_tensor_is_named),
        cmocka_unit_test(extra_tensors_are_noted_or_refused),
        cmocka_unit_test(strangers_are_refused),
        cmocka_unit_test(a_list_of_convolutions_is_not_vgg),
        cmocka_unit_test(half_precision_is_converted),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
