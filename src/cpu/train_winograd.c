/* How is a 3x3 convolution trained with fewer multiplications? */
#include "base/mem.h"
#include "cpu/dnn_compat.h"
#include "cpu/train_util.h"
#include <omp.h>

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not a dense 3x3 convolution of many pictures");
}

#ifdef __x86_64__
#include "cpu/panel_sums.h"
#include "cpu/winograd.h"
#include "cpu/zmm.h"

/* Winograd's F(m x m, 3x3) in all three directions: the gradient of x is a convolution of dy with
   the weights turned round, that of the weights is the transpose of the same products. In fp32 m is
   4. In bf16 it is 2, where rounding what is multiplied leaves about twice the error of a direct
   sum; with 4 it would be fifteen times.
   What is multiplied comes in units of 32 bits: one fp32 number, or two in bf16 that follow each
   other along the dimension that is summed over (channels, or tiles for the gradient of weights).
 */
enum { LANES = ZMM_LANES, PANEL = 32, DW_ROWS = 8, APART = 16, ALL_TAPS = 0x1ff };
/* Bytes of a block, and of weights for each of its tiles at most; units of tiles in a block for the
   gradient of weights at least; tiles with which all of it begins to pay. */
enum { BLOCK_SIZE = 3 << 17, WEIGHTS_A_TILE = 1 << 18, LEAST_UNITS = 64, LEAST_TILES = 96 };

/* One convolution: that of forward, or that of the gradient of x. */
struct side {
    int64_t ic, oc, in[2], out[2], pad[2];
    int64_t tiles[2], n_tiles, block; /* down, across; of all pictures; in a block */
    int64_t w_oc, w_ic;               /* steps in the weights */
    bool turned;                      /* the weights */
};

struct winograd {
    bool bf16, bias;
    int n_threads;
    int64_t dw_block; /* units of tiles */
    struct side forward, data;
    void *zeros;
};

#define TARGET ZMM_TARGET
#define INLINE ZMM_INLINE
/* Calls what is inlined with its first argument known. */
#define BY_TYPE(bf16, f, ...)                                                                      \
    do {                                                                                           \
        if (bf16)                                                                                  \
            f(true, __VA_ARGS__);                                                                  \
        else                                                                                       \
            f(false, __VA_ARGS__);                                                                 \
    } while (0)

/* Pixels of a tile of results, along a side; and of what they are made from, which is as many
   points. */
static inline __attribute__((always_inline)) int step_of(bool bf16)
{
    return bf16 ? 2 : 4;
}

static inline __attribute__((always_inline)) int side_of(bool bf16)
{
    return step_of(bf16) + 2;
}

static inline __attribute__((always_inline)) int points_of(bool bf16)
{
    return side_of(bf16) * side_of(bf16);
}

/* Numbers in a unit. */
static inline __attribute__((always_inline)) int unit_of(bool bf16)
{
    return bf16 ? 2 : 1;
}

static inline size_t size_of(bool bf16)
{
    return bf16 ? 2 : 4;
}

/* 16 units: numbers of the first, or each of the first before one of the second. */
INLINE __m512 units(const bool bf16, __m512 a, const __m512 *b)
{
    if (!bf16)
        return a;
    const __m512i at = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                        8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(at, (__m512i)_mm512_cvtne2ps_pbh(*b, a)));
}

/* ---- products ------------------------------------------------------------------------------- */

/* c (rows, 32) = a times a panel b (k, 32), or more of it added; a and b are units. */
INLINE void product(const bool bf16, const int rows, const bool more, int64_t k, const float *a,
                    int64_t a_row, int64_t a_k, const float *b, float *c, int64_t c_row)
{
    __m512 acc[PANEL_ROWS][2];
    WINO_UNROLL for (int r = 0; r < rows; r++)
    {
        acc[r][0] = more ? _mm512_loadu_ps(c + r * c_row) : _mm512_setzero_ps();
        acc[r][1] = more ? _mm512_loadu_ps(c + r * c_row + LANES) : _mm512_setzero_ps();
    }
    for (int64_t i = 0; i < k; i++) {
        const __m512 b0 = _mm512_loadu_ps(b + i * PANEL),
                     b1 = _mm512_loadu_ps(b + i * PANEL + LANES);
        WINO_UNROLL for (int r = 0; r < rows; r++)
        {
            const __m512 v = _mm512_set1_ps(a[r * a_row + i * a_k]);
            if (bf16) {
                acc[r][0] = _mm512_dpbf16_ps(acc[r][0], (__m512bh)v, (__m512bh)b0);
                acc[r][1] = _mm512_dpbf16_ps(acc[r][1], (__m512bh)v, (__m512bh)b1);
            } else {
                acc[r][0] = _mm512_fmadd_ps(v, b0, acc[r][0]);
                acc[r][1] = _mm512_fmadd_ps(v, b1, acc[r][1]);
            }
        }
    }
    WINO_UNROLL for (int r = 0; r < rows; r++)
    {
        _mm512_storeu_ps(c + r * c_row, acc[r][0]);
        _mm512_storeu_ps(c + r * c_row + LANES, acc[r][1]);
    }
}

/* m (tiles, 32) = v (tiles, k) times a panel. */
INLINE void products(const bool bf16, int64_t tiles, int64_t k, const float *v, const float *u,
                     float *m)
{
    for (int64_t t = 0, n; t < tiles; t += n) {
        n = panel_group(tiles - t);
#define PRODUCT(rows) product(bf16, rows, false, k, v + t * k, k, 1, u, m + t * PANEL, PANEL)
        PANEL_SWITCH(n, PRODUCT);
    }
}

/* ---- tiles ---------------------------------------------------------------------------------- */

/* Where tile `t` of all begins among the pixels of the results. */
static int64_t tile_place(const struct side *s, int step, int64_t t, int64_t *top, int64_t *left)
{
    const int64_t each = s->tiles[0] * s->tiles[1];
    *top = t % each / s->tiles[1] * step;
    *left = t % s->tiles[1] * step;
    return t / each;
}

/* Where `side` x `side` pixels of channels begin; beyond the picture, and for no picture at all
   (x NULL), zeros. */
static void find_pixels(const void *x, size_t pixel_size, const int64_t in[2], int64_t top,
                        int64_t left, int side, const void *zeros, const void **pixel)
{
    for (int i = 0; i < side * side; i++) {
        const int64_t r = top + i / side, c = left + i % side;
        const bool inside = x && r >= 0 && r < in[0] && c >= 0 && c < in[1];
        pixel[i] = inside ? (const char *)x + (size_t)(r * in[1] + c) * pixel_size : zeros;
    }
}

/* 16 channels of a tile at all points; of a tile of gradients where `back`. */
INLINE void transform(const bool bf16, const bool back, const void *const *pixel, int64_t k,
                      __m512 t[WINO_SIDE][WINO_SIDE])
{
    const int m = step_of(bf16), side = side_of(bf16), n = back ? m : side;
    WINO_UNROLL for (int c = 0; c < n; c++)
    {
        __m512 col[WINO_SIDE];
        WINO_UNROLL for (int r = 0; r < n; r++) col[r] = zmm_load(bf16, pixel[r * n + c], k);
        back ? wino_gradients(m, col) : wino_values(m, col);
        WINO_UNROLL for (int r = 0; r < side; r++) t[r][c] = col[r];
    }
    WINO_UNROLL for (int r = 0; r < side; r++) back ? wino_gradients(m, t[r])
                                                    : wino_values(m, t[r]);
}

/* A tile's points for forward: v at each, v_step units apart. */
INLINE void tile_in(const bool bf16, const void *const *pixel, int64_t ic, float *v, int64_t v_step)
{
    const int side = side_of(bf16);
    for (int64_t k = 0; k < ic; k += LANES) {
        __m512 t[WINO_SIDE][WINO_SIDE];
        transform(bf16, false, pixel, k, t);
        WINO_UNROLL for (int i = 0; i < side * side; i++)
            zmm_store(bf16, v + i * v_step, k, t[i / side][i % side]);
    }
}

/* 16 channels of a tile of results, from k on. */
INLINE void tile_out(const bool bf16, const struct side *s, const float *m, int64_t m_step,
                     const float *bias, int64_t k, void *y, int64_t top, int64_t left)
{
    const int step = step_of(bf16), side = side_of(bf16);
    const int64_t rows = s->out[0] - top, cols = s->out[1] - left;
    const __m512 b = bias ? _mm512_loadu_ps(bias + k) : _mm512_setzero_ps();
    __m512 t[WINO_SIDE][WINO_SIDE];
    WINO_UNROLL for (int c = 0; c < side; c++)
    {
        __m512 col[WINO_SIDE];
        WINO_UNROLL for (int r = 0; r < side; r++) col[r] =
            _mm512_loadu_ps(m + (r * side + c) * m_step);
        wino_results(step, col);
        WINO_UNROLL for (int r = 0; r < step; r++) t[r][c] = col[r];
    }
    WINO_UNROLL for (int r = 0; r < step; r++)
    {
        if (r >= rows)
            continue;
        wino_results(step, t[r]);
        WINO_UNROLL for (int c = 0; c < step; c++)
        {
            if (c < cols)
                zmm_store(bf16, y, ((top + r) * s->out[1] + left + c) * s->oc + k, ADD(t[r][c], b));
        }
    }
}

/* ---- forward, and the gradient of x --------------------------------------------------------- */

static int64_t v_step(const struct winograd *w, const struct side *s)
{
    return s->block * s->ic / unit_of(w->bf16) + APART;
}

static int64_t m_step(const struct side *s)
{
    return s->block * PANEL + APART;
}

static int64_t u_step(const struct winograd *w, const struct side *s)
{
    return s->ic * s->oc / unit_of(w->bf16) + APART;
}

/* Of one thread. */
static int64_t block_size(const struct winograd *w, const struct side *s)
{
    return points_of(w->bf16) * (v_step(w, s) + m_step(s));
}

/* u (point, panel of oc, unit of ic, channel) from 16 of oc and all of ic. */
INLINE void transform_weights(const bool bf16, const struct winograd *wino, const struct side *s,
                              const float *w, int64_t o, float *u)
{
    const int m = step_of(bf16), side = side_of(bf16), unit = unit_of(bf16);
    const int64_t step = u_step(wino, s);
    for (int64_t k = 0; k < s->ic; k += unit) {
        __m512 t[2][WINO_SIDE][WINO_SIDE];
        float *to = u + (o / PANEL * (s->ic / unit) + k / unit) * PANEL + o % PANEL;
        WINO_UNROLL for (int j = 0; j < unit; j++)
        {
            const float *from = w + o * s->w_oc + (k + j) * s->w_ic;
            __m512 tap[LANES];
            WINO_UNROLL for (int i = 0; i < LANES; i++) tap[i] =
                _mm512_maskz_loadu_ps(ALL_TAPS, from + i * s->w_oc);
            zmm_transpose(tap);
            WINO_UNROLL for (int c = 0; c < 3; c++)
            {
                __m512 col[WINO_SIDE];
                WINO_UNROLL for (int r = 0; r < 3; r++) col[r] =
                    s->turned ? tap[8 - 3 * r - c] : tap[3 * r + c];
                wino_weights(m, col);
                WINO_UNROLL for (int r = 0; r < side; r++) t[j][r][c] = col[r];
            }
            WINO_UNROLL for (int r = 0; r < side; r++) wino_weights(m, t[j][r]);
        }
        WINO_UNROLL for (int i = 0; i < side * side; i++) _mm512_storeu_ps(
            to + i * step, units(bf16, t[0][i / side][i % side], &t[1][i / side][i % side]));
    }
}

struct pass {
    const char *x;
    const float *weights, *bias;
    char *y;
    float *u;
};

/* The tiles from `first` on, with one panel of weights after the other. */
INLINE void convolve_block(const bool bf16, const struct winograd *w, const struct side *s,
                           const struct pass *p, int64_t first, float *v)
{
    const int64_t tiles = s->n_tiles - first < s->block ? s->n_tiles - first : s->block;
    const int64_t k = s->ic / unit_of(bf16);
    const size_t x_size = (size_t)s->ic * size_of(bf16), y_size = (size_t)s->oc * size_of(bf16);
    const int n_points = points_of(bf16), step = step_of(bf16);
    float *m = v + n_points * v_step(w, s);
    const void *pixel[WINO_POINTS];
    int64_t top, left;
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t picture = tile_place(s, step, first + t, &top, &left);
        find_pixels(p->x + (size_t)(picture * s->in[0] * s->in[1]) * x_size, x_size, s->in,
                    top - s->pad[0], left - s->pad[1], side_of(bf16), w->zeros, pixel);
        tile_in(bf16, pixel, s->ic, v + t * k, v_step(w, s));
    }
    for (int64_t o = 0; o < s->oc; o += PANEL) {
        for (int i = 0; i < n_points; i++)
            products(bf16, tiles, k, v + i * v_step(w, s), p->u + i * u_step(w, s) + o * k,
                     m + i * m_step(s));
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t picture = tile_place(s, step, first + t, &top, &left);
            char *y = p->y + (size_t)(picture * s->out[0] * s->out[1]) * y_size;
            for (int64_t c = 0; c < PANEL; c += LANES)
                tile_out(bf16, s, m + t * PANEL + c, m_step(s), p->bias, o + c, y, top, left);
        }
    }
}

/* y = x * weights + bias; `scratch`: the weights' points, then each thread's blocks. */
static TARGET void convolve(const struct winograd *w, const struct side *s, const void *x,
                            const float *weights, const float *bias, void *y, float *scratch)
{
    const struct pass p = {x, weights, bias, y, scratch};
    const int64_t n_blocks = (s->n_tiles + s->block - 1) / s->block, each = block_size(w, s);
#pragma omp parallel num_threads(w->n_threads)
    {
        float *v = scratch + points_of(w->bf16) * u_step(w, s) + omp_get_thread_num() * each;
#pragma omp for schedule(static)
        for (int64_t o = 0; o < s->oc; o += LANES)
            BY_TYPE(w->bf16, transform_weights, w, s, p.weights, o, p.u);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < n_blocks; b++)
            BY_TYPE(w->bf16, convolve_block, w, s, &p, b * s->block, v);
    }
}

static enum graft_status winograd_forward(void *state, const struct gr_train_pass *p,
                                          struct graft_error *err)
{
    const struct winograd *w = state;
    (void)err;
    convolve(w, &w->forward, p->in[0], p->in[1], w->bias ? p->in[2] : NULL, p->out[0], p->scratch);
    return GRAFT_OK;
}

/* ---- the gradient of the weights ------------------------------------------------------------ */

/* Steps from point to point: of tiles with so many channels, and of the weights' gradient. */
static int64_t tiles_step(const struct winograd *w, int64_t channels)
{
    return w->dw_block * channels + APART;
}

static int64_t dw_step(const struct winograd *w)
{
    return w->forward.ic * w->forward.oc + APART;
}

/* A unit of tiles: panels of channels, one after the other for all tiles. `sums`: to which a
   tile's gradients are added, or NULL. */
INLINE void unit_in(const bool bf16, const bool back, const struct winograd *w,
                    const void *pixel[2][WINO_POINTS], int64_t channels, float *to, float *sums)
{
    const int side = side_of(bf16);
    const int64_t step = tiles_step(w, channels);
    for (int64_t k = 0; k < channels; k += LANES) {
        __m512 t[2][WINO_SIDE][WINO_SIDE];
        float *at = to + k / PANEL * PANEL * w->dw_block + k % PANEL;
        WINO_UNROLL for (int j = 0; j < unit_of(bf16); j++)
            transform(bf16, back, pixel[j], k, t[j]);
        WINO_UNROLL for (int i = 0; i < side * side; i++) _mm512_storeu_ps(
            at + i * step, units(bf16, t[0][i / side][i % side], &t[1][i / side][i % side]));
        /* The second point of each line is the sum of its gradients. */
        for (int j = 0; sums && j < unit_of(bf16); j++)
            _mm512_storeu_ps(sums + k, ADD(_mm512_loadu_ps(sums + k), t[j][1][1]));
    }
}

INLINE void units_in(const bool bf16, const struct winograd *w, int64_t unit, const char *x,
                     const char *dy, float *v, float *g, float *sums)
{
    const struct side *s = &w->forward;
    const int step = step_of(bf16), n = unit_of(bf16);
    const size_t x_size = (size_t)s->ic * size_of(bf16), y_size = (size_t)s->oc * size_of(bf16);
    const void *in[2][WINO_POINTS], *out[2][WINO_POINTS];
    for (int j = 0; j < n; j++) {
        int64_t top = 0, left = 0, picture = 0;
        const bool any = unit * n + j < s->n_tiles;
        if (any)
            picture = tile_place(s, step, unit * n + j, &top, &left);
        find_pixels(any ? x + (size_t)(picture * s->in[0] * s->in[1]) * x_size : NULL, x_size,
                    s->in, top - s->pad[0], left - s->pad[1], side_of(bf16), w->zeros, in[j]);
        find_pixels(any ? dy + (size_t)(picture * s->out[0] * s->out[1]) * y_size : NULL, y_size,
                    s->out, top, left, step, w->zeros, out[j]);
    }
    unit_in(bf16, false, w, in, s->ic, v, NULL);
    unit_in(bf16, true, w, out, s->oc, g, sums);
}

/* 32 of oc and all of ic at one point: d (oc, ic), or more of it. */
INLINE void gradient_panel(const bool bf16, const struct winograd *w, const bool more,
                           int64_t units, const float *g, const float *v, float *d)
{
    const int64_t ic = w->forward.ic;
    for (int64_t k = 0; k < ic; k += PANEL, v += PANEL * w->dw_block)
        for (int r = 0; r < PANEL; r += DW_ROWS)
            if (more)
                product(bf16, DW_ROWS, true, units, g + r, 1, PANEL, v, d + r * ic + k, ic);
            else
                product(bf16, DW_ROWS, false, units, g + r, 1, PANEL, v, d + r * ic + k, ic);
}

/* The points of the gradient of one output channel's weights become (ic, 3, 3). */
INLINE void gradient_out(const bool bf16, const struct winograd *w, const float *d, float *dw)
{
    const int m = step_of(bf16), side = side_of(bf16);
    for (int64_t k = 0; k < w->forward.ic; k += LANES) {
        __m512 t[3][WINO_SIDE], tap[LANES];
        WINO_UNROLL for (int c = 0; c < side; c++)
        {
            __m512 col[WINO_SIDE];
            WINO_UNROLL for (int r = 0; r < side; r++) col[r] =
                _mm512_loadu_ps(d + (r * side + c) * dw_step(w) + k);
            wino_taps(m, col);
            WINO_UNROLL for (int r = 0; r < 3; r++) t[r][c] = col[r];
        }
        WINO_UNROLL for (int r = 0; r < 3; r++)
        {
            wino_taps(m, t[r]);
            WINO_UNROLL for (int c = 0; c < 3; c++) tap[3 * r + c] = t[r][c];
        }
        WINO_UNROLL for (int i = 9; i < LANES; i++) tap[i] = _mm512_setzero_ps();
        zmm_transpose(tap);
        WINO_UNROLL for (int i = 0; i < LANES; i++)
            _mm512_mask_storeu_ps(dw + (k + i) * 9, ALL_TAPS, tap[i]);
    }
}

/* Threads share a block's tiles, then its points: no thread has sums of its own that would have to
   be added up, but for those of the bias. */
static TARGET void find_gradient(const struct winograd *w, const void *x, const void *dy, float *dw,
                                 float *db, float *scratch)
{
    const struct side *s = &w->forward;
    const int n_points = points_of(w->bf16), unit = unit_of(w->bf16);
    const int64_t n_units = (s->n_tiles + unit - 1) / unit, block = w->dw_block;
    const int64_t ic = s->ic, oc = s->oc, panels = oc / PANEL;
    float *d = scratch, *v = d + n_points * dw_step(w), *g = v + n_points * tiles_step(w, ic);
    float *sums = db ? g + n_points * tiles_step(w, oc) : NULL;
    if (db)
        memset(sums, 0, (size_t)(w->n_threads * oc) * sizeof *sums);
#pragma omp parallel num_threads(w->n_threads)
    for (int64_t first = 0; first < n_units; first += block) {
        const int64_t n = n_units - first < block ? n_units - first : block;
        float *own = sums ? sums + omp_get_thread_num() * oc : NULL;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++)
            BY_TYPE(w->bf16, units_in, w, first + i, x, dy, v + i * PANEL, g + i * PANEL, own);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n_points * panels; i++) {
            const int64_t p = i / panels, o = i % panels * PANEL;
            BY_TYPE(w->bf16, gradient_panel, w, first > 0, n, g + p * tiles_step(w, oc) + o * block,
                    v + p * tiles_step(w, ic), d + p * dw_step(w) + o * ic);
        }
    }
#pragma omp parallel for num_threads(w->n_threads) schedule(static)
    for (int64_t o = 0; o < oc; o++) {
        BY_TYPE(w->bf16, gradient_out, w, d + o * ic, dw + o * ic * 9);
        for (int i = 0; db && i < w->n_threads; i++)
            db[o] = (i ? db[o] : 0) + sums[i * oc + o];
    }
}

static enum graft_status winograd_backward(void *state, const struct gr_train_pass *p,
                                           struct graft_error *err)
{
    const struct winograd *w = state;
    (void)err;
    if (p->din[0])
        convolve(w, &w->data, p->dout[0], p->in[1], NULL, p->din[0], p->scratch);
    if (p->din[1])
        find_gradient(w, p->in[0], p->dout[0], p->din[1], w->bias ? p->din[2] : NULL, p->scratch);
    return GRAFT_OK;
}

/* ---- planned -------------------------------------------------------------------------------- */

static void winograd_unplan(void *state)
{
    struct winograd *w = state;
    gr_free_aligned(w->zeros);
    gr_free(w);
}

/* Tiles, and how many of them go through at once: as fit the second-level cache, a multiple of the
   rows of a product, and the more the larger the weights are, which each block reads. */
static void cut_side(const struct winograd *w, int64_t n, struct side *s)
{
    const int step = step_of(w->bf16);
    for (int i = 0; i < 2; i++)
        s->tiles[i] = (s->out[i] + step - 1) / step;
    s->n_tiles = n * s->tiles[0] * s->tiles[1];
    const int64_t each = (s->n_tiles + w->n_threads - 1) / w->n_threads,
                  size = points_of(w->bf16) * 4 * (s->ic / unit_of(w->bf16) + PANEL),
                  least = points_of(w->bf16) * u_step(w, s) * 4 / WEIGHTS_A_TILE;
    s->block = BLOCK_SIZE / size > least ? BLOCK_SIZE / size : least;
    s->block = (s->block + PANEL_ROWS - 1) / PANEL_ROWS * PANEL_ROWS;
    s->block = s->block > each ? each : s->block;
}

/* Fewer multiplications by a third at least, beyond the edges too, and tiles that pay for what is
   done once for all of them. */
static bool pays(const struct winograd *w, const struct side *s)
{
    const int64_t direct = 9 * s->out[0] * s->out[1],
                  less = points_of(w->bf16) * s->tiles[0] * s->tiles[1];
    return 2 * direct >= 3 * less && s->n_tiles >= LEAST_TILES;
}

/* Units of 32 bits. */
static int64_t find_scratch(const struct winograd *w, const struct gr_train_case *tc)
{
    const struct side *f = &w->forward, *b = &w->data;
    const int n_points = points_of(w->bf16);
    int64_t most = n_points * u_step(w, f) + w->n_threads * block_size(w, f);
    int64_t data = n_points * u_step(w, b) + w->n_threads * block_size(w, b);
    int64_t weights = n_points * (dw_step(w) + tiles_step(w, f->ic) + tiles_step(w, f->oc)) +
                      (w->bias ? w->n_threads * f->oc : 0);
    most = tc->wants[0] && data > most ? data : most;
    return tc->wants[1] && weights > most ? weights : most;
}

static enum graft_status winograd_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                       struct graft_error *err)
{
    const bool bf16 = tc->c.bf16, has_b = train_conv_has_bias(tc);
    struct dnn_conv v;
    enum graft_status s = train_conv_read(&tc->c, &v, err);
    if (s)
        return s;
    if (v.n_spatial != 2 || v.kernel[0] != 3 || v.kernel[1] != 3 || v.groups != 1 || v.ic % PANEL ||
        v.oc % PANEL || v.ic > 4096 || v.oc > 4096 || (has_b && tc->wants[2] && !tc->wants[1]) ||
        (bf16 ? !gr_cpu_has_fast_bf16() || dnn_has_amx() : !gr_cpu_has_bf16()))
        return refuse(err);
    struct winograd d = {.bf16 = bf16, .bias = has_b, .n_threads = omp_get_max_threads()};
    struct side *f = &d.forward, *b = &d.data;
    *f = (struct side){.ic = v.ic, .oc = v.oc, .w_oc = 9 * v.ic, .w_ic = 9};
    *b = (struct side){.ic = f->oc, .oc = f->ic, .w_oc = 9, .w_ic = f->w_oc, .turned = true};
    for (int i = 0; i < 2; i++) {
        if (v.stride[i] != 1 || v.dilation[i] != 1 || v.pad_l[i] < 0 || v.pad_l[i] > 2)
            return refuse(err);
        f->in[i] = b->out[i] = v.in[i];
        f->out[i] = b->in[i] = v.out[i];
        f->pad[i] = v.pad_l[i];
        b->pad[i] = 2 - v.pad_l[i];
    }
    cut_side(&d, v.n, f);
    cut_side(&d, v.n, b);
    if (!pays(&d, f) || !pays(&d, b))
        return refuse(err);
    const int64_t n_units = (f->n_tiles + unit_of(d.bf16) - 1) / unit_of(d.bf16);
    d.dw_block = d.n_threads * BLOCK_SIZE / (points_of(d.bf16) * 4 * (f->ic + f->oc));
    d.dw_block = d.dw_block < LEAST_UNITS ? LEAST_UNITS : d.dw_block;
    d.dw_block = d.dw_block > n_units ? n_units : d.dw_block;
    struct winograd *w = gr_alloc(sizeof *w);
    d.zeros = gr_alloc_aligned((size_t)(f->ic > f->oc ? f->ic : f->oc) * sizeof(float), true);
    if (!w || !d.zeros) {
        gr_free(w);
        gr_free_aligned(d.zeros);
        return gr_error_nomem(err);
    }
    *w = d;
    train_conv_choose(tc, k);
    k->c.state = w;
    k->c.impl = d.bf16 ? "winograd:avx512_bf16" : "winograd:avx512";
    k->c.scratch_size = (size_t)find_scratch(w, tc) * sizeof(float);
    return GRAFT_OK;
}

#else /* for others there is oneDNN */

static enum graft_status winograd_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                       struct graft_error *err)
{
    (void)tc;
    (void)k;
    return refuse(err);
}
#define winograd_forward  NULL
#define winograd_backward NULL
#define winograd_unplan   gr_free

#endif

static const char *const ops[] = {"Conv", NULL};
const struct gr_train_kernel gr_train_winograd = {
    "winograd", ops, winograd_plan, winograd_forward, winograd_backward, winograd_unplan};
