/* Are rates what their descriptions say? (equality with PyTorch: test_optim.c) */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "train/schedule.h"

static void near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-12 * fabs(b)))
        fail_msg("%.17g, expected %.17g", a, b);
}

static void test_shapes(void **state)
{
    (void)state;
    struct gr_schedule s;
    gr_schedule_init(&s, GR_SCHEDULE_COSINE, 1, 110);
    s.warmup = 10;
    near(gr_schedule_lr(&s, 0), 0.1);
    near(gr_schedule_lr(&s, 9), 1);
    near(gr_schedule_lr(&s, 10), 1);
    near(gr_schedule_lr(&s, 60), 0.5);
    assert_true(gr_schedule_lr(&s, 109) < 1e-3);
    gr_schedule_init(&s, GR_SCHEDULE_STEP, 1, 30);
    near(gr_schedule_lr(&s, 9), 1);
    near(gr_schedule_lr(&s, 10), 0.1);
    near(gr_schedule_lr(&s, 29), 0.01);
    near(gr_schedule_lr(&s, 1000), 0.01);
    gr_schedule_init(&s, GR_SCHEDULE_CONSTANT, 0.5, 3);
    near(gr_schedule_lr(&s, 2), 0.5);
    near(gr_schedule_momentum(&s, 2, 0.9, 0.8), 0.9);
    for (int kind = 0; kind <= GR_SCHEDULE_CONSTANT; kind++) /* short ones have no 0/0 */
        for (int n = 1; n < 9; n++)
            for (int w = 0; w <= n; w++) {
                gr_schedule_init(&s, (enum gr_schedule_kind)kind, 1, n);
                s.warmup = w;
                assert_int_equal(gr_schedule_check(&s, NULL), GRAFT_OK);
                for (int i = 0; i <= n; i++) {
                    double lr = gr_schedule_lr(&s, i);
                    assert_true(lr >= 0 && lr <= 1);
                }
            }
}

static void test_refused(void **state)
{
    (void)state;
    struct gr_schedule s;
    struct graft_error err;
    gr_schedule_init(&s, GR_SCHEDULE_COSINE, NAN, 10);
    assert_int_equal(gr_schedule_check(&s, &err), GRAFT_E_ARG);
    gr_schedule_init(&s, GR_SCHEDULE_COSINE, 1, 0);
    assert_int_equal(gr_schedule_check(&s, &err), GRAFT_E_ARG);
    gr_schedule_init(&s, GR_SCHEDULE_COSINE, 1, 10);
    s.warmup = 11;
    assert_int_equal(gr_schedule_check(&s, &err), GRAFT_E_ARG);
}

static void test_layers(void **state)
{
    (void)state;
    near(gr_layer_decay(3, 4, 0.9), 1);
    near(gr_layer_decay(0, 4, 0.9), 0.729);
    near(gr_layer_spread(0, 3, 0.01), 0.01);
    near(gr_layer_spread(1, 3, 0.01), 0.1);
    near(gr_layer_spread(2, 3, 0.01), 1);
    near(gr_layer_spread(0, 1, 0.01), 1);
}

static void test_finder(void **state)
{
    (void)state;
    near(gr_lr_finder_rate(0), 1e-7);
    near(gr_lr_finder_rate(GR_LR_FINDER_STEPS - 1), 10);
    /* flat, falls from 1e-4 on, explodes above 0.3 */
    struct gr_lr_finder f = {0};
    bool more = true;
    int tried = 0;
    for (; more; tried++) {
        double x = log10(gr_lr_finder_rate(tried));
        more = gr_lr_finder_add(&f, x < -4 ? 2 : x < -0.5 ? 2 - 0.5 * (x + 4) : exp(9 * (x + 0.6)));
    }
    assert_true(tried < GR_LR_FINDER_STEPS && tried == f.n); /* stopped early */
    double lr = gr_lr_finder_suggest(&f);
    assert_true(lr > 1e-4 && lr < 0.3);
    /* too little is known */
    f = (struct gr_lr_finder){0};
    for (int i = 0; i < 12; i++)
        assert_true(gr_lr_finder_add(&f, 1));
    assert_false(gr_lr_finder_add(&f, NAN));
    assert_true(gr_lr_finder_suggest(&f) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_finder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
