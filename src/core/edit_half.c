/* How are weights kept in half the bytes? */
#include "base/mem.h"
#include "core/edit.h"
#include <math.h>
#include <string.h>

enum graft_status gr_graph_fold_half(struct gr_graph *g, size_t *n, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    int *full = gr_alloc_array(g->n_values, sizeof *full); /* the value that has it in float32 */
    *n = 0;
    if (!full)
        return gr_error_nomem(err);
    for (size_t v = 0; v < g->n_values; v++)
        full[v] = -1;
    for (size_t i = 0; !s && i < g->n_nodes; i++) {
        const struct gr_node *c = &g->nodes[i];
        const bool cast =
            !*c->domain && !strcmp(c->op_type, "Cast") && c->n_in == 1 && c->n_out == 1;
        const struct gr_attr *to = cast ? gr_node_find_attr(c, "to") : NULL;
        struct gr_tensor t = {0};
        if (!to || to->type != GR_ATTR_INT || to->i != GR_F32 || c->in[0] < 0 || c->out[0] < 0 ||
            g->values[c->in[0]].data.dtype != GR_F16 || !gr_value_is_const(&g->values[c->in[0]]))
            continue;
        if (full[c->in[0]] < 0)
            s = gr_tensor_convert(&g->values[c->in[0]].data, GR_F32, &t, err);
        else /* many casts of one constant take no more room than one */
            t = gr_tensor_ref(&g->values[full[c->in[0]]].data);
        full[c->in[0]] = c->out[0];
        g->values[c->out[0]].producer = -1;
        if (!s)
            s = gr_graph_set_const(g, c->out[0], &t, err);
        gr_tensor_clear(&t);
        ++*n;
    }
    gr_free(full);
    if (s || !*n)
        return s;
    int *outputs = gr_alloc_array(g->n_outputs, sizeof *outputs);
    if (!outputs)
        return gr_error_nomem(err);
    memcpy(outputs, g->outputs, g->n_outputs * sizeof *outputs);
    s = gr_graph_cut(g, g->n_outputs, outputs, err); /* without the casts */
    gr_free(outputs);
    return s;
}

bool gr_tensor_can_halve(const struct gr_tensor *t)
{
    return t->buf && t->dtype == GR_F32 && t->shape.rank >= 2;
}

enum graft_status gr_tensor_halve(const struct gr_tensor *t, const char *name,
                                  struct gr_tensor *half, struct graft_error *err)
{
    for (int64_t i = 0, n = gr_tensor_count(t); i < n; i++) {
        double x = gr_load_f64(GR_F32, t->data, (size_t)i);
        if (fabs(x) > 65504)
            return gr_error(err, GRAFT_E_COMPUTE, "'%s' holds %g, half precision ends at 65504",
                            name, x);
    }
    return gr_tensor_convert(t, GR_F16, half, err);
}

/* x becomes Cast(x in half precision); readers of x need no change. */
static enum graft_status halve(struct gr_graph *g, int value, struct graft_error *err)
{
    struct gr_tensor half = {0}, full = gr_tensor_ref(&g->values[value].data);
    const char *name = gr_graph_free_name(g, g->values[value].name);
    int from, node;
    enum graft_status s =
        name ? gr_tensor_halve(&full, g->values[value].name, &half, err) : gr_error_nomem(err);
    if (!s)
        s = gr_graph_value(g, name, &from, err);
    if (!s)
        s = gr_graph_set_const(g, from, &half, err);
    if (!s) {
        gr_tensor_clear(&g->values[value].data);
        s = gr_graph_add_node(g, "Cast", "", g->values[value].name, 1, &from, 1, &value, &node,
                              err);
    }
    if (!s)
        s = gr_node_set_int(g, node, "to", GR_F32, err);
    gr_tensor_clear(&half);
    gr_tensor_clear(&full);
    return s;
}

enum graft_status gr_graph_store_half(struct gr_graph *g, size_t *n, struct graft_error *err)
{
    const size_t n_values = g->n_values;
    enum graft_status s = GRAFT_OK;
    *n = 0;
    for (size_t v = 0; !s && v < n_values; v++) {
        if (!gr_tensor_can_halve(&g->values[v].data))
            continue;
        s = halve(g, (int)v, err);
        ++*n;
    }
    if (!s && *n)
        s = gr_graph_check(g, err);
    return s || !*n ? s : gr_graph_bind(g, err);
}
