/* What do the operators mean that move whole axes: Transpose, DepthToSpace, SpaceToDepth? */
#include "ops/op_params.h"
#include "ops/op_util.h"

bool gr_transpose_perm(const struct gr_node *node, int rank, int *perm)
{
    const struct gr_ints *p = &GR_PARAMS(node, struct gr_transpose_params)->perm;
    unsigned seen = 0;
    if (p->n && p->n != (size_t)rank)
        return false;
    for (int i = 0; i < rank; i++) {
        int64_t v = p->n ? p->v[i] : rank - 1 - i;
        if (v < 0 || v >= rank || seen >> v & 1)
            return false;
        seen |= 1u << v;
        perm[i] = (int)v;
    }
    return true;
}

static enum graft_status infer_transpose(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    struct gr_shape y = *x;
    int perm[GR_MAX_RANK];
    if (!gr_transpose_perm(c->node, x->rank, perm))
        return gr_error(err, GRAFT_E_SHAPE,
                        "attribute 'perm' (%zu numbers) is no permutation of %d axes",
                        GR_PARAMS(c->node, struct gr_transpose_params)->perm.n, x->rank);
    for (int i = 0; i < x->rank; i++)
        y.dim[i] = x->dim[perm[i]];
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

/* Strides in X of the axes of Y. */
static enum graft_status permute(const struct gr_node *node, const struct gr_shape *x,
                                 int64_t *stride, struct graft_error *err)
{
    int perm[GR_MAX_RANK];
    int64_t by_axis[GR_MAX_RANK];
    if (!gr_transpose_perm(node, x->rank, perm))
        return gr_error(err, GRAFT_E_SHAPE, "attribute 'perm' is no permutation");
    gr_strides(x, by_axis);
    for (int i = 0; i < x->rank; i++)
        stride[i] = by_axis[perm[i]];
    return GRAFT_OK;
}

static enum graft_status ref_transpose(const struct gr_node *node, int n_in,
                                       const struct gr_ref *in, int n_out, struct gr_ref *out,
                                       struct graft_error *err)
{
    (void)n_in, (void)n_out;
    int64_t stride[GR_MAX_RANK];
    enum graft_status s = permute(node, &in->shape, stride, err);
    if (!s)
        gr_ref_strided(out->v, &out->shape, in->v, 0, stride);
    return s;
}

GR_GRAD(grad_transpose)
{
    int64_t stride[GR_MAX_RANK];
    enum graft_status s = permute(node, &in->shape, stride, err);
    if (!s && gr_grad_start(n_in, din, dout) && din[0].v)
        gr_grad_strided(din[0].v, &out->shape, dout->v, 0, stride);
    return s;
}

static const struct gr_param transpose_params[] = {
    GR_ROW_INTS(struct gr_transpose_params, perm, 0, GR_MAX_RANK - 1,
                "input axis of each output axis; none: reversed"),
    GR_ROW_END};

const struct gr_op gr_op_transpose = {.name = "Transpose",
                                      .domain = "",
                                      .since = 1,
                                      .min_in = 1,
                                      .max_in = 1,
                                      .min_out = 1,
                                      .max_out = 1,
                                      .params_size = sizeof(struct gr_transpose_params),
                                      .params = transpose_params,
                                      .infer = infer_transpose,
                                      .ref = ref_transpose,
                                      .ref_grad = grad_transpose};

/* ---- blocks of pixels to and from channels --------------------------------------------------- */

static enum graft_status infer_to_space(struct gr_infer *c, struct graft_error *err)
{
    int64_t b = GR_PARAMS(c->node, struct gr_depth_params)->blocksize;
    const int64_t *x = c->in[0].shape.dim;
    enum graft_status s = gr_infer_rank(c, 0, 4, 4, err);
    if (s)
        return s;
    if (b > 1 << 20 || x[1] % (b * b))
        return gr_error(err, GRAFT_E_SHAPE, "X has %lld channels, expected a multiple of %lld^2",
                        (long long)x[1], (long long)b);
    struct gr_shape y = {.rank = 4, .dim = {x[0], x[1] / (b * b), x[2] * b, x[3] * b}};
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static enum graft_status infer_to_depth(struct gr_infer *c, struct graft_error *err)
{
    int64_t b = GR_PARAMS(c->node, struct gr_depth_params)->blocksize;
    const int64_t *x = c->in[0].shape.dim;
    enum graft_status s = gr_infer_rank(c, 0, 4, 4, err);
    if (s)
        return s;
    if (b > 1 << 20 || x[2] % b || x[3] % b || x[1] > GR_MAX_COUNT / (b * b))
        return gr_error(err, GRAFT_E_SHAPE, "X is %lld x %lld, expected multiples of %lld",
                        (long long)x[2], (long long)x[3], (long long)b);
    struct gr_shape y = {.rank = 4, .dim = {x[0], x[1] * b * b, x[2] / b, x[3] / b}};
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

/* Moves every element: from x to y, or back. */
static void move_to_space(const struct gr_node *node, const int64_t *x, double *x_v,
                          const int64_t *y, double *y_v, bool back)
{
    const struct gr_depth_params *p = GR_PARAMS(node, struct gr_depth_params);
    int64_t b = p->blocksize;
    for (int64_t n = 0; n < y[0]; n++)
        for (int64_t c = 0; c < y[1]; c++)
            for (int64_t h = 0; h < y[2]; h++)
                for (int64_t w = 0; w < y[3]; w++) {
                    int64_t in_block = h % b * b + w % b;
                    int64_t from = p->mode ? c * b * b + in_block : in_block * y[1] + c;
                    double *v = &x_v[((n * x[1] + from) * x[2] + h / b) * x[3] + w / b];
                    *(back ? v : y_v) = *(back ? y_v : v);
                    y_v++;
                }
}

static void move_to_depth(const struct gr_node *node, const int64_t *x, double *x_v,
                          const int64_t *y, double *y_v, bool back)
{
    int64_t b = GR_PARAMS(node, struct gr_depth_params)->blocksize;
    for (int64_t n = 0; n < y[0]; n++)
        for (int64_t c = 0; c < y[1]; c++)
            for (int64_t h = 0; h < y[2]; h++)
                for (int64_t w = 0; w < y[3]; w++) {
                    int64_t in_block = c / x[1];
                    double *v = &x_v[((n * x[1] + c % x[1]) * x[2] + h * b + in_block / b) * x[3] +
                                     w * b + in_block % b];
                    *(back ? v : y_v) = *(back ? y_v : v);
                    y_v++;
                }
}

#define MOVE(id)                                                                                   \
    static enum graft_status ref_##id(const struct gr_node *node, int n_in,                        \
                                      const struct gr_ref *in, int n_out, struct gr_ref *out,      \
                                      struct graft_error *err)                                     \
    {                                                                                              \
        (void)n_in, (void)n_out, (void)err;                                                        \
        move_##id(node, in->shape.dim, in->v, out->shape.dim, out->v, false);                      \
        return GRAFT_OK;                                                                           \
    }                                                                                              \
    GR_GRAD(grad_##id)                                                                             \
    {                                                                                              \
        if (gr_grad_start(n_in, din, dout) && din[0].v)                                            \
            move_##id(node, in->shape.dim, din->v, out->shape.dim, dout->v, true);                 \
        return GRAFT_OK;                                                                           \
    }
MOVE(to_space)
MOVE(to_depth)

#define BLOCK_ROW                                                                                  \
    {                                                                                              \
        .name = "blocksize", .kind = GR_PARAM_INT,                                                 \
        .offset = offsetof(struct gr_depth_params, blocksize), .def = 1, .min = 1, .max = GR_LONG, \
        .required = true, .help = "pixels of a block on each side"                                 \
    }

static const char *const modes[] = {"DCR", "CRD", NULL};
static const struct gr_param to_space_params[] = {
    BLOCK_ROW,
    GR_ROW_CHOICE(struct gr_depth_params, mode, 0, modes,
                  "whether depth or column and row come first in the channels"),
    GR_ROW_END};
static const struct gr_param to_depth_params[] = {BLOCK_ROW, GR_ROW_END};

const struct gr_op gr_op_depth_to_space = {.name = "DepthToSpace",
                                           .domain = "",
                                           .since = 1,
                                           .min_in = 1,
                                           .max_in = 1,
                                           .min_out = 1,
                                           .max_out = 1,
                                           .params_size = sizeof(struct gr_depth_params),
                                           .params = to_space_params,
                                           .infer = infer_to_space,
                                           .ref = ref_to_space,
                                           .ref_grad = grad_to_space};

const struct gr_op gr_op_space_to_depth = {.name = "SpaceToDepth",
                                           .domain = "",
                                           .since = 1,
                                           .min_in = 1,
                                           .max_in = 1,
                                           .min_out = 1,
                                           .max_out = 1,
                                           .params_size = sizeof(struct gr_depth_params),
                                           .params = to_depth_params,
                                           .infer = infer_to_depth,
                                           .ref = ref_to_depth,
                                           .ref_grad = grad_to_depth};
