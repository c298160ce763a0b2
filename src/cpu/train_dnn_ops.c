/* How are functions of one value, windows and softmax trained fast? */
#include "base/mem.h"
#include "cpu/dnn_train.h"
#include "cpu/kernels.h"
#include "cpu/train_util.h"
#include <math.h>

/* A primitive each way. */
struct pair {
    struct dnn_prim *forward, *backward;
    bool by_y; /* backward reads y, not x */
};

static void pair_unplan(void *state)
{
    struct pair *t = state;
    if (!t)
        return;
    dnn_prim_free(t->forward);
    dnn_prim_free(t->backward);
    gr_free(t);
}

static enum graft_status refuse(struct graft_error *err, const char *why)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "%s", why);
}

static enum graft_status pair_new(struct gr_train_choice *k, struct graft_error *err)
{
    struct pair *t = gr_alloc_zero(1, sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    k->c.state = t;
    return GRAFT_OK;
}

/* The answer, or nothing left behind. */
static enum graft_status pair_done(struct gr_train_choice *k, enum graft_status s)
{
    struct pair *t = k->c.state;
    if (s) {
        pair_unplan(t);
        return s;
    }
    size_t a = dnn_prim_get_scratch_size(t->forward), b = dnn_prim_get_scratch_size(t->backward);
    k->c.impl = dnn_prim_get_impl(t->forward);
    k->c.scratch_size = a > b ? a : b;
    return GRAFT_OK;
}

static enum graft_status pair_forward(void *state, const struct gr_train_pass *p,
                                      struct graft_error *err)
{
    struct pair *t = state;
    return dnn_prim_run(t->forward, (const void *[]){p->in[0], p->out[0], p->saved}, p->scratch,
                        err);
}

/* ---- functions ------------------------------------------------------------------------------ */

/* A bound of Clip: an attribute before operator set 11, then a constant input. */
static bool clip_bound(const struct gr_case *c, int input, const char *name, float def, float *v)
{
    *v = gr_node_get_float(c->node, name, def);
    if (input >= c->n_in || !c->in[input].dtype)
        return true;
    if (!c->konst[input] || gr_tensor_count(c->konst[input]) != 1)
        return false;
    *v = (float)gr_load_f64(c->konst[input]->dtype, c->konst[input]->data, 0);
    return true;
}

static bool read_act(const struct gr_case *c, struct gr_act *a)
{
    const struct gr_node *n = c->node;
    static const struct {
        const char *op;
        enum gr_act_kind kind;
    } plain[] = {{"Sigmoid", GR_ACT_SIGMOID},
                 {"Tanh", GR_ACT_TANH},
                 {"HardSwish", GR_ACT_HARD_SWISH},
                 {"Softplus", GR_ACT_SOFTPLUS},
                 {"Exp", GR_ACT_EXP},
                 {"Sqrt", GR_ACT_SQRT},
                 {"Abs", GR_ACT_ABS}};
    *a = (struct gr_act){0};
    if (gr_node_is(n, "Clip")) {
        a->kind = GR_ACT_CLIP;
        return clip_bound(c, 1, "min", -INFINITY, &a->a) &&
               clip_bound(c, 2, "max", INFINITY, &a->b);
    }
    if (gr_node_is(n, "Relu")) {
        *a = (struct gr_act){GR_ACT_CLIP, 0, INFINITY};
        return true;
    }
    if (gr_node_is(n, "LeakyRelu")) {
        *a = (struct gr_act){GR_ACT_LEAKY, gr_node_get_float(n, "alpha", 0.01f), 0};
        return true;
    }
    if (gr_node_is(n, "Elu")) {
        *a = (struct gr_act){GR_ACT_ELU, gr_node_get_float(n, "alpha", 1), 0};
        return true;
    }
    if (gr_node_is(n, "Gelu")) {
        const struct gr_attr *how = gr_node_find_attr(n, "approximate");
        a->kind = how && !strcmp(how->s, "tanh") ? GR_ACT_GELU_TANH : GR_ACT_GELU;
        return true;
    }
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (gr_node_is(n, plain[i].op)) {
            a->kind = plain[i].kind;
            return true;
        }
    return false;
}

static enum graft_status act_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                  struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    struct gr_layout l = c->layout[0];
    struct gr_act act;
    struct pair *t;
    if (!read_act(c, &act) || c->in[0].dtype != GR_F32 || !gr_shape_count(&c->in[0].shape))
        return refuse(err, "not a function of fp32 numbers");
    enum graft_status s = pair_new(k, err);
    if (s)
        return s;
    t = k->c.state;
    struct dnn_operand x = dnn_operand_of(&c->in[0].shape, l);
    s = dnn_eltwise_train_new(&act, &x, &t->forward, &t->backward, &t->by_y, err);
    k->c.in[0] = k->c.out[0] = l;
    k->keep_in[0] = !t->by_y;
    k->keep_out[0] = t->by_y;
    return pair_done(k, s);
}

static enum graft_status act_backward(void *state, const struct gr_train_pass *p,
                                      struct graft_error *err)
{
    struct pair *t = state;
    const void *by = t->by_y ? p->out[0] : p->in[0];
    return dnn_prim_run(t->backward, (const void *[]){by, p->din[0], p->dout[0]}, p->scratch, err);
}

static const char *const act_ops[] = {"Relu", "LeakyRelu", "Clip",     "Sigmoid", "Tanh",
                                      "Elu",  "HardSwish", "Softplus", "Exp",     "Sqrt",
                                      "Abs",  "Gelu",      NULL};
const struct gr_train_kernel gr_train_act = {"act",        act_ops,      act_plan,
                                             pair_forward, act_backward, pair_unplan};

/* ---- windows -------------------------------------------------------------------------------- */

static enum graft_status pool_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                   struct graft_error *err)
{
    struct dnn_pool p;
    enum graft_status s = gr_pool_read(&tc->c, &p, err);
    if (!s)
        s = pair_new(k, err);
    if (s)
        return s;
    struct pair *t = k->c.state;
    s = dnn_pool_train_new(&p, &t->forward, &t->backward, &k->saved_size, err);
    k->c.in[0] = k->c.out[0] = p.layout;
    k->keep_in[0] = k->keep_out[0] = false;
    return pair_done(k, s);
}

static enum graft_status pool_backward(void *state, const struct gr_train_pass *p,
                                       struct graft_error *err)
{
    struct pair *t = state;
    return dnn_prim_run(t->backward, (const void *[]){p->din[0], p->dout[0], p->saved}, p->scratch,
                        err);
}

static const char *const pool_ops[] = {"MaxPool", "AveragePool", "GlobalMaxPool", NULL};
const struct gr_train_kernel gr_train_pool = {"pool",       pool_ops,      pool_plan,
                                              pair_forward, pool_backward, pair_unplan};

/* ---- softmax -------------------------------------------------------------------------------- */

static enum graft_status softmax_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                      struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    const struct gr_shape *x = &c->in[0].shape;
    int64_t axis = gr_node_get_int(c->node, "axis", c->node->opset < 13 ? 1 : -1);
    if (c->in[0].dtype != GR_F32 || x->rank < 1 || gr_axis(axis, x->rank) != x->rank - 1 ||
        !gr_shape_count(x))
        return refuse(err, "only the last axis of fp32 numbers");
    int64_t last = x->dim[x->rank - 1], rows = gr_shape_count(x) / last;
    struct dnn_operand o = {2, {rows, last}, {last, 1}, GR_F32};
    enum graft_status s = pair_new(k, err);
    if (s)
        return s;
    struct pair *t = k->c.state;
    s = dnn_softmax_train_new(&o, &t->forward, &t->backward, err);
    k->c.in[0] = k->c.out[0] = (struct gr_layout){GR_F32, false};
    t->by_y = true;
    k->keep_in[0] = false;
    return pair_done(k, s);
}

static const char *const softmax_ops[] = {"Softmax", NULL};
const struct gr_train_kernel gr_train_softmax = {"softmax",    softmax_ops,  softmax_plan,
                                                 pair_forward, act_backward, pair_unplan};
