/* What shape rules and references have in common. */
#ifndef GR_OPS_OP_UTIL_H
#define GR_OPS_OP_UTIL_H

#include "core/op.h"
#include <limits.h>

/* ---- attribute table rows; GR_ROW_END closes a table ---------------------------------------- */

#define GR_LONG ((int64_t)1 << 31) /* no size, pad or stride is larger */

#define GR_ROW_INT(type, field, default_, min_, max_, help_)                                       \
    {                                                                                              \
        .name = #field, .kind = GR_PARAM_INT, .offset = offsetof(type, field), .def = (default_),  \
        .min = (min_), .max = (max_), .help = (help_)                                              \
    }
#define GR_ROW_BOOL(type, field, default_, help_)                                                  \
    {                                                                                              \
        .name = #field, .kind = GR_PARAM_BOOL, .offset = offsetof(type, field), .def = (default_), \
        .max = 1, .help = (help_)                                                                  \
    }
#define GR_ROW_FLOAT(type, field, default_, help_)                                                 \
    {                                                                                              \
        .name = #field, .kind = GR_PARAM_FLOAT, .offset = offsetof(type, field),                   \
        .def = (default_), .help = (help_)                                                         \
    }
#define GR_ROW_CHOICE(type, field, default_, choices_, help_)                                      \
    {                                                                                              \
        .name = #field, .kind = GR_PARAM_CHOICE, .offset = offsetof(type, field),                  \
        .def = (default_), .choices = (choices_), .help = (help_)                                  \
    }
#define GR_ROW_INTS(type, field, min_, max_, help_)                                                \
    {                                                                                              \
        .name = #field, .kind = GR_PARAM_INTS, .offset = offsetof(type, field), .min = (min_),     \
        .max = (max_), .help = (help_)                                                             \
    }
/* The part that convolutions and pools share; `type` has a gr_window_params named win. */
#define GR_ROW_WINDOW(type, auto_pad_choices)                                                      \
    {.name = "auto_pad",                                                                           \
     .kind = GR_PARAM_CHOICE,                                                                      \
     .offset = offsetof(type, win.auto_pad),                                                       \
     .choices = (auto_pad_choices),                                                                \
     .help = "how padding is chosen"},                                                             \
        GR_ROW_WINDOW_INTS(type, kernel_shape, 1, "size of the window, per axis"),                 \
        GR_ROW_WINDOW_INTS(type, strides, 1, "step of the window, per axis"),                      \
        GR_ROW_WINDOW_INTS(type, pads, 0, "padding: all begins, then all ends"),                   \
        GR_ROW_WINDOW_INTS(type, dilations, 1, "distance of the window's taps, per axis")
#define GR_ROW_WINDOW_INTS(type, field, min_, help_)                                               \
    {                                                                                              \
        .name = #field, .kind = GR_PARAM_INTS, .offset = offsetof(type, win.field), .min = (min_), \
        .max = GR_LONG, .help = (help_)                                                            \
    }
#define GR_ROW_END                                                                                 \
    {                                                                                              \
        .name = NULL                                                                               \
    }

/* ---- shape rules ---------------------------------------------------------------------------- */

/* Output i has this type; refuses shapes with more than GR_MAX_COUNT elements. Does nothing for an
   output that the node does not have; one that it must have and leaves out is an error. */
enum graft_status gr_infer_out(struct gr_infer *c, int i, enum gr_dtype dtype,
                               const struct gr_shape *shape, struct graft_error *err);
static inline bool gr_infer_has(const struct gr_infer *c, int i)
{
    return i < c->n_in && c->in[i].dtype != GR_UNKNOWN;
}
bool gr_dtype_is_float(enum gr_dtype t);
bool gr_dtype_is_int(enum gr_dtype t);
/* Input i is floating point / an integer / has the type of input 0. */
enum graft_status gr_infer_float(const struct gr_infer *c, int i, struct graft_error *err);
enum graft_status gr_infer_integer(const struct gr_infer *c, int i, struct graft_error *err);
enum graft_status gr_infer_same(const struct gr_infer *c, int i, struct graft_error *err);
enum graft_status gr_infer_rank(const struct gr_infer *c, int i, int min, int max,
                                struct graft_error *err);
/* Input i has exactly the shape (n). */
enum graft_status gr_infer_vector(const struct gr_infer *c, int i, int64_t n,
                                  struct graft_error *err);
/* The integers of constant input i (rank 0 or 1), at most max. An input that is not constant is
   GRAFT_E_UNSUPPORTED: output shapes may not depend on data. */
enum graft_status gr_infer_ints(const struct gr_infer *c, int i, const char *what, int max, int *n,
                                int64_t *v, struct graft_error *err);
enum graft_status gr_check_axis(int64_t axis, int rank, int *out, struct graft_error *err);
/* in_set[a] for each of n axes; refuses repeated ones. */
enum graft_status gr_check_axes(size_t n, const int64_t *axes, int rank, bool *in_set,
                                struct graft_error *err);
/* One input, one output of the same type. */
enum graft_status gr_infer_like_first(struct gr_infer *c, struct graft_error *err);
enum graft_status gr_infer_like_first_float(struct gr_infer *c, struct graft_error *err);
double gr_macs_per_output(const struct gr_type *out, double per_element);

/* ---- references ----------------------------------------------------------------------------- */

static inline bool gr_ref_has(int n_in, const struct gr_ref *in, int i)
{
    return i < n_in && in[i].v != NULL;
}
static inline int64_t gr_ref_count(const struct gr_ref *r)
{
    return gr_shape_count(&r->shape);
}
/* Saturated and truncated towards zero; NaN is 0. */
int64_t gr_to_int(double v);
/* The integers of an input, at most max. */
enum graft_status gr_ref_ints(const struct gr_ref *r, int max, int *n, int64_t *v,
                              struct graft_error *err);
/* What an integer type of up to 32 bits makes of a result that overflows; others unchanged. */
double gr_wrap(enum gr_dtype t, double v);
/* Row-major strides in elements. */
void gr_strides(const struct gr_shape *s, int64_t *stride);
/* Strides to walk `from` along the shape `to` that it broadcasts to: 0 where it is repeated. */
void gr_strides_broadcast(const struct gr_shape *from, const struct gr_shape *to, int64_t *stride);
/* Moves `at` (zeros to begin with) to the next position; false after the last one. A shape of rank
   0 has one position. For shapes with elements only. */
static inline bool gr_next(const struct gr_shape *s, int64_t *at)
{
    for (int i = s->rank - 1; i >= 0; i--) {
        if (++at[i] < s->dim[i])
            return true;
        at[i] = 0;
    }
    return false;
}
static inline int64_t gr_dot(int n, const int64_t *at, const int64_t *stride)
{
    int64_t r = 0;
    for (int i = 0; i < n; i++)
        r += at[i] * stride[i];
    return r;
}
/* y (dense, of that shape) = x[offset + strides . position] */
void gr_ref_strided(double *y, const struct gr_shape *shape, const double *x, int64_t offset,
                    const int64_t *stride);

/* ---- gradients ------------------------------------------------------------------------------ */

/* The head of a ref_grad of that name; it need not use all its parameters. */
#define GR_UNUSED __attribute__((unused))
#define GR_GRAD(name)                                                                              \
    static enum graft_status name(GR_UNUSED const struct gr_node *node, GR_UNUSED int n_in,        \
                                  GR_UNUSED const struct gr_ref *in, GR_UNUSED int n_out,          \
                                  GR_UNUSED const struct gr_ref *out,                              \
                                  GR_UNUSED const struct gr_ref *dout,                             \
                                  GR_UNUSED struct gr_ref *din, GR_UNUSED struct graft_error *err)

/* Sets all wanted gradients to zero, so that the caller only adds. False: dout[0] is absent or
   empty, and where nothing else counts zero is the answer. */
bool gr_grad_start(int n_in, struct gr_ref *din, const struct gr_ref *dout);
/* The gradient of gr_ref_strided: dx[offset + strides . position] += dy. With the strides of
   gr_strides_broadcast this sums over what was repeated. */
void gr_grad_strided(double *dx, const struct gr_shape *shape, const double *dy, int64_t offset,
                     const int64_t *stride);

#endif
