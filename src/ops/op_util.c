/* What do shape rules and references have in common? */
#include "ops/op_util.h"
#include <math.h>
#include <string.h>

enum graft_status gr_infer_out(struct gr_infer *c, int i, enum gr_dtype dtype,
                               const struct gr_shape *shape, struct graft_error *err)
{
    char text[GR_SHAPE_TEXT];
    if (i >= c->n_out)
        return GRAFT_OK;
    if (c->node->out[i] < 0 && i < c->node->op->min_out)
        return gr_error(err, GRAFT_E_FORMAT, "output %d is missing", i);
    if (shape->rank > GR_MAX_RANK || gr_shape_count(shape) < 0)
        return gr_error(err, GRAFT_E_LIMIT, "output %d would have shape %s, which is too large", i,
                        gr_shape_print(shape, text));
    c->out[i] = (struct gr_type){dtype, *shape};
    return GRAFT_OK;
}

bool gr_dtype_is_float(enum gr_dtype t)
{
    return t == GR_F32 || t == GR_F64 || t == GR_F16 || t == GR_BF16;
}

bool gr_dtype_is_int(enum gr_dtype t)
{
    return gr_dtype_size(t) && !gr_dtype_is_float(t) && t != GR_BOOL;
}

enum graft_status gr_infer_float(const struct gr_infer *c, int i, struct graft_error *err)
{
    if (!gr_dtype_is_float(c->in[i].dtype))
        return gr_error(err, GRAFT_E_FORMAT, "input %d is %s, expected a floating-point type", i,
                        gr_dtype_name(c->in[i].dtype));
    return GRAFT_OK;
}

enum graft_status gr_infer_integer(const struct gr_infer *c, int i, struct graft_error *err)
{
    if (!gr_dtype_is_int(c->in[i].dtype))
        return gr_error(err, GRAFT_E_FORMAT, "input %d is %s, expected an integer type", i,
                        gr_dtype_name(c->in[i].dtype));
    return GRAFT_OK;
}

enum graft_status gr_infer_same(const struct gr_infer *c, int i, struct graft_error *err)
{
    if (c->in[i].dtype != c->in[0].dtype)
        return gr_error(err, GRAFT_E_FORMAT, "input %d is %s, expected %s as input 0", i,
                        gr_dtype_name(c->in[i].dtype), gr_dtype_name(c->in[0].dtype));
    return GRAFT_OK;
}

enum graft_status gr_infer_rank(const struct gr_infer *c, int i, int min, int max,
                                struct graft_error *err)
{
    char text[GR_SHAPE_TEXT];
    if (c->in[i].shape.rank < min || c->in[i].shape.rank > max)
        return gr_error(err, GRAFT_E_SHAPE, "input %d has shape %s, expected rank %d to %d", i,
                        gr_shape_print(&c->in[i].shape, text), min, max);
    return GRAFT_OK;
}

enum graft_status gr_infer_vector(const struct gr_infer *c, int i, int64_t n,
                                  struct graft_error *err)
{
    char text[GR_SHAPE_TEXT];
    if (c->in[i].shape.rank != 1 || c->in[i].shape.dim[0] != n)
        return gr_error(err, GRAFT_E_SHAPE, "input %d has shape %s, expected (%lld)", i,
                        gr_shape_print(&c->in[i].shape, text), (long long)n);
    return GRAFT_OK;
}

enum graft_status gr_infer_ints(const struct gr_infer *c, int i, const char *what, int max, int *n,
                                int64_t *v, struct graft_error *err)
{
    const struct gr_tensor *t = c->konst[i];
    enum graft_status s = gr_infer_rank(c, i, 0, 1, err);
    if (!s)
        s = gr_infer_integer(c, i, err);
    if (s)
        return s;
    if (!t)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "input %d ('%s') is computed while running, only constants are supported",
                        i, what);
    int64_t count = gr_tensor_count(t);
    if (count > max)
        return gr_error(err, GRAFT_E_SHAPE, "input %d ('%s') has %lld numbers, expected at most %d",
                        i, what, (long long)count, max);
    for (int64_t k = 0; k < count; k++)
        v[k] = gr_load_i64(t->dtype, t->data, (size_t)k);
    *n = (int)count;
    return GRAFT_OK;
}

enum graft_status gr_check_axis(int64_t axis, int rank, int *out, struct graft_error *err)
{
    int a = gr_axis(axis, rank);
    if (a < 0)
        return gr_error(err, GRAFT_E_SHAPE, "axis %lld of a tensor of rank %d", (long long)axis,
                        rank);
    *out = a;
    return GRAFT_OK;
}

enum graft_status gr_check_axes(size_t n, const int64_t *axes, int rank, bool *in_set,
                                struct graft_error *err)
{
    int a = 0;
    for (int i = 0; i < rank; i++)
        in_set[i] = false;
    for (size_t i = 0; i < n; i++) {
        enum graft_status s = gr_check_axis(axes[i], rank, &a, err);
        if (s)
            return s;
        if (in_set[a])
            return gr_error(err, GRAFT_E_FORMAT, "axis %d is named twice", a);
        in_set[a] = true;
    }
    return GRAFT_OK;
}

enum graft_status gr_infer_like_first(struct gr_infer *c, struct graft_error *err)
{
    return gr_infer_out(c, 0, c->in[0].dtype, &c->in[0].shape, err);
}

enum graft_status gr_infer_like_first_float(struct gr_infer *c, struct graft_error *err)
{
    enum graft_status s = gr_infer_float(c, 0, err);
    return s ? s : gr_infer_like_first(c, err);
}

double gr_macs_per_output(const struct gr_type *out, double per_element)
{
    return (double)gr_shape_count(&out->shape) * per_element;
}

int64_t gr_to_int(double v)
{
    int64_t r;
    gr_store_f64(GR_I64, &r, 0, v);
    return r;
}

enum graft_status gr_ref_ints(const struct gr_ref *r, int max, int *n, int64_t *v,
                              struct graft_error *err)
{
    int64_t count = gr_ref_count(r);
    if (count > max)
        return gr_error(err, GRAFT_E_SHAPE, "%lld numbers, expected at most %d", (long long)count,
                        max);
    for (int64_t i = 0; i < count; i++)
        v[i] = gr_to_int(r->v[i]);
    *n = (int)count;
    return GRAFT_OK;
}

double gr_wrap(enum gr_dtype t, double v)
{
    size_t size = gr_dtype_size(t);
    if (!gr_dtype_is_int(t) || size > 4 || !isfinite(v))
        return v;
    double range = ldexp(1, (int)size * 8);
    v -= range * floor(v / range);
    return (t == GR_I8 || t == GR_I16 || t == GR_I32) && v >= range / 2 ? v - range : v;
}

void gr_strides(const struct gr_shape *s, int64_t *stride)
{
    int64_t n = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        stride[i] = n;
        n *= s->dim[i];
    }
}

void gr_strides_broadcast(const struct gr_shape *from, const struct gr_shape *to, int64_t *stride)
{
    int64_t n = 1;
    int skip = to->rank - from->rank;
    for (int i = to->rank - 1; i >= 0; i--) {
        int64_t d = i < skip ? 1 : from->dim[i - skip];
        stride[i] = d == 1 ? 0 : n;
        n *= d;
    }
}

void gr_ref_strided(double *y, const struct gr_shape *shape, const double *x, int64_t offset,
                    const int64_t *stride)
{
    int64_t at[GR_MAX_RANK] = {0};
    if (gr_shape_count(shape) <= 0)
        return;
    do
        *y++ = x[offset + gr_dot(shape->rank, at, stride)];
    while (gr_next(shape, at));
}

bool gr_grad_start(int n_in, struct gr_ref *din, const struct gr_ref *dout)
{
    for (int i = 0; i < n_in; i++)
        if (din[i].v)
            memset(din[i].v, 0, (size_t)gr_ref_count(&din[i]) * sizeof *din[i].v);
    return dout[0].v && gr_ref_count(&dout[0]);
}

void gr_grad_strided(double *dx, const struct gr_shape *shape, const double *dy, int64_t offset,
                     const int64_t *stride)
{
    int64_t at[GR_MAX_RANK] = {0};
    if (gr_shape_count(shape) <= 0)
        return;
    do
        dx[offset + gr_dot(shape->rank, at, stride)] += *dy++;
    while (gr_next(shape, at));
}
