/* What does Conv mean? */
#include "ops/geometry.h"
#include "ops/op_util.h"

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    struct gr_geometry g;
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape;
    enum graft_status s = gr_infer_float(c, 0, err);
    if (!s)
        s = gr_infer_same(c, 1, err);
    if (!s)
        s = gr_conv_geometry(GR_PARAMS(c->node, struct gr_conv_params), x, w, &g, err);
    if (!s && gr_infer_has(c, 2) && !(s = gr_infer_same(c, 2, err)))
        s = gr_infer_vector(c, 2, w->dim[0], err);
    if (s)
        return s;
    struct gr_shape y = gr_geometry_shape(&g, x->dim[0], w->dim[0]);
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

/* One output plane += one input plane seen through one kernel plane. */
static void add_plane(const struct gr_geometry *g, const double *x, const double *w, double *y)
{
    int last = g->n - 1;
    struct gr_shape taps = gr_shape_from(g->n, g->kernel), rows = gr_shape_from(last, g->out);
    int64_t k[GR_MAX_RANK] = {0}, o[GR_MAX_RANK];
    do {
        double wk = *w++, *row = y;
        for (int i = 0; i < last; i++)
            o[i] = 0;
        do {
            int64_t from = 0;
            bool inside = true;
            for (int i = 0; i < last; i++) {
                int64_t at = o[i] * g->stride[i] - g->pad[i] + k[i] * g->dilation[i];
                inside = inside && at >= 0 && at < g->in[i];
                from = inside ? from * g->in[i] + at : 0;
            }
            for (int64_t j = 0; inside && j < g->out[last]; j++) {
                int64_t at = j * g->stride[last] - g->pad[last] + k[last] * g->dilation[last];
                if (at >= 0 && at < g->in[last])
                    row[j] += wk * x[from * g->in[last] + at];
            }
            row += g->out[last];
        } while (gr_next(&rows, o));
    } while (gr_next(&taps, k));
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out;
    const struct gr_conv_params *p = GR_PARAMS(node, struct gr_conv_params);
    const struct gr_ref *x = &in[0], *w = &in[1], *y = &out[0];
    struct gr_geometry g;
    enum graft_status s = gr_conv_geometry(p, &x->shape, &w->shape, &g, err);
    if (s)
        return s;
    int64_t m_all = w->shape.dim[0], c_group = w->shape.dim[1], m_group = m_all / p->group;
    int64_t x_plane = gr_shape_count_range(&x->shape, 2, x->shape.rank);
    int64_t w_plane = gr_shape_count_range(&w->shape, 2, w->shape.rank);
    int64_t y_plane = gr_shape_count_range(&y->shape, 2, y->shape.rank);
    for (int64_t n = 0; n < x->shape.dim[0]; n++)
        for (int64_t m = 0; m < m_all; m++) {
            double *to = y->v + (n * m_all + m) * y_plane;
            for (int64_t i = 0; i < y_plane; i++)
                to[i] = gr_ref_has(n_in, in, 2) ? in[2].v[m] : 0;
            for (int64_t c = 0; c < c_group; c++) {
                int64_t from = n * x->shape.dim[1] + m / m_group * c_group + c;
                add_plane(&g, x->v + from * x_plane, w->v + (m * c_group + c) * w_plane, to);
            }
        }
    return GRAFT_OK;
}

static double macs(const struct gr_node *node, int n_in, const struct gr_type *in,
                   const struct gr_type *out)
{
    (void)node, (void)n_in;
    const struct gr_shape *w = &in[1].shape;
    return gr_macs_per_output(out, (double)gr_shape_count_range(w, 1, w->rank));
}

static const char *const auto_pad[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};
static const struct gr_param params[] = {
    GR_ROW_WINDOW(struct gr_conv_params, auto_pad),
    GR_ROW_INT(struct gr_conv_params, group, 1, 1, GR_LONG, "independent groups of channels"),
    GR_ROW_END};

const struct gr_op gr_op_conv = {.name = "Conv",
                                 .domain = "",
                                 .since = 1,
                                 .min_in = 2,
                                 .max_in = 3,
                                 .min_out = 1,
                                 .max_out = 1,
                                 .params_size = sizeof(struct gr_conv_params),
                                 .params = params,
                                 .infer = infer,
                                 .ref = ref,
                                 .macs = macs};
