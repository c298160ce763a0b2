/* How are elements dropped in training? */
#include "base/mem.h"
#include "base/rng.h"
#include "cpu/train_util.h"

/* Element i stays where the number of (seed, step, i) says so, both ways the same: no mask is
   kept. */
struct dropout {
    int64_t count;
    double ratio;
    uint64_t seed;
};

static enum graft_status dropout_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                      struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    double ratio = gr_node_get_float(c->node, "ratio", 0.5f);
    if (c->n_in > 1 && c->in[1].dtype) {
        if (!c->konst[1] || gr_tensor_count(c->konst[1]) != 1)
            return gr_error(err, GRAFT_E_UNSUPPORTED, "the ratio is not constant");
        ratio = gr_load_f64(c->konst[1]->dtype, c->konst[1]->data, 0);
    }
    if (!(ratio >= 0 && ratio < 1))
        return gr_error(err, GRAFT_E_ARG, "ratio is %g, expected 0 to below 1", ratio);
    struct dropout *t = gr_alloc(sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    *t = (struct dropout){gr_shape_count(&c->in[0].shape), ratio, tc->seed};
    k->c.in[0] = k->c.out[0] = (struct gr_layout){GR_F32, false};
    k->keep_in[0] = k->keep_out[0] = false;
    k->c.state = t;
    k->c.impl = "dropout";
    return GRAFT_OK;
}

static void drop(const struct dropout *t, uint64_t step, const float *x, float *y)
{
    float scale = (float)(1 / (1 - t->ratio));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->count; i++)
        y[i] = gr_rng_uniform(t->seed, step, (uint64_t)i) < t->ratio ? 0 : x[i] * scale;
}

static enum graft_status dropout_forward(void *state, const struct gr_train_pass *p,
                                         struct graft_error *err)
{
    const struct dropout *t = state;
    (void)err;
    if (p->training && t->ratio > 0)
        drop(t, p->step, p->in[0], p->out[0]);
    else
        memcpy(p->out[0], p->in[0], (size_t)t->count * sizeof(float));
    return GRAFT_OK;
}

static enum graft_status dropout_backward(void *state, const struct gr_train_pass *p,
                                          struct graft_error *err)
{
    const struct dropout *t = state;
    (void)err;
    drop(t, p->step, p->dout[0], p->din[0]);
    return GRAFT_OK;
}

static const char *const ops[] = {"Dropout", NULL};
const struct gr_train_kernel gr_train_dropout = {
    "dropout", ops, dropout_plan, dropout_forward, dropout_backward, gr_free};
