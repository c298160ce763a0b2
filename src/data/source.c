/* How do pictures that a program holds in memory become examples? */
#include "data/source.h"
#include "base/file.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct member {
    const char *name;
    int64_t index; /* as the program counts */
    int width, height;
    size_t size; /* of a file's bytes; 0: pixels */
};

struct gr_source {
    const struct graft_source *from;
    struct member *members; /* by name */
    size_t n;
};

enum { HEADER_SIZE = 66 }; /* of a bitmap with its three masks */

static int compare_members(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static enum graft_status check_example(const struct graft_example *e, int64_t i,
                                       struct graft_error *err)
{
    if (e->size ? e->width || e->height : e->width < 1 || e->height < 1)
        return gr_error(err, GRAFT_E_ARG,
                        "example %lld: %dx%d pixels and a file of %zu bytes, expected one of both",
                        (long long)i, e->width, e->height, e->size);
    if (e->split && gr_split_of_name(e->split) == GR_SPLIT_NONE)
        return gr_error(err, GRAFT_E_ARG, "example %lld: split '%s', expected train, val or test",
                        (long long)i, e->split);
    return GRAFT_OK;
}

static enum graft_status add_example(struct gr_dataset *ds, struct gr_labels *labels,
                                     struct gr_source *source, int64_t i, struct graft_error *err)
{
    struct graft_example e = {0};
    char number[24];
    source->from->describe(source->from->user, i, &e);
    enum graft_status s = check_example(&e, i, err);
    if (s)
        return s;
    snprintf(number, sizeof number, "%lld", (long long)i);
    struct gr_example x = {
        .path = gr_arena_strdup(&ds->arena, e.name ? e.name : number),
        .label = -1,
        .split = e.split ? gr_split_of_name(e.split) : GR_SPLIT_NONE,
        .group = e.group ? gr_arena_strdup(&ds->arena, e.group) : NULL,
        .weight = 1,
        .format = GR_FORMAT_BMP, /* of a file: known when it is read */
        .size = e.size,
    };
    const char *text = e.label ? gr_arena_strdup(&ds->arena, e.label) : NULL;
    if (!x.path || (e.group && !x.group) || (e.label && !text) ||
        !GR_GROW(ds->examples, ds->n, ds->cap_examples) ||
        !GR_GROW(labels->text, ds->n, labels->cap))
        return gr_error_nomem(err);
    labels->text[ds->n] = text;
    ds->examples[ds->n++] = x;
    source->members[source->n++] = (struct member){x.path, i, e.width, e.height, e.size};
    return GRAFT_OK;
}

static enum graft_status sort_names(struct gr_source *source, struct graft_error *err)
{
    qsort(source->members, source->n, sizeof *source->members, compare_members);
    for (size_t i = 1; i < source->n; i++) {
        const struct member *a = &source->members[i - 1], *b = &source->members[i];
        if (!strcmp(a->name, b->name))
            return gr_error(err, GRAFT_E_ARG, "examples %lld and %lld have one name, '%s'",
                            (long long)a->index, (long long)b->index, a->name);
    }
    return GRAFT_OK;
}

enum graft_status gr_source_open(const struct graft_source *from, struct gr_dataset *ds,
                                 struct graft_error *err)
{
    struct gr_dataset d = {0};
    struct gr_labels labels = {0};
    enum graft_status s = GRAFT_OK;
    size_t bytes;
    if (from->n < 1 || !from->describe || !from->read)
        return gr_error(err, GRAFT_E_ARG, "a source of %lld pictures%s", (long long)from->n,
                        from->describe && from->read ? "" : " without its functions");
    struct gr_source *source = gr_arena_alloc(&d.arena, sizeof *source);
    if (!source || !gr_mul_size((size_t)from->n, sizeof *source->members, &bytes) ||
        !(source->members = gr_arena_alloc(&d.arena, bytes)))
        s = gr_error_nomem(err);
    if (!s)
        source->from = from;
    for (int64_t i = 0; !s && i < from->n; i++)
        s = add_example(&d, &labels, source, i, err);
    if (!s)
        s = sort_names(source, err);
    d.source = source;
    if (!s)
        s = gr_dataset_classes(&d, &labels, err);
    gr_free(labels.text);
    if (s)
        gr_dataset_clear(&d);
    else
        *ds = d;
    return s;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* Top row first, red green blue, as the pixels come. */
static void write_header(uint8_t *p, const struct member *m)
{
    memset(p, 0, HEADER_SIZE);
    p[0] = 'B', p[1] = 'M';
    put32(p + 10, HEADER_SIZE);
    put32(p + 14, 40);
    put32(p + 18, (uint32_t)m->width);
    put32(p + 22, -(uint32_t)m->height);
    p[26] = 1;
    p[28] = 24;
    p[30] = 3; /* masks follow */
    put32(p + 54, 0xff);
    put32(p + 58, 0xff00);
    put32(p + 62, 0xff0000);
}

/* Rows without gaps get the gaps of a bitmap, the last one first. */
static void spread_rows(uint8_t *p, size_t row, size_t stride, int height)
{
    for (int y = height; row != stride && y-- > 0;) {
        memmove(p + (size_t)y * stride, p + (size_t)y * row, row);
        memset(p + (size_t)y * stride + row, 0, stride - row);
    }
}

enum graft_status gr_source_read(const struct gr_source *source, const char *name, size_t limit,
                                 uint8_t **data, size_t *cap, size_t *size, struct graft_error *err)
{
    if (!source)
        return gr_file_read(name, limit, data, cap, size, err);
    const struct member key = {.name = name};
    const struct member *m =
        bsearch(&key, source->members, source->n, sizeof *source->members, compare_members);
    if (!m)
        return gr_error(err, GRAFT_E_IO, "%s: the program has no such picture", name);
    size_t row = (size_t)m->width * 3, stride = (row + 3) & ~(size_t)3, want = m->size;
    if (!m->size &&
        (!gr_mul_size(stride, (size_t)m->height, &want) || !gr_add_size(want, HEADER_SIZE, &want)))
        return gr_error(err, GRAFT_E_LIMIT, "%s: %dx%d pixels", name, m->width, m->height);
    if (want > limit)
        return gr_error(err, GRAFT_E_LIMIT, "%s: %zu bytes, limit is %zu", name, want, limit);
    if (!*data || *cap < want) {
        gr_free(*data);
        *cap = 0;
        *data = gr_alloc(want);
        if (!*data)
            return gr_error_nomem(err);
        *cap = want;
    }
    uint8_t *at = *data + (m->size ? 0 : HEADER_SIZE);
    if (!source->from->read(source->from->user, m->index, at))
        return gr_error(err, GRAFT_E_IO, "%s: the program could not give this picture", name);
    if (!m->size) {
        spread_rows(at, row, stride, m->height);
        write_header(*data, m);
    }
    *size = want;
    return GRAFT_OK;
}
