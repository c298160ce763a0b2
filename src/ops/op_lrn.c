/* What does LRN mean? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include <math.h>

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = gr_infer_float(c, 0, err);
    if (!s)
        s = gr_infer_rank(c, 0, 2, GR_MAX_RANK, err);
    return s ? s : gr_infer_like_first(c, err);
}

/* The channels that channel c is divided by. */
static void window(int64_t size, int64_t channels, int64_t c, int64_t *from, int64_t *to)
{
    int64_t before = (size - 1) / 2, after = size - 1 - before;
    *from = c > before ? c - before : 0;
    *to = after < channels - 1 - c ? c + after : channels - 1;
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out, (void)err;
    const struct gr_lrn_params *p = GR_PARAMS(node, struct gr_lrn_params);
    const struct gr_shape *shape = &in[0].shape;
    int64_t channels = shape->dim[1], plane = gr_shape_count_range(shape, 2, shape->rank);
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++) {
        int64_t from, to, c = i / plane % channels;
        double sum = 0;
        window(p->size, channels, c, &from, &to);
        for (int64_t k = from; k <= to; k++) {
            double x = in[0].v[i + (k - c) * plane];
            sum += x * x;
        }
        out->v[i] = in[0].v[i] / pow(p->bias + p->alpha / (double)p->size * sum, p->beta);
    }
    return GRAFT_OK;
}

GR_GRAD(ref_grad)
{
    const struct gr_lrn_params *p = GR_PARAMS(node, struct gr_lrn_params);
    const struct gr_shape *shape = &in[0].shape;
    const double *x = in[0].v;
    double *dx = din[0].v, factor = p->alpha / (double)p->size;
    int64_t channels = shape->dim[1], plane = gr_shape_count_range(shape, 2, shape->rank);
    if (!gr_grad_start(n_in, din, dout) || !dx)
        return GRAFT_OK;
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++) {
        int64_t from, to, c = i / plane % channels;
        double sum = 0;
        window(p->size, channels, c, &from, &to);
        for (int64_t k = from; k <= to; k++)
            sum += x[i + (k - c) * plane] * x[i + (k - c) * plane];
        sum = p->bias + factor * sum;
        dx[i] += dout->v[i] * pow(sum, -p->beta);
        for (int64_t k = from; k <= to; k++)
            dx[i + (k - c) * plane] -= dout->v[i] * x[i] * p->beta * pow(sum, -p->beta - 1) * 2 *
                                       factor * x[i + (k - c) * plane];
    }
    return GRAFT_OK;
}

static const struct gr_param params[] = {
    GR_ROW_FLOAT(struct gr_lrn_params, alpha, 1e-4, "factor of the sum of squares"),
    GR_ROW_FLOAT(struct gr_lrn_params, beta, 0.75, "exponent"),
    GR_ROW_FLOAT(struct gr_lrn_params, bias, 1, "added to the sum"),
    {.name = "size",
     .kind = GR_PARAM_INT,
     .offset = offsetof(struct gr_lrn_params, size),
     .def = 1,
     .min = 1,
     .max = GR_LONG,
     .required = true,
     .help = "channels that are summed"},
    GR_ROW_END};

const struct gr_op gr_op_lrn = {.name = "LRN",
                                .domain = "",
                                .since = 1,
                                .min_in = 1,
                                .max_in = 1,
                                .min_out = 1,
                                .max_out = 1,
                                .params_size = sizeof(struct gr_lrn_params),
                                .params = params,
                                .infer = infer,
                                .ref = ref,
                                .ref_grad = ref_grad};
