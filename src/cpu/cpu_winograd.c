/* How is a 3x3 convolution computed with fewer multiplications? */
#include "base/mem.h"
#include "cpu/kernels.h"
#include <omp.h>

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not a dense 3x3 convolution of pictures enough");
}

#ifdef __x86_64__
#include "cpu/panel_sums.h"
#include "cpu/panels.h"
#include "cpu/winograd.h"
#include "cpu/zmm.h"

/* Winograd's F(4x4, 3x3), as Lavin and Gray describe it: a tile of 6x6 pixels and the weights are
   transformed, multiplied at 36 points, and transformed back into 4x4 pixels, with a quarter of the
   multiplications. Channels last; the result differs from the direct sum in the last digits. Where
   x and y are bf16 and there are no tiles, all between them is fp32 nevertheless: it is as fast as
   bf16 pairs would be directly, and rounds less. Tiles go through in blocks: v (36, tiles, ic)
   times u (36, oc/32, ic, 32) gives m (36, tiles, oc). Between the 36 matrices of each lies a line,
   or what is read and written of all of them at a time would fall into one set of the first-level
   cache. */
enum { POINTS = 36, SIDE = 6, STEP = 4, LANES = ZMM_LANES, GAP = 16 };
/* What v and m of a block may take, and the fewest tiles of one: each reads all of u. */
enum { BLOCK_SIZE = 1 << 20, LEAST_TILES = 36 };

struct winograd {
    int64_t n, ic, oc, in[2], out[2], pad[2];
    int64_t tiles[2], n_tiles, block; /* down, across; of all pictures; in a block */
    int64_t u_step, v_step, m_step;   /* from one of the 36 matrices to the next */
    int n_threads;
    bool add, x_bf16, y_bf16;
    float low, high; /* y is clipped to them */
    float *u, *bias, *zeros;
};

#define TARGET ZMM_TARGET
#define INLINE ZMM_INLINE
#define UNROLL WINO_UNROLL

/* Both transforms come in halves, which share nothing: a whole one of 6x6 vectors would not fit the
   registers. The first or the last three values of the transpose of B times six. */
INLINE void transform_in(const int half, const __m512 v[SIDE], __m512 to[SIDE / 2])
{
    if (!half) {
        const __m512 a = MADD(-4, v[2], v[4]), b = MADD(-4, v[1], v[3]);
        to[0] = MADD(4, v[0], MADD(-5, v[2], v[4]));
        to[1] = ADD(a, b);
        to[2] = SUB(a, b);
    } else {
        const __m512 c = SUB(v[4], v[2]), d = SUB(v[3], v[1]);
        to[0] = MADD(2, d, c);
        to[1] = MADD(-2, d, c);
        to[2] = MADD(4, v[1], MADD(-5, v[3], v[5]));
    }
}

/* The even or the odd ones of the four values of the transpose of A times six. */
INLINE void transform_out(const int odd, const __m512 v[SIDE], __m512 to[STEP / 2])
{
    if (!odd) {
        const __m512 a = ADD(v[1], v[2]), c = ADD(v[3], v[4]);
        to[0] = ADD(ADD(v[0], a), c);
        to[1] = MADD(4, c, a);
    } else {
        const __m512 b = SUB(v[1], v[2]), d = SUB(v[3], v[4]);
        to[0] = MADD(2, d, b);
        to[1] = ADD(MADD(8, d, b), v[5]);
    }
}

INLINE void tile_in(const bool bf16, const struct winograd *s, const char *x, int64_t top,
                    int64_t left, float *v)
{
    const int64_t step = s->ic * (bf16 ? 2 : 4);
    const void *pixel[SIDE][SIDE];
    for (int r = 0; r < SIDE; r++) {
        const char *row = x + ((top + r) * s->in[1] + left) * step;
        const bool inside = top + r >= 0 && top + r < s->in[0];
        for (int c = 0; c < SIDE; c++)
            pixel[r][c] = inside && left + c >= 0 && left + c < s->in[1]
                              ? (const void *)(row + c * step)
                              : s->zeros;
    }
    for (int64_t k = 0; k < s->ic; k += LANES)
        UNROLL for (int half = 0; half < 2; half++)
        {
            __m512 t[SIDE / 2][SIDE];
            UNROLL for (int c = 0; c < SIDE; c++)
            {
                __m512 col[SIDE], to[SIDE / 2];
                UNROLL for (int r = 0; r < SIDE; r++) col[r] = zmm_load(bf16, pixel[r][c], k);
                transform_in(half, col, to);
                UNROLL for (int r = 0; r < SIDE / 2; r++) t[r][c] = to[r];
            }
            UNROLL for (int r = 0; r < SIDE / 2; r++)
            {
                float *y = v + (half * SIDE / 2 + r) * SIDE * s->v_step + k;
                __m512 to[SIDE];
                transform_in(0, t[r], to);
                transform_in(1, t[r], to + SIDE / 2);
                UNROLL for (int c = 0; c < SIDE; c++) _mm512_storeu_ps(y + c * s->v_step, to[c]);
            }
        }
}

INLINE void tile_out(const bool bf16, const struct winograd *s, const float *m, void *y,
                     int64_t top, int64_t left)
{
    const int64_t rows = s->out[0] - top, cols = s->out[1] - left;
    const __m512 low = _mm512_set1_ps(s->low), high = _mm512_set1_ps(s->high);
    for (int64_t k = 0; k < s->oc; k += LANES)
        UNROLL for (int odd = 0; odd < 2; odd++)
        {
            const __m512 bias = _mm512_loadu_ps(s->bias + k);
            __m512 t[STEP / 2][SIDE];
            UNROLL for (int c = 0; c < SIDE; c++)
            {
                __m512 col[SIDE], to[STEP / 2];
                UNROLL for (int r = 0; r < SIDE; r++) col[r] =
                    _mm512_loadu_ps(m + (r * SIDE + c) * s->m_step + k);
                transform_out(odd, col, to);
                UNROLL for (int r = 0; r < STEP / 2; r++) t[r][c] = to[r];
            }
            UNROLL for (int r = 0; r < STEP / 2; r++)
            {
                const int row = 2 * r + odd;
                __m512 to[2][STEP / 2];
                if (row >= rows)
                    continue;
                transform_out(0, t[r], to[0]);
                transform_out(1, t[r], to[1]);
                UNROLL for (int c = 0; c < STEP; c++)
                {
                    if (c >= cols)
                        continue;
                    const int64_t at = ((top + row) * s->out[1] + left + c) * s->oc + k;
                    __m512 sum = ADD(to[c % 2][c / 2], bias);
                    if (s->add)
                        sum = ADD(sum, zmm_load(bf16, y, at));
                    /* NaN stays */
                    zmm_store(bf16, y, at, _mm512_min_ps(high, _mm512_max_ps(low, sum)));
                }
            }
        }
}

/* rows x 32 of m = rows of v times a panel of u */
INLINE void product(const int rows, int64_t ic, const float *v, const float *u, float *m,
                    int64_t oc)
{
    __m512 acc[PANEL_ROWS][2];
    UNROLL for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    panel_sums(rows, true, ic, v, ic, u, acc);
    UNROLL for (int r = 0; r < rows; r++)
    {
        _mm512_storeu_ps(m + r * oc, acc[r][0]);
        _mm512_storeu_ps(m + r * oc + LANES, acc[r][1]);
    }
}

/* A few tiles times all panels: their rows of v stay in the first-level cache, while the panels
   stream through it. */
static TARGET void products(const struct winograd *s, int64_t tiles, const float *v, const float *u,
                            float *m)
{
    const int64_t ic = s->ic, oc = s->oc;
    for (int64_t left = tiles, n; left; left -= n, v += n * ic, m += n * oc) {
        n = panel_group(left);
        for (int64_t o = 0; o < oc; o += PANEL) {
#define PRODUCT(rows) product(rows, ic, v, u + o * ic, m + o, oc)
            PANEL_SWITCH(n, PRODUCT);
        }
    }
}

/* Where tile `t` of all begins in its picture of y. */
static int64_t tile_place(const struct winograd *s, int64_t t, int64_t *top, int64_t *left)
{
    const int64_t each = s->tiles[0] * s->tiles[1];
    *top = t % each / s->tiles[1] * STEP;
    *left = t % s->tiles[1] * STEP;
    return t / each;
}

static TARGET void tiles_in(const struct winograd *s, int64_t first, int64_t tiles, const char *x,
                            float *v)
{
    for (int64_t t = 0; t < tiles; t++, v += s->ic) {
        int64_t top, left, picture = tile_place(s, first + t, &top, &left);
        const int64_t at = picture * s->in[0] * s->in[1] * s->ic;
        if (s->x_bf16)
            tile_in(true, s, x + at * 2, top - s->pad[0], left - s->pad[1], v);
        else
            tile_in(false, s, x + at * 4, top - s->pad[0], left - s->pad[1], v);
    }
}

static TARGET void tiles_out(const struct winograd *s, int64_t first, int64_t tiles, const float *m,
                             char *y)
{
    for (int64_t t = 0; t < tiles; t++, m += s->oc) {
        int64_t top, left, picture = tile_place(s, first + t, &top, &left);
        const int64_t at = picture * s->out[0] * s->out[1] * s->oc;
        if (s->y_bf16)
            tile_out(true, s, m, y + at * 2, top, left);
        else
            tile_out(false, s, m, y + at * 4, top, left);
    }
}

static enum graft_status winograd_forward(const void *state, void *bound, const void *const *in,
                                          void *const *out, void *scratch, struct graft_error *err)
{
    const struct winograd *s = state;
    const int64_t n_blocks = (s->n_tiles + s->block - 1) / s->block;
    (void)bound;
    (void)err;
#pragma omp parallel for num_threads(s->n_threads) schedule(static)
    for (int64_t b = 0; b < n_blocks; b++) {
        const int64_t first = b * s->block,
                      tiles = s->n_tiles - first < s->block ? s->n_tiles - first : s->block;
        float *v =
            (float *)scratch + (int64_t)omp_get_thread_num() * POINTS * (s->v_step + s->m_step);
        float *m = v + POINTS * s->v_step;
        tiles_in(s, first, tiles, in[0], v);
        for (int p = 0; p < POINTS; p++)
            products(s, tiles, v + p * s->v_step, s->u + p * s->u_step, m + p * s->m_step);
        tiles_out(s, first, tiles, m, out[0]);
    }
    return GRAFT_OK;
}

static void winograd_unplan(void *state)
{
    struct winograd *s = state;
    gr_free_aligned(s->u);
    gr_free_aligned(s->bias);
    gr_free_aligned(s->zeros);
    gr_free(s);
}

/* u = G w G' at 36 points, w being (oc, ic, 3, 3). */
static TARGET void transform_weights(struct winograd *s, const float *w)
{
    const int64_t ic = s->ic, oc = s->oc;
#pragma omp parallel for
    for (int64_t o = 0; o < oc; o += LANES) {
        const __m512i channel = _mm512_mullo_epi32(
            _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
            _mm512_set1_epi32((int)ic * 9));
        for (int64_t k = 0; k < ic; k++) {
            const float *from = w + (o * ic + k) * 9;
            float *to = s->u + (o / PANEL * ic + k) * PANEL + o % PANEL;
            __m512 t[SIDE][3];
            UNROLL for (int c = 0; c < 3; c++)
            {
                __m512 v[SIDE];
                UNROLL for (int r = 0; r < 3; r++) v[r] =
                    _mm512_i32gather_ps(channel, from + 3 * r + c, 4);
                wino_weights(STEP, v);
                UNROLL for (int i = 0; i < SIDE; i++) t[i][c] = v[i];
            }
            UNROLL for (int i = 0; i < SIDE; i++)
            {
                __m512 v[SIDE] = {t[i][0], t[i][1], t[i][2]};
                wino_weights(STEP, v);
                UNROLL for (int j = 0; j < SIDE; j++)
                    _mm512_storeu_ps(to + (i * SIDE + j) * s->u_step, v[j]);
            }
        }
    }
}

static enum graft_status fill(struct winograd *s, const struct gr_tensor *w,
                              const struct gr_tensor *b, struct graft_error *err)
{
    struct gr_tensor wt = {0}, bt = {0};
    enum graft_status st = gr_const_f32(w, &wt, err);
    if (!st && b)
        st = gr_const_f32(b, &bt, err);
    s->u = gr_alloc_aligned((size_t)(POINTS * s->u_step) * sizeof *s->u, false);
    s->bias = gr_alloc_aligned((size_t)s->oc * sizeof *s->bias, true);
    s->zeros = gr_alloc_aligned((size_t)s->ic * sizeof *s->zeros, true);
    if (!st && (!s->u || !s->bias || !s->zeros))
        st = gr_error_nomem(err);
    if (!st) {
        transform_weights(s, wt.data);
        if (b)
            memcpy(s->bias, bt.data, (size_t)s->oc * sizeof *s->bias);
    }
    gr_tensor_clear(&wt);
    gr_tensor_clear(&bt);
    return st;
}

/* Transformed weights are four times as many, and each block reads them all: that takes as long as
   to multiply some tiles by them. The direct way multiplies nine times for a pixel, bf16 pairs in
   half the time; there weights, eight times as large, must pay for their room as well. */
static bool pays(const struct winograd *s)
{
    enum { READING = 8 };
    const int64_t blocks = (s->n_tiles + s->block - 1) / s->block,
                  here = POINTS * (s->n_tiles + READING * blocks),
                  direct = 9 * s->n * s->out[0] * s->out[1];
    return s->x_bf16 ? 9 * here < 4 * direct : 3 * here < 2 * direct;
}

/* Blocks of equally many tiles, at least one for each thread. */
static void cut(struct winograd *s)
{
    const int64_t fit = BLOCK_SIZE / (POINTS * (s->ic + s->oc) * (int64_t)sizeof(float)),
                  most = fit < LEAST_TILES ? LEAST_TILES : fit,
                  blocks = (s->n_tiles + most - 1) / most,
                  each = (blocks + s->n_threads - 1) / s->n_threads * s->n_threads;
    s->block = (s->n_tiles + each - 1) / each;
    s->u_step = s->ic * s->oc + GAP;
    s->v_step = s->block * s->ic + GAP;
    s->m_step = s->block * s->oc + GAP;
}

static enum graft_status winograd_plan(const struct gr_case *c, struct gr_choice *k,
                                       struct graft_error *err)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    struct gr_window win;
    if (!gr_is_const_conv(c) || !gr_cpu_has_bf16() || (c->quant && c->quant[0].dtype) ||
        (c->bf16 && ((c->add && c->f32_out) || panels_get_unit(true) != PANEL_BF16)) ||
        gr_node_get_int(n, "group", 1) != 1 || w->dim[2] != 3 || w->dim[3] != 3 ||
        x->dim[1] % LANES || y->dim[1] % PANEL || x->dim[1] > 4096 || y->dim[1] > 4096)
        return refuse(err);
    gr_window_read(n, x, y, w->dim + 2, &win);
    struct winograd d = {.n = x->dim[0],
                         .ic = x->dim[1],
                         .oc = y->dim[1],
                         .n_threads = omp_get_max_threads(),
                         .add = c->add,
                         .x_bf16 = c->bf16,
                         .y_bf16 = c->bf16 && !c->f32_out};
    for (int i = 0; i < 2; i++) {
        if (win.stride[i] != 1 || win.dilation[i] != 1 || win.pad_l[i] < 0)
            return refuse(err);
        d.in[i] = win.in[i];
        d.out[i] = win.out[i];
        d.pad[i] = win.pad_l[i];
        d.tiles[i] = (win.out[i] + STEP - 1) / STEP;
    }
    d.n_tiles = d.n * d.tiles[0] * d.tiles[1];
    cut(&d);
    if (!gr_read_clip(c, &d.low, &d.high) || !pays(&d))
        return refuse(err);
    enum graft_status s = fill(&d, c->konst[1], gr_conv_bias(c), err);
    struct winograd *state = s ? NULL : gr_alloc(sizeof *state);
    if (!s && !state)
        s = gr_error_nomem(err);
    if (s) {
        gr_free_aligned(d.u);
        gr_free_aligned(d.bias);
        gr_free_aligned(d.zeros);
        return s;
    }
    *state = d;
    k->in[0] = (struct gr_layout){d.x_bf16 ? GR_BF16 : GR_F32, true};
    k->out[0] = (struct gr_layout){d.y_bf16 ? GR_BF16 : GR_F32, true};
    k->state = state;
    k->impl = "winograd:avx512";
    k->weights_size = (size_t)(POINTS * d.u_step) * sizeof(float);
    k->scratch_size = (size_t)(d.n_threads * POINTS * (d.v_step + d.m_step)) * sizeof(float);
    gr_choose_tail(c, k);
    return GRAFT_OK;
}

#else /* for others there is oneDNN */

static enum graft_status winograd_plan(const struct gr_case *c, struct gr_choice *k,
                                       struct graft_error *err)
{
    (void)c;
    (void)k;
    return refuse(err);
}
#define winograd_forward NULL
#define winograd_unplan  gr_free

#endif

static const char *const ops[] = {"Conv", NULL};
const struct gr_kernel gr_kernel_winograd = {.name = "winograd",
                                             .ops = ops,
                                             .plan = winograd_plan,
                                             .forward = winograd_forward,
                                             .unplan = winograd_unplan};
