/* Where can a network be cut, and how? */
#include "core/edit.h"
#include "base/mem.h"
#include "core/op.h"
#include <string.h>

static bool op_is(const struct gr_node *n, const char *const *names)
{
    if (*n->domain)
        return false;
    for (; *names; names++)
        if (!strcmp(n->op_type, *names))
            return true;
    return false;
}

static bool is_const(const struct gr_inferred *types, int v)
{
    return v >= 0 && types->konst[v].buf;
}

/* The number of classes that a Gemm, MatMul or pointwise Conv with a constant weight gives; 0 when
   the node is nothing of the kind. */
static int classifier_width(const struct gr_node *n, const struct gr_inferred *types)
{
    static const char *const linear[] = {"Gemm", "MatMul", NULL}, *const conv[] = {"Conv", NULL};
    if (n->n_in < 2 || !is_const(types, n->in[1]))
        return 0;
    const struct gr_shape *w = &types->type[n->in[1]].shape, *y = &types->type[n->out[0]].shape;
    if (op_is(n, linear) && w->rank == 2 && y->rank >= 2)
        return (int)y->dim[y->rank - 1];
    if (op_is(n, conv) && w->rank == 4 && w->dim[2] == 1 && w->dim[3] == 1)
        return (int)w->dim[0];
    return 0;
}

enum graft_status gr_graph_find_head(const struct gr_graph *g, const struct gr_inferred *types,
                                     struct gr_head_site *site, struct graft_error *err)
{
    static const char *const through[] = {"Softmax",           "LogSoftmax", "Flatten",   "Reshape",
                                          "Squeeze",           "Unsqueeze",  "Identity",  "Dropout",
                                          "GlobalAveragePool", "Relu",       "Sigmoid",   "Cast",
                                          "AveragePool",       "ReduceMean", "Transpose", NULL};
    static const char *const affine[] = {"Add", "Sub", "Mul", "Div", NULL};
    if (!g->n_outputs)
        return gr_error(err, GRAFT_E_FORMAT, "the network has no output");
    int v = g->outputs[0];
    const struct gr_shape *y = &types->type[v].shape;
    *site = (struct gr_head_site){.node = -1, .features = v};
    if (y->rank < 2 || gr_shape_count_range(y, 2, y->rank) != 1)
        return GRAFT_OK; /* a feature map or a single number: no classifier on top */
    while (g->values[v].producer >= 0) {
        int id = g->values[v].producer;
        const struct gr_node *n = &g->nodes[id];
        int width = classifier_width(n, types);
        if (width) {
            *site = (struct gr_head_site){id, n->in[0], width};
            return GRAFT_OK;
        }
        if (op_is(n, through)) {
            v = n->in[0];
        } else if (op_is(n, affine) && is_const(types, n->in[1])) {
            v = n->in[0];
        } else if (op_is(n, affine) && is_const(types, n->in[0])) {
            v = n->in[1];
        } else {
            break;
        }
    }
    return GRAFT_OK;
}

enum graft_status gr_graph_cut_points(const struct gr_graph *g, const struct gr_inferred *types,
                                      int **cuts, size_t *n, struct graft_error *err)
{
    size_t *last_use = /* node id + 1 */
        gr_alloc_zero(g->n_values, sizeof *last_use);
    unsigned char *needed = gr_alloc_zero(g->n_nodes, 1);
    int *list = gr_alloc_array(g->n_nodes, sizeof *list);
    if (!last_use || !needed || !list) {
        gr_free(last_use);
        gr_free(needed);
        gr_free(list);
        return gr_error_nomem(err);
    }
    gr_graph_needed(g, g->n_outputs ? 1 : 0, g->outputs, needed);
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; needed[i] && k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0)
                last_use[g->nodes[i].in[k]] = i + 1;
    size_t live = 0, found = 0;
    for (size_t i = 0; i < g->n_inputs; i++)
        live += last_use[g->inputs[i]] > 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct gr_node *node = &g->nodes[i];
        if (!needed[i])
            continue;
        for (int k = 0; k < node->n_out; k++) {
            int v = node->out[k];
            live += v >= 0 && !is_const(types, v) && (last_use[v] > i + 1 || v == g->outputs[0]);
        }
        for (int k = 0; k < node->n_in; k++) {
            int v = node->in[k];
            bool again = false; /* the same value twice among the inputs dies once */
            for (int j = 0; j < k; j++)
                again = again || node->in[j] == v;
            live -= v >= 0 && !again && !is_const(types, v) && last_use[v] == i + 1;
        }
        if (live == 1 && node->out[0] >= 0 && !is_const(types, node->out[0]) &&
            (last_use[node->out[0]] > i + 1 || node->out[0] == g->outputs[0]))
            list[found++] = node->out[0];
    }
    gr_free(last_use);
    gr_free(needed);
    *cuts = list;
    *n = found;
    return GRAFT_OK;
}

static bool same_resolution(const struct gr_shape *a, const struct gr_shape *b)
{
    if (a->rank != b->rank)
        return false;
    return a->rank != 4 || (a->dim[2] == b->dim[2] && a->dim[3] == b->dim[3]);
}

/* Adds the weights that nodes first..last use for the first time. */
static void count_weights(const struct gr_graph *g, struct gr_stage *s, size_t last, bool *counted)
{
    for (; s->last <= last; s->last++)
        for (int k = 0; k < g->nodes[s->last].n_in; k++) {
            int v = g->nodes[s->last].in[k];
            if (v < 0 || counted[v] || !gr_value_is_const(&g->values[v]))
                continue;
            const struct gr_tensor *t = &g->values[v].data;
            if (t->dtype != GR_F32 && t->dtype != GR_F16 && t->dtype != GR_BF16 &&
                t->dtype != GR_F64)
                continue;
            counted[v] = true;
            s->n_params += gr_tensor_count(t);
            s->n_weight_bytes += (int64_t)t->size;
        }
    s->last = last;
}

enum graft_status gr_graph_stages(const struct gr_graph *g, const struct gr_inferred *types,
                                  struct gr_stage **stages, size_t *n, struct graft_error *err)
{
    int *cuts = NULL;
    size_t n_cuts = 0, found = 0;
    bool *counted = gr_alloc_zero(g->n_values, sizeof *counted);
    enum graft_status s =
        counted ? gr_graph_cut_points(g, types, &cuts, &n_cuts, err) : gr_error_nomem(err);
    struct gr_stage *list = s ? NULL : gr_alloc_zero(n_cuts, sizeof *list);
    if (!s && !list)
        s = gr_error_nomem(err);
    struct gr_stage now = {0};
    for (size_t i = 0; !s && i < n_cuts; i++) {
        bool last = i + 1 == n_cuts;
        if (!last && same_resolution(&types->type[cuts[i]].shape, &types->type[cuts[i + 1]].shape))
            continue;
        count_weights(g, &now, (size_t)g->values[cuts[i]].producer, counted);
        now.cut = cuts[i];
        if (now.n_params || (last && !found)) {
            list[found++] = now;
            now = (struct gr_stage){.first = now.last + 1, .last = now.last + 1};
        } else if (last) { /* what follows the last weight belongs to its stage */
            list[found - 1].cut = now.cut;
            list[found - 1].last = now.last;
        }
    }
    gr_free(cuts);
    gr_free(counted);
    if (s) {
        gr_free(list);
        return s;
    }
    *stages = list;
    *n = found;
    return GRAFT_OK;
}

enum graft_status gr_graph_cut(struct gr_graph *g, size_t n, const int *values,
                               struct graft_error *err)
{
    unsigned char *needed = gr_alloc_zero(g->n_nodes, 1);
    int *outputs = gr_alloc_array(n, sizeof *outputs);
    if (!needed || !outputs) {
        gr_free(needed);
        gr_free(outputs);
        return gr_error_nomem(err);
    }
    memcpy(outputs, values, n * sizeof *outputs);
    gr_free(g->outputs);
    g->outputs = outputs;
    g->n_outputs = g->cap_outputs = n;
    gr_graph_needed(g, n, values, needed);
    size_t kept = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct gr_node *node = &g->nodes[i];
        int producer = needed[i] ? (int)kept : -1;
        for (int k = 0; k < node->n_out; k++)
            if (node->out[k] >= 0)
                g->values[node->out[k]].producer = producer;
        for (size_t k = 0; !needed[i] && k < node->n_attrs; k++)
            gr_tensor_clear(&node->attrs[k].t);
        if (needed[i])
            g->nodes[kept++] = *node;
    }
    g->n_nodes = kept;
    gr_free(needed);
    return GRAFT_OK;
}

enum graft_status gr_graph_keep_above(struct gr_graph *g, int value, const struct gr_type *type,
                                      struct graft_error *err)
{
    int *outputs = gr_alloc_array(g->n_outputs, sizeof *outputs);
    if (!outputs)
        return gr_error_nomem(err);
    memcpy(outputs, g->outputs, g->n_outputs * sizeof *outputs);
    int producer = g->values[value].producer;
    for (int k = 0; producer >= 0 && k < g->nodes[producer].n_out; k++)
        if (g->nodes[producer].out[k] == value)
            g->nodes[producer].out[k] = -1;
    g->values[value].producer = -1;
    g->n_inputs = 0;
    enum graft_status s = gr_graph_add_input(g, value, type, err);
    if (!s)
        s = gr_graph_cut(g, g->n_outputs, outputs, err);
    gr_free(outputs);
    return s;
}

/* A value of that name that nothing uses any more is taken over, else the name gets a number. */
static enum graft_status new_value(struct gr_graph *g, const char *name, int *id,
                                   struct graft_error *err)
{
    int v = gr_graph_find_value(g, name);
    bool in_use = v >= 0 && (g->values[v].producer >= 0 || gr_value_is_const(&g->values[v]));
    for (size_t i = 0; v >= 0 && i < g->n_inputs; i++)
        in_use = in_use || g->inputs[i] == v;
    const char *unique = in_use ? gr_graph_free_name(g, name) : name;
    if (!unique)
        return gr_error_nomem(err);
    enum graft_status s = gr_graph_value(g, unique, id, err);
    if (!s) {
        g->values[*id].type = (struct gr_type){GR_UNKNOWN, {0}};
        g->values[*id].has_shape = false;
    }
    return s;
}

enum graft_status gr_graph_append(struct gr_graph *g, const char *op_type, const char *name,
                                  int n_in, const int *in, int *node, int *out,
                                  struct graft_error *err)
{
    int id; /* `out` may be where `in` is */
    enum graft_status s = new_value(g, name, &id, err);
    if (!s)
        s = gr_graph_add_node(g, op_type, "", name, n_in, in, 1, &id, node, err);
    if (!s)
        *out = id;
    return s;
}

enum graft_status gr_graph_append_const(struct gr_graph *g, const char *name, enum gr_dtype dtype,
                                        const struct gr_shape *shape, const void *data, int *out,
                                        struct graft_error *err)
{
    struct gr_tensor t = {0};
    enum graft_status s = gr_tensor_from(dtype, shape, data, &t, err);
    if (!s)
        s = new_value(g, name, out, err);
    if (!s)
        s = gr_graph_set_const(g, *out, &t, err);
    gr_tensor_clear(&t);
    return s;
}

/* (N,C,H,W) or (N,T,D) or (N,D) -> (N,C) or (N,D) */
static enum graft_status pool_one(struct gr_graph *g, const struct gr_shape *shape, int value,
                                  int *out, int64_t *width, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    char text[GR_SHAPE_TEXT];
    int node, v = value;
    if (shape->rank == 3) {
        const int64_t axis = 1;
        struct gr_shape one = gr_shape_of(1, 1);
        int in[2] = {v, -1}, n_in = 1;
        if (gr_graph_get_opset(g, "") >= 18) {
            n_in = 2;
            s = gr_graph_append_const(g, "features_axis", GR_I64, &one, &axis, &in[1], err);
        }
        if (!s)
            s = gr_graph_append(g, "ReduceMean", "features", n_in, in, &node, &v, err);
        if (!s && n_in == 1)
            s = gr_node_set_ints(g, node, "axes", 1, &axis, err);
        if (!s)
            s = gr_node_set_int(g, node, "keepdims", 0, err);
        *width = shape->dim[2];
    } else if (shape->rank == 4) {
        if (shape->dim[2] != 1 || shape->dim[3] != 1)
            s = gr_graph_append(g, "GlobalAveragePool", "features_pool", 1, &v, &node, &v, err);
        if (!s)
            s = gr_graph_append(g, "Flatten", "features", 1, &v, &node, &v, err);
        *width = shape->dim[1];
    } else if (shape->rank == 2) {
        *width = shape->dim[1];
    } else {
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "'%s' has shape %s; features are taken from (N,D), (N,T,D) or (N,C,H,W)",
                        g->values[value].name, gr_shape_print(shape, text));
    }
    if (!s)
        *out = v;
    return s;
}

enum graft_status gr_graph_pool_features(struct gr_graph *g, const struct gr_inferred *types,
                                         size_t n, const int *values, int *features,
                                         int64_t *n_features, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    int *parts = gr_alloc_array(n, sizeof *parts), node;
    int64_t total = 0, width = 0;
    if (!parts)
        return gr_error_nomem(err);
    for (size_t i = 0; !s && i < n; i++) {
        s = pool_one(g, &types->type[values[i]].shape, values[i], &parts[i], &width, err);
        total += width;
    }
    int out = parts[0];
    if (!s && n > 1) {
        s = gr_graph_append(g, "Concat", "features", (int)n, parts, &node, &out, err);
        if (!s)
            s = gr_node_set_int(g, node, "axis", 1, err);
    }
    if (!s)
        s = gr_graph_cut(g, 1, &out, err);
    if (!s)
        s = gr_graph_bind(g, err);
    if (!s) {
        *features = out;
        *n_features = total;
    }
    gr_free(parts);
    return s;
}

/* The types of all values when every input's first dimension is `batch`. */
static enum graft_status infer_batch(const struct gr_graph *g, int64_t batch,
                                     struct gr_inferred *out, struct graft_error *err)
{
    struct gr_type *types = gr_alloc_array(g->n_inputs, sizeof *types);
    if (!types)
        return gr_error_nomem(err);
    for (size_t i = 0; i < g->n_inputs; i++) {
        types[i] = g->values[g->inputs[i]].type;
        if (types[i].shape.rank)
            types[i].shape.dim[0] = batch;
    }
    enum graft_status s = gr_graph_infer(g, types, g->n_outputs, g->outputs, out, err);
    gr_free(types);
    return s;
}

static enum graft_status prove_batch(const struct gr_graph *g, struct graft_error *err)
{
    struct gr_inferred a = {0}, b = {0};
    enum graft_status s = infer_batch(g, 1, &a, err);
    if (!s)
        s = infer_batch(g, 3, &b, err);
    for (size_t i = 0; !s && i < g->n_outputs; i++) {
        struct gr_shape x = a.type[g->outputs[i]].shape, y = b.type[g->outputs[i]].shape;
        char tx[GR_SHAPE_TEXT], ty[GR_SHAPE_TEXT];
        bool free_batch = x.rank > 0 && x.dim[0] == 1 && y.rank == x.rank && y.dim[0] == 3;
        if (free_batch)
            y.dim[0] = 1;
        if (!free_batch || !gr_shape_equal(&x, &y))
            s = gr_error(err, GRAFT_E_UNSUPPORTED,
                         "'%s' is %s for a batch of 1 and %s for 3: the batch size is fixed",
                         g->values[g->outputs[i]].name, gr_shape_print(&x, tx),
                         gr_shape_print(&y, ty));
    }
    gr_inferred_clear(&a);
    gr_inferred_clear(&b);
    return s;
}

/* Reshape to (1, ...) becomes Reshape to (0, ...), through a new constant. */
static enum graft_status free_reshapes(struct gr_graph *g, const struct gr_inferred *types,
                                       struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < g->n_nodes; i++) {
        struct gr_node *n = &g->nodes[i];
        if (strcmp(n->op_type, "Reshape") || *n->domain || n->n_in < 2 ||
            !is_const(types, n->in[1]) || is_const(types, n->in[0]) ||
            types->konst[n->in[1]].dtype != GR_I64)
            continue;
        const struct gr_tensor *shape = &types->konst[n->in[1]];
        const struct gr_shape *x = &types->type[n->in[0]].shape;
        if (!gr_tensor_count(shape) || gr_load_i64(GR_I64, shape->data, 0) != 1 || !x->rank ||
            x->dim[0] != 1)
            continue;
        struct gr_tensor t = {0};
        const char *name = gr_graph_free_name(g, g->values[n->in[1]].name);
        int id;
        s = name ? gr_tensor_from(GR_I64, &shape->shape, shape->data, &t, err)
                 : gr_error_nomem(err);
        if (!s) {
            ((int64_t *)gr_tensor_mut(&t))[0] = 0;
            s = gr_graph_value(g, name, &id, err);
        }
        if (!s)
            s = gr_graph_set_const(g, id, &t, err);
        if (!s)
            g->nodes[i].in[1] = id;
        gr_tensor_clear(&t);
    }
    return s;
}

enum graft_status gr_graph_free_batch(struct gr_graph *g, struct graft_error *err)
{
    struct gr_inferred types = {0};
    enum graft_status s = prove_batch(g, err);
    if (s) {
        s = infer_batch(g, 1, &types, err);
        if (!s)
            s = free_reshapes(g, &types, err);
        if (!s)
            s = prove_batch(g, err);
    }
    for (size_t i = 0; !s && i < g->n_inputs; i++)
        if (g->values[g->inputs[i]].type.shape.rank)
            g->values[g->inputs[i]].type.shape.dim[0] = -1;
    gr_inferred_clear(&types);
    return s;
}
