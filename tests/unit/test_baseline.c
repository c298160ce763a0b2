/* Do the naive baselines do what they say? */
#include "base/rng.h"
#include "eval/baseline.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void test_majority(void **state)
{
    (void)state;
    static const int y[5] = {2, 1, 2, 2, 0};
    float p[2 * 3];
    gr_baseline_majority(y, 5, 3, 2, p);
    for (int i = 0; i < 2; i++) {
        assert_float_equal(p[3 * i], 0.2, 1e-6);
        assert_float_equal(p[3 * i + 1], 0.2, 1e-6);
        assert_float_equal(p[3 * i + 2], 0.6, 1e-6);
    }
}

/* A bright bar in the upper (0) or the lower (1) half, over noise. */
static void draw(uint8_t *thumb, int label, uint64_t stream, double gain, double noise)
{
    for (size_t j = 0; j < GR_THUMB; j++) {
        double v = (j / 128 == (size_t)label ? 90 : 60) + noise * gr_rng_uniform(5, stream, j);
        thumb[j] = (uint8_t)(gain * v);
    }
}

static void test_pixels(void **state)
{
    (void)state;
    enum { N = 60, M = 30 };
    static uint8_t train[N * GR_THUMB], test[M * GR_THUMB];
    int y[N];
    float p[M * 2];
    size_t k = 0;
    for (int i = 0; i < N; i++) {
        y[i] = i % 2;
        draw(train + i * GR_THUMB, y[i], (uint64_t)i, 1, 40);
    }
    for (int i = 0; i < M; i++) /* darker: the normalisation takes that away */
        draw(test + i * GR_THUMB, i % 2, 1000 + (uint64_t)i, 0.5, 40);
    assert_int_equal(gr_baseline_pixels(train, y, N, test, M, 2, p, &k, NULL), GRAFT_OK);
    assert_int_equal(k, 1); /* all k are right on train, the smallest is taken */
    for (int i = 0; i < M; i++)
        assert_float_equal(p[2 * i + i % 2], 1, 0);
    for (int i = 0; i < N; i += 5) /* wrong labels: more neighbours must vote */
        y[i] = 1 - y[i];
    assert_int_equal(gr_baseline_pixels(train, y, N, test, M, 2, p, &k, NULL), GRAFT_OK);
    assert_true(k > 1);
}

static void test_pixels_edges(void **state)
{
    (void)state;
    static uint8_t thumbs[2 * GR_THUMB]; /* flat pictures */
    static const int y[2] = {1, 0};
    float p[2 * 2];
    struct graft_error err;
    assert_int_equal(gr_baseline_pixels(thumbs, y, 0, thumbs, 1, 2, p, NULL, &err), GRAFT_E_ARG);
    assert_int_equal(gr_baseline_pixels(thumbs, y, 1, thumbs, 1, 2, p, NULL, NULL), GRAFT_OK);
    assert_float_equal(p[1], 1, 0);
    assert_int_equal(gr_baseline_pixels(thumbs, y, 2, thumbs, 2, 2, p, NULL, NULL), GRAFT_OK);
    assert_float_equal(p[1], 1, 0); /* all equally near: the first */
    assert_float_equal(p[3], 1, 0);
    assert_int_equal(gr_baseline_pixels(thumbs, y, 2, thumbs, 0, 2, p, NULL, NULL), GRAFT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_majority),
        cmocka_unit_test(test_pixels),
        cmocka_unit_test(test_pixels_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
