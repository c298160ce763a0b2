/* Mixup and CutMix: each example of a batch and its partner from the other end of it share pixels
   and labels (order is shuffled, so any pairing is random). */
#ifndef GR_TRAIN_MIX_H
#define GR_TRAIN_MIX_H

#include "core/shape.h"

struct gr_mix {
    double mixup, cutmix; /* alpha of Beta(alpha, alpha); 0: not used; both: one or the other */
};
/* ARG for a negative alpha; CutMix needs a single input (N,C,H,W). */
enum graft_status gr_mix_check(const struct gr_mix *m, size_t n_inputs,
                               const struct gr_shape *input_shapes, struct graft_error *err);
/* Mixes the first n rows of inputs and targets; a pure function of (seed, step). */
void gr_mix_rows(const struct gr_mix *m, uint64_t seed, uint64_t step, size_t n, size_t n_inputs,
                 float *const *inputs, const struct gr_shape *input_shapes, size_t n_classes,
                 float *target);
/* Beta(alpha, alpha), drawn from the counters of (seed, stream). */
double gr_mix_beta(double alpha, uint64_t seed, uint64_t stream);

#endif
