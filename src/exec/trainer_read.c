/* Which constants does a trainer take over, and which types has every value? */
#include "base/mem.h"
#include "exec/trainer_steps.h"
#include <math.h>

/* In GR_BN_FROZEN scale and bias of a batch-norm are not trained even where asked for. */
static bool is_frozen(const struct gr_trainer *t, const struct gr_graph *g, int value)
{
    for (size_t i = 0; t->options.bn == GR_BN_FROZEN && i < g->n_nodes; i++)
        if (train_is_bn(&g->nodes[i]) && (g->nodes[i].in[1] == value || g->nodes[i].in[2] == value))
            return true;
    return false;
}

enum graft_status train_read_params(struct gr_trainer *t, const struct gr_graph *g, size_t n,
                                    const int *ids, struct graft_error *err)
{
    t->params = gr_alloc_zero(n + 1, sizeof *t->params);
    if (!t->params)
        return gr_error_nomem(err);
    for (size_t i = 0; i < n; i++) {
        bool known = false;
        if (ids[i] < 0 || (size_t)ids[i] >= g->n_values)
            return gr_error(err, GRAFT_E_ARG, "there is no value %d", ids[i]);
        const struct gr_value *v = &g->values[ids[i]];
        if (!gr_value_is_const(v) || v->data.dtype != GR_F32)
            return gr_error(err, GRAFT_E_ARG, "'%s' cannot be trained: it is %s, expected a %s",
                            v->name,
                            gr_value_is_const(v) ? gr_dtype_name(v->data.dtype) : "computed",
                            "float32 constant");
        for (size_t k = 0; k < t->n_params; k++)
            known = known || t->params[k].value == ids[i];
        if (known || is_frozen(t, g, ids[i]))
            continue;
        struct gr_trainer_param *p = &t->params[t->n_params++];
        *p = (struct gr_trainer_param){ids[i], v->name, v->data.shape, t->size,
                                       (size_t)gr_tensor_count(&v->data)};
        t->size += p->count;
    }
    t->master = gr_alloc_aligned((t->size + 16) * sizeof *t->master, true);
    if (!t->master)
        return gr_error_nomem(err);
    for (size_t i = 0; i < t->n_params; i++)
        memcpy(t->master + t->params[i].offset, g->values[t->params[i].value].data.data,
               t->params[i].count * sizeof *t->master);
    return GRAFT_OK;
}

enum graft_status train_read_types(struct gr_trainer *t, const struct gr_graph *g, int output,
                                   const struct gr_shape *shapes, struct graft_error *err)
{
    struct gr_graph *c = t->graph;
    struct gr_type *types = gr_alloc_zero(g->n_inputs + t->n_params + 1, sizeof *types);
    enum graft_status s = types ? GRAFT_OK : gr_error_nomem(err);
    for (size_t i = 0; !s && i < g->n_inputs; i++) {
        types[i] = g->values[g->inputs[i]].type;
        if (shapes)
            types[i].shape = shapes[i];
        else if (types[i].shape.rank > 0)
            types[i].shape.dim[0] = t->options.batch;
        char text[GR_SHAPE_TEXT];
        if (!gr_dtype_size(types[i].dtype) || gr_shape_count(&types[i].shape) < 0)
            s = gr_error(err, GRAFT_E_SHAPE, "input '%s' has no complete shape: %s %s",
                         g->values[g->inputs[i]].name, gr_dtype_name(types[i].dtype),
                         gr_shape_print(&types[i].shape, text));
    }
    for (size_t i = 0; !s && i < t->n_params; i++) {
        int v = t->params[i].value;
        types[g->n_inputs + i] = (struct gr_type){GR_F32, t->params[i].shape};
        gr_tensor_clear(&c->values[v].data);
        s = gr_graph_add_input(c, v, &types[g->n_inputs + i], err);
    }
    if (!s)
        s = gr_graph_infer(c, types, 1, &output, &t->types, err);
    gr_free(types);
    return s;
}

enum graft_status train_read_stats(struct gr_trainer *t, const bool *diff, struct graft_error *err)
{
    const struct gr_graph *g = t->graph;
    t->stats = gr_alloc_zero(g->n_nodes + 1, sizeof *t->stats);
    if (!t->stats)
        return gr_error_nomem(err);
    for (size_t i = 0; t->options.bn == GR_BN_TRAIN && i < g->n_nodes; i++) {
        const struct gr_node *n = &g->nodes[i];
        if (!diff[i] || !train_is_bn(n))
            continue;
        if (!gr_value_is_const(&g->values[n->in[3]]) || !gr_value_is_const(&g->values[n->in[4]]))
            return gr_error(err, GRAFT_E_UNSUPPORTED, "'%s': its statistics are not constant",
                            n->name);
        struct train_stats *s = &t->stats[t->n_stats++];
        *s = (struct train_stats){n->in[3], n->in[4], t->stats_size,
                                  (size_t)gr_tensor_count(&g->values[n->in[3]].data)};
        t->stats_size += 2 * s->count;
    }
    t->running = gr_alloc_aligned((t->stats_size + 16) * sizeof *t->running, true);
    if (!t->running)
        return gr_error_nomem(err);
    for (size_t i = 0; i < t->n_stats; i++)
        for (int k = 0; k < 2; k++) {
            const struct gr_tensor *v = &g->values[k ? t->stats[i].var : t->stats[i].mean].data;
            float *to = t->running + t->stats[i].offset + (k ? t->stats[i].count : 0);
            for (size_t c = 0; c < t->stats[i].count; c++)
                to[c] = (float)gr_load_f64(v->dtype, v->data, c);
        }
    return GRAFT_OK;
}

static const struct gr_tensor *konst_of(const struct gr_trainer *t, int v)
{
    return v >= 0 && t->types.konst[v].buf ? &t->types.konst[v] : NULL;
}

static bool bound_of(const struct gr_trainer *t, const struct gr_node *n, int input,
                     const char *name, float *v)
{
    const struct gr_tensor *c = input < n->n_in ? konst_of(t, n->in[input]) : NULL;
    *v = gr_node_get_float(n, name, *v);
    if (c && gr_tensor_count(c) == 1)
        *v = (float)gr_load_f64(c->dtype, c->data, 0);
    return c || input >= n->n_in || n->in[input] < 0;
}

bool train_read_act(const struct gr_trainer *t, const struct gr_node *n, struct gr_act *a)
{
    *a = (struct gr_act){GR_ACT_CLIP, 0, INFINITY};
    if (gr_node_is(n, "Relu"))
        return true;
    a->a = -INFINITY;
    return gr_node_is(n, "Clip") && bound_of(t, n, 1, "min", &a->a) &&
           bound_of(t, n, 2, "max", &a->b);
}
