/* Do networks built from weights alone compute what PyTorch computes? Torchvision's with weights
   made by a formula, and, where GRAFT_DATA has them, real checkpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "exec/plan.h"
#include "formats/weights.h"
#include "golden/zoo_nets.h"
#include "zoo/zoo.h"

/* Runs the model on the formula's picture (2,3,height,width); *n numbers, freed with gr_free. */
static float *run_model(const struct gr_model *m, int64_t height, int64_t width, size_t *n)
{
    struct graft_error err = {0};
    struct gr_shape shape = gr_shape_from(4, (int64_t[]){2, 3, height, width});
    size_t n_in = (size_t)gr_shape_count(&shape);
    struct gr_plan_options options;
    struct gr_plan *plan = NULL;
    struct gr_exec *exec = NULL;
    float *x = gr_alloc_array(n_in, sizeof *x);
    golden_uniform("input", x, n_in, 2, -1);
    gr_plan_options_init(&options);
    options.batch = 2;
    if (gr_plan_new(m->graph, 0, NULL, &shape, &options, &plan, &err) ||
        gr_exec_new(plan, &exec, &err))
        fail_msg("%s: %s", m->arch, err.message);
    *n = (size_t)gr_shape_count(&gr_plan_get_output(plan, 0)->shape);
    float *y = gr_alloc_zero(*n, sizeof *y);
    if (gr_exec_run(exec, (const void *[]){x}, (void *[]){y}, &err))
        fail_msg("%s: %s", m->arch, err.message);
    gr_exec_free(exec);
    gr_plan_free(plan);
    gr_free(x);
    return y;
}

/* Every step-th of y against the golden numbers, relative to the largest of them. */
static void compare(const char *what, const float *y, size_t step, size_t n, const double *want)
{
    double largest = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)y[i * step] - want[i]);
        largest = fmax(largest, fabs(want[i]));
        worst = d <= worst ? worst : d; /* a NaN counts as worst */
    }
    printf("%-36s %.1e\n", what, worst / largest);
    if (!(worst <= 1e-4 * largest))
        fail_msg("%s: off by %g of %g", what, worst, largest);
}

static void torchvision_networks_compute_the_same(void **state)
{
    (void)state;
    struct golden_net net;
    FILE *f = fopen("zoo_nets.txt", "r");
    int n = 0;
    assert_non_null(f);
    for (; golden_read(f, &net); n++) {
        struct gr_model m = {0};
        struct graft_error err = {0};
        size_t n_out;
        if (gr_zoo_build(&net.weights, &m, &err))
            fail_msg("%s: %s", net.title, err.message);
        float *y = run_model(&m, net.height, net.width, &n_out);
        assert_int_equal(n_out, net.n_out);
        compare(net.title, y, 1, n_out, net.out);
        gr_free(y);
        gr_model_clear(&m);
        golden_clear(&net);
    }
    fclose(f);
    assert_true(n >= 7);
}

/* "out TOTAL STEP NUMBER..." */
static size_t read_out(FILE *f, size_t *total, size_t *step, double *v, size_t max)
{
    char line[4096];
    size_t n = 0;
    int at = 0;
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "out %zu %zu %n", total, step, &at), 2);
    char *p = line + at, *end;
    for (double d = strtod(p, &end); end != p && n < max; d = strtod(p, &end)) {
        v[n++] = d;
        p = end;
    }
    return n;
}

static void real_checkpoints_compute_the_same(void **state)
{
    (void)state;
    const char *data = getenv("GRAFT_DATA");
    char line[512], name[200], path[1024];
    FILE *f = fopen("zoo_real.txt", "r");
    assert_non_null(f);
    data = data ? data : "../../../shared/data";
    while (fgets(line, sizeof line, f)) {
        struct gr_weights w = {0};
        struct gr_model m = {0};
        struct graft_error err = {0};
        long height, width;
        int at = 0;
        double want[64];
        size_t total, step, n_out;
        assert_int_equal(sscanf(line, "file %199s %ldx%ld %n", name, &height, &width, &at), 3);
        line[strcspn(line, "\n")] = 0;
        size_t n = read_out(f, &total, &step, want, 64);
        snprintf(path, sizeof path, "%s/weights/%s", data, name);
        FILE *there = fopen(path, "rb");
        if (!there) {
            printf("skipped: no %s\n", path);
            continue;
        }
        fclose(there);
        if (gr_weights_read(path, &w, &err) || gr_zoo_build(&w, &m, &err))
            fail_msg("%s: %s", name, err.message);
        assert_string_equal(m.arch, line + at);
        float *y = run_model(&m, height, width, &n_out);
        assert_int_equal(n_out, total);
        assert_true((n - 1) * step < n_out);
        compare(name, y, step, n, want);
        gr_free(y);
        gr_model_clear(&m);
        gr_weights_clear(&w);
    }
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torchvision_networks_compute_the_same),
        cmocka_unit_test(real_checkpoints_compute_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
