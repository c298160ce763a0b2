/* Which vector has each picture of a data set, and which cannot be read? */
#include "job/pictures.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/cache.h"
#include "data/loader.h"
#include "data/source.h"
#include <string.h>

enum graft_status gr_data_options_check(const struct graft_data_options *o, struct graft_error *err)
{
    if (o->batch < 1 || o->batch > 65536)
        return gr_error(err, GRAFT_E_ARG, "the batch is %d, expected 1 to 65536", o->batch);
    if (o->workers < 0)
        return gr_error(err, GRAFT_E_ARG, "%d workers", o->workers);
    if (o->max_pixels < 1)
        return gr_error(err, GRAFT_E_ARG, "max_pixels is %lld", (long long)o->max_pixels);
    if ((unsigned)o->precision > GRAFT_PRECISION_INT8)
        return gr_error(err, GRAFT_E_ARG, "unknown precision %d", (int)o->precision);
    return GRAFT_OK;
}

static enum graft_status open_list(const char *path, const struct graft_data_options *o,
                                   struct gr_dataset *ds, struct graft_error *err)
{
    if (!o->source)
        return gr_dataset_open(path, ds, err);
    enum graft_status s = gr_source_open(o->source, ds, err);
    return s ? gr_error_in(err, s, "%s", path) : GRAFT_OK;
}

enum graft_status gr_pictures_open_any(const char *path, const struct graft_data_options *o,
                                       const struct graft_events *ev, struct gr_pictures *p,
                                       struct graft_error *err)
{
    p->path = path;
    enum graft_status s = open_list(path, o, &p->ds, err);
    for (size_t i = 0; !s && i < p->ds.n_notes; i++)
        gr_note(ev, path, "%s", p->ds.notes[i]);
    for (size_t i = 0; !s && i < p->ds.n_bad; i++)
        gr_warn(ev, p->ds.bad[i].path, "%s", p->ds.bad[i].why);
    return s;
}

enum graft_status gr_pictures_open(const char *path, const struct graft_data_options *o,
                                   const struct graft_events *ev, struct gr_pictures *p,
                                   struct graft_error *err)
{
    size_t n[GR_N_SPLITS] = {0};
    p->path = path;
    enum graft_status s = open_list(path, o, &p->ds, err);
    const struct gr_dataset *ds = &p->ds;
    if (!s && !ds->n_classes)
        s = gr_error(
            err, GRAFT_E_CHECK,
            "%s: no labels: expected a folder of pictures for each class, or a list with a "
            "column 'label'",
            path);
    if (!s)
        s = gr_dataset_split(&p->ds, o->seed, o->val, o->test, err);
    if (s)
        return s;
    for (size_t i = 0; i < ds->n; i++)
        n[ds->examples[i].split]++;
    gr_note(ev, path, "%zu classes, %zu pictures (%zu train, %zu val, %zu test%s)", ds->n_classes,
            ds->n, n[GR_SPLIT_TRAIN], n[GR_SPLIT_VAL], n[GR_SPLIT_TEST],
            ds->splits_given ? "; as the data say" : "; cut by --seed, --val and --test");
    return gr_pictures_stop(p, o, err);
}

enum graft_status gr_pictures_stop(const struct gr_pictures *p, const struct graft_data_options *o,
                                   struct graft_error *err)
{
    if (!o->stop_on_bad || !p->ds.n_bad)
        return GRAFT_OK;
    return gr_error(err, GRAFT_E_FORMAT, "%s: %s", p->ds.bad[0].path, p->ds.bad[0].why);
}

enum graft_status gr_pictures_subset(const struct gr_pictures *p, unsigned splits,
                                     struct gr_pictures *subset, struct graft_error *err)
{
    struct gr_dataset *ds = &subset->ds;
    subset->path = p->path;
    ds->examples = gr_alloc_array(p->ds.n, sizeof *ds->examples);
    ds->classes = gr_alloc_array(p->ds.n_classes, sizeof *ds->classes);
    if (!ds->examples || !ds->classes)
        return gr_error_nomem(err);
    for (size_t c = 0; c < p->ds.n_classes; c++)
        ds->classes[c] = p->ds.classes[c];
    ds->n_classes = p->ds.n_classes;
    ds->source = p->ds.source;
    for (size_t i = 0; i < p->ds.n; i++) {
        const struct gr_example *e = &p->ds.examples[i];
        if ((!p->ok || p->ok[i]) && e->label >= 0 && (splits >> e->split & 1))
            ds->examples[ds->n++] = *e;
    }
    return GRAFT_OK;
}

enum graft_status gr_pictures_check(const struct gr_pictures *p, const struct graft_events *ev,
                                    struct gr_findings *findings, struct graft_error *err)
{
    struct gr_file_fact *facts = NULL;
    if (p->hash) {
        facts = gr_alloc_zero(p->ds.n, sizeof *facts);
        if (!facts)
            return gr_error_nomem(err);
        for (size_t i = 0; i < p->ds.n; i++) {
            bool known = p->ok[i] || p->hash[i].lo || p->hash[i].hi; /* its bytes could be read */
            const char *why = p->problem[i]; /* "path: why"; the check says the path itself */
            facts[i] =
                (struct gr_file_fact){known, p->hash[i], p->ok[i] ? GRAFT_OK : GRAFT_E_FORMAT,
                                      why ? why + strlen(p->ds.examples[i].path) + 2 : NULL};
        }
    }
    enum graft_status s = gr_dataset_check(&p->ds, facts, findings, err);
    for (size_t i = 0; !s && i < findings->n; i++) {
        const struct gr_finding *f = &findings->items[i];
        if (f->severity == GR_NOTE)
            gr_note(ev, "check", "%s", f->text);
        else
            gr_warn(ev, "check", "%s", f->text);
    }
    gr_free(facts);
    return s;
}

/* ---- the run: loader -> (cache | network) -> rows ---------------------------------------------
 */

/* A network and where its vectors go. */
struct branch {
    struct gr_network *net;
    struct gr_exec *exec; /* NULL: nothing was to be computed yet */
    struct gr_hash key;   /* where there is a cache */
    float *rows;          /* by example */
};

struct feature_run {
    struct gr_pictures *p;
    struct branch by[2]; /* the second one perhaps for the first pictures */
    int n_by;
    struct gr_cache *cache;         /* NULL: none */
    bool fresh;                     /* nothing is taken from the cache */
    size_t first;                   /* example at which the loader begins */
    float *x, *last, *y;            /* one full batch: planes, (N,H,W,C) if wanted, vectors */
    const float *at;                /* where the waiting lie: x, or a batch that is lent */
    size_t n_planes;                /* floats of one picture */
    size_t filled;                  /* pictures waiting in x */
    size_t *waiting;                /* their numbers in the data set */
    struct gr_cache_entry *entries; /* of the waiting */
    struct gr_cache_put *puts;
    bool cache_failed;
    const struct graft_events *ev;
};

static void run_clear(struct feature_run *r)
{
    for (int b = 0; b < r->n_by; b++)
        gr_exec_free(r->by[b].exec);
    gr_cache_close(r->cache);
    gr_free_aligned(r->x);
    gr_free_aligned(r->last);
    gr_free_aligned(r->y);
    gr_free(r->waiting);
    gr_free(r->entries);
    gr_free(r->puts);
}

/* Called by the loader's workers. */
static bool wanted(void *user, size_t index, struct gr_hash content)
{
    struct feature_run *r = user;
    (void)index;
    const struct gr_cache_key key = {r->by[0].key, content};
    return !r->cache || r->fresh || !gr_cache_has(r->cache, key, (size_t)r->p->width);
}

/* A cache that cannot be written costs time, not the result: say so once and go on. */
static void keep(struct feature_run *r, const struct gr_cache_put *puts, size_t n)
{
    struct graft_error e;
    if (!r->cache || r->cache_failed || !gr_cache_put_batch(r->cache, puts, n, &e))
        return;
    r->cache_failed = true;
    gr_warn(r->ev, "cache", "%s; going on without keeping features", e.message);
}

/* Runs a network on the waiting pictures, the batch filled up with what lies there. */
static enum graft_status run_branch(struct feature_run *r, struct branch *by, const void *in,
                                    struct graft_error *err)
{
    const size_t width = (size_t)by->net->width;
    void *out = r->y;
    enum graft_status s = GRAFT_OK;
    if (!by->exec && (s = gr_network_plan(by->net, err)))
        return s;
    if (!by->exec)
        s = gr_exec_new(by->net->plan, &by->exec, err);
    if (!s)
        s = gr_exec_run(by->exec, &in, &out, err);
    if (s)
        return gr_error_in(err, s, "%s", by->net->name);
    for (size_t i = 0; i < r->filled; i++) {
        size_t k = r->waiting[i];
        const float *row = r->y + i * width;
        for (size_t j = 0; j < width; j++)
            if (!(row[j] - row[j] == 0)) /* NaN or infinite */
                return gr_error(err, GRAFT_E_COMPUTE, "%s: the network's output %zu is %g",
                                r->p->ds.examples[k].path, j, row[j]);
        memcpy(by->rows + k * width, row, width * sizeof *row);
        r->puts[i] = (struct gr_cache_put){{by->key, r->p->hash[k]}, &r->entries[i], row, width};
    }
    keep(r, r->puts, r->filled);
    return GRAFT_OK;
}

static enum graft_status flush(struct feature_run *r, struct graft_error *err)
{
    const struct gr_network *net = r->by[0].net;
    const void *in = r->at;
    enum graft_status s = GRAFT_OK;
    if (!r->filled)
        return GRAFT_OK;
    if (net->channels_last) {
        const int planes = gr_preprocess_channels(&net->pre);
        for (size_t i = 0; i < r->filled; i++)
            gr_planes_last(r->at + i * r->n_planes, planes, (int64_t)r->n_planes / planes,
                           r->last + i * r->n_planes);
        in = r->last;
    }
    for (int b = 0; !s && b < r->n_by; b++)
        s = run_branch(r, &r->by[b], in, err);
    r->p->n_computed += (int64_t)r->filled;
    r->filled = 0;
    return s;
}

static enum graft_status mark_bad(struct gr_pictures *p, size_t k, const char *message,
                                  struct graft_error *err)
{
    p->ok[k] = false;
    p->n_bad++;
    p->problem[k] = gr_sprintf("%s: %s", p->ds.examples[k].path, message);
    return p->problem[k] ? GRAFT_OK : gr_error_nomem(err);
}

static void describe(const struct gr_item *item, struct gr_cache_entry *e)
{
    memset(e, 0, sizeof *e); /* its bytes go to disk */
    e->status = item->status;
    strcpy(e->message, item->message);
    e->width = item->width;
    e->height = item->height;
    e->format = item->format;
    memcpy(e->thumb, item->thumb, sizeof e->thumb);
}

/* What the worker found in the cache. */
static enum graft_status from_cache(struct feature_run *r, size_t k, struct graft_error *err)
{
    struct gr_pictures *p = r->p;
    const struct gr_cache_key key = {r->by[0].key, p->hash[k]};
    struct gr_cache_entry e;
    bool found;
    enum graft_status s =
        gr_cache_get(r->cache, key, &e, p->x + k * (size_t)p->width, (size_t)p->width, &found, err);
    if (s)
        return s;
    if (!found)
        return gr_error(err, GRAFT_E_IO,
                        "%s: its features vanished from the cache; run again, or delete "
                        "the cache folder if that does not help",
                        p->ds.examples[k].path);
    p->n_cached++;
    if (e.status)
        return mark_bad(p, k, e.message, err);
    memcpy(p->thumbs + k * GR_THUMB_SIZE, e.thumb, GR_THUMB_SIZE);
    return GRAFT_OK;
}

static enum graft_status take_item(struct feature_run *r, const struct gr_item *item,
                                   const struct gr_batch *b, struct graft_error *err)
{
    struct gr_pictures *p = r->p;
    size_t k = r->first + item->index;
    if (item->have_content) {
        p->hash[k] = item->content;
        p->ds.examples[k].format = item->format;
    }
    if (!item->status && !item->wanted)
        return from_cache(r, k, err);
    if (item->status) {
        if (item->have_content && item->status == GRAFT_E_FORMAT) { /* will never be readable */
            struct gr_cache_entry e;
            describe(item, &e);
            for (int by = 0; by < r->n_by; by++)
                keep(r, &(struct gr_cache_put){{r->by[by].key, item->content}, &e, NULL, 0}, 1);
        }
        return mark_bad(p, k, item->message, err);
    }
    if (r->at == r->x)
        memcpy(r->x + r->filled * r->n_planes, b->x + (size_t)item->row * r->n_planes,
               r->n_planes * sizeof *r->x);
    memcpy(p->thumbs + k * GR_THUMB_SIZE, item->thumb, GR_THUMB_SIZE);
    describe(item, &r->entries[r->filled]);
    r->waiting[r->filled++] = k;
    return r->filled == (size_t)r->by[0].net->batch ? flush(r, err) : GRAFT_OK;
}

/* The examples from the first that is not done up to `to`; no progress is told without a topic. */
static enum graft_status loop(struct feature_run *r, size_t to, const struct graft_data_options *o,
                              const char *topic, struct graft_error *err)
{
    struct gr_pictures *p = r->p;
    struct gr_loader *loader = NULL;
    const struct gr_pictures_view *view = p->view;
    const size_t first = p->n_done, n = to - first;
    const char **paths = gr_alloc_array(n, sizeof *paths);
    struct gr_view *views = view ? gr_alloc_array(n, sizeof *views) : NULL;
    if (!paths || (view && !views)) {
        gr_free(paths);
        gr_free(views);
        return gr_error_nomem(err);
    }
    r->first = first;
    for (size_t i = 0; i < n; i++) {
        paths[i] = p->ds.examples[first + i].path;
        if (view)
            views[i] = (struct gr_view){view->seed, view->number, (int64_t)(first + i)};
    }
    const struct gr_loader_options lo = {
        .paths = paths,
        .source = p->ds.source,
        .n = n,
        .preprocess = &r->by[0].net->pre,
        .augment = view ? view->augment : NULL,
        .views = views,
        .batch = (size_t)r->by[0].net->batch,
        .workers = o->workers,
        .limits = {o->max_pixels, GR_IMAGE_MAX_SIDE},
        .events = r->ev,
        .wanted = wanted,
        .user = r,
    };
    const int64_t total = (int64_t)p->ds.n;
    const double began = gr_seconds();
    enum graft_status s = gr_loader_open(&lo, &loader, err);
    if (topic)
        gr_progress(r->ev, topic, (int64_t)first, total, "img");
    while (!s) {
        const struct gr_batch *b;
        s = gr_loader_next(loader, &b, err);
        if (s || !b)
            break;
        /* a batch that is full as it comes needs no copy */
        r->at = !r->filled && b->rows == (size_t)r->by[0].net->batch ? b->x : r->x;
        for (size_t i = 0; !s && i < b->n; i++) {
            s = take_item(r, &b->items[i], b, err);
            const size_t k = first + b->items[i].index;
            if (!s && o->stop_on_bad && !p->ok[k]) /* cached failures too */
                s = gr_error(err, GRAFT_E_FORMAT, "%s", p->problem[k]);
        }
        p->n_done += b->n;
        if (topic)
            gr_progress(r->ev, topic, (int64_t)p->n_done, total, "img");
    }
    if (!s)
        s = flush(r, err);
    gr_loader_close(loader);
    gr_free(paths);
    gr_free(views);
    p->seconds += gr_seconds() - began;
    return s;
}

enum graft_status gr_cache_of_options(const struct graft_data_options *o,
                                      const struct graft_events *ev, struct gr_cache **cache,
                                      struct graft_error *err)
{
    struct graft_error e;
    enum graft_status s = GRAFT_OK;
    char *path = o->cache ? gr_strdup(o->cache) : gr_cache_default_path();
    *cache = NULL;
    if (path && *path && gr_cache_open(path, 0, cache, &e)) {
        *cache = NULL;
        if (o->cache) /* asked for by name: a failure is a failure */
            s = gr_error(err, e.status, "%s", e.message);
        else
            gr_warn(ev, "cache", "%s; going on without it (--cache DIR)", e.message);
    }
    gr_free(path);
    return s;
}

static enum graft_status prepare_pictures(struct gr_pictures *p, int64_t width,
                                          struct graft_error *err)
{
    const size_t n = p->ds.n;
    if (p->ok)
        return GRAFT_OK;
    p->width = width;
    p->ok = gr_alloc_array(n, sizeof *p->ok);
    p->problem = gr_alloc_zero(n, sizeof *p->problem);
    p->x = gr_alloc_array(n, (size_t)p->width * sizeof *p->x);
    p->thumbs = gr_alloc_zero(n, GR_THUMB_SIZE);
    p->hash = gr_alloc_zero(n, sizeof *p->hash);
    if (!p->ok || !p->problem || !p->x || !p->thumbs || !p->hash)
        return gr_error_nomem(err);
    memset(p->ok, 1, n * sizeof *p->ok);
    return GRAFT_OK;
}

static enum graft_status prepare(struct feature_run *r, const struct graft_data_options *o,
                                 struct graft_error *err)
{
    enum { LARGE_BATCH = 64 << 20 };
    struct gr_network *net = r->by[0].net;
    const size_t batch = (size_t)net->batch;
    const int planes = gr_preprocess_channels(&net->pre);
    enum graft_status s = GRAFT_OK;
    r->n_planes = (size_t)net->pre.width * (size_t)net->pre.height * (size_t)planes;
    if (batch * r->n_planes * sizeof *r->x >
        LARGE_BATCH) /* the plan may refuse it: no room before */
        s = gr_network_plan(net, err);
    if (s)
        return s;
    r->waiting = gr_alloc_array(batch, sizeof *r->waiting);
    r->entries = gr_alloc_array(batch, sizeof *r->entries);
    r->puts = gr_alloc_array(batch, sizeof *r->puts);
    r->x = gr_alloc_aligned(batch * r->n_planes * sizeof *r->x, true);
    r->y = gr_alloc_aligned(batch * (size_t)net->width * sizeof *r->y, true);
    if (net->channels_last)
        r->last = gr_alloc_aligned(batch * r->n_planes * sizeof *r->last, true);
    if (!r->waiting || !r->entries || !r->puts || !r->x || !r->y ||
        (net->channels_last && !r->last))
        return gr_error_nomem(err);
    s = prepare_pictures(r->p, net->width, err);
    if (!s)
        s = gr_cache_of_options(o, r->ev, &r->cache, err);
    r->by[0].rows = r->p->x;
    for (int b = 0; !s && r->cache && b < r->n_by; b++)
        s = gr_network_hash(r->by[b].net, &r->by[b].key, err);
    return s;
}

enum graft_status gr_pictures_run_first(struct gr_pictures *p, struct gr_network *net,
                                        struct gr_network *twin, float **twin_x,
                                        const struct graft_data_options *o,
                                        const struct graft_events *ev, struct graft_error *err)
{
    struct feature_run r = {
        .p = p, .by = {{.net = net}, {.net = twin}}, .n_by = 2, .fresh = true, .ev = ev};
    const size_t batch = (size_t)net->batch, most = p->ds.n < 4 * batch ? p->ds.n : 4 * batch;
    r.by[1].rows = gr_alloc_array(most, (size_t)net->width * sizeof *r.by[1].rows);
    enum graft_status s = r.by[1].rows ? prepare(&r, o, err) : gr_error_nomem(err);
    while (!s && p->n_done < most && p->n_done - (size_t)p->n_bad < batch) {
        const size_t to = (size_t)p->n_bad + batch;
        s = loop(&r, to < most ? to : most, o, NULL, err);
    }
    if (!s)
        *twin_x = r.by[1].rows;
    else
        gr_free(r.by[1].rows);
    run_clear(&r);
    return s;
}

enum graft_status gr_pictures_run(struct gr_pictures *p, struct gr_network *net,
                                  const struct graft_data_options *o, const char *topic,
                                  const struct graft_events *ev, struct graft_error *err)
{
    struct feature_run r = {.p = p, .by = {{.net = net}}, .n_by = 1, .ev = ev};
    enum graft_status s = prepare(&r, o, err);
    if (!s)
        s = loop(&r, p->ds.n, o, topic, err);
    if (!s)
        gr_note(ev, topic, "%lld computed, %lld cached, %lld unreadable; %.1f s (%.0f img/s)",
                (long long)p->n_computed, (long long)p->n_cached,
                (long long)p->n_bad + (long long)p->ds.n_bad, p->seconds,
                (double)p->ds.n / (p->seconds > 1e-9 ? p->seconds : 1e-9));
    run_clear(&r);
    return s;
}

enum graft_status gr_pictures_read(struct gr_pictures *p, const struct graft_preprocess *pre,
                                   const struct graft_data_options *o, const char *topic,
                                   const struct graft_events *ev, struct graft_error *err)
{
    const size_t n = p->ds.n;
    const char **paths = gr_alloc_array(n, sizeof *paths);
    struct gr_loader *loader = NULL;
    size_t done = 0;
    p->ok = gr_alloc_array(n, sizeof *p->ok);
    p->problem = gr_alloc_zero(n, sizeof *p->problem);
    p->thumbs = gr_alloc_zero(n, GR_THUMB_SIZE);
    p->hash = gr_alloc_zero(n, sizeof *p->hash);
    enum graft_status s =
        paths && p->ok && p->problem && p->thumbs && p->hash ? GRAFT_OK : gr_error_nomem(err);
    for (size_t i = 0; !s && i < n; i++) {
        paths[i] = p->ds.examples[i].path;
        p->ok[i] = true;
    }
    const struct gr_loader_options lo = {
        .paths = paths,
        .source = p->ds.source,
        .n = n,
        .preprocess = pre,
        .batch = 16,
        .workers = o->workers,
        .limits = {o->max_pixels, GR_IMAGE_MAX_SIDE},
        .events = ev,
    };
    if (!s)
        s = gr_loader_open(&lo, &loader, err);
    while (!s) {
        const struct gr_batch *b;
        s = gr_loader_next(loader, &b, err);
        if (s || !b)
            break;
        for (size_t i = 0; !s && i < b->n; i++) {
            const struct gr_item *item = &b->items[i];
            if (item->have_content) {
                p->hash[item->index] = item->content;
                p->ds.examples[item->index].format = item->format;
            }
            memcpy(p->thumbs + item->index * GR_THUMB_SIZE, item->thumb, GR_THUMB_SIZE);
            if (item->status)
                s = mark_bad(p, item->index, item->message, err);
            if (!s && item->status && o->stop_on_bad)
                s = gr_error(err, GRAFT_E_FORMAT, "%s", p->problem[item->index]);
        }
        done += b->n;
        gr_progress(ev, topic, (int64_t)done, (int64_t)n, "img");
    }
    if (!s && p->n_bad)
        gr_warn(ev, topic, "%lld of %zu pictures cannot be read and are left out",
                (long long)p->n_bad, n);
    gr_loader_close(loader);
    gr_free(paths);
    return s;
}

void gr_pictures_clear(struct gr_pictures *p)
{
    for (size_t i = 0; p->problem && i < p->ds.n; i++)
        gr_free(p->problem[i]);
    gr_free(p->problem);
    gr_free(p->ok);
    gr_free(p->x);
    gr_free(p->thumbs);
    gr_free(p->hash);
    gr_dataset_clear(&p->ds);
    memset(p, 0, sizeof *p);
}
