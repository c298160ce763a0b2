/* How does the trained part of a network become steps forward and backward? */
#include "base/bytes.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/op.h"
#include "exec/program.h"
#include "exec/trainer_steps.h"
#include <limits.h>

/* What one step computes: a node, or a batch-norm with the sum and activation that follow. */
struct item {
    const struct gr_node *node;
    int node_id;
    int residual; /* value, or -1 */
    int out;      /* of the last of the fused */
    struct gr_act act;
    bool has_act, skip;
};

struct planner {
    struct gr_trainer *t;
    const struct gr_graph *g;
    int output;
    unsigned char *needed; /* per node */
    bool *live;            /* per value: depends on a trained parameter */
    bool *reached;         /* per value: the output depends on it through floats */
    int *n_uses;           /* per value, by needed nodes and as the output */
    struct item *items;    /* per node */
    int *first_var;        /* per value, or -1 */
    bool *shared;          /* per slot: its gradient is that of several vars, not to be added to */
    size_t cap_shared;
    /* As long as the longest step: */
    struct gr_type *types;
    const struct gr_tensor **konst;
    struct gr_layout *arrive, *want;
    bool *flags;
};

static const struct gr_tensor *konst_of(const struct planner *w, int v)
{
    return v >= 0 && w->t->types.konst[v].buf ? &w->t->types.konst[v] : NULL;
}

static const struct gr_type *type_of(const struct planner *w, int v)
{
    return &w->t->types.type[v];
}

/* ---- slots, vars, steps --------------------------------------------------------------------- */

static enum graft_status size_of(const struct gr_type *t, enum gr_dtype dtype, size_t *size,
                                 struct graft_error *err)
{
    int64_t n = gr_shape_count(&t->shape);
    if (n < 0 || !gr_mul_size((size_t)n, gr_dtype_size(dtype), size))
        return gr_error(err, GRAFT_E_LIMIT, "a value is too large");
    return GRAFT_OK;
}

static enum graft_status add_slot(struct planner *w, int kind, int index, size_t size,
                                  const void *data, int *slot, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    size_t had = t->cap_slots;
    if (!GR_GROW(t->slots, t->n_slots, t->cap_slots))
        return gr_error_nomem(err);
    if (had != t->cap_slots) {
        bool *grown = gr_realloc_array(w->shared, t->cap_slots, sizeof *grown);
        if (!grown)
            return gr_error_nomem(err);
        w->shared = grown;
    }
    w->shared[t->n_slots] = kind == SLOT_INPUT;
    t->slots[t->n_slots] = (struct plan_slot){kind, index, size, INT_MAX, -1, 0, 0, data};
    *slot = (int)t->n_slots++;
    return GRAFT_OK;
}

static void touch(struct planner *w, int slot, int time)
{
    if (slot < 0)
        return;
    struct plan_slot *s = &w->t->slots[slot];
    s->first = time < s->first ? time : s->first;
    s->last = time > s->last ? time : s->last;
}

static enum graft_status add_var(struct planner *w, int value, int slot, struct gr_layout layout,
                                 bool wants, int *var, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    if (!GR_GROW(t->vars, t->n_vars, t->cap_vars))
        return gr_error_nomem(err);
    int *head = &w->first_var[value];
    t->vars[t->n_vars] = (struct train_var){value, slot, layout, wants, -1, -1, -1};
    while (*head >= 0)
        head = &t->vars[*head].next;
    *head = (int)t->n_vars;
    *var = (int)t->n_vars++;
    return GRAFT_OK;
}

/* A step with empty lists; the state is owned from here, also on failure. */
static enum graft_status add_step(struct planner *w, const struct gr_train_kernel *kernel,
                                  void *state, int n_in, int n_out, struct train_step **step,
                                  struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    size_t n = (size_t)(n_in + n_out);
    int *ids = gr_arena_alloc(&t->arena, (2 * n + 1) * sizeof *ids);
    bool *flags = gr_arena_alloc(&t->arena, (2 * n + (size_t)n_in + 1) * sizeof *flags);
    if (!ids || !flags || !GR_GROW(t->steps, t->n_steps, t->cap_steps)) {
        if (kernel)
            kernel->unplan(state);
        return gr_error_nomem(err);
    }
    for (size_t i = 0; i < 2 * n; i++)
        ids[i] = -1;
    memset(flags, 0, (2 * n + (size_t)n_in + 1) * sizeof *flags);
    struct train_step *s = &t->steps[t->n_steps++];
    *s = (struct train_step){.kernel = kernel,
                             .state = state,
                             .n_in = n_in,
                             .n_out = n_out,
                             .in = ids,
                             .out = ids + n_in,
                             .dout = ids + n,
                             .din = ids + n + n_out,
                             .wants = flags,
                             .same = flags + n_in,
                             .keep_in = flags + 2 * n_in,
                             .keep_out = flags + 3 * n_in,
                             .saved = -1,
                             .node = "",
                             .op = "",
                             .impl = ""};
    t->most_args = n_in + n_out > t->most_args ? n_in + n_out : t->most_args;
    *step = s;
    return GRAFT_OK;
}

/* A constant in a wanted layout: the graph's own bytes where they fit. */
static enum graft_status place_const(struct planner *w, int value, struct gr_layout layout,
                                     int *var, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    struct gr_tensor c = {0};
    int slot;
    if (!GR_GROW(t->consts, t->n_consts, t->cap_consts))
        return gr_error_nomem(err);
    enum graft_status s = gr_tensor_convert(konst_of(w, value), layout.dtype, &c, err);
    if (!s && layout.channels_last && !gr_shape_is_orderless(&c.shape)) {
        struct gr_tensor turned = {0};
        const struct gr_shape *x = &c.shape;
        int64_t inner = gr_shape_count_range(x, 2, x->rank), n_c = x->dim[1];
        size_t e = gr_dtype_size(c.dtype);
        s = gr_tensor_new(c.dtype, x, &turned, err);
        for (int64_t i = 0; !s && i < gr_tensor_count(&c); i++) {
            int64_t n = i / (n_c * inner), ch = i / inner % n_c, px = i % inner;
            memcpy((char *)gr_tensor_mut(&turned) + (size_t)((n * inner + px) * n_c + ch) * e,
                   (const char *)c.data + (size_t)i * e, e);
        }
        gr_tensor_clear(&c);
        c = turned;
    }
    if (!s)
        s = add_slot(w, SLOT_CONST, 0, c.size, c.data, &slot, err);
    if (s) {
        gr_tensor_clear(&c);
        return s;
    }
    t->consts[t->n_consts++] = c;
    return add_var(w, value, slot, layout, false, var, err);
}

/* A step that brings a var into another layout, and its gradient back. */
static enum graft_status add_reorder(struct planner *w, int from, struct gr_layout to, int *var,
                                     struct graft_error *err)
{
    struct train_var v = w->t->vars[from];
    const struct gr_type *type = type_of(w, v.value);
    struct train_step *step = NULL;
    void *there = NULL, *back = NULL, *state = NULL;
    size_t size, scratch = 0;
    const char *impl = "";
    int slot;
    enum graft_status s = train_plan_reorder(type, v.layout, to, &there, &scratch, &impl, err);
    if (!s && v.wants)
        s = train_plan_reorder(type, to, v.layout, &back, &scratch, &impl, err);
    if (s) {
        if (there)
            gr_kernel_reorder.unplan(there);
        return s;
    }
    s = train_wrap_new(&gr_kernel_reorder, there, back, &state, err);
    if (!s)
        s = add_step(w, &train_wrap, state, 1, 1, &step, err);
    if (!s)
        s = size_of(type, to.dtype, &size, err);
    if (!s)
        s = add_slot(w, SLOT_WORK, 0, size, NULL, &slot, err);
    if (!s)
        s = add_var(w, v.value, slot, to, v.wants, var, err);
    if (s)
        return s;
    step->in[0] = from;
    step->out[0] = *var;
    step->wants[0] = v.wants;
    step->scratch_size = scratch;
    step->node = w->g->values[v.value].name;
    step->op = "reorder";
    step->impl = impl;
    touch(w, v.slot, (int)w->t->n_steps - 1);
    touch(w, slot, (int)w->t->n_steps - 1);
    return GRAFT_OK;
}

static enum graft_status get_var(struct planner *w, int value, struct gr_layout layout, int *var,
                                 struct graft_error *err)
{
    const struct gr_shape *shape = &type_of(w, value)->shape;
    for (int i = w->first_var[value]; i >= 0; i = w->t->vars[i].next)
        if (gr_layout_equal(w->t->vars[i].layout, layout, shape)) {
            *var = i;
            return GRAFT_OK;
        }
    if (konst_of(w, value))
        return place_const(w, value, layout, var, err);
    return add_reorder(w, w->first_var[value], layout, var, err);
}

/* ---- forward -------------------------------------------------------------------------------- */

static bool is_diff(const struct planner *w, const struct gr_node *n)
{
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] >= 0 && w->live[n->out[i]] && w->reached[n->out[i]])
            return true;
    return false;
}

static bool is_view(const struct planner *w, const struct gr_node *n)
{
    static const char *const views[] = {"Reshape",  "Flatten", "Squeeze", "Unsqueeze",
                                        "Identity", "Cast",    "Dropout"};
    if (n->n_in < 1 || n->in[0] < 0 || n->out[0] < 0 ||
        type_of(w, n->in[0])->dtype != type_of(w, n->out[0])->dtype || konst_of(w, n->in[0]))
        return false;
    if (gr_node_is(n, "Dropout") && (is_diff(w, n) || (n->n_out > 1 && n->out[1] >= 0)))
        return false;
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (gr_node_is(n, views[i]))
            return true;
    return false;
}

static enum graft_status plan_view(struct planner *w, const struct gr_node *n,
                                   struct graft_error *err)
{
    struct train_step *step;
    int in, out;
    struct gr_layout layout = {w->t->vars[w->first_var[n->in[0]]].layout.dtype, false};
    enum graft_status s = get_var(w, n->in[0], layout, &in, err);
    struct train_var v = s ? (struct train_var){0} : w->t->vars[in];
    if (!s)
        s = add_var(w, n->out[0], v.slot, layout, v.wants, &out, err);
    if (!s)
        s = add_step(w, NULL, NULL, 1, 1, &step, err);
    if (s)
        return s;
    step->in[0] = in;
    step->out[0] = out;
    step->wants[0] = v.wants;
    step->op = n->op_type;
    step->node = n->name;
    return GRAFT_OK;
}

static enum graft_status fill_case(struct planner *w, const struct item *it,
                                   struct gr_train_case *tc, struct graft_error *err)
{
    const struct gr_node *n = it->node;
    struct gr_case *c = &tc->c;
    bool diff = is_diff(w, n) || (it->out >= 0 && it->out != n->out[0]);
    *tc = (struct gr_train_case){.wants = w->flags,
                                 .batch_stats =
                                     diff && train_is_bn(n) && w->t->options.bn == GR_BN_TRAIN,
                                 .momentum = w->t->options.bn_momentum,
                                 .seed = gr_rng_mix(w->t->options.seed + (uint64_t)it->node_id)};
    *c = (struct gr_case){.node = n,
                          .n_in = n->n_in + (it->residual >= 0),
                          .n_out = n->n_out,
                          .in = w->types,
                          .out = w->types + n->n_in + 1,
                          .konst = w->konst,
                          .layout = w->arrive,
                          .bf16 = w->t->options.precision == GR_PRECISION_BF16,
                          .add = it->residual >= 0,
                          .n_acts = it->has_act,
                          .acts = {it->act}};
    for (int i = 0; i < c->n_in; i++) {
        int v = i < n->n_in ? n->in[i] : it->residual;
        w->types[i] = v < 0 ? (struct gr_type){GR_UNKNOWN, {0}} : *type_of(w, v);
        w->konst[i] = konst_of(w, v);
        w->flags[i] = diff && v >= 0 && w->live[v] && w->types[i].dtype == GR_F32;
        if (v >= 0 && !w->konst[i] && w->first_var[v] < 0)
            return gr_error(err, GRAFT_E_FORMAT, "'%s' is used before it is made",
                            w->g->values[v].name);
        w->arrive[i] = v < 0         ? (struct gr_layout){GR_UNKNOWN, false}
                       : w->konst[i] ? (struct gr_layout){w->types[i].dtype, false}
                                     : w->t->vars[w->first_var[v]].layout;
    }
    for (int i = 0; i < n->n_out; i++) {
        int v = n->out[i];
        w->types[n->n_in + 1 + i] = v < 0 ? (struct gr_type){GR_UNKNOWN, {0}} : *type_of(w, v);
    }
    return GRAFT_OK;
}

static void fill_choice(struct planner *w, const struct gr_case *c, struct gr_train_choice *k)
{
    bool *flags = w->flags + c->n_in;
    *k = (struct gr_train_choice){
        .c = {.in = w->want, .out = w->want + c->n_in, .impl = "", .place = -1},
        .keep_in = flags,
        .keep_out = flags + c->n_in,
        .same = flags + c->n_in + c->n_out};
    for (int i = 0; i < c->n_in; i++) {
        k->c.in[i] = c->konst[i] ? (struct gr_layout){GR_UNKNOWN, false} : c->layout[i];
        k->keep_in[i] = true;
        k->same[i] = false;
    }
    for (int i = 0; i < c->n_out; i++) {
        k->c.out[i] = (struct gr_layout){c->out[i].dtype, false};
        k->keep_out[i] = true;
    }
}

/* For a node that is only run: a kernel of inference, at worst its reference. */
static enum graft_status choose_plain(struct planner *w, const struct gr_case *c,
                                      struct gr_train_choice *k, struct graft_error *err)
{
    enum graft_status s = GRAFT_E_UNSUPPORTED;
    const struct gr_kernel *kernel = NULL;
    void *state = NULL;
    for (int i = 0; s == GRAFT_E_UNSUPPORTED && !w->t->options.reference && gr_kernel_table[i]; i++)
        for (const char *const *op = gr_kernel_table[i]->ops; s == GRAFT_E_UNSUPPORTED && *op;
             op++) {
            struct graft_error why = {0};
            if (*c->node->domain || strcmp(*op, c->node->op_type))
                continue;
            fill_choice(w, c, k);
            kernel = gr_kernel_table[i];
            s = kernel->plan(c, &k->c, &why);
            if (s && s != GRAFT_E_UNSUPPORTED)
                return gr_error(err, s, "%s", why.message);
        }
    if (s) {
        kernel = &gr_kernel_reference;
        fill_choice(w, c, k);
        s = kernel->plan(c, &k->c, err);
    }
    if (!s)
        s = train_wrap_new(kernel, k->c.state, NULL, &state, err);
    k->c.state = state;
    return s;
}

static enum graft_status choose_kernel(struct planner *w, const struct gr_train_case *tc, bool diff,
                                       const struct gr_train_kernel **kernel,
                                       struct gr_train_choice *k, struct graft_error *err)
{
    const struct gr_node *n = tc->c.node;
    *kernel = &train_wrap;
    if (!diff)
        return choose_plain(w, &tc->c, k, err);
    fill_choice(w, &tc->c, k);
    if (gr_node_is(n, "Dropout")) {
        *kernel = &gr_train_dropout;
        return gr_train_dropout.plan(tc, k, err);
    }
    for (int i = 0; !w->t->options.reference && !*n->domain && gr_train_table[i]; i++)
        for (const char *const *op = gr_train_table[i]->ops; *op; op++) {
            struct graft_error why = {0};
            if (strcmp(*op, n->op_type))
                continue;
            fill_choice(w, &tc->c, k);
            *kernel = gr_train_table[i];
            enum graft_status s = (*kernel)->plan(tc, k, &why);
            if (s == GRAFT_OK)
                return s;
            if (s != GRAFT_E_UNSUPPORTED)
                return gr_error(err, s, "%s", why.message);
        }
    fill_choice(w, &tc->c, k);
    *kernel = &train_reference;
    return train_reference.plan(tc, k, err);
}

/* Running mean and variance of a batch-norm that measures the batch: in the trainer's block. */
static enum graft_status get_stats(struct planner *w, int value, int *var, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    int slot;
    for (size_t i = 0; i < t->n_stats; i++)
        for (int k = 0; k < 2; k++)
            if ((k ? t->stats[i].var : t->stats[i].mean) == value) {
                const float *at = t->running + t->stats[i].offset + (k ? t->stats[i].count : 0);
                enum graft_status s =
                    add_slot(w, SLOT_CONST, 0, t->stats[i].count * sizeof *at, at, &slot, err);
                struct gr_layout plain = {GR_F32, false};
                return s ? s : add_var(w, value, slot, plain, false, var, err);
            }
    return gr_error(err, GRAFT_E_COMPUTE, "no statistics");
}

static enum graft_status plan_item(struct planner *w, const struct item *it,
                                   struct graft_error *err)
{
    const struct gr_node *n = it->node;
    const struct gr_train_kernel *kernel = NULL;
    struct gr_train_choice k;
    struct gr_train_case tc;
    struct train_step *step = NULL;
    if (!w->t->options.reference && !it->has_act && it->residual < 0 && is_view(w, n))
        return plan_view(w, n, err);
    enum graft_status s = fill_case(w, it, &tc, err);
    bool any = false;
    for (int i = 0; !s && i < tc.c.n_in; i++)
        any = any || tc.wants[i];
    if (!s)
        s = choose_kernel(w, &tc, any, &kernel, &k, err);
    if (s)
        return s;
    /* Reorders that the inputs need come first. */
    int n_in = tc.c.n_in, *in = gr_alloc_array((size_t)n_in + 1, sizeof *in);
    if (!in)
        s = gr_error_nomem(err);
    for (int i = 0; !s && i < n_in; i++) {
        int v = i < n->n_in ? n->in[i] : it->residual;
        in[i] = -1;
        if (tc.batch_stats && (i == 3 || i == 4))
            s = get_stats(w, v, &in[i], err);
        else if (v >= 0 && k.c.in[i].dtype)
            s = get_var(w, v, k.c.in[i], &in[i], err);
    }
    if (s) {
        kernel->unplan(k.c.state);
        gr_free(in);
        return s;
    }
    s = add_step(w, kernel, k.c.state, n_in, n->n_out, &step, err);
    int time = (int)w->t->n_steps - 1;
    for (int i = 0; !s && i < n_in; i++) {
        step->in[i] = in[i];
        step->wants[i] = tc.wants[i] && in[i] >= 0;
        step->keep_in[i] = any && k.keep_in[i];
        step->same[i] = k.same[i];
        if (in[i] >= 0)
            touch(w, w->t->vars[in[i]].slot, time);
    }
    gr_free(in);
    for (int i = 0; !s && i < n->n_out; i++) {
        int v = i == 0 ? it->out : n->out[i], slot;
        size_t size;
        step->keep_out[i] = any && k.keep_out[i];
        if (v < 0)
            continue;
        s = size_of(type_of(w, v), k.c.out[i].dtype, &size, err);
        if (!s)
            s = add_slot(w, SLOT_WORK, 0, size, NULL, &slot, err);
        if (!s)
            s = add_var(w, v, slot, k.c.out[i], any && w->live[v] && w->reached[v], &step->out[i],
                        err);
        if (!s)
            touch(w, slot, time);
    }
    if (!s && k.saved_size) {
        s = add_slot(w, SLOT_WORK, 0, k.saved_size, NULL, &step->saved, err);
        touch(w, step->saved, time);
    }
    if (s)
        return s;
    step->scratch_size = k.c.scratch_size;
    step->node = n->name;
    step->op = n->op_type;
    step->impl = k.c.impl;
    return GRAFT_OK;
}

/* ---- backward ------------------------------------------------------------------------------- */

static enum graft_status add_back(struct planner *w, struct train_back b, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    if (!GR_GROW(t->backs, t->n_backs, t->cap_backs))
        return gr_error_nomem(err);
    int time = (int)(t->n_steps + t->n_backs);
    t->backs[t->n_backs++] = b;
    touch(w, b.dst, time);
    touch(w, b.src, time);
    return GRAFT_OK;
}

/* A further part of a var's gradient lies in `slot`. */
static enum graft_status contribute(struct planner *w, int var, int slot, struct graft_error *err)
{
    struct train_var *v = &w->t->vars[var];
    const struct gr_type *type = type_of(w, v->value);
    if (v->grad < 0) {
        v->grad = slot;
        return GRAFT_OK;
    }
    struct train_back b = {.kind = BACK_ADD,
                           .step = -1,
                           .dst = v->grad,
                           .src = slot,
                           .count = (size_t)gr_shape_count(&type->shape),
                           .dtype = v->layout.dtype};
    if (w->shared[b.dst] && !w->shared[b.src]) {
        b.dst = slot;
        b.src = v->grad;
    } else if (w->shared[b.dst]) {
        struct train_back copy = {.kind = BACK_COPY, .step = -1, .src = v->grad};
        enum graft_status s = size_of(type, v->layout.dtype, &copy.count, err);
        if (!s)
            s = add_slot(w, SLOT_WORK, 0, copy.count, NULL, &copy.dst, err);
        if (!s)
            s = add_back(w, copy, err);
        if (s)
            return s;
        b.dst = copy.dst;
    }
    v->grad = b.dst;
    return add_back(w, b, err);
}

static enum graft_status plan_back_step(struct planner *w, int at, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    struct train_step *step = &t->steps[at];
    enum graft_status s = GRAFT_OK;
    bool wants = false, has = false;
    for (int i = 0; i < step->n_in; i++)
        wants = wants || step->wants[i];
    for (int i = 0; i < step->n_out; i++) {
        step->dout[i] = step->out[i] >= 0 ? t->vars[step->out[i]].grad : -1;
        has = has || step->dout[i] >= 0;
    }
    if (!wants || !has)
        return GRAFT_OK;
    bool runs = false;
    for (int i = 0; !s && i < step->n_in; i++) {
        struct train_var *v = step->wants[i] ? &t->vars[step->in[i]] : NULL;
        size_t size;
        if (!v || !step->kernel || step->same[i])
            continue;
        runs = true;
        if (v->param >= 0 && v->grad < 0) {
            s = size_of(type_of(w, v->value), GR_F32, &size, err);
            if (!s)
                s = add_slot(w, SLOT_OUTPUT, v->param, size, NULL, &step->din[i], err);
        } else {
            s = size_of(type_of(w, v->value), v->layout.dtype, &size, err);
            if (!s)
                s = add_slot(w, SLOT_WORK, 0, size, NULL, &step->din[i], err);
        }
        /* Two inputs that are one parameter: the second must not take its place too. */
        for (int k = 0; !s && v->param >= 0 && k < i; k++)
            if (step->din[k] >= 0 && step->in[k] == step->in[i])
                s = add_slot(w, SLOT_WORK, 0, size, NULL, &step->din[i], err);
    }
    if (s)
        return s;
    if (runs) {
        s = add_back(w, (struct train_back){.kind = BACK_STEP, .step = at, .dst = -1, .src = -1},
                     err);
        int time = (int)(t->n_steps + t->n_backs) - 1;
        for (int i = 0; i < step->n_in; i++) {
            touch(w, step->din[i], time);
            if (step->keep_in[i] && step->in[i] >= 0)
                touch(w, t->vars[step->in[i]].slot, time);
        }
        for (int i = 0; i < step->n_out; i++) {
            touch(w, step->dout[i], time);
            if (step->keep_out[i] && step->out[i] >= 0)
                touch(w, t->vars[step->out[i]].slot, time);
        }
        touch(w, step->saved, time);
    }
    for (int i = 0; !s && i < step->n_in; i++) {
        if (!step->wants[i])
            continue;
        int slot = step->din[i];
        if (!step->kernel || step->same[i]) { /* the gradient of the output itself */
            slot = step->dout[0];
            w->shared[slot] = true;
        }
        s = contribute(w, step->in[i], slot, err);
    }
    return s;
}

static enum graft_status plan_backward(struct planner *w, int logits, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    int slot;
    enum graft_status s =
        add_slot(w, SLOT_INPUT, (int)t->n_inputs, t->logits_size, NULL, &slot, err);
    if (s)
        return s;
    if (t->vars[logits].wants)
        t->vars[logits].grad = slot;
    for (size_t i = t->n_steps; !s && i-- > 0;)
        s = plan_back_step(w, (int)i, err);
    /* What has not come to lie in the caller's block is copied there. */
    for (size_t i = 0; !s && i < t->n_vars; i++) {
        struct train_var v = t->vars[i];
        if (v.param < 0 || v.grad < 0)
            continue;
        struct plan_slot *from = &t->slots[v.grad];
        if (from->kind == SLOT_OUTPUT && from->index == v.param)
            continue;
        struct train_back b = {.kind = BACK_COPY,
                               .step = -1,
                               .src = v.grad,
                               .count = t->params[v.param].count * sizeof(float)};
        s = add_slot(w, SLOT_OUTPUT, v.param, b.count, NULL, &b.dst, err);
        if (!s)
            s = add_back(w, b, err);
    }
    return s;
}

/* ---- what is trained ------------------------------------------------------------------------ */

/* Which values depend on a parameter, and on which of them the output depends. */
static void mark(struct planner *w)
{
    const struct gr_graph *g = w->g;
    gr_graph_needed(g, 1, &w->output, w->needed);
    for (size_t i = 0; i < w->t->n_params; i++)
        w->live[w->t->params[i].value] = true;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct gr_node *n = &g->nodes[i];
        bool live = false;
        for (int k = 0; w->needed[i] && k < n->n_in; k++) {
            if (n->in[k] < 0)
                continue;
            live = live || w->live[n->in[k]];
            w->n_uses[n->in[k]]++;
        }
        for (int k = 0; live && k < n->n_out; k++)
            if (n->out[k] >= 0 && !konst_of(w, n->out[k]))
                w->live[n->out[k]] = type_of(w, n->out[k])->dtype == GR_F32;
    }
    w->n_uses[w->output]++;
    w->reached[w->output] = true;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const struct gr_node *n = &g->nodes[i];
        for (int k = 0; w->needed[i] && is_diff(w, n) && k < n->n_in; k++)
            if (n->in[k] >= 0 && w->live[n->in[k]])
                w->reached[n->in[k]] = true;
    }
}

/* All operators on the way without gradient; the whole numbers of a quantizer are values too. */
static enum graft_status check_gradients(const struct planner *w, struct graft_error *err)
{
    const struct gr_graph *g = w->g;
    struct gr_buf b;
    size_t n = 0;
    char text[200];
    gr_buf_init(&b, 800);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct gr_node *node = &g->nodes[i];
        bool cut = gr_node_is(node, "QuantizeLinear") && node->in[0] >= 0 && w->live[node->in[0]];
        if (w->needed[i] && (cut || is_diff(w, node)) && !node->op->ref_grad)
            gr_buf_printf(&b, "%s%s", n++ ? ", " : "", gr_node_print(g, (int)i, text, sizeof text));
    }
    enum graft_status s = GRAFT_OK;
    if (n) {
        char *list = b.failed ? NULL : gr_buf_take(&b);
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "%zu node%s without gradient on the way: %s", n,
                     n > 1 ? "s" : "", list ? list : "too many to list");
        gr_free(list);
    }
    gr_buf_clear(&b);
    return s;
}

/* ---- fusing what follows a batch-norm ------------------------------------------------------- */

/* The needed node that alone reads v, or -1. */
static int sole_reader(const struct planner *w, int v)
{
    for (size_t i = 0; w->n_uses[v] == 1 && v != w->output && i < w->g->n_nodes; i++)
        for (int k = 0; w->needed[i] && k < w->g->nodes[i].n_in; k++)
            if (w->g->nodes[i].in[k] == v)
                return (int)i;
    return -1;
}

static void fuse(struct planner *w, int at)
{
    struct item *it = &w->items[at];
    const struct gr_node *n = it->node;
    int next = n->n_in == 5 && type_of(w, n->out[0])->dtype == GR_F32 &&
                       type_of(w, n->out[0])->shape.rank >= 2 &&
                       gr_shape_count(&type_of(w, n->out[0])->shape) > 0
                   ? sole_reader(w, n->out[0])
                   : -1;
    for (int i = 1; i < n->n_out; i++)
        if (n->out[i] >= 0)
            return;
    if (next < 0 || w->items[next].skip)
        return;
    const struct gr_node *sum = &w->g->nodes[next];
    struct item whole = *it;
    int where = at;
    if (gr_node_is(sum, "Add") && sum->n_in == 2 && w->items[next].node == sum &&
        w->items[next].residual < 0) {
        int other = sum->in[sum->in[0] == n->out[0]];
        if (other == n->out[0] || konst_of(w, other) ||
            !gr_shape_equal(&type_of(w, other)->shape, &type_of(w, n->out[0])->shape))
            return;
        whole.residual = other;
        whole.out = sum->out[0];
        where = next;
        next = sole_reader(w, sum->out[0]);
    }
    if (next >= 0 && train_read_act(w->t, &w->g->nodes[next], &whole.act)) {
        whole.has_act = true;
        whole.out = w->g->nodes[next].out[0];
        w->items[next].skip = true;
    }
    if (where != at)
        it->skip = true;
    w->items[where] = whole;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static enum graft_status plan_inputs(struct planner *w, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < t->n_inputs; i++) {
        int v = w->g->inputs[i], slot, var;
        struct gr_layout layout = {type_of(w, v)->dtype, false};
        s = size_of(type_of(w, v), layout.dtype, &t->inputs[i].size, err);
        if (!s)
            s = add_slot(w, SLOT_INPUT, (int)i, t->inputs[i].size, NULL, &slot, err);
        if (!s)
            s = add_var(w, v, slot, layout, false, &var, err);
        t->inputs[i].slot = slot;
    }
    for (size_t i = 0; !s && i < t->n_params; i++) {
        struct gr_trainer_param *p = &t->params[i];
        int slot, var;
        s = add_slot(w, SLOT_CONST, 0, p->count * sizeof(float), t->master + p->offset, &slot, err);
        if (!s)
            s = add_var(w, p->value, slot, (struct gr_layout){GR_F32, false}, w->reached[p->value],
                        &var, err);
        if (!s)
            t->vars[var].param = (int)i;
    }
    return s;
}

/* Inputs that backward reads lie in the block; then everything there gets its place. */
static enum graft_status place_memory(struct planner *w, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    size_t scratch = 0;
    for (size_t i = 0; i < t->n_inputs; i++) {
        struct plan_slot *slot = &t->slots[t->inputs[i].slot];
        t->inputs[i].copy = slot->last >= (int)t->n_steps;
        if (t->inputs[i].copy) {
            slot->kind = SLOT_WORK;
            slot->first = 0;
        }
    }
    for (size_t i = 0; i < t->n_steps; i++)
        scratch = t->steps[i].scratch_size > scratch ? t->steps[i].scratch_size : scratch;
    enum graft_status s = plan_slots(t->slots, t->n_slots, &t->scratch_offset, err);
    if (!s && !gr_add_size(t->scratch_offset, scratch + 64, &t->work_size))
        s = gr_error(err, GRAFT_E_LIMIT, "activations are too large");
    return s;
}

static enum graft_status plan_all(struct planner *w, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    const struct gr_graph *g = w->g;
    char text[256];
    int logits = -1;
    bool *diff = gr_alloc_zero(g->n_nodes + 1, sizeof *diff);
    enum graft_status s = diff ? check_gradients(w, err) : gr_error_nomem(err);
    for (size_t i = 0; diff && i < g->n_nodes; i++)
        diff[i] = w->needed[i] && is_diff(w, &g->nodes[i]);
    if (!s)
        s = train_read_stats(t, diff, err);
    gr_free(diff);
    if (!s)
        s = plan_inputs(w, err);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct gr_node *n = &g->nodes[i];
        bool known = true;
        for (int k = 0; k < n->n_out; k++)
            known = known && (n->out[k] < 0 || konst_of(w, n->out[k]));
        w->items[i] = (struct item){.node = n,
                                    .node_id = (int)i,
                                    .residual = -1,
                                    .out = n->n_out ? n->out[0] : -1,
                                    .skip = !w->needed[i] || known};
    }
    for (size_t i = 0; !t->options.reference && i < g->n_nodes; i++)
        if (!w->items[i].skip && train_is_bn(w->items[i].node) && w->items[i].node_id == (int)i &&
            is_diff(w, w->items[i].node))
            fuse(w, (int)i);
    for (size_t i = 0; !s && i < g->n_nodes; i++) {
        if (w->items[i].skip)
            continue;
        s = plan_item(w, &w->items[i], err);
        if (s)
            gr_error_in(err, s, "%s", gr_node_print(g, w->items[i].node_id, text, sizeof text));
    }
    if (!s && w->first_var[w->output] < 0)
        s = gr_error(err, GRAFT_E_ARG, "the output does not depend on an input");
    if (!s)
        s = get_var(w, w->output, (struct gr_layout){GR_F32, false}, &logits, err);
    if (!s)
        s = size_of(type_of(w, w->output), GR_F32, &t->logits_size, err);
    if (s)
        return s;
    t->logits = t->vars[logits].slot;
    touch(w, t->logits, (int)t->n_steps);
    s = plan_backward(w, logits, err);
    return s ? s : place_memory(w, err);
}

enum graft_status train_plan(struct gr_trainer *t, const struct gr_graph *g, int output,
                             const struct gr_shape *input_shapes, size_t n_params,
                             const int *params, struct graft_error *err)
{
    struct planner w = {.t = t, .output = output};
    size_t widest = 2, n_values;
    enum graft_status s = train_read_params(t, g, n_params, params, err);
    if (!s)
        s = gr_graph_copy(g, &t->graph, err);
    if (!s)
        s = train_read_types(t, g, output, input_shapes, err);
    if (s)
        return s;
    if (t->types.type[output].dtype != GR_F32)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "the output is %s, expected float32",
                        gr_dtype_name(t->types.type[output].dtype));
    w.g = t->graph;
    n_values = t->graph->n_values;
    for (size_t i = 0; i < w.g->n_nodes; i++) {
        size_t n = (size_t)(w.g->nodes[i].n_in + w.g->nodes[i].n_out) + 4;
        widest = n > widest ? n : widest;
    }
    t->n_inputs = g->n_inputs;
    t->inputs = gr_alloc_zero(t->n_inputs + 1, sizeof *t->inputs);
    w.needed = gr_alloc_zero(w.g->n_nodes + 1, 1);
    w.live = gr_alloc_zero(n_values + 1, sizeof *w.live);
    w.reached = gr_alloc_zero(n_values + 1, sizeof *w.reached);
    w.n_uses = gr_alloc_zero(n_values + 1, sizeof *w.n_uses);
    w.items = gr_alloc_zero(w.g->n_nodes + 1, sizeof *w.items);
    w.first_var = gr_alloc_array(n_values + 1, sizeof *w.first_var);
    w.types = gr_alloc_zero(widest, sizeof *w.types);
    w.konst = gr_alloc_zero(widest, sizeof *w.konst);
    w.arrive = gr_alloc_zero(widest, sizeof *w.arrive);
    w.want = gr_alloc_zero(widest, sizeof *w.want);
    w.flags = gr_alloc_zero(4 * widest, sizeof *w.flags);
    if (!t->inputs || !w.needed || !w.live || !w.reached || !w.n_uses || !w.items || !w.first_var ||
        !w.types || !w.konst || !w.arrive || !w.want || !w.flags) {
        s = gr_error_nomem(err);
    } else {
        for (size_t i = 0; i < n_values; i++)
            w.first_var[i] = -1;
        mark(&w);
        s = plan_all(&w, err);
    }
    gr_free(w.needed);
    gr_free(w.live);
    gr_free(w.reached);
    gr_free(w.n_uses);
    gr_free(w.items);
    gr_free(w.first_var);
    gr_free(w.shared);
    gr_free(w.types);
    gr_free(w.konst);
    gr_free(w.arrive);
    gr_free(w.want);
    gr_free(w.flags);
    return s;
}
