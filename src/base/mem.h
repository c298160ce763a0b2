/* All allocation passes here, so that tests can make the Nth one fail. */
#ifndef GR_BASE_MEM_H
#define GR_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns NULL on failure or overflow; free everything with gr_free. A size of 0 gives a
   valid unique pointer. */
void *gr_alloc(size_t size);
void *gr_alloc_zero(size_t n, size_t size);
void *gr_alloc_array(size_t n, size_t size);
void *gr_realloc_array(void *p, size_t n, size_t size);
char *gr_strdup(const char *s);
char *gr_strndup(const char *s, size_t n);
char *gr_sprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void gr_free(void *p);

/* 64-byte aligned, for vectors and kernels; free with gr_free_aligned. Zeroed on request. */
void *gr_alloc_aligned(size_t size, bool zero);
void gr_free_aligned(void *p);

/* Makes room for one more element in a growing array (doubling). False when out of memory;
   the array is then unchanged. `*p` must be NULL or from this file. */
bool gr_grow(void **p, size_t n_used, size_t *n_cap, size_t elem_size);
#define GR_GROW(array, n_used, n_cap)                                                              \
    gr_grow((void **)&(array), (n_used), &(n_cap), sizeof *(array))

/* Tests only: the Nth allocation from now fails (1 = the next); 0 switches it off. Returns how
   many allocations were made since the last call. Also set by GRAFT_FAIL_ALLOC in the
   environment. */
uint64_t gr_mem_fail_at(uint64_t n);

/* a*b or a+b; false on overflow, with *out then untouched. */
static inline bool gr_mul_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool gr_add_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

#endif
