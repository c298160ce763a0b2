/* Heads: classifiers learned on frozen features, in a form that can be written as a network. */
#ifndef GR_TRAIN_HEAD_H
#define GR_TRAIN_HEAD_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gr_head_kind { GR_HEAD_LINEAR, GR_HEAD_MLP, GR_HEAD_KNN };

/* Takes raw features (n_features); standardisation is folded into the weights.
   LINEAR: logits = w x + b.
   MLP:    logits = w max(0, w1 x + b1) + b.
   KNN:    q = (x - mean) * scale; the k references with the largest ref . q + ref_bias vote. */
struct gr_head {
    enum gr_head_kind kind;
    size_t n_features, n_classes;
    float *w, *b; /* LINEAR: (n_classes, n_features); MLP: (n_classes, n_hidden); (n_classes) */
    size_t n_hidden;
    float *w1, *b1; /* (n_hidden, n_features), (n_hidden) */
    size_t n_refs, k;
    bool cosine;
    float *refs, *ref_bias; /* (n_refs, n_features), (n_refs): 0 for cosine, else -|ref|^2 / 2 */
    float *mean, *scale;    /* (n_features) */
    int *ref_labels;        /* (n_refs) */
};

/* Frees what the head owns and zeroes it; harmless on a zeroed one. */
void gr_head_free(struct gr_head *h);
/* Logits (n, n_classes) of x (n, n_features); for KNN the vote fractions. */
enum graft_status gr_head_scores(const struct gr_head *h, const float *x, size_t n, float *scores,
                                 struct graft_error *err);
/* Probabilities (n, n_classes): softmax of the logits; for KNN the vote fractions. */
enum graft_status gr_head_probs(const struct gr_head *h, const float *x, size_t n, float *probs,
                                struct graft_error *err);
/* Softmax of each row of z (n, n_classes), in place. */
void gr_softmax_rows(float *z, size_t n, size_t n_classes);

/* ---- fitting ---- */
enum gr_head_method { GR_METHOD_LOGISTIC, GR_METHOD_KNN, GR_METHOD_NCM, GR_METHOD_MLP };

struct gr_head_options {
    enum gr_head_method method;
    uint64_t seed; /* folds, initial weights, order of examples */

    /* logistic: mean weighted cross-entropy + lambda/2 |W|^2 on standardised features */
    double lambda; /* 0: chosen by cross-validation */
    double lambda_min, lambda_max;
    int n_lambdas; /* log-spaced from lambda_max to lambda_min, at most GR_CV_MAX */
    int folds;
    double tolerance; /* gradient norm, relative to that of all-zero weights */
    int max_iterations;

    size_t k;     /* knn */
    bool cosine;  /* knn: else euclidean */
    size_t width; /* mlp: hidden units */
    int epochs;   /* mlp: at most */
};

#define GR_CV_MAX         64
#define GR_MAX_FOLDS      30
#define GR_LAMBDA_DEFAULT 1e-2 /* where there are too few examples to choose */

struct gr_cv_point {
    double lambda, loss, accuracy; /* held out: mean weighted log loss, share right */
};

struct gr_head_report {
    double lambda, c; /* logistic: c = 1 / (n lambda), as scikit-learn counts it */
    int folds;        /* 0: not cross-validated */
    int n_curve;      /* strong to weak; ends early once the loss only rises */
    struct gr_cv_point curve[GR_CV_MAX];
    int iterations; /* of the final fit; epochs for an MLP */
    bool converged;
    double loss;          /* final value of what was minimised; 0 where nothing is */
    double gradient_norm; /* logistic: at the end, relative as in `tolerance` */
    double seconds;
    char summary[256]; /* one line: "logistic regression, C=1 (5-fold)" */
};

/* Defaults for the logistic head. */
void gr_head_options_init(struct gr_head_options *o);
/* "logistic", "logistic:LAMBDA", "knn:K", "knn:K:euclidean", "ncm", "mlp:H" over the defaults. */
enum graft_status gr_head_options_parse(const char *text, struct gr_head_options *o,
                                        struct graft_error *err);

/* Learns from x (n,d) and y (n) in 0..n_classes-1. class_weights (n_classes) weighs the examples
   of each class; NULL: all 1; ncm and knn take no notice of it. ev and report may be NULL.
   Classes without examples are never predicted. The same bytes come out for the same input
   whatever the number of threads. */
enum graft_status gr_head_fit(const struct gr_head_options *o, const float *x, const int *y,
                              size_t n, size_t d, size_t n_classes, const double *class_weights,
                              const struct graft_events *ev, struct gr_head *head,
                              struct gr_head_report *report, struct graft_error *err);
/* weights[c] = n / (classes present x examples of c), 0 for an absent class. */
void gr_class_weights_balanced(const int *y, size_t n, size_t n_classes, double *weights);

/* Logit of a class without examples: probability 0, yet finite for every runtime. */
#define GR_ABSENT_LOGIT (-1e30f)

/* ---- for the files that implement a method; arguments were checked by gr_head_fit ---- */
struct gr_head_data {
    const float *x;
    const int *y;
    size_t n, d, n_classes;
    const double *class_weights; /* never NULL */
    const size_t *class_counts;
};
#define GR_HEAD_FIT(name)                                                                          \
    enum graft_status name(const struct gr_head_options *o, const struct gr_head_data *data,       \
                           const struct graft_events *ev, struct gr_head *head,                    \
                           struct gr_head_report *report, struct graft_error *err)
GR_HEAD_FIT(gr_logistic_fit);
GR_HEAD_FIT(gr_knn_fit);
GR_HEAD_FIT(gr_ncm_fit);
GR_HEAD_FIT(gr_mlp_fit);

#endif
