/* A trainer small enough to be read at a glance, in the place of the real one (same functions, so
   the library's is not linked): logits = W (s * (x - m)) + b, where m is a running mean. */
#ifndef TESTS_FAKE_TRAINER_H
#define TESTS_FAKE_TRAINER_H

#include "exec/trainer.h"

enum { FAKE_D = 6, FAKE_C = 3, FAKE_N = FAKE_D + FAKE_C * FAKE_D + FAKE_C };

struct gr_trainer {
    int64_t batch;
    float params[FAKE_N]; /* "scale" (D), "head.weight" (C,D), "head.bias" (C) */
    float mean[FAKE_D];
    float x[64 * FAKE_D];             /* the last forward's */
    int64_t n_backward, bad_backward; /* the gradient of "scale" is NaN in that backward */
};

void fake_trainer_init(struct gr_trainer *t, int64_t batch);

#endif
