/* What are the mean and spread of each feature, and how are they folded into weights? */
#include "train/scaler.h"
#include "base/mem.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* Two passes in double over columns [from, to). */
static void column_moments(const float *x, size_t n, size_t d, size_t from, size_t to, double *mean,
                           double *scale)
{
    for (size_t j = from; j < to; j++)
        mean[j] = scale[j] = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = from; j < to; j++)
            mean[j] += x[i * d + j];
    for (size_t j = from; j < to; j++)
        mean[j] /= (double)n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = from; j < to; j++)
            scale[j] += (x[i * d + j] - mean[j]) * (x[i * d + j] - mean[j]);
    for (size_t j = from; j < to; j++) {
        double std = sqrt(scale[j] / (double)n);
        /* a spread within the rounding of the values is noise, not a feature */
        scale[j] = std <= 1e-7 * fabs(mean[j]) || std < FLT_MIN ? 1 : 1 / std;
    }
}

enum graft_status gr_scaler_fit(const float *x, size_t n, size_t d, struct gr_scaler *out,
                                struct graft_error *err)
{
    enum graft_status st = GRAFT_OK;
    const size_t width = 64;
    struct gr_scaler s = {.d = d};
    s.mean = gr_alloc_array(d, sizeof *s.mean);
    s.scale = gr_alloc_array(d, sizeof *s.scale);
    if (!s.mean || !s.scale) {
        st = gr_error_nomem(err);
        goto out;
    }
#pragma omp parallel for if (n * d > 100000)
    for (size_t j = 0; j < d; j += width)
        column_moments(x, n, d, j, j + width < d ? j + width : d, s.mean, s.scale);
    for (size_t j = 0; j < d; j++) {
        if (isfinite(s.mean[j]))
            continue;
        for (size_t i = 0; i < n; i++)
            if (!isfinite(x[i * d + j])) {
                st = gr_error(err, GRAFT_E_COMPUTE, "feature %zu of example %zu is %g", j, i,
                              (double)x[i * d + j]);
                goto out;
            }
    }
    *out = s;
    memset(&s, 0, sizeof s);
out:
    gr_scaler_clear(&s);
    return st;
}

void gr_scaler_clear(struct gr_scaler *s)
{
    gr_free(s->mean);
    gr_free(s->scale);
    memset(s, 0, sizeof *s);
}

void gr_scaler_apply(const struct gr_scaler *s, const float *x, size_t n, const int64_t *order,
                     float *out, size_t ld)
{
    const size_t d = s->d;
#pragma omp parallel for if (n * d > 100000)
    for (size_t i = 0; i < n; i++) {
        const float *row = x + (order ? (size_t)order[i] : i) * d;
        float *to = out + i * ld;
        for (size_t j = 0; j < d; j++)
            to[j] = (float)((row[j] - s->mean[j]) * s->scale[j]);
        for (size_t j = d; j < ld; j++)
            to[j] = 0;
    }
}

void gr_scaler_fold(const struct gr_scaler *s, const double *w, size_t ld, const double *b,
                    size_t n_out, float *raw_w, float *raw_b)
{
    for (size_t c = 0; c < n_out; c++) {
        double bias = b[c];
        for (size_t j = 0; j < s->d; j++) {
            double v = w[c * ld + j] * s->scale[j];
            raw_w[c * s->d + j] = (float)v;
            bias -= v * s->mean[j];
        }
        raw_b[c] = (float)bias;
    }
}
