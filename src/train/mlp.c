/* What does a head with one hidden layer learn? (AdamW, early stopping on every tenth example) */
#include "base/events.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/gemm.h"
#include "train/head.h"
#include "train/scaler.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define BATCH        64
#define RATE         1e-3
#define BETA1        0.9
#define BETA2        0.999
#define EPSILON      1e-8
#define WEIGHT_DECAY 1e-2
#define PATIENCE     10
/* streams of the generator; those of the epochs follow */
enum { STREAM_SPLIT, STREAM_INIT = 1 << 20, STREAM_EPOCH };

/* Parameters in one block: w1 (H, ld), b1 (H), w2 (C, H), b2 (C). */
struct mlp {
    const struct gr_head_data *data;
    size_t n, ld, n_hidden, n_classes, n_params;
    float *x; /* (n, ld) */
    float *params, *grad, *m, *v, *best;
    float *xb, *h, *dh, *z, *zt; /* a batch: (BATCH, ld), (BATCH, H), (BATCH, H), (BATCH, C) */
    int64_t *train, *held, *batch_order;
    size_t n_train, n_held;
};

static float *w1(const struct mlp *p, float *params)
{
    (void)p;
    return params;
}
static float *b1(const struct mlp *p, float *params)
{
    return params + p->n_hidden * p->ld;
}
static float *w2(const struct mlp *p, float *params)
{
    return b1(p, params) + p->n_hidden;
}
static float *b2(const struct mlp *p, float *params)
{
    return w2(p, params) + p->n_classes * p->n_hidden;
}

static void mlp_clear(struct mlp *p)
{
    float *const aligned[] = {p->x,  p->params, p->grad, p->m, p->v, p->best,
                              p->xb, p->h,      p->dh,   p->z, p->zt};
    for (size_t i = 0; i < sizeof aligned / sizeof *aligned; i++)
        gr_free_aligned(aligned[i]);
    gr_free(p->train);
    gr_free(p->held);
    gr_free(p->batch_order);
}

static float *floats(size_t rows, size_t cols)
{
    size_t size;
    if (!gr_mul_size(rows, cols, &size) || !gr_mul_size(size, sizeof(float), &size))
        return NULL;
    return gr_alloc_aligned(size, true);
}

static enum graft_status mlp_init(struct mlp *p, struct graft_error *err)
{
    size_t w1_size, w2_size;
    if (!gr_mul_size(p->n_hidden, p->ld + 1, &w1_size) ||
        !gr_mul_size(p->n_classes, p->n_hidden + 1, &w2_size) ||
        !gr_add_size(w1_size, w2_size, &p->n_params))
        return gr_error(err, GRAFT_E_LIMIT, "%zu hidden units x %zu features", p->n_hidden, p->ld);
    p->x = floats(p->n, p->ld);
    p->params = floats(p->n_params, 1);
    p->grad = floats(p->n_params, 1);
    p->m = floats(p->n_params, 1);
    p->v = floats(p->n_params, 1);
    p->best = floats(p->n_params, 1);
    p->xb = floats(BATCH, p->ld);
    p->h = floats(BATCH, p->n_hidden);
    p->dh = floats(BATCH, p->n_hidden);
    p->z = floats(BATCH, p->n_classes);
    p->zt = floats(BATCH, p->n_classes);
    p->train = gr_alloc_array(p->n, sizeof *p->train);
    p->held = gr_alloc_array(p->n, sizeof *p->held);
    p->batch_order = gr_alloc_array(p->n, sizeof *p->batch_order);
    if (!p->x || !p->params || !p->grad || !p->m || !p->v || !p->best || !p->xb || !p->h ||
        !p->dh || !p->z || !p->zt || !p->train || !p->held || !p->batch_order)
        return gr_error_nomem(err);
    return GRAFT_OK;
}

/* Every tenth of the examples, shuffled within their classes, is held out; the first of each
   class never is. */
static void split(struct mlp *p, uint64_t seed)
{
    size_t dealt = 0;
    for (size_t c = 0; c < p->n_classes; c++) {
        size_t count = 0;
        for (size_t i = 0; i < p->n; i++)
            if (p->data->y[i] == (int)c)
                p->batch_order[count++] = (int64_t)i;
        gr_rng_shuffle(seed, STREAM_SPLIT + c, p->batch_order, count);
        for (size_t i = 0; i < count; i++, dealt++) {
            if (i > 0 && dealt % 10 == 9)
                p->held[p->n_held++] = p->batch_order[i];
            else
                p->train[p->n_train++] = p->batch_order[i];
        }
    }
}

static void start_weights(struct mlp *p, uint64_t seed)
{
    double s1 = sqrt(2.0 / (double)p->data->d), s2 = sqrt(1.0 / (double)p->n_hidden);
    uint64_t counter = 0;
    for (size_t j = 0; j < p->n_hidden; j++)
        for (size_t i = 0; i < p->data->d; i++)
            w1(p, p->params)[j * p->ld + i] =
                (float)(s1 * gr_rng_normal(seed, STREAM_INIT, counter++));
    for (size_t i = 0; i < p->n_classes * p->n_hidden; i++)
        w2(p, p->params)[i] = (float)(s2 * gr_rng_normal(seed, STREAM_INIT, counter++));
}

/* Probabilities of m gathered examples in z; returns the sum of weighted losses. */
static double forward(struct mlp *p, const int64_t *index, size_t m, double *weight)
{
    const size_t ld = p->ld, n_hidden = p->n_hidden, n_classes = p->n_classes;
    double loss = 0;
    *weight = 0;
    for (size_t r = 0; r < m; r++)
        memcpy(p->xb + r * ld, p->x + (size_t)index[r] * ld, ld * sizeof(float));
    gr_gemm_nt(m, n_hidden, ld, p->xb, ld, w1(p, p->params), ld, p->h, n_hidden);
    for (size_t r = 0; r < m; r++)
        for (size_t j = 0; j < n_hidden; j++) {
            float v = p->h[r * n_hidden + j] + b1(p, p->params)[j];
            p->h[r * n_hidden + j] = v > 0 ? v : 0;
        }
    gr_gemm_nt(m, n_classes, n_hidden, p->h, n_hidden, w2(p, p->params), n_hidden, p->z, n_classes);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < n_classes; c++)
            p->z[r * n_classes + c] += b2(p, p->params)[c];
    gr_softmax_rows(p->z, m, n_classes);
    for (size_t r = 0; r < m; r++) {
        int label = p->data->y[index[r]];
        double prob = p->z[r * n_classes + (size_t)label];
        *weight += p->data->class_weights[label];
        loss -= p->data->class_weights[label] * log(prob > 1e-30 ? prob : 1e-30);
    }
    return loss;
}

/* The gradient of the batch's mean loss, after forward. */
static void backward(struct mlp *p, const int64_t *index, size_t m, double weight)
{
    const size_t ld = p->ld, n_hidden = p->n_hidden, n_classes = p->n_classes;
    memset(p->grad, 0, p->n_params * sizeof(float));
    memset(p->dh, 0, m * n_hidden * sizeof(float));
    for (size_t r = 0; r < m; r++) {
        int label = p->data->y[index[r]];
        float scale = (float)(p->data->class_weights[label] / weight);
        p->z[r * n_classes + (size_t)label] -= 1;
        for (size_t c = 0; c < n_classes; c++) {
            float dz = p->z[r * n_classes + c] * scale;
            p->z[r * n_classes + c] = p->zt[c * m + r] = dz;
            b2(p, p->grad)[c] += dz;
        }
    }
    gr_gemm_tn_add(n_classes, n_hidden, m, p->z, n_classes, p->h, n_hidden, w2(p, p->grad),
                   n_hidden);
    gr_gemm_tn_add(m, n_hidden, n_classes, p->zt, m, w2(p, p->params), n_hidden, p->dh, n_hidden);
    for (size_t r = 0; r < m; r++)
        for (size_t j = 0; j < n_hidden; j++) {
            if (p->h[r * n_hidden + j] <= 0)
                p->dh[r * n_hidden + j] = 0;
            b1(p, p->grad)[j] += p->dh[r * n_hidden + j];
        }
    gr_gemm_tn_add(n_hidden, ld, m, p->dh, n_hidden, p->xb, ld, w1(p, p->grad), ld);
}

static void adamw(struct mlp *p, int step)
{
    const float *bias1 = b1(p, p->params), *out_w = w2(p, p->params), *bias2 = b2(p, p->params);
    double c1 = 1 - pow(BETA1, step), c2 = 1 - pow(BETA2, step);
    const float rate = (float)(RATE / c1), root = (float)(1 / sqrt(c2));
    for (size_t i = 0; i < p->n_params; i++) {
        const float *at = p->params + i;
        bool bias = (at >= bias1 && at < out_w) || at >= bias2;
        float g = p->grad[i];
        p->m[i] = (float)BETA1 * p->m[i] + (float)(1 - BETA1) * g;
        p->v[i] = (float)BETA2 * p->v[i] + (float)(1 - BETA2) * g * g;
        if (!bias)
            p->params[i] *= (float)(1 - RATE * WEIGHT_DECAY);
        p->params[i] -= rate * p->m[i] / (sqrtf(p->v[i]) * root + (float)EPSILON);
    }
}

static double mean_loss(struct mlp *p, const int64_t *index, size_t n)
{
    double loss = 0, weight = 0, w;
    for (size_t i = 0; i < n; i += BATCH) {
        loss += forward(p, index + i, n - i < BATCH ? n - i : BATCH, &w);
        weight += w;
    }
    return weight > 0 ? loss / weight : 0;
}

static enum graft_status learn(struct mlp *p, const struct gr_head_options *o,
                               const struct graft_events *ev, struct gr_head_report *report,
                               struct graft_error *err)
{
    int step = 0, best_epoch = 0;
    double best = INFINITY;
    for (int epoch = 0; epoch < o->epochs && epoch - best_epoch < PATIENCE; epoch++) {
        double total = 0, total_weight = 0, weight;
        memcpy(p->batch_order, p->train, p->n_train * sizeof *p->train);
        gr_rng_shuffle(o->seed, STREAM_EPOCH + (uint64_t)epoch, p->batch_order, p->n_train);
        for (size_t i = 0; i < p->n_train; i += BATCH) {
            size_t m = p->n_train - i < BATCH ? p->n_train - i : BATCH;
            total += forward(p, p->batch_order + i, m, &weight);
            total_weight += weight;
            if (weight <= 0)
                continue;
            backward(p, p->batch_order + i, m, weight);
            adamw(p, ++step);
            if (gr_cancelled(ev, err))
                return GRAFT_E_CANCELLED;
        }
        double loss = p->n_held ? mean_loss(p, p->held, p->n_held) : total / total_weight;
        if (!isfinite(loss))
            return gr_error(err, GRAFT_E_COMPUTE, "the loss is %g after %d epochs", loss,
                            epoch + 1);
        if (loss < best) {
            best = loss;
            best_epoch = epoch;
            memcpy(p->best, p->params, p->n_params * sizeof(float));
        }
        report->iterations = epoch + 1;
        gr_progress(ev, "head", epoch + 1, o->epochs, "epoch");
    }
    report->loss = best;
    report->converged = report->iterations < o->epochs;
    snprintf(report->summary, sizeof report->summary, "MLP with %zu hidden units, epoch %d of %d",
             p->n_hidden, best_epoch + 1, report->iterations);
    return GRAFT_OK;
}

static enum graft_status write_head(struct mlp *p, const struct gr_scaler *s, struct gr_head *head,
                                    struct graft_error *err)
{
    enum graft_status st = GRAFT_OK;
    const size_t d = p->data->d;
    struct gr_head h = {
        .kind = GR_HEAD_MLP, .n_features = d, .n_classes = p->n_classes, .n_hidden = p->n_hidden};
    double *row = gr_alloc_array(d, sizeof *row);
    h.w1 = gr_alloc_array(p->n_hidden, d * sizeof(float));
    h.b1 = gr_alloc_array(p->n_hidden, sizeof(float));
    h.w = gr_alloc_array(p->n_classes, p->n_hidden * sizeof(float));
    h.b = gr_alloc_array(p->n_classes, sizeof(float));
    if (!row || !h.w1 || !h.b1 || !h.w || !h.b) {
        st = gr_error_nomem(err);
        goto out;
    }
    for (size_t j = 0; j < p->n_hidden; j++) {
        double bias = b1(p, p->best)[j];
        for (size_t i = 0; i < d; i++)
            row[i] = w1(p, p->best)[j * p->ld + i];
        gr_scaler_fold(s, row, d, &bias, 1, h.w1 + j * d, h.b1 + j);
    }
    memcpy(h.w, w2(p, p->best), p->n_classes * p->n_hidden * sizeof(float));
    memcpy(h.b, b2(p, p->best), p->n_classes * sizeof(float));
    for (size_t c = 0; c < p->n_classes; c++)
        if (!p->data->class_counts[c]) {
            memset(h.w + c * p->n_hidden, 0, p->n_hidden * sizeof(float));
            h.b[c] = GR_ABSENT_LOGIT;
        }
    *head = h;
    memset(&h, 0, sizeof h);
out:
    gr_free(row);
    gr_head_free(&h);
    return st;
}

GR_HEAD_FIT(gr_mlp_fit)
{
    enum graft_status st;
    struct gr_scaler s = {0};
    struct mlp p = {.data = data,
                    .n = data->n,
                    .ld = gr_gemm_pad(data->d),
                    .n_hidden = o->width,
                    .n_classes = data->n_classes};
    if ((st = mlp_init(&p, err)))
        goto out;
    if ((st = gr_scaler_fit(data->x, p.n, data->d, &s, err)))
        goto out;
    gr_scaler_apply(&s, data->x, p.n, NULL, p.x, p.ld);
    split(&p, o->seed);
    start_weights(&p, o->seed);
    if ((st = learn(&p, o, ev, report, err)))
        goto out;
    st = write_head(&p, &s, head, err);
out:
    mlp_clear(&p);
    gr_scaler_clear(&s);
    return st;
}
