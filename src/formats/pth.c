/* Which weights does a file of torch.save hold? */
#include "formats/pth.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "formats/pth_tensor.h"
#include "formats/weights.h"
#include <stdio.h>
#include <string.h>

/* ---- opening -------------------------------------------------------------------------------- */

/* Python's 0x1950a86a20f9469cfc6c: protocol 2, LONG1 of ten bytes, STOP. */
static const uint8_t stream_magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                       0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
enum { STREAM_PROTOCOL = 1001 };

bool gr_pth_is_stream(const void *data, size_t size)
{
    return size >= sizeof stream_magic && !memcmp(data, stream_magic, sizeof stream_magic);
}

static bool is_zip(const uint8_t *data, size_t size)
{
    return size >= 4 && !memcmp(data, "PK\3\4", 4);
}

static void close_file(struct gr_pth *f)
{
    for (size_t i = 0; i < f->n_storages; i++)
        gr_buffer_unref(f->storages[i].buf);
    gr_free(f->storages);
    gr_names_clear(&f->storage_ids);
    gr_pickle_clear(&f->pickle);
    gr_free(f->unpacked);
    gr_zip_close(&f->zip);
    gr_arena_clear(&f->arena);
}

static enum graft_status set_pickle(struct gr_pth *f, struct gr_pickle *p, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    f->pickle = *p;
    f->steps = 64 * p->n_values + 1024; /* a real file takes about one for each value */
    for (size_t i = 0; i < p->n_persids && !s; i++)
        s = gr_pth_add_storage(f, p->persids[i]->pid, err);
    return s;
}

static enum graft_status unpack_entry(struct gr_pth *f, size_t i, const uint8_t **data,
                                      struct graft_error *err)
{
    const struct gr_zip_entry *e = &f->zip.entries[i];
    size_t offset;
    enum graft_status s;
    if (!e->deflated) {
        s = gr_zip_locate(&f->zip, i, &offset, err);
        if (!s)
            *data = f->data + offset;
        return s;
    }
    s = gr_pth_charge(f, e->size, err);
    if (!s)
        s = gr_zip_inflate(&f->zip, i, &f->unpacked, err);
    if (!s)
        *data = f->unpacked;
    return s;
}

/* The names in the archive that tell what it is. Sets f->folder ("archive/") and *pickle. */
static enum graft_status look_into_zip(struct gr_pth *f, size_t *pickle, struct graft_error *err)
{
    bool found = false, script = false, keras = false;
    for (size_t i = 0; i < f->zip.n; i++) {
        const char *name = f->zip.entries[i].name, *slash = strchr(name, '/');
        const char *rest = slash ? slash + 1 : name;
        keras = keras || !strcmp(name, "model.weights.h5");
        script = script || !strcmp(rest, "constants.pkl") || !strncmp(rest, "code/", 5);
        if (!found && !strcmp(rest, "data.pkl") && rest - name < 256) {
            found = true;
            *pickle = i;
            f->folder = gr_arena_strndup(&f->arena, name, (size_t)(rest - name));
            if (!f->folder)
                return gr_error_nomem(err);
        }
    }
    if (script)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "a TorchScript archive (code and weights in one); load it in Python with "
                        "torch.jit.load and save its state_dict() with torch.save");
    if (!found)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "%s",
                        keras ? "a Keras 3 archive (.keras), which is not read; save it as .h5"
                              : "a zip archive without data.pkl: torch.save did not write it");
    return GRAFT_OK;
}

static enum graft_status open_zip(struct gr_pth *f, struct graft_error *err)
{
    size_t at = 0;
    const uint8_t *data = NULL, *order = NULL;
    struct gr_pickle p;
    char name[300];
    enum graft_status s = gr_zip_open(&f->zip, f->data, f->size, err);
    if (s)
        return s;
    f->is_zip = true;
    s = look_into_zip(f, &at, err);
    if (s)
        return s;
    snprintf(name, sizeof name, "%sbyteorder", f->folder);
    int64_t i = gr_names_find(&f->zip.ids, name);
    if (i >= 0 && !f->zip.entries[i].deflated) {
        size_t n = f->zip.entries[i].size, offset;
        s = gr_zip_locate(&f->zip, (size_t)i, &offset, err);
        if (s)
            return s;
        order = f->data + offset;
        f->swap = n == 3 && !memcmp(order, "big", 3);
        if (!f->swap && (n != 6 || memcmp(order, "little", 6) != 0))
            return gr_error(err, GRAFT_E_FORMAT, "byte order is neither 'little' nor 'big'");
    }
    s = unpack_entry(f, at, &data, err);
    if (!s)
        s = gr_pickle_read(&p, data, f->zip.entries[at].size, err);
    return s ? s : set_pickle(f, &p, err);
}

/* Behind the last pickle: for each key its number of elements and their bytes. */
static enum graft_status place_storages(struct gr_pth *f, const struct gr_pkl *keys, size_t at,
                                        struct graft_error *err)
{
    struct gr_reader r;
    gr_reader_init(&r, f->data, f->size);
    gr_read_bytes(&r, at);
    if (keys->kind != GR_PKL_LIST)
        return gr_error(err, GRAFT_E_FORMAT, "the storage keys are no list");
    for (size_t k = 0; k < keys->n_v; k++) {
        char key[256], text[300];
        if (keys->v[k]->kind != GR_PKL_STR || keys->v[k]->n >= sizeof key)
            return gr_error(err, GRAFT_E_FORMAT, "storage key %zu is %s", k,
                            gr_pkl_print(keys->v[k], text, sizeof text));
        memcpy(key, keys->v[k]->s, keys->v[k]->n);
        key[keys->v[k]->n] = 0;
        int64_t i = gr_names_find(&f->storage_ids, key);
        if (i < 0)
            return gr_error(err, GRAFT_E_FORMAT, "no tensor uses storage %s",
                            gr_pkl_print(keys->v[k], text, sizeof text));
        struct gr_pth_storage *st = &f->storages[i];
        if (st->buf)
            return gr_error(err, GRAFT_E_FORMAT, "storage '%s' is there twice", st->key);
        uint64_t n = gr_read_u64le(&r);
        size_t left = gr_reader_left(&r), size;
        if (r.failed || n != st->n_elem || n > left / st->kind->elem_size)
            return gr_error(err, GRAFT_E_FORMAT,
                            "storage '%s': %llu elements, the pickle says %llu; %zu bytes are left",
                            st->key, (unsigned long long)n, (unsigned long long)st->n_elem, left);
        size = (size_t)n * st->kind->elem_size;
        st->offset = gr_reader_pos(&r);
        st->size = size;
        gr_buffer_ref(f->buf);
        st->buf = f->buf;
        gr_read_bytes(&r, size);
    }
    return GRAFT_OK;
}

/* Five pickles (magic, protocol, system, object, storage keys), then the storages, which are
   little-endian whatever the system was. */
static enum graft_status open_stream(struct gr_pth *f, struct graft_error *err)
{
    struct gr_pickle p = {0};
    size_t at = sizeof stream_magic;
    enum graft_status s = gr_pickle_read(&p, f->data + at, f->size - at, err);
    if (s)
        return s;
    at += p.used;
    if (p.root->kind != GR_PKL_INT || p.root->i != STREAM_PROTOCOL) {
        char text[100];
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "stream protocol is %s, %d is read",
                     gr_pkl_print(p.root, text, sizeof text), STREAM_PROTOCOL);
    }
    gr_pickle_clear(&p);
    if (s || (s = gr_pickle_read(&p, f->data + at, f->size - at, err)))
        return s;
    at += p.used;
    gr_pickle_clear(&p);
    if ((s = gr_pickle_read(&p, f->data + at, f->size - at, err)))
        return s;
    at += p.used;
    if ((s = set_pickle(f, &p, err)))
        return s;
    if ((s = gr_pickle_read(&p, f->data + at, f->size - at, err)))
        return s;
    s = place_storages(f, p.root, at + p.used, err);
    gr_pickle_clear(&p);
    return s;
}

static enum graft_status open_file(struct gr_pth *f, struct gr_buffer *buf, struct graft_error *err)
{
    memset(f, 0, sizeof *f);
    f->buf = buf;
    f->data = gr_buffer_data(buf, &f->size);
    /* copies of strided tensors, inflated entries and joined names together: a real file needs a
       small multiple of its size at most */
    f->budget = f->size > SIZE_MAX / 64 ? SIZE_MAX : 32 * f->size + (1 << 20);
    if (is_zip(f->data, f->size))
        return open_zip(f, err);
    if (gr_pth_is_stream(f->data, f->size))
        return open_stream(f, err);
    if (f->size > 262 && !memcmp(f->data + 257, "ustar", 5))
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "a tar archive, as PyTorch before 0.1.10 wrote; load and save it again "
                        "with a newer one");
    if (f->size >= 2 && f->data[0] == 0x80)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "a pickle that torch.save did not write (plain pickle.dump)");
    return gr_error(err, GRAFT_E_FORMAT, "not a file of torch.save");
}

/* ---- collecting ----------------------------------------------------------------------------- */

struct collector {
    struct gr_pth *f;
    struct gr_weights *w;
    struct gr_names seen; /* names in w */
    struct gr_buf note;
    size_t n_skipped;
};

enum { MAX_DEPTH = 64, MAX_NAME = 1024 };

static enum graft_status add_tensor(struct collector *c, const char *name, const struct gr_pkl *v,
                                    struct graft_error *err)
{
    struct gr_tensor t = {0};
    enum graft_status s = gr_pth_charge(c->f, strlen(name) + sizeof *c->w->items, err);
    if (!s && gr_names_find(&c->seen, name) >= 0)
        s = gr_error(err, GRAFT_E_FORMAT, "there are two of this name");
    if (!s)
        s = gr_pth_tensor(c->f, v, &t, err);
    if (s)
        return gr_error_in(err, s, "tensor '%.200s'", name);
    s = gr_weights_add(c->w, name, &t, err);
    if (!s && !gr_names_set(&c->seen, c->w->items[c->w->n - 1].name, 1))
        s = gr_error_nomem(err);
    return s;
}

/* prefix + key as a name of a tensor. */
static enum graft_status join_name(const char *prefix, const struct gr_pkl *key,
                                   char name[MAX_NAME], struct graft_error *err)
{
    char text[256];
    size_t n = strlen(prefix);
    if (key->kind != GR_PKL_STR || !gr_weights_name_ok(key->s, key->n))
        return gr_error(err, GRAFT_E_FORMAT, "under '%.200s': %s is no name for a tensor", prefix,
                        gr_pkl_print(key, text, sizeof text));
    if (n + key->n >= MAX_NAME)
        return gr_error(err, GRAFT_E_LIMIT, "a name of %zu characters, limit is %d", n + key->n,
                        MAX_NAME - 1);
    memcpy(name, prefix, n);
    memcpy(name + n, key->s, key->n);
    name[n + key->n] = 0;
    return GRAFT_OK;
}

static void note_part(struct gr_buf *b, const char *text)
{
    gr_buf_printf(b, "%s%s", b->size ? "; " : "", text);
}

/* A dict of tensors by name. Anything that only looks like a weight is an error, plain numbers and
   strings are passed over. */
static enum graft_status collect_dict(struct collector *c, const struct gr_pkl *d,
                                      struct graft_error *err)
{
    char name[MAX_NAME], text[300];
    enum graft_status s = gr_pth_step(c->f, d->n_v, err);
    for (size_t i = 0; i + 1 < d->n_v && !s; i += 2) {
        const struct gr_pkl *v = d->v[i + 1];
        if (gr_pth_is_tensor(v)) {
            s = join_name("", d->v[i], name, err);
            if (!s)
                s = add_tensor(c, name, v, err);
        } else if (v->kind == GR_PKL_OBJECT) {
            s = join_name("", d->v[i], name, err);
            if (!s)
                s = gr_error(err, GRAFT_E_UNSUPPORTED, "'%.200s' is %s, not a tensor", name,
                             gr_pkl_print(v, text, sizeof text));
        } else if (v->kind != GR_PKL_NONE) {
            if (c->n_skipped++ < 8) {
                gr_buf_printf(&c->note, "%s%s ", c->note.size ? "; " : "",
                              gr_pkl_print(d->v[i], text, sizeof text));
                gr_buf_printf(&c->note, "is no tensor but %s", gr_pkl_print(v, text, sizeof text));
            }
        }
    }
    return s;
}

/* The state of a pickled torch.nn.Module, or NULL. */
static const struct gr_pkl *module_state(const struct gr_pkl *v)
{
    const struct gr_pkl *st = v->kind == GR_PKL_OBJECT ? v->obj->state : NULL;
    return st && (gr_pkl_get(st, "_parameters") || gr_pkl_get(st, "_modules")) ? st : NULL;
}

/* The elements of a pickled set: as protocol 4 has it, or set([...]) of protocol 2. */
static const struct gr_pkl *as_set(const struct gr_pkl *v)
{
    if (v && v->kind == GR_PKL_OBJECT)
        v = v->obj->args->n_v == 1 ? v->obj->args->v[0] : NULL;
    return v && (v->kind == GR_PKL_SET || v->kind == GR_PKL_LIST) ? v : NULL;
}

static bool set_has(const struct gr_pkl *set, const struct gr_pkl *name)
{
    for (size_t i = 0; set && name->kind == GR_PKL_STR && i < set->n_v; i++)
        if (set->v[i]->kind == GR_PKL_STR && set->v[i]->n == name->n &&
            !memcmp(set->v[i]->s, name->s, name->n))
            return true;
    return false;
}

/* What module.state_dict() would give: own parameters, own buffers, then the children. */
static enum graft_status collect_module(struct collector *c, const char *prefix,
                                        const struct gr_pkl *v, int depth, struct graft_error *err)
{
    static const char *const own[] = {"_parameters", "_buffers"};
    char name[MAX_NAME], text[300];
    const struct gr_pkl *state = module_state(v);
    if (depth == MAX_DEPTH)
        return gr_error(err, GRAFT_E_LIMIT, "modules are nested deeper than %d", MAX_DEPTH);
    if (!state)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "module '%.200s' is %s, no torch.nn.Module",
                        prefix, gr_pkl_print(v, text, sizeof text));
    const struct gr_pkl *passing = as_set(gr_pkl_get(state, "_non_persistent_buffers_set"));
    enum graft_status s = gr_pth_step(c->f, state->n_v, err);
    for (int k = 0; k < 2 && !s; k++) {
        const struct gr_pkl *d = gr_pkl_get(state, own[k]);
        size_t n = d && d->kind == GR_PKL_DICT ? d->n_v : 0;
        s = gr_pth_step(c->f, n, err);
        for (size_t i = 0; i + 1 < n && !s; i += 2) {
            s = gr_pth_step(c->f, passing ? passing->n_v : 0, err);
            if (s || d->v[i + 1]->kind == GR_PKL_NONE || set_has(passing, d->v[i]))
                continue;
            s = join_name(prefix, d->v[i], name, err);
            if (!s)
                s = add_tensor(c, name, d->v[i + 1], err);
        }
    }
    const struct gr_pkl *children = gr_pkl_get(state, "_modules");
    size_t n = children && children->kind == GR_PKL_DICT ? children->n_v : 0;
    if (!s)
        s = gr_pth_step(c->f, n, err);
    for (size_t i = 0; i + 1 < n && !s; i += 2) {
        if (children->v[i + 1]->kind == GR_PKL_NONE)
            continue;
        s = join_name(prefix, children->v[i], name, err);
        size_t len = s ? 0 : strlen(name);
        if (!s && len + 1 >= sizeof name)
            s = gr_error(err, GRAFT_E_LIMIT, "a name of more than %d characters", MAX_NAME - 1);
        if (s)
            break;
        memcpy(name + len, ".", 2);
        s = collect_module(c, name, children->v[i + 1], depth + 1, err);
    }
    return s;
}

static bool has_tensor(const struct gr_pkl *v)
{
    for (size_t i = 0; v->kind == GR_PKL_DICT && i + 1 < v->n_v; i += 2)
        if (gr_pth_is_tensor(v->v[i + 1]))
            return true;
    return false;
}

enum { MAX_WRAPPERS = 8 };

struct found {
    const struct gr_pkl *v;      /* a module's object or a dict with tensors; NULL: nowhere */
    const struct gr_pkl *holder; /* the dict that v is in, NULL at the root */
    const char *path[MAX_WRAPPERS];
    int depth;
};

/* Where the weights are inside of what was saved. A known wrapper goes before tensors that lie
   beside it: "best_acc1" may be one. */
static enum graft_status find_weights(struct collector *c, const struct gr_pkl *holder,
                                      const struct gr_pkl *v, int depth, struct found *found,
                                      struct graft_error *err)
{
    static const char *const wrappers[] = {
        "state_dict", "model_state_dict", "model",          "net",       "network", "module",
        "params",     "weights",          "state_dict_ema", "model_ema", "ema",
    };
    enum graft_status s = GRAFT_OK;
    if (v->kind == GR_PKL_DICT && depth < MAX_WRAPPERS) {
        s = gr_pth_step(c->f, v->n_v + 1, err);
        for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers && !s && !found->v; i++) {
            const struct gr_pkl *next = gr_pkl_get(v, wrappers[i]);
            if (!next)
                continue;
            found->path[depth] = wrappers[i];
            s = find_weights(c, v, next, depth + 1, found, err);
        }
    }
    if (!s && !found->v && (module_state(v) || has_tensor(v))) {
        found->v = v;
        found->holder = holder;
        found->depth = depth;
    }
    return s;
}

/* "title epoch=90, optimizer": the entries of a dict, but for the weights found. */
static void note_entries(struct collector *c, const char *title, const struct gr_pkl *holder,
                         const struct gr_pkl *found)
{
    char text[120];
    size_t n = 0;
    for (size_t i = 0; holder && i + 1 < holder->n_v; i += 2) {
        const struct gr_pkl *key = holder->v[i], *v = holder->v[i + 1];
        if (v == found || key->kind != GR_PKL_STR || !gr_weights_name_ok(key->s, key->n) ||
            key->n > 60)
            continue;
        if (n == 12) {
            gr_buf_puts(&c->note, ", ...");
            break;
        }
        if (!n)
            note_part(&c->note, title);
        gr_buf_printf(&c->note, "%s%.*s", n++ ? ", " : "", (int)key->n, key->s);
        if (v->kind == GR_PKL_INT || v->kind == GR_PKL_FLOAT ||
            (v->kind == GR_PKL_STR && v->n < 40))
            gr_buf_printf(&c->note, "=%s", gr_pkl_print(v, text, sizeof text));
    }
}

static void note_globals(struct collector *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->f->pickle.n_globals; i++) {
        char text[120];
        if (gr_pth_is_known_global(c->f->pickle.globals[i]->s))
            continue;
        if (n == 8) {
            gr_buf_puts(&c->note, ", ...");
            break;
        }
        if (!n)
            note_part(&c->note, "names other code, none of it run: ");
        gr_pkl_print(c->f->pickle.globals[i], text, sizeof text);
        gr_buf_printf(&c->note, "%s%s", n++ ? ", " : "", text + strlen("the name "));
    }
}

/* DataParallel and torch.compile put a word before every name. */
static bool strip_prefix(struct collector *c, const char *prefix)
{
    size_t n = strlen(prefix);
    for (size_t i = 0; i < c->w->n; i++)
        if (strncmp(c->w->items[i].name, prefix, n) != 0 || !c->w->items[i].name[n])
            return false;
    for (size_t i = 0; i < c->w->n; i++) {
        char *name = c->w->items[i].name;
        memmove(name, name + n, strlen(name + n) + 1);
    }
    gr_buf_printf(&c->note, "%s'%s' removed from every name", c->note.size ? "; " : "", prefix);
    return true;
}

static enum graft_status no_weights(struct collector *c, struct graft_error *err)
{
    const struct gr_pkl *root = c->f->pickle.root;
    char text[300];
    if (root->kind == GR_PKL_DICT)
        note_entries(c, "", root, NULL);
    note_globals(c);
    char *note = gr_buf_take(&c->note);
    if (!note)
        return gr_error_nomem(err);
    enum graft_status s =
        gr_error(err, GRAFT_E_UNSUPPORTED, "no named tensors in it: it holds %s%s%.400s",
                 gr_pkl_print(root, text, sizeof text), *note ? ": " : "", note);
    gr_free(note);
    return s;
}

static enum graft_status collect(struct collector *c, struct graft_error *err)
{
    struct found found = {0};
    struct gr_buf wrapper;
    gr_buf_init(&wrapper, 0);
    enum graft_status s = find_weights(c, NULL, c->f->pickle.root, 0, &found, err);
    if (s)
        goto out;
    if (!found.v) {
        s = no_weights(c, err);
        goto out;
    }
    s = found.v->kind == GR_PKL_DICT ? collect_dict(c, found.v, err)
                                     : collect_module(c, "", found.v, 0, err);
    if (!s && !c->w->n)
        s = gr_error(err, GRAFT_E_FORMAT, "the module has no parameters");
    if (s)
        goto out;
    while (strip_prefix(c, "module.") || strip_prefix(c, "_orig_mod."))
        ; /* there is "module._orig_mod." too */
    for (int i = 0; i < found.depth; i++)
        gr_buf_printf(&wrapper, "%s%s", i ? "." : "", found.path[i]);
    if (found.holder)
        note_entries(c, "also in the file: ", found.holder, found.v);
    note_globals(c);
    c->w->format = gr_strdup(c->f->is_zip ? "PyTorch zip" : "PyTorch stream");
    if (!c->w->format || (found.depth && !(c->w->wrapper = gr_buf_take(&wrapper))) ||
        c->note.failed || (c->note.size && !(c->w->note = gr_buf_take(&c->note))))
        s = gr_error_nomem(err);
out:
    gr_buf_clear(&wrapper);
    return s;
}

enum graft_status gr_pth_read_buffer(struct gr_buffer *buf, struct gr_weights *out,
                                     struct graft_error *err)
{
    struct gr_pth f;
    struct gr_weights w = {0};
    struct collector c = {.f = &f, .w = &w};
    gr_buf_init(&c.note, 0);
    enum graft_status s = open_file(&f, buf, err);
    if (!s)
        s = collect(&c, err);
    gr_buf_clear(&c.note);
    gr_names_clear(&c.seen);
    close_file(&f);
    if (s)
        gr_weights_clear(&w);
    else
        *out = w;
    return s;
}

enum graft_status gr_pth_read(const char *path, struct gr_weights *out, struct graft_error *err)
{
    struct gr_buffer *buf = NULL;
    enum graft_status s = gr_buffer_map(path, &buf, err);
    if (s)
        return s;
    s = gr_pth_read_buffer(buf, out, err);
    gr_buffer_unref(buf);
    return s ? gr_error_in(err, s, "%s", path) : s;
}

/* ---- inspecting ----------------------------------------------------------------------------- */

enum graft_status gr_pth_list_globals(const char *path, struct gr_pth_globals *out,
                                      struct graft_error *err)
{
    struct gr_pth f;
    struct gr_buffer *buf = NULL;
    struct gr_pth_globals g = {0};
    enum graft_status s = gr_buffer_map(path, &buf, err);
    if (s)
        return s;
    s = open_file(&f, buf, err);
    if (s) {
        s = gr_error_in(err, s, "%s", path);
        goto out;
    }
    g.items = gr_alloc_zero(f.pickle.n_globals, sizeof *g.items);
    if (!g.items) {
        s = gr_error_nomem(err);
        goto out;
    }
    for (; g.n < f.pickle.n_globals; g.n++) {
        const char *name = f.pickle.globals[g.n]->s;
        g.items[g.n].known = gr_pth_is_known_global(name);
        g.items[g.n].name = gr_strdup(name);
        if (!g.items[g.n].name) {
            s = gr_error_nomem(err);
            goto out;
        }
    }
    *out = g;
    g = (struct gr_pth_globals){0};
out:
    gr_pth_globals_clear(&g);
    close_file(&f);
    gr_buffer_unref(buf);
    return s;
}

void gr_pth_globals_clear(struct gr_pth_globals *g)
{
    for (size_t i = 0; i < g->n; i++)
        gr_free(g->items[i].name);
    gr_free(g->items);
    memset(g, 0, sizeof *g);
}
