/* Which pictures does a folder or a list hold? */
#include "data/dataset.h"
#include "base/file.h"
#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 32

const char *gr_split_name(enum gr_split split)
{
    static const char *const names[GR_N_SPLITS] = {"none", "train", "val", "test"};
    return names[split];
}

enum gr_split gr_split_of_name(const char *name)
{
    static const struct {
        const char *name;
        enum gr_split split;
    } table[] = {
        {"train", GR_SPLIT_TRAIN},  {"training", GR_SPLIT_TRAIN}, {"val", GR_SPLIT_VAL},
        {"valid", GR_SPLIT_VAL},    {"validation", GR_SPLIT_VAL}, {"test", GR_SPLIT_TEST},
        {"testing", GR_SPLIT_TEST},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!strcasecmp(name, table[i].name))
            return table[i].split;
    }
    return GR_SPLIT_NONE;
}

void gr_dataset_clear(struct gr_dataset *ds)
{
    gr_free(ds->classes);
    gr_free(ds->examples);
    gr_free(ds->bad);
    gr_free(ds->notes);
    gr_arena_clear(&ds->arena);
    memset(ds, 0, sizeof *ds);
}

enum graft_status gr_dataset_bad(struct gr_dataset *ds, const char *path, const char *why,
                                 struct graft_error *err)
{
    struct gr_bad_file b = {gr_arena_strdup(&ds->arena, path), gr_arena_strdup(&ds->arena, why)};
    if (!b.path || !b.why || !GR_GROW(ds->bad, ds->n_bad, ds->cap_bad))
        return gr_error_nomem(err);
    ds->bad[ds->n_bad++] = b;
    return GRAFT_OK;
}

enum graft_status gr_dataset_note(struct gr_dataset *ds, struct graft_error *err, const char *fmt,
                                  ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *copy = gr_arena_strdup(&ds->arena, text);
    if (!copy || !GR_GROW(ds->notes, ds->n_notes, ds->cap_notes))
        return gr_error_nomem(err);
    ds->notes[ds->n_notes++] = copy;
    return GRAFT_OK;
}

/* The first bytes of a regular file. NULL, or why it is no picture. */
static const char *look(const char *path, enum gr_format *format, uint64_t *size)
{
    unsigned char head[GR_SNIFF_SIZE];
    struct stat st;
    const char *why = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return strerrordesc_np(errno);
    ssize_t n = 0;
    if (fstat(fd, &st))
        why = strerrordesc_np(errno);
    else if (!S_ISREG(st.st_mode))
        why = "not a regular file";
    else if ((n = read(fd, head, sizeof head)) < 0)
        why = strerrordesc_np(errno);
    else if (n == 0)
        why = "the file is empty";
    else if ((*format = gr_sniff(head, (size_t)n)) == GR_FORMAT_UNKNOWN)
        why = "not a picture (JPEG, PNG, WebP, BMP, GIF)";
    else
        *size = (uint64_t)st.st_size;
    close(fd);
    return why;
}

enum graft_status gr_dataset_add(struct gr_dataset *ds, struct gr_labels *labels, const char *path,
                                 const char *label, enum gr_split split, const char *group,
                                 double weight, struct graft_error *err)
{
    struct gr_example e = {.label = -1, .split = split, .weight = weight};
    const char *why = look(path, &e.format, &e.size);
    if (why)
        return gr_dataset_bad(ds, path, why, err);
    const char *text = label ? gr_arena_strdup(&ds->arena, label) : NULL;
    e.path = gr_arena_strdup(&ds->arena, path);
    e.group = group ? gr_arena_strdup(&ds->arena, group) : NULL;
    if (!e.path || (label && !text) || (group && !e.group) ||
        !GR_GROW(ds->examples, ds->n, ds->cap_examples) ||
        !GR_GROW(labels->text, ds->n, labels->cap))
        return gr_error_nomem(err);
    labels->text[ds->n] = text;
    ds->examples[ds->n++] = e;
    return GRAFT_OK;
}

/* ---- folders ---- */

struct entry {
    char *name;
    bool folder;
};

struct listing {
    struct entry *entries; /* sorted bytewise, without hidden ones */
    size_t n, cap;
};

struct place {
    dev_t dev;
    ino_t ino;
};

/* While folders are walked. */
struct walk {
    struct gr_dataset *ds;
    struct gr_labels *labels;
    struct place *seen; /* folders, each taken once: ends loops of links */
    size_t n_seen, cap_seen;
};

static void listing_clear(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        gr_free(l->entries[i].name);
    gr_free(l->entries);
    memset(l, 0, sizeof *l);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* What systems and archives leave behind. */
static bool is_litter(const char *name)
{
    return *name == '.' || !strcasecmp(name, "Thumbs.db") || !strcasecmp(name, "desktop.ini") ||
           !strcmp(name, "__MACOSX");
}

static enum graft_status list_folder(struct walk *w, const char *path, struct listing *l,
                                     struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct dirent *d;
    char *full = NULL;
    memset(l, 0, sizeof *l);
    DIR *dir = opendir(path);
    if (!dir)
        return gr_error_errno(err, path, "cannot read the folder");
    while (errno = 0, (d = readdir(dir))) {
        struct stat st;
        struct entry e = {0};
        if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
            continue;
        if (is_litter(d->d_name)) {
            w->ds->n_hidden++;
            continue;
        }
        full = gr_path_join(path, d->d_name);
        e.name = gr_strdup(d->d_name);
        if (!full || !e.name || !GR_GROW(l->entries, l->n, l->cap)) {
            gr_free(e.name);
            s = gr_error_nomem(err);
            goto out;
        }
        e.folder = stat(full, &st) == 0 && S_ISDIR(st.st_mode);
        l->entries[l->n++] = e;
        gr_free(full);
        full = NULL;
    }
    if (errno)
        s = gr_error_errno(err, path, "cannot read the folder");
    else if (l->n)
        qsort(l->entries, l->n, sizeof *l->entries, compare_entries);
out:
    gr_free(full);
    closedir(dir);
    if (s)
        listing_clear(l);
    return s;
}

/* True when the folder was not entered before. */
static bool enter_once(struct walk *w, const char *path, enum graft_status *s,
                       struct graft_error *err)
{
    struct stat st;
    if (stat(path, &st)) {
        *s = gr_dataset_bad(w->ds, path, strerrordesc_np(errno), err);
        return false;
    }
    for (size_t i = 0; i < w->n_seen; i++) {
        if (w->seen[i].dev == st.st_dev && w->seen[i].ino == st.st_ino) {
            *s = gr_dataset_bad(w->ds, path, "a link to a folder that was read already", err);
            return false;
        }
    }
    if (!GR_GROW(w->seen, w->n_seen, w->cap_seen)) {
        *s = gr_error_nomem(err);
        return false;
    }
    w->seen[w->n_seen++] = (struct place){st.st_dev, st.st_ino};
    return true;
}

/* All pictures below `path`. A folder that cannot be read is reported, not fatal. */
static enum graft_status walk_class(struct walk *w, const char *path, const char *label,
                                    enum gr_split split, int depth, struct graft_error *err)
{
    struct listing l = {0};
    struct graft_error why;
    char *full = NULL;
    enum graft_status s = GRAFT_OK;
    if (depth > MAX_DEPTH)
        return gr_dataset_bad(w->ds, path, "more than 32 folders deep", err);
    if (!enter_once(w, path, &s, err))
        return s;
    s = list_folder(w, path, &l, &why);
    if (s == GRAFT_E_NOMEM)
        return gr_error_nomem(err);
    if (s) {
        size_t skip = strlen(path) + 2; /* the message begins with the path, if there was room */
        const char *text = strlen(why.message) > skip ? why.message + skip : "cannot be read";
        return gr_dataset_bad(w->ds, path, text, err);
    }
    for (size_t i = 0; i < l.n && !s; i++) {
        full = gr_path_join(path, l.entries[i].name);
        if (!full)
            s = gr_error_nomem(err);
        else if (l.entries[i].folder)
            s = walk_class(w, full, label, split, depth + 1, err);
        else
            s = gr_dataset_add(w->ds, w->labels, full, label, split, NULL, 1.0, err);
        gr_free(full);
    }
    listing_clear(&l);
    return s;
}

static const struct entry *find_entry(const struct listing *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (!strcmp(l->entries[i].name, name))
            return &l->entries[i];
    }
    return NULL;
}

/* The metadata list inside a folder, or NULL. */
static const char *metadata_name(const struct listing *l)
{
    static const char *const names[] = {"metadata.csv", "metadata.jsonl", "metadata.tsv"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct entry *e = find_entry(l, names[i]);
        if (e && !e->folder)
            return e->name;
    }
    return NULL;
}

static size_t count_folders(const struct listing *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += l->entries[i].folder;
    return n;
}

/* One split, or the whole: a folder per class, or a list, or plain pictures. */
static enum graft_status read_part(struct walk *w, const char *path, const struct listing *l,
                                   enum gr_split split, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    const char *meta = metadata_name(l);
    size_t n_folders = count_folders(l), n_stray = 0;
    if (meta) {
        char *full = gr_path_join(path, meta);
        s = full ? gr_list_read(full, split, w->ds, w->labels, err) : gr_error_nomem(err);
        gr_free(full);
        return s;
    }
    for (size_t i = 0; i < l->n && !s; i++) {
        const struct entry *e = &l->entries[i];
        size_t before = w->ds->n;
        char *full = gr_path_join(path, e->name);
        if (!full)
            return gr_error_nomem(err);
        if (e->folder)
            s = walk_class(w, full, e->name, split, 0, err);
        else if (n_folders == 0)
            s = gr_dataset_add(w->ds, w->labels, full, NULL, split, NULL, 1.0, err);
        else
            n_stray++;
        if (!s && e->folder && w->ds->n == before)
            s = gr_dataset_note(w->ds, err, "%s: no pictures in this class folder", full);
        gr_free(full);
    }
    if (!s && n_stray)
        s = gr_dataset_note(w->ds, err, "%s: %zu files beside the class folders are not used", path,
                            n_stray);
    return s;
}

/* Nothing but split folders; or `train` and another split beside other things. */
static bool has_splits(const struct listing *l)
{
    size_t n[GR_N_SPLITS] = {0};
    for (size_t i = 0; i < l->n; i++) {
        if (l->entries[i].folder)
            n[gr_split_of_name(l->entries[i].name)]++;
    }
    size_t other = n[GR_SPLIT_VAL] + n[GR_SPLIT_TEST];
    return n[GR_SPLIT_NONE] == 0 ? n[GR_SPLIT_TRAIN] + other > 0 : n[GR_SPLIT_TRAIN] && other;
}

static enum graft_status read_folder(struct walk *w, const char *path, struct graft_error *err)
{
    struct listing l = {0}, part = {0};
    const char *taken[GR_N_SPLITS] = {0};
    char *full = NULL;
    enum graft_status s = GRAFT_OK;
    if (!enter_once(w, path, &s, err)) /* the first: only memory can be short */
        return s;
    s = list_folder(w, path, &l, err);
    if (s)
        return s;
    if (metadata_name(&l) || !has_splits(&l)) {
        s = read_part(w, path, &l, GR_SPLIT_NONE, err);
        goto out;
    }
    for (size_t i = 0; i < l.n && !s; i++) {
        const struct entry *e = &l.entries[i];
        enum gr_split split = e->folder ? gr_split_of_name(e->name) : GR_SPLIT_NONE;
        if (split == GR_SPLIT_NONE) {
            s = gr_dataset_note(w->ds, err, "%s/%s: beside the split folders, not used", path,
                                e->name);
            continue;
        }
        if (taken[split]) {
            s = gr_error(err, GRAFT_E_FORMAT, "%s: folders '%s' and '%s' are the same split", path,
                         taken[split], e->name);
            break;
        }
        taken[split] = e->name;
        full = gr_path_join(path, e->name);
        if (!full)
            s = gr_error_nomem(err);
        else if (enter_once(w, full, &s, err))
            s = list_folder(w, full, &part, err);
        if (!s)
            s = read_part(w, full, &part, split, err);
        listing_clear(&part);
        gr_free(full);
        full = NULL;
    }
out:
    gr_free(full);
    listing_clear(&l);
    return s;
}

/* ---- labels become classes ---- */

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum graft_status gr_dataset_classes(struct gr_dataset *ds, const struct gr_labels *labels,
                                     struct graft_error *err)
{
    size_t n = 0, unlabelled = 0;
    ds->classes = gr_alloc_array(ds->n, sizeof *ds->classes);
    if (!ds->classes)
        return gr_error_nomem(err);
    for (size_t i = 0; i < ds->n; i++) {
        if (labels->text[i])
            ds->classes[n++] = labels->text[i];
        else
            unlabelled++;
    }
    if (n)
        qsort(ds->classes, n, sizeof *ds->classes, compare_text);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(ds->classes[i], ds->classes[ds->n_classes - 1]))
            ds->classes[ds->n_classes++] = ds->classes[i];
    }
    for (size_t i = 0; i < ds->n; i++) {
        if (!labels->text[i])
            continue;
        const char **c = bsearch(&labels->text[i], ds->classes, ds->n_classes, sizeof *ds->classes,
                                 compare_text);
        ds->examples[i].label = (int)(c - ds->classes);
    }
    for (size_t i = 0; i < ds->n; i++)
        ds->splits_given |= ds->examples[i].split > GR_SPLIT_TRAIN;
    if (ds->n_classes && unlabelled)
        return gr_dataset_note(ds, err, "%zu pictures have no label", unlabelled);
    return GRAFT_OK;
}

enum graft_status gr_dataset_open(const char *path, struct gr_dataset *ds, struct graft_error *err)
{
    struct gr_dataset d = {0};
    struct gr_labels labels = {0};
    struct walk w = {.ds = &d, .labels = &labels};
    enum graft_status s;
    if (access(path, F_OK))
        return gr_error_errno(err, path, "cannot read");
    if (gr_is_dir(path))
        s = read_folder(&w, path, err);
    else if (gr_is_list(path))
        s = gr_list_read(path, GR_SPLIT_NONE, &d, &labels, err);
    else
        s = gr_dataset_add(&d, &labels, path, NULL, GR_SPLIT_NONE, NULL, 1.0, err);
    if (!s && d.n == 0) {
        if (d.n_bad == 1 && !strcmp(d.bad[0].path, path))
            s = gr_error(err, GRAFT_E_FORMAT, "%s: %s", path, d.bad[0].why);
        else if (d.n_bad)
            s = gr_error(err, GRAFT_E_FORMAT,
                         "%s: no picture in it; %zu other files, the first %s: %s", path, d.n_bad,
                         d.bad[0].path, d.bad[0].why);
        else
            s = gr_error(err, GRAFT_E_FORMAT, "%s: no picture in it", path);
    }
    if (!s)
        s = gr_dataset_classes(&d, &labels, err);
    gr_free(labels.text);
    gr_free(w.seen);
    if (s)
        gr_dataset_clear(&d);
    else
        *ds = d;
    return s;
}
