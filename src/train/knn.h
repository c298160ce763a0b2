/* Nearest references by inner product. */
#ifndef GR_TRAIN_KNN_H
#define GR_TRAIN_KNN_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

/* For each query i in q (n_q, d), the k references with the largest refs[j] . q + bias[j], best
   first, the earlier of equals first, in found (n_q, k). Rows of q and refs start ldq and ldr
   apart. self, if not NULL, names a reference that query i must not find; k must be at most the
   number of references left. */
enum graft_status gr_knn_search(const float *q, size_t n_q, size_t ldq, const float *refs,
                                const float *bias, size_t n_refs, size_t ldr, size_t d, size_t k,
                                const int64_t *self, int64_t *found, struct graft_error *err);
/* probs (n, n_classes) = share of the first k of the k_found references that each class has. */
void gr_knn_vote(const int64_t *found, size_t n, size_t k_found, size_t k, const int *labels,
                 size_t n_classes, float *probs);

#endif
