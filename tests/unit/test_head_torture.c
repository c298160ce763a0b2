/* Does every failing allocation give an error and no leak? (leaks are AddressSanitizer's to find)
 */
#include "base/mem.h"
#include "base/rng.h"
#include "eval/baseline.h"
#include "eval/metrics.h"
#include "train/head.h"
#include "train/softmax.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum { N = 40, D = 6, C = 3 };

static void test_head_fit(void **state)
{
    (void)state;
    static const char *const heads[] = {"logistic", "knn:3", "ncm", "mlp:4"};
    float x[N * D], p[N * C];
    int y[N];
    for (size_t i = 0; i < N * D; i++)
        x[i] = (float)gr_rng_normal(1, 0, i);
    for (int i = 0; i < N; i++)
        y[i] = i % C;
    for (size_t k = 0; k < sizeof heads / sizeof *heads; k++) {
        enum graft_status st = GRAFT_E_NOMEM;
        struct gr_head_options o;
        gr_head_options_parse(heads[k], &o, NULL);
        o.epochs = 2;
        for (uint64_t at = 1; st; at++) {
            struct gr_head h = {0}, none = {0};
            assert_true(at < 200);
            gr_mem_fail_at(at);
            st = gr_head_fit(&o, x, y, N, D, C, NULL, NULL, &h, NULL, NULL);
            if (st)
                assert_memory_equal(&h, &none, sizeof h);
            else
                st = gr_head_probs(&h, x, N, p, NULL);
            gr_mem_fail_at(0);
            assert_true(st == GRAFT_OK || st == GRAFT_E_NOMEM);
            gr_head_free(&h);
        }
    }
}

static void test_preconditioned_fit(void **state)
{
    (void)state;
    enum { LD = 16 };
    int y[N];
    double weight[N];
    float *x = gr_alloc_aligned(N * LD * sizeof *x, true);
    double *params = gr_alloc_aligned((C * LD + LD) * sizeof *params, true);
    for (int i = 0; i < N; i++) {
        y[i] = i % C;
        weight[i] = 1.0 / N;
        for (size_t j = 0; j < D; j++)
            x[(size_t)i * LD + j] = (float)gr_rng_normal(1, j, (uint64_t)i);
    }
    enum graft_status st = GRAFT_E_NOMEM;
    for (uint64_t at = 1; st; at++) {
        struct gr_precond precond = {0};
        struct gr_softmax p = {.x = x,
                               .y = y,
                               .n = N,
                               .ld = LD,
                               .n_classes = C,
                               .row_weight = weight,
                               .lambda = 0.1,
                               .precond = &precond};
        struct gr_softmax_end end;
        assert_true(at < 50);
        gr_mem_fail_at(at);
        st = gr_precond_init(&precond, x, N, LD, NULL);
        if (!st)
            st = gr_softmax_init(&p, NULL);
        if (!st) {
            gr_precond_factor(&precond, C, p.lambda);
            st = gr_softmax_minimise(&p, params, 1e-3, 0, 50, NULL, &end, NULL);
            gr_softmax_clear(&p);
        }
        gr_mem_fail_at(0);
        assert_true(st == GRAFT_OK || st == GRAFT_E_NOMEM);
        gr_precond_clear(&precond);
    }
    gr_free_aligned(x);
    gr_free_aligned(params);
}

static void test_evaluation(void **state)
{
    (void)state;
    float p[N * C];
    int y[N];
    uint8_t thumbs[N * GR_THUMB];
    for (int i = 0; i < N; i++)
        y[i] = i % C;
    for (size_t i = 0; i < sizeof thumbs; i++)
        thumbs[i] = (uint8_t)gr_rng_below(1, 0, i, 256);
    enum graft_status st = GRAFT_E_NOMEM;
    for (uint64_t at = 1; st; at++) {
        struct gr_metrics m = {0};
        assert_true(at < 100);
        gr_mem_fail_at(at);
        st = gr_baseline_pixels(thumbs, y, N, thumbs, N, C, p, NULL, NULL);
        if (!st)
            st = gr_metrics_compute(p, y, N, C, 0, &m, NULL);
        gr_mem_fail_at(0);
        assert_true(st == GRAFT_OK || st == GRAFT_E_NOMEM);
        gr_metrics_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_fit),
        cmocka_unit_test(test_preconditioned_fit),
        cmocka_unit_test(test_evaluation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
