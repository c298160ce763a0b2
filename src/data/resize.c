/* How are pixels resampled exactly as Pillow does it? */
#include "data/resize.h"
#include "base/clones.h"
#include "base/mem.h"
#include "data/resize_passes.h"
#include <math.h>
#include <string.h>

#define PRECISION GR_TAPS_PRECISION

void gr_resizer_clear(struct gr_resizer *rs)
{
    struct gr_taps *t[2] = {&rs->across, &rs->down};
    for (int i = 0; i < 2; i++) {
        gr_free(t[i]->first);
        gr_free(t[i]->n);
        gr_free(t[i]->weight);
        gr_free(t[i]->real);
        gr_free_aligned(t[i]->spread);
    }
    gr_free_aligned(rs->between);
    memset(rs, 0, sizeof *rs);
}

/* ---- filters, as in Pillow's Resample.c ---- */

static double box(double x)
{
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static double sinc(double x)
{
    if (x == 0.0)
        return 1.0;
    x *= M_PI;
    return sin(x) / x;
}

static double lanczos(double x)
{
    return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

static const struct {
    double (*f)(double x);
    double support;
} filters[] = {
    [GRAFT_NEAREST] = {NULL, 0.0},    [GRAFT_BILINEAR] = {bilinear, 1.0},
    [GRAFT_BICUBIC] = {bicubic, 2.0}, [GRAFT_LANCZOS] = {lanczos, 3.0},
    [GRAFT_BOX] = {box, 0.5},
};

/* ---- which inputs an output takes ---- */

/* Output i of `full` takes inputs *first .. *first + *n - 1 of `in`. */
static void span(double support, int in, int64_t full, int64_t i, double *centre, int *first,
                 int *n)
{
    double scale = (double)in / (double)full;
    double reach = support * (scale < 1.0 ? 1.0 : scale);
    *centre = ((double)i + 0.5) * scale;
    int64_t a = (int64_t)(*centre - reach + 0.5), b = (int64_t)(*centre + reach + 0.5);
    a = a < 0 ? 0 : a;
    b = b > in ? in : b;
    *first = (int)a;
    *n = (int)(b - a);
}

/* Nearest: Pillow adds the step up from the left edge, in doubles; so must we, but not without end
   (Pillow could not hold such a picture). Only the outputs [from, from + n) are stored. */
static void nearest(int in, int64_t full, int64_t from, int n, int *index)
{
    double step = (double)in / (double)full, at = step * 0.5;
    int64_t i = 0;
    if (from > 1 << 24) {
        i = from;
        at += step * (double)from;
    }
    for (; i < from + n; i++, at += step) {
        if (i >= from)
            index[i - from] = at >= in ? in - 1 : (int)at;
    }
}

static enum graft_status plan_taps(struct gr_taps *t, enum graft_filter filter, int in,
                                   int64_t full, int64_t from, int n, struct graft_error *err)
{
    size_t outputs = (size_t)n, weights;
    if (t->cap_outputs < outputs) {
        t->cap_outputs = 0;
        gr_free(t->first);
        gr_free(t->n);
        t->first = gr_alloc_array(outputs, sizeof *t->first);
        t->n = gr_alloc_array(outputs, sizeof *t->n);
        if (!t->first || !t->n)
            return gr_error_nomem(err);
        t->cap_outputs = outputs;
    }
    if (filter == GRAFT_NEAREST) {
        nearest(in, full, from, n, t->first);
        return GRAFT_OK;
    }
    double support = filters[filter].support, scale = (double)in / (double)full;
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    t->most = (int)ceil(support * filter_scale) * 2 + 1;
    if (!gr_mul_size(outputs, (size_t)t->most, &weights))
        return gr_error_nomem(err);
    if (t->cap_weights < weights) {
        gr_free(t->weight);
        t->cap_weights = 0;
        t->weight = gr_alloc_array(weights, sizeof *t->weight);
        if (!t->weight)
            return gr_error_nomem(err);
        t->cap_weights = weights;
    }
    if (t->cap_real < (size_t)t->most) {
        gr_free(t->real);
        t->cap_real = 0;
        t->real = gr_alloc_array((size_t)t->most, sizeof *t->real);
        if (!t->real)
            return gr_error_nomem(err);
        t->cap_real = (size_t)t->most;
    }
    for (int i = 0; i < n; i++) {
        double centre, sum = 0.0, inverse = 1.0 / filter_scale;
        span(support, in, full, from + i, &centre, &t->first[i], &t->n[i]);
        for (int k = 0; k < t->n[i]; k++) {
            double w = filters[filter].f((k + t->first[i] - centre + 0.5) * inverse);
            t->real[k] = w;
            sum += w;
        }
        int32_t *to = t->weight + (size_t)i * (size_t)t->most;
        for (int k = 0; k < t->n[i]; k++) {
            double w = sum != 0.0 ? t->real[k] / sum : t->real[k];
            to[k] = (int32_t)((w < 0 ? -0.5 : 0.5) + w * (1 << PRECISION));
        }
    }
    return GRAFT_OK;
}

static void source_span(enum graft_filter filter, int in, int64_t full, int64_t from, int n,
                        int *first, int *count)
{
    double centre;
    int last, last_n;
    span(filters[filter].support, in, full, from, &centre, first, count);
    span(filters[filter].support, in, full, from + n - 1, &centre, &last, &last_n);
    if (filter == GRAFT_NEAREST) { /* one to each side covers the rounding of the sum */
        *first -= *first > 0;
        last_n = last + 2 < in ? 2 : in - last;
    }
    *count = last + last_n - *first;
}

struct gr_rect gr_resize_source(const struct gr_resize *p, int width, int height)
{
    struct gr_rect r;
    source_span(p->filter, width, p->full_width, p->x, p->width, &r.x, &r.width);
    source_span(p->filter, height, p->full_height, p->y, p->height, &r.y, &r.height);
    return r;
}

/* ---- the two passes ---- */

static inline uint8_t clip(int32_t v)
{
    v >>= PRECISION;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

typedef int32_t vec4 __attribute__((vector_size(16)));
typedef uint8_t bytes16 __attribute__((vector_size(16)));

/* Four bytes as integers, and back. Spelt out, because gcc 12 takes such small vectors apart. */
static inline __attribute__((always_inline)) vec4 widen(const uint8_t *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const bytes16 zero = {0};
    int32_t all;
    memcpy(&all, p, 4);
    bytes16 v = (bytes16)(vec4){all};
    v = __builtin_shufflevector(v, zero, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    v = __builtin_shufflevector(v, zero, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23);
    return (vec4)v;
#else
    return (vec4){p[0], p[1], p[2], p[3]};
#endif
}

static inline __attribute__((always_inline)) void narrow(vec4 v, uint8_t *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    bytes16 b = (bytes16)v;
    vec4 low =
        (vec4)__builtin_shufflevector(b, b, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    memcpy(p, &low, 4);
#else
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)v[i];
#endif
}

/* One row, a pixel at a time: its three channels and, ignored, the byte behind them. That byte is
   also written, to be overwritten by the next pixel or to fall into the slack behind the buffer. */
CLONES static void row_across(const uint8_t *restrict row, const int *first, const int *count,
                              const int32_t *weight, int most, int n, uint8_t *restrict out)
{
    const int32_t half = 1 << (PRECISION - 1);
    for (int i = 0; i < n; i++, out += 3, weight += most) {
        const uint8_t *p = row + 3 * (size_t)first[i];
        vec4 sum = {half, half, half, 0};
        for (int k = 0; k < count[i]; k++, p += 3)
            sum += widen(p) * weight[k];
        sum >>= PRECISION;
        sum &= ~(sum >> 31); /* clipped to 0..255 */
        vec4 over = sum > 255;
        narrow((sum & ~over) | (over & 255), out);
    }
}

#define STRIP 64 /* columns whose sums stay in registers */

CLONES static void row_down(const uint8_t *restrict rows, size_t stride, const int32_t *weight,
                            int count, size_t n, uint8_t *restrict out)
{
    size_t at = 0;
    for (; at + STRIP <= n; at += STRIP) {
        int32_t sum[STRIP];
        for (int i = 0; i < STRIP; i++)
            sum[i] = 1 << (PRECISION - 1);
        for (int k = 0; k < count; k++) {
            const uint8_t *p = rows + (size_t)k * stride + at;
            for (int i = 0; i < STRIP; i++)
                sum[i] += p[i] * weight[k];
        }
        for (int i = 0; i < STRIP; i++)
            out[at + (size_t)i] = clip(sum[i]);
    }
    for (; at < n; at++) {
        int32_t sum = 1 << (PRECISION - 1);
        for (int k = 0; k < count; k++)
            sum += rows[(size_t)k * stride + at] * weight[k];
        out[at] = clip(sum);
    }
}

static void rows_across(const struct gr_taps *t, const uint8_t *in, size_t in_stride, int rows,
                        int n, uint8_t *out, size_t out_stride)
{
    for (int y = 0; y < rows; y++, in += in_stride, out += out_stride)
        row_across(in, t->first, t->n, t->weight, t->most, n, out);
}

static enum graft_status reserve_between(struct gr_resizer *rs, size_t stride, size_t rows,
                                         struct graft_error *err)
{
    size_t size;
    if (!gr_mul_size(stride, rows, &size))
        return gr_error_nomem(err);
    if (rs->between_cap >= size)
        return GRAFT_OK;
    gr_free_aligned(rs->between);
    rs->between_cap = 0;
    rs->between = gr_alloc_aligned(size, false);
    if (!rs->between)
        return gr_error_nomem(err);
    rs->between_cap = size;
    return GRAFT_OK;
}

static enum graft_status resize_nearest(struct gr_resizer *rs, const struct gr_image *src,
                                        const struct gr_resize *p, uint8_t *out, size_t stride,
                                        struct graft_error *err)
{
    enum graft_status s =
        plan_taps(&rs->across, p->filter, src->full_width, p->full_width, p->x, p->width, err);
    if (!s)
        s = plan_taps(&rs->down, p->filter, src->full_height, p->full_height, p->y, p->height, err);
    if (s)
        return s;
    for (int y = 0; y < p->height; y++) {
        const uint8_t *row = src->rgb + (size_t)(rs->down.first[y] - src->y0) * src->stride;
        uint8_t *q = out + (size_t)y * stride;
        for (int x = 0; x < p->width; x++)
            memcpy(q + 3 * (size_t)x, row + 3 * (size_t)(rs->across.first[x] - src->x0), 3);
    }
    return GRAFT_OK;
}

enum graft_status gr_resize(struct gr_resizer *rs, const struct gr_image *src,
                            const struct gr_resize *p, uint8_t *out, size_t stride,
                            struct graft_error *err)
{
    if (p->width <= 0 || p->height <= 0 || p->x < 0 || p->y < 0 ||
        p->x > p->full_width - p->width || p->y > p->full_height - p->height)
        return gr_error(err, GRAFT_E_ARG, "part %lld,%lld %dx%d of a picture of %lldx%lld",
                        (long long)p->x, (long long)p->y, p->width, p->height,
                        (long long)p->full_width, (long long)p->full_height);
    if (p->filter == GRAFT_NEAREST)
        return resize_nearest(rs, src, p, out, stride, err);
    struct gr_rect need = gr_resize_source(p, src->full_width, src->full_height);
    const bool avx512 = !rs->portable && gr_resize_has_avx512();
    size_t row = 3 * (size_t)p->width;
    const uint8_t *rows; /* the first pass's result, from row need.y on */
    size_t rows_stride;
    enum graft_status s;

    if (p->full_width == src->full_width) { /* Pillow skips a pass that changes nothing */
        rows = src->rgb + (size_t)(need.y - src->y0) * src->stride + 3 * (size_t)(p->x - src->x0);
        rows_stride = src->stride;
    } else {
        s = plan_taps(&rs->across, p->filter, src->full_width, p->full_width, p->x, p->width, err);
        if (s)
            return s;
        rows_stride = (row + GR_BEHIND_ROW + 63) & ~(size_t)63;
        s = reserve_between(rs, rows_stride, (size_t)need.height, err);
        if (!s && avx512)
            s = gr_taps_spread(&rs->across, p->width, err);
        if (s)
            return s;
        struct gr_taps *t = &rs->across;
        for (int x = 0; x < p->width; x++)
            t->first[x] -= src->x0;
        (avx512 ? gr_rows_across_avx512
                : rows_across)(t, src->rgb + (size_t)(need.y - src->y0) * src->stride, src->stride,
                               need.height, p->width, rs->between, rows_stride);
        rows = rs->between;
    }
    if (p->full_height == src->full_height) {
        for (int y = 0; y < p->height; y++)
            memcpy(out + (size_t)y * stride, rows + (size_t)(p->y + y - need.y) * rows_stride, row);
        return GRAFT_OK;
    }
    s = plan_taps(&rs->down, p->filter, src->full_height, p->full_height, p->y, p->height, err);
    if (s)
        return s;
    const struct gr_taps *t = &rs->down;
    for (int y = 0; y < p->height; y++)
        (avx512 ? gr_row_down_avx512 : row_down)(
            rows + (size_t)(t->first[y] - need.y) * rows_stride, rows_stride,
            t->weight + (size_t)y * (size_t)t->most, t->n[y], row, out + (size_t)y * stride);
    return GRAFT_OK;
}
