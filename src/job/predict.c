/* What is in many pictures? */
#include "base/file.h"
#include "base/mem.h"
#include "job/pictures.h"
#include "train/head.h"

struct prediction {
    const struct graft_predict_options *o;
    struct graft_data_options pictures;
    const struct graft_events *ev;
    struct graft_events quiet; /* each picture gets its own line: no notes */
    struct gr_model model;
    struct gr_network net;
    bool softmax, settled;
    char **labels;
    int n_labels;
    graft_prediction_fn fn;
    void *user;
    int64_t n_bad;
};

static enum graft_status tell_bad(struct prediction *t, const struct gr_bad_file *bad,
                                  struct graft_error *err)
{
    char *problem = gr_sprintf("%s: %s", bad->path, bad->why);
    if (!problem)
        return gr_error_nomem(err);
    t->fn(t->user, bad->path, t->n_labels, (const char *const *)t->labels, NULL, problem);
    t->n_bad++;
    gr_free(problem);
    if (t->pictures.stop_on_bad)
        return gr_error(err, GRAFT_E_FORMAT, "%s: %s", bad->path, bad->why);
    return GRAFT_OK;
}

static enum graft_status predict_all(struct prediction *t, struct gr_pictures *p,
                                     struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    if (p->ds.n && !t->settled) {
        s = gr_network_settle(&t->net, &t->model, p, &t->pictures, &t->quiet, err);
        t->settled = true;
    }
    if (!s && p->ds.n)
        s = gr_pictures_run(p, &t->net, &t->pictures, "predict", &t->quiet, err);
    for (size_t i = 0; !s && i < p->ds.n; i++) {
        float *row = p->x + i * (size_t)p->width;
        if (p->ok[i] && t->softmax)
            gr_softmax_rows(row, 1, (size_t)t->n_labels);
        t->fn(t->user, p->ds.examples[i].path, t->n_labels, (const char *const *)t->labels,
              p->ok[i] ? row : NULL, p->problem[i]);
    }
    t->n_bad += p->n_bad;
    for (size_t i = 0; !s && i < p->ds.n_bad; i++)
        s = tell_bad(t, &p->ds.bad[i], err);
    return s;
}

static bool is_many(const char *path)
{
    return gr_is_dir(path) || gr_is_list(path);
}

/* The program's source, a folder or a list on its own; single pictures that follow each other
   together, so that batches are full. *i moves on. */
static enum graft_status predict_next(struct prediction *t, int *i, struct graft_error *err)
{
    struct gr_pictures p = {0};
    struct gr_labels labels = {0};
    enum graft_status s = GRAFT_OK;
    if (t->o->pictures.source) {
        s = gr_pictures_open_any("source", &t->o->pictures, &t->quiet, &p, err);
        ++*i;
    } else if (is_many(t->o->paths[*i])) {
        s = gr_pictures_open_any(t->o->paths[(*i)++], &t->o->pictures, &t->quiet, &p, err);
    } else {
        while (!s && *i < t->o->n_paths && !is_many(t->o->paths[*i]))
            s = gr_dataset_add(&p.ds, &labels, t->o->paths[(*i)++], NULL, GR_SPLIT_NONE, NULL, 1,
                               err);
    }
    if (!s)
        s = predict_all(t, &p, err);
    gr_free(labels.text);
    gr_pictures_clear(&p);
    return s;
}

static enum graft_status run(struct prediction *t, struct graft_error *err)
{
    const struct graft_predict_options *o = t->o;
    enum graft_precision precision = o->pictures.precision;
    const int64_t n = o->pictures.source ? o->pictures.source->n : o->n_paths;
    int64_t batch = n >= 1 && n < o->pictures.batch ? n : o->pictures.batch;
    for (int i = 0; i < o->n_paths; i++)
        if (is_many(o->paths[i]))
            batch = o->pictures.batch;
    enum graft_status s = gr_job_open_model(o->model, &o->load, &t->model, err);
    /* for a handful of pictures the look at both precisions would take longer than it saves */
    if (!s && precision == GRAFT_PRECISION_AUTO && batch < o->pictures.batch &&
        !gr_model_get_prop(&t->model, "graft.precision"))
        precision = GRAFT_PRECISION_FP32;
    /* and so would looking for them in a cache that nobody asked for */
    t->pictures = o->pictures;
    if (batch < o->pictures.batch && !o->pictures.cache)
        t->pictures.cache = "";
    if (!s)
        s = gr_network_scores(&t->model, batch, precision, &t->net, &t->softmax, err);
    if (!s)
        s = gr_job_labels(&t->model, t->net.width, &t->labels, &t->n_labels, err);
    if (!s && (o->load.channels || o->load.preprocess))
        gr_job_tell_notes(&t->model, t->ev);
    for (int i = 0, n_parts = o->pictures.source ? 1 : o->n_paths; !s && i < n_parts;)
        s = predict_next(t, &i, err);
    return s;
}

enum graft_status graft_predict(const struct graft_predict_options *o, graft_prediction_fn fn,
                                void *user, int64_t *n_bad, const struct graft_events *ev,
                                struct graft_error *err)
{
    struct prediction t = {.o = o, .ev = ev, .fn = fn, .user = user};
    if (ev)
        t.quiet = *ev;
    t.quiet.note = NULL;
    if (!o->model || (o->n_paths < 1) == !o->pictures.source)
        return gr_error(err, GRAFT_E_ARG,
                        "a model and either at least one path or a source must be given");
    enum graft_status s = gr_data_options_check(&o->pictures, err);
    if (!s)
        s = run(&t, err);
    for (int i = 0; i < t.n_labels; i++)
        gr_free(t.labels[i]);
    gr_free(t.labels);
    gr_network_clear(&t.net);
    gr_model_clear(&t.model);
    if (n_bad)
        *n_bad = t.n_bad;
    return s;
}
