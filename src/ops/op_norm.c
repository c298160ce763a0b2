/* What do the operators mean that normalize by mean and variance? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include "base/mem.h"
#include <math.h>
#include <string.h>

/* ---- BatchNormalization, with stored statistics ---------------------------------------------- */

static enum graft_status infer_batch(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_bn_params *p = GR_PARAMS(c->node, struct gr_bn_params);
    enum graft_status s = gr_infer_float(c, 0, err);
    if (!s)
        s = gr_infer_rank(c, 0, 2, GR_MAX_RANK, err);
    for (int i = 1; !s && i < 5; i++)
        if (!(s = gr_infer_float(c, i, err)))
            s = gr_infer_vector(c, i, c->in[0].shape.dim[1], err);
    if (s)
        return s;
    bool wants_more = p->training_mode;
    for (int i = 1; i < c->n_out; i++)
        wants_more = wants_more || c->node->out[i] >= 0;
    if (wants_more)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "the operator is in training mode, only inference is supported");
    if (!p->spatial)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "attribute 'spatial' is 0, only 1 is supported");
    return gr_infer_like_first(c, err);
}

static enum graft_status ref_batch(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out, (void)err;
    double epsilon = GR_PARAMS(node, struct gr_bn_params)->epsilon;
    const double *scale = in[1].v, *bias = in[2].v, *mean = in[3].v, *var = in[4].v;
    int64_t channels = in[0].shape.dim[1],
            plane = gr_shape_count_range(&in[0].shape, 2, in[0].shape.rank);
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++) {
        int64_t c = i / plane % channels;
        out->v[i] = scale[c] * (in[0].v[i] - mean[c]) / sqrt(var[c] + epsilon) + bias[c];
    }
    return GRAFT_OK;
}

GR_GRAD(grad_batch)
{
    double epsilon = GR_PARAMS(node, struct gr_bn_params)->epsilon;
    const double *scale = in[1].v, *mean = in[3].v, *var = in[4].v;
    int64_t channels = in[0].shape.dim[1],
            plane = gr_shape_count_range(&in[0].shape, 2, in[0].shape.rank);
    if (!gr_grad_start(n_in, din, dout))
        return GRAFT_OK;
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++) {
        int64_t c = i / plane % channels;
        double dy = dout[0].v[i], inv_std = 1 / sqrt(var[c] + epsilon);
        double normal = (in[0].v[i] - mean[c]) * inv_std;
        if (din[0].v)
            din[0].v[i] = dy * scale[c] * inv_std;
        if (din[1].v)
            din[1].v[c] += dy * normal;
        if (din[2].v)
            din[2].v[c] += dy;
        if (din[3].v)
            din[3].v[c] -= dy * scale[c] * inv_std;
        if (din[4].v)
            din[4].v[c] -= dy * scale[c] * normal * inv_std * inv_std / 2;
    }
    return GRAFT_OK;
}

static const struct gr_param batch_params[] = {
    GR_ROW_FLOAT(struct gr_bn_params, epsilon, 1e-5, "added to the variance"),
    GR_ROW_FLOAT(struct gr_bn_params, momentum, 0.9, "of the running statistics in training"),
    GR_ROW_BOOL(struct gr_bn_params, training_mode, 0, "statistics of the batch; unsupported"),
    GR_ROW_BOOL(struct gr_bn_params, spatial, 1, "one statistic for each channel"), GR_ROW_END};

const struct gr_op gr_op_batch_normalization = {.name = "BatchNormalization",
                                                .domain = "",
                                                .since = 7,
                                                .min_in = 5,
                                                .max_in = 5,
                                                .min_out = 1,
                                                .max_out = 5,
                                                .params_size = sizeof(struct gr_bn_params),
                                                .params = batch_params,
                                                .infer = infer_batch,
                                                .ref = ref_batch,
                                                .ref_grad = grad_batch};

/* ---- batch-norm in training, with the statistics of the batch ----------------------------------
 */

/* Elements of one channel in all. */
static enum graft_status batch_size(const struct gr_shape *x, int64_t *n, struct graft_error *err)
{
    char text[GR_SHAPE_TEXT];
    if (x->rank < 2 || gr_shape_count(x) < 1)
        return gr_error(err, GRAFT_E_SHAPE, "X has shape %s, expected (N,C,...) with elements",
                        gr_shape_print(x, text));
    *n = gr_shape_count(x) / x->dim[1];
    if (*n < 2)
        return gr_error(err, GRAFT_E_SHAPE,
                        "X has shape %s: 1 value for each channel, expected at least 2 for a "
                        "variance",
                        gr_shape_print(x, text));
    return GRAFT_OK;
}

enum graft_status gr_bn_train_ref(const struct gr_bn_train *b, struct graft_error *err)
{
    int64_t n, count = gr_shape_count(b->shape);
    enum graft_status s = batch_size(b->shape, &n, err);
    if (s)
        return s;
    int64_t channels = b->shape->dim[1], plane = gr_shape_count_range(b->shape, 2, b->shape->rank);
    for (int64_t c = 0; c < channels; c++)
        b->mean[c] = b->var[c] = 0;
    for (int64_t i = 0; i < count; i++)
        b->mean[i / plane % channels] += b->x[i] / (double)n;
    for (int64_t i = 0; i < count; i++) {
        double d = b->x[i] - b->mean[i / plane % channels];
        b->var[i / plane % channels] += d * d / (double)n;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t c = i / plane % channels;
        b->y[i] = b->scale[c] * (b->x[i] - b->mean[c]) / sqrt(b->var[c] + b->epsilon) + b->bias[c];
    }
    for (int64_t c = 0; c < channels; c++) {
        double m = b->momentum;
        if (b->running_mean)
            b->running_mean[c] = (1 - m) * b->running_mean[c] + m * b->mean[c];
        if (b->running_var) /* here, and only here, the unbiased variance */
            b->running_var[c] =
                (1 - m) * b->running_var[c] + m * b->var[c] * (double)n / (double)(n - 1);
    }
    return GRAFT_OK;
}

/* With h = (x - mean) / std: dx = scale / std * (dy - mean of dy - h * mean of dy h). */
enum graft_status gr_bn_train_ref_grad(const struct gr_bn_train *b, const double *dy, double *dx,
                                       double *dscale, double *dbias, struct graft_error *err)
{
    int64_t n;
    enum graft_status s = batch_size(b->shape, &n, err);
    if (s)
        return s;
    int64_t channels = b->shape->dim[1], plane = gr_shape_count_range(b->shape, 2, b->shape->rank);
    for (int64_t c = 0; c < channels; c++) {
        double inv_std = 1 / sqrt(b->var[c] + b->epsilon), sum = 0, sum_h = 0;
        for (int64_t k = 0; k < n; k++) {
            int64_t i = (k / plane * channels + c) * plane + k % plane;
            sum += dy[i];
            sum_h += dy[i] * (b->x[i] - b->mean[c]) * inv_std;
        }
        for (int64_t k = 0; dx && k < n; k++) {
            int64_t i = (k / plane * channels + c) * plane + k % plane;
            double h = (b->x[i] - b->mean[c]) * inv_std;
            dx[i] = b->scale[c] * inv_std * (dy[i] - sum / (double)n - h * sum_h / (double)n);
        }
        if (dscale)
            dscale[c] = sum_h;
        if (dbias)
            dbias[c] = sum;
    }
    return GRAFT_OK;
}

/* ---- over n elements each -------------------------------------------------------------------- */

/* y = (x - mean) / sqrt(variance + epsilon); the variance is that of the population. */
static void normalize(int64_t n, const double *x, double epsilon, double *y, double *mean,
                      double *inv_std)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *inv_std = 1 / sqrt(squares / (double)n + epsilon);
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - *mean) * *inv_std;
}

/* The gradient d of the normal values (normalize's y) becomes that of x. */
static void normalize_grad(int64_t n, const double *normal, double inv_std, double *d)
{
    double sum = 0, sum_normal = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += d[i];
        sum_normal += d[i] * normal[i];
    }
    for (int64_t i = 0; i < n; i++)
        d[i] = inv_std * (d[i] - sum / (double)n - normal[i] * sum_normal / (double)n);
}

static enum graft_status infer_layer(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    int axis = 0;
    enum graft_status s = gr_infer_float(c, 0, err);
    if (!s)
        s = gr_check_axis(GR_PARAMS(c->node, struct gr_norm_params)->axis, x->rank, &axis, err);
    if (s)
        return s;
    struct gr_shape norm = gr_shape_from(x->rank - axis, x->dim + axis), stat = *x, b;
    for (int i = axis; i < x->rank; i++)
        stat.dim[i] = 1;
    for (int i = 1; !s && i < c->n_in; i++) {
        if (!gr_infer_has(c, i))
            continue;
        char tx[GR_SHAPE_TEXT], tw[GR_SHAPE_TEXT];
        if (!(s = gr_infer_same(c, i, err)))
            s = gr_shape_broadcast(&norm, &c->in[i].shape, &b, err);
        if (!s && !gr_shape_equal(&b, &norm))
            s = gr_error(err, GRAFT_E_SHAPE, "input %d has shape %s, expected it to fit %s", i,
                         gr_shape_print(&c->in[i].shape, tw), gr_shape_print(&norm, tx));
    }
    if (!s)
        s = gr_infer_like_first(c, err);
    for (int i = 1; !s && i < 3; i++)
        s = gr_infer_out(c, i, GR_F32, &stat, err);
    return s;
}

static enum graft_status ref_layer(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)err;
    const struct gr_norm_params *p = GR_PARAMS(node, struct gr_norm_params);
    const struct gr_shape *x = &in[0].shape;
    int axis = gr_axis(p->axis, x->rank), rank = x->rank - axis;
    struct gr_shape norm = gr_shape_from(rank, x->dim + axis);
    int64_t outer = gr_shape_count_range(x, 0, axis), n = gr_shape_count(&norm);
    int64_t w_stride[2][GR_MAX_RANK] = {{0}};
    for (int i = 1; i < 3; i++)
        if (gr_ref_has(n_in, in, i))
            gr_strides_broadcast(&in[i].shape, &norm, w_stride[i - 1]);
    for (int64_t o = 0; n && o < outer; o++) {
        double mean, inv_std, *y = out[0].v + o * n;
        int64_t at[GR_MAX_RANK] = {0};
        normalize(n, in[0].v + o * n, p->epsilon, y, &mean, &inv_std);
        if (n_out > 1 && out[1].v)
            out[1].v[o] = mean;
        if (n_out > 2 && out[2].v)
            out[2].v[o] = inv_std;
        do {
            *y *= in[1].v[gr_dot(rank, at, w_stride[0])];
            if (gr_ref_has(n_in, in, 2))
                *y += in[2].v[gr_dot(rank, at, w_stride[1])];
            y++;
        } while (gr_next(&norm, at));
    }
    return GRAFT_OK;
}

GR_GRAD(grad_layer)
{
    const struct gr_norm_params *p = GR_PARAMS(node, struct gr_norm_params);
    const struct gr_shape *x = &in[0].shape;
    int axis = gr_axis(p->axis, x->rank), rank = x->rank - axis;
    struct gr_shape norm = gr_shape_from(rank, x->dim + axis);
    int64_t outer = gr_shape_count_range(x, 0, axis), n = gr_shape_count(&norm);
    int64_t w_stride[2][GR_MAX_RANK] = {{0}};
    bool wants_bias = gr_ref_has(n_in, din, 2);
    gr_grad_start(n_in, din, dout);
    double *normal = gr_alloc_array((size_t)n, 2 * sizeof *normal);
    if (!normal)
        return gr_error_nomem(err);
    double *d = normal + n;
    for (int i = 1; i < 3; i++)
        if (gr_ref_has(n_in, in, i))
            gr_strides_broadcast(&in[i].shape, &norm, w_stride[i - 1]);
    for (int64_t o = 0; n && o < outer; o++) {
        double mean, inv_std;
        int64_t at[GR_MAX_RANK] = {0}, i = 0;
        normalize(n, in[0].v + o * n, p->epsilon, normal, &mean, &inv_std);
        do {
            double dy = dout[0].v ? dout[0].v[o * n + i] : 0;
            int64_t at_w = gr_dot(rank, at, w_stride[0]);
            if (din[1].v)
                din[1].v[at_w] += dy * normal[i];
            if (wants_bias)
                din[2].v[gr_dot(rank, at, w_stride[1])] += dy;
            d[i++] = dy * in[1].v[at_w];
        } while (gr_next(&norm, at));
        normalize_grad(n, normal, inv_std, d);
        /* The statistics may be outputs too. */
        double dmean = n_out > 1 && dout[1].v ? dout[1].v[o] : 0;
        double dinv_std = n_out > 2 && dout[2].v ? dout[2].v[o] : 0;
        for (i = 0; din[0].v && i < n; i++)
            din[0].v[o * n + i] =
                d[i] + (dmean - dinv_std * inv_std * inv_std * normal[i]) / (double)n;
    }
    gr_free(normal);
    return GRAFT_OK;
}

static const struct gr_param layer_params[] = {
    GR_ROW_INT(struct gr_norm_params, axis, -1, -GR_LONG, GR_LONG, "first normalized axis"),
    GR_ROW_FLOAT(struct gr_norm_params, epsilon, 1e-5, "added to the variance"),
    GR_ROW_INT(struct gr_norm_params, stash_type, 1, 0, GR_LONG, "type of the statistics"),
    GR_ROW_END};

const struct gr_op gr_op_layer_normalization = {.name = "LayerNormalization",
                                                .domain = "",
                                                .since = 17,
                                                .min_in = 2,
                                                .max_in = 3,
                                                .min_out = 1,
                                                .max_out = 3,
                                                .params_size = sizeof(struct gr_norm_params),
                                                .params = layer_params,
                                                .infer = infer_layer,
                                                .ref = ref_layer,
                                                .ref_grad = grad_layer};

/* ---- over channels: each on its own, or in groups -------------------------------------------- */

static enum graft_status check_channels(struct gr_infer *c, bool by_group, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    int64_t groups = GR_PARAMS(c->node, struct gr_norm_params)->num_groups;
    enum graft_status s = gr_infer_float(c, 0, err);
    if (!s)
        s = gr_infer_rank(c, 0, by_group ? 2 : 3, GR_MAX_RANK, err);
    if (!s && by_group && x->dim[1] % groups)
        s = gr_error(err, GRAFT_E_SHAPE, "X has %lld channels, expected a multiple of %lld groups",
                     (long long)x->dim[1], (long long)groups);
    /* Before operator set 21 GroupNormalization had one scale for each group. */
    int64_t n = by_group && c->node->opset < 21 ? groups : s ? 0 : x->dim[1];
    for (int i = 1; !s && i < 3; i++)
        if (!(s = gr_infer_same(c, i, err)))
            s = gr_infer_vector(c, i, n, err);
    return s ? s : gr_infer_like_first(c, err);
}

static enum graft_status infer_instance(struct gr_infer *c, struct graft_error *err)
{
    return check_channels(c, false, err);
}

static enum graft_status infer_group(struct gr_infer *c, struct graft_error *err)
{
    return check_channels(c, true, err);
}

static void normalize_groups(int64_t groups, double epsilon, const struct gr_ref *in,
                             struct gr_ref *y)
{
    const struct gr_shape *x = &in[0].shape;
    int64_t plane = gr_shape_count_range(x, 2, x->rank), channels = x->dim[1];
    int64_t n = channels / (groups ? groups : 1) * plane;
    double mean, inv_std;
    for (int64_t g = 0; n && g < x->dim[0] * groups; g++)
        normalize(n, in[0].v + g * n, epsilon, y->v + g * n, &mean, &inv_std);
    for (int64_t i = 0, count = gr_ref_count(y); i < count; i++) {
        int64_t c = i / plane % channels, per = channels / in[1].shape.dim[0];
        y->v[i] = y->v[i] * in[1].v[c / per] + in[2].v[c / per];
    }
}

static enum graft_status normalize_groups_grad(int64_t groups, double epsilon, int n_in,
                                               const struct gr_ref *in, const struct gr_ref *dout,
                                               struct gr_ref *din, struct graft_error *err)
{
    const struct gr_shape *x = &in[0].shape;
    int64_t plane = gr_shape_count_range(x, 2, x->rank), channels = x->dim[1];
    if (!gr_grad_start(n_in, din, dout))
        return GRAFT_OK;
    int64_t n = channels / groups * plane, per = channels / in[1].shape.dim[0];
    double *normal = gr_alloc_array((size_t)n, 2 * sizeof *normal), mean, inv_std;
    if (!normal)
        return gr_error_nomem(err);
    double *d = normal + n;
    for (int64_t g = 0; g < x->dim[0] * groups; g++) {
        normalize(n, in[0].v + g * n, epsilon, normal, &mean, &inv_std);
        for (int64_t i = 0; i < n; i++) {
            int64_t w = (g * n + i) / plane % channels / per;
            double dy = dout[0].v[g * n + i];
            if (din[1].v)
                din[1].v[w] += dy * normal[i];
            if (din[2].v)
                din[2].v[w] += dy;
            d[i] = dy * in[1].v[w];
        }
        normalize_grad(n, normal, inv_std, d);
        if (din[0].v)
            memcpy(din[0].v + g * n, d, (size_t)n * sizeof *d);
    }
    gr_free(normal);
    return GRAFT_OK;
}

static enum graft_status ref_instance(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                      int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out, (void)err;
    normalize_groups(in[0].shape.dim[1], GR_PARAMS(node, struct gr_norm_params)->epsilon, in, out);
    return GRAFT_OK;
}

static enum graft_status ref_group(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out, (void)err;
    const struct gr_norm_params *p = GR_PARAMS(node, struct gr_norm_params);
    normalize_groups(p->num_groups, p->epsilon, in, out);
    return GRAFT_OK;
}

GR_GRAD(grad_instance)
{
    return normalize_groups_grad(in[0].shape.dim[1],
                                 GR_PARAMS(node, struct gr_norm_params)->epsilon, n_in, in, dout,
                                 din, err);
}

GR_GRAD(grad_group)
{
    const struct gr_norm_params *p = GR_PARAMS(node, struct gr_norm_params);
    return normalize_groups_grad(p->num_groups, p->epsilon, n_in, in, dout, din, err);
}

static const struct gr_param instance_params[] = {
    GR_ROW_FLOAT(struct gr_norm_params, epsilon, 1e-5, "added to the variance"), GR_ROW_END};

const struct gr_op gr_op_instance_normalization = {.name = "InstanceNormalization",
                                                   .domain = "",
                                                   .since = 6,
                                                   .min_in = 3,
                                                   .max_in = 3,
                                                   .min_out = 1,
                                                   .max_out = 1,
                                                   .params_size = sizeof(struct gr_norm_params),
                                                   .params = instance_params,
                                                   .infer = infer_instance,
                                                   .ref = ref_instance,
                                                   .ref_grad = grad_instance};

static const struct gr_param group_params[] = {
    {.name = "num_groups",
     .kind = GR_PARAM_INT,
     .offset = offsetof(struct gr_norm_params, num_groups),
     .def = 1,
     .min = 1,
     .max = GR_LONG,
     .required = true,
     .help = "groups of channels"},
    GR_ROW_FLOAT(struct gr_norm_params, epsilon, 1e-5, "added to the variance"),
    GR_ROW_INT(struct gr_norm_params, stash_type, 1, 0, GR_LONG, "type of the statistics"),
    GR_ROW_END};

const struct gr_op gr_op_group_normalization = {.name = "GroupNormalization",
                                                .domain = "",
                                                .since = 18,
                                                .min_in = 3,
                                                .max_in = 3,
                                                .min_out = 1,
                                                .max_out = 1,
                                                .params_size = sizeof(struct gr_norm_params),
                                                .params = group_params,
                                                .infer = infer_group,
                                                .ref = ref_group,
                                                .ref_grad = grad_group};
