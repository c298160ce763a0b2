/* What do the operators mean that only change the shape, or nothing at all? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include <string.h>

static enum graft_status ref_copy(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                  int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out, (void)err;
    if (gr_ref_count(out))
        memcpy(out->v, in->v, (size_t)gr_ref_count(out) * sizeof *out->v);
    return GRAFT_OK;
}

GR_GRAD(grad_copy)
{
    if (gr_grad_start(n_in, din, dout) && din[0].v)
        memcpy(din[0].v, dout->v, (size_t)gr_ref_count(dout) * sizeof *dout->v);
    return GRAFT_OK;
}

static enum graft_status infer_flatten(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    int64_t axis = GR_PARAMS(c->node, struct gr_axis_params)->axis;
    if (axis < -x->rank || axis > x->rank)
        return gr_error(err, GRAFT_E_SHAPE, "axis %lld of a tensor of rank %d", (long long)axis,
                        x->rank);
    int a = (int)(axis < 0 ? axis + x->rank : axis);
    struct gr_shape y = {
        .rank = 2, .dim = {gr_shape_count_range(x, 0, a), gr_shape_count_range(x, a, x->rank)}};
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static enum graft_status infer_reshape(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    bool allowzero = GR_PARAMS(c->node, struct gr_axis_params)->allowzero;
    struct gr_shape y = {0};
    char tx[GR_SHAPE_TEXT], ty[GR_SHAPE_TEXT];
    int unknown = -1;
    enum graft_status s = gr_infer_ints(c, 1, "shape", GR_MAX_RANK, &y.rank, y.dim, err);
    if (s)
        return s;
    for (int i = 0; i < y.rank; i++) {
        if (y.dim[i] < -1 || (y.dim[i] == -1 && unknown >= 0))
            return gr_error(err, GRAFT_E_FORMAT, "shape %s has a size %lld", gr_shape_print(&y, ty),
                            (long long)y.dim[i]);
        if (y.dim[i] == -1) {
            unknown = i;
        } else if (!y.dim[i] && !allowzero) {
            if (i >= x->rank)
                return gr_error(err, GRAFT_E_SHAPE, "shape %s copies axis %d of %s",
                                gr_shape_print(&y, ty), i, gr_shape_print(x, tx));
            y.dim[i] = x->dim[i];
        }
    }
    if (unknown >= 0) {
        y.dim[unknown] = 1;
        int64_t known = gr_shape_count(&y);
        y.dim[unknown] = known > 0 ? gr_shape_count(x) / known : -1;
    }
    if (gr_shape_count(&y) != gr_shape_count(x))
        return gr_error(err, GRAFT_E_SHAPE, "%s cannot be reshaped to %s", gr_shape_print(x, tx),
                        gr_shape_print(&y, ty));
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

/* The axes of Squeeze and Unsqueeze: an attribute, since operator set 13 an input. */
static enum graft_status read_axes(struct gr_infer *c, int rank, bool *in_set, bool *given,
                                   struct graft_error *err)
{
    const struct gr_reduce_params *p = GR_PARAMS(c->node, struct gr_reduce_params);
    int64_t v[GR_MAX_RANK];
    int n = 0;
    *given = gr_infer_has(c, 1) || p->axes.n || gr_node_find_attr(c->node, "axes");
    if (!gr_infer_has(c, 1))
        return gr_check_axes(p->axes.n, p->axes.v, rank, in_set, err);
    enum graft_status s = gr_infer_ints(c, 1, "axes", GR_MAX_RANK, &n, v, err);
    return s ? s : gr_check_axes((size_t)n, v, rank, in_set, err);
}

static enum graft_status infer_squeeze(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    struct gr_shape y = {0};
    bool drop[GR_MAX_RANK], given;
    enum graft_status s = read_axes(c, x->rank, drop, &given, err);
    for (int i = 0; !s && i < x->rank; i++) {
        if (!given)
            drop[i] = x->dim[i] == 1;
        if (drop[i] && x->dim[i] != 1)
            s = gr_error(err, GRAFT_E_SHAPE, "axis %d has size %lld, expected 1", i,
                         (long long)x->dim[i]);
        if (!drop[i])
            y.dim[y.rank++] = x->dim[i];
    }
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static enum graft_status infer_unsqueeze(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    size_t n = gr_infer_has(c, 1) ? (size_t)gr_shape_count(&c->in[1].shape)
                                  : GR_PARAMS(c->node, struct gr_reduce_params)->axes.n;
    if (n > (size_t)(GR_MAX_RANK - x->rank))
        return gr_error(err, GRAFT_E_LIMIT, "%zu axes more than rank %d, expected rank at most %d",
                        n, x->rank, GR_MAX_RANK);
    struct gr_shape y = {.rank = x->rank + (int)n};
    bool added[GR_MAX_RANK], given;
    enum graft_status s = read_axes(c, y.rank, added, &given, err);
    if (!s && !given)
        s = gr_error(err, GRAFT_E_FORMAT, "no axes are given");
    for (int i = 0, from = 0; !s && i < y.rank; i++)
        y.dim[i] = added[i] ? 1 : x->dim[from++];
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

struct dropout_params {
    float ratio;
    int64_t seed;
};

static enum graft_status infer_dropout(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = gr_infer_float(c, 0, err);
    if (!s && gr_infer_has(c, 2)) {
        bool known = c->konst[2] && gr_tensor_count(c->konst[2]) == 1;
        bool off = known && !gr_load_i64(c->konst[2]->dtype, c->konst[2]->data, 0);
        const struct gr_tensor *ratio = gr_infer_has(c, 1) ? c->konst[1] : NULL;
        if (ratio && gr_tensor_count(ratio) == 1)
            off = off || gr_load_f64(ratio->dtype, ratio->data, 0) == 0;
        if (!off)
            s = gr_error(err, GRAFT_E_UNSUPPORTED,
                         "the operator is in training mode, only inference is supported");
    }
    if (!s)
        s = gr_infer_like_first(c, err);
    if (!s)
        s = gr_infer_out(c, 1, c->node->opset < 10 ? c->in[0].dtype : GR_BOOL, &c->in[0].shape,
                         err);
    return s;
}

static enum graft_status ref_dropout(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                     int n_out, struct gr_ref *out, struct graft_error *err)
{
    for (int64_t i = 0; n_out > 1 && out[1].v && i < gr_ref_count(&out[1]); i++)
        out[1].v[i] = 1;
    return ref_copy(node, n_in, in, n_out, out, err);
}

static const struct gr_param flatten_params[] = {
    GR_ROW_INT(struct gr_axis_params, axis, 1, -GR_LONG, GR_LONG, "first axis of the second half"),
    GR_ROW_END};
static const struct gr_param reshape_params[] = {
    GR_ROW_BOOL(struct gr_axis_params, allowzero, 0, "0 in the shape is 0, not the input's size"),
    GR_ROW_END};
static const struct gr_param axes_params[] = {GR_ROW_INTS(struct gr_reduce_params, axes, -GR_LONG,
                                                          GR_LONG,
                                                          "axes of size 1, before operator set 13"),
                                              GR_ROW_END};
static const struct gr_param dropout_params[] = {
    GR_ROW_FLOAT(struct dropout_params, ratio, 0.5, "of dropped elements, in training"),
    GR_ROW_INT(struct dropout_params, seed, 0, INT64_MIN, INT64_MAX, "of the random numbers"),
    GR_ROW_END};

#define COPY(id, onnx_name, first_opset, n_min, n_max, n_out_max, size, table, infer_rule, ref_fn) \
    const struct gr_op gr_op_##id = {.name = onnx_name,                                            \
                                     .domain = "",                                                 \
                                     .since = first_opset,                                         \
                                     .min_in = n_min,                                              \
                                     .max_in = n_max,                                              \
                                     .min_out = 1,                                                 \
                                     .max_out = n_out_max,                                         \
                                     .params_size = size,                                          \
                                     .params = table,                                              \
                                     .infer = infer_rule,                                          \
                                     .ref = ref_fn,                                                \
                                     .ref_grad = grad_copy}

COPY(dropout, "Dropout", 7, 1, 3, 2, sizeof(struct dropout_params), dropout_params, infer_dropout,
     ref_dropout);
COPY(flatten, "Flatten", 1, 1, 1, 1, sizeof(struct gr_axis_params), flatten_params, infer_flatten,
     ref_copy);
COPY(identity, "Identity", 1, 1, 1, 1, 0, NULL, gr_infer_like_first, ref_copy);
COPY(reshape, "Reshape", 5, 2, 2, 1, sizeof(struct gr_axis_params), reshape_params, infer_reshape,
     ref_copy);
COPY(squeeze, "Squeeze", 1, 1, 2, 1, sizeof(struct gr_reduce_params), axes_params, infer_squeeze,
     ref_copy);
COPY(unsqueeze, "Unsqueeze", 1, 1, 2, 1, sizeof(struct gr_reduce_params), axes_params,
     infer_unsqueeze, ref_copy);
