/* Where does a moving window go? */
#include "ops/geometry.h"

static enum graft_status list_length(const char *name, const struct gr_ints *l, int n,
                                     struct graft_error *err)
{
    if (l->n && l->n != (size_t)n)
        return gr_error(err, GRAFT_E_SHAPE, "attribute '%s' has %zu numbers, expected %d", name,
                        l->n, n);
    return GRAFT_OK;
}

/* Everything but out, and padding where it depends on out. Ranges are checked here too, since a
   node may have been made by hand. */
static enum graft_status read_window(const struct gr_window_params *p, const struct gr_shape *x,
                                     const int64_t *kernel, struct gr_geometry *g,
                                     struct graft_error *err)
{
    int n = x->rank - 2;
    if (n < 1 || n > GR_MAX_SPATIAL)
        return gr_error(err, GRAFT_E_SHAPE, "X has rank %d, expected 3 to %d", x->rank,
                        GR_MAX_RANK);
    enum graft_status s = list_length("kernel_shape", &p->kernel_shape, n, err);
    if (!s)
        s = list_length("strides", &p->strides, n, err);
    if (!s)
        s = list_length("dilations", &p->dilations, n, err);
    if (!s)
        s = list_length("pads", &p->pads, 2 * n, err);
    if (s)
        return s;
    *g = (struct gr_geometry){.n = n};
    for (int i = 0; i < n; i++) {
        bool pads = p->auto_pad == GR_PAD_NOTSET && p->pads.n;
        g->in[i] = x->dim[i + 2];
        g->kernel[i] = kernel ? kernel[i] : p->kernel_shape.v[i];
        g->stride[i] = p->strides.n ? p->strides.v[i] : 1;
        g->dilation[i] = p->dilations.n ? p->dilations.v[i] : 1;
        g->pad[i] = pads ? p->pads.v[i] : 0;
        g->pad_end[i] = pads ? p->pads.v[n + i] : 0;
        if (p->kernel_shape.n && p->kernel_shape.v[i] != g->kernel[i])
            return gr_error(err, GRAFT_E_SHAPE,
                            "attribute 'kernel_shape' has %lld at axis %d, W has %lld",
                            (long long)p->kernel_shape.v[i], i, (long long)g->kernel[i]);
        if (g->in[i] < 1 || g->kernel[i] < 1)
            return gr_error(err, GRAFT_E_SHAPE, "size %lld and kernel %lld at axis %d, expected >0",
                            (long long)g->in[i], (long long)g->kernel[i], i);
        if (g->stride[i] < 1 || g->dilation[i] < 1 || g->pad[i] < 0 || g->pad_end[i] < 0)
            return gr_error(err, GRAFT_E_FORMAT,
                            "stride %lld, dilation %lld, pads %lld and %lld at axis %d, expected "
                            "strides and dilations >= 1 and pads >= 0",
                            (long long)g->stride[i], (long long)g->dilation[i],
                            (long long)g->pad[i], (long long)g->pad_end[i], i);
    }
    return GRAFT_OK;
}

/* Input elements from a window's first tap to its last. */
static enum graft_status window_extent(const struct gr_geometry *g, int i, int64_t *extent,
                                       struct graft_error *err)
{
    if (__builtin_mul_overflow(g->kernel[i] - 1, g->dilation[i], extent) ||
        *extent > GR_MAX_COUNT || g->stride[i] > GR_MAX_COUNT || g->pad[i] > GR_MAX_COUNT ||
        g->pad_end[i] > GR_MAX_COUNT || g->in[i] > GR_MAX_COUNT)
        return gr_error(err, GRAFT_E_LIMIT, "a window of %lld x %lld at axis %d is too large",
                        (long long)g->kernel[i], (long long)g->dilation[i], i);
    *extent += 1;
    return GRAFT_OK;
}

static void split_padding(int64_t auto_pad, int64_t total, int64_t *begin, int64_t *end)
{
    int64_t half = total / 2;
    *begin = auto_pad == GR_PAD_SAME_LOWER ? total - half : half;
    *end = total - *begin;
}

static enum graft_status slide(const struct gr_window_params *p, struct gr_geometry *g,
                               struct graft_error *err)
{
    for (int i = 0; i < g->n; i++) {
        int64_t extent, st = g->stride[i];
        enum graft_status s = window_extent(g, i, &extent, err);
        if (s)
            return s;
        if (p->auto_pad == GR_PAD_SAME_UPPER || p->auto_pad == GR_PAD_SAME_LOWER) {
            g->out[i] = (g->in[i] - 1) / st + 1;
            int64_t total = (g->out[i] - 1) * st + extent - g->in[i];
            split_padding(p->auto_pad, total > 0 ? total : 0, &g->pad[i], &g->pad_end[i]);
            continue;
        }
        int64_t room = g->in[i] + g->pad[i] + g->pad_end[i] - extent;
        if (room < 0)
            return gr_error(err, GRAFT_E_SHAPE,
                            "the window of %lld at axis %d is larger than the padded input of %lld",
                            (long long)extent, i, (long long)(room + extent));
        bool up = p->ceil_mode && p->auto_pad == GR_PAD_NOTSET;
        g->out[i] = (up ? room + st - 1 : room) / st + 1;
        /* A last window that would see only padding at the end is dropped. */
        if (up && (g->out[i] - 1) * st >= g->in[i] + g->pad[i])
            g->out[i]--;
    }
    return GRAFT_OK;
}

static enum graft_status check_channels(int64_t group, const struct gr_shape *x,
                                        const struct gr_shape *w, bool transposed,
                                        struct graft_error *err)
{
    char tx[GR_SHAPE_TEXT], tw[GR_SHAPE_TEXT];
    if (x->rank < 3 || w->rank != x->rank)
        return gr_error(err, GRAFT_E_SHAPE, "X is %s and W is %s, expected the same rank of 3 to 8",
                        gr_shape_print(x, tx), gr_shape_print(w, tw));
    if (group < 1)
        return gr_error(err, GRAFT_E_FORMAT, "attribute 'group' is %lld, expected >= 1",
                        (long long)group);
    int64_t m = w->dim[0], c = w->dim[1], expected;
    if (transposed) { /* W (C,M/group,...) */
        if (m != x->dim[1] || m % group || m < 1 || c < 1)
            return gr_error(err, GRAFT_E_SHAPE,
                            "X has %lld channels, W has %lld, expected the same, >0, a multiple of "
                            "group %lld",
                            (long long)x->dim[1], (long long)m, (long long)group);
        return GRAFT_OK;
    }
    if (__builtin_mul_overflow(c, group, &expected) || expected != x->dim[1] || c < 1)
        return gr_error(err, GRAFT_E_SHAPE, "X has %lld channels, W expects %lld x group %lld",
                        (long long)x->dim[1], (long long)c, (long long)group);
    if (m % group || m < 1)
        return gr_error(err, GRAFT_E_SHAPE, "W has %lld outputs, expected a multiple of group %lld",
                        (long long)m, (long long)group);
    return GRAFT_OK;
}

enum graft_status gr_conv_geometry(const struct gr_conv_params *p, const struct gr_shape *x,
                                   const struct gr_shape *w, struct gr_geometry *g,
                                   struct graft_error *err)
{
    struct gr_geometry r;
    enum graft_status s = check_channels(p->group, x, w, false, err);
    if (!s)
        s = read_window(&p->win, x, w->dim + 2, &r, err);
    if (!s)
        s = slide(&p->win, &r, err);
    if (!s)
        *g = r;
    return s;
}

enum graft_status gr_conv_transpose_geometry(const struct gr_conv_transpose_params *p,
                                             const struct gr_shape *x, const struct gr_shape *w,
                                             struct gr_geometry *g, struct graft_error *err)
{
    struct gr_geometry r;
    enum graft_status s = check_channels(p->group, x, w, true, err);
    if (!s)
        s = read_window(&p->win, x, w->dim + 2, &r, err);
    if (!s)
        s = list_length("output_padding", &p->output_padding, r.n, err);
    if (s)
        return s;
    /* Some exporters give the batch and channels in output_shape too. */
    size_t skip = p->output_shape.n == (size_t)r.n + 2 ? 2 : 0;
    if (!skip && (s = list_length("output_shape", &p->output_shape, r.n, err)))
        return s;
    bool same = p->win.auto_pad == GR_PAD_SAME_UPPER || p->win.auto_pad == GR_PAD_SAME_LOWER;
    for (int i = 0; i < r.n; i++) {
        int64_t extent, full, extra = p->output_padding.n ? p->output_padding.v[i] : 0;
        s = window_extent(&r, i, &extent, err);
        if (s)
            return s;
        if (extra < 0 || extra > GR_MAX_COUNT)
            return gr_error(err, GRAFT_E_FORMAT, "output_padding %lld at axis %d, expected >= 0",
                            (long long)extra, i);
        if (__builtin_mul_overflow(r.in[i] - 1, r.stride[i], &full) || full > GR_MAX_COUNT)
            return gr_error(err, GRAFT_E_LIMIT, "size %lld x stride %lld at axis %d is too large",
                            (long long)r.in[i], (long long)r.stride[i], i);
        full += extent + extra;
        if (p->output_shape.n || same) {
            r.out[i] = p->output_shape.n ? p->output_shape.v[i + (int)skip] : r.in[i] * r.stride[i];
            int64_t total = full - r.out[i];
            split_padding(p->win.auto_pad == GR_PAD_SAME_UPPER ? GR_PAD_SAME_UPPER
                                                               : GR_PAD_SAME_LOWER,
                          total > 0 ? total : 0, &r.pad[i], &r.pad_end[i]);
        } else {
            r.out[i] = full - r.pad[i] - r.pad_end[i];
        }
        if (r.out[i] < 1)
            return gr_error(err, GRAFT_E_SHAPE, "the output at axis %d would have size %lld", i,
                            (long long)r.out[i]);
    }
    *g = r;
    return GRAFT_OK;
}

enum graft_status gr_pool_geometry(const struct gr_pool_params *p, const struct gr_shape *x,
                                   struct gr_geometry *g, struct graft_error *err)
{
    struct gr_geometry r;
    if (!p->win.kernel_shape.n)
        return gr_error(err, GRAFT_E_FORMAT, "attribute 'kernel_shape' is empty");
    enum graft_status s = read_window(&p->win, x, NULL, &r, err);
    if (!s)
        s = slide(&p->win, &r, err);
    for (int i = 0; !s && i < r.n; i++) /* else a window could see only padding */
        if (p->win.auto_pad == GR_PAD_NOTSET && (r.pad[i] > (r.kernel[i] - 1) * r.dilation[i] ||
                                                 r.pad_end[i] > (r.kernel[i] - 1) * r.dilation[i]))
            s = gr_error(err, GRAFT_E_SHAPE,
                         "pads %lld and %lld at axis %d, expected less than the window of %lld",
                         (long long)r.pad[i], (long long)r.pad_end[i], i,
                         (long long)((r.kernel[i] - 1) * r.dilation[i] + 1));
    if (!s)
        *g = r;
    return s;
}

struct gr_shape gr_geometry_shape(const struct gr_geometry *g, int64_t d0, int64_t d1)
{
    struct gr_shape s = {.rank = g->n + 2, .dim = {d0, d1}};
    for (int i = 0; i < g->n; i++)
        s.dim[i + 2] = g->out[i];
    return s;
}
