/* What do Resize and Upsample mean? */
#include "ops/op_util.h"
#include "base/mem.h"
#include <math.h>
#include <string.h>

enum { NEAREST, LINEAR, CUBIC };
enum { HALF_PIXEL, PYTORCH, ALIGN_CORNERS, ASYMMETRIC, TF_HALF_PIXEL, TF_CROP, SYMMETRIC };
enum { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL };
enum { STRETCH, NOT_LARGER, NOT_SMALLER };

struct resize_params {
    int64_t mode, coordinate_transformation_mode, nearest_mode, exclude_outside;
    int64_t antialias, keep_aspect_ratio_policy;
    float cubic_coeff_a, extrapolation_value;
    struct gr_ints axes;
    struct gr_floats scales; /* Upsample before operator set 9 */
};

/* One axis: where do its positions come from? */
struct axis {
    int64_t in, out;
    double scale, roi_start, roi_end;
};

/* The lists that come with a node, from attributes, constants or tensors; n == 0: absent. */
struct request {
    int n_roi, n_scales, n_sizes;
    double roi[2 * GR_MAX_RANK], scales[GR_MAX_RANK], sizes[GR_MAX_RANK];
};

static bool is_upsample(const struct gr_node *node)
{
    return !strcmp(node->op_type, "Upsample");
}

/* Operator sets 7 to 10 knew only scales, from the corner. */
static bool is_old(const struct gr_node *node)
{
    return node->opset < 11 || is_upsample(node);
}

/* Which input has roi, scales, sizes; -1: none. */
static void input_numbers(const struct gr_node *node, int *roi, int *scales, int *sizes)
{
    bool old = is_old(node);
    *roi = old ? -1 : 1;
    *scales = is_upsample(node) && node->opset < 9 ? -1 : old ? 1 : 2;
    *sizes = old ? -1 : 3;
}

static enum graft_status resolve_axis(const struct resize_params *p, const struct request *r, int i,
                                      int n, struct axis *a, struct graft_error *err)
{
    if (r->n_scales) {
        a->scale = r->scales[i];
        double out = floor((double)a->in * a->scale);
        if (!(a->scale > 0) || !(out <= (double)GR_MAX_COUNT))
            return gr_error(err, GRAFT_E_SHAPE, "scale %g of size %lld", a->scale,
                            (long long)a->in);
        a->out = (int64_t)out;
    } else {
        if (!(r->sizes[i] >= 0 && r->sizes[i] <= (double)GR_MAX_COUNT))
            return gr_error(err, GRAFT_E_SHAPE, "size %g", r->sizes[i]);
        a->out = (int64_t)r->sizes[i];
        a->scale = a->in ? (double)a->out / (double)a->in : 1;
    }
    if (r->n_roi) {
        a->roi_start = r->roi[i];
        a->roi_end = r->roi[n + i];
    } else if (p->coordinate_transformation_mode == TF_CROP) {
        return gr_error(err, GRAFT_E_FORMAT, "roi is missing");
    }
    if (!a->in && a->out)
        return gr_error(err, GRAFT_E_SHAPE, "size 0 cannot be resized to %lld", (long long)a->out);
    return GRAFT_OK;
}

/* axis[0..rank-1]; those not named keep their size. */
static enum graft_status resolve(const struct gr_node *node, const struct request *r,
                                 const struct gr_shape *x, struct axis *axis,
                                 struct graft_error *err)
{
    const struct resize_params *p = GR_PARAMS(node, struct resize_params);
    bool named[GR_MAX_RANK];
    int n = p->axes.n ? (int)p->axes.n : x->rank;
    enum graft_status s = gr_check_axes(p->axes.n, p->axes.v, x->rank, named, err);
    if (s)
        return s;
    if (!r->n_scales == !r->n_sizes)
        return gr_error(err, GRAFT_E_FORMAT, "expected either scales or sizes");
    if ((r->n_scales ? r->n_scales : r->n_sizes) != n || (r->n_roi && r->n_roi != 2 * n))
        return gr_error(err, GRAFT_E_SHAPE, "%d scales, %d sizes, %d roi for %d axes", r->n_scales,
                        r->n_sizes, r->n_roi, n);
    double common = 0;
    for (int i = 0; i < x->rank; i++)
        axis[i] = (struct axis){x->dim[i], x->dim[i], 1, 0, 1};
    for (int i = 0; i < n; i++) {
        struct axis *a = &axis[p->axes.n ? gr_axis(p->axes.v[i], x->rank) : i];
        s = resolve_axis(p, r, i, n, a, err);
        if (s)
            return s;
        bool better =
            p->keep_aspect_ratio_policy == NOT_LARGER ? a->scale < common : a->scale > common;
        common = !i || better ? a->scale : common;
    }
    for (int i = 0; r->n_sizes && p->keep_aspect_ratio_policy != STRETCH && i < n; i++) {
        struct axis *a = &axis[p->axes.n ? gr_axis(p->axes.v[i], x->rank) : i];
        double out = floor((double)a->in * common + 0.5);
        if (!(out <= (double)GR_MAX_COUNT))
            return gr_error(err, GRAFT_E_LIMIT, "scale %g of size %lld", common, (long long)a->in);
        a->out = (int64_t)out;
        a->scale = common;
    }
    return GRAFT_OK;
}

static enum graft_status read_konst(const struct gr_infer *c, int i, const char *what, int max,
                                    int *n, double *v, struct graft_error *err)
{
    *n = 0;
    if (i < 0 || !gr_infer_has(c, i) || !gr_shape_count(&c->in[i].shape))
        return GRAFT_OK;
    const struct gr_tensor *t = c->konst[i];
    if (!t)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "input %d ('%s') is computed while running, only constants are supported",
                        i, what);
    int64_t count = gr_tensor_count(t);
    if (count > max)
        return gr_error(err, GRAFT_E_SHAPE, "%lld %s, expected at most %d", (long long)count, what,
                        max);
    for (int64_t k = 0; k < count; k++)
        v[k] = gr_load_f64(t->dtype, t->data, (size_t)k);
    *n = (int)count;
    return GRAFT_OK;
}

static enum graft_status read_attribute(const struct gr_node *node, struct request *r,
                                        struct graft_error *err)
{
    const struct gr_floats *f = &GR_PARAMS(node, struct resize_params)->scales;
    if (f->n > GR_MAX_RANK)
        return gr_error(err, GRAFT_E_SHAPE, "%zu scales, expected at most %d", f->n, GR_MAX_RANK);
    for (size_t i = 0; i < f->n; i++)
        r->scales[i] = f->v[i];
    r->n_scales = (int)f->n;
    return GRAFT_OK;
}

static enum graft_status infer(struct gr_infer *c, struct graft_error *err)
{
    const struct resize_params *p = GR_PARAMS(c->node, struct resize_params);
    struct request r = {0};
    struct axis axis[GR_MAX_RANK];
    struct gr_shape y = c->in[0].shape;
    int roi, scales, sizes;
    input_numbers(c->node, &roi, &scales, &sizes);
    if (p->antialias)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "attribute 'antialias' is 1, only 0 is supported");
    enum graft_status s = GRAFT_OK;
    if (p->coordinate_transformation_mode == TF_CROP)
        s = read_konst(c, roi, "roi", 2 * GR_MAX_RANK, &r.n_roi, r.roi, err);
    if (!s && scales >= 0)
        s = read_konst(c, scales, "scales", GR_MAX_RANK, &r.n_scales, r.scales, err);
    else if (!s)
        s = read_attribute(c->node, &r, err);
    if (!s)
        s = read_konst(c, sizes, "sizes", GR_MAX_RANK, &r.n_sizes, r.sizes, err);
    if (!s)
        s = resolve(c->node, &r, &c->in[0].shape, axis, err);
    if (s)
        return s;
    for (int i = 0; i < y.rank; i++)
        y.dim[i] = axis[i].out;
    return gr_infer_out(c, 0, c->in[0].dtype, &y, err);
}

/* Position o of the output as a place in the input. */
static double place(const struct gr_node *node, const struct axis *a, int64_t o)
{
    const struct resize_params *p = GR_PARAMS(node, struct resize_params);
    double at = (double)o, in = (double)a->in, out = (double)a->out;
    int64_t mode = is_old(node) ? ASYMMETRIC : p->coordinate_transformation_mode;
    switch (mode) {
    case ASYMMETRIC:
        return at / a->scale;
    case ALIGN_CORNERS:
        return a->out > 1 ? at * (in - 1) / (out - 1) : 0;
    case PYTORCH:
        return a->out > 1 ? (at + 0.5) / a->scale - 0.5 : 0;
    case TF_HALF_PIXEL:
        return (at + 0.5) / a->scale;
    case TF_CROP:
        return a->out > 1 ? a->roi_start * (in - 1) +
                                at * (a->roi_end - a->roi_start) * (in - 1) / (out - 1)
                          : 0.5 * (a->roi_start + a->roi_end) * (in - 1);
    case SYMMETRIC: /* about the middle of an output that was not rounded to whole pixels */
        return in / 2 * (1 - out / (a->scale * in)) + (at + 0.5) / a->scale - 0.5;
    default:
        return (at + 0.5) / a->scale - 0.5;
    }
}

/* Input positions, possibly outside, and what they count. */
struct taps {
    int n;
    int64_t first;
    double weight[4];
};

static double round_place(const struct gr_node *node, double at)
{
    if (is_old(node))
        return floor(at);
    switch (GR_PARAMS(node, struct resize_params)->nearest_mode) {
    case PREFER_FLOOR:
        return ceil(at - 0.5);
    case PREFER_CEIL:
        return floor(at + 0.5);
    case FLOOR:
        return floor(at);
    default:
        return ceil(at);
    }
}

static struct taps find_taps(const struct gr_node *node, const struct axis *a, double at)
{
    const struct resize_params *p = GR_PARAMS(node, struct resize_params);
    struct taps t = {.n = 1, .weight = {1}};
    if (p->mode == NEAREST) {
        t.first = (int64_t)round_place(node, at);
        return t;
    }
    double base = floor(at), f = at - base;
    if (p->mode == LINEAR) {
        t = (struct taps){2, (int64_t)base, {1 - f, f}};
    } else {
        double c = p->cubic_coeff_a;
        t = (struct taps){.n = 4, .first = (int64_t)base - 1};
        for (int k = 0; k < 4; k++) {
            double d = fabs(f + 1 - k);
            t.weight[k] = d <= 1 ? ((c + 2) * d - (c + 3)) * d * d + 1
                                 : ((c * d - 5 * c) * d + 8 * c) * d - 4 * c;
        }
    }
    double sum = 0;
    for (int k = 0; p->exclude_outside && k < t.n; k++) {
        if (t.first + k < 0 || t.first + k >= a->in)
            t.weight[k] = 0;
        sum += t.weight[k];
    }
    for (int k = 0; p->exclude_outside && sum != 0 && k < t.n; k++)
        t.weight[k] /= sum;
    return t;
}

/* x (outer, a->in, inner) to y (outer, a->out, inner); or back: x += the gradient from y */
static void resize_axis(const struct gr_node *node, const struct axis *a, int64_t outer,
                        int64_t inner, double *x, double *y, bool back)
{
    const struct resize_params *p = GR_PARAMS(node, struct resize_params);
    bool crop = !is_old(node) && p->coordinate_transformation_mode == TF_CROP;
    for (int64_t o = 0; o < a->out; o++) {
        double at = place(node, a, o);
        bool outside = crop && (at < 0 || at > (double)(a->in - 1));
        /* Far outside every tap is the border. */
        at = !(at >= -4) ? -4 : at > (double)a->in + 4 ? (double)a->in + 4 : at;
        struct taps t = find_taps(node, a, at);
        for (int64_t i = 0; i < outer; i++)
            for (int64_t j = 0; j < inner; j++) {
                double v = 0, *to = &y[(i * a->out + o) * inner + j];
                for (int k = 0; k < t.n && !(outside && back); k++) {
                    int64_t from = t.first + k;
                    from = from < 0 ? 0 : from >= a->in ? a->in - 1 : from;
                    double *tap = &x[(i * a->in + from) * inner + j];
                    v += t.weight[k] * *tap;
                    if (back)
                        *tap += t.weight[k] * *to;
                }
                if (!back)
                    *to = outside ? p->extrapolation_value : v;
            }
    }
}

static enum graft_status read_ref(int n_in, const struct gr_ref *in, int i, int max, int *n,
                                  double *v, struct graft_error *err)
{
    *n = 0;
    if (i < 0 || !gr_ref_has(n_in, in, i))
        return GRAFT_OK;
    int64_t count = gr_ref_count(&in[i]);
    if (count > max)
        return gr_error(err, GRAFT_E_SHAPE, "input %d has %lld numbers, expected at most %d", i,
                        (long long)count, max);
    for (int64_t k = 0; k < count; k++)
        v[k] = in[i].v[k];
    *n = (int)count;
    return GRAFT_OK;
}

static enum graft_status read_axes(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                   struct axis *axis, struct graft_error *err)
{
    struct request r = {0};
    int roi, scales, sizes;
    enum graft_status s = GRAFT_OK;
    input_numbers(node, &roi, &scales, &sizes);
    if (GR_PARAMS(node, struct resize_params)->coordinate_transformation_mode == TF_CROP)
        s = read_ref(n_in, in, roi, 2 * GR_MAX_RANK, &r.n_roi, r.roi, err);
    if (!s && scales >= 0)
        s = read_ref(n_in, in, scales, GR_MAX_RANK, &r.n_scales, r.scales, err);
    else if (!s)
        s = read_attribute(node, &r, err);
    if (!s)
        s = read_ref(n_in, in, sizes, GR_MAX_RANK, &r.n_sizes, r.sizes, err);
    return s ? s : resolve(node, &r, &in[0].shape, axis, err);
}

/* From x to y, or the gradient from y to x. One axis after the other, shrinking ones first so that
   nothing grows beyond input or output. */
static enum graft_status resize(const struct gr_node *node, const struct axis *axis,
                                const struct gr_ref *from, struct gr_ref *to, bool back,
                                struct graft_error *err)
{
    bool crop = GR_PARAMS(node, struct resize_params)->coordinate_transformation_mode == TF_CROP;
    struct gr_shape shape = from->shape;
    double *now = NULL, *next = NULL, *v = from->v;
    for (int k = 0; k < 2 * shape.rank; k++) {
        int i = k % shape.rank;
        int64_t before = back ? axis[i].out : axis[i].in, after = back ? axis[i].in : axis[i].out;
        bool grows = after > before;
        if (grows != (k >= shape.rank) ||
            (!grows && before == after && axis[i].scale == 1 && !crop))
            continue;
        shape.dim[i] = after;
        int64_t n = gr_shape_count(&shape), outer = gr_shape_count_range(&shape, 0, i);
        int64_t inner = gr_shape_count_range(&shape, i + 1, shape.rank);
        if (n < 0 || !(next = gr_alloc_zero((size_t)n, sizeof *next))) {
            gr_free(now);
            return gr_error_nomem(err);
        }
        resize_axis(node, &axis[i], outer, inner, back ? next : v, back ? v : next, back);
        gr_free(now);
        v = now = next;
    }
    memcpy(to->v, v, (size_t)gr_ref_count(to) * sizeof *v);
    gr_free(now);
    return GRAFT_OK;
}

static enum graft_status ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)n_out;
    struct axis axis[GR_MAX_RANK];
    enum graft_status s = read_axes(node, n_in, in, axis, err);
    return s || !gr_ref_count(out) ? s : resize(node, axis, &in[0], out, false, err);
}

/* Of X only: the places of pixels do not depend on data. */
GR_GRAD(ref_grad)
{
    struct axis axis[GR_MAX_RANK];
    enum graft_status s = read_axes(node, n_in, in, axis, err);
    if (s || !gr_grad_start(n_in, din, dout) || !din[0].v)
        return s;
    return resize(node, axis, dout, &din[0], true, err);
}

static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
static const char *const coordinates[] = {
    "half_pixel",           "pytorch_half_pixel", "align_corners",        "asymmetric",
    "tf_half_pixel_for_nn", "tf_crop_and_resize", "half_pixel_symmetric", NULL};
static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil",
                                        NULL};
static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
static const struct gr_param resize_rows[] = {
    GR_ROW_CHOICE(struct resize_params, mode, NEAREST, modes, "how pixels are mixed"),
    GR_ROW_CHOICE(struct resize_params, coordinate_transformation_mode, HALF_PIXEL, coordinates,
                  "which place in the input an output pixel shows"),
    GR_ROW_CHOICE(struct resize_params, nearest_mode, PREFER_FLOOR, roundings,
                  "which pixel is nearest"),
    GR_ROW_CHOICE(struct resize_params, keep_aspect_ratio_policy, STRETCH, policies,
                  "how sizes are meant"),
    GR_ROW_BOOL(struct resize_params, exclude_outside, 0, "pixels outside count nothing"),
    GR_ROW_BOOL(struct resize_params, antialias, 0, "unsupported unless 0"),
    GR_ROW_FLOAT(struct resize_params, cubic_coeff_a, -0.75, "the cubic's a"),
    GR_ROW_FLOAT(struct resize_params, extrapolation_value, 0, "outside, for tf_crop_and_resize"),
    GR_ROW_INTS(struct resize_params, axes, -GR_LONG, GR_LONG, "what scales and sizes are for"),
    GR_ROW_END};
static const struct gr_param upsample_rows[] = {
    GR_ROW_CHOICE(struct resize_params, mode, NEAREST, modes, "how pixels are mixed"),
    {.name = "scales",
     .kind = GR_PARAM_FLOATS,
     .offset = offsetof(struct resize_params, scales),
     .help = "one for each axis, before operator set 9"},
    GR_ROW_END};

const struct gr_op gr_op_resize = {.name = "Resize",
                                   .domain = "",
                                   .since = 10,
                                   .min_in = 1,
                                   .max_in = 4,
                                   .min_out = 1,
                                   .max_out = 1,
                                   .params_size = sizeof(struct resize_params),
                                   .params = resize_rows,
                                   .infer = infer,
                                   .ref = ref,
                                   .ref_grad = ref_grad};

const struct gr_op gr_op_upsample = {.name = "Upsample",
                                     .domain = "",
                                     .since = 7,
                                     .min_in = 1,
                                     .max_in = 2,
                                     .min_out = 1,
                                     .max_out = 1,
                                     .params_size = sizeof(struct resize_params),
                                     .params = upsample_rows,
                                     .infer = infer,
                                     .ref = ref,
                                     .ref_grad = ref_grad};
