/* How is a network held together? */
#include "core/graph.h"
#include "base/mem.h"
#include "core/op.h"
#include <stdio.h>
#include <string.h>

static const char *plain_domain(const char *domain)
{
    return strcmp(domain, "ai.onnx") ? domain : "";
}

enum graft_status gr_graph_new(struct gr_graph **g, struct graft_error *err)
{
    *g = gr_alloc_zero(1, sizeof **g);
    if (!*g)
        return gr_error_nomem(err);
    (*g)->name = "";
    return GRAFT_OK;
}

void gr_graph_free(struct gr_graph *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (size_t k = 0; k < g->nodes[i].n_attrs; k++)
            gr_tensor_clear(&g->nodes[i].attrs[k].t);
    for (size_t i = 0; i < g->n_values; i++)
        gr_tensor_clear(&g->values[i].data);
    gr_free(g->nodes);
    gr_free(g->values);
    gr_free(g->inputs);
    gr_free(g->outputs);
    gr_names_clear(&g->value_ids);
    gr_arena_clear(&g->arena);
    gr_free(g);
}

enum graft_status gr_graph_copy(const struct gr_graph *g, struct gr_graph **out,
                                struct graft_error *err)
{
    struct gr_graph *c = NULL;
    int id;
    enum graft_status s = gr_graph_new(&c, err);
    if (s)
        return s;
    if (!(c->name = gr_arena_strdup(&c->arena, g->name)))
        s = gr_error_nomem(err);
    for (size_t i = 0; !s && i < g->n_opsets; i++)
        s = gr_graph_set_opset(c, g->opsets[i].domain, g->opsets[i].version, err);
    for (size_t i = 0; !s && i < g->n_values; i++) {
        const struct gr_value *v = &g->values[i];
        s = gr_graph_value(c, v->name, &id, err); /* same order, so ids agree */
        if (!s && gr_value_is_const(v))
            s = gr_graph_set_const(c, id, &v->data, err);
        if (!s) {
            c->values[id].type = v->type;
            c->values[id].has_shape = v->has_shape;
        }
    }
    for (size_t i = 0; !s && i < g->n_inputs; i++)
        s = gr_graph_add_input(c, g->inputs[i], &g->values[g->inputs[i]].type, err);
    for (size_t i = 0; !s && i < g->n_nodes; i++) {
        const struct gr_node *n = &g->nodes[i];
        s = gr_graph_add_node(c, n->op_type, n->domain, n->name, n->n_in, n->in, n->n_out, n->out,
                              &id, err);
        for (size_t k = 0; !s && k < n->n_attrs; k++)
            s = gr_node_add_attr(c, id, &n->attrs[k], err);
    }
    for (size_t i = 0; !s && i < g->n_outputs; i++)
        s = gr_graph_add_output(c, g->outputs[i], NULL, err); /* its type was copied above */
    if (!s)
        s = gr_graph_bind(c, err);
    if (s)
        gr_graph_free(c);
    else
        *out = c;
    return s;
}

int64_t gr_graph_get_opset(const struct gr_graph *g, const char *domain)
{
    for (size_t i = 0; i < g->n_opsets; i++)
        if (!strcmp(g->opsets[i].domain, plain_domain(domain)))
            return g->opsets[i].version;
    return 0;
}

enum graft_status gr_graph_set_opset(struct gr_graph *g, const char *domain, int64_t version,
                                     struct graft_error *err)
{
    const size_t max = sizeof g->opsets / sizeof *g->opsets;
    size_t i = 0;
    domain = plain_domain(domain);
    while (i < g->n_opsets && strcmp(g->opsets[i].domain, domain))
        i++;
    if (i == max)
        return gr_error(err, GRAFT_E_LIMIT, "more than %zu operator sets are imported", max);
    if (i == g->n_opsets) {
        const char *copy = gr_arena_strdup(&g->arena, domain);
        if (!copy)
            return gr_error_nomem(err);
        g->opsets[g->n_opsets++].domain = copy;
    }
    g->opsets[i].version = version;
    return GRAFT_OK;
}

int gr_graph_find_value(const struct gr_graph *g, const char *name)
{
    return (int)gr_names_find(&g->value_ids, name);
}

int gr_graph_find_node(const struct gr_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (!strcmp(g->nodes[i].name, name))
            return (int)i;
    return -1;
}

enum graft_status gr_graph_value(struct gr_graph *g, const char *name, int *id,
                                 struct graft_error *err)
{
    int found = gr_graph_find_value(g, name);
    if (found >= 0) {
        *id = found;
        return GRAFT_OK;
    }
    if (!*name)
        return gr_error(err, GRAFT_E_FORMAT, "a value has an empty name");
    if (g->n_values >= INT32_MAX / 2)
        return gr_error(err, GRAFT_E_LIMIT, "too many values");
    char *copy = gr_arena_strdup(&g->arena, name);
    if (!copy || !GR_GROW(g->values, g->n_values, g->cap_values) ||
        !gr_names_set(&g->value_ids, copy, (int64_t)g->n_values))
        return gr_error_nomem(err);
    g->values[g->n_values] = (struct gr_value){.name = copy, .producer = -1};
    *id = (int)g->n_values++;
    return GRAFT_OK;
}

const char *gr_graph_free_name(struct gr_graph *g, const char *base)
{
    if (gr_graph_find_value(g, base) < 0)
        return gr_arena_strdup(&g->arena, base);
    size_t size = strlen(base) + 24;
    char *name = gr_arena_alloc(&g->arena, size);
    for (unsigned i = 1; name; i++) {
        snprintf(name, size, "%s_%u", base, i);
        if (gr_graph_find_value(g, name) < 0)
            break;
    }
    return name;
}

static bool is_listed(const int *ids, size_t n, int id)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

enum graft_status gr_graph_add_input(struct gr_graph *g, int value, const struct gr_type *type,
                                     struct graft_error *err)
{
    struct gr_value *v = &g->values[value];
    if (is_listed(g->inputs, g->n_inputs, value) || v->producer >= 0 || gr_value_is_const(v))
        return gr_error(err, GRAFT_E_FORMAT, "graph input '%s' is defined twice", v->name);
    if (!GR_GROW(g->inputs, g->n_inputs, g->cap_inputs))
        return gr_error_nomem(err);
    g->inputs[g->n_inputs++] = value;
    v->type = *type;
    v->has_shape = true;
    return GRAFT_OK;
}

enum graft_status gr_graph_add_output(struct gr_graph *g, int value, const struct gr_type *type,
                                      struct graft_error *err)
{
    struct gr_value *v = &g->values[value];
    if (is_listed(g->outputs, g->n_outputs, value))
        return gr_error(err, GRAFT_E_FORMAT, "graph output '%s' is listed twice", v->name);
    if (!GR_GROW(g->outputs, g->n_outputs, g->cap_outputs))
        return gr_error_nomem(err);
    g->outputs[g->n_outputs++] = value;
    if (type) {
        v->type = *type;
        v->has_shape = true;
    }
    return GRAFT_OK;
}

enum graft_status gr_graph_set_const(struct gr_graph *g, int value, const struct gr_tensor *t,
                                     struct graft_error *err)
{
    struct gr_value *v = &g->values[value];
    if (v->producer >= 0)
        return gr_error(err, GRAFT_E_FORMAT, "'%s' is both a constant and a node's output",
                        v->name);
    gr_tensor_clear(&v->data);
    v->data = gr_tensor_ref(t);
    v->type = (struct gr_type){t->dtype, t->shape};
    v->has_shape = true;
    return GRAFT_OK;
}

static void forget_producer(struct gr_graph *g, int n, const int *values)
{
    for (int i = 0; i < n; i++)
        if (values[i] >= 0)
            g->values[values[i]].producer = -1;
}

enum graft_status gr_graph_add_node(struct gr_graph *g, const char *op_type, const char *domain,
                                    const char *name, int n_in, const int *in, int n_out,
                                    const int *out, int *id, struct graft_error *err)
{
    if (n_in > GR_MAX_ARITY || n_out > GR_MAX_ARITY)
        return gr_error(err, GRAFT_E_LIMIT, "%s '%s' has %d inputs and %d outputs, limit is %d",
                        op_type, name, n_in, n_out, GR_MAX_ARITY);
    for (int i = 0; i < n_out; i++) {
        if (out[i] < 0)
            continue;
        struct gr_value *v = &g->values[out[i]];
        if (v->producer >= 0 || gr_value_is_const(v) || is_listed(g->inputs, g->n_inputs, out[i])) {
            forget_producer(g, i, out);
            return gr_error(err, GRAFT_E_FORMAT, "'%s' is produced a second time by %s '%s'",
                            v->name, op_type, name);
        }
        v->producer = (int)g->n_nodes;
    }
    struct gr_node n = {.n_in = n_in, .n_out = n_out};
    n.op_type = gr_arena_strdup(&g->arena, op_type);
    n.domain = gr_arena_strdup(&g->arena, plain_domain(domain));
    n.name = gr_arena_strdup(&g->arena, name);
    n.in = gr_arena_copy(&g->arena, in, (size_t)n_in * sizeof *in);
    n.out = gr_arena_copy(&g->arena, out, (size_t)n_out * sizeof *out);
    if (!n.op_type || !n.domain || !n.name || !n.in || !n.out ||
        !GR_GROW(g->nodes, g->n_nodes, g->cap_nodes)) {
        forget_producer(g, n_out, out);
        return gr_error_nomem(err);
    }
    *id = (int)g->n_nodes;
    g->nodes[g->n_nodes++] = n;
    return GRAFT_OK;
}

enum graft_status gr_node_add_attr(struct gr_graph *g, int node, const struct gr_attr *a,
                                   struct graft_error *err)
{
    struct gr_node *n = &g->nodes[node];
    if (gr_node_find_attr(n, a->name))
        return gr_error(err, GRAFT_E_FORMAT, "attribute '%s' is given twice", a->name);
    if (n->n_attrs == n->cap_attrs) {
        size_t cap = n->cap_attrs ? 2 * n->cap_attrs : 4;
        struct gr_attr *more = gr_arena_alloc(&g->arena, cap * sizeof *more);
        if (!more)
            return gr_error_nomem(err);
        if (n->n_attrs)
            memcpy(more, n->attrs, n->n_attrs * sizeof *more);
        n->attrs = more;
        n->cap_attrs = cap;
    }
    struct gr_attr c = *a;
    bool ok = (c.name = gr_arena_strdup(&g->arena, a->name)) != NULL;
    if (a->s)
        ok = ok && (c.s = gr_arena_strndup(&g->arena, a->s, a->s_size));
    if (a->ints)
        ok = ok && (c.ints = gr_arena_copy(&g->arena, a->ints, a->n * sizeof *a->ints));
    if (a->floats)
        ok = ok && (c.floats = gr_arena_copy(&g->arena, a->floats, a->n * sizeof *a->floats));
    if (a->strings) {
        const char **list = gr_arena_alloc(&g->arena, a->n * sizeof *list);
        ok = ok && list;
        for (size_t i = 0; ok && i < a->n; i++)
            ok = (list[i] = gr_arena_strdup(&g->arena, a->strings[i])) != NULL;
        c.strings = list;
    }
    if (!ok)
        return gr_error_nomem(err);
    c.t = gr_tensor_ref(&a->t);
    n->attrs[n->n_attrs++] = c;
    return GRAFT_OK;
}

enum graft_status gr_node_set_int(struct gr_graph *g, int node, const char *name, int64_t v,
                                  struct graft_error *err)
{
    struct gr_attr a = {.name = name, .type = GR_ATTR_INT, .i = v};
    return gr_node_add_attr(g, node, &a, err);
}

enum graft_status gr_node_set_float(struct gr_graph *g, int node, const char *name, float v,
                                    struct graft_error *err)
{
    struct gr_attr a = {.name = name, .type = GR_ATTR_FLOAT, .f = v};
    return gr_node_add_attr(g, node, &a, err);
}

enum graft_status gr_node_set_ints(struct gr_graph *g, int node, const char *name, size_t n,
                                   const int64_t *v, struct graft_error *err)
{
    struct gr_attr a = {.name = name, .type = GR_ATTR_INTS, .n = n, .ints = v};
    return gr_node_add_attr(g, node, &a, err);
}

enum graft_status gr_node_set_string(struct gr_graph *g, int node, const char *name, const char *s,
                                     struct graft_error *err)
{
    struct gr_attr a = {.name = name, .type = GR_ATTR_STRING, .s = s, .s_size = strlen(s)};
    return gr_node_add_attr(g, node, &a, err);
}

const struct gr_attr *gr_node_find_attr(const struct gr_node *n, const char *name)
{
    for (size_t i = 0; i < n->n_attrs; i++)
        if (!strcmp(n->attrs[i].name, name))
            return &n->attrs[i];
    return NULL;
}

const char *gr_node_print(const struct gr_graph *g, int node, char *text, size_t size)
{
    const struct gr_node *n = &g->nodes[node];
    snprintf(text, size, "node %d '%s' (%s)", node, n->name, n->op_type);
    return text;
}

/* Depth-first from node `root`, iteratively: a node is placed after all its producers, and
   producers in the order of inputs, so a sorted graph keeps its order. */
static enum graft_status place(const struct gr_graph *g, int root, unsigned char *state, int *stack,
                               int *next_in, int *order, size_t *n_placed, struct graft_error *err)
{
    enum { NEW, OPEN, PLACED };
    size_t depth = 0;
    stack[0] = root;
    next_in[0] = 0;
    state[root] = OPEN;
    for (;;) {
        const struct gr_node *n = &g->nodes[stack[depth]];
        int p = -1;
        while (next_in[depth] < n->n_in && p < 0) {
            int v = n->in[next_in[depth]++];
            p = v >= 0 ? g->values[v].producer : -1;
            if (p >= 0 && state[p] == PLACED)
                p = -1;
        }
        if (p >= 0 && state[p] == OPEN) {
            char text[256];
            return gr_error(err, GRAFT_E_FORMAT, "%s depends on its own output",
                            gr_node_print(g, p, text, sizeof text));
        }
        if (p >= 0) {
            state[p] = OPEN;
            depth++;
            stack[depth] = p;
            next_in[depth] = 0;
            continue;
        }
        state[stack[depth]] = PLACED;
        order[(*n_placed)++] = stack[depth];
        if (depth-- == 0)
            return GRAFT_OK;
    }
}

enum graft_status gr_graph_check(struct gr_graph *g, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    unsigned char *state = gr_alloc_zero(g->n_nodes, 1);
    int *stack = gr_alloc_array(g->n_nodes, sizeof *stack);
    int *next_in = gr_alloc_array(g->n_nodes, sizeof *next_in);
    int *order = gr_alloc_array(g->n_nodes, sizeof *order);
    struct gr_node *sorted = gr_alloc_array(g->n_nodes, sizeof *sorted);
    bool *given = gr_alloc_zero(g->n_values, sizeof *given);
    char text[256];
    size_t n = 0;
    if (!state || !stack || !next_in || !order || !sorted || !given) {
        s = gr_error_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < g->n_inputs; i++)
        given[g->inputs[i]] = true;
    for (size_t i = 0; !s && i < g->n_nodes; i++)
        for (int k = 0; !s && k < g->nodes[i].n_in; k++) {
            int v = g->nodes[i].in[k];
            if (v >= 0 && g->values[v].producer < 0 && !gr_value_is_const(&g->values[v]) &&
                !given[v])
                s = gr_error(err, GRAFT_E_FORMAT, "%s reads '%s', which nothing produces",
                             gr_node_print(g, (int)i, text, sizeof text), g->values[v].name);
        }
    for (size_t i = 0; !s && i < g->n_outputs; i++) {
        int v = g->outputs[i];
        if (g->values[v].producer < 0 && !gr_value_is_const(&g->values[v]) && !given[v])
            s = gr_error(err, GRAFT_E_FORMAT, "nothing produces the graph output '%s'",
                         g->values[v].name);
    }
    for (size_t i = 0; !s && i < g->n_nodes; i++)
        if (!state[i])
            s = place(g, (int)i, state, stack, next_in, order, &n, err);
    if (s)
        goto out;
    for (size_t i = 0; i < n; i++)
        sorted[i] = g->nodes[order[i]];
    if (n)
        memcpy(g->nodes, sorted, n * sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < g->nodes[i].n_out; k++)
            if (g->nodes[i].out[k] >= 0)
                g->values[g->nodes[i].out[k]].producer = (int)i;
out:
    gr_free(state);
    gr_free(stack);
    gr_free(next_in);
    gr_free(order);
    gr_free(sorted);
    gr_free(given);
    return s;
}

enum graft_status gr_graph_bind(struct gr_graph *g, struct graft_error *err)
{
    char text[256];
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct gr_node *n = &g->nodes[i];
        if (n->op)
            continue;
        n->opset = gr_graph_get_opset(g, n->domain);
        n->op = gr_op_find(n->domain, n->op_type, n->opset);
        if (!n->op)
            continue;
        enum graft_status s = GRAFT_OK;
        if (n->n_in < n->op->min_in || n->n_in > n->op->max_in || n->n_out < n->op->min_out ||
            n->n_out > n->op->max_out)
            s = gr_error(err, GRAFT_E_FORMAT,
                         "has %d inputs and %d outputs, expected %d to %d and %d to %d", n->n_in,
                         n->n_out, n->op->min_in, n->op->max_in, n->op->min_out, n->op->max_out);
        if (!s)
            s = gr_op_read_params(n->op, n, &g->arena, &n->params, err);
        if (s) {
            n->op = NULL;
            return gr_error_in(err, s, "%s", gr_node_print(g, (int)i, text, sizeof text));
        }
    }
    return GRAFT_OK;
}
