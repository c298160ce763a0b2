/* How are pictures read and preprocessed ahead of the computation? */
#include "data/loader.h"
#include "base/mem.h"
#include "data/source.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_WORKERS  256
#define LARGE_PIXELS ((int64_t)32 << 20) /* 96 MB decoded */

/* Batch b uses slot b % depth. A worker may fill it once batch b - depth was given back. */
struct slot {
    struct gr_batch batch;
    float *x;
    size_t done; /* items of the batch that are finished */
};

struct gr_loader {
    struct gr_loader_options o;
    struct graft_preprocess preprocess;
    struct gr_augment augment;
    size_t item_floats, n_batches, depth;
    struct slot *slots;
    pthread_t threads[MAX_WORKERS];
    int n_threads;

    pthread_mutex_t large; /* held while such a picture is decoded: one at a time */
    pthread_mutex_t mutex; /* guards what follows, and each slot's done */
    pthread_cond_t room, ready;
    size_t next_item;  /* the first that no worker has taken */
    size_t given;      /* batches handed out so far */
    size_t given_back; /* batches whose slot is free again */
    bool stop;
};

static size_t batch_size(const struct gr_loader *l, size_t b)
{
    size_t from = b * l->o.batch, left = l->o.n - from;
    return left < l->o.batch ? left : l->o.batch;
}

/* ---- a worker ---- */

struct scratch {
    struct gr_preprocessor pp;
    uint8_t *bytes;
    size_t cap;
};

static enum graft_status decode(struct gr_loader *l, const struct gr_item *item, float *x,
                                struct scratch *w, struct gr_image_info *info,
                                struct graft_error *err)
{
    struct graft_error ignored;
    const struct gr_image_limits *limits = l->o.limits.max_pixels ? &l->o.limits : NULL;
    bool large = !gr_image_probe(w->bytes, item->size, limits, info, &ignored) &&
                 (int64_t)info->width * info->height > LARGE_PIXELS;
    if (large)
        pthread_mutex_lock(&l->large);
    enum graft_status s =
        l->o.augment
            ? gr_preprocess_view(&w->pp, w->bytes, item->size, &l->preprocess, &l->augment,
                                 l->o.views[item->index], x, info, err)
            : gr_preprocess_picture(&w->pp, w->bytes, item->size, &l->preprocess, x, info, err);
    if (large) { /* its buffers are not kept either */
        gr_image_clear(&w->pp.image);
        gr_resizer_clear(&w->pp.resizer);
        pthread_mutex_unlock(&l->large);
    }
    return s;
}

static void load_item(struct gr_loader *l, size_t index, struct gr_item *item, float *x,
                      struct scratch *w)
{
    struct graft_error err = {0};
    struct gr_image_info info = {0};
    const char *path = l->o.paths[index];
    memset(item, 0, sizeof *item);
    item->index = index;
    item->row = -1;
    item->wanted = true;
    item->status =
        gr_source_read(l->o.source, path, l->o.max_file, &w->bytes, &w->cap, &item->size, &err);
    if (!item->status) {
        item->have_content = true;
        item->content = gr_hash_bytes(w->bytes, item->size);
        item->format = gr_sniff(w->bytes, item->size);
        if (l->o.wanted)
            item->wanted = l->o.wanted(l->o.user, index, item->content);
        if (!item->wanted)
            return;
        item->status = decode(l, item, x, w, &info, &err);
        item->width = info.width;
        item->height = info.height;
    }
    if (!item->status) {
        item->row = 0; /* its place is known when the batch is complete */
        gr_preprocess_thumb(&w->pp, item->thumb);
        return;
    }
    const char *text = err.message; /* the caller knows the path */
    size_t n = strlen(path);
    if (!strncmp(text, path, n) && text[n] == ':' && text[n + 1] == ' ')
        text += n + 2;
    snprintf(item->message, sizeof item->message, "%s", text);
}

static void *work(void *arg)
{
    struct gr_loader *l = arg;
    struct scratch w = {.pp.limits = l->o.limits};
    pthread_mutex_lock(&l->mutex);
    while (!l->stop && l->next_item < l->o.n) {
        size_t i = l->next_item, b = i / l->o.batch;
        if (b >= l->given_back + l->depth) {
            pthread_cond_wait(&l->room, &l->mutex);
            continue;
        }
        l->next_item++;
        pthread_mutex_unlock(&l->mutex);
        struct slot *slot = &l->slots[b % l->depth];
        size_t k = i % l->o.batch;
        load_item(l, i, &slot->batch.items[k], slot->x + k * l->item_floats, &w);
        pthread_mutex_lock(&l->mutex);
        if (++slot->done == batch_size(l, b))
            pthread_cond_signal(&l->ready);
    }
    pthread_mutex_unlock(&l->mutex);
    gr_preprocessor_clear(&w.pp);
    gr_free(w.bytes);
    return NULL;
}

/* ---- the caller's side ---- */

static int count_processors(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n < 1 ? 1 : n > MAX_WORKERS ? MAX_WORKERS : n;
}

static enum graft_status make_slots(struct gr_loader *l, struct graft_error *err)
{
    size_t floats, size;
    l->slots = gr_alloc_zero(l->depth, sizeof *l->slots);
    if (!l->slots)
        return gr_error_nomem(err);
    if (!gr_mul_size(l->item_floats, l->o.batch, &floats) ||
        !gr_mul_size(floats, sizeof(float), &size))
        return gr_error_nomem(err);
    for (size_t i = 0; i < l->depth; i++) {
        l->slots[i].x = gr_alloc_aligned(size, false);
        l->slots[i].batch.items = gr_alloc_zero(l->o.batch, sizeof(struct gr_item));
        if (!l->slots[i].x || !l->slots[i].batch.items)
            return gr_error_nomem(err);
    }
    return GRAFT_OK;
}

enum graft_status gr_loader_open(const struct gr_loader_options *o, struct gr_loader **loader,
                                 struct graft_error *err)
{
    if (o->batch < 1 || o->workers < 0 || o->workers > MAX_WORKERS || o->depth < 0)
        return gr_error(err, GRAFT_E_ARG, "loader: batch %zu, %d workers (0..%d), depth %d",
                        o->batch, o->workers, MAX_WORKERS, o->depth);
    if (o->augment && !o->views && o->n)
        return gr_error(err, GRAFT_E_ARG, "loader: augmentation of %zu pictures, no views", o->n);
    enum graft_status s = gr_preprocess_check(o->preprocess, err);
    if (!s && o->augment)
        s = gr_augment_check(o->augment, err);
    if (s)
        return s;
    struct gr_loader *l = gr_alloc_zero(1, sizeof *l);
    if (!l)
        return gr_error_nomem(err);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->large, NULL);
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->room, NULL);
    pthread_cond_init(&l->ready, &clock);
    pthread_condattr_destroy(&clock);
    l->o = *o;
    l->preprocess = *o->preprocess;
    if (o->augment)
        l->augment = *o->augment;
    if (l->o.batch > l->o.n && l->o.n > 0)
        l->o.batch = l->o.n;
    if (!l->o.max_file)
        l->o.max_file = GR_LOADER_MAX_FILE;
    l->item_floats = (size_t)gr_preprocess_channels(o->preprocess) * (size_t)o->preprocess->width *
                     (size_t)o->preprocess->height;
    l->n_batches = l->o.n / l->o.batch + (l->o.n % l->o.batch > 0);
    int workers = o->workers ? o->workers : count_processors();
    if ((size_t)workers > l->o.n)
        workers = (int)l->o.n;
    /* One batch is lent out; the workers must have enough beyond it to be busy. */
    l->depth = o->depth ? (size_t)o->depth : 2 + (size_t)workers / l->o.batch;
    if (l->depth > l->n_batches)
        l->depth = l->n_batches ? l->n_batches : 1;
    s = make_slots(l, err);
    for (int i = 0; i < workers && !s; i++) {
        errno = pthread_create(&l->threads[i], NULL, work, l);
        if (!errno)
            l->n_threads++;
        else if (i == 0)
            s = gr_error_errno(err, "loader", "cannot start a thread");
        else
            break; /* fewer do as well */
    }
    if (s)
        gr_loader_close(l);
    else
        *loader = l;
    return s;
}

/* Moves the decoded ones together, in order. */
static enum graft_status close_gaps(struct gr_loader *l, struct slot *slot, struct graft_error *err)
{
    struct gr_batch *b = &slot->batch;
    b->rows = 0;
    for (size_t i = 0; i < b->n; i++) {
        struct gr_item *item = &b->items[i];
        if (item->status == GRAFT_E_NOMEM)
            return gr_error(err, GRAFT_E_NOMEM, "%s: %s", l->o.paths[item->index], item->message);
        if (item->row < 0)
            continue;
        if (b->rows != i)
            memcpy(slot->x + b->rows * l->item_floats, slot->x + i * l->item_floats,
                   l->item_floats * sizeof(float));
        item->row = (int)b->rows++;
    }
    b->x = slot->x;
    return GRAFT_OK;
}

enum graft_status gr_loader_next(struct gr_loader *l, const struct gr_batch **batch,
                                 struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    if (gr_cancelled(l->o.events, err))
        return GRAFT_E_CANCELLED;
    pthread_mutex_lock(&l->mutex);
    if (l->given > l->given_back) { /* the one lent last */
        l->slots[l->given_back % l->depth].done = 0;
        l->given_back = l->given;
        pthread_cond_broadcast(&l->room);
    }
    size_t b = l->given;
    if (b == l->n_batches) {
        pthread_mutex_unlock(&l->mutex);
        *batch = NULL;
        return GRAFT_OK;
    }
    struct slot *slot = &l->slots[b % l->depth];
    size_t n = batch_size(l, b);
    while (slot->done < n) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        t.tv_nsec += 100 * 1000 * 1000; /* now and then somebody may want to stop */
        if (t.tv_nsec >= 1000 * 1000 * 1000) {
            t.tv_nsec -= 1000 * 1000 * 1000;
            t.tv_sec++;
        }
        if (pthread_cond_timedwait(&l->ready, &l->mutex, &t) != ETIMEDOUT)
            continue;
        pthread_mutex_unlock(&l->mutex);
        if (gr_cancelled(l->o.events, err))
            return GRAFT_E_CANCELLED;
        pthread_mutex_lock(&l->mutex);
    }
    l->given++;
    pthread_mutex_unlock(&l->mutex);
    slot->batch.n = n;
    s = close_gaps(l, slot, err);
    if (!s)
        *batch = &slot->batch;
    return s;
}

void gr_loader_close(struct gr_loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    l->stop = true;
    pthread_cond_broadcast(&l->room);
    pthread_mutex_unlock(&l->mutex);
    for (int i = 0; i < l->n_threads; i++)
        pthread_join(l->threads[i], NULL);
    for (size_t i = 0; l->slots && i < l->depth; i++) {
        gr_free_aligned(l->slots[i].x);
        gr_free(l->slots[i].batch.items);
    }
    gr_free(l->slots);
    pthread_cond_destroy(&l->room);
    pthread_cond_destroy(&l->ready);
    pthread_mutex_destroy(&l->mutex);
    pthread_mutex_destroy(&l->large);
    gr_free(l);
}
