/* Which head is asked for, and what does a head say about new features? */
#include "train/head.h"
#include "base/events.h"
#include "base/mem.h"
#include "train/gemm.h"
#include "train/knn.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_K     1000
#define MAX_WIDTH 65536

void gr_head_free(struct gr_head *h)
{
    gr_free(h->w);
    gr_free(h->b);
    gr_free(h->w1);
    gr_free(h->b1);
    gr_free(h->refs);
    gr_free(h->ref_bias);
    gr_free(h->mean);
    gr_free(h->scale);
    gr_free(h->ref_labels);
    memset(h, 0, sizeof *h);
}

static void add_bias(float *z, size_t n, const float *b, size_t width)
{
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < width; c++)
            z[i * width + c] += b[c];
}

static enum graft_status mlp_scores(const struct gr_head *h, const float *x, size_t n,
                                    float *scores, struct graft_error *err)
{
    const size_t rows = 256, d = h->n_features;
    float *hidden = gr_alloc_array(rows, h->n_hidden * sizeof *hidden);
    if (!hidden)
        return gr_error_nomem(err);
    for (size_t i = 0; i < n; i += rows) {
        size_t m = n - i < rows ? n - i : rows;
        gr_gemm_nt(m, h->n_hidden, d, x + i * d, d, h->w1, d, hidden, h->n_hidden);
        add_bias(hidden, m, h->b1, h->n_hidden);
        for (size_t j = 0; j < m * h->n_hidden; j++)
            hidden[j] = hidden[j] > 0 ? hidden[j] : 0;
        gr_gemm_nt(m, h->n_classes, h->n_hidden, hidden, h->n_hidden, h->w, h->n_hidden,
                   scores + i * h->n_classes, h->n_classes);
    }
    add_bias(scores, n, h->b, h->n_classes);
    gr_free(hidden);
    return GRAFT_OK;
}

static enum graft_status knn_scores(const struct gr_head *h, const float *x, size_t n,
                                    float *scores, struct graft_error *err)
{
    enum graft_status st = GRAFT_OK;
    const size_t rows = 1024, d = h->n_features;
    float *q = gr_alloc_array(rows, d * sizeof *q);
    int64_t *found = gr_alloc_array(rows, h->k * sizeof *found);
    if (!q || !found)
        st = gr_error_nomem(err);
    for (size_t i = 0; i < n && !st; i += rows) {
        size_t m = n - i < rows ? n - i : rows;
        for (size_t r = 0; r < m; r++)
            for (size_t j = 0; j < d; j++)
                q[r * d + j] = (x[(i + r) * d + j] - h->mean[j]) * h->scale[j];
        st = gr_knn_search(q, m, d, h->refs, h->ref_bias, h->n_refs, d, d, h->k, NULL, found, err);
        if (!st)
            gr_knn_vote(found, m, h->k, h->k, h->ref_labels, h->n_classes,
                        scores + i * h->n_classes);
    }
    gr_free(q);
    gr_free(found);
    return st;
}

enum graft_status gr_head_scores(const struct gr_head *h, const float *x, size_t n, float *scores,
                                 struct graft_error *err)
{
    const size_t d = h->n_features;
    switch (h->kind) {
    case GR_HEAD_MLP:
        return mlp_scores(h, x, n, scores, err);
    case GR_HEAD_KNN:
        return knn_scores(h, x, n, scores, err);
    case GR_HEAD_LINEAR:
        break;
    }
    gr_gemm_nt(n, h->n_classes, d, x, d, h->w, d, scores, h->n_classes);
    add_bias(scores, n, h->b, h->n_classes);
    return GRAFT_OK;
}

void gr_softmax_rows(float *z, size_t n, size_t n_classes)
{
    for (size_t i = 0; i < n; i++) {
        float *row = z + i * n_classes, max = row[0];
        double sum = 0;
        for (size_t c = 1; c < n_classes; c++)
            max = row[c] > max ? row[c] : max;
        for (size_t c = 0; c < n_classes; c++) {
            row[c] = expf(row[c] - max);
            sum += row[c];
        }
        for (size_t c = 0; c < n_classes; c++)
            row[c] = (float)(row[c] / sum);
    }
}

enum graft_status gr_head_probs(const struct gr_head *h, const float *x, size_t n, float *probs,
                                struct graft_error *err)
{
    enum graft_status st = gr_head_scores(h, x, n, probs, err);
    if (!st && h->kind != GR_HEAD_KNN)
        gr_softmax_rows(probs, n, h->n_classes);
    return st;
}

void gr_head_options_init(struct gr_head_options *o)
{
    *o = (struct gr_head_options){
        .method = GR_METHOD_LOGISTIC,
        .lambda_min = 1e-5,
        .lambda_max = 1e1,
        .n_lambdas = 13,
        .folds = 5,
        .tolerance = 1e-5,
        .max_iterations = 1000,
        .k = 5,
        .cosine = true,
        .width = 128,
        .epochs = 200,
    };
}

/* The number after the first ':' in text, up to `end`. */
static bool parse_count(const char *text, const char **end, size_t max, size_t *value)
{
    char *stop;
    if (*text < '1' || *text > '9')
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, &stop, 10);
    if (errno || v > max)
        return false;
    *value = (size_t)v;
    *end = stop;
    return true;
}

enum graft_status gr_head_options_parse(const char *text, struct gr_head_options *out,
                                        struct graft_error *err)
{
    struct gr_head_options o;
    const char *end = text;
    char *stop;
    gr_head_options_init(&o);
    if (!strcmp(text, "logistic")) {
        end = text + 8;
    } else if (!strncmp(text, "logistic:", 9)) {
        o.lambda = strtod(text + 9, &stop);
        end = o.lambda > 0 && isfinite(o.lambda) ? stop : text;
    } else if (!strcmp(text, "ncm")) {
        o.method = GR_METHOD_NCM;
        end = text + 3;
    } else if (!strncmp(text, "knn:", 4)) {
        o.method = GR_METHOD_KNN;
        if (parse_count(text + 4, &end, MAX_K, &o.k)) {
            o.cosine = strcmp(end, ":euclidean") != 0;
            if (!o.cosine || !strcmp(end, ":cosine"))
                end += strlen(end);
        }
    } else if (!strncmp(text, "mlp:", 4)) {
        o.method = GR_METHOD_MLP;
        parse_count(text + 4, &end, MAX_WIDTH, &o.width);
    }
    if (end == text || *end)
        return gr_error(err, GRAFT_E_ARG,
                        "head '%.100s' is none of logistic, logistic:LAMBDA, knn:K (K up to %d), "
                        "knn:K:euclidean, ncm, mlp:H (H up to %d)",
                        text, MAX_K, MAX_WIDTH);
    *out = o;
    return GRAFT_OK;
}

static enum graft_status check_options(const struct gr_head_options *o, struct graft_error *err)
{
    if (!(o->lambda >= 0) || !isfinite(o->lambda))
        return gr_error(err, GRAFT_E_ARG, "lambda is %g", o->lambda);
    if (!(o->lambda_min > 0 && o->lambda_min <= o->lambda_max && isfinite(o->lambda_max)))
        return gr_error(err, GRAFT_E_ARG, "lambda from %g to %g", o->lambda_min, o->lambda_max);
    if (o->n_lambdas < 1 || o->n_lambdas > GR_CV_MAX)
        return gr_error(err, GRAFT_E_ARG, "%d lambdas, allowed are 1 to %d", o->n_lambdas,
                        GR_CV_MAX);
    if (o->folds < 2 || o->folds > GR_MAX_FOLDS)
        return gr_error(err, GRAFT_E_ARG, "%d folds, allowed are 2 to %d", o->folds, GR_MAX_FOLDS);
    if (!(o->tolerance > 0) || o->max_iterations < 1 || o->epochs < 1)
        return gr_error(err, GRAFT_E_ARG, "tolerance %g, %d iterations, %d epochs: none may be 0",
                        o->tolerance, o->max_iterations, o->epochs);
    if (o->k < 1 || o->width < 1)
        return gr_error(err, GRAFT_E_ARG, "k %zu, width %zu: none may be 0", o->k, o->width);
    return GRAFT_OK;
}

static enum graft_status check_data(const struct gr_head_data *data, size_t *counts,
                                    struct graft_error *err)
{
    for (size_t i = 0; i < data->n; i++) {
        if (data->y[i] < 0 || (size_t)data->y[i] >= data->n_classes)
            return gr_error(err, GRAFT_E_ARG, "label of example %zu is %d, there are %zu classes",
                            i, data->y[i], data->n_classes);
        counts[data->y[i]]++;
    }
    for (size_t c = 0; c < data->n_classes; c++)
        if (!(data->class_weights[c] >= 0) || !isfinite(data->class_weights[c]))
            return gr_error(err, GRAFT_E_ARG, "weight of class %zu is %g", c,
                            data->class_weights[c]);
    return GRAFT_OK;
}

void gr_class_weights_balanced(const int *y, size_t n, size_t n_classes, double *weights)
{
    size_t n_present = 0;
    for (size_t c = 0; c < n_classes; c++)
        weights[c] = 0;
    for (size_t i = 0; i < n; i++)
        weights[y[i]] += 1;
    for (size_t c = 0; c < n_classes; c++)
        n_present += weights[c] > 0;
    for (size_t c = 0; c < n_classes; c++)
        if (weights[c] > 0)
            weights[c] = (double)n / ((double)n_present * weights[c]);
}

enum graft_status gr_head_fit(const struct gr_head_options *o, const float *x, const int *y,
                              size_t n, size_t d, size_t n_classes, const double *class_weights,
                              const struct graft_events *ev, struct gr_head *head,
                              struct gr_head_report *report, struct graft_error *err)
{
    static GR_HEAD_FIT((*const fit[])) = {
        [GR_METHOD_LOGISTIC] = gr_logistic_fit,
        [GR_METHOD_KNN] = gr_knn_fit,
        [GR_METHOD_NCM] = gr_ncm_fit,
        [GR_METHOD_MLP] = gr_mlp_fit,
    };
    enum graft_status st;
    double start = gr_seconds(), *weights = NULL;
    struct gr_head_report result = {0};
    size_t *counts = NULL;
    if (n == 0 || d == 0 || n_classes == 0 || n_classes > INT32_MAX)
        return gr_error(err, GRAFT_E_ARG, "%zu examples of %zu features in %zu classes", n, d,
                        n_classes);
    if ((st = check_options(o, err)))
        return st;
    counts = gr_alloc_zero(n_classes, sizeof *counts);
    weights = gr_alloc_array(n_classes, sizeof *weights);
    if (!counts || !weights) {
        st = gr_error_nomem(err);
        goto out;
    }
    for (size_t c = 0; c < n_classes; c++)
        weights[c] = class_weights ? class_weights[c] : 1;
    struct gr_head_data data = {x, y, n, d, n_classes, weights, counts};
    if ((st = check_data(&data, counts, err)))
        goto out;
    if ((st = fit[o->method](o, &data, ev, head, &result, err)))
        goto out;
    result.seconds = gr_seconds() - start;
    if (report)
        *report = result;
out:
    gr_free(counts);
    gr_free(weights);
    return st;
}
