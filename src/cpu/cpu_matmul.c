/* How are matrices multiplied fast? */
#include "base/mem.h"
#include "cpu/int8.h"
#include "cpu/kernels.h"

static enum graft_status refuse(struct graft_error *err, const char *why)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "%s", why);
}

/* (rows, cols) as stored row-major, or the transpose of what is stored. */
static struct dnn_operand matrix(int64_t rows, int64_t cols, bool transposed, enum gr_dtype t)
{
    struct dnn_operand o = {2, {rows, cols}, {cols, 1}, t};
    if (transposed) {
        o.stride[0] = 1;
        o.stride[1] = rows;
    }
    return o;
}

/* What a product makes in bf16 loses digits by every sum that follows: a sum stays in fp32. */
enum gr_dtype gr_product_dtype(const struct gr_case *c)
{
    return c->bf16 && !c->f32_out && !c->add ? GR_BF16 : GR_F32;
}

/* The same product in 8 bits. */
static enum graft_status to_int8(const struct gr_case *c, struct dnn_matmul *m,
                                 struct int8_product *p, struct graft_error *err)
{
    if (!m->w_data || m->w.rank != 2 || m->a.stride[1] != 1 || (m->n_bias && !m->bias) ||
        !int8_suits(c))
        return refuse(err, "not in 8 bits");
    enum graft_status s = int8_prepare(c, m->w_data, m->bias, m->w.dim[1], m->w.dim[0],
                                       m->w.stride[1], m->w.stride[0], p, err);
    m->a.dtype = p->src;
    m->w.dtype = GR_I8;
    m->y.dtype = p->dst;
    m->w_data = p->w;
    m->bias = m->n_bias ? p->bias : NULL;
    m->tail = p->tail;
    m->quant = &p->quant;
    return s;
}

static enum graft_status choose(const struct gr_case *c, bool int8, struct dnn_matmul *m,
                                struct gr_choice *k, struct graft_error *err)
{
    struct int8_product p = {0};
    struct dnn *d = NULL;
    m->tail = (struct dnn_tail){c->add, c->n_acts, c->acts};
    enum graft_status s = int8 ? to_int8(c, m, &p, err) : GRAFT_OK;
    if (!s)
        s = dnn_matmul_new(m, &d, err);
    int8_clear(&p);
    if (s)
        return s;
    k->in[0] = (struct gr_layout){m->a.dtype, false};
    if (!m->w_data)
        k->in[1] = (struct gr_layout){m->w.dtype, false};
    if (m->n_bias && !m->bias)
        k->in[2] = (struct gr_layout){GR_F32, false};
    k->out[0] = (struct gr_layout){m->y.dtype, false};
    dnn_choose(d, k);
    gr_choose_tail(c, k);
    if (int8 && c->add)
        k->in[c->n_in - 1].dtype = p.quant.residual_dtype;
    return GRAFT_OK;
}

/* data * factor, or data itself when the factor is 1. */
static enum graft_status scale(struct gr_tensor *t, float factor, struct graft_error *err)
{
    struct gr_tensor n = {0};
    if (factor == 1)
        return GRAFT_OK;
    enum graft_status s = gr_tensor_new(GR_F32, &t->shape, &n, err);
    if (s)
        return s;
    for (int64_t i = 0; i < gr_tensor_count(t); i++)
        ((float *)gr_tensor_mut(&n))[i] = factor * ((const float *)t->data)[i];
    gr_tensor_clear(t);
    *t = n;
    return GRAFT_OK;
}

static enum graft_status plan_gemm(const struct gr_case *c, bool int8, struct gr_choice *k,
                                   struct graft_error *err)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *y = &c->out[0].shape, *a = &c->in[0].shape;
    float alpha = gr_node_get_float(n, "alpha", 1), beta = gr_node_get_float(n, "beta", 1);
    bool ta = gr_node_get_int(n, "transA", 0), tb = gr_node_get_int(n, "transB", 0);
    bool has_c = n->n_in > 2 && n->in[2] >= 0;
    struct gr_tensor w = {0}, b = {0};
    enum graft_status s = GRAFT_OK;
    if (c->in[0].dtype != GR_F32 || !gr_shape_count(a) || !gr_shape_count(y))
        return refuse(err, "only fp32 matrices");
    int64_t rows = y->dim[0], cols = y->dim[1], inner = a->dim[ta ? 0 : 1];
    if (has_c && (c->in[2].shape.rank < 1 || gr_shape_count(&c->in[2].shape) != cols ||
                  c->in[2].shape.dim[c->in[2].shape.rank - 1] != cols))
        return refuse(err, "C is not a row");
    if (!c->konst[1] && alpha != 1)
        return refuse(err, "alpha with a variable B");
    if (has_c && !c->konst[2] && beta != 1)
        return refuse(err, "beta with a variable C");
    enum gr_dtype src = c->bf16 ? GR_BF16 : GR_F32;
    struct dnn_matmul m = {.a = matrix(rows, inner, ta, src),
                           .w = matrix(inner, cols, tb, src),
                           .y = matrix(rows, cols, false, gr_product_dtype(c)),
                           .n_bias = has_c ? cols : 0};
    if (c->konst[1]) {
        s = gr_const_f32(c->konst[1], &w, err);
        if (!s)
            s = scale(&w, alpha, err);
        m.w_data = w.data;
    }
    if (!s && has_c && c->konst[2]) {
        s = gr_const_f32(c->konst[2], &b, err);
        if (!s)
            s = scale(&b, beta, err);
        m.bias = b.data;
    }
    if (!s)
        s = choose(c, int8, &m, k, err);
    gr_tensor_clear(&w);
    gr_tensor_clear(&b);
    return s;
}

static enum graft_status plan_matmul(const struct gr_case *c, bool int8, struct gr_choice *k,
                                     struct graft_error *err)
{
    const struct gr_shape *a = &c->in[0].shape, *b = &c->in[1].shape, *y = &c->out[0].shape;
    enum gr_dtype src = c->bf16 ? GR_BF16 : GR_F32, dst = gr_product_dtype(c);
    struct gr_tensor w = {0}, bt = {0};
    struct dnn_matmul m = {0};
    if (c->in[0].dtype != GR_F32 || a->rank < 2 || b->rank < 2 || !gr_shape_count(y) ||
        !gr_shape_count(a))
        return refuse(err, "only fp32 matrices");
    int64_t inner = a->dim[a->rank - 1], cols = y->dim[y->rank - 1];
    enum graft_status s = c->konst[1] ? gr_const_f32(c->konst[1], &w, err) : GRAFT_OK;
    m.w_data = w.data;
    if (b->rank == 2) { /* one matrix for all rows */
        int64_t rows = gr_shape_count(y) / cols;
        if (c->node->n_in > 2) {
            m.n_bias = cols;
            s = s ? s : gr_const_f32(c->konst[2], &bt, err);
            m.bias = bt.data;
        }
        m.a = matrix(rows, inner, false, src);
        m.w = matrix(inner, cols, false, src);
        m.y = matrix(rows, cols, false, dst);
    } else { /* equal ranks; dimensions of 1 are repeated */
        struct gr_shape as = {y->rank}, bs = {y->rank};
        for (int i = 0; i < y->rank; i++) {
            int ia = i - (y->rank - a->rank), ib = i - (y->rank - b->rank);
            as.dim[i] = ia < 0 ? 1 : a->dim[ia];
            bs.dim[i] = ib < 0 ? 1 : b->dim[ib];
        }
        m.a = dnn_operand_of(&as, (struct gr_layout){src, false});
        m.w = dnn_operand_of(&bs, (struct gr_layout){src, false});
        m.y = dnn_operand_of(y, (struct gr_layout){dst, false});
    }
    if (!s)
        s = choose(c, int8, &m, k, err);
    gr_tensor_clear(&w);
    gr_tensor_clear(&bt);
    return s;
}

static enum graft_status gemm_plan(const struct gr_case *c, struct gr_choice *k,
                                   struct graft_error *err)
{
    return plan_gemm(c, false, k, err);
}

static enum graft_status gemm_int8_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    return plan_gemm(c, true, k, err);
}

static enum graft_status matmul_plan(const struct gr_case *c, struct gr_choice *k,
                                     struct graft_error *err)
{
    return plan_matmul(c, false, k, err);
}

static enum graft_status matmul_int8_plan(const struct gr_case *c, struct gr_choice *k,
                                          struct graft_error *err)
{
    return plan_matmul(c, true, k, err);
}

static const char *const gemm_ops[] = {"Gemm", NULL};
const struct gr_kernel gr_kernel_gemm = {"gemm",     gemm_ops,    gemm_plan, dnn_bind,
                                         dnn_unbind, dnn_forward, dnn_unplan};
static const char *const matmul_ops[] = {"MatMul", "Linear", NULL};
const struct gr_kernel gr_kernel_matmul = {"matmul",   matmul_ops,  matmul_plan, dnn_bind,
                                           dnn_unbind, dnn_forward, dnn_unplan};
const struct gr_kernel gr_kernel_gemm_int8 = {"gemm_int8", gemm_ops,    gemm_int8_plan, dnn_bind,
                                              dnn_unbind,  dnn_forward, dnn_unplan};
const struct gr_kernel gr_kernel_matmul_int8 = {
    "matmul_int8", matmul_ops, matmul_int8_plan, dnn_bind, dnn_unbind, dnn_forward, dnn_unplan};
