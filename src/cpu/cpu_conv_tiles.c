/* How is a 3x3 or 1x1 convolution of small pictures computed fast in bf16? */
#include "base/mem.h"
#include "cpu/kernels.h"

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not a dense convolution of small pictures in bf16");
}

#ifdef __x86_64__
#include "cpu/panels.h"
#include <omp.h>

/* A picture with its padding lies in memory as one row of pixels after the other, so that the
   window's tap (i, j) of all pixels is the same pixels some bytes further on: nine products of a
   matrix of pixels, added up in AMX tiles. What it gives between the end of a row and the start of
   the next one is dropped. With a stride of 2 there are four such pictures, of even and odd rows
   and columns. A 1x1 convolution is one product of all pictures as they are. For small pictures,
   where oneDNN, which takes row by row, reaches a quarter of what tiles can do; for larger ones it
   does as well. */
enum { LARGEST = 100 };

struct conv_tiles {
    struct panels panels;
    int64_t n, ic, oc, in[2], out[2], pad[2], stride, taps;
    int64_t wide[2]; /* height and width of a padded picture, or of each of four */
    int64_t m;       /* pixels of y in one picture, with those that are dropped */
    int32_t *place;  /* of them; NULL: x needs no padding, and all pictures are one */
    bool add;
    float low, high;
    int n_threads;
};

static size_t padded_size(const struct conv_tiles *s)
{
    return (size_t)(s->stride * s->stride * s->wide[0] * s->wide[1] * s->ic) * 2;
}

/* Where the padded picture's pixel lies, in bytes. */
static int64_t offset_of(const struct conv_tiles *s, int64_t row, int64_t column)
{
    const int64_t picture = row % s->stride * s->stride + column % s->stride;
    return ((picture * s->wide[0] + row / s->stride) * s->wide[1] + column / s->stride) * s->ic * 2;
}

static void pad_picture(const struct conv_tiles *s, const char *x, char *y)
{
    const size_t pixel = (size_t)s->ic * 2;
    memset(y, 0, padded_size(s));
    for (int64_t r = 0; r < s->in[0]; r++)
        for (int64_t c = 0; c < s->in[1]; c++, x += pixel)
            memcpy(y + offset_of(s, r + s->pad[0], c + s->pad[1]), x, pixel);
}

static enum graft_status conv_tiles_forward(const void *state, void *bound, const void *const *in,
                                            void *const *out, void *scratch,
                                            struct graft_error *err)
{
    const struct conv_tiles *s = state;
    const size_t x_size = (size_t)(s->in[0] * s->in[1] * s->ic) * 2,
                 y_size = (size_t)(s->out[0] * s->out[1] * s->oc) * 2;
    const char *padded = s->place ? scratch : in[0];
    const int64_t n_panels = (s->oc + PANEL - 1) / PANEL;
    (void)bound;
    (void)err;
#pragma omp parallel num_threads(s->n_threads)
    {
        struct tiles_state before;
        panels_begin(s->panels.unit, &before);
        panels_enter(&s->panels);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < (s->place ? s->n : 0); i++)
            pad_picture(s, (const char *)in[0] + (size_t)i * x_size,
                        (char *)scratch + (size_t)i * padded_size(s));
#pragma omp for schedule(static)
        for (int64_t k = 0; k < n_panels * s->n; k++) {
            const int64_t i = k % s->n, c = k / s->n * PANEL;
            char *y = (char *)out[0] + (size_t)i * y_size + c * 2;
            const struct panel_tail t = {.y = y,
                                         .y_step = s->oc * 2,
                                         .y_dtype = GR_BF16,
                                         .add = s->add ? y : NULL,
                                         .add_step = s->oc * 2,
                                         .low = s->low,
                                         .high = s->high,
                                         .n = s->oc - c < PANEL ? s->oc - c : PANEL,
                                         .place = s->place};
            panels_run(&s->panels, c / PANEL, s->m, padded + (size_t)i * padded_size(s), s->ic * 2,
                       &t);
        }
        panels_end(s->panels.unit, &before);
    }
    return GRAFT_OK;
}

static void clear(struct conv_tiles *s)
{
    panels_clear(&s->panels);
    gr_free(s->place);
}

static void conv_tiles_unplan(void *state)
{
    clear(state);
    gr_free(state);
}

static enum graft_status fill(struct conv_tiles *s, const struct gr_case *c,
                              struct graft_error *err)
{
    enum graft_status st = panels_init_conv(&s->panels, panels_get_unit(true), c, err);
    for (int i = 0; i < s->taps; i++)
        s->panels.tap[i] = offset_of(s, i / 3, i % 3);
    if (!st && s->taps > 1 && !(s->place = gr_alloc_array((size_t)s->m, sizeof *s->place)))
        st = gr_error_nomem(err);
    for (int64_t i = 0; !st && s->place && i < s->m; i++) {
        const int64_t row = i / s->wide[1], column = i % s->wide[1];
        s->place[i] = column < s->out[1] ? (int32_t)(row * s->out[1] + column) : -1;
    }
    return st;
}

static enum graft_status conv_tiles_plan(const struct gr_case *c, struct gr_choice *k,
                                         struct graft_error *err)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    struct conv_tiles s = {.add = c->add, .n_threads = omp_get_max_threads()};
    struct gr_window win;
    if (!c->bf16 || c->f32_out || (c->quant && c->quant[0].dtype) || !gr_is_const_conv(c) ||
        panels_get_unit(true) != PANEL_TILES || gr_node_get_int(n, "group", 1) != 1 ||
        w->dim[2] != w->dim[3] || (w->dim[2] != 3 && w->dim[2] != 1) || x->dim[1] % 32 ||
        y->dim[1] < PANEL || !gr_read_clip(c, &s.low, &s.high))
        return refuse(err);
    gr_window_read(n, x, y, w->dim + 2, &win);
    s.n = x->dim[0];
    s.ic = x->dim[1];
    s.oc = y->dim[1];
    s.stride = win.stride[0];
    s.taps = w->dim[2] * w->dim[3];
    for (int i = 0; i < 2; i++) {
        s.in[i] = win.in[i];
        s.out[i] = win.out[i];
        s.pad[i] = win.pad_l[i];
        s.wide[i] = win.out[i] + (s.taps == 1 ? 0 : s.stride == 1 ? 2 : 1);
        if ((s.taps == 1 && (s.stride > 1 || s.in[i] != s.out[i] || s.pad[i])) ||
            win.stride[i] != s.stride || s.stride > 2 || win.dilation[i] != 1 || win.pad_l[i] < 0 ||
            s.wide[i] * s.stride < win.in[i] + win.pad_l[i] || win.out[i] > LARGEST)
            return refuse(err);
    }
    s.m = (s.out[0] - 1) * s.wide[1] + s.out[1];
    if (s.m > LARGEST)
        return refuse(err);
    if (s.taps == 1) {
        s.m *= s.n;
        s.n = 1;
    }
    if (!panels_suit(PANEL_TILES, s.m, s.ic))
        return refuse(err);
    enum graft_status st = fill(&s, c, err);
    struct conv_tiles *state = st ? NULL : gr_alloc(sizeof *state);
    if (!st && !state)
        st = gr_error_nomem(err);
    if (st) {
        clear(&s);
        return st;
    }
    *state = s;
    k->in[0] = k->out[0] = (struct gr_layout){GR_BF16, true};
    k->state = state;
    k->impl = "tiles:amx";
    k->weights_size = panels_get_weights_size(&s.panels);
    k->scratch_size = s.place ? (size_t)s.n * padded_size(&s) : 0;
    gr_choose_tail(c, k);
    return GRAFT_OK;
}

#else /* for others there is oneDNN */

static enum graft_status conv_tiles_plan(const struct gr_case *c, struct gr_choice *k,
                                         struct graft_error *err)
{
    (void)c;
    (void)k;
    return refuse(err);
}
#define conv_tiles_forward NULL
#define conv_tiles_unplan  gr_free

#endif

static const char *const ops[] = {"Conv", NULL};
const struct gr_kernel gr_kernel_conv_tiles = {.name = "conv_tiles",
                                               .ops = ops,
                                               .plan = conv_tiles_plan,
                                               .forward = conv_tiles_forward,
                                               .unplan = conv_tiles_unplan};
