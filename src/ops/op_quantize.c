/* What do QuantizeLinear and DequantizeLinear mean? */
#include "ops/op_util.h"
#include <math.h>

struct quantize_params {
    int64_t axis, block_size, saturate, output_dtype;
};

/* Scale (and zero point) are one number, or one for each position of the axis. */
static enum graft_status check_scale(struct gr_infer *c, struct graft_error *err)
{
    const struct quantize_params *p = GR_PARAMS(c->node, struct quantize_params);
    const struct gr_shape *scale = &c->in[1].shape;
    int axis = 0;
    enum graft_status s = gr_infer_float(c, 1, err);
    if (!s && p->block_size)
        s = gr_error(err, GRAFT_E_UNSUPPORTED,
                     "attribute 'block_size' is %lld, only 0 is supported",
                     (long long)p->block_size);
    if (!s && gr_infer_has(c, 2) && !gr_shape_equal(&c->in[2].shape, scale))
        s = gr_error(err, GRAFT_E_SHAPE, "scale and zero point have different shapes");
    if (s || gr_shape_count(scale) == 1)
        return s;
    if ((s = gr_check_axis(p->axis, c->in[0].shape.rank, &axis, err)))
        return s;
    return gr_infer_vector(c, 1, c->in[0].shape.dim[axis], err);
}

static enum graft_status infer_quantize(struct gr_infer *c, struct graft_error *err)
{
    const struct quantize_params *p = GR_PARAMS(c->node, struct quantize_params);
    enum gr_dtype to = gr_infer_has(c, 2) ? c->in[2].dtype
                       : p->output_dtype  ? (enum gr_dtype)p->output_dtype
                                          : GR_U8;
    enum graft_status s = check_scale(c, err);
    if (!s && (!gr_dtype_is_int(to) || gr_dtype_size(to) > 2))
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "quantizing to type %d is not supported", to);
    return s ? s : gr_infer_out(c, 0, to, &c->in[0].shape, err);
}

static enum graft_status infer_dequantize(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = gr_infer_integer(c, 0, err);
    if (!s)
        s = check_scale(c, err);
    if (!s && gr_infer_has(c, 2))
        s = gr_infer_same(c, 2, err);
    return s ? s : gr_infer_out(c, 0, c->in[1].dtype, &c->in[0].shape, err);
}

static enum graft_status each(const struct gr_node *node, int n_in, const struct gr_ref *in,
                              struct gr_ref *y, bool quantize)
{
    const struct gr_shape *x = &in[0].shape;
    int64_t n_scale = gr_ref_count(&in[1]), inner = 1;
    if (n_scale != 1) {
        int axis = gr_axis(GR_PARAMS(node, struct quantize_params)->axis, x->rank);
        inner = gr_shape_count_range(x, axis + 1, x->rank);
    }
    for (int64_t i = 0, n = gr_ref_count(y); i < n; i++) {
        int64_t k = i / inner % n_scale;
        double zero = gr_ref_has(n_in, in, 2) ? in[2].v[k] : 0, v = in[0].v[i];
        /* The quotient is one of float32: which side of a half it falls on is part of the meaning.
         */
        y->v[i] = quantize ? nearbyint((float)(v / in[1].v[k])) + zero : (v - zero) * in[1].v[k];
    }
    return GRAFT_OK; /* storing saturates */
}

static enum graft_status ref_quantize(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                      int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out, (void)err;
    return each(node, n_in, in, out, true);
}

static enum graft_status ref_dequantize(const struct gr_node *node, int n_in,
                                        const struct gr_ref *in, int n_out, struct gr_ref *out,
                                        struct graft_error *err)
{
    (void)n_out, (void)err;
    return each(node, n_in, in, out, false);
}

static const struct gr_param params[] = {
    GR_ROW_INT(struct quantize_params, axis, 1, -GR_LONG, GR_LONG, "the axis that scale is for"),
    GR_ROW_INT(struct quantize_params, block_size, 0, 0, GR_LONG, "unsupported unless 0"),
    GR_ROW_BOOL(struct quantize_params, saturate, 1, "for 8-bit floats, which are unsupported"),
    GR_ROW_INT(struct quantize_params, output_dtype, 0, 0, 64, "without zero point; 0: uint8"),
    GR_ROW_END};

const struct gr_op gr_op_quantize_linear = {.name = "QuantizeLinear",
                                            .domain = "",
                                            .since = 10,
                                            .min_in = 2,
                                            .max_in = 3,
                                            .min_out = 1,
                                            .max_out = 1,
                                            .params_size = sizeof(struct quantize_params),
                                            .params = params,
                                            .infer = infer_quantize,
                                            .ref = ref_quantize};

const struct gr_op gr_op_dequantize_linear = {.name = "DequantizeLinear",
                                              .domain = "",
                                              .since = 10,
                                              .min_in = 2,
                                              .max_in = 3,
                                              .min_out = 1,
                                              .max_out = 1,
                                              .params_size = sizeof(struct quantize_params),
                                              .params = params,
                                              .infer = infer_dequantize,
                                              .ref = ref_dequantize};
