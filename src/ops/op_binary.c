/* What do the operators mean that combine elements of broadcast inputs? */
#include "ops/op_util.h"
#include <math.h>

struct binary_params {
    int64_t fmod; /* Mod: sign of the dividend, as in C; else of the divisor */
};

static enum graft_status infer_broadcast(struct gr_infer *c, enum gr_dtype dtype,
                                         struct graft_error *err)
{
    struct gr_shape y = c->in[0].shape;
    enum graft_status s = GRAFT_OK;
    for (int i = 1; !s && i < c->n_in; i++)
        s = gr_shape_broadcast(&y, &c->in[i].shape, &y, err);
    return s ? s : gr_infer_out(c, 0, dtype, &y, err);
}

static enum graft_status check_same(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (int i = 1; !s && i < c->n_in; i++)
        s = gr_infer_has(c, i) ? gr_infer_same(c, i, err)
                               : gr_error(err, GRAFT_E_FORMAT, "input %d is missing", i);
    return s;
}

static enum graft_status infer_arithmetic(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = check_same(c, err);
    return s ? s : infer_broadcast(c, c->in[0].dtype, err);
}

static enum graft_status infer_compare(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = check_same(c, err);
    return s ? s : infer_broadcast(c, GR_BOOL, err);
}

static enum graft_status infer_logic(struct gr_infer *c, struct graft_error *err)
{
    if (c->in[0].dtype != GR_BOOL)
        return gr_error(err, GRAFT_E_FORMAT, "input 0 is %s, expected bool",
                        gr_dtype_name(c->in[0].dtype));
    return infer_compare(c, err);
}

static enum graft_status infer_pow(struct gr_infer *c, struct graft_error *err)
{
    return infer_broadcast(c, c->in[0].dtype, err);
}

/* The slope may only be repeated, not X. */
static enum graft_status infer_prelu(struct gr_infer *c, struct graft_error *err)
{
    struct gr_shape y;
    char tx[GR_SHAPE_TEXT], ts[GR_SHAPE_TEXT];
    enum graft_status s = check_same(c, err);
    if (!s)
        s = gr_shape_broadcast(&c->in[0].shape, &c->in[1].shape, &y, err);
    if (!s && !gr_shape_equal(&y, &c->in[0].shape))
        s = gr_error(err, GRAFT_E_SHAPE, "slope has shape %s, expected one that broadcasts to %s",
                     gr_shape_print(&c->in[1].shape, ts), gr_shape_print(&c->in[0].shape, tx));
    return s ? s : gr_infer_like_first(c, err);
}

static enum graft_status infer_where(struct gr_infer *c, struct graft_error *err)
{
    if (c->in[0].dtype != GR_BOOL)
        return gr_error(err, GRAFT_E_FORMAT, "input 0 is %s, expected bool",
                        gr_dtype_name(c->in[0].dtype));
    if (c->in[1].dtype != c->in[2].dtype)
        return gr_error(err, GRAFT_E_FORMAT, "input 2 is %s, expected %s as input 1",
                        gr_dtype_name(c->in[2].dtype), gr_dtype_name(c->in[1].dtype));
    return infer_broadcast(c, c->in[1].dtype, err);
}

typedef double binary_fn(double a, double b, enum gr_dtype type, bool flag);

static enum graft_status each(const struct gr_ref *a, const struct gr_ref *b, struct gr_ref *y,
                              binary_fn *f, bool flag)
{
    int64_t at[GR_MAX_RANK] = {0}, sa[GR_MAX_RANK], sb[GR_MAX_RANK], i = 0;
    int rank = y->shape.rank;
    if (!gr_ref_count(y))
        return GRAFT_OK;
    gr_strides_broadcast(&a->shape, &y->shape, sa);
    gr_strides_broadcast(&b->shape, &y->shape, sb);
    do
        y->v[i++] = gr_wrap(
            y->dtype, f(a->v[gr_dot(rank, at, sa)], b->v[gr_dot(rank, at, sb)], a->dtype, flag));
    while (gr_next(&y->shape, at));
    return GRAFT_OK;
}

typedef double slope_fn(double a, double b, double y);

/* da, db: the derivatives of y by a and b. What was repeated is summed. */
static void each_grad(const struct gr_ref *in, const struct gr_ref *out, const double *dy,
                      struct gr_ref *din, slope_fn *da, slope_fn *db)
{
    int64_t at[GR_MAX_RANK] = {0}, sa[GR_MAX_RANK], sb[GR_MAX_RANK], i = 0;
    int rank = out->shape.rank;
    gr_strides_broadcast(&in[0].shape, &out->shape, sa);
    gr_strides_broadcast(&in[1].shape, &out->shape, sb);
    do {
        int64_t at_a = gr_dot(rank, at, sa), at_b = gr_dot(rank, at, sb);
        double a = in[0].v[at_a], b = in[1].v[at_b], y = out->v[i];
        if (din[0].v)
            din[0].v[at_a] += dy[i] * da(a, b, y);
        if (din[1].v)
            din[1].v[at_b] += dy[i] * db(a, b, y);
        i++;
    } while (gr_next(&out->shape, at));
}

static double divide(double a, double b, enum gr_dtype type)
{
    return gr_dtype_is_float(type) ? a / b : b == 0 ? 0 : trunc(a / b);
}

static double power(double a, double b, enum gr_dtype type)
{
    double r = pow(a, b);
    return gr_dtype_is_float(type) ? r : trunc(r);
}

static double modulo(double a, double b, enum gr_dtype type, bool sign_of_a)
{
    if (b == 0 && !gr_dtype_is_float(type))
        return 0;
    double r = fmod(a, b);
    if (sign_of_a)
        return r;
    return r == 0 ? copysign(0, b) : (r < 0) != (b < 0) ? r + b : r;
}

#define OP(id, onnx_name, first_opset, n_min, n_max, size, table, infer_rule, grad_fn)             \
    const struct gr_op gr_op_##id = {.name = onnx_name,                                            \
                                     .domain = "",                                                 \
                                     .since = first_opset,                                         \
                                     .min_in = n_min,                                              \
                                     .max_in = n_max,                                              \
                                     .min_out = 1,                                                 \
                                     .max_out = 1,                                                 \
                                     .params_size = size,                                          \
                                     .params = table,                                              \
                                     .infer = infer_rule,                                          \
                                     .ref = ref_##id,                                              \
                                     .ref_grad = grad_fn}

/* `expr` sees the elements a and b, the type of input 0 and the attribute `fmod` as `flag`. */
#define BINARY(id, onnx_name, first_opset, infer_rule, table, expr, grad_fn)                       \
    static double f_##id(double a, double b, enum gr_dtype type, bool flag)                        \
    {                                                                                              \
        (void)type, (void)flag;                                                                    \
        return expr;                                                                               \
    }                                                                                              \
    static enum graft_status ref_##id(const struct gr_node *node, int n_in,                        \
                                      const struct gr_ref *in, int n_out, struct gr_ref *out,      \
                                      struct graft_error *err)                                     \
    {                                                                                              \
        (void)n_in, (void)n_out, (void)err;                                                        \
        return each(&in[0], &in[1], out, f_##id, GR_PARAMS(node, struct binary_params)->fmod);     \
    }                                                                                              \
    OP(id, onnx_name, first_opset, 2, 2, sizeof(struct binary_params), table, infer_rule, grad_fn)

/* No gradient: truth values. */
#define TRUTH(id, onnx_name, first_opset, infer_rule, expr)                                        \
    BINARY(id, onnx_name, first_opset, infer_rule, NULL, expr, NULL)
/* The derivatives by a and b also see y = expr. */
#define SMOOTH(id, onnx_name, first_opset, infer_rule, table, expr, by_a, by_b)                    \
    static double da_##id(double a, double b, double y)                                            \
    {                                                                                              \
        (void)a, (void)b, (void)y;                                                                 \
        return by_a;                                                                               \
    }                                                                                              \
    static double db_##id(double a, double b, double y)                                            \
    {                                                                                              \
        (void)a, (void)b, (void)y;                                                                 \
        return by_b;                                                                               \
    }                                                                                              \
    GR_GRAD(grad_##id)                                                                             \
    {                                                                                              \
        if (gr_grad_start(n_in, din, dout))                                                        \
            each_grad(in, out, dout->v, din, da_##id, db_##id);                                    \
        return GRAFT_OK;                                                                           \
    }                                                                                              \
    BINARY(id, onnx_name, first_opset, infer_rule, table, expr, grad_##id)

SMOOTH(add, "Add", 7, infer_arithmetic, NULL, a + b, 1, 1);
TRUTH(and, "And", 7, infer_logic, a != 0 && b != 0);
SMOOTH(div, "Div", 7, infer_arithmetic, NULL, divide(a, b, type), 1 / b, -y / b);
TRUTH(equal, "Equal", 7, infer_compare, a == b);
TRUTH(greater, "Greater", 7, infer_compare, a > b);
TRUTH(greater_or_equal, "GreaterOrEqual", 12, infer_compare, a >= b);
TRUTH(less, "Less", 7, infer_compare, a < b);
TRUTH(less_or_equal, "LessOrEqual", 12, infer_compare, a <= b);
SMOOTH(mul, "Mul", 7, infer_arithmetic, NULL, a *b, b, a);
TRUTH(or, "Or", 7, infer_logic, a != 0 || b != 0);
SMOOTH(pow, "Pow", 7, infer_pow, NULL, power(a, b, type), b == 0 ? 0 : b * pow(a, b - 1),
       y == 0 ? 0 : y * log(a));
SMOOTH(prelu, "PRelu", 7, infer_prelu, NULL, (a < 0 ? a * b : a), (a > 0 ? 1 : b), (a > 0 ? 0 : a));
SMOOTH(sub, "Sub", 7, infer_arithmetic, NULL, a - b, 1, -1);
TRUTH(xor, "Xor", 7, infer_logic, (a != 0) != (b != 0));

static const struct gr_param mod_params[] = {
    GR_ROW_BOOL(struct binary_params, fmod, 0, "the result has the sign of the dividend"),
    GR_ROW_END};
SMOOTH(mod, "Mod", 10, infer_arithmetic, mod_params, modulo(a, b, type, flag), 1, (y - a) / b);

static enum graft_status ref_where(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out, (void)err;
    int64_t at[GR_MAX_RANK] = {0}, stride[3][GR_MAX_RANK], i = 0;
    int rank = out->shape.rank;
    if (!gr_ref_count(out))
        return GRAFT_OK;
    for (int k = 0; k < 3; k++)
        gr_strides_broadcast(&in[k].shape, &out->shape, stride[k]);
    do {
        int from = in[0].v[gr_dot(rank, at, stride[0])] != 0 ? 1 : 2;
        out->v[i++] = in[from].v[gr_dot(rank, at, stride[from])];
    } while (gr_next(&out->shape, at));
    return GRAFT_OK;
}

GR_GRAD(grad_where)
{
    int64_t at[GR_MAX_RANK] = {0}, stride[3][GR_MAX_RANK], i = 0;
    int rank = out->shape.rank;
    if (!gr_grad_start(n_in, din, dout))
        return GRAFT_OK;
    for (int k = 0; k < 3; k++)
        gr_strides_broadcast(&in[k].shape, &out->shape, stride[k]);
    do {
        int from = in[0].v[gr_dot(rank, at, stride[0])] != 0 ? 1 : 2;
        if (din[from].v)
            din[from].v[gr_dot(rank, at, stride[from])] += dout->v[i];
        i++;
    } while (gr_next(&out->shape, at));
    return GRAFT_OK;
}
OP(where, "Where", 9, 3, 3, 0, NULL, infer_where, grad_where);

/* Min, Max, Sum, Mean of any number of inputs: the first copied, the others combined in turn. */
static enum graft_status fold(int n_in, const struct gr_ref *in, struct gr_ref *y, binary_fn *f)
{
    for (int k = 0; k < n_in; k++) {
        int64_t at[GR_MAX_RANK] = {0}, st[GR_MAX_RANK], i = 0;
        gr_strides_broadcast(&in[k].shape, &y->shape, st);
        if (!gr_ref_count(y))
            return GRAFT_OK;
        do {
            double b = in[k].v[gr_dot(y->shape.rank, at, st)];
            y->v[i] = k ? f(y->v[i], b, y->dtype, false) : b;
            i++;
        } while (gr_next(&y->shape, at));
    }
    return GRAFT_OK;
}

static double f_min(double a, double b, enum gr_dtype type, bool flag)
{
    (void)type, (void)flag;
    return isnan(a) || a < b ? a : b;
}

static double f_max(double a, double b, enum gr_dtype type, bool flag)
{
    (void)type, (void)flag;
    return isnan(a) || a > b ? a : b;
}

/* Sum, Mean: every input gets the same share. */
static void share(const struct gr_ref *in, int n_in, const struct gr_ref *dout, struct gr_ref *din,
                  double part)
{
    for (int k = 0; k < n_in; k++) {
        int64_t st[GR_MAX_RANK];
        if (!din[k].v)
            continue;
        gr_strides_broadcast(&in[k].shape, &dout->shape, st);
        gr_grad_strided(din[k].v, &dout->shape, dout->v, 0, st);
        for (int64_t i = 0, n = gr_ref_count(&in[k]); i < n; i++)
            din[k].v[i] *= part;
    }
}

GR_GRAD(grad_sum)
{
    if (gr_grad_start(n_in, din, dout))
        share(in, n_in, dout, din, 1);
    return GRAFT_OK;
}

GR_GRAD(grad_mean)
{
    if (gr_grad_start(n_in, din, dout))
        share(in, n_in, dout, din, 1 / (double)n_in);
    return GRAFT_OK;
}

/* Max, Min: of equal ones the first input gets it all. */
GR_GRAD(grad_chosen)
{
    int64_t at[GR_MAX_RANK] = {0}, st[GR_MAX_RANK], i = 0;
    int rank = out->shape.rank;
    if (!gr_grad_start(n_in, din, dout))
        return GRAFT_OK;
    do {
        for (int k = 0; k < n_in; k++) {
            gr_strides_broadcast(&in[k].shape, &out->shape, st);
            int64_t from = gr_dot(rank, at, st);
            if (in[k].v[from] != out->v[i])
                continue;
            if (din[k].v)
                din[k].v[from] += dout->v[i];
            break;
        }
        i++;
    } while (gr_next(&out->shape, at));
    return GRAFT_OK;
}

#define VARIADIC(id, onnx_name, first_opset, fn, scale, grad_fn)                                   \
    static enum graft_status ref_##id(const struct gr_node *node, int n_in,                        \
                                      const struct gr_ref *in, int n_out, struct gr_ref *out,      \
                                      struct graft_error *err)                                     \
    {                                                                                              \
        (void)node, (void)n_out, (void)err;                                                        \
        fold(n_in, in, out, fn);                                                                   \
        for (int64_t i = 0, n = gr_ref_count(out); i < n; i++)                                     \
            out->v[i] /= (scale);                                                                  \
        return GRAFT_OK;                                                                           \
    }                                                                                              \
    OP(id, onnx_name, first_opset, 1, GR_MAX_ARITY, 0, NULL, infer_arithmetic, grad_fn)

VARIADIC(max, "Max", 6, f_max, 1, grad_chosen);
VARIADIC(mean, "Mean", 6, f_add, n_in, grad_mean);
VARIADIC(min, "Min", 6, f_min, 1, grad_chosen);
VARIADIC(sum, "Sum", 6, f_add, 1, grad_sum);
