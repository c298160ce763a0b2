/* How are products of matrices trained fast? */
#include "base/mem.h"
#include "cpu/dnn_train.h"
#include "cpu/train_util.h"

struct product {
    struct dnn_prim *y, *da, *dw;
    int64_t rows, cols;            /* of y, for the gradient of a bias */
    bool bias, a_turned, w_turned; /* stored as the transpose */
};

static void product_unplan(void *state)
{
    struct product *t = state;
    if (!t)
        return;
    dnn_prim_free(t->y);
    dnn_prim_free(t->da);
    dnn_prim_free(t->dw);
    gr_free(t);
}

static enum graft_status refuse(struct graft_error *err, const char *why)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "%s", why);
}

/* (rows, cols) as stored row-major, or the transpose of what is stored. */
static struct dnn_operand matrix(int64_t rows, int64_t cols, bool transposed)
{
    struct dnn_operand o = {2, {rows, cols}, {cols, 1}, GR_F32};
    if (transposed) {
        o.stride[0] = 1;
        o.stride[1] = rows;
    }
    return o;
}

static struct dnn_operand turned(struct dnn_operand o)
{
    int64_t d = o.dim[o.rank - 1], s = o.stride[o.rank - 1];
    o.dim[o.rank - 1] = o.dim[o.rank - 2];
    o.stride[o.rank - 1] = o.stride[o.rank - 2];
    o.dim[o.rank - 2] = d;
    o.stride[o.rank - 2] = s;
    return o;
}

static void need(struct gr_train_choice *k, const struct dnn_prim *p)
{
    size_t size = p ? dnn_prim_get_scratch_size(p) : 0;
    k->c.scratch_size = size > k->c.scratch_size ? size : k->c.scratch_size;
}

/* y = a w + bias, da = dy w', dw = a' dy; a gradient that is stored turned is made turned. */
static enum graft_status choose(const struct gr_train_case *tc, struct gr_train_choice *k,
                                const struct dnn_operand *a, const struct dnn_operand *w,
                                const struct dnn_operand *y, bool bias, struct graft_error *err)
{
    struct product *t = gr_alloc_zero(1, sizeof *t);
    struct dnn_operand at = turned(*a), wt = turned(*w), yt = turned(*y);
    if (!t)
        return gr_error_nomem(err);
    t->rows = y->dim[y->rank - 2];
    t->cols = y->dim[y->rank - 1];
    t->bias = bias;
    t->a_turned = a->stride[a->rank - 1] != 1;
    t->w_turned = w->stride[w->rank - 1] != 1;
    enum graft_status s = dnn_product_new(a, w, y, bias ? t->cols : 0, &t->y, err);
    if (!s && tc->wants[0])
        s = t->a_turned ? dnn_product_new(w, &yt, &at, 0, &t->da, err)
                        : dnn_product_new(y, &wt, a, 0, &t->da, err);
    if (!s && tc->wants[1])
        s = t->w_turned ? dnn_product_new(&yt, a, &wt, 0, &t->dw, err)
                        : dnn_product_new(&at, y, w, 0, &t->dw, err);
    if (s) {
        product_unplan(t);
        return s;
    }
    need(k, t->y);
    need(k, t->da);
    need(k, t->dw);
    k->c.in[0] = k->c.in[1] = k->c.out[0] = (struct gr_layout){GR_F32, false};
    if (bias)
        k->c.in[2] = k->c.in[0];
    k->keep_in[0] = tc->wants[1];
    k->keep_in[1] = tc->wants[0];
    k->keep_out[0] = false;
    k->c.state = t;
    k->c.impl = dnn_prim_get_impl(t->y);
    return GRAFT_OK;
}

static enum graft_status gemm_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                   struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    const struct gr_node *n = c->node;
    const struct gr_shape *y = &c->out[0].shape, *a = &c->in[0].shape;
    bool ta = gr_node_get_int(n, "transA", 0), tb = gr_node_get_int(n, "transB", 0);
    bool has_c = n->n_in > 2 && n->in[2] >= 0;
    if (c->in[0].dtype != GR_F32 || !gr_shape_count(a) || !gr_shape_count(y) ||
        gr_node_get_float(n, "alpha", 1) != 1 || (has_c && gr_node_get_float(n, "beta", 1) != 1))
        return refuse(err, "only fp32 matrices without factors");
    int64_t rows = y->dim[0], cols = y->dim[1], inner = a->dim[ta ? 0 : 1];
    if (has_c && (c->in[2].shape.rank < 1 || gr_shape_count(&c->in[2].shape) != cols ||
                  c->in[2].shape.dim[c->in[2].shape.rank - 1] != cols))
        return refuse(err, "C is not a row");
    struct dnn_operand oa = matrix(rows, inner, ta), ow = matrix(inner, cols, tb),
                       oy = matrix(rows, cols, false);
    return choose(tc, k, &oa, &ow, &oy, has_c, err);
}

static enum graft_status matmul_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                     struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    const struct gr_shape *a = &c->in[0].shape, *b = &c->in[1].shape, *y = &c->out[0].shape;
    struct gr_layout plain = {GR_F32, false};
    if (c->in[0].dtype != GR_F32 || a->rank < 2 || b->rank < 2 || !gr_shape_count(y) ||
        !gr_shape_count(a))
        return refuse(err, "only fp32 matrices");
    int64_t inner = a->dim[a->rank - 1], cols = y->dim[y->rank - 1];
    struct dnn_operand oa, ow, oy;
    if (b->rank == 2) { /* one matrix for all rows */
        int64_t rows = gr_shape_count(y) / cols;
        oa = matrix(rows, inner, false);
        ow = matrix(inner, cols, false);
        oy = matrix(rows, cols, false);
    } else {
        for (int i = 0; i < y->rank - 2; i++)
            if (a->rank != b->rank || a->dim[i] != b->dim[i])
                return refuse(err, "repeated matrices");
        oa = dnn_operand_of(a, plain);
        ow = dnn_operand_of(b, plain);
        oy = dnn_operand_of(y, plain);
    }
    return choose(tc, k, &oa, &ow, &oy, false, err);
}

static enum graft_status product_forward(void *state, const struct gr_train_pass *p,
                                         struct graft_error *err)
{
    struct product *t = state;
    return dnn_prim_run(t->y,
                        (const void *[]){p->in[0], p->in[1], p->out[0], t->bias ? p->in[2] : NULL},
                        p->scratch, err);
}

/* The primitives' operands in the order that `choose` gave them. */
static enum graft_status product_backward(void *state, const struct gr_train_pass *p,
                                          struct graft_error *err)
{
    struct product *t = state;
    const void *dy = p->dout[0];
    enum graft_status s = GRAFT_OK;
    if (p->din[0])
        s = dnn_prim_run(t->da,
                         t->a_turned ? (const void *[]){p->in[1], dy, p->din[0]}
                                     : (const void *[]){dy, p->in[1], p->din[0]},
                         p->scratch, err);
    if (!s && p->din[1])
        s = dnn_prim_run(t->dw,
                         t->w_turned ? (const void *[]){dy, p->in[0], p->din[1]}
                                     : (const void *[]){p->in[0], dy, p->din[1]},
                         p->scratch, err);
    if (s || !t->bias || !p->din[2])
        return s;
    float *db = p->din[2];
    memset(db, 0, (size_t)t->cols * sizeof *db);
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t i = 0; i < t->cols; i++)
            db[i] += ((const float *)dy)[r * t->cols + i];
    return GRAFT_OK;
}

static const char *const gemm_ops[] = {"Gemm", NULL};
const struct gr_train_kernel gr_train_gemm = {"gemm",          gemm_ops,         gemm_plan,
                                              product_forward, product_backward, product_unplan};
static const char *const matmul_ops[] = {"MatMul", NULL};
const struct gr_train_kernel gr_train_matmul = {"matmul",        matmul_ops,       matmul_plan,
                                                product_forward, product_backward, product_unplan};
