/* What do Cast and CastLike mean? */
#include "ops/op_util.h"

struct cast_params {
    int64_t to, saturate;
};

static enum graft_status check(struct gr_infer *c, int64_t to, struct graft_error *err)
{
    if (!gr_dtype_size((enum gr_dtype)to))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "casting to type %lld is not supported",
                        (long long)to);
    return gr_infer_out(c, 0, (enum gr_dtype)to, &c->in[0].shape, err);
}

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    return check(c, GR_PARAMS(c->node, struct cast_params)->to, err);
}

static enum graft_status infer_like(struct gr_infer *c, struct graft_error *err)
{
    return check(c, c->in[1].dtype, err);
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out, (void)err;
    bool wraps = gr_dtype_is_int(in->dtype);
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++)
        out->v[i] = wraps ? gr_wrap(out->dtype, in->v[i]) : in->v[i];
    return GRAFT_OK;
}

/* Between floating-point types the gradient passes; whole numbers have none. */
GR_GRAD(ref_grad)
{
    bool passes = gr_dtype_is_float(in->dtype) && gr_dtype_is_float(out->dtype);
    if (!gr_grad_start(n_in, din, dout) || !passes)
        return GRAFT_OK;
    for (int64_t i = 0, n = din[0].v ? gr_ref_count(out) : 0; i < n; i++)
        din[0].v[i] = dout->v[i];
    return GRAFT_OK;
}

static const struct gr_param params[] = {
    {.name = "to",
     .kind = GR_PARAM_INT,
     .offset = offsetof(struct cast_params, to),
     .min = 0,
     .max = 64,
     .required = true,
     .help = "number of the type in TensorProto.DataType"},
    GR_ROW_BOOL(struct cast_params, saturate, 1, "for 8-bit floats, which are unsupported"),
    GR_ROW_END};
static const struct gr_param like_params[] = {
    GR_ROW_BOOL(struct cast_params, saturate, 1, "for 8-bit floats, which are unsupported"),
    GR_ROW_END};

const struct gr_op gr_op_cast = {.name = "Cast",
                                 .domain = "",
                                 .since = 6,
                                 .min_in = 1,
                                 .max_in = 1,
                                 .min_out = 1,
                                 .max_out = 1,
                                 .params_size = sizeof(struct cast_params),
                                 .params = params,
                                 .infer = infer,
                                 .ref = ref,
                                 .ref_grad = ref_grad};

const struct gr_op gr_op_cast_like = {.name = "CastLike",
                                      .domain = "",
                                      .since = 15,
                                      .min_in = 2,
                                      .max_in = 2,
                                      .min_out = 1,
                                      .max_out = 1,
                                      .params_size = sizeof(struct cast_params),
                                      .params = like_params,
                                      .infer = infer_like,
                                      .ref = ref,
                                      .ref_grad = ref_grad};
