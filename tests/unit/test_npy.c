/* Does NumPy's array format survive writing and reading? */
#include "test_pth_expected.h"
#include "base/file.h"
#include "formats/npy.h"
#include <unistd.h>

static void test_round_trip(void **state)
{
    struct gr_outfile o;
    struct graft_error err = {0};
    struct gr_tensor t = {0};
    float row[3] = {1, 2, 3};
    (void)state;
    assert_int_equal(gr_outfile_open(&o, "test_npy.tmp", &err), GRAFT_OK);
    gr_npy_write_header(o.f, 0, 3);
    for (int i = 0; i < 4; i++, row[0] += 10)
        gr_npy_append(o.f, row, 3);
    rewind(o.f);
    gr_npy_write_header(o.f, 4, 3);
    assert_int_equal(gr_outfile_commit(&o, &err), GRAFT_OK);
    assert_int_equal(gr_npy_read("test_npy.tmp", &t, &err), GRAFT_OK);
    unlink("test_npy.tmp");
    assert_int_equal(t.shape.rank, 2);
    assert_int_equal(t.shape.dim[0], 4);
    assert_int_equal(t.shape.dim[1], 3);
    assert_true(gr_load_f64(t.dtype, t.data, 9) == 31 && gr_load_f64(t.dtype, t.data, 11) == 3);
    gr_tensor_clear(&t);
}

/* A header equal to NumPy's own but for its padding; its file is read as it is. */
static void test_numpy(void **state)
{
    struct gr_tensor t = {0};
    struct graft_error err = {0};
    uint8_t *theirs = NULL, *ours = NULL;
    size_t cap = 0, size = 0, cap_ours = 0, size_ours = 0;
    struct gr_outfile o;
    (void)state;
    assert_int_equal(gr_npy_read(WEIGHTS "array.npy", &t, &err), GRAFT_OK);
    assert_int_equal(gr_tensor_count(&t), 6);
    for (size_t i = 0; i < 6; i++)
        assert_true(gr_load_f64(t.dtype, t.data, i) == (double)i);
    assert_int_equal(gr_outfile_open(&o, "test_npy.tmp", &err), GRAFT_OK);
    gr_npy_write_header(o.f, 2, 3);
    gr_npy_append(o.f, t.data, 3);
    gr_npy_append(o.f, (const float *)t.data + 3, 3);
    assert_int_equal(gr_outfile_commit(&o, &err), GRAFT_OK);
    gr_tensor_clear(&t);
    assert_int_equal(gr_file_read(WEIGHTS "array.npy", 1000, &theirs, &cap, &size, &err), GRAFT_OK);
    assert_int_equal(gr_file_read("test_npy.tmp", 1000, &ours, &cap_ours, &size_ours, &err),
                     GRAFT_OK);
    unlink("test_npy.tmp");
    assert_int_equal(size, size_ours);
    assert_memory_equal(theirs, ours, size);
    free(theirs);
    free(ours);
}

static void test_damaged(void **state)
{
    uint8_t *bytes = NULL;
    size_t cap = 0, size = 0;
    struct graft_error err = {0};
    (void)state;
    assert_int_equal(gr_file_read(WEIGHTS "array.npy", 1000, &bytes, &cap, &size, &err), GRAFT_OK);
    for (size_t n = 0; n < size; n++) {
        struct gr_tensor t = {0};
        assert_int_equal(gr_file_write("test_npy.tmp", bytes, n, &err), GRAFT_OK);
        assert_int_equal(gr_npy_read("test_npy.tmp", &t, &err), GRAFT_E_FORMAT);
    }
    unlink("test_npy.tmp");
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_numpy),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
