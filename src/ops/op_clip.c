/* What does Clip mean? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include <float.h>

static bool has_attributes(const struct gr_node *node)
{
    return node->opset < 11;
}

bool gr_clip_bounds(const struct gr_node *node, int n_in, const struct gr_tensor *const *konst,
                    double *lo, double *hi)
{
    const struct gr_clip_params *p = GR_PARAMS(node, struct gr_clip_params);
    double bound[2] = {-DBL_MAX, DBL_MAX};
    if (has_attributes(node)) {
        bound[0] = p->min > -FLT_MAX ? p->min : -DBL_MAX;
        bound[1] = p->max < FLT_MAX ? p->max : DBL_MAX;
    } else {
        for (int i = 1; i < n_in && i < 3; i++) {
            if (node->in[i] < 0)
                continue;
            if (!konst[i] || gr_tensor_count(konst[i]) != 1)
                return false;
            bound[i - 1] = gr_load_f64(konst[i]->dtype, konst[i]->data, 0);
        }
    }
    *lo = bound[0];
    *hi = bound[1];
    return true;
}

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    if (has_attributes(c->node) && c->n_in > 1)
        return gr_error(err, GRAFT_E_FORMAT, "%d inputs, expected 1 before operator set 11",
                        c->n_in);
    for (int i = 1; !s && i < c->n_in; i++) {
        if (!gr_infer_has(c, i))
            continue;
        s = gr_infer_same(c, i, err);
        if (!s && gr_shape_count(&c->in[i].shape) != 1)
            s = gr_error(err, GRAFT_E_SHAPE, "bound %d is no single number", i);
    }
    return s ? s : gr_infer_like_first(c, err);
}

static void bounds(const struct gr_node *node, int n_in, const struct gr_ref *in, double *lo,
                   double *hi)
{
    const struct gr_clip_params *p = GR_PARAMS(node, struct gr_clip_params);
    *lo = has_attributes(node) ? p->min : -DBL_MAX;
    *hi = has_attributes(node) ? p->max : DBL_MAX;
    if (gr_ref_has(n_in, in, 1))
        *lo = in[1].v[0];
    if (gr_ref_has(n_in, in, 2))
        *hi = in[2].v[0];
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out, (void)err;
    double lo, hi;
    bounds(node, n_in, in, &lo, &hi);
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++) {
        double x = in[0].v[i];
        x = x < lo ? lo : x;
        out->v[i] = x > hi ? hi : x; /* the upper bound wins where they cross */
    }
    return GRAFT_OK;
}

/* What y was taken from gets the gradient: X strictly between the bounds, else the bound. So a
   value on a bound has slope 0 as in ReLU and in PyTorch's relu6 and hardtanh (torch.clamp gives it
   1): y alone then tells the slope, and x need not be kept for it. One rule for all Clips. */
GR_GRAD(ref_grad)
{
    double lo, hi;
    bounds(node, n_in, in, &lo, &hi);
    if (!gr_grad_start(n_in, din, dout))
        return GRAFT_OK;
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++) {
        double x = in[0].v[i];
        int from = x >= hi || (x <= lo && lo > hi) ? 2 : x <= lo ? 1 : 0;
        if (gr_ref_has(n_in, din, from))
            din[from].v[from ? 0 : i] += dout->v[i];
    }
    return GRAFT_OK;
}

static const struct gr_param params[] = {
    GR_ROW_FLOAT(struct gr_clip_params, min, -FLT_MAX, "lower bound before operator set 11"),
    GR_ROW_FLOAT(struct gr_clip_params, max, FLT_MAX, "upper bound before operator set 11"),
    GR_ROW_END};

const struct gr_op gr_op_clip = {.name = "Clip",
                                 .domain = "",
                                 .since = 6,
                                 .min_in = 1,
                                 .max_in = 3,
                                 .min_out = 1,
                                 .max_out = 1,
                                 .params_size = sizeof(struct gr_clip_params),
                                 .params = params,
                                 .infer = infer,
                                 .ref = ref,
                                 .ref_grad = ref_grad};
