/* How does a picture file become the network's input? */
#include "data/preprocess.h"
#include "base/clones.h"
#include "base/mem.h"
#include "core/model.h"
#include <math.h>
#include <string.h>

#define MAX_INPUT 16384

void gr_preprocessor_clear(struct gr_preprocessor *pp)
{
    gr_image_clear(&pp->image);
    gr_resizer_clear(&pp->resizer);
    gr_augmenter_clear(&pp->augmenter);
    gr_free_aligned(pp->pixels);
    memset(pp, 0, sizeof *pp);
}

int gr_preprocess_channels(const struct graft_preprocess *p)
{
    return gr_channels_count(p->channels);
}

enum graft_status gr_preprocess_check(const struct graft_preprocess *p, struct graft_error *err)
{
    if (p->width < 1 || p->width > MAX_INPUT || p->height < 1 || p->height > MAX_INPUT)
        return gr_error(err, GRAFT_E_ARG, "preprocessing: input %dx%d, each must be 1..%d",
                        p->width, p->height, MAX_INPUT);
    if ((unsigned)p->resize > GRAFT_RESIZE_LETTERBOX)
        return gr_error(err, GRAFT_E_ARG, "preprocessing: unknown resize mode %d", (int)p->resize);
    if (p->resize == GRAFT_RESIZE_SHORTEST && (p->resize_to < 1 || p->resize_to > MAX_INPUT))
        return gr_error(err, GRAFT_E_ARG, "preprocessing: short side %d, must be 1..%d",
                        p->resize_to, MAX_INPUT);
    if ((unsigned)p->filter > GRAFT_BOX)
        return gr_error(err, GRAFT_E_ARG, "preprocessing: unknown filter %d", (int)p->filter);
    if ((unsigned)p->channels > GRAFT_RGBA)
        return gr_error(err, GRAFT_E_ARG, "preprocessing: unknown channel order %d",
                        (int)p->channels);
    if (p->pad_value < 0 || p->pad_value > 255)
        return gr_error(err, GRAFT_E_ARG, "preprocessing: pad value %d, must be 0..255",
                        p->pad_value);
    if (!isfinite(p->scale) || p->scale == 0)
        return gr_error(err, GRAFT_E_ARG, "preprocessing: scale %g", p->scale);
    for (int c = 0; c < gr_preprocess_channels(p); c++) {
        if (!isfinite(p->mean[c]) || !isfinite(p->std[c]) || p->std[c] == 0)
            return gr_error(err, GRAFT_E_ARG, "preprocessing: mean %g, std %g of channel %d",
                            p->mean[c], p->std[c], c);
    }
    return GRAFT_OK;
}

/* ---- geometry ---- */

struct geometry {
    struct gr_resize resize;
    int left, top; /* where the resized part lies in the network's input */
};

/* Along one side: `full` resized pixels meet `want`. */
static void crop_or_pad(int64_t full, int want, int64_t *from, int *n, int *before)
{
    *from = 0;
    *before = 0;
    *n = want;
    if (full > want) { /* Python's round: halves go to even */
        int64_t d = full - want, half = d / 2;
        *from = d % 2 && half % 2 ? half + 1 : half;
    } else {
        *n = (int)full;
        *before = (want - (int)full) / 2;
    }
}

static struct geometry geometry_of(const struct graft_preprocess *p, int w, int h)
{
    struct geometry g = {.resize.filter = p->filter};
    int64_t fw = p->width, fh = p->height;
    if (p->resize == GRAFT_RESIZE_SHORTEST) {
        int64_t to = p->resize_to;
        if (w <= h) {
            fw = to;
            fh = (int64_t)((double)(to * h) / w);
        } else {
            fh = to;
            fw = (int64_t)((double)(to * w) / h);
        }
    } else if (p->resize == GRAFT_RESIZE_LETTERBOX) {
        if ((int64_t)w * p->height >= (int64_t)h * p->width)
            fh = (2 * (int64_t)h * p->width + w) / (2 * (int64_t)w);
        else
            fw = (2 * (int64_t)w * p->height + h) / (2 * (int64_t)h);
        fw = fw < 1 ? 1 : fw;
        fh = fh < 1 ? 1 : fh;
    }
    g.resize.full_width = fw;
    g.resize.full_height = fh;
    crop_or_pad(fw, p->width, &g.resize.x, &g.resize.width, &g.left);
    crop_or_pad(fh, p->height, &g.resize.y, &g.resize.height, &g.top);
    return g;
}

/* ---- pixels to floats ---- */

static size_t pixels_size(const struct graft_preprocess *p)
{
    return 3 * (size_t)p->width * (size_t)p->height;
}

static enum graft_status reserve_pixels(struct gr_preprocessor *pp,
                                        const struct graft_preprocess *p, struct graft_error *err)
{
    size_t size = pixels_size(p) * (p->channels == GRAFT_RGBA ? 2 : 1); /* alpha lies behind */
    pp->width = pp->height = 0;
    if (pp->pixels_cap < size) {
        gr_free_aligned(pp->pixels);
        pp->pixels_cap = 0;
        pp->pixels = gr_alloc_aligned(size, false);
        if (!pp->pixels)
            return gr_error_nomem(err);
        pp->pixels_cap = size;
    }
    return GRAFT_OK;
}

/* pp->image into `pixels`. */
static enum graft_status resize_into(struct gr_preprocessor *pp, const struct graft_preprocess *p,
                                     const struct geometry *g, uint8_t *pixels, int pad,
                                     struct graft_error *err)
{
    size_t stride = 3 * (size_t)p->width;
    if (g->resize.width < p->width || g->resize.height < p->height)
        memset(pixels, pad, pixels_size(p));
    uint8_t *corner = pixels + (size_t)g->top * stride + 3 * (size_t)g->left;
    return gr_resize(&pp->resizer, &pp->image, &g->resize, corner, stride, err);
}

static enum graft_status place(struct gr_preprocessor *pp, const struct graft_preprocess *p,
                               const struct geometry *g, struct graft_error *err)
{
    enum graft_status s = reserve_pixels(pp, p, err);
    if (!s)
        s = resize_into(pp, p, g, pp->pixels, p->pad_value, err);
    if (s)
        return s;
    pp->width = p->width;
    pp->height = p->height;
    return GRAFT_OK;
}

static unsigned grey_of(const uint8_t *p)
{
    return (p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16;
}

/* Makes the result exactly the rounded (p * scale - mean) / std. */
static void fill_table(const struct graft_preprocess *p, int c, float table[256])
{
    for (int v = 0; v < 256; v++)
        table[v] = (float)((v * p->scale - p->mean[c]) / p->std[c]);
}

/* All planes but alpha, from pp->pixels. */
static void normalise(const struct gr_preprocessor *pp, const struct graft_preprocess *p,
                      float *out)
{
    float table[4][256];
    size_t n = (size_t)p->width * (size_t)p->height;
    const uint8_t *q = pp->pixels;
    for (int c = 0; c < gr_preprocess_channels(p); c++)
        fill_table(p, c, table[c]);
    if (p->channels == GRAFT_GREY) {
        for (size_t i = 0; i < n; i++, q += 3)
            out[i] = table[0][grey_of(q)];
        return;
    }
    int first = p->channels == GRAFT_BGR ? 2 : 0;
    float *restrict a = out, *restrict b = out + n, *restrict c = out + 2 * n;
    for (size_t i = 0; i < n; i++, q += 3) {
        a[i] = table[0][q[first]];
        b[i] = table[1][q[1]];
        c[i] = table[2][q[2 - first]];
    }
}

/* The fourth plane: of the file's `window`, or opaque. */
static enum graft_status add_alpha(struct gr_preprocessor *pp, const void *bytes, size_t size,
                                   const struct gr_rect *window, bool opaque,
                                   const struct graft_preprocess *p, const struct geometry *g,
                                   float *out, struct graft_error *err)
{
    const size_t n = (size_t)p->width * (size_t)p->height;
    uint8_t *alpha = pp->pixels + pixels_size(p);
    float table[256];
    enum graft_status s = GRAFT_OK;
    if (p->channels != GRAFT_RGBA)
        return GRAFT_OK;
    if (opaque) {
        memset(alpha, 255, pixels_size(p));
    } else {
        const struct gr_image_limits *limits = pp->limits.max_pixels ? &pp->limits : NULL;
        pp->image.alpha = true;
        s = gr_image_decode(bytes, size, window, limits, &pp->image, err);
        pp->image.alpha = false;
        if (!s)
            s = resize_into(pp, p, g, alpha, 255, err);
    }
    fill_table(p, 3, table);
    for (size_t i = 0; !s && i < n; i++)
        out[3 * n + i] = table[alpha[3 * i]];
    return s;
}

/* ---- the entrances ---- */

enum graft_status gr_preprocess_picture(struct gr_preprocessor *pp, const void *bytes, size_t size,
                                        const struct graft_preprocess *p, float *out,
                                        struct gr_image_info *info, struct graft_error *err)
{
    struct gr_image_info in;
    const struct gr_image_limits *limits = pp->limits.max_pixels ? &pp->limits : NULL;
    enum graft_status s = gr_image_probe(bytes, size, limits, &in, err);
    if (s)
        return s;
    if (info)
        *info = in;
    struct geometry g = geometry_of(p, in.width, in.height);
    struct gr_rect window = gr_resize_source(&g.resize, in.width, in.height);
    s = gr_image_decode(bytes, size, &window, limits, &pp->image, err);
    if (!s)
        s = place(pp, p, &g, err);
    if (!s)
        normalise(pp, p, out);
    if (!s)
        s = add_alpha(pp, bytes, size, &window, !gr_format_has_alpha(in.format), p, &g, out, err);
    return s;
}

enum graft_status gr_preprocess_view(struct gr_preprocessor *pp, const void *bytes, size_t size,
                                     const struct graft_preprocess *p, const struct gr_augment *a,
                                     struct gr_view view, float *out, struct gr_image_info *info,
                                     struct graft_error *err)
{
    struct gr_image_info in;
    const struct gr_image_limits *limits = pp->limits.max_pixels ? &pp->limits : NULL;
    if (p->channels == GRAFT_RGBA)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "augmentation is for pictures without alpha");
    enum graft_status s = gr_image_probe(bytes, size, limits, &in, err);
    if (s)
        return s;
    if (info)
        *info = in;
    struct geometry g = geometry_of(p, in.width, in.height);
    struct gr_rect box = gr_augment_crops(a) ? gr_augment_crop(a, view, in.width, in.height)
                                             : gr_resize_source(&g.resize, in.width, in.height);
    s = gr_image_decode(bytes, size, &box, limits, &pp->image, err);
    if (!s && gr_augment_crops(a)) {
        s = reserve_pixels(pp, p, err);
        if (!s)
            s = gr_augment_resize(&pp->resizer, &pp->image, box, p->filter, pp->pixels, p->width,
                                  p->height, err);
    } else if (!s) {
        s = place(pp, p, &g, err);
    }
    if (!s)
        s = gr_augment_pixels(a, &pp->augmenter, view, pp->pixels, p->width, p->height, err);
    if (s)
        return s;
    pp->width = p->width;
    pp->height = p->height;
    normalise(pp, p, out);
    return GRAFT_OK;
}

enum graft_status gr_preprocess_pixels(struct gr_preprocessor *pp, const uint8_t *rgb, int width,
                                       int height, size_t stride, const struct graft_preprocess *p,
                                       float *out, struct graft_error *err)
{
    if (width < 1 || height < 1 || width > GR_IMAGE_MAX_SIDE || height > GR_IMAGE_MAX_SIDE ||
        stride / 3 < (size_t)width)
        return gr_error(err, GRAFT_E_ARG, "pixels: %dx%d with rows of %zu bytes", width, height,
                        stride);
    struct geometry g = geometry_of(p, width, height);
    struct gr_rect w = gr_resize_source(&g.resize, width, height);
    /* A copy of the part that is read: the caller's buffer has no slack behind it. */
    enum graft_status s = gr_image_from_pixels(&pp->image, rgb, width, height, stride, w, err);
    if (!s)
        s = place(pp, p, &g, err);
    if (!s)
        normalise(pp, p, out);
    if (!s)
        s = add_alpha(pp, NULL, 0, NULL, true, p, &g, out, err);
    return s;
}

/* What each column of some rows adds up to in grey. */
CLONES static void add_grey(const uint8_t *restrict row, size_t n, uint32_t *restrict sum)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += grey_of(row + 3 * i);
}

void gr_preprocess_thumb(const struct gr_preprocessor *pp, uint8_t thumb[GR_THUMB_SIZE])
{
    uint32_t sums[MAX_INPUT];
    size_t w = (size_t)pp->width, h = (size_t)pp->height;
    for (size_t ty = 0; ty < GR_THUMB_SIDE; ty++) {
        size_t y0 = ty * h / GR_THUMB_SIDE, y1 = (ty + 1) * h / GR_THUMB_SIDE;
        y1 = y1 > y0 ? y1 : y0 + 1;
        memset(sums, 0, w * sizeof *sums);
        for (size_t y = y0; y < y1; y++)
            add_grey(pp->pixels + 3 * y * w, w, sums);
        for (size_t tx = 0; tx < GR_THUMB_SIDE; tx++) {
            size_t x0 = tx * w / GR_THUMB_SIDE, x1 = (tx + 1) * w / GR_THUMB_SIDE;
            x1 = x1 > x0 ? x1 : x0 + 1;
            uint64_t sum = 0, n = (y1 - y0) * (x1 - x0);
            for (size_t x = x0; x < x1; x++)
                sum += sums[x];
            thumb[ty * GR_THUMB_SIDE + tx] = (uint8_t)((sum + n / 2) / n);
        }
    }
}
