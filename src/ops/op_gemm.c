/* What does Gemm mean? */
#include "ops/op_params.h"
#include "ops/op_util.h"

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    const struct gr_gemm_params *p = GR_PARAMS(c->node, struct gr_gemm_params);
    char ta[GR_SHAPE_TEXT], tb[GR_SHAPE_TEXT];
    enum graft_status s = gr_infer_same(c, 1, err);
    if (!s)
        s = gr_infer_rank(c, 0, 2, 2, err);
    if (!s)
        s = gr_infer_rank(c, 1, 2, 2, err);
    if (s)
        return s;
    const int64_t *a = c->in[0].shape.dim, *b = c->in[1].shape.dim;
    if (a[!p->transA] != b[p->transB != 0])
        return gr_error(err, GRAFT_E_SHAPE, "A %s%s and B %s%s cannot be multiplied",
                        gr_shape_print(&c->in[0].shape, ta), p->transA ? " transposed" : "",
                        gr_shape_print(&c->in[1].shape, tb), p->transB ? " transposed" : "");
    struct gr_shape y = {.rank = 2, .dim = {a[p->transA != 0], b[!p->transB]}}, with_c;
    if (gr_infer_has(c, 2)) {
        s = gr_infer_same(c, 2, err);
        if (!s)
            s = gr_shape_broadcast(&y, &c->in[2].shape, &with_c, err);
        if (!s && !gr_shape_equal(&y, &with_c))
            s = gr_error(err, GRAFT_E_SHAPE, "C has shape %s, expected one that broadcasts to %s",
                         gr_shape_print(&c->in[2].shape, ta), gr_shape_print(&y, tb));
    }
    return s ? s : gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out, (void)err;
    const struct gr_gemm_params *p = GR_PARAMS(node, struct gr_gemm_params);
    const double *a = in[0].v, *b = in[1].v;
    int64_t m = out->shape.dim[0], n = out->shape.dim[1], k = in[0].shape.dim[!p->transA];
    int64_t c_stride[GR_MAX_RANK] = {0};
    bool has_c = gr_ref_has(n_in, in, 2);
    if (has_c)
        gr_strides_broadcast(&in[2].shape, &out->shape, c_stride);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += a[p->transA ? l * m + i : i * k + l] * b[p->transB ? j * k + l : l * n + j];
            sum *= p->alpha;
            if (has_c)
                sum += p->beta * in[2].v[i * c_stride[0] + j * c_stride[1]];
            out->v[i * n + j] = sum;
        }
    return GRAFT_OK;
}

GR_GRAD(ref_grad)
{
    const struct gr_gemm_params *p = GR_PARAMS(node, struct gr_gemm_params);
    int64_t m = out->shape.dim[0], n = out->shape.dim[1], k = in[0].shape.dim[!p->transA];
    int64_t c_stride[GR_MAX_RANK] = {0};
    double *da = din[0].v, *db = din[1].v, *dc = gr_ref_has(n_in, din, 2) ? din[2].v : NULL;
    if (!gr_grad_start(n_in, din, dout))
        return GRAFT_OK;
    if (dc)
        gr_strides_broadcast(&din[2].shape, &out->shape, c_stride);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double dy = dout->v[i * n + j];
            for (int64_t l = 0; l < k; l++) {
                int64_t at_a = p->transA ? l * m + i : i * k + l;
                int64_t at_b = p->transB ? j * k + l : l * n + j;
                if (da)
                    da[at_a] += p->alpha * dy * in[1].v[at_b];
                if (db)
                    db[at_b] += p->alpha * dy * in[0].v[at_a];
            }
            if (dc)
                dc[i * c_stride[0] + j * c_stride[1]] += p->beta * dy;
        }
    return GRAFT_OK;
}

static double macs(const struct gr_node *node, int n_in, const struct gr_type *in,
                   const struct gr_type *out)
{
    (void)n_in;
    bool t = GR_PARAMS(node, struct gr_gemm_params)->transA;
    return gr_macs_per_output(out, (double)in[0].shape.dim[!t]);
}

static const struct gr_param params[] = {
    GR_ROW_FLOAT(struct gr_gemm_params, alpha, 1, "factor of the product"),
    GR_ROW_FLOAT(struct gr_gemm_params, beta, 1, "factor of C"),
    GR_ROW_BOOL(struct gr_gemm_params, transA, 0, "A is transposed first"),
    GR_ROW_BOOL(struct gr_gemm_params, transB, 0, "B is transposed first"), GR_ROW_END};

const struct gr_op gr_op_gemm = {.name = "Gemm",
                                 .domain = "",
                                 .since = 7,
                                 .min_in = 2,
                                 .max_in = 3,
                                 .min_out = 1,
                                 .max_out = 1,
                                 .params_size = sizeof(struct gr_gemm_params),
                                 .params = params,
                                 .infer = infer,
                                 .ref = ref,
                                 .ref_grad = ref_grad,
                                 .macs = macs};
