/* How good is a model on labelled pictures? */
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "eval/report.h"
#include "job/result.h"
#include "train/head.h"
#include <stdio.h>
#include <string.h>

struct evaluation {
    struct gr_model model;
    struct gr_network net;
    struct gr_pictures all;  /* the data set */
    struct gr_pictures pics; /* what of it is measured */
    char **labels;
    int n_labels;
    int *class_of; /* by class of the data: number in the model */
    size_t n;
    int *y;
    const char **paths;
    float *probs;
    struct gr_metrics metrics;
};

static void evaluation_clear(struct evaluation *e)
{
    for (int i = 0; i < e->n_labels; i++)
        gr_free(e->labels[i]);
    gr_free(e->labels);
    gr_free(e->class_of);
    gr_free(e->y);
    gr_free(e->paths);
    gr_free(e->probs);
    gr_metrics_free(&e->metrics);
    gr_pictures_clear(&e->pics);
    gr_pictures_clear(&e->all);
    gr_network_clear(&e->net);
    gr_model_clear(&e->model);
}

/* The label itself, or its first word ("n01440764 tench" is the class n01440764). */
static bool names_class(const char *label, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(label, name, n) && (label[n] == 0 || label[n] == ' ' || label[n] == '\t');
}

static enum graft_status match_classes(struct evaluation *e, struct graft_error *err)
{
    const struct gr_dataset *ds = &e->all.ds;
    if (!ds->n_classes)
        return gr_error(err, GRAFT_E_CHECK, "%s: the pictures have no labels", e->all.path);
    e->class_of = gr_alloc_array(ds->n_classes, sizeof *e->class_of);
    if (!e->class_of)
        return gr_error_nomem(err);
    for (size_t c = 0; c < ds->n_classes; c++) {
        int found = -1, n_found = 0;
        for (int i = 0; i < e->n_labels; i++)
            if (names_class(e->labels[i], ds->classes[c])) {
                bool whole = !strcmp(e->labels[i], ds->classes[c]);
                n_found = whole ? 1 : n_found + 1;
                found = i;
                if (whole)
                    break;
            }
        if (n_found > 1)
            return gr_error(err, GRAFT_E_ARG, "class '%s' fits %d labels of the model",
                            ds->classes[c], n_found);
        if (found < 0)
            return gr_error(err, GRAFT_E_ARG,
                            "the model does not know the class '%s'; its %d labels are '%s' ... "
                            "'%s'%s",
                            ds->classes[c], e->n_labels, e->labels[0], e->labels[e->n_labels - 1],
                            e->model.n_labels ? "" : " (it has none: give them with --labels)");
        e->class_of[c] = found;
    }
    return GRAFT_OK;
}

static enum graft_status choose_splits(const struct graft_eval_options *o,
                                       const struct gr_dataset *ds, unsigned *mask,
                                       const char **name, struct graft_error *err)
{
    static const struct {
        const char *name;
        enum gr_split split;
    } splits[] = {{"train", GR_SPLIT_TRAIN}, {"val", GR_SPLIT_VAL}, {"test", GR_SPLIT_TEST}};
    unsigned present = 0;
    for (size_t i = 0; i < ds->n; i++)
        present |= 1u << ds->examples[i].split;
    if (o->split) {
        for (int i = 0; i < 3; i++)
            if (!strcmp(o->split, splits[i].name)) {
                *mask = 1u << splits[i].split;
                *name = splits[i].name;
                if (present & *mask)
                    return GRAFT_OK;
                return gr_error(err, GRAFT_E_ARG, "%s has no split '%s'", o->data, o->split);
            }
        return gr_error(err, GRAFT_E_ARG, "the split is '%s', expected train, val or test",
                        o->split);
    }
    *mask = ~0u;
    *name = "all";
    for (int i = 1; i < 3; i++) /* val, if need be; test, if there is one */
        if (present >> splits[i].split & 1) {
            *mask = 1u << splits[i].split;
            *name = splits[i].name;
        }
    return GRAFT_OK;
}

static enum graft_status gather_scores(struct evaluation *e, bool softmax, struct graft_error *err)
{
    const struct gr_dataset *ds = &e->pics.ds;
    size_t width = (size_t)e->net.width;
    e->y = gr_alloc_array(ds->n, sizeof *e->y);
    e->paths = gr_alloc_array(ds->n, sizeof *e->paths);
    e->probs = gr_alloc_array(ds->n, width * sizeof *e->probs);
    if (!e->y || !e->paths || !e->probs)
        return gr_error_nomem(err);
    for (size_t i = 0; i < ds->n; i++) {
        const struct gr_example *x = &ds->examples[i];
        if (!e->pics.ok[i])
            continue;
        memcpy(e->probs + e->n * width, e->pics.x + i * width, width * sizeof *e->probs);
        e->y[e->n] = e->class_of[x->label];
        e->paths[e->n++] = x->path;
    }
    if (softmax)
        gr_softmax_rows(e->probs, e->n, width);
    return e->n ? GRAFT_OK : gr_error(err, GRAFT_E_CHECK, "no readable labelled pictures");
}

static enum graft_status run(const struct graft_eval_options *o, const struct graft_events *ev,
                             struct evaluation *e, struct graft_result **result,
                             struct graft_error *err)
{
    bool softmax = false;
    unsigned mask = 0;
    const char *split = NULL;
    char text[256];
    enum graft_status s = gr_job_open_model(o->model, &o->load, &e->model, err);
    if (!s)
        s = gr_network_scores(&e->model, o->pictures.batch, o->pictures.precision, &e->net,
                              &softmax, err);
    if (!s)
        s = gr_job_labels(&e->model, e->net.width, &e->labels, &e->n_labels, err);
    if (!s)
        gr_note(ev, "preprocessing", "%s; from %s%s",
                gr_job_print_preprocess(&e->model.pre, text, sizeof text), e->model.pre_source,
                e->model.has_pre ? "" : " (change with --mean --std --channels --img-size)");
    if (!s)
        gr_job_tell_notes(&e->model, ev);
    if (!s)
        s = gr_pictures_open_any(o->data, &o->pictures, ev, &e->all, err);
    if (!s)
        s = gr_pictures_stop(&e->all, &o->pictures, err);
    if (!s)
        s = match_classes(e, err);
    if (!s)
        s = choose_splits(o, &e->all.ds, &mask, &split, err);
    if (!s)
        s = gr_pictures_subset(&e->all, mask, &e->pics, err);
    if (!s && !e->pics.ds.n)
        s = gr_error(err, GRAFT_E_CHECK, "%s: no labelled pictures", o->data);
    if (!s)
        s = gr_network_settle(&e->net, &e->model, &e->pics, &o->pictures, ev, err);
    if (!s)
        s = gr_pictures_run(&e->pics, &e->net, &o->pictures, "scores", ev, err);
    if (!s)
        s = gather_scores(e, softmax, err);
    if (!s)
        s = gr_metrics_compute(e->probs, e->y, e->n, (size_t)e->n_labels, o->pictures.seed,
                               &e->metrics, err);
    if (s)
        return s;
    const struct gr_report_method method = {.name = "model", .metrics = &e->metrics};
    const struct gr_report report = {
        .data_name = o->data,
        .class_names = (const char *const *)e->labels,
        .n_classes = (size_t)e->n_labels,
        .n_test = e->n,
        .n_unreadable = (size_t)e->pics.n_bad + e->all.ds.n_bad,
        .evaluated_on = split,
        .source_name = gr_path_base(o->model),
        .source_licence = e->model.licence,
        .source_arch = e->model.arch,
        .preprocess = gr_job_print_preprocess(&e->model.pre, text, sizeof text),
        .seed = o->pictures.seed,
        .methods = &method,
        .n_methods = 1,
        .paths = e->paths,
        .y = e->y,
        .probs = e->probs,
        .n = e->n,
    };
    if (o->out)
        s = gr_report_write_all(&report, o->out, err);
    if (!s && result)
        s = gr_result_new(&report, NULL, o->out, result, err);
    return s ? s : gr_job_gate(o->require, &e->metrics, err);
}

enum graft_status graft_eval(const struct graft_eval_options *o, const struct graft_events *ev,
                             struct graft_result **result, struct graft_error *err)
{
    struct evaluation e = {0};
    if (result)
        *result = NULL;
    if (!o->data || !o->model)
        return gr_error(err, GRAFT_E_ARG, "data and model must be given");
    enum graft_status s = gr_job_gate(o->require, NULL, err);
    if (!s)
        s = gr_data_options_check(&o->pictures, err);
    if (!s)
        s = run(o, ev, &e, result, err);
    evaluation_clear(&e);
    return s;
}
