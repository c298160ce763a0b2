/* How little does the fit loop need of a trainer? */
#include "fake_trainer.h"
#include "base/rng.h"
#include <math.h>
#include <string.h>

enum { W = FAKE_D, B = FAKE_D + FAKE_C * FAKE_D };

static const struct gr_trainer_param tensors[3] = {
    {0, "scale", {1, {FAKE_D}}, 0, FAKE_D},
    {1, "head.weight", {2, {FAKE_C, FAKE_D}}, W, FAKE_C *FAKE_D},
    {2, "head.bias", {1, {FAKE_C}}, B, FAKE_C}};

void fake_trainer_init(struct gr_trainer *t, int64_t batch)
{
    memset(t, 0, sizeof *t);
    t->batch = batch;
    t->bad_backward = -1;
    for (int i = 0; i < FAKE_N; i++)
        t->params[i] = i < W ? 1 : (float)(0.1 * gr_rng_normal(5, 0, (uint64_t)i));
}

size_t gr_trainer_n_params(const struct gr_trainer *t)
{
    (void)t;
    return 3;
}

const struct gr_trainer_param *gr_trainer_get_param(const struct gr_trainer *t, size_t i)
{
    (void)t;
    return &tensors[i];
}

size_t gr_trainer_size(const struct gr_trainer *t)
{
    (void)t;
    return FAKE_N;
}

float *gr_trainer_params(struct gr_trainer *t)
{
    return t->params;
}

float *gr_trainer_stats(struct gr_trainer *t, size_t *size)
{
    *size = FAKE_D;
    return t->mean;
}

enum graft_status gr_trainer_forward(struct gr_trainer *t, const void *const *inputs, bool training,
                                     uint64_t step, float *logits, struct graft_error *err)
{
    (void)step;
    (void)err;
    const float *x = inputs[0];
    for (int64_t i = 0; i < t->batch; i++) {
        for (int c = 0; c < FAKE_C; c++) {
            float z = t->params[B + c];
            for (int d = 0; d < FAKE_D; d++)
                z +=
                    t->params[W + c * FAKE_D + d] * t->params[d] * (x[i * FAKE_D + d] - t->mean[d]);
            logits[i * FAKE_C + c] = z;
        }
    }
    if (training)
        memcpy(t->x, x, (size_t)t->batch * FAKE_D * sizeof *x);
    return GRAFT_OK;
}

enum graft_status gr_trainer_backward(struct gr_trainer *t, const float *dlogits, float *grads,
                                      struct graft_error *err)
{
    (void)err;
    memset(grads, 0, FAKE_N * sizeof *grads);
    for (int64_t i = 0; i < t->batch; i++) {
        for (int c = 0; c < FAKE_C; c++) {
            float dz = dlogits[i * FAKE_C + c];
            grads[B + c] += dz;
            for (int d = 0; d < FAKE_D; d++) {
                float x = t->x[i * FAKE_D + d] - t->mean[d];
                grads[W + c * FAKE_D + d] += dz * t->params[d] * x;
                grads[d] += dz * t->params[W + c * FAKE_D + d] * x;
            }
        }
    }
    for (int d = 0; d < FAKE_D; d++) /* as batch-norm would */
        t->mean[d] = 0.99f * t->mean[d] + 0.01f * t->x[d];
    if (t->n_backward++ == t->bad_backward)
        grads[2] = NAN;
    return GRAFT_OK;
}
