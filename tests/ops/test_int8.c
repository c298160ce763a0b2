/* Do plans in int8 give exactly what integers give? Scales are powers of two here, so that nothing
   is rounded but where 8 bits begin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
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

enum { MAX = 1 << 14 };

static uint64_t seed = 11;

static int between(int low, int high)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return low + (int)((seed >> 33) % (uint64_t)(high - low + 1));
}

static int value(struct gr_graph *g, const char *name)
{
    int id;
    OK(gr_graph_value(g, name, &id, &err));
    return id;
}

/* Integers times 2^exponent; with `full` each of the n rows has a 127. */
static const float *add_const(struct gr_graph *g, const char *name, const struct gr_shape *shape,
                              int exponent, bool full)
{
    struct gr_tensor t = {0};
    OK(gr_tensor_new(GR_F32, shape, &t, &err));
    float *p = gr_tensor_mut(&t);
    int64_t n = gr_tensor_count(&t), row = n / shape->dim[0];
    for (int64_t i = 0; i < n; i++)
        p[i] = ldexpf((float)(full && i % row == 0 ? 127 : between(-120, 120)), exponent);
    OK(gr_graph_set_const(g, value(g, name), &t, &err));
    gr_tensor_clear(&t);
    return g->values[value(g, name)].data.data;
}

static void add_node(struct gr_graph *g, const char *op, const char *const in[3], const char *y,
                     int64_t group, int64_t stride, int64_t pad)
{
    int ids[3], n_in = 0, out = value(g, y), id;
    for (; n_in < 3 && in[n_in]; n_in++)
        ids[n_in] = value(g, in[n_in]);
    OK(gr_graph_add_node(g, op, "", y, n_in, ids, 1, &out, &id, &err));
    const int64_t strides[] = {stride, stride}, pads[] = {pad, pad, pad, pad}, two[] = {2, 2};
    if (!strcmp(op, "Conv") || !strcmp(op, "MaxPool")) {
        OK(gr_node_set_ints(g, id, "strides", 2, strides, &err));
        OK(gr_node_set_ints(g, id, "pads", 4, pads, &err));
    }
    if (!strcmp(op, "MaxPool"))
        OK(gr_node_set_ints(g, id, "kernel_shape", 2, two, &err));
    if (!strcmp(op, "Conv"))
        OK(gr_node_set_int(g, id, "group", group, &err));
}
#define NODE(g, op, y, group, stride, pad, ...)                                                    \
    add_node(g, op, (const char *const[3]){__VA_ARGS__}, y, group, stride, pad)

static struct gr_graph *begin(const char *input, const struct gr_shape *shape)
{
    struct gr_graph *g = NULL;
    const struct gr_type t = {GR_F32, *shape};
    OK(gr_graph_new(&g, &err));
    OK(gr_graph_set_opset(g, "", 17, &err));
    OK(gr_graph_add_input(g, value(g, input), &t, &err));
    return g;
}

static void finish(struct gr_graph *g, const char *output)
{
    const struct gr_type t = {GR_UNKNOWN, {0}};
    OK(gr_graph_add_output(g, value(g, output), &t, &err));
    OK(gr_graph_check(g, &err));
    OK(gr_graph_bind(g, &err));
}

/* Runs it in int8; false where this processor cannot, or where not so many steps read 8 bits and
   `must` does not say that they have to. */
static bool run_steps(const struct gr_graph *g, struct gr_ranges *r, int int8_steps, bool must,
                      const float *x, float *y)
{
    struct gr_plan_options o;
    struct gr_plan *p = NULL;
    struct gr_exec *e = NULL;
    struct graft_error why = {0};
    int found = 0;
    gr_ranges_sort(r);
    gr_plan_options_init(&o);
    o.batch = 2;
    o.precision = GR_PRECISION_INT8;
    o.ranges = r;
    enum graft_status s = gr_plan_new(g, 0, NULL, NULL, &o, &p, &why);
    if (s == GRAFT_E_UNSUPPORTED) {
        printf("skipped: %s\n", why.message);
        return false;
    }
    if (s)
        fail_msg("%s", why.message);
    for (size_t i = 0; i < gr_plan_n_steps(p); i++) {
        struct gr_step_info info;
        gr_plan_get_step(p, i, &info);
        found += info.int8;
    }
    if (must)
        assert_int_equal(found, int8_steps);
    OK(gr_exec_new(p, &e, &err));
    OK(gr_exec_run(e, (const void *[]){x}, (void *[]){y}, &err));
    gr_exec_free(e);
    gr_plan_free(p);
    return found == int8_steps;
}

static bool run(const struct gr_graph *g, struct gr_ranges *r, int int8_steps, const float *x,
                float *y)
{
    return run_steps(g, r, int8_steps, true, x, y);
}

/* ---- the slow way: all numbers are integers times a power of two --------------------------------
 */

/* To the nearest 2^exponent within low..high of them, ties to even. */
static void round_to(double *x, int64_t n, int exponent, double low, double high)
{
    for (int64_t i = 0; i < n; i++) {
        double v = nearbyint(ldexp(x[i], -exponent));
        v = v < low ? low : v > high ? high : v;
        x[i] = ldexp(v, exponent);
    }
}

static void relu(double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
}

struct picture {
    int64_t n, c, h, w;
};

static int64_t size(struct picture p)
{
    return p.n * p.c * p.h * p.w;
}

static struct picture conv(const double *x, struct picture in, const float *w, const float *b,
                           int64_t oc, int64_t k, int64_t group, int64_t stride, int64_t pad,
                           double *y)
{
    const struct picture out = {in.n, oc, (in.h + 2 * pad - k) / stride + 1,
                                (in.w + 2 * pad - k) / stride + 1};
    const int64_t ic = in.c / group;
    assert_true(size(out) <= MAX);
    for (int64_t i = 0; i < size(out); i++) {
        int64_t col = i % out.w, row = i / out.w % out.h, o = i / out.w / out.h % oc,
                n = i / out.w / out.h / oc;
        double sum = b ? (double)b[o] : 0;
        for (int64_t c = 0; c < ic; c++)
            for (int64_t u = 0; u < k; u++)
                for (int64_t v = 0; v < k; v++) {
                    int64_t r = row * stride - pad + u, q = col * stride - pad + v;
                    int64_t from = o / (oc / group) * ic + c;
                    if (r >= 0 && r < in.h && q >= 0 && q < in.w)
                        sum += x[((n * in.c + from) * in.h + r) * in.w + q] *
                               (double)w[((o * ic + c) * k + u) * k + v];
                }
        y[i] = sum;
    }
    return out;
}

static struct picture max_2x2(const double *x, struct picture in, double *y)
{
    const struct picture out = {in.n, in.c, in.h / 2, in.w / 2};
    for (int64_t i = 0; i < size(out); i++) {
        const double *p =
            x + (i / out.w / out.h * in.h + i / out.w % out.h * 2) * in.w + i % out.w * 2;
        y[i] = fmax(fmax(p[0], p[1]), fmax(p[in.w], p[in.w + 1]));
    }
    return out;
}

static void compare(const float *got, const double *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if ((double)got[i] != want[i])
            fail_msg("element %lld: %.9g, the integers give %.9g", (long long)i, (double)got[i],
                     want[i]);
}

static float of(int exponent, int steps)
{
    return ldexpf((float)steps, exponent);
}

/* x -> Conv Relu MaxPool -> two Convs, added, Relu -> Conv */
static void residual_net(int64_t ic, int64_t mid, int64_t group, int64_t stride, bool positive)
{
    enum { X = -6, W = -7, R = X + 1, B = R + 1, E = R + 1 };
    struct picture in = {2, ic, 11, 12};
    const struct gr_shape x_shape = {4, {-1, ic, 11, 12}}, one = {1, {mid}},
                          w1 = {4, {mid, ic / group, 3, 3}}, w2 = {4, {mid, mid, 1, 1}},
                          w4 = {4, {5, mid, 3, 3}};
    struct gr_graph *g = begin("x", &x_shape);
    const float *a_w = add_const(g, "a_w", &w1, W, true),
                *a_b = add_const(g, "a_b", &one, X + W + 6, false),
                *b_w = add_const(g, "b_w", &w2, W, true), *c_w = add_const(g, "c_w", &w2, W, true),
                *c_b = add_const(g, "c_b", &one, R + W + 6, false),
                *d_w = add_const(g, "d_w", &w4, W, true);
    NODE(g, "Conv", "a", group, stride, 1, "x", "a_w", "a_b");
    NODE(g, "Relu", "r", 0, 0, 0, "a");
    NODE(g, "MaxPool", "m", 0, 2, 0, "r");
    NODE(g, "Conv", "b", 1, 1, 0, "m", "b_w");
    NODE(g, "Conv", "c", 1, 1, 0, "m", "c_w", "c_b");
    NODE(g, "Add", "s", 0, 0, 0, "b", "c");
    NODE(g, "Relu", "e", 0, 0, 0, "s");
    NODE(g, "Conv", "y", 1, 1, 1, "e", "d_w");
    finish(g, "y");
    struct gr_range items[] = {{(char[]){"x"}, of(X, positive ? 255 : 127), !positive},
                               {(char[]){"r"}, of(R, 255), false},
                               {(char[]){"m"}, 1, false}, /* the other side of MaxPool counts */
                               {(char[]){"b"}, of(B, 127), true},
                               {(char[]){"e"}, of(E, 255), false}};
    struct gr_ranges ranges = {items, sizeof items / sizeof *items};
    float *x = gr_alloc_aligned(MAX * sizeof *x, true),
          *y = gr_alloc_aligned(MAX * sizeof *y, true);
    double *v[5];
    for (int i = 0; i < 5; i++)
        v[i] = gr_alloc_zero(MAX, sizeof *v[i]);
    for (int64_t i = 0; i < size(in); i++) { /* halves too, and some beyond the range */
        x[i] = ldexpf((float)between(positive ? 0 : -300, 300), X - 1) * (positive ? 2 : 1);
        v[0][i] = (double)x[i];
    }
    round_to(v[0], size(in), X, positive ? 0 : -128, positive ? 255 : 127);
    struct picture p = conv(v[0], in, a_w, a_b, mid, 3, group, stride, 1, v[1]);
    relu(v[1], size(p));
    round_to(v[1], size(p), R, 0, 255);
    p = max_2x2(v[1], p, v[2]);
    conv(v[2], p, b_w, NULL, mid, 1, 1, 1, 0, v[3]);
    round_to(v[3], size(p), B, -128, 127);
    conv(v[2], p, c_w, c_b, mid, 1, 1, 1, 0, v[4]);
    for (int64_t i = 0; i < size(p); i++)
        v[4][i] += v[3][i];
    relu(v[4], size(p));
    round_to(v[4], size(p), E, 0, 255);
    p = conv(v[4], p, d_w, NULL, 5, 3, 1, 1, 1, v[0]);
    if (run(g, &ranges, 5, x, y))
        compare(y, v[0], size(p));
    for (int i = 0; i < 5; i++)
        gr_free(v[i]);
    gr_free_aligned(x);
    gr_free_aligned(y);
    gr_graph_free(g);
}

static void test_convolutions(void **state)
{
    (void)state;
    residual_net(3, 16, 1, 1, false);
    residual_net(8, 16, 1, 2, true);
    residual_net(16, 16, 16, 1, false); /* a window for each channel */
    residual_net(16, 16, 16, 2, true);
    residual_net(32, 32, 2, 1, false);
    residual_net(5, 7, 1, 1, true); /* channels that fill no vector */
}

/* x -> Conv -> Conv 1x1 -> Clip -> window for each channel -> Clip -> Conv 1x1, the first one's
   output added or not -> Conv. The block from the second to the fourth is one step where there is a
   kernel for it: what is expanded is not rounded then. */
static void block_net(int64_t ic, int64_t mid, int64_t oc, int64_t k, int64_t stride, bool add,
                      bool positive)
{
    enum { P = -4, X = -6, W = -7, D = -2, H = X + W + D + 9, Y = H + W + 8 };
    struct picture in = {2, ic, 9, 10};
    const struct gr_shape x_shape = {4, {-1, ic, 9, 10}}, scalar = {0, {0}}, one = {1, {mid}},
                          bias = {1, {oc}}, w1 = {4, {mid, ic, 1, 1}}, w2 = {4, {mid, 1, k, k}},
                          w3 = {4, {oc, mid, 1, 1}}, w4 = {4, {3, oc, 1, 1}},
                          w0 = {4, {ic, ic, 1, 1}};
    struct gr_graph *g = begin("x", &x_shape);
    const float *p_w = add_const(g, "p_w", &w0, W, true), *a_w = add_const(g, "a_w", &w1, W, true),
                *a_b = add_const(g, "a_b", &one, X + W + 3, false),
                *b_w = add_const(g, "b_w", &w2, D, false),
                *b_b = add_const(g, "b_b", &one, X + W + D + 6, false),
                *c_w = add_const(g, "c_w", &w3, W, true),
                *c_b = add_const(g, "c_b", &bias, H + W + 4, false),
                *d_w = add_const(g, "d_w", &w4, W, true);
    const int low = value(g, "low"), high = value(g, "high");
    for (int i = 0; i < 2; i++) {
        struct gr_tensor t = {0};
        OK(gr_tensor_new(GR_F32, &scalar, &t, &err));
        *(float *)gr_tensor_mut(&t) = i ? 6.0f : 0.0f;
        OK(gr_graph_set_const(g, i ? high : low, &t, &err));
        gr_tensor_clear(&t);
    }
    /* Small windows keep all sums exact in fp32. */
    float *small = (float *)(uintptr_t)b_w;
    for (int64_t i = 0; i < mid * k * k; i++)
        small[i] = ldexpf((float)between(-3, 3), D);
    NODE(g, "Conv", "p", 1, 1, 0, "x", "p_w");
    if (positive)
        NODE(g, "Relu", "q", 0, 0, 0, "p");
    NODE(g, "Conv", "a", 1, 1, 0, positive ? "q" : "p", "a_w", "a_b");
    NODE(g, "Clip", "ar", 0, 0, 0, "a", "low", "high");
    NODE(g, "Conv", "b", mid, stride, k / 2, "ar", "b_w", "b_b");
    NODE(g, "Clip", "br", 0, 0, 0, "b", "low", "high");
    NODE(g, "Conv", "c", 1, 1, 0, "br", "c_w", "c_b");
    if (add)
        NODE(g, "Add", "s", 0, 0, 0, "c", positive ? "q" : "p");
    NODE(g, "Conv", "y", 1, 1, 0, add ? "s" : "c", "d_w");
    finish(g, "y");
    struct gr_range items[] = {
        {(char[]){"x"}, of(P, 127), true},
        {positive ? (char[]){"q"} : (char[]){"p"}, of(X, positive ? 255 : 127), !positive},
        {(char[]){"ar"}, 6, false},
        {(char[]){"br"}, of(H, 255), false},
        {add ? (char[]){"s"} : (char[]){"c"}, of(Y, 127), true}};
    struct gr_ranges ranges = {items, sizeof items / sizeof *items};
    float *x = gr_alloc_aligned(MAX * sizeof *x, true),
          *y = gr_alloc_aligned(MAX * sizeof *y, true);
    double *v[4];
    for (int i = 0; i < 4; i++)
        v[i] = gr_alloc_zero(MAX, sizeof *v[i]);
    for (int64_t i = 0; i < size(in); i++) {
        x[i] = ldexpf((float)between(-300, 300), P - 1);
        v[1][i] = (double)x[i];
    }
    round_to(v[1], size(in), P, -128, 127);
    conv(v[1], in, p_w, NULL, ic, 1, 1, 1, 0, v[0]);
    round_to(v[0], size(in), X, positive ? 0 : -128, positive ? 255 : 127);
    struct picture p = conv(v[0], in, a_w, a_b, mid, 1, 1, 1, 0, v[1]);
    for (int64_t i = 0; i < size(p); i++)
        v[1][i] = fmin(fmax(v[1][i], 0), 6);
    p = conv(v[1], p, b_w, b_b, mid, k, mid, stride, k / 2, v[2]);
    for (int64_t i = 0; i < size(p); i++)
        v[2][i] = fmin(fmax(v[2][i], 0), 6);
    round_to(v[2], size(p), H, 0, 255);
    p = conv(v[2], p, c_w, c_b, oc, 1, 1, 1, 0, v[3]);
    for (int64_t i = 0; add && i < size(p); i++)
        v[3][i] += v[0][i];
    round_to(v[3], size(p), Y, -128, 127);
    p = conv(v[3], p, d_w, NULL, 3, 1, 1, 1, 0, v[1]);
    if (run_steps(g, &ranges, 3, false, x, y))
        compare(y, v[1], size(p));
    else
        puts("skipped: no kernel for a whole block in 8 bits here");
    for (int i = 0; i < 4; i++)
        gr_free(v[i]);
    gr_free_aligned(x);
    gr_free_aligned(y);
    gr_graph_free(g);
}

static void test_blocks(void **state)
{
    (void)state;
    block_net(16, 32, 16, 3, 1, true, false);
    block_net(16, 32, 16, 3, 1, true, true);
    block_net(8, 44, 12, 3, 1, false, false); /* channels that fill no vector */
    block_net(24, 40, 36, 3, 2, false, true);
    block_net(12, 16, 12, 5, 1, true, false);
    block_net(12, 16, 20, 5, 2, false, false);
}

/* x -> Gemm Relu -> MatMul */
static void test_matrices(void **state)
{
    enum { X = -6, W = -7, R = X + 2, K = 40, M = 24, N = 9 };
    const struct gr_shape x_shape = {2, {-1, K}}, w1 = {2, {M, K}}, w2 = {2, {M, N}},
                          one = {1, {M}};
    struct gr_graph *g = begin("x", &x_shape);
    const float *a = add_const(g, "a", &w1, W, true),
                *b = add_const(g, "b", &one, X + W + 6, false);
    struct gr_tensor t = {0};
    int id, in[3] = {value(g, "x"), value(g, "a"), value(g, "b")}, out = value(g, "h");
    (void)state;
    OK(gr_tensor_new(GR_F32, &w2, &t, &err));
    float *c = gr_tensor_mut(&t);
    for (int i = 0; i < M * N; i++)
        c[i] = ldexpf((float)(i < N ? -127 : between(-120, 120)), W); /* each column has its 127 */
    OK(gr_graph_set_const(g, value(g, "c"), &t, &err));
    OK(gr_graph_add_node(g, "Gemm", "", "h", 3, in, 1, &out, &id, &err));
    OK(gr_node_set_int(g, id, "transB", 1, &err));
    NODE(g, "Relu", "r", 0, 0, 0, "h");
    NODE(g, "MatMul", "y", 0, 0, 0, "r", "c");
    finish(g, "y");
    struct gr_range items[] = {{(char[]){"x"}, of(X, 127), true},
                               {(char[]){"r"}, of(R, 255), false}};
    struct gr_ranges ranges = {items, 2};
    float x[2 * K], y[2 * N];
    double want[2 * N];
    for (int i = 0; i < 2 * K; i++)
        x[i] = ldexpf((float)between(-300, 300), X - 1);
    for (int row = 0; row < 2; row++) {
        double q[K], h[M];
        for (int k = 0; k < K; k++)
            q[k] = (double)x[row * K + k];
        round_to(q, K, X, -128, 127);
        for (int m = 0; m < M; m++) {
            h[m] = (double)b[m];
            for (int k = 0; k < K; k++)
                h[m] += q[k] * (double)a[m * K + k];
        }
        relu(h, M);
        round_to(h, M, R, 0, 255);
        for (int n = 0; n < N; n++) {
            want[row * N + n] = 0;
            for (int m = 0; m < M; m++)
                want[row * N + n] += h[m] * (double)c[m * N + n];
        }
    }
    if (run(g, &ranges, 2, x, y))
        compare(y, want, 2 * N);
    gr_tensor_clear(&t);
    gr_graph_free(g);
}

/* ---- ranges -------------------------------------------------------------------------------------
 */

static float bound_of(const float *x, size_t n, size_t pieces)
{
    struct gr_histogram *h = gr_alloc_zero(1, sizeof *h);
    for (size_t i = 0; i < pieces; i++)
        gr_histogram_add(h, x + n / pieces * i, n / pieces);
    float bound = gr_histogram_bound(h);
    gr_free(h);
    return bound;
}

static void test_bounds(void **state)
{
    enum { N = 1 << 16 };
    float *x = gr_alloc_zero(N, sizeof *x);
    (void)state;
    assert_true(bound_of(x, N, 4) == 1); /* nothing but zeros */
    for (int i = 0; i < N; i++)
        x[i] = (float)i / N;
    assert_true(fabsf(bound_of(x, N, 8) - 1) < 0.01f); /* even: nothing is clipped */
    x[100] = 50; /* (50 - t)^2 + N (t / 255)^2 / 12 is least where */
    const float least = 50 / (1 + N / (255.0f * 255.0f * 12));
    float bound = bound_of(x, N, 8);
    assert_true(fabsf(bound - least) < 0.1f);
    assert_true(bound == bound_of(x, N, 1)); /* however it comes in */
    x[100] = NAN;
    x[101] = -INFINITY;
    assert_true(fabsf(bound_of(x, N, 1) - 1) < 0.01f);
    for (int i = 0; i < N; i++)
        x[i] = i % 2 ? 3e38f : 1e-40f;
    assert_true(isfinite(bound_of(x, N, 1)));
    gr_free(x);
}

/* What a file says is believed only where it is a range. */
static void test_text(void **state)
{
    static const char *const bad[] = {"",
                                      "[]",
                                      "{\"a\": 3}",
                                      "{\"a\": [0]}",
                                      "{\"a\": [0, 0]}",
                                      "{\"a\": [0, -1]}",
                                      "{\"a\": [-2, 1]}",
                                      "{\"a\": [0, 1e39]}",
                                      "{\"a\": [0, 1e-39]}",
                                      "{\"a\": [0, 1, 2]}",
                                      "{\"a\": [0, 1], \"a\": [0, 1]}",
                                      "{\"b\": [0, 1], \"a\": [\"0\", {}]}"};
    struct gr_range items[] = {{(char[]){"b \" \n"}, 0.1f, true}, {(char[]){"a"}, 3e7f, false}};
    struct gr_ranges r = {items, 2}, back = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct graft_error err = {0};
        assert_int_equal(gr_job_parse_ranges(bad[i], &back, &err), GRAFT_E_FORMAT);
        assert_true(*err.message && !back.items);
    }
    char *text = gr_job_print_ranges(&r);
    assert_non_null(text);
    OK(gr_job_parse_ranges(text, &back, &err));
    assert_int_equal(back.n, 2);
    for (int i = 0; i < 2; i++) {
        const struct gr_range *found = gr_ranges_find(&back, items[i].value);
        assert_non_null(found);
        assert_true(found->high == items[i].high && found->below == items[i].below);
    }
    assert_null(gr_ranges_find(&back, "c"));
    gr_ranges_clear(&back);
    gr_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_matrices),     cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
