/* Is the loss's gradient the one of finite differences? (values: test_optim.c, against PyTorch) */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"
#include "train/loss.h"

enum { N = 5, C = 4 };

static double total(const struct gr_loss *o, const float *z, const float *t, const float *r)
{
    double loss = 0, weight = 0;
    gr_loss_rows(o, N, C, z, t, r, NULL, &loss, &weight);
    return loss;
}

static void test_differences(void **state)
{
    (void)state;
    const double w[C] = {1, 0.5, 2, 0};
    const float r[N] = {1, 0, 0.5f, 1, 1};
    const double focal[] = {0, 0.5, 1, 2, 3.5};
    for (int k = 0; k < 20; k++) {
        struct gr_loss o = {.focal = focal[k % 5],
                            .smoothing = k % 2 ? 0.1 : 0,
                            .class_weights = k < 10 ? NULL : w};
        float z[N * C], t[N * C], dz[N * C];
        for (int i = 0; i < N; i++) {
            double sum = 0;
            for (int c = 0; c < C; c++) {
                z[i * C + c] = (float)(2 * gr_rng_normal(1, (uint64_t)k, (uint64_t)(i * C + c)));
                t[i * C + c] = (float)gr_rng_uniform(2, (uint64_t)k, (uint64_t)(i * C + c));
                sum += t[i * C + c];
            }
            for (int c = 0; c < C; c++)
                t[i * C + c] = i % 2 ? (float)(t[i * C + c] / sum) : c == i % C ? 1.0f : 0.0f;
        }
        double loss = 0, weight = 0;
        gr_loss_rows(&o, N, C, z, t, r, dz, &loss, &weight);
        assert_true(weight > 0 && fabs(total(&o, z, t, r) - loss) == 0);
        for (int i = 0; i < N * C; i++) {
            float at = z[i], h = 0x1p-8f;
            z[i] = at + h;
            double up = total(&o, z, t, r), width = z[i];
            z[i] = at - h;
            double down = total(&o, z, t, r);
            width -= z[i];
            z[i] = at;
            if (fabs((up - down) / width - dz[i]) > 1e-4)
                fail_msg("case %d, logit %d: %g, differences %g", k, i, dz[i], (up - down) / width);
        }
    }
}

static void test_extremes(void **state)
{
    (void)state;
    const float z[2 * C] = {1000, -1000, 0, 0, -INFINITY, 80, 0, 1};
    const float t[2 * C] = {1, 0, 0, 0, 0, 1, 0, 0};
    for (double focal = 0; focal < 2; focal += 0.5) {
        struct gr_loss o = {.focal = focal};
        float dz[2 * C];
        double loss = 0, weight = 0;
        gr_loss_rows(&o, 2, C, z, t, NULL, dz, &loss, &weight);
        assert_true(fabs(loss) < 1e-12 && weight == 2);
        for (int i = 0; i < 2 * C; i++)
            assert_true(fabsf(dz[i]) < 1e-12f);
    }
    struct gr_loss o = {0};
    float nan[C] = {0, NAN, 0, 0}, dz[C];
    double loss = 0, weight = 0;
    gr_loss_rows(&o, 1, C, nan, t, NULL, dz, &loss, &weight);
    assert_true(isnan(loss)); /* is seen by the fit loop */
}

static void test_refused(void **state)
{
    (void)state;
    struct graft_error err;
    const double w[2] = {1, -1};
    assert_int_equal(gr_loss_check(&(struct gr_loss){.smoothing = 1}, 2, &err), GRAFT_E_ARG);
    assert_int_equal(gr_loss_check(&(struct gr_loss){.focal = -1}, 2, &err), GRAFT_E_ARG);
    assert_int_equal(gr_loss_check(&(struct gr_loss){.class_weights = w}, 2, &err), GRAFT_E_ARG);
    assert_int_equal(gr_loss_check(&(struct gr_loss){.class_weights = w}, 1, &err), GRAFT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
