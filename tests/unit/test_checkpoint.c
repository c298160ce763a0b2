/* Is a checkpoint whole, the right one, or refused? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/file.h"
#include "base/mem.h"
#include "train/checkpoint.h"

static char path[] = "/tmp/test_checkpoint.XXXXXX";
static const struct gr_hash key = {1, 2};
static float a[5] = {1, 2, 3, 4, 5};
static int64_t b[2] = {-7, 9};
static const struct gr_checkpoint_block blocks[3] = {
    {"floats", a, sizeof a}, {"nothing", NULL, 0}, {"numbers", b, sizeof b}};
static uint8_t file[1024];
static size_t size;

static int begin(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    if (gr_checkpoint_write(path, key, blocks, 3, NULL))
        return -1;
    FILE *f = fopen(path, "rb");
    size = fread(file, 1, sizeof file, f);
    fclose(f);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return unlink(path);
}

static enum graft_status read_bytes(const uint8_t *p, size_t n, struct graft_error *err)
{
    float x[5] = {0};
    int64_t y[2] = {0};
    const struct gr_checkpoint_block into[3] = {
        {"floats", x, sizeof x}, {"nothing", NULL, 0}, {"numbers", y, sizeof y}};
    assert_int_equal(gr_file_write(path, p, n, NULL), GRAFT_OK);
    enum graft_status s = gr_checkpoint_read(path, key, into, 3, err);
    assert_int_equal(memcmp(x, a, sizeof a) == 0 && memcmp(y, b, sizeof b) == 0, !s);
    if (s) /* nothing was touched */
        assert_true(x[0] == 0 && x[4] == 0 && y[0] == 0 && y[1] == 0);
    return s;
}

static void test_round_trip(void **state)
{
    (void)state;
    assert_int_equal(read_bytes(file, size, NULL), GRAFT_OK);
}

static void test_damaged(void **state)
{
    (void)state;
    struct graft_error err;
    uint8_t p[1024];
    for (size_t n = 0; n < size; n++)
        assert_int_equal(read_bytes(file, n, &err), GRAFT_E_FORMAT);
    for (size_t i = 0; i < size; i++) {
        memcpy(p, file, size);
        p[i] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(read_bytes(p, size, &err), GRAFT_E_FORMAT);
    }
}

static void test_forged(void **state) /* every byte, with a checksum that fits again */
{
    (void)state;
    struct graft_error err;
    uint8_t p[1024];
    for (size_t i = 0; i < size - 16; i++) {
        memcpy(p, file, size);
        p[i] ^= 0x81;
        struct gr_hash sum = gr_hash_bytes(p, size - sizeof sum);
        memcpy(p + size - sizeof sum, &sum, sizeof sum);
        float x[5];
        int64_t y[2];
        const struct gr_checkpoint_block into[3] = {
            {"floats", x, sizeof x}, {"nothing", NULL, 0}, {"numbers", y, sizeof y}};
        assert_int_equal(gr_file_write(path, p, size, NULL), GRAFT_OK);
        enum graft_status s = gr_checkpoint_read(path, key, into, 3, &err);
        bool in_data = (i >= 40 + 24 && i < 40 + 24 + sizeof a) || i >= size - 16 - sizeof b;
        if (in_data != !s)
            fail_msg("byte %zu: %d", i, (int)s);
    }
    for (size_t n = 40; n < size - 16; n++) { /* cut short, with a checksum that fits */
        struct gr_hash sum = gr_hash_bytes(file, n);
        memcpy(p, file, n);
        memcpy(p + n, &sum, sizeof sum);
        assert_int_not_equal(read_bytes(p, n + sizeof sum, &err), GRAFT_OK);
    }
}

static void test_other(void **state)
{
    (void)state;
    struct graft_error err;
    float x[6] = {0};
    int64_t y[2];
    struct gr_checkpoint_block into[3] = {
        {"floats", x, sizeof a}, {"nothing", NULL, 0}, {"numbers", y, sizeof y}};
    assert_int_equal(gr_file_write(path, file, size, NULL), GRAFT_OK);
    assert_int_equal(gr_checkpoint_read(path, (struct gr_hash){1, 3}, into, 3, &err), GRAFT_E_ARG);
    assert_non_null(strstr(err.message, "other options"));
    assert_int_equal(gr_checkpoint_read(path, key, into, 2, &err), GRAFT_E_ARG);
    into[0].size += 4;
    assert_int_equal(gr_checkpoint_read(path, key, into, 3, &err), GRAFT_E_ARG);
    assert_non_null(strstr(err.message, "'floats' of 20 bytes, expected 'floats' of 24"));
    into[0].size -= 4;
    into[2].name = "letters";
    assert_int_equal(gr_checkpoint_read(path, key, into, 3, &err), GRAFT_E_ARG);
    assert_true(x[0] == 0);
    assert_int_equal(gr_checkpoint_read("/nowhere/x", key, into, 3, &err), GRAFT_E_IO);
    assert_int_equal(gr_checkpoint_write("/nowhere/x", key, blocks, 3, &err), GRAFT_E_IO);
}

static void test_peek(void **state)
{
    (void)state;
    struct graft_error err;
    uint8_t damaged[sizeof file];
    int64_t y[2] = {0};
    struct gr_checkpoint_block one = {"numbers", y, sizeof y};
    assert_int_equal(gr_file_write(path, file, size, NULL), GRAFT_OK);
    assert_int_equal(gr_checkpoint_peek(path, &one, &err), GRAFT_OK);
    assert_memory_equal(y, b, sizeof b);
    one.size = sizeof *y;
    assert_int_equal(gr_checkpoint_peek(path, &one, &err), GRAFT_E_ARG);
    assert_non_null(strstr(err.message, "no block 'numbers' of 8 bytes"));
    one = (struct gr_checkpoint_block){"letters", y, sizeof y};
    assert_int_equal(gr_checkpoint_peek(path, &one, &err), GRAFT_E_ARG);
    for (size_t n = 40; n < size - 16; n++) { /* cut short, with a checksum that fits */
        struct gr_hash sum = gr_hash_bytes(file, n);
        memcpy(damaged, file, n);
        memcpy(damaged + n, &sum, sizeof sum);
        assert_int_equal(gr_file_write(path, damaged, n + sizeof sum, NULL), GRAFT_OK);
        assert_int_equal(gr_checkpoint_peek(path, &one, &err), GRAFT_E_FORMAT);
    }
    damaged[20] ^= 1;
    assert_int_equal(gr_file_write(path, damaged, size, NULL), GRAFT_OK);
    assert_int_equal(gr_checkpoint_peek(path, &one, &err), GRAFT_E_FORMAT);
    assert_int_equal(gr_checkpoint_peek("/nowhere/x", &one, &err), GRAFT_E_IO);
}

static void test_out_of_memory(void **state) /* the old file stays */
{
    (void)state;
    struct graft_error err;
    float other = 3;
    const struct gr_checkpoint_block one = {"other", &other, sizeof other};
    assert_int_equal(gr_file_write(path, file, size, NULL), GRAFT_OK);
    for (uint64_t n = 1;; n++) {
        gr_mem_fail_at(n);
        enum graft_status s = gr_checkpoint_write(path, key, &one, 1, &err);
        gr_mem_fail_at(0);
        if (!s)
            break;
        assert_int_equal(s, GRAFT_E_NOMEM);
        assert_int_equal(gr_checkpoint_read(path, key, blocks, 3, &err), GRAFT_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_forged),     cmocka_unit_test(test_other),
        cmocka_unit_test(test_peek),       cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
