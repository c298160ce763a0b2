/* Do pictures decode, resize and normalise as Pillow and torchvision do, and does damage end in an
   error? The goldens are made by tests/golden/image_golden.py. Every figure must be equal, with the
   exceptions that data/image.h states (of which png_grey16.png is one). */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/preprocess.h"
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define GOLDEN "../golden/"

struct file {
    uint8_t *data;
    size_t cap, size;
};

static void read_picture(const char *name, struct file *f)
{
    struct graft_error err;
    char path[300];
    snprintf(path, sizeof path, GOLDEN "images/%s", name);
    if (gr_file_read(path, 1 << 20, &f->data, &f->cap, &f->size, &err))
        fail_msg("%s", err.message);
}

static void hash_pixels(const struct gr_image *im, char hex[GR_SHA256_HEX])
{
    size_t row = 3 * (size_t)im->width;
    uint8_t *all = gr_alloc(row * (size_t)im->height);
    assert_non_null(all);
    for (int y = 0; y < im->height; y++)
        memcpy(all + (size_t)y * row, im->rgb + (size_t)y * im->stride, row);
    gr_sha256_bytes(all, row * (size_t)im->height, hex);
    gr_free(all);
}

static int find_name(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++) {
        if (!strcmp(names[i], name))
            return i;
    }
    fail_msg("unknown name %s", name);
    return -1;
}

static bool decode_line(const char *line, struct file *f, struct gr_image *im)
{
    char name[100], want[70], got[GR_SHA256_HEX];
    int w, h;
    struct graft_error err;
    struct gr_image_info info;
    if (sscanf(line, "decode %99s %d %d %69s", name, &w, &h, want) != 4)
        return false;
    read_picture(name, f);
    if (gr_image_probe(f->data, f->size, NULL, &info, &err) ||
        gr_image_decode(f->data, f->size, NULL, NULL, im, &err)) {
        print_error("%s: %s\n", name, err.message);
        return false;
    }
    assert_int_equal(info.width, w);
    assert_int_equal(info.height, h);
    assert_int_equal(im->width, w);
    assert_int_equal(im->height, h);
    hash_pixels(im, got);
    if (!strcmp(got, want))
        return true;
    print_error("%s: pixels differ from Pillow's\n", name);
    return false;
}

static bool alpha_line(const char *line, struct file *f, struct gr_image *im)
{
    char name[100], want[70], got[GR_SHA256_HEX];
    struct graft_error err = {0};
    if (sscanf(line, "alpha %99s %69s", name, want) != 2)
        return false;
    read_picture(name, f);
    im->alpha = true;
    bool ok = !gr_image_decode(f->data, f->size, NULL, NULL, im, &err);
    im->alpha = false;
    if (ok)
        hash_pixels(im, got);
    if (ok && !strcmp(got, want))
        return true;
    print_error("%s: alpha differs from Pillow's %s\n", name, err.message);
    return false;
}

static const char *const mode_names[] = {"shortest", "stretch", "letterbox"};
static const char *const filter_names[] = {"nearest", "bilinear", "bicubic", "lanczos", "box"};

static bool crop_line(const char *line, struct file *f, struct gr_preprocessor *pp)
{
    char name[100], mode[20], filter[20], want[70], got[GR_SHA256_HEX];
    struct graft_preprocess p = {.scale = 1, .std = {1, 1, 1}};
    struct graft_error err;
    if (sscanf(line, "crop %99s %19s %d %d %d %19s %69s", name, mode, &p.resize_to, &p.width,
               &p.height, filter, want) != 7)
        return false;
    p.resize = (enum graft_resize)find_name(mode_names, 3, mode);
    p.filter = (enum graft_filter)find_name(filter_names, 5, filter);
    assert_int_equal(gr_preprocess_check(&p, &err), GRAFT_OK);
    read_picture(name, f);
    size_t n = 3 * (size_t)p.width * (size_t)p.height;
    float *out = gr_alloc_array(n, sizeof *out);
    assert_non_null(out);
    if (gr_preprocess_picture(pp, f->data, f->size, &p, out, NULL, &err))
        fail_msg("%s: %s", name, err.message);
    for (size_t i = 0; i < n; i++) /* planes hold the same as the pixels */
        assert_true(out[i] == (float)pp->pixels[i % (n / 3) * 3 + i / (n / 3)]);
    gr_free(out);
    gr_sha256_bytes(pp->pixels, n, got);
    if (!strcmp(got, want))
        return true;
    print_error("%.*s: differs\n", (int)strcspn(line, "\n"), line);
    return false;
}

static bool norm_line(const char *line, struct file *f, struct gr_preprocessor *pp)
{
    const struct graft_preprocess p = {.width = 224,
                                       .height = 224,
                                       .resize_to = 256,
                                       .filter = GRAFT_BILINEAR,
                                       .scale = 1 / 255.0,
                                       .mean = {.485, .456, .406},
                                       .std = {.229, .224, .225}};
    char name[100];
    int at, step, index, checked = 0;
    float value;
    struct graft_error err;
    if (sscanf(line, "norm %99s %n", name, &at) != 1)
        return false;
    read_picture(name, f);
    float *out = gr_alloc_array(3 * 224 * 224, sizeof *out);
    assert_non_null(out);
    if (gr_preprocess_picture(pp, f->data, f->size, &p, out, NULL, &err))
        fail_msg("%s: %s", name, err.message);
    for (const char *q = line + at; sscanf(q, "%d %f %n", &index, &value, &step) == 2; q += step) {
        assert_true(fabsf(out[index] - value) < 1e-6f); /* torchvision rounds three times */
        checked++;
    }
    gr_free(out);
    return checked > 10;
}

static void equal_to_pillow(void **state)
{
    (void)state;
    FILE *in = fopen(GOLDEN "image_golden.txt", "r");
    assert_non_null(in);
    char line[1000];
    int bad = 0, n = 0;
    struct file f = {0};
    struct gr_image im = {0};
    struct gr_preprocessor pp = {0};
    while (fgets(line, sizeof line, in)) {
        if (*line == '#')
            continue;
        n++;
        bad += *line == 'd'   ? !decode_line(line, &f, &im)
               : *line == 'a' ? !alpha_line(line, &f, &im)
               : *line == 'c' ? !crop_line(line, &f, &pp)
                              : !norm_line(line, &f, &pp);
    }
    fclose(in);
    gr_free(f.data);
    gr_image_clear(&im);
    gr_preprocessor_clear(&pp);
    assert_true(n > 150);
    assert_int_equal(bad, 0);
}

/* Calls f for every golden picture. */
static void each_picture(void (*f)(const char *name, const struct file *file))
{
    DIR *d = opendir(GOLDEN "images");
    struct dirent *e;
    struct file file = {0};
    int n = 0;
    assert_non_null(d);
    while ((e = readdir(d))) {
        if (*e->d_name == '.')
            continue;
        read_picture(e->d_name, &file);
        f(e->d_name, &file);
        n++;
    }
    closedir(d);
    gr_free(file.data);
    assert_true(n > 60);
}

static void window_case(const char *name, const struct file *f)
{
    struct gr_image all = {0}, part = {0};
    struct graft_error err;
    assert_int_equal(gr_image_decode(f->data, f->size, NULL, NULL, &all, &err), GRAFT_OK);
    for (uint64_t i = 0; i < 40; i++) {
        struct gr_rect r;
        r.x = (int)gr_rng_below(3, 0, i, (uint64_t)all.width);
        r.y = (int)gr_rng_below(3, 1, i, (uint64_t)all.height);
        r.width = 1 + (int)gr_rng_below(3, 2, i, (uint64_t)(all.width - r.x));
        r.height = 1 + (int)gr_rng_below(3, 3, i, (uint64_t)(all.height - r.y));
        if (gr_image_decode(f->data, f->size, &r, NULL, &part, &err))
            fail_msg("%s: %s", name, err.message);
        assert_true(part.x0 <= r.x && part.y0 <= r.y);
        assert_true(part.x0 + part.width >= r.x + r.width);
        assert_true(part.y0 + part.height >= r.y + r.height);
        for (int y = r.y; y < r.y + r.height; y++) {
            const uint8_t *a = all.rgb + (size_t)y * all.stride + 3 * (size_t)r.x;
            const uint8_t *b =
                part.rgb + (size_t)(y - part.y0) * part.stride + 3 * (size_t)(r.x - part.x0);
            if (memcmp(a, b, 3 * (size_t)r.width))
                fail_msg("%s: window %d,%d %dx%d differs in row %d", name, r.x, r.y, r.width,
                         r.height, y);
        }
    }
    gr_image_clear(&all);
    gr_image_clear(&part);
}

static void windows_are_exact(void **state)
{
    (void)state;
    each_picture(window_case);
}

static const struct graft_preprocess small = {.width = 24,
                                              .height = 24,
                                              .resize_to = 28,
                                              .filter = GRAFT_BILINEAR,
                                              .scale = 1,
                                              .std = {1, 1, 1}};

static void truncated_case(const char *name, const struct file *f)
{
    struct gr_preprocessor pp = {0};
    float out[3 * 24 * 24];
    for (size_t k = 0; k < 60; k++) {
        size_t n = f->size * k / 60;
        uint8_t *copy = gr_alloc(n); /* so that reading past the end is seen */
        struct graft_error err;
        assert_non_null(copy);
        memcpy(copy, f->data, n);
        enum graft_status s = gr_preprocess_picture(&pp, copy, n, &small, out, NULL, &err);
        /* Run-length bitmaps may end early, only a GIF's first frame is read, and the last bytes of
           a PNG hold no pixels. */
        bool may = strstr(name, "rle") || strstr(name, "gif_animation") || n + 24 >= f->size;
        if (!s && !may)
            fail_msg("%s: read from %zu of %zu bytes", name, n, f->size);
        assert_true(!s || s == GRAFT_E_FORMAT || s == GRAFT_E_UNSUPPORTED);
        gr_free(copy);
    }
    gr_preprocessor_clear(&pp);
}

static void truncated_is_refused(void **state)
{
    (void)state;
    each_picture(truncated_case);
}

static void damaged_case(const char *name, const struct file *f)
{
    (void)name;
    struct gr_preprocessor pp = {.limits = {1 << 20, 1 << 16}};
    float out[3 * 24 * 24];
    uint8_t *copy = gr_alloc(f->size);
    struct graft_error err;
    assert_non_null(copy);
    for (uint64_t k = 0; k < 60; k++) {
        memcpy(copy, f->data, f->size);
        for (uint64_t i = 0; i <= k % 6; i++) {
            /* Half of the damage hits the header. */
            uint64_t most = i & 1 && f->size > 64 ? 64 : f->size;
            copy[gr_rng_below(k, 0, i, most)] = (uint8_t)gr_rng_u64(k, 1, i);
        }
        gr_preprocess_picture(&pp, copy, f->size, &small, out, NULL, &err);
    }
    gr_free(copy);
    gr_preprocessor_clear(&pp);
}

static void damaged_never_crashes(void **state)
{
    (void)state;
    each_picture(damaged_case);
}

static void absurd_sizes(void **state)
{
    (void)state;
    struct gr_image im = {0};
    struct graft_error err;
    struct file f = {0};
    read_picture("jpeg_444.jpg", &f);
    uint8_t *sof = memmem(f.data, f.size, "\xff\xc0\0\x11\x08", 5);
    assert_non_null(sof);
    memcpy(sof + 5, "\x0f\xa0\x0f\xa0", 4); /* 4000 x 4000 in two kilobytes */
    assert_int_equal(gr_image_decode(f.data, f.size, NULL, NULL, &im, &err), GRAFT_E_FORMAT);
    assert_true(im.cap == 0);
    memcpy(sof + 5, "\xff\xff\xff\xff", 4);
    assert_int_equal(gr_image_decode(f.data, f.size, NULL, NULL, &im, &err), GRAFT_E_LIMIT);
    assert_non_null(strstr(err.message, "65535x65535"));
    const struct gr_image_limits limits = {33 * 47 - 1, 1000};
    read_picture("png_rgb8.png", &f);
    assert_int_equal(gr_image_decode(f.data, f.size, NULL, &limits, &im, &err), GRAFT_E_LIMIT);
    assert_int_equal(gr_image_decode("", 0, NULL, NULL, &im, &err), GRAFT_E_FORMAT);
    assert_int_equal(gr_image_decode("hello", 5, NULL, NULL, &im, &err), GRAFT_E_FORMAT);
    read_picture("gif_offset.gif", &f);
    memcpy(f.data + 6, "\x00\x30\x00\x30", 4); /* a canvas of 12288 x 12288 */
    assert_int_equal(gr_image_decode(f.data, 1000, NULL, NULL, &im, &err), GRAFT_E_LIMIT);
    assert_true(im.cap == 0);
    read_picture("png_rgb8.png", &f);
    const struct gr_rect outside = {0, 0, 48, 33};
    assert_int_equal(gr_image_decode(f.data, f.size, &outside, NULL, &im, &err), GRAFT_E_ARG);
    gr_image_clear(&im);
    gr_free(f.data);
}

static void missing_data_before_end_marker(void **state)
{
    (void)state;
    struct gr_image im = {0};
    struct graft_error err;
    struct file f = {0};
    read_picture("jpeg_420.jpg", &f);
    f.data[f.size * 3 / 4] = 0xff;
    f.data[f.size * 3 / 4 + 1] = 0xd9;
    assert_int_equal(gr_image_decode(f.data, f.size * 3 / 4 + 2, NULL, NULL, &im, &err),
                     GRAFT_E_FORMAT);
    gr_image_clear(&im);
    gr_free(f.data);
}

static void pixels_and_channel_orders(void **state)
{
    (void)state;
    struct gr_preprocessor pp = {0};
    struct graft_error err;
    uint8_t rgb[20 * 30 * 3];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(gr_rng_u64(5, 0, i) >> 8);
    struct graft_preprocess p = {.width = 30,
                                 .height = 20,
                                 .resize = GRAFT_RESIZE_STRETCH,
                                 .filter = GRAFT_BICUBIC,
                                 .scale = 1,
                                 .std = {1, 1, 1}};
    float out[3 * 600];
    assert_int_equal(gr_preprocess_pixels(&pp, rgb, 30, 20, 90, &p, out, &err), GRAFT_OK);
    assert_memory_equal(pp.pixels, rgb, sizeof rgb); /* the same size: nothing changes */
    p.channels = GRAFT_BGR;
    p.mean[0] = 10;
    p.std[2] = 2;
    assert_int_equal(gr_preprocess_pixels(&pp, rgb, 30, 20, 90, &p, out, &err), GRAFT_OK);
    assert_true(out[7] == rgb[7 * 3 + 2] - 10.0f && out[607] == rgb[7 * 3 + 1]);
    assert_true(out[1207] == rgb[7 * 3] / 2.0f);
    p.channels = GRAFT_GREY;
    assert_int_equal(gr_preprocess_channels(&p), 1);
    assert_int_equal(gr_preprocess_pixels(&pp, rgb, 30, 20, 90, &p, out, &err), GRAFT_OK);
    unsigned grey = (rgb[21] * 19595u + rgb[22] * 38470u + rgb[23] * 7471u + 32768) >> 16;
    assert_true(out[7] == (float)grey - 10.0f);
    uint8_t thumb[GR_THUMB_SIZE];
    gr_preprocess_thumb(&pp, thumb);
    unsigned sum = 0; /* area 0,0 is columns 0 and row 0: 30/16 = 1, 20/16 = 1 */
    sum = (rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 32768) >> 16;
    assert_int_equal(thumb[0], sum);
    p = (struct graft_preprocess){.width = 30,
                                  .height = 20,
                                  .resize = GRAFT_RESIZE_STRETCH,
                                  .channels = GRAFT_RGBA,
                                  .scale = 1,
                                  .mean = {0, 0, 0, 255},
                                  .std = {1, 1, 1, 2}};
    float rgba[4 * 600];
    assert_int_equal(gr_preprocess_pixels(&pp, rgb, 30, 20, 90, &p, rgba, &err), GRAFT_OK);
    assert_true(rgba[7] == rgb[7 * 3] && rgba[1207] == rgb[7 * 3 + 2]);
    assert_true(rgba[1800] == 0 && rgba[2399] == 0); /* opaque */
    struct file f = {0};
    read_picture("png_la8.png", &f);
    assert_int_equal(gr_preprocess_picture(&pp, f.data, f.size, &p, rgba, NULL, &err), GRAFT_OK);
    bool holes = false;
    for (int i = 1800; i < 2400; i++)
        holes = holes || rgba[i] < 0;
    assert_true(holes);
    p.resize = GRAFT_RESIZE_LETTERBOX; /* the borders are opaque */
    assert_int_equal(gr_preprocess_picture(&pp, f.data, f.size, &p, rgba, NULL, &err), GRAFT_OK);
    assert_true(rgba[1800] == 0 && rgba[0] == 0);
    gr_free(f.data);
    p.std[0] = 0;
    assert_int_equal(gr_preprocess_check(&p, &err), GRAFT_E_ARG);
    p.std[0] = 1;
    p.width = 0;
    assert_int_equal(gr_preprocess_check(&p, &err), GRAFT_E_ARG);
    gr_preprocessor_clear(&pp);
}

/* Extreme shapes must cost what the crop costs. */
static void strips(void **state)
{
    (void)state;
    struct gr_preprocessor pp = {0};
    struct graft_error err;
    int n = 100000;
    uint8_t *rgb = gr_alloc_zero((size_t)n, 3);
    float *out = gr_alloc_array(3 * 224 * 224, sizeof *out);
    assert_non_null(rgb);
    assert_non_null(out);
    memset(rgb, 77, 3 * (size_t)n);
    for (int f = GRAFT_NEAREST; f <= GRAFT_BOX; f++) {
        for (int r = GRAFT_RESIZE_SHORTEST; r <= GRAFT_RESIZE_LETTERBOX; r++) {
            struct graft_preprocess p = {.width = 224,
                                         .height = 224,
                                         .resize_to = 256,
                                         .resize = (enum graft_resize)r,
                                         .scale = 1,
                                         .filter = (enum graft_filter)f,
                                         .std = {1, 1, 1}};
            p.pad_value = 9;
            assert_int_equal(gr_preprocess_pixels(&pp, rgb, n, 1, 3 * (size_t)n, &p, out, &err),
                             GRAFT_OK);
            assert_true(out[112 * 224 + 112] == 77 || r == GRAFT_RESIZE_LETTERBOX);
            assert_int_equal(gr_preprocess_pixels(&pp, rgb, 1, n, 3, &p, out, &err), GRAFT_OK);
            assert_true(out[112 * 224 + 112] == 77 || r == GRAFT_RESIZE_LETTERBOX);
        }
    }
    gr_free(rgb);
    gr_free(out);
    gr_preprocessor_clear(&pp);
}

/* The loops for one kind of processor against the portable ones, over all distances of taps. */
static void resizing_is_portable(void **state)
{
    (void)state;
    enum { MOST = 900, SIDE = 96 };
    struct gr_resizer fast = {0}, plain = {.portable = true};
    struct gr_image image = {0};
    struct graft_error err;
    uint8_t *rgb = gr_alloc_array(MOST * 3, 40), a[3 * SIDE * SIDE], b[3 * SIDE * SIDE];
    assert_non_null(rgb);
    for (uint64_t i = 0; i < MOST * 3 * 40; i++) /* mostly the ends of the scale */
        rgb[i] = (uint8_t)(gr_rng_below(4, 1, i, 3) ? 255 * (gr_rng_u64(4, 0, i) & 1)
                                                    : gr_rng_u64(4, 0, i) >> 8);
    for (uint64_t i = 0; i < 600; i++) {
        const int w = 1 + (int)gr_rng_below(5, 0, i, i % 2 ? MOST : 150);
        const int h = 1 + (int)gr_rng_below(5, 1, i, 40);
        struct gr_resize p = {.filter = GRAFT_BILINEAR + (int)gr_rng_below(5, 2, i, 4)};
        p.full_width = 1 + (int64_t)gr_rng_below(5, 3, i, 2 * SIDE);
        p.full_height = 1 + (int64_t)gr_rng_below(5, 4, i, 2 * SIDE);
        p.width =
            1 + (int)gr_rng_below(5, 5, i, p.full_width < SIDE ? (uint64_t)p.full_width : SIDE);
        p.height =
            1 + (int)gr_rng_below(5, 6, i, p.full_height < SIDE ? (uint64_t)p.full_height : SIDE);
        p.x = (int64_t)gr_rng_below(5, 7, i, (uint64_t)(p.full_width - p.width + 1));
        p.y = (int64_t)gr_rng_below(5, 8, i, (uint64_t)(p.full_height - p.height + 1));
        const size_t stride = 3 * (size_t)p.width;
        assert_int_equal(gr_image_from_pixels(&image, rgb, w, h, 3 * (size_t)w,
                                              gr_resize_source(&p, w, h), &err),
                         GRAFT_OK);
        assert_int_equal(gr_resize(&fast, &image, &p, a, stride, &err), GRAFT_OK);
        assert_int_equal(gr_resize(&plain, &image, &p, b, stride, &err), GRAFT_OK);
        assert_memory_equal(a, b, stride * (size_t)p.height);
    }
    gr_image_clear(&image);
    gr_resizer_clear(&fast);
    gr_resizer_clear(&plain);
    gr_free(rgb);
}

static void no_memory(void **state)
{
    (void)state;
    struct file f = {0};
    float out[3 * 24 * 24];
    static const char *const names[] = {"jpeg_exif6.jpg", "jpeg_cmyk.jpg", "png_rgb8.png",
                                        "gif_offset.gif", "bmp_rle8.bmp",  "webp_exif.webp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        read_picture(names[i], &f);
        for (uint64_t n = 1;; n++) {
            struct gr_preprocessor pp = {0};
            struct graft_error err;
            gr_mem_fail_at(n);
            enum graft_status s =
                gr_preprocess_picture(&pp, f.data, f.size, &small, out, NULL, &err);
            gr_mem_fail_at(0);
            gr_preprocessor_clear(&pp);
            if (!s)
                break;
            assert_int_equal(s, GRAFT_E_NOMEM);
            assert_true(n < 50);
        }
    }
    gr_free(f.data);
}

static void sniffing(void **state)
{
    (void)state;
    assert_int_equal(gr_format_of_name("a.b/c"), GR_FORMAT_UNKNOWN);
    assert_int_equal(gr_format_of_name("x/y.JPeG"), GR_FORMAT_JPEG);
    assert_int_equal(gr_sniff("\x89PNG\r\n\x1a\n", 7), GR_FORMAT_UNKNOWN);
    assert_int_equal(gr_sniff("\x89PNG\r\n\x1a\n", 8), GR_FORMAT_PNG);
    assert_int_equal(gr_sniff("BMW is a brand of cars", 22), GR_FORMAT_UNKNOWN);
    assert_string_equal(gr_format_name(GR_FORMAT_WEBP), "WebP");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sniffing),
        cmocka_unit_test(equal_to_pillow),
        cmocka_unit_test(windows_are_exact),
        cmocka_unit_test(truncated_is_refused),
        cmocka_unit_test(damaged_never_crashes),
        cmocka_unit_test(absurd_sizes),
        cmocka_unit_test(missing_data_before_end_marker),
        cmocka_unit_test(pixels_and_channel_orders),
        cmocka_unit_test(strips),
        cmocka_unit_test(resizing_is_portable),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
