/* How are the ranges of an int8 network written in its file? */
#include "base/mem.h"
#include "job/job.h"
#include <jansson.h>
#include <math.h>

/* Scales and what is computed with them stay far from what floats cannot hold. */
#define HIGHEST 1e30

char *gr_job_print_ranges(const struct gr_ranges *r)
{
    json_t *root = json_object();
    bool ok = root != NULL;
    for (size_t i = 0; i < r->n; i++) {
        const double high = (double)r->items[i].high;
        json_t *pair = json_pack("[f,f]", r->items[i].below ? -high : 0.0, high);
        ok = ok && !json_object_set_new_nocheck(root, r->items[i].value, pair);
    }
    char *dump =
        ok ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    char *text = dump ? gr_strdup(dump) : NULL;
    free(dump);
    json_decref(root);
    return text;
}

static enum graft_status read_pair(const char *name, const json_t *pair, struct gr_range *r,
                                   struct graft_error *err)
{
    const double low = json_number_value(json_array_get(pair, 0));
    const double high = json_number_value(json_array_get(pair, 1));
    if (json_array_size(pair) != 2 || !(high >= 1 / HIGHEST && high <= HIGHEST) ||
        (low != 0 && low != -high))
        return gr_error(err, GRAFT_E_FORMAT,
                        "graft.int8: the range of '%s' is not [0, high] or [-high, high]", name);
    r->high = (float)high;
    r->below = low < 0;
    r->value = gr_strdup(name);
    return r->value ? GRAFT_OK : gr_error_nomem(err);
}

enum graft_status gr_job_parse_ranges(const char *text, struct gr_ranges *out,
                                      struct graft_error *err)
{
    json_error_t why;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &why), *pair;
    const char *name;
    struct gr_ranges r = {0};
    enum graft_status s = GRAFT_OK;
    if (!json_is_object(root))
        s = gr_error(err, GRAFT_E_FORMAT, "graft.int8: %s", root ? "not a JSON object" : why.text);
    else if (!(r.items = gr_alloc_zero(json_object_size(root) + 1, sizeof *r.items)))
        s = gr_error_nomem(err);
    json_object_foreach(root, name, pair)
    {
        if (!s)
            s = read_pair(name, pair, &r.items[r.n], err);
        r.n += !s;
    }
    json_decref(root);
    if (s) {
        gr_ranges_clear(&r);
        return s;
    }
    gr_ranges_sort(&r);
    *out = r;
    return GRAFT_OK;
}
