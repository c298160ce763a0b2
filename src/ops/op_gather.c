/* What do Gather and GatherElements mean? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include <string.h>

static enum graft_status infer_gather(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape, *index = &c->in[1].shape;
    struct gr_shape y = {0};
    int axis = 0;
    enum graft_status s =
        gr_check_axis(GR_PARAMS(c->node, struct gr_axis_params)->axis, x->rank, &axis, err);
    if (!s)
        s = gr_infer_integer(c, 1, err);
    if (s)
        return s;
    if (x->rank - 1 + index->rank > GR_MAX_RANK)
        return gr_error(err, GRAFT_E_LIMIT, "the output would have rank %d, expected at most %d",
                        x->rank - 1 + index->rank, GR_MAX_RANK);
    for (int i = 0; i < axis; i++)
        y.dim[y.rank++] = x->dim[i];
    for (int i = 0; i < index->rank; i++)
        y.dim[y.rank++] = index->dim[i];
    for (int i = axis + 1; i < x->rank; i++)
        y.dim[y.rank++] = x->dim[i];
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static enum graft_status read_index(double v, int64_t size, int64_t *index, struct graft_error *err)
{
    int64_t i = gr_to_int(v);
    if (i < -size || i >= size)
        return gr_error(err, GRAFT_E_SHAPE, "index %lld of an axis of size %lld", (long long)i,
                        (long long)size);
    *index = i < 0 ? i + size : i;
    return GRAFT_OK;
}

static enum graft_status ref_gather(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                    int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out;
    const struct gr_shape *x = &in[0].shape;
    int axis = gr_axis(GR_PARAMS(node, struct gr_axis_params)->axis, x->rank);
    int64_t outer = gr_shape_count_range(x, 0, axis), size = x->dim[axis], from = 0;
    int64_t inner = gr_shape_count_range(x, axis + 1, x->rank), n = gr_ref_count(&in[1]);
    double *y = out->v;
    for (int64_t o = 0; gr_ref_count(out) && o < outer; o++)
        for (int64_t i = 0; i < n; i++, y += inner) {
            enum graft_status s = read_index(in[1].v[i], size, &from, err);
            if (s)
                return s;
            memcpy(y, in[0].v + (o * size + from) * inner, (size_t)inner * sizeof *y);
        }
    return GRAFT_OK;
}

/* An element that was taken several times gets the sum. */
GR_GRAD(grad_gather)
{
    const struct gr_shape *x = &in[0].shape;
    int axis = gr_axis(GR_PARAMS(node, struct gr_axis_params)->axis, x->rank);
    int64_t outer = gr_shape_count_range(x, 0, axis), size = x->dim[axis], from = 0;
    int64_t inner = gr_shape_count_range(x, axis + 1, x->rank), n = gr_ref_count(&in[1]);
    const double *dy = dout->v;
    if (!gr_grad_start(n_in, din, dout) || !din[0].v)
        return GRAFT_OK;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < n; i++) {
            enum graft_status s = read_index(in[1].v[i], size, &from, err);
            if (s)
                return s;
            for (int64_t k = 0; k < inner; k++)
                din[0].v[(o * size + from) * inner + k] += *dy++;
        }
    return GRAFT_OK;
}

static enum graft_status infer_elements(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape, *index = &c->in[1].shape;
    char tx[GR_SHAPE_TEXT], ti[GR_SHAPE_TEXT];
    int axis = 0;
    enum graft_status s =
        gr_check_axis(GR_PARAMS(c->node, struct gr_axis_params)->axis, x->rank, &axis, err);
    if (!s)
        s = gr_infer_integer(c, 1, err);
    bool fits = x->rank == index->rank;
    for (int i = 0; fits && i < x->rank; i++)
        fits = i == axis || index->dim[i] <= x->dim[i];
    if (!s && !fits)
        s = gr_error(err, GRAFT_E_SHAPE, "indices have shape %s, data %s, axis is %d",
                     gr_shape_print(index, ti), gr_shape_print(x, tx), axis);
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, index, err);
}

static enum graft_status ref_elements(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                      int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out;
    const struct gr_shape *x = &in[0].shape;
    int axis = gr_axis(GR_PARAMS(node, struct gr_axis_params)->axis, x->rank);
    int64_t at[GR_MAX_RANK] = {0}, stride[GR_MAX_RANK], i = 0, from = 0;
    gr_strides(x, stride);
    if (!gr_ref_count(out))
        return GRAFT_OK;
    do {
        enum graft_status s = read_index(in[1].v[i], x->dim[axis], &from, err);
        if (s)
            return s;
        out->v[i++] = in[0].v[gr_dot(x->rank, at, stride) + (from - at[axis]) * stride[axis]];
    } while (gr_next(&out->shape, at));
    return GRAFT_OK;
}

GR_GRAD(grad_elements)
{
    const struct gr_shape *x = &in[0].shape;
    int axis = gr_axis(GR_PARAMS(node, struct gr_axis_params)->axis, x->rank);
    int64_t at[GR_MAX_RANK] = {0}, stride[GR_MAX_RANK], i = 0, from = 0;
    gr_strides(x, stride);
    if (!gr_grad_start(n_in, din, dout) || !din[0].v)
        return GRAFT_OK;
    do {
        enum graft_status s = read_index(in[1].v[i], x->dim[axis], &from, err);
        if (s)
            return s;
        from = gr_dot(x->rank, at, stride) + (from - at[axis]) * stride[axis];
        din[0].v[from] += dout->v[i++];
    } while (gr_next(&out->shape, at));
    return GRAFT_OK;
}

static const struct gr_param params[] = {
    GR_ROW_INT(struct gr_axis_params, axis, 0, -GR_LONG, GR_LONG, "the axis that is indexed"),
    GR_ROW_END};

const struct gr_op gr_op_gather = {.name = "Gather",
                                   .domain = "",
                                   .since = 1,
                                   .min_in = 2,
                                   .max_in = 2,
                                   .min_out = 1,
                                   .max_out = 1,
                                   .params_size = sizeof(struct gr_axis_params),
                                   .params = params,
                                   .infer = infer_gather,
                                   .ref = ref_gather,
                                   .ref_grad = grad_gather};

const struct gr_op gr_op_gather_elements = {.name = "GatherElements",
                                            .domain = "",
                                            .since = 11,
                                            .min_in = 2,
                                            .max_in = 2,
                                            .min_out = 1,
                                            .max_out = 1,
                                            .params_size = sizeof(struct gr_axis_params),
                                            .params = params,
                                            .infer = infer_elements,
                                            .ref = ref_elements,
                                            .ref_grad = grad_elements};
