/* Which pictures does a CSV, TSV or JSON Lines list name? */
#include "base/file.h"
#include "base/mem.h"
#include "data/dataset.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_LIST   ((size_t)1 << 30)
#define MAX_FIELDS 4096

enum role { FILE_NAME, LABEL, SPLIT, GROUP, WEIGHT, N_ROLES, IGNORED };

static const char *const role_names[N_ROLES] = {"file name", "label", "split", "group", "weight"};

static enum role role_of(const char *name)
{
    static const struct {
        const char *name;
        enum role role;
    } table[] = {
        {"file_name", FILE_NAME}, {"filename", FILE_NAME}, {"path", FILE_NAME},
        {"image", FILE_NAME},     {"file", FILE_NAME},     {"label", LABEL},
        {"class", LABEL},         {"target", LABEL},       {"split", SPLIT},
        {"group", GROUP},         {"weight", WEIGHT},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!strcasecmp(name, table[i].name))
            return table[i].role;
    }
    return IGNORED;
}

bool gr_is_list(const char *path)
{
    const char *dot = strrchr(gr_path_base(path), '.');
    return dot && (!strcasecmp(dot, ".csv") || !strcasecmp(dot, ".tsv") ||
                   !strcasecmp(dot, ".jsonl") || !strcasecmp(dot, ".ndjson"));
}

struct list {
    const char *path;
    char *folder;
    enum gr_split split;
    struct gr_dataset *ds;
    struct gr_labels *labels;
    size_t n_split, n_no_split; /* rows that say a split, and that do not */
};

/* One row; NULL where a role is absent or empty. */
static enum graft_status add_row(struct list *l, size_t line, const char *const v[N_ROLES],
                                 struct graft_error *err)
{
    enum gr_split split = l->split;
    double weight = 1.0;
    if (!v[FILE_NAME])
        return gr_error(err, GRAFT_E_FORMAT, "%s: line %zu: no file name", l->path, line);
    if (v[SPLIT]) {
        split = gr_split_of_name(v[SPLIT]);
        if (split == GR_SPLIT_NONE)
            return gr_error(err, GRAFT_E_FORMAT,
                            "%s: line %zu: column 'split': '%.100s', expected train, val or test",
                            l->path, line, v[SPLIT]);
        l->n_split++;
    } else {
        l->n_no_split++;
    }
    if (l->n_split && l->n_no_split)
        return gr_error(err, GRAFT_E_FORMAT,
                        "%s: line %zu: column 'split': given in %zu rows and missing in %zu so far",
                        l->path, line, l->n_split, l->n_no_split);
    if (v[WEIGHT]) {
        char *end;
        weight = strtod(v[WEIGHT], &end);
        if (end == v[WEIGHT] || *end || !isfinite(weight) || weight < 0)
            return gr_error(err, GRAFT_E_FORMAT,
                            "%s: line %zu: column 'weight': '%.100s', expected a number from 0",
                            l->path, line, v[WEIGHT]);
    }
    char *full =
        *v[FILE_NAME] == '/' ? gr_strdup(v[FILE_NAME]) : gr_path_join(l->folder, v[FILE_NAME]);
    if (!full)
        return gr_error_nomem(err);
    enum graft_status s =
        gr_dataset_add(l->ds, l->labels, full, v[LABEL], split, v[GROUP], weight, err);
    gr_free(full);
    return s;
}

/* ---- CSV and TSV: RFC 4180, fields unquoted in place ---- */

struct table {
    char *p, *end; /* what is left; *end is a NUL of ours */
    size_t line;   /* of p */
    char delimiter;
    char *fields[MAX_FIELDS];
    size_t n;
};

static enum graft_status read_quoted(struct table *t, const char *path, char **field,
                                     struct graft_error *err)
{
    size_t line = t->line;
    char *to = ++t->p;
    *field = to;
    for (;;) {
        if (t->p == t->end)
            return gr_error(err, GRAFT_E_FORMAT, "%s: line %zu: column %zu: quote is never closed",
                            path, line, t->n + 1);
        if (*t->p == '"') {
            if (t->p[1] != '"')
                break;
            t->p++;
        }
        t->line += *t->p == '\n';
        *to++ = *t->p++;
    }
    t->p++; /* the closing quote; `to` is at or before it */
    if (t->p != t->end && *t->p != t->delimiter && *t->p != '\n' &&
        !(*t->p == '\r' && t->p[1] == '\n'))
        return gr_error(err, GRAFT_E_FORMAT,
                        "%s: line %zu: column %zu: '%c' after the closing quote", path, t->line,
                        t->n + 1, *t->p);
    *to = 0;
    return GRAFT_OK;
}

/* The next row that is not blank; t->n is 0 at the end of the file. */
static enum graft_status read_row(struct table *t, const char *path, size_t *line,
                                  struct graft_error *err)
{
    t->n = 0;
    while (t->p < t->end && (*t->p == '\n' || (*t->p == '\r' && t->p[1] == '\n'))) {
        t->line += *t->p == '\n';
        t->p++;
    }
    *line = t->line;
    while (t->p < t->end) {
        char *field = t->p, c;
        if (t->n == MAX_FIELDS)
            return gr_error(err, GRAFT_E_LIMIT, "%s: line %zu: more than %d columns", path, *line,
                            MAX_FIELDS);
        if (*t->p == '"') {
            enum graft_status s = read_quoted(t, path, &field, err);
            if (s)
                return s;
        } else {
            while (t->p < t->end && *t->p != t->delimiter && *t->p != '\n')
                t->p++;
        }
        char *stop = t->p;
        c = *t->p;
        if (t->p < t->end)
            t->p++;
        *stop = 0;
        if (c == '\r' && *t->p == '\n') { /* after a closing quote */
            c = '\n';
            t->p++;
        } else if (c != t->delimiter && stop > field && stop[-1] == '\r') {
            stop[-1] = 0;
        }
        t->fields[t->n++] = field;
        if (c != t->delimiter) {
            t->line += c == '\n';
            return GRAFT_OK;
        }
        if (t->p == t->end && t->n < MAX_FIELDS) /* ends in a delimiter: one empty field more */
            t->fields[t->n++] = t->p;
    }
    return GRAFT_OK;
}

static char *trim(char *s)
{
    while (*s == ' ')
        s++;
    size_t n = strlen(s);
    while (n > 0 && s[n - 1] == ' ')
        s[--n] = 0;
    return s;
}

static enum graft_status read_table(struct list *l, struct table *t, struct graft_error *err)
{
    enum role roles[MAX_FIELDS];
    const char *names[N_ROLES] = {0};
    size_t line;
    enum graft_status s = read_row(t, l->path, &line, err);
    if (s)
        return s;
    size_t n = t->n;
    for (size_t i = 0; i < n; i++) {
        char *name = trim(t->fields[i]);
        for (size_t k = 0; k < i; k++) {
            if (*name && !strcasecmp(name, trim(t->fields[k])))
                return gr_error(err, GRAFT_E_FORMAT,
                                "%s: line %zu: columns %zu and %zu are both '%s'", l->path, line,
                                k + 1, i + 1, name);
        }
        roles[i] = role_of(name);
        if (roles[i] == IGNORED)
            continue;
        if (names[roles[i]])
            return gr_error(err, GRAFT_E_FORMAT,
                            "%s: line %zu: columns '%s' and '%s' both give the %s", l->path, line,
                            names[roles[i]], name, role_names[roles[i]]);
        names[roles[i]] = name;
    }
    if (!names[FILE_NAME])
        return gr_error(err, GRAFT_E_FORMAT,
                        "%s: line %zu: no column file_name, filename, path, image or file; the "
                        "first of %zu columns is '%.100s'",
                        l->path, line, n, n ? t->fields[0] : "");
    for (;;) {
        const char *v[N_ROLES] = {0};
        s = read_row(t, l->path, &line, err);
        if (s || t->n == 0)
            return s;
        if (t->n != n)
            return gr_error(err, GRAFT_E_FORMAT, "%s: line %zu: %zu columns, the header has %zu",
                            l->path, line, t->n, n);
        for (size_t i = 0; i < n; i++) {
            if (roles[i] != IGNORED && *t->fields[i])
                v[roles[i]] = t->fields[i];
        }
        s = add_row(l, line, v, err);
        if (s)
            return s;
    }
}

static enum graft_status read_csv(struct list *l, char *text, size_t size, struct graft_error *err)
{
    struct table *t = gr_alloc_zero(1, sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    t->p = text;
    t->end = text + size;
    t->line = 1;
    char *header_end = memchr(text, '\n', size);
    size_t header = header_end ? (size_t)(header_end - text) : size;
    const char *dot = strrchr(l->path, '.');
    if (dot && !strcasecmp(dot, ".tsv"))
        t->delimiter = '\t';
    else /* spreadsheets in much of Europe write semicolons */
        t->delimiter = !memchr(text, ',', header) && memchr(text, ';', header) ? ';' : ',';
    enum graft_status s = read_table(l, t, err);
    gr_free(t);
    return s;
}

/* ---- JSON Lines ---- */

static enum graft_status read_object(struct list *l, size_t line, json_t *o,
                                     struct graft_error *err)
{
    const char *v[N_ROLES] = {0}, *key;
    char number[N_ROLES][40];
    json_t *value;
    json_object_foreach(o, key, value)
    {
        enum role r = role_of(key);
        if (r == IGNORED || json_is_null(value))
            continue;
        if (v[r])
            return gr_error(err, GRAFT_E_FORMAT, "%s: line %zu: two keys give the %s, one is '%s'",
                            l->path, line, role_names[r], key);
        if (json_is_integer(value))
            snprintf(number[r], sizeof number[r], "%lld", (long long)json_integer_value(value));
        else if (json_is_real(value))
            snprintf(number[r], sizeof number[r], "%.17g", json_real_value(value));
        else if (json_is_boolean(value))
            snprintf(number[r], sizeof number[r], "%s", json_is_true(value) ? "true" : "false");
        else if (!json_is_string(value))
            return gr_error(err, GRAFT_E_FORMAT, "%s: line %zu: '%s' is not a text or number",
                            l->path, line, key);
        v[r] = json_is_string(value) ? json_string_value(value) : number[r];
        if (!*v[r])
            v[r] = NULL;
    }
    return add_row(l, line, v, err);
}

static enum graft_status read_jsonl(struct list *l, const char *text, size_t size,
                                    struct graft_error *err)
{
    const char *end = text + size;
    for (size_t line = 1; text < end; line++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((stop ? stop : end) - text);
        if (strspn(text, " \t\r") < n) {
            json_error_t e;
            json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
            enum graft_status s;
            if (!o)
                s = gr_error(err, GRAFT_E_FORMAT, "%s: line %zu: column %d: %s", l->path, line,
                             e.column, e.text);
            else if (!json_is_object(o))
                s = gr_error(err, GRAFT_E_FORMAT, "%s: line %zu: not a JSON object", l->path, line);
            else
                s = read_object(l, line, o, err);
            json_decref(o);
            if (s)
                return s;
        }
        text = stop ? stop + 1 : end;
    }
    return GRAFT_OK;
}

enum graft_status gr_list_read(const char *path, enum gr_split split, struct gr_dataset *ds,
                               struct gr_labels *labels, struct graft_error *err)
{
    struct list l = {.path = path, .split = split, .ds = ds, .labels = labels};
    uint8_t *bytes = NULL;
    char *text = NULL;
    size_t cap = 0, size = 0, rows = ds->n + ds->n_bad;
    enum graft_status s = gr_file_read(path, MAX_LIST, &bytes, &cap, &size, err);
    if (s)
        goto out;
    const uint8_t *p = bytes;
    if (size >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) {
        p += 3;
        size -= 3;
    }
    if (memchr(p, 0, size)) {
        s = gr_error(err, GRAFT_E_FORMAT, "%s: holds zero bytes; expected text in UTF-8", path);
        goto out;
    }
    text = gr_strndup((const char *)p, size); /* ends in a NUL, as the readers need */
    l.folder = gr_path_dir(path);
    if (!text || !l.folder) {
        s = gr_error_nomem(err);
        goto out;
    }
    const char *dot = strrchr(path, '.');
    if (!strcasecmp(dot, ".jsonl") || !strcasecmp(dot, ".ndjson"))
        s = read_jsonl(&l, text, size, err);
    else
        s = read_csv(&l, text, size, err);
    if (!s && ds->n + ds->n_bad == rows)
        s = gr_error(err, GRAFT_E_FORMAT, "%s: no rows", path);
out:
    gr_free(bytes);
    gr_free(text);
    gr_free(l.folder);
    return s;
}
