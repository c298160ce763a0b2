/* Are the operators' gradients the derivatives of what they compute? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "ops/op_case.h"
#include "ops/op_params.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *line; /* the case at work */

static bool is_float(const struct gr_ref *r)
{
    return r->dtype == GR_F32 || r->dtype == GR_F64;
}

/* A letter that is lower-case and no truth value. */
static bool is_variable(const struct op_case *c, int i)
{
    return c->letter[i] >= 'a' && is_float(&c->in[i]);
}

static size_t count(const struct gr_ref *r)
{
    return (size_t)gr_shape_count(&r->shape);
}

/* Like `of`, filled by the caller. */
static struct gr_ref like(const struct gr_ref *of)
{
    struct gr_ref r = *of;
    r.v = gr_alloc_array(count(of), sizeof *r.v);
    return r;
}

/* dout is not uniform; outputs that are no floating point have none. */
static void make_dout(const struct op_case *c, struct gr_ref *dout)
{
    uint64_t seed = 5;
    for (int i = 0; i < c->n_out; i++) {
        dout[i] = c->out[i];
        dout[i].v = NULL;
        if (!is_float(&c->out[i]))
            continue;
        dout[i] = like(&c->out[i]);
        for (size_t k = 0; k < count(&dout[i]); k++)
            dout[i].v[k] = op_case_random(&seed);
    }
}

/* The gradient of all inputs, or of the one that is `only`; what was there before is overwritten.
 */
static void gradient(const struct op_case *c, const struct gr_ref *dout, int only,
                     struct gr_ref *din)
{
    struct graft_error err = {0};
    for (int i = 0; i < c->n_in; i++) {
        din[i] = c->in[i];
        din[i].v = NULL;
        if (!c->in[i].v || !is_variable(c, i) || (only >= 0 && i != only))
            continue;
        din[i] = like(&c->in[i]);
        for (size_t k = 0; k < count(&din[i]); k++)
            din[i].v[k] = NAN;
    }
    if (c->node->op->ref_grad(c->node, c->n_in, c->in, c->n_out, c->out, dout, din, &err))
        fail_msg("%s: %s", line, err.message);
}

static void clear(int n, struct gr_ref *r)
{
    for (int i = 0; i < n; i++)
        gr_free(r[i].v);
}

/* sum of dout * out */
static double loss(const struct op_case *c, const struct gr_ref *dout)
{
    double sum = 0;
    for (int i = 0; i < c->n_out; i++)
        for (size_t k = 0; dout[i].v && k < count(&dout[i]); k++)
            sum += dout[i].v[k] * c->out[i].v[k];
    return sum;
}

/* d loss / d x, where x is an element of an input */
static double difference(struct op_case *c, const struct gr_ref *dout, double *x)
{
    double was = *x, h = 1e-5 * fmax(1, fabs(was));
    *x = was + h;
    op_case_run(c, line);
    double up = loss(c, dout);
    *x = was - h;
    op_case_run(c, line);
    double down = loss(c, dout);
    *x = was;
    return (up - down) / (2 * h);
}

/* Equal to 1e-6 of its own size, or of a hundredth of the largest. */
static int compare(const char *what, char letter, const struct gr_ref *got, const double *expected)
{
    double top = 0;
    for (size_t k = 0; k < count(got); k++)
        top = fmax(top, fabs(expected[k]));
    for (size_t k = 0; k < count(got); k++) {
        double limit = 1e-6 * fmax(fabs(expected[k]), 0.01 * top) + 1e-12;
        if (fabs(got->v[k] - expected[k]) <= limit) /* not a number is not */
            continue;
        print_error("%s: %s of %c[%zu] is %.10g, expected %.10g\n", line, what, letter, k,
                    got->v[k], expected[k]);
        return 1;
    }
    return 0;
}

static int check_differences(struct op_case *c)
{
    struct gr_ref dout[OP_CASE_PORTS], din[OP_CASE_PORTS], alone[OP_CASE_PORTS];
    int bad = 0, variables = 0;
    make_dout(c, dout);
    gradient(c, dout, -1, din);
    for (int i = 0; i < c->n_in; i++) {
        if (!din[i].v)
            continue;
        variables++;
        gradient(c, dout, i, alone);
        bad += compare("gradient that alone is wanted", c->letter[i], &alone[i], din[i].v);
        clear(c->n_in, alone);
        double *expected = gr_alloc_array(count(&din[i]), sizeof *expected);
        for (size_t k = 0; k < count(&din[i]); k++)
            expected[k] = difference(c, dout, &c->in[i].v[k]);
        op_case_run(c, line);
        bad += compare("gradient", c->letter[i], &din[i], expected);
        gr_free(expected);
    }
    if (!variables) {
        print_error("%s: no input is floating point\n", line);
        bad++;
    }
    clear(c->n_in, din);
    clear(c->n_out, dout);
    return bad;
}

/* No gradient comes in: none comes out. Of several outputs one alone may have a gradient. */
static int check_absent(struct op_case *c)
{
    struct gr_ref dout[OP_CASE_PORTS], some[OP_CASE_PORTS], din[OP_CASE_PORTS];
    int bad = 0;
    make_dout(c, dout);
    for (int only = -1; only < c->n_out; only++) {
        for (int i = 0; i < c->n_out; i++) {
            some[i] = dout[i];
            some[i].v = i == only ? dout[i].v : NULL;
        }
        gradient(c, some, -1, din);
        for (int i = 0; i < c->n_in; i++)
            for (size_t k = 0; din[i].v && k < count(&din[i]); k += count(&din[i]) / 3 + 1) {
                double expected = difference(c, some, &c->in[i].v[k]);
                if (fabs(din[i].v[k] - expected) <= 1e-6 * fmax(1, fabs(expected)))
                    continue;
                print_error("%s: from output %d alone, %c[%zu] is %.10g, expected %.10g\n", line,
                            only, c->letter[i], k, din[i].v[k], expected);
                bad++;
            }
        op_case_run(c, line);
        clear(c->n_in, din);
    }
    clear(c->n_out, dout);
    return bad;
}

/* The document names the operators without gradient, these and no others. */
static int check_documented(void)
{
    char text[1000], name[100];
    bool inside = false;
    int bad = 0, n = 0;
    FILE *f = fopen(DOCUMENT, "r");
    assert_non_null(f);
    while (fgets(text, sizeof text, f)) {
        if (!strncmp(text, "### ", 4))
            inside = !strcmp(text, "### Operators without a gradient\n");
        for (char *p = text; inside && sscanf(p, *text == '|' ? "%*[^`]`%99[^`]`" : "", name) == 1;
             n++) {
            const struct gr_op *op = gr_op_find("", name, 21);
            if (!op || op->ref_grad) {
                print_error("%s: %s has a gradient or does not exist\n", DOCUMENT, name);
                bad++;
            }
            p = strstr(p, name) + strlen(name) + 1;
        }
    }
    fclose(f);
    for (int i = 0; gr_op_table[i]; i++)
        n -= !gr_op_table[i]->ref_grad;
    if (n) {
        print_error("%s: %+d operators without gradient\n", DOCUMENT, n);
        bad++;
    }
    return bad;
}

static void test_differences(void **state)
{
    char text[1000];
    int n = 0, bad = 0, n_ops = 0;
    FILE *f = fopen(CASES, "r");
    (void)state;
    assert_non_null(f);
    while (gr_op_table[n_ops])
        n_ops++;
    unsigned char *seen = gr_alloc_zero((size_t)n_ops, 1);
    while (fgets(text, sizeof text, f)) {
        struct op_case c;
        text[strcspn(text, "\n")] = 0;
        if (*text == '#' || !*text)
            continue;
        line = text;
        op_case_open(&c, line);
        if (!c.node->op->ref_grad) {
            print_error("%s: there is no gradient\n", line);
            bad++;
        } else {
            bad += check_differences(&c) + check_absent(&c);
        }
        for (int i = 0; i < n_ops; i++)
            seen[i] = seen[i] || gr_op_table[i] == c.node->op;
        op_case_close(&c);
        n++;
    }
    fclose(f);
    print_message("%d cases; without gradient:", n);
    for (int i = 0; i < n_ops; i++)
        if (!gr_op_table[i]->ref_grad)
            print_message(" %s", gr_op_table[i]->name);
    print_message("\n");
    bad += check_documented();
    for (int i = 0; i < n_ops; i++)
        if (gr_op_table[i]->ref_grad && !seen[i]) {
            print_error("%s has a gradient and no case in %s\n", gr_op_table[i]->name, CASES);
            bad++;
        }
    gr_free(seen);
    assert_true(n > 300);
    assert_int_equal(bad, 0);
}

/* The rules for ties and kinks, where differences say nothing: the first maximum; at 0 as PyTorch.
 */
static void test_ties(void **state)
{
    static const struct {
        const char *line;
        double dx[6], dy[2]; /* of dout = 1, 2, ... */
    } cases[] = {
        {"MaxPool x=1,1,4(3,3,1,3) kernel_shape=2", {1, 2, 0, 3}, {0}},
        {"GlobalMaxPool x=1,1,4(1,3,3,2)", {0, 1, 0, 0}, {0}},
        {"Max x=2(1,5) y=2(1,4)", {1, 2}, {0, 0}},
        {"Min x=2(1,5) y=2(1,4)", {1, 0}, {0, 2}},
        {"ReduceMax x=4(1,7,7,7)", {0, 1, 0, 0}, {0}},
        {"ReduceMin x=2,2(1,1,3,3) axes=1", {1, 0, 2, 0}, {0}},
        {"TopK x=4(5,7,7,7) I=[2] ->2", {0, 1, 2, 0}, {0}},
        {"Relu x=3(-1,0,1)", {0, 0, 3}, {0}},
        {"LeakyRelu x=3(-1,0,1) alpha=0.5", {0.5, 1, 3}, {0}},
        {"Abs x=3(-1,0,1)", {-1, 0, 3}, {0}},
        {"Clip x=5(-1,0,0.5,1,2) F=(0) F=(1)", {0, 0, 3, 0, 0}, {0}},
        {"ReduceL2 x=2(0,0)", {0, 0}, {0}},
        {"Pow x=2(0,2) y=2(2,0)", {0, 0}, {0, 1.3862943611198906}},
        {"Max x=1(3) y=1(3)", {1}, {0}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct op_case c;
        struct gr_ref dout[OP_CASE_PORTS], din[OP_CASE_PORTS];
        line = cases[i].line;
        op_case_open(&c, line);
        make_dout(&c, dout);
        for (size_t k = 0; k < count(dout); k++)
            dout[0].v[k] = (double)k + 1;
        gradient(&c, dout, -1, din);
        assert_int_equal(compare("gradient", 'x', &din[0], cases[i].dx), 0);
        if (c.n_in > 1 && din[1].v)
            assert_int_equal(compare("gradient", 'y', &din[1], cases[i].dy), 0);
        clear(c.n_in, din);
        clear(c.n_out, dout);
        op_case_close(&c);
    }
}

/* The next line of the golden file: `name` and n numbers. */
static void read_golden(FILE *f, const char *name, size_t n, double *v)
{
    char word[16];
    if (fscanf(f, "%15s", word) != 1 || strcmp(word, name))
        fail_msg("%s: no '%s' in %s", line, name, GOLDEN);
    for (size_t i = 0; i < n; i++)
        if (fscanf(f, "%lf", &v[i]) != 1)
            fail_msg("%s: '%s' in %s has %zu numbers, expected %zu", line, name, GOLDEN, i, n);
}

static int golden_case(FILE *f)
{
    struct op_case c;
    struct gr_ref dout[OP_CASE_PORTS], din[OP_CASE_PORTS];
    int bad = 0;
    op_case_open(&c, line);
    make_dout(&c, dout);
    for (int i = 0; i < c.n_in; i++)
        if (c.in[i].v && is_variable(&c, i))
            read_golden(f, "in", count(&c.in[i]), c.in[i].v);
    op_case_run(&c, line);
    read_golden(f, "dout", count(&dout[0]), dout[0].v);
    gradient(&c, dout, -1, din);
    double *y = gr_alloc_array(count(&c.out[0]), sizeof *y);
    read_golden(f, "out", count(&c.out[0]), y);
    bad += compare("value", 'y', &c.out[0], y);
    gr_free(y);
    for (int i = 0; i < c.n_in; i++) {
        if (!din[i].v)
            continue;
        double *expected = gr_alloc_array(count(&din[i]), sizeof *expected);
        read_golden(f, "din", count(&din[i]), expected);
        bad += compare("gradient", c.letter[i], &din[i], expected);
        gr_free(expected);
    }
    clear(c.n_in, din);
    clear(c.n_out, dout);
    op_case_close(&c);
    return bad;
}

static int golden_batch_norm(FILE *f)
{
    enum { N = 36, C = 2 };
    static const char *const names[] = {"y",  "running mean", "running var",
                                        "dx", "dscale",       "dbias"};
    struct graft_error err = {0};
    struct gr_shape shape = gr_shape_of(4, 3, C, 2, 3), one = gr_shape_of(2, 1, C);
    double x[N], scale[C], bias[C], running_mean[C], running_var[C], dy[N];
    double y[N], mean[C], var[C], dx[N], dscale[C], dbias[C], expected[N];
    double *got[] = {y, running_mean, running_var, dx, dscale, dbias};
    const struct gr_bn_train b = {.shape = &shape,
                                  .epsilon = 1e-5,
                                  .momentum = 0.1,
                                  .x = x,
                                  .scale = scale,
                                  .bias = bias,
                                  .y = y,
                                  .mean = mean,
                                  .var = var,
                                  .running_mean = running_mean,
                                  .running_var = running_var};
    struct gr_bn_train single = b;
    int bad = 0;
    read_golden(f, "in", N, x);
    read_golden(f, "in", C, scale);
    read_golden(f, "in", C, bias);
    read_golden(f, "in", C, running_mean);
    read_golden(f, "in", C, running_var);
    read_golden(f, "dout", N, dy);
    single.shape = &one;
    assert_int_equal(gr_bn_train_ref(&single, &err), GRAFT_E_SHAPE); /* no variance of 1 value */
    assert_int_equal(gr_bn_train_ref(&b, &err), GRAFT_OK);
    assert_int_equal(gr_bn_train_ref_grad(&b, dy, dx, dscale, dbias, &err), GRAFT_OK);
    for (int i = 0; i < 6; i++) {
        bool whole = i % 3 == 0;
        struct gr_ref r = {GR_F64, gr_shape_of(1, whole ? N : C), got[i]};
        read_golden(f, i < 3 ? "out" : "din", whole ? N : C, expected);
        bad += compare(names[i], 'x', &r, expected);
    }
    assert_int_equal(gr_bn_train_ref_grad(&b, dy, NULL, NULL, NULL, &err), GRAFT_OK);
    return bad;
}

/* The same numbers as PyTorch's autograd in double; tests/golden/grad_golden.py wrote them. */
static void test_golden(void **state)
{
    char text[1000], word[16];
    int n = 0, bad = 0;
    FILE *f = fopen(GOLDEN, "r");
    (void)state;
    assert_non_null(f);
    while (fscanf(f, "%15s", word) == 1 && fgets(text, sizeof text, f)) {
        text[strcspn(text, "\n")] = 0;
        line = text + 1;
        bad += strcmp(word, "case") ? golden_batch_norm(f) : golden_case(f);
        n++;
    }
    fclose(f);
    assert_int_equal(n, 21);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_differences),
                                       cmocka_unit_test(test_ties), cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
