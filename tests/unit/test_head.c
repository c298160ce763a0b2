/* Are heads what their definition says, equal to scikit-learn's, and the same on any threads? */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/gemm.h"
#include "train/head.h"
#include "train/probs.h"
#include "train/softmax.h"
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* ---- made-up data: classes around shifted means ---- */
struct toy {
    size_t n, d, n_classes;
    float *x;
    int *y;
};

static struct toy toy_new(size_t n, size_t d, size_t n_classes, double apart)
{
    struct toy t = {n, d, n_classes, gr_alloc_array(n * d, sizeof(float)),
                    gr_alloc_array(n, sizeof(int))};
    for (size_t i = 0; i < n; i++) {
        t.y[i] = (int)gr_rng_below(1, 0, i, n_classes);
        for (size_t j = 0; j < d; j++)
            t.x[i * d + j] = (float)(3 + 2 * gr_rng_normal(1, 1, i * d + j) +
                                     apart * gr_rng_normal(1, 2, (size_t)t.y[i] * d + j));
    }
    return t;
}

static void toy_free(struct toy *t)
{
    gr_free(t->x);
    gr_free(t->y);
}

static double accuracy(const struct gr_head *h, const struct toy *t)
{
    float *p = gr_alloc_array(t->n * t->n_classes, sizeof *p);
    size_t right = 0;
    assert_int_equal(gr_head_probs(h, t->x, t->n, p, NULL), GRAFT_OK);
    for (size_t i = 0; i < t->n; i++) {
        size_t top = 0;
        double sum = 0;
        for (size_t c = 0; c < t->n_classes; c++) {
            sum += p[i * t->n_classes + c];
            if (p[i * t->n_classes + c] > p[i * t->n_classes + top])
                top = c;
        }
        assert_float_equal(sum, 1, 1e-5);
        right += top == (size_t)t->y[i];
    }
    gr_free(p);
    return (double)right / (double)t->n;
}

/* ---- products ---- */
/* isa below 0: the parallel product */
static void check_products(int isa, size_t m, size_t n, size_t k)
{
    size_t lda = k + 3, ldc = n + 2;
    float *a = gr_alloc_array(m * lda, sizeof *a), *b = gr_alloc_array(n * k, sizeof *b);
    float *c = gr_alloc_array(m * ldc, sizeof *c), *g = gr_alloc_array(n * k, sizeof *g);
    for (size_t i = 0; i < m * lda; i++)
        a[i] = (float)gr_rng_normal(2, 0, i);
    for (size_t i = 0; i < n * k; i++) {
        b[i] = (float)gr_rng_normal(2, 1, i);
        g[i] = 1;
    }
    if (isa < 0)
        gr_gemm_nt(m, n, k, a, lda, b, k, c, ldc);
    else
        gr_gemm_nt_isa((enum gr_gemm_isa)isa, m, n, k, a, lda, b, k, c, ldc);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double want = 0;
            for (size_t p = 0; p < k; p++)
                want += (double)a[i * lda + p] * b[j * k + p];
            assert_float_equal(c[i * ldc + j], want, 1e-4);
        }
    if (isa < 0)
        gr_gemm_tn_add(n, k, m, c, ldc, a, lda, g, k);
    else
        gr_gemm_tn_add_isa((enum gr_gemm_isa)isa, n, k, m, c, ldc, a, lda, g, k);
    for (size_t j = 0; j < n; j++)
        for (size_t p = 0; p < k; p++) {
            double want = 1, size = 1;
            for (size_t i = 0; i < m; i++) {
                want += (double)c[i * ldc + j] * a[i * lda + p];
                size += fabs((double)c[i * ldc + j] * a[i * lda + p]);
            }
            assert_float_equal(g[j * k + p], want, 1e-6 * size);
        }
    gr_free(a);
    gr_free(b);
    gr_free(c);
    gr_free(g);
}

static void check_packed(enum gr_gemm_isa isa, size_t m, size_t n, size_t k)
{
    const size_t lda = k + 3, ldc = gr_gemm_pad(n);
    float *a = gr_alloc_array(m * lda, sizeof *a);
    float *packed = gr_alloc_zero(gr_gemm_packed_rows(n) * k, sizeof *packed);
    float *c = gr_alloc_array(m * ldc, sizeof *c);
    for (size_t i = 0; i < m * lda; i++)
        a[i] = (float)gr_rng_normal(2, 0, i);
    for (size_t j = 0; j < n; j++)
        for (size_t p = 0; p < k; p++)
            packed[gr_gemm_packed_at(j, p, k)] = (float)gr_rng_normal(2, 1, j * k + p);
    gr_gemm_nt_packed_isa(isa, m, n, k, a, lda, packed, c, ldc);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < ldc; j++) {
            double want = 0;
            for (size_t p = 0; j < n && p < k; p++)
                want += (double)a[i * lda + p] * (float)gr_rng_normal(2, 1, j * k + p);
            assert_float_equal(c[i * ldc + j], want, 1e-4);
        }
    gr_free(a);
    gr_free(packed);
    gr_free(c);
}

static void test_gemm_equals_plain_loops(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1},      {5, 3, 17},    {33, 10, 64}, {70, 9, 130},
                                       {300, 2, 7},    {64, 37, 513}, {3, 150, 40}, {0, 4, 4},
                                       {600, 20, 100}, {133, 39, 90}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int isa = -1; isa <= (int)gr_gemm_best_isa(); isa++)
            check_products(isa, shapes[s][0], shapes[s][1], shapes[s][2]);
    for (int isa = 0; isa <= (int)gr_gemm_best_isa(); isa++) {
        check_packed((enum gr_gemm_isa)isa, 15, 200, 33);
        check_packed((enum gr_gemm_isa)isa, 7, 64, 5);
        check_packed((enum gr_gemm_isa)isa, 2, 50, 1);
    }
}

/* ---- rows of probabilities ---- */
static void check_probs(enum gr_gemm_isa isa, size_t n, double spread)
{
    const size_t ld = gr_gemm_pad(n), label = n / 2;
    float *z = gr_alloc_array(ld, sizeof *z), *bias = gr_alloc_array(ld, sizeof *bias);
    double *want = gr_alloc_array(n, sizeof *want), sum = 0, max = -INFINITY;
    size_t top, best = 0;
    for (size_t c = 0; c < ld; c++) {
        z[c] = (float)(spread * gr_rng_normal(9, n, c));
        bias[c] = c < n ? (float)gr_rng_normal(9, n + 1, c) : -INFINITY;
        if (c < n && (double)(z[c] + bias[c]) > max) {
            max = (double)(z[c] + bias[c]);
            best = c;
        }
    }
    for (size_t c = 0; c < n; c++)
        sum += want[c] = exp((double)(z[c] + bias[c]) - max);
    const double loss = max - (double)(z[label] + bias[label]) + log(sum);
    assert_float_equal(gr_probs_row(isa, ld, z, bias, (int)label, 0.25, &top), loss,
                       1e-6 * (1 + loss));
    assert_int_equal(top, best);
    for (size_t c = 0; c < ld; c++)
        assert_float_equal(z[c], c < n ? 0.25 * want[c] / sum : 0,
                           3e-7 * (c < n ? want[c] : 0) + 1e-19);
    z[label] = NAN; /* is noticed */
    assert_true(isnan(gr_probs_row(isa, ld, z, bias, (int)label, 1, NULL)));
    z[label] = 0;
    z[0] = n > 1 ? NAN : 0;
    assert_true(n == 1 || isnan(gr_probs_row(isa, ld, z, bias, (int)label, 1, NULL)));
    gr_free(z);
    gr_free(bias);
    gr_free(want);
}

static void test_probs_equal_plain_loops(void **state)
{
    (void)state;
    for (int isa = 0; isa <= (int)gr_gemm_best_isa(); isa++)
        for (double spread = 0.01; spread < 1e5; spread *= 10) {
            check_probs((enum gr_gemm_isa)isa, 2, spread);
            check_probs((enum gr_gemm_isa)isa, 16, spread);
            check_probs((enum gr_gemm_isa)isa, 1000, spread);
        }
}

/* ---- the objective ---- */
static void check_gradient(int n_classes)
{
    enum { N = 300, D = 7, LD = 16 };
    const size_t C = (size_t)n_classes;
    float *x = gr_alloc_aligned(N * LD * sizeof *x, true);
    int y[N];
    double weight[N], mean[LD] = {0}, scale[LD];
    for (size_t j = 0; j < LD; j++)
        scale[j] = 1;
    for (size_t i = 0; i < N; i++) {
        y[i] = (int)(i % C);
        weight[i] = i < 40 ? 0 : (1 + (double)(i % 5)) / N;
        for (size_t j = 0; j < D; j++) {
            x[i * LD + j] = (float)gr_rng_normal(3, j, i);
            mean[j] = 0.1 * (double)j;
            scale[j] = 1 + 0.2 * (double)j;
        }
    }
    struct gr_softmax p = {.x = x,
                           .y = y,
                           .n = N,
                           .ld = LD,
                           .n_classes = C,
                           .row_weight = weight,
                           .mean = mean,
                           .scale = scale,
                           .lambda = 0.3};
    assert_int_equal(gr_softmax_init(&p, NULL), GRAFT_OK);
    double *w = gr_alloc_zero(p.n_params, sizeof *w), *g = gr_alloc_zero(p.n_params, sizeof *g);
    double *unused = gr_alloc_zero(p.n_params, sizeof *unused);
    for (size_t i = 0; i < C * LD + C; i++)
        w[i] = i < C * LD && i % LD >= D ? 0 : 0.5 * gr_rng_normal(4, 0, i);
    gr_softmax_eval(&p, w, g);
    for (size_t i = 0; i < C * LD + C; i++) {
        if (i < C * LD && i % LD >= D) {
            assert_float_equal(g[i], 0, 0); /* padding never moves */
            continue;
        }
        double at = w[i], h = 1e-2;
        w[i] = at + h;
        double up = gr_softmax_eval(&p, w, unused);
        w[i] = at - h;
        double down = gr_softmax_eval(&p, w, unused);
        w[i] = at;
        assert_float_equal(g[i], (up - down) / (2 * h), 3e-4 * (1 + fabs(g[i])));
    }
    gr_softmax_clear(&p);
    gr_free_aligned(x);
    gr_free(w);
    gr_free(g);
    gr_free(unused);
}

/* Correlated features, two of them equal, one constant: P = curvature * gram + lambda * I. */
static float *correlated(size_t n, size_t d, size_t ld)
{
    float *x = gr_alloc_aligned(n * ld * sizeof *x, true);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            x[i * ld + j] = (float)(0.6 * gr_rng_normal(5, j, i) + gr_rng_normal(6, j % 7, i));
    for (size_t i = 0; i < n; i++) {
        x[i * ld + 1] = x[i * ld];
        x[i * ld + 2] = 0;
    }
    return x;
}

static void test_preconditioner_is_inverse(void **state)
{
    (void)state;
    enum { N = 900, LD = 336, CLASSES = 4 };
    const double lambda = 1e-3;
    float *x = correlated(N, LD - 3, LD);
    struct gr_precond p;
    assert_int_equal(gr_precond_init(&p, x, N, LD, NULL), GRAFT_OK);
    gr_precond_factor(&p, CLASSES, 1);
    gr_precond_factor(&p, CLASSES, lambda); /* again, where the first one lay */
    const double curvature = 1 / (p.bias_unit * p.bias_unit);
    /* the gram matrix by itself, and L^-1 P L^-T = I by the two products */
    float *m = gr_alloc_array(LD * LD, sizeof *m), *half = gr_alloc_array(LD * LD, sizeof *half),
          *eye = gr_alloc_array(LD * LD, sizeof *eye);
    for (size_t i = 0; i < LD; i++)
        for (size_t j = 0; j < LD; j++) {
            double sum = 0;
            for (size_t r = 0; r < N; r++)
                sum += (double)x[r * LD + i] * x[r * LD + j];
            m[i * LD + j] = (float)(curvature * sum / N + (i == j ? lambda : 0));
        }
    gr_precond_gradient(&p, LD, m, half); /* P L^-T */
    for (size_t i = 0; i < LD; i++)
        for (size_t j = 0; j < LD; j++)
            m[i * LD + j] = half[j * LD + i];
    gr_precond_gradient(&p, LD, m, eye);
    for (size_t i = 0; i < LD; i++)
        for (size_t j = 0; j < LD; j++)
            assert_float_equal(eye[i * LD + j], i == j, 2e-3);
    /* weights go by the transpose: the rows of L^-1 */
    memset(m, 0, LD * LD * sizeof *m);
    for (size_t i = 0; i < LD; i++)
        m[i * LD + i] = 1;
    gr_precond_weights(&p, LD, m, half);
    gr_precond_gradient(&p, LD, m, eye);
    for (size_t i = 0; i < LD; i++)
        for (size_t j = 0; j < LD; j++)
            assert_float_equal(half[i * LD + j], eye[j * LD + i], 0);
    gr_precond_clear(&p);
    gr_free(m);
    gr_free(half);
    gr_free(eye);
    gr_free_aligned(x);
}

static void test_preconditioner_finds_the_same(void **state)
{
    (void)state;
    enum { N = 3000, D = 90, LD = 96, C = 5 };
    float *x = correlated(N, D, LD);
    int y[N];
    double *weight = gr_alloc_array(N, sizeof *weight), *w[2];
    struct gr_softmax_end end[2];
    struct gr_precond precond;
    for (size_t i = 0; i < N; i++) {
        y[i] = (int)((x[i * LD + 3] > 0) + 2 * (x[i * LD + 9] + x[i * LD + 10] > 0.5) +
                     (gr_rng_below(8, 0, i, 4) == 0));
        weight[i] = 1.0 / N;
    }
    assert_int_equal(gr_precond_init(&precond, x, N, LD, NULL), GRAFT_OK);
    gr_precond_factor(&precond, C, 1e-4);
    for (int k = 0; k < 2; k++) {
        struct gr_softmax p = {.x = x,
                               .y = y,
                               .n = N,
                               .ld = LD,
                               .n_classes = C,
                               .row_weight = weight,
                               .lambda = 1e-4,
                               .precond = k ? &precond : NULL};
        assert_int_equal(gr_softmax_init(&p, NULL), GRAFT_OK);
        w[k] = gr_alloc_aligned(p.n_params * sizeof *w[k], true);
        for (size_t i = 0; i < C * LD + C; i++) /* from anywhere */
            w[k][i] = i < C * LD && i % LD >= D ? 0 : 0.1 * gr_rng_normal(9, 0, i);
        assert_int_equal(gr_softmax_minimise(&p, w[k], 1e-4, 0, 1000, NULL, &end[k], NULL),
                         GRAFT_OK);
        gr_softmax_clear(&p);
    }
    assert_float_equal(end[0].loss, end[1].loss, 1e-5 * end[0].loss);
    assert_true(3 * end[1].iterations < 2 * end[0].iterations);
    for (size_t i = 0; i < C * LD; i++)
        assert_float_equal(w[0][i], w[1][i], 0.05);
    gr_precond_clear(&precond);
    for (int k = 0; k < 2; k++)
        gr_free_aligned(w[k]);
    gr_free(weight);
    gr_free_aligned(x);
}

static void test_gradient_equals_differences(void **state)
{
    (void)state;
    check_gradient(3);
    check_gradient(70); /* enough for packed products */
}

/* ---- scikit-learn ---- */
static void read_into(const uint8_t **p, void *to, size_t size)
{
    memcpy(to, *p, size);
    *p += size;
}

static void test_equals_scikit_learn(void **state)
{
    (void)state;
    struct gr_map map;
    struct gr_head_options o;
    struct gr_head h = {0};
    struct gr_head_report report;
    int size[3];
    assert_int_equal(gr_map_open("../golden/head_logistic.raw", &map, NULL), GRAFT_OK);
    const uint8_t *at = map.data;
    read_into(&at, size, sizeof size);
    size_t n = (size_t)size[0], d = (size_t)size[1], n_classes = (size_t)size[2];
    float *x = gr_alloc_array(n * d, sizeof *x), *got = gr_alloc_array(n * n_classes, sizeof *got);
    double *want = gr_alloc_array(n * n_classes, sizeof *want), lambda_loss[2], weights[16];
    int *y = gr_alloc_array(n, sizeof *y), *centroid = gr_alloc_array(n, sizeof *centroid);
    read_into(&at, x, n * d * sizeof *x);
    read_into(&at, y, n * sizeof *y);
    gr_head_options_init(&o);
    o.tolerance = 1e-6;
    gr_class_weights_balanced(y, n, n_classes, weights);
    for (int run = 0; run < 2; run++) {
        read_into(&at, lambda_loss, sizeof lambda_loss);
        read_into(&at, want, n * n_classes * sizeof *want);
        o.lambda = lambda_loss[0];
        assert_int_equal(
            gr_head_fit(&o, x, y, n, d, n_classes, run ? weights : NULL, NULL, &h, &report, NULL),
            GRAFT_OK);
        assert_true(report.converged);
        assert_float_equal(report.loss / lambda_loss[1], 1, 1e-6);
        assert_float_equal(report.c, 1 / ((double)n * o.lambda), 1e-12);
        gr_head_probs(&h, x, n, got, NULL);
        for (size_t i = 0; i < n; i++) {
            size_t a = 0, b = 0;
            for (size_t c = 0; c < n_classes; c++) {
                assert_float_equal(got[i * n_classes + c], want[i * n_classes + c], 5e-4);
                a = got[i * n_classes + c] > got[i * n_classes + a] ? c : a;
                b = want[i * n_classes + c] > want[i * n_classes + b] ? c : b;
            }
            assert_int_equal(a, b);
        }
        gr_head_free(&h);
    }
    read_into(&at, want, n * n_classes * sizeof *want);
    assert_int_equal(gr_head_options_parse("knn:5:euclidean", &o, NULL), GRAFT_OK);
    assert_int_equal(gr_head_fit(&o, x, y, n, d, n_classes, NULL, NULL, &h, NULL, NULL), GRAFT_OK);
    gr_head_probs(&h, x, n, got, NULL);
    for (size_t i = 0; i < n * n_classes; i++)
        assert_float_equal(got[i], want[i], 1e-6);
    gr_head_free(&h);
    read_into(&at, centroid, n * sizeof *centroid);
    assert_int_equal(gr_head_options_parse("ncm", &o, NULL), GRAFT_OK);
    assert_int_equal(gr_head_fit(&o, x, y, n, d, n_classes, NULL, NULL, &h, NULL, NULL), GRAFT_OK);
    gr_head_scores(&h, x, n, got, NULL);
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < n_classes; c++)
            assert_true(got[i * n_classes + c] <= got[i * n_classes + (size_t)centroid[i]]);
    gr_head_free(&h);
    assert_ptr_equal(at, map.data + map.size);
    gr_free(x);
    gr_free(y);
    gr_free(got);
    gr_free(want);
    gr_free(centroid);
    gr_map_close(&map);
}

/* ---- behaviour ---- */
static void test_every_head_learns(void **state)
{
    (void)state;
    static const char *const heads[] = {"logistic", "knn:5", "knn:3:euclidean", "ncm", "mlp:32"};
    struct toy t = toy_new(400, 30, 4, 2.5);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct gr_head_options o;
        struct gr_head h = {0};
        struct gr_head_report report;
        assert_int_equal(gr_head_options_parse(heads[i], &o, NULL), GRAFT_OK);
        assert_int_equal(
            gr_head_fit(&o, t.x, t.y, t.n, t.d, t.n_classes, NULL, NULL, &h, &report, NULL),
            GRAFT_OK);
        assert_true(accuracy(&h, &t) > 0.95);
        assert_true(strlen(report.summary) > 5);
        gr_head_free(&h);
    }
    toy_free(&t);
}

static void test_cross_validation_chooses_between(void **state)
{
    (void)state;
    struct toy t = toy_new(300, 60, 3, 0.35);
    struct gr_head_options o;
    struct gr_head h = {0};
    struct gr_head_report r;
    gr_head_options_init(&o);
    assert_int_equal(gr_head_fit(&o, t.x, t.y, t.n, t.d, t.n_classes, NULL, NULL, &h, &r, NULL),
                     GRAFT_OK);
    assert_int_equal(r.folds, 5);
    assert_true(r.n_curve > 3);
    assert_true(r.lambda < o.lambda_max && r.lambda > o.lambda_min); /* noisy: neither end */
    for (int i = 0; i < r.n_curve; i++) {
        if (r.curve[i].lambda == r.lambda)
            for (int j = 0; j < r.n_curve; j++)
                assert_true(r.curve[j].loss >= r.curve[i].loss);
        /* held out, so no better than chance by much and not near 0 as on training rows */
        assert_true(r.curve[i].loss > 0.5);
    }
    gr_head_free(&h);
    toy_free(&t);
}

/* Labels that have nothing to do with the features: a leak between folds would show as a loss
   below that of the class shares. */
static void test_cross_validation_sees_no_signal_in_noise(void **state)
{
    (void)state;
    struct toy t = toy_new(200, 300, 2, 0);
    struct gr_head_options o;
    struct gr_head h = {0};
    struct gr_head_report r;
    gr_head_options_init(&o);
    assert_int_equal(gr_head_fit(&o, t.x, t.y, t.n, t.d, 2, NULL, NULL, &h, &r, NULL), GRAFT_OK);
    for (int i = 0; i < r.n_curve; i++)
        assert_true(r.curve[i].loss > 0.66);
    gr_head_free(&h);
    toy_free(&t);
}

/* Mean log loss of held examples h0, h1 under a head learned on t0, t1. */
static double held_out_loss(const struct toy *t, const size_t train[2], const size_t held[2],
                            double lambda)
{
    struct toy part = toy_new(2, t->d, 2, 0);
    struct gr_head_options o;
    struct gr_head h = {0};
    float p[2];
    double loss = 0;
    for (int i = 0; i < 2; i++) {
        memcpy(part.x + (size_t)i * t->d, t->x + train[i] * t->d, t->d * sizeof(float));
        part.y[i] = t->y[train[i]];
    }
    gr_head_options_init(&o);
    o.lambda = lambda;
    assert_int_equal(gr_head_fit(&o, part.x, part.y, 2, t->d, 2, NULL, NULL, &h, NULL, NULL),
                     GRAFT_OK);
    for (int i = 0; i < 2; i++) {
        gr_head_probs(&h, t->x + held[i] * t->d, 1, p, NULL);
        loss -= log(p[t->y[held[i]]]) / 2;
    }
    gr_head_free(&h);
    toy_free(&part);
    return loss;
}

/* Two folds of one example per class can be dealt in two ways: the curve must be that of heads
   learned on one half alone, its moments included. */
static void test_cross_validation_equals_separate_fits(void **state)
{
    (void)state;
    struct toy t = toy_new(4, 6, 2, 1);
    struct gr_head_options o;
    struct gr_head h = {0};
    struct gr_head_report r;
    for (int i = 0; i < 4; i++)
        t.y[i] = i % 2;
    gr_head_options_init(&o);
    o.folds = 2;
    o.lambda_min = o.lambda_max = 0.5;
    o.n_lambdas = 1;
    assert_int_equal(gr_head_fit(&o, t.x, t.y, 4, t.d, 2, NULL, NULL, &h, &r, NULL), GRAFT_OK);
    static const size_t halves[2][2][2] = {{{0, 1}, {2, 3}}, {{0, 3}, {2, 1}}};
    double nearest = INFINITY;
    for (int way = 0; way < 2; way++) {
        double loss = (held_out_loss(&t, halves[way][0], halves[way][1], 0.5) +
                       held_out_loss(&t, halves[way][1], halves[way][0], 0.5)) /
                      2;
        nearest = fmin(nearest, fabs(loss - r.curve[0].loss));
    }
    assert_float_equal(nearest, 0, 1e-4);
    gr_head_free(&h);
    toy_free(&t);
}

static void test_same_bytes_on_any_threads(void **state)
{
    (void)state;
    static const char *const heads[] = {"logistic", "logistic:0.01", "knn:5", "ncm", "mlp:40"};
    struct toy t = toy_new(1500, 100, 5, 0.8);
    int before = omp_get_max_threads();
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        float *p[2];
        for (int k = 0; k < 2; k++) {
            struct gr_head_options o;
            struct gr_head h = {0};
            omp_set_num_threads(k ? 3 : 1);
            assert_int_equal(gr_head_options_parse(heads[i], &o, NULL), GRAFT_OK);
            o.epochs = 3;
            assert_int_equal(
                gr_head_fit(&o, t.x, t.y, t.n, t.d, t.n_classes, NULL, NULL, &h, NULL, NULL),
                GRAFT_OK);
            p[k] = gr_alloc_array(t.n * t.n_classes, sizeof(float));
            gr_head_probs(&h, t.x, t.n, p[k], NULL);
            gr_head_free(&h);
        }
        assert_memory_equal(p[0], p[1], t.n * t.n_classes * sizeof(float));
        gr_free(p[0]);
        gr_free(p[1]);
    }
    omp_set_num_threads(before);
    toy_free(&t);
}

/* ---- edges ---- */
struct heard {
    char text[512];
    int cancel_after, asked;
};

static void on_note(void *user, enum graft_level level, const char *topic, const char *text)
{
    (void)level;
    (void)topic;
    strncat(((struct heard *)user)->text, text, 200);
}

static bool on_cancelled(void *user)
{
    struct heard *h = user;
    return h->cancel_after && ++h->asked >= h->cancel_after;
}

static enum graft_status fit(const char *head, const struct toy *t, struct heard *heard,
                             struct gr_head *h, struct gr_head_report *r, struct graft_error *err)
{
    struct gr_head_options o;
    struct graft_events ev = {.user = heard, .note = on_note, .cancelled = on_cancelled};
    assert_int_equal(gr_head_options_parse(head, &o, NULL), GRAFT_OK);
    return gr_head_fit(&o, t->x, t->y, t->n, t->d, t->n_classes, NULL, &ev, h, r, err);
}

static void test_tiny_classes(void **state)
{
    (void)state;
    struct toy t = toy_new(20, 40, 3, 2);
    struct heard heard = {""};
    struct gr_head h = {0};
    struct gr_head_report r;
    for (size_t i = 0; i < t.n; i++)
        t.y[i] = i == 7 ? 2 : (int)(i % 2);
    assert_int_equal(fit("logistic", &t, &heard, &h, &r, NULL), GRAFT_OK);
    assert_int_equal(r.folds, 0);
    assert_float_equal(r.lambda, GR_LAMBDA_DEFAULT, 0);
    assert_non_null(strstr(heard.text, "class 2 has 1 example"));
    gr_head_free(&h);
    t.y[3] = 2; /* two examples: two folds */
    heard.text[0] = 0;
    assert_int_equal(fit("logistic", &t, &heard, &h, &r, NULL), GRAFT_OK);
    assert_int_equal(r.folds, 2);
    assert_non_null(strstr(heard.text, "2 folds instead of 5"));
    gr_head_free(&h);
    assert_int_equal(fit("knn:50", &t, &heard, &h, &r, NULL), GRAFT_OK);
    assert_int_equal(h.k, 20);
    gr_head_free(&h);
    toy_free(&t);
}

static void test_absent_class_is_never_predicted(void **state)
{
    (void)state;
    static const char *const heads[] = {"logistic", "knn:3", "ncm", "mlp:8"};
    struct toy t = toy_new(90, 10, 4, 2);
    for (size_t i = 0; i < t.n; i++)
        t.y[i] = t.y[i] == 1 ? 0 : t.y[i];
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct heard heard = {""};
        struct gr_head h = {0};
        float *p = gr_alloc_array(t.n * 4, sizeof *p);
        assert_int_equal(fit(heads[i], &t, &heard, &h, NULL, NULL), GRAFT_OK);
        gr_head_probs(&h, t.x, t.n, p, NULL);
        for (size_t r = 0; r < t.n; r++) {
            assert_float_equal(p[r * 4 + 1], 0, 0);
            assert_true(isfinite(p[r * 4]));
        }
        gr_free(p);
        gr_head_free(&h);
    }
    toy_free(&t);
}

static void test_constant_columns_change_nothing(void **state)
{
    (void)state;
    struct toy t = toy_new(100, 8, 3, 1), wide = toy_new(100, 10, 3, 1);
    struct heard heard = {""};
    struct gr_head a = {0}, b = {0};
    struct gr_head_report ra, rb;
    memcpy(wide.y, t.y, t.n * sizeof *t.y);
    for (size_t i = 0; i < t.n; i++) {
        memcpy(wide.x + i * 10, t.x + i * 8, 8 * sizeof(float));
        wide.x[i * 10 + 8] = 0;
        wide.x[i * 10 + 9] = 12345.678f;
    }
    assert_int_equal(fit("logistic", &t, &heard, &a, &ra, NULL), GRAFT_OK);
    assert_int_equal(fit("logistic", &wide, &heard, &b, &rb, NULL), GRAFT_OK);
    assert_float_equal(ra.loss, rb.loss, 1e-9);
    for (size_t c = 0; c < 3; c++) {
        assert_float_equal(b.w[c * 10 + 8], 0, 0);
        for (size_t j = 0; j < 8; j++)
            assert_float_equal(a.w[c * 8 + j], b.w[c * 10 + j], 1e-4);
    }
    gr_head_free(&a);
    gr_head_free(&b);
    toy_free(&t);
    toy_free(&wide);
}

static void test_class_weights_move_the_border(void **state)
{
    (void)state;
    struct toy t = toy_new(300, 5, 2, 0.5);
    struct gr_head_options o;
    struct gr_head h = {0};
    double weights[2];
    size_t n_rare[2] = {0};
    for (size_t i = 0; i < t.n; i++)
        t.y[i] = t.y[i] && i % 6 == 0;
    gr_class_weights_balanced(t.y, t.n, 2, weights);
    assert_true(weights[1] > weights[0]);
    gr_head_options_init(&o);
    o.lambda = 0.01;
    for (int k = 0; k < 2; k++) {
        float z[2];
        assert_int_equal(
            gr_head_fit(&o, t.x, t.y, t.n, t.d, 2, k ? weights : NULL, NULL, &h, NULL, NULL),
            GRAFT_OK);
        for (size_t i = 0; i < t.n; i++) {
            gr_head_scores(&h, t.x + i * t.d, 1, z, NULL);
            n_rare[k] += z[1] > z[0];
        }
        gr_head_free(&h);
    }
    assert_true(n_rare[1] > n_rare[0] + 20);
    toy_free(&t);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "logistics",
                                      "logistic:",
                                      "logistic:-1",
                                      "logistic:nan",
                                      "knn",
                                      "knn:",
                                      "knn:0",
                                      "knn:5x",
                                      "knn:5:cosin",
                                      "mlp:-3",
                                      "mlp:0x10",
                                      "mlp:99999999999999999999",
                                      "ncm:3"};
    struct graft_error err;
    struct gr_head_options o;
    struct toy t = toy_new(30, 6, 3, 1);
    struct heard heard = {""};
    struct gr_head h = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(gr_head_options_parse(bad[i], &o, &err), GRAFT_E_ARG);
    t.x[17 * 6 + 4] = NAN;
    static const char *const heads[] = {"logistic", "knn:3", "ncm", "mlp:8"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        assert_int_equal(fit(heads[i], &t, &heard, &h, NULL, &err), GRAFT_E_COMPUTE);
        assert_string_equal(err.message, "feature 4 of example 17 is nan");
    }
    t.x[17 * 6 + 4] = 0;
    t.y[5] = 3;
    assert_int_equal(fit("ncm", &t, &heard, &h, NULL, &err), GRAFT_E_ARG);
    assert_string_equal(err.message, "label of example 5 is 3, there are 3 classes");
    for (size_t i = 0; i < t.n; i++)
        t.y[i] = 1;
    assert_int_equal(fit("logistic", &t, &heard, &h, NULL, &err), GRAFT_E_ARG);
    assert_null(h.w);
    toy_free(&t);
}

static void test_cancel(void **state)
{
    (void)state;
    struct toy t = toy_new(300, 20, 3, 0.5);
    static const char *const heads[] = {"logistic", "logistic:0.001", "mlp:16"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct heard heard = {.cancel_after = 4};
        struct gr_head h = {0};
        struct graft_error err;
        assert_int_equal(fit(heads[i], &t, &heard, &h, NULL, &err), GRAFT_E_CANCELLED);
        assert_int_equal(err.status, GRAFT_E_CANCELLED);
    }
    toy_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm_equals_plain_loops),
        cmocka_unit_test(test_probs_equal_plain_loops),
        cmocka_unit_test(test_gradient_equals_differences),
        cmocka_unit_test(test_preconditioner_is_inverse),
        cmocka_unit_test(test_preconditioner_finds_the_same),
        cmocka_unit_test(test_equals_scikit_learn),
        cmocka_unit_test(test_every_head_learns),
        cmocka_unit_test(test_cross_validation_chooses_between),
        cmocka_unit_test(test_cross_validation_equals_separate_fits),
        cmocka_unit_test(test_cross_validation_sees_no_signal_in_noise),
        cmocka_unit_test(test_same_bytes_on_any_threads),
        cmocka_unit_test(test_tiny_classes),
        cmocka_unit_test(test_absent_class_is_never_predicted),
        cmocka_unit_test(test_constant_columns_change_nothing),
        cmocka_unit_test(test_class_weights_move_the_border),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
