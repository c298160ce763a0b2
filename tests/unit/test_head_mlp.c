/* Is the MLP's gradient that of its loss? (the source is included to reach its insides) */
#include "train/mlp.c"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { N = 40, D = 5, C = 3, H = 6 };

static void test_gradient_equals_differences(void **state)
{
    (void)state;
    float x[N * D];
    int y[N];
    int64_t index[N];
    double weights[C] = {1, 2, 0.5}, total;
    for (size_t i = 0; i < N * D; i++)
        x[i] = (float)gr_rng_normal(1, 0, i);
    for (int i = 0; i < N; i++) {
        y[i] = i % C;
        index[i] = (i * 7) % N;
    }
    struct gr_head_data data = {x, y, N, D, C, weights, NULL};
    struct mlp p = {.data = &data, .n = N, .ld = gr_gemm_pad(D), .n_hidden = H, .n_classes = C};
    struct gr_scaler s = {0};
    assert_int_equal(mlp_init(&p, NULL), GRAFT_OK);
    assert_int_equal(gr_scaler_fit(x, N, D, &s, NULL), GRAFT_OK);
    gr_scaler_apply(&s, x, N, NULL, p.x, p.ld);
    start_weights(&p, 3);
    for (size_t j = 0; j < H; j++)
        b1(&p, p.params)[j] = 0.1f * (float)j;
    forward(&p, index, N, &total);
    backward(&p, index, N, total);
    size_t n_dead = 0, n_checked = 0;
    for (size_t i = 0; i < N * H; i++)
        n_dead += p.h[i] == 0;
    assert_true(n_dead > N && n_dead < N * (H - 1)); /* the kink matters */
    float *grad = gr_alloc_array(p.n_params, sizeof *grad);
    memcpy(grad, p.grad, p.n_params * sizeof *grad);
    for (size_t i = 0; i < p.n_params; i++) {
        float at = p.params[i], h = 1e-2f;
        double w, middle = forward(&p, index, N, &w) / w;
        p.params[i] = at + h;
        double up = forward(&p, index, N, &w) / w;
        p.params[i] = at - h;
        double down = forward(&p, index, N, &w) / w;
        p.params[i] = at;
        /* where the two sides differ much, a unit switched in between */
        if (fabs(up + down - 2 * middle) > 3e-4)
            continue;
        n_checked++;
        assert_float_equal(grad[i], (up - down) / (2 * (double)h), 3e-3);
    }
    assert_true(n_checked > p.n_params * 9 / 10);
    gr_free(grad);
    gr_scaler_clear(&s);
    mlp_clear(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradient_equals_differences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
