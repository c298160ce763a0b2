/* How is a 1x1 convolution with what follows it computed fast? */
#include "base/mem.h"
#include "cpu/kernels.h"

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not a dense 1x1 convolution with bounds at most");
}

#ifdef __x86_64__
#include "cpu/panels.h"
#include <omp.h>

/* All pixels times one matrix. A block of pixels that fits the second-level cache is multiplied by
   one panel of weights after the other. oneDNN does that as fast; but where a residual is added, it
   waits for every line of it, while here the next panel's are under way as one is multiplied. Under
   a stride the pixels that are read are gathered first. */
enum { BLOCK = 96, LINE = 64 };

struct pointwise {
    struct panels panels;
    int64_t n, ic, oc, in[2], out[2], stride[2];
    int64_t pixels, block; /* of y in all pictures, and at a time */
    bool gathers, add;
    float low, high;
    int n_threads;
};

static size_t block_size(const struct pointwise *s)
{
    return s->gathers ? (size_t)(s->block * s->ic) * sizeof(float) : 0;
}

/* The pixels of x under pixels first.. of y. */
static void gather(const struct pointwise *s, const float *x, int64_t first, int64_t n, float *to)
{
    for (int64_t i = first; i < first + n; i++, to += s->ic) {
        const int64_t row = i / s->out[1], column = i % s->out[1] * s->stride[1],
                      picture = row / s->out[0], at = row % s->out[0] * s->stride[0];
        memcpy(to, x + ((picture * s->in[0] + at) * s->in[1] + column) * s->ic,
               (size_t)s->ic * sizeof *to);
    }
}

/* Where block `i / panels` and panel `i % panels` begin in y. */
static float *place(const struct pointwise *s, float *y, int64_t i, int64_t n_panels, int64_t *n)
{
    const int64_t first = i / n_panels * s->block;
    *n = s->pixels - first < s->block ? s->pixels - first : s->block;
    return y + first * s->oc + i % n_panels * PANEL;
}

static enum graft_status pointwise_forward(const void *state, void *bound, const void *const *in,
                                           void *const *out, void *scratch, struct graft_error *err)
{
    const struct pointwise *s = state;
    const int64_t n_panels = (s->oc + PANEL - 1) / PANEL,
                  n_blocks = (s->pixels + s->block - 1) / s->block;
    const float *x = in[0];
    (void)bound;
    (void)err;
#pragma omp parallel num_threads(s->n_threads)
    {
        float *own = (void *)((char *)scratch + (size_t)omp_get_thread_num() * block_size(s));
        int64_t gathered = -1;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n_blocks * n_panels; i++) {
            const int64_t first = i / n_panels * s->block, c = i % n_panels * PANEL;
            int64_t n, n_next;
            if (s->add && i + 1 < n_blocks * n_panels) {
                const char *next = (char *)place(s, out[0], i + 1, n_panels, &n_next);
                for (int64_t k = 0; k < n_next; k++, next += s->oc * (int64_t)sizeof(float)) {
                    __builtin_prefetch(next, 1);
                    __builtin_prefetch(next + LINE, 1);
                }
            }
            float *y = place(s, out[0], i, n_panels, &n);
            if (s->gathers && gathered != first)
                gather(s, x, gathered = first, n, own);
            const struct panel_tail t = {.y = y,
                                         .y_step = s->oc * (int64_t)sizeof(float),
                                         .y_dtype = GR_F32,
                                         .add = s->add ? y : NULL,
                                         .add_step = s->oc * (int64_t)sizeof(float),
                                         .low = s->low,
                                         .high = s->high,
                                         .n = s->oc - c < PANEL ? s->oc - c : PANEL};
            panels_run(&s->panels, c / PANEL, n, s->gathers ? own : x + first * s->ic,
                       s->ic * (int64_t)sizeof(float), &t);
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

static enum graft_status pointwise_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    struct pointwise d = {.add = c->add, .n_threads = omp_get_max_threads()};
    struct gr_window win;
    if (c->bf16 || !gr_is_const_conv(c) || !gr_cpu_has_fast_bf16() ||
        gr_node_get_int(n, "group", 1) != 1 || w->dim[2] != 1 || w->dim[3] != 1 ||
        !gr_read_clip(c, &d.low, &d.high))
        return refuse(err);
    gr_window_read(n, x, y, w->dim + 2, &win);
    d.n = x->dim[0];
    d.ic = x->dim[1];
    d.oc = y->dim[1];
    for (int i = 0; i < 2; i++) {
        d.in[i] = win.in[i];
        d.out[i] = win.out[i];
        d.stride[i] = win.stride[i];
        if (win.pad_l[i] || (d.out[i] - 1) * d.stride[i] >= d.in[i])
            return refuse(err);
        d.gathers = d.gathers || d.in[i] != d.out[i];
    }
    d.pixels = d.n * d.out[0] * d.out[1];
    if (d.oc % PANEL || d.ic < 16 || d.pixels < 12)
        return refuse(err);
    const int64_t blocks = (d.pixels + BLOCK - 1) / BLOCK;
    d.block = ((d.pixels + blocks - 1) / blocks + 11) / 12 * 12;
    enum graft_status st = panels_init_conv(&d.panels, c, err);
    struct pointwise *state = st ? NULL : gr_alloc(sizeof *state);
    if (!st && !state) {
        panels_clear(&d.panels);
        st = gr_error_nomem(err);
    }
    if (st)
        return st;
    *state = d;
    k->in[0] = k->out[0] = (struct gr_layout){GR_F32, true};
    k->state = state;
    k->impl = "pointwise:avx512";
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

static const char *const ops[] = {"Conv", NULL};
const struct gr_kernel gr_kernel_pointwise = {.name = "pointwise",
                                              .ops = ops,
                                              .plan = pointwise_plan,
                                              .forward = pointwise_forward,
                                              .unplan = pointwise_unplan};
