/* A table from names to numbers (open addressing, grows by doubling). Keys are borrowed and must
   outlive the table. */
#ifndef GR_BASE_MAP_H
#define GR_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gr_names {
    struct gr_names_slot {
        const char *key; /* NULL: free */
        int64_t value;
    } * slots;
    size_t n, cap;
};

/* A zeroed struct is an empty table. */
void gr_names_clear(struct gr_names *m);
/* Adds or replaces. False when out of memory. */
bool gr_names_set(struct gr_names *m, const char *key, int64_t value);
/* -1 when absent. */
int64_t gr_names_find(const struct gr_names *m, const char *key);

#endif
