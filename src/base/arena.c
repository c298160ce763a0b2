/* Where do the small parts of a big object live? */
#include "base/arena.h"
#include "base/mem.h"
#include <stdalign.h>
#include <string.h>

enum { BLOCK_SIZE = 64 * 1024 };

struct gr_arena_block {
    struct gr_arena_block *next;
    size_t used, size;
    alignas(16) unsigned char data[];
};

void *gr_arena_alloc(struct gr_arena *a, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct gr_arena_block) - 16)
        return NULL;
    size = (size + 15) & ~(size_t)15;
    struct gr_arena_block *b = a->blocks;
    if (!b || b->size - b->used < size) {
        size_t cap = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        b = gr_alloc_zero(1, sizeof *b + cap);
        if (!b)
            return NULL;
        b->size = cap;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += size;
    return p;
}

void *gr_arena_copy(struct gr_arena *a, const void *data, size_t size)
{
    void *p = gr_arena_alloc(a, size);
    if (p && size)
        memcpy(p, data, size);
    return p;
}

char *gr_arena_strndup(struct gr_arena *a, const char *s, size_t n)
{
    char *p = n < SIZE_MAX ? gr_arena_alloc(a, n + 1) : NULL;
    if (p)
        memcpy(p, s, n);
    return p;
}

char *gr_arena_strdup(struct gr_arena *a, const char *s)
{
    return gr_arena_strndup(a, s, strlen(s));
}

void gr_arena_clear(struct gr_arena *a)
{
    while (a->blocks) {
        struct gr_arena_block *b = a->blocks;
        a->blocks = b->next;
        gr_free(b);
    }
}
