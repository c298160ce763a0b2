/* Do optimisers, schedules and the loss equal PyTorch's? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "base/rng.h"
#include "train/loss.h"
#include "train/optim.h"
#include "train/schedule.h"

enum { N = 37, STEPS = 10, CASES = 4 };

struct golden {
    float start[N], grads[STEPS][N], end[CASES][N];
    double cycle[40][2], cosine[40][2];
    float z[30];
    int y[6];
    double w[5];
    float soft[30];
    double loss_y, dz_y[30], loss_soft, dz_soft[30];
};

static int load(void **state)
{
    static struct golden g;
    FILE *f = fopen("../golden/optim_golden.raw", "rb");
    if (!f)
        return -1;
    size_t n = 0;
    n += fread(g.start, sizeof g.start, 1, f) + fread(g.grads, sizeof g.grads, 1, f);
    n += fread(g.end, sizeof g.end, 1, f) + fread(g.cycle, sizeof g.cycle, 1, f);
    n += fread(g.cosine, sizeof g.cosine, 1, f) + fread(g.z, sizeof g.z, 1, f);
    n += fread(g.y, sizeof g.y, 1, f) + fread(g.w, sizeof g.w, 1, f);
    n += fread(g.soft, sizeof g.soft, 1, f) + fread(&g.loss_y, sizeof g.loss_y, 1, f);
    n += fread(g.dz_y, sizeof g.dz_y, 1, f) + fread(&g.loss_soft, sizeof g.loss_soft, 1, f);
    n += fread(g.dz_soft, sizeof g.dz_soft, 1, f);
    n += fgetc(f) == EOF;
    fclose(f);
    *state = &g;
    return n == 14 ? 0 : -1;
}

static void test_optimisers(void **state)
{
    const struct golden *g = *state;
    const double rate[CASES] = {0.02, 0.02, 0.01, 0.01}, decay[CASES] = {0.1, 0.1, 0.1, 0};
    struct gr_optim_options o[CASES];
    for (int k = 0; k < CASES; k++)
        gr_optim_options_init(&o[k], k < 2 ? GR_OPTIM_SGD : GR_OPTIM_ADAMW);
    o[0].nesterov = false;
    o[1].momentum = 0.8;
    o[3].momentum = 0.8, o[3].beta2 = 0.99, o[3].epsilon = 1e-6;
    for (int k = 0; k < CASES; k++) {
        /* two groups of the same settings must do what one does */
        struct gr_optim_group groups[2] = {{0, 11, 0.5, decay[k], 0}, {11, N - 11, 0.5, decay[k]}};
        struct gr_optim p;
        float w[N], d[N];
        assert_int_equal(gr_optim_init(&p, &o[k], N, groups, 2, NULL, NULL), GRAFT_OK);
        memcpy(w, g->start, sizeof w);
        for (int s = 0; s < STEPS; s++) {
            memcpy(d, g->grads[s], sizeof d);
            double norm = gr_grad_norm(d, N);
            if (norm > 5)
                gr_grad_scale(d, N, 5 / (norm + 1e-6));
            gr_optim_step(&p, rate[k] * 2, w, d);
        }
        for (int i = 0; i < N; i++)
            if (fabs(w[i] - g->end[k][i]) > 1e-6 * fabs(g->end[k][i]))
                fail_msg("case %d, parameter %d: %.9g, expected %.9g", k, i, w[i], g->end[k][i]);
        gr_optim_clear(&p);
    }
}

static void test_groups(void **state)
{
    (void)state;
    float w[4] = {1, 1, 1, 1}, source[4] = {0, 0, 3, 0}, zero[4] = {0};
    struct gr_optim_group groups[3] = {{0, 1, 1, 0.5, 0}, {1, 1, 0.1, 0.5, 0}, {2, 1, 1, 0, 0.25}};
    struct gr_optim_options o;
    struct gr_optim p;
    for (int k = 0; k < 2; k++) {
        gr_optim_options_init(&o, k ? GR_OPTIM_SGD : GR_OPTIM_ADAMW);
        o.momentum = k ? 0 : 0.9;
        for (int i = 0; i < 4; i++)
            w[i] = 1;
        assert_int_equal(gr_optim_init(&p, &o, 4, groups, 3, source, NULL), GRAFT_OK);
        gr_optim_step(&p, 0.1, w, zero);
        assert_float_equal(w[0], 0.95, 1e-6);
        assert_float_equal(w[1], 0.995, 1e-6);
        assert_float_equal(w[2], 1.05, 1e-6); /* a quarter of the way 2, times 0.1 */
        assert_true(w[3] == 1);               /* in no group */
        gr_optim_clear(&p);
    }
    struct graft_error err;
    groups[2].count = 3;
    assert_int_equal(gr_optim_init(&p, &o, 4, groups, 3, source, &err), GRAFT_E_ARG);
    groups[2].count = 1;
    assert_int_equal(gr_optim_init(&p, &o, 4, groups, 3, NULL, &err), GRAFT_E_ARG);
    groups[2].pull = NAN;
    assert_int_equal(gr_optim_init(&p, &o, 4, groups, 3, source, &err), GRAFT_E_ARG);
}

static void test_large(void **state) /* the parallel loops, with a tail */
{
    (void)state;
    const size_t n = 200003;
    float *g = gr_alloc_array(n, sizeof *g), *mean = gr_alloc_zero(n, sizeof *mean);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        g[i] = (float)gr_rng_normal(1, 2, i);
        sum += (double)g[i] * g[i];
    }
    assert_true(fabs(gr_grad_norm(g, n) - sqrt(sum)) < 1e-9 * sqrt(sum));
    gr_ema_update(mean, g, n, 0.75);
    gr_grad_add(mean, g, n);
    for (size_t i = 0; i < n; i++)
        assert_true(mean[i] == 0.25f * g[i] + g[i]);
    g[n - 1] = INFINITY;
    assert_false(isfinite(gr_grad_norm(g, n)));
    g[n - 1] = NAN;
    assert_false(isfinite(gr_grad_norm(g, n)));
    gr_free(g);
    gr_free(mean);
}

static void test_schedules(void **state)
{
    const struct golden *g = *state;
    struct gr_schedule s;
    gr_schedule_init(&s, GR_SCHEDULE_ONE_CYCLE, 0.3, 40);
    for (int i = 0; i < 40; i++) {
        assert_true(fabs(gr_schedule_lr(&s, i) - g->cycle[i][0]) < 1e-12);
        assert_true(fabs(gr_schedule_momentum(&s, i, 0.95, 0.85) - g->cycle[i][1]) < 1e-12);
    }
    gr_schedule_init(&s, GR_SCHEDULE_COSINE, 0.3, 40);
    for (int i = 0; i < 40; i++)
        assert_true(fabs(gr_schedule_lr(&s, i) - g->cosine[i][0]) < 1e-12);
}

static void test_loss(void **state)
{
    const struct golden *g = *state;
    struct gr_loss o = {.smoothing = 0.1, .class_weights = g->w};
    float t[30], dz[30];
    double loss = 0, weight = 0;
    gr_loss_targets(6, 5, g->y, t);
    gr_loss_rows(&o, 6, 5, g->z, t, NULL, dz, &loss, &weight);
    assert_true(fabs(loss / weight - g->loss_y) < 1e-7);
    for (int i = 0; i < 30; i++)
        assert_true(fabs(dz[i] / weight - g->dz_y[i]) < 1e-7);
    o = (struct gr_loss){0};
    loss = weight = 0;
    gr_loss_rows(&o, 6, 5, g->z, g->soft, NULL, dz, &loss, &weight);
    assert_true(fabs(loss / weight - g->loss_soft) < 1e-6);
    for (int i = 0; i < 30; i++)
        assert_true(fabs(dz[i] / weight - g->dz_soft[i]) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimisers), cmocka_unit_test(test_groups),
        cmocka_unit_test(test_large),      cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_loss),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
