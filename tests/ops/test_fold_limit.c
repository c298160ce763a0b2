/* Does a file that asks for endless work on constants get an error, and soon? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/infer.h"
#include "core/op.h"
#include <string.h>
#include <time.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct graft_error err = {0};                                                              \
        if (call)                                                                                  \
            fail_msg("%s", err.message);                                                           \
    } while (0)

static struct gr_graph *graph(void)
{
    struct gr_graph *g = NULL;
    OK(gr_graph_new(&g, &err));
    OK(gr_graph_set_opset(g, "", 17, &err));
    return g;
}

static int add(struct gr_graph *g, const char *op, int n_in, const int *in, const char *out)
{
    int id, node;
    OK(gr_graph_value(g, out, &id, &err));
    OK(gr_graph_add_node(g, op, "", "", n_in, in, 1, &id, &node, &err));
    return id;
}

/* A constant of that shape that costs the file nothing. */
static int large(struct gr_graph *g, const char *name, int rank, const int64_t *dims)
{
    struct gr_tensor t = {0};
    struct gr_shape s = gr_shape_of(1, rank);
    char shape_name[40] = "shape of ";
    int shape;
    strcat(shape_name, name);
    OK(gr_tensor_from(GR_I64, &s, dims, &t, &err));
    OK(gr_graph_value(g, shape_name, &shape, &err));
    OK(gr_graph_set_const(g, shape, &t, &err));
    gr_tensor_clear(&t);
    return add(g, "ConstantOfShape", 1, &shape, name);
}

/* Infers types and frees the graph. */
static void expect(struct gr_graph *g, enum graft_status expected, const char *message)
{
    struct gr_inferred r = {0};
    clock_t start = clock();
    OK(gr_graph_check(g, &err));
    OK(gr_graph_bind(g, &err));
    struct graft_error err = {0};
    enum graft_status s = gr_graph_infer(g, NULL, 0, NULL, &r, &err);
    if (s != expected || (message && !strstr(err.message, message)))
        fail_msg("status %d, expected %d: %s", s, expected, err.message);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 60); /* with sanitizers */
    gr_inferred_clear(&r);
    gr_graph_free(g);
}

static void matmul(void **state)
{
    struct gr_graph *g = graph();
    int in[2] = {large(g, "a", 2, (int64_t[]){2000, 2000}),
                 large(g, "b", 2, (int64_t[]){2000, 2000})};
    (void)state;
    add(g, "MatMul", 2, in, "y");
    expect(g, GRAFT_E_LIMIT, "takes 8.1e+09 operations");
}

static void small_matmul(void **state)
{
    struct gr_graph *g = graph();
    int in[2] = {large(g, "a", 2, (int64_t[]){50, 40}), large(g, "b", 2, (int64_t[]){40, 60})};
    (void)state;
    add(g, "MatMul", 2, in, "y");
    expect(g, GRAFT_OK, NULL);
}

static void convolution(void **state)
{
    struct gr_graph *g = graph();
    int in[2] = {large(g, "x", 4, (int64_t[]){1, 1, 1000, 1000}),
                 large(g, "w", 4, (int64_t[]){1, 1, 500, 500})};
    (void)state;
    add(g, "Conv", 2, in, "y");
    expect(g, GRAFT_E_LIMIT, "takes 6.");
}

static void windows(void **state)
{
    struct gr_graph *g = graph();
    int x = large(g, "x", 4, (int64_t[]){1, 1, 2000, 2000});
    (void)state;
    add(g, "MaxPool", 1, &x, "y");
    OK(gr_node_set_ints(g, 1, "kernel_shape", 2, (int64_t[]){1000, 1000}, &err));
    expect(g, GRAFT_E_LIMIT, "takes 1e+12 operations");
    g = graph();
    x = large(g, "x", 2, (int64_t[]){1, 1000000});
    add(g, "LRN", 1, &x, "y");
    OK(gr_node_set_int(g, 1, "size", 1000000, &err));
    expect(g, GRAFT_E_LIMIT, "takes 1e+12 operations");
}

/* Each step is cheap and its result tiny. */
static void many(void **state)
{
    struct gr_graph *g = graph();
    int x = large(g, "x", 1, (int64_t[]){8000000});
    (void)state;
    for (int i = 0; i < 1000; i++) {
        char name[16] = {'y', (char)('0' + i / 100), (char)('0' + i / 10 % 10),
                         (char)('0' + i % 10)};
        add(g, "ReduceSum", 1, &x, name);
    }
    expect(g, GRAFT_E_LIMIT, "are left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(matmul), cmocka_unit_test(small_matmul),
                                       cmocka_unit_test(convolution), cmocka_unit_test(windows),
                                       cmocka_unit_test(many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
