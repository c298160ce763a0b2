/* Does the loader give every picture once, in order, whatever the number of workers? */
#include "base/file.h"
#include "base/mem.h"
#include "data/loader.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define IMAGES "../golden/images/"

static const char *const paths[] = {
    IMAGES "jpeg_420.jpg",    IMAGES "png_rgb8.png",      IMAGES "gif_palette.gif",
    IMAGES "absent.jpg",      IMAGES "webp_lossy.webp",   IMAGES "bmp_24.bmp",
    "../unit/CMakeLists.txt", IMAGES "jpeg_exif6.jpg",    IMAGES "jpeg_cmyk.jpg",
    IMAGES "png_la8.png",     IMAGES "jpeg_wide_420.jpg",
};
#define N      (sizeof paths / sizeof *paths)
#define FLOATS (3 * 24 * 20)

static const struct graft_preprocess preprocess = {.width = 20,
                                                   .height = 24,
                                                   .resize_to = 26,
                                                   .filter = GRAFT_BILINEAR,
                                                   .scale = 1 / 255.0,
                                                   .std = {1, 1, 1}};

static bool want_odd(void *user, size_t index, struct gr_hash content)
{
    (void)content;
    int *calls = user; /* one counter per item: workers never share one */
    calls[index]++;
    return index % 2;
}

/* What one item must be, by the slow way. */
static void compare(const struct gr_batch *b, const struct gr_item *item)
{
    static float out[FLOATS];
    struct gr_preprocessor pp = {0};
    struct graft_error err;
    uint8_t *bytes = NULL, thumb[GR_THUMB_SIZE];
    size_t cap = 0, size;
    enum graft_status s = gr_file_read(paths[item->index], 1 << 20, &bytes, &cap, &size, &err);
    if (s) {
        assert_int_equal(item->status, s);
        assert_false(item->have_content);
        assert_non_null(strstr(item->message, "No such file"));
        assert_null(strstr(item->message, "golden"));
        assert_int_equal(item->row, -1);
        return;
    }
    struct gr_hash h = gr_hash_bytes(bytes, size);
    assert_true(item->have_content && item->content.lo == h.lo && item->content.hi == h.hi);
    assert_int_equal(item->size, size);
    assert_int_equal(item->format, gr_sniff(bytes, size));
    s = gr_preprocess_picture(&pp, bytes, size, &preprocess, out, NULL, &err);
    if (!item->wanted) {
        assert_int_equal(item->row, -1);
    } else {
        assert_int_equal(item->status, s);
        assert_string_equal(item->message, s ? err.message : "");
    }
    if (item->row >= 0) {
        assert_true((size_t)item->row < b->rows);
        assert_memory_equal(b->x + (size_t)item->row * FLOATS, out, sizeof out);
        gr_preprocess_thumb(&pp, thumb);
        assert_memory_equal(item->thumb, thumb, sizeof thumb);
        assert_true(item->width > 0 && item->height > 0);
    }
    gr_free(bytes);
    gr_preprocessor_clear(&pp);
}

static void in_order(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 5; workers++) {
        for (size_t batch = 1; batch <= 12; batch += 3) {
            for (int mode = 0; mode < 2; mode++) {
                int calls[N] = {0};
                struct graft_error err;
                struct gr_loader *l = NULL;
                const struct gr_batch *b = NULL;
                size_t next = 0, rows = 0;
                struct gr_loader_options o = {.paths = paths,
                                              .n = N,
                                              .preprocess = &preprocess,
                                              .batch = batch,
                                              .workers = workers,
                                              .depth = workers % 3,
                                              .user = calls,
                                              .wanted = mode ? want_odd : NULL};
                if (gr_loader_open(&o, &l, &err))
                    fail_msg("%s", err.message);
                for (;;) {
                    assert_int_equal(gr_loader_next(l, &b, &err), GRAFT_OK);
                    if (!b)
                        break;
                    for (size_t i = 0; i < b->n; i++) {
                        assert_int_equal(b->items[i].index, next++);
                        compare(b, &b->items[i]);
                    }
                    rows += b->rows;
                }
                assert_int_equal(next, N);
                assert_int_equal(rows, mode ? 4 : 9); /* odd and readable; all readable */
                assert_int_equal(calls[4], mode);
                gr_loader_close(l);
            }
        }
    }
}

static bool stop(void *user)
{
    return *(bool *)user;
}

static void stopping(void **state)
{
    (void)state;
    bool now = false;
    const struct graft_events events = {.user = &now, .cancelled = stop};
    struct graft_error err;
    struct gr_loader *l = NULL;
    const struct gr_batch *b = NULL;
    struct gr_loader_options o = {.paths = paths,
                                  .n = N,
                                  .preprocess = &preprocess,
                                  .batch = 2,
                                  .workers = 3,
                                  .events = &events};
    assert_int_equal(gr_loader_open(&o, &l, &err), GRAFT_OK);
    gr_loader_close(l); /* at once */
    assert_int_equal(gr_loader_open(&o, &l, &err), GRAFT_OK);
    assert_int_equal(gr_loader_next(l, &b, &err), GRAFT_OK);
    now = true;
    assert_int_equal(gr_loader_next(l, &b, &err), GRAFT_E_CANCELLED);
    gr_loader_close(l);
    now = false;
    o.n = 0;
    assert_int_equal(gr_loader_open(&o, &l, &err), GRAFT_OK);
    assert_int_equal(gr_loader_next(l, &b, &err), GRAFT_OK);
    assert_null(b);
    gr_loader_close(l);
    o.batch = 0;
    assert_int_equal(gr_loader_open(&o, &l, &err), GRAFT_E_ARG);
    gr_loader_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_order), cmocka_unit_test(stopping)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
