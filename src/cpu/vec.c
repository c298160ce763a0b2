/* How are short rows of floats computed? */
#include "cpu/vec.h"
#include "base/clones.h"
#include <math.h>

static inline uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static inline float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t bf16_of(float f)
{
    uint32_t u = bits_of(f), r = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 0x40 : r);
}

/* exp with an error of about one unit in the last place; 0 and infinity beyond the range. */
static inline float exp_of(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = x > 100.0f ? 100.0f : x;
    x = x < -110.0f ? -110.0f : x;
    float t = x * 1.44269504f + magic, n = t - magic;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    int32_t i = (int32_t)(bits_of(t) - bits_of(magic)), half = i >> 1;
    return p * float_of((uint32_t)(half + 127) << 23) * float_of((uint32_t)(i - half + 127) << 23);
}

static inline float clip_of(float x, float lo, float hi)
{
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}

static inline float tanh_of(float x)
{
    float a = x < 0 ? -x : x, e = exp_of(-2 * a), x2 = x * x;
    float big = (1 - e) / (1 + e); /* loses digits near 0 */
    float small = a * (1 + x2 * (-1.0f / 3 + x2 * (2.0f / 15 - x2 * (17.0f / 315))));
    float y = a < 0.15f ? small : big;
    return x < 0 ? -y : y;
}

/* Abramowitz and Stegun 7.1.26, absolute error 1.5e-7. */
static inline float erf_of(float x)
{
    float a = x < 0 ? -x : x, t = 1 / (1 + 0.3275911f * a);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float y = 1 - p * t * exp_of(-a * a);
    return x < 0 ? -y : y;
}

CLONES void vec_load(enum gr_dtype t, float *restrict y, const void *x, int64_t offset,
                     int64_t stride, int n)
{
    const uint16_t *h = (const uint16_t *)x + (t == GR_BF16 ? offset : 0);
    const float *f = (const float *)x + (t == GR_BF16 ? 0 : offset);
    if (t == GR_BF16 && stride == 1)
        for (int i = 0; i < n; i++)
            y[i] = float_of((uint32_t)h[i] << 16);
    else if (t == GR_BF16)
        for (int i = 0; i < n; i++)
            y[i] = float_of((uint32_t)h[i * stride] << 16);
    else if (stride == 1)
        memcpy(y, f, (size_t)n * sizeof *y);
    else
        for (int i = 0; i < n; i++)
            y[i] = f[i * stride];
}

CLONES void vec_store(enum gr_dtype t, void *y, int64_t offset, const float *restrict x, int n)
{
    if (t != GR_BF16) {
        memcpy((float *)y + offset, x, (size_t)n * sizeof *x);
        return;
    }
    uint16_t *restrict h = (uint16_t *)y + offset;
    for (int i = 0; i < n; i++)
        h[i] = bf16_of(x[i]);
}

#define EACH(expr)                                                                                 \
    for (int i = 0; i < n; i++)                                                                    \
        y[i] = (expr);                                                                             \
    break

CLONES void vec_binary(enum vec_op op, float *restrict y, const float *restrict x, int n)
{
    switch (op) {
    case VEC_ADD:
        EACH(y[i] + x[i]);
    case VEC_SUB:
        EACH(y[i] - x[i]);
    case VEC_MUL:
        EACH(y[i] * x[i]);
    case VEC_DIV:
        EACH(y[i] / x[i]);
    case VEC_MIN:
        EACH(y[i] < x[i] || y[i] != y[i] ? y[i] : x[i]);
    case VEC_MAX:
        EACH(y[i] > x[i] || y[i] != y[i] ? y[i] : x[i]);
    case VEC_POW:
        EACH(powf(y[i], x[i]));
    case VEC_PRELU:
        EACH(y[i] * (y[i] < 0 ? x[i] : 1.0f));
    }
}

CLONES void vec_act(const struct gr_act *act, float *restrict y, int n)
{
    float a = act->a, b = act->b;
    switch (act->kind) {
    case GR_ACT_CLIP:
        EACH(clip_of(y[i], a, b));
    case GR_ACT_LEAKY:
        EACH(y[i] < 0 ? a * y[i] : y[i]);
    case GR_ACT_LINEAR:
        EACH(a * y[i] + b);
    case GR_ACT_SIGMOID:
        EACH(1 / (1 + exp_of(-y[i])));
    case GR_ACT_SWISH:
        EACH(y[i] / (1 + exp_of(-a * y[i])));
    case GR_ACT_TANH:
        EACH(tanh_of(y[i]));
    case GR_ACT_HARD_SWISH:
        EACH(y[i] * clip_of(y[i] + 3, 0, 6) * (1.0f / 6));
    case GR_ACT_HARD_SIGMOID:
        EACH(clip_of(a * y[i] + b, 0, 1));
    case GR_ACT_ELU:
        EACH(y[i] < 0 ? a * (exp_of(y[i]) - 1) : y[i]);
    case GR_ACT_GELU:
        EACH(0.5f * y[i] * (1 + erf_of(y[i] * 0.70710678f)));
    case GR_ACT_GELU_TANH:
        EACH(0.5f * y[i] * (1 + tanh_of(0.7978845608f * (y[i] + 0.044715f * y[i] * y[i] * y[i]))));
    case GR_ACT_SOFTPLUS:
        EACH(y[i] > 0 ? y[i] + log1pf(expf(-y[i])) : log1pf(expf(y[i])));
    case GR_ACT_MISH:
        for (int i = 0; i < n; i++) {
            float e = exp_of(y[i] > 20 ? 20 : y[i]), q = e * (e + 2);
            y[i] *= q / (q + 2);
        }
        break;
    case GR_ACT_EXP:
        EACH(exp_of(y[i]));
    case GR_ACT_SQRT:
        EACH(sqrtf(y[i]));
    case GR_ACT_ABS:
        EACH(y[i] < 0 ? -y[i] : y[i]);
    case GR_ACT_ERF:
        EACH(erf_of(y[i]));
    case GR_N_ACTS:
        break;
    }
}

/* Sums in 16 lanes: fast, and more exact than one after the other. */
enum { LANES = 16 };

static inline float sum_lanes(const float *lane)
{
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += lane[i];
    return sum;
}

CLONES float vec_exp_sum(float *restrict y, float shift, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = exp_of(y[i] - shift);
    return vec_sum(y, n);
}

CLONES float vec_sum(const float *x, int n)
{
    float lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += x[i + k];
    for (; i < n; i++)
        lane[i % LANES] += x[i];
    return sum_lanes(lane);
}

CLONES float vec_sum_squares(const float *x, float mean, int n)
{
    float lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += (x[i + k] - mean) * (x[i + k] - mean);
    for (; i < n; i++)
        lane[i % LANES] += (x[i] - mean) * (x[i] - mean);
    return sum_lanes(lane);
}

/* Several sums at once in each: one alone would wait for itself. */
CLONES void vec_norm(float *restrict y, float eps, const float *restrict w, const float *restrict b,
                     int n)
{
    enum { WIDE = 4 * LANES };
    float sum[WIDE] = {0}, square[WIDE] = {0};
    int i = 0;
    for (; i + WIDE <= n; i += WIDE)
        for (int k = 0; k < WIDE; k++)
            sum[k] += y[i + k];
    for (; i < n; i++)
        sum[i % WIDE] += y[i];
    for (int k = 0; k < LANES; k++)
        sum[k] = (sum[k] + sum[k + LANES]) + (sum[k + 2 * LANES] + sum[k + 3 * LANES]);
    const float mean = sum_lanes(sum) / (float)n;
    for (i = 0; i + WIDE <= n; i += WIDE)
        for (int k = 0; k < WIDE; k++)
            square[k] += (y[i + k] - mean) * (y[i + k] - mean);
    for (; i < n; i++)
        square[i % WIDE] += (y[i] - mean) * (y[i] - mean);
    for (int k = 0; k < LANES; k++)
        square[k] =
            (square[k] + square[k + LANES]) + (square[k + 2 * LANES] + square[k + 3 * LANES]);
    const float scale = (float)(1 / sqrt((double)sum_lanes(square) / n + (double)eps));
    if (b)
        for (i = 0; i < n; i++)
            y[i] = (y[i] - mean) * scale * w[i] + b[i];
    else
        for (i = 0; i < n; i++)
            y[i] = (y[i] - mean) * scale * w[i];
}

static inline float larger(float a, float b)
{
    return b > a || b != b ? b : a;
}

/* Signed integers in the order of the bf16 that they stand for, NaN on top. */
static inline int16_t sortable(uint16_t h)
{
    int16_t s = (int16_t)h, t = (int16_t)(s ^ ((s >> 15) & 0x7fff));
    return h > 0xff80 ? 0x7fff : t;
}

/* Signed integers in the order of the floats that they stand for, NaN on top: comparisons of those
   become vector instructions. */
static inline int32_t ordered(float x)
{
    int32_t s = (int32_t)bits_of(x), t = s ^ ((s >> 31) & 0x7fffffff);
    return (s & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : t;
}

CLONES float vec_largest(const float *x, int n)
{
    int32_t lane[LANES], top = ordered(x[0]);
    int i = 0;
    for (int k = 0; k < LANES; k++)
        lane[k] = top;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            const int32_t t = ordered(x[i + k]);
            lane[k] = t > lane[k] ? t : lane[k];
        }
    for (int k = 0; k < LANES; k++)
        top = lane[k] > top ? lane[k] : top;
    for (; i < n; i++) {
        const int32_t t = ordered(x[i]);
        top = t > top ? t : top;
    }
    return float_of((uint32_t)(top ^ ((top >> 31) & 0x7fffffff)));
}

CLONES void vec_max_first(enum gr_dtype t, void *y, const void *x, int64_t n)
{
    int16_t *restrict a = y;
    const uint16_t *restrict b = x;
    if (t == GR_F32)
        memcpy(y, x, (size_t)n * 4);
    else
        for (int64_t i = 0; i < n; i++)
            a[i] = sortable(b[i]);
}

static inline void max_f32(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = larger(y[i], x[i]);
}

CLONES void vec_max_next(enum gr_dtype t, void *y, const void *x, int64_t n)
{
    int16_t *restrict a = y;
    const uint16_t *restrict b = x;
    if (t == GR_F32)
        max_f32(y, x, n);
    else
        for (int64_t i = 0; i < n; i++) {
            int16_t s = sortable(b[i]);
            a[i] = s > a[i] ? s : a[i];
        }
}

CLONES void vec_max_pair(enum gr_dtype t, void *y, const void *x, int64_t n)
{
    int16_t *restrict a = y;
    const int16_t *restrict b = x;
    if (t == GR_F32)
        max_f32(y, x, n);
    else
        for (int64_t i = 0; i < n; i++)
            a[i] = b[i] > a[i] ? b[i] : a[i];
}

CLONES void vec_max_store(enum gr_dtype t, void *y, const void *x, int64_t n)
{
    uint16_t *restrict a = y;
    const int16_t *restrict b = x;
    if (t == GR_F32)
        memcpy(y, x, (size_t)n * 4);
    else
        for (int64_t i = 0; i < n; i++)
            a[i] = (uint16_t)(b[i] ^ ((b[i] >> 15) & 0x7fff));
}

/* Elements that alternate between `group` rows. */
#define INTERLEAVE(type)                                                                           \
    {                                                                                              \
        type *restrict d = y;                                                                      \
        if (group == 2) {                                                                          \
            const type *restrict a = x[0], *restrict b = x[1];                                     \
            for (int64_t i = 0; i < n; i++) {                                                      \
                d[2 * i] = a[i];                                                                   \
                d[2 * i + 1] = b[i];                                                               \
            }                                                                                      \
        } else {                                                                                   \
            for (int k = 0; k < group; k++) {                                                      \
                const type *restrict a = x[k];                                                     \
                for (int64_t i = 0; i < n; i++)                                                    \
                    d[i * group + k] = a[i];                                                       \
            }                                                                                      \
        }                                                                                          \
    }

CLONES void vec_interleave(size_t elem_size, void *y, const void *const *x, int group, int64_t n)
{
    if (elem_size == 2)
        INTERLEAVE(uint16_t)
    else
        INTERLEAVE(uint32_t)
}
