/* What do Expand and Tile mean? */
#include "ops/op_util.h"

static enum graft_status infer_expand(struct gr_infer *c, struct graft_error *err)
{
    struct gr_shape to = {0}, y;
    enum graft_status s = gr_infer_ints(c, 1, "shape", GR_MAX_RANK, &to.rank, to.dim, err);
    for (int i = 0; !s && i < to.rank; i++)
        if (to.dim[i] < 0)
            s = gr_error(err, GRAFT_E_SHAPE, "size %lld at axis %d", (long long)to.dim[i], i);
    if (!s)
        s = gr_shape_broadcast(&c->in[0].shape, &to, &y, err);
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static enum graft_status ref_expand(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                    int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out, (void)err;
    int64_t stride[GR_MAX_RANK];
    gr_strides_broadcast(&in->shape, &out->shape, stride);
    gr_ref_strided(out->v, &out->shape, in->v, 0, stride);
    return GRAFT_OK;
}

GR_GRAD(grad_expand)
{
    int64_t stride[GR_MAX_RANK];
    gr_strides_broadcast(&in->shape, &out->shape, stride);
    if (gr_grad_start(n_in, din, dout) && din[0].v)
        gr_grad_strided(din[0].v, &out->shape, dout->v, 0, stride);
    return GRAFT_OK;
}

static enum graft_status infer_tile(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    struct gr_shape y = *x;
    int64_t repeats[GR_MAX_RANK];
    int n = 0;
    enum graft_status s = gr_infer_ints(c, 1, "repeats", GR_MAX_RANK, &n, repeats, err);
    if (!s && n != x->rank)
        s = gr_error(err, GRAFT_E_SHAPE, "%d repeats, expected %d", n, x->rank);
    for (int i = 0; !s && i < n; i++)
        if (repeats[i] < 0 || __builtin_mul_overflow(x->dim[i], repeats[i], &y.dim[i]))
            s = gr_error(err, GRAFT_E_SHAPE, "size %lld x repeats %lld at axis %d",
                         (long long)x->dim[i], (long long)repeats[i], i);
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

/* The element of X at a position of Y. */
static int64_t repeated(const struct gr_shape *x, const int64_t *at)
{
    int64_t from = 0;
    for (int i = 0; i < x->rank; i++)
        from = from * x->dim[i] + at[i] % x->dim[i];
    return from;
}

static enum graft_status ref_tile(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                  int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out, (void)err;
    int64_t at[GR_MAX_RANK] = {0}, i = 0;
    if (!gr_ref_count(out))
        return GRAFT_OK;
    do
        out->v[i++] = in->v[repeated(&in->shape, at)];
    while (gr_next(&out->shape, at));
    return GRAFT_OK;
}

GR_GRAD(grad_tile)
{
    int64_t at[GR_MAX_RANK] = {0}, i = 0;
    if (!gr_grad_start(n_in, din, dout) || !din[0].v)
        return GRAFT_OK;
    do
        din[0].v[repeated(&in->shape, at)] += dout->v[i++];
    while (gr_next(&out->shape, at));
    return GRAFT_OK;
}

const struct gr_op gr_op_expand = {.name = "Expand",
                                   .domain = "",
                                   .since = 8,
                                   .min_in = 2,
                                   .max_in = 2,
                                   .min_out = 1,
                                   .max_out = 1,
                                   .infer = infer_expand,
                                   .ref = ref_expand,
                                   .ref_grad = grad_expand};

const struct gr_op gr_op_tile = {.name = "Tile",
                                 .domain = "",
                                 .since = 6,
                                 .min_in = 2,
                                 .max_in = 2,
                                 .min_out = 1,
                                 .max_out = 1,
                                 .infer = infer_tile,
                                 .ref = ref_tile,
                                 .ref_grad = grad_tile};
