/* How are softmax and layer normalisation computed fast? */
#include "base/mem.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"
#ifdef __x86_64__
#include "cpu/zmm.h"
#endif
#include <math.h>

struct rows;
typedef void norm_fn(const struct rows *r, const void *x, const float *w, const float *b, void *y,
                     int64_t at);

struct rows {
    enum { SOFTMAX, LOG_SOFTMAX, LAYER_NORM } kind;
    int64_t n, width;
    enum gr_dtype in, out;
    float eps;
    int bias; /* input, or 0 */
    norm_fn *norm;
};

static norm_fn short_norm_row, norm_row;
#ifdef __x86_64__
static norm_fn norm_row_zmm;
#endif

static norm_fn *choose_norm(int64_t width)
{
#ifdef __x86_64__
    if (gr_cpu_has_fast_bf16() && width % ZMM_LANES == 0)
        return norm_row_zmm;
#endif
    return width <= VEC_ROW ? short_norm_row : norm_row;
}

static enum graft_status rows_plan(const struct gr_case *c, struct gr_choice *k,
                                   struct graft_error *err)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *x = &c->in[0].shape;
    bool norm = gr_node_is(n, "LayerNormalization"), flat = !norm && n->opset < 13;
    int axis = gr_axis(gr_node_get_int(n, "axis", flat ? 1 : -1), x->rank);
    if (c->in[0].dtype != GR_F32 || c->add || c->n_acts || axis < 0 || !gr_shape_count(x) ||
        (!norm && !flat && gr_shape_count_range(x, axis + 1, x->rank) != 1))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "not over whole rows");
    for (int i = 1; i < n->n_out; i++)
        if (n->out[i] >= 0)
            return gr_error(err, GRAFT_E_UNSUPPORTED, "statistics are wanted");
    int64_t width = gr_shape_count_range(x, axis, x->rank);
    for (int i = 1; i < c->n_in; i++)
        if (c->in[i].dtype && gr_shape_count(&c->in[i].shape) != width)
            return gr_error(err, GRAFT_E_UNSUPPORTED, "scale is repeated");
    struct rows *r = gr_alloc(sizeof *r);
    if (!r)
        return gr_error_nomem(err);
    *r = (struct rows){norm                       ? LAYER_NORM
                       : gr_node_is(n, "Softmax") ? SOFTMAX
                                                  : LOG_SOFTMAX,
                       gr_shape_count(x) / width,
                       width,
                       c->layout[0].dtype,
                       c->factor             ? GR_BF16
                       : c->f32_out || !norm ? GR_F32
                                             : c->layout[0].dtype,
                       gr_node_get_float(n, "epsilon", 1e-5f),
                       norm && n->n_in > 2 && n->in[2] >= 0 ? 2 : 0,
                       choose_norm(width)};
    k->in[0] = (struct gr_layout){r->in, false};
    for (int i = 1; i <= 2 && i < c->n_in; i++)
        k->in[i].dtype = norm && c->in[i].dtype ? GR_F32 : GR_UNKNOWN;
    k->out[0] = (struct gr_layout){r->out, false};
    k->place = r->in == r->out ? 0 : -1;
    k->state = r;
    k->impl = "rows";
    return GRAFT_OK;
}

/* A row that fits the buffer: each exponential once. */
static void short_soft_row(const struct rows *r, const void *x, void *y, int64_t at)
{
    float v[VEC_ROW];
    const int n = (int)r->width;
    vec_load(r->in, v, x, at, 1, n);
    const float sum = vec_exp_sum(v, vec_largest(v, n), n);
    vec_act(&(struct gr_act){GR_ACT_LINEAR, 1 / sum, 0}, v, n);
    vec_store(r->out, y, at, v, n);
}

static void soft_row(const struct rows *r, const void *x, void *y, int64_t at)
{
    float v[VEC_ROW], top = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < r->width; i += VEC_ROW) {
        int n = (int)(r->width - i < VEC_ROW ? r->width - i : VEC_ROW);
        vec_load(r->in, v, x, at + i, 1, n);
        float t = vec_largest(v, n);
        top = t > top || t != t ? t : top;
    }
    for (int64_t i = 0; i < r->width; i += VEC_ROW) {
        int n = (int)(r->width - i < VEC_ROW ? r->width - i : VEC_ROW);
        vec_load(r->in, v, x, at + i, 1, n);
        sum += vec_exp_sum(v, top, n);
    }
    float shift = top + (r->kind == LOG_SOFTMAX ? (float)log(sum) : 0);
    struct gr_act scale = {GR_ACT_LINEAR, (float)(1 / sum), 0};
    for (int64_t i = 0; i < r->width; i += VEC_ROW) {
        int n = (int)(r->width - i < VEC_ROW ? r->width - i : VEC_ROW);
        vec_load(r->in, v, x, at + i, 1, n);
        if (r->kind == SOFTMAX) {
            vec_exp_sum(v, shift, n);
            vec_act(&scale, v, n);
        } else {
            for (int k = 0; k < n; k++)
                v[k] -= shift;
        }
        vec_store(r->out, y, at + i, v, n);
    }
}

/* A row that fits the buffer. */
static void short_norm_row(const struct rows *r, const void *x, const float *w, const float *b,
                           void *y, int64_t at)
{
    float v[VEC_ROW];
    const int n = (int)r->width;
    vec_load(r->in, v, x, at, 1, n);
    vec_norm(v, r->eps, w, b, n);
    vec_store(r->out, y, at, v, n);
}

#ifdef __x86_64__
/* A row of whole registers. As vec_norm, in a quarter of the time: no copy of the row, and sums
   that do not wait for one another. */
ZMM_TARGET static void norm_row_zmm(const struct rows *r, const void *x, const float *w,
                                    const float *b, void *y, int64_t at)
{
    enum { SUMS = 4 };
    const bool in = r->in == GR_BF16, out = r->out == GR_BF16;
    const int64_t n = r->width, wide = n / (SUMS * ZMM_LANES) * (SUMS * ZMM_LANES);
    __m512 sum[SUMS], square[SUMS];
    _Pragma("GCC unroll 4") for (int k = 0; k < SUMS; k++) sum[k] = square[k] = _mm512_setzero_ps();
    for (int64_t i = 0; i < wide; i += SUMS * ZMM_LANES)
        _Pragma("GCC unroll 4") for (int k = 0; k < SUMS; k++) sum[k] =
            _mm512_add_ps(sum[k], zmm_load(in, x, at + i + k * ZMM_LANES));
    for (int64_t i = wide; i < n; i += ZMM_LANES)
        sum[0] = _mm512_add_ps(sum[0], zmm_load(in, x, at + i));
    const float mean = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]),
                                                          _mm512_add_ps(sum[2], sum[3]))) /
                       (float)n;
    const __m512 m = _mm512_set1_ps(mean);
    for (int64_t i = 0; i < wide; i += SUMS * ZMM_LANES)
        _Pragma("GCC unroll 4") for (int k = 0; k < SUMS; k++)
        {
            const __m512 d = _mm512_sub_ps(zmm_load(in, x, at + i + k * ZMM_LANES), m);
            square[k] = _mm512_fmadd_ps(d, d, square[k]);
        }
    for (int64_t i = wide; i < n; i += ZMM_LANES) {
        const __m512 d = _mm512_sub_ps(zmm_load(in, x, at + i), m);
        square[0] = _mm512_fmadd_ps(d, d, square[0]);
    }
    const double var = (double)_mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(square[0], square[1]), _mm512_add_ps(square[2], square[3])));
    const __m512 scale = _mm512_set1_ps((float)(1 / sqrt(var / (double)n + (double)r->eps)));
    for (int64_t i = 0; i < n; i += ZMM_LANES) {
        const __m512 d = _mm512_mul_ps(_mm512_sub_ps(zmm_load(in, x, at + i), m), scale),
                     by = _mm512_loadu_ps(w + i),
                     add = b ? _mm512_loadu_ps(b + i) : _mm512_setzero_ps();
        zmm_store(out, y, at + i, _mm512_fmadd_ps(d, by, add));
    }
}
#endif

static void norm_row(const struct rows *r, const void *x, const float *w, const float *b, void *y,
                     int64_t at)
{
    float v[VEC_ROW];
    double mean = 0, var = 0;
    for (int64_t i = 0; i < r->width; i += VEC_ROW) {
        int n = (int)(r->width - i < VEC_ROW ? r->width - i : VEC_ROW);
        vec_load(r->in, v, x, at + i, 1, n);
        mean += vec_sum(v, n);
    }
    mean /= (double)r->width;
    for (int64_t i = 0; i < r->width; i += VEC_ROW) {
        int n = (int)(r->width - i < VEC_ROW ? r->width - i : VEC_ROW);
        vec_load(r->in, v, x, at + i, 1, n);
        var += vec_sum_squares(v, (float)mean, n);
    }
    double scale = 1 / sqrt(var / (double)r->width + r->eps);
    struct gr_act act = {GR_ACT_LINEAR, (float)scale, (float)(-mean * scale)};
    for (int64_t i = 0; i < r->width; i += VEC_ROW) {
        int n = (int)(r->width - i < VEC_ROW ? r->width - i : VEC_ROW);
        vec_load(r->in, v, x, at + i, 1, n);
        vec_act(&act, v, n);
        vec_binary(VEC_MUL, v, w + i, n);
        if (b)
            vec_binary(VEC_ADD, v, b + i, n);
        vec_store(r->out, y, at + i, v, n);
    }
}

static enum graft_status rows_forward(const void *state, void *bound, const void *const *in,
                                      void *const *out, void *scratch, struct graft_error *err)
{
    const struct rows *r = state;
    (void)bound;
    (void)scratch;
    (void)err;
#pragma omp parallel for if (r->n * r->width >= 1 << 13) schedule(static)
    for (int64_t i = 0; i < r->n; i++) {
        if (r->kind == LAYER_NORM)
            r->norm(r, in[0], in[1], r->bias ? in[r->bias] : NULL, out[0], i * r->width);
        else if (r->kind == SOFTMAX && r->width <= VEC_ROW)
            short_soft_row(r, in[0], out[0], i * r->width);
        else
            soft_row(r, in[0], out[0], i * r->width);
    }
    return GRAFT_OK;
}

static const char *const ops[] = {"Softmax", "LogSoftmax", "LayerNormalization", NULL};
const struct gr_kernel gr_kernel_rows = {
    .name = "rows", .ops = ops, .plan = rows_plan, .forward = rows_forward, .unplan = gr_free};
