/* Does a damaged ONNX file, or a machine out of memory, ever do more than give an error? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/meta.h"
#include "formats/onnx.h"

static const char *const files[] = {"../golden/onnx/net13.onnx", "../golden/onnx/encodings.onnx",
                                    "../golden/onnx/attributes.onnx"};
enum { N_FILES = sizeof files / sizeof *files };

static uint8_t *slurp(const char *path, size_t *size)
{
    uint8_t *data = NULL;
    size_t cap = 0;
    struct graft_error err;
    if (gr_file_read(path, 1 << 20, &data, &cap, size, &err))
        fail_msg("%s", err.message);
    return data;
}

/* True when it could be read. A failure must say something and leave nothing behind. */
static bool try_read(const uint8_t *data, size_t size)
{
    struct gr_model m = {0};
    struct graft_error err = {0};
    enum graft_status s = gr_onnx_read_memory(data, size, "hostile", NULL, &m, &err);
    if (s) {
        assert_null(m.graph);
        assert_true(err.status == s && !strncmp(err.message, "hostile: ", 9));
        return false;
    }
    gr_meta_read(&m, &err);
    gr_model_clear(&m);
    return true;
}

static void cut_short_anywhere(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FILES; f++) {
        size_t size, good = 0;
        uint8_t *data = slurp(files[f], &size);
        assert_true(try_read(data, size));
        for (size_t n = 0; n < size; n++)
            good += try_read(data, n); /* complete up to a last field that may be left out */
        assert_true(good < 8);
        gr_free(data);
    }
}

static void every_bit_flipped(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FILES; f++) {
        size_t size;
        uint8_t *data = slurp(files[f], &size);
        for (size_t i = 0; i < size; i++)
            for (int bit = 0; bit < 8; bit++) {
                data[i] ^= (uint8_t)(1 << bit);
                try_read(data, size);
                data[i] ^= (uint8_t)(1 << bit);
            }
        gr_free(data);
    }
}

/* Bytes that say: field `number` holds `size` bytes. */
static void open_field(struct gr_buf *b, unsigned number, size_t size)
{
    uint8_t tag = (uint8_t)(number << 3 | 2);
    gr_buf_append(b, &tag, 1);
    for (; size >= 0x80; size >>= 7) {
        tag = (uint8_t)(size | 0x80);
        gr_buf_append(b, &tag, 1);
    }
    tag = (uint8_t)size;
    gr_buf_append(b, &tag, 1);
}

/* model.graph.node.attribute.g.node.attribute.g ... would overflow the stack of a trusting reader.
 */
static void bottomless_nesting(void **state)
{
    (void)state;
    enum { LEVELS = 100000 };
    static const unsigned chain[] = {1, 5, 6}; /* graph.node, node.attribute, attribute.g */
    size_t *size = gr_alloc_array(LEVELS + 1, sizeof *size);
    struct gr_buf b;
    size[LEVELS] = 0;
    for (size_t i = LEVELS; i-- > 0;) {
        size_t len = 1;
        for (size_t v = size[i + 1]; v >= 0x80; v >>= 7)
            len++;
        size[i] = size[i + 1] + 1 + len;
    }
    gr_buf_init(&b, 0);
    open_field(&b, 7, size[0]);
    for (size_t i = 0; i < LEVELS; i++)
        open_field(&b, chain[i % 3], size[i + 1]);
    assert_false(b.failed);
    assert_false(try_read(b.data, b.size));
    gr_buf_clear(&b);
    gr_free(size);
}

/* Two bytes of file must not become hundreds of bytes of memory without end. */
static void empty_messages(void **state)
{
    (void)state;
    enum { N = 4 << 20 };
    struct gr_buf b;
    struct gr_model m = {0};
    struct graft_error err;
    gr_buf_init(&b, 0);
    gr_buf_append(&b, "\x42\x02\x10\x0d", 4); /* operator set 13 */
    open_field(&b, 7, 2 * (size_t)N);
    for (size_t i = 0; i < N; i++)
        open_field(&b, 1, 0);
    assert_int_equal(gr_onnx_read_memory(b.data, b.size, "hostile", NULL, &m, &err), GRAFT_E_LIMIT);
    gr_buf_clear(&b);
}

static void no_memory_at_any_point(void **state)
{
    (void)state;
    char path[] = "/tmp/graft-onnx-XXXXXX";
    close(mkstemp(path));
    enum graft_status s = GRAFT_E_NOMEM;
    uint64_t n = 0;
    for (n = 1; s && n < 5000; n++) {
        struct gr_model m = {0};
        struct graft_error err = {0};
        gr_mem_fail_at(n);
        s = gr_onnx_read(files[0], NULL, &m, &err);
        if (!s)
            s = gr_meta_read(&m, &err);
        if (!s)
            s = gr_onnx_write(&m, path, &err);
        gr_mem_fail_at(0);
        if (s != GRAFT_OK && s != GRAFT_E_NOMEM)
            fail_msg("allocation %d: %s", (int)n, err.message);
        gr_model_clear(&m);
    }
    assert_true(!s && n > 50);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_short_anywhere),     cmocka_unit_test(every_bit_flipped),
        cmocka_unit_test(bottomless_nesting),     cmocka_unit_test(empty_messages),
        cmocka_unit_test(no_memory_at_any_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
