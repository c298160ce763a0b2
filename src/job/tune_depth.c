/* How many stages are worth training? */
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "job/tune.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static enum graft_status count_stages(const struct gr_tune_task *t, size_t *n,
                                      struct graft_error *err)
{
    struct gr_inferred types = {0};
    struct gr_type *inputs = NULL;
    struct gr_stage *stages = NULL;
    enum graft_status s = gr_job_input_types(t->model, 1, &inputs, err);
    if (!s)
        s = gr_graph_infer(t->net->graph, inputs, 0, NULL, &types, err);
    if (!s)
        s = gr_graph_stages(t->net->graph, &types, &stages, n, err);
    gr_free(stages);
    gr_free(inputs);
    gr_inferred_clear(&types);
    return s;
}

/* Mean of before - after over the same pictures, and its standard error. */
static void paired_gain(const double *before, const double *after, size_t n, double *gain,
                        double *error)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += before[i] - after[i];
    *gain = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double d = before[i] - after[i] - *gain;
        squares += d * d;
    }
    *error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : INFINITY;
}

static enum graft_status tune_to(const struct gr_tune_task *t, size_t depth, struct gr_tuned *out,
                                 struct graft_error *err)
{
    struct graft_finetune_options how = *t->how;
    struct gr_tune_task task = *t;
    char text[32];
    snprintf(text, sizeof text, "%zu", depth);
    how.unfreeze = text;
    char *name = gr_sprintf("unfreeze-%zu", depth);
    char *dir = name ? gr_path_join(t->dir, name) : NULL;
    enum graft_status s = dir ? GRAFT_OK : gr_error_nomem(err);
    task.how = &how;
    task.dir = dir;
    task.want_losses = true;
    if (!s)
        s = gr_tune(&task, out, err);
    gr_free(dir);
    gr_free(name);
    return s;
}

enum graft_status gr_tune_depth(const struct gr_tune_task *t, struct gr_tuned *out,
                                struct graft_error *err)
{
    struct gr_tuned now = {0};
    size_t n_stages = 0, depth = 1;
    memset(out, 0, sizeof *out);
    enum graft_status s = count_stages(t, &n_stages, err);
    if (!s && !n_stages)
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "%s has no stage with weights", t->model->path);
    if (!s)
        s = tune_to(t, depth, out, err);
    if (!s && !out->n_val)
        s = gr_error(err, GRAFT_E_ARG, "--unfreeze auto needs validation pictures (--val)");
    while (!s && depth < n_stages) {
        double gain, error;
        s = tune_to(t, depth + 1, &now, err);
        if (s)
            break;
        paired_gain(out->val_losses, now.val_losses, out->n_val, &gain, &error);
        /* the loss alone could prefer the head alone to an epoch that puts more right */
        const bool better = gain > error && now.report.best_accuracy >= out->report.best_accuracy;
        gr_note(t->ev, t->topic,
                "stage %zu from the top: validation loss %.4f -> %.4f, gain %.4f, standard error "
                "%.4f, accuracy %.4f -> %.4f: %s",
                depth + 1, out->report.best_loss, now.report.best_loss, gain, error,
                out->report.best_accuracy, now.report.best_accuracy,
                better ? "deeper" : "not worth it");
        if (!better)
            break;
        gr_tuned_clear(out);
        *out = now;
        memset(&now, 0, sizeof now);
        depth++;
    }
    gr_tuned_clear(&now);
    if (s)
        gr_tuned_clear(out);
    else
        gr_note(t->ev, t->topic, "%zu of %zu stages are trained (--unfreeze %zu does this at once)",
                depth, n_stages, depth);
    return s;
}
