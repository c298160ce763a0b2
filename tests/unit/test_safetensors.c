/* Are safetensors files read, written and refused as the format demands? */
#include "test_pth_expected.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "formats/weights.h"
#include <unistd.h>

#define TMP "test_safetensors.tmp"

static void read_and_compare(const char *file, const char *format, const char *note)
{
    char path[256];
    struct gr_weights w = {0};
    struct graft_error err = {0};
    snprintf(path, sizeof path, WEIGHTS "%s", file);
    if (gr_weights_read(path, &w, &err))
        fail_msg("%s", err.message);
    compare_weights(file, &w, false);
    assert_string_equal(w.format, format);
    assert_string_equal(w.note ? w.note : "", note);
    gr_weights_clear(&w);
}

static void test_read(void **state)
{
    (void)state;
    read_and_compare("one.safetensors", "safetensors", "");
    read_and_compare("shard-00001-of-00002.safetensors", "safetensors", "");
    read_and_compare("shard.safetensors.index.json", "safetensors, 2 shards", "");
    struct gr_weights w = {0};
    assert_int_equal(gr_safetensors_read(WEIGHTS "types.safetensors", &w, NULL), GRAFT_OK);
    compare_weights("types.safetensors", &w, false);
    assert_non_null(strstr(w.note, "format=pt"));
    assert_non_null(strstr(w.note, "who=graft"));
    gr_weights_clear(&w);
}

/* What is read and written again is equal, aligned, and the same bytes each time. */
static void test_write(void **state)
{
    static const char *const keys[] = {"format", "quote"}, *const values[] = {"pt", "\"\n"};
    struct gr_weights w = {0}, back = {0};
    struct graft_error err = {0};
    const char *names[32];
    struct gr_tensor tensors[32];
    uint8_t *bytes[2] = {NULL, NULL};
    size_t cap[2] = {0}, size[2] = {0};
    (void)state;
    assert_int_equal(gr_safetensors_read(WEIGHTS "types.safetensors", &w, &err), GRAFT_OK);
    assert_true(w.n <= 32);
    for (size_t i = 0; i < w.n; i++) {
        names[i] = w.items[i].name;
        tensors[i] = w.items[i].tensor;
    }
    for (int k = 0; k < 2; k++) {
        assert_int_equal(gr_safetensors_write(TMP, w.n, names, tensors, 2, keys, values, &err),
                         GRAFT_OK);
        assert_int_equal(gr_file_read(TMP, 1 << 20, &bytes[k], &cap[k], &size[k], &err), GRAFT_OK);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    assert_int_equal(gr_safetensors_read(TMP, &back, &err), GRAFT_OK);
    compare_weights("types.safetensors", &back, false);
    assert_string_equal(back.note, "metadata: format=pt"); /* the other is not printable */
    for (size_t i = 0; i < back.n; i++)
        assert_int_equal(
            (uintptr_t)back.items[i].tensor.data % gr_dtype_size(back.items[i].tensor.dtype), 0);
    names[1] = names[0];
    assert_int_equal(gr_safetensors_write(TMP, w.n, names, tensors, 0, NULL, NULL, &err),
                     GRAFT_E_ARG);
    assert_int_equal(gr_safetensors_write(TMP, 0, NULL, NULL, 0, NULL, NULL, &err), GRAFT_OK);
    gr_weights_clear(&back);
    assert_int_equal(gr_safetensors_read(TMP, &back, &err), GRAFT_OK);
    assert_int_equal(back.n, 0);
    gr_weights_clear(&back);
    gr_weights_clear(&w);
    gr_free(bytes[0]);
    gr_free(bytes[1]);
    unlink(TMP);
}

static enum graft_status read_bytes(const void *bytes, size_t size, struct graft_error *err)
{
    struct gr_weights w = {0};
    void *copy = malloc(size ? size : 1); /* exact, so that a read past the end is seen */
    memcpy(copy, bytes, size);
    struct gr_buffer *buf = gr_buffer_new(copy, size, NULL, NULL);
    enum graft_status s = gr_safetensors_read_buffer(buf, &w, err);
    gr_weights_clear(&w);
    gr_buffer_unref(buf);
    free(copy);
    return s;
}

static void test_header(void **state)
{
    static const struct {
        const char *header;
        size_t n_data;
        enum graft_status status;
        const char *message;
    } cases[] = {
        {"{}", 0, GRAFT_OK, ""},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}   ", 8, GRAFT_OK, ""},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, GRAFT_OK, ""},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, GRAFT_OK, ""},
        {" {}", 0, GRAFT_E_FORMAT, "no JSON object"},
        {"[]", 0, GRAFT_E_FORMAT, "no JSON object"},
        {"{}x", 0, GRAFT_E_FORMAT, "header: line 1"},
        {"{}", 1, GRAFT_E_FORMAT, "tensors need 0 bytes, the file has 1"},
        {"{\"w\":1}", 0, GRAFT_E_FORMAT, "tensor 'w': its entry"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8,
         GRAFT_E_FORMAT, "its entry"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, GRAFT_E_FORMAT,
         "0..8, the data has 7"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, GRAFT_E_FORMAT,
         "needs"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, GRAFT_E_FORMAT,
         "shape (1) of F32 needs 4 bytes, data_offsets give 8"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, GRAFT_E_FORMAT,
         "dimension 0"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}}", 8, GRAFT_E_FORMAT,
         "dimension 0"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, GRAFT_E_FORMAT,
         "8..0"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
         GRAFT_E_FORMAT, "9 dimensions"},
        {"{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8,
         GRAFT_E_UNSUPPORTED, "tensor 'w': elements of type 'F8_E4M3'"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0,
         GRAFT_E_LIMIT, "too large"},
        /* hole, overlap, the same name twice */
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}",
         5, GRAFT_E_FORMAT, "'b' begins at byte 3 of the data, expected 2"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
         3, GRAFT_E_FORMAT, "'b' begins at byte 1 of the data, expected 2"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2, GRAFT_E_FORMAT, "duplicate"},
        {"{\"a\\n\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, GRAFT_E_FORMAT,
         "no printable name"},
        {"{\"__metadata__\":{\"a\":1}}", 0, GRAFT_E_FORMAT, "__metadata__ 'a' is no string"},
        {"{\"__metadata__\":[]}", 0, GRAFT_E_FORMAT, "__metadata__ is no object"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[512] = {0};
        struct graft_error err = {0};
        size_t n = strlen(cases[i].header);
        bytes[0] = (uint8_t)n;
        memcpy(bytes + 8, cases[i].header, n);
        enum graft_status s = read_bytes(bytes, 8 + n + cases[i].n_data, &err);
        if (s != cases[i].status || !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %s '%s'", i, graft_status_name(s), err.message);
    }
    struct graft_error err = {0};
    assert_int_equal(read_bytes("\1\xe1\xf5\5\0\0\0\0{}", 10, &err), GRAFT_E_LIMIT);
    assert_int_equal(read_bytes("\0\xe1\xf5\5\0\0\0\0{}", 10, &err), GRAFT_E_FORMAT);
    assert_int_equal(read_bytes("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, &err), GRAFT_E_LIMIT);
}

/* Cut off anywhere it is refused; with any bit flipped it must only not crash. */
static void test_damaged(void **state)
{
    uint8_t *bytes = NULL;
    size_t cap = 0, size = 0;
    struct graft_error err = {0};
    (void)state;
    assert_int_equal(gr_file_read(WEIGHTS "types.safetensors", 1 << 20, &bytes, &cap, &size, &err),
                     GRAFT_OK);
    for (size_t n = 0; n < size; n++)
        assert_int_not_equal(read_bytes(bytes, n, &err), GRAFT_OK);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        read_bytes(bytes, size, &err);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    gr_free(bytes);
}

static void test_index(void **state)
{
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"{\"weight_map\":{\"w\":\"../one.safetensors\"}}", "no plain file name"},
        {"{\"weight_map\":{\"w\":\"/etc/passwd\"}}", "no plain file name"},
        {"{\"weight_map\":{\"w\":\"..\"}}", "no plain file name"},
        {"{\"weight_map\":{\"w\":1}}", "no plain file name"},
        {"{\"weight_map\":[]}", "no weight_map"},
        {"{\"weight_map\":", "index.json"},
        {"{\"weight_map\":{\"w\":\"missing\"}}", "missing"},
    };
    struct gr_weights w = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graft_error err = {0};
        const char *path = "test_safetensors.index.json";
        assert_int_equal(gr_file_write(path, cases[i].json, strlen(cases[i].json), &err), GRAFT_OK);
        assert_int_not_equal(gr_weights_read(path, &w, &err), GRAFT_OK);
        if (!strstr(err.message, cases[i].message))
            fail_msg("case %zu: '%s'", i, err.message);
        unlink(path);
    }
}

/* A folder as Hugging Face lays it out. */
static void test_folder(void **state)
{
    static const char *const folder = "test_safetensors_folder.tmp";
    struct gr_weights w = {0};
    struct graft_error err = {0};
    uint8_t *bytes = NULL;
    size_t cap = 0, size = 0;
    char path[256];
    (void)state;
    assert_int_equal(gr_mkdir(folder, &err), GRAFT_OK);
    assert_int_equal(gr_weights_read(folder, &w, &err), GRAFT_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "a folder without model.safetensors"));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(gr_file_read(WEIGHTS "one.safetensors", 1000, &bytes, &cap, &size, &err),
                     GRAFT_OK);
    assert_int_equal(gr_file_write(path, bytes, size, &err), GRAFT_OK);
    assert_int_equal(gr_weights_read(folder, &w, &err), GRAFT_OK);
    compare_weights("one.safetensors", &w, true);
    gr_weights_clear(&w);
    gr_free(bytes);
    unlink(path);
    rmdir(folder);
}

/* With the Nth allocation failing, all is freed and nothing else happens. */
static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct gr_weights w = {0};
        struct graft_error err = {0};
        gr_mem_fail_at(n);
        enum graft_status s = gr_weights_read(WEIGHTS "shard.safetensors.index.json", &w, &err);
        gr_mem_fail_at(0);
        gr_weights_clear(&w);
        if (!s)
            break;
        assert_int_equal(s, GRAFT_E_NOMEM);
        assert_true(n < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),      cmocka_unit_test(test_write),
        cmocka_unit_test(test_header),    cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_index),     cmocka_unit_test(test_folder),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
