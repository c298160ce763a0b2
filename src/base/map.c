/* Which number has this name? */
#include "base/map.h"
#include "base/mem.h"
#include <string.h>
#include <xxhash.h>

static struct gr_names_slot *slot_of(const struct gr_names *m, const char *key)
{
    size_t i = (size_t)XXH3_64bits(key, strlen(key)) & (m->cap - 1);
    while (m->slots[i].key && strcmp(m->slots[i].key, key))
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

void gr_names_clear(struct gr_names *m)
{
    gr_free(m->slots);
    memset(m, 0, sizeof *m);
}

bool gr_names_set(struct gr_names *m, const char *key, int64_t value)
{
    if (2 * (m->n + 1) > m->cap) {
        struct gr_names bigger = {.n = m->n, .cap = m->cap ? 2 * m->cap : 64};
        bigger.slots = gr_alloc_zero(bigger.cap, sizeof *bigger.slots);
        if (!bigger.slots)
            return false;
        for (size_t i = 0; i < m->cap; i++)
            if (m->slots[i].key)
                *slot_of(&bigger, m->slots[i].key) = m->slots[i];
        gr_free(m->slots);
        *m = bigger;
    }
    struct gr_names_slot *s = slot_of(m, key);
    if (!s->key) {
        s->key = key;
        m->n++;
    }
    s->value = value;
    return true;
}

int64_t gr_names_find(const struct gr_names *m, const char *key)
{
    if (!m->n)
        return -1;
    const struct gr_names_slot *s = slot_of(m, key);
    return s->key ? s->value : -1;
}
