/* What do ArgMax and ArgMin mean? */
#include "ops/op_util.h"

struct argmax_params {
    int64_t axis, keepdims, select_last_index;
};

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    const struct argmax_params *p = GR_PARAMS(c->node, struct argmax_params);
    const struct gr_shape *x = &c->in[0].shape;
    struct gr_shape y = {0};
    int axis = 0;
    enum graft_status s = gr_check_axis(p->axis, x->rank, &axis, err);
    if (!s && !x->dim[axis])
        s = gr_error(err, GRAFT_E_SHAPE, "axis %d has size 0", axis);
    if (s)
        return s;
    for (int i = 0; i < x->rank; i++)
        if (i != axis || p->keepdims)
            y.dim[y.rank++] = i == axis ? 1 : x->dim[i];
    return gr_infer_out(c, 0, GR_I64, &y, err);
}

static enum graft_status find(const struct gr_node *node, const struct gr_ref *x, struct gr_ref *y,
                              int sign)
{
    const struct argmax_params *p = GR_PARAMS(node, struct argmax_params);
    int axis = gr_axis(p->axis, x->shape.rank);
    int64_t outer = gr_shape_count_range(&x->shape, 0, axis), n = x->shape.dim[axis];
    int64_t inner = gr_shape_count_range(&x->shape, axis + 1, x->shape.rank);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            const double *v = x->v + o * n * inner + i;
            int64_t best = 0;
            for (int64_t k = 1; k < n; k++) {
                double d = sign * (v[k * inner] - v[best * inner]);
                if (d > 0 || (p->select_last_index && d == 0))
                    best = k;
            }
            y->v[o * inner + i] = (double)best;
        }
    return GRAFT_OK;
}

static const struct gr_param params[] = {
    GR_ROW_INT(struct argmax_params, axis, 0, -GR_LONG, GR_LONG, "the axis that is searched"),
    GR_ROW_BOOL(struct argmax_params, keepdims, 1, "the axis stays, with size 1"),
    GR_ROW_BOOL(struct argmax_params, select_last_index, 0, "of equal elements"), GR_ROW_END};

#define ARG(id, onnx_name, sign)                                                                   \
    static enum graft_status ref_##id(const struct gr_node *node, int n_in,                        \
                                      const struct gr_ref *in, int n_out, struct gr_ref *out,      \
                                      struct graft_error *err)                                     \
    {                                                                                              \
        (void)n_in, (void)n_out, (void)err;                                                        \
        return find(node, in, out, sign);                                                          \
    }                                                                                              \
    const struct gr_op gr_op_##id = {.name = onnx_name,                                            \
                                     .domain = "",                                                 \
                                     .since = 1,                                                   \
                                     .min_in = 1,                                                  \
                                     .max_in = 1,                                                  \
                                     .min_out = 1,                                                 \
                                     .max_out = 1,                                                 \
                                     .params_size = sizeof(struct argmax_params),                  \
                                     .params = params,                                             \
                                     .infer = infer,                                               \
                                     .ref = ref_##id}

ARG(arg_max, "ArgMax", 1);
ARG(arg_min, "ArgMin", -1);
