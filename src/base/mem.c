/* Where does memory come from, and how do tests make it fail? */
#include "base/mem.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_uint_fast64_t n_allocs, fail_at;
static atomic_bool env_read;

static bool must_fail(void)
{
    if (!atomic_exchange_explicit(&env_read, true, memory_order_relaxed)) {
        const char *s = getenv("GRAFT_FAIL_ALLOC");
        if (s)
            atomic_store(&fail_at, strtoull(s, NULL, 10));
    }
    uint64_t n = atomic_fetch_add_explicit(&n_allocs, 1, memory_order_relaxed) + 1;
    return n == atomic_load_explicit(&fail_at, memory_order_relaxed);
}

uint64_t gr_mem_fail_at(uint64_t n)
{
    atomic_store(&env_read, true);
    atomic_store(&fail_at, n);
    return atomic_exchange(&n_allocs, 0);
}

void *gr_alloc(size_t size)
{
    return must_fail() ? NULL : malloc(size ? size : 1);
}

void *gr_alloc_zero(size_t n, size_t size)
{
    return must_fail() ? NULL : calloc(n ? n : 1, size ? size : 1);
}

void *gr_alloc_array(size_t n, size_t size)
{
    size_t total;
    return gr_mul_size(n, size, &total) ? gr_alloc(total) : NULL;
}

void *gr_realloc_array(void *p, size_t n, size_t size)
{
    size_t total;
    if (!gr_mul_size(n, size, &total) || must_fail())
        return NULL;
    return realloc(p, total ? total : 1);
}

char *gr_strndup(const char *s, size_t n)
{
    char *p = gr_alloc(n + 1);
    if (p) {
        memcpy(p, s, n);
        p[n] = 0;
    }
    return p;
}

char *gr_strdup(const char *s)
{
    return gr_strndup(s, strlen(s));
}

char *gr_sprintf(const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : gr_alloc((size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

void gr_free(void *p)
{
    free(p);
}

#define HUGE_PAGE ((size_t)1 << 21)

/* Large blocks suffer from misses of the page table, fresh ones from a fault for each page; advice
   only. */
static void ask_for_huge_pages(void *p, size_t size)
{
    if (size >= HUGE_PAGE)
        madvise(p, size & ~(HUGE_PAGE - 1), MADV_HUGEPAGE);
}

void *gr_alloc_aligned(size_t size, bool zero)
{
    void *p = NULL;
    if (size > SIZE_MAX - 127 || must_fail())
        return NULL;
    /* one spare vector, so that kernels may read past the end of a row */
    size_t padded = (size + 127) & ~(size_t)63;
    if (posix_memalign(&p, padded < HUGE_PAGE ? 64 : HUGE_PAGE, padded))
        return NULL;
    ask_for_huge_pages(p, padded);
    if (zero)
        memset(p, 0, padded);
    return p;
}

void gr_free_aligned(void *p)
{
    free(p);
}

bool gr_grow(void **p, size_t n_used, size_t *n_cap, size_t elem_size)
{
    if (n_used < *n_cap)
        return true;
    size_t cap = *n_cap ? *n_cap : 8;
    if (*n_cap && !gr_mul_size(cap, 2, &cap))
        return false;
    void *q = gr_realloc_array(*p, cap, elem_size);
    if (!q)
        return false;
    *p = q;
    *n_cap = cap;
    return true;
}
