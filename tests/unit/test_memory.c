/* Does training stay within the memory that was allowed, in the promised order? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/process.h"
#include "job/memory.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct graft_error err = {0};                                                              \
        if (call)                                                                                  \
            fail_msg("%s", err.message);                                                           \
    } while (0)

enum { DEPTH = 8, CHANNELS = 8, SIDE = 160, BATCH = 16 };

static int value(struct gr_graph *g, const char *name, int i)
{
    char text[40];
    int id;
    snprintf(text, sizeof text, "%s%d", name, i);
    OK(gr_graph_value(g, text, &id, &err));
    return id;
}

static int weight(struct gr_graph *g, int i, int rank, const int64_t *dim, float v)
{
    struct gr_shape shape = gr_shape_from(rank, dim);
    struct gr_tensor t = {0};
    int id = value(g, "w", i);
    OK(gr_tensor_new(GR_F32, &shape, &t, &err));
    for (int64_t k = 0; k < gr_tensor_count(&t); k++)
        ((float *)gr_tensor_mut(&t))[k] = v * (float)(k % 7 + 1);
    OK(gr_graph_set_const(g, id, &t, &err));
    gr_tensor_clear(&t);
    return id;
}

/* Convolutions with batch-norm and activation, one after the other, and a mean over the pixels. */
static struct gr_graph *open_chain(int *params, int *logits)
{
    const int64_t kernel[] = {CHANNELS, CHANNELS, 3, 3}, channels[] = {CHANNELS};
    const int64_t pads[] = {1, 1, 1, 1};
    struct gr_type in = {GR_F32, {4, {-1, CHANNELS, SIDE, SIDE}}},
                   out = {GR_F32, {2, {-1, CHANNELS}}};
    struct gr_graph *g = NULL;
    int node, x = 0, y;
    OK(gr_graph_new(&g, &err));
    OK(gr_graph_set_opset(g, "", 14, &err));
    x = value(g, "x", 0);
    OK(gr_graph_add_input(g, x, &in, &err));
    for (int i = 0; i < DEPTH; i++) {
        params[i] = weight(g, 10 * i, 4, kernel, 0.01f);
        int conv[] = {x, params[i]};
        y = value(g, "conv", i);
        OK(gr_graph_add_node(g, "Conv", "", "", 2, conv, 1, &y, &node, &err));
        OK(gr_node_set_ints(g, node, "pads", 4, pads, &err));
        int norm[] = {y, weight(g, 10 * i + 1, 1, channels, 1),
                      weight(g, 10 * i + 2, 1, channels, 0), weight(g, 10 * i + 3, 1, channels, 0),
                      weight(g, 10 * i + 4, 1, channels, 1)};
        y = value(g, "norm", i);
        OK(gr_graph_add_node(g, "BatchNormalization", "", "", 5, norm, 1, &y, &node, &err));
        x = value(g, "relu", i);
        OK(gr_graph_add_node(g, "Relu", "", "", 1, &y, 1, &x, &node, &err));
    }
    y = value(g, "mean", 0);
    OK(gr_graph_add_node(g, "GlobalAveragePool", "", "", 1, &x, 1, &y, &node, &err));
    x = value(g, "flat", 0);
    OK(gr_graph_add_node(g, "Flatten", "", "", 1, &y, 1, &x, &node, &err));
    OK(gr_graph_add_output(g, x, &out, &err));
    OK(gr_graph_check(g, &err));
    OK(gr_graph_bind(g, &err));
    *logits = x;
    return g;
}

/* In batches of BATCH, with what the loop says. */
static struct gr_fit_task make_task(const struct gr_graph *g, int logits, const int *params,
                                    const struct gr_finetune_options *loop)
{
    struct gr_fit_task task = {.graph = g,
                               .logits = logits,
                               .input = {4, {1, CHANNELS, SIDE, SIDE}},
                               .n_params = DEPTH,
                               .params = params,
                               .loop = loop,
                               .n_classes = CHANNELS,
                               .n_train = 1000};
    gr_trainer_options_init(&task.options);
    task.options.batch = BATCH;
    return task;
}

static void order(void **state)
{
    int params[DEPTH], logits;
    struct gr_finetune_options loop;
    struct gr_fit_choice c;
    struct graft_error why = {0};
    size_t now, before;
    (void)state;
    struct gr_graph *g = open_chain(params, &logits);
    gr_finetune_options_init(&loop);
    loop.accumulate = 2;
    struct gr_fit_task task = make_task(g, logits, params, &loop);
    task.options.bn = GR_BN_TRAIN;
    gr_process_memory(&now, &before);
    assert_true(now > 0 && before >= now);

    OK(gr_memory_fit(&task, &c, &err)); /* no limit */
    const size_t whole = c.peak;
    assert_int_equal(c.batch, BATCH);
    assert_int_equal(c.accumulate, 2);
    assert_true(whole >= now + gr_trainer_get_work_size(c.trainer));
    assert_non_null(strstr(c.text, "planned peak"));
    assert_null(strstr(c.text, "twice"));
    const size_t work = gr_trainer_get_work_size(c.trainer);
    gr_trainer_free(c.trainer);

    task.limit = whole + work; /* as is; a sanitizer keeps books on freed memory too */
    OK(gr_memory_fit(&task, &c, &err));
    assert_int_equal(gr_trainer_get_keep(c.trainer), task.options.keep);
    gr_trainer_free(c.trainer);

    int n_twice =
        0; /* each time a little less than was planned: first computing twice, then parts */
    do {
        task.limit = c.peak - work / 50;
        OK(gr_memory_fit(&task, &c, &err));
        assert_true(c.peak <= task.limit);
        if (c.batch == BATCH) {
            n_twice++;
            assert_true(gr_trainer_get_keep(c.trainer) > GR_KEEP_ALL);
            assert_non_null(strstr(c.text, "twice"));
        }
        gr_trainer_free(c.trainer);
    } while (c.batch == BATCH);
    assert_true(n_twice > 0);
    assert_true(c.batch > 0 && BATCH % c.batch == 0);
    assert_int_equal(c.batch * c.accumulate, 2 * BATCH);
    assert_non_null(strstr(c.text, "make a step, and batch-norm"));

    task.limit = now / 2; /* not at all: both figures */
    assert_int_equal(gr_memory_fit(&task, &c, &why), GRAFT_E_LIMIT);
    assert_non_null(strstr(why.message, "training needs"));
    assert_non_null(strstr(why.message, "allowed are"));
    gr_graph_free(g);
}

/* What an earlier run with another limit chose is taken again, or refused; never another split. */
static void resumed(void **state)
{
    int params[DEPTH], logits;
    struct gr_finetune_options loop;
    struct gr_fit_choice c;
    struct graft_error why = {0};
    (void)state;
    struct gr_graph *g = open_chain(params, &logits);
    gr_finetune_options_init(&loop);
    loop.accumulate = 2;
    struct gr_fit_task task = make_task(g, logits, params, &loop);
    task.resumed = (struct gr_fit_split){BATCH / 4, 8};
    OK(gr_memory_fit(&task, &c, &err)); /* without a limit the batch asked for would fit */
    assert_int_equal(c.batch, BATCH / 4);
    assert_int_equal(c.accumulate, 8);
    assert_non_null(strstr(c.text, "8 batches of 4 make a step, as in the checkpoint"));
    gr_trainer_free(c.trainer);

    task.resumed = (struct gr_fit_split){2 * BATCH, 1};
    OK(gr_memory_fit(&task, &c, &err));
    assert_int_equal(c.batch, 2 * BATCH);
    assert_int_equal(c.accumulate, 1);
    gr_trainer_free(c.trainer);

    task.limit = 1 << 20;
    assert_int_equal(gr_memory_fit(&task, &c, &why), GRAFT_E_LIMIT);
    assert_non_null(strstr(why.message, "1 batches of 32 a step"));
    assert_non_null(strstr(why.message, "--mem"));
    assert_non_null(strstr(why.message, "--resume"));

    task.limit = 0;
    task.resumed = (struct gr_fit_split){BATCH, 1}; /* half of the examples a step */
    assert_int_equal(gr_memory_fit(&task, &c, &why), GRAFT_E_ARG);
    assert_non_null(strstr(why.message, "of 16 examples"));
    assert_non_null(strstr(why.message, "of 32 (--batch-size 16, --accumulate 2)"));
    gr_graph_free(g);
}

static void parts(void **state)
{
    (void)state;
    assert_int_equal(gr_memory_part(32, 1, 1000), 32);
    assert_int_equal(gr_memory_part(32, 2, 1000), 16);
    assert_int_equal(gr_memory_part(32, 3, 1000), 0);
    assert_int_equal(gr_memory_part(32, 32, 1000), 1);
    assert_int_equal(gr_memory_part(37, 2, 37), 19); /* all there is: the last may be smaller */
    assert_int_equal(gr_memory_part(37, 2, 38), 0);
    for (int64_t all = 1; all < 60; all++)
        for (int64_t k = 1; k <= all; k++) {
            int64_t part = gr_memory_part(all, k, all);
            if (part)
                assert_int_equal((all + part - 1) / part, k);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(order), cmocka_unit_test(resumed),
                                       cmocka_unit_test(parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
