/* Cross-entropy of softmax(logits) against rows of target probabilities (one 1 for a plain label,
   several parts after Mixup), with the usual variations. */
#ifndef GR_TRAIN_LOSS_H
#define GR_TRAIN_LOSS_H

#include "base/error.h"
#include <stddef.h>

/* Row i costs r_i sum_c w_c s_ic (1 - p_ic)^focal (-log p_ic), where s = (1 - smoothing) target
   + smoothing / C; the mean divides by sum_i r_i sum_c w_c target_ic. For labels this is PyTorch's
   CrossEntropyLoss(weight, label_smoothing). */
struct gr_loss {
    double smoothing;            /* 0 .. 1 */
    double focal;                /* gamma >= 0 */
    const double *class_weights; /* w, borrowed; NULL: 1 */
};
enum graft_status gr_loss_check(const struct gr_loss *o, size_t n_classes, struct graft_error *err);

/* target[i] = 1 at label[i]. */
void gr_loss_targets(size_t n, size_t n_classes, const int *label, float *target);

/* Adds to *loss and *weight, numerator and denominator of the mean. dlogits (may be NULL): the
   gradient of the numerator; rows of weight 0 get zeros. `row_weight` NULL: 1. */
void gr_loss_rows(const struct gr_loss *o, size_t n, size_t n_classes, const float *logits,
                  const float *target, const float *row_weight, float *dlogits, double *loss,
                  double *weight);

#endif
