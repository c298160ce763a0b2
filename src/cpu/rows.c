/* Which loops over rows suit this processor? Those for any are compiled here. */
#define ROWS_LOOPS rows_loops_any
#include "cpu/rows_loops.h"

const struct rows_loops *rows_get_loops(void)
{
#if defined(__x86_64__) && !defined(__clang__)
    if (__builtin_cpu_supports("x86-64-v4"))
        return &rows_loops_v4;
    if (__builtin_cpu_supports("x86-64-v3"))
        return &rows_loops_v3;
#endif
    return &rows_loops_any;
}
