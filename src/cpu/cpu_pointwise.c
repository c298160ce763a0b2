/* How is a 1x1 convolution, or a product with a constant matrix, computed fast with what follows?
 */
#include "base/mem.h"
#include "cpu/kernels.h"

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not pixels or rows times a matrix");
}

#ifdef __x86_64__
#include "cpu/panels.h"
#include <math.h>
#include <omp.h>

/* All pixels times one matrix, and the rows of a matrix are pixels too: a block of pixels that fits
   the second-level cache times one panel of weights after the other. oneDNN, which waits for every
   line of a residual, takes up to twice as long with one, and a little longer without. Under a
   stride the pixels that are read are gathered first. AMX tiles have a kernel of their own
   (conv_tiles). */
enum { BLOCK = 96 };
/* With fewer channels or pixels a panel's sums are hardly begun when they are stored. */
enum { SHALLOWEST = 16, FEWEST = 12 };

struct pointwise {
    struct panels panels;
    int64_t n, ic, oc, in[2], out[2], stride[2];
    int64_t pixels, block; /* of y in all pictures, and at a time */
    bool gathers, add, gelu;
    enum gr_dtype dst;
    int64_t size, x_step, y_step; /* bytes of a number of y, and of a pixel of each */
    float low, high;
    int n_threads;
};

static size_t block_size(const struct pointwise *s)
{
    return s->gathers ? (size_t)(s->block * s->x_step) : 0;
}

/* The pixels of x under pixels first.. of y. */
static void gather(const struct pointwise *s, const char *x, int64_t first, int64_t n, char *to)
{
    for (int64_t i = first; i < first + n; i++, to += s->x_step) {
        const int64_t row = i / s->out[1], column = i % s->out[1] * s->stride[1],
                      picture = row / s->out[0], at = row % s->out[0] * s->stride[0];
        memcpy(to, x + ((picture * s->in[0] + at) * s->in[1] + column) * s->x_step,
               (size_t)s->x_step);
    }
}

/* n pixels of x times a panel. */
static void multiply(const struct pointwise *s, int64_t panel, int64_t n, const char *x, char *y)
{
    char *const to = y + panel * PANEL * s->size;
    const int64_t left = s->oc - panel * PANEL;
    const struct panel_tail t = {.y = to,
                                 .y_step = s->y_step,
                                 .y_dtype = s->dst,
                                 .add = s->add ? to : NULL,
                                 .add_step = s->y_step,
                                 .add_dtype = s->dst,
                                 .gelu = s->gelu,
                                 .low = s->low,
                                 .high = s->high,
                                 .n = left < PANEL ? left : PANEL};
    panels_run(&s->panels, panel, n, x, s->x_step, &t);
}

static enum graft_status pointwise_forward(const void *state, void *bound, const void *const *in,
                                           void *const *out, void *scratch, struct graft_error *err)
{
    const struct pointwise *s = state;
    const int64_t n_panels = (s->oc + PANEL - 1) / PANEL,
                  n_blocks = (s->pixels + s->block - 1) / s->block;
    (void)bound;
    (void)err;
#pragma omp parallel num_threads(s->n_threads)
    {
        char *own = (char *)scratch + (size_t)omp_get_thread_num() * block_size(s);
        int64_t gathered = -1;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n_blocks * n_panels; i++) {
            const int64_t first = i / n_panels * s->block, left = s->pixels - first,
                          n = left < s->block ? left : s->block;
            if (s->gathers && gathered != first)
                gather(s, in[0], gathered = first, n, own);
            multiply(s, i % n_panels, n, s->gathers ? own : (const char *)in[0] + first * s->x_step,
                     (char *)out[0] + first * s->y_step);
        }
    }
    return GRAFT_OK;
}

static void pointwise_unplan(void *state)
{
    struct pointwise *s = state;
    panels_clear(&s->panels);
    gr_free(s);
}

/* The pixels of a convolution. */
static bool read_conv(const struct gr_case *c, struct pointwise *d)
{
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    struct gr_window win;
    if (!gr_is_const_conv(c) || (c->bf16 && c->add && c->f32_out) ||
        gr_node_get_int(c->node, "group", 1) != 1 || w->dim[2] != 1 || w->dim[3] != 1)
        return false;
    gr_window_read(c->node, x, y, w->dim + 2, &win);
    d->dst = c->bf16 && !c->f32_out ? GR_BF16 : GR_F32;
    d->n = x->dim[0];
    d->ic = x->dim[1];
    d->oc = y->dim[1];
    for (int i = 0; i < 2; i++) {
        d->in[i] = win.in[i];
        d->out[i] = win.out[i];
        d->stride[i] = win.stride[i];
        if (win.pad_l[i] || (d->out[i] - 1) * d->stride[i] >= d->in[i])
            return false;
        d->gathers = d->gathers || d->in[i] != d->out[i];
    }
    d->pixels = d->n * d->out[0] * d->out[1];
    return d->oc % PANEL == 0;
}

/* The rows of a product. */
static bool read_product(const struct gr_case *c, struct pointwise *d)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *w = &c->in[1].shape;
    if (!(gr_node_is(n, "MatMul") || gr_node_is(n, "Linear")) || c->in[0].dtype != GR_F32 ||
        c->in[0].shape.rank < 2 || w->rank != 2 || !c->konst[1])
        return false;
    d->dst = gr_product_dtype(c);
    d->ic = w->dim[0];
    d->oc = w->dim[1];
    d->pixels = d->oc ? gr_shape_count(&c->out[0].shape) / d->oc : 0;
    return true;
}

/* The bounds, or that it is the one other function that can follow here. */
static bool read_acts(const struct gr_case *c, struct pointwise *d)
{
    d->gelu = c->n_acts == 1 && c->acts[0].kind == GR_ACT_GELU && !c->add;
    d->low = -INFINITY;
    d->high = INFINITY;
    return d->gelu || gr_read_clip(c, &d->low, &d->high);
}

/* The matrix of a product, whose columns panels_init wants one after the other. */
static enum graft_status init_product(const struct gr_case *c, enum panel_unit unit,
                                      struct pointwise *d, struct graft_error *err)
{
    struct gr_tensor w = {0}, b = {0};
    float *columns = gr_alloc_array((size_t)(d->ic * d->oc), sizeof *columns);
    enum graft_status s = columns ? gr_const_f32(c->konst[1], &w, err) : gr_error_nomem(err);
    if (!s && c->node->n_in > 2)
        s = gr_const_f32(c->konst[2], &b, err);
    for (int64_t i = 0; !s && i < d->ic; i++)
        for (int64_t j = 0; j < d->oc; j++)
            columns[j * d->ic + i] = ((const float *)w.data)[i * d->oc + j];
    if (!s)
        s = panels_init(&d->panels, unit, d->ic, d->oc, 1, columns, b.data, err);
    gr_tensor_clear(&w);
    gr_tensor_clear(&b);
    gr_free(columns);
    return s;
}

static enum graft_status pointwise_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    struct pointwise d = {.add = c->add, .n_threads = omp_get_max_threads()};
    const enum panel_unit unit = panels_get_unit(c->bf16);
    const bool conv = gr_node_is(c->node, "Conv");
    if ((unit != PANEL_F32 && unit != PANEL_BF16) || (c->quant && c->quant[0].dtype) ||
        !(conv ? read_conv(c, &d) : read_product(c, &d)) || !read_acts(c, &d) ||
        d.ic < SHALLOWEST || d.pixels < FEWEST)
        return refuse(err);
    d.size = (int64_t)gr_dtype_size(d.dst);
    d.x_step = d.ic * (c->bf16 ? 2 : 4);
    d.y_step = d.oc * d.size;
    const int64_t blocks = (d.pixels + BLOCK - 1) / BLOCK;
    d.block = (d.pixels + blocks - 1) / blocks;
    enum graft_status st =
        conv ? panels_init_conv(&d.panels, unit, c, err) : init_product(c, unit, &d, err);
    struct pointwise *state = st ? NULL : gr_alloc(sizeof *state);
    if (!st && !state) {
        panels_clear(&d.panels);
        st = gr_error_nomem(err);
    }
    if (st)
        return st;
    *state = d;
    k->in[0] = (struct gr_layout){c->bf16 ? GR_BF16 : GR_F32, conv};
    k->out[0] = (struct gr_layout){d.dst, conv};
    k->state = state;
    k->impl = c->bf16 ? "pointwise:avx512_bf16" : "pointwise:avx512";
    k->weights_size = panels_get_weights_size(&d.panels);
    k->scratch_size = (size_t)d.n_threads * block_size(&d);
    gr_choose_tail(c, k);
    return GRAFT_OK;
}

#else /* for others there is oneDNN */

static enum graft_status pointwise_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    (void)c;
    (void)k;
    return refuse(err);
}
#define pointwise_forward NULL
#define pointwise_unplan  gr_free

#endif

static const char *const ops[] = {"Conv", "MatMul", "Linear", NULL};
const struct gr_kernel gr_kernel_pointwise = {.name = "pointwise",
                                              .ops = ops,
                                              .plan = pointwise_plan,
                                              .forward = pointwise_forward,
                                              .unplan = pointwise_unplan};
