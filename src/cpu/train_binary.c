/* How are sums and products with broadcasting trained fast? */
#include "base/mem.h"
#include "cpu/dnn_compat.h"
#include "cpu/rows.h"
#include "cpu/train_util.h"

/* The output is walked in the order of its memory, dimensions joined where both operands allow;
   strides of 0 repeat. The last dimension is the inner loop. */
struct binary {
    enum { ADD, SUB, MUL, DIV } op;
    enum gr_dtype dtype;
    int rank;
    int64_t dim[GR_MAX_RANK], stride[2][GR_MAX_RANK], count;
    int64_t size[2]; /* elements of the operands */
};

enum { PARALLEL_COUNT = 1 << 14 };

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "only two fp32 operands");
}

static bool is_spatial(const struct gr_shape *s, const struct gr_shape *y)
{
    return s->rank == y->rank && y->rank >= 3;
}

/* Dimensions by falling stride of the output, then joined. */
static void join(struct binary *t, const struct dnn_operand *y, int64_t stride[2][GR_MAX_RANK])
{
    int order[GR_MAX_RANK], n = 0;
    for (int i = 0; i < y->rank; i++) {
        if (y->dim[i] == 1)
            continue;
        int at = n++;
        for (; at > 0 && y->stride[order[at - 1]] < y->stride[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (int i = 0; i < n; i++) {
        int d = order[i], last = t->rank - 1;
        bool joins = t->rank > 0;
        for (int k = 0; joins && k < 2; k++)
            joins = t->stride[k][last] == stride[k][d] * y->dim[d];
        if (!joins) {
            last = t->rank++;
            t->dim[last] = 1;
        }
        t->dim[last] *= y->dim[d];
        t->stride[0][last] = stride[0][d];
        t->stride[1][last] = stride[1][d];
    }
    if (!t->rank) {
        t->rank = 1;
        t->dim[0] = 1;
    }
}

static enum graft_status binary_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                     struct graft_error *err)
{
    static const char *const names[] = {"Add", "Sub", "Mul", "Div"};
    const struct gr_case *c = &tc->c;
    const struct gr_shape *ys = &c->out[0].shape;
    int64_t stride[2][GR_MAX_RANK] = {{0}};
    struct gr_layout l = {GR_F32, false};
    if (c->n_in != 2 || c->in[0].dtype != GR_F32 || c->in[1].dtype != GR_F32 || !gr_shape_count(ys))
        return refuse(err);
    struct binary *t = gr_alloc_zero(1, sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    while (t->op < DIV && !gr_node_is(c->node, names[t->op]))
        t->op++;
    if (gr_node_is(c->node, "Sum"))
        t->op = ADD;
    bool equal = true;
    for (int i = 0; i < 2; i++) {
        equal = equal && gr_shape_equal(&c->in[i].shape, ys);
        if (!c->konst[i] && is_spatial(&c->in[i].shape, ys) &&
            !gr_shape_is_orderless(&c->in[i].shape))
            l.channels_last = l.channels_last || c->layout[i].channels_last;
    }
    if (equal && t->op == ADD && (c->layout[0].dtype == GR_BF16 || c->layout[1].dtype == GR_BF16))
        l.dtype = GR_BF16;
    t->dtype = l.dtype;
    t->count = gr_shape_count(ys);
    for (int i = 0; i < 2; i++) {
        struct gr_layout li = {l.dtype, l.channels_last && is_spatial(&c->in[i].shape, ys)};
        struct dnn_operand x = dnn_operand_of(&c->in[i].shape, li);
        for (int d = 0; d < ys->rank; d++) {
            int j = d - (ys->rank - c->in[i].shape.rank);
            stride[i][d] = j < 0 || c->in[i].shape.dim[j] == 1 ? 0 : x.stride[j];
        }
        t->size[i] = gr_shape_count(&c->in[i].shape);
        k->c.in[i] = li;
        k->same[i] = equal && (t->op == ADD || (t->op == SUB && i == 0));
    }
    struct dnn_operand y = dnn_operand_of(ys, l);
    join(t, &y, stride);
    k->c.out[0] = l;
    for (int i = 0; i < 2; i++)
        k->keep_in[i] = t->op >= MUL;
    k->keep_out[0] = false;
    k->c.state = t;
    k->c.impl = "rows";
    return GRAFT_OK;
}

static void find(const struct binary *t, int64_t row, int64_t *a, int64_t *b)
{
    *a = *b = 0;
    for (int d = t->rank - 2; d >= 0; d--) {
        *a += row % t->dim[d] * t->stride[0][d];
        *b += row % t->dim[d] * t->stride[1][d];
        row /= t->dim[d];
    }
}

#define ROW(expr)                                                                                  \
    for (int64_t i = 0; i < n; i++, a += sa, b += sb)                                              \
        y[i] = expr;

/* Strides are 0 or what the memory gives; the cases that matter are compiled on their own. */
TRAIN_INLINE void row_any(int op, int64_t n, const float *a, int64_t sa, const float *b, int64_t sb,
                          float *y)
{
    switch (op) {
    case ADD:
        ROW(*a + *b)
        break;
    case SUB:
        ROW(*a - *b)
        break;
    case MUL:
        ROW(*a * *b)
        break;
    default:
        ROW(*a / *b)
    }
}

CLONES static void row(int op, int64_t n, const float *a, int64_t sa, const float *b, int64_t sb,
                       float *y)
{
    if (sa == 1 && sb == 1)
        row_any(op, n, a, 1, b, 1, y);
    else if (sa == 1 && sb == 0)
        row_any(op, n, a, 1, b, 0, y);
    else
        row_any(op, n, a, sa, b, sb, y);
}

void gr_train_add(enum gr_dtype dtype, void *y, const void *x, size_t n)
{
    void (*add)(enum gr_dtype, int64_t, const void *, const void *, void *) = rows_get_loops()->add;
    size_t e = gr_dtype_size(dtype), piece = 8192;
#pragma omp parallel for schedule(static) if (n >= PARALLEL_COUNT)
    for (size_t i = 0; i < n; i += piece)
        add(dtype, (int64_t)(n - i < piece ? n - i : piece), (char *)y + i * e,
            (const char *)x + i * e, (char *)y + i * e);
}

static enum graft_status binary_forward(void *state, const struct gr_train_pass *p,
                                        struct graft_error *err)
{
    const struct binary *t = state;
    int last = t->rank - 1;
    int64_t n = t->dim[last], piece = t->rank > 1 || n < 4096 ? n : 4096,
            pieces = (n + piece - 1) / piece;
    (void)err;
#pragma omp parallel for schedule(static) if (t->count >= PARALLEL_COUNT)
    for (int64_t r = 0; r < t->count / n * pieces; r++) {
        int64_t a, b, from = r % pieces * piece, len = n - from < piece ? n - from : piece;
        find(t, r / pieces, &a, &b);
        a += from * t->stride[0][last];
        b += from * t->stride[1][last];
        if (t->dtype == GR_BF16)
            rows_get_loops()->add(GR_BF16, len, (const uint16_t *)p->in[0] + a,
                                  (const uint16_t *)p->in[1] + b,
                                  (uint16_t *)p->out[0] + r / pieces * n + from);
        else
            row(t->op, len, (const float *)p->in[0] + a, t->stride[0][last],
                (const float *)p->in[1] + b, t->stride[1][last],
                (float *)p->out[0] + r / pieces * n + from);
    }
    return GRAFT_OK;
}

/* The derivative of the result by operand k, times dy. */
TRAIN_INLINE float slope(int op, int k, float dy, float a, float b)
{
    switch (op) {
    case ADD:
        return dy;
    case SUB:
        return k ? -dy : dy;
    case MUL:
        return dy * (k ? a : b);
    default:
        return k ? -dy * a / (b * b) : dy / b;
    }
}

/* d[i * sd] += the gradient; a sum over the row where sd is 0. */
TRAIN_INLINE void back_any(int op, int k, int64_t n, const float *dy, const float *a, int64_t sa,
                           const float *b, int64_t sb, float *d, int64_t sd)
{
    if (sd == 0) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++)
            sum += slope(op, k, dy[i], a[i * sa], b[i * sb]);
        *d += sum;
        return;
    }
    for (int64_t i = 0; i < n; i++)
        d[i * sd] += slope(op, k, dy[i], a[i * sa], b[i * sb]);
}

CLONES static void back_row(int op, int k, int64_t n, const float *dy, const float *a, int64_t sa,
                            const float *b, int64_t sb, float *d, int64_t sd)
{
    if (op == ADD && sd == 1)
        back_any(ADD, 0, n, dy, dy, 0, dy, 0, d, 1);
    else if (op == MUL && k == 0 && sa == 1 && sb == 1)
        back_any(MUL, 0, n, dy, a, 1, b, 1, d, 1);
    else if (op == MUL && k == 1 && sa == 1 && sb == 1)
        back_any(MUL, 1, n, dy, a, 1, b, 1, d, 1);
    else
        back_any(op, k, n, dy, a, sa, b, sb, d, sd);
}

/* Parallel over the outermost dimension, where the operand moves along it. */
static void back_operand(const struct binary *t, const struct gr_train_pass *p, int k)
{
    float *d = p->din[k];
    int last = t->rank - 1;
    const float *pa = p->in[0] ? p->in[0] : p->dout[0], *pb = p->in[1] ? p->in[1] : p->dout[0];
    int64_t n = t->dim[last], rows = t->count / n;
    bool keeps = t->op >= MUL; /* else the operands are not there to be read */
    memset(d, 0, (size_t)t->size[k] * sizeof *d);
#pragma omp parallel for schedule(static) if (t->count >= PARALLEL_COUNT && t->rank > 1 &&         \
                                              t->stride[k][0] != 0)
    for (int64_t outer = 0; outer < (t->rank > 1 ? t->dim[0] : 1); outer++) {
        int64_t per = t->rank > 1 ? rows / t->dim[0] : rows;
        for (int64_t r = outer * per; r < (outer + 1) * per; r++) {
            int64_t a, b;
            find(t, r, &a, &b);
            back_row((int)t->op, k, n, (const float *)p->dout[0] + r * n, keeps ? pa + a : pa,
                     keeps ? t->stride[0][last] : 0, keeps ? pb + b : pb,
                     keeps ? t->stride[1][last] : 0, d + (k ? b : a), t->stride[k][last]);
        }
    }
}

static enum graft_status binary_backward(void *state, const struct gr_train_pass *p,
                                         struct graft_error *err)
{
    (void)err;
    for (int k = 0; k < 2; k++)
        if (p->din[k])
            back_operand(state, p, k);
    return GRAFT_OK;
}

static const char *const ops[] = {"Add", "Sub", "Mul", "Div", "Sum", NULL};
const struct gr_train_kernel gr_train_binary = {
    "binary", ops, binary_plan, binary_forward, binary_backward, gr_free};
