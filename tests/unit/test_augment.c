/* Do augmentations equal torchvision's, and do views depend on nothing but their numbers? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/file.h"
#include "base/mem.h"
#include "data/augment_ops.h"
#include "data/loader.h"

enum { W = 29, H = 22, SIZE = 3 * W * H };
static const uint8_t fill[3] = {1, 2, 3}, mean[3] = {124, 116, 104};

static int load(void **state)
{
    struct gr_map map;
    if (gr_map_open("../golden/augment_golden.raw", &map, NULL))
        return -1;
    uint8_t *copy = gr_alloc(map.size + GR_IMAGE_SLACK);
    memcpy(copy, map.data, map.size);
    *state = copy;
    int bad = map.size != 15 * SIZE + 3 * (9 * 14 + 20 * 31);
    gr_map_close(&map);
    return bad;
}

static int unload(void **state)
{
    gr_free(*state);
    return 0;
}

static void same(const char *what, const uint8_t *got, const uint8_t *want, size_t n, int within,
                 double allowed)
{
    size_t n_off = 0;
    for (size_t i = 0; i < n; i++)
        n_off += abs(got[i] - want[i]) > within;
    if ((double)n_off > allowed * (double)n)
        fail_msg("%s: %zu of %zu bytes differ by more than %d", what, n_off, n, within);
}

static void test_operations(void **state)
{
    const uint8_t *g = *state;
    const size_t n = (size_t)W * H;
    uint8_t p[SIZE], scratch[SIZE], big[3 * 20 * 31];
    struct gr_image image = {.rgb = (uint8_t *)*state,
                             .stride = 3 * W,
                             .width = W,
                             .height = H,
                             .full_width = W,
                             .full_height = H};
    struct gr_resizer rs = {0};
    const uint8_t *want = g + SIZE;
#define CHECK(what, within, allowed, call)                                                         \
    memcpy(p, g, SIZE);                                                                            \
    call;                                                                                          \
    same(what, p, want, SIZE, within, allowed);                                                    \
    want += SIZE
    CHECK("flip", 0, 0, gr_pixels_flip(p, W, H));
    struct gr_rect box = {5, 3, 17, 12};
    assert_int_equal(gr_augment_resize(&rs, &image, box, GRAFT_BILINEAR, big, 14, 9, NULL), 0);
    same("crop, bilinear", big, want, 3 * 14 * 9, 0, 0);
    want += 3 * 14 * 9;
    box = (struct gr_rect){6, 2, 8, 10};
    assert_int_equal(gr_augment_resize(&rs, &image, box, GRAFT_BICUBIC, big, 31, 20, NULL), 0);
    same("crop, bicubic", big, want, 3 * 31 * 20, 0, 0);
    want += 3 * 31 * 20;
    box.width = W;
    assert_int_equal(gr_augment_resize(&rs, &image, box, GRAFT_BICUBIC, big, 31, 20, NULL),
                     GRAFT_E_ARG);
    CHECK("erase", 0, 0, gr_pixels_erase(p, W, ((struct gr_rect){7, 4, 13, 9}), mean));
    const double move[6] = {1, 0, -3, 0, 1, 2};
    CHECK("translate", 0, 0, gr_pixels_affine(p, W, H, move, fill, scratch));
    CHECK("brightness", 0, 0, gr_pixels_brightness(p, n, 1.4));
    CHECK("contrast", 0, 0, gr_pixels_contrast(p, n, 0.6));
    CHECK("saturation", 0, 0, gr_pixels_saturation(p, n, 1.7));
    CHECK("posterize", 0, 0, gr_pixels_posterize(p, n, 3));
    CHECK("solarize", 0, 0, gr_pixels_solarize(p, n, 100));
    CHECK("autocontrast", 0, 0, gr_pixels_autocontrast(p, n));
    CHECK("equalize", 0, 0, gr_pixels_equalize(p, n));
    CHECK("sharpness 1.8", 0, 0, gr_pixels_sharpness(p, W, H, 1.8, scratch));
    CHECK("sharpness 0.3", 0, 0, gr_pixels_sharpness(p, W, H, 0.3, scratch));
    const double c = cos(M_PI / 6), s = sin(M_PI / 6), x = W * 0.5, y = H * 0.5;
    const double turn[6] = {c, -s, x - c * x + s * y, s, c, y - s * x - c * y};
    CHECK("rotate", 0, 0.01, gr_pixels_affine(p, W, H, turn, fill, scratch));
    CHECK("hue", 6, 0.01, gr_pixels_hue(p, n, 0.2));
    gr_resizer_clear(&rs);
}

static void test_smoothing_and_noise(void **state)
{
    const uint8_t *g = *state;
    uint8_t p[SIZE], flat[SIZE], scratch[SIZE];
    struct gr_augmenter aug = {0};
    memset(flat, 77, sizeof flat);
    gr_pixels_blur(flat, W, H, 1.3, scratch);
    for (int i = 0; i < SIZE; i++)
        assert_int_equal(flat[i], 77);
    memset(p, 0, sizeof p);
    memset(p + 3 * (10 * W + 14), 255, 3); /* a point becomes the kernel */
    gr_pixels_blur(p, W, H, 1.0, scratch);
    assert_in_range(p[3 * (10 * W + 14)], 39, 42); /* 255 / (2 pi) */
    assert_int_equal(p[3 * (10 * W + 12)], p[3 * (10 * W + 16)]);
    assert_int_equal(p[3 * (8 * W + 14)], p[3 * (12 * W + 14)]);
    memset(flat, 100, sizeof flat);
    gr_pixels_noise(flat, W * H, 10, 3);
    double sum = 0, squares = 0;
    for (int i = 0; i < SIZE; i++) {
        sum += flat[i] - 100;
        squares += (flat[i] - 100) * (flat[i] - 100);
    }
    assert_true(fabs(sum / SIZE) < 0.8 && fabs(sqrt(squares / SIZE) - 10) < 0.6);
    double last = 0;
    for (int quality = 95; quality >= 5; quality -= 45) { /* errors grow as quality falls */
        memcpy(p, g, SIZE);
        assert_int_equal(gr_pixels_jpeg(&aug, p, W, H, quality, NULL), GRAFT_OK);
        double off = 0;
        for (int i = 0; i < SIZE; i++)
            off += abs(p[i] - g[i]);
        assert_true(off / SIZE > last && off / SIZE < 60);
        last = off / SIZE;
    }
    gr_augmenter_clear(&aug);
}

static void test_crops(void **state)
{
    (void)state;
    struct gr_augment a;
    double area = 0, left = 0;
    int n = 4000, n_flat = 0;
    gr_augment_init(&a, GR_AUGMENT_TRIVIAL);
    for (int i = 0; i < n; i++) {
        struct gr_rect r = gr_augment_crop(&a, (struct gr_view){1, i / 7, i}, 300, 200);
        assert_true(r.x >= 0 && r.y >= 0 && r.width > 0 && r.height > 0);
        assert_true(r.x + r.width <= 300 && r.y + r.height <= 200);
        double part = r.width * r.height / 60000.0, ratio = (double)r.width / r.height;
        assert_true(part > 0.075 && ratio > 0.72 && ratio < 1.37);
        area += part / n;
        left += r.width < 300 ? (double)r.x / (300 - r.width) / n : 0;
        n_flat += ratio > 1;
    }
    /* torchvision: mean area 0.390 and 57.7 % wider than high on such a picture (large squarish
       crops do not fit and are thrown again) */
    assert_true(fabs(area - 0.390) < 0.012 && fabs(left - 0.5) < 0.02);
    assert_true(abs(n_flat - (int)(0.577 * n)) < 0.03 * n);
    struct gr_rect strip = gr_augment_crop(&a, (struct gr_view){0}, 1000, 3);
    assert_true(strip.width == 4 && strip.height == 3 && strip.x == 498);
    strip = gr_augment_crop(&a, (struct gr_view){0}, 1, 1);
    assert_true(strip.width == 1 && strip.height == 1);
}

static void test_views(void **state)
{
    const uint8_t *g = *state;
    struct gr_augmenter one = {0}, two = {0};
    struct gr_augment a;
    uint8_t p[SIZE], q[SIZE];
    int n_same = 0, n_flipped = 0;
    for (int preset = 0; preset <= GR_AUGMENT_TRIVIAL + 1; preset++) {
        gr_augment_init(&a, preset > 2 ? GR_AUGMENT_LIGHT : (enum gr_augment_preset)preset);
        if (preset > 2) { /* everything at once */
            a.rotate = 20, a.hue = 0.1, a.noise = 4;
            a.grey = a.blur = a.jpeg = a.erase = 0.5;
        }
        assert_int_equal(gr_augment_check(&a, NULL), GRAFT_OK);
        for (int i = 0; i < 200; i++) {
            struct gr_view v = {7, i % 3, i};
            memcpy(p, g, SIZE);
            memcpy(q, g, SIZE);
            assert_int_equal(gr_augment_pixels(&a, &one, v, p, W, H, NULL), GRAFT_OK);
            assert_int_equal(gr_augment_pixels(&a, &two, v, q, W, H, NULL), GRAFT_OK);
            assert_memory_equal(p, q, SIZE);
            if (preset == GR_AUGMENT_NONE)
                assert_memory_equal(p, g, SIZE);
            v.epoch++;
            memcpy(q, g, SIZE);
            assert_int_equal(gr_augment_pixels(&a, &two, v, q, W, H, NULL), GRAFT_OK);
            n_same += preset > 0 && !memcmp(p, q, SIZE);
        }
    }
    assert_true(n_same < 30); /* "nothing" twice is among the trivial ones */
    gr_augment_init(&a, GR_AUGMENT_NONE);
    a.flip = 0.5;
    for (int i = 0; i < 1000; i++) {
        memcpy(p, g, SIZE);
        assert_int_equal(gr_augment_pixels(&a, &one, (struct gr_view){1, 0, i}, p, W, H, NULL), 0);
        n_flipped += !memcmp(p, g + SIZE, SIZE);
    }
    assert_in_range(n_flipped, 440, 560);
    /* one pixel goes through everything */
    gr_augment_init(&a, GR_AUGMENT_TRIVIAL);
    a.blur = a.jpeg = a.erase = 1;
    for (int i = 0; i < 60; i++)
        assert_int_equal(gr_augment_pixels(&a, &one, (struct gr_view){1, 0, i}, p, 1, 1, NULL), 0);
    gr_augmenter_clear(&one);
    gr_augmenter_clear(&two);
}

static void test_refused(void **state)
{
    (void)state;
    struct gr_augment a;
    struct graft_error err;
    enum gr_augment_preset preset;
    gr_augment_init(&a, GR_AUGMENT_LIGHT);
    a.hue = 0.6;
    assert_int_equal(gr_augment_check(&a, &err), GRAFT_E_ARG);
    gr_augment_init(&a, GR_AUGMENT_LIGHT);
    a.crop_area[0] = 0;
    assert_int_equal(gr_augment_check(&a, &err), GRAFT_E_ARG);
    gr_augment_init(&a, GR_AUGMENT_LIGHT);
    a.flip = NAN;
    assert_int_equal(gr_augment_check(&a, &err), GRAFT_E_ARG);
    assert_int_equal(gr_augment_find("trivial", &preset, &err), GRAFT_OK);
    assert_int_equal(preset, GR_AUGMENT_TRIVIAL);
    assert_int_equal(gr_augment_find("strong", &preset, &err), GRAFT_E_ARG);
}

/* Through the loader: NONE changes nothing, workers change nothing, views do. */
static void read_all(const struct gr_augment *a, int workers, int64_t epoch, float *x)
{
    const char *path = "../golden/images/jpeg_420.jpg";
    const char *paths[6] = {path, path, path, path, path, path};
    struct gr_view views[6];
    struct graft_preprocess pre;
    struct gr_loader *l = NULL;
    struct graft_error err;
    const struct gr_batch *b = NULL;
    graft_preprocess_init(&pre);
    pre.width = pre.height = 32, pre.resize_to = 36;
    for (int i = 0; i < 6; i++)
        views[i] = (struct gr_view){1, epoch, i};
    struct gr_loader_options o = {.paths = paths,
                                  .n = 6,
                                  .preprocess = &pre,
                                  .augment = a,
                                  .views = views,
                                  .batch = 4,
                                  .workers = workers};
    if (gr_loader_open(&o, &l, &err))
        fail_msg("%s", err.message);
    for (;;) {
        if (gr_loader_next(l, &b, &err))
            fail_msg("%s", err.message);
        if (!b)
            break;
        assert_int_equal(b->rows, b->n);
        memcpy(x, b->x, b->rows * 3 * 32 * 32 * sizeof *x);
        x += b->rows * 3 * 32 * 32;
    }
    gr_loader_close(l);
}

static void test_loader(void **state)
{
    (void)state;
    enum { ALL = 6 * 3 * 32 * 32 };
    static float plain[ALL], x[ALL], y[ALL];
    struct gr_augment a;
    read_all(NULL, 1, 0, plain);
    gr_augment_init(&a, GR_AUGMENT_NONE);
    read_all(&a, 2, 0, x);
    assert_memory_equal(plain, x, sizeof x);
    for (int preset = 1; preset < 3; preset++) {
        gr_augment_init(&a, (enum gr_augment_preset)preset);
        read_all(&a, 1, 0, x);
        read_all(&a, 3, 0, y);
        assert_memory_equal(x, y, sizeof x);
        assert_memory_not_equal(x, x + ALL / 6, sizeof x / 6);
        read_all(&a, 2, 1, y);
        assert_memory_not_equal(x, y, sizeof x);
        for (int i = 0; i < ALL; i++)
            assert_true(x[i] > -3 && x[i] < 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations), cmocka_unit_test(test_smoothing_and_noise),
        cmocka_unit_test(test_crops),      cmocka_unit_test(test_views),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_loader),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
