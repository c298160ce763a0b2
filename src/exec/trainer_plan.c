/* How does the trained part of a network become steps? */
#include "base/bytes.h"
#include "base/mem.h"
#include "core/op.h"
#include "exec/trainer_plan.h"
#include <omp.h>

/* Which values depend on a parameter, and on which of them the output depends. */
static void mark(struct train_planner *w)
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
            if (n->out[k] >= 0 && !train_konst(w, n->out[k]))
                w->live[n->out[k]] = train_type(w, n->out[k])->dtype == GR_F32;
    }
    w->n_uses[w->output]++;
    w->reached[w->output] = true;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const struct gr_node *n = &g->nodes[i];
        for (int k = 0; w->needed[i] && train_is_diff(w, n) && k < n->n_in; k++)
            if (n->in[k] >= 0 && w->live[n->in[k]])
                w->reached[n->in[k]] = true;
    }
}

/* All operators on the way without gradient; the whole numbers of a quantizer are values too. */
static enum graft_status check_gradients(const struct train_planner *w, struct graft_error *err)
{
    const struct gr_graph *g = w->g;
    struct gr_buf b;
    size_t n = 0;
    char text[200];
    gr_buf_init(&b, 800);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct gr_node *node = &g->nodes[i];
        bool cut = gr_node_is(node, "QuantizeLinear") && node->in[0] >= 0 && w->live[node->in[0]];
        if (w->needed[i] && (cut || train_is_diff(w, node)) && !node->op->ref_grad)
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
static int sole_reader(const struct train_planner *w, int v)
{
    for (size_t i = 0; w->n_uses[v] == 1 && v != w->output && i < w->g->n_nodes; i++)
        for (int k = 0; w->needed[i] && k < w->g->nodes[i].n_in; k++)
            if (w->g->nodes[i].in[k] == v)
                return (int)i;
    return -1;
}

static void fuse(struct train_planner *w, int at)
{
    struct train_item *it = &w->items[at];
    const struct gr_node *n = it->node;
    int next = n->n_in == 5 && train_type(w, n->out[0])->dtype == GR_F32 &&
                       train_type(w, n->out[0])->shape.rank >= 2 &&
                       gr_shape_count(&train_type(w, n->out[0])->shape) > 0
                   ? sole_reader(w, n->out[0])
                   : -1;
    for (int i = 1; i < n->n_out; i++)
        if (n->out[i] >= 0)
            return;
    if (next < 0 || w->items[next].skip)
        return;
    const struct gr_node *sum = &w->g->nodes[next];
    struct train_item whole = *it;
    int where = at;
    if (gr_node_is(sum, "Add") && sum->n_in == 2 && w->items[next].node == sum &&
        w->items[next].residual < 0) {
        int other = sum->in[sum->in[0] == n->out[0]];
        if (other == n->out[0] || train_konst(w, other) ||
            !gr_shape_equal(&train_type(w, other)->shape, &train_type(w, n->out[0])->shape))
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

/* ---- forward -------------------------------------------------------------------------------- */

static bool is_view(const struct train_planner *w, const struct gr_node *n)
{
    static const char *const views[] = {"Reshape",  "Flatten", "Squeeze", "Unsqueeze",
                                        "Identity", "Cast",    "Dropout"};
    if (n->n_in < 1 || n->in[0] < 0 || n->out[0] < 0 ||
        train_type(w, n->in[0])->dtype != train_type(w, n->out[0])->dtype ||
        train_konst(w, n->in[0]))
        return false;
    if (gr_node_is(n, "Dropout") && (train_is_diff(w, n) || (n->n_out > 1 && n->out[1] >= 0)))
        return false;
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (gr_node_is(n, views[i]))
            return true;
    return false;
}

static enum graft_status plan_view(struct train_planner *w, const struct gr_node *n,
                                   struct graft_error *err)
{
    struct train_step *step;
    int in, out;
    struct gr_layout layout = {w->t->vars[w->first_var[n->in[0]]].layout.dtype, false};
    enum graft_status s = train_get_var(w, n->in[0], layout, &in, err);
    struct train_var v = s ? (struct train_var){0} : w->t->vars[in];
    if (!s)
        s = train_add_var(w, n->out[0], v.slot, layout, v.wants, &out, err);
    if (!s)
        s = train_add_step(w, NULL, NULL, 1, 1, &step, err);
    if (s)
        return s;
    step->in[0] = in;
    step->out[0] = out;
    step->wants[0] = v.wants;
    step->op = n->op_type;
    step->node = n->name;
    return GRAFT_OK;
}

/* Running mean and variance of a batch-norm that measures the batch: in the trainer's block. */
static enum graft_status get_stats(struct train_planner *w, int value, int *var,
                                   struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    int slot;
    for (size_t i = 0; i < t->n_stats; i++)
        for (int k = 0; k < 2; k++)
            if ((k ? t->stats[i].var : t->stats[i].mean) == value) {
                const float *at = t->running + t->stats[i].offset + (k ? t->stats[i].count : 0);
                enum graft_status s = train_add_slot(
                    w, SLOT_CONST, 0, t->stats[i].count * sizeof *at, at, &slot, err);
                struct gr_layout plain = {GR_F32, false};
                return s ? s : train_add_var(w, value, slot, plain, false, var, err);
            }
    return gr_error(err, GRAFT_E_COMPUTE, "no statistics");
}

static enum graft_status plan_item(struct train_planner *w, const struct train_item *it,
                                   struct graft_error *err)
{
    const struct gr_node *n = it->node;
    const struct gr_train_kernel *kernel = NULL;
    struct gr_train_choice k;
    struct gr_train_case tc;
    struct train_step *step = NULL;
    if (!w->t->options.reference && !it->has_act && it->residual < 0 && is_view(w, n))
        return plan_view(w, n, err);
    enum graft_status s = train_fill_case(w, it, &tc, err);
    bool any = false;
    for (int i = 0; !s && i < tc.c.n_in; i++)
        any = any || tc.wants[i];
    if (!s)
        s = train_choose_kernel(w, &tc, any, &kernel, &k, err);
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
            s = train_get_var(w, v, k.c.in[i], &in[i], err);
    }
    if (s) {
        kernel->unplan(k.c.state);
        gr_free(in);
        return s;
    }
    s = train_add_step(w, kernel, k.c.state, n_in, n->n_out, &step, err);
    int time = (int)w->t->n_steps - 1;
    for (int i = 0; !s && i < n_in; i++) {
        step->in[i] = in[i];
        step->wants[i] = tc.wants[i] && in[i] >= 0;
        step->keep_in[i] = any && k.keep_in[i];
        step->same[i] = k.same[i];
        if (in[i] >= 0)
            train_touch(w, w->t->vars[in[i]].slot, time);
    }
    gr_free(in);
    for (int i = 0; !s && i < n->n_out; i++) {
        int v = i == 0 ? it->out : n->out[i], slot;
        size_t size;
        step->keep_out[i] = any && k.keep_out[i];
        if (v < 0)
            continue;
        s = plan_size_of(train_type(w, v), k.c.out[i].dtype, &size, err);
        if (!s)
            s = train_add_slot(w, SLOT_WORK, 0, size, NULL, &slot, err);
        if (!s)
            s = train_add_var(w, v, slot, k.c.out[i], any && w->live[v] && w->reached[v],
                              &step->out[i], err);
        if (!s)
            train_touch(w, slot, time);
    }
    if (!s && k.saved_size) {
        s = train_add_slot(w, SLOT_WORK, 0, k.saved_size, NULL, &step->saved, err);
        train_touch(w, step->saved, time);
    }
    if (s)
        return s;
    step->once = tc.batch_stats;
    step->scratch_size = k.c.scratch_size;
    step->node = n->name;
    step->op = n->op_type;
    step->impl = k.c.impl;
    step->macs = n->op->macs ? n->op->macs(n, n->n_in, tc.c.in, tc.c.out) : 0;
    return GRAFT_OK;
}

static enum graft_status plan_inputs(struct train_planner *w, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < t->n_inputs; i++) {
        int v = w->g->inputs[i], slot, var;
        size_t size;
        struct gr_layout layout = {train_type(w, v)->dtype, false};
        s = plan_size_of(train_type(w, v), layout.dtype, &size, err);
        if (!s)
            s = train_add_slot(w, SLOT_INPUT, (int)i, size, NULL, &slot, err);
        if (!s)
            s = train_add_var(w, v, slot, layout, false, &var, err);
    }
    for (size_t i = 0; !s && i < t->n_params; i++) {
        struct gr_trainer_param *p = &t->params[i];
        int slot, var;
        s = train_add_slot(w, SLOT_CONST, 0, p->count * sizeof(float), t->master + p->offset, &slot,
                           err);
        if (!s)
            s = train_add_var(w, p->value, slot, (struct gr_layout){GR_F32, false},
                              w->reached[p->value], &var, err);
        if (!s)
            t->vars[var].param = (int)i;
    }
    return s;
}

static enum graft_status plan_all(struct train_planner *w, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    const struct gr_graph *g = w->g;
    char text[256];
    int logits = -1;
    bool *diff = gr_alloc_zero(g->n_nodes + 1, sizeof *diff);
    enum graft_status s = diff ? check_gradients(w, err) : gr_error_nomem(err);
    for (size_t i = 0; diff && i < g->n_nodes; i++)
        diff[i] = w->needed[i] && train_is_diff(w, &g->nodes[i]);
    if (!s)
        s = train_read_stats(t, diff, err);
    gr_free(diff);
    if (!s)
        s = plan_inputs(w, err);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct gr_node *n = &g->nodes[i];
        bool known = true;
        for (int k = 0; k < n->n_out; k++)
            known = known && (n->out[k] < 0 || train_konst(w, n->out[k]));
        w->items[i] = (struct train_item){.node = n,
                                          .node_id = (int)i,
                                          .residual = -1,
                                          .out = n->n_out ? n->out[0] : -1,
                                          .skip = !w->needed[i] || known};
    }
    for (size_t i = 0; !t->options.reference && i < g->n_nodes; i++)
        if (!w->items[i].skip && train_is_bn(w->items[i].node) && w->items[i].node_id == (int)i &&
            train_is_diff(w, w->items[i].node))
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
        s = train_get_var(w, w->output, (struct gr_layout){GR_F32, false}, &logits, err);
    if (!s)
        s = plan_size_of(train_type(w, w->output), GR_F32, &t->logits_size, err);
    if (s)
        return s;
    t->logits = t->vars[logits].slot;
    train_touch(w, t->logits, (int)t->n_steps);
    return train_plan_memory(w, logits, err);
}

/* Below so many multiply-adds a step of training takes one thread a few milliseconds. More would
   wait for each other after each of its parts, and where others use the cores too that takes a
   time slice each: ten times as long as the work. */
#define FEW_MACS 0.4e9

/* Of a step: for each product forward two go back. */
static double count_macs(const struct train_planner *w)
{
    double sum = 0;
    for (size_t i = 0; i < w->g->n_nodes; i++)
        if (w->needed[i])
            sum += 3 * gr_node_macs(&w->g->nodes[i], &w->t->types);
    return sum;
}

enum graft_status train_plan(struct gr_trainer *t, const struct gr_graph *g, int output,
                             const struct gr_shape *input_shapes, size_t n_params,
                             const int *params, struct graft_error *err)
{
    struct train_planner w = {.t = t, .output = output};
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
    if (!w.needed || !w.live || !w.reached || !w.n_uses || !w.items || !w.first_var || !w.types ||
        !w.konst || !w.arrive || !w.want || !w.flags) {
        s = gr_error_nomem(err);
    } else {
        for (size_t i = 0; i < n_values; i++)
            w.first_var[i] = -1;
        mark(&w);
        const int threads = omp_get_max_threads();
        t->alone = count_macs(&w) < FEW_MACS;
        if (t->alone) /* kernels divide their work among the threads that they see now */
            omp_set_num_threads(1);
        s = plan_all(&w, err);
        omp_set_num_threads(threads);
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
