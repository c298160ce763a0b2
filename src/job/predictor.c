/* How is one picture classified, again and again, without allocating? */
#include "base/file.h"
#include "base/mem.h"
#include "data/preprocess.h"
#include "job/job.h"
#include "train/head.h"
#include <stdio.h>
#include <string.h>

enum { BATCH = 8 };

struct graft_predictor {
    const struct gr_model *model; /* borrowed */
    enum graft_precision precision;
    struct gr_network net, batch_net; /* for one picture, for BATCH of them once wanted */
    struct gr_exec *exec, *batch_exec;
    struct gr_preprocessor pp;
    bool softmax;
    int n_classes;
    char **labels; /* owned: a copy, or the numbers as text */
    float *input, *output;
    float *last; /* (H,W,C), where the network wants the planes last */
    uint8_t *bytes;
    size_t bytes_cap;
};

void gr_planes_last(const float *planes, int64_t n_planes, int64_t n_pixels, float *out)
{
    for (int64_t p = 0; p < n_pixels; p++)
        for (int64_t c = 0; c < n_planes; c++)
            out[p * n_planes + c] = planes[c * n_pixels + p];
}

enum graft_status gr_job_labels(const struct gr_model *m, int64_t width, char ***labels, int *n,
                                struct graft_error *err)
{
    if (m->n_labels && (int64_t)m->n_labels != width)
        return gr_error(err, GRAFT_E_ARG, "%s: %zu labels for a network with %lld classes", m->path,
                        m->n_labels, (long long)width);
    char **list = gr_alloc_zero((size_t)width, sizeof *list);
    bool ok = list != NULL;
    for (int64_t i = 0; ok && i < width; i++)
        ok = (list[i] = m->n_labels ? gr_strdup(m->labels[i]) : gr_sprintf("%lld", (long long)i)) !=
             NULL;
    if (!ok) {
        for (int64_t i = 0; list && i < width; i++)
            gr_free(list[i]);
        gr_free(list);
        return gr_error_nomem(err);
    }
    *labels = list;
    *n = (int)width;
    return GRAFT_OK;
}

enum graft_status graft_predictor_new(struct graft_model *model, enum graft_precision precision,
                                      struct graft_predictor **out, struct graft_error *err)
{
    if ((unsigned)precision > GRAFT_PRECISION_INT8)
        return gr_error(err, GRAFT_E_ARG, "unknown precision %d", (int)precision);
    struct graft_predictor *p = gr_alloc_zero(1, sizeof *p);
    if (!p)
        return gr_error_nomem(err);
    /* without pictures nobody can tell what bf16 would do to this network */
    if (precision == GRAFT_PRECISION_AUTO && !gr_model_get_prop(&model->m, "graft.precision"))
        precision = GRAFT_PRECISION_FP32;
    p->model = &model->m;
    p->precision = precision;
    enum graft_status s = gr_network_scores(&model->m, 1, precision, &p->net, &p->softmax, err);
    if (!s)
        s = gr_job_labels(&model->m, p->net.width, &p->labels, &p->n_classes, err);
    if (!s)
        s = gr_exec_new(p->net.plan, &p->exec, err);
    if (!s) {
        int64_t n = gr_shape_count(&gr_plan_get_input(p->net.plan, 0)->shape);
        p->input = gr_alloc_aligned((size_t)n * sizeof *p->input, true);
        p->last = gr_alloc_aligned((size_t)n * sizeof *p->last, true);
        p->output = gr_alloc_aligned((size_t)p->n_classes * sizeof *p->output, true);
        if (!p->input || !p->last || !p->output)
            s = gr_error_nomem(err);
    }
    if (s)
        graft_predictor_free(p);
    else
        *out = p;
    return s;
}

void graft_predictor_free(struct graft_predictor *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n_classes; i++)
        gr_free(p->labels[i]);
    gr_free(p->labels);
    gr_exec_free(p->exec);
    gr_network_clear(&p->net);
    gr_exec_free(p->batch_exec);
    gr_network_clear(&p->batch_net);
    gr_preprocessor_clear(&p->pp);
    gr_free_aligned(p->input);
    gr_free_aligned(p->last);
    gr_free_aligned(p->output);
    gr_free(p->bytes);
    gr_free(p);
}

int graft_predictor_n_classes(const struct graft_predictor *p)
{
    return p->n_classes;
}

const char *graft_predictor_label(const struct graft_predictor *p, int i)
{
    return i >= 0 && i < p->n_classes ? p->labels[i] : NULL;
}

/* p->input holds the planes. */
static enum graft_status classify(struct graft_predictor *p, float *probs, struct graft_error *err)
{
    const void *in = p->input;
    void *out = p->output;
    if (p->net.channels_last) {
        gr_planes_last(p->input, gr_preprocess_channels(&p->net.pre),
                       (int64_t)p->net.pre.width * p->net.pre.height, p->last);
        in = p->last;
    }
    enum graft_status s = gr_exec_run(p->exec, &in, &out, err);
    if (s)
        return s;
    memcpy(probs, p->output, (size_t)p->n_classes * sizeof *probs);
    if (p->softmax)
        gr_softmax_rows(probs, 1, (size_t)p->n_classes);
    return GRAFT_OK;
}

enum graft_status graft_predict_bytes(struct graft_predictor *p, const void *bytes, size_t size,
                                      float *probs, struct graft_error *err)
{
    enum graft_status s =
        gr_preprocess_picture(&p->pp, bytes, size, &p->net.pre, p->input, NULL, err);
    return s ? s : classify(p, probs, err);
}

enum graft_status graft_predict_file(struct graft_predictor *p, const char *path, float *probs,
                                     struct graft_error *err)
{
    size_t size;
    enum graft_status s =
        gr_file_read(path, GR_MAX_PICTURE_FILE, &p->bytes, &p->bytes_cap, &size, err);
    if (s)
        return s;
    s = graft_predict_bytes(p, p->bytes, size, probs, err);
    return s ? gr_error_in(err, s, "%s", path) : GRAFT_OK;
}

enum graft_status graft_predict_pixels(struct graft_predictor *p, const uint8_t *rgb, int width,
                                       int height, size_t stride, float *probs,
                                       struct graft_error *err)
{
    if (width < 1 || height < 1 || stride < (size_t)width * 3)
        return gr_error(err, GRAFT_E_ARG, "%dx%d pixels in rows of %zu bytes", width, height,
                        stride);
    enum graft_status s =
        gr_preprocess_pixels(&p->pp, rgb, width, height, stride, &p->net.pre, p->input, err);
    return s ? s : classify(p, probs, err);
}

static enum graft_status plan_batch(struct graft_predictor *p, struct graft_error *err)
{
    bool softmax;
    struct gr_network net;
    enum graft_status s = gr_network_scores(p->model, BATCH, p->precision, &net, &softmax, err);
    if (s)
        return s;
    s = gr_exec_new(net.plan, &p->batch_exec, err);
    if (s)
        gr_network_clear(&net);
    else
        p->batch_net = net;
    return s;
}

enum graft_status graft_predict_batch(struct graft_predictor *p, int64_t n, const float *x,
                                      float *probs, struct graft_error *err)
{
    const int64_t in = gr_shape_count(&gr_plan_get_input(p->net.plan, 0)->shape),
                  out = p->n_classes;
    enum graft_status s = GRAFT_OK;
    if (n < 0)
        return gr_error(err, GRAFT_E_ARG, "%lld pictures", (long long)n);
    if (n >= BATCH && !p->batch_exec)
        s = plan_batch(p, err);
    for (int64_t i = 0, step; !s && i < n; i += step) {
        const void *from = x + i * in;
        void *to = probs + i * out;
        step = n - i >= BATCH ? BATCH : 1;
        s = gr_exec_run(step > 1 ? p->batch_exec : p->exec, &from, &to, err);
        if (!s && p->softmax)
            gr_softmax_rows(to, (size_t)step, (size_t)out);
    }
    return s;
}
