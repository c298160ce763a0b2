/* What do the reductions over axes mean? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include "base/mem.h"
#include <math.h>

static enum graft_status reduced_axes(const struct gr_node *node, bool has_input, int n,
                                      const int64_t *axes, int rank, bool *reduced,
                                      struct graft_error *err)
{
    const struct gr_reduce_params *p = GR_PARAMS(node, struct gr_reduce_params);
    if (has_input && p->axes.n)
        return gr_error(err, GRAFT_E_FORMAT, "axes are given twice, as attribute and as input");
    enum graft_status s = has_input ? gr_check_axes((size_t)n, axes, rank, reduced, err)
                                    : gr_check_axes(p->axes.n, p->axes.v, rank, reduced, err);
    if (!s && !(has_input ? (size_t)n : p->axes.n))
        for (int i = 0; i < rank; i++)
            reduced[i] = !p->noop_with_empty_axes;
    return s;
}

enum graft_status gr_reduce_axes(const struct gr_node *node, const struct gr_tensor *axes, int rank,
                                 bool *reduced, struct graft_error *err)
{
    int64_t v[GR_MAX_RANK], n = axes ? gr_tensor_count(axes) : 0;
    if (n > GR_MAX_RANK)
        return gr_error(err, GRAFT_E_SHAPE, "%lld axes of a tensor of rank %d", (long long)n, rank);
    for (int64_t i = 0; i < n; i++)
        v[i] = gr_load_i64(axes->dtype, axes->data, (size_t)i);
    return reduced_axes(node, axes != NULL, (int)n, v, rank, reduced, err);
}

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    struct gr_shape y = {0};
    bool reduced[GR_MAX_RANK];
    int n = 0;
    int64_t axes[GR_MAX_RANK];
    enum graft_status s = GRAFT_OK;
    if (gr_infer_has(c, 1))
        s = gr_infer_ints(c, 1, "axes", GR_MAX_RANK, &n, axes, err);
    if (!s)
        s = reduced_axes(c->node, gr_infer_has(c, 1), n, axes, x->rank, reduced, err);
    if (s)
        return s;
    for (int i = 0; i < x->rank; i++)
        if (!reduced[i] || GR_PARAMS(c->node, struct gr_reduce_params)->keepdims)
            y.dim[y.rank++] = reduced[i] ? 1 : x->dim[i];
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

enum kind { SUM, MEAN, MAX, MIN, PROD, L1, L2, SUM_SQUARE, LOG_SUM, LOG_SUM_EXP };

static double combine(enum kind kind, double y, double x, double max)
{
    switch (kind) {
    case MAX:
        return isnan(x) || x > y ? x : y;
    case MIN:
        return isnan(x) || x < y ? x : y;
    case PROD:
        return y * x;
    case L1:
        return y + fabs(x);
    case L2:
    case SUM_SQUARE:
        return y + x * x;
    case LOG_SUM_EXP:
        return y + exp(x - max);
    default:
        return y + x;
    }
}

/* y[where x's position maps to] = combine(y, x) for every x */
static void sweep(enum kind kind, const struct gr_ref *x, const int64_t *stride, const double *max,
                  double *y)
{
    int64_t at[GR_MAX_RANK] = {0}, i = 0;
    if (!gr_ref_count(x))
        return;
    do {
        int64_t to = gr_dot(x->shape.rank, at, stride);
        y[to] = combine(kind, y[to], x->v[i++], max ? max[to] : 0);
    } while (gr_next(&x->shape, at));
}

/* Strides in y of the axes of x, and how many elements of x make one of y. */
static enum graft_status map_axes(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                  int64_t *stride, int64_t *per, struct graft_error *err)
{
    const struct gr_shape *x = &in[0].shape;
    bool reduced[GR_MAX_RANK], has_input = gr_ref_has(n_in, in, 1);
    int64_t axes[GR_MAX_RANK], step = 1;
    int n = 0;
    enum graft_status s = has_input ? gr_ref_ints(&in[1], GR_MAX_RANK, &n, axes, err) : GRAFT_OK;
    if (!s)
        s = reduced_axes(node, has_input, n, axes, x->rank, reduced, err);
    *per = 1;
    for (int i = x->rank - 1; !s && i >= 0; i--) {
        stride[i] = reduced[i] ? 0 : step;
        step *= reduced[i] ? 1 : x->dim[i];
        *per *= reduced[i] ? x->dim[i] : 1;
    }
    return s;
}

static enum graft_status reduce(enum kind kind, const struct gr_node *node, int n_in,
                                const struct gr_ref *in, struct gr_ref *out,
                                struct graft_error *err)
{
    const struct gr_ref *x = &in[0];
    int64_t stride[GR_MAX_RANK], n_y = gr_ref_count(out), per;
    double *max = NULL;
    enum graft_status s = map_axes(node, n_in, in, stride, &per, err);
    if (s)
        return s;
    if (kind == LOG_SUM_EXP) {
        if (!(max = gr_alloc_array((size_t)n_y, sizeof *max)))
            return gr_error_nomem(err);
        for (int64_t i = 0; i < n_y; i++)
            max[i] = -INFINITY;
        sweep(MAX, x, stride, NULL, max);
        for (int64_t i = 0; i < n_y; i++)
            max[i] = isfinite(max[i]) ? max[i] : 0;
    }
    double least = out->dtype == GR_BOOL ? 0 : -INFINITY;
    double most = out->dtype == GR_BOOL ? 1 : INFINITY;
    for (int64_t i = 0; i < n_y; i++)
        out->v[i] = kind == MAX ? least : kind == MIN ? most : kind == PROD;
    sweep(kind, x, stride, max, out->v);
    for (int64_t i = 0; i < n_y; i++) {
        double *y = &out->v[i];
        *y = kind == MEAN          ? *y / (double)per
             : kind == L2          ? sqrt(*y)
             : kind == LOG_SUM     ? log(*y)
             : kind == LOG_SUM_EXP ? log(*y) + max[i]
                                   : *y;
    }
    gr_free(max);
    return GRAFT_OK;
}

/* Of a product of numbers of which `zeros` are zero and the others give `rest`: without x. */
static double without(double x, double zeros, double rest)
{
    return zeros == 0 ? rest / x : zeros == 1 && x == 0 ? rest : 0;
}

static double slope(enum kind kind, double x, double y, int64_t per)
{
    switch (kind) {
    case MEAN:
        return 1 / (double)per;
    case L1:
        return (x > 0) - (x < 0);
    case L2:
        return y == 0 ? 0 : x / y;
    case SUM_SQUARE:
        return 2 * x;
    case LOG_SUM:
        return exp(-y);
    case LOG_SUM_EXP:
        return exp(x - y);
    default:
        return 1;
    }
}

/* Max, Min: the first of equal ones gets it all. */
static enum graft_status reduce_grad(enum kind kind, const struct gr_node *node, int n_in,
                                     const struct gr_ref *in, const struct gr_ref *out,
                                     const struct gr_ref *dout, struct gr_ref *din,
                                     struct graft_error *err)
{
    const struct gr_ref *x = &in[0];
    int64_t at[GR_MAX_RANK] = {0}, stride[GR_MAX_RANK], per, i = 0, n_y = gr_ref_count(out);
    double *count = NULL,
           *rest = NULL; /* for each y: zeros, or maxima found; product of the others */
    enum graft_status s = map_axes(node, n_in, in, stride, &per, err);
    if (s || !gr_grad_start(n_in, din, dout) || !din[0].v || !gr_ref_count(x))
        return s;
    if (!(count = gr_alloc_zero((size_t)n_y, 2 * sizeof *count)))
        return gr_error_nomem(err);
    rest = count + n_y;
    for (int64_t k = 0; k < n_y; k++)
        rest[k] = 1;
    if (kind == PROD)
        do {
            double v = x->v[i++];
            int64_t to = gr_dot(x->shape.rank, at, stride);
            count[to] += v == 0;
            rest[to] *= v == 0 ? 1 : v;
        } while (gr_next(&x->shape, at));
    i = 0;
    do {
        int64_t to = gr_dot(x->shape.rank, at, stride);
        double v = x->v[i], y = out->v[to];
        double by_x = kind == PROD                 ? without(v, count[to], rest[to])
                      : kind == MAX || kind == MIN ? v == y && !count[to]++
                                                   : slope(kind, v, y, per);
        din[0].v[i++] = dout->v[to] * by_x;
    } while (gr_next(&x->shape, at));
    gr_free(count);
    return GRAFT_OK;
}

static const struct gr_param params[] = {
    GR_ROW_INTS(struct gr_reduce_params, axes, -GR_LONG, GR_LONG,
                "reduced axes, where they are no input; none: all"),
    GR_ROW_BOOL(struct gr_reduce_params, keepdims, 1, "reduced axes stay, with size 1"),
    GR_ROW_BOOL(struct gr_reduce_params, noop_with_empty_axes, 0, "no axes: reduce none, not all"),
    GR_ROW_END};

#define REDUCE(id, onnx_name, kind)                                                                \
    static enum graft_status ref_##id(const struct gr_node *node, int n_in,                        \
                                      const struct gr_ref *in, int n_out, struct gr_ref *out,      \
                                      struct graft_error *err)                                     \
    {                                                                                              \
        (void)n_out;                                                                               \
        return reduce(kind, node, n_in, in, out, err);                                             \
    }                                                                                              \
    GR_GRAD(grad_##id)                                                                             \
    {                                                                                              \
        return reduce_grad(kind, node, n_in, in, out, dout, din, err);                             \
    }                                                                                              \
    const struct gr_op gr_op_##id = {.name = onnx_name,                                            \
                                     .domain = "",                                                 \
                                     .since = 1,                                                   \
                                     .min_in = 1,                                                  \
                                     .max_in = 2,                                                  \
                                     .min_out = 1,                                                 \
                                     .max_out = 1,                                                 \
                                     .params_size = sizeof(struct gr_reduce_params),               \
                                     .params = params,                                             \
                                     .infer = infer,                                               \
                                     .ref = ref_##id,                                              \
                                     .ref_grad = grad_##id}

REDUCE(reduce_l1, "ReduceL1", L1);
REDUCE(reduce_l2, "ReduceL2", L2);
REDUCE(reduce_log_sum, "ReduceLogSum", LOG_SUM);
REDUCE(reduce_log_sum_exp, "ReduceLogSumExp", LOG_SUM_EXP);
REDUCE(reduce_max, "ReduceMax", MAX);
REDUCE(reduce_mean, "ReduceMean", MEAN);
REDUCE(reduce_min, "ReduceMin", MIN);
REDUCE(reduce_prod, "ReduceProd", PROD);
REDUCE(reduce_sum, "ReduceSum", SUM);
REDUCE(reduce_sum_square, "ReduceSumSquare", SUM_SQUARE);
