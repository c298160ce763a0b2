/* How good are these probabilities? */
#ifndef GR_EVAL_METRICS_H
#define GR_EVAL_METRICS_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct gr_interval {
    double lo, hi;
};

/* A ratio without cases (no example predicted or none true) is 0, as in scikit-learn with
   zero_division=0. */
struct gr_class_metrics {
    size_t support, predicted, right;
    double precision, recall, f1;
};

/* The predicted class is the first with the largest probability. */
struct gr_metrics {
    size_t n, n_classes, right;
    double accuracy;
    double top5;              /* NaN where there are at most 5 classes */
    double balanced_accuracy; /* mean recall of the classes that occur in y, as scikit-learn */
    double macro_f1;          /* mean F1 of the classes that occur in y or are predicted, ditto */
    double log_loss;          /* mean -ln p(true), p clipped to [2^-52, 1 - 2^-52], ditto */
    double ece; /* expected calibration error, 15 equal bins of the largest probability (Guo et
                   al. 2017, "On Calibration of Modern Neural Networks") */
    struct gr_interval accuracy_ci;        /* 95 %, Wilson 1927 */
    struct gr_interval balanced_ci, f1_ci; /* 95 %, percentile bootstrap (Efron 1979) */
    struct gr_class_metrics *classes;      /* (n_classes) */
    size_t *confusion;                     /* (n_classes true, n_classes predicted) */
    int *predicted;                        /* (n) */
};

#define GR_BOOTSTRAP 2000

/* From probs (n, n_classes) and the true y (n). A probability that is not finite is an error. */
enum graft_status gr_metrics_compute(const float *probs, const int *y, size_t n, size_t n_classes,
                                     uint64_t seed, struct gr_metrics *m, struct graft_error *err);
void gr_metrics_free(struct gr_metrics *m);

/* 95 % interval of a proportion. */
struct gr_interval gr_wilson(size_t right, size_t n);

#endif
