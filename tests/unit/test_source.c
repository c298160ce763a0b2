/* Are pictures that the program gives treated as the same pictures in files? */
#include "data/source.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/image.h"
#include "job/pictures.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define NETWORK "../e2e/backbone.onnx"

#define OK(call) assert_int_equal(call, GRAFT_OK)

enum { W = 29, H = 33, N = 60, N_CLASSES = 3 };

static const char *const labels[N_CLASSES] = {"checks", "columns", "rows"};
static char folder[64];

struct giver {
    bool as_files, named;
    int64_t broken; /* this one cannot be had; -1: all can */
    char name[64];
};

static uint32_t noise(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

static void draw(int64_t i, uint8_t *rgb)
{
    const uint32_t seed = noise((uint32_t)i + 1);
    const int kind = (int)(i % N_CLASSES), width = 1 + (int)(seed & 1), ink = (int)(seed >> 8 & 63);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            int column = x / width & 1, row = y / width & 1;
            int dark = kind == 0 ? column ^ row : kind == 1 ? column : row;
            for (int c = 0; c < 3; c++)
                rgb[3 * (y * W + x) + c] =
                    (uint8_t)((dark ? ink : 140 + 20 * c) +
                              (int)(noise(seed + (uint32_t)(3 * (y * W + x) + c)) & 31));
        }
}

/* A bitmap as other programs write them: bottom row first, blue first, rows of whole words. */
enum { STRIDE = (3 * W + 3) / 4 * 4, FILE_SIZE = 54 + STRIDE * H };
static void make_file(int64_t i, uint8_t *p)
{
    static const uint8_t header[54] = {
        [0] = 'B', [1] = 'M', [10] = 54, [14] = 40, [18] = W, [22] = H, [26] = 1, [28] = 24};
    uint8_t rgb[3 * W * H];
    draw(i, rgb);
    memset(p, 0, FILE_SIZE);
    memcpy(p, header, sizeof header);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < 3; c++)
                p[54 + (H - 1 - y) * STRIDE + 3 * x + c] = rgb[3 * (y * W + x) + 2 - c];
}

static void describe(void *user, int64_t i, struct graft_example *e)
{
    struct giver *g = user;
    e->label = labels[i % N_CLASSES];
    if (g->as_files)
        e->size = FILE_SIZE;
    else
        e->width = W, e->height = H;
    if (g->named) {
        snprintf(g->name, sizeof g->name, "%s/%s/%03d.bmp", folder, e->label, (int)i);
        e->name = g->name;
    }
}

static bool give(void *user, int64_t i, uint8_t *bytes)
{
    const struct giver *g = user;
    if (i == g->broken)
        return false;
    if (g->as_files)
        make_file(i, bytes);
    else
        draw(i, bytes);
    return true;
}

static struct graft_source source_of(struct giver *g)
{
    return (struct graft_source){.user = g, .n = N, .describe = describe, .read = give};
}

static int make_folder(void **state)
{
    (void)state;
    uint8_t bytes[FILE_SIZE];
    char path[160];
    strcpy(folder, "/tmp/graft-test-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    for (int c = 0; c < N_CLASSES; c++) {
        snprintf(path, sizeof path, "%s/%s", folder, labels[c]);
        mkdir(path, 0777);
    }
    for (int i = 0; i < N; i++) {
        make_file(i, bytes);
        snprintf(path, sizeof path, "%s/%s/%03d.bmp", folder, labels[i % N_CLASSES], i);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(bytes, 1, sizeof bytes, f) != sizeof bytes || fclose(f))
            return 1;
    }
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s %s.*", folder, folder);
    return system(command) != 0;
}

static enum graft_status train(const struct graft_source *source, const char *unfreeze, char *out,
                               struct graft_error *err)
{
    struct graft_train_options o;
    graft_train_options_init(&o);
    snprintf(out, 100, "%s.%s.onnx", folder, source ? "source" : "files");
    o.data = folder;
    o.from = NETWORK;
    o.out = out;
    o.pictures.source = source;
    o.pictures.cache = "";
    o.pictures.workers = 3;
    o.pictures.test = 0.2;
    o.finetune.unfreeze = unfreeze;
    o.finetune.epochs = 1;
    o.finetune.batch = 8;
    return graft_train(&o, NULL, NULL, err);
}

static uint8_t *read_all(const char *path, size_t *size)
{
    struct graft_error err;
    uint8_t *bytes = NULL;
    size_t cap = 0;
    assert_int_equal(gr_file_read(path, 1 << 24, &bytes, &cap, size, &err), GRAFT_OK);
    return bytes;
}

static int compare_examples(const void *a, const void *b)
{
    return strcmp(((const struct gr_example *)a)->path, ((const struct gr_example *)b)->path);
}

/* The same names, labels and pixels, by each of the three ways. */
static void same_pictures(void **state)
{
    (void)state;
    for (int as_files = 0; as_files < 2; as_files++) {
        struct giver g = {.as_files = as_files, .named = true, .broken = -1};
        const struct graft_source source = source_of(&g);
        struct gr_dataset a = {0}, b = {0};
        struct graft_error err;
        assert_int_equal(gr_source_open(&source, &a, &err), GRAFT_OK);
        assert_int_equal(gr_dataset_open(folder, &b, &err), GRAFT_OK);
        assert_int_equal(a.n, N);
        assert_int_equal(b.n, N);
        assert_int_equal(a.n_classes, b.n_classes);
        qsort(a.examples, a.n, sizeof *a.examples, compare_examples);
        uint8_t *bytes = NULL;
        size_t cap = 0, size;
        struct gr_image x = {0}, y = {0};
        for (size_t i = 0; i < N; i++) {
            assert_string_equal(a.examples[i].path, b.examples[i].path);
            assert_int_equal(a.examples[i].label, b.examples[i].label);
            assert_int_equal(
                gr_source_read(a.source, a.examples[i].path, 1 << 20, &bytes, &cap, &size, &err),
                GRAFT_OK);
            assert_int_equal(gr_image_decode(bytes, size, NULL, NULL, &x, &err), GRAFT_OK);
            assert_int_equal(
                gr_source_read(NULL, b.examples[i].path, 1 << 20, &bytes, &cap, &size, &err),
                GRAFT_OK);
            assert_int_equal(gr_image_decode(bytes, size, NULL, NULL, &y, &err), GRAFT_OK);
            assert_true(x.width == W && x.height == H && y.width == W && y.height == H);
            for (int row = 0; row < H; row++)
                assert_memory_equal(x.rgb + (size_t)row * x.stride, y.rgb + (size_t)row * y.stride,
                                    3 * W);
        }
        gr_image_clear(&x);
        gr_image_clear(&y);
        gr_free(bytes);
        gr_dataset_clear(&a);
        gr_dataset_clear(&b);
    }
}

static void on_prediction(void *user, const char *path, int n, const char *const *names,
                          const float *probs, const char *problem)
{
    int *right = user;
    int best = 0;
    (void)path;
    assert_null(problem);
    assert_int_equal(n, N_CLASSES);
    for (int c = 1; c < n; c++)
        if (probs[c] > probs[best])
            best = c;
    *right += strstr(path, names[best]) != NULL;
}

static void trains(void **state)
{
    (void)state;
    struct giver g = {.named = true, .broken = -1};
    const struct graft_source source = source_of(&g);
    struct graft_error err = {0};
    char out[100];
    for (int tuned = 0; tuned < 2; tuned++) {
        int right = 0;
        int64_t n_bad = -1;
        struct graft_predict_options o;
        assert_int_equal(train(&source, tuned ? "1" : NULL, out, &err), GRAFT_OK);
        graft_predict_options_init(&o);
        o.model = out;
        o.pictures.source = &source;
        assert_int_equal(graft_predict(&o, on_prediction, &right, &n_bad, NULL, &err), GRAFT_OK);
        assert_int_equal(n_bad, 0);
        assert_true(right >= N * 8 / 10);
    }
}

/* By folder order, the program's pictures give the model that the files give, to the byte. */
static int64_t in_folder_order(int64_t i)
{
    return i % (N / N_CLASSES) * N_CLASSES + i / (N / N_CLASSES);
}

static void describe_ordered(void *user, int64_t i, struct graft_example *e)
{
    describe(user, in_folder_order(i), e);
}

static bool give_ordered(void *user, int64_t i, uint8_t *bytes)
{
    return give(user, in_folder_order(i), bytes);
}

static void same_model(void **state)
{
    (void)state;
    struct giver g = {.named = true, .broken = -1};
    struct graft_source source = source_of(&g);
    source.describe = describe_ordered;
    source.read = give_ordered;
    struct graft_error err = {0};
    char path_a[100], path_b[100];
    size_t size_a, size_b;
    for (int tuned = 0; tuned < 2; tuned++) {
        const char *unfreeze = tuned ? "all" : NULL;
        assert_int_equal(train(&source, unfreeze, path_a, &err), GRAFT_OK);
        assert_int_equal(train(NULL, unfreeze, path_b, &err), GRAFT_OK);
        uint8_t *a = read_all(path_a, &size_a), *b = read_all(path_b, &size_b);
        assert_int_equal(size_a, size_b);
        assert_memory_equal(a, b, size_a);
        gr_free(a);
        gr_free(b);
    }
}

static void count_warnings(void *user, enum graft_level level, const char *topic, const char *text)
{
    int *n = user;
    (void)topic;
    *n += level == GRAFT_WARNING && strstr(text, "could not give this picture") != NULL;
}

static void one_is_missing(void **state)
{
    (void)state;
    struct giver g = {.broken = 7};
    const struct graft_source source = source_of(&g);
    struct graft_data_options o;
    struct graft_error err = {0};
    int n = 0;
    const struct graft_events ev = {.user = &n, .note = count_warnings};
    char out[100];
    graft_data_options_init(&o);
    o.source = &source;
    assert_int_equal(graft_check("memory", &o, &ev, &err), GRAFT_OK);
    assert_int_equal(n, 1);
    assert_int_equal(train(&source, NULL, out, &err), GRAFT_OK);
    struct graft_features_options f;
    graft_features_options_init(&f);
    f.data = "memory";
    f.from = NETWORK;
    f.out = out;
    f.pictures = o;
    f.pictures.stop_on_bad = true;
    f.pictures.cache = "";
    strcpy(strrchr(out, '.'), ".npy");
    assert_int_equal(graft_features(&f, NULL, &err), GRAFT_E_FORMAT);
    assert_non_null(strstr(err.message, "7: the program could not give"));
}

/* Each picture twice, once in each split. */
static void describe_twice(void *user, int64_t i, struct graft_example *e)
{
    describe(user, i / 2, e);
    e->split = i % 2 ? "test" : "train";
}

static bool give_half(void *user, int64_t i, uint8_t *bytes)
{
    return give(user, i / 2, bytes);
}

static void same_in_two_splits(void **state)
{
    (void)state;
    struct giver g = {.broken = -1};
    struct graft_source source = source_of(&g);
    struct graft_data_options o;
    struct graft_error err = {0};
    graft_data_options_init(&o);
    o.source = &source;
    assert_int_equal(graft_check("memory", &o, NULL, &err), GRAFT_OK);
    source.describe = describe_twice;
    source.read = give_half;
    assert_int_equal(graft_check("memory", &o, NULL, &err), GRAFT_E_CHECK);
}

/* ---- what a program can get wrong ---- */

static struct graft_example wrong;

static void describe_wrong(void *user, int64_t i, struct graft_example *e)
{
    (void)user;
    (void)i;
    *e = wrong;
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        struct graft_example e;
        const char *says;
    } cases[] = {
        {{.label = "a"}, "0x0 pixels and a file of 0 bytes"},
        {{.width = 4, .height = 4, .size = 9}, "4x4 pixels and a file of 9 bytes"},
        {{.width = 4, .height = -4}, "4x-4 pixels"},
        {{.width = 4, .height = 4, .split = "other"}, "split 'other'"},
        {{.width = 4, .height = 4, .name = "x"}, "examples 0 and 1 have one name, 'x'"},
    };
    struct gr_dataset ds = {0};
    struct graft_error err = {0};
    struct graft_source source = {.n = 2, .describe = describe_wrong, .read = give};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wrong = cases[i].e;
        assert_int_equal(gr_source_open(&source, &ds, &err), GRAFT_E_ARG);
        if (!strstr(err.message, cases[i].says))
            fail_msg("'%s' does not say '%s'", err.message, cases[i].says);
        assert_int_equal(ds.n, 0);
    }
    source.read = NULL;
    assert_int_equal(gr_source_open(&source, &ds, &err), GRAFT_E_ARG);
    /* both, or neither, of paths and a source */
    struct graft_predict_options o;
    const char *const path = folder;
    graft_predict_options_init(&o);
    o.model = NETWORK;
    assert_int_equal(graft_predict(&o, on_prediction, NULL, NULL, NULL, &err), GRAFT_E_ARG);
    o.pictures.source = &source;
    o.n_paths = 1;
    o.paths = &path;
    assert_int_equal(graft_predict(&o, on_prediction, NULL, NULL, NULL, &err), GRAFT_E_ARG);
    assert_int_equal(graft_check(NULL, &o.pictures, NULL, &err), GRAFT_E_ARG);
}

static void too_large(void **state)
{
    (void)state;
    struct gr_dataset ds = {0};
    struct graft_error err = {0};
    const struct graft_source source = {.n = 1, .describe = describe_wrong, .read = give};
    uint8_t *bytes = NULL;
    size_t cap = 0, size = 0;
    wrong = (struct graft_example){.width = 2147483647, .height = 2147483647};
    assert_int_equal(gr_source_open(&source, &ds, &err), GRAFT_OK);
    assert_int_equal(gr_source_read(ds.source, "0", 1 << 30, &bytes, &cap, &size, &err),
                     GRAFT_E_LIMIT);
    assert_int_equal(gr_source_read(ds.source, "1", 1 << 30, &bytes, &cap, &size, &err),
                     GRAFT_E_IO);
    assert_null(bytes);
    gr_dataset_clear(&ds);
}

static void out_of_memory(void **state)
{
    (void)state;
    struct giver g = {.named = true, .broken = -1};
    const struct graft_source source = source_of(&g);
    struct gr_dataset ds = {0};
    struct graft_error err;
    uint64_t n = 1;
    for (;; n++) {
        gr_mem_fail_at(n);
        enum graft_status s = gr_source_open(&source, &ds, &err);
        gr_mem_fail_at(0);
        if (!s)
            break;
        assert_int_equal(s, GRAFT_E_NOMEM);
    }
    assert_true(n > 3);
    gr_dataset_clear(&ds);
}

/* The same vectors come out when the first pictures were run before the others, by two networks. */
static void first_ones(void **state)
{
    (void)state;
    enum { BATCH = 4 };
    struct giver g = {.as_files = true, .broken = 1};
    struct graft_source source = source_of(&g);
    struct graft_data_options o;
    struct graft_error err;
    struct gr_model m = {0};
    struct gr_network net;
    struct gr_pictures whole = {0}, parts = {0};
    float *twin = NULL;
    graft_data_options_init(&o);
    o.source = &source;
    o.cache = "";
    OK(gr_job_open_model(NETWORK, NULL, &m, &err));
    OK(gr_network_features(&m, NULL, BATCH, GRAFT_PRECISION_FP32, &net, &err));
    OK(gr_pictures_open_any("given", &o, NULL, &whole, &err));
    OK(gr_pictures_open_any("given", &o, NULL, &parts, &err));
    OK(gr_pictures_run(&whole, &net, &o, "all", NULL, &err));
    OK(gr_pictures_run_first(&parts, &net, &net, &twin, &o, NULL, &err));
    assert_int_equal(parts.n_done, BATCH + 1);
    assert_int_equal(parts.n_computed, BATCH);
    assert_int_equal(parts.n_bad, 1);
    const size_t row = (size_t)net.width * sizeof *twin;
    for (size_t i = 0; i < parts.n_done; i++)
        if (parts.ok[i])
            assert_memory_equal(twin + i * (size_t)net.width, whole.x + i * (size_t)net.width, row);
    OK(gr_pictures_run(&parts, &net, &o, "rest", NULL, &err));
    assert_int_equal(parts.n_done, N);
    assert_int_equal(parts.n_computed, N - 1);
    assert_memory_equal(parts.ok, whole.ok, N);
    assert_memory_equal(parts.hash, whole.hash, N * sizeof *whole.hash);
    assert_memory_equal(parts.thumbs, whole.thumbs, N * GR_THUMB_SIZE);
    for (size_t i = 0; i < N; i++)
        if (whole.ok[i])
            assert_memory_equal(parts.x + i * (size_t)net.width, whole.x + i * (size_t)net.width,
                                row);
    gr_free(twin);
    gr_pictures_clear(&whole);
    gr_pictures_clear(&parts);
    gr_network_clear(&net);
    gr_model_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_pictures),      cmocka_unit_test(trains),
        cmocka_unit_test(same_model),         cmocka_unit_test(one_is_missing),
        cmocka_unit_test(same_in_two_splits), cmocka_unit_test(refused),
        cmocka_unit_test(first_ones),         cmocka_unit_test(too_large),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
