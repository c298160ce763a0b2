/* What does a wrong answer cost, and which way is better? */
#include "train/loss.h"
#include <math.h>
#include <string.h>

enum graft_status gr_loss_check(const struct gr_loss *o, size_t n_classes, struct graft_error *err)
{
    if (n_classes < 1 || !(o->smoothing >= 0 && o->smoothing < 1) ||
        !(o->focal >= 0 && o->focal <= 100))
        return gr_error(err, GRAFT_E_ARG, "loss: %zu classes, smoothing %g (0..1), focal %g (0..)",
                        n_classes, o->smoothing, o->focal);
    for (size_t c = 0; o->class_weights && c < n_classes; c++) {
        if (!(o->class_weights[c] >= 0 && o->class_weights[c] < INFINITY))
            return gr_error(err, GRAFT_E_ARG, "loss: class %zu has weight %g", c,
                            o->class_weights[c]);
    }
    return GRAFT_OK;
}

void gr_loss_targets(size_t n, size_t n_classes, const int *label, float *target)
{
    memset(target, 0, n * n_classes * sizeof *target);
    for (size_t i = 0; i < n; i++)
        target[i * n_classes + (size_t)label[i]] = 1;
}

/* f(p) = (1-p)^g (-log p) and p f'(p), from log p. */
static double focal_cost(double g, double log_p, double p, double *slope)
{
    if (g == 0) {
        *slope = -1;
        return -log_p;
    }
    double miss = -expm1(log_p); /* 1 - p */
    if (miss <= 0) {
        *slope = 0;
        return 0;
    }
    double f = pow(miss, g);
    *slope = g * p * f / miss * log_p - f;
    return -f * log_p;
}

static double row_cost(const struct gr_loss *o, size_t n_classes, const float *z, const float *t,
                       double r, float *dz, double *weight)
{
    double top = z[0], sum = 0, cost = 0, pulled = 0;
    for (size_t c = 1; c < n_classes; c++)
        top = z[c] > top ? z[c] : top;
    for (size_t c = 0; c < n_classes; c++)
        sum += exp(z[c] - top);
    double log_sum = top + log(sum);
    for (int pass = 0; pass < (dz ? 2 : 1); pass++) {
        for (size_t c = 0; c < n_classes; c++) {
            double w = o->class_weights ? o->class_weights[c] : 1;
            double s = (1 - o->smoothing) * t[c] + o->smoothing / (double)n_classes;
            double log_p = z[c] - log_sum, p = exp(log_p), slope = 0, f = 0;
            if (w * s > 0) /* else 0 * inf for a logit of -inf */
                f = focal_cost(o->focal, log_p, p, &slope);
            if (pass == 0) {
                cost += w * s > 0 ? w * s * f : 0;
                pulled += w * s * slope;
                *weight += r * w * t[c];
            } else {
                dz[c] = (float)(r * (w * s * slope - p * pulled));
            }
        }
    }
    return r * cost;
}

void gr_loss_rows(const struct gr_loss *o, size_t n, size_t n_classes, const float *logits,
                  const float *target, const float *row_weight, float *dlogits, double *loss,
                  double *weight)
{
    for (size_t i = 0; i < n; i++) {
        double r = row_weight ? row_weight[i] : 1;
        float *dz = dlogits ? dlogits + i * n_classes : NULL;
        if (r > 0)
            *loss += row_cost(o, n_classes, logits + i * n_classes, target + i * n_classes, r, dz,
                              weight);
        else if (dz)
            memset(dz, 0, n_classes * sizeof *dz);
    }
}
