/* Many small allocations freed together. */
#ifndef GR_BASE_ARENA_H
#define GR_BASE_ARENA_H

#include <stddef.h>

struct gr_arena {
    struct gr_arena_block *blocks;
};

/* A zeroed struct is an empty arena. Each returns NULL when out of memory. */
void *gr_arena_alloc(struct gr_arena *a, size_t size); /* 16-byte aligned, zeroed */
void *gr_arena_copy(struct gr_arena *a, const void *data, size_t size);
char *gr_arena_strdup(struct gr_arena *a, const char *s);
char *gr_arena_strndup(struct gr_arena *a, const char *s, size_t n);
void gr_arena_clear(struct gr_arena *a);

#endif
