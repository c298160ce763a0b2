/* How is any operator trained by its double reference, and how do inference kernels take part? */
#include "base/mem.h"
#include "core/op.h"
#include "exec/trainer_steps.h"
#include "ops/op_params.h"

struct reference {
    struct gr_node node;
    bool batch; /* batch-norm by the statistics of the batch */
    double momentum;
    struct gr_type types[]; /* inputs, outputs */
};

static size_t padded(size_t size)
{
    return (size + 63) / 64 * 64;
}

static int64_t count_of(const struct gr_type *t)
{
    return t->dtype ? gr_shape_count(&t->shape) : 0;
}

static enum graft_status reference_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                        struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    size_t n = (size_t)(c->n_in + c->n_out);
    struct reference *r = gr_alloc_zero(1, sizeof *r + n * sizeof *r->types);
    if (!r)
        return gr_error_nomem(err);
    r->node = *c->node;
    r->batch = tc->batch_stats;
    r->momentum = tc->momentum;
    k->c.scratch_size = padded(2 * n * sizeof(struct gr_ref));
    for (size_t i = 0; i < n; i++) {
        int out = (int)i - c->n_in;
        const struct gr_type *t = out < 0 ? &c->in[i] : &c->out[out];
        size_t size;
        r->types[i] = *t;
        *(out < 0 ? &k->c.in[i] : &k->c.out[out]) = (struct gr_layout){t->dtype, false};
        if (!gr_mul_size((size_t)count_of(t), 16, &size) ||
            !gr_add_size(k->c.scratch_size, padded(size) + 64, &k->c.scratch_size)) {
            gr_free(r);
            return gr_error(err, GRAFT_E_LIMIT, "too large for the reference");
        }
    }
    if (r->batch) { /* mean and variance of the batch */
        k->saved_size = 2 * sizeof(double) * (size_t)c->in[0].shape.dim[1];
        k->c.scratch_size += k->saved_size;
    }
    k->c.state = r;
    k->c.impl = "reference";
    return GRAFT_OK;
}

/* A tensor in the scratch block, filled from `from` or with zeros. */
static struct gr_ref make_ref(const struct gr_type *t, const void *from, char **at)
{
    struct gr_ref r = {t->dtype, t->shape, (double *)*at};
    int64_t n = count_of(t);
    *at += padded((size_t)n * 8);
    for (int64_t i = 0; i < n; i++)
        r.v[i] = from ? gr_load_f64(t->dtype, from, (size_t)i) : 0;
    return r;
}

static struct gr_ref *load(const struct reference *r, const struct gr_train_pass *p, char **at)
{
    int n_in = r->node.n_in, n_out = r->node.n_out;
    struct gr_ref *ref = p->scratch;
    *at = (char *)p->scratch + padded(2 * (size_t)(n_in + n_out) * sizeof *ref);
    for (int i = 0; i < n_in + n_out; i++) {
        const void *from = i < n_in ? p->in[i] : p->dout ? p->out[i - n_in] : NULL;
        ref[i] = (struct gr_ref){r->types[i].dtype, r->types[i].shape, NULL};
        if (r->types[i].dtype)
            ref[i] = make_ref(&r->types[i], from, at);
    }
    return ref;
}

static void store(const struct gr_ref *r, void *to)
{
    int64_t n = r->v && to ? gr_shape_count(&r->shape) : 0;
    for (int64_t i = 0; i < n; i++)
        gr_store_f64(r->dtype, to, (size_t)i, r->v[i]);
}

static enum graft_status reference_forward(void *state, const struct gr_train_pass *p,
                                           struct graft_error *err)
{
    const struct reference *r = state;
    char *at;
    struct gr_ref *x = load(r, p, &at), *y = x + r->node.n_in;
    enum graft_status s;
    if (r->batch && p->training) {
        double *mean = p->saved;
        struct gr_bn_train b = {&x->shape,
                                GR_PARAMS(&r->node, struct gr_bn_params)->epsilon,
                                r->momentum,
                                x[0].v,
                                x[1].v,
                                x[2].v,
                                y->v,
                                mean,
                                mean + x->shape.dim[1],
                                x[3].v,
                                x[4].v};
        s = gr_bn_train_ref(&b, err);
        for (int i = 3; !s && !p->again && i < 5; i++) /* the trainer's own running statistics */
            store(&x[i], (void *)(uintptr_t)p->in[i]);
    } else {
        s = r->node.op->ref(&r->node, r->node.n_in, x, r->node.n_out, y, err);
    }
    for (int i = 0; !s && i < r->node.n_out; i++)
        store(&y[i], p->out[i]);
    return s;
}

static enum graft_status reference_backward(void *state, const struct gr_train_pass *p,
                                            struct graft_error *err)
{
    const struct reference *r = state;
    int n_in = r->node.n_in, n_out = r->node.n_out;
    char *at;
    struct gr_ref *x = load(r, p, &at), *y = x + n_in, *dx = y + n_out, *dy = dx + n_in;
    enum graft_status s;
    for (int i = 0; i < n_in + n_out; i++) {
        const void *from = i < n_in ? p->din[i] : p->dout[i - n_in];
        dx[i] = (struct gr_ref){r->types[i].dtype, r->types[i].shape, NULL};
        if (r->types[i].dtype && from)
            dx[i] = make_ref(&r->types[i], i < n_in ? NULL : from, &at);
    }
    if (r->batch) {
        double *mean = p->saved;
        struct gr_bn_train b = {.shape = &x->shape,
                                .epsilon = GR_PARAMS(&r->node, struct gr_bn_params)->epsilon,
                                .x = x[0].v,
                                .scale = x[1].v,
                                .bias = x[2].v,
                                .mean = mean,
                                .var = mean + x->shape.dim[1]};
        s = gr_bn_train_ref_grad(&b, dy->v, dx[0].v, dx[1].v, dx[2].v, err);
    } else {
        s = r->node.op->ref_grad(&r->node, n_in, x, n_out, y, dy, dx, err);
    }
    for (int i = 0; !s && i < n_in; i++)
        store(&dx[i], p->din[i]);
    return s;
}

const struct gr_train_kernel train_reference = {
    "reference", NULL, reference_plan, reference_forward, reference_backward, gr_free};

/* ---- inference kernels ---------------------------------------------------------------------- */

struct wrap {
    const struct gr_kernel *kernel;
    void *state[2], *bound[2];
};

static void wrap_unplan(void *state)
{
    struct wrap *w = state;
    for (int i = 0; w && i < 2; i++) {
        if (w->bound[i])
            w->kernel->unbind(w->bound[i]);
        if (w->state[i])
            w->kernel->unplan(w->state[i]);
    }
    gr_free(w);
}

enum graft_status train_wrap_new(const struct gr_kernel *kernel, void *forward, void *backward,
                                 void **state, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct wrap *w = gr_alloc_zero(1, sizeof *w);
    if (!w) {
        kernel->unplan(forward);
        if (backward)
            kernel->unplan(backward);
        return gr_error_nomem(err);
    }
    *w = (struct wrap){kernel, {forward, backward}, {NULL, NULL}};
    for (int i = 0; !s && i < 2; i++)
        if (w->state[i] && kernel->bind)
            s = kernel->bind(w->state[i], &w->bound[i], err);
    if (s)
        wrap_unplan(w);
    else
        *state = w;
    return s;
}

static enum graft_status wrap_forward(void *state, const struct gr_train_pass *p,
                                      struct graft_error *err)
{
    struct wrap *w = state;
    return w->kernel->forward(w->state[0], w->bound[0], p->in, p->out, p->scratch, err);
}

static enum graft_status wrap_backward(void *state, const struct gr_train_pass *p,
                                       struct graft_error *err)
{
    struct wrap *w = state;
    return w->kernel->forward(w->state[1], w->bound[1], p->dout, p->din, p->scratch, err);
}

const struct gr_train_kernel train_wrap = {"wrap",       NULL,          NULL,
                                           wrap_forward, wrap_backward, wrap_unplan};

enum graft_status train_plan_reorder(const struct gr_type *t, struct gr_layout from,
                                     struct gr_layout to, void **state, size_t *scratch,
                                     const char **impl, struct graft_error *err)
{
    const struct gr_tensor *none = NULL;
    struct gr_layout in = from, out = to;
    struct gr_case c = {.n_in = 1, .n_out = 1, .in = t, .out = t, .konst = &none, .layout = &from};
    struct gr_choice k = {.in = &in, .out = &out, .impl = "", .place = -1};
    enum graft_status s = gr_kernel_reorder.plan(&c, &k, err);
    if (s)
        return s;
    *state = k.state;
    *impl = k.impl;
    *scratch = k.scratch_size > *scratch ? k.scratch_size : *scratch;
    return GRAFT_OK;
}
