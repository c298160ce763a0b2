/* How is a convolution of each channel with its own small window computed fast? */
#include "base/mem.h"
#include "cpu/kernels.h"
#include <math.h>

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not a small window for each channel of pictures");
}

#ifdef __x86_64__
#include <immintrin.h>

/* oneDNN reaches a quarter of the processor's peak here. Two spatial dimensions, channels last, in
   blocks of 32 channels; sums in fp32. The order of a block's channels: as they lie in fp32, the
   even ones before the odd ones in bf16, as unpacking gives them. */
struct depthwise {
    int64_t n, c, in[2], out[2], kernel, stride, pad[2];
    enum gr_dtype dtype; /* of x and y */
    float low, high;     /* y is clipped to them */
    float *w;            /* (block, row, column, 32) */
    float *b;            /* (block, 32) */
};

enum { BLOCK = 32 };

#define TARGET __attribute__((target("avx512f,avx512bw,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 20")

INLINE void load(bool bf16, const char *p, __mmask32 m, __m512 v[2])
{
    if (bf16) {
        __m512i raw = _mm512_maskz_loadu_epi16(m, p);
        v[0] = _mm512_castsi512_ps(_mm512_slli_epi32(raw, 16));
        v[1] = _mm512_castsi512_ps(_mm512_and_si512(raw, _mm512_set1_epi32(-65536)));
    } else {
        v[0] = _mm512_maskz_loadu_ps((__mmask16)m, p);
        v[1] = _mm512_maskz_loadu_ps((__mmask16)(m >> 16), p + 64);
    }
}

INLINE void store(bool bf16, char *p, __mmask32 m, const __m512 v[2])
{
    if (bf16) {
        /* the odd ones rounded in the high half, the even ones in the low half of each pair */
        __m512i odd = (__m512i)_mm512_cvtne2ps_pbh(v[1], v[0]);
        const __m512i order =
            _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                             22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        _mm512_mask_storeu_epi16(p, m, _mm512_permutexvar_epi16(order, odd));
    } else {
        _mm512_mask_storeu_ps(p, (__mmask16)m, v[0]);
        _mm512_mask_storeu_ps(p + 64, (__mmask16)(m >> 16), v[1]);
    }
}

/* What `pixels` neighbours in one row of y and one block of channels need. */
struct strip {
    const struct depthwise *d;
    const char *x; /* of the first pixel's window, in image row `row` */
    const float *w, *b;
    int64_t row, column; /* of the window's corner in x, may be negative */
    __mmask32 mask;
};

/* Strides of 1 and 2 and kernels of 3 and 5 are constants at each call, and so is `pixels`. */
INLINE void strip(bool bf16, int64_t kernel, int64_t stride, int pixels, const struct strip *s,
                  char *y)
{
    const struct depthwise *d = s->d;
    const int64_t step = d->c * (bf16 ? 2 : 4);
    const int64_t first = s->row < 0 ? -s->row : 0,
                  last = s->row + kernel > d->in[0] ? d->in[0] - s->row : kernel;
    __m512 acc[8][2];
    UNROLL for (int j = 0; j < pixels; j++)
    {
        acc[j][0] = _mm512_loadu_ps(s->b);
        acc[j][1] = _mm512_loadu_ps(s->b + 16);
    }
    for (int64_t i = first; i < last; i++) {
        const char *x = s->x + i * d->in[1] * step;
        const float *w = s->w + i * kernel * BLOCK;
        UNROLL for (int64_t at = 0; at < (pixels - 1) * stride + kernel; at++)
        {
            __m512 v[2];
            if (pixels == 1 && (s->column + at < 0 || s->column + at >= d->in[1]))
                continue;
            load(bf16, x + at * step, s->mask, v);
            UNROLL for (int j = 0; j < pixels; j++)
            {
                const int64_t tap = at - j * stride;
                if (tap < 0 || tap >= kernel)
                    continue;
                acc[j][0] = _mm512_fmadd_ps(v[0], _mm512_loadu_ps(w + tap * BLOCK), acc[j][0]);
                acc[j][1] = _mm512_fmadd_ps(v[1], _mm512_loadu_ps(w + tap * BLOCK + 16), acc[j][1]);
            }
        }
    }
    const __m512 low = _mm512_set1_ps(d->low), high = _mm512_set1_ps(d->high);
    UNROLL for (int j = 0; j < pixels; j++)
    {
        for (int h = 0; h < 2; h++) /* NaN stays NaN */
            acc[j][h] = _mm512_min_ps(high, _mm512_max_ps(low, acc[j][h]));
        store(bf16, y + j * step, s->mask, acc[j]);
    }
}

INLINE void row(bool bf16, int64_t kernel, int64_t stride, const struct depthwise *d, const char *x,
                char *y, int64_t top)
{
    const int64_t size = bf16 ? 2 : 4, step = d->c * size;
    /* Columns of y whose windows lie inside x. */
    int64_t inner = (d->pad[1] + stride - 1) / stride,
            end = d->in[1] + d->pad[1] < kernel ? 0 : (d->in[1] + d->pad[1] - kernel) / stride + 1;
    end = end > d->out[1] ? d->out[1] : end;
    for (int64_t c = 0; c < d->c; c += BLOCK) {
        int64_t left = d->c - c;
        struct strip s = {.d = d,
                          .w = d->w + c * kernel * kernel,
                          .b = d->b + c,
                          .row = top,
                          .mask = left < BLOCK ? ((__mmask32)1 << left) - 1 : ~(__mmask32)0};
        for (int64_t o = 0; o < d->out[1];) {
            int64_t room = o < inner ? 1 : end - o;
            char *to = y + o * step + c * size;
            s.column = o * stride - d->pad[1];
            s.x = x + (top * d->in[1] + s.column) * step + c * size;
            if (room >= 8) {
                strip(bf16, kernel, stride, 8, &s, to);
                o += 8;
            } else if (room >= 4) {
                strip(bf16, kernel, stride, 4, &s, to);
                o += 4;
            } else if (room >= 2) {
                strip(bf16, kernel, stride, 2, &s, to);
                o += 2;
            } else {
                strip(bf16, kernel, stride, 1, &s, to);
                o += 1;
            }
        }
    }
}

#define ROWS(NAME, BF16, KERNEL, STRIDE)                                                           \
    static TARGET void NAME(const struct depthwise *d, const char *x, char *y, int64_t top)        \
    {                                                                                              \
        row(BF16, KERNEL, STRIDE, d, x, y, top);                                                   \
    }
ROWS(f32_3_1, false, 3, 1)
ROWS(f32_3_2, false, 3, 2)
ROWS(f32_5_1, false, 5, 1)
ROWS(f32_5_2, false, 5, 2)
ROWS(bf16_3_1, true, 3, 1)
ROWS(bf16_3_2, true, 3, 2)
ROWS(bf16_5_1, true, 5, 1)
ROWS(bf16_5_2, true, 5, 2)

static enum graft_status depthwise_forward(const void *state, void *bound, const void *const *in,
                                           void *const *out, void *scratch, struct graft_error *err)
{
    static void (*const rows[2][2][2])(const struct depthwise *, const char *, char *, int64_t) = {
        {{f32_3_1, f32_3_2}, {f32_5_1, f32_5_2}}, {{bf16_3_1, bf16_3_2}, {bf16_5_1, bf16_5_2}}};
    const struct depthwise *d = state;
    const bool bf16 = d->dtype == GR_BF16;
    const int64_t step = d->c * (bf16 ? 2 : 4);
    (void)bound;
    (void)scratch;
    (void)err;
#pragma omp parallel for schedule(static) if (d->n * d->out[0] * d->out[1] * d->c > 20000)
    for (int64_t r = 0; r < d->n * d->out[0]; r++)
        rows[bf16][d->kernel == 5][d->stride - 1](
            d, (const char *)in[0] + r / d->out[0] * d->in[0] * d->in[1] * step,
            (char *)out[0] + r * d->out[1] * step, r % d->out[0] * d->stride - d->pad[0]);
    return GRAFT_OK;
}

static void depthwise_unplan(void *state)
{
    struct depthwise *d = state;
    gr_free_aligned(d->w);
    gr_free_aligned(d->b);
    gr_free(d);
}

static float clip(float v, const struct gr_act *a)
{
    return fminf(fmaxf(v, a->a), a->b);
}

static enum graft_status pack(struct depthwise *d, const struct gr_tensor *w,
                              const struct gr_tensor *b, struct graft_error *err)
{
    const int64_t taps = d->kernel * d->kernel, padded = (d->c + BLOCK - 1) / BLOCK * BLOCK;
    struct gr_tensor wt = {0}, bt = {0};
    enum graft_status s = gr_const_f32(w, &wt, err);
    if (!s && b)
        s = gr_const_f32(b, &bt, err);
    d->w = gr_alloc_aligned((size_t)(padded * taps) * sizeof *d->w, true);
    d->b = gr_alloc_aligned((size_t)padded * sizeof *d->b, true);
    if (!s && (!d->w || !d->b))
        s = gr_error_nomem(err);
    for (int64_t c = 0; !s && c < d->c; c++) {
        const int64_t k = c % BLOCK, at = d->dtype == GR_BF16 ? k % 2 * 16 + k / 2 : k;
        for (int64_t t = 0; t < taps; t++)
            d->w[(c / BLOCK * taps + t) * BLOCK + at] = ((const float *)wt.data)[c * taps + t];
        if (b)
            d->b[c / BLOCK * BLOCK + at] = ((const float *)bt.data)[c];
    }
    gr_tensor_clear(&wt);
    gr_tensor_clear(&bt);
    return s;
}

static enum graft_status depthwise_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    struct gr_window win;
    bool has_b = n->n_in > 2 && n->in[2] >= 0;
    if (c->in[0].dtype != GR_F32 || x->rank != 4 || !gr_shape_count(x) || !gr_shape_count(y) ||
        c->add || !c->konst[1] || (has_b && !c->konst[2]) || !gr_cpu_has_fast_bf16() ||
        (c->bf16 && c->f32_out) || w->dim[1] != 1 || w->dim[0] != x->dim[1] ||
        gr_node_get_int(n, "group", 1) != x->dim[1])
        return refuse(err);
    gr_window_read(n, x, y, w->dim + 2, &win);
    if (w->dim[2] != w->dim[3] || (w->dim[2] != 3 && w->dim[2] != 5) ||
        win.stride[0] != win.stride[1] || win.stride[0] > 2 || win.dilation[0] != 1 ||
        win.dilation[1] != 1 || win.pad_l[0] < 0 || win.pad_l[1] < 0)
        return refuse(err);
    struct depthwise d = {.n = x->dim[0],
                          .c = x->dim[1],
                          .in = {win.in[0], win.in[1]},
                          .out = {win.out[0], win.out[1]},
                          .kernel = w->dim[2],
                          .stride = win.stride[0],
                          .pad = {win.pad_l[0], win.pad_l[1]},
                          .dtype = c->bf16 ? GR_BF16 : GR_F32,
                          .low = -INFINITY,
                          .high = INFINITY};
    for (int i = 0; i < c->n_acts; i++) {
        if (c->acts[i].kind != GR_ACT_CLIP)
            return refuse(err);
        d.low = clip(d.low, &c->acts[i]);
        d.high = clip(d.high, &c->acts[i]);
    }
    enum graft_status s = pack(&d, c->konst[1], has_b ? c->konst[2] : NULL, err);
    struct depthwise *state = s ? NULL : gr_alloc(sizeof *state);
    if (!s && !state)
        s = gr_error_nomem(err);
    if (s) {
        gr_free_aligned(d.w);
        gr_free_aligned(d.b);
        return s;
    }
    *state = d;
    k->in[0] = k->out[0] = (struct gr_layout){d.dtype, true};
    k->state = state;
    k->impl = "depthwise:avx512";
    k->weights_size = (size_t)((d.c + BLOCK - 1) / BLOCK * BLOCK) *
                      (size_t)(d.kernel * d.kernel + 1) * sizeof(float);
    return GRAFT_OK;
}

#else /* for others there is oneDNN */

static enum graft_status depthwise_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    (void)c;
    (void)k;
    return refuse(err);
}
#define depthwise_forward NULL
#define depthwise_unplan  gr_free

#endif

static const char *const ops[] = {"Conv", NULL};
const struct gr_kernel gr_kernel_depthwise = {.name = "depthwise",
                                              .ops = ops,
                                              .plan = depthwise_plan,
                                              .forward = depthwise_forward,
                                              .unplan = depthwise_unplan};
