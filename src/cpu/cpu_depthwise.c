/* How is a convolution of each channel with its own small window computed fast? */
#include "cpu/depthwise.h"
#include "base/mem.h"
#include "cpu/kernels.h"

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not a small window for each channel of pictures");
}

#ifdef __x86_64__
#include "cpu/zmm.h"
#include <math.h>

/* oneDNN reaches a quarter of the processor's peak here. Two spatial dimensions, channels last, in
   blocks of 32 channels; sums in fp32. The order of a block's channels: as they lie where x is
   fp32, the even ones before the odd ones where it is bf16, as unpacking gives them. */
enum { BLOCK = DEPTHWISE_BLOCK };

#define TARGET ZMM_TARGET
#define INLINE ZMM_INLINE
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

/* `halves`: even and odd channels, else as they lie. */
INLINE void store(enum gr_dtype to, bool halves, char *p, __mmask32 m, const __m512 v[2])
{
    if (to == GR_U8) {
        zmm_store_bytes(p, m, v);
    } else if (to == GR_BF16) {
        __m512i raw = (__m512i)_mm512_cvtne2ps_pbh(v[1], v[0]);
        const __m512i order =
            _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                             22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        _mm512_mask_storeu_epi16(p, m, halves ? _mm512_permutexvar_epi16(order, raw) : raw);
    } else {
        _mm512_mask_storeu_ps(p, (__mmask16)m, v[0]);
        _mm512_mask_storeu_ps(p + 64, (__mmask16)(m >> 16), v[1]);
    }
}

/* What `pixels` neighbours in one row of y and one block of channels need. */
struct strip {
    const struct depthwise *d;
    const char *x[5]; /* rows of the windows, NULL outside the picture */
    int64_t x_step, y_step;
    const float *w, *b;
    int64_t column; /* of the window's corner in x, may be negative */
    __mmask32 mask;
};

/* Types, strides of 1 and 2, kernels of 3 and 5 are constants at each call, and so are `pixels` and
   whether some of the windows may reach beyond the row's ends. */
INLINE void strip(bool from_bf16, enum gr_dtype to, int64_t kernel, int64_t stride, int pixels,
                  bool edge, const struct strip *s, char *y)
{
    const struct depthwise *d = s->d;
    const int64_t left = -s->column, right = d->in[1] - s->column;
    __m512 acc[8][2];
    UNROLL for (int j = 0; j < pixels; j++)
    {
        acc[j][0] = _mm512_loadu_ps(s->b);
        acc[j][1] = _mm512_loadu_ps(s->b + 16);
    }
    for (int64_t i = 0; i < kernel; i++) {
        if (!s->x[i])
            continue;
        const char *x = s->x[i] + s->column * s->x_step;
        __m512 w[5][2];
        UNROLL for (int64_t k = 0; k < kernel; k++)
        {
            w[k][0] = _mm512_loadu_ps(s->w + (i * kernel + k) * BLOCK);
            w[k][1] = _mm512_loadu_ps(s->w + (i * kernel + k) * BLOCK + 16);
        }
        UNROLL for (int64_t at = 0; at < (pixels - 1) * stride + kernel; at++)
        {
            __m512 v[2];
            if (edge && (at < kernel - 1 || at > (pixels - 1) * stride) &&
                (at < left || at >= right))
                continue;
            load(from_bf16, x + at * s->x_step, s->mask, v);
            UNROLL for (int j = 0; j < pixels; j++)
            {
                const int64_t tap = at - j * stride;
                if (tap < 0 || tap >= kernel)
                    continue;
                acc[j][0] = _mm512_fmadd_ps(v[0], w[tap][0], acc[j][0]);
                acc[j][1] = _mm512_fmadd_ps(v[1], w[tap][1], acc[j][1]);
            }
        }
    }
    const __m512 low = _mm512_set1_ps(d->low), high = _mm512_set1_ps(d->high);
    UNROLL for (int j = 0; j < pixels; j++)
    {
        for (int h = 0; h < 2; h++) /* NaN stays NaN */
            acc[j][h] = _mm512_min_ps(high, _mm512_max_ps(low, acc[j][h]));
        store(to, from_bf16, y + j * s->y_step, s->mask, acc[j]);
    }
}

/* Row `r` of the part. */
INLINE void row(bool from_bf16, enum gr_dtype to, int64_t kernel, int64_t stride,
                const struct depthwise *d, const struct depthwise_part *p, int64_t r)
{
    const int64_t from_size = from_bf16 ? 2 : 4,
                  to_size = to == GR_U8     ? 1
                            : to == GR_BF16 ? 2
                                            : 4,
                  top = (p->y_row + r) * stride - d->pad[0];
    const char *x[5] = {0};
    for (int64_t i = 0, last = -1; i < kernel; i++) {
        if (top + i < 0 || top + i >= d->in[0])
            continue;
        const int64_t from = top + i - p->x_row;
        if (!p->x_ring)
            last = from;
        else if (last < 0)
            last = (int64_t)((uint32_t)from % (uint32_t)p->x_ring);
        else
            last = last + 1 == p->x_ring ? 0 : last + 1;
        x[i] = (const char *)p->x + last * d->in[1] * p->x_step;
    }
    char *y = (char *)p->y + r * d->out[1] * p->y_step;
    for (int64_t c = 0; c < p->n_channels; c += BLOCK) {
        int64_t left = p->n_channels - c;
        struct strip s = {.d = d,
                          .x_step = p->x_step,
                          .y_step = p->y_step,
                          .w = d->w + (p->channel + c) * kernel * kernel,
                          .b = d->b + p->channel + c,
                          .mask = left < BLOCK ? ((__mmask32)1 << left) - 1 : ~(__mmask32)0};
        for (int64_t i = 0; i < kernel; i++)
            s.x[i] = x[i] ? x[i] + c * from_size : NULL;
        for (int64_t o = 0; o < d->out[1]; o += d->strip) {
            const int64_t at = o + d->strip > d->out[1] ? d->out[1] - d->strip : o;
            char *place = y + at * p->y_step + c * to_size;
            s.column = at * stride - d->pad[1];
            const bool edge =
                s.column < 0 || s.column + (d->strip - 1) * stride + kernel > d->in[1];
            if (d->strip == 8 && !edge)
                strip(from_bf16, to, kernel, stride, 8, false, &s, place);
            else if (d->strip == 8)
                strip(from_bf16, to, kernel, stride, 8, true, &s, place);
            else if (d->strip == 7 && !edge)
                strip(from_bf16, to, kernel, stride, 7, false, &s, place);
            else if (d->strip == 7)
                strip(from_bf16, to, kernel, stride, 7, true, &s, place);
            else if (d->strip == 4)
                strip(from_bf16, to, kernel, stride, 4, true, &s, place);
            else
                strip(from_bf16, to, kernel, stride, 1, true, &s, place);
        }
    }
}

typedef void rows_fn(const struct depthwise *d, const struct depthwise_part *p);
#define ROWS(NAME, FROM, TO, KERNEL, STRIDE)                                                       \
    static TARGET void NAME(const struct depthwise *d, const struct depthwise_part *p)             \
    {                                                                                              \
        for (int64_t r = 0; r < p->n_rows; r++)                                                    \
            row(FROM, TO, KERNEL, STRIDE, d, p, r);                                                \
    }
#define SHAPES(NAME, FROM, TO)                                                                     \
    ROWS(NAME##_3_1, FROM, TO, 3, 1)                                                               \
    ROWS(NAME##_3_2, FROM, TO, 3, 2)                                                               \
    ROWS(NAME##_5_1, FROM, TO, 5, 1)                                                               \
    ROWS(NAME##_5_2, FROM, TO, 5, 2)
SHAPES(f32, false, GR_F32)
SHAPES(bf16, true, GR_BF16)
SHAPES(f32_to_bf16, false, GR_BF16)
SHAPES(f32_to_u8, false, GR_U8)

void depthwise_run(const struct depthwise *d, const struct depthwise_part *p)
{
    static rows_fn *const table[4][2][2] = {
        {{f32_3_1, f32_3_2}, {f32_5_1, f32_5_2}},
        {{f32_to_bf16_3_1, f32_to_bf16_3_2}, {f32_to_bf16_5_1, f32_to_bf16_5_2}},
        {{bf16_3_1, bf16_3_2}, {bf16_5_1, bf16_5_2}},
        {{f32_to_u8_3_1, f32_to_u8_3_2}, {f32_to_u8_5_1, f32_to_u8_5_2}}};
    const int types = d->dst == GR_U8 ? 3 : (d->src == GR_BF16) + (d->dst == GR_BF16);
    table[types][d->kernel == 5][d->stride - 1](d, p);
}

static enum graft_status depthwise_forward(const void *state, void *bound, const void *const *in,
                                           void *const *out, void *scratch, struct graft_error *err)
{
    const struct depthwise *d = state;
    const int64_t step = d->c * (d->src == GR_BF16 ? 2 : 4);
    (void)bound;
    (void)scratch;
    (void)err;
#pragma omp parallel for schedule(static) if (d->n * d->out[0] * d->out[1] * d->c > 20000)
    for (int64_t r = 0; r < d->n * d->out[0]; r++) {
        const struct depthwise_part p = {.x = (const char *)in[0] +
                                              r / d->out[0] * d->in[0] * d->in[1] * step,
                                         .y = (char *)out[0] + r * d->out[1] * step,
                                         .x_step = step,
                                         .y_step = step,
                                         .y_row = r % d->out[0],
                                         .n_rows = 1,
                                         .n_channels = d->c};
        depthwise_run(d, &p);
    }
    return GRAFT_OK;
}

void depthwise_clear(struct depthwise *d)
{
    gr_free_aligned(d->w);
    gr_free_aligned(d->b);
}

static void depthwise_unplan(void *state)
{
    depthwise_clear(state);
    gr_free(state);
}

/* y comes out in `unit`s. */
static enum graft_status pack(struct depthwise *d, const struct gr_tensor *w,
                              const struct gr_tensor *b, float unit, struct graft_error *err)
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
        const int64_t k = c % BLOCK, at = d->src == GR_BF16 ? k % 2 * 16 + k / 2 : k;
        for (int64_t t = 0; t < taps; t++)
            d->w[(c / BLOCK * taps + t) * BLOCK + at] =
                ((const float *)wt.data)[c * taps + t] / unit;
        if (b)
            d->b[c / BLOCK * BLOCK + at] = ((const float *)bt.data)[c] / unit;
    }
    gr_tensor_clear(&wt);
    gr_tensor_clear(&bt);
    if (s)
        depthwise_clear(d);
    return s;
}

/* The longest strip of which few enough cover a row; the last one reaches back. */
static int64_t choose_strip(int64_t width)
{
    static const int lengths[] = {8, 7, 4, 1};
    int64_t best = 1, least = INT64_MAX;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const int64_t n = (width + lengths[i] - 1) / lengths[i], work = n * (lengths[i] + 1);
        if (lengths[i] <= width && work < least) {
            best = lengths[i];
            least = work;
        }
    }
    return best;
}

enum graft_status depthwise_init(struct depthwise *out, const struct gr_case *c, enum gr_dtype src,
                                 const struct gr_quant *quant, struct graft_error *err)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    struct gr_window win;
    if (!gr_is_const_conv(c) || c->add || !gr_cpu_has_fast_bf16() || (c->bf16 && c->f32_out) ||
        w->dim[1] != 1 || w->dim[0] != x->dim[1] || gr_node_get_int(n, "group", 1) != x->dim[1])
        return refuse(err);
    gr_window_read(n, x, y, w->dim + 2, &win);
    if (w->dim[2] != w->dim[3] || (w->dim[2] != 3 && w->dim[2] != 5) ||
        win.stride[0] != win.stride[1] || win.stride[0] > 2 || win.dilation[0] != 1 ||
        win.dilation[1] != 1 || win.pad_l[0] < 0 || win.pad_l[1] < 0 || win.pad_l[1] >= w->dim[3] ||
        win.pad_r[1] >= w->dim[3] || (quant && (quant->dtype != GR_U8 || src != GR_F32)))
        return refuse(err);
    struct depthwise d = {.n = x->dim[0],
                          .c = x->dim[1],
                          .in = {win.in[0], win.in[1]},
                          .out = {win.out[0], win.out[1]},
                          .kernel = w->dim[2],
                          .stride = win.stride[0],
                          .strip = choose_strip(win.out[1]),
                          .pad = {win.pad_l[0], win.pad_l[1]},
                          .src = src,
                          .dst = quant     ? quant->dtype
                                 : c->bf16 ? GR_BF16
                                           : GR_F32};
    if (!gr_read_clip(c, &d.low, &d.high))
        return refuse(err);
    if (quant) {
        d.low = fmaxf(d.low / quant->scale, 0);
        d.high = fminf(d.high / quant->scale, UINT8_MAX);
    }
    enum graft_status s = pack(&d, c->konst[1], gr_conv_bias(c), quant ? quant->scale : 1, err);
    if (!s)
        *out = d;
    return s;
}

size_t depthwise_get_weights_size(const struct depthwise *d)
{
    return (size_t)((d->c + BLOCK - 1) / BLOCK * BLOCK) * (size_t)(d->kernel * d->kernel + 1) *
           sizeof(float);
}

static enum graft_status depthwise_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    struct depthwise d, *state;
    enum graft_status s = depthwise_init(&d, c, c->bf16 ? GR_BF16 : GR_F32, NULL, err);
    if (s)
        return s;
    if (!(state = gr_alloc(sizeof *state))) {
        depthwise_clear(&d);
        return gr_error_nomem(err);
    }
    *state = d;
    k->in[0] = k->out[0] = (struct gr_layout){d.src, true};
    k->state = state;
    k->impl = "depthwise:avx512";
    k->weights_size = depthwise_get_weights_size(&d);
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
