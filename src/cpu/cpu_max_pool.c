/* How are the largest of each window found fast? */
#include "base/mem.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"

/* Two spatial dimensions (one: the first is 1), channels last. oneDNN's is slower in bf16. */
struct max_pool {
    int64_t n, c, in[2], out[2], kernel[2], stride[2], dilation[2], pad[2];
    enum gr_dtype dtype;
};

/* Elements in a buffer: a strip of input columns after taking the largest of each column. */
enum { STRIP = 8192 };

static enum graft_status refuse(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "not a small window of an fp32 picture");
}

static enum graft_status max_pool_plan(const struct gr_case *c, struct gr_choice *k,
                                       struct graft_error *err)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *x = &c->in[0].shape, *y = &c->out[0].shape;
    int64_t kernel[2];
    struct gr_window w;
    if (c->in[0].dtype != GR_F32 || (x->rank != 3 && x->rank != 4) || c->n_acts || c->add ||
        !gr_shape_count(x) || !gr_shape_count(y) || (n->n_out > 1 && n->out[1] >= 0))
        return refuse(err);
    struct max_pool p = {.n = x->dim[0],
                         .c = x->dim[1],
                         .in = {1, 1},
                         .out = {1, 1},
                         .kernel = {1, 1},
                         .stride = {1, 1},
                         .dilation = {1, 1},
                         .dtype = c->layout[0].dtype};
    for (int i = 0; i < x->rank - 2; i++)
        kernel[i] = gr_node_get_ints(n, "kernel_shape", (size_t)i, 1);
    gr_window_read(n, x, y, kernel, &w);
    for (int i = 0, at = 4 - x->rank; i < w.n; i++, at++) {
        int64_t span = (kernel[i] - 1) * w.dilation[i] + 1;
        if (w.pad_l[i] >= span || w.pad_r[i] >= span)
            return refuse(err); /* a window may see nothing */
        p.in[at] = w.in[i];
        p.out[at] = w.out[i];
        p.kernel[at] = kernel[i];
        p.stride[at] = w.stride[i];
        p.dilation[at] = w.dilation[i];
        p.pad[at] = w.pad_l[i];
        if (w.dilation[i] > 1 && (w.pad_l[i] > 0 || w.pad_r[i] > 0))
            return refuse(err);
    }
    if (((p.kernel[1] - 1) * p.dilation[1] + 1) * p.c > STRIP || p.kernel[0] > STRIP)
        return refuse(err);
    struct max_pool *state = gr_alloc(sizeof *state);
    if (!state)
        return gr_error_nomem(err);
    *state = p;
    k->in[0] = k->out[0] = (struct gr_layout){p.dtype, true};
    k->state = state;
    k->impl = "max";
    return GRAFT_OK;
}

/* Output pixels first..last-1 of one row: the largest of each column, then of columns. */
static void pool_strip(const struct max_pool *p, const char *x, char *y, int64_t top, int64_t first,
                       int64_t last)
{
    int64_t size = (int64_t)gr_dtype_size(p->dtype), span = (p->kernel[1] - 1) * p->dilation[1] + 1;
    int64_t left = first * p->stride[1] - p->pad[1];
    int64_t right = (last - 1) * p->stride[1] - p->pad[1] + span;
    _Alignas(64) float columns[STRIP], best[STRIP];
    bool any = false;
    left = left < 0 ? 0 : left;
    right = right > p->in[1] ? p->in[1] : right;
    for (int64_t i = 0; i < p->kernel[0]; i++) {
        int64_t row = top + i * p->dilation[0];
        if (row < 0 || row >= p->in[0])
            continue;
        const char *from = x + (row * p->in[1] + left) * p->c * size;
        if (any)
            vec_max_next(p->dtype, columns, from, (right - left) * p->c);
        else
            vec_max_first(p->dtype, columns, from, (right - left) * p->c);
        any = true;
    }
    for (int64_t o = first; o < last; o++) {
        int64_t col = o * p->stride[1] - p->pad[1];
        any = false;
        for (int64_t j = 0; j < p->kernel[1]; j++, col += p->dilation[1]) {
            const char *from = (const char *)columns + (col - left) * p->c * size;
            if (col < left || col >= right)
                continue;
            if (any)
                vec_max_pair(p->dtype, best, from, p->c);
            else
                memcpy(best, from, (size_t)(p->c * size));
            any = true;
        }
        vec_max_store(p->dtype, y + o * p->c * size, best, p->c);
    }
}

static enum graft_status max_pool_forward(const void *state, void *bound, const void *const *in,
                                          void *const *out, void *scratch, struct graft_error *err)
{
    const struct max_pool *p = state;
    int64_t size = (int64_t)gr_dtype_size(p->dtype), area = p->in[0] * p->in[1] * p->c;
    int64_t span = (p->kernel[1] - 1) * p->dilation[1] + 1;
    int64_t wide = (STRIP / p->c - span) / p->stride[1] + 1; /* output pixels in a strip */
    (void)bound;
    (void)scratch;
    (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < p->n * p->out[0]; r++) {
        int64_t image = r / p->out[0], top = r % p->out[0] * p->stride[0] - p->pad[0];
        const char *x = (const char *)in[0] + image * area * size;
        char *y = (char *)out[0] + r * p->out[1] * p->c * size;
        for (int64_t o = 0; o < p->out[1]; o += wide)
            pool_strip(p, x, y, top, o, o + wide < p->out[1] ? o + wide : p->out[1]);
    }
    return GRAFT_OK;
}

static const char *const ops[] = {"MaxPool", NULL};
const struct gr_kernel gr_kernel_max_pool = {.name = "max_pool",
                                             .ops = ops,
                                             .plan = max_pool_plan,
                                             .forward = max_pool_forward,
                                             .unplan = gr_free};
