/* Which names does a file of labels hold? */
#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/meta.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct list {
    char **items;
    size_t n, cap;
};

void gr_labels_free(size_t n, char **labels)
{
    for (size_t i = 0; labels && i < n; i++)
        gr_free(labels[i]);
    gr_free(labels);
}

static bool list_add(struct list *l, const char *s, size_t size)
{
    if (!GR_GROW(l->items, l->n, l->cap))
        return false;
    l->items[l->n] = gr_strndup(s, size);
    return l->items[l->n] && ++l->n;
}

/* "name", or the last string of ["n01440764", "tench"]. */
static const char *json_label(const json_t *v)
{
    if (json_is_array(v) && json_array_size(v))
        v = json_array_get(v, json_array_size(v) - 1);
    const char *s = json_string_value(v);
    return s && *s ? s : NULL;
}

static enum graft_status read_json(const char *text, size_t size, struct list *l,
                                   struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    json_error_t e;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return gr_error(err, GRAFT_E_FORMAT, "JSON line %d: %s", e.line, e.text);
    size_t n = json_is_array(root) ? json_array_size(root) : json_object_size(root);
    for (size_t i = 0; !s && i < n; i++) {
        char key[24];
        snprintf(key, sizeof key, "%zu", i);
        const char *label =
            json_label(json_is_array(root) ? json_array_get(root, i) : json_object_get(root, key));
        if (!label)
            s = gr_error(err, GRAFT_E_FORMAT, "label %zu of %zu is missing or no text", i, n);
        else if (!list_add(l, label, strlen(label)))
            s = gr_error_nomem(err);
    }
    json_decref(root);
    return s;
}

/* Length of "12 " or "12: " before line i of a numbered list; 0: there is none. */
static size_t index_prefix(const char *line, size_t i)
{
    char index[24];
    int n = snprintf(index, sizeof index, "%zu", i);
    size_t at = (size_t)n;
    if (strncmp(line, index, at) || !line[at] || !strchr(" \t:,", line[at]))
        return 0;
    at += strspn(line + at, " \t:,");
    return line[at] ? at : 0;
}

static bool is_utf8(const char *text, size_t size)
{
    json_t *s = json_stringn(text, size);
    json_decref(s);
    return s != NULL;
}

static enum graft_status read_lines(const char *text, size_t size, struct list *l,
                                    struct graft_error *err)
{
    size_t line = 0, blank = 0;
    for (size_t at = 0; at < size;) {
        const char *start = text + at, *nl = memchr(start, '\n', size - at);
        size_t n = nl ? (size_t)(nl - start) : size - at;
        at += n + 1;
        line++;
        while (n && strchr(" \t\r", start[n - 1]))
            n--;
        if (!n) {
            blank = blank ? blank : line;
            continue;
        }
        if (blank)
            return gr_error(err, GRAFT_E_FORMAT, "line %zu is empty", blank);
        if (!is_utf8(start, n) || memchr(start, 0, n))
            return gr_error(err, GRAFT_E_FORMAT, "line %zu is not UTF-8 text", line);
        if (!list_add(l, start, n))
            return gr_error_nomem(err);
    }
    bool numbered = l->n > 0;
    for (size_t i = 0; i < l->n; i++)
        numbered = numbered && index_prefix(l->items[i], i);
    for (size_t i = 0; numbered && i < l->n; i++) {
        size_t skip = index_prefix(l->items[i], i);
        memmove(l->items[i], l->items[i] + skip, strlen(l->items[i] + skip) + 1);
    }
    return GRAFT_OK;
}

enum graft_status gr_labels_parse(const char *text, size_t size, size_t *n, char ***labels,
                                  struct graft_error *err)
{
    struct list l = {0};
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        text += 3;
        size -= 3;
    }
    if (size > GR_META_MAX_TEXT)
        return gr_error(err, GRAFT_E_LIMIT, "%zu bytes of labels, limit is %d", size,
                        GR_META_MAX_TEXT);
    size_t lead = 0;
    while (lead < size && text[lead] && strchr(" \t\r\n", text[lead]))
        lead++;
    bool json = lead < size && (text[lead] == '[' || text[lead] == '{');
    enum graft_status s = json ? read_json(text, size, &l, err) : read_lines(text, size, &l, err);
    if (!s && !l.n)
        s = gr_error(err, GRAFT_E_FORMAT, "no labels in it");
    if (s) {
        gr_labels_free(l.n, l.items);
        return s;
    }
    *n = l.n;
    *labels = l.items;
    return GRAFT_OK;
}

enum graft_status gr_labels_read(const char *path, size_t *n, char ***labels,
                                 struct graft_error *err)
{
    uint8_t *data = NULL;
    size_t cap = 0, size;
    enum graft_status s = gr_file_read(path, GR_META_MAX_TEXT, &data, &cap, &size, err);
    if (!s && (s = gr_labels_parse((const char *)data, size, n, labels, err)))
        gr_error_in(err, s, "%s", path);
    gr_free(data);
    return s;
}
