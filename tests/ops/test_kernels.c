/* Do fast kernels and fused steps give what the double reference gives? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "core/op.h"
#include "core/kernel.h"
#include "exec/plan.h"
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NODES = 16, MAX_PORTS = 16 };

struct net {
    struct gr_graph *g;
    struct gr_shape shapes[MAX_PORTS]; /* of the inputs */
    int first_out[MAX_NODES], n_out[MAX_NODES];
    int n_nodes, n_consts;
    bool may_ref;
    int steps;     /* expected, or -1 */
    char with[32]; /* a kernel that is expected on a processor with AVX-512 and bf16 */
    uint64_t seed;
};

static float random_float(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*seed >> 40) / (1 << 23) - 1);
}

static const char *current = ""; /* the line at work, for messages */

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct graft_error err = {0};                                                              \
        if (call)                                                                                  \
            fail_msg("%s: %s", current, err.message);                                              \
    } while (0)

static struct gr_shape read_shape(const char *text)
{
    struct gr_shape s = {0};
    while (*text && *text != '+') {
        char *end;
        s.dim[s.rank++] = strtoll(text, &end, 10);
        text = *end == ',' ? end + 1 : end;
    }
    return s;
}

static int new_value(struct net *n, const char *kind)
{
    char name[40];
    int id;
    snprintf(name, sizeof name, "%s%d", kind, n->n_consts++);
    OK(gr_graph_value(n->g, name, &id, &err));
    return id;
}

/* X=2,3  V=8+  I=[1,2]  F=(6); after I= the number in brackets is an integer too */
static int add_const(struct net *n, char letter, const char *text)
{
    struct gr_tensor t = {0};
    int id = new_value(n, "const");
    if (*text == '[' || *text == '(') {
        int64_t ints[16];
        float floats[16];
        struct gr_shape s = {1, {0}};
        bool whole = *text == '[' || letter == 'I';
        for (char *p = (char *)(uintptr_t)text + 1; *p && *p != ']' && *p != ')';) {
            if (whole)
                ints[s.dim[0]] = strtoll(p, &p, 10);
            else
                floats[s.dim[0]] = strtof(p, &p);
            s.dim[0]++;
            p += *p == ',';
        }
        s.rank = *text == '[';
        OK(gr_tensor_from(whole ? GR_I64 : GR_F32, &s, whole ? (void *)ints : floats, &t, &err));
    } else {
        struct gr_shape s = read_shape(text);
        OK(gr_tensor_new(GR_F32, &s, &t, &err));
        for (int64_t i = 0; i < gr_tensor_count(&t); i++) {
            float v = random_float(&n->seed);
            ((float *)gr_tensor_mut(&t))[i] = strchr(text, '+') ? 1 + v / 2 : v;
        }
    }
    OK(gr_graph_set_const(n->g, id, &t, &err));
    gr_tensor_clear(&t);
    return id;
}

static int add_input(struct net *n, const char *name, const char *text)
{
    struct gr_type t = {GR_F32, read_shape(text)};
    int id;
    OK(gr_graph_value(n->g, name, &id, &err));
    n->shapes[n->g->n_inputs] = t.shape;
    OK(gr_graph_add_input(n->g, id, &t, &err));
    return id;
}

static void add_attr(struct net *n, const struct gr_op *op, int node, const char *name,
                     const char *text)
{
    const struct gr_param *p = op->params;
    int64_t ints[16];
    size_t count = 0;
    while (p && p->name && strcmp(p->name, name))
        p++;
    if (!p || !p->name)
        fail_msg("%s has no attribute %s", op->name, name);
    switch (p->kind) {
    case GR_PARAM_INT:
    case GR_PARAM_BOOL:
        OK(gr_node_set_int(n->g, node, name, strtoll(text, NULL, 10), &err));
        break;
    case GR_PARAM_FLOAT:
        OK(gr_node_set_float(n->g, node, name, strtof(text, NULL), &err));
        break;
    case GR_PARAM_INTS:
        for (char *s = (char *)(uintptr_t)text; *s; s += *s == ',')
            ints[count++] = strtoll(s, &s, 10);
        OK(gr_node_set_ints(n->g, node, name, count, ints, &err));
        break;
    default:
        OK(gr_node_set_string(n->g, node, name, text, &err));
    }
}

static void add_node(struct net *n, char *text, int64_t opset)
{
    char *words[40], *save, *op_type = strtok_r(text, " \n", &save);
    int n_words = 0, in[MAX_PORTS], out[MAX_PORTS], n_in = 0, n_out = 1, id;
    int before = n->n_nodes ? n->first_out[n->n_nodes - 1] : -1;
    bool names_all = !n->n_nodes;
    for (char *w; (w = strtok_r(NULL, " \n", &save));)
        words[n_words++] = w;
    for (int i = 0; i < n_words; i++)
        names_all = names_all || !strcmp(words[i], ".") || *words[i] == '@';
    if (!names_all)
        in[n_in++] = before;
    for (int i = 0; i < n_words; i++) {
        char *w = words[i], *eq = strchr(w, '='), *colon = strchr(w, ':');
        if (!strcmp(w, "."))
            in[n_in++] = before;
        else if (!strcmp(w, "-"))
            in[n_in++] = -1;
        else if (!strncmp(w, "->", 2))
            n_out = atoi(w + 2);
        else if (*w == '@' && w[1] >= '0' && w[1] <= '9')
            in[n_in++] = n->first_out[atoi(w + 1)] + (colon ? atoi(colon + 1) : 0);
        else if (*w == '@')
            in[n_in++] = gr_graph_find_value(n->g, w + 1);
        else if (!strcmp(w, "ref"))
            n->may_ref = true;
        else if (eq && eq == w + 1 && *w >= 'a')
            in[n_in++] = add_input(n, (char[]){*w, 0}, eq + 1);
        else if (eq && eq == w + 1)
            in[n_in++] = add_const(n, *w, eq + 1);
        else if (!strncmp(w, "steps=", 6))
            n->steps = atoi(w + 6);
        else if (!strncmp(w, "with=", 5))
            snprintf(n->with, sizeof n->with, "%s", w + 5);
        else if (!eq)
            fail_msg("what is '%s'?", w);
    }
    for (int i = 0; i < n_out; i++)
        out[i] = new_value(n, "v");
    n->first_out[n->n_nodes] = out[0];
    n->n_out[n->n_nodes++] = n_out;
    OK(gr_graph_add_node(n->g, op_type, "", "", n_in, in, n_out, out, &id, &err));
    const struct gr_op *op = gr_op_find("", op_type, opset);
    if (!op)
        fail_msg("there is no operator %s", op_type);
    for (int i = 0; i < n_words; i++) {
        char *eq = strchr(words[i], '=');
        if (eq && eq > words[i] + 1 && strncmp(words[i], "steps=", 6) &&
            strncmp(words[i], "with=", 5) && strncmp(words[i], "opset=", 6)) {
            *eq = 0;
            add_attr(n, op, id, words[i], eq + 1);
        }
    }
}

static void build(struct net *n, const char *line)
{
    char text[1000], *save;
    const char *at = strstr(line, "opset=");
    int64_t opset = at ? atoi(at + 6) : 17;
    *n = (struct net){.seed = 7, .steps = -1};
    OK(gr_graph_new(&n->g, &err));
    OK(gr_graph_set_opset(n->g, "", opset, &err));
    n->may_ref = !strncmp(line, "ref ", 4);
    snprintf(text, sizeof text, "%s", line + (n->may_ref ? 4 : 0));
    for (char *s = strtok_r(text, "|", &save); s; s = strtok_r(NULL, "|", &save))
        add_node(n, s, opset);
    for (int i = 0; i < n->n_out[n->n_nodes - 1]; i++) {
        struct gr_type t = {GR_UNKNOWN, {0}};
        OK(gr_graph_add_output(n->g, n->first_out[n->n_nodes - 1] + i, &t, &err));
    }
    OK(gr_graph_check(n->g, &err));
    OK(gr_graph_bind(n->g, &err));
}

struct result {
    int n;
    float *v[MAX_PORTS];
    int64_t count[MAX_PORTS];
    bool used_ref;
    int steps;
    double seconds, macs, bytes;
    char kernels[400];
};

static void run(const struct net *n, const struct gr_plan_options *o, bool perf, struct result *r)
{
    struct gr_plan *p = NULL;
    struct gr_exec *e = NULL;
    const void *in[MAX_PORTS];
    void *out[MAX_PORTS], *owned[MAX_PORTS];
    uint64_t seed = 99;
    *r = (struct result){0};
    OK(gr_plan_new(n->g, 0, NULL, n->shapes, o, &p, &err));
    OK(gr_exec_new(p, &e, &err));
    for (size_t i = 0; i < n->g->n_inputs; i++) {
        int64_t count = gr_shape_count(&n->shapes[i]);
        float *x = owned[i] = gr_alloc_aligned((size_t)count * 4 + 4, true);
        for (int64_t k = 0; k < count; k++)
            x[k] = random_float(&seed);
        in[i] = x;
    }
    r->n = (int)gr_plan_n_outputs(p);
    for (int i = 0; i < r->n; i++) {
        const struct gr_type *t = gr_plan_get_output(p, (size_t)i);
        r->count[i] = gr_shape_count(&t->shape);
        out[i] = gr_alloc_aligned((size_t)r->count[i] * 8 + 8, true);
    }
    OK(gr_exec_run(e, in, out, &err));
    for (int i = 0; i < r->n; i++) {
        r->v[i] = gr_alloc_array((size_t)r->count[i] + 1, sizeof(float));
        for (int64_t k = 0; k < r->count[i]; k++)
            r->v[i][k] =
                (float)gr_load_f64(gr_plan_get_output(p, (size_t)i)->dtype, out[i], (size_t)k);
    }
    for (size_t i = 0; i < gr_plan_n_steps(p); i++) {
        struct gr_step_info info;
        gr_plan_get_step(p, i, &info);
        r->used_ref = r->used_ref || !strcmp(info.kernel, "reference");
        r->steps += strcmp(info.op, "reorder") != 0;
        r->macs += info.macs;
        r->bytes += info.bytes;
        size_t used = strlen(r->kernels);
        snprintf(r->kernels + used, sizeof r->kernels - used, " %s", info.kernel);
    }
    if (perf) {
        int reps = 0;
        double start = omp_get_wtime();
        while (r->seconds < 0.05) {
            OK(gr_exec_run(e, in, out, &err));
            r->seconds = omp_get_wtime() - start;
            reps++;
        }
        r->seconds /= reps;
    }
    for (size_t i = 0; i < n->g->n_inputs; i++)
        gr_free_aligned(owned[i]);
    for (int i = 0; i < r->n; i++)
        gr_free_aligned(out[i]);
    gr_exec_free(e);
    gr_plan_free(p);
}

static double difference(const struct result *a, const struct result *ref)
{
    double worst = 0;
    for (int i = 0; i < ref->n; i++) {
        double top = 1e-6;
        assert_int_equal(a->count[i], ref->count[i]);
        for (int64_t k = 0; k < ref->count[i]; k++)
            top = fmax(top, fabs(ref->v[i][k]));
        for (int64_t k = 0; k < ref->count[i]; k++) {
            double d = fabs(a->v[i][k] - ref->v[i][k]) / top;
            worst = d <= worst ? worst : d; /* not a number counts */
        }
    }
    return worst;
}

static void clear(struct result *r)
{
    for (int i = 0; i < r->n; i++)
        gr_free(r->v[i]);
}

static int check(const char *line, bool perf)
{
    static const struct {
        const char *name;
        enum gr_precision precision;
        bool fuse;
        double limit;
    } modes[] = {{"fp32", GR_PRECISION_FP32, false, 2e-6},
                 {"fp32 fused", GR_PRECISION_FP32, true, 2e-6},
                 {"bf16 fused", GR_PRECISION_BF16, true, 2e-2}};
    struct net n;
    struct gr_plan_options o;
    struct result ref, r;
    int bad = 0;
    current = line;
    build(&n, line);
    gr_plan_options_init(&o);
    o.reference = true;
    run(&n, &o, false, &ref);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        gr_plan_options_init(&o);
        o.precision = modes[i].precision;
        o.fuse = modes[i].fuse;
        struct gr_plan *p = NULL;
        struct graft_error err = {0};
        enum graft_status s = gr_plan_new(n.g, 0, NULL, n.shapes, &o, &p, &err);
        gr_plan_free(p);
        if (s == GRAFT_E_UNSUPPORTED && o.precision == GR_PRECISION_BF16)
            continue; /* this processor */
        run(&n, &o, perf, &r);
        double d = difference(&r, &ref);
        /* its transforms cancel: a few more digits of the last place are lost */
        double limit = modes[i].limit * (strstr(r.kernels, "winograd") ? 5 : 1);
        if (!(d <= limit)) {
            print_error("%s: error %.3g, at most %.3g:%s\n  %s", modes[i].name, d, limit, r.kernels,
                        line);
            bad = 1;
        }
        if (r.used_ref && !n.may_ref) {
            print_error("%s: runs by the reference:%s\n  %s", modes[i].name, r.kernels, line);
            bad = 1;
        }
        if (*n.with && o.fuse && o.precision == GR_PRECISION_FP32 && gr_cpu_has_fast_bf16() &&
            !strstr(r.kernels, n.with)) {
            print_error("%s: %s is expected:%s\n  %s", modes[i].name, n.with, r.kernels, line);
            bad = 1;
        }
        if (n.steps >= 0 && o.fuse && r.steps != n.steps) {
            print_error("%s: %d steps, expected %d:%s\n  %s", modes[i].name, r.steps, n.steps,
                        r.kernels, line);
            bad = 1;
        }
        if (perf)
            print_message("%-10s %9.1f us %8.2f GFLOP/s %8.2f GB/s  %.60s\n", modes[i].name,
                          r.seconds * 1e6, 2e-9 * r.macs / r.seconds, 1e-9 * r.bytes / r.seconds,
                          line);
        clear(&r);
    }
    clear(&ref);
    gr_graph_free(n.g);
    return bad;
}

static bool want_perf;
static const char *cases = CASES;

static void test_cases(void **state)
{
    char line[1000];
    int n = 0, bad = 0;
    FILE *f = fopen(cases, "r");
    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (*line != '#' && *line != '\n') {
            bad += check(line, want_perf);
            n++;
        }
    fclose(f);
    assert_true(n > 0);
    assert_int_equal(bad, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    want_perf = argc > 1 && !strcmp(argv[1], "--perf"); /* test_kernels --perf [other cases] */
    cases = argc > 2 ? argv[2] : CASES;
    if (!want_perf) /* which kernel pays depends on them, and cases say which they expect */
        omp_set_num_threads(2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
