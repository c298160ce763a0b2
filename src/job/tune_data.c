/* Which examples does fine-tuning see, and in what form? */
#include "base/mem.h"
#include "base/rng.h"
#include "job/memory.h"
#include "job/tune.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

void gr_tune_part_clear(struct gr_tune_part *p)
{
    gr_loader_close(p->loader);
    gr_pictures_clear(&p->pics);
    gr_free(p->labels);
    gr_free(p->paths);
    gr_free(p->epoch_paths);
    gr_free(p->views);
    gr_free(p->soft);
    for (int k = 0; k < GR_MAX_VIEWS - 1; k++)
        gr_free(p->more_views[k]);
}

/* ---- batches --------------------------------------------------------------------------------- */

static enum graft_status fill_cached(void *user, int64_t epoch, const int64_t *indices, size_t n,
                                     float *const *inputs, struct graft_error *err)
{
    const struct gr_tune_part *p = user;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        const int64_t view = (epoch + indices[i]) % p->n_views;
        const float *x = view ? p->more_views[view - 1] : p->pics.x;
        memcpy(inputs[0] + i * p->row_size, x + (size_t)indices[i] * p->row_size,
               p->row_size * sizeof **inputs);
    }
    return GRAFT_OK;
}

static enum graft_status begin_pictures(void *user, int64_t epoch, const int64_t *indices, size_t n,
                                        struct graft_error *err)
{
    struct gr_tune_part *p = user;
    gr_loader_close(p->loader);
    p->loader = NULL;
    const char **paths = gr_realloc_array(p->epoch_paths, n, sizeof *paths);
    p->epoch_paths = paths ? paths : p->epoch_paths;
    struct gr_view *views = gr_realloc_array(p->views, n, sizeof *views);
    p->views = views ? views : p->views;
    if (!paths || !views)
        return gr_error_nomem(err);
    for (size_t i = 0; i < n; i++) {
        paths[i] = p->paths[indices[i]];
        views[i] = (struct gr_view){p->data->seed, epoch, indices[i]};
    }
    const struct gr_loader_options o = {
        .paths = paths,
        .source = p->pics.ds.source,
        .n = n,
        .preprocess = p->pre,
        .augment = p->augmented ? &p->augment : NULL,
        .views = p->augmented ? views : NULL,
        .batch = 1,
        .depth = p->depth,
        .workers = p->data->workers,
        .limits = {p->data->max_pixels, GR_IMAGE_MAX_SIDE},
        .events = p->ev,
    };
    return gr_loader_open(&o, &p->loader, err);
}

static enum graft_status fill_pictures(void *user, int64_t epoch, const int64_t *indices, size_t n,
                                       float *const *inputs, struct graft_error *err)
{
    struct gr_tune_part *p = user;
    (void)epoch;
    for (size_t i = 0; i < n; i++) {
        const struct gr_batch *b;
        enum graft_status s = gr_loader_next(p->loader, &b, err);
        if (s)
            return s;
        if (!b || b->items[0].status)
            return gr_error(err, GRAFT_E_IO, "%s: could be read before, now not: %s",
                            p->paths[indices[i]], b ? b->items[0].message : "it is missing");
        float *row = inputs[0] + i * p->row_size;
        if (p->last_planes)
            gr_planes_last(b->x, p->last_planes, (int64_t)p->row_size / p->last_planes, row);
        else
            memcpy(row, b->x, p->row_size * sizeof *row);
    }
    return GRAFT_OK;
}

/* ---- the two parts --------------------------------------------------------------------------- */

/* Without a val part the fraction --val of each class, by the seed, becomes one. */
static enum graft_status split_off_val(const struct graft_data_options *o,
                                       struct gr_tune_part *train, struct gr_tune_part *val,
                                       struct graft_error *err)
{
    struct gr_dataset *a = &train->pics.ds, *b = &val->pics.ds;
    int64_t *order = gr_alloc_array(a->n, sizeof *order);
    bool *take = gr_alloc_zero(a->n, sizeof *take);
    if (!order || !take) {
        gr_free(order);
        gr_free(take);
        return gr_error_nomem(err);
    }
    for (size_t c = 0; c < a->n_classes; c++) {
        size_t n = 0;
        for (size_t i = 0; i < a->n; i++)
            if ((size_t)a->examples[i].label == c)
                order[n++] = (int64_t)i;
        gr_rng_shuffle(o->seed, 0x76616c + c, order, n);
        size_t wanted = n < 3 ? 0 : (size_t)ceil(o->val * (double)n);
        for (size_t i = 0; i < wanted; i++)
            take[order[i]] = true;
    }
    size_t kept = 0;
    for (size_t i = 0; i < a->n; i++)
        if (take[i])
            b->examples[b->n++] = a->examples[i];
        else
            a->examples[kept++] = a->examples[i];
    a->n = kept;
    gr_free(order);
    gr_free(take);
    return GRAFT_OK;
}

static enum graft_status list_part(struct gr_tune_part *p, struct graft_error *err)
{
    const struct gr_dataset *ds = &p->pics.ds;
    p->labels = gr_alloc_array(ds->n, sizeof *p->labels);
    p->paths = gr_alloc_array(ds->n, sizeof *p->paths);
    if (!p->labels || !p->paths)
        return gr_error_nomem(err);
    for (size_t i = 0; i < ds->n; i++) {
        p->labels[i] = ds->examples[i].label;
        p->paths[i] = ds->examples[i].path;
    }
    return GRAFT_OK;
}

/* Pictures in a queue: two batches' worth, in at most a 16th of the memory. */
static int read_ahead(size_t row_size, size_t memory)
{
    const size_t least = 8, most = 64, fit = memory / 16 / (row_size * sizeof(float));
    return (int)(!memory || fit > most ? most : fit < least ? least : fit);
}

/* Pictures that could be read a moment ago. */
static enum graft_status run_border(struct gr_pictures *p, struct gr_network *below,
                                    const struct graft_data_options *o, const char *topic,
                                    const struct graft_events *ev, struct graft_error *err)
{
    enum graft_status s = gr_pictures_run(p, below, o, topic, ev, err);
    if (!s && p->n_bad)
        s = gr_error(err, GRAFT_E_IO, "%lld pictures could be read before, now not",
                     (long long)p->n_bad);
    return s;
}

/* View 0 is the picture itself; the others are not kept on disk. */
static enum graft_status open_views(struct gr_tune_part *p, struct gr_network *below,
                                    const struct graft_data_options *options,
                                    const struct graft_events *ev, struct graft_error *err)
{
    struct graft_data_options o = *options;
    enum graft_status s = GRAFT_OK;
    o.cache = "";
    for (int k = 1; !s && k < p->n_views; k++) {
        const struct gr_pictures_view view = {&p->augment, o.seed, k};
        struct gr_pictures pics = {0};
        char topic[40];
        snprintf(topic, sizeof topic, "border, view %d of %d", k + 1, p->n_views);
        s = gr_pictures_subset(&p->pics, ~0u, &pics, err);
        pics.view = &view;
        if (!s)
            s = run_border(&pics, below, &o, topic, ev, err);
        if (!s) {
            p->more_views[k - 1] = pics.x;
            pics.x = NULL;
        }
        gr_pictures_clear(&pics);
    }
    return s;
}

static enum graft_status open_cached(const struct gr_tune_task *task, struct gr_network *below,
                                     bool train, struct gr_tune_part *p, struct graft_error *err)
{
    const struct graft_data_options *o = &task->o->pictures;
    p->source.fill = fill_cached;
    p->n_views = train ? task->how->views : 1;
    enum graft_status s =
        gr_memory_check(o->memory, (size_t)p->n_views * p->pics.ds.n * p->row_size * sizeof(float),
                        "the values at the border of what is frozen", err);
    if (!s)
        s = run_border(&p->pics, below, o, train ? "border, train" : "border, val", task->ev, err);
    return s ? s : open_views(p, below, o, task->ev, err);
}

enum graft_status gr_tune_open_part(const struct gr_tune_task *task, const struct gr_moving *moving,
                                    struct gr_network *below, bool train, struct gr_tune_part *p,
                                    struct graft_error *err)
{
    enum gr_augment_preset preset = GR_AUGMENT_NONE;
    p->data = &task->o->pictures;
    p->ev = task->ev;
    p->row_size = (size_t)gr_shape_count(&moving->border_shape);
    p->depth = read_ahead(p->row_size, p->data->memory);
    p->source = (struct gr_batch_source){.n = p->pics.ds.n, .label = p->labels, .user = p};
    enum graft_status s = gr_augment_find(task->how->augment, &preset, err);
    if (s)
        return s;
    gr_augment_init(&p->augment, preset);
    if (!moving->from_pictures)
        return open_cached(task, below, train, p, err);
    p->pre = &task->model->pre;
    if (task->net->channels_last)
        p->last_planes = gr_preprocess_channels(p->pre);
    p->augmented = train && preset != GR_AUGMENT_NONE;
    p->source.begin = begin_pictures;
    p->source.fill = fill_pictures;
    return GRAFT_OK;
}

enum graft_status gr_tune_list_parts(const struct gr_tune_task *task, struct gr_tune_part *train,
                                     struct gr_tune_part *val, struct graft_error *err)
{
    const struct gr_pictures *all = task->pics;
    enum graft_status s = gr_pictures_subset(all, 1u << GR_SPLIT_TRAIN, &train->pics, err);
    if (!s)
        s = gr_pictures_subset(all, 1u << GR_SPLIT_VAL, &val->pics, err);
    if (!s && !val->pics.ds.n && task->o->pictures.val > 0)
        s = split_off_val(&task->o->pictures, train, val, err);
    if (!s)
        s = list_part(train, err);
    return s ? s : list_part(val, err);
}
