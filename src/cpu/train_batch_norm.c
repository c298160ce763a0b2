/* How is batch-norm trained fast, with the sum and the activation that follow it? */
#include "base/mem.h"
#include "cpu/train_util.h"
#include <math.h>

/* Channels last: `rows` of `c`. z = scale (x - mean) / sqrt(var + epsilon) + bias + residual, and
   y = min(max(z, lo), hi). */
struct norm {
    int64_t rows, c;
    enum gr_dtype dtype;
    double epsilon, momentum;
    bool batch; /* statistics of the batch */
    bool add, act;
    float lo, hi;
};

/* What the loops work on. a and b: factor and summand of each channel; sums: two per piece. */
struct rows {
    int64_t first, last, c;
    const void *x, *residual, *y, *dy;
    void *out, *out_residual;
    const float *a, *b, *k; /* dx = a g + b x + k */
    const float *shift;
    float lo, hi;
    bool act;
    double *sum, *product;
};

enum { BLOCK = 64, TILE = 64 };

TRAIN_INLINE void apply_any(enum gr_dtype t, const struct rows *r)
{
    for (int64_t row = r->first; row < r->last; row++)
        for (int64_t c = 0; c < r->c; c++) {
            float v = train_load(t, r->x, row * r->c + c) * r->a[c] + r->b[c];
            if (r->residual)
                v += train_load(t, r->residual, row * r->c + c);
            v = v < r->lo ? r->lo : v;
            v = v > r->hi ? r->hi : v;
            train_store(t, r->out, row * r->c + c, v);
        }
}

TRAIN_CLONES static void apply_rows(enum gr_dtype t, const struct rows *r)
{
    if (t == GR_BF16)
        apply_any(GR_BF16, r);
    else
        apply_any(GR_F32, r);
}

/* Sums of x - shift and of its square: the shift keeps digits where the mean is far from 0. */
TRAIN_INLINE void stats_any(enum gr_dtype t, const struct rows *r)
{
    for (int64_t c0 = 0; c0 < r->c; c0 += BLOCK) {
        int64_t n = r->c - c0 < BLOCK ? r->c - c0 : BLOCK;
        for (int64_t top = r->first; top < r->last; top += TILE) {
            int64_t end = top + TILE < r->last ? top + TILE : r->last;
            float s[BLOCK] = {0}, q[BLOCK] = {0};
            for (int64_t row = top; row < end; row++)
                for (int64_t c = 0; c < n; c++) {
                    float d = train_load(t, r->x, row * r->c + c0 + c) - r->shift[c0 + c];
                    s[c] += d;
                    q[c] += d * d;
                }
            for (int64_t c = 0; c < n; c++) {
                r->sum[c0 + c] += s[c];
                r->product[c0 + c] += q[c];
            }
        }
    }
}

TRAIN_CLONES static void stats_rows(enum gr_dtype t, const struct rows *r)
{
    if (t == GR_BF16)
        stats_any(GR_BF16, r);
    else
        stats_any(GR_F32, r);
}

/* The gradient before the activation. */
TRAIN_INLINE float masked(enum gr_dtype t, const struct rows *r, int64_t i, bool act)
{
    float g = train_load(t, r->dy, i);
    if (!act)
        return g;
    float y = train_load(t, r->y, i);
    return y > r->lo && y < r->hi ? g : 0;
}

/* Sums of the gradient and of its product with x - shift. */
TRAIN_INLINE void reduce_any(enum gr_dtype t, bool act, const struct rows *r)
{
    for (int64_t c0 = 0; c0 < r->c; c0 += BLOCK) {
        int64_t n = r->c - c0 < BLOCK ? r->c - c0 : BLOCK;
        for (int64_t top = r->first; top < r->last; top += TILE) {
            int64_t end = top + TILE < r->last ? top + TILE : r->last;
            float s[BLOCK] = {0}, q[BLOCK] = {0};
            for (int64_t row = top; row < end; row++)
                for (int64_t c = 0; c < n; c++) {
                    int64_t i = row * r->c + c0 + c;
                    float g = masked(t, r, i, act);
                    s[c] += g;
                    q[c] += g * (train_load(t, r->x, i) - r->shift[c0 + c]);
                }
            for (int64_t c = 0; c < n; c++) {
                r->sum[c0 + c] += s[c];
                r->product[c0 + c] += q[c];
            }
        }
    }
}

TRAIN_CLONES static void reduce_rows(enum gr_dtype t, const struct rows *r)
{
    if (t == GR_BF16)
        reduce_any(GR_BF16, r->act, r);
    else if (r->act)
        reduce_any(GR_F32, true, r);
    else
        reduce_any(GR_F32, false, r);
}

TRAIN_INLINE void back_any(enum gr_dtype t, bool by_x, bool residual, const struct rows *r)
{
    for (int64_t row = r->first; row < r->last; row++)
        for (int64_t c = 0; c < r->c; c++) {
            int64_t i = row * r->c + c;
            float g = masked(t, r, i, r->act), d = r->a[c] * g;
            if (by_x)
                d += r->b[c] * train_load(t, r->x, i) + r->k[c];
            if (r->out)
                train_store(t, r->out, i, d);
            if (residual)
                train_store(t, r->out_residual, i, g);
        }
}

TRAIN_CLONES static void back_rows(enum gr_dtype t, const struct rows *r)
{
    bool by_x = r->b, residual = r->out_residual;
    if (t == GR_BF16)
        back_any(GR_BF16, by_x, residual, r);
    else if (by_x && residual)
        back_any(GR_F32, true, true, r);
    else if (by_x)
        back_any(GR_F32, true, false, r);
    else
        back_any(GR_F32, false, residual, r);
}

static enum graft_status norm_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                   struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    const struct gr_shape *x = &c->in[0].shape;
    size_t n_c;
    if (c->in[0].dtype != GR_F32 || x->rank < 2 || !gr_shape_count(x) || c->n_acts > 1 ||
        (c->n_acts && c->acts[0].kind != GR_ACT_CLIP) ||
        gr_node_get_int(c->node, "training_mode", 0))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "only fp32 pictures");
    struct norm *t = gr_alloc_zero(1, sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    *t = (struct norm){.c = x->dim[1],
                       .rows = gr_shape_count(x) / x->dim[1],
                       .dtype = c->layout[0].dtype,
                       .epsilon = gr_node_get_float(c->node, "epsilon", 1e-5f),
                       .momentum = tc->momentum,
                       .batch = tc->batch_stats,
                       .add = c->add,
                       .act = c->n_acts > 0,
                       .lo = c->n_acts ? c->acts[0].a : -INFINITY,
                       .hi = c->n_acts ? c->acts[0].b : INFINITY};
    if (t->batch && t->rows < 2) {
        gr_free(t);
        return gr_error(err, GRAFT_E_ARG,
                        "statistics of a batch need two values for each channel, found one");
    }
    n_c = (size_t)t->c;
    struct gr_layout l = {t->dtype, true}, plain = {GR_F32, false};
    k->c.in[0] = k->c.out[0] = l;
    for (int i = 1; i < 5; i++)
        k->c.in[i] = plain;
    if (c->add)
        k->c.in[5] = l;
    bool reads_x = t->batch || tc->wants[1] || tc->wants[2];
    for (int i = 0; i < c->n_in; i++)
        k->keep_in[i] = i == 0 ? reads_x : i < 5;
    k->keep_out[0] = t->act;
    if (c->add && !t->act)
        k->same[5] = true;
    k->saved_size = t->batch ? 2 * n_c * sizeof(float) : 0;
    k->c.scratch_size = (2 * TRAIN_PIECES * sizeof(double) + 8 * sizeof(float)) * n_c;
    k->c.state = t;
    k->c.impl = "rows";
    return GRAFT_OK;
}

/* Adds the sums of all pieces up into those of the first. */
static void join(double *sums, int64_t c)
{
    for (int p = 1; p < TRAIN_PIECES; p++)
        for (int64_t i = 0; i < 2 * c; i++)
            sums[i] += sums[p * 2 * c + i];
}

/* Statistics of the batch into mean and inv; moves the running ones. */
static void measure(const struct norm *t, const void *x, float *mean, float *inv, float *shift,
                    double *sums, float *running_mean, float *running_var)
{
    for (int64_t c = 0; c < t->c; c++)
        shift[c] = train_load(t->dtype, x, c);
    memset(sums, 0, (size_t)(2 * TRAIN_PIECES * t->c) * sizeof *sums);
#pragma omp parallel for schedule(static)
    for (int p = 0; p < TRAIN_PIECES; p++) {
        struct rows r = {.first = train_piece(t->rows, p),
                         .last = train_piece(t->rows, p + 1),
                         .c = t->c,
                         .x = x,
                         .shift = shift,
                         .sum = sums + p * 2 * t->c,
                         .product = sums + p * 2 * t->c + t->c};
        stats_rows(t->dtype, &r);
    }
    join(sums, t->c);
    double n = (double)t->rows, m = t->momentum;
    for (int64_t c = 0; c < t->c; c++) {
        double d = sums[c] / n, var = sums[t->c + c] / n - d * d;
        var = var < 0 ? 0 : var;
        mean[c] = (float)(shift[c] + d);
        inv[c] = (float)(1 / sqrt(var + t->epsilon));
        running_mean[c] = (float)((1 - m) * running_mean[c] + m * (shift[c] + d));
        running_var[c] = (float)((1 - m) * running_var[c] + m * var * n / (n - 1));
    }
}

static enum graft_status norm_forward(void *state, const struct gr_train_pass *p,
                                      struct graft_error *err)
{
    struct norm *t = state;
    const float *scale = p->in[1], *bias = p->in[2], *mean = p->in[3], *var = p->in[4];
    double *sums = p->scratch;
    float *a = (float *)(sums + 2 * TRAIN_PIECES * t->c), *b = a + t->c, *shift = b + t->c;
    float *saved = p->saved;
    bool batch = t->batch && p->training;
    (void)err;
    if (batch && !p->again) /* inputs 3 and 4 are the trainer's own running statistics */
        measure(t, p->in[0], saved, saved + t->c, shift, sums, (float *)(uintptr_t)mean,
                (float *)(uintptr_t)var);
    for (int64_t c = 0; c < t->c; c++) {
        double inv = batch ? (double)saved[t->c + c] : 1 / sqrt((double)var[c] + t->epsilon);
        a[c] = (float)(scale[c] * inv);
        b[c] = (float)(bias[c] - (double)(batch ? saved[c] : mean[c]) * scale[c] * inv);
    }
#pragma omp parallel for schedule(static)
    for (int i = 0; i < TRAIN_PIECES; i++) {
        struct rows r = {.first = train_piece(t->rows, i),
                         .last = train_piece(t->rows, i + 1),
                         .c = t->c,
                         .x = p->in[0],
                         .residual = t->add ? p->in[5] : NULL,
                         .out = p->out[0],
                         .a = a,
                         .b = b,
                         .lo = t->lo,
                         .hi = t->hi};
        apply_rows(t->dtype, &r);
    }
    return GRAFT_OK;
}

static enum graft_status norm_backward(void *state, const struct gr_train_pass *p,
                                       struct graft_error *err)
{
    struct norm *t = state;
    const float *scale = p->in[1], *var = p->in[4], *saved = p->saved;
    const float *mean = t->batch ? saved : p->in[3];
    double *sums = p->scratch;
    float *a = (float *)(sums + 2 * TRAIN_PIECES * t->c), *b = a + t->c, *k = b + t->c;
    void *residual = t->add && t->act ? p->din[5] : NULL;
    bool reduce = p->din[1] || p->din[2] || (t->batch && p->din[0]);
    struct rows base = {.c = t->c,
                        .x = p->in[0],
                        .y = p->out[0],
                        .dy = p->dout[0],
                        .shift = mean,
                        .lo = t->lo,
                        .hi = t->hi,
                        .act = t->act};
    (void)err;
    memset(sums, 0, (size_t)(2 * TRAIN_PIECES * t->c) * sizeof *sums);
#pragma omp parallel for schedule(static) if (reduce)
    for (int i = 0; i < TRAIN_PIECES; i++) {
        struct rows r = base;
        r.first = train_piece(t->rows, i);
        r.last = reduce ? train_piece(t->rows, i + 1) : r.first;
        r.sum = sums + i * 2 * t->c;
        r.product = r.sum + t->c;
        reduce_rows(t->dtype, &r);
    }
    join(sums, t->c);
    for (int64_t c = 0; c < t->c; c++) {
        double inv = t->batch ? (double)saved[t->c + c] : 1 / sqrt((double)var[c] + t->epsilon);
        double dbias = sums[c], dscale = sums[t->c + c] * inv, n = (double)t->rows;
        double by_x = -scale[c] * inv * inv * dscale / n;
        if (p->din[1])
            ((float *)p->din[1])[c] = (float)dscale;
        if (p->din[2])
            ((float *)p->din[2])[c] = (float)dbias;
        a[c] = (float)(scale[c] * inv);
        b[c] = (float)by_x;
        k[c] = (float)(-scale[c] * inv * dbias / n - by_x * mean[c]);
    }
    if (!p->din[0] && !residual)
        return GRAFT_OK;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < TRAIN_PIECES; i++) {
        struct rows r = base;
        r.first = train_piece(t->rows, i);
        r.last = train_piece(t->rows, i + 1);
        r.a = a;
        r.b = t->batch ? b : NULL;
        r.k = k;
        r.out = p->din[0];
        r.out_residual = residual;
        back_rows(t->dtype, &r);
    }
    return GRAFT_OK;
}

static const char *const ops[] = {"BatchNormalization", NULL};
const struct gr_train_kernel gr_train_batch_norm = {"batch_norm", ops,           norm_plan,
                                                    norm_forward, norm_backward, gr_free};
