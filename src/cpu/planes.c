/* How are pictures in a few planes convolved, inside a fused kernel or alone? */
#include "cpu/planes.h"
#ifdef __x86_64__
#include "base/mem.h"
#include "cpu/kernels.h"
#include "cpu/zmm.h"

#define TARGET ZMM_TARGET
#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 4")

enum { MOST_PLANES = 4 };

static int64_t number_size(const struct planes *p)
{
    return p->panels.unit == PANEL_BF16 ? 2 : 4;
}

/* What comes in was read long ago if at all: some rows ahead it is asked for. `planes` is constant
   at each call. */
INLINE void weave(const int planes, int64_t n, const float *x, int64_t plane, float *restrict y)
{
    for (int c = 0; c < planes; c++)
        for (int64_t i = 0; i < n; i += 16)
            _mm_prefetch((const char *)(x + c * plane + 4 * n + i), _MM_HINT_T0);
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < planes; c++)
            y[i * planes + c] = x[c * plane + i];
}

static TARGET void narrow(int64_t n, const float *x, char *y)
{
    for (int64_t i = 0; i < n; i += 32) {
        const __mmask32 m = n - i < 32 ? ((__mmask32)1 << (n - i)) - 1 : ~(__mmask32)0;
        const __m512 a = _mm512_maskz_loadu_ps((__mmask16)m, x + i),
                     b = _mm512_maskz_loadu_ps((__mmask16)(m >> 16), x + i + 16);
        _mm512_mask_storeu_epi16(y + i * 2, m, (__m512i)_mm512_cvtne2ps_pbh(b, a));
    }
}

/* Row `r` of a picture, which may lie beyond it; `wide` has room for one in fp32. */
static TARGET void read_row(const struct planes *p, const float *x, int64_t r, float *wide, char *y)
{
    const int64_t w = p->in[1], plane = p->in[0] * w, size = number_size(p);
    memset(y, 0, (size_t)(r < 0 || r >= p->in[0] ? p->wide : p->pad[1]) * (size_t)(p->ic * size));
    if (r < 0 || r >= p->in[0])
        return;
    y += p->pad[1] * p->ic * size;
    float *to = size == 2 ? wide : (float *)(void *)y;
    x += r * w;
    if (p->ic == 1)
        weave(1, w, x, plane, to);
    else if (p->ic == 2)
        weave(2, w, x, plane, to);
    else if (p->ic == 3)
        weave(3, w, x, plane, to);
    else
        weave(4, w, x, plane, to);
    if (size == 2)
        narrow(w * p->ic, wide, y);
    memset(y + w * p->ic * size, 0, (size_t)((p->wide - p->pad[1] - w) * p->ic * size));
}

static int64_t n_rows_read(const struct planes *p, int64_t n)
{
    return (n - 1) * p->stride[0] + p->kernel;
}

/* Before all rows lies one in fp32, turned around and about to become bf16. */
static size_t wide_size(const struct planes *p)
{
    return (size_t)(p->in[1] * p->ic) * sizeof(float);
}

size_t planes_get_woven_size(const struct planes *p, int64_t n)
{
    return ((size_t)(n_rows_read(p, n) * p->row_size) + wide_size(p) + 63) / 64 * 64;
}

void planes_read(const struct planes *p, const float *x, int64_t first, int64_t n, char *woven)
{
    const int64_t top = first * p->stride[0] - p->pad[0], rows = n_rows_read(p, n);
    for (int64_t r = 0; r < rows; r++)
        read_row(p, x, top + r, (float *)(void *)woven, woven + wide_size(p) + r * p->row_size);
}

void planes_run(const struct planes *p, int64_t panel, int64_t n, const char *woven,
                const struct panel_tail *t)
{
    struct panel_tail row = *t;
    woven += wide_size(p);
    for (int64_t r = 0; r < n; r++) {
        panels_run(&p->panels, panel, p->out[1], woven + r * p->stride[0] * p->row_size,
                   p->stride[1] * p->ic * number_size(p), &row);
        row.y = (char *)row.y + p->out[1] * row.y_step;
    }
}

void planes_clear(struct planes *p)
{
    panels_clear(&p->panels);
}

/* A row of the window as the pixels lie: from (oc, ic, rows, columns) to (oc, columns, ic, rows).
 */
static enum graft_status fill(struct planes *p, const struct gr_case *c, enum panel_unit unit,
                              struct graft_error *err)
{
    const int64_t rows = p->kernel, columns = c->in[1].shape.dim[3], k = columns * p->ic;
    const struct gr_tensor *bias = gr_conv_bias(c);
    struct gr_tensor w = {0}, b = {0};
    float *turned = gr_alloc_array((size_t)(p->oc * k * rows), sizeof *turned);
    enum graft_status s = turned ? gr_const_f32(c->konst[1], &w, err) : gr_error_nomem(err);
    if (!s && bias)
        s = gr_const_f32(bias, &b, err);
    if (s)
        goto out;
    const float *from = w.data;
    for (int64_t o = 0; o < p->oc; o++)
        for (int64_t i = 0; i < p->ic; i++)
            for (int64_t r = 0; r < rows; r++)
                for (int64_t j = 0; j < columns; j++)
                    turned[((o * columns + j) * p->ic + i) * rows + r] = *from++;
    s = panels_init(&p->panels, unit, k, p->oc, rows, turned, bias ? b.data : NULL, err);
out:
    gr_free(turned);
    gr_tensor_clear(&w);
    gr_tensor_clear(&b);
    return s;
}

enum graft_status planes_init(struct planes *out, const struct gr_case *c, struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    const enum panel_unit unit = panels_get_unit(c->bf16);
    struct planes p = {0};
    struct gr_window win;
    bool suits = gr_is_const_conv(c) && !c->add && !c->layout[0].channels_last &&
                 c->layout[0].dtype == GR_F32 && (unit == PANEL_F32 || unit == PANEL_BF16) &&
                 gr_node_get_int(c->node, "group", 1) == 1 && x->dim[1] <= MOST_PLANES &&
                 w->dim[2] <= PANEL_TAPS;
    if (suits) {
        gr_window_read(c->node, x, y, w->dim + 2, &win);
        p = (struct planes){.n = x->dim[0], .ic = x->dim[1], .oc = y->dim[1], .kernel = w->dim[2]};
    }
    for (int i = 0; suits && i < 2; i++) {
        p.in[i] = win.in[i];
        p.out[i] = win.out[i];
        p.stride[i] = win.stride[i];
        p.pad[i] = win.pad_l[i];
        suits = win.dilation[i] == 1 && win.pad_l[i] >= 0;
    }
    if (!suits)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "not a dense convolution of a few planes");
    enum graft_status s = fill(&p, c, unit, err);
    if (s)
        return s;
    const int64_t reach = (p.out[1] - 1) * p.stride[1] + w->dim[3];
    p.wide = reach > p.pad[1] + p.in[1] ? reach : p.pad[1] + p.in[1];
    p.row_size = p.wide * p.ic * number_size(&p);
    for (int64_t r = 0; r < p.kernel; r++)
        p.panels.tap[r] = r * p.row_size;
    *out = p;
    return GRAFT_OK;
}
#endif
