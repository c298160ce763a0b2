/* How is batch-norm trained fast, with the sum and the activation that follow it? */
#include "base/mem.h"
#include "cpu/rows.h"
#include "cpu/train_util.h"
#include <math.h>
#include <omp.h>

/* Channels last: `rows` of `c`. z = scale (x - mean) / sqrt(var + epsilon) + bias + residual, and
   y = min(max(z, lo), hi). Several pixels of few channels are taken as one row of `width`. */
struct norm {
    int64_t rows, c, width;
    enum gr_dtype dtype;
    double epsilon, momentum;
    bool batch; /* statistics of the batch */
    bool add, act;
    bool by_x; /* backward finds the slope of the activation from x, not y */
    float lo, hi;
    const struct rows_loops *loops;
};

enum { N_COLUMNS = 5 }; /* of coefficients in the scratch block */

/* As many pixels as make rows of whole registers, and four of them where possible. */
static int64_t choose_width(int64_t c, int64_t rows)
{
    int64_t best = c;
    for (int64_t f = 1; f <= 64; f++) {
        if (rows % f || c * f % 16)
            continue;
        best = c * f;
        if (best >= 64)
            break;
    }
    return best;
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
                       .loops = rows_get_loops(),
                       .lo = c->n_acts ? c->acts[0].a : -INFINITY,
                       .hi = c->n_acts ? c->acts[0].b : INFINITY};
    if (t->batch && t->rows < 2) {
        gr_free(t);
        return gr_error(err, GRAFT_E_ARG,
                        "statistics of a batch need two values for each channel, found one");
    }
    t->width = choose_width(t->c, t->rows);
    n_c = (size_t)t->c;
    struct gr_layout l = {t->dtype, true}, plain = {GR_F32, false};
    k->c.in[0] = k->c.out[0] = l;
    for (int i = 1; i < 5; i++)
        k->c.in[i] = plain;
    if (c->add)
        k->c.in[5] = l;
    bool reads_x = t->batch || tc->wants[1] || tc->wants[2];
    t->by_x = t->act && !t->add && reads_x;
    for (int i = 0; i < c->n_in; i++)
        k->keep_in[i] = i == 0 ? reads_x : i < 5;
    k->keep_out[0] = t->act && !t->by_x;
    if (c->add && !t->act)
        k->same[5] = true;
    k->saved_size = t->batch ? 2 * n_c * sizeof(float) : 0;
    k->c.scratch_size =
        (2 * TRAIN_PIECES * sizeof(double) + N_COLUMNS * sizeof(float)) * (size_t)t->width;
    k->c.state = t;
    k->c.impl = "rows";
    return GRAFT_OK;
}

/* Adds the sums of all pieces and all pixels in a row up: c of the first kind, c of the second. */
static void join(const struct norm *t, double *sums)
{
    int64_t n = 2 * t->width;
    for (int p = 1; p < TRAIN_PIECES; p++)
        for (int64_t i = 0; i < n; i++)
            sums[i] += sums[p * n + i];
    for (int64_t i = t->c; i < t->width; i++) {
        sums[i % t->c] += sums[i];
        sums[t->width + i % t->c] += sums[t->width + i];
    }
    memmove(sums + t->c, sums + t->width, (size_t)t->c * sizeof *sums);
}

/* The values of one pixel for all pixels in a row. */
static void repeat(const struct norm *t, float *v)
{
    for (int64_t i = t->c; i < t->width; i++)
        v[i] = v[i - t->c];
}

static float *column(const struct norm *t, void *scratch, int i)
{
    return (float *)((double *)scratch + 2 * TRAIN_PIECES * t->width) + i * t->width;
}

static struct rows piece_of(const struct norm *t, const struct rows *whole, void *scratch, int p)
{
    struct rows r = *whole;
    r.first = train_piece(t->rows * t->c / t->width, p);
    r.last = train_piece(t->rows * t->c / t->width, p + 1);
    r.sum = (double *)scratch + p * 2 * t->width;
    r.product = r.sum + t->width;
    return r;
}

/* The pieces of one thread. A second pass goes backwards: what came last is still near. */
static void share(int *first, int *last)
{
    int n = omp_get_num_threads(), i = omp_get_thread_num();
    *first = TRAIN_PIECES * i / n;
    *last = TRAIN_PIECES * (i + 1) / n;
}

/* From the sums: statistics of the batch into saved mean and inv; moves the running ones. */
static void measure(const struct norm *t, double *sums, const float *shift, float *saved,
                    float *running_mean, float *running_var)
{
    double n = (double)t->rows, m = t->momentum;
    join(t, sums);
    for (int64_t c = 0; c < t->c; c++) {
        double d = sums[c] / n, var = sums[t->c + c] / n - d * d;
        var = var < 0 ? 0 : var;
        saved[c] = (float)(shift[c] + d);
        saved[t->c + c] = (float)(1 / sqrt(var + t->epsilon));
        running_mean[c] = (float)((1 - m) * running_mean[c] + m * (shift[c] + d));
        running_var[c] = (float)((1 - m) * running_var[c] + m * var * n / (n - 1));
    }
}

/* z = a (x - shift) + b. */
static void set_factors(const struct norm *t, const struct gr_train_pass *p, bool batch, float *a,
                        float *b, float *shift)
{
    const float *scale = p->in[1], *var = p->in[4], *saved = p->saved;
    for (int64_t c = 0; c < t->c; c++) {
        double inv = batch ? (double)saved[t->c + c] : 1 / sqrt((double)var[c] + t->epsilon);
        a[c] = (float)(scale[c] * inv);
    }
    memcpy(b, p->in[2], (size_t)t->c * sizeof *b);
    memcpy(shift, batch ? p->saved : p->in[3], (size_t)t->c * sizeof *shift);
    repeat(t, a);
    repeat(t, b);
    repeat(t, shift);
}

static enum graft_status norm_forward(void *state, const struct gr_train_pass *p,
                                      struct graft_error *err)
{
    const struct norm *t = state;
    float *a = column(t, p->scratch, 0), *b = column(t, p->scratch, 1);
    float *shift = column(t, p->scratch, 2);
    bool batch = t->batch && p->training, measures = batch && !p->again;
    struct rows whole = {.width = t->width,
                         .x = p->in[0],
                         .residual = t->add ? p->in[5] : NULL,
                         .out = p->out[0],
                         .a = a,
                         .b = b,
                         .shift = shift,
                         .lo = t->lo,
                         .hi = t->hi};
    (void)err;
    if (measures) {
        memset(p->scratch, 0, (size_t)(2 * TRAIN_PIECES * t->width) * sizeof(double));
        for (int64_t c = 0; c < t->c; c++)
            shift[c] = train_load(t->dtype, p->in[0], c);
        repeat(t, shift);
    } else {
        set_factors(t, p, batch, a, b, shift);
    }
#pragma omp parallel
    {
        int first, last;
        share(&first, &last);
        if (measures) {
            for (int i = first; i < last; i++) {
                struct rows r = piece_of(t, &whole, p->scratch, i);
                t->loops->stats(t->dtype, &r);
            }
#pragma omp barrier
#pragma omp single
            { /* inputs 3 and 4 are the trainer's own running statistics */
                measure(t, p->scratch, shift, p->saved, (float *)(uintptr_t)p->in[3],
                        (float *)(uintptr_t)p->in[4]);
                set_factors(t, p, true, a, b, shift);
            }
        }
        for (int i = last; i-- > first;) {
            struct rows r = piece_of(t, &whole, p->scratch, i);
            t->loops->apply(t->dtype, &r);
        }
    }
    return GRAFT_OK;
}

/* From the sums: the gradients of scale and bias, and dx = a g + by_x x + summand. */
static void finish(const struct norm *t, const struct gr_train_pass *p, const float *a, float *by_x,
                   float *summand)
{
    const float *var = p->in[4], *saved = p->saved, *mean = t->batch ? saved : p->in[3];
    const double *sums = p->scratch;
    join(t, p->scratch);
    for (int64_t c = 0; c < t->c; c++) {
        double inv = t->batch ? (double)saved[t->c + c] : 1 / sqrt((double)var[c] + t->epsilon);
        double dbias = sums[c], dscale = sums[t->c + c] * inv, n = (double)t->rows;
        double by = -a[c] * inv * dscale / n;
        if (p->din[1])
            ((float *)p->din[1])[c] = (float)dscale;
        if (p->din[2])
            ((float *)p->din[2])[c] = (float)dbias;
        by_x[c] = (float)by;
        summand[c] = (float)(-a[c] * dbias / n - by * mean[c]);
    }
    repeat(t, by_x);
    repeat(t, summand);
}

static enum graft_status norm_backward(void *state, const struct gr_train_pass *p,
                                       struct graft_error *err)
{
    const struct norm *t = state;
    float *a = column(t, p->scratch, 0), *b = column(t, p->scratch, 1);
    float *shift = column(t, p->scratch, 2), *by_x = column(t, p->scratch, 3);
    float *summand = column(t, p->scratch, 4);
    bool reduce = p->din[1] || p->din[2] || (t->batch && p->din[0]);
    enum slope slope = !t->act ? SLOPE_ONE : t->by_x ? SLOPE_BY_X : SLOPE_BY_Y;
    struct rows whole = {.width = t->width,
                         .x = p->in[0],
                         .y = p->out[0],
                         .dy = p->dout[0],
                         .out_residual = t->add && t->act ? p->din[5] : NULL,
                         .a = a,
                         .b = b,
                         .shift = shift,
                         .lo = t->lo,
                         .hi = t->hi};
    struct rows then = whole;
    (void)err;
    set_factors(t, p, t->batch, a, b, shift);
    memset(p->scratch, 0, (size_t)(2 * TRAIN_PIECES * t->width) * sizeof(double));
    then.out = p->din[0];
    then.by_x = t->batch ? by_x : NULL;
    then.summand = summand;
    if (reduce && whole.out_residual) { /* the first pass has left the gradient there */
        then.dy = whole.out_residual;
        then.out_residual = NULL;
    }
    enum slope then_slope = then.dy == whole.dy ? slope : SLOPE_ONE;
#pragma omp parallel
    {
        int first, last;
        share(&first, &last);
        for (int i = first; reduce && i < last; i++) {
            struct rows r = piece_of(t, &whole, p->scratch, i);
            t->loops->reduce(t->dtype, slope, &r);
        }
#pragma omp barrier
#pragma omp single
        finish(t, p, a, by_x, summand);
        for (int i = last; (then.out || then.out_residual) && i-- > first;) {
            struct rows r = piece_of(t, &then, p->scratch, i);
            t->loops->back(t->dtype, then_slope, &r);
        }
    }
    return GRAFT_OK;
}

static const char *const ops[] = {"BatchNormalization", NULL};
const struct gr_train_kernel gr_train_batch_norm = {"batch_norm", ops,           norm_plan,
                                                    norm_forward, norm_backward, gr_free};
