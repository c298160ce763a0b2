/* What could be had without any pre-trained network? */
#ifndef GR_EVAL_BASELINE_H
#define GR_EVAL_BASELINE_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

#define GR_THUMB 256 /* bytes of a thumbnail: 16 x 16 grey pixels */

/* probs (n_test, n_classes): for every example the share of each class in y (n). */
void gr_baseline_majority(const int *y, size_t n, size_t n_classes, size_t n_test, float *probs);

/* k-NN on thumbnails, each brought to mean 0 and norm 1; euclidean, votes as probabilities. k is
   the best of 1, 3, 5 by leave-one-out on train, with at most 4000 evenly spaced queries; *k may
   be NULL. */
enum graft_status gr_baseline_pixels(const uint8_t *train, const int *y, size_t n,
                                     const uint8_t *test, size_t n_test, size_t n_classes,
                                     float *probs, size_t *k, struct graft_error *err);

#endif
