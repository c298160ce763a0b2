/* What do probabilities and true labels say about a classifier, and how surely? */
#include "eval/metrics.h"
#include "base/mem.h"
#include "base/rng.h"
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define ECE_BINS 15
#define Z_95     1.959963984540054

struct gr_interval gr_wilson(size_t right, size_t n)
{
    if (n == 0)
        return (struct gr_interval){0, 1};
    double p = (double)right / (double)n, z2n = Z_95 * Z_95 / (double)n;
    double centre = (p + z2n / 2) / (1 + z2n);
    double half = Z_95 / (1 + z2n) * sqrt(p * (1 - p) / (double)n + z2n / (4 * (double)n));
    struct gr_interval i = {centre - half, centre + half};
    if (right == 0)
        i.lo = 0;
    if (right == n)
        i.hi = 1;
    return i;
}

void gr_metrics_free(struct gr_metrics *m)
{
    gr_free(m->classes);
    gr_free(m->confusion);
    gr_free(m->predicted);
    memset(m, 0, sizeof *m);
}

static double ratio(size_t part, size_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static double f1(size_t right, size_t support, size_t predicted)
{
    return support + predicted ? 2 * (double)right / (double)(support + predicted) : 0;
}

/* counts: support, predicted and right of each class */
static void class_means(const size_t *counts, size_t n_classes, double *balanced, double *macro_f1)
{
    double recall_sum = 0, f1_sum = 0;
    size_t n_true = 0, n_seen = 0;
    for (size_t c = 0; c < n_classes; c++) {
        const size_t *k = counts + 3 * c;
        n_true += k[0] > 0;
        n_seen += k[0] > 0 || k[1] > 0;
        recall_sum += ratio(k[2], k[0]);
        f1_sum += f1(k[2], k[0], k[1]);
    }
    *balanced = n_true ? recall_sum / (double)n_true : 0;
    *macro_f1 = n_seen ? f1_sum / (double)n_seen : 0;
}

static void count(size_t *counts, int truth, int predicted)
{
    counts[3 * (size_t)truth]++;
    counts[3 * (size_t)predicted + 1]++;
    counts[3 * (size_t)truth + 2] += truth == predicted;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between the order statistics, as NumPy. */
static struct gr_interval percentile_interval(double *v, size_t n)
{
    double at[2] = {0.025 * (double)(n - 1), 0.975 * (double)(n - 1)}, q[2];
    qsort(v, n, sizeof *v, compare_doubles);
    for (int i = 0; i < 2; i++) {
        size_t k = (size_t)at[i];
        double next = k + 1 < n ? v[k + 1] : v[k];
        q[i] = v[k] + (at[i] - (double)k) * (next - v[k]);
    }
    return (struct gr_interval){q[0], q[1]};
}

static enum graft_status bootstrap(const int *y, size_t n, uint64_t seed, struct gr_metrics *m,
                                   struct graft_error *err)
{
    enum graft_status st = GRAFT_OK;
    size_t n_counts = 3 * m->n_classes, n_threads = (size_t)omp_get_max_threads();
    size_t *counts = gr_alloc_array(n_threads, n_counts * sizeof *counts);
    double *values = gr_alloc_array(2 * GR_BOOTSTRAP, sizeof *values);
    if (!counts || !values) {
        st = gr_error_nomem(err);
        goto out;
    }
#pragma omp parallel for num_threads((int)n_threads) if (n > 100)
    for (size_t b = 0; b < GR_BOOTSTRAP; b++) {
        size_t *mine = counts + (size_t)omp_get_thread_num() * n_counts;
        memset(mine, 0, n_counts * sizeof *mine);
        for (size_t i = 0; i < n; i++) {
            size_t pick = (size_t)gr_rng_below(seed, b, i, n);
            count(mine, y[pick], m->predicted[pick]);
        }
        class_means(mine, m->n_classes, &values[b], &values[GR_BOOTSTRAP + b]);
    }
    m->balanced_ci = percentile_interval(values, GR_BOOTSTRAP);
    m->f1_ci = percentile_interval(values + GR_BOOTSTRAP, GR_BOOTSTRAP);
out:
    gr_free(counts);
    gr_free(values);
    return st;
}

static enum graft_status check(const float *probs, const int *y, size_t n, size_t n_classes,
                               struct graft_error *err)
{
    if (n == 0 || n_classes == 0)
        return gr_error(err, GRAFT_E_ARG, "nothing to measure: %zu examples, %zu classes", n,
                        n_classes);
    for (size_t i = 0; i < n; i++) {
        if (y[i] < 0 || (size_t)y[i] >= n_classes)
            return gr_error(err, GRAFT_E_ARG, "label of example %zu is %d, there are %zu classes",
                            i, y[i], n_classes);
        for (size_t c = 0; c < n_classes; c++)
            if (!isfinite(probs[i * n_classes + c]))
                return gr_error(err, GRAFT_E_COMPUTE, "probability of class %zu, example %zu is %g",
                                c, i, (double)probs[i * n_classes + c]);
    }
    return GRAFT_OK;
}

enum graft_status gr_metrics_compute(const float *probs, const int *y, size_t n, size_t n_classes,
                                     uint64_t seed, struct gr_metrics *out, struct graft_error *err)
{
    enum graft_status st;
    struct gr_metrics m = {.n = n, .n_classes = n_classes, .top5 = NAN};
    size_t in_top5 = 0, bin_right[ECE_BINS] = {0}, *counts = NULL;
    double bin_confidence[ECE_BINS] = {0};
    if ((st = check(probs, y, n, n_classes, err)))
        return st;
    m.classes = gr_alloc_array(n_classes, sizeof *m.classes);
    if (n_classes <= SIZE_MAX / n_classes)
        m.confusion = gr_alloc_zero(n_classes * n_classes, sizeof *m.confusion);
    m.predicted = gr_alloc_array(n, sizeof *m.predicted);
    counts = gr_alloc_zero(n_classes, 3 * sizeof *counts);
    if (!m.classes || !m.confusion || !m.predicted || !counts) {
        st = gr_error_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const float *p = probs + i * n_classes;
        size_t truth = (size_t)y[i], top = 0, better = 0;
        for (size_t c = 0; c < n_classes; c++) {
            if (p[c] > p[top])
                top = c;
            better += p[c] > p[truth] || (p[c] == p[truth] && c < truth);
        }
        m.predicted[i] = (int)top;
        m.right += top == truth;
        in_top5 += better < 5;
        m.confusion[truth * n_classes + top]++;
        count(counts, y[i], m.predicted[i]);
        double clipped = p[truth];
        clipped = clipped < DBL_EPSILON       ? DBL_EPSILON
                  : clipped > 1 - DBL_EPSILON ? 1 - DBL_EPSILON
                                              : clipped;
        m.log_loss -= log(clipped) / (double)n;
        int bin = (int)ceil((double)p[top] * ECE_BINS) - 1; /* bins are open below */
        bin = bin < 0 ? 0 : bin >= ECE_BINS ? ECE_BINS - 1 : bin;
        bin_right[bin] += top == truth;
        bin_confidence[bin] += p[top];
    }
    m.accuracy = ratio(m.right, n);
    m.accuracy_ci = gr_wilson(m.right, n);
    if (n_classes > 5)
        m.top5 = ratio(in_top5, n);
    for (int b = 0; b < ECE_BINS; b++)
        m.ece += fabs((double)bin_right[b] - bin_confidence[b]) / (double)n;
    for (size_t c = 0; c < n_classes; c++) {
        const size_t *k = counts + 3 * c;
        m.classes[c] = (struct gr_class_metrics){
            k[0], k[1], k[2], ratio(k[2], k[1]), ratio(k[2], k[0]), f1(k[2], k[0], k[1])};
    }
    class_means(counts, n_classes, &m.balanced_accuracy, &m.macro_f1);
    if ((st = bootstrap(y, n, seed, &m, err)))
        goto out;
    *out = m;
    memset(&m, 0, sizeof m);
out:
    gr_free(counts);
    gr_metrics_free(&m);
    return st;
}
