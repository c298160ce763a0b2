/* What does MatMul mean? */
#include "ops/op_util.h"

/* A vector on the left is a row, on the right a column; that axis is dropped from the result. */
struct matmul {
    struct gr_shape a, b, batch;
    int64_t m, k, n;
};

static enum graft_status resolve(const struct gr_shape *a, const struct gr_shape *b,
                                 struct matmul *r, struct graft_error *err)
{
    char ta[GR_SHAPE_TEXT], tb[GR_SHAPE_TEXT];
    if (a->rank < 1 || b->rank < 1)
        return gr_error(err, GRAFT_E_SHAPE, "inputs have rank %d and %d, expected at least 1",
                        a->rank, b->rank);
    r->m = a->rank > 1 ? a->dim[a->rank - 2] : 1;
    r->k = a->dim[a->rank - 1];
    r->n = b->rank > 1 ? b->dim[b->rank - 1] : 1;
    if (b->dim[b->rank > 1 ? b->rank - 2 : 0] != r->k)
        return gr_error(err, GRAFT_E_SHAPE, "A %s and B %s cannot be multiplied",
                        gr_shape_print(a, ta), gr_shape_print(b, tb));
    r->a = gr_shape_from(a->rank > 2 ? a->rank - 2 : 0, a->dim);
    r->b = gr_shape_from(b->rank > 2 ? b->rank - 2 : 0, b->dim);
    return gr_shape_broadcast(&r->a, &r->b, &r->batch, err);
}

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    struct matmul r;
    const struct gr_shape *a = &c->in[0].shape, *b = &c->in[1].shape;
    enum graft_status s = gr_infer_same(c, 1, err);
    if (!s)
        s = resolve(a, b, &r, err);
    if (s)
        return s;
    struct gr_shape y = r.batch;
    if (a->rank > 1)
        y.dim[y.rank++] = r.m;
    if (b->rank > 1)
        y.dim[y.rank++] = r.n;
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)node, (void)n_in, (void)n_out;
    struct matmul r;
    int64_t at[GR_MAX_RANK] = {0}, sa[GR_MAX_RANK], sb[GR_MAX_RANK];
    enum graft_status s = resolve(&in[0].shape, &in[1].shape, &r, err);
    if (s || !gr_ref_count(out))
        return s;
    gr_strides_broadcast(&r.a, &r.batch, sa);
    gr_strides_broadcast(&r.b, &r.batch, sb);
    double *y = out->v;
    do {
        const double *a = in[0].v + gr_dot(r.batch.rank, at, sa) * r.m * r.k;
        const double *b = in[1].v + gr_dot(r.batch.rank, at, sb) * r.k * r.n;
        for (int64_t i = 0; i < r.m; i++)
            for (int64_t j = 0; j < r.n; j++) {
                double sum = 0;
                for (int64_t k = 0; k < r.k; k++)
                    sum += a[i * r.k + k] * b[k * r.n + j];
                *y++ = sum;
            }
    } while (gr_next(&r.batch, at));
    return GRAFT_OK;
}

GR_GRAD(ref_grad)
{
    struct matmul r;
    int64_t at[GR_MAX_RANK] = {0}, sa[GR_MAX_RANK], sb[GR_MAX_RANK];
    enum graft_status s = resolve(&in[0].shape, &in[1].shape, &r, err);
    if (s || !gr_grad_start(n_in, din, dout))
        return s;
    gr_strides_broadcast(&r.a, &r.batch, sa);
    gr_strides_broadcast(&r.b, &r.batch, sb);
    const double *dy = dout->v;
    do {
        int64_t a = gr_dot(r.batch.rank, at, sa) * r.m * r.k;
        int64_t b = gr_dot(r.batch.rank, at, sb) * r.k * r.n;
        for (int64_t i = 0; i < r.m; i++)
            for (int64_t j = 0; j < r.n; j++, dy++)
                for (int64_t k = 0; k < r.k; k++) {
                    int64_t at_a = a + i * r.k + k, at_b = b + k * r.n + j;
                    if (din[0].v)
                        din[0].v[at_a] += *dy * in[1].v[at_b];
                    if (din[1].v)
                        din[1].v[at_b] += *dy * in[0].v[at_a];
                }
    } while (gr_next(&r.batch, at));
    return GRAFT_OK;
}

static double macs(const struct gr_node *node, int n_in, const struct gr_type *in,
                   const struct gr_type *out)
{
    (void)node, (void)n_in;
    return gr_macs_per_output(out, (double)in[0].shape.dim[in[0].shape.rank - 1]);
}

const struct gr_op gr_op_matmul = {.name = "MatMul",
                                   .domain = "",
                                   .since = 1,
                                   .min_in = 2,
                                   .max_in = 2,
                                   .min_out = 1,
                                   .max_out = 1,
                                   .infer = infer,
                                   .ref = ref,
                                   .ref_grad = ref_grad,
                                   .macs = macs};
