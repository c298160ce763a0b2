/* How is a network's first convolution computed fast? */
#include "base/mem.h"
#include "cpu/kernels.h"

#ifdef __x86_64__
#include "cpu/planes.h"
#include <omp.h>

/* oneDNN wants the channels last, so that a picture of colours is first turned around in memory,
   and in vectors of channels most numbers are padding. Here a few rows are turned around in the
   cache. */
struct conv_planes {
    struct planes planes;
    int64_t rows, bands; /* of y that are computed at a time; of a picture */
    enum gr_dtype dst;
    float low, high;
    size_t woven_size;
    int n_threads;
};

enum { CACHE_SIZE = 24 << 10 };

/* One band of one picture; x and y are the picture's. */
static void run_band(const struct conv_planes *s, int64_t band, const float *x, char *y,
                     char *woven)
{
    const struct planes *p = &s->planes;
    const int64_t size = s->dst == GR_BF16 ? 2 : 4, y_step = p->oc * size, first = band * s->rows,
                  n = p->out[0] - first < s->rows ? p->out[0] - first : s->rows;
    planes_read(p, x, first, n, woven);
    for (int64_t c = 0; c < p->oc; c += PANEL) {
        const struct panel_tail t = {.y = y + first * p->out[1] * y_step + c * size,
                                     .y_step = y_step,
                                     .y_dtype = s->dst,
                                     .low = s->low,
                                     .high = s->high,
                                     .n = p->oc - c < PANEL ? p->oc - c : PANEL};
        planes_run(p, c / PANEL, n, woven, &t);
    }
}

static enum graft_status conv_planes_forward(const void *state, void *bound, const void *const *in,
                                             void *const *out, void *scratch,
                                             struct graft_error *err)
{
    const struct conv_planes *s = state;
    const struct planes *p = &s->planes;
    const int64_t x_picture = p->ic * p->in[0] * p->in[1],
                  y_picture = p->oc * p->out[0] * p->out[1] * (s->dst == GR_BF16 ? 2 : 4);
    (void)bound;
    (void)err;
#pragma omp parallel for num_threads(s->n_threads) schedule(static)
    for (int64_t i = 0; i < p->n * s->bands; i++)
        run_band(s, i % s->bands, (const float *)in[0] + i / s->bands * x_picture,
                 (char *)out[0] + i / s->bands * y_picture,
                 (char *)scratch + (size_t)omp_get_thread_num() * s->woven_size);
    return GRAFT_OK;
}

static void conv_planes_unplan(void *state)
{
    planes_clear(&((struct conv_planes *)state)->planes);
    gr_free(state);
}

/* Rows that the cache holds turned around, and bands enough for all threads. */
static void cut(struct conv_planes *s)
{
    const struct planes *p = &s->planes;
    const int64_t fit = (CACHE_SIZE / p->row_size - p->kernel) / p->stride[0] + 1,
                  each = (p->n * p->out[0] + s->n_threads - 1) / s->n_threads;
    s->rows = fit < each ? fit : each;
    s->rows = s->rows < 1 ? 1 : s->rows > p->out[0] ? p->out[0] : s->rows;
    s->bands = (p->out[0] + s->rows - 1) / s->rows;
    s->woven_size = planes_get_woven_size(p, s->rows);
}

static enum graft_status conv_planes_plan(const struct gr_case *c, struct gr_choice *k,
                                          struct graft_error *err)
{
    struct conv_planes d = {.dst = c->bf16 && !c->f32_out ? GR_BF16 : GR_F32,
                            .n_threads = omp_get_max_threads()};
    if (c->quant || !gr_read_clip(c, &d.low, &d.high))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "in 8 bits, or followed by more than bounds");
    enum graft_status s = planes_init(&d.planes, c, err);
    if (s)
        return s;
    struct conv_planes *state = gr_alloc(sizeof *state);
    if (!state) {
        planes_clear(&d.planes);
        return gr_error_nomem(err);
    }
    cut(&d);
    *state = d;
    k->out[0] = (struct gr_layout){d.dst, true};
    k->state = state;
    k->impl = c->bf16 ? "planes:avx512_bf16" : "planes:avx512";
    k->weights_size = panels_get_weights_size(&d.planes.panels);
    k->scratch_size = (size_t)d.n_threads * d.woven_size;
    return GRAFT_OK;
}

#else /* for others there is oneDNN */

static enum graft_status conv_planes_plan(const struct gr_case *c, struct gr_choice *k,
                                          struct graft_error *err)
{
    (void)c;
    (void)k;
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not on this processor");
}
#define conv_planes_forward NULL
#define conv_planes_unplan  gr_free

#endif

static const char *const ops[] = {"Conv", NULL};
const struct gr_kernel gr_kernel_conv_planes = {.name = "conv_planes",
                                                .ops = ops,
                                                .plan = conv_planes_plan,
                                                .forward = conv_planes_forward,
                                                .unplan = conv_planes_unplan};
