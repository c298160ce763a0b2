/* How do gradients go through windows of one channel each? */
#include "base/mem.h"
#include "cpu/dnn_train.h"
#include "cpu/train_util.h"
#include <omp.h>

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not windows of 3x3 for each channel of a batch");
}

#ifdef __x86_64__
#include "cpu/zmm.h"

/* Both gradients at once: the 9 (with a stride of 2, on average 2) numbers of dy that a pixel of x
   went into are what its gradient is made of, and times the pixel they are what the weights' is
   made of. Rows of dy lie in fp32, with zeros around them, in a ring of lines. Forward is oneDNN's.
 */
enum { TAPS = 9, SIDE = 3, LINES = 4, MARGIN = 2, LANES = ZMM_LANES };
enum { LEAST_WIDTH = 24 }; /* rows that are worth fetching the weights' sums for */

struct depthwise {
    struct dnn_conv_train *forward;
    struct dnn_conv v;
    bool bf16, bias;
    int n_threads;
};

/* What lies in the scratch block, floats: the weights (tap, channel), then each thread's lines, a
   line of zeros, and sums (tap, channel), (channel) of the bias. */
static int64_t line_size(const struct depthwise *t)
{
    return (t->v.out[1] + 2 * MARGIN) * t->v.ic;
}

static int64_t thread_size(const struct depthwise *t)
{
    return (LINES + 1) * line_size(t) + (TAPS + 1) * t->v.ic;
}

/* The taps that pixels at one place of the stride's grid go through, down or across. */
struct reach {
    int n, tap[SIDE];
    int64_t at[SIDE]; /* where in dy */
};

static struct reach find_reach(int64_t place, int64_t pad, int64_t stride)
{
    struct reach r = {0};
    for (int k = 0; k < SIDE; k++) {
        if ((place + pad - k) % stride)
            continue;
        r.tap[r.n] = k;
        r.at[r.n++] = (place + pad - k) / stride;
    }
    return r;
}

/* n pixels of a row, `step` numbers apart, 16 channels of each. g: the first number of dy for each
   tap; w, sum: of each tap. */
ZMM_INLINE void back_pixels(const bool bf16, const int taps, int64_t n, const void *x, void *dx,
                            int64_t step, const float *const *g, int64_t g_step,
                            const float *const *w, float *const *sum)
{
    __m512 weight[TAPS], acc[TAPS];
#pragma GCC unroll 9
    for (int k = 0; k < taps; k++) {
        weight[k] = _mm512_loadu_ps(w[k]);
        acc[k] = _mm512_loadu_ps(sum[k]);
    }
    for (int64_t i = 0; i < n; i++) {
        const __m512 xv = zmm_load(bf16, x, i * step);
        __m512 d = _mm512_setzero_ps();
#pragma GCC unroll 9
        for (int k = 0; k < taps; k++) {
            const __m512 gv = _mm512_loadu_ps(g[k] + i * g_step);
            d = _mm512_fmadd_ps(weight[k], gv, d);
            acc[k] = _mm512_fmadd_ps(xv, gv, acc[k]);
        }
        if (dx)
            zmm_store(bf16, dx, i * step, d);
    }
#pragma GCC unroll 9
    for (int k = 0; k < taps; k++)
        _mm512_storeu_ps(sum[k], acc[k]);
}

/* Pixels of row h that lie at one place across, in all channels. */
ZMM_INLINE void back_row(const bool bf16, const struct depthwise *t, const char *x, char *dx,
                         int64_t place, const struct reach *down, const float *const *line,
                         const float *w, float *sums)
{
    const int64_t c = t->v.ic, stride = t->v.stride[1],
                  n = (t->v.in[1] - place + stride - 1) / stride;
    const struct reach across = find_reach(place, t->v.pad_l[1], stride);
    const size_t size = bf16 ? 2 : 4;
    const float *g[TAPS], *weight[TAPS];
    float *sum[TAPS];
    for (int64_t k = 0; k < c; k += LANES) {
        int taps = 0;
        for (int i = 0; i < down->n; i++)
            for (int j = 0; j < across.n; j++, taps++) {
                const int64_t tap = down->tap[i] * SIDE + across.tap[j];
                g[taps] = line[i] + (across.at[j] + MARGIN) * c + k;
                weight[taps] = w + tap * c + k;
                sum[taps] = sums + tap * c + k;
            }
        const char *from = x + (size_t)(place * c + k) * size;
        char *to = dx ? dx + (size_t)(place * c + k) * size : NULL;
        switch (taps) {
        case 1:
            back_pixels(bf16, 1, n, from, to, stride * c, g, c, weight, sum);
            break;
        case 2:
            back_pixels(bf16, 2, n, from, to, stride * c, g, c, weight, sum);
            break;
        case 4:
            back_pixels(bf16, 4, n, from, to, stride * c, g, c, weight, sum);
            break;
        default:
            back_pixels(bf16, TAPS, n, from, to, stride * c, g, c, weight, sum);
        }
    }
}

/* A row of dy into a line; all of it added to the bias' sums, unless those are NULL. */
ZMM_INLINE void fill_line(const bool bf16, const struct depthwise *t, const char *dy, float *line,
                          float *sums)
{
    const int64_t c = t->v.ic, n = t->v.out[1] * c;
    memset(line, 0, (size_t)(MARGIN * c) * sizeof *line);
    line += MARGIN * c;
    for (int64_t i = 0; i < n; i += LANES)
        _mm512_storeu_ps(line + i, zmm_load(bf16, dy, i));
    memset(line + n, 0, (size_t)(MARGIN * c) * sizeof *line);
    for (int64_t i = 0; sums && i < n; i += c)
        for (int64_t k = 0; k < c; k += LANES)
            _mm512_storeu_ps(
                sums + k, _mm512_add_ps(_mm512_loadu_ps(sums + k), _mm512_loadu_ps(line + i + k)));
}

ZMM_INLINE void back_picture(const bool bf16, const struct depthwise *t, const char *x,
                             const char *dy, char *dx, const float *w, float *own)
{
    const int64_t c = t->v.ic, stride = t->v.stride[0], line = line_size(t);
    const size_t size = bf16 ? 2 : 4, x_row = (size_t)(t->v.in[1] * c) * size,
                 y_row = (size_t)(t->v.out[1] * c) * size;
    const float *zeros = own + LINES * line, *at[SIDE];
    float *sums = own + (LINES + 1) * line;
    int64_t filled = 0;
    for (int64_t h = 0; h < t->v.in[0]; h++) {
        const struct reach down = find_reach(h, t->v.pad_l[0], stride);
        for (; filled < t->v.out[0] && filled <= (h + t->v.pad_l[0]) / stride; filled++)
            fill_line(bf16, t, dy + (size_t)filled * y_row, own + filled % LINES * line,
                      t->bias ? sums + TAPS * c : NULL);
        for (int i = 0; i < down.n; i++) {
            const bool inside = down.at[i] >= 0 && down.at[i] < t->v.out[0];
            at[i] = inside ? own + down.at[i] % LINES * line : zeros;
        }
        for (int64_t place = 0; place < t->v.stride[1]; place++)
            back_row(bf16, t, x + (size_t)h * x_row, dx ? dx + (size_t)h * x_row : NULL, place,
                     &down, at, w, sums);
    }
}

static ZMM_TARGET void back_f32(const struct depthwise *t, const char *x, const char *dy, char *dx,
                                const float *w, float *own)
{
    back_picture(false, t, x, dy, dx, w, own);
}

static ZMM_TARGET void back_bf16(const struct depthwise *t, const char *x, const char *dy, char *dx,
                                 const float *w, float *own)
{
    back_picture(true, t, x, dy, dx, w, own);
}

static enum graft_status depthwise_forward(void *state, const struct gr_train_pass *p,
                                           struct graft_error *err)
{
    const struct depthwise *t = state;
    return dnn_conv_train_forward(t->forward, p->in[0], p->in[1], t->bias ? p->in[2] : NULL,
                                  p->out[0], p->scratch, err);
}

static enum graft_status depthwise_backward(void *state, const struct gr_train_pass *p,
                                            struct graft_error *err)
{
    const struct depthwise *t = state;
    const int64_t c = t->v.ic, each = thread_size(t), sums = (LINES + 1) * line_size(t);
    const size_t size = t->bf16 ? 2 : 4, x_size = (size_t)(t->v.in[0] * t->v.in[1] * c) * size,
                 y_size = (size_t)(t->v.out[0] * t->v.out[1] * c) * size;
    const float *given = p->in[1];
    float *w = p->scratch, *all = w + TAPS * c, *dw = p->din[1], *db = t->bias ? p->din[2] : NULL;
    (void)err;
    for (int64_t i = 0; i < TAPS * c; i++)
        w[i] = given[i % c * TAPS + i / c];
#pragma omp parallel num_threads(t->n_threads)
    {
        float *own = all + omp_get_thread_num() * each;
        memset(own + LINES * line_size(t), 0, (size_t)(each - LINES * line_size(t)) * sizeof *own);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < t->v.n; i++) {
            const char *x = (const char *)p->in[0] + (size_t)i * x_size;
            const char *dy = (const char *)p->dout[0] + (size_t)i * y_size;
            char *dx = p->din[0] ? (char *)p->din[0] + (size_t)i * x_size : NULL;
            if (t->bf16)
                back_bf16(t, x, dy, dx, w, own);
            else
                back_f32(t, x, dy, dx, w, own);
        }
    }
    for (int k = 1; k < t->n_threads; k++)
        for (int64_t i = 0; i < (TAPS + 1) * c; i++)
            all[sums + i] += all[k * each + sums + i];
    for (int64_t i = 0; dw && i < TAPS * c; i++)
        dw[i % c * TAPS + i / c] = all[sums + i];
    for (int64_t i = 0; db && i < c; i++)
        db[i] = all[sums + TAPS * c + i];
    return GRAFT_OK;
}

static void depthwise_unplan(void *state)
{
    struct depthwise *t = state;
    dnn_conv_train_free(t->forward);
    gr_free(t);
}

static enum graft_status depthwise_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                        struct graft_error *err)
{
    struct depthwise d = {
        .bf16 = tc->c.bf16, .bias = train_conv_has_bias(tc), .n_threads = omp_get_max_threads()};
    enum graft_status s = train_conv_read(&tc->c, &d.v, err);
    if (s)
        return s;
    if (d.v.n_spatial != 2 || d.v.groups != d.v.ic || d.v.ic != d.v.oc || d.v.ic % LANES ||
        d.v.in[1] < LEAST_WIDTH || d.v.n < d.n_threads ||
        (d.bf16 ? !gr_cpu_has_fast_bf16() : !gr_cpu_has_bf16()))
        return refuse(err);
    for (int i = 0; i < 2; i++)
        if (d.v.kernel[i] != SIDE || d.v.stride[i] > 2 || d.v.dilation[i] != 1 ||
            d.v.stride[i] != d.v.stride[0] || d.v.pad_l[i] < 0 || d.v.pad_l[i] > MARGIN)
            return refuse(err);
    s = dnn_conv_train_new(&d.v, d.bias, false, false, &d.forward, err);
    if (s)
        return s;
    struct depthwise *t = gr_alloc(sizeof *t);
    if (!t) {
        dnn_conv_train_free(d.forward);
        return gr_error_nomem(err);
    }
    *t = d;
    const size_t back = (size_t)(TAPS * d.v.ic + d.n_threads * thread_size(t)) * sizeof(float),
                 there = dnn_conv_train_get_scratch_size(d.forward);
    train_conv_choose(tc, k);
    k->c.state = t;
    k->c.impl = dnn_conv_train_get_impl(d.forward);
    k->c.scratch_size = back > there ? back : there;
    return GRAFT_OK;
}

#else /* for others there is oneDNN */

static enum graft_status depthwise_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                        struct graft_error *err)
{
    (void)tc;
    (void)k;
    return refuse(err);
}
#define depthwise_forward  NULL
#define depthwise_backward NULL
#define depthwise_unplan   gr_free

#endif

static const char *const ops[] = {"Conv", NULL};
const struct gr_train_kernel gr_train_depthwise = {
    "depthwise", ops, depthwise_plan, depthwise_forward, depthwise_backward, depthwise_unplan};
