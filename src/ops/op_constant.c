/* What do the operators mean that make tensors from nothing: Constant, ConstantOfShape, Range? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include <math.h>

struct constant_params {
    const struct gr_tensor *value;
    int64_t value_int;
    float value_float;
    struct gr_ints value_ints;
    struct gr_floats value_floats;
    const char *value_string;
};

static enum graft_status infer_constant(struct gr_infer *c, struct graft_error *err)
{
    const struct constant_params *p = GR_PARAMS(c->node, struct constant_params);
    struct gr_shape y = {0};
    if (c->node->n_attrs != 1)
        return gr_error(err, GRAFT_E_FORMAT, "%zu attributes, expected exactly one value",
                        c->node->n_attrs);
    if (p->value_string || (p->value && !gr_dtype_size(p->value->dtype)))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "a value of type string is not supported");
    if (p->value)
        return gr_infer_out(c, 0, p->value->dtype, &p->value->shape, err);
    bool ints = gr_node_find_attr(c->node, "value_ints");
    if (ints || gr_node_find_attr(c->node, "value_floats")) {
        y.rank = 1;
        y.dim[0] = (int64_t)(ints ? p->value_ints.n : p->value_floats.n);
    }
    bool whole = ints || gr_node_find_attr(c->node, "value_int");
    return gr_infer_out(c, 0, whole ? GR_I64 : GR_F32, &y, err);
}

static enum graft_status ref_constant(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                      int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)in, (void)n_out, (void)err;
    const struct constant_params *p = GR_PARAMS(node, struct constant_params);
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++)
        out->v[i] = p->value ? gr_load_f64(p->value->dtype, p->value->data, (size_t)i)
                    : out->shape.rank
                        ? (p->value_ints.n ? (double)p->value_ints.v[i] : p->value_floats.v[i])
                    : out->dtype == GR_I64 ? (double)p->value_int
                                           : p->value_float;
    return GRAFT_OK;
}

static const struct gr_param constant_params[] = {
    {.name = "value",
     .kind = GR_PARAM_TENSOR,
     .offset = offsetof(struct constant_params, value),
     .help = "the tensor"},
    GR_ROW_INT(struct constant_params, value_int, 0, INT64_MIN, INT64_MAX, "one integer"),
    GR_ROW_INTS(struct constant_params, value_ints, INT64_MIN, INT64_MAX, "a list of integers"),
    GR_ROW_FLOAT(struct constant_params, value_float, 0, "one number"),
    {.name = "value_floats",
     .kind = GR_PARAM_FLOATS,
     .offset = offsetof(struct constant_params, value_floats),
     .help = "a list of numbers"},
    {.name = "value_string",
     .kind = GR_PARAM_STRING,
     .offset = offsetof(struct constant_params, value_string),
     .help = "unsupported"},
    GR_ROW_END};

const struct gr_op gr_op_constant = {.name = "Constant",
                                     .domain = "",
                                     .since = 1,
                                     .min_in = 0,
                                     .max_in = 0,
                                     .min_out = 1,
                                     .max_out = 1,
                                     .params_size = sizeof(struct constant_params),
                                     .params = constant_params,
                                     .infer = infer_constant,
                                     .ref = ref_constant};

/* ---- ConstantOfShape ------------------------------------------------------------------------- */

static enum graft_status infer_of_shape(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_tensor *value = GR_PARAMS(c->node, struct constant_params)->value;
    struct gr_shape y = {0};
    enum graft_status s = gr_infer_ints(c, 0, "shape", GR_MAX_RANK, &y.rank, y.dim, err);
    if (!s && value && (gr_tensor_count(value) != 1 || !gr_dtype_size(value->dtype)))
        s = gr_error(err, GRAFT_E_FORMAT, "attribute 'value' is no single number");
    return s ? s : gr_infer_out(c, 0, value ? value->dtype : GR_F32, &y, err);
}

static enum graft_status ref_of_shape(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                      int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in, (void)in, (void)n_out, (void)err;
    const struct gr_tensor *value = GR_PARAMS(node, struct constant_params)->value;
    double v = value ? gr_load_f64(value->dtype, value->data, 0) : 0;
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++)
        out->v[i] = v;
    return GRAFT_OK;
}

static const struct gr_param of_shape_params[] = {
    {.name = "value",
     .kind = GR_PARAM_TENSOR,
     .offset = offsetof(struct constant_params, value),
     .help = "one element, the value of all; absent: 0.0"},
    GR_ROW_END};

const struct gr_op gr_op_constant_of_shape = {.name = "ConstantOfShape",
                                              .domain = "",
                                              .since = 9,
                                              .min_in = 1,
                                              .max_in = 1,
                                              .min_out = 1,
                                              .max_out = 1,
                                              .params_size = sizeof(struct constant_params),
                                              .params = of_shape_params,
                                              .infer = infer_of_shape,
                                              .ref = ref_of_shape};

/* ---- Range ----------------------------------------------------------------------------------- */

static enum graft_status infer_range(struct gr_infer *c, struct graft_error *err)
{
    double v[3];
    for (int i = 0; i < 3; i++) {
        enum graft_status s = gr_infer_same(c, i, err);
        if (s)
            return s;
        if (!c->konst[i])
            return gr_error(err, GRAFT_E_UNSUPPORTED,
                            "input %d is computed while running, only constants are supported", i);
        if (gr_tensor_count(c->konst[i]) != 1)
            return gr_error(err, GRAFT_E_SHAPE, "input %d is no single number", i);
        v[i] = gr_load_f64(c->konst[i]->dtype, c->konst[i]->data, 0);
    }
    double count = ceil((v[1] - v[0]) / v[2]);
    if (v[2] == 0 || isnan(count) || count > (double)GR_MAX_COUNT)
        return gr_error(err, GRAFT_E_LIMIT, "a range from %g to %g in steps of %g", v[0], v[1],
                        v[2]);
    struct gr_shape y = {.rank = 1, .dim = {count > 0 ? (int64_t)count : 0}};
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static enum graft_status ref_range(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out, (void)err;
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++)
        out->v[i] = in[0].v[0] + (double)i * in[2].v[0];
    return GRAFT_OK;
}

const struct gr_op gr_op_range = {.name = "Range",
                                  .domain = "",
                                  .since = 11,
                                  .min_in = 3,
                                  .max_in = 3,
                                  .min_out = 1,
                                  .max_out = 1,
                                  .infer = infer_range,
                                  .ref = ref_range};
