/* How does a network come to take other planes of a picture than it was made for? */
#include "base/mem.h"
#include "core/edit.h"
#include <string.h>

static bool attr_is(const struct gr_node *n, const char *name, int64_t value)
{
    const struct gr_attr *a = gr_node_find_attr(n, name);
    return !a || (a->type == GR_ATTR_INT && a->i == value);
}

/* A convolution that reads the planes themselves and mixes them with constant weights. */
static bool takes_planes(const struct gr_graph *g, const struct gr_node *n, int input, int n_planes)
{
    if (strcmp(n->op_type, "Conv") || *n->domain || n->n_in < 2 || n->in[0] != input ||
        n->in[1] < 0 || n->in[1] == input || (n->n_in > 2 && n->in[2] == input))
        return false;
    const struct gr_tensor *w = &g->values[n->in[1]].data;
    return w->buf && w->dtype == GR_F32 && w->shape.rank == 4 && w->shape.dim[1] == n_planes &&
           attr_is(n, "group", 1);
}

static bool reads(const struct gr_node *n, int value)
{
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] == value)
            return true;
    return false;
}

/* w[o, to] = sum of v[o, from] a[from][to]; a last plane of ones takes the constants d. */
static enum graft_status mix_kernels(const struct gr_tensor *v, const struct gr_planes *p,
                                     bool ones, struct gr_tensor *w, struct graft_error *err)
{
    struct gr_tensor aligned = {0};
    struct gr_shape shape = v->shape;
    const int n_to = p->n_to + ones;
    int64_t kernel = gr_shape_count_range(&shape, 2, 4);
    shape.dim[1] = n_to;
    enum graft_status s = gr_tensor_new(GR_F32, &shape, w, err);
    if (!s && (s = gr_tensor_convert(v, GR_F32, &aligned, err)))
        gr_tensor_clear(w);
    if (s)
        return s;
    const float *from = aligned.data;
    float *to = gr_tensor_mut(w);
    for (int64_t o = 0; o < shape.dim[0]; o++, from += p->n_from * kernel, to += n_to * kernel)
        for (int t = 0; t < n_to; t++)
            for (int64_t k = 0; k < kernel; k++) {
                double sum = 0;
                for (int f = 0; f < p->n_from; f++)
                    sum += from[f * kernel + k] * (t < p->n_to ? p->a[f][t] : p->d[f]);
                to[t * kernel + k] = (float)sum;
            }
    gr_tensor_clear(&aligned);
    return GRAFT_OK;
}

/* Gives the node those weights, under the old name where nobody else uses them. */
static enum graft_status change_kernels(struct gr_graph *g, struct gr_node *n,
                                        const struct gr_planes *p, bool ones,
                                        struct graft_error *err)
{
    struct gr_tensor w = {0};
    int id = n->in[1], uses = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            uses += g->nodes[i].in[k] == id;
    enum graft_status s = mix_kernels(&g->values[id].data, p, ones, &w, err);
    if (!s && uses > 1) {
        const char *name = gr_graph_free_name(g, g->values[id].name);
        s = name ? gr_graph_value(g, name, &id, err) : gr_error_nomem(err);
    }
    if (!s)
        s = gr_graph_set_const(g, id, &w, err);
    if (!s)
        n->in[1] = id;
    gr_tensor_clear(&w);
    return s;
}

/* Makes `rows` planes from the input's, pixel by pixel, and gives them to all who read the input:
   m (rows, n_to), plus the constants d. */
static enum graft_status put_in_front(struct gr_graph *g, int axis, int rows, int n_to,
                                      const float *m, const float *d, struct graft_error *err)
{
    const bool last = axis == 3;
    const int input = g->inputs[0];
    const size_t n_old = g->n_nodes;
    float turned[GR_MAX_PLANES * (GR_MAX_PLANES + 1)];
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < n_to; t++)
            turned[t * rows + r] = m[r * n_to + t];
    struct gr_shape w = last ? gr_shape_of(2, n_to, rows) : gr_shape_of(4, rows, n_to, 1, 1);
    struct gr_shape b = gr_shape_of(1, rows);
    int in[3] = {input}, node, out;
    enum graft_status s =
        gr_graph_append_const(g, "input_planes.weight", GR_F32, &w, last ? turned : m, &in[1], err);
    if (!s)
        s = gr_graph_append_const(g, "input_planes.bias", GR_F32, &b, d, &in[2], err);
    if (!s)
        s = gr_graph_append(g, last ? "MatMul" : "Conv", "input_planes", last ? 2 : 3, in, &node,
                            &out, err);
    if (!s && last) {
        const int add[2] = {out, in[2]};
        s = gr_graph_append(g, "Add", "input_planes", 2, add, &node, &out, err);
    }
    for (size_t i = 0; !s && i < n_old; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] == input)
                g->nodes[i].in[k] = out;
    return s;
}

enum graft_status gr_graph_map_planes(struct gr_graph *g, int axis, const struct gr_planes *p,
                                      struct gr_planes_report *report, struct graft_error *err)
{
    const int input = g->inputs[0];
    float m[(GR_MAX_PLANES + 1) * GR_MAX_PLANES] = {0}, d[GR_MAX_PLANES + 1] = {0};
    enum graft_status s = GRAFT_OK;
    bool ones = false, kernels = axis == 1;
    *report = (struct gr_planes_report){GR_PLANES_IN_KERNELS, NULL};
    for (int f = 0; f < p->n_from; f++)
        ones = ones || p->d[f] != 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (reads(&g->nodes[i], input)) {
            if (!report->node || (kernels && !takes_planes(g, &g->nodes[i], input, p->n_from)))
                report->node = gr_arena_strdup(&g->arena, *g->nodes[i].name ? g->nodes[i].name
                                                                            : g->nodes[i].op_type);
            kernels = kernels && takes_planes(g, &g->nodes[i], input, p->n_from);
        }
    for (size_t i = 0; !s && kernels && i < g->n_nodes; i++)
        if (reads(&g->nodes[i], input))
            s = change_kernels(g, &g->nodes[i], p, ones, err);
    if (!s && !kernels) {
        report->how = GR_PLANES_IN_FRONT;
        for (int f = 0; f < p->n_from; f++) {
            d[f] = (float)p->d[f];
            for (int t = 0; t < p->n_to; t++)
                m[f * p->n_to + t] = (float)p->a[f][t];
        }
        s = put_in_front(g, axis, p->n_from, p->n_to, m, d, err);
    } else if (!s && ones) {
        report->how = GR_PLANES_WITH_ONES;
        for (int t = 0; t < p->n_to; t++)
            m[t * p->n_to + t] = 1;
        d[p->n_to] = 1;
        s = put_in_front(g, axis, p->n_to + 1, p->n_to, m, d, err);
    }
    g->values[input].type.shape.dim[axis] = p->n_to;
    if (!s && !report->node)
        s = gr_error(err, GRAFT_E_FORMAT, "nothing reads the network's input '%s'",
                     g->values[input].name);
    if (!s)
        s = gr_graph_check(g, err);
    return s ? s : gr_graph_bind(g, err);
}

/* An average over the whole map, written with the map's size as its kernel. */
static bool pools_all(const struct gr_node *n, const struct gr_inferred *types)
{
    const struct gr_attr *kernel = gr_node_find_attr(n, "kernel_shape");
    const struct gr_attr *pads = gr_node_find_attr(n, "pads");
    if (strcmp(n->op_type, "AveragePool") || *n->domain || n->n_in != 1 || n->in[0] < 0 ||
        n->out[0] < 0 || !kernel || kernel->type != GR_ATTR_INTS)
        return false;
    const struct gr_shape *x = &types->type[n->in[0]].shape, *y = &types->type[n->out[0]].shape;
    for (size_t i = 0; pads && i < pads->n; i++)
        if (pads->ints[i])
            return false;
    return x->rank == 4 && kernel->n == 2 && y->rank == 4 && kernel->ints[0] == x->dim[2] &&
           kernel->ints[1] == x->dim[3] && x->dim[2] * x->dim[3] > 1 && y->dim[2] == 1 &&
           y->dim[3] == 1;
}

enum graft_status gr_graph_pool_all(struct gr_graph *g, const struct gr_type *inputs, int *n,
                                    struct graft_error *err)
{
    struct gr_inferred types = {0};
    struct graft_error e;
    *n = 0;
    if (gr_graph_infer(g, inputs, 0, NULL, &types, &e))
        return e.status == GRAFT_E_NOMEM ? gr_error_nomem(err) : GRAFT_OK;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (pools_all(&g->nodes[i], &types)) {
            g->nodes[i].op_type = "GlobalAveragePool";
            g->nodes[i].op = NULL;   /* to be looked up again */
            g->nodes[i].n_attrs = 0; /* numbers only, nothing to release */
            ++*n;
        }
    gr_inferred_clear(&types);
    return gr_graph_bind(g, err);
}
