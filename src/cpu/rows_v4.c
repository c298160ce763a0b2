/* How are the loops over rows compiled for processors with AVX-512? */
#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC target("arch=x86-64-v4")
#define ROWS_LOOPS rows_loops_v4
#include "cpu/rows_loops.h"
#else
typedef int rows_are_for_any_processor; /* a file without content is not C */
#endif
