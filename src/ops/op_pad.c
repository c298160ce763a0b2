/* What does Pad mean? */
#include "ops/op_util.h"

enum { CONSTANT, REFLECT, EDGE, WRAP };

struct pad_params {
    int64_t mode;
    struct gr_ints pads; /* before operator set 11 */
    float value;
};

/* begin[i], end[i]: elements added to axis i, or cut off where negative. */
struct pad {
    int64_t begin[GR_MAX_RANK], end[GR_MAX_RANK];
};

static enum graft_status resolve(const struct gr_node *node, int n_pads, const int64_t *pads,
                                 int n_axes, const int64_t *axes, bool has_axes,
                                 const struct gr_shape *x, struct pad *p, struct gr_shape *y,
                                 struct graft_error *err)
{
    const struct pad_params *a = GR_PARAMS(node, struct pad_params);
    bool used[GR_MAX_RANK];
    int n = has_axes ? n_axes : x->rank;
    enum graft_status s =
        has_axes ? gr_check_axes((size_t)n_axes, axes, x->rank, used, err) : GRAFT_OK;
    if (s)
        return s;
    if (n_pads != 2 * n)
        return gr_error(err, GRAFT_E_SHAPE, "%d pads for %d axes, expected %d", n_pads, n, 2 * n);
    *p = (struct pad){0};
    *y = *x;
    for (int i = 0; i < n; i++) {
        int k = has_axes ? gr_axis(axes[i], x->rank) : i;
        int64_t b = pads[i], e = pads[n + i];
        if (b < -GR_MAX_COUNT || b > GR_MAX_COUNT || e < -GR_MAX_COUNT || e > GR_MAX_COUNT)
            return gr_error(err, GRAFT_E_LIMIT, "pads %lld and %lld at axis %d are too large",
                            (long long)b, (long long)e, k);
        p->begin[k] = b;
        p->end[k] = e;
        y->dim[k] = x->dim[k] + b + e;
        if (y->dim[k] < 0 || (!x->dim[k] && y->dim[k] && a->mode != CONSTANT))
            return gr_error(err, GRAFT_E_SHAPE, "pads %lld and %lld at axis %d of size %lld",
                            (long long)b, (long long)e, k, (long long)x->dim[k]);
    }
    return GRAFT_OK;
}

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_ints *a = &GR_PARAMS(c->node, struct pad_params)->pads;
    int64_t pads[2 * GR_MAX_RANK], axes[GR_MAX_RANK];
    struct pad p;
    struct gr_shape y;
    int n_pads = 0, n_axes = 0;
    enum graft_status s = GRAFT_OK;
    if (c->node->opset >= 11) {
        if (!gr_infer_has(c, 1))
            return gr_error(err, GRAFT_E_FORMAT, "pads are missing");
        s = gr_infer_ints(c, 1, "pads", 2 * GR_MAX_RANK, &n_pads, pads, err);
        if (!s && gr_infer_has(c, 2))
            s = gr_infer_same(c, 2, err);
        if (!s && gr_infer_has(c, 2) && gr_shape_count(&c->in[2].shape) > 1)
            s = gr_error(err, GRAFT_E_SHAPE, "constant_value is no single number");
        if (!s && gr_infer_has(c, 3))
            s = gr_infer_ints(c, 3, "axes", GR_MAX_RANK, &n_axes, axes, err);
    } else {
        n_pads = a->n > 2 * GR_MAX_RANK ? -1 : (int)a->n;
        for (int i = 0; i < n_pads; i++)
            pads[i] = a->v[i];
    }
    if (!s)
        s = resolve(c->node, n_pads, pads, n_axes, axes, gr_infer_has(c, 3), &c->in[0].shape, &p,
                    &y, err);
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static int64_t modulo(int64_t a, int64_t b)
{
    int64_t r = a % b;
    return r < 0 ? r + b : r;
}

/* Where position i of an axis of size n is taken from; -1: nowhere. */
static int64_t source(int64_t mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    switch (mode) {
    case REFLECT:
        if (n == 1)
            return 0;
        i = modulo(i, 2 * (n - 1));
        return i < n ? i : 2 * (n - 1) - i;
    case EDGE:
        return i < 0 ? 0 : n - 1;
    case WRAP:
        return modulo(i, n);
    default:
        return -1;
    }
}

/* What is added to or cut from each axis, by the values of the inputs. */
static enum graft_status read_pads(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   struct pad *p, struct graft_error *err)
{
    const struct pad_params *a = GR_PARAMS(node, struct pad_params);
    const struct gr_shape *x = &in[0].shape;
    int64_t pads[2 * GR_MAX_RANK], axes[GR_MAX_RANK];
    struct gr_shape y;
    int n_pads = 0, n_axes = 0;
    bool has_axes = gr_ref_has(n_in, in, 3);
    enum graft_status s = GRAFT_OK;
    if (node->opset >= 11)
        s = gr_ref_ints(&in[1], 2 * GR_MAX_RANK, &n_pads, pads, err);
    else
        for (n_pads = 0; n_pads < 2 * x->rank && (size_t)n_pads < a->pads.n; n_pads++)
            pads[n_pads] = a->pads.v[n_pads];
    if (!s && has_axes)
        s = gr_ref_ints(&in[3], GR_MAX_RANK, &n_axes, axes, err);
    return s ? s : resolve(node, n_pads, pads, n_axes, axes, has_axes, x, p, &y, err);
}

/* The element of X that is put at a position of Y; -1: the constant. */
static int64_t origin(const struct gr_node *node, const struct pad *p, const struct gr_shape *x,
                      const int64_t *at)
{
    int64_t from = 0, mode = GR_PARAMS(node, struct pad_params)->mode;
    for (int i = 0; from >= 0 && i < x->rank; i++) {
        int64_t f = source(mode, at[i] - p->begin[i], x->dim[i]);
        from = f < 0 ? -1 : from * x->dim[i] + f;
    }
    return from;
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out;
    struct pad p;
    int64_t at[GR_MAX_RANK] = {0}, k = 0;
    double value = node->opset < 11 ? GR_PARAMS(node, struct pad_params)->value
                   : gr_ref_has(n_in, in, 2) && gr_ref_count(&in[2]) == 1 ? in[2].v[0]
                                                                          : 0;
    enum graft_status s = read_pads(node, n_in, in, &p, err);
    if (s || !gr_ref_count(out))
        return s;
    do {
        int64_t from = origin(node, &p, &in[0].shape, at);
        out->v[k++] = from < 0 ? value : in[0].v[from];
    } while (gr_next(&out->shape, at));
    return GRAFT_OK;
}

GR_GRAD(ref_grad)
{
    struct pad p;
    int64_t at[GR_MAX_RANK] = {0}, k = 0;
    bool wants_value = gr_ref_has(n_in, din, 2) && gr_ref_count(&din[2]) == 1;
    enum graft_status s = read_pads(node, n_in, in, &p, err);
    if (s || !gr_grad_start(n_in, din, dout))
        return s;
    do {
        int64_t from = origin(node, &p, &in[0].shape, at);
        if (from >= 0 && din[0].v)
            din[0].v[from] += dout->v[k];
        else if (from < 0 && wants_value)
            din[2].v[0] += dout->v[k];
        k++;
    } while (gr_next(&out->shape, at));
    return GRAFT_OK;
}

static const char *const modes[] = {"constant", "reflect", "edge", "wrap", NULL};
static const struct gr_param params[] = {
    GR_ROW_CHOICE(struct pad_params, mode, CONSTANT, modes, "what is put there"),
    GR_ROW_INTS(struct pad_params, pads, -GR_LONG, GR_LONG,
                "all begins, then all ends, before operator set 11"),
    GR_ROW_FLOAT(struct pad_params, value, 0, "for constant, before operator set 11"), GR_ROW_END};

const struct gr_op gr_op_pad = {.name = "Pad",
                                .domain = "",
                                .since = 2,
                                .min_in = 1,
                                .max_in = 4,
                                .min_out = 1,
                                .max_out = 1,
                                .params_size = sizeof(struct pad_params),
                                .params = params,
                                .infer = infer,
                                .ref = ref,
                                .ref_grad = ref_grad};
