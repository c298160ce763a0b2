/* What does Slice mean? */
#include "ops/op_util.h"

struct slice_params {
    struct gr_ints starts, ends, axes; /* before operator set 10 */
};

struct slice {
    int n, n_axes, n_steps;
    int64_t start[GR_MAX_RANK], end[GR_MAX_RANK], axis[GR_MAX_RANK], step[GR_MAX_RANK];
};

struct view {
    int64_t first[GR_MAX_RANK], step[GR_MAX_RANK];
    struct gr_shape shape;
};

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static void slice_axis(int64_t dim, int64_t start, int64_t end, int64_t step, int64_t *first,
                       int64_t *count)
{
    start += start < 0 ? dim : 0;
    end += end < 0 ? dim : 0;
    if (step > 0) {
        start = clamp(start, 0, dim);
        end = clamp(end, 0, dim);
        *count = start < end ? (end - start - 1) / step + 1 : 0;
    } else {
        start = clamp(start, -1, dim - 1);
        end = clamp(end, -1, dim - 1);
        *count = start > end ? (start - end - 1) / -step + 1 : 0;
    }
    *first = *count ? start : 0;
}

static enum graft_status resolve(const struct slice *p, const struct gr_shape *x, struct view *v,
                                 struct graft_error *err)
{
    bool used[GR_MAX_RANK];
    int64_t axes[GR_MAX_RANK];
    if (p->n > x->rank || (p->n_axes && p->n_axes != p->n) || (p->n_steps && p->n_steps != p->n))
        return gr_error(err, GRAFT_E_SHAPE, "%d starts, %d axes and %d steps for rank %d", p->n,
                        p->n_axes, p->n_steps, x->rank);
    for (int i = 0; i < p->n; i++)
        axes[i] = p->n_axes ? p->axis[i] : i;
    enum graft_status s = gr_check_axes((size_t)p->n, axes, x->rank, used, err);
    if (s)
        return s;
    v->shape = *x;
    for (int i = 0; i < x->rank; i++) {
        v->first[i] = 0;
        v->step[i] = 1;
    }
    for (int i = 0; i < p->n; i++) {
        int a = gr_axis(axes[i], x->rank);
        int64_t step = p->n_steps ? p->step[i] : 1;
        if (!step)
            return gr_error(err, GRAFT_E_FORMAT, "the step of axis %d is 0", a);
        step = clamp(step, -GR_MAX_COUNT - 1, GR_MAX_COUNT + 1); /* longer than any axis */
        v->step[a] = step;
        slice_axis(x->dim[a], p->start[i], p->end[i], step, &v->first[a], &v->shape.dim[a]);
    }
    return GRAFT_OK;
}

static enum graft_status from_attributes(const struct slice_params *p, struct slice *r,
                                         struct graft_error *err)
{
    if (p->starts.n > GR_MAX_RANK || p->starts.n != p->ends.n ||
        (p->axes.n && p->axes.n != p->starts.n))
        return gr_error(err, GRAFT_E_FORMAT, "%zu starts, %zu ends, %zu axes", p->starts.n,
                        p->ends.n, p->axes.n);
    *r = (struct slice){.n = (int)p->starts.n, .n_axes = (int)p->axes.n};
    for (int i = 0; i < r->n; i++) {
        r->start[i] = p->starts.v[i];
        r->end[i] = p->ends.v[i];
        r->axis[i] = p->axes.n ? p->axes.v[i] : i;
    }
    return GRAFT_OK;
}

static enum graft_status check_lengths(int n_start, int n_end, struct graft_error *err)
{
    if (n_start != n_end)
        return gr_error(err, GRAFT_E_SHAPE, "%d starts and %d ends", n_start, n_end);
    return GRAFT_OK;
}

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    struct slice p = {0};
    struct view v;
    int n_end = 0;
    enum graft_status s;
    if (c->node->opset < 10) {
        s = from_attributes(GR_PARAMS(c->node, struct slice_params), &p, err);
    } else if (!gr_infer_has(c, 1) || !gr_infer_has(c, 2)) {
        s = gr_error(err, GRAFT_E_FORMAT, "starts or ends are missing");
    } else {
        s = gr_infer_ints(c, 1, "starts", GR_MAX_RANK, &p.n, p.start, err);
        if (!s)
            s = gr_infer_ints(c, 2, "ends", GR_MAX_RANK, &n_end, p.end, err);
        if (!s)
            s = check_lengths(p.n, n_end, err);
        if (!s && gr_infer_has(c, 3))
            s = gr_infer_ints(c, 3, "axes", GR_MAX_RANK, &p.n_axes, p.axis, err);
        if (!s && gr_infer_has(c, 4))
            s = gr_infer_ints(c, 4, "steps", GR_MAX_RANK, &p.n_steps, p.step, err);
    }
    if (!s)
        s = resolve(&p, &c->in[0].shape, &v, err);
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, &v.shape, err);
}

/* Where the output lies in the input. */
static enum graft_status locate(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                int64_t *offset, int64_t *stride, struct graft_error *err)
{
    struct slice p = {0};
    struct view v;
    int n_end = 0;
    enum graft_status s;
    if (node->opset < 10) {
        s = from_attributes(GR_PARAMS(node, struct slice_params), &p, err);
    } else {
        s = gr_ref_ints(&in[1], GR_MAX_RANK, &p.n, p.start, err);
        if (!s)
            s = gr_ref_ints(&in[2], GR_MAX_RANK, &n_end, p.end, err);
        if (!s)
            s = check_lengths(p.n, n_end, err);
        if (!s && gr_ref_has(n_in, in, 3))
            s = gr_ref_ints(&in[3], GR_MAX_RANK, &p.n_axes, p.axis, err);
        if (!s && gr_ref_has(n_in, in, 4))
            s = gr_ref_ints(&in[4], GR_MAX_RANK, &p.n_steps, p.step, err);
    }
    if (!s)
        s = resolve(&p, &in[0].shape, &v, err);
    if (s)
        return s;
    gr_strides(&in[0].shape, stride);
    *offset = 0;
    for (int i = 0; i < v.shape.rank; i++) {
        *offset += v.first[i] * stride[i];
        stride[i] = v.shape.dim[i] > 1 ? stride[i] * v.step[i] : 0;
    }
    return GRAFT_OK;
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out;
    int64_t offset, stride[GR_MAX_RANK];
    enum graft_status s = locate(node, n_in, in, &offset, stride, err);
    if (!s)
        gr_ref_strided(out->v, &out->shape, in[0].v, offset, stride);
    return s;
}

GR_GRAD(ref_grad)
{
    int64_t offset, stride[GR_MAX_RANK];
    enum graft_status s = locate(node, n_in, in, &offset, stride, err);
    if (!s && gr_grad_start(n_in, din, dout) && din[0].v)
        gr_grad_strided(din[0].v, &out->shape, dout->v, offset, stride);
    return s;
}

static const struct gr_param params[] = {
    GR_ROW_INTS(struct slice_params, starts, INT64_MIN, INT64_MAX, "before operator set 10"),
    GR_ROW_INTS(struct slice_params, ends, INT64_MIN, INT64_MAX, "before operator set 10"),
    GR_ROW_INTS(struct slice_params, axes, -GR_LONG, GR_LONG, "before operator set 10"),
    GR_ROW_END};

const struct gr_op gr_op_slice = {.name = "Slice",
                                  .domain = "",
                                  .since = 1,
                                  .min_in = 1,
                                  .max_in = 5,
                                  .min_out = 1,
                                  .max_out = 1,
                                  .params_size = sizeof(struct slice_params),
                                  .params = params,
                                  .infer = infer,
                                  .ref = ref,
                                  .ref_grad = ref_grad};
