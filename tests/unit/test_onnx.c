/* Is an ONNX file read as it says, and written so that it says the same? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/file.h"
#include "base/mem.h"
#include "formats/onnx.h"

#define GOLDEN "../golden/onnx/"

static struct gr_model load(const char *path)
{
    struct gr_model m = {0};
    struct graft_error err;
    if (gr_onnx_read(path, NULL, &m, &err))
        fail_msg("%s", err.message);
    return m;
}

static void save(const struct gr_model *m, const char *path)
{
    struct graft_error err;
    if (gr_onnx_write(m, path, &err))
        fail_msg("%s", err.message);
}

static const struct gr_value *value(const struct gr_model *m, const char *name)
{
    int id = gr_graph_find_value(m->graph, name);
    if (id < 0)
        fail_msg("no value '%s'", name);
    return &m->graph->values[id];
}

static bool same_tensor(const struct gr_tensor *a, const struct gr_tensor *b)
{
    return a->dtype == b->dtype && gr_shape_equal(&a->shape, &b->shape) && a->size == b->size &&
           !memcmp(a->data, b->data, a->size);
}

static void assert_same_attr(const struct gr_attr *a, const struct gr_attr *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->n, b->n);
    assert_true(a->i == b->i && a->f == b->f && a->s_size == b->s_size);
    assert_true(!a->s_size || !memcmp(a->s, b->s, a->s_size));
    assert_true(!a->t.buf == !b->t.buf && (!a->t.buf || same_tensor(&a->t, &b->t)));
    for (size_t i = 0; i < a->n; i++) {
        assert_true(!a->ints || a->ints[i] == b->ints[i]);
        assert_true(!a->floats || a->floats[i] == b->floats[i]);
        assert_true(!a->strings || !strcmp(a->strings[i], b->strings[i]));
    }
}

static const char *in_name(const struct gr_graph *g, int id)
{
    return id < 0 ? "" : g->values[id].name;
}

static void assert_same_graph(const struct gr_graph *a, const struct gr_graph *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->n_nodes, b->n_nodes);
    assert_int_equal(a->n_opsets, b->n_opsets);
    for (size_t i = 0; i < a->n_opsets; i++)
        assert_int_equal(a->opsets[i].version, gr_graph_get_opset(b, a->opsets[i].domain));
    for (size_t i = 0; i < a->n_nodes; i++) {
        const struct gr_node *x = &a->nodes[i], *y = &b->nodes[i];
        assert_string_equal(x->name, y->name);
        assert_string_equal(x->op_type, y->op_type);
        assert_string_equal(x->domain, y->domain);
        assert_true(x->n_in == y->n_in && x->n_out == y->n_out && x->n_attrs == y->n_attrs);
        for (int k = 0; k < x->n_in; k++)
            assert_string_equal(in_name(a, x->in[k]), in_name(b, y->in[k]));
        for (int k = 0; k < x->n_out; k++)
            assert_string_equal(in_name(a, x->out[k]), in_name(b, y->out[k]));
        for (size_t k = 0; k < x->n_attrs; k++)
            assert_same_attr(&x->attrs[k], &y->attrs[k]);
    }
    assert_int_equal(a->n_inputs, b->n_inputs);
    assert_int_equal(a->n_outputs, b->n_outputs);
    for (size_t i = 0; i < a->n_inputs; i++) {
        const struct gr_value *x = &a->values[a->inputs[i]], *y = &b->values[b->inputs[i]];
        assert_string_equal(x->name, y->name);
        assert_true(x->type.dtype == y->type.dtype &&
                    gr_shape_equal(&x->type.shape, &y->type.shape));
    }
    for (size_t i = 0; i < b->n_values; i++) {
        const struct gr_value *y = &b->values[i];
        int id = gr_graph_find_value(a, y->name);
        assert_true(id >= 0);
        assert_int_equal(gr_value_is_const(y), gr_value_is_const(&a->values[id]));
        assert_true(!gr_value_is_const(y) || same_tensor(&y->data, &a->values[id].data));
    }
}

/* Writes and reads back; the second writing must give the same bytes. */
static void round_trip(const char *path)
{
    char dir[] = "/tmp/graft-onnx-XXXXXX", p1[64], p2[64];
    struct graft_error err;
    struct gr_map f1, f2;
    assert_non_null(mkdtemp(dir));
    snprintf(p1, sizeof p1, "%s/1.onnx", dir);
    snprintf(p2, sizeof p2, "%s/2.onnx", dir);
    struct gr_model a = load(path);
    save(&a, p1);
    struct gr_model b = load(p1);
    assert_same_graph(a.graph, b.graph);
    assert_int_equal(a.n_props, b.n_props);
    for (size_t i = 0; i < a.n_props; i++) {
        assert_string_equal(a.props[i].key, b.props[i].key);
        assert_string_equal(a.props[i].value, b.props[i].value);
    }
    assert_string_equal(b.producer, "graft 0.1.0");
    save(&b, p2);
    assert_int_equal(gr_map_open(p1, &f1, &err), GRAFT_OK);
    assert_int_equal(gr_map_open(p2, &f2, &err), GRAFT_OK);
    assert_int_equal(f1.size, f2.size);
    assert_memory_equal(f1.data, f2.data, f1.size);
    gr_map_close(&f1);
    gr_map_close(&f2);
    gr_model_clear(&a);
    gr_model_clear(&b);
    unlink(p1);
    unlink(p2);
    rmdir(dir);
}

static void nets_of_all_operator_sets(void **state)
{
    (void)state;
    static const int opsets[] = {7, 11, 13, 17, 21}, irs[] = {3, 6, 7, 8, 10};
    for (size_t i = 0; i < 5; i++) {
        char path[64];
        snprintf(path, sizeof path, GOLDEN "net%d.onnx", opsets[i]);
        struct gr_model m = load(path);
        const struct gr_graph *g = m.graph;
        assert_int_equal(gr_graph_get_opset(g, "ai.onnx"), opsets[i]);
        assert_int_equal(m.ir_version, irs[i]);
        assert_string_equal(m.producer, "golden 1");
        assert_string_equal(m.format, "ONNX");
        assert_int_equal(g->n_nodes, 5);
        assert_int_equal(g->n_inputs, 1);
        assert_string_equal(g->values[g->inputs[0]].name, "x");
        struct gr_shape x = gr_shape_of(4, opsets[i] == 7 ? 2 : -1, 3, 8, 8);
        assert_true(gr_shape_equal(&g->values[g->inputs[0]].type.shape, &x));
        assert_string_equal(g->values[g->outputs[0]].name, "logits");
        assert_string_equal(g->nodes[4].name, "fc");
        assert_int_equal(gr_node_find_attr(&g->nodes[4], "transB")->i, 1);
        assert_int_equal(gr_node_find_attr(&g->nodes[0], "pads")->n, 4);
        assert_true(gr_value_is_const(value(&m, "conv.w")));
        assert_string_equal(gr_model_get_prop(&m, "imgsz"), "[8, 8]");
        gr_model_clear(&m);
        round_trip(path);
    }
}

static void every_encoding(void **state)
{
    (void)state;
    static const char *const types[] = {"f32", "f64", "f16", "bf16", "i8",  "u8",  "i16",
                                        "u16", "i32", "i64", "u32",  "u64", "bool"};
    static const double floats[] = {0, 1, -2, .5, -100, 200}, ints[] = {0, 1, -2, 3, -100, 100},
                        uints[] = {0, 1, 2, 3, 100, 200}, bools[] = {1, 0, 1, 1, 0, 1};
    struct gr_model m = load(GOLDEN "encodings.onnx");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int raw = 0; raw < 2; raw++) {
            char name[32];
            snprintf(name, sizeof name, "%s_%s", types[i], raw ? "raw" : "typed");
            const struct gr_tensor *t = &value(&m, name)->data;
            const double *want = *types[i] == 'i'            ? ints
                                 : *types[i] == 'u'          ? uints
                                 : !strcmp(types[i], "bool") ? bools
                                                             : floats;
            assert_int_equal(t->shape.rank, 2);
            for (size_t k = 0; k < 6; k++)
                if (gr_load_f64(t->dtype, t->data, k) != want[k])
                    fail_msg("%s[%zu]: %g, expected %g", name, k, gr_load_f64(t->dtype, t->data, k),
                             want[k]);
        }
    const struct gr_tensor *scalar = &value(&m, "scalar")->data;
    assert_true(scalar->shape.rank == 0 && gr_load_f64(GR_F32, scalar->data, 0) == 2.5);
    assert_true(gr_value_is_const(value(&m, "empty")) && value(&m, "empty")->data.size == 0);
    gr_model_clear(&m);
    round_trip(GOLDEN "encodings.onnx");
}

static void external_weights(void **state)
{
    (void)state;
    struct gr_model m = load(GOLDEN "external.onnx");
    const struct gr_tensor *w = &value(&m, "w")->data;
    for (size_t i = 0; i < 4; i++)
        assert_true(gr_load_f64(GR_F32, w->data, i) == (double)i + 1);
    gr_model_clear(&m);
    round_trip(GOLDEN "external.onnx");
}

/* A link inside the folder that leads out of it is refused as well. */
static void external_link_outside(void **state)
{
    (void)state;
    char dir[] = "/tmp/graft-onnx-XXXXXX", model[64], link[64], out[] = "/tmp/graft-out-XXXXXX";
    struct gr_model m = {0};
    struct graft_error err;
    uint8_t *data = NULL;
    size_t cap = 0, size;
    int fd = mkstemp(out);
    assert_true(fd >= 0 && write(fd, "0123456789abcdef0123456789abcdef", 32) == 32);
    close(fd);
    assert_non_null(mkdtemp(dir));
    snprintf(model, sizeof model, "%s/m.onnx", dir);
    snprintf(link, sizeof link, "%s/external.bin", dir);
    assert_int_equal(gr_file_read(GOLDEN "external.onnx", 1 << 20, &data, &cap, &size, &err), 0);
    assert_int_equal(gr_file_write(model, data, size, &err), 0);
    assert_int_equal(symlink(out, link), 0);
    assert_int_equal(gr_onnx_read(model, NULL, &m, &err), GRAFT_E_FORMAT);
    assert_non_null(strstr(err.message, "outside the model's folder"));
    gr_free(data);
    unlink(link);
    unlink(model);
    unlink(out);
    rmdir(dir);
}

static void all_attributes(void **state)
{
    (void)state;
    struct gr_model m = load(GOLDEN "attributes.onnx");
    int id = gr_graph_find_node(m.graph, "all");
    assert_true(id >= 0);
    const struct gr_node *n = &m.graph->nodes[id];
    assert_null(n->op);
    assert_string_equal(n->domain, "org.example");
    assert_int_equal(n->opset, 3);
    assert_true(n->n_in == 3 && n->in[1] == -1 && n->n_out == 3 && n->out[1] == -1);
    assert_true(gr_node_find_attr(n, "f")->f == 0.1f);
    assert_true(gr_node_find_attr(n, "i")->i == -((int64_t)1 << 62));
    assert_string_equal(gr_node_find_attr(n, "s")->s, "two\nlines");
    assert_true(gr_load_i64(GR_I64, gr_node_find_attr(n, "t")->t.data, 1) == 6);
    assert_true(gr_node_find_attr(n, "floats")->floats[1] == -2.5f);
    assert_true(gr_node_find_attr(n, "ints")->ints[2] == (int64_t)1 << 40);
    assert_string_equal(gr_node_find_attr(n, "strings")->strings[2], "c'd");
    const struct gr_node *branch = &m.graph->nodes[gr_graph_find_node(m.graph, "if")];
    assert_int_equal(gr_node_find_attr(branch, "then_branch")->type, GR_ATTR_GRAPH);

    struct graft_error err;
    assert_int_equal(gr_onnx_write(&m, "/tmp/graft-never.onnx", &err), GRAFT_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'if' (If): attribute 'else_branch' (a subgraph)"));
    assert_true(access("/tmp/graft-never.onnx", F_OK) != 0);

    /* without the If everything goes back as it came; the unused weight is dropped */
    char path[] = "/tmp/graft-onnx-XXXXXX";
    close(mkstemp(path));
    assert_true(m.graph->nodes[m.graph->n_nodes - 1].out[0] == m.graph->outputs[0]);
    m.graph->n_nodes--;
    m.graph->outputs[0] = n->out[0];
    m.graph->values[n->out[0]].type = (struct gr_type){GR_F32, gr_shape_of(2, -1, 4)};
    m.graph->values[n->out[0]].has_shape = true;
    save(&m, path);
    struct gr_model back = load(path);
    assert_same_graph(m.graph, back.graph);
    assert_int_equal(gr_graph_find_value(back.graph, "unused"), -1);
    gr_model_clear(&back);
    gr_model_clear(&m);
    unlink(path);
}

static void nodes_out_of_order(void **state)
{
    (void)state;
    struct gr_model a = load(GOLDEN "unsorted.onnx"), b = load(GOLDEN "net13.onnx");
    assert_same_graph(a.graph, b.graph);
    gr_model_clear(&a);
    gr_model_clear(&b);
}

static void lone_tensor(void **state)
{
    (void)state;
    struct gr_tensor t = {0};
    struct graft_error err;
    char *name = NULL;
    assert_int_equal(gr_onnx_read_tensor(GOLDEN "tensor.pb", &name, &t, &err), GRAFT_OK);
    assert_string_equal(name, "lone");
    assert_true(t.shape.rank == 2 && gr_load_f64(GR_F32, t.data, 3) == 4);
    gr_tensor_clear(&t);
    gr_free(name);
    assert_int_equal(gr_onnx_read_tensor(GOLDEN "net7.onnx", &name, &t, &err), GRAFT_E_FORMAT);
    assert_int_equal(gr_onnx_read_tensor(GOLDEN "none.pb", &name, &t, &err), GRAFT_E_IO);
}

static void faults_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        enum graft_status status;
        const char *message;
    } cases[] = {
        {"opset6", GRAFT_E_UNSUPPORTED, "ONNX operator set 6, the oldest supported is 7"},
        {"raw_size", GRAFT_E_FORMAT,
         "initializer 'w': dims (64,3,7,7) need 37632 bytes, raw_data has 100"},
        {"typed_size", GRAFT_E_FORMAT, "dims (4) need 4 float32 elements, float_data has 1"},
        {"huge_dims", GRAFT_E_FORMAT, "are not a size"},
        {"negative_dim", GRAFT_E_FORMAT, "are not a size"},
        {"float8", GRAFT_E_UNSUPPORTED, "initializer 'w': data type 17 is not supported"},
        {"strings", GRAFT_E_UNSUPPORTED, "initializer 'w' holds strings"},
        {"twice", GRAFT_E_FORMAT, "initializer 'w' is given twice"},
        {"two_producers", GRAFT_E_FORMAT, "node 1 '' (Relu): 'y' is produced a second time"},
        {"cycle", GRAFT_E_FORMAT, "depends on its own output"},
        {"nobody", GRAFT_E_FORMAT, "node 0 'n0' (Add) reads 'ghost', which nothing produces"},
        {"same_attribute", GRAFT_E_FORMAT, "attribute 'a' is given twice"},
        {"outside", GRAFT_E_FORMAT, "'../onnx_make.py' is outside the model's folder"},
        {"absolute", GRAFT_E_FORMAT, "'/etc/hostname' is outside the model's folder"},
        {"missing", GRAFT_E_IO, "nothing.bin: cannot open external data"},
        {"past_end", GRAFT_E_FORMAT, "tensor needs 16 bytes at offset 1000, only 32 there"},
        {"length", GRAFT_E_FORMAT, "dims (4) need 16 bytes, external length is 12"},
        {"offset_text", GRAFT_E_FORMAT, "offset is '0x10', expected a number"},
        {"sparse", GRAFT_E_UNSUPPORTED, "sparse initializer"},
        {"function", GRAFT_E_UNSUPPORTED, "local functions are not supported: Twice"},
        {"sequence", GRAFT_E_UNSUPPORTED, "input 'x': is no tensor"},
        {"deep", GRAFT_E_LIMIT, "messages are nested too deeply"},
        {"no_graph", GRAFT_E_FORMAT, "holds no graph: not an ONNX model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[96];
        struct gr_model m = {0};
        struct graft_error err = {0};
        snprintf(path, sizeof path, GOLDEN "bad_%s.onnx", cases[i].file);
        enum graft_status s = gr_onnx_read(path, NULL, &m, &err);
        if (s != cases[i].status || err.status != s || !strstr(err.message, cases[i].message) ||
            strncmp(err.message, GOLDEN, strlen(GOLDEN)))
            fail_msg("%s: status %d, expected %d; '%s', expected '%s'", path, s, cases[i].status,
                     err.message, cases[i].message);
        assert_null(m.graph);
    }
}

static void limits_are_settings(void **state)
{
    (void)state;
    struct gr_model m = {0};
    struct graft_error err;
    struct gr_onnx_limits deep = {.depth = 80}, small = {.decoded_size = 500}, few = {.n_ports = 1};
    assert_int_equal(gr_onnx_read(GOLDEN "bad_deep.onnx", &deep, &m, &err), GRAFT_OK);
    gr_model_clear(&m);
    assert_int_equal(gr_onnx_read(GOLDEN "net13.onnx", &small, &m, &err), GRAFT_E_LIMIT);
    assert_int_equal(gr_onnx_read(GOLDEN "net13.onnx", &few, &m, &err), GRAFT_E_LIMIT);
}

/* A tensor beyond what protobuf can hold, in address space only. */
static void two_gigabytes_are_refused(void **state)
{
    (void)state;
    const size_t size = (size_t)INT32_MAX + 1;
    struct gr_model m = load(GOLDEN "net13.onnx");
    struct graft_error err;
    struct gr_tensor t = {0};
    struct gr_shape shape = gr_shape_of(2, 65536, 32768);
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        skip();
    struct gr_buffer *b = gr_buffer_new(p, size, NULL, NULL);
    assert_int_equal(gr_tensor_view(b, 0, GR_U8, &shape, &t, &err), GRAFT_OK);
    assert_int_equal(gr_graph_set_const(m.graph, gr_graph_find_value(m.graph, "fc.w"), &t, &err),
                     GRAFT_OK);
    assert_int_equal(gr_onnx_write(&m, "/tmp/graft-never.onnx", &err), GRAFT_E_LIMIT);
    assert_true(access("/tmp/graft-never.onnx", F_OK) != 0);
    gr_tensor_clear(&t);
    gr_model_clear(&m);
    gr_buffer_unref(b);
    munmap(p, size);
}

static void real_models(void **state)
{
    (void)state;
    static const char *const names[] = {"mobilenet_v2_imagenet", "FastestDet", "embedding_model",
                                        "melspectrogram"};
    const char *data = getenv("GRAFT_DATA");
    if (!data)
        data = "../../../shared/data";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/weights/%s.onnx", data, names[i]);
        if (access(path, R_OK)) {
            printf("SKIP: %s is absent (set GRAFT_DATA)\n", path);
            skip();
        }
        round_trip(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nets_of_all_operator_sets),
        cmocka_unit_test(every_encoding),
        cmocka_unit_test(external_weights),
        cmocka_unit_test(external_link_outside),
        cmocka_unit_test(all_attributes),
        cmocka_unit_test(nodes_out_of_order),
        cmocka_unit_test(lone_tensor),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(limits_are_settings),
        cmocka_unit_test(two_gigabytes_are_refused),
        cmocka_unit_test(real_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
