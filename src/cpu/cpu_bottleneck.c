/* How are a 1x1 convolution, a depthwise one and another 1x1 computed without their intermediate
   values leaving the cache? */
#include "base/mem.h"
#include "cpu/kernels.h"

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not the convolutions of a bottleneck");
}

#ifdef __x86_64__
#include "cpu/depthwise.h"
#include "cpu/planes.h"
#include <omp.h>

/* The block of MobileNets: expand, window, project, of which either 1x1 may be absent; or instead
   of the expansion a network's first convolution, of pictures in planes. A picture is cut into
   bands of rows; within one, 32 expanded channels at a time go through the windows, and when all
   have done so, they are projected. What a band expands beyond its own rows for its windows the
   next one computes again. */
struct bottleneck {
    bool expands, projects, adds; /* adds: x to y */
    bool weaves;                  /* what expands is `planes` */
    enum panel_unit unit;
    enum gr_dtype src, dst; /* of x, where it is not planes, and of y */
    int64_t size, y_size;   /* bytes of a number of x and of windows, and of y */
    float add_scale;        /* what x is multiplied by before it is added */
    int64_t ic, oc;
    struct panels expand, project;
    struct planes planes;
    struct depthwise window;
    float expand_low, expand_high, project_low, project_high;
    int64_t rows, bands; /* of y in a band; of a picture */
    int64_t group;       /* rows of y whose windows are computed in turn with what they read */
    int64_t ring;        /* rows of expanded x that are kept */
    int n_threads;
    /* Bytes of a thread's expanded channels, of its windows, and of what it has turned around. */
    size_t hidden_size, window_size, woven_size;
    int64_t x_picture; /* bytes */
};

/* What a band keeps at hand of all that a core's cache holds; the rest is for weights, x and y. */
enum { CACHE_SIZE = 3 << 18 };
/* Pixels of x that are expanded at a time: their 32 channels lie in the first cache. */
enum { GROUP = 56 };

/* The rows of x under the windows of some rows of y. */
static void read_rows(const struct depthwise *d, int64_t first, int64_t n, int64_t *top,
                      int64_t *end)
{
    *top = first * d->stride - d->pad[0];
    *end = (first + n - 1) * d->stride - d->pad[0] + d->kernel;
    *top = *top < 0 ? 0 : *top;
    *end = *end > d->in[0] ? d->in[0] : *end;
}

static int64_t band_rows(const struct bottleneck *s, int64_t band)
{
    const int64_t left = s->window.out[0] - band * s->rows;
    return left < s->rows ? left : s->rows;
}

/* 32 channels of n rows of x's expansion. */
static void expand_rows(const struct bottleneck *s, int64_t panel, const char *x, int64_t first,
                        int64_t n, char *woven, const struct panel_tail *t)
{
    const int64_t w = s->window.in[1], x_step = s->ic * s->size;
    if (s->weaves) {
        planes_read(&s->planes, (const float *)(const void *)x, first, n, woven);
        planes_run(&s->planes, panel, n, woven, t);
    } else {
        panels_run(&s->expand, panel, n * w, x + first * w * x_step, x_step, t);
    }
}

/* 32 channels of x's expansion, and their windows in `part`: a few rows in turn, so that they are
   still near when they are read. */
static void expand_panel(const struct bottleneck *s, const char *x, char *hidden, char *woven,
                         struct depthwise_part part)
{
    const struct depthwise *d = &s->window;
    const int64_t rows = part.n_rows, row_size = d->in[1] * part.x_step;
    int64_t done = part.x_row, top, end;
    for (int64_t r = 0; r < rows; r += s->group) {
        part.n_rows = rows - r < s->group ? rows - r : s->group;
        read_rows(d, part.y_row, part.n_rows, &top, &end);
        while (done < end) {
            const int64_t slot = (done - part.x_row) % s->ring,
                          n = end - done < s->ring - slot ? end - done : s->ring - slot;
            const struct panel_tail keep = {.y = hidden + slot * row_size,
                                            .y_step = part.x_step,
                                            .y_dtype = GR_F32,
                                            .low = s->expand_low,
                                            .high = s->expand_high,
                                            .n = part.n_channels};
            expand_rows(s, part.channel / PANEL, x, done, n, woven, &keep);
            done += n;
        }
        depthwise_run(d, &part);
        part.y_row += part.n_rows;
        part.y = (char *)part.y + part.n_rows * d->out[1] * part.y_step;
    }
}

/* One band of one picture; x and y are the picture's. */
static void run_band(const struct bottleneck *s, int64_t band, const char *x, char *y, char *hidden,
                     char *windows, char *woven)
{
    const struct depthwise *d = &s->window;
    const int64_t first = band * s->rows;
    char *const to = s->projects ? windows : y + first * d->out[1] * d->c * s->size;
    struct depthwise_part part = {.x = x,
                                  .x_step = s->ic * s->size,
                                  .y = to,
                                  .y_step = d->c * s->size,
                                  .y_row = first,
                                  .n_rows = band_rows(s, band),
                                  .n_channels = d->c};
    if (s->expands) {
        int64_t end;
        part.x = hidden;
        part.x_step = PANEL * (int64_t)sizeof(float);
        part.x_ring = s->ring;
        read_rows(d, first, part.n_rows, &part.x_row, &end);
        panels_enter(&s->expand);
        for (int64_t c = 0; c < d->c; c += PANEL) {
            part.channel = c;
            part.n_channels = d->c - c < PANEL ? d->c - c : PANEL;
            part.y = to + c * s->size;
            expand_panel(s, x, hidden, woven, part);
        }
    } else {
        depthwise_run(d, &part);
    }
    if (!s->projects)
        return;
    const int64_t at = first * d->out[1], y_step = s->oc * s->y_size;
    panels_enter(&s->project);
    for (int64_t c = 0; c < s->oc; c += PANEL) {
        const struct panel_tail out = {.y = y + at * y_step + c * s->y_size,
                                       .y_step = y_step,
                                       .y_dtype = s->dst,
                                       .add = s->adds ? x + (at * s->oc + c) * s->size : NULL,
                                       .add_step = s->oc * s->size,
                                       .add_dtype = s->src,
                                       .add_scale = s->add_scale,
                                       .low = s->project_low,
                                       .high = s->project_high,
                                       .n = s->oc - c < PANEL ? s->oc - c : PANEL};
        panels_run(&s->project, c / PANEL, part.n_rows * d->out[1], windows, d->c * s->size, &out);
    }
}

static size_t own_size(const struct bottleneck *s)
{
    return s->hidden_size + s->window_size + s->woven_size;
}

static enum graft_status bottleneck_forward(const void *state, void *bound, const void *const *in,
                                            void *const *out, void *scratch,
                                            struct graft_error *err)
{
    const struct bottleneck *s = state;
    const struct depthwise *d = &s->window;
    const int64_t y_picture = s->oc * d->out[0] * d->out[1] * s->y_size;
    (void)bound;
    (void)err;
#pragma omp parallel num_threads(s->n_threads)
    {
        char *hidden = (char *)scratch + (size_t)omp_get_thread_num() * own_size(s),
             *windows = hidden + s->hidden_size;
        struct tiles_state before;
        panels_begin(s->unit, &before);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < d->n * s->bands; i++)
            run_band(s, i % s->bands, (const char *)in[0] + i / s->bands * s->x_picture,
                     (char *)out[0] + i / s->bands * y_picture, hidden, windows,
                     windows + s->window_size);
        panels_end(s->unit, &before);
    }
    return GRAFT_OK;
}

static void clear(struct bottleneck *s)
{
    panels_clear(&s->expand);
    panels_clear(&s->project);
    planes_clear(&s->planes);
    depthwise_clear(&s->window);
}

static void bottleneck_unplan(void *state)
{
    clear(state);
    gr_free(state);
}

/* A 1x1 convolution of every pixel, followed by bounds at most. */
static bool is_pointwise(const struct gr_case *c, float *low, float *high)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    struct gr_window win;
    if (!gr_is_const_conv(c) || gr_node_get_int(n, "group", 1) != 1 || w->dim[2] != 1 ||
        w->dim[3] != 1)
        return false;
    gr_window_read(n, x, y, w->dim + 2, &win);
    for (int i = 0; i < 2; i++)
        if (win.stride[i] != 1 || win.pad_l[i] || win.in[i] != win.out[i])
            return false;
    return gr_read_clip(c, low, high);
}

/* Bands that fit the cache, and enough of them for all threads. */
static void cut(struct bottleneck *s)
{
    const struct depthwise *d = &s->window;
    const int64_t hidden = s->expands ? d->in[1] * PANEL * (int64_t)sizeof(float) : 0,
                  window = s->projects ? d->out[1] * d->c * s->size : 0,
                  fit = CACHE_SIZE / (window + 1);
    int64_t bands = fit < 1 ? d->out[0] : (d->out[0] + fit - 1) / fit;
    if (d->n * bands < s->n_threads)
        bands = (s->n_threads + d->n - 1) / d->n;
    s->rows = (d->out[0] + bands - 1) / bands;
    s->bands = (d->out[0] + s->rows - 1) / s->rows;
    s->group = panels_suit(s->unit, d->in[1], s->ic) ? GROUP / (d->in[1] * d->stride) : s->rows;
    s->group = s->group < 1 ? 1 : s->group > s->rows ? s->rows : s->group;
    s->ring = (s->group - 1) * d->stride + d->kernel;
    s->hidden_size = (size_t)(s->ring * hidden + 63) / 64 * 64;
    s->window_size = (size_t)(s->rows * window + 63) / 64 * 64;
    s->woven_size = s->weaves ? planes_get_woven_size(&s->planes, s->ring) : 0;
}

/* Whether all products have enough pixels. */
static bool suits(const struct bottleneck *s)
{
    const struct depthwise *d = &s->window;
    for (int64_t b = 0; b < s->bands; b++) {
        int64_t top, end, rows = band_rows(s, b);
        read_rows(d, b * s->rows, rows, &top, &end);
        if ((s->expands &&
             (end <= top ||
              (!s->weaves && !panels_suit(s->unit, (end - top) * d->in[1], s->ic)))) ||
            (s->projects && !panels_suit(s->unit, rows * d->out[1], d->c)))
            return false;
    }
    return true;
}

/* With few rows in a band, as of a single picture that threads share, expanding its borders again
   takes longer than oneDNN's way through memory; in bf16 the products hardly count. */
static bool pays(const struct bottleneck *s)
{
    return s->unit != PANEL_F32 || !s->expands || s->bands == 1 ||
           s->rows >= 8 * (s->window.kernel - s->window.stride);
}

/* Which steps belong to it, and how their sums are bounded. `last` is the one that makes y. */
static enum graft_status read_steps(const struct gr_case *c, struct bottleneck *b,
                                    const struct gr_case **window, const struct gr_case **last,
                                    struct graft_error *err)
{
    if (is_pointwise(c, &b->expand_low, &b->expand_high) && !c->add) {
        b->expands = true;
    } else if (gr_read_clip(c, &b->expand_low, &b->expand_high)) {
        const enum graft_status s = planes_init(&b->planes, c, err);
        if (s && s != GRAFT_E_UNSUPPORTED)
            return s;
        b->expands = b->weaves = !s;
    }
    *last = *window = b->expands ? c->next : c;
    const struct gr_case *next = (*window)->next;
    if (next && is_pointwise(next, &b->project_low, &b->project_high)) {
        b->projects = true;
        *last = next;
        b->adds = next->add;
    }
    if (*last == c || (b->adds && (b->weaves || (*last)->residual != c->node->in[0])))
        return refuse(err);
    return GRAFT_OK;
}

/* Expanded channels stay in fp32; what is read in 8 bits by other kernels is so between the
   products' windows and after them. */
static bool suits_int8(const struct bottleneck *b, const struct gr_case *c,
                       const struct gr_case *window, const struct gr_case *last)
{
    return panels_have_int8() && b->expands && b->projects && (b->weaves || int8_suits(c)) &&
           window->quant[window->n_in].dtype == GR_U8 && int8_suits(last) &&
           (!b->adds || c->quant[0].dtype);
}

/* The matrices in 8 bits. */
static enum graft_status init_int8(struct bottleneck *b, const struct gr_case *c,
                                   const struct gr_case *last, struct graft_error *err)
{
    const struct gr_quant *y = &last->quant[last->n_in];
    struct int8_product q = {0};
    enum graft_status s = GRAFT_OK;
    if (!b->weaves) {
        struct gr_case plain = *c;
        plain.f32_out = true;
        s = panels_init_int8(&b->expand, &plain, &q, err);
        int8_clear(&q);
    }
    if (!s)
        s = panels_init_int8(&b->project, last, &q, err);
    if (!s) {
        int8_read_clip(last, &q, &b->project_low, &b->project_high);
        b->dst = q.dst;
        b->add_scale = q.dst == y->dtype ? c->quant[0].scale / y->scale : c->quant[0].scale;
    }
    int8_clear(&q);
    return s;
}

static enum graft_status init_floats(struct bottleneck *b, const struct gr_case *c,
                                     const struct gr_case *last, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    b->dst = c->bf16 && !last->f32_out ? GR_BF16 : GR_F32;
    if (b->expands && !b->weaves)
        s = panels_init_conv(&b->expand, b->unit, c, err);
    if (!s && b->projects)
        s = panels_init_conv(&b->project, b->unit, last, err);
    return s;
}

static const char *name_of(enum panel_unit unit)
{
    return unit == PANEL_TILES  ? "bottleneck:amx"
           : unit == PANEL_INT8 ? "bottleneck:avx512_vnni"
           : unit == PANEL_BF16 ? "bottleneck:avx512_bf16"
                                : "bottleneck:avx512";
}

static enum graft_status bottleneck_plan(const struct gr_case *c, struct gr_choice *k,
                                         struct graft_error *err)
{
    const enum panel_unit unit = c->quant ? PANEL_INT8 : panels_get_unit(c->bf16);
    struct bottleneck b = {.unit = unit,
                           .src = c->quant  ? c->quant[0].dtype
                                  : c->bf16 ? GR_BF16
                                            : GR_F32,
                           .ic = c->in[0].shape.rank > 1 ? c->in[0].shape.dim[1] : 0,
                           .size = unit == PANEL_INT8 ? 1
                                   : c->bf16          ? 2
                                                      : 4,
                           .n_threads = omp_get_max_threads()};
    const struct gr_case *window, *last;
    if (!c->next || unit == PANEL_NONE)
        return refuse(err);
    enum graft_status s = read_steps(c, &b, &window, &last, err);
    if (!s && c->quant && !suits_int8(&b, c, window, last))
        s = refuse(err);
    if (!s)
        s = depthwise_init(&b.window, window, c->bf16 && !b.expands ? GR_BF16 : GR_F32,
                           c->quant ? &window->quant[window->n_in] : NULL, err);
    if (!s) {
        b.oc = last->out[0].shape.dim[1];
        b.x_picture = b.weaves ? b.ic * b.planes.in[0] * b.planes.in[1] * (int64_t)sizeof(float)
                               : b.ic * b.window.in[0] * b.window.in[1] * b.size;
        cut(&b);
        if (!suits(&b) || !pays(&b))
            s = refuse(err);
    }
    if (!s)
        s = c->quant ? init_int8(&b, c, last, err) : init_floats(&b, c, last, err);
    struct bottleneck *state = s ? NULL : gr_alloc(sizeof *state);
    if (!s && !state)
        s = gr_error_nomem(err);
    if (s) {
        clear(&b);
        return s;
    }
    b.y_size = (int64_t)gr_dtype_size(b.dst);
    *state = b;
    k->in[0] = (struct gr_layout){b.weaves ? GR_F32 : b.src, !b.weaves};
    k->out[0] = (struct gr_layout){b.dst, true};
    k->n_steps = 1 + b.expands + b.projects;
    k->state = state;
    k->impl = name_of(unit);
    k->weights_size =
        depthwise_get_weights_size(&b.window) +
        (b.expands ? panels_get_weights_size(b.weaves ? &b.planes.panels : &b.expand) : 0) +
        (b.projects ? panels_get_weights_size(&b.project) : 0);
    k->scratch_size = (size_t)b.n_threads * own_size(&b);
    return GRAFT_OK;
}

#else /* for others there is oneDNN */

static enum graft_status bottleneck_plan(const struct gr_case *c, struct gr_choice *k,
                                         struct graft_error *err)
{
    (void)c;
    (void)k;
    return refuse(err);
}
#define bottleneck_forward NULL
#define bottleneck_unplan  gr_free

#endif

static const char *const ops[] = {"Conv", NULL};
const struct gr_kernel gr_kernel_bottleneck = {.name = "bottleneck",
                                               .ops = ops,
                                               .plan = bottleneck_plan,
                                               .forward = bottleneck_forward,
                                               .unplan = bottleneck_unplan};
