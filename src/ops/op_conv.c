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

/* The planes that one input channel and one output channel meet in; NULL: not computed. */
struct planes {
    const double *x, *w, *dy;
    double *y, *dx, *dw;
};

/* y += x seen through w; and the gradients of that. */
static void add_planes(const struct gr_geometry *g, const struct planes *p)
{
    int last = g->n - 1;
    struct gr_shape taps = gr_shape_from(g->n, g->kernel), rows = gr_shape_from(last, g->out);
    int64_t k[GR_MAX_RANK] = {0}, o[GR_MAX_RANK], tap = 0;
    do {
        int64_t row = 0; /* of y */
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
                if (at < 0 || at >= g->in[last])
                    continue;
                at += from * g->in[last];
                if (p->y)
                    p->y[row + j] += p->w[tap] * p->x[at];
                if (p->dx)
                    p->dx[at] += p->w[tap] * p->dy[row + j];
                if (p->dw)
                    p->dw[tap] += p->x[at] * p->dy[row + j];
            }
            row += g->out[last];
        } while (gr_next(&rows, o));
        tap++;
    } while (gr_next(&taps, k));
}

/* Adds to those of y, dx, dw that are not NULL. */
static enum graft_status convolve(const struct gr_node *node, const struct gr_ref *x,
                                  const struct gr_ref *w, double *y, const double *dy, double *dx,
                                  double *dw, struct graft_error *err)
{
    const struct gr_conv_params *p = GR_PARAMS(node, struct gr_conv_params);
    struct gr_geometry g;
    enum graft_status s = gr_conv_geometry(p, &x->shape, &w->shape, &g, err);
    if (s)
        return s;
    int64_t m_all = w->shape.dim[0], c_group = w->shape.dim[1], m_group = m_all / p->group;
    int64_t x_plane = gr_shape_count_range(&x->shape, 2, x->shape.rank);
    int64_t w_plane = gr_shape_count_range(&w->shape, 2, w->shape.rank);
    struct gr_shape out = gr_geometry_shape(&g, 1, 1);
    int64_t y_plane = gr_shape_count(&out);
    for (int64_t n = 0; n < x->shape.dim[0]; n++)
        for (int64_t m = 0; m < m_all; m++)
            for (int64_t c = 0; c < c_group; c++) {
                int64_t at_x = (n * x->shape.dim[1] + m / m_group * c_group + c) * x_plane;
                int64_t at_w = (m * c_group + c) * w_plane, at_y = (n * m_all + m) * y_plane;
                struct planes q = {.x = x->v + at_x,
                                   .w = w->v + at_w,
                                   .dy = dy ? dy + at_y : NULL,
                                   .y = y ? y + at_y : NULL,
                                   .dx = dx ? dx + at_x : NULL,
                                   .dw = dw ? dw + at_w : NULL};
                add_planes(&g, &q);
            }
    return GRAFT_OK;
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out;
    int64_t m_all = out->shape.dim[1],
            plane = gr_shape_count_range(&out->shape, 2, out->shape.rank);
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++)
        out->v[i] = gr_ref_has(n_in, in, 2) ? in[2].v[i / plane % m_all] : 0;
    return convolve(node, &in[0], &in[1], out->v, NULL, NULL, NULL, err);
}

GR_GRAD(ref_grad)
{
    int64_t m_all = out->shape.dim[1],
            plane = gr_shape_count_range(&out->shape, 2, out->shape.rank);
    if (!gr_grad_start(n_in, din, dout))
        return GRAFT_OK;
    for (int64_t i = 0, n = gr_ref_has(n_in, din, 2) ? gr_ref_count(dout) : 0; i < n; i++)
        din[2].v[i / plane % m_all] += dout->v[i];
    return convolve(node, &in[0], &in[1], NULL, dout->v, din[0].v, din[1].v, err);
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
                                 .ref_grad = ref_grad,
                                 .macs = macs};
