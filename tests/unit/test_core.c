/* Do types, tensors and graphs keep their word, and is a network cut where it may be? */
#include "base/hash.h"
#include "base/mem.h"
#include "core/edit.h"
#include "core/op.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define OK(call) assert_int_equal(call, GRAFT_OK)

static void test_dtype(void **state)
{
    static const struct {
        float f;
        uint16_t half;
    } halves[] = {{0, 0},          {-0.0f, 0x8000},        {1, 0x3c00},
                  {65504, 0x7bff}, {65519, 0x7bff},        {65520, 0x7c00},
                  {0x1p-24f, 1},   {0x1p-25f, 0}, /* half way: to even */
                  {0x1.8p-24f, 2}, {0x1.ffcp-15f, 0x0400}, {-INFINITY, 0xfc00}};
    int64_t i64;
    uint64_t u64;
    int32_t i32;
    uint8_t u8;
    (void)state;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
        assert_int_equal(gr_f32_to_f16(halves[i].f), halves[i].half);
    for (unsigned h = 0; h < 0x10000; h++) /* every half comes back, NaN as NaN */
        if ((h & 0x7fff) <= 0x7c00)
            assert_int_equal(gr_f32_to_f16(gr_f16_to_f32((uint16_t)h)), h);
        else
            assert_true(isnan(gr_f16_to_f32((uint16_t)h)));
    assert_int_equal(gr_f32_to_bf16(1.00390625f), 0x3f80); /* half way: to even */
    assert_true(isnan(gr_bf16_to_f32(gr_f32_to_bf16(NAN))));

    i64 = INT64_MAX; /* the "to the end" of Slice survives a double and back */
    gr_store_f64(GR_I64, &i64, 0, gr_load_f64(GR_I64, &i64, 0));
    assert_true(i64 == INT64_MAX);
    gr_store_f64(GR_I64, &i64, 0, -1e300);
    assert_true(i64 == INT64_MIN);
    gr_store_f64(GR_I64, &i64, 0, NAN);
    assert_true(i64 == 0);
    gr_store_f64(GR_U64, &u64, 0, 1e300);
    assert_true(u64 == UINT64_MAX);
    gr_store_f64(GR_I32, &i32, 0, -1e10);
    assert_true(i32 == INT32_MIN);
    gr_store_f64(GR_U8, &u8, 0, -1);
    assert_int_equal(u8, 0);
    i32 = 300;
    gr_convert(GR_U8, &u8, GR_I32, &i32, 1);
    assert_int_equal(u8, 44); /* between integers: wraps */
    assert_int_equal(gr_dtype_size(GR_STRING), 0);
    assert_int_equal(gr_dtype_size((enum gr_dtype)99), 0);
    assert_string_equal(gr_dtype_name((enum gr_dtype)15), "unknown");
}

static void test_shape(void **state)
{
    struct graft_error err = {0};
    char text[GR_SHAPE_TEXT];
    const int64_t huge[3] = {INT64_MAX, INT64_MAX, 0}, unknown[2] = {-1, 3};
    struct gr_shape a = gr_shape_of(3, 2, 1, 4), b = gr_shape_of(2, 3, 1), c, h, u;
    (void)state;
    OK(gr_shape_broadcast(&a, &b, &c, &err));
    assert_string_equal(gr_shape_print(&c, text), "(2,3,4)");
    assert_int_equal(gr_shape_count(&c), 24);
    b = gr_shape_of(1, 5);
    assert_int_equal(gr_shape_broadcast(&a, &b, &c, &err), GRAFT_E_SHAPE);
    assert_string_equal(err.message, "shapes (2,1,4) and (5) cannot be broadcast together");
    h = gr_shape_from(3, huge);
    assert_int_equal(gr_shape_count(&h), -1); /* too large although one dimension is 0 */
    assert_string_equal(gr_shape_print(&h, text), "(9223372036854775807,9223372036854775807,0)");
    u = gr_shape_from(2, unknown);
    assert_int_equal(gr_shape_count(&u), -1);
    assert_string_equal(gr_shape_print(&u, text), "(?,3)");
    assert_int_equal(gr_axis(-1, 4), 3);
    assert_int_equal(gr_axis(4, 4), -1);
    assert_int_equal(gr_axis(-5, 4), -1);
    assert_int_equal(gr_axis(INT64_MIN, 4), -1);
}

static void count_release(void *user, void *data, size_t size)
{
    (void)data, (void)size;
    ++*(int *)user;
}

static void test_tensor(void **state)
{
    struct graft_error err = {0};
    float data[6] = {1, 2, 3, 4, 5, 6};
    int released = 0;
    struct gr_shape s = gr_shape_of(2, 2, 2);
    struct gr_tensor a = {0}, b = {0}, c = {0};
    (void)state;
    struct gr_buffer *buf = gr_buffer_new(data, sizeof data, count_release, &released);
    OK(gr_tensor_view(buf, 8, GR_F32, &s, &a, &err));
    assert_int_equal(gr_tensor_view(buf, 9, GR_F32, &s, &b, &err), GRAFT_E_FORMAT);
    assert_int_equal(gr_tensor_view(buf, SIZE_MAX, GR_F32, &s, &b, &err), GRAFT_E_FORMAT);
    b = gr_tensor_ref(&a);
    gr_buffer_unref(buf);
    gr_tensor_clear(&a);
    assert_int_equal(released, 0);
    assert_true(gr_load_f64(GR_F32, b.data, 3) == 6);
    OK(gr_tensor_convert(&b, GR_F32, &c, &err));
    assert_ptr_equal(c.data, b.data);
    gr_tensor_clear(&c);
    OK(gr_tensor_convert(&b, GR_BF16, &c, &err));
    assert_true(gr_load_f64(GR_BF16, c.data, 0) == 3);
    gr_tensor_clear(&b);
    gr_tensor_clear(&c);
    assert_int_equal(released, 1);
    assert_int_equal(gr_tensor_new(GR_STRING, &s, &a, &err), GRAFT_E_UNSUPPORTED);
    gr_mem_fail_at(2);
    assert_int_equal(gr_tensor_new(GR_F32, &s, &a, &err), GRAFT_E_NOMEM);
    gr_mem_fail_at(0);
    assert_null(a.buf);
}

/* x -> Relu -> a; a -> Relu -> b, a -> Sigmoid -> c; Add(b, c) -> d; Relu -> y */
static struct gr_graph *diamond(struct graft_error *err)
{
    static const char *const nodes[][4] = {{"Relu", "x", NULL, "a"},
                                           {"Relu", "a", NULL, "b"},
                                           {"Sigmoid", "a", NULL, "c"},
                                           {"Add", "b", "c", "d"},
                                           {"Relu", "d", NULL, "y"}};
    struct gr_graph *g = NULL;
    const struct gr_type type = {GR_F32, gr_shape_of(2, 1, 8)};
    int id, node;
    if (gr_graph_new(&g, err))
        return NULL;
    enum graft_status s = gr_graph_set_opset(g, "ai.onnx", 13, err);
    if (!s)
        s = gr_graph_value(g, "x", &id, err);
    if (!s)
        s = gr_graph_add_input(g, id, &type, err);
    for (size_t i = 0; !s && i < 5; i++) {
        int in[2] = {-1, -1}, out = -1, n_in = nodes[i][2] ? 2 : 1;
        for (int k = 0; !s && k < n_in; k++)
            s = gr_graph_value(g, nodes[i][1 + k], &in[k], err);
        if (!s)
            s = gr_graph_value(g, nodes[i][3], &out, err);
        if (!s)
            s = gr_graph_add_node(g, nodes[i][0], "", nodes[i][3], n_in, in, 1, &out, &node, err);
        id = out;
    }
    if (!s)
        s = gr_graph_add_output(g, id, NULL, err);
    if (!s)
        s = gr_graph_check(g, err);
    if (!s)
        s = gr_graph_bind(g, err);
    if (s) {
        gr_graph_free(g);
        return NULL;
    }
    return g;
}

static struct gr_hash hash_of(const struct gr_graph *g)
{
    struct gr_hasher *h = gr_hasher_new();
    OK(gr_graph_hash(g, h, NULL));
    struct gr_hash x = gr_hasher_get(h);
    gr_hasher_free(h);
    return x;
}

static void test_cut(void **state)
{
    struct graft_error err = {0};
    struct gr_graph *g = diamond(&err), *copy = NULL;
    struct gr_inferred types = {0};
    const struct gr_type in = {GR_F32, gr_shape_of(2, 1, 8)};
    int *cuts = NULL;
    size_t n;
    (void)state;
    OK(gr_graph_infer(g, &in, 0, NULL, &types, &err));
    OK(gr_graph_cut_points(g, &types, &cuts, &n, &err));
    assert_int_equal(n, 3); /* not b or c: the other is alive beside it */
    assert_string_equal(g->values[cuts[0]].name, "a");
    assert_string_equal(g->values[cuts[1]].name, "d");
    assert_string_equal(g->values[cuts[2]].name, "y");
    gr_inferred_clear(&types);
    gr_free(cuts);

    OK(gr_graph_copy(g, &copy, &err));
    struct gr_hash whole = hash_of(g), again = hash_of(copy);
    assert_memory_equal(&whole, &again, sizeof whole);
    assert_false(copy->values[copy->outputs[0]].has_shape); /* nobody declared it */
    int d = gr_graph_find_value(copy, "d"), y = gr_graph_find_value(copy, "y");
    OK(gr_graph_cut(copy, 1, &d, &err));
    assert_int_equal(copy->n_nodes, 4);
    assert_int_equal(copy->values[y].producer, -1);
    OK(gr_graph_check(copy, &err));
    struct gr_hash part = hash_of(copy);
    assert_memory_not_equal(&whole, &part, sizeof whole);
    gr_graph_free(copy);

    OK(gr_graph_copy(g, &copy, &err));
    OK(gr_graph_keep_above(copy, d, &in, &err));
    assert_int_equal(copy->n_nodes, 1);
    assert_int_equal(copy->n_inputs, 1);
    assert_int_equal(copy->inputs[0], d);
    OK(gr_graph_check(copy, &err));
    gr_graph_free(copy);
    OK(gr_graph_free_batch(g, &err));
    assert_int_equal(g->values[g->inputs[0]].type.shape.dim[0], -1);
    gr_graph_free(g);
}

static void test_graph_errors(void **state)
{
    struct graft_error err = {0};
    struct gr_graph *g = diamond(&err);
    int id, twice[2], a = gr_graph_find_value(g, "a");
    (void)state;
    assert_int_equal(gr_graph_add_node(g, "Relu", "", "n", 1, &a, 1, &a, &id, &err),
                     GRAFT_E_FORMAT);
    OK(gr_graph_value(g, "new", &twice[0], &err));
    twice[1] = twice[0];
    assert_int_equal(gr_graph_add_node(g, "Split", "", "n", 1, &a, 2, twice, &id, &err),
                     GRAFT_E_FORMAT);
    assert_int_equal(g->values[twice[0]].producer, -1);
    assert_int_equal(gr_graph_add_output(g, g->outputs[0], NULL, &err), GRAFT_E_FORMAT);
    assert_int_equal(gr_graph_value(g, "", &id, &err), GRAFT_E_FORMAT);
    OK(gr_node_set_int(g, 0, "k", 1, &err));
    assert_int_equal(gr_node_set_int(g, 0, "k", 2, &err), GRAFT_E_FORMAT);
    assert_string_equal(gr_graph_free_name(g, "a"), "a_1");

    OK(gr_graph_add_node(g, "NoSuchThing", "", "first", 1, &a, 1, &twice[0], &id, &err));
    OK(gr_graph_value(g, "more", &twice[1], &err));
    OK(gr_graph_add_node(g, "NoSuchThing", "", "second", 1, &a, 1, &twice[1], &id, &err));
    OK(gr_graph_bind(g, &err));
    const struct gr_type in = {GR_F32, gr_shape_of(2, 1, 8)};
    struct gr_inferred types = {0};
    assert_int_equal(gr_graph_infer(g, &in, 0, NULL, &types, &err), GRAFT_E_UNSUPPORTED);
    assert_string_equal(err.message,
                        "1 unsupported operator: NoSuchThing (2 nodes, first 'first')");
    /* nodes that the wanted values do not need are no obstacle */
    OK(gr_graph_infer(g, &in, g->n_outputs, g->outputs, &types, &err));
    gr_inferred_clear(&types);

    /* a cycle: the first node reads the last one's output */
    g->nodes[0].in[0] = g->outputs[0];
    assert_int_equal(gr_graph_check(g, &err), GRAFT_E_FORMAT);
    assert_non_null(strstr(err.message, "depends on its own output"));
    gr_graph_free(g);
}

/* Every single allocation may fail: an error, no leak (the sanitizer looks), no crash. */
static void test_no_memory(void **state)
{
    const struct gr_type in = {GR_F32, gr_shape_of(2, 1, 8)};
    (void)state;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct graft_error err = {0};
        struct gr_graph *copy = NULL;
        struct gr_inferred types = {0};
        int *cuts = NULL, out = -1;
        size_t n_cuts;
        int64_t width;
        assert_true(n < 10000);
        gr_mem_fail_at(n);
        struct gr_graph *g = diamond(&err);
        enum graft_status s = g ? GRAFT_OK : err.status;
        if (!s)
            s = gr_graph_copy(g, &copy, &err);
        if (!s)
            s = gr_graph_infer(copy, &in, 0, NULL, &types, &err);
        if (!s)
            s = gr_graph_cut_points(copy, &types, &cuts, &n_cuts, &err);
        if (!s)
            s = gr_graph_pool_features(copy, &types, 2, cuts, &out, &width, &err);
        failed = s != GRAFT_OK;
        gr_mem_fail_at(0);
        if (failed)
            assert_int_equal(s, GRAFT_E_NOMEM);
        else
            assert_int_equal(width, 16);
        gr_inferred_clear(&types);
        gr_free(cuts);
        gr_graph_free(copy);
        gr_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtype),        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_tensor),       cmocka_unit_test(test_cut),
        cmocka_unit_test(test_graph_errors), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
