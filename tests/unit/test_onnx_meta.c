/* Are labels and preprocessing what the metadata says, from whoever wrote it? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "formats/meta.h"

static void set(struct gr_model *m, const char *key, const char *v)
{
    struct graft_error err;
    assert_int_equal(gr_model_set_prop(m, key, v, &err), GRAFT_OK);
}

static void read_ok(struct gr_model *m)
{
    struct graft_error err;
    if (gr_meta_read(m, &err))
        fail_msg("%s", err.message);
}

/* A graph with one input of that shape. */
static void give_input(struct gr_model *m, int a, int b, int c, int d)
{
    struct graft_error err;
    struct gr_type t = {GR_F32, gr_shape_of(4, a, b, c, d)};
    int id;
    assert_int_equal(gr_graph_new(&m->graph, &err), GRAFT_OK);
    assert_int_equal(gr_graph_value(m->graph, "x", &id, &err), GRAFT_OK);
    assert_int_equal(gr_graph_add_input(m->graph, id, &t, &err), GRAFT_OK);
}

static void written_and_read_back(void **state)
{
    (void)state;
    static const char *const labels[] = {"ants", "queen's \\ bee", "Käfer\n\"x\""};
    struct gr_model m = {0}, b = {0};
    struct graft_error err;
    struct gr_meta_extra x = {.cut = "pool",
                              .source_name = "r18",
                              .source_sha256 = "ab",
                              .source_licence = "BSD-3",
                              .has_seed = true,
                              .seed = UINT64_MAX,
                              .metrics_json = "{\"accuracy\":0.967}",
                              .licence = "MIT"};
    m.pre = (struct graft_preprocess){.width = 224,
                                      .height = 192,
                                      .resize = GRAFT_RESIZE_SHORTEST,
                                      .resize_to = 256,
                                      .filter = GRAFT_BICUBIC,
                                      .channels = GRAFT_BGR,
                                      .scale = 1.0 / 255,
                                      .mean = {.485, .456, .406},
                                      .std = {.229, .224, 1.0 / 3},
                                      .pad_value = 7};
    m.has_pre = true;
    assert_int_equal(gr_model_set_labels(&m, 3, labels, &err), GRAFT_OK);
    set(&m, "model_info labels", "old stale");
    set(&m, "CustomVision.Preprocess.TargetWidth", "99");
    set(&m, "kept", "as it is");
    if (gr_meta_write(&m, &x, &err))
        fail_msg("%s", err.message);
    assert_string_equal(gr_model_get_prop(&m, "names"),
                        "{0: 'ants', 1: 'queen\\'s \\\\ bee', 2: 'Käfer\\x0a\"x\"'}");
    assert_string_equal(gr_model_get_prop(&m, "imgsz"), "[192, 224]");
    assert_string_equal(gr_model_get_prop(&m, "task"), "classify");
    assert_string_equal(gr_model_get_prop(&m, "graft.seed"), "18446744073709551615");
    assert_string_equal(gr_model_get_prop(&m, "graft.source"),
                        "{\"name\":\"r18\",\"sha256\":\"ab\",\"licence\":\"BSD-3\"}");
    assert_string_equal(gr_model_get_prop(&m, "Image.BitmapPixelFormat"), "Bgr8");
    assert_null(gr_model_get_prop(&m, "Image.NominalPixelRange"));
    assert_null(gr_model_get_prop(&m, "model_info labels"));
    assert_null(gr_model_get_prop(&m, "CustomVision.Preprocess.TargetWidth"));
    assert_string_equal(gr_model_get_prop(&m, "kept"), "as it is");
    assert_non_null(strstr(gr_model_get_prop(&m, "graft.preprocess"), "\"mean\":[0.485,0.456,"));

    for (int foreign = 0; foreign < 2; foreign++) {
        for (size_t i = 0; i < m.n_props; i++)
            if (!foreign || strncmp(m.props[i].key, "graft.", 6))
                set(&b, m.props[i].key, m.props[i].value);
        read_ok(&b);
        assert_int_equal(b.n_labels, 3);
        for (size_t i = 0; i < 3; i++)
            assert_string_equal(b.labels[i], labels[i]);
        assert_string_equal(b.licence, "MIT");
        assert_true(b.has_pre);
        if (!foreign) /* bit-exact, doubles included */
            assert_memory_equal(&b.pre, &m.pre, sizeof m.pre);
        gr_model_clear(&b);
    }
    gr_model_clear(&m);
}

static void pixel_ranges(void **state)
{
    (void)state;
    static const struct {
        double scale, mean, std;
        const char *range;
    } cases[] = {{1, 0, 1, "NominalRange_0_255"},
                 {1 / 255., 0, 1, "Normalized_0_1"},
                 {1 / 127.5, 1, 1, "Normalized_1_1"},
                 {1, 127.5, 127.5, "Normalized_1_1"},
                 {1, 104, 1, NULL}};
    struct gr_meta_extra x = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gr_model m = {.has_pre = true};
        struct graft_error err;
        m.pre = (struct graft_preprocess){.width = 8,
                                          .height = 8,
                                          .resize = GRAFT_RESIZE_STRETCH,
                                          .channels = GRAFT_GREY,
                                          .scale = cases[i].scale,
                                          .mean = {cases[i].mean},
                                          .std = {cases[i].std}};
        assert_int_equal(gr_meta_write(&m, &x, &err), GRAFT_OK);
        const char *got = gr_model_get_prop(&m, "Image.NominalPixelRange");
        assert_string_equal(got ? got : "none", cases[i].range ? cases[i].range : "none");
        gr_model_clear(&m);
    }
}

static void not_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const labels[] = {"fine", "K\xe4"
                                                 "fer"};
    struct gr_model m = {0};
    struct gr_meta_extra x = {0};
    struct graft_error err;
    assert_int_equal(gr_model_set_labels(&m, 2, labels, &err), GRAFT_OK);
    assert_int_equal(gr_meta_write(&m, &x, &err), GRAFT_E_ARG);
    assert_non_null(strstr(err.message, "label 1"));
    gr_model_clear(&m);
}

static void ultralytics(void **state)
{
    (void)state;
    struct gr_model m = {0};
    set(&m, "names", "{0: 'ants', 1: \"queen's\", 2: 'K\\xe4fer \\u2603'}");
    set(&m, "imgsz", "[224, 192]");
    set(&m, "task", "classify");
    read_ok(&m);
    assert_int_equal(m.n_labels, 3);
    assert_string_equal(m.labels[1], "queen's");
    assert_string_equal(m.labels[2], "Käfer ☃");
    assert_true(m.has_pre && m.pre.height == 224 && m.pre.width == 192);
    assert_true(m.pre.resize == GRAFT_RESIZE_SHORTEST && m.pre.scale == 1.0 / 255);
    gr_model_clear(&m);
    set(&m, "names", "['a', 'b']");
    set(&m, "imgsz", "640");
    set(&m, "task", "detect");
    read_ok(&m);
    assert_int_equal(m.n_labels, 2);
    assert_true(m.pre.resize == GRAFT_RESIZE_LETTERBOX && m.pre.pad_value == 114);
    assert_true(m.pre.width == 640 && m.pre.height == 640);
    gr_model_clear(&m);
    set(&m, "names", "something else"); /* a common word: no claim on it */
    read_ok(&m);
    assert_true(!m.n_labels && !m.has_pre);
    gr_model_clear(&m);
}

static void custom_vision(void **state)
{
    (void)state;
    struct gr_model m = {0};
    set(&m, "CustomVision.Preprocess.ResizeMethod", "ByShorterSideAlign32");
    set(&m, "CustomVision.Preprocess.TargetWidth", "256");
    set(&m, "CustomVision.Preprocess.TargetHeight", "256");
    set(&m, "CustomVision.Preprocess.CropWidth", "224");
    set(&m, "CustomVision.Preprocess.CropHeight", "224");
    set(&m, "CustomVision.Preprocess.NormalizeMean", "[0.5, 0.25, 0.125]");
    set(&m, "CustomVision.Preprocess.NormalizeStd", "[2.0, 2.0, 2.0]");
    set(&m, "Image.BitmapPixelFormat", "Bgr8");
    set(&m, "Image.NominalPixelRange", "NominalRange_0_255");
    read_ok(&m);
    assert_true(m.pre.resize == GRAFT_RESIZE_SHORTEST && m.pre.resize_to == 256);
    assert_true(m.pre.width == 224 && m.pre.channels == GRAFT_BGR && m.pre.scale == 1);
    assert_true(m.pre.mean[2] == .125 && m.pre.std[0] == 2);
    gr_model_clear(&m);
}

static void openvino(void **state)
{
    (void)state;
    struct gr_model m = {0};
    give_input(&m, -1, 3, 224, 320);
    set(&m, "model_info labels", "cat dog  sea_lion");
    set(&m, "model_info mean_values", "[123.675, 116.28, 103.53]");
    set(&m, "model_info scale_values", "58.395 57.12 57.375");
    set(&m, "model_info reverse_input_channels", "True");
    set(&m, "model_info resize_type", "fit_to_window_letterbox");
    read_ok(&m);
    assert_int_equal(m.n_labels, 3);
    assert_string_equal(m.labels[2], "sea_lion");
    assert_true(m.has_pre && m.pre.height == 224 && m.pre.width == 320);
    assert_true(m.pre.resize == GRAFT_RESIZE_LETTERBOX && m.pre.channels == GRAFT_RGB);
    assert_true(m.pre.mean[0] == 123.675 && m.pre.std[2] == 57.375 && m.pre.scale == 1);
    gr_model_clear(&m);
}

static void faults_name_the_key(void **state)
{
    (void)state;
    static const char names[] = "{0: 'a'}";
    static const struct {
        const char *key, *value, *message;
        bool with_names;
    } cases[] = {
        {"graft.labels", "[\"a\",", "JSON line 1", false},
        {"graft.labels", "[1, 2]", "label 0 of 2 is missing or no text", false},
        {"graft.labels", "[]", "no labels", false},
        {"graft.preprocess", "{", "JSON: ", false},
        {"graft.preprocess", "[[[[[", "JSON: ", false},
        {"graft.preprocess", "[]", "size is no list of height and width", false},
        {"graft.preprocess", "{\"size\":[0,2]}", "size 0 x 2, each must be within 1..8192", false},
        {"graft.preprocess", "{\"size\":[8193,2]}", "size is no number within 0..8192", false},
        {"graft.preprocess", "{\"size\":[2,2],\"resize\":\"squash\"}", "resize is 'squash'", false},
        {"graft.preprocess", "{\"size\":[2,2],\"mean\":[1,2]}", "mean is no list of 3 numbers",
         false},
        {"graft.preprocess", "{\"size\":[2,2],\"std\":[1,0,1]}", "std 0 of channel 1", false},
        {"graft.preprocess", "{\"size\":[2,2],\"std\":[1,1e999,1]}", "JSON: ", false},
        {"graft.preprocess", "{\"size\":[2,2],\"scale\":0}", "scale is 0", false},
        {"graft.preprocess", "{\"size\":[2,2],\"crop_pct\":0}", "crop_pct is 0", false},
        {"graft.preprocess", "{\"size\":[2,2],\"crop_pct\":1e-9}", "resize_to is", false},
        {"graft.preprocess", "{\"size\":[2,2],\"pad_value\":256}", "pad_value is 256", false},
        {"names", "{0: 'a', 2: 'b'}", "class 1 is missing or not in order", false},
        {"names", "{0: 'a", "the name of class 0 is no quoted text", false},
        {"names", "{0: 'a\\x", "the name of class 0 is no quoted text", false},
        {"names", "{", "class 0 is missing", false},
        {"names", "{}", "no names in it", false},
        {"imgsz", "[0, 0]", "size 0, must be within 1..8192", true},
        {"imgsz", "[1e9]", "must be within 1..8192", true},
        {"imgsz", "nan", "must be within 1..8192", true},
        {"imgsz", "big", "is no list of numbers", true},
        {"imgsz", "[1, 2, 3]", "more than 2 numbers", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gr_model m = {0};
        struct graft_error err = {0};
        char where[64];
        if (cases[i].with_names)
            set(&m, "names", names);
        set(&m, cases[i].key, cases[i].value);
        snprintf(where, sizeof where, "metadata '%s': ", cases[i].key);
        enum graft_status s = gr_meta_read(&m, &err);
        if (s != GRAFT_E_FORMAT || strncmp(err.message, where, strlen(where)) ||
            !strstr(err.message, cases[i].message))
            fail_msg("%s = %s: status %d, '%s', expected '%s'", cases[i].key, cases[i].value, s,
                     err.message, cases[i].message);
        gr_model_clear(&m);
    }
}

static void files_of_labels(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want; /* joined by '|', or NULL: an error with `message` */
        const char *message;
    } cases[] = {
        {"ants\nbees\n", "ants|bees", NULL},
        {"ants\r\nbees", "ants|bees", NULL},
        {"\xef\xbb\xbf"
         "0 ants\n1 honey bees\n",
         "ants|honey bees", NULL},
        {"0: ants\n1: bees\n\n", "ants|bees", NULL},
        {"1 ants\n2 bees\n", "1 ants|2 bees", NULL},
        {"tench, Tinca tinca\ngoldfish\n", "tench, Tinca tinca|goldfish", NULL},
        {"[\"a\", \"b\"]", "a|b", NULL},
        {" {\"1\": \"b\", \"0\": [\"n01\", \"a\"]}", "a|b", NULL},
        {"a\n\nb\n", NULL, "line 2 is empty"},
        {"K\xe4"
         "fer\n",
         NULL, "line 1 is not UTF-8 text"},
        {"", NULL, "no labels"},
        {"{\"0\": \"a\", \"2\": \"b\"}", NULL, "label 1 of 2 is missing"},
        {"[\"a\"", NULL, "JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = 0;
        char **labels = NULL, joined[128] = "";
        struct graft_error err = {0};
        enum graft_status s =
            gr_labels_parse(cases[i].text, strlen(cases[i].text), &n, &labels, &err);
        for (size_t k = 0; k < n; k++) {
            strcat(joined, k ? "|" : "");
            strcat(joined, labels[k]);
        }
        if (cases[i].want)
            assert_string_equal(s ? err.message : joined, cases[i].want);
        else
            assert_true(s == GRAFT_E_FORMAT && strstr(err.message, cases[i].message));
        gr_labels_free(n, labels);
    }
}

static void real_labels(void **state)
{
    (void)state;
    const char *data = getenv("GRAFT_DATA");
    char path[512], **labels = NULL;
    size_t n = 0;
    struct graft_error err;
    snprintf(path, sizeof path, "%s/weights/imagenet_labels.txt",
             data ? data : "../../../shared/data");
    if (access(path, R_OK)) {
        printf("SKIP: %s is absent (set GRAFT_DATA)\n", path);
        skip();
    }
    assert_int_equal(gr_labels_read(path, &n, &labels, &err), GRAFT_OK);
    assert_int_equal(n, 1001);
    assert_string_equal(labels[0], "background");
    assert_string_equal(labels[1], "tench, Tinca tinca");
    gr_labels_free(n, labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_and_read_back), cmocka_unit_test(pixel_ranges),
        cmocka_unit_test(not_utf8_is_refused),   cmocka_unit_test(ultralytics),
        cmocka_unit_test(custom_vision),         cmocka_unit_test(openvino),
        cmocka_unit_test(faults_name_the_key),   cmocka_unit_test(files_of_labels),
        cmocka_unit_test(real_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
