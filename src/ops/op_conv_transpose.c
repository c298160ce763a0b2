/* What does ConvTranspose mean? */
#include "ops/geometry.h"
#include "ops/op_util.h"

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_conv_transpose_params *p = GR_PARAMS(c->node, struct gr_conv_transpose_params);
    struct gr_geometry g;
    int64_t m;
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape;
    enum graft_status s = gr_infer_float(c, 0, err);
    if (!s)
        s = gr_infer_same(c, 1, err);
    if (!s)
        s = gr_conv_transpose_geometry(p, x, w, &g, err);
    if (!s && __builtin_mul_overflow(w->dim[1], p->group, &m))
        s = gr_error(err, GRAFT_E_LIMIT, "%lld outputs x group %lld is too large",
                     (long long)w->dim[1], (long long)p->group);
    if (!s && gr_infer_has(c, 2) && !(s = gr_infer_same(c, 2, err)))
        s = gr_infer_vector(c, 2, m, err);
    if (s)
        return s;
    struct gr_shape y = gr_geometry_shape(&g, x->dim[0], m);
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

/* The planes that one input channel and one output channel meet in; NULL: not computed. */
struct planes {
    const double *x, *w, *dy;
    double *y, *dx, *dw;
};

/* Each element of x adds w, scaled, to y; and the gradients of that. */
static void add_planes(const struct gr_geometry *g, const struct planes *p)
{
    struct gr_shape taps = gr_shape_from(g->n, g->kernel), from = gr_shape_from(g->n, g->in);
    int64_t i[GR_MAX_RANK] = {0}, at_x = 0;
    do {
        int64_t k[GR_MAX_RANK] = {0}, tap = 0;
        do {
            int64_t to = 0;
            bool inside = true;
            for (int d = 0; d < g->n; d++) {
                int64_t at = i[d] * g->stride[d] - g->pad[d] + k[d] * g->dilation[d];
                inside = inside && at >= 0 && at < g->out[d];
                to = inside ? to * g->out[d] + at : 0;
            }
            if (inside && p->y)
                p->y[to] += p->x[at_x] * p->w[tap];
            if (inside && p->dx)
                p->dx[at_x] += p->w[tap] * p->dy[to];
            if (inside && p->dw)
                p->dw[tap] += p->x[at_x] * p->dy[to];
            tap++;
        } while (gr_next(&taps, k));
        at_x++;
    } while (gr_next(&from, i));
}

/* Adds to those of y, dx, dw that are not NULL. */
static enum graft_status convolve(const struct gr_node *node, const struct gr_ref *x,
                                  const struct gr_ref *w, double *y, const double *dy, double *dx,
                                  double *dw, struct graft_error *err)
{
    const struct gr_conv_transpose_params *p = GR_PARAMS(node, struct gr_conv_transpose_params);
    struct gr_geometry g;
    enum graft_status s = gr_conv_transpose_geometry(p, &x->shape, &w->shape, &g, err);
    if (s)
        return s;
    int64_t c_all = x->shape.dim[1], c_group = c_all / p->group;
    int64_t m_group = w->shape.dim[1], m_all = m_group * p->group;
    int64_t x_plane = gr_shape_count_range(&x->shape, 2, x->shape.rank);
    int64_t w_plane = gr_shape_count_range(&w->shape, 2, w->shape.rank);
    struct gr_shape out = gr_geometry_shape(&g, 1, 1);
    int64_t y_plane = gr_shape_count(&out);
    for (int64_t n = 0; n < x->shape.dim[0]; n++)
        for (int64_t m = 0; m < m_all; m++)
            for (int64_t k = 0; k < c_group; k++) {
                int64_t c = m / m_group * c_group + k, at_x = (n * c_all + c) * x_plane;
                int64_t at_w = (c * m_group + m % m_group) * w_plane;
                int64_t at_y = (n * m_all + m) * y_plane;
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
    (void)node, (void)n_in, (void)out;
    const struct gr_shape *w = &in[1].shape;
    return gr_macs_per_output(&in[0], (double)gr_shape_count_range(w, 1, w->rank));
}

static const char *const auto_pad[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};
static const struct gr_param params[] = {
    GR_ROW_WINDOW(struct gr_conv_transpose_params, auto_pad),
    GR_ROW_INT(struct gr_conv_transpose_params, group, 1, 1, GR_LONG,
               "independent groups of channels"),
    GR_ROW_INTS(struct gr_conv_transpose_params, output_padding, 0, GR_LONG,
                "added to the end of the output, per axis"),
    GR_ROW_INTS(struct gr_conv_transpose_params, output_shape, 1, GR_LONG,
                "output sizes; padding follows from them"),
    GR_ROW_END};

const struct gr_op gr_op_conv_transpose = {.name = "ConvTranspose",
                                           .domain = "",
                                           .since = 1,
                                           .min_in = 2,
                                           .max_in = 3,
                                           .min_out = 1,
                                           .max_out = 1,
                                           .params_size = sizeof(struct gr_conv_transpose_params),
                                           .params = params,
                                           .infer = infer,
                                           .ref = ref,
                                           .ref_grad = ref_grad,
                                           .macs = macs};
