/* Do our shape rules and references agree with the cases that ONNX publishes? Each is a model with
   inputs and expected outputs. The names in passing.txt must pass; `--list` prints all that do. */
#include "base/mem.h"
#include "core/infer.h"
#include "core/op.h"
#include "formats/onnx.h"
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA "/usr/share/libonnx-testdata/data" /* or what GRAFT_ONNX_CASES names */
static const char *const folders[] = {"node", "simple", "pytorch-operator", "pytorch-converted"};

/* Cases whose published outputs are not what the operators mean, by the start of their names. */
static const struct {
    const char *name, *why;
} wrong[] = {
    {"node/test_blackmanwindow_", "outputs were made with pi = 3.1415"},
    {"node/test_hammingwindow_", "outputs were made with pi = 3.1415"},
    {"node/test_hannwindow_", "outputs were made with pi = 3.1415"},
    {"node/test_resize_downsample_scales_cubic_align_corners", "corner of an unrounded size"},
    {"node/test_resize_downsample_scales_linear_align_corners", "corner of an unrounded size"},
};

enum { MAX_PORTS = 64 };

enum outcome { PASSES, SKIPPED, FAILS };

struct test_case {
    char dir[600];
    struct gr_model model;
    size_t n_in, n_out;
    struct gr_tensor in[MAX_PORTS], out[MAX_PORTS];
    char *in_name[MAX_PORTS], *out_name[MAX_PORTS];
    struct graft_error err;
};

static enum graft_status read_tensors(struct test_case *t, const char *what, size_t *n,
                                      struct gr_tensor *tensors, char **names)
{
    char path[700];
    for (*n = 0; *n < MAX_PORTS; ++*n) {
        snprintf(path, sizeof path, "%s/test_data_set_0/%s_%zu.pb", t->dir, what, *n);
        if (access(path, R_OK))
            break;
        enum graft_status s = gr_onnx_read_tensor(path, &names[*n], &tensors[*n], &t->err);
        if (s)
            return s;
    }
    return GRAFT_OK;
}

static void clear_tensors(size_t n, struct gr_tensor *tensors, char **names)
{
    for (size_t i = 0; i < n; i++) {
        gr_tensor_clear(&tensors[i]);
        gr_free(names[i]);
    }
}

/* The tensor of that name, else the one at that place. */
static const struct gr_tensor *find_input(const struct test_case *t, const char *name, size_t place)
{
    for (size_t i = 0; i < t->n_in; i++)
        if (t->in_name[i] && !strcmp(t->in_name[i], name))
            return &t->in[i];
    return place < t->n_in ? &t->in[place] : NULL;
}

static bool is_float(enum gr_dtype t)
{
    return t == GR_F32 || t == GR_F64 || t == GR_F16 || t == GR_BF16;
}

/* Every value of the graph: the constants, the inputs, and what the nodes make of them. */
static enum graft_status run(const struct test_case *t, const struct gr_graph *g,
                             const struct gr_inferred *r, struct gr_tensor *value,
                             struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; i < r->n; i++)
        if (r->konst[i].buf)
            value[i] = gr_tensor_ref(&r->konst[i]);
    for (size_t i = 0; i < g->n_inputs; i++)
        value[g->inputs[i]] = gr_tensor_ref(find_input(t, g->values[g->inputs[i]].name, i));
    for (size_t k = 0; !s && k < g->n_nodes; k++) {
        const struct gr_node *n = &g->nodes[k];
        const struct gr_tensor *in[MAX_PORTS];
        struct gr_type types[MAX_PORTS];
        struct gr_tensor out[MAX_PORTS];
        bool known = true;
        for (int i = 0; i < n->n_in; i++)
            in[i] = n->in[i] < 0 ? NULL : &value[n->in[i]];
        for (int i = 0; i < n->n_out; i++) {
            types[i] = n->out[i] < 0 ? (struct gr_type){0} : r->type[n->out[i]];
            known = known && (n->out[i] < 0 || value[n->out[i]].buf);
        }
        if (known)
            continue;
        s = gr_op_run_ref(n, n->n_in, in, n->n_out, types, out, err);
        for (int i = 0; !s && i < n->n_out; i++)
            if (n->out[i] >= 0) {
                gr_tensor_clear(&value[n->out[i]]);
                value[n->out[i]] = out[i];
            }
    }
    return s;
}

static enum graft_status compare(const struct gr_tensor *found, const struct gr_tensor *expected,
                                 struct graft_error *err)
{
    char tf[GR_SHAPE_TEXT], te[GR_SHAPE_TEXT];
    double tolerance = expected->dtype == GR_F16 ? 1e-3 : expected->dtype == GR_BF16 ? 1e-2 : 1e-5;
    if (found->dtype != expected->dtype || !gr_shape_equal(&found->shape, &expected->shape))
        return gr_error(err, GRAFT_E_COMPUTE, "found %s %s, expected %s %s",
                        gr_dtype_name(found->dtype), gr_shape_print(&found->shape, tf),
                        gr_dtype_name(expected->dtype), gr_shape_print(&expected->shape, te));
    for (int64_t i = 0; i < gr_tensor_count(found); i++) {
        double f = gr_load_f64(found->dtype, found->data, (size_t)i);
        double e = gr_load_f64(expected->dtype, expected->data, (size_t)i);
        bool same = f == e || (isnan(f) && isnan(e)) || fabs(f - e) <= tolerance * (1 + fabs(e));
        if (!same)
            return gr_error(err, GRAFT_E_COMPUTE, "element %lld is %.9g, expected %.9g",
                            (long long)i, f, e);
    }
    return GRAFT_OK;
}

/* These files hold bfloat16 as uint16. */
static void fix_bfloat16(struct gr_tensor *t, const struct gr_value *declared)
{
    if (declared->type.dtype == GR_BF16 && t->dtype == GR_U16)
        t->dtype = GR_BF16;
}

/* Inputs that shapes depend on must be constants for us: level 1 makes those so that are no
   floats, level 2 all. */
static enum graft_status try(struct test_case *t, int level)
{
    struct gr_graph *g = NULL;
    struct gr_inferred r = {0};
    struct gr_type types[MAX_PORTS];
    struct gr_tensor *value = NULL;
    size_t kept = 0;
    enum graft_status s = gr_graph_copy(t->model.graph, &g, &t->err);
    for (size_t i = 0; !s && i < g->n_inputs; i++) {
        int v = g->inputs[i];
        const struct gr_tensor *x = find_input(t, g->values[v].name, i);
        if (!x || i >= MAX_PORTS)
            s = gr_error(&t->err, GRAFT_E_UNSUPPORTED, "no data for input '%s'", g->values[v].name);
    }
    for (size_t i = 0; !s && i < g->n_inputs; i++) {
        int v = g->inputs[i];
        const struct gr_tensor *x = find_input(t, g->values[v].name, i);
        if (level == 2 || (level == 1 && !is_float(x->dtype))) {
            g->values[v].data = gr_tensor_ref(x);
            continue;
        }
        types[kept] = (struct gr_type){x->dtype, x->shape};
        g->inputs[kept++] = v;
    }
    if (!s) {
        g->n_inputs = kept;
        s = gr_graph_infer(g, types, 0, NULL, &r, &t->err);
    }
    if (!s) {
        value = gr_alloc_zero(g->n_values, sizeof *value);
        s = value ? run(t, g, &r, value, &t->err) : gr_error_nomem(&t->err);
    }
    for (size_t i = 0; !s && i < t->n_out && i < g->n_outputs; i++)
        s = compare(&value[g->outputs[i]], &t->out[i], &t->err);
    for (size_t i = 0; value && i < g->n_values; i++)
        gr_tensor_clear(&value[i]);
    gr_free(value);
    gr_inferred_clear(&r);
    gr_graph_free(g);
    return s;
}

static enum outcome run_case(struct test_case *t, const char *name)
{
    char path[700];
    enum graft_status s;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (!strncmp(name, wrong[i].name, strlen(wrong[i].name))) {
            gr_error(&t->err, GRAFT_E_UNSUPPORTED, "%s", wrong[i].why);
            return SKIPPED;
        }
    snprintf(path, sizeof path, "%s/model.onnx", t->dir);
    s = gr_onnx_read(path, NULL, &t->model, &t->err);
    if (!s)
        s = read_tensors(t, "input", &t->n_in, t->in, t->in_name);
    if (!s)
        s = read_tensors(t, "output", &t->n_out, t->out, t->out_name);
    if (s) /* subgraphs, sequences, strings, old operator sets: the readers' own tests see to them
            */
        return SKIPPED;
    if (!t->n_out) {
        gr_error(&t->err, GRAFT_E_UNSUPPORTED, "no expected outputs");
        return SKIPPED;
    }
    const struct gr_graph *g = t->model.graph;
    for (size_t i = 0; i < t->n_in && i < g->n_inputs; i++)
        fix_bfloat16(&t->in[i], &g->values[g->inputs[i]]);
    for (size_t i = 0; i < t->n_out && i < g->n_outputs; i++)
        fix_bfloat16(&t->out[i], &g->values[g->outputs[i]]);
    for (size_t i = 0; i < t->n_in; i++)
        if (t->in[i].dtype == GR_STRING) {
            gr_error(&t->err, GRAFT_E_UNSUPPORTED, "a tensor of strings");
            return SKIPPED;
        }
    s = GRAFT_E_UNSUPPORTED;
    for (int level = 0; s == GRAFT_E_UNSUPPORTED && level < 3; level++)
        s = try(t, level);
    return !s ? PASSES : s == GRAFT_E_UNSUPPORTED ? SKIPPED : FAILS;
}

static bool is_listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)); p += n)
        if ((p == list || p[-1] == '\n') && p[n] == '\n')
            return true;
    return false;
}

static char *read_list(const char *path)
{
    char *text = calloc(1, 1 << 20);
    FILE *f = fopen(path, "r");
    if (f && text)
        text[fread(text, 1, (1 << 20) - 1, f)] = 0;
    if (f)
        fclose(f);
    return text;
}

int main(int argc, char **argv)
{
    bool list_only = argc > 1 && !strcmp(argv[1], "--list");
    int count[3] = {0}, lost = 0, gained = 0, seen_listed = 0, n_listed = 0;
    char *listed = read_list("passing.txt");
    const char *data = getenv("GRAFT_ONNX_CASES");
    data = data ? data : DATA;
    if (access(data, R_OK)) {
        printf("skipped: %s is absent (package libonnx-testdata)\n", data);
        free(listed);
        return 0;
    }
    for (const char *p = listed; (p = strchr(p, '\n')); p++)
        n_listed++;
    for (size_t k = 0; k < sizeof folders / sizeof *folders; k++) {
        struct dirent **entries = NULL;
        char folder[300];
        snprintf(folder, sizeof folder, "%s/%s", data, folders[k]);
        int n = scandir(folder, &entries, NULL, alphasort);
        for (int i = 0; i < n; i++) {
            char name[400];
            static struct test_case t;
            snprintf(name, sizeof name, "%s/%s", folders[k], entries[i]->d_name);
            free(entries[i]);
            if (strncmp(strchr(name, '/'), "/test_", 6))
                continue;
            memset(&t, 0, sizeof t);
            snprintf(t.dir, sizeof t.dir, "%s/%s", data, name);
            enum outcome o = run_case(&t, name);
            bool must = is_listed(listed, name);
            count[o]++;
            seen_listed += must;
            lost += must && o != PASSES;
            gained += !must && o == PASSES;
            if (list_only) {
                if (o == PASSES)
                    puts(name);
            } else if (must && o != PASSES) {
                printf("LOST    %s: %s\n", name, t.err.message);
            } else if (o == FAILS) {
                printf("fails   %s: %s\n", name, t.err.message);
            } else if (o == SKIPPED) {
                printf("skipped %s: %s\n", name, t.err.message);
            } else if (!must) {
                printf("gained  %s\n", name);
            }
            clear_tensors(t.n_in, t.in, t.in_name);
            clear_tensors(t.n_out, t.out, t.out_name);
            gr_model_clear(&t.model);
        }
        free(entries);
    }
    free(listed);
    if (list_only)
        return 0;
    printf("%d pass (%d listed, %d not yet), %d skipped, %d fail\n", count[PASSES], n_listed,
           gained, count[SKIPPED], count[FAILS]);
    if (lost || seen_listed != n_listed)
        printf("%d listed cases do not pass, %d are not there\n", lost, n_listed - seen_listed);
    return lost || seen_listed != n_listed;
}
