/* What is in many pictures? */
#include "base/file.h"
#include "base/mem.h"
#include "job/pictures.h"
#include "train/head.h"

static enum graft_status predict_path(const char *path, const struct graft_predict_options *o,
                                      const struct gr_network *net, bool softmax, int n,
                                      char **labels, graft_prediction_fn fn, void *user,
                                      int64_t *n_bad, const struct graft_events *ev,
                                      struct graft_error *err)
{
    struct gr_pictures p = {0};
    struct graft_events quiet = ev ? *ev : (struct graft_events){0};
    quiet.note = NULL; /* each picture gets its own line */
    struct graft_error why = {0};
    enum graft_status s = gr_pictures_open_any(path, &quiet, &p, &why);
    bool one = !gr_is_dir(path) && !gr_is_list(path);
    if (one && (s == GRAFT_E_FORMAT || s == GRAFT_E_IO) && !o->pictures.stop_on_bad) {
        fn(user, path, n, (const char *const *)labels, NULL,
           why.message); /* the next may be good */
        ++*n_bad;
        return GRAFT_OK;
    }
    if (s)
        return gr_error(err, s, "%s", why.message);
    s = gr_pictures_run(&p, net, &o->pictures, "predict", &quiet, err);
    for (size_t i = 0; !s && i < p.ds.n; i++) {
        float *row = p.x + i * (size_t)p.width;
        if (p.ok[i] && softmax)
            gr_softmax_rows(row, 1, (size_t)n);
        fn(user, p.ds.examples[i].path, n, (const char *const *)labels, p.ok[i] ? row : NULL,
           p.problem[i]);
    }
    for (size_t i = 0; !s && i < p.ds.n_bad; i++) {
        char *problem = gr_sprintf("%s: %s", p.ds.bad[i].path, p.ds.bad[i].why);
        if (!problem)
            s = gr_error_nomem(err);
        else
            fn(user, p.ds.bad[i].path, n, (const char *const *)labels, NULL, problem);
        gr_free(problem);
    }
    *n_bad += p.n_bad + (int64_t)p.ds.n_bad;
    gr_pictures_clear(&p);
    return s;
}

enum graft_status graft_predict(const struct graft_predict_options *o, graft_prediction_fn fn,
                                void *user, int64_t *n_bad, const struct graft_events *ev,
                                struct graft_error *err)
{
    struct gr_model m = {0};
    struct gr_network net = {0};
    char **labels = NULL;
    int n = 0;
    bool softmax = false;
    int64_t bad = 0, batch = o->n_paths < o->pictures.batch ? o->n_paths : o->pictures.batch;
    for (int i = 0; i < o->n_paths; i++)
        if (gr_is_dir(o->paths[i]))
            batch = o->pictures.batch;
    enum graft_status s = gr_job_open_model(o->model, &o->load, &m, err);
    if (!s)
        s = gr_network_scores(&m, batch, o->pictures.precision, &net, &softmax, err);
    if (!s)
        s = gr_job_labels(&m, net.width, &labels, &n, err);
    for (int i = 0; !s && i < o->n_paths; i++)
        s = predict_path(o->paths[i], o, &net, softmax, n, labels, fn, user, &bad, ev, err);
    for (int i = 0; i < n; i++)
        gr_free(labels[i]);
    gr_free(labels);
    gr_network_clear(&net);
    gr_model_clear(&m);
    if (n_bad)
        *n_bad = bad;
    return s;
}
