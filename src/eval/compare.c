/* Could the difference between two classifiers be chance? */
#include "eval/compare.h"
#include <math.h>
#include <stdio.h>

double gr_mcnemar_p(size_t only_a, size_t only_b)
{
    size_t n = only_a + only_b, k = only_a < only_b ? only_a : only_b;
    double sum = 0, log_all = (double)n * log(2);
    for (size_t i = 0; i <= k; i++)
        sum += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) -
                   log_all);
    return 2 * sum < 1 ? 2 * sum : 1;
}

struct gr_paired gr_compare(const int *y, const int *predicted_a, const int *predicted_b, size_t n)
{
    struct gr_paired t = {0};
    for (size_t i = 0; i < n; i++) {
        t.only_a += predicted_a[i] == y[i] && predicted_b[i] != y[i];
        t.only_b += predicted_b[i] == y[i] && predicted_a[i] != y[i];
    }
    t.p = gr_mcnemar_p(t.only_a, t.only_b);
    return t;
}

void gr_p_text(double p, char *text, size_t size)
{
    if (p < 0.001)
        snprintf(text, size, "p < 0.001");
    else if (p < 0.01)
        snprintf(text, size, "p = %.3f", p);
    else
        snprintf(text, size, "p = %.2f", p);
}

enum gr_verdict gr_verdict(const struct gr_paired *t, const char *subject, char *text, size_t size)
{
    char p[32];
    gr_p_text(t->p, p, sizeof p);
    if (t->p >= GR_VERDICT_ALPHA) {
        snprintf(text, size, "no evidence that %s helps (%s)", subject, p);
        return GR_NO_DIFFERENCE;
    }
    enum gr_verdict v = t->only_b > t->only_a ? GR_HELPS : GR_HURTS;
    snprintf(text, size, "%s %s (%s)", subject, v == GR_HELPS ? "helps" : "hurts", p);
    return v;
}
