/* Does the written file compute what was measured? */
#include "base/mem.h"
#include "job/result.h"
#include <math.h>
#include <string.h>

/* The head alone, on `n` vectors at once. */
static enum graft_status run_head(const struct gr_model *m, const char *features, int64_t width,
                                  const float *x, size_t n, size_t n_classes, float *probs,
                                  struct graft_error *err)
{
    struct gr_graph *g = NULL;
    struct gr_plan *plan = NULL;
    struct gr_exec *exec = NULL;
    struct gr_plan_options o;
    const int64_t dims[2] = {(int64_t)n, width};
    const struct gr_type type = {GR_F32, gr_shape_from(2, dims)};
    gr_plan_options_init(&o);
    o.batch = (int64_t)n;
    o.precision = GR_PRECISION_FP32;
    enum graft_status s = gr_graph_copy(m->graph, &g, err);
    int value = s ? -1 : gr_graph_find_value(g, features);
    int out = s ? -1 : gr_graph_find_value(g, "probabilities");
    if (!s && (value < 0 || out < 0))
        s = gr_error(err, GRAFT_E_COMPUTE, "the file has no '%s' or no 'probabilities'", features);
    if (!s)
        s = gr_graph_cut(g, 1, &out, err);
    if (!s)
        s = gr_graph_keep_above(g, value, &type, err);
    if (!s)
        s = gr_plan_new(g, 0, NULL, &type.shape, &o, &plan, err);
    if (!s && gr_shape_count(&gr_plan_get_output(plan, 0)->shape) != (int64_t)(n * n_classes))
        s = gr_error(err, GRAFT_E_COMPUTE, "the file's head does not give %zu classes", n_classes);
    if (!s)
        s = gr_exec_new(plan, &exec, err);
    if (!s) {
        const void *in = x;
        void *y = probs;
        s = gr_exec_run(exec, &in, &y, err);
    }
    gr_exec_free(exec);
    gr_plan_free(plan);
    gr_graph_free(g);
    return s;
}

static enum graft_status compare(const struct gr_network *a, const struct gr_network *b,
                                 const char *difference, struct graft_error *err)
{
    struct gr_hash x, y;
    enum graft_status s = gr_network_hash(a, &x, err);
    if (!s)
        s = gr_network_hash(b, &y, err);
    if (!s && memcmp(&x, &y, sizeof x) != 0)
        s = gr_error(err, GRAFT_E_COMPUTE, "%s", difference);
    return s;
}

enum graft_status gr_job_rescore(const char *path, const struct gr_network *net,
                                 enum graft_precision precision, const float *x, size_t n,
                                 const float *probs, size_t n_classes, struct graft_error *err)
{
    struct gr_model m = {0};
    struct gr_network again = {0};
    const char *features = net->graph->values[net->graph->outputs[0]].name;
    float *mine = gr_alloc_aligned(n * n_classes * sizeof *mine, false);
    enum graft_status s = mine ? gr_job_open_model(path, NULL, &m, err) : gr_error_nomem(err);
    if (!s)
        s = gr_network_features(&m, features, net->batch, precision, &again, err);
    if (!s)
        s = compare(&again, net, "the frozen part of the written file differs", err);
    if (!s)
        s = run_head(&m, features, net->width, x, n, n_classes, mine, err);
    for (size_t i = 0; !s && i < n * n_classes; i++)
        if (!(fabsf(mine[i] - probs[i]) <= 1e-5f))
            s = gr_error(err, GRAFT_E_COMPUTE,
                         "picture %zu, class %zu: the written file gives %g, measured was %g",
                         i / n_classes, i % n_classes, mine[i], probs[i]);
    if (s)
        gr_error_in(err, s, "%s: reading back", path);
    gr_free_aligned(mine);
    gr_network_clear(&again);
    gr_model_clear(&m);
    return s;
}

enum graft_status gr_job_rescore_whole(const char *path, const struct gr_network *scores,
                                       enum graft_precision precision, struct graft_error *err)
{
    struct gr_model m = {0};
    struct gr_network again = {0};
    bool softmax;
    enum graft_status s = gr_job_open_model(path, NULL, &m, err);
    if (!s)
        s = gr_network_scores(&m, scores->batch, precision, &again, &softmax, err);
    if (!s)
        s = compare(&again, scores, "the network in the written file differs", err);
    if (s)
        gr_error_in(err, s, "%s: reading back", path);
    gr_network_clear(&again);
    gr_model_clear(&m);
    return s;
}
