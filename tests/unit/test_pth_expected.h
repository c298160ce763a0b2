/* Comparing weights with tests/golden/weights_expected.tsv: file, name, dtype, shape, values. */
#ifndef TEST_PTH_EXPECTED_H
#define TEST_PTH_EXPECTED_H

#include "core/tensor.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHTS "../golden/weights_files/"

static void compare_tensor(const struct gr_weight *w, char *dtype, char *shape, char *values)
{
    const struct gr_tensor *t = &w->tensor;
    int rank = 0;
    assert_string_equal(gr_dtype_name(t->dtype), dtype);
    for (char *p = shape; *p; rank++) {
        assert_true(rank < t->shape.rank);
        assert_int_equal(t->shape.dim[rank], strtoll(p, &p, 10));
        p += *p == ',';
    }
    assert_int_equal(t->shape.rank, rank);
    size_t n = 0;
    for (char *p = values; *p; n++) {
        double v = strtod(p, &p);
        assert_true(n < (size_t)gr_tensor_count(t));
        if (gr_load_f64(t->dtype, t->data, n) != v)
            fail_msg("%s[%zu] is %a, expected %a", w->name, n, gr_load_f64(t->dtype, t->data, n),
                     v);
        p += *p == ' ';
    }
    assert_int_equal(gr_tensor_count(t), n);
}

/* Every tensor expected of `file` is in w, equal, and no other. Order: that of the file, where
   in_order. */
static inline void compare_weights(const char *file, const struct gr_weights *w, bool in_order)
{
    static char line[65536];
    size_t n = 0;
    FILE *f = fopen("../golden/weights_expected.tsv", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char *field[5], *p = line;
        line[strcspn(line, "\n")] = 0;
        for (int i = 0; i < 5; i++) {
            field[i] = strsep(&p, "\t");
            assert_non_null(field[i]);
        }
        if (strcmp(field[0], file) != 0)
            continue;
        int64_t i = gr_weights_find(w, field[1]);
        if (i < 0)
            fail_msg("%s: no tensor %s", file, field[1]);
        if (in_order)
            assert_int_equal(i, n);
        compare_tensor(&w->items[i], field[2], field[3], field[4]);
        n++;
    }
    fclose(f);
    assert_true(n > 0);
    assert_int_equal(w->n, n);
}

#endif
