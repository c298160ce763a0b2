/* Are the measures scikit-learn's and SciPy's, and the known answers? */
#include "base/file.h"
#include "base/mem.h"
#include "eval/compare.h"
#include "eval/metrics.h"
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void read_into(const uint8_t **p, void *to, size_t size)
{
    memcpy(to, *p, size);
    *p += size;
}

static void test_equals_scikit_learn(void **state)
{
    (void)state;
    struct gr_map map;
    struct gr_metrics m;
    int size[2], cell;
    double want[8], row[4], pair[3];
    assert_int_equal(gr_map_open("../golden/head_metrics.raw", &map, NULL), GRAFT_OK);
    const uint8_t *at = map.data;
    read_into(&at, size, sizeof size);
    size_t n = (size_t)size[0], n_classes = (size_t)size[1];
    float *p = gr_alloc_array(n * n_classes, sizeof *p);
    int *y = gr_alloc_array(n, sizeof *y);
    read_into(&at, p, n * n_classes * sizeof *p);
    read_into(&at, y, n * sizeof *y);
    read_into(&at, want, sizeof want);
    assert_int_equal(gr_metrics_compute(p, y, n, n_classes, 1, &m, NULL), GRAFT_OK);
    assert_float_equal(m.accuracy, want[0], 1e-12);
    assert_float_equal(m.top5, want[1], 1e-12);
    assert_float_equal(m.balanced_accuracy, want[2], 1e-12);
    assert_float_equal(m.macro_f1, want[3], 1e-12);
    assert_float_equal(m.log_loss, want[4], 1e-6);
    assert_float_equal(m.ece, want[5], 1e-12);
    assert_float_equal(m.accuracy_ci.lo, want[6], 1e-12);
    assert_float_equal(m.accuracy_ci.hi, want[7], 1e-12);
    for (size_t c = 0; c < n_classes; c++) {
        read_into(&at, row, sizeof row);
        assert_float_equal(m.classes[c].precision, row[0], 1e-12);
        assert_float_equal(m.classes[c].recall, row[1], 1e-12);
        assert_float_equal(m.classes[c].f1, row[2], 1e-12);
        assert_int_equal(m.classes[c].support, (int)row[3]);
    }
    for (size_t i = 0; i < n_classes * n_classes; i++) {
        read_into(&at, &cell, sizeof cell);
        assert_int_equal(m.confusion[i], cell);
    }
    for (int i = 0; i < 4; i++) {
        read_into(&at, pair, sizeof pair);
        assert_float_equal(gr_mcnemar_p((size_t)pair[0], (size_t)pair[1]), pair[2], 1e-9);
        assert_float_equal(gr_mcnemar_p((size_t)pair[1], (size_t)pair[0]), pair[2], 1e-9);
    }
    assert_ptr_equal(at, map.data + map.size);
    /* the bootstrap brackets the figure, is about as wide as the Wilson interval, and stays */
    assert_true(m.balanced_ci.lo < m.balanced_accuracy && m.balanced_accuracy < m.balanced_ci.hi);
    assert_true(m.f1_ci.lo < m.macro_f1 && m.macro_f1 < m.f1_ci.hi);
    double wilson = m.accuracy_ci.hi - m.accuracy_ci.lo, boot = m.balanced_ci.hi - m.balanced_ci.lo;
    assert_true(boot > 0.7 * wilson && boot < 1.5 * wilson);
    struct gr_metrics again;
    int threads = omp_get_max_threads();
    omp_set_num_threads(threads == 1 ? 2 : 1);
    assert_int_equal(gr_metrics_compute(p, y, n, n_classes, 1, &again, NULL), GRAFT_OK);
    omp_set_num_threads(threads);
    assert_memory_equal(&m.balanced_ci, &again.balanced_ci, 2 * sizeof m.balanced_ci);
    gr_metrics_free(&again);
    gr_metrics_free(&m);
    gr_free(p);
    gr_free(y);
    gr_map_close(&map);
}

static void test_known_answers(void **state)
{
    (void)state;
    static const float p[4 * 2] = {1, 0, 0.5f, 0.5f, 0.25f, 0.75f, 0, 1};
    static const int y[4] = {0, 0, 1, 0};
    struct gr_metrics m;
    assert_int_equal(gr_metrics_compute(p, y, 4, 2, 0, &m, NULL), GRAFT_OK);
    assert_int_equal(m.right, 3); /* the first of equals is predicted */
    assert_true(isnan(m.top5));
    assert_float_equal(m.balanced_accuracy, (2.0 / 3 + 1) / 2, 1e-12);
    assert_float_equal(m.log_loss, -(0 + log(0.5) + log(0.75) - 52 * log(2)) / 4, 1e-9);
    assert_float_equal(m.classes[1].precision, 0.5, 1e-12);
    gr_metrics_free(&m);
    struct gr_interval i = gr_wilson(29, 30);
    assert_float_equal(i.lo, 0.8333, 5e-5);
    assert_float_equal(i.hi, 0.9941, 5e-5);
    assert_float_equal(gr_wilson(0, 10).lo, 0, 0);
    assert_float_equal(gr_wilson(10, 10).hi, 1, 0);
}

static void test_refusals(void **state)
{
    (void)state;
    struct gr_metrics m = {0};
    struct graft_error err;
    static const float p[4] = {1, 0, NAN, 1};
    static const int y[2] = {0, 1}, bad[2] = {2, 1};
    assert_int_equal(gr_metrics_compute(p, y, 0, 2, 0, &m, &err), GRAFT_E_ARG);
    assert_int_equal(gr_metrics_compute(p, bad, 2, 2, 0, &m, &err), GRAFT_E_ARG);
    assert_string_equal(err.message, "label of example 0 is 2, there are 2 classes");
    assert_int_equal(gr_metrics_compute(p, y, 2, 2, 0, &m, &err), GRAFT_E_COMPUTE);
    assert_string_equal(err.message, "probability of class 0, example 1 is nan");
    assert_null(m.classes);
}

static void test_verdicts(void **state)
{
    (void)state;
    static const int y[20] = {0}, right[20] = {0};
    int wrong[20], some[20];
    char text[100];
    for (int i = 0; i < 20; i++) {
        wrong[i] = 1;
        some[i] = i < 3;
    }
    struct gr_paired t = gr_compare(y, wrong, right, 20);
    assert_int_equal(t.only_b, 20);
    assert_int_equal(gr_verdict(&t, "transfer", text, sizeof text), GR_HELPS);
    assert_string_equal(text, "transfer helps (p < 0.001)");
    t = gr_compare(y, some, right, 20);
    assert_float_equal(t.p, 0.25, 1e-12);
    assert_int_equal(gr_verdict(&t, "transfer", text, sizeof text), GR_NO_DIFFERENCE);
    assert_string_equal(text, "no evidence that transfer helps (p = 0.25)");
    t = (struct gr_paired){9, 1, gr_mcnemar_p(9, 1)};
    assert_int_equal(gr_verdict(&t, "transfer", text, sizeof text), GR_HURTS);
    assert_string_equal(text, "transfer hurts (p = 0.02)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_scikit_learn),
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
