/* What do CumSum and Trilu mean? */
#include "ops/op_util.h"

struct cumsum_params {
    int64_t exclusive, reverse;
};

static enum graft_status infer_cumsum(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = gr_infer_integer(c, 1, err);
    if (!s && gr_shape_count(&c->in[1].shape) != 1)
        s = gr_error(err, GRAFT_E_SHAPE, "axis is no single number");
    return s ? s : gr_infer_like_first(c, err);
}

static enum graft_status sum_along(const struct gr_node *node, const struct gr_shape *x,
                                   double axis_value, bool reverse, const double *from, double *to,
                                   struct graft_error *err)
{
    const struct cumsum_params *p = GR_PARAMS(node, struct cumsum_params);
    int axis = 0;
    enum graft_status s = gr_check_axis(gr_to_int(axis_value), x->rank, &axis, err);
    if (s)
        return s;
    int64_t outer = gr_shape_count_range(x, 0, axis), n = x->dim[axis];
    int64_t inner = gr_shape_count_range(x, axis + 1, x->rank);
    for (int64_t o = 0; n && o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++) {
                int64_t at = (o * n + (reverse ? n - 1 - k : k)) * inner + i;
                double v = from[at];
                to[at] = p->exclusive ? sum : sum + v;
                sum += v;
            }
        }
    return GRAFT_OK;
}

static enum graft_status ref_cumsum(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                    int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out;
    bool reverse = GR_PARAMS(node, struct cumsum_params)->reverse;
    return sum_along(node, &in[0].shape, in[1].v[0], reverse, in[0].v, out->v, err);
}

/* The same sum from the other end. */
GR_GRAD(grad_cumsum)
{
    bool reverse = GR_PARAMS(node, struct cumsum_params)->reverse;
    if (!gr_grad_start(n_in, din, dout) || !din[0].v)
        return GRAFT_OK;
    return sum_along(node, &in[0].shape, in[1].v[0], !reverse, dout->v, din[0].v, err);
}

struct trilu_params {
    int64_t upper;
};

static enum graft_status infer_trilu(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = gr_infer_rank(c, 0, 2, GR_MAX_RANK, err);
    if (!s && gr_infer_has(c, 1) && gr_shape_count(&c->in[1].shape) != 1)
        s = gr_error(err, GRAFT_E_SHAPE, "k is no single number");
    return s ? s : gr_infer_like_first(c, err);
}

/* Copies the triangle. */
static void keep(const struct gr_node *node, int n_in, const struct gr_ref *in, const double *from,
                 double *to)
{
    bool upper = GR_PARAMS(node, struct trilu_params)->upper;
    double k = gr_ref_has(n_in, in, 1) ? in[1].v[0] : 0;
    int64_t rows = in->shape.dim[in->shape.rank - 2], cols = in->shape.dim[in->shape.rank - 1];
    for (int64_t i = 0, n = gr_ref_count(in); i < n; i++) {
        double above = (double)(i % cols - i / cols % rows) - k; /* the k-th diagonal is 0 */
        to[i] = (upper ? above >= 0 : above <= 0) ? from[i] : 0;
    }
}

static enum graft_status ref_trilu(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out, (void)err;
    keep(node, n_in, in, in->v, out->v);
    return GRAFT_OK;
}

GR_GRAD(grad_trilu)
{
    if (gr_grad_start(n_in, din, dout) && din[0].v)
        keep(node, n_in, in, dout->v, din[0].v);
    return GRAFT_OK;
}

static const struct gr_param cumsum_params[] = {
    GR_ROW_BOOL(struct cumsum_params, exclusive, 0, "an element is not in its own sum"),
    GR_ROW_BOOL(struct cumsum_params, reverse, 0, "from the end"), GR_ROW_END};
static const struct gr_param trilu_params[] = {
    GR_ROW_BOOL(struct trilu_params, upper, 1, "the upper triangle is kept, else the lower"),
    GR_ROW_END};

const struct gr_op gr_op_cum_sum = {.name = "CumSum",
                                    .domain = "",
                                    .since = 11,
                                    .min_in = 2,
                                    .max_in = 2,
                                    .min_out = 1,
                                    .max_out = 1,
                                    .params_size = sizeof(struct cumsum_params),
                                    .params = cumsum_params,
                                    .infer = infer_cumsum,
                                    .ref = ref_cumsum,
                                    .ref_grad = grad_cumsum};

const struct gr_op gr_op_trilu = {.name = "Trilu",
                                  .domain = "",
                                  .since = 14,
                                  .min_in = 1,
                                  .max_in = 2,
                                  .min_out = 1,
                                  .max_out = 1,
                                  .params_size = sizeof(struct trilu_params),
                                  .params = trilu_params,
                                  .infer = infer_trilu,
                                  .ref = ref_trilu,
                                  .ref_grad = grad_trilu};
