/* How is the error function trained fast? */
#include "base/mem.h"
#include "cpu/train_util.h"
#include "cpu/vec.h"

struct erf {
    int64_t n;
    enum gr_dtype dtype;
};

static enum graft_status erf_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                  struct graft_error *err)
{
    const struct gr_layout l = tc->c.layout[0];
    if (tc->c.in[0].dtype != GR_F32 || (l.dtype != GR_F32 && l.dtype != GR_BF16))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "only fp32 numbers");
    struct erf *t = gr_alloc(sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    *t = (struct erf){gr_shape_count(&tc->c.in[0].shape), l.dtype};
    k->c.in[0] = k->c.out[0] = l;
    k->keep_out[0] = false;
    k->c.state = t;
    k->c.impl = "erf";
    return GRAFT_OK;
}

static enum graft_status erf_forward(void *state, const struct gr_train_pass *p,
                                     struct graft_error *err)
{
    const struct erf *t = state;
    (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->n; i += VEC_ROW) {
        const int n = (int)(t->n - i < VEC_ROW ? t->n - i : VEC_ROW);
        float x[VEC_ROW];
        vec_load(t->dtype, x, p->in[0], i, 1, n);
        vec_act(&(struct gr_act){GR_ACT_ERF, 0, 0}, x, n);
        vec_store(t->dtype, p->out[0], i, x, n);
    }
    return GRAFT_OK;
}

/* dx = dy 2 / sqrt(pi) exp(-x x) */
static enum graft_status erf_backward(void *state, const struct gr_train_pass *p,
                                      struct graft_error *err)
{
    const struct erf *t = state;
    (void)err;
    if (!p->din[0])
        return GRAFT_OK;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->n; i += VEC_ROW) {
        const int n = (int)(t->n - i < VEC_ROW ? t->n - i : VEC_ROW);
        float x[VEC_ROW], d[VEC_ROW];
        vec_load(t->dtype, x, p->in[0], i, 1, n);
        vec_load(t->dtype, d, p->dout[0], i, 1, n);
        for (int j = 0; j < n; j++) {
            x[j] *= -x[j];
            d[j] *= 1.12837917f;
        }
        vec_act(&(struct gr_act){GR_ACT_EXP, 0, 0}, x, n);
        vec_binary(VEC_MUL, d, x, n);
        vec_store(t->dtype, p->din[0], i, d, n);
    }
    return GRAFT_OK;
}

static const char *const ops[] = {"Erf", NULL};
const struct gr_train_kernel gr_train_erf = {"erf",       ops,          erf_plan,
                                             erf_forward, erf_backward, gr_free};
