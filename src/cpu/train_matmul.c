/* How are products of matrices trained fast? */
#include "base/mem.h"
#include "cpu/dnn_train.h"
#include "cpu/train_util.h"

/* out = left * right. In bf16, and where a factor is stored as the transpose, which oneDNN reads
   slowly, factors are copied first: dense, and rounded. */
struct factors {
    struct dnn_prim *left, *right, *run; /* left, right: the copies, or NULL */
    size_t right_at, own_at;             /* in scratch */
};

struct product {
    struct factors y, da, dw;
    int64_t rows, cols;            /* of y, for the gradient of a bias */
    bool bias, a_turned, w_turned; /* stored as the transpose */
};

static void factors_clear(struct factors *f)
{
    dnn_prim_free(f->left);
    dnn_prim_free(f->right);
    dnn_prim_free(f->run);
}

static void product_unplan(void *state)
{
    struct product *t = state;
    if (!t)
        return;
    factors_clear(&t->y);
    factors_clear(&t->da);
    factors_clear(&t->dw);
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

static void need(struct gr_train_choice *k, size_t size)
{
    k->c.scratch_size = size > k->c.scratch_size ? size : k->c.scratch_size;
}

/* A dense copy of the factor where one is wanted; *at: the scratch used so far. */
static enum graft_status add_copy(struct dnn_operand *o, bool bf16, struct dnn_prim **copy,
                                  size_t *at, struct graft_error *err)
{
    struct dnn_operand to = *o;
    int64_t step = 1;
    if (!bf16 && o->stride[o->rank - 1] == 1)
        return GRAFT_OK;
    to.dtype = bf16 ? GR_BF16 : GR_F32;
    for (int i = to.rank - 1; i >= 0; i--) {
        to.stride[i] = step;
        step *= to.dim[i];
    }
    enum graft_status s = dnn_convert_new(o, &to, copy, err);
    *o = to;
    *at += ((size_t)step * gr_dtype_size(to.dtype) + 63) / 64 * 64;
    return s;
}

static enum graft_status factors_init(struct factors *f, bool bf16, struct dnn_operand left,
                                      struct dnn_operand right, const struct dnn_operand *out,
                                      int64_t n_bias, struct gr_train_choice *k,
                                      struct graft_error *err)
{
    size_t at = 0;
    enum graft_status s = add_copy(&left, bf16, &f->left, &at, err);
    f->right_at = at;
    if (!s)
        s = add_copy(&right, bf16, &f->right, &at, err);
    f->own_at = at;
    if (!s)
        s = dnn_product_new(&left, &right, out, n_bias, &f->run, err);
    if (s)
        return s;
    need(k, at + dnn_prim_get_scratch_size(f->run));
    if (f->left)
        need(k, at + dnn_prim_get_scratch_size(f->left));
    if (f->right)
        need(k, at + dnn_prim_get_scratch_size(f->right));
    return GRAFT_OK;
}

static enum graft_status factors_run(const struct factors *f, const void *left, const void *right,
                                     void *out, const void *bias, void *scratch,
                                     struct graft_error *err)
{
    char *copies = scratch, *own = copies + f->own_at;
    enum graft_status s = GRAFT_OK;
    if (f->left) {
        s = dnn_prim_run(f->left, (const void *[]){left, copies}, own, err);
        left = copies;
    }
    if (!s && f->right) {
        s = dnn_prim_run(f->right, (const void *[]){right, copies + f->right_at}, own, err);
        right = copies + f->right_at;
    }
    return s ? s : dnn_prim_run(f->run, (const void *[]){left, right, out, bias}, own, err);
}

/* y = a w + bias, da = dy w', dw = a' dy; a gradient that is stored turned is made turned. */
static enum graft_status choose(const struct gr_train_case *tc, struct gr_train_choice *k,
                                const struct dnn_operand *a, const struct dnn_operand *w,
                                const struct dnn_operand *y, bool bias, struct graft_error *err)
{
    struct product *t = gr_alloc_zero(1, sizeof *t);
    struct dnn_operand at = turned(*a), wt = turned(*w), yt = turned(*y);
    /* Small ones, as classifiers are, gain nothing by rounding. */
    const int64_t macs = y->dim[y->rank - 2] * y->dim[y->rank - 1] * a->dim[a->rank - 1];
    const bool bf16 = tc->c.bf16 && macs >= 1 << 20;
    if (!t)
        return gr_error_nomem(err);
    t->rows = y->dim[y->rank - 2];
    t->cols = y->dim[y->rank - 1];
    t->bias = bias;
    t->a_turned = a->stride[a->rank - 1] != 1;
    t->w_turned = w->stride[w->rank - 1] != 1;
    enum graft_status s = factors_init(&t->y, bf16, *a, *w, y, bias ? t->cols : 0, k, err);
    if (!s && tc->wants[0])
        s = t->a_turned ? factors_init(&t->da, bf16, *w, yt, &at, 0, k, err)
                        : factors_init(&t->da, bf16, *y, wt, a, 0, k, err);
    if (!s && tc->wants[1])
        s = t->w_turned ? factors_init(&t->dw, bf16, yt, *a, &wt, 0, k, err)
                        : factors_init(&t->dw, bf16, at, *y, w, 0, k, err);
    if (s) {
        product_unplan(t);
        return s;
    }
    k->c.in[0] = k->c.in[1] = k->c.out[0] = (struct gr_layout){GR_F32, false};
    if (bias)
        k->c.in[2] = k->c.in[0];
    k->keep_in[0] = tc->wants[1];
    k->keep_in[1] = tc->wants[0];
    k->keep_out[0] = false;
    k->c.state = t;
    k->c.impl = dnn_prim_get_impl(t->y.run);
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
    return factors_run(&t->y, p->in[0], p->in[1], p->out[0], t->bias ? p->in[2] : NULL, p->scratch,
                       err);
}

static enum graft_status product_backward(void *state, const struct gr_train_pass *p,
                                          struct graft_error *err)
{
    struct product *t = state;
    const void *dy = p->dout[0], *a = p->in[0], *w = p->in[1];
    enum graft_status s = GRAFT_OK;
    if (p->din[0])
        s = factors_run(&t->da, t->a_turned ? w : dy, t->a_turned ? dy : w, p->din[0], NULL,
                        p->scratch, err);
    if (!s && p->din[1])
        s = factors_run(&t->dw, t->w_turned ? dy : a, t->w_turned ? a : dy, p->din[1], NULL,
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
