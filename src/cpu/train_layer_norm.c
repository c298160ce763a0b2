/* How is layer normalization trained fast? */
#include "base/mem.h"
#include "cpu/train_util.h"
#include <math.h>

struct layer {
    int64_t rows, n;
    double epsilon;
    bool bias;
};

static enum graft_status layer_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                    struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    const struct gr_shape *x = &c->in[0].shape;
    int axis = gr_axis(gr_node_get_int(c->node, "axis", -1), x->rank);
    int64_t n = axis < 0 ? 0 : gr_shape_count_range(x, axis, x->rank);
    bool bias = c->n_in > 2 && c->in[2].dtype;
    if (c->in[0].dtype != GR_F32 || n < 1 || !gr_shape_count(x) ||
        gr_shape_count(&c->in[1].shape) != n || (bias && gr_shape_count(&c->in[2].shape) != n))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "only fp32 with a scale for each number");
    for (int i = 1; i < c->n_out; i++)
        if (c->node->out[i] >= 0)
            return gr_error(err, GRAFT_E_UNSUPPORTED, "statistics as outputs");
    struct layer *t = gr_alloc(sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    *t = (struct layer){gr_shape_count(x) / n, n, gr_node_get_float(c->node, "epsilon", 1e-5f),
                        bias};
    for (int i = 0; i < 2 + bias; i++)
        k->c.in[i] = (struct gr_layout){GR_F32, false};
    k->c.out[0] = k->c.in[0];
    k->keep_out[0] = false;
    k->saved_size = (size_t)t->rows * 2 * sizeof(float);
    k->c.scratch_size = (size_t)n * 2 * TRAIN_PIECES * sizeof(float);
    k->c.state = t;
    k->c.impl = "rows";
    return GRAFT_OK;
}

CLONES static void layer_row(int64_t n, double epsilon, const float *x, const float *w,
                             const float *b, float *y, float *stats)
{
    float sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    float mean = sum / (float)n;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    float inv = (float)(1 / sqrt((double)square / (double)n + epsilon));
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * inv * w[i] + (b ? b[i] : 0);
    if (stats) {
        stats[0] = mean;
        stats[1] = inv;
    }
}

static enum graft_status layer_forward(void *state, const struct gr_train_pass *p,
                                       struct graft_error *err)
{
    struct layer *t = state;
    const float *x = p->in[0], *b = t->bias ? p->in[2] : NULL;
    float *y = p->out[0], *saved = p->training ? p->saved : NULL;
    (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < t->rows; r++)
        layer_row(t->n, t->epsilon, x + r * t->n, p->in[1], b, y + r * t->n,
                  saved ? saved + 2 * r : NULL);
    return GRAFT_OK;
}

CLONES static void back_row(int64_t n, const float *x, const float *w, const float *dy,
                            const float *stats, float *dx, float *dw, float *db)
{
    float mean = stats[0], inv = stats[1], s = 0, q = 0;
    for (int64_t i = 0; i < n; i++) {
        dw[i] += dy[i] * (x[i] - mean) * inv;
        db[i] += dy[i];
    }
    if (!dx)
        return;
#pragma omp simd reduction(+ : s, q)
    for (int64_t i = 0; i < n; i++) {
        float g = dy[i] * w[i];
        s += g;
        q += g * (x[i] - mean);
    }
    s /= (float)n;
    q *= inv * inv / (float)n;
    for (int64_t i = 0; i < n; i++)
        dx[i] = inv * (dy[i] * w[i] - s - (x[i] - mean) * q);
}

static enum graft_status layer_backward(void *state, const struct gr_train_pass *p,
                                        struct graft_error *err)
{
    struct layer *t = state;
    const float *x = p->in[0], *dy = p->dout[0], *stats = p->saved;
    float *dx = p->din[0], *sums = p->scratch;
    (void)err;
    memset(sums, 0, (size_t)(t->n * 2 * TRAIN_PIECES) * sizeof *sums);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < TRAIN_PIECES; i++)
        for (int64_t r = train_piece(t->rows, i); r < train_piece(t->rows, i + 1); r++)
            back_row(t->n, x + r * t->n, p->in[1], dy + r * t->n, stats + 2 * r,
                     dx ? dx + r * t->n : NULL, sums + i * 2 * t->n, sums + (i * 2 + 1) * t->n);
    for (int i = 1; i < TRAIN_PIECES; i++)
        for (int64_t c = 0; c < 2 * t->n; c++)
            sums[c] += sums[i * 2 * t->n + c];
    if (p->din[1])
        memcpy(p->din[1], sums, (size_t)t->n * sizeof *sums);
    if (t->bias && p->din[2])
        memcpy(p->din[2], sums + t->n, (size_t)t->n * sizeof *sums);
    return GRAFT_OK;
}

static const char *const ops[] = {"LayerNormalization", NULL};
const struct gr_train_kernel gr_train_layer_norm = {
    "layer_norm", ops, layer_plan, layer_forward, layer_backward, gr_free};
