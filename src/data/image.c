/* How do bytes of any picture format become upright RGB pixels? */
#include "data/image.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "data/image_formats.h"
#include <string.h>

#define PIXELS_FREE     (1 << 24)
#define PIXELS_PER_BYTE 65536

struct decoder {
    enum graft_status (*probe)(const uint8_t *p, size_t size, struct gr_image_info *info,
                               struct graft_error *err);
    enum graft_status (*decode)(const uint8_t *p, size_t size, const struct gr_image_info *info,
                                struct gr_rect window, struct gr_image *image,
                                struct graft_error *err);
};

static const struct decoder decoders[] = {
    [GR_FORMAT_JPEG] = {gr_jpeg_probe, gr_jpeg_decode},
    [GR_FORMAT_PNG] = {gr_png_probe, gr_png_decode},
    [GR_FORMAT_WEBP] = {gr_webp_probe, gr_webp_decode},
    [GR_FORMAT_BMP] = {gr_bmp_probe, gr_bmp_decode},
    [GR_FORMAT_GIF] = {gr_gif_probe, gr_gif_decode},
};

void gr_image_clear(struct gr_image *image)
{
    gr_free_aligned(image->rgb);
    gr_free_aligned(image->scratch);
    memset(image, 0, sizeof *image);
}

static enum graft_status reserve(uint8_t **p, size_t *cap, size_t size, struct graft_error *err)
{
    if (!gr_add_size(size, GR_IMAGE_SLACK, &size))
        return gr_error_nomem(err);
    if (*cap >= size)
        return GRAFT_OK;
    gr_free_aligned(*p);
    *cap = 0;
    *p = gr_alloc_aligned(size, true); /* zeroed: the slack is read, never used */
    if (!*p)
        return gr_error_nomem(err);
    *cap = size;
    return GRAFT_OK;
}

enum graft_status gr_image_reserve(struct gr_image *image, int width, int height,
                                   struct graft_error *err)
{
    size_t stride = 3 * (size_t)width, size;
    if (!gr_mul_size(stride, (size_t)height, &size))
        return gr_error_nomem(err);
    enum graft_status s = reserve(&image->rgb, &image->cap, size, err);
    if (s)
        return s;
    image->width = width;
    image->height = height;
    image->stride = stride;
    image->x0 = image->y0 = 0;
    return GRAFT_OK;
}

enum graft_status gr_image_reserve_scratch(struct gr_image *image, size_t size,
                                           struct graft_error *err)
{
    return reserve(&image->scratch, &image->scratch_cap, size, err);
}

void gr_image_take_alpha(struct gr_image *image, const uint8_t *rgba, int width, int height, int x,
                         int y)
{
    for (int row = 0; row < height; row++) {
        uint8_t *to = image->rgb + (size_t)(y + row) * image->stride + 3 * (size_t)x;
        for (int i = 0; i < width; i++, rgba += 4, to += 3)
            to[0] = to[1] = to[2] = rgba[3];
    }
}

/* ---- orientation ---- */

static uint32_t tiff_uint(const uint8_t *p, size_t n, bool big)
{
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[big ? i : n - 1 - i];
    return v;
}

int gr_exif_orientation(const uint8_t *p, size_t size)
{
    if (size >= 6 && !memcmp(p, "Exif\0\0", 6)) {
        p += 6;
        size -= 6;
    }
    if (size < 8 || (memcmp(p, "II*\0", 4) && memcmp(p, "MM\0*", 4)))
        return 0;
    bool big = p[0] == 'M';
    size_t at = tiff_uint(p + 4, 4, big);
    if (at > size || size - at < 2)
        return 0;
    size_t n = tiff_uint(p + at, 2, big);
    at += 2;
    for (size_t i = 0; i < n && size - at >= 12; i++, at += 12) {
        if (tiff_uint(p + at, 2, big) != 0x0112)
            continue;
        uint32_t type = tiff_uint(p + at + 2, 2, big);
        size_t width = type == 1 ? 1 : type == 3 ? 2 : type == 4 ? 4 : 0;
        uint32_t v = width ? tiff_uint(p + at + 8, width, big) : 0;
        return v >= 1 && v <= 8 ? (int)v : 0;
    }
    return 0;
}

int gr_xmp_orientation(const uint8_t *p, size_t size)
{
    static const char key[] = "tiff:Orientation";
    const uint8_t *end = p + size;
    while ((p = memmem(p, (size_t)(end - p), key, sizeof key - 1))) {
        p += sizeof key - 1;
        size_t skip = end - p >= 3 && p[0] == '=' && p[1] == '"' ? 2 : end - p >= 2 && *p == '>';
        if (skip && p[skip] >= '0' && p[skip] <= '9')
            return p[skip] >= '1' && p[skip] <= '8' ? p[skip] - '0' : 0;
    }
    return 0;
}

/* Upright (x, y) is stored (x0 + x*xx + y*xy, y0 + x*yx + y*yy). */
struct turn {
    int x0, xx, xy, y0, yx, yy;
};

static struct turn turn_of(int orientation, int w, int h)
{
    switch (orientation) {
    case 2:
        return (struct turn){w - 1, -1, 0, 0, 0, 1};
    case 3:
        return (struct turn){w - 1, -1, 0, h - 1, 0, -1};
    case 4:
        return (struct turn){0, 1, 0, h - 1, 0, -1};
    case 5:
        return (struct turn){0, 0, 1, 0, 1, 0};
    case 6:
        return (struct turn){0, 0, 1, h - 1, -1, 0};
    case 7:
        return (struct turn){w - 1, 0, -1, h - 1, -1, 0};
    case 8:
        return (struct turn){w - 1, 0, -1, 0, 1, 0};
    default:
        return (struct turn){0, 1, 0, 0, 0, 1};
    }
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int abs_int(int a)
{
    return a < 0 ? -a : a;
}

static struct gr_rect upright_to_stored(struct turn t, struct gr_rect r)
{
    int ax = t.x0 + r.x * t.xx + r.y * t.xy, ay = t.y0 + r.x * t.yx + r.y * t.yy;
    int bx = ax + (r.width - 1) * t.xx + (r.height - 1) * t.xy;
    int by = ay + (r.width - 1) * t.yx + (r.height - 1) * t.yy;
    return (struct gr_rect){min_int(ax, bx), min_int(ay, by), abs_int(ax - bx) + 1,
                            abs_int(ay - by) + 1};
}

/* Turns the decoded part upright, through the scratch buffer. */
static enum graft_status make_upright(struct gr_image *image, struct turn t,
                                      struct graft_error *err)
{
    int sw = image->width, sh = image->height, sx = image->x0, sy = image->y0;
    int w = t.xx ? sw : sh, h = t.xx ? sh : sw;
    /* The upright corner is the one whose stored place is a corner of the decoded part. */
    int cx = t.xx + t.xy > 0 ? sx : sx + sw - 1, cy = t.yx + t.yy > 0 ? sy : sy + sh - 1;
    int x0 = t.xx ? (cx - t.x0) * t.xx : (cy - t.y0) * t.yx;
    int y0 = t.xx ? (cy - t.y0) * t.yy : (cx - t.x0) * t.xy;
    size_t size = 3 * (size_t)w * (size_t)h;
    enum graft_status s = gr_image_reserve_scratch(image, size, err);
    if (s)
        return s;
    ptrdiff_t step = 3 * t.xx + (ptrdiff_t)image->stride * t.yx;
    for (int y = 0; y < h; y++) {
        const uint8_t *p = image->rgb + (size_t)(cy - sy + y * t.yy) * image->stride +
                           3 * (size_t)(cx - sx + y * t.xy);
        uint8_t *q = image->scratch + 3 * (size_t)w * (size_t)y;
        for (int x = 0; x < w; x++, q += 3) {
            const uint8_t *from = p + step * x;
            q[0] = from[0];
            q[1] = from[1];
            q[2] = from[2];
        }
    }
    uint8_t *rgb = image->rgb;
    size_t cap = image->cap;
    image->rgb = image->scratch;
    image->cap = image->scratch_cap;
    image->scratch = rgb;
    image->scratch_cap = cap;
    image->width = w;
    image->height = h;
    image->stride = 3 * (size_t)w;
    image->x0 = x0;
    image->y0 = y0;
    return GRAFT_OK;
}

/* ---- the two entrances ---- */

enum graft_status gr_image_probe(const void *bytes, size_t size,
                                 const struct gr_image_limits *limits, struct gr_image_info *info,
                                 struct graft_error *err)
{
    struct gr_image_info in = {.format = gr_sniff(bytes, size), .orientation = 1};
    if (size == 0)
        return gr_error(err, GRAFT_E_FORMAT, "the file is empty");
    if (in.format == GR_FORMAT_UNKNOWN)
        return gr_error(err, GRAFT_E_FORMAT,
                        "not a picture: %zu bytes that are not JPEG, PNG, WebP, BMP or GIF", size);
    const char *name = gr_format_name(in.format);
    enum graft_status s = decoders[in.format].probe(bytes, size, &in, err);
    if (s)
        return gr_error_in(err, s, "%s", name);
    if (in.stored_width <= 0 || in.stored_height <= 0)
        return gr_error(err, GRAFT_E_FORMAT, "%s: size %dx%d", name, in.stored_width,
                        in.stored_height);
    int64_t max_pixels = limits ? limits->max_pixels : GR_IMAGE_MAX_PIXELS;
    int max_side = limits ? limits->max_side : GR_IMAGE_MAX_SIDE;
    if (in.stored_width > max_side || in.stored_height > max_side ||
        (int64_t)in.stored_width * in.stored_height > max_pixels)
        return gr_error(err, GRAFT_E_LIMIT, "%s: %dx%d pixels, limits are %lld and %d a side", name,
                        in.stored_width, in.stored_height, (long long)max_pixels, max_side);
    /* No encoder shrinks that far; a few bytes must not cost gigabytes. */
    int64_t pixels = (int64_t)in.stored_width * in.stored_height;
    if (pixels > PIXELS_FREE && (uint64_t)pixels / PIXELS_PER_BYTE > size)
        return gr_error(err, GRAFT_E_LIMIT, "%s: %dx%d pixels in only %zu bytes", name,
                        in.stored_width, in.stored_height, size);
    bool swap = in.orientation >= 5;
    in.width = swap ? in.stored_height : in.stored_width;
    in.height = swap ? in.stored_width : in.stored_height;
    *info = in;
    return GRAFT_OK;
}

enum graft_status gr_image_decode(const void *bytes, size_t size, const struct gr_rect *window,
                                  const struct gr_image_limits *limits, struct gr_image *image,
                                  struct graft_error *err)
{
    struct gr_image_info in;
    enum graft_status s = gr_image_probe(bytes, size, limits, &in, err);
    if (s)
        return s;
    struct gr_rect r = {0, 0, in.width, in.height};
    if (window) {
        r = *window;
        if (r.x < 0 || r.y < 0 || r.width <= 0 || r.height <= 0 || r.x > in.width - r.width ||
            r.y > in.height - r.height)
            return gr_error(err, GRAFT_E_ARG, "window %d,%d %dx%d of a %dx%d picture", r.x, r.y,
                            r.width, r.height, in.width, in.height);
    }
    struct turn t = turn_of(in.orientation, in.stored_width, in.stored_height);
    s = decoders[in.format].decode(bytes, size, &in, upright_to_stored(t, r), image, err);
    if (s)
        return gr_error_in(err, s, "%s", gr_format_name(in.format));
    if (in.orientation != 1) {
        s = make_upright(image, t, err);
        if (s)
            return s;
    }
    image->full_width = in.width;
    image->full_height = in.height;
    return GRAFT_OK;
}

enum graft_status gr_image_from_pixels(struct gr_image *image, const uint8_t *rgb, int width,
                                       int height, size_t stride, struct gr_rect window,
                                       struct graft_error *err)
{
    enum graft_status s = gr_image_reserve(image, window.width, window.height, err);
    if (s)
        return s;
    for (int y = 0; y < window.height; y++)
        memcpy(image->rgb + (size_t)y * image->stride,
               rgb + (size_t)(window.y + y) * stride + 3 * (size_t)window.x, image->stride);
    image->x0 = window.x;
    image->y0 = window.y;
    image->full_width = width;
    image->full_height = height;
    return GRAFT_OK;
}
