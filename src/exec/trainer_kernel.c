/* Which kernel trains a node? */
#include "base/rng.h"
#include "exec/trainer_plan.h"

bool train_is_diff(const struct train_planner *w, const struct gr_node *n)
{
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] >= 0 && w->live[n->out[i]] && w->reached[n->out[i]])
            return true;
    return false;
}

enum graft_status train_fill_case(struct train_planner *w, const struct train_item *it,
                                  struct gr_train_case *tc, struct graft_error *err)
{
    const struct gr_node *n = it->node;
    struct gr_case *c = &tc->c;
    bool diff = train_is_diff(w, n) || (it->out >= 0 && it->out != n->out[0]);
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
        w->types[i] = v < 0 ? (struct gr_type){GR_UNKNOWN, {0}} : *train_type(w, v);
        w->konst[i] = train_konst(w, v);
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
        w->types[n->n_in + 1 + i] = v < 0 ? (struct gr_type){GR_UNKNOWN, {0}} : *train_type(w, v);
    }
    return GRAFT_OK;
}

static void fill_choice(struct train_planner *w, const struct gr_case *c, struct gr_train_choice *k)
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

/* A kernel of inference for a node that is only run. */
static enum graft_status wrap_kernel(struct train_planner *w, const struct gr_case *c,
                                     const struct gr_kernel *kernel, struct gr_train_choice *k,
                                     struct graft_error *err)
{
    void *state = NULL;
    fill_choice(w, c, k);
    enum graft_status s = kernel->plan(c, &k->c, err);
    if (!s)
        s = train_wrap_new(kernel, k->c.state, NULL, &state, err);
    k->c.state = state;
    return s;
}

static enum graft_status choose_plain(struct train_planner *w, const struct gr_case *c,
                                      struct gr_train_choice *k, struct graft_error *err)
{
    for (int i = 0; !w->t->options.reference && !*c->node->domain && gr_kernel_table[i]; i++)
        for (const char *const *op = gr_kernel_table[i]->ops; *op; op++) {
            struct graft_error why = {0};
            if (strcmp(*op, c->node->op_type))
                continue;
            const enum graft_status s = wrap_kernel(w, c, gr_kernel_table[i], k, &why);
            if (s != GRAFT_E_UNSUPPORTED)
                return s ? gr_error(err, s, "%s", why.message) : GRAFT_OK;
        }
    return GRAFT_E_UNSUPPORTED;
}

static enum graft_status choose_trained(struct train_planner *w, const struct gr_train_case *tc,
                                        const struct gr_train_kernel **kernel,
                                        struct gr_train_choice *k, struct graft_error *err)
{
    const struct gr_node *n = tc->c.node;
    for (int i = 0; !w->t->options.reference && !*n->domain && gr_train_table[i]; i++)
        for (const char *const *op = gr_train_table[i]->ops; *op; op++) {
            struct graft_error why = {0};
            if (strcmp(*op, n->op_type))
                continue;
            fill_choice(w, &tc->c, k);
            *kernel = gr_train_table[i];
            const enum graft_status s = (*kernel)->plan(tc, k, &why);
            if (s != GRAFT_E_UNSUPPORTED)
                return s ? gr_error(err, s, "%s", why.message) : GRAFT_OK;
        }
    return GRAFT_E_UNSUPPORTED;
}

enum graft_status train_choose_kernel(struct train_planner *w, const struct gr_train_case *tc,
                                      bool diff, const struct gr_train_kernel **kernel,
                                      struct gr_train_choice *k, struct graft_error *err)
{
    enum graft_status s;
    *kernel = &train_wrap;
    if (!diff) { /* activations have no kernel of inference: there they are part of other steps */
        s = choose_plain(w, &tc->c, k, err);
        if (s == GRAFT_E_UNSUPPORTED)
            s = choose_trained(w, tc, kernel, k, err);
        if (s != GRAFT_E_UNSUPPORTED)
            return s;
        *kernel = &train_wrap;
        return wrap_kernel(w, &tc->c, &gr_kernel_reference, k, err);
    }
    if (gr_node_is(tc->c.node, "Dropout")) {
        fill_choice(w, &tc->c, k);
        *kernel = &gr_train_dropout;
        return gr_train_dropout.plan(tc, k, err);
    }
    s = choose_trained(w, tc, kernel, k, err);
    if (s != GRAFT_E_UNSUPPORTED)
        return s;
    fill_choice(w, &tc->c, k);
    *kernel = &train_reference;
    return train_reference.plan(tc, k, err);
}
