/* Does training by kernels give what training by the double references gives? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "core/kernel.h"
#include "cpu/rows.h"
#include "exec/trainer_steps.h"
#include "ops/op_case.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *line = "";

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct graft_error err = {0};                                                              \
        if (call)                                                                                  \
            fail_msg("%s: %s", line, err.message);                                                 \
    } while (0)

static float random_float(uint64_t *seed)
{
    return (float)op_case_random(seed);
}

/* A training step with every number that it gives. */
struct result {
    size_t n_logits, size, n_stats, n_again;
    enum gr_trainer_keep keep;
    float *logits, *grads, *stats;
};

static void result_clear(struct result *r)
{
    gr_free(r->logits);
    gr_free(r->grads);
    gr_free(r->stats);
}

/* dlogits are the same for all runs on a line. */
static void train_once(const struct gr_graph *g, int output, size_t n_logits, size_t n_params,
                       const int *params, const void *const *inputs,
                       const struct gr_trainer_options *o, struct result *r)
{
    struct gr_trainer *t = NULL;
    uint64_t seed = 99;
    *r = (struct result){.n_logits = n_logits};
    OK(gr_trainer_new(g, output, NULL, n_params, params, o, &t, &err));
    r->size = gr_trainer_size(t);
    r->logits = gr_alloc_zero(n_logits + 1, sizeof(float));
    r->grads = gr_alloc_zero(r->size + 1, sizeof(float));
    float *dlogits = gr_alloc_zero(n_logits + 1, sizeof(float));
    for (size_t i = 0; i < n_logits; i++)
        dlogits[i] = random_float(&seed);
    for (size_t i = 0; i < r->size; i++)
        r->grads[i] = NAN;                    /* all of it is to be overwritten */
    for (int twice = 0; twice < 2; twice++) { /* nothing is left over from a step */
        OK(gr_trainer_forward(t, inputs, true, 7, r->logits, &err));
        OK(gr_trainer_backward(t, dlogits, r->grads, &err));
    }
    const float *stats = gr_trainer_stats(t, &r->n_stats);
    r->keep = gr_trainer_get_keep(t);
    for (size_t i = 0; i < t->n_backs; i++)
        r->n_again += t->backs[i].kind == BACK_AGAIN;
    r->stats = gr_alloc_zero(r->n_stats + 1, sizeof(float));
    memcpy(r->stats, stats, r->n_stats * sizeof(float));
    gr_free(dlogits);
    gr_trainer_free(t);
}

static void compare(const char *what, size_t n, const float *y, const float *want, double most)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)y[i] - (double)want[i]);
        largest = fmax(largest, fabs((double)want[i]));
        worst = d <= worst ? worst : d;
    }
    if (!(worst <= most * (largest + 1e-3)))
        fail_msg("%s: %s off by %g of %g", line, what, worst, largest);
}

static void both_ways(const struct gr_graph *g, int output, size_t n_logits, size_t n_params,
                      const int *params, const void *const *inputs, struct gr_trainer_options o)
{
    struct result fast, slow;
    const double most = o.precision == GR_PRECISION_BF16 ? 0.01 : 1e-4;
    train_once(g, output, n_logits, n_params, params, inputs, &o, &fast);
    o.reference = true;
    o.precision = GR_PRECISION_FP32;
    train_once(g, output, n_logits, n_params, params, inputs, &o, &slow);
    assert_int_equal(fast.size, slow.size);
    assert_int_equal(fast.n_stats, slow.n_stats);
    compare("output", n_logits, fast.logits, slow.logits, most);
    compare("gradients", fast.size, fast.grads, slow.grads, most);
    compare("statistics", fast.n_stats, fast.stats, slow.stats, most);
    result_clear(&fast);
    result_clear(&slow);
}

/* One line of gradient_cases.txt: all float inputs are trained. Returns how many were compared. */
static int operator_case(enum gr_precision precision)
{
    struct op_case c;
    struct gr_trainer_options o;
    struct gr_graph *g = NULL;
    int params[OP_CASE_PORTS], n_params = 0, n = 0;
    op_case_open(&c, line);
    OK(gr_graph_copy(c.g, &g, &err));
    g->n_inputs = 0;
    for (int i = 0; i < c.n_in; i++) {
        int v = c.node->in[i];
        if (v < 0 || !c.in[i].v || gr_value_is_const(&g->values[v]))
            continue;
        struct gr_tensor t = {0};
        OK(gr_tensor_new(c.in[i].dtype, &c.in[i].shape, &t, &err));
        for (int64_t k = 0; k < gr_tensor_count(&t); k++)
            gr_store_f64(t.dtype, gr_tensor_mut(&t), (size_t)k, c.in[i].v[k]);
        OK(gr_graph_set_const(g, v, &t, &err));
        gr_tensor_clear(&t);
        bool bn_stats = !strcmp(c.node->op_type, "BatchNormalization") && i >= 3;
        if (c.in[i].dtype == GR_F32 && !bn_stats)
            params[n_params++] = v;
    }
    gr_trainer_options_init(&o);
    o.precision = precision;
    o.bn = GR_BN_ADAPT;
    size_t n_logits = (size_t)gr_shape_count(&c.out[0].shape);
    if (c.out[0].dtype == GR_F32 && c.node->op->ref_grad) {
        both_ways(g, c.node->out[0], n_logits, (size_t)n_params, params, NULL, o);
        n++;
    }
    if (!strcmp(c.node->op_type, "BatchNormalization")) {
        o.bn = GR_BN_TRAIN;
        both_ways(g, c.node->out[0], n_logits, (size_t)n_params, params, NULL, o);
    }
    gr_graph_free(g);
    op_case_close(&c);
    return n;
}

static void operators(void **state)
{
    char text[300];
    FILE *f = fopen(CASES, "r");
    int n = 0;
    (void)state;
    assert_non_null(f);
    while (fgets(text, sizeof text, f)) {
        text[strcspn(text, "\n")] = 0;
        line = text;
        if (*text && *text != '#')
            n += operator_case(GR_PRECISION_FP32);
    }
    fclose(f);
    assert_true(n > 300);
}

/* Where differences are no judge: on a bound kernels and reference have the same slope. And rows of
   batch-norm that fill registers, several pixels at once, and that do not. */
static void kinks_and_rows(void **state)
{
    static const char *const lines[] = {
        "Clip x=6(-1,0,0.5,3,6,7) F=(0) F=(6)",
        "Relu x=3(-1,0,1)",
        "BatchNormalization x=4,16,3,2 s=16 b=16 m=16 v=16@0.5:1.5",
        "BatchNormalization x=4,24,6,6 s=24 b=24 m=24 v=24@0.5:1.5",
        "BatchNormalization x=3,80,5,5 s=80 b=80 m=80 v=80@0.5:1.5",
        "BatchNormalization x=2,19,9,9 s=19 b=19 m=19 v=19@0.5:1.5",
        "BatchNormalization x=3,150,3,5 s=150 b=150 m=150 v=150@0.5:1.5",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        line = lines[i];
        assert_int_equal(operator_case(GR_PRECISION_FP32), 1);
    }
}

/* Factors that are copied, rounded and turned, and what is too small for it. */
static void products_in_bf16(void **state)
{
    static const char *const lines[] = {
        "MatMul a=2,70,130 b=130,96",        "MatMul a=3,50,100 b=3,100,90",
        "MatMul a=2,3,60,64 b=2,3,64,70",    "Gemm x=120,100 w=110,100 c=110 transB=1",
        "Gemm x=100,120 w=100,110 transA=1", "Gemm x=100,120 w=110,100 c=110 transA=1 transB=1",
    };
    (void)state;
    if (!gr_cpu_has_bf16()) {
        print_message("skipped: this processor cannot multiply in bf16\n");
        return;
    }
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (int half = 0; half < 2; half++) {
            line = lines[i];
            assert_int_equal(operator_case(half ? GR_PRECISION_BF16 : GR_PRECISION_FP32), 1);
        }
}

/* Tiles that fill the picture and that do not, padding of every kind, blocks of tiles that are not
   full, with and without a bias, and a picture whose gradient nobody wants. */
static void tiles(void **state)
{
    static const char *const lines[] = {
        "Conv x=3,32,24,24 w=32,32,3,3 pads=1,1,1,1",
        "Conv x=2,64,31,29 w=32,64,3,3 b=32 pads=1,1,1,1",
        "Conv x=5,32,22,23 w=96,32,3,3 b=96",
        "Conv x=2,32,29,30 w=64,32,3,3 pads=2,2,2,2",
        "Conv x=4,32,20,21 w=32,32,3,3 b=32 pads=0,1,2,0",
        "Conv X=3,32,25,24 w=32,32,3,3 pads=1,1,1,1",
        "Conv x=33,32,7,7 w=32,32,3,3 b=32 pads=1,1,1,1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (int half = 0; half < (gr_cpu_has_bf16() ? 2 : 1); half++) {
            line = lines[i];
            assert_int_equal(operator_case(half ? GR_PRECISION_BF16 : GR_PRECISION_FP32), 1);
        }
}

/* A channel at a time, with every stride and padding, with and without a bias. */
static void windows(void **state)
{
    static const char *const lines[] = {
        "Conv x=3,32,9,27 w=32,1,3,3 group=32 pads=1,1,1,1",
        "Conv x=2,48,10,31 w=48,1,3,3 b=48 group=48 pads=1,1,1,1 strides=2,2",
        "Conv x=2,16,7,32 w=16,1,3,3 group=16 strides=2,2",
        "Conv x=2,16,8,28 w=16,1,3,3 group=16 pads=0,0,1,1 strides=2,2",
        "Conv x=4,32,5,26 w=32,1,3,3 b=32 group=32 pads=2,2,2,2",
        "Conv x=2,16,6,29 w=16,1,3,3 group=16 pads=1,1,1,1 strides=2,1",
        "Conv x=2,16,6,29 w=16,1,3,3 group=16 pads=1,1,1,1 strides=1,2",
        "Conv X=2,32,9,29 w=32,1,3,3 b=32 group=32 pads=1,1,1,1",
        "Conv x=2,16,1,24 w=16,1,3,3 group=16 pads=1,1,1,1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (int half = 0; half < (gr_cpu_has_bf16() ? 2 : 1); half++) {
            line = lines[i];
            assert_int_equal(operator_case(half ? GR_PRECISION_BF16 : GR_PRECISION_FP32), 1);
        }
}

/* Every level that this processor can run does what plain loops do. */
static void row_levels(void **state)
{
    enum { ROWS = 70, WIDTH = 83, N = ROWS * WIDTH };
    static float x[N], dy[N], y[N], out[2][N], kept[2][N], c[5][WIDTH];
    static double sums[2][2][WIDTH];
    const struct rows_loops *levels[] = {rows_get_loops(), NULL, NULL};
    (void)state;
    line = "rows";
#if defined(__x86_64__) && !defined(__clang__)
    levels[1] = __builtin_cpu_supports("x86-64-v3") ? &rows_loops_v3 : NULL;
    levels[2] = __builtin_cpu_supports("x86-64-v4") ? &rows_loops_v4 : NULL;
#endif
    uint64_t seed = 3;
    for (int i = 0; i < N; i++) {
        x[i] = random_float(&seed);
        dy[i] = random_float(&seed);
        y[i] = random_float(&seed);
    }
    for (int i = 0; i < 5 * WIDTH; i++)
        c[i / WIDTH][i % WIDTH] = random_float(&seed);
    for (int level = 0; level < 3; level++)
        for (int slope = SLOPE_ONE; levels[level] && slope <= SLOPE_BY_X; slope++) {
            for (int k = 0; k < 2; k++) {
                const struct rows_loops *l = k ? levels[level] : &rows_loops_any;
                struct rows r = {.first = 1,
                                 .last = ROWS,
                                 .width = WIDTH,
                                 .x = x,
                                 .residual = slope ? dy : NULL,
                                 .y = y,
                                 .dy = dy,
                                 .out = out[k],
                                 .out_residual = slope == SLOPE_BY_Y ? kept[k] : NULL,
                                 .a = c[0],
                                 .b = c[1],
                                 .by_x = c[2],
                                 .summand = c[3],
                                 .shift = c[4],
                                 .lo = -0.3f,
                                 .hi = 0.4f,
                                 .sum = sums[k][0],
                                 .product = sums[k][1]};
                memset(sums[k], 0, sizeof sums[k]);
                l->apply(GR_F32, &r);
                l->stats(GR_F32, &r);
                l->reduce(GR_F32, (enum slope)slope, &r);
            }
            compare("apply", N, out[1], out[0], 1e-6);
            compare("gradient kept", N, kept[1], kept[0], 0);
            for (int i = 0; i < 2 * WIDTH; i++)
                assert_true(fabs((&sums[1][0][0])[i] - (&sums[0][0][0])[i]) <= 1e-4);
            for (int k = 0; k < 2; k++) {
                struct rows r = {.last = ROWS,
                                 .width = WIDTH,
                                 .x = x,
                                 .y = y,
                                 .dy = dy,
                                 .out = out[k],
                                 .out_residual = kept[k],
                                 .a = c[0],
                                 .b = c[1],
                                 .by_x = slope ? c[2] : NULL,
                                 .summand = c[3],
                                 .shift = c[4],
                                 .lo = -0.3f,
                                 .hi = 0.4f};
                (k ? levels[level] : &rows_loops_any)->back(GR_F32, (enum slope)slope, &r);
            }
            compare("dx", N, out[1], out[0], 1e-6);
            compare("gradient", N, kept[1], kept[0], 0);
        }
}

/* ---- a small network ------------------------------------------------------------------------ */

struct net {
    struct gr_graph *g;
    int n, params[64], n_params, input;
    uint64_t seed;
};

static int value(struct net *w, const char *kind)
{
    char name[40];
    int id;
    snprintf(name, sizeof name, "%s%d", kind, w->n++);
    OK(gr_graph_value(w->g, name, &id, &err));
    return id;
}

static int weight(struct net *w, double scale, double shift, bool trained, int rank,
                  const int64_t *dim)
{
    struct gr_shape shape = gr_shape_from(rank, dim);
    struct gr_tensor t = {0};
    int id = value(w, "w");
    OK(gr_tensor_new(GR_F32, &shape, &t, &err));
    for (int64_t i = 0; i < gr_tensor_count(&t); i++)
        ((float *)gr_tensor_mut(&t))[i] = (float)(scale * (double)random_float(&w->seed) + shift);
    OK(gr_graph_set_const(w->g, id, &t, &err));
    gr_tensor_clear(&t);
    if (trained)
        w->params[w->n_params++] = id;
    return id;
}

#define DIMS(...)                                                                                  \
    (const int64_t[])                                                                              \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static int node(struct net *w, const char *op, int n_in, const int *in)
{
    int id, out = value(w, op);
    OK(gr_graph_add_node(w->g, op, "", op, n_in, in, 1, &out, &id, &err));
    return out;
}

static void ints(struct net *w, const char *name, size_t n, const int64_t *v)
{
    OK(gr_node_set_ints(w->g, (int)w->g->n_nodes - 1, name, n, v, &err));
}

static int conv(struct net *w, int x, int64_t ic, int64_t oc, int64_t k, int64_t stride,
                int64_t groups, bool bias)
{
    int in[3] = {x, weight(w, sqrt(3.0 / (double)(ic / groups * k * k)), 0, true, 4,
                           DIMS(oc, ic / groups, k, k))};
    if (bias)
        in[2] = weight(w, 0.1, 0, true, 1, &oc);
    int y = node(w, "Conv", bias ? 3 : 2, in);
    ints(w, "pads", 4, DIMS(k / 2, k / 2, k / 2, k / 2));
    ints(w, "strides", 2, DIMS(stride, stride));
    OK(gr_node_set_int(w->g, (int)w->g->n_nodes - 1, "group", groups, &err));
    return y;
}

static int norm(struct net *w, int x, int64_t c)
{
    int in[5] = {x, weight(w, 0.3, 1, true, 1, &c), weight(w, 0.2, 0.1, true, 1, &c),
                 weight(w, 0.2, 0, false, 1, &c), weight(w, 0.3, 1, false, 1, &c)};
    return node(w, "BatchNormalization", 5, in);
}

static int one(struct net *w, const char *op, int x)
{
    return node(w, op, 1, &x);
}

static int two(struct net *w, const char *op, int x, int y)
{
    return node(w, op, 2, (int[]){x, y});
}

enum { BATCH = 3, SIDE = 9, CLASSES = 4 };

/* A residual block with a projection, squeeze and excitation, channel shuffle, dropout, a head. */
static int open_net(struct net *w, bool smooth)
{
    struct gr_type in = {GR_F32, {4, {-1, 3, SIDE, SIDE}}}, out = {GR_F32, {2, {-1, CLASSES}}};
    *w = (struct net){.seed = 5};
    const char *act = smooth ? "Sigmoid" : "Relu";
    OK(gr_graph_new(&w->g, &err));
    OK(gr_graph_set_opset(w->g, "", 14, &err));
    w->input = value(w, "x");
    OK(gr_graph_add_input(w->g, w->input, &in, &err));
    int x = one(w, act, norm(w, conv(w, w->input, 3, 8, 3, 1, 1, false), 8));
    if (!smooth) {
        x = one(w, "MaxPool", x);
        ints(w, "kernel_shape", 2, DIMS(3, 3));
        ints(w, "strides", 2, DIMS(2, 2));
        ints(w, "pads", 4, DIMS(1, 1, 1, 1));
    } else {
        x = one(w, "AveragePool", x);
        ints(w, "kernel_shape", 2, DIMS(2, 2));
        ints(w, "strides", 2, DIMS(2, 2));
    }
    x = one(w, "Dropout", x);
    int side = smooth ? 4 : 5, a = one(w, act, norm(w, conv(w, x, 8, 12, 3, 1, 1, false), 12));
    a = norm(w, conv(w, a, 12, 12, 3, 1, 4, true), 12);
    int b = norm(w, conv(w, x, 8, 12, 1, 1, 1, false), 12);
    x = one(w, act, two(w, "Add", a, b));
    int s = one(w, "GlobalAveragePool", x); /* squeeze and excitation */
    s = one(w, "Sigmoid", conv(w, s, 12, 12, 1, 1, 1, true));
    int y = two(w, "Mul", x, s);
    y = norm(w, conv(w, y, 12, 12, 3, 1, 12, false), 12);
    x = two(w, "Add", x, y); /* no function after it */
    struct gr_tensor t = {0};
    struct gr_shape five = gr_shape_of(1, 5), four = gr_shape_of(1, 4);
    int split = value(w, "shape"), join = value(w, "shape");
    OK(gr_tensor_from(GR_I64, &five, DIMS(-1, 3, 4, side, side), &t, &err));
    OK(gr_graph_set_const(w->g, split, &t, &err));
    gr_tensor_clear(&t);
    OK(gr_tensor_from(GR_I64, &four, DIMS(-1, 12, side, side), &t, &err));
    OK(gr_graph_set_const(w->g, join, &t, &err));
    gr_tensor_clear(&t);
    x = one(w, "Transpose", two(w, "Reshape", x, split));
    ints(w, "perm", 5, DIMS(0, 2, 1, 3, 4));
    x = two(w, "Reshape", x, join);
    x = two(w, "Concat", x, y);
    OK(gr_node_set_int(w->g, (int)w->g->n_nodes - 1, "axis", 1, &err));
    x = one(w, "Flatten", one(w, "GlobalAveragePool", one(w, "HardSwish", x)));
    x = one(w, "Dropout", x);
    int head[3] = {x, weight(w, 0.5, 0, true, 2, DIMS(CLASSES, 24)),
                   weight(w, 0.5, 0, true, 1, DIMS(CLASSES))};
    x = node(w, "Gemm", 3, head);
    OK(gr_node_set_int(w->g, (int)w->g->n_nodes - 1, "transB", 1, &err));
    OK(gr_graph_add_output(w->g, x, &out, &err));
    OK(gr_graph_check(w->g, &err));
    OK(gr_graph_bind(w->g, &err));
    return x;
}

static void fill(float *v, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        v[i] = random_float(&seed);
}

static void network(void **state)
{
    static const char *const modes[] = {"frozen", "adapt", "train"};
    static float picture[BATCH * 3 * SIDE * SIDE];
    (void)state;
    fill(picture, sizeof picture / sizeof *picture, 11);
    for (int bn = GR_BN_FROZEN; bn <= GR_BN_TRAIN; bn++)
        for (int smooth = 0; smooth < 2; smooth++) {
            struct net w;
            struct gr_trainer_options o;
            line = modes[bn];
            int output = open_net(&w, smooth);
            gr_trainer_options_init(&o);
            o.batch = BATCH;
            o.bn = (enum gr_bn_mode)bn;
            const void *inputs[] = {picture};
            both_ways(w.g, output, BATCH * CLASSES, (size_t)w.n_params, w.params, inputs, o);
            gr_graph_free(w.g);
        }
}

/* What is computed again instead of kept gives the same numbers to the last bit, and moves the
   statistics once. */
static void recomputed(void **state)
{
    static float picture[BATCH * 3 * SIDE * SIDE];
    (void)state;
    line = "recomputed";
    fill(picture, sizeof picture / sizeof *picture, 11);
    const void *inputs[] = {picture};
    for (int bn = GR_BN_FROZEN; bn <= GR_BN_TRAIN; bn++)
        for (int slow = 0; slow < 2; slow++) {
            struct net w;
            struct gr_trainer_options o;
            struct result want, got;
            int output = open_net(&w, false);
            gr_trainer_options_init(&o);
            o.batch = BATCH;
            o.bn = (enum gr_bn_mode)bn;
            o.reference = slow;
            o.keep = GR_KEEP_ALL;
            train_once(w.g, output, BATCH * CLASSES, (size_t)w.n_params, w.params, inputs, &o,
                       &want);
            for (int keep = GR_KEEP_PRODUCTS; keep <= GR_KEEP_BORDERS; keep++) {
                o.keep = (enum gr_trainer_keep)keep;
                train_once(w.g, output, BATCH * CLASSES, (size_t)w.n_params, w.params, inputs, &o,
                           &got);
                assert_int_equal(got.keep, keep);
                if (keep == GR_KEEP_BORDERS)
                    assert_true(got.n_again > 0);
                if (keep == GR_KEEP_PRODUCTS && bn == GR_BN_TRAIN && !slow)
                    assert_true(got.n_again > 0);
                assert_memory_equal(got.logits, want.logits, BATCH * CLASSES * sizeof(float));
                assert_memory_equal(got.grads, want.grads, want.size * sizeof(float));
                assert_int_equal(got.n_stats, want.n_stats);
                if (want.n_stats)
                    assert_memory_equal(got.stats, want.stats, want.n_stats * sizeof(float));
                result_clear(&got);
            }
            result_clear(&want);
            gr_graph_free(w.g);
        }
}

/* A chain of blocks needs less the more is computed again, and max_work chooses. */
static void work_limit(void **state)
{
    struct net w = {.seed = 5};
    struct gr_type in = {GR_F32, {4, {-1, 8, 16, 16}}}, out = {GR_F32, {2, {-1, 8}}};
    struct gr_trainer_options o;
    size_t work[3];
    (void)state;
    line = "work_limit";
    OK(gr_graph_new(&w.g, &err));
    OK(gr_graph_set_opset(w.g, "", 14, &err));
    w.input = value(&w, "x");
    OK(gr_graph_add_input(w.g, w.input, &in, &err));
    int x = w.input;
    for (int i = 0; i < 9; i++)
        x = one(&w, "Relu", norm(&w, conv(&w, x, 8, 8, 3, 1, 1, false), 8));
    x = one(&w, "Flatten", one(&w, "GlobalAveragePool", x));
    OK(gr_graph_add_output(w.g, x, &out, &err));
    OK(gr_graph_check(w.g, &err));
    OK(gr_graph_bind(w.g, &err));
    for (int keep = 0; keep < 3; keep++) {
        struct gr_trainer *t = NULL;
        gr_trainer_options_init(&o);
        o.bn = GR_BN_TRAIN;
        o.keep = (enum gr_trainer_keep)keep;
        OK(gr_trainer_new(w.g, x, NULL, (size_t)w.n_params, w.params, &o, &t, &err));
        work[keep] = gr_trainer_get_work_size(t);
        gr_trainer_free(t);
    }
    assert_true(work[1] < work[0] * 3 / 4);
    assert_true(work[2] < work[1]);
    for (int i = 0; i < 4; i++) { /* as much as fits; the smallest where nothing does */
        struct gr_trainer *t = NULL;
        o.keep = GR_KEEP_ALL;
        o.max_work = i < 3 ? work[i] : work[2] - 1;
        OK(gr_trainer_new(w.g, x, NULL, (size_t)w.n_params, w.params, &o, &t, &err));
        assert_int_equal(gr_trainer_get_keep(t), i < 3 ? i : 2);
        assert_int_equal(gr_trainer_get_work_size(t), work[i < 3 ? i : 2]);
        gr_trainer_free(t);
    }
    gr_graph_free(w.g);
}

static double loss_of(struct gr_trainer *t, const void *const *inputs, const float *weight_of)
{
    float logits[BATCH * CLASSES];
    double sum = 0;
    OK(gr_trainer_forward(t, inputs, true, 3, logits, &err));
    for (int i = 0; i < BATCH * CLASSES; i++)
        sum += (double)weight_of[i] * (double)logits[i];
    return sum;
}

/* The whole network against differences: through no formula of ours. Smooth, so that every
   direction has a slope; the references, so that float's digits do not hide it. */
static void differences(void **state)
{
    static float picture[BATCH * 3 * SIDE * SIDE];
    float weights[BATCH * CLASSES], logits[BATCH * CLASSES];
    (void)state;
    line = "differences";
    fill(picture, sizeof picture / sizeof *picture, 11);
    fill(weights, BATCH * CLASSES, 12);
    const void *inputs[] = {picture};
    for (int bn = GR_BN_ADAPT; bn <= GR_BN_TRAIN; bn++) {
        struct net w;
        struct gr_trainer *t = NULL;
        struct gr_trainer_options o;
        uint64_t seed = 77;
        int output = open_net(&w, true);
        gr_trainer_options_init(&o);
        o.batch = BATCH;
        o.bn = (enum gr_bn_mode)bn;
        OK(gr_trainer_new(w.g, output, NULL, (size_t)w.n_params, w.params, &o, &t, &err));
        size_t n = gr_trainer_size(t);
        float *p = gr_trainer_params(t), *grads = gr_alloc_zero(n, sizeof *grads);
        float *start = gr_alloc_zero(n, sizeof *start), *along = gr_alloc_zero(n, sizeof *along);
        memcpy(start, p, n * sizeof *p);
        OK(gr_trainer_forward(t, inputs, true, 3, logits, &err));
        OK(gr_trainer_backward(t, weights, grads, &err));
        for (size_t k = 0; k < gr_trainer_n_params(t); k++) { /* each tensor on its own */
            const struct gr_trainer_param *q = gr_trainer_get_param(t, k);
            double slope = 0, size = 0, h = 1e-2, norm2 = 0;
            for (size_t i = 0; i < q->count; i++) {
                along[i] = random_float(&seed);
                norm2 += (double)(along[i] * along[i]);
            }
            for (size_t i = 0; i < q->count; i++) {
                along[i] /= (float)sqrt(norm2);
                slope += (double)(along[i] * grads[q->offset + i]);
                size += (double)(grads[q->offset + i] * grads[q->offset + i]);
            }
            for (size_t i = 0; i < q->count; i++)
                p[q->offset + i] = start[q->offset + i] + (float)h * along[i];
            double up = loss_of(t, inputs, weights);
            for (size_t i = 0; i < q->count; i++)
                p[q->offset + i] = start[q->offset + i] - (float)h * along[i];
            double diff = (up - loss_of(t, inputs, weights)) / (2 * h);
            memcpy(p, start, n * sizeof *p);
            if (!(fabs(diff - slope) <= 1e-2 * sqrt(size) + 3e-4))
                fail_msg("%s (mode %d): slope %g, differences %g", q->name, bn, slope, diff);
        }
        gr_free(grads);
        gr_free(start);
        gr_free(along);
        gr_trainer_free(t);
        gr_graph_free(w.g);
    }
}

/* Only what is trained moves; the statistics only in GR_BN_TRAIN; a frozen batch-norm never. */
static void frozen_bytes(void **state)
{
    static float picture[BATCH * 3 * SIDE * SIDE];
    float logits[BATCH * CLASSES], weights[BATCH * CLASSES];
    (void)state;
    fill(picture, sizeof picture / sizeof *picture, 11);
    fill(weights, BATCH * CLASSES, 12);
    const void *inputs[] = {picture};
    for (int bn = GR_BN_FROZEN; bn <= GR_BN_TRAIN; bn++) {
        struct net w;
        struct gr_graph *stored = NULL;
        struct gr_trainer *t = NULL;
        struct gr_trainer_options o;
        size_t n_stats;
        int output = open_net(&w, false), half = w.n_params / 2;
        gr_trainer_options_init(&o);
        o.batch = BATCH;
        o.bn = (enum gr_bn_mode)bn;
        OK(gr_trainer_new(w.g, output, NULL, (size_t)(w.n_params - half), w.params + half, &o, &t,
                          &err));
        size_t n = gr_trainer_size(t);
        float *grads = gr_alloc_zero(n, sizeof *grads);
        for (int step = 0; step < 3; step++) {
            OK(gr_trainer_forward(t, inputs, true, (uint64_t)step, logits, &err));
            OK(gr_trainer_backward(t, weights, grads, &err));
            for (size_t i = 0; i < n; i++)
                gr_trainer_params(t)[i] -= 0.1f * grads[i] + 1e-3f;
        }
        gr_trainer_stats(t, &n_stats);
        assert_true((n_stats > 0) == (bn == GR_BN_TRAIN));
        OK(gr_graph_copy(w.g, &stored, &err));
        OK(gr_trainer_store(t, stored, &err));
        size_t moved = 0, moved_stats = 0;
        for (size_t i = 0; i < w.g->n_values; i++) {
            const struct gr_tensor *a = &w.g->values[i].data, *b = &stored->values[i].data;
            bool trained = false;
            assert_true((a->buf != NULL) == (b->buf != NULL));
            for (size_t k = 0; k < gr_trainer_n_params(t); k++)
                trained = trained || gr_trainer_get_param(t, k)->value == (int)i;
            if (!a->buf || !memcmp(a->data, b->data, a->size))
                continue;
            moved += trained;
            moved_stats += !trained;
        }
        assert_int_equal(moved, gr_trainer_n_params(t));
        assert_true((moved_stats > 0) == (bn == GR_BN_TRAIN));
        if (bn == GR_BN_FROZEN) /* scales and biases of batch-norms were asked for in vain */
            assert_true(gr_trainer_n_params(t) < (size_t)(w.n_params - half));
        gr_free(grads);
        gr_trainer_free(t);
        gr_graph_free(stored);
        gr_graph_free(w.g);
    }
}

/* In bf16 the same gradients to its three digits, and nearly the same way down in ten steps. */
static void bf16(void **state)
{
    static const char *const modes[] = {"bf16 frozen", "bf16 adapt", "bf16 train"};
    static float picture[BATCH * 3 * SIDE * SIDE];
    enum { N = BATCH * CLASSES, STEPS = 10 };
    float target[N], logits[N], dlogits[N];
    (void)state;
    if (!gr_cpu_has_bf16()) {
        print_message("skipped: this processor cannot multiply in bf16\n");
        return;
    }
    fill(picture, sizeof picture / sizeof *picture, 11);
    fill(target, N, 12);
    const void *inputs[] = {picture};
    for (int bn = GR_BN_FROZEN; bn <= GR_BN_TRAIN; bn++) {
        double loss[2][STEPS] = {{0}}, length = 0, off = 0;
        float *first[2] = {NULL};
        size_t n = 0;
        line = modes[bn];
        for (int half = 0; half < 2; half++) {
            struct net w;
            struct gr_trainer *t = NULL;
            struct gr_trainer_options o;
            int output = open_net(&w, true);
            gr_trainer_options_init(&o);
            o.batch = BATCH;
            o.bn = (enum gr_bn_mode)bn;
            o.precision = half ? GR_PRECISION_BF16 : GR_PRECISION_FP32;
            OK(gr_trainer_new(w.g, output, NULL, (size_t)w.n_params, w.params, &o, &t, &err));
            n = gr_trainer_size(t);
            float *grads = gr_alloc_zero(n, sizeof *grads), *p = gr_trainer_params(t);
            first[half] = gr_alloc_zero(n, sizeof *grads);
            for (int step = 0; step < STEPS; step++) {
                OK(gr_trainer_forward(t, inputs, true, (uint64_t)step, logits, &err));
                for (int i = 0; i < N; i++) {
                    dlogits[i] = logits[i] - target[i];
                    loss[half][step] += (double)(dlogits[i] * dlogits[i]) / 2;
                }
                OK(gr_trainer_backward(t, dlogits, grads, &err));
                if (!step)
                    memcpy(first[half], grads, n * sizeof *grads);
                for (size_t i = 0; i < n; i++)
                    p[i] -= 0.01f * grads[i];
            }
            gr_free(grads);
            gr_trainer_free(t);
            gr_graph_free(w.g);
        }
        for (size_t i = 0; i < n; i++) {
            double d = (double)first[1][i] - (double)first[0][i];
            length += (double)first[0][i] * (double)first[0][i];
            off += d * d;
        }
        print_message("%s: gradient off by %.2g, loss %g to %g, in bf16 to %g\n", line,
                      sqrt(off / length), loss[0][0], loss[0][STEPS - 1], loss[1][STEPS - 1]);
        assert_true(off > 0); /* it was bf16 */
        assert_true(sqrt(off / length) <= 0.02);
        assert_true(loss[0][STEPS - 1] < 0.9 * loss[0][0]);
        for (int i = 0; i < STEPS; i++)
            assert_true(fabs(loss[1][i] - loss[0][i]) <= 0.01 * loss[0][0]);
        gr_free(first[0]);
        gr_free(first[1]);
    }
}

/* Operators without gradient are named, all of them, before anything is done. */
static void missing_gradients(void **state)
{
    struct net w = {.seed = 5};
    struct gr_type in = {GR_F32, {2, {-1, 3}}};
    struct gr_trainer *t = NULL;
    struct gr_trainer_options o;
    struct graft_error why = {0};
    (void)state;
    OK(gr_graph_new(&w.g, &err));
    OK(gr_graph_set_opset(w.g, "", 13, &err));
    w.input = value(&w, "x");
    OK(gr_graph_add_input(w.g, w.input, &in, &err));
    int x = two(&w, "Add", w.input, weight(&w, 1, 0, true, 1, DIMS(3)));
    x = one(&w, "Round", one(&w, "Relu", one(&w, "Floor", x)));
    OK(gr_graph_add_output(w.g, x, &in, &err));
    OK(gr_graph_check(w.g, &err));
    OK(gr_graph_bind(w.g, &err));
    gr_trainer_options_init(&o);
    enum graft_status s = gr_trainer_new(w.g, x, NULL, (size_t)w.n_params, w.params, &o, &t, &why);
    assert_int_equal(s, GRAFT_E_UNSUPPORTED);
    assert_non_null(strstr(why.message, "'Floor'"));
    assert_non_null(strstr(why.message, "'Round'"));
    assert_null(strstr(why.message, "'Relu'"));
    assert_null(t);
    gr_graph_free(w.g);
}

/* A quantizer has none either, though its output is no floating point. */
static void quantized(void **state)
{
    struct net w = {.seed = 5};
    struct gr_type in = {GR_F32, {2, {-1, 3}}};
    struct gr_trainer *t = NULL;
    struct gr_trainer_options o;
    struct graft_error why = {0};
    (void)state;
    OK(gr_graph_new(&w.g, &err));
    OK(gr_graph_set_opset(w.g, "", 13, &err));
    w.input = value(&w, "x");
    OK(gr_graph_add_input(w.g, w.input, &in, &err));
    int scale = weight(&w, 0, 0.1, false, 0, NULL);
    int x = two(&w, "Add", w.input, weight(&w, 1, 0, true, 1, DIMS(3)));
    x = two(&w, "DequantizeLinear", two(&w, "QuantizeLinear", x, scale), scale);
    x = two(&w, "Add", x, weight(&w, 1, 0, true, 1, DIMS(3)));
    OK(gr_graph_add_output(w.g, x, &in, &err));
    OK(gr_graph_check(w.g, &err));
    OK(gr_graph_bind(w.g, &err));
    gr_trainer_options_init(&o);
    enum graft_status s = gr_trainer_new(w.g, x, NULL, (size_t)w.n_params, w.params, &o, &t, &why);
    assert_int_equal(s, GRAFT_E_UNSUPPORTED);
    assert_non_null(strstr(why.message, "'QuantizeLinear'"));
    assert_null(t);
    gr_graph_free(w.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators),
        cmocka_unit_test(kinks_and_rows),
        cmocka_unit_test(products_in_bf16),
        cmocka_unit_test(tiles),
        cmocka_unit_test(windows),
        cmocka_unit_test(network),
        cmocka_unit_test(differences),
        cmocka_unit_test(frozen_bytes),
        cmocka_unit_test(bf16),
        cmocka_unit_test(missing_gradients),
        cmocka_unit_test(quantized),
        cmocka_unit_test(row_levels),
        cmocka_unit_test(recomputed),
        cmocka_unit_test(work_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
