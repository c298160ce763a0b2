/* Are the words of the command line read as they are meant? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cli.h"

const struct command commands[] = {{0}};

/* What --mem TEXT gives; 0: refused, and the target untouched. */
static size_t size_of(const char *text)
{
    const struct command c = {.name = "test"};
    size_t size = 77;
    char option[] = "--mem", copy[64], *argv[] = {option, option, copy};
    const struct opt opts[] = {{OPT_SIZE, 0, "mem", &size, "SIZE", "", 0, 0}, {0}};
    int n;
    snprintf(copy, sizeof copy, "%s", text);
    if (opt_parse(&c, opts, 3, argv, &n) == -1)
        return size;
    assert_int_equal(size, 77);
    return 0;
}

static void sizes(void **state)
{
    (void)state;
    assert_int_equal(size_of("1"), 1);
    assert_int_equal(size_of("123456789"), 123456789);
    assert_int_equal(size_of("3k"), 3 << 10);
    assert_int_equal(size_of("500M"), (size_t)500 << 20);
    assert_int_equal(size_of("2g"), (size_t)2 << 30);
    assert_int_equal(size_of("1T"), (size_t)1 << 40);
    assert_int_equal(size_of("18446744073709551615"), SIZE_MAX);
    static const char *const wrong[] = {
        "",         "0",   "0M", "-1",   "+1",   " 1", "M",
        "1MB",      "1 M", "1x", "1.5G", "0x10", "1@", "18446744073709551616",
        "16777216T"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (size_of(wrong[i]))
            fail_msg("'%s' is taken", wrong[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
