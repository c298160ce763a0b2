/* Do plans keep values apart, run alike every time and in every thread, and fail cleanly? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "core/op.h"
#include "exec/plan_steps.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct graft_error err = {0};                                                              \
        if (call)                                                                                  \
            fail_msg("%s", err.message);                                                           \
    } while (0)

static uint64_t seed = 3;

static int64_t below(int64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)(seed >> 33) % n;
}

/* Slots that live at the same time never share a byte. */
static void test_memory(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct plan_slot slots[60];
        struct plan_step steps[1] = {{.scratch_size = (size_t)below(5000)}};
        struct gr_plan p = {.slots = slots, .n_slots = (size_t)below(60), .steps = steps};
        p.n_steps = 1;
        size_t total = 0;
        for (size_t i = 0; i < p.n_slots; i++) {
            int first = (int)below(50);
            slots[i] = (struct plan_slot){.kind = below(8) ? SLOT_WORK : SLOT_CONST,
                                          .size = (size_t)below(3) * (size_t)below(1000),
                                          .first = first,
                                          .last = first + (int)below(12)};
            total += slots[i].size + 64;
        }
        OK(plan_memory(&p, &err));
        assert_true(p.scratch_offset <= total);
        assert_true(p.scratch_offset + steps[0].scratch_size <= p.work_size);
        for (size_t i = 0; i < p.n_slots; i++) {
            const struct plan_slot *a = &slots[i];
            if (a->kind != SLOT_WORK)
                continue;
            assert_true(a->offset % 64 == 0 && a->offset + a->size <= p.scratch_offset);
            for (size_t k = 0; k < i; k++) {
                const struct plan_slot *b = &slots[k];
                bool together = a->first <= b->last && b->first <= a->last;
                bool apart = a->offset + a->size <= b->offset || b->offset + b->size <= a->offset;
                assert_true(b->kind != SLOT_WORK || !together || apart || !a->size || !b->size);
            }
        }
    }
}

static int value(struct gr_graph *g, const char *name)
{
    int id;
    OK(gr_graph_value(g, name, &id, &err));
    return id;
}

static void add_weights(struct gr_graph *g, const char *name, const struct gr_shape *shape)
{
    struct gr_tensor t = {0};
    OK(gr_tensor_new(GR_F32, shape, &t, &err));
    for (int64_t i = 0; i < gr_tensor_count(&t); i++)
        ((float *)gr_tensor_mut(&t))[i] = (float)(below(2001) - 1000) / 2000;
    OK(gr_graph_set_const(g, value(g, name), &t, &err));
    gr_tensor_clear(&t);
}

static void add_node(struct gr_graph *g, const char *op, const char *a, const char *b,
                     const char *y)
{
    int in[2] = {value(g, a), b ? value(g, b) : -1}, out = value(g, y), id;
    OK(gr_graph_add_node(g, op, "", y, b ? 2 : 1, in, 1, &out, &id, &err));
}

static void add_output(struct gr_graph *g, const char *name)
{
    struct gr_type t = {GR_UNKNOWN, {0}};
    OK(gr_graph_add_output(g, value(g, name), &t, &err));
}

static void finish(struct gr_graph *g)
{
    OK(gr_graph_check(g, &err));
    OK(gr_graph_bind(g, &err));
}

/* x -> conv -> relu -> conv -> + -> pool -> softmax; outputs at two places. */
static struct gr_graph *make_net(void)
{
    struct gr_graph *g = NULL;
    struct gr_type x = {GR_F32, {4, {-1, 3, 20, 20}}};
    struct gr_shape w1 = {4, {16, 3, 3, 3}}, w2 = {4, {16, 16, 1, 1}};
    OK(gr_graph_new(&g, &err));
    OK(gr_graph_set_opset(g, "", 17, &err));
    OK(gr_graph_add_input(g, value(g, "x"), &x, &err));
    add_weights(g, "w1", &w1);
    add_weights(g, "w2", &w2);
    add_weights(g, "w3", &w2);
    add_node(g, "Conv", "x", "w1", "a");
    add_node(g, "Relu", "a", NULL, "b");
    add_node(g, "Conv", "b", "w2", "c");
    add_node(g, "Conv", "c", "w3", "d");
    add_node(g, "Add", "d", "b", "e");
    add_node(g, "Sigmoid", "e", NULL, "f");
    add_node(g, "Mul", "e", "f", "g");
    add_node(g, "GlobalAveragePool", "g", NULL, "h");
    add_node(g, "Flatten", "h", NULL, "i");
    add_node(g, "Softmax", "i", NULL, "y");
    add_output(g, "y");
    add_output(g, "e");
    finish(g);
    return g;
}

enum { BATCH = 3, N_X = BATCH * 3 * 20 * 20, N_Y = BATCH * 16, N_E = BATCH * 16 * 18 * 18 };

struct worker {
    const struct gr_plan *plan;
    const float *x;
    float y[N_Y], e[N_E];
    int failures;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct gr_exec *e = NULL;
    const void *in[] = {w->x};
    void *out[] = {w->y, w->e};
    if (gr_exec_new(w->plan, &e, NULL)) {
        w->failures++;
        return NULL;
    }
    for (int i = 0; i < 20; i++)
        w->failures += gr_exec_run(e, in, out, NULL) != GRAFT_OK;
    gr_exec_free(e);
    return NULL;
}

static void test_threads(void **state)
{
    struct gr_graph *g = make_net();
    struct worker *w = gr_alloc_zero(3, sizeof *w);
    float *x = gr_alloc_array(N_X, sizeof *x);
    (void)state;
    for (int i = 0; i < N_X; i++)
        x[i] = (float)below(1000) / 500 - 1;
    for (int precision = GR_PRECISION_FP32; precision <= GR_PRECISION_BF16; precision++) {
        struct gr_plan_options o;
        struct gr_plan *p = NULL;
        struct graft_error err = {0};
        pthread_t thread[2];
        gr_plan_options_init(&o);
        o.batch = BATCH;
        o.precision = precision;
        enum graft_status s = gr_plan_new(g, 0, NULL, NULL, &o, &p, &err);
        if (precision == GR_PRECISION_BF16 && s == GRAFT_E_UNSUPPORTED)
            continue;
        assert_int_equal(s, GRAFT_OK);
        for (int i = 0; i < 3; i++) {
            w[i] = (struct worker){.plan = p, .x = x};
            if (i < 2)
                assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
        }
        for (int i = 0; i < 2; i++)
            pthread_join(thread[i], NULL);
        work(&w[2]); /* alone, after the others */
        for (int i = 0; i < 3; i++) {
            assert_int_equal(w[i].failures, 0);
            assert_memory_equal(w[i].y, w[2].y, sizeof w[2].y);
            assert_memory_equal(w[i].e, w[2].e, sizeof w[2].e);
        }
        gr_plan_free(p);
    }
    gr_free(x);
    gr_free(w);
    gr_graph_free(g);
}

/* Outputs that nothing computes: an input, a constant, one value twice. */
static void test_borders(void **state)
{
    struct gr_graph *g = NULL;
    struct gr_type x = {GR_F32, {2, {-1, 3}}};
    struct gr_shape two = {2, {1, 2}};
    struct gr_plan_options o;
    struct gr_plan *p = NULL;
    struct gr_exec *e = NULL;
    float in[6] = {1, -2, 3, -4, 5, -6}, out[4][6] = {{0}};
    (void)state;
    OK(gr_graph_new(&g, &err));
    OK(gr_graph_set_opset(g, "", 17, &err));
    OK(gr_graph_add_input(g, value(g, "x"), &x, &err));
    add_weights(g, "w", &two);
    add_node(g, "Relu", "x", NULL, "y");
    add_node(g, "Identity", "y", NULL, "z");
    add_node(g, "Identity", "x", NULL, "u");
    add_output(g, "y");
    add_output(g, "z");
    add_output(g, "u");
    add_output(g, "w");
    finish(g);
    gr_plan_options_init(&o);
    o.batch = 2;
    OK(gr_plan_new(g, 0, NULL, NULL, &o, &p, &err));
    OK(gr_exec_new(p, &e, &err));
    OK(gr_exec_run(e, (const void *[]){in}, (void *[]){out[0], out[1], out[2], out[3]}, &err));
    for (int i = 0; i < 6; i++) {
        assert_true(out[0][i] == (in[i] > 0 ? in[i] : 0) && out[1][i] == out[0][i]);
        assert_true(out[2][i] == in[i]);
    }
    assert_memory_equal(out[3], g->values[value(g, "w")].data.data, 8);
    gr_exec_free(e);
    gr_plan_free(p);
    gr_graph_free(g);
}

/* Data that an operator refuses: an error that names the node. */
static void test_failure(void **state)
{
    struct gr_graph *g = NULL;
    struct gr_type x = {GR_F32, {2, {-1, 3}}}, i = {GR_I64, {1, {1}}};
    struct gr_shape shapes[] = {{2, {2, 3}}, {1, {1}}};
    struct gr_plan_options o;
    struct gr_plan *p = NULL;
    struct gr_exec *e = NULL;
    float in[6] = {0}, out[6];
    int64_t index = 1;
    struct graft_error why = {0};
    (void)state;
    OK(gr_graph_new(&g, &err));
    OK(gr_graph_set_opset(g, "", 17, &err));
    OK(gr_graph_add_input(g, value(g, "x"), &x, &err));
    OK(gr_graph_add_input(g, value(g, "i"), &i, &err));
    add_node(g, "Gather", "x", "i", "picked");
    add_output(g, "picked");
    finish(g);
    gr_plan_options_init(&o);
    OK(gr_plan_new(g, 0, NULL, shapes, &o, &p, &err));
    OK(gr_exec_new(p, &e, &err));
    OK(gr_exec_run(e, (const void *[]){in, &index}, (void *[]){out}, &err));
    index = 7;
    assert_int_equal(gr_exec_run(e, (const void *[]){in, &index}, (void *[]){out}, &why),
                     GRAFT_E_COMPUTE);
    assert_non_null(strstr(why.message, "'picked' (Gather)"));
    gr_exec_free(e);
    gr_plan_free(p);
    gr_graph_free(g);
}

/* Every allocation fails once: no crash, no leak (the sanitizer looks). */
static void test_no_memory(void **state)
{
    struct gr_graph *g = make_net();
    struct gr_plan_options o;
    bool done = false;
    (void)state;
    gr_plan_options_init(&o);
    for (uint64_t n = 1; !done; n++) {
        struct gr_plan *p = NULL;
        struct gr_exec *e = NULL;
        gr_mem_fail_at(n);
        enum graft_status s = gr_plan_new(g, 0, NULL, NULL, &o, &p, NULL);
        if (!s)
            s = gr_exec_new(p, &e, NULL);
        gr_mem_fail_at(0);
        assert_true(s == GRAFT_OK || s == GRAFT_E_NOMEM);
        done = s == GRAFT_OK;
        gr_exec_free(e);
        gr_plan_free(p);
    }
    gr_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_borders),   cmocka_unit_test(test_failure),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
