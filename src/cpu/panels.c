/* How are pixels multiplied by a constant matrix inside a fused kernel? */
#include "cpu/panels.h"
#ifdef __x86_64__
#include "base/mem.h"
#include "cpu/dnn_compat.h"
#include "cpu/kernels.h"
#include "cpu/panel_sums.h"
#include <sys/syscall.h>
#include <unistd.h>

#define TARGET ZMM_TARGET
#define TARGET_TILES                                                                               \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))
#define TILES_INLINE static inline __attribute__((always_inline)) TARGET_TILES
#define INLINE       ZMM_INLINE

enum { TILE_ROWS = 16 };

/* The largest even part of k that fits a tile's 32 numbers. */
static int64_t tile_depth(int64_t k)
{
    for (int64_t d = 32; d >= 8; d -= 2)
        if (k % d == 0)
            return d;
    return 0;
}

/* There are tiles, and the system lets the program use them. */
static bool have_tiles(void)
{
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    return dnn_has_amx() && !syscall(SYS_arch_prctl, REQUEST, TILE_DATA);
}

enum panel_unit panels_get_unit(bool bf16)
{
    return !gr_cpu_has_fast_bf16() ? PANEL_NONE
           : !bf16                 ? PANEL_F32
           : have_tiles()          ? PANEL_TILES
                                   : PANEL_BF16;
}

bool panels_have_int8(void)
{
    return gr_cpu_has_int8() && panels_get_unit(true) == PANEL_BF16;
}

bool panels_suit(enum panel_unit unit, int64_t m, int64_t k)
{
    return unit == PANEL_INT8    ? k % 4 == 0
           : unit == PANEL_TILES ? m >= TILE_ROWS && tile_depth(k)
                                 : true;
}

static int64_t n_panels(const struct panels *p)
{
    return (p->n + PANEL - 1) / PANEL;
}

/* Bytes of w in one panel, for one tap and for all. */
static size_t tap_size(const struct panels *p)
{
    const int64_t each = p->unit == PANEL_F32 ? 1 : p->unit == PANEL_INT8 ? 4 : 2;
    return (size_t)((p->k + each - 1) / each) * PANEL * 4;
}

static size_t panel_size(const struct panels *p)
{
    return tap_size(p) * (size_t)p->taps;
}

size_t panels_get_weights_size(const struct panels *p)
{
    const size_t column =
        p->unit == PANEL_INT8 ? sizeof *p->b + sizeof *p->scale + sizeof *p->start : sizeof *p->b;
    return (size_t)n_panels(p) * (panel_size(p) + PANEL * column);
}

void panels_clear(struct panels *p)
{
    gr_free_aligned(p->w);
    gr_free_aligned(p->b);
    gr_free_aligned(p->scale);
    gr_free_aligned(p->start);
    p->w = p->b = p->scale = NULL;
    p->start = NULL;
}

/* Weights for which it pays to wake the other threads. */
enum { MANY_WEIGHTS = 1 << 17 };

/* Column j of w for tiles: pairs of rows are neighbours. */
static void pack_tiles(struct panels *p, int64_t j, const float *w)
{
    const int64_t tile = p->depth / 2 * 32;
    uint16_t *const to =
        (uint16_t *)p->w + j / PANEL * p->k * p->taps * PANEL + j % PANEL / 16 * tile + j % 16 * 2;
    for (int64_t k = 0; k < p->k; k += p->depth)
        for (int64_t t = 0; t < p->taps; t++) {
            uint16_t *y = to + (k * p->taps / p->depth + t) * 2 * tile;
            const float *x = w + k * p->taps + t;
            for (int64_t i = 0; i < p->depth; i += 2, y += 32, x += 2 * p->taps) {
                y[0] = gr_f32_to_bf16(x[0]);
                y[1] = gr_f32_to_bf16(x[p->taps]);
            }
        }
}

/* ... and for vectors. */
static void pack_vectors(struct panels *p, int64_t j, const float *w)
{
    char *to = (char *)p->w + (size_t)(j / PANEL) * panel_size(p) + j % PANEL * 4;
    for (int64_t t = 0; t < p->taps; t++)
        for (int64_t k = 0; k < p->k; to += PANEL * 4) {
            const float *x = w + k * p->taps + t;
            if (p->unit == PANEL_F32) {
                *(float *)(void *)to = *x;
                k++;
                continue;
            }
            uint16_t *pair = (uint16_t *)(void *)to;
            pair[0] = gr_f32_to_bf16(*x);
            pair[1] = k + 1 < p->k ? gr_f32_to_bf16(x[p->taps]) : 0;
            k += 2;
        }
}

/* 16 columns from w on, of which n are there, with one tap: registers of 16 rows, or in bf16 of 16
   pairs of rows, are turned around. */
TARGET static void pack_sixteen(struct panels *p, int64_t j, int64_t n, const float *w)
{
    const bool pairs = p->unit == PANEL_BF16;
    const int64_t each = pairs ? 2 : 1;
    float *to = (float *)p->w + (size_t)(j / PANEL) * panel_size(p) / 4 + j % PANEL;
    for (int64_t k = 0; k < p->k; k += ZMM_LANES * each) {
        const int64_t left = p->k - k, rows = (left + each - 1) / each;
        const __mmask32 m = left < 32 ? ((__mmask32)1 << left) - 1 : ~(__mmask32)0;
        __m512 v[ZMM_LANES];
        PANEL_UNROLL for (int i = 0; i < ZMM_LANES; i++)
        {
            const float *x = w + i * p->k + k;
            const __mmask32 here = i < n ? m : 0;
            v[i] = _mm512_maskz_loadu_ps((__mmask16)here, x);
            if (pairs)
                v[i] = (__m512)_mm512_cvtne2ps_pbh(
                    _mm512_maskz_loadu_ps((__mmask16)(here >> 16), x + 16), v[i]);
        }
        zmm_transpose(v);
        for (int64_t i = 0; i < ZMM_LANES && i < rows; i++, to += PANEL)
            _mm512_storeu_ps(to, v[i]);
    }
}

enum graft_status panels_init(struct panels *p, enum panel_unit unit, int64_t k, int64_t n,
                              int64_t taps, const float *w, const float *b, struct graft_error *err)
{
    *p = (struct panels){.k = k, .n = n, .taps = taps, .unit = unit, .depth = tile_depth(k)};
    p->w = gr_alloc_aligned((size_t)n_panels(p) * panel_size(p), false);
    p->b = gr_alloc_aligned((size_t)n_panels(p) * PANEL * sizeof *p->b, true);
    if (!p->w || !p->b) {
        panels_clear(p);
        return gr_error_nomem(err);
    }
    if (b)
        memcpy(p->b, b, (size_t)n * sizeof *b);
#pragma omp parallel for if (n * k * taps > MANY_WEIGHTS)
    for (int64_t first = 0; first < n; first += PANEL) {
        const int64_t end = n < first + PANEL ? n : first + PANEL;
        if (end < first + PANEL)
            memset((char *)p->w + (size_t)(first / PANEL) * panel_size(p), 0, panel_size(p));
        if (unit != PANEL_TILES && taps == 1)
            for (int64_t j = first; j < end; j += ZMM_LANES)
                pack_sixteen(p, j, end - j, w + j * k);
        else
            for (int64_t j = first; j < end; j++)
                (unit == PANEL_TILES ? pack_tiles : pack_vectors)(p, j, w + j * k * taps);
    }
    return GRAFT_OK;
}

enum graft_status panels_init_conv(struct panels *p, enum panel_unit unit, const struct gr_case *c,
                                   struct graft_error *err)
{
    const struct gr_shape *shape = &c->in[1].shape;
    const struct gr_tensor *bias = gr_conv_bias(c);
    struct gr_tensor w = {0}, b = {0};
    enum graft_status s = gr_const_f32(c->konst[1], &w, err);
    if (!s && bias)
        s = gr_const_f32(bias, &b, err);
    if (!s)
        s = panels_init(p, unit, shape->dim[1], shape->dim[0], shape->dim[2] * shape->dim[3],
                        w.data, bias ? b.data : NULL, err);
    gr_tensor_clear(&w);
    gr_tensor_clear(&b);
    return s;
}

/* The weights of q are (n, k). */
static enum graft_status init_int8(struct panels *p, int64_t k, int64_t n,
                                   const struct int8_product *q, struct graft_error *err)
{
    *p = (struct panels){.k = k, .n = n, .taps = 1, .unit = PANEL_INT8};
    const size_t columns = (size_t)n_panels(p) * PANEL;
    p->flip = q->src == GR_I8 ? 0x80808080 : 0; /* x + 128 */
    p->w = gr_alloc_aligned((size_t)n_panels(p) * panel_size(p), true);
    p->b = gr_alloc_aligned(columns * sizeof *p->b, true);
    p->scale = gr_alloc_aligned(columns * sizeof *p->scale, true);
    p->start = gr_alloc_aligned(columns * sizeof *p->start, true);
    if (!p->w || !p->b || !p->scale || !p->start) {
        panels_clear(p);
        return gr_error_nomem(err);
    }
    const int8_t *w = q->w;
    for (int64_t j = 0; j < n; j++) {
        int8_t *to = (int8_t *)p->w + (size_t)(j / PANEL) * panel_size(p) + j % PANEL * 4;
        int32_t sum = 0;
        for (int64_t i = 0; i < k; i++, w++) {
            to[i / 4 * 4 * PANEL + i % 4] = *w;
            sum += *w;
        }
        p->scale[j] = q->product[j];
        p->b[j] = q->bias[j] * q->product[j];
        p->start[j] = p->flip ? -128 * sum : 0;
    }
    return GRAFT_OK;
}

enum graft_status panels_init_int8(struct panels *p, const struct gr_case *c,
                                   struct int8_product *q, struct graft_error *err)
{
    const struct gr_tensor *bias = gr_conv_bias(c);
    const int64_t n = c->in[1].shape.dim[0], k = c->in[1].shape.dim[1];
    struct gr_tensor w = {0}, b = {0};
    enum graft_status s = gr_const_f32(c->konst[1], &w, err);
    if (!s && bias)
        s = gr_const_f32(bias, &b, err);
    if (!s)
        s = int8_prepare(c, w.data, b.data, n, k, k, 1, q, err);
    if (!s)
        s = init_int8(p, k, n, q, err);
    gr_tensor_clear(&w);
    gr_tensor_clear(&b);
    return s;
}

/* What all rows need, in registers. */
struct bounds {
    __m512 low, high;
};

INLINE struct bounds load_bounds(const struct panel_tail *t)
{
    return (struct bounds){_mm512_set1_ps(t->low), _mm512_set1_ps(t->high)};
}

/* One row of sums becomes one of y; what is constant at the call is decided there. Not `wide`: b is
   nothing. */
INLINE void finish(const struct bounds *v, const bool wide, enum gr_dtype y_dtype,
                   enum gr_dtype add_dtype, __mmask32 m, const char *add, char *y, __m512 a,
                   __m512 b)
{
    if (add_dtype == GR_BF16) {
        const __m512i raw = _mm512_maskz_loadu_epi16(m, add);
        a = _mm512_add_ps(
            a, (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(raw)), 16));
        if (wide)
            b = _mm512_add_ps(b, (__m512)_mm512_slli_epi32(
                                     _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(raw, 1)), 16));
    } else if (add_dtype == GR_F32) {
        a = _mm512_add_ps(a, _mm512_maskz_loadu_ps((__mmask16)m, add));
        if (wide)
            b = _mm512_add_ps(b, _mm512_maskz_loadu_ps((__mmask16)(m >> 16), add + 64));
    }
    a = _mm512_min_ps(v->high, _mm512_max_ps(v->low, a)); /* NaN stays NaN */
    b = wide ? _mm512_min_ps(v->high, _mm512_max_ps(v->low, b)) : a;
    if (y_dtype == GR_BF16) {
        _mm512_mask_storeu_epi16(y, m, (__m512i)_mm512_cvtne2ps_pbh(b, a));
    } else if (wide && m == ~(__mmask32)0) {
        _mm512_storeu_ps(y, a);
        _mm512_storeu_ps(y + 64, b);
    } else {
        _mm512_mask_storeu_ps(y, (__mmask16)m, a);
        if (wide)
            _mm512_mask_storeu_ps(y + 64, (__mmask16)(m >> 16), b);
    }
}

/* 2 x 2 tiles: 16 rows of y from row[0], without the first skip[0], and 16 from row[1]. */
struct tile_rows {
    int64_t row[2], skip[2];
};

/* Rows of y in any order. */
INLINE void place_tiles(const struct panel_tail *t, enum gr_dtype add_dtype, __mmask32 m,
                        const float *bias, const struct tile_rows *r, const float *sums)
{
    const struct bounds v = load_bounds(t);
    const __m512 b0 = _mm512_load_ps(bias), b1 = _mm512_load_ps(bias + 16);
    for (int k = 0; k < 2; k++)
        for (int64_t i = r->skip[k]; i < TILE_ROWS; i++) {
            const int64_t row = t->place[r->row[k] + i], at = k * TILE_ROWS + i;
            if (row >= 0)
                finish(&v, true, GR_BF16, add_dtype, m,
                       add_dtype ? (const char *)t->add + row * t->add_step : NULL,
                       (char *)t->y + row * t->y_step,
                       _mm512_add_ps(b0, _mm512_load_ps(sums + at * PANEL)),
                       _mm512_add_ps(b1, _mm512_load_ps(sums + at * PANEL + 16)));
        }
}

INLINE void finish_tiles(const struct panel_tail *t, enum gr_dtype y_dtype, enum gr_dtype add_dtype,
                         __mmask32 m, const float *bias, const struct tile_rows *r,
                         const float *sums)
{
    if (t->place) {
        place_tiles(t, add_dtype, m, bias, r, sums);
        return;
    }
    const struct bounds v = load_bounds(t);
    const __m512 b0 = _mm512_load_ps(bias), b1 = _mm512_load_ps(bias + 16);
    const int64_t y_step = t->y_step, add_step = t->add_step;
    for (int k = 0; k < 2; k++) {
        const int64_t first = k * TILE_ROWS + r->skip[k], end = (k + 1) * TILE_ROWS;
        const int64_t row = r->row[k] + r->skip[k];
        const char *add = add_dtype ? (const char *)t->add + row * add_step : NULL;
        char *y = (char *)t->y + row * y_step;
        _Pragma("GCC unroll 4") for (int64_t i = first; i < end; i++)
        {
            finish(&v, true, y_dtype, add_dtype, m, add, y,
                   _mm512_add_ps(b0, _mm512_load_ps(sums + i * PANEL)),
                   _mm512_add_ps(b1, _mm512_load_ps(sums + i * PANEL + 16)));
            y += y_step;
            if (add_dtype)
                add += add_step;
        }
    }
}

TILES_INLINE void multiply_tiles(const struct panels *p, int64_t panel, const char *x0,
                                 const char *x1, int64_t x_step)
{
    const int64_t tile = p->depth / 2 * 32; /* numbers of w in one */
    const uint16_t *w = (const uint16_t *)p->w + panel * p->k * p->taps * PANEL;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    /* Taps inside: what one reads of x the next one finds in the cache. */
    for (int64_t k = 0; k < p->k; k += p->depth)
        for (int64_t t = 0; t < p->taps; t++, w += 2 * tile) {
            const int64_t at = k * 2 + p->tap[t];
            _tile_loadd(4, x0 + at, x_step);
            _tile_loadd(6, w, 64);
            _tile_loadd(7, w + tile, 64);
            _tile_loadd(5, x1 + at, x_step);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
}

TILES_INLINE void store_tiles(float *sums)
{
    _tile_stored(0, sums, PANEL * sizeof *sums);
    _tile_stored(1, sums + 16, PANEL * sizeof *sums);
    _tile_stored(2, sums + TILE_ROWS * PANEL, PANEL * sizeof *sums);
    _tile_stored(3, sums + TILE_ROWS * PANEL + 16, PANEL * sizeof *sums);
    __asm__ volatile("" : : "r"(sums) : "memory"); /* GCC does not see what they store */
}

/* Sums become y while the tiles make the next ones: to wait for them would take as long again. */
TILES_INLINE void run_tiles(const struct panels *p, int64_t panel, int64_t m, const char *x,
                            int64_t x_step, const struct panel_tail *t, __mmask32 mask,
                            enum gr_dtype y_dtype, enum gr_dtype add_dtype)
{
    _Alignas(64) float sums[2][2 * TILE_ROWS * PANEL];
    const float *bias = p->b + panel * PANEL;
    struct tile_rows before = {0};
    int at = 0;
    for (int64_t r = 0; r < m; r += 2 * TILE_ROWS, at = !at) {
        struct tile_rows rows;
        for (int k = 0; k < 2; k++) { /* at the end tiles reach back */
            const int64_t row = r + k * TILE_ROWS, last = m - TILE_ROWS, back = row - last;
            rows.skip[k] = back < 0 ? 0 : back > TILE_ROWS ? TILE_ROWS : back;
            rows.row[k] = back < 0 ? row : last;
        }
        multiply_tiles(p, panel, x + rows.row[0] * x_step, x + rows.row[1] * x_step, x_step);
        if (r)
            finish_tiles(t, y_dtype, add_dtype, mask, bias, &before, sums[!at]);
        store_tiles(sums[at]);
        before = rows;
    }
    finish_tiles(t, y_dtype, add_dtype, mask, bias, &before, sums[!at]);
}

TARGET_TILES static void run_in_tiles(const struct panels *p, int64_t panel, int64_t m,
                                      const char *x, int64_t x_step, const struct panel_tail *t,
                                      __mmask32 mask)
{
    const bool bf16 = t->y_dtype == GR_BF16, whole = t->n == PANEL;
    if (t->add && bf16)
        run_tiles(p, panel, m, x, x_step, t, mask, GR_BF16, GR_BF16);
    else if (t->add)
        run_tiles(p, panel, m, x, x_step, t, mask, GR_F32, GR_BF16);
    else if (bf16)
        run_tiles(p, panel, m, x, x_step, t, mask, GR_BF16, GR_UNKNOWN);
    else if (whole)
        run_tiles(p, panel, m, x, x_step, t, ~(__mmask32)0, GR_F32, GR_UNKNOWN);
    else
        run_tiles(p, panel, m, x, x_step, t, mask, GR_F32, GR_UNKNOWN);
}

/* x (1 + erf(x / sqrt 2)) / 2 as x / 2 + x z p(z z), where z is x within the bounds beyond which
   the function is x or 0 in fp32; the error is 1.5e-7 of the larger of |x| and 1. p is the least
   squares fit of degree 15 over -1..1. */
enum { GELU_AT_ONCE = 8 }; /* so many vectors, as each has to wait for itself */
INLINE void gelu(__m512 x[GELU_AT_ONCE])
{
    static const float c[] = {
        1.333925575e-01f, -6.651844084e-02f, 4.926438630e-02f, -3.959145024e-02f,
        3.207563981e-02f, -2.526966669e-02f, 1.895065419e-02f, -1.332809962e-02f,
        8.753475733e-03f, -5.487047601e-03f, 3.249152564e-03f, -1.586714527e-03f,
        6.462466554e-04f, -4.278569540e-04f, 3.087616933e-04f, -9.199044871e-05f};
    const __m512 bound = _mm512_set1_ps(5.3f), below = _mm512_set1_ps(-5.3f),
                 scale = _mm512_set1_ps(2 / (5.3f * 5.3f)), one = _mm512_set1_ps(1);
    __m512 z[GELU_AT_ONCE], t[GELU_AT_ONCE], p[GELU_AT_ONCE];
    PANEL_UNROLL for (int k = 0; k < GELU_AT_ONCE; k++)
    {
        z[k] = _mm512_max_ps(below, _mm512_min_ps(bound, x[k])); /* NaN stays in x */
        t[k] = _mm512_fmsub_ps(_mm512_mul_ps(z[k], z[k]), scale, one);
        p[k] = _mm512_set1_ps(c[sizeof c / sizeof *c - 1]);
    }
    for (int i = (int)(sizeof c / sizeof *c) - 2; i >= 0; i--)
        PANEL_UNROLL for (int k = 0; k < GELU_AT_ONCE; k++) p[k] =
            _mm512_fmadd_ps(p[k], t[k], _mm512_set1_ps(c[i]));
    PANEL_UNROLL for (int k = 0; k < GELU_AT_ONCE; k++) x[k] =
        _mm512_fmadd_ps(_mm512_mul_ps(x[k], z[k]), p[k], _mm512_mul_ps(x[k], _mm512_set1_ps(0.5f)));
}

/* Apart from the sums' registers: the function is long, and they are many. */
TARGET static __attribute__((noinline)) void finish_gelu(const struct panel_tail *t, int rows,
                                                         const float *sums, char *y, __mmask32 mask)
{
    const struct bounds v = load_bounds(t);
    for (int first = 0; first < rows; first += GELU_AT_ONCE / 2) {
        __m512 a[GELU_AT_ONCE];
        PANEL_UNROLL for (int k = 0; k < GELU_AT_ONCE; k++) a[k] =
            _mm512_load_ps(sums + first * PANEL + k * 16);
        gelu(a);
        for (int r = first; r < rows && r < first + GELU_AT_ONCE / 2; r++) {
            const __m512 *s = a + (r - first) * 2;
            if (t->y_dtype == GR_BF16)
                finish(&v, true, GR_BF16, GR_UNKNOWN, mask, NULL, y + r * t->y_step, s[0], s[1]);
            else
                finish(&v, true, GR_F32, GR_UNKNOWN, mask, NULL, y + r * t->y_step, s[0], s[1]);
        }
    }
}

/* `rows` of x from row `at`. Constant at each call: what comes before p. */
INLINE void run_rows(const int rows, const bool wide, enum gr_dtype x_dtype, enum gr_dtype y_dtype,
                     const struct panels *p, int64_t panel, int64_t at, const char *x,
                     int64_t x_step, const struct panel_tail *t, __mmask32 mask)
{
    const char *w = (const char *)p->w + (size_t)panel * panel_size(p);
    const float *b = p->b + panel * PANEL;
    const int64_t y_step = t->y_step, add_step = t->add_step;
    char *y = (char *)t->y + at * y_step;
    const char *add = t->add ? (const char *)t->add + at * add_step : NULL;
    __m512 acc[PANEL_ROWS][2];
    PANEL_UNROLL for (int r = 0; r < rows; r++)
    {
        acc[r][0] = _mm512_load_ps(b);
        acc[r][1] = _mm512_load_ps(b + 16);
    }
    x += at * x_step;
    const bool pairs = t->add_dtype == GR_BF16;
    if (add) /* what the next panel adds to these rows is on its way meanwhile */
        PANEL_UNROLL for (int r = 0; r < rows; r++)
        {
            const char *next = add + r * add_step + (pairs ? PANEL * 2 : PANEL * 4);
            _mm_prefetch(next, _MM_HINT_T0);
            _mm_prefetch(next + (pairs ? 0 : 64), _MM_HINT_T0);
        }
    for (int64_t k = 0; k < p->taps; k++, w += tap_size(p)) {
        if (x_dtype == GR_BF16)
            panel_sums_bf16(rows, wide, p->k, x + p->tap[k], x_step, w, acc);
        else
            panel_sums(rows, wide, p->k, (const float *)(const void *)(x + p->tap[k]), x_step / 4,
                       (const float *)(const void *)w, acc);
    }
    const struct bounds v = load_bounds(t);
    if (t->gelu) {
        _Alignas(64) float sums[PANEL_ROWS * PANEL];
        if (rows % (GELU_AT_ONCE / 2))
            memset(sums, 0, sizeof sums);
        PANEL_UNROLL for (int r = 0; r < rows; r++)
        {
            _mm512_store_ps(sums + r * PANEL, acc[r][0]);
            _mm512_store_ps(sums + r * PANEL + 16, acc[r][1]);
        }
        finish_gelu(t, rows, sums, y, mask);
    } else if (add && y_dtype == GR_F32 && t->add_dtype == GR_F32)
        PANEL_UNROLL for (int r = 0; r < rows; r++)
            finish(&v, wide, GR_F32, GR_F32, mask, add + r * add_step, y + r * y_step, acc[r][0],
                   acc[r][1]);
    else if (add)
        PANEL_UNROLL for (int r = 0; r < rows; r++)
            finish(&v, wide, y_dtype, x_dtype, mask, add + r * add_step, y + r * y_step, acc[r][0],
                   acc[r][1]);
    else
        PANEL_UNROLL for (int r = 0; r < rows; r++)
            finish(&v, wide, y_dtype, GR_UNKNOWN, mask, NULL, y + r * y_step, acc[r][0], acc[r][1]);
}

/* In groups of nearly the same size: a few rows alone would wait for their own sums. */
INLINE void run_groups(const bool wide, enum gr_dtype x_dtype, enum gr_dtype y_dtype,
                       const struct panels *p, int64_t panel, int64_t m, const char *x,
                       int64_t x_step, const struct panel_tail *t, __mmask32 mask)
{
    for (int64_t at = 0, n; at < m; at += n) {
        n = panel_group(m - at);
#define ROWS(rows) run_rows(rows, wide, x_dtype, y_dtype, p, panel, at, x, x_step, t, mask)
        PANEL_SWITCH(n, ROWS);
    }
}

TARGET static void run_f32(const struct panels *p, int64_t panel, int64_t m, const char *x,
                           int64_t x_step, const struct panel_tail *t, __mmask32 mask)
{
    if (t->n > PANEL / 2)
        run_groups(true, GR_F32, GR_F32, p, panel, m, x, x_step, t, mask);
    else
        run_groups(false, GR_F32, GR_F32, p, panel, m, x, x_step, t, mask);
}

TARGET static void run_bf16(const struct panels *p, int64_t panel, int64_t m, const char *x,
                            int64_t x_step, const struct panel_tail *t, __mmask32 mask)
{
    const bool wide = t->n > PANEL / 2;
    if (t->y_dtype == GR_BF16 && wide)
        run_groups(true, GR_BF16, GR_BF16, p, panel, m, x, x_step, t, mask);
    else if (t->y_dtype == GR_BF16)
        run_groups(false, GR_BF16, GR_BF16, p, panel, m, x, x_step, t, mask);
    else if (wide)
        run_groups(true, GR_BF16, GR_F32, p, panel, m, x, x_step, t, mask);
    else
        run_groups(false, GR_BF16, GR_F32, p, panel, m, x, x_step, t, mask);
}

/* 32 bytes, of which those in the mask are there, as numbers. */
INLINE void load_bytes(enum gr_dtype dtype, const char *p, __mmask32 m, __m512 v[2])
{
    const __m256i raw = _mm256_maskz_loadu_epi8(m, p);
    for (int h = 0; h < 2; h++) {
        const __m128i half = h ? _mm256_extracti128_si256(raw, 1) : _mm256_castsi256_si128(raw);
        v[h] = _mm512_cvtepi32_ps(dtype == GR_U8 ? _mm512_cvtepu8_epi32(half)
                                                 : _mm512_cvtepi8_epi32(half));
    }
}

INLINE void store_any(enum gr_dtype dtype, char *p, __mmask32 m, const __m512 v[2])
{
    if (dtype == GR_F32) {
        _mm512_mask_storeu_ps(p, (__mmask16)m, v[0]);
        _mm512_mask_storeu_ps(p + 64, (__mmask16)(m >> 16), v[1]);
    } else if (dtype == GR_BF16) {
        _mm512_mask_storeu_epi16(p, m, (__m512i)_mm512_cvtne2ps_pbh(v[1], v[0]));
    } else { /* signed or not */
        zmm_store_bytes(p, m, v);
    }
}

#define EACH_ROW PANEL_UNROLL for (int r = 0; r < rows; r++)

/* As run_rows. Types are decided here, once for all rows. */
INLINE void run_rows_int8(const int rows, const struct panels *p, int64_t panel, int64_t at,
                          const char *x, int64_t x_step, const struct panel_tail *t, __mmask32 mask)
{
    const int64_t y_step = t->y_step, add_step = t->add_step;
    char *y = (char *)t->y + at * y_step;
    const char *add = t->add ? (const char *)t->add + at * add_step : NULL;
    __m512i acc[PANEL_ROWS][2];
    __m512 sums[PANEL_ROWS][2];
    EACH_ROW
    {
        acc[r][0] = _mm512_load_si512(p->start + panel * PANEL);
        acc[r][1] = _mm512_load_si512(p->start + panel * PANEL + 16);
    }
    if (add) /* what the next panel adds to these rows is on its way meanwhile */
        EACH_ROW _mm_prefetch(add + r * add_step + PANEL, _MM_HINT_T0);
    panel_sums_int8(rows, p->k, x + at * x_step, x_step,
                    (const char *)p->w + (size_t)panel * panel_size(p), p->flip, acc);
    for (int h = 0; h < 2; h++) {
        const __m512 scale = _mm512_load_ps(p->scale + panel * PANEL + h * 16),
                     b = _mm512_load_ps(p->b + panel * PANEL + h * 16);
        EACH_ROW sums[r][h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][h]), scale, b);
    }
#define ADD(DTYPE)                                                                                 \
    EACH_ROW                                                                                       \
    {                                                                                              \
        __m512 v[2];                                                                               \
        load_bytes(DTYPE, add + r * add_step, mask, v);                                            \
        for (int h = 0; h < 2; h++)                                                                \
            sums[r][h] = _mm512_fmadd_ps(v[h], scale, sums[r][h]);                                 \
    }
    if (add) {
        const __m512 scale = _mm512_set1_ps(t->add_scale);
        if (t->add_dtype == GR_I8)
            ADD(GR_I8)
        else
            ADD(GR_U8)
    }
    const struct bounds v = load_bounds(t);
    for (int h = 0; h < 2; h++)
        EACH_ROW sums[r][h] = _mm512_min_ps(v.high, _mm512_max_ps(v.low, sums[r][h]));
    if (t->y_dtype == GR_F32)
        EACH_ROW store_any(GR_F32, y + r * y_step, mask, sums[r]);
    else if (t->y_dtype == GR_BF16)
        EACH_ROW store_any(GR_BF16, y + r * y_step, mask, sums[r]);
    else
        EACH_ROW store_any(GR_U8, y + r * y_step, mask, sums[r]);
}

TARGET static void run_int8(const struct panels *p, int64_t panel, int64_t m, const char *x,
                            int64_t x_step, const struct panel_tail *t, __mmask32 mask)
{
    for (int64_t at = 0, n; at < m; at += n) {
        n = panel_group(m - at);
#define ROWS_INT8(rows) run_rows_int8(rows, p, panel, at, x, x_step, t, mask)
        PANEL_SWITCH(n, ROWS_INT8);
    }
}

void panels_run(const struct panels *p, int64_t panel, int64_t m, const void *x, int64_t x_step,
                const struct panel_tail *t)
{
    const __mmask32 mask = t->n < PANEL ? ((__mmask32)1 << t->n) - 1 : ~(__mmask32)0;
    (p->unit == PANEL_TILES  ? run_in_tiles
     : p->unit == PANEL_BF16 ? run_bf16
     : p->unit == PANEL_INT8 ? run_int8
                             : run_f32)(p, panel, m, x, x_step, t, mask);
}

/* GCC believes that the two instructions look at 8 bytes; they look at all 64. */
TARGET_TILES static void save_tiles(struct tiles_state *s)
{
    _tile_storeconfig(s->bytes);
    __asm__ volatile("" : : "r"(s->bytes) : "memory");
}

TARGET_TILES static void restore_tiles(const struct tiles_state *s)
{
    __asm__ volatile("" : : "r"(s->bytes) : "memory");
    if (s->bytes[0])
        _tile_loadconfig(s->bytes);
    else
        _tile_release();
}

TARGET_TILES static void set_tiles(const struct panels *p)
{
    uint8_t c[64] = {1};
    for (int i = 0; i < 8; i++) {                                        /* sums, x, w */
        c[16 + 2 * i] = (uint8_t)(i == 4 || i == 5 ? p->depth * 2 : 64); /* bytes a row */
        c[48 + i] = (uint8_t)(i < 6 ? TILE_ROWS : p->depth / 2);         /* rows */
    }
    __asm__ volatile("" : : "r"(c) : "memory");
    _tile_loadconfig(c);
}

void panels_begin(enum panel_unit unit, struct tiles_state *before)
{
    if (unit == PANEL_TILES)
        save_tiles(before);
}

void panels_enter(const struct panels *p)
{
    if (p->unit == PANEL_TILES)
        set_tiles(p);
}

void panels_end(enum panel_unit unit, const struct tiles_state *before)
{
    if (unit == PANEL_TILES)
        restore_tiles(before);
}
#endif
