/* Which operator and which inputs does a line of a case table mean? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "core/infer.h"
#include "ops/op_case.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct graft_error err = {0};                                                              \
        if (call)                                                                                  \
            fail_msg("%s: %s", line, err.message);                                                 \
    } while (0)

double op_case_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 40) / (1 << 23) - 1;
}

static size_t read_numbers(const char *text, char end, size_t max, double *v)
{
    size_t n = 0;
    while (*text && *text != end && n < max) {
        char *next;
        v[n++] = strtod(text, &next);
        text = *next == ',' ? next + 1 : next == text ? next + 1 : next;
    }
    return n;
}

static struct gr_shape read_shape(const char *text, const char **rest)
{
    struct gr_shape s = {0};
    while (*text >= '0' && *text <= '9') {
        char *end;
        s.dim[s.rank++] = strtoll(text, &end, 10);
        text = *end == ',' ? end + 1 : end;
    }
    *rest = text;
    return s;
}

/* See op_case.h: a grid in random order, shifted a little for each input. */
static void spread(double *v, int64_t n, int input, double lo, double hi, uint64_t *seed)
{
    for (int64_t i = 0; i < n; i++)
        v[i] = lo + (hi - lo) * ((double)i + 0.25 + 0.055 * input) / (double)n;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t k = (int64_t)((op_case_random(seed) + 1) / 2 * (double)i);
        double swap = v[i];
        v[i] = v[k];
        v[k] = swap;
    }
}

static void add_input(struct op_case *c, const char *line, char letter, const char *text, int *id,
                      uint64_t *seed)
{
    struct gr_type t;
    const char *rest;
    char name[8];
    double v[64];
    int i = c->n_in;
    size_t given = 0;
    snprintf(name, sizeof name, "%c%d", letter, i);
    t.shape = read_shape(text, &rest);
    t.dtype = *rest == '[' || *rest == '<' ? GR_I64
              : *rest == '{'               ? GR_I32
              : *rest == '?'               ? GR_BOOL
                                           : GR_F32;
    const char *open = *rest ? strchr("[]<>{}()", *rest) : NULL;
    if (open) {
        given = read_numbers(rest + 1, open[1], 64, v);
        if ((*rest == '[' || *rest == '{') && !t.shape.rank)
            t.shape = gr_shape_of(1, (int)given);
    }
    int64_t n = gr_shape_count(&t.shape);
    if (given && (int64_t)given != n)
        fail_msg("%s: %zu values for %lld elements", line, given, (long long)n);
    c->letter[i] = letter;
    c->in[i] = (struct gr_ref){t.dtype, t.shape, gr_alloc_array((size_t)n, sizeof(double))};
    double lo = -1, hi = 1;
    if (*rest == '@' && sscanf(rest, "@%lf:%lf", &lo, &hi) != 2)
        fail_msg("%s: what is '%s'?", line, rest);
    spread(c->in[i].v, n, i, lo, hi, seed);
    for (int64_t k = 0; k < n; k++)
        if (given)
            c->in[i].v[k] = v[k];
        else if (*rest == '?')
            c->in[i].v[k] = op_case_random(seed) > 0;
    OK(gr_graph_value(c->g, name, id, &err));
    if (letter >= 'a') {
        OK(gr_graph_add_input(c->g, *id, &t, &err));
    } else {
        struct gr_tensor konst = {0};
        OK(gr_tensor_new(t.dtype, &t.shape, &konst, &err));
        for (int64_t k = 0; k < n; k++)
            gr_store_f64(t.dtype, gr_tensor_mut(&konst), (size_t)k, c->in[i].v[k]);
        OK(gr_graph_set_const(c->g, *id, &konst, &err));
        gr_tensor_clear(&konst);
    }
}

static void add_attr(struct op_case *c, const char *line, const struct gr_op *op, const char *name,
                     const char *text)
{
    const struct gr_param *p = op->params;
    double v[16];
    int64_t ints[16];
    float floats[16];
    while (p && p->name && strcmp(p->name, name))
        p++;
    if (!p || !p->name)
        fail_msg("%s: %s has no attribute %s", line, op->name, name);
    size_t n = read_numbers(text, 0, 16, v);
    struct gr_attr list = {.name = name, .type = GR_ATTR_FLOATS, .n = n, .floats = floats};
    for (size_t i = 0; i < n; i++) {
        ints[i] = (int64_t)v[i];
        floats[i] = (float)v[i];
    }
    if (p->kind == GR_PARAM_INT || p->kind == GR_PARAM_BOOL)
        OK(gr_node_set_int(c->g, 0, name, ints[0], &err));
    else if (p->kind == GR_PARAM_FLOAT)
        OK(gr_node_set_float(c->g, 0, name, floats[0], &err));
    else if (p->kind == GR_PARAM_INTS)
        OK(gr_node_set_ints(c->g, 0, name, n, ints, &err));
    else if (p->kind == GR_PARAM_FLOATS)
        OK(gr_node_add_attr(c->g, 0, &list, &err));
    else
        OK(gr_node_set_string(c->g, 0, name, text, &err));
}

static void infer(struct op_case *c, const char *line)
{
    struct gr_type types[OP_CASE_PORTS];
    struct gr_inferred r = {0};
    for (size_t i = 0; i < c->g->n_inputs; i++)
        types[i] = c->g->values[c->g->inputs[i]].type;
    OK(gr_graph_infer(c->g, types, 0, NULL, &r, &err));
    for (int i = 0; i < c->n_out; i++) {
        const struct gr_type *t = &r.type[c->node->out[i]];
        double *v = gr_alloc_array((size_t)gr_shape_count(&t->shape), sizeof(double));
        c->out[i] = (struct gr_ref){t->dtype, t->shape, v};
    }
    gr_inferred_clear(&r);
}

void op_case_open(struct op_case *c, const char *line)
{
    char text[1000], *words[40], *save, *op_type;
    int n_words = 0, in[OP_CASE_PORTS], out[OP_CASE_PORTS], id;
    int64_t opset = 17;
    uint64_t seed = 7;
    *c = (struct op_case){.n_out = 1};
    snprintf(text, sizeof text, "%s", line);
    op_type = strtok_r(text, " \n", &save);
    for (char *w; n_words < 40 && (w = strtok_r(NULL, " \n", &save));)
        words[n_words++] = w;
    for (int i = 0; i < n_words; i++)
        if (!strncmp(words[i], "opset=", 6))
            opset = atoi(words[i] + 6);
    OK(gr_graph_new(&c->g, &err));
    OK(gr_graph_set_opset(c->g, "", opset, &err));
    const struct gr_op *op = gr_op_find("", op_type, opset);
    if (!op)
        fail_msg("%s: there is no operator %s", line, op_type);
    for (int i = 0; i < n_words && c->n_in < OP_CASE_PORTS; i++) {
        if (!strcmp(words[i], "-"))
            in[c->n_in] = -1;
        else if (words[i][1] == '=')
            add_input(c, line, words[i][0], words[i] + 2, &in[c->n_in], &seed);
        else
            continue;
        c->n_in++;
    }
    for (int i = 0; i < n_words; i++)
        if (!strncmp(words[i], "->", 2))
            c->n_out = atoi(words[i] + 2);
    for (int i = 0; i < c->n_out; i++) {
        char name[8];
        snprintf(name, sizeof name, "out%d", i);
        OK(gr_graph_value(c->g, name, &out[i], &err));
    }
    OK(gr_graph_add_node(c->g, op_type, "", "", c->n_in, in, c->n_out, out, &id, &err));
    for (int i = 0; i < c->n_out; i++) {
        struct gr_type t = {GR_UNKNOWN, {0}};
        OK(gr_graph_add_output(c->g, out[i], &t, &err));
    }
    for (int i = 0; i < n_words; i++) {
        char *eq = strchr(words[i], '=');
        if (eq && eq > words[i] + 1 && strncmp(words[i], "opset=", 6)) {
            *eq = 0;
            add_attr(c, line, op, words[i], eq + 1);
        }
    }
    OK(gr_graph_check(c->g, &err));
    OK(gr_graph_bind(c->g, &err));
    c->node = &c->g->nodes[0];
    infer(c, line);
    op_case_run(c, line);
}

void op_case_run(struct op_case *c, const char *line)
{
    for (int i = 0; i < c->n_out; i++) {
        size_t size = (size_t)gr_shape_count(&c->out[i].shape) * sizeof(double);
        if (size)
            memset(c->out[i].v, 0, size);
    }
    OK(c->node->op->ref(c->node, c->n_in, c->in, c->n_out, c->out, &err));
}

void op_case_close(struct op_case *c)
{
    for (int i = 0; i < OP_CASE_PORTS; i++) {
        gr_free(c->in[i].v);
        gr_free(c->out[i].v);
    }
    gr_graph_free(c->g);
}
