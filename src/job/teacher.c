/* What does another network say about the training pictures? */
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "job/memory.h"
#include "job/tune.h"
#include "train/head.h"
#include <math.h>

static enum graft_status check_rows(const struct gr_teacher *t, const char *path,
                                    struct graft_error *err)
{
    for (size_t i = 0; i < t->pics.ds.n; i++) {
        double sum = 0;
        for (size_t c = 0; c < t->n; c++)
            sum += t->pics.x[i * t->n + c];
        if (!(fabs(sum - 1) < 0.01))
            return gr_error(err, GRAFT_E_UNSUPPORTED,
                            "%s: its outputs for %s sum to %g, expected probabilities (1)", path,
                            t->pics.ds.examples[i].path, sum);
    }
    return GRAFT_OK;
}

void gr_teacher_clear(struct gr_teacher *t)
{
    gr_pictures_clear(&t->pics);
}

enum graft_status gr_teacher_ask(const char *path, const struct gr_pictures *all,
                                 const struct graft_data_options *options,
                                 const struct graft_events *ev, struct gr_teacher *t,
                                 struct graft_error *err)
{
    struct graft_data_options o = *options;
    struct gr_model m = {0};
    struct gr_network net = {0};
    bool softmax = false;
    o.precision = GRAFT_PRECISION_AUTO; /* that of the options is the pupil's */
    enum graft_status s = gr_job_open_model(path, NULL, &m, err);
    if (!s)
        s = gr_network_scores(&m, o.batch, o.precision, &net, &softmax, err);
    if (!s)
        s = gr_pictures_subset(all, 1u << GR_SPLIT_TRAIN, &t->pics, err);
    if (!s)
        s = gr_network_settle(&net, &m, &t->pics, &o, ev, err);
    if (!s)
        s = gr_memory_check(o.memory,
                            gr_plan_get_work_size(net.plan) +
                                t->pics.ds.n * (size_t)net.width * sizeof(float),
                            "the teacher's probabilities", err);
    if (!s)
        s = gr_pictures_run(&t->pics, &net, &o, "teacher", ev, err);
    if (!s && t->pics.n_bad)
        s = gr_error(err, GRAFT_E_IO, "%lld pictures could be read before, now not",
                     (long long)t->pics.n_bad);
    if (!s)
        s = gr_network_hash(&net, &t->key, err);
    if (!s) {
        t->n = (size_t)net.width;
        if (softmax)
            gr_softmax_rows(t->pics.x, t->pics.ds.n, t->n);
        s = check_rows(t, path, err);
    }
    if (!s) {
        gr_note(ev, "teacher", "%s: probabilities of %zu classes for %zu training pictures",
                gr_path_base(path), t->n, t->pics.ds.n);
    }
    gr_network_clear(&net);
    gr_model_clear(&m);
    if (s)
        gr_teacher_clear(t);
    return s;
}
