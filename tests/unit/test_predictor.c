/* Do many prepared pictures get what each of them gets alone? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <graft.h>
#include <math.h>

/* Two batches and some left over. */
enum { N = 35, N_IN = 3 * 32 * 32, MAX_CLASSES = 16 };

static void a_batch_is_its_pictures(void **state)
{
    static float x[N * N_IN], many[N * MAX_CLASSES], one[MAX_CLASSES];
    struct graft_model *m = NULL;
    struct graft_predictor *p = NULL;
    struct graft_error err = {0};
    uint32_t seed = 1;
    (void)state;
    for (int i = 0; i < N * N_IN; i++) {
        seed = seed * 1664525 + 1013904223;
        x[i] = (float)(seed >> 8) / (1 << 23) - 1;
    }
    if (graft_model_load(BACKBONE, NULL, &m, &err) ||
        graft_predictor_new(m, GRAFT_PRECISION_FP32, &p, &err))
        fail_msg("%s", err.message);
    const int n_classes = graft_predictor_n_classes(p);
    assert_in_range(n_classes, 2, MAX_CLASSES);
    for (int round = 0; round < 2; round++) { /* planning, then warm */
        assert_int_equal(graft_predict_batch(p, N, x, many, &err), GRAFT_OK);
        for (int i = 0; i < N; i++) {
            double sum = 0;
            assert_int_equal(graft_predict_batch(p, 1, x + i * N_IN, one, &err), GRAFT_OK);
            for (int c = 0; c < n_classes; c++) {
                sum += many[i * n_classes + c];
                assert_true(fabsf(many[i * n_classes + c] - one[c]) < 1e-5f);
            }
            assert_true(fabs(sum - 1) < 1e-5);
        }
    }
    /* Pictures differ, so that a mix-up would have been seen. */
    assert_true(fabsf(many[0] - many[n_classes]) > 1e-4f);
    assert_int_equal(graft_predict_batch(p, 0, NULL, NULL, &err), GRAFT_OK);
    assert_int_equal(graft_predict_batch(p, -1, x, many, &err), GRAFT_E_ARG);
    graft_predictor_free(p);
    graft_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_batch_is_its_pictures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
