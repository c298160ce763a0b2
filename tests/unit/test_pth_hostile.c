/* Does a hostile or damaged file of torch.save give an error, and never a crash, a hang or much
   memory? */
#include "test_pth_expected.h"
#include "base/bytes.h"
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/pickle.h"
#include "formats/pth.h"
#include <zlib.h>

/* ---- pickles -------------------------------------------------------------------------------- */

#define PICKLE(text, st, msg)                                                                      \
    {                                                                                              \
        text, sizeof text - 1, st, msg                                                             \
    }

static void test_pickles(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        enum graft_status status;
        const char *text; /* of the root, or of the error */
    } cases[] = {
        PICKLE("\x80\2N.", GRAFT_OK, "None"),
        PICKLE("\x80\2\x88.", GRAFT_OK, "True"),
        PICKLE("\x80\2K\5.", GRAFT_OK, "5"),
        PICKLE("\x80\2M\0\1.", GRAFT_OK, "256"),
        PICKLE("\x80\2J\xfe\xff\xff\xff.", GRAFT_OK, "-2"),
        PICKLE("\x80\2\x8a\0.", GRAFT_OK, "0"),
        PICKLE("\x80\2\x8a\1\xff.", GRAFT_OK, "-1"),
        PICKLE("\x80\2\x8a\5\0\0\0\0\1.", GRAFT_OK, "4294967296"),
        PICKLE("\x80\2\x8a\x09\0\0\0\0\0\0\0\0\1.", GRAFT_OK, "an integer of 9 bytes"),
        PICKLE("\x80\2I01\n.", GRAFT_OK, "True"),
        PICKLE("\x80\2I-123456789012\n.", GRAFT_OK, "-123456789012"),
        PICKLE("\x80\2G\x3f\xf8\0\0\0\0\0\0.", GRAFT_OK, "1.5"),
        PICKLE("\x80\2X\2\0\0\0ab.", GRAFT_OK, "'ab'"),
        PICKLE("\x80\4\x8c\3a\nb.", GRAFT_OK, "'a?b'"),
        PICKLE("\x80\2)K\1\x85K\2K\3\x87.", GRAFT_OK, "a tuple of 3"),
        PICKLE("\x80\2(t.", GRAFT_OK, "a tuple of 0"),
        PICKLE("\x80\2(K\1K\2K\3K\4t.", GRAFT_OK, "a tuple of 4"),
        PICKLE("\x80\2](K\1K\2e.", GRAFT_OK, "a list of 2"),
        PICKLE("\x80\2]q\0h\0a.", GRAFT_OK, "a list of 1"), /* in itself */
        PICKLE("\x80\2}(K\1K\2K\3K\4uK\5K\6s.", GRAFT_OK, "a dict of 3"),
        PICKLE("\x80\4\x8f(K\1\x90.", GRAFT_OK, "a set of 1"),
        PICKLE("\x80\2cos\nsystem\n.", GRAFT_OK, "the name os.system"),
        PICKLE("\x80\2cos\nsystem\nX\1\0\0\0x\x85R.", GRAFT_OK, "an object of os.system"),
        PICKLE("\x80\4\x8c\2os\x8c\6system\x93)\x81.", GRAFT_OK, "an object of os.system"),
        PICKLE("\x80\2ccollections\nOrderedDict\n)R}b.", GRAFT_OK, "a dict of 0"),
        PICKLE("\x80\2ccollections\nOrderedDict\n](K\1K\2\x86"
               "e\x85R.",
               GRAFT_OK, "a dict of 1"),
        PICKLE("\x80\2K\7Q.", GRAFT_OK, "a stored item"),
        PICKLE("\x80\2K\1"
               "0N.",
               GRAFT_OK, "None"),
        PICKLE("\x80\2N(K\1"
               "1.",
               GRAFT_OK, "None"),
        PICKLE("", GRAFT_E_FORMAT, "without a STOP"),
        PICKLE("\x80\2N", GRAFT_E_FORMAT, "without a STOP"),
        PICKLE("\x80\2.", GRAFT_E_FORMAT, "missing on the stack"),
        PICKLE("\x80\2N(.", GRAFT_E_FORMAT, "missing on the stack"),
        PICKLE("\x80\2N(a.", GRAFT_E_FORMAT, "missing on the stack"),
        PICKLE("\x80\2"
               "1.",
               GRAFT_E_FORMAT, "a mark is missing"),
        PICKLE("\x80\2"
               "e.",
               GRAFT_E_FORMAT, "a mark is missing"),
        PICKLE("\x80\x09N.", GRAFT_E_UNSUPPORTED, "protocol 9"),
        PICKLE("\x80\2X\xff\xff\xff\xffz.", GRAFT_E_FORMAT, "longer than what is left"),
        PICKLE("\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\xffz.", GRAFT_E_FORMAT, "longer"),
        PICKLE("\x80\4\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", GRAFT_E_FORMAT, "frame"),
        PICKLE("\x80\2\x8b\xff\xff\xff\xff.", GRAFT_E_FORMAT, "longer than what is left"),
        PICKLE("\x80\2h\0.", GRAFT_E_FORMAT, "never set"),
        PICKLE("\x80\2Nr\xff\xff\xff\xff.", GRAFT_E_FORMAT, "memo number out of range"),
        PICKLE("\x80\2NK\1a.", GRAFT_E_FORMAT, "no list"),
        PICKLE("\x80\2]K\1K\2s.", GRAFT_E_FORMAT, "no dict"),
        PICKLE("\x80\2}(K\1u.", GRAFT_E_FORMAT, "a key without a value"),
        PICKLE("\x80\2NNR.", GRAFT_E_FORMAT, "arguments are no tuple"),
        PICKLE("\x80\2K\1N\x93.", GRAFT_E_FORMAT, "is no string"),
        PICKLE("\x80\2NNb.", GRAFT_E_FORMAT, "no object"),
        PICKLE("\x80\2Ix\n.", GRAFT_E_FORMAT, "decimal"),
        PICKLE("\x80\2I99999999999999999999\n.", GRAFT_E_FORMAT, "decimal"),
        PICKLE("S'a'\n.", GRAFT_E_UNSUPPORTED, "protocol 0"),
        PICKLE("\x80\2\x82\1.", GRAFT_E_FORMAT, "opcode 0x82"),
        PICKLE("\x80\2\0.", GRAFT_E_FORMAT, "opcode 0x00"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gr_pickle p;
        struct graft_error err = {0};
        char text[256];
        uint8_t *copy = malloc(cases[i].size ? cases[i].size : 1);
        memcpy(copy, cases[i].bytes, cases[i].size);
        enum graft_status s = gr_pickle_read(&p, copy, cases[i].size, &err);
        if (s != cases[i].status)
            fail_msg("case %zu: %s '%s'", i, graft_status_name(s), err.message);
        if (s) {
            if (!strstr(err.message, cases[i].text))
                fail_msg("case %zu: '%s'", i, err.message);
        } else {
            assert_string_equal(gr_pkl_print(p.root, text, sizeof text), cases[i].text);
            assert_int_equal(p.used, cases[i].size);
            gr_pickle_clear(&p);
        }
        free(copy);
    }
}

/* ---- archives made by hand ------------------------------------------------------------------ */

static void put(struct gr_buf *b, uint64_t v, int n)
{
    for (; n > 0; n--, v >>= 8) {
        uint8_t c = (uint8_t)v;
        gr_buf_append(b, &c, 1);
    }
}

struct file {
    const char *name;
    const void *data;
    size_t size;
    bool deflate;
};

static uint8_t *make_zip(const struct file *files, size_t n, size_t *size)
{
    struct gr_buf b, dir;
    gr_buf_init(&b, 0);
    gr_buf_init(&dir, 0);
    for (size_t i = 0; i < n; i++) {
        size_t header = b.size, n_name = strlen(files[i].name), packed = files[i].size;
        uint8_t *out = NULL;
        uint32_t crc = (uint32_t)crc32(0, files[i].data, (uInt)files[i].size);
        if (files[i].deflate) {
            z_stream zs = {0};
            deflateInit2(&zs, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY);
            out = malloc(deflateBound(&zs, files[i].size));
            zs.next_in = (Bytef *)(uintptr_t)files[i].data;
            zs.avail_in = (uInt)files[i].size;
            zs.next_out = out;
            zs.avail_out = (uInt)deflateBound(&zs, files[i].size);
            assert_int_equal(deflate(&zs, Z_FINISH), Z_STREAM_END);
            packed = zs.total_out;
            deflateEnd(&zs);
        }
        for (int k = 0; k < 2; k++) {
            struct gr_buf *d = k ? &dir : &b;
            put(d, k ? 0x02014b50 : 0x04034b50, 4);
            put(d, 0, k ? 6 : 4);
            put(d, files[i].deflate ? 8 : 0, 2);
            put(d, 0, 4);
            put(d, crc, 4);
            put(d, packed, 4);
            put(d, files[i].size, 4);
            put(d, n_name, 2);
            put(d, 0, k ? 12 : 2);
            if (k)
                put(d, header, 4);
            gr_buf_append(d, files[i].name, n_name);
        }
        gr_buf_append(&b, out ? out : files[i].data, packed);
        free(out);
    }
    size_t at = b.size;
    gr_buf_append(&b, dir.data, dir.size);
    put(&b, 0x06054b50, 4);
    put(&b, 0, 4);
    put(&b, n, 2);
    put(&b, n, 2);
    put(&b, dir.size, 4);
    put(&b, at, 4);
    put(&b, 0, 2);
    gr_buf_clear(&dir);
    *size = b.size;
    return b.data;
}

static enum graft_status read_bytes(const void *bytes, size_t size, struct graft_error *err)
{
    void *copy = malloc(size ? size : 1); /* exact, so that a read past the end is seen */
    memcpy(copy, bytes, size);
    struct gr_buffer *buf = gr_buffer_new(copy, size, NULL, NULL);
    struct gr_weights w = {0};
    double sum = 0;
    enum graft_status s = gr_pth_read_buffer(buf, &w, err);
    for (size_t i = 0; i < w.n; i++)
        for (int64_t k = 0; k < gr_tensor_count(&w.items[i].tensor); k++)
            sum += gr_load_f64(w.items[i].tensor.dtype, w.items[i].tensor.data, (size_t)k);
    *(volatile double *)&sum = sum; /* every element was there to be read */
    gr_weights_clear(&w);
    gr_buffer_unref(buf);
    free(copy);
    return s;
}

/* A state dict {"w": one tensor} with this offset, size and stride on a storage of n floats. */
static enum graft_status read_tensor(const char *layout, size_t n_layout, int n_elem, int n_bytes,
                                     struct graft_error *err)
{
    static const uint8_t zeros[64];
    struct gr_buf p;
    size_t size;
    gr_buf_init(&p, 0);
    gr_buf_puts(&p, "\x80\2}X\1");
    put(&p, 0, 3);
    gr_buf_puts(&p, "wctorch._utils\n_rebuild_tensor_v2\n((U\7storagectorch\nFloatStorage\n"
                    "U\1"
                    "0U\3"
                    "cpuK");
    put(&p, (uint64_t)n_elem, 1);
    gr_buf_puts(&p, "tQ");
    gr_buf_append(&p, layout, n_layout);
    gr_buf_puts(&p, "\x89}tRs.");
    struct file files[] = {{"a/data.pkl", p.data, p.size, false},
                           {"a/data/0", zeros, (size_t)n_bytes, false}};
    uint8_t *zip = make_zip(files, 2, &size);
    enum graft_status s = read_bytes(zip, size, err);
    gr_buf_clear(&p);
    gr_free(zip);
    return s;
}

#define LAYOUT(text, elem, bytes, st, msg)                                                         \
    {                                                                                              \
        text, sizeof text - 1, elem, bytes, st, msg                                                \
    }
#define HUGE_INT "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"

static void test_layouts(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        int n_elem, n_bytes;
        enum graft_status status;
        const char *message;
    } cases[] = {
        LAYOUT("K\0K\2K\3\x86K\3K\1\x86", 6, 24, GRAFT_OK, ""),
        LAYOUT("K\0K\3K\2\x86K\1K\3\x86", 6, 24, GRAFT_OK, ""),
        LAYOUT("K\0))", 1, 4, GRAFT_OK, ""),
        LAYOUT("K\0K\0\x85K\1\x85", 0, 0, GRAFT_OK, ""),
        LAYOUT("K\1K\2K\3\x86K\3K\1\x86", 6, 24, GRAFT_E_FORMAT,
               "tensor 'w': shape (2,3) at 1 ends at element 7 of storage '0', which has 6"),
        LAYOUT("K\0K\2K\3\x86K\4K\1\x86", 6, 24, GRAFT_E_FORMAT, "ends at element 7"),
        LAYOUT("K\0K\2K\3\x86K\3K\1\x86", 6, 23, GRAFT_E_FORMAT, "has 23 bytes, needs 6 of 4"),
        LAYOUT("J\xff\xff\xff\xffK\1\x85K\1\x85", 6, 24, GRAFT_E_FORMAT, "offset -1"),
        LAYOUT("K\0J\xff\xff\xff\xff\x85K\1\x85", 6, 24, GRAFT_E_FORMAT, "dimension 0"),
        LAYOUT("K\0K\2\x85J\xff\xff\xff\xff\x85", 6, 24, GRAFT_E_FORMAT, "dimension 0"),
        LAYOUT("K\0K\1\x85K\1K\1\x86", 6, 24, GRAFT_E_FORMAT, "no numbers"),
        LAYOUT("K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", 6, 24,
               GRAFT_E_FORMAT, "9 dimensions, at most 8"),
        LAYOUT("K\0" HUGE_INT "\x85K\1\x85", 6, 24, GRAFT_E_FORMAT, "bad shape"),
        LAYOUT(HUGE_INT "K\1\x85K\1\x85", 6, 24, GRAFT_E_FORMAT, "overflows"),
        LAYOUT("K\0K\1\x85" HUGE_INT "\x85", 6, 24, GRAFT_OK, ""), /* a stride never taken */
        LAYOUT("K\0K\3\x85" HUGE_INT "\x85", 6, 24, GRAFT_E_FORMAT, "overflows"),
        /* a gigabyte out of one element */
        LAYOUT("K\0J\0\0\0\x10\x85K\0\x85", 6, 24, GRAFT_E_LIMIT, "sensibly hold"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graft_error err = {0};
        enum graft_status s =
            read_tensor(cases[i].bytes, cases[i].size, cases[i].n_elem, cases[i].n_bytes, &err);
        if (s != cases[i].status || !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %s '%s'", i, graft_status_name(s), err.message);
    }
}

static enum graft_status read_pickle(const struct gr_buf *p, struct graft_error *err)
{
    size_t size;
    struct file files[] = {{"a/data.pkl", p->data, p->size, false}};
    uint8_t *zip = make_zip(files, 1, &size);
    enum graft_status s = read_bytes(zip, size, err);
    gr_free(zip);
    return s;
}

/* Modules that hold each other: in a circle, and doubling thirty times. */
static void test_shared_modules(void **state)
{
    struct gr_buf p;
    struct graft_error err = {0};
    (void)state;
    gr_buf_init(&p, 0);
    gr_buf_puts(&p, "\x80\2cx\nM\n)\x81q\1}U\x08_modules}(U\1ah\1usb.");
    assert_int_equal(read_pickle(&p, &err), GRAFT_E_LIMIT);
    assert_non_null(strstr(err.message, "nested deeper"));
    gr_buf_clear(&p);

    gr_buf_puts(&p, "\x80\2cx\nM\n)\x81}U\x0b_parameters}sb");
    for (int i = 0; i < 30; i++) { /* M with children a and b, both the module before */
        gr_buf_puts(&p, "q\1"
                        "0cx\nM\n)\x81}U\x08_modules}(U\1ah\1U\1bh\1usb");
    }
    gr_buf_puts(&p, ".");
    double start = gr_seconds();
    assert_int_equal(read_pickle(&p, &err), GRAFT_E_LIMIT);
    assert_non_null(strstr(err.message, "contain each other too often"));
    assert_true(gr_seconds() - start < 5);
    gr_buf_clear(&p);

    /* dicts in dicts in dicts */
    gr_buf_puts(&p, "\x80\2");
    for (int i = 0; i < 100000; i++)
        gr_buf_puts(&p, "}U\5model");
    gr_buf_puts(&p, "}");
    for (int i = 0; i < 100000; i++)
        gr_buf_puts(&p, "s");
    gr_buf_puts(&p, ".");
    assert_int_equal(read_pickle(&p, &err), GRAFT_E_UNSUPPORTED);
    gr_buf_clear(&p);

    /* one long list given to OrderedDict again and again */
    gr_buf_puts(&p, "\x80\2](");
    for (int i = 0; i < 1000; i++)
        gr_buf_puts(&p, "K\1K\2\x86");
    gr_buf_puts(&p, "eq\1"
                    "0ccollections\nOrderedDict\nq\2");
    for (int i = 0; i < 1000; i++)
        gr_buf_puts(&p, "h\2h\1\x85R");
    gr_buf_puts(&p, ".");
    assert_int_equal(read_pickle(&p, &err), GRAFT_E_LIMIT);
    gr_buf_clear(&p);
}

static void test_zip_bomb(void **state)
{
    enum { SIZE = 64 << 20 };
    struct graft_error err = {0};
    uint8_t *zeros = calloc(1, SIZE);
    size_t size;
    (void)state;
    assert_non_null(zeros);
    struct file files[] = {{"a/data.pkl", zeros, SIZE, true}};
    uint8_t *zip = make_zip(files, 1, &size);
    assert_true(size < 100000);
    assert_int_equal(read_bytes(zip, size, &err), GRAFT_E_LIMIT);
    gr_free(zip);
    free(zeros);
}

static void test_archives(void **state)
{
    struct graft_error err = {0};
    size_t size;
    (void)state;
    static const struct file keras[] = {{"config.json", "{}", 2, false},
                                        {"model.weights.h5", "", 0, false}};
    uint8_t *zip = make_zip(keras, 2, &size);
    assert_int_equal(read_bytes(zip, size, &err), GRAFT_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, ".keras"));
    gr_free(zip);
    static const struct file other[] = {{"readme.txt", "hello", 5, false}};
    zip = make_zip(other, 1, &size);
    assert_int_equal(read_bytes(zip, size, &err), GRAFT_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "without data.pkl"));
    gr_free(zip);
    static const struct file twice[] = {{"a/data.pkl", "N.", 2, false},
                                        {"a/data.pkl", "N.", 2, false}};
    zip = make_zip(twice, 2, &size);
    assert_int_equal(read_bytes(zip, size, &err), GRAFT_E_FORMAT);
    assert_non_null(strstr(err.message, "there twice"));
    gr_free(zip);
}

/* ---- damage --------------------------------------------------------------------------------- */

static void damage(const char *path, bool flips)
{
    uint8_t *bytes = NULL;
    size_t cap = 0, size = 0;
    struct graft_error err = {0};
    assert_int_equal(gr_file_read(path, 1 << 20, &bytes, &cap, &size, &err), GRAFT_OK);
    assert_int_equal(read_bytes(bytes, size, &err), GRAFT_OK);
    for (size_t n = 0; n < size; n++)
        if (!read_bytes(bytes, n, &err))
            fail_msg("%s cut to %zu of %zu bytes was read", path, n, size);
    for (size_t bit = 0; flips && bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        read_bytes(bytes, size, &err);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    gr_free(bytes);
}

static void test_damaged(void **state)
{
    (void)state;
    damage(WEIGHTS "one.pth", true);
    damage(WEIGHTS "one_stream.pth", true);
    damage(WEIGHTS "deflated.pth", true);
    damage(WEIGHTS "views_stream.pth", true);
    damage(WEIGHTS "module_protocol4.pth", false);
}

/* With the Nth allocation failing, all is freed and nothing else happens. */
static void test_no_memory(void **state)
{
    static const char *const files[] = {"nested.pth", "deflated.pth", "module_stream.pth",
                                        "evil_beside.pth"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[256];
        snprintf(path, sizeof path, WEIGHTS "%s", files[i]);
        for (uint64_t n = 1;; n++) {
            struct gr_weights w = {0};
            struct graft_error err = {0};
            gr_mem_fail_at(n);
            enum graft_status s = gr_pth_read(path, &w, &err);
            gr_mem_fail_at(0);
            gr_weights_clear(&w);
            if (!s)
                break;
            assert_int_equal(s, GRAFT_E_NOMEM);
            assert_true(n < 10000);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pickles),        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_shared_modules), cmocka_unit_test(test_zip_bomb),
        cmocka_unit_test(test_archives),       cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
