/* What do the operators mean that map each element on its own? */
#include "ops/op_params.h"
#include "ops/op_util.h"
#include <math.h>

typedef double unary_fn(double x, const struct gr_unary_params *p);

static enum graft_status each(const struct gr_node *node, const struct gr_ref *in,
                              struct gr_ref *out, unary_fn *f)
{
    const struct gr_unary_params *p = GR_PARAMS(node, struct gr_unary_params);
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++)
        out->v[i] = gr_wrap(out->dtype, f(in->v[i], p));
    return GRAFT_OK;
}

typedef double slope_fn(double x, double y, const struct gr_unary_params *p);

static void each_grad(const struct gr_node *node, const struct gr_ref *in, const struct gr_ref *out,
                      const struct gr_ref *dout, struct gr_ref *din, slope_fn *slope)
{
    const struct gr_unary_params *p = GR_PARAMS(node, struct gr_unary_params);
    for (int64_t i = 0, n = gr_ref_count(out); i < n; i++)
        din->v[i] = dout->v[i] * slope(in->v[i], out->v[i], p);
}

static enum graft_status infer_bool(struct gr_infer *c, struct graft_error *err)
{
    if (c->in[0].dtype != GR_BOOL)
        return gr_error(err, GRAFT_E_FORMAT, "input 0 is %s, expected bool",
                        gr_dtype_name(c->in[0].dtype));
    return gr_infer_like_first(c, err);
}

static enum graft_status infer_to_bool(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = gr_infer_float(c, 0, err);
    return s ? s : gr_infer_out(c, 0, GR_BOOL, &c->in[0].shape, err);
}

/* `expr` sees the element x and the attributes p. */
#define UNARY(id, onnx_name, first_opset, infer_rule, table, expr, grad_fn)                        \
    static double f_##id(double x, const struct gr_unary_params *p)                                \
    {                                                                                              \
        (void)p;                                                                                   \
        return expr;                                                                               \
    }                                                                                              \
    static enum graft_status ref_##id(const struct gr_node *node, int n_in,                        \
                                      const struct gr_ref *in, int n_out, struct gr_ref *out,      \
                                      struct graft_error *err)                                     \
    {                                                                                              \
        (void)n_in, (void)n_out, (void)err;                                                        \
        return each(node, in, out, f_##id);                                                        \
    }                                                                                              \
    const struct gr_op gr_op_##id = {.name = onnx_name,                                            \
                                     .domain = "",                                                 \
                                     .since = first_opset,                                         \
                                     .min_in = 1,                                                  \
                                     .max_in = 1,                                                  \
                                     .min_out = 1,                                                 \
                                     .max_out = 1,                                                 \
                                     .params_size = sizeof(struct gr_unary_params),                \
                                     .params = table,                                              \
                                     .infer = infer_rule,                                          \
                                     .ref = ref_##id,                                              \
                                     .ref_grad = grad_fn}

/* No useful gradient: steps, truth values. */
#define STEP(id, onnx_name, first_opset, infer_rule, expr)                                         \
    UNARY(id, onnx_name, first_opset, infer_rule, NULL, expr, NULL)
/* `slope`, the derivative of `expr`, also sees y = expr. */
#define SMOOTH(id, onnx_name, first_opset, infer_rule, table, expr, slope)                         \
    static double d_##id(double x, double y, const struct gr_unary_params *p)                      \
    {                                                                                              \
        (void)x, (void)y, (void)p;                                                                 \
        return slope;                                                                              \
    }                                                                                              \
    GR_GRAD(grad_##id)                                                                             \
    {                                                                                              \
        if (gr_grad_start(n_in, din, dout) && din[0].v)                                            \
            each_grad(node, in, out, dout, din, d_##id);                                           \
        return GRAFT_OK;                                                                           \
    }                                                                                              \
    UNARY(id, onnx_name, first_opset, infer_rule, table, expr, grad_##id)

#define FLOAT_ROW(field, onnx_name, default_, help_)                                               \
    {                                                                                              \
        .name = onnx_name, .kind = GR_PARAM_FLOAT,                                                 \
        .offset = offsetof(struct gr_unary_params, field), .def = (default_), .help = (help_)      \
    }

static const struct gr_param leaky_relu_params[] = {
    FLOAT_ROW(alpha, "alpha", 0.01, "slope for x < 0"), GR_ROW_END};
static const struct gr_param elu_params[] = {FLOAT_ROW(alpha, "alpha", 1, "limit for x -> -inf"),
                                             GR_ROW_END};
static const struct gr_param thresholded_params[] = {FLOAT_ROW(alpha, "alpha", 1, "the threshold"),
                                                     GR_ROW_END};
static const struct gr_param selu_params[] = {
    FLOAT_ROW(alpha, "alpha", 1.67326319217681884765625, "limit for x -> -inf, over gamma"),
    FLOAT_ROW(gamma, "gamma", 1.05070102214813232421875, "slope for x > 0"), GR_ROW_END};
static const struct gr_param hard_sigmoid_params[] = {FLOAT_ROW(alpha, "alpha", 0.2, "slope"),
                                                      FLOAT_ROW(beta, "beta", 0.5, "value at 0"),
                                                      GR_ROW_END};
static const struct gr_param shrink_params[] = {
    FLOAT_ROW(alpha, "lambd", 0.5, "elements in -lambd..lambd become 0"),
    FLOAT_ROW(beta, "bias", 0, "the others move towards 0 by this"), GR_ROW_END};
static const char *const gelu_choices[] = {"none", "tanh", NULL};
static const struct gr_param gelu_params[] = {
    GR_ROW_CHOICE(struct gr_unary_params, approximate, 0, gelu_choices, "exact, or by tanh"),
    GR_ROW_END};

static double elu(double x, double alpha)
{
    return x < 0 ? alpha * expm1(x) : x;
}

static double clamp01(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double gelu(double x, bool by_tanh)
{
    const double pi = 3.14159265358979323846;
    return by_tanh ? 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)))
                   : 0.5 * x * (1 + erf(x / sqrt(2)));
}

static double gelu_slope(double x, bool by_tanh)
{
    const double pi = 3.14159265358979323846, c = 0.044715;
    if (!by_tanh)
        return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x * x / 2) / sqrt(2 * pi);
    double t = tanh(sqrt(2 / pi) * (x + c * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt(2 / pi) * (1 + 3 * c * x * x);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double mish_slope(double x)
{
    double t = tanh(softplus(x));
    return t + x * (1 - t * t) * sigmoid(x);
}

static double shrink(double x, const struct gr_unary_params *p)
{
    return x < -p->alpha ? x + p->beta : x > p->alpha ? x - p->beta : 0;
}

/* At a kink the slope is the one PyTorch gives: 0 for Relu and Abs at 0. */
SMOOTH(abs, "Abs", 6, gr_infer_like_first, NULL, fabs(x), (x > 0) - (x < 0));
SMOOTH(acos, "Acos", 7, gr_infer_like_first_float, NULL, acos(x), -1 / sqrt(1 - x * x));
SMOOTH(acosh, "Acosh", 9, gr_infer_like_first_float, NULL, acosh(x), 1 / sqrt(x * x - 1));
SMOOTH(asin, "Asin", 7, gr_infer_like_first_float, NULL, asin(x), 1 / sqrt(1 - x * x));
SMOOTH(asinh, "Asinh", 9, gr_infer_like_first_float, NULL, asinh(x), 1 / sqrt(1 + x * x));
SMOOTH(atan, "Atan", 7, gr_infer_like_first_float, NULL, atan(x), 1 / (1 + x * x));
SMOOTH(atanh, "Atanh", 9, gr_infer_like_first_float, NULL, atanh(x), 1 / (1 - x * x));
STEP(ceil, "Ceil", 6, gr_infer_like_first_float, ceil(x));
SMOOTH(celu, "Celu", 12, gr_infer_like_first_float, elu_params,
       p->alpha == 0 ? fmax(x, 0) : fmax(x, 0) + fmin(0, p->alpha *expm1(x / p->alpha)),
       x > 0           ? 1
       : p->alpha == 0 ? 0
                       : exp(x / p->alpha));
SMOOTH(cos, "Cos", 7, gr_infer_like_first_float, NULL, cos(x), -sin(x));
SMOOTH(cosh, "Cosh", 9, gr_infer_like_first_float, NULL, cosh(x), sinh(x));
SMOOTH(elu, "Elu", 6, gr_infer_like_first_float, elu_params, elu(x, p->alpha),
       x > 0 ? 1 : p->alpha * exp(x));
SMOOTH(erf, "Erf", 9, gr_infer_like_first_float, NULL, erf(x),
       2 / sqrt(3.14159265358979323846) * exp(-x * x));
SMOOTH(exp, "Exp", 6, gr_infer_like_first_float, NULL, exp(x), y);
STEP(floor, "Floor", 6, gr_infer_like_first_float, floor(x));
SMOOTH(gelu, "Gelu", 20, gr_infer_like_first_float, gelu_params, gelu(x, p->approximate),
       gelu_slope(x, p->approximate));
SMOOTH(hard_sigmoid, "HardSigmoid", 6, gr_infer_like_first_float, hard_sigmoid_params,
       clamp01(p->alpha *x + p->beta), y > 0 && y < 1 ? p->alpha : 0);
SMOOTH(hard_swish, "HardSwish", 14, gr_infer_like_first_float, NULL, x *clamp01(x / 6 + 0.5),
       x <= -3  ? 0
       : x >= 3 ? 1
                : x / 3 + 0.5);
STEP(is_nan, "IsNaN", 9, infer_to_bool, isnan(x));
SMOOTH(leaky_relu, "LeakyRelu", 6, gr_infer_like_first_float, leaky_relu_params,
       (x < 0 ? p->alpha * x : x), (x > 0 ? 1 : p->alpha));
SMOOTH(log, "Log", 6, gr_infer_like_first_float, NULL, log(x), 1 / x);
SMOOTH(mish, "Mish", 18, gr_infer_like_first_float, NULL, x *tanh(softplus(x)), mish_slope(x));
SMOOTH(neg, "Neg", 6, gr_infer_like_first, NULL, -x, -1);
STEP(not, "Not", 1, infer_bool, x == 0);
SMOOTH(reciprocal, "Reciprocal", 6, gr_infer_like_first_float, NULL, 1 / x, -y *y);
SMOOTH(relu, "Relu", 6, gr_infer_like_first, NULL, (x < 0 ? 0 : x), x > 0);
STEP(round, "Round", 11, gr_infer_like_first_float, nearbyint(x));
SMOOTH(selu, "Selu", 6, gr_infer_like_first_float, selu_params,
       p->gamma *elu(x, x < 0 ? p->alpha : 1), p->gamma *(x > 0 ? 1 : p->alpha * exp(x)));
SMOOTH(shrink, "Shrink", 9, gr_infer_like_first, shrink_params, shrink(x, p), fabs(x) > p->alpha);
SMOOTH(sigmoid, "Sigmoid", 6, gr_infer_like_first_float, NULL, sigmoid(x), y *(1 - y));
STEP(sign, "Sign", 9, gr_infer_like_first, isnan(x) ? x : (x > 0) - (x < 0));
SMOOTH(sin, "Sin", 7, gr_infer_like_first_float, NULL, sin(x), cos(x));
SMOOTH(sinh, "Sinh", 9, gr_infer_like_first_float, NULL, sinh(x), cosh(x));
SMOOTH(softplus, "Softplus", 1, gr_infer_like_first_float, NULL, softplus(x), sigmoid(x));
SMOOTH(softsign, "Softsign", 1, gr_infer_like_first_float, NULL, x / (1 + fabs(x)),
       1 / ((1 + fabs(x)) * (1 + fabs(x))));
SMOOTH(sqrt, "Sqrt", 6, gr_infer_like_first_float, NULL, sqrt(x), 0.5 / y);
SMOOTH(tan, "Tan", 7, gr_infer_like_first_float, NULL, tan(x), 1 + y * y);
SMOOTH(tanh, "Tanh", 6, gr_infer_like_first_float, NULL, tanh(x), 1 - y * y);
SMOOTH(thresholded_relu, "ThresholdedRelu", 10, gr_infer_like_first_float, thresholded_params,
       x > p->alpha ? x : 0, x > p->alpha);
