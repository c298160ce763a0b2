/* Is one classifier really better than another? */
#ifndef GR_EVAL_COMPARE_H
#define GR_EVAL_COMPARE_H

#include <stddef.h>

/* Exact McNemar test (McNemar 1947): examples that only one of two classifiers gets right are a
   fair coin where they are equally good. Two-sided. */
double gr_mcnemar_p(size_t only_a, size_t only_b);

struct gr_paired {
    size_t only_a, only_b; /* right by a alone, by b alone */
    double p;
};
struct gr_paired gr_compare(const int *y, const int *predicted_a, const int *predicted_b, size_t n);

enum gr_verdict { GR_NO_DIFFERENCE, GR_HELPS, GR_HURTS };
#define GR_VERDICT_ALPHA 0.05

/* What the test of b against the baseline a says about `subject` ("transfer"): "transfer helps
   (p < 0.001)", "no evidence that transfer helps (p = 0.21)", "transfer hurts (p = 0.03)". */
enum gr_verdict gr_verdict(const struct gr_paired *t, const char *subject, char *text, size_t size);
/* "p < 0.001", "p = 0.21" */
void gr_p_text(double p, char *text, size_t size);

#endif
