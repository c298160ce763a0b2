/* What does TopK mean? */
#include "ops/op_util.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

struct topk_params {
    int64_t axis, k, largest, sorted;
};

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    const struct topk_params *p = GR_PARAMS(c->node, struct topk_params);
    struct gr_shape y = c->in[0].shape;
    int axis = 0, n = 0;
    int64_t k = p->k;
    enum graft_status s = gr_check_axis(p->axis, y.rank, &axis, err);
    if (!s && c->node->opset >= 10) {
        if (!gr_infer_has(c, 1))
            return gr_error(err, GRAFT_E_FORMAT, "K is missing");
        s = gr_infer_ints(c, 1, "K", 1, &n, &k, err);
        if (!s && n != 1)
            s = gr_error(err, GRAFT_E_SHAPE, "K is no single number");
    }
    if (!s && (k < 0 || k > y.dim[axis]))
        s = gr_error(err, GRAFT_E_SHAPE, "K is %lld, the axis has size %lld", (long long)k,
                     (long long)y.dim[axis]);
    if (s)
        return s;
    y.dim[axis] = k;
    s = gr_infer_out(c, 0, c->in[0].dtype, &y, err);
    return s ? s : gr_infer_out(c, 1, GR_I64, &y, err);
}

struct entry {
    double key;
    int64_t index;
};

/* Larger keys first, of equal ones the lower index; NaN is larger than all. */
static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (isnan(x->key) != isnan(y->key))
        return isnan(x->key) ? -1 : 1;
    if (x->key > y->key || x->key < y->key)
        return x->key > y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Values and indices in order; those that are NULL are left out. dy adds to dx where the values
   came from. */
static enum graft_status search(const struct gr_node *node, const struct gr_ref *in,
                                const struct gr_shape *y, double *values, double *indices,
                                const double *dy, double *dx, struct graft_error *err)
{
    const struct topk_params *p = GR_PARAMS(node, struct topk_params);
    const struct gr_shape *x = &in[0].shape;
    int axis = gr_axis(p->axis, x->rank);
    int64_t outer = gr_shape_count_range(x, 0, axis), n = x->dim[axis], k = y->dim[axis];
    int64_t inner = gr_shape_count_range(x, axis + 1, x->rank);
    struct entry *row = gr_alloc_array((size_t)n, sizeof *row);
    if (!row)
        return gr_error_nomem(err);
    for (int64_t o = 0; k && o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            const double *v = in[0].v + o * n * inner + i;
            for (int64_t j = 0; j < n; j++)
                row[j] = (struct entry){p->largest ? v[j * inner] : -v[j * inner], j};
            qsort(row, (size_t)n, sizeof *row, compare);
            for (int64_t j = 0; j < k; j++) {
                int64_t to = (o * k + j) * inner + i;
                if (values)
                    values[to] = v[row[j].index * inner];
                if (indices)
                    indices[to] = (double)row[j].index;
                if (dx)
                    dx[(o * n + row[j].index) * inner + i] += dy[to];
            }
        }
    gr_free(row);
    return GRAFT_OK;
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_in;
    double *indices = n_out > 1 ? out[1].v : NULL;
    /* Either output may be absent; both would have the same shape. */
    if (!out[0].v && !indices)
        return GRAFT_OK;
    return search(node, in, out[0].v ? &out[0].shape : &out[1].shape, out[0].v, indices, NULL, NULL,
                  err);
}

/* Of equal elements the one that was taken gets it. */
GR_GRAD(ref_grad)
{
    if (!gr_grad_start(n_in, din, dout) || !din[0].v)
        return GRAFT_OK;
    return search(node, in, &dout[0].shape, NULL, NULL, dout[0].v, din[0].v, err);
}

static const struct gr_param params[] = {
    GR_ROW_INT(struct topk_params, axis, -1, -GR_LONG, GR_LONG, "the axis that is searched"),
    GR_ROW_INT(struct topk_params, k, -1, 0, GR_LONG, "how many, before operator set 10"),
    GR_ROW_BOOL(struct topk_params, largest, 1, "the largest, else the smallest"),
    GR_ROW_BOOL(struct topk_params, sorted, 1, "in order; they always are"), GR_ROW_END};

const struct gr_op gr_op_top_k = {.name = "TopK",
                                  .domain = "",
                                  .since = 1,
                                  .min_in = 1,
                                  .max_in = 2,
                                  .min_out = 1,
                                  .max_out = 2,
                                  .params_size = sizeof(struct topk_params),
                                  .params = params,
                                  .infer = infer,
                                  .ref = ref,
                                  .ref_grad = ref_grad};
