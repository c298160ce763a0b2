/* What do Softmax, LogSoftmax and Hardmax mean? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include <math.h>

bool gr_softmax_split(const struct gr_node *node, const struct gr_shape *x, int64_t *outer,
                      int64_t *n, int64_t *inner)
{
    bool flattened = node->opset < 13;
    int64_t axis = GR_PARAMS(node, struct gr_softmax_params)->axis;
    if (flattened && !gr_node_find_attr(node, "axis"))
        axis = 1;
    int a = gr_axis(axis, x->rank);
    if (flattened && axis == x->rank) /* everything before, nothing to normalize over */
        a = x->rank;
    if (a < 0)
        return false;
    *outer = gr_shape_count_range(x, 0, a);
    *n = flattened ? gr_shape_count_range(x, a, x->rank) : x->dim[a];
    *inner = flattened ? 1 : gr_shape_count_range(x, a + 1, x->rank);
    return true;
}

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    int64_t outer, n, inner;
    enum graft_status s = gr_infer_float(c, 0, err);
    if (!s && !gr_softmax_split(c->node, &c->in[0].shape, &outer, &n, &inner))
        s = gr_error(err, GRAFT_E_SHAPE, "axis %lld of a tensor of rank %d",
                     (long long)GR_PARAMS(c->node, struct gr_softmax_params)->axis,
                     c->in[0].shape.rank);
    return s ? s : gr_infer_like_first(c, err);
}

enum kind { SOFT, LOG_SOFT, HARD };

static void row(enum kind kind, int64_t n, int64_t step, const double *x, double *y)
{
    int64_t top = 0;
    double sum = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i * step] > x[top * step])
            top = i;
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i * step] - x[top * step]);
    for (int64_t i = 0; i < n; i++) {
        double d = x[i * step] - x[top * step];
        y[i * step] = kind == SOFT ? exp(d) / sum : kind == LOG_SOFT ? d - log(sum) : i == top;
    }
}

static enum graft_status each_row(const struct gr_node *node, const struct gr_ref *in,
                                  struct gr_ref *out, enum kind kind)
{
    int64_t outer, n, inner;
    if (!gr_ref_count(out) || !gr_softmax_split(node, &in->shape, &outer, &n, &inner))
        return GRAFT_OK;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++)
            row(kind, n, inner, in->v + o * n * inner + i, out->v + o * n * inner + i);
    return GRAFT_OK;
}

/* y = softmax(x): dx = y (dy - sum dy y); of its logarithm: dx = dy - exp(y) sum dy. */
static void row_grad(enum kind kind, int64_t n, int64_t step, const double *y, const double *dy,
                     double *dx)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += kind == SOFT ? dy[i * step] * y[i * step] : dy[i * step];
    for (int64_t i = 0; i < n; i++)
        dx[i * step] = kind == SOFT ? y[i * step] * (dy[i * step] - sum)
                                    : dy[i * step] - exp(y[i * step]) * sum;
}

static enum graft_status each_row_grad(const struct gr_node *node, const struct gr_ref *out,
                                       const struct gr_ref *dout, struct gr_ref *din,
                                       enum kind kind)
{
    int64_t outer, n, inner;
    if (!gr_grad_start(1, din, dout) || !din->v ||
        !gr_softmax_split(node, &out->shape, &outer, &n, &inner))
        return GRAFT_OK;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            int64_t at = o * n * inner + i;
            row_grad(kind, n, inner, out->v + at, dout->v + at, din->v + at);
        }
    return GRAFT_OK;
}

GR_GRAD(grad_softmax)
{
    return each_row_grad(node, out, dout, din, SOFT);
}

GR_GRAD(grad_log_softmax)
{
    return each_row_grad(node, out, dout, din, LOG_SOFT);
}

static const struct gr_param params[] = {
    GR_ROW_INT(struct gr_softmax_params, axis, -1, -GR_LONG, GR_LONG,
               "normalized axis; before operator set 13 the first of them, default 1"),
    GR_ROW_END};

#define SOFTMAX(id, onnx_name, kind, grad_fn)                                                      \
    static enum graft_status ref_##id(const struct gr_node *node, int n_in,                        \
                                      const struct gr_ref *in, int n_out, struct gr_ref *out,      \
                                      struct graft_error *err)                                     \
    {                                                                                              \
        (void)n_in, (void)n_out, (void)err;                                                        \
        return each_row(node, in, out, kind);                                                      \
    }                                                                                              \
    const struct gr_op gr_op_##id = {.name = onnx_name,                                            \
                                     .domain = "",                                                 \
                                     .since = 1,                                                   \
                                     .min_in = 1,                                                  \
                                     .max_in = 1,                                                  \
                                     .min_out = 1,                                                 \
                                     .max_out = 1,                                                 \
                                     .params_size = sizeof(struct gr_softmax_params),              \
                                     .params = params,                                             \
                                     .infer = infer,                                               \
                                     .ref = ref_##id,                                              \
                                     .ref_grad = grad_fn}

SOFTMAX(softmax, "Softmax", SOFT, grad_softmax);
SOFTMAX(log_softmax, "LogSoftmax", LOG_SOFT, grad_log_softmax);
SOFTMAX(hardmax, "Hardmax", HARD, NULL);
