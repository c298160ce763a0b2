/* Are files of torch.save read as PyTorch reads them, and bad ones refused with the reason? */
#include "test_pth_expected.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/pth.h"
#include "formats/weights.h"
#include <sys/stat.h>
#include <unistd.h>

static void read_and_compare(const char *file, const char *format, const char *wrapper,
                             const char *note)
{
    char path[256];
    struct gr_weights w = {0};
    struct graft_error err = {0};
    snprintf(path, sizeof path, WEIGHTS "%s", file);
    if (gr_weights_read(path, &w, &err))
        fail_msg("%s", err.message);
    compare_weights(file, &w, true);
    assert_string_equal(w.format, format);
    if (wrapper)
        assert_string_equal(w.wrapper, wrapper);
    else
        assert_null(w.wrapper);
    if (note)
        assert_string_equal(w.note ? w.note : "", note);
    gr_weights_clear(&w);
}

static void test_formats(void **state)
{
    (void)state;
    read_and_compare("plain.pth", "PyTorch zip", NULL, "");
    read_and_compare("plain_stream.pth", "PyTorch stream", NULL, "");
    read_and_compare("protocol4.pth", "PyTorch zip", NULL, "");
    read_and_compare("deflated.pth", "PyTorch zip", NULL, "");
    read_and_compare("big_endian.pth", "PyTorch zip", NULL, "");
    read_and_compare("one.pth", "PyTorch zip", NULL, "");
    read_and_compare("one_stream.pth", "PyTorch stream", NULL, "");
}

static void test_wrappers(void **state)
{
    (void)state;
    read_and_compare(
        "nested.pth", "PyTorch zip", "state_dict",
        "also in the file: epoch=90, arch='tiny', best_prec1=91.5, best_acc1, optimizer");
    read_and_compare("ema.pth", "PyTorch zip", "model", "also in the file: ema");
    read_and_compare("parallel.pth", "PyTorch zip", "state_dict",
                     "'module.' removed from every name");
    read_and_compare("compiled_stream.pth", "PyTorch stream", NULL,
                     "'module.' removed from every name; '_orig_mod.' removed from every name");
}

static void test_modules(void **state)
{
    (void)state;
    read_and_compare("module.pth", "PyTorch zip", NULL, NULL);
    read_and_compare("module_protocol4.pth", "PyTorch zip", "model", NULL);
    read_and_compare("module_stream.pth", "PyTorch stream", NULL, NULL);
}

static void test_layouts_and_types(void **state)
{
    (void)state;
    read_and_compare("views.pth", "PyTorch zip", NULL, "");
    read_and_compare("views_stream.pth", "PyTorch stream", NULL, "");
    read_and_compare("types.pth", "PyTorch zip", NULL, "");
    read_and_compare("types_stream.pth", "PyTorch stream", NULL, "");
    read_and_compare("types_untyped.pth", "PyTorch zip", NULL, "");
    read_and_compare("parameter.pth", "PyTorch zip", NULL, NULL);
}

/* Dense tensors lie in the mapping, tied ones at the same place, and outlive the weights. */
static void test_views(void **state)
{
    struct gr_weights w = {0};
    size_t size;
    (void)state;
    assert_int_equal(gr_pth_read(WEIGHTS "views.pth", &w, NULL), GRAFT_OK);
    const struct gr_tensor *whole = &w.items[gr_weights_find(&w, "whole")].tensor;
    const struct gr_tensor *tied = &w.items[gr_weights_find(&w, "tied")].tensor;
    const struct gr_tensor *shifted = &w.items[gr_weights_find(&w, "shifted")].tensor;
    struct stat st;
    assert_int_equal(stat(WEIGHTS "views.pth", &st), 0);
    gr_buffer_data(whole->buf, &size);
    assert_int_equal(size, st.st_size);
    assert_ptr_equal(whole->data, tied->data);
    assert_ptr_equal(shifted->data, (const char *)whole->data + 5 * 4);
    assert_int_equal((uintptr_t)whole->data % 64, 0);
    struct gr_tensor kept = gr_tensor_ref(shifted);
    gr_weights_clear(&w);
    assert_true(gr_load_f64(kept.dtype, kept.data, 0) == 5);
    gr_tensor_clear(&kept);
}

static void refuse(const char *file, enum graft_status status, const char *message)
{
    char path[256];
    struct gr_weights w = {0};
    struct graft_error err = {0};
    snprintf(path, sizeof path, WEIGHTS "%s", file);
    assert_int_equal(gr_weights_read(path, &w, &err), status);
    assert_int_equal(err.status, status);
    if (!strstr(err.message, message))
        fail_msg("'%s' lacks '%s'", err.message, message);
    assert_int_equal(w.n, 0);
    assert_null(w.items);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("bad_sparse.pth", GRAFT_E_UNSUPPORTED,
           "tensor 'w': an object of torch._utils._rebuild_sparse_tensor");
    refuse("bad_quantized.pth", GRAFT_E_UNSUPPORTED,
           "tensor 'w': an object of torch._utils._rebuild_qtensor");
    refuse("bad_complex.pth", GRAFT_E_UNSUPPORTED, "tensor 'w': elements of type Complex");
    refuse("bad_list.pth", GRAFT_E_UNSUPPORTED, "no named tensors in it: it holds a list of 1");
    refuse("bad_plain.pkl", GRAFT_E_UNSUPPORTED, "a pickle that torch.save did not write");
    refuse("bad_script.pt", GRAFT_E_UNSUPPORTED, "TorchScript");
    refuse("array.npy", GRAFT_E_UNSUPPORTED, "a NumPy array");
    refuse("no_such_file", GRAFT_E_IO, "no_such_file");
}

/* A pickle that calls os.system where it is run: it is named, and nothing happens. */
static void test_evil(void **state)
{
    struct gr_pth_globals g;
    struct graft_error err = {0};
    (void)state;
    refuse("bad_evil.pth", GRAFT_E_UNSUPPORTED,
           "'fc.weight' is an object of posix.system, not a tensor");
    refuse("bad_evil_only.pth", GRAFT_E_UNSUPPORTED,
           "bad_evil_only.pth: no named tensors in it: it holds a dict of 2: a, b=2; names other "
           "code, none of it run: posix.system");
    read_and_compare("evil_beside.pth", "PyTorch zip", "state_dict",
                     "also in the file: hook; names other code, none of it run: posix.system");
    assert_int_equal(gr_pth_list_globals(WEIGHTS "evil_beside.pth", &g, &err), GRAFT_OK);
    size_t unknown = 0;
    for (size_t i = 0; i < g.n; i++)
        if (!g.items[i].known) {
            assert_string_equal(g.items[i].name, "posix.system");
            unknown++;
        }
    assert_int_equal(unknown, 1);
    assert_int_equal(g.n, 4); /* and OrderedDict, _rebuild_tensor_v2, FloatStorage */
    gr_pth_globals_clear(&g);
    assert_false(gr_is_file("weights_evil_ran"));
}

static void test_sniff(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        enum gr_file_format format;
    } cases[] = {
        {"", 0, GR_FILE_UNKNOWN},
        {"PK\3\4", 4, GR_FILE_PTH_ZIP},
        {"\x80\2\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15, GR_FILE_PTH_STREAM},
        {"\x80\2}.", 4, GR_FILE_UNKNOWN},
        {"\2\0\0\0\0\0\0\0{}", 10, GR_FILE_SAFETENSORS},
        {"\x89HDF\r\n\x1a\n", 8, GR_FILE_KERAS_H5},
        {"\x1c\0\0\0TFL3", 8, GR_FILE_TFLITE},
        {"\x08\x07\x12\x01x\x3a\x02\x0a\x00", 9, GR_FILE_ONNX},
        {"\x08\x07\x12\x01x", 5, GR_FILE_UNKNOWN},                                  /* no graph */
        {"\x08\x07\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13, GR_FILE_ONNX}, /* cut off */
        {"{\"weight_map\": {}}", 18, GR_FILE_SAFETENSORS_INDEX},
        {"{\"other\": {}}", 13, GR_FILE_UNKNOWN},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(gr_file_format_sniff_bytes(cases[i].bytes, cases[i].size),
                         cases[i].format);
}

static void test_other_files(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "an empty file"},
        {"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"},
        {"<!DOCTYPE html><html>", "a web page"},
        {"\x1f\x8b\x08", "a gzip file"},
        {"GGUF\3", "a GGUF language model"},
        {"hello", "no format that graft knows (read are ONNX"},
        {"\x08\x07\x3a\x02\x0a", "ONNX, which is not read as a file of weights"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gr_weights w = {0};
        struct graft_error err = {0};
        const char *path = "test_pth.tmp";
        assert_int_equal(gr_file_write(path, cases[i].text, strlen(cases[i].text), &err), GRAFT_OK);
        assert_int_equal(gr_weights_read(path, &w, &err), GRAFT_E_UNSUPPORTED);
        unlink(path);
        if (!strstr(err.message, cases[i].message))
            fail_msg("'%s' lacks '%s'", err.message, cases[i].message);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_true(gr_weights_name_ok("layer1.0.conv", 13));
    assert_true(gr_weights_name_ok("\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", 9));
    assert_false(gr_weights_name_ok("", 0));
    assert_false(gr_weights_name_ok("a\nb", 3));
    assert_false(gr_weights_name_ok("a\0b", 3));
    assert_false(gr_weights_name_ok("\xc0\x80", 2));
    assert_false(gr_weights_name_ok("\xed\xa0\x80", 3));
    assert_false(gr_weights_name_ok("\xe2\x82", 2));
    assert_false(gr_weights_name_ok("\xff", 1));
}

/* Sums that torch gives for real networks: all elements of all tensors, in double. */
static void test_real(void **state)
{
    static const struct {
        const char *file, *format, *wrapper;
        size_t n;
        double sum, sum_abs;
    } cases[] = {
        {"resnet20-12fca82f.th", "PyTorch stream", "state_dict", 97, 139.7826495598208,
         21349.562590950623},
        {"resnet56-4bfd9763.th", "PyTorch stream", "state_dict", 277, 1427.879011697099,
         41377.086271385946},
        {"mobilenet_v1_0.25_imagenet.pth.tar", "PyTorch stream", "state_dict", 164,
         2434182.8799821176, 2475735.9257609863},
        {"shufflenetv2_x0.5_nohead.pth", "PyTorch zip", "", 330, 85933253.21573897,
         85941154.02211688},
    };
    const char *data = getenv("GRAFT_DATA");
    char path[4096];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gr_weights w = {0};
        struct graft_error err = {0};
        snprintf(path, sizeof path, "%s/weights/%s", data ? data : "../../../shared/data",
                 cases[i].file);
        if (!gr_is_file(path)) {
            print_message("skipped: %s is not there (GRAFT_DATA)\n", path);
            continue;
        }
        if (gr_weights_read(path, &w, &err))
            fail_msg("%s", err.message);
        double sum = 0, sum_abs = 0;
        for (size_t k = 0; k < w.n; k++) {
            const struct gr_tensor *t = &w.items[k].tensor;
            for (int64_t e = 0; e < gr_tensor_count(t); e++) {
                double v = gr_load_f64(t->dtype, t->data, (size_t)e);
                sum += v;
                sum_abs += v < 0 ? -v : v;
            }
        }
        assert_string_equal(w.format, cases[i].format);
        assert_string_equal(w.wrapper ? w.wrapper : "", cases[i].wrapper);
        assert_int_equal(w.n, cases[i].n);
        assert_true(sum - cases[i].sum < 1e-9 * cases[i].sum_abs &&
                    cases[i].sum - sum < 1e-9 * cases[i].sum_abs);
        assert_true(sum_abs / cases[i].sum_abs - 1 < 1e-9 && cases[i].sum_abs / sum_abs - 1 < 1e-9);
        gr_weights_clear(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats), cmocka_unit_test(test_wrappers),
        cmocka_unit_test(test_modules), cmocka_unit_test(test_layouts_and_types),
        cmocka_unit_test(test_views),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_evil),    cmocka_unit_test(test_sniff),
        cmocka_unit_test(test_names),   cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
