/* Are the machine's peaks plausible, and what is the least time of a step? */
#include "core/peak.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void test_every_peak_is_measured(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        struct gr_peaks p;
        struct graft_error err;
        assert_int_equal(gr_cpu_measure(threads, 0.001, &p, &err), GRAFT_OK);
        assert_int_equal(p.threads, threads);
        assert_true(p.fp32 > 1e8 && p.fp32 < 1e16);
        assert_true(p.bf16 > 1e8 && p.bf16 < 1e18);
        for (int i = 0; i < GR_PEAK_SIZES; i++) {
            assert_true(p.bytes[i] > 1e7 && p.bytes[i] < 1e16);
            assert_true(i == 0 || p.size[i] > p.size[i - 1]);
        }
    }
}

static void test_too_many_threads(void **state)
{
    (void)state;
    struct gr_peaks p;
    struct graft_error err;
    assert_int_equal(gr_cpu_measure(1 << 20, 0.001, &p, &err), GRAFT_E_LIMIT);
}

static void test_least_time_is_the_longer_one(void **state)
{
    (void)state;
    const struct gr_peaks p = {.threads = 2,
                               .fp32 = 100,
                               .bf16 = 1000,
                               .size = {10, 20, 30, 40, 50, 60},
                               .bytes = {60, 50, 40, 30, 20, 10}};
    assert_true(gr_peaks_least(&p, p.fp32, 500, 0) == 5);
    assert_true(gr_peaks_least(&p, p.bf16, 500, 0) == 0.5);
    assert_true(gr_peaks_least(&p, p.fp32, 0, 20) == 20.0 / 60);   /* 10 in each thread */
    assert_true(gr_peaks_least(&p, p.fp32, 0, 30) == 30.0 / 50);   /* 15 */
    assert_true(gr_peaks_least(&p, p.fp32, 0, 900) == 900.0 / 10); /* more than any block */
    assert_true(gr_peaks_least(&p, p.fp32, 500, 900) == 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_peak_is_measured),
        cmocka_unit_test(test_too_many_threads),
        cmocka_unit_test(test_least_time_is_the_longer_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
