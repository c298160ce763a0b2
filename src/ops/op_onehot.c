/* What does OneHot mean? */
#include "ops/op_params.h"
#include "ops/op_util.h"

/* The new axis, counted in the output. */
static enum graft_status new_axis(const struct gr_node *node, const struct gr_shape *x, int *axis,
                                  struct graft_error *err)
{
    return gr_check_axis(GR_PARAMS(node, struct gr_axis_params)->axis, x->rank + 1, axis, err);
}

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    struct gr_shape y = {.rank = x->rank + 1};
    int axis = 0;
    enum graft_status s = new_axis(c->node, x, &axis, err);
    if (s)
        return s;
    if (x->rank >= GR_MAX_RANK)
        return gr_error(err, GRAFT_E_LIMIT, "indices have rank %d, expected less than %d", x->rank,
                        GR_MAX_RANK);
    const struct gr_tensor *depth = c->konst[1];
    if (!depth)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "depth is computed while running, only constants are supported");
    if (gr_tensor_count(depth) != 1)
        return gr_error(err, GRAFT_E_SHAPE, "depth is no single number");
    int64_t d = gr_load_i64(depth->dtype, depth->data, 0);
    if (d < 1)
        return gr_error(err, GRAFT_E_SHAPE, "depth is %lld, expected at least 1", (long long)d);
    if ((s = gr_infer_vector(c, 2, 2, err)))
        return s;
    for (int i = 0, from = 0; i < y.rank; i++)
        y.dim[i] = i == axis ? d : x->dim[from++];
    return gr_infer_out(c, 0, c->in[2].dtype, &y, err);
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out;
    const struct gr_shape *x = &in[0].shape;
    int axis = 0;
    enum graft_status s = new_axis(node, x, &axis, err);
    if (s)
        return s;
    int64_t depth = out->shape.dim[axis], inner = gr_shape_count_range(x, axis, x->rank);
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++) {
        int64_t at = gr_to_int(in[0].v[i / (depth * inner) * inner + i % inner]);
        bool on = (at < 0 ? at + depth : at) == i / inner % depth; /* out of range: nowhere */
        out->v[i] = in[2].v[on];
    }
    return GRAFT_OK;
}

static const struct gr_param params[] = {
    GR_ROW_INT(struct gr_axis_params, axis, -1, -GR_LONG, GR_LONG, "the new axis"), GR_ROW_END};

const struct gr_op gr_op_one_hot = {.name = "OneHot",
                                    .domain = "",
                                    .since = 9,
                                    .min_in = 3,
                                    .max_in = 3,
                                    .min_out = 1,
                                    .max_out = 1,
                                    .params_size = sizeof(struct gr_axis_params),
                                    .params = params,
                                    .infer = infer,
                                    .ref = ref};
