/* What do Concat and Split mean? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include <string.h>

static enum graft_status infer_concat(struct gr_infer *c, struct graft_error *err)
{
    struct gr_shape y = c->in[0].shape;
    int axis = 0;
    enum graft_status s =
        gr_check_axis(GR_PARAMS(c->node, struct gr_axis_params)->axis, y.rank, &axis, err);
    for (int i = 1; !s && i < c->n_in; i++) {
        struct gr_shape x = c->in[i].shape;
        char tx[GR_SHAPE_TEXT], ty[GR_SHAPE_TEXT];
        int64_t size = x.rank == y.rank ? x.dim[axis] : 0;
        if (!gr_infer_has(c, i))
            return gr_error(err, GRAFT_E_FORMAT, "input %d is missing", i);
        if ((s = gr_infer_same(c, i, err)))
            break;
        if (x.rank == y.rank)
            x.dim[axis] = y.dim[axis];
        if (!gr_shape_equal(&x, &y))
            return gr_error(err, GRAFT_E_SHAPE, "input %d has shape %s, input 0 %s, axis is %d", i,
                            gr_shape_print(&c->in[i].shape, tx),
                            gr_shape_print(&c->in[0].shape, ty), axis);
        y.dim[axis] += size; /* both at most 2^40, and 4096 inputs at most */
    }
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

/* Between a whole and its parts along an axis; `to_parts` says which way. */
static void copy_parts(int axis, const struct gr_shape *whole_shape, double *whole, int n,
                       const struct gr_ref *parts, bool to_parts)
{
    int64_t outer = gr_shape_count_range(whole_shape, 0, axis), done = 0;
    int64_t row = gr_shape_count_range(whole_shape, axis, whole_shape->rank);
    for (int k = 0; k < n; k++) {
        int64_t size =
            parts[k].v ? gr_shape_count_range(&parts[k].shape, axis, whole_shape->rank) : 0;
        for (int64_t o = 0; size && o < outer; o++) {
            double *a = whole + o * row + done, *b = parts[k].v + o * size;
            memcpy(to_parts ? b : a, to_parts ? a : b, (size_t)size * sizeof *a);
        }
        done += gr_shape_count_range(&parts[k].shape, axis, whole_shape->rank);
    }
}

static enum graft_status ref_concat(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                    int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out, (void)err;
    int axis = gr_axis(GR_PARAMS(node, struct gr_axis_params)->axis, out->shape.rank);
    copy_parts(axis, &out->shape, out->v, n_in, in, false);
    return GRAFT_OK;
}

GR_GRAD(grad_concat)
{
    int axis = gr_axis(GR_PARAMS(node, struct gr_axis_params)->axis, out->shape.rank);
    if (gr_grad_start(n_in, din, dout))
        copy_parts(axis, &out->shape, dout->v, n_in, din, true);
    return GRAFT_OK;
}

static enum graft_status split_error(const struct gr_infer *c, int64_t dim, struct graft_error *err)
{
    return gr_error(err, GRAFT_E_SHAPE, "size %lld cannot be split so into %d outputs",
                    (long long)dim, c->n_out);
}

static enum graft_status infer_split(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_axis_params *p = GR_PARAMS(c->node, struct gr_axis_params);
    const struct gr_tensor *sizes = gr_infer_has(c, 1) ? c->konst[1] : NULL;
    struct gr_shape y = c->in[0].shape;
    int axis = 0;
    enum graft_status s = gr_check_axis(p->axis, y.rank, &axis, err);
    if (s)
        return s;
    int64_t dim = y.dim[axis], left = dim;
    if (gr_infer_has(c, 1) && !sizes)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "input 1 ('split') is computed while running, only constants are "
                        "supported");
    if (sizes && (s = gr_infer_integer(c, 1, err)))
        return s;
    int64_t n_sizes = sizes ? gr_tensor_count(sizes) : (int64_t)p->split.n;
    if ((n_sizes && n_sizes != c->n_out) || (p->num_outputs && p->num_outputs != c->n_out))
        return split_error(c, dim, err);
    int64_t chunk = (dim + c->n_out - 1) / c->n_out;
    if (!n_sizes && dim % c->n_out && !p->num_outputs)
        return split_error(c, dim, err);
    for (int i = 0; !s && i < c->n_out; i++) {
        y.dim[axis] = sizes     ? gr_load_i64(sizes->dtype, sizes->data, (size_t)i)
                      : n_sizes ? p->split.v[i]
                                : (chunk < left ? chunk : left);
        if (y.dim[axis] < 0 || y.dim[axis] > left)
            return split_error(c, dim, err);
        left -= y.dim[axis];
        s = gr_infer_out(c, i, c->in[0].dtype, &y, err);
    }
    return s ? s : left ? split_error(c, dim, err) : GRAFT_OK;
}

static enum graft_status ref_split(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)err;
    int axis = gr_axis(GR_PARAMS(node, struct gr_axis_params)->axis, in->shape.rank);
    copy_parts(axis, &in->shape, in->v, n_out, out, true);
    return GRAFT_OK;
}

GR_GRAD(grad_split)
{
    int axis = gr_axis(GR_PARAMS(node, struct gr_axis_params)->axis, in->shape.rank);
    gr_grad_start(n_in, din, dout);
    if (din[0].v)
        copy_parts(axis, &in->shape, din[0].v, n_out, dout, false);
    return GRAFT_OK;
}

static const struct gr_param concat_params[] = {{.name = "axis",
                                                 .kind = GR_PARAM_INT,
                                                 .offset = offsetof(struct gr_axis_params, axis),
                                                 .min = -GR_LONG,
                                                 .max = GR_LONG,
                                                 .required = true,
                                                 .help = "along which inputs are joined"},
                                                GR_ROW_END};
static const struct gr_param split_params[] = {
    GR_ROW_INT(struct gr_axis_params, axis, 0, -GR_LONG, GR_LONG, "along which the input is cut"),
    GR_ROW_INTS(struct gr_axis_params, split, 0, INT64_MAX, "sizes, before operator set 13"),
    GR_ROW_INT(struct gr_axis_params, num_outputs, 0, 1, GR_MAX_ARITY,
               "equal parts, the last may be smaller"),
    GR_ROW_END};

const struct gr_op gr_op_concat = {.name = "Concat",
                                   .domain = "",
                                   .since = 4,
                                   .min_in = 1,
                                   .max_in = GR_MAX_ARITY,
                                   .min_out = 1,
                                   .max_out = 1,
                                   .params_size = sizeof(struct gr_axis_params),
                                   .params = concat_params,
                                   .infer = infer_concat,
                                   .ref = ref_concat,
                                   .ref_grad = grad_concat};

const struct gr_op gr_op_split = {.name = "Split",
                                  .domain = "",
                                  .since = 2,
                                  .min_in = 1,
                                  .max_in = 2,
                                  .min_out = 1,
                                  .max_out = GR_MAX_ARITY,
                                  .params_size = sizeof(struct gr_axis_params),
                                  .params = split_params,
                                  .infer = infer_split,
                                  .ref = ref_split,
                                  .ref_grad = grad_split};
