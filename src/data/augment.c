/* What does a training picture look like in a given epoch? */
#include "data/augment.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/augment_ops.h"
#include <math.h>
#include <string.h>

/* ---- settings ---- */

void gr_augment_init(struct gr_augment *a, enum gr_augment_preset preset)
{
    *a = (struct gr_augment){.crop_area = {1, 1},
                             .crop_ratio = {3.0 / 4, 4.0 / 3},
                             .blur_sigma = {0.1, 2},
                             .jpeg_quality = {30, 90},
                             .erase_area = {0.02, 0.33},
                             .erase_ratio = {0.3, 3.3},
                             .fill = {124, 116, 104}}; /* ImageNet's mean */
    if (preset == GR_AUGMENT_NONE)
        return;
    a->flip = 0.5;
    if (preset == GR_AUGMENT_SHIFT) {
        a->shift = 0.125;
    } else if (preset == GR_AUGMENT_LIGHT) {
        a->crop_area[0] = 0.35;
        a->brightness = a->contrast = a->saturation = 0.1;
    } else {
        a->crop_area[0] = 0.08;
        a->trivial = true;
        a->erase = 0.1;
    }
}

enum graft_status gr_augment_find(const char *name, enum gr_augment_preset *preset,
                                  struct graft_error *err)
{
    static const char *const names[] = {"none", "shift", "light", "trivial"};
    for (int i = 0; i < 4; i++) {
        if (!strcmp(name, names[i])) {
            *preset = (enum gr_augment_preset)i;
            return GRAFT_OK;
        }
    }
    return gr_error(err, GRAFT_E_ARG, "augmentation '%s': there are none, shift, light and trivial",
                    name);
}

static enum graft_status check_range(const char *what, const double r[2], double least, double most,
                                     struct graft_error *err)
{
    if (r[0] >= least && r[0] <= r[1] && r[1] <= most)
        return GRAFT_OK;
    return gr_error(err, GRAFT_E_ARG, "augmentation: %s from %g to %g, must be within %g..%g", what,
                    r[0], r[1], least, most);
}

enum graft_status gr_augment_check(const struct gr_augment *a, struct graft_error *err)
{
    const double quality[2] = {a->jpeg_quality[0], a->jpeg_quality[1]};
    const struct {
        const char *name;
        double value, most;
    } part[] = {{"flip", a->flip, 1},         {"shift", a->shift, 1},
                {"rotate", a->rotate, 180},   {"brightness", a->brightness, 1},
                {"contrast", a->contrast, 1}, {"saturation", a->saturation, 1},
                {"hue", a->hue, 0.5},         {"grey", a->grey, 1},
                {"blur", a->blur, 1},         {"noise", a->noise, 255},
                {"jpeg", a->jpeg, 1},         {"erase", a->erase, 1}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (!(part[i].value >= 0 && part[i].value <= part[i].most))
            return gr_error(err, GRAFT_E_ARG, "augmentation: %s %g, must be 0..%g", part[i].name,
                            part[i].value, part[i].most);
    }
    enum graft_status s = check_range("crop area", a->crop_area, 1e-4, 1, err);
    if (!s)
        s = check_range("crop ratio", a->crop_ratio, 1e-3, 1e3, err);
    if (!s)
        s = check_range("blur sigma", a->blur_sigma, 1e-3, 8, err);
    if (!s)
        s = check_range("JPEG quality", quality, 1, 100, err);
    if (!s)
        s = check_range("erased area", a->erase_area, 0, 1, err);
    if (!s)
        s = check_range("erased ratio", a->erase_ratio, 1e-3, 1e3, err);
    return s;
}

bool gr_augment_crops(const struct gr_augment *a)
{
    return a->crop_area[0] < 1;
}

/* ---- random numbers of one view ---- */

struct dice {
    uint64_t seed, stream, thrown;
};

static struct dice dice_of(struct gr_view v, uint64_t stream)
{
    return (struct dice){gr_rng_mix(gr_rng_mix(v.seed) ^ (uint64_t)v.epoch),
                         gr_rng_mix((uint64_t)v.index) ^ stream, 0};
}

static double between(struct dice *d, double lo, double hi)
{
    return lo + (hi - lo) * gr_rng_uniform(d->seed, d->stream, d->thrown++);
}

static int below(struct dice *d, int n)
{
    return (int)gr_rng_below(d->seed, d->stream, d->thrown++, (uint64_t)n);
}

static bool happens(struct dice *d, double probability)
{
    return between(d, 0, 1) < probability; /* always throws, so that settings do not shift others */
}

/* ---- rectangles ---- */

struct gr_rect gr_augment_crop(const struct gr_augment *a, struct gr_view view, int width,
                               int height)
{
    struct gr_rect r = {0, 0, width, height};
    if (!gr_augment_crops(a))
        return r;
    struct dice d = dice_of(view, 1);
    for (int i = 0; i < 10; i++) {
        double area = between(&d, a->crop_area[0], a->crop_area[1]) * width * height;
        double ratio = exp(between(&d, log(a->crop_ratio[0]), log(a->crop_ratio[1])));
        double w = rint(sqrt(area * ratio)), h = rint(sqrt(area / ratio));
        if (w < 1 || w > width || h < 1 || h > height)
            continue;
        r.width = (int)w;
        r.height = (int)h;
        r.y = below(&d, height - r.height + 1);
        r.x = below(&d, width - r.width + 1);
        return r;
    }
    double ratio = (double)width / height; /* the largest that fits, in the middle */
    if (ratio < a->crop_ratio[0])
        r.height = (int)rint(width / a->crop_ratio[0]);
    else if (ratio > a->crop_ratio[1])
        r.width = (int)rint(height * a->crop_ratio[1]);
    r.width = r.width < 1 ? 1 : r.width;
    r.height = r.height < 1 ? 1 : r.height;
    r.x = (width - r.width) / 2;
    r.y = (height - r.height) / 2;
    return r;
}

enum graft_status gr_augment_resize(struct gr_resizer *rs, const struct gr_image *image,
                                    struct gr_rect box, enum graft_filter filter, uint8_t *out,
                                    int out_width, int out_height, struct graft_error *err)
{
    if (box.width < 1 || box.height < 1 || box.x < image->x0 || box.y < image->y0 ||
        box.width > image->x0 + image->width - box.x ||
        box.height > image->y0 + image->height - box.y)
        return gr_error(err, GRAFT_E_ARG, "crop %dx%d at %d,%d of pixels %dx%d at %d,%d", box.width,
                        box.height, box.x, box.y, image->width, image->height, image->x0,
                        image->y0);
    struct gr_image part = {.rgb = image->rgb + (size_t)(box.y - image->y0) * image->stride +
                                   3 * (size_t)(box.x - image->x0),
                            .stride = image->stride,
                            .width = box.width,
                            .height = box.height,
                            .full_width = box.width,
                            .full_height = box.height};
    struct gr_resize plan = {.filter = filter,
                             .full_width = out_width,
                             .full_height = out_height,
                             .width = out_width,
                             .height = out_height};
    return gr_resize(rs, &part, &plan, out, 3 * (size_t)out_width, err);
}

static bool erased_part(const struct gr_augment *a, struct dice *d, int w, int h, struct gr_rect *r)
{
    for (int i = 0; i < 10; i++) {
        double area = between(d, a->erase_area[0], a->erase_area[1]) * w * h;
        double ratio = exp(between(d, log(a->erase_ratio[0]), log(a->erase_ratio[1])));
        double high = rint(sqrt(area * ratio)), wide = rint(sqrt(area / ratio));
        if (high < 1 || wide < 1 || high >= h || wide >= w)
            continue;
        r->width = (int)wide;
        r->height = (int)high;
        r->y = below(d, h - r->height + 1);
        r->x = below(d, w - r->width + 1);
        return true;
    }
    return false;
}

/* ---- pixels ---- */

struct canvas {
    uint8_t *rgb, *scratch;
    int w, h;
    size_t n;
    const uint8_t *fill;
};

static void rotate(const struct canvas *c, double degrees)
{
    double t = degrees * M_PI / 180, cx = c->w * 0.5, cy = c->h * 0.5;
    double k = cos(t), s = sin(t);
    const double m[6] = {k, s, cx - k * cx - s * cy, -s, k, cy + s * cx - k * cy};
    gr_pixels_affine(c->rgb, c->w, c->h, m, c->fill, c->scratch);
}

static void shift(const struct canvas *c, double shear_x, double shear_y, double dx, double dy)
{
    const double m[6] = {1, shear_x, dx, shear_y, 1, dy};
    gr_pixels_affine(c->rgb, c->w, c->h, m, c->fill, c->scratch);
}

/* One of 14 operations with one of 31 strengths (Mueller, Hutter 2021). */
static void trivial_augment(const struct canvas *c, struct dice *d)
{
    int op = below(d, 14), bin = below(d, 31);
    double sign = happens(d, 0.5) ? 1 : -1, m = sign * bin / 30.0;
    switch (op) {
    case 0: /* nothing */
        break;
    case 1:
        shift(c, 0.99 * m, 0, 0, 0);
        break;
    case 2:
        shift(c, 0, 0.99 * m, 0, 0);
        break;
    case 3:
        shift(c, 0, 0, trunc(32 * m), 0);
        break;
    case 4:
        shift(c, 0, 0, 0, trunc(32 * m));
        break;
    case 5:
        rotate(c, 135 * m);
        break;
    case 6:
        gr_pixels_brightness(c->rgb, c->n, 1 + 0.99 * m);
        break;
    case 7:
        gr_pixels_saturation(c->rgb, c->n, 1 + 0.99 * m);
        break;
    case 8:
        gr_pixels_contrast(c->rgb, c->n, 1 + 0.99 * m);
        break;
    case 9:
        gr_pixels_sharpness(c->rgb, c->w, c->h, 1 + 0.99 * m, c->scratch);
        break;
    case 10:
        gr_pixels_posterize(c->rgb, c->n, 8 - (int)rint(bin / 5.0));
        break;
    case 11:
        gr_pixels_solarize(c->rgb, c->n, (int)ceil(255 - 8.5 * bin));
        break;
    case 12:
        gr_pixels_autocontrast(c->rgb, c->n);
        break;
    default:
        gr_pixels_equalize(c->rgb, c->n);
    }
}

/* torchvision's ColorJitter: the four in random order. */
static void jitter(const struct gr_augment *a, const struct canvas *c, struct dice *d)
{
    int order[4] = {0, 1, 2, 3};
    for (int i = 3; i > 0; i--) {
        int j = below(d, i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    double b = between(d, 1 - a->brightness, 1 + a->brightness);
    double k = between(d, 1 - a->contrast, 1 + a->contrast);
    double s = between(d, 1 - a->saturation, 1 + a->saturation);
    double hue = between(d, -a->hue, a->hue);
    for (int i = 0; i < 4; i++) {
        if (order[i] == 0 && a->brightness > 0)
            gr_pixels_brightness(c->rgb, c->n, b);
        else if (order[i] == 1 && a->contrast > 0)
            gr_pixels_contrast(c->rgb, c->n, k);
        else if (order[i] == 2 && a->saturation > 0)
            gr_pixels_saturation(c->rgb, c->n, s);
        else if (order[i] == 3 && a->hue > 0)
            gr_pixels_hue(c->rgb, c->n, hue);
    }
}

void gr_augmenter_clear(struct gr_augmenter *g)
{
    gr_image_clear(&g->image);
    gr_free(g->scratch);
    gr_free(g->jpeg);
    memset(g, 0, sizeof *g);
}

enum graft_status gr_augment_pixels(const struct gr_augment *a, struct gr_augmenter *g,
                                    struct gr_view view, uint8_t *rgb, int width, int height,
                                    struct graft_error *err)
{
    struct canvas c = {.rgb = rgb, .w = width, .h = height, .fill = a->fill};
    struct dice d = dice_of(view, 2);
    struct gr_rect r;
    enum graft_status s;
    c.n = (size_t)width * (size_t)height;
    if (g->scratch_cap < 3 * c.n) {
        gr_free(g->scratch);
        g->scratch_cap = 0;
        g->scratch = gr_alloc(3 * c.n);
        if (!g->scratch)
            return gr_error_nomem(err);
        g->scratch_cap = 3 * c.n;
    }
    c.scratch = g->scratch;
    if (happens(&d, a->flip))
        gr_pixels_flip(rgb, width, height);
    if (a->shift > 0) {
        double dx = rint(width * between(&d, -a->shift, a->shift));
        shift(&c, 0, 0, dx, rint(height * between(&d, -a->shift, a->shift)));
    }
    if (a->rotate > 0)
        rotate(&c, between(&d, -a->rotate, a->rotate));
    if (a->trivial)
        trivial_augment(&c, &d);
    if (a->brightness > 0 || a->contrast > 0 || a->saturation > 0 || a->hue > 0)
        jitter(a, &c, &d);
    if (happens(&d, a->grey))
        gr_pixels_saturation(rgb, c.n, 0);
    if (happens(&d, a->blur))
        gr_pixels_blur(rgb, width, height, between(&d, a->blur_sigma[0], a->blur_sigma[1]),
                       c.scratch);
    if (a->noise > 0)
        gr_pixels_noise(rgb, c.n, a->noise, gr_rng_mix(d.seed ^ d.stream));
    if (happens(&d, a->jpeg)) {
        int quality = a->jpeg_quality[0] + below(&d, a->jpeg_quality[1] - a->jpeg_quality[0] + 1);
        s = gr_pixels_jpeg(g, rgb, width, height, quality, err);
        if (s)
            return s;
    }
    if (happens(&d, a->erase) && erased_part(a, &d, width, height, &r))
        gr_pixels_erase(rgb, width, r, a->fill);
    return GRAFT_OK;
}
