/* Softmax and cross-entropy of one row, in float. */
#ifndef GR_TRAIN_PROBS_H
#define GR_TRAIN_PROBS_H

#include "train/gemm.h"

/* Replaces the ld scores z by weight * softmax(z + bias) and returns the cross-entropy without the
   weight. ld is a multiple of GR_GEMM_PAD; what is no class has the bias -INFINITY. *top, where
   wanted, is the first of the largest. Errors are a few units in the last place of a float. */
double gr_probs_row(enum gr_gemm_isa isa, size_t ld, float *z, const float *bias, int label,
                    double weight, size_t *top);

#endif
