/* What do Shape and Size mean? They read no data: in[0].v may be NULL. */
#include "ops/op_util.h"

struct shape_params {
    int64_t start, end;
};

static int64_t clamp(int64_t v, int64_t rank)
{
    v += v < 0 ? rank : 0;
    return v < 0 ? 0 : v > rank ? rank : v;
}

static void range(const struct gr_node *node, const struct gr_shape *x, int *from, int *to)
{
    const struct shape_params *p = GR_PARAMS(node, struct shape_params);
    *from = (int)clamp(p->start, x->rank);
    *to = (int)clamp(p->end, x->rank);
    if (*to < *from)
        *to = *from;
}

static enum graft_status infer_shape(struct gr_infer *c, struct graft_error *err)
{
    int from, to;
    range(c->node, &c->in[0].shape, &from, &to);
    struct gr_shape y = {.rank = 1, .dim = {to - from}};
    return gr_infer_out(c, 0, GR_I64, &y, err);
}

static enum graft_status infer_size(struct gr_infer *c, struct graft_error *err)
{
    struct gr_shape y = {0};
    return gr_infer_out(c, 0, GR_I64, &y, err);
}

static enum graft_status ref_shape(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)n_out, (void)err;
    int from, to;
    range(node, &in->shape, &from, &to);
    for (int i = from; i < to; i++)
        out->v[i - from] = (double)in->shape.dim[i];
    return GRAFT_OK;
}

static enum graft_status ref_size(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                  int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out, (void)err;
    out->v[0] = (double)gr_ref_count(in);
    return GRAFT_OK;
}

static const struct gr_param params[] = {
    GR_ROW_INT(struct shape_params, start, 0, -GR_LONG, INT64_MAX, "first axis"),
    GR_ROW_INT(struct shape_params, end, GR_MAX_RANK, -GR_LONG, INT64_MAX, "axis after the last"),
    GR_ROW_END};

const struct gr_op gr_op_shape = {.name = "Shape",
                                  .domain = "",
                                  .since = 1,
                                  .min_in = 1,
                                  .max_in = 1,
                                  .min_out = 1,
                                  .max_out = 1,
                                  .params_size = sizeof(struct shape_params),
                                  .params = params,
                                  .infer = infer_shape,
                                  .ref = ref_shape};

const struct gr_op gr_op_size = {.name = "Size",
                                 .domain = "",
                                 .since = 1,
                                 .min_in = 1,
                                 .max_in = 1,
                                 .min_out = 1,
                                 .max_out = 1,
                                 .infer = infer_size,
                                 .ref = ref_size};
