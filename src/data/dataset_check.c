/* What is suspicious about a data set, before anything is learned from it? */
#include "base/file.h"
#include "base/mem.h"
#include "data/dataset.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINES 20 /* of one kind; the rest is counted */
#define TINY      5

static enum graft_status add(struct gr_findings *f, enum gr_severity severity,
                             struct graft_error *err, const char *fmt, ...) GR_PRINTF(4, 5);

static enum graft_status add(struct gr_findings *f, enum gr_severity severity,
                             struct graft_error *err, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *copy = gr_arena_strdup(&f->arena, text);
    if (!copy || !GR_GROW(f->items, f->n, f->cap))
        return gr_error_nomem(err);
    f->items[f->n++] = (struct gr_finding){severity, copy};
    f->n_errors += severity == GR_ERROR;
    f->n_warnings += severity == GR_WARNING;
    return GRAFT_OK;
}

/* ---- the same bytes twice ---- */

struct content {
    struct gr_hash hash;
    size_t index;
};

static int compare_contents(const void *a, const void *b)
{
    const struct content *x = a, *y = b;
    if (x->hash.hi != y->hash.hi)
        return x->hash.hi < y->hash.hi ? -1 : 1;
    if (x->hash.lo != y->hash.lo)
        return x->hash.lo < y->hash.lo ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static bool same(const struct content *a, const struct content *b)
{
    return a->hash.hi == b->hash.hi && a->hash.lo == b->hash.lo;
}

enum kind { OTHER_LABEL, OTHER_SPLIT, DUPLICATE, N_KINDS };

static const struct {
    enum gr_severity severity;
    const char *what;
} kinds[N_KINDS] = {
    {GR_ERROR, "the same picture has two labels"},
    {GR_ERROR, "the same picture is in two splits"},
    {GR_WARNING, "the same picture twice"},
};

static const char *class_name(const struct gr_dataset *ds, const struct gr_example *e)
{
    return e->label < 0 ? "no label" : ds->classes[e->label];
}

/* Each later copy is compared with the first one. */
static enum graft_status find_copies(const struct gr_dataset *ds, const struct content *c, size_t n,
                                     struct gr_findings *f, struct graft_error *err)
{
    size_t count[N_KINDS] = {0};
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0, first = 0; i < n && !s; i++) {
        if (!same(&c[i], &c[first]))
            first = i;
        if (i == first)
            continue;
        const struct gr_example *a = &ds->examples[c[first].index], *b = &ds->examples[c[i].index];
        enum kind kind = a->label != b->label   ? OTHER_LABEL
                         : a->split != b->split ? OTHER_SPLIT
                                                : DUPLICATE;
        if (count[kind]++ >= MAX_LINES)
            continue;
        s = add(f, kinds[kind].severity, err, "%s: %s (%s, %s) and %s (%s, %s)", kinds[kind].what,
                a->path, class_name(ds, a), gr_split_name(a->split), b->path, class_name(ds, b),
                gr_split_name(b->split));
    }
    for (int k = 0; k < N_KINDS && !s; k++) {
        if (count[k] > MAX_LINES)
            s = add(f, kinds[k].severity, err, "%s: %zu more", kinds[k].what, count[k] - MAX_LINES);
    }
    return s;
}

static enum graft_status check_files(const struct gr_dataset *ds, const struct gr_file_fact *facts,
                                     struct gr_findings *f, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    size_t n = 0, n_extension = 0, n_bad = 0;
    struct content *c = gr_alloc_array(ds->n, sizeof *c);
    if (!c)
        return gr_error_nomem(err);
    for (size_t i = 0; i < ds->n && !s; i++) {
        const struct gr_example *e = &ds->examples[i];
        enum gr_format promised = gr_format_of_name(e->path);
        if (!ds->source && promised != e->format && promised != GR_FORMAT_UNKNOWN &&
            n_extension++ < MAX_LINES)
            s = add(f, GR_NOTE, err, "%s: is a %s", e->path, gr_format_name(e->format));
        c[n].index = i;
        if (facts && facts[i].known) {
            c[n++].hash = facts[i].content;
            if (!s && facts[i].status && n_bad++ < MAX_LINES)
                s = add(f, GR_WARNING, err, "%s: %s", e->path,
                        facts[i].message ? facts[i].message : graft_status_name(facts[i].status));
            continue;
        }
        if (ds->source) {
            if (!s && n_bad++ < MAX_LINES)
                s = add(f, GR_WARNING, err, "%s: %s", e->path,
                        facts && facts[i].message ? facts[i].message : "not read");
            continue;
        }
        struct gr_map map;
        struct graft_error why;
        if (!gr_map_open(e->path, &map, &why)) {
            c[n++].hash = gr_hash_bytes(map.data, map.size);
            gr_map_close(&map);
        } else if (!s && n_bad++ < MAX_LINES) {
            s = add(f, GR_WARNING, err, "%s", why.message);
        }
    }
    if (!s && n_extension > MAX_LINES)
        s = add(f, GR_NOTE, err, "%zu more files whose extension is not their format",
                n_extension - MAX_LINES);
    if (!s && n_bad > MAX_LINES)
        s = add(f, GR_WARNING, err, "%zu more unreadable pictures", n_bad - MAX_LINES);
    if (!s && n) {
        qsort(c, n, sizeof *c, compare_contents);
        s = find_copies(ds, c, n, f, err);
    }
    gr_free(c);
    return s;
}

/* ---- classes ---- */

static enum graft_status check_sizes(const struct gr_dataset *ds, struct gr_findings *f,
                                     struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    bool used[GR_N_SPLITS] = {0};
    size_t(*count)[GR_N_SPLITS] = gr_alloc_zero(ds->n_classes, sizeof *count);
    if (!count)
        return gr_error_nomem(err);
    for (size_t i = 0; i < ds->n; i++) {
        const struct gr_example *e = &ds->examples[i];
        if (e->label < 0)
            continue;
        used[e->split] = true;
        count[e->label][e->split]++;
    }
    for (size_t c = 0; c < ds->n_classes && !s; c++) {
        size_t all = 0;
        for (int k = 0; k < GR_N_SPLITS; k++)
            all += count[c][k];
        if (all < TINY)
            s = add(f, GR_WARNING, err, "class '%s' has only %zu example%s", ds->classes[c], all,
                    all == 1 ? "" : "s");
        for (int k = GR_SPLIT_TRAIN; k < GR_N_SPLITS && !s; k++) {
            if (used[k] && count[c][k] == 0)
                s = add(f, GR_WARNING, err, "class '%s' is missing in %s", ds->classes[c],
                        gr_split_name((enum gr_split)k));
        }
    }
    gr_free(count);
    return s;
}

/* Equal but for case, spaces, '_' and '-'. */
static bool equal_loosely(const char *a, const char *b)
{
    for (;;) {
        while (*a == ' ' || *a == '_' || *a == '-')
            a++;
        while (*b == ' ' || *b == '_' || *b == '-')
            b++;
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
        if (!*a)
            return true;
        a++;
        b++;
    }
}

/* One letter changed, missing or added in names of five or more; digits count names on purpose. */
static bool one_letter_apart(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), i = 0;
    if (n > m) {
        const char *t = a;
        a = b;
        b = t;
        size_t k = n;
        n = m;
        m = k;
    }
    if (n < 4 || m < 5 || m - n > 1)
        return false;
    while (i < n && a[i] == b[i])
        i++;
    if (isdigit((unsigned char)b[i]) || (i < n && isdigit((unsigned char)a[i])))
        return false;
    return !strcmp(a + i + (m == n), b + i + 1);
}

static enum graft_status check_names(const struct gr_dataset *ds, struct gr_findings *f,
                                     struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    size_t n = 0;
    if (ds->n_classes > 5000) /* pairs grow with the square */
        return GRAFT_OK;
    for (size_t i = 0; i < ds->n_classes && !s; i++) {
        for (size_t k = i + 1; k < ds->n_classes && !s; k++) {
            const char *a = ds->classes[i], *b = ds->classes[k];
            if ((equal_loosely(a, b) || one_letter_apart(a, b)) && n++ < MAX_LINES)
                s = add(f, GR_NOTE, err, "classes '%s' and '%s' are nearly the same name", a, b);
        }
    }
    return s;
}

/* ---- all ---- */

enum graft_status gr_dataset_check(const struct gr_dataset *ds, const struct gr_file_fact *facts,
                                   struct gr_findings *findings, struct graft_error *err)
{
    struct gr_findings f = {0};
    enum graft_status s = check_files(ds, facts, &f, err);
    if (!s && ds->n_classes)
        s = check_sizes(ds, &f, err);
    if (!s)
        s = check_names(ds, &f, err);
    if (!s && ds->n_classes == 1)
        s = add(&f, GR_WARNING, err, "there is only one class, '%s'", ds->classes[0]);
    for (size_t i = 0; i < ds->n_bad && !s && i < MAX_LINES; i++)
        s = add(&f, GR_WARNING, err, "%s: %s", ds->bad[i].path, ds->bad[i].why);
    if (!s && ds->n_bad > MAX_LINES)
        s = add(&f, GR_WARNING, err, "%zu more files that are no pictures", ds->n_bad - MAX_LINES);
    for (size_t i = 0; i < ds->n_notes && !s; i++)
        s = add(&f, GR_NOTE, err, "%s", ds->notes[i]);
    if (!s && ds->n_hidden)
        s = add(&f, GR_NOTE, err, "%zu hidden files skipped", ds->n_hidden);
    if (s)
        gr_findings_clear(&f);
    else
        *findings = f;
    return s;
}

void gr_findings_print(const struct gr_findings *f, struct gr_buf *out)
{
    static const char *const names[] = {"note", "warning", "error"};
    for (int severity = GR_ERROR; severity >= GR_NOTE; severity--) {
        for (size_t i = 0; i < f->n; i++) {
            if ((int)f->items[i].severity == severity)
                gr_buf_printf(out, "%s: %s\n", names[severity], f->items[i].text);
        }
    }
}

void gr_findings_clear(struct gr_findings *f)
{
    gr_free(f->items);
    gr_arena_clear(&f->arena);
    memset(f, 0, sizeof *f);
}
