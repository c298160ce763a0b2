/* Which class mean is nearest? (a linear head without any fitting) */
#include "base/mem.h"
#include "train/head.h"
#include "train/scaler.h"
#include <stdio.h>
#include <string.h>

GR_HEAD_FIT(gr_ncm_fit)
{
    const size_t n = data->n, d = data->d, n_classes = data->n_classes;
    enum graft_status st;
    struct gr_scaler s = {0};
    struct gr_head h = {.kind = GR_HEAD_LINEAR, .n_features = d, .n_classes = n_classes};
    double *w = NULL, *b = NULL;
    (void)o, (void)ev;
    if ((st = gr_scaler_fit(data->x, n, d, &s, err)))
        goto out;
    w = gr_alloc_zero(n_classes, d * sizeof(double));
    b = gr_alloc_zero(n_classes, sizeof(double));
    h.w = gr_alloc_zero(n_classes, d * sizeof(float));
    h.b = gr_alloc_zero(n_classes, sizeof(float));
    if (!w || !b || !h.w || !h.b) {
        st = gr_error_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        double *mean = w + (size_t)data->y[i] * d;
        for (size_t j = 0; j < d; j++)
            mean[j] += (data->x[i * d + j] - s.mean[j]) * s.scale[j];
    }
    /* -|x - mu|^2 = 2 mu x - |mu|^2, and |x|^2 is the same for every class */
    for (size_t c = 0; c < n_classes; c++) {
        for (size_t j = 0; data->class_counts[c] && j < d; j++) {
            double mean = w[c * d + j] / (double)data->class_counts[c];
            w[c * d + j] = 2 * mean;
            b[c] -= mean * mean;
        }
    }
    gr_scaler_fold(&s, w, d, b, n_classes, h.w, h.b);
    for (size_t c = 0; c < n_classes; c++)
        if (!data->class_counts[c])
            h.b[c] = GR_ABSENT_LOGIT;
    report->converged = true;
    snprintf(report->summary, sizeof report->summary, "nearest class mean");
    *head = h;
    memset(&h, 0, sizeof h);
out:
    gr_free(w);
    gr_free(b);
    gr_scaler_clear(&s);
    gr_head_free(&h);
    return st;
}
