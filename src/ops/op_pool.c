/* What do the pooling operators mean? */
#include "ops/geometry.h"
#include "ops/op_util.h"
#include <math.h>

static enum graft_status infer_window(struct gr_infer *c, struct graft_error *err)
{
    struct gr_geometry g;
    const struct gr_shape *x = &c->in[0].shape;
    enum graft_status s = gr_pool_geometry(GR_PARAMS(c->node, struct gr_pool_params), x, &g, err);
    if (s)
        return s;
    struct gr_shape y = gr_geometry_shape(&g, x->dim[0], x->dim[1]);
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static enum graft_status infer_max(struct gr_infer *c, struct graft_error *err)
{
    if (c->n_out > 1 && c->node->out[1] >= 0)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "the output Indices is not supported");
    return infer_window(c, err);
}

static enum graft_status infer_average(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = gr_infer_float(c, 0, err);
    return s ? s : infer_window(c, err);
}

static enum graft_status infer_global(struct gr_infer *c, struct graft_error *err)
{
    struct gr_shape y = c->in[0].shape;
    enum graft_status s = gr_infer_float(c, 0, err);
    if (!s)
        s = gr_infer_rank(c, 0, 2, GR_MAX_RANK, err);
    for (int i = 2; !s && i < y.rank; i++) {
        if (!y.dim[i])
            s = gr_error(err, GRAFT_E_SHAPE, "axis %d has size 0", i);
        y.dim[i] = 1;
    }
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

/* The taps of output position o on one axis that fall inside the input: first and their number;
   `counted` also has those on declared padding. */
static void clip_taps(const struct gr_geometry *g, int i, int64_t o, int64_t *first, int64_t *n,
                      int64_t *counted)
{
    int64_t d = g->dilation[i], start = o * g->stride[i] - g->pad[i];
    int64_t k0 = start < 0 ? (-start + d - 1) / d : 0;
    int64_t k1 = g->in[i] > start ? (g->in[i] - start - 1) / d + 1 : 0;
    int64_t kp = (g->in[i] + g->pad_end[i] - start - 1) / d + 1;
    k1 = k1 < g->kernel[i] ? k1 : g->kernel[i];
    *first = start + k0 * d;
    *n = k1 > k0 ? k1 - k0 : 0;
    *counted = kp < g->kernel[i] ? kp : g->kernel[i];
}

struct window {
    int64_t first[GR_MAX_SPATIAL]; /* input position of the first tap inside */
    struct gr_shape taps;          /* taps inside, for each axis */
    double counted;
};

static void look(const struct gr_geometry *g, const int64_t *o, struct window *w)
{
    w->taps.rank = g->n;
    w->counted = 1;
    for (int i = 0; i < g->n; i++) {
        int64_t counted;
        clip_taps(g, i, o[i], &w->first[i], &w->taps.dim[i], &counted);
        w->counted *= (double)counted;
    }
}

static double reduce(const struct gr_geometry *g, const struct window *w, const double *x, bool max)
{
    int64_t k[GR_MAX_RANK] = {0};
    double r = max ? -INFINITY : 0;
    if (!gr_shape_count(&w->taps))
        return r;
    do {
        int64_t at = 0;
        for (int i = 0; i < g->n; i++)
            at = at * g->in[i] + w->first[i] + k[i] * g->dilation[i];
        r = !max ? r + x[at] : x[at] > r || isnan(x[at]) ? x[at] : r;
    } while (gr_next(&w->taps, k));
    return r;
}

/* The gradient of reduce: the first maximum gets it all; in a sum everyone gets it. */
static void spread(const struct gr_geometry *g, const struct window *w, const double *x, bool max,
                   double dy, double *dx)
{
    int64_t k[GR_MAX_RANK] = {0}, best = -1;
    if (!gr_shape_count(&w->taps))
        return;
    do {
        int64_t at = 0;
        for (int i = 0; i < g->n; i++)
            at = at * g->in[i] + w->first[i] + k[i] * g->dilation[i];
        if (!max)
            dx[at] += dy;
        else if (best < 0 || x[at] > x[best] || isnan(x[at]))
            best = at;
    } while (gr_next(&w->taps, k));
    if (max)
        dx[best] += dy;
}

/* Fills y, or, where y is NULL, adds to dx. */
static enum graft_status pool(const struct gr_node *node, const struct gr_ref *x, double *y,
                              const double *dy, double *dx, bool max, struct graft_error *err)
{
    const struct gr_pool_params *p = GR_PARAMS(node, struct gr_pool_params);
    struct gr_geometry g;
    enum graft_status s = gr_pool_geometry(p, &x->shape, &g, err);
    if (s)
        return s;
    int64_t x_plane = gr_shape_count_range(&x->shape, 2, x->shape.rank);
    struct gr_shape out = gr_shape_from(g.n, g.out);
    for (int64_t c = 0, n = gr_shape_count_range(&x->shape, 0, 2); c < n; c++) {
        int64_t o[GR_MAX_RANK] = {0};
        do {
            struct window w;
            look(&g, o, &w);
            double inside = (double)gr_shape_count(&w.taps);
            double by = max ? 1 : p->count_include_pad ? w.counted : inside;
            if (y)
                *y++ = reduce(&g, &w, x->v + c * x_plane, max) / by;
            else
                spread(&g, &w, x->v + c * x_plane, max, *dy++ / by, dx + c * x_plane);
        } while (gr_next(&out, o));
    }
    return GRAFT_OK;
}

static enum graft_status ref_max(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                 int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out;
    return pool(node, in, out->v, NULL, NULL, true, err);
}

GR_GRAD(grad_max)
{
    if (!gr_grad_start(n_in, din, dout) || !din[0].v)
        return GRAFT_OK;
    return pool(node, in, NULL, dout->v, din[0].v, true, err);
}

static enum graft_status ref_average(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                     int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out;
    return pool(node, in, out->v, NULL, NULL, false, err);
}

GR_GRAD(grad_average)
{
    if (!gr_grad_start(n_in, din, dout) || !din[0].v)
        return GRAFT_OK;
    return pool(node, in, NULL, dout->v, din[0].v, false, err);
}

static enum graft_status pool_all(const struct gr_ref *x, struct gr_ref *y, bool max)
{
    int64_t plane = gr_shape_count_range(&x->shape, 2, x->shape.rank);
    for (int64_t c = 0, n = gr_ref_count(y); c < n; c++) {
        double r = max ? -INFINITY : 0;
        for (int64_t i = 0; i < plane; i++) {
            double v = x->v[c * plane + i];
            r = !max ? r + v : v > r || isnan(v) ? v : r;
        }
        y->v[c] = max ? r : r / (double)plane;
    }
    return GRAFT_OK;
}

static enum graft_status ref_global_max(const struct gr_node *node, int n_in,
                                        const struct gr_ref *in, int n_out, struct gr_ref *out,
                                        struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out, (void)err;
    return pool_all(in, out, true);
}

static enum graft_status ref_global_average(const struct gr_node *node, int n_in,
                                            const struct gr_ref *in, int n_out, struct gr_ref *out,
                                            struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out, (void)err;
    return pool_all(in, out, false);
}

/* As in a window: the first maximum gets it all. */
GR_GRAD(grad_global_max)
{
    int64_t plane = gr_shape_count_range(&in->shape, 2, in->shape.rank);
    if (!gr_grad_start(n_in, din, dout) || !din[0].v)
        return GRAFT_OK;
    for (int64_t c = 0, n = gr_ref_count(out); c < n; c++) {
        int64_t best = c * plane;
        for (int64_t i = best; i < (c + 1) * plane; i++)
            if (in->v[i] > in->v[best] || isnan(in->v[i]))
                best = i;
        din[0].v[best] = dout->v[c];
    }
    return GRAFT_OK;
}

GR_GRAD(grad_global_average)
{
    int64_t plane = gr_shape_count_range(&in->shape, 2, in->shape.rank);
    if (!gr_grad_start(n_in, din, dout) || !din[0].v)
        return GRAFT_OK;
    for (int64_t i = 0, n = gr_ref_count(in); i < n; i++)
        din[0].v[i] = dout->v[i / plane] / (double)plane;
    return GRAFT_OK;
}

#define CEIL_ROW                                                                                   \
    {                                                                                              \
        .name = "ceil_mode", .kind = GR_PARAM_BOOL,                                                \
        .offset = offsetof(struct gr_pool_params, win.ceil_mode), .max = 1,                        \
        .help = "a last window may reach beyond the end"                                           \
    }

static const char *const auto_pad[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};
static const struct gr_param max_params[] = {
    GR_ROW_WINDOW(struct gr_pool_params, auto_pad), CEIL_ROW,
    GR_ROW_BOOL(struct gr_pool_params, storage_order, 0, "of Indices: 1 is column-major"),
    GR_ROW_END};
static const struct gr_param average_params[] = {
    GR_ROW_WINDOW(struct gr_pool_params, auto_pad), CEIL_ROW,
    GR_ROW_BOOL(struct gr_pool_params, count_include_pad, 0, "padding counts in the divisor"),
    GR_ROW_END};

const struct gr_op gr_op_max_pool = {.name = "MaxPool",
                                     .domain = "",
                                     .since = 1,
                                     .min_in = 1,
                                     .max_in = 1,
                                     .min_out = 1,
                                     .max_out = 2,
                                     .params_size = sizeof(struct gr_pool_params),
                                     .params = max_params,
                                     .infer = infer_max,
                                     .ref = ref_max,
                                     .ref_grad = grad_max};

const struct gr_op gr_op_average_pool = {.name = "AveragePool",
                                         .domain = "",
                                         .since = 1,
                                         .min_in = 1,
                                         .max_in = 1,
                                         .min_out = 1,
                                         .max_out = 1,
                                         .params_size = sizeof(struct gr_pool_params),
                                         .params = average_params,
                                         .infer = infer_average,
                                         .ref = ref_average,
                                         .ref_grad = grad_average};

const struct gr_op gr_op_global_max_pool = {.name = "GlobalMaxPool",
                                            .domain = "",
                                            .since = 1,
                                            .min_in = 1,
                                            .max_in = 1,
                                            .min_out = 1,
                                            .max_out = 1,
                                            .infer = infer_global,
                                            .ref = ref_global_max,
                                            .ref_grad = grad_global_max};

const struct gr_op gr_op_global_average_pool = {.name = "GlobalAveragePool",
                                                .domain = "",
                                                .since = 1,
                                                .min_in = 1,
                                                .max_in = 1,
                                                .min_out = 1,
                                                .max_out = 1,
                                                .infer = infer_global,
                                                .ref = ref_global_average,
                                                .ref_grad = grad_global_average};
