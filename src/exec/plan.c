/* How does a graph become steps that are ready to run? */
#include "base/mem.h"
#include "core/op.h"
#include "exec/plan_steps.h"
#include "exec/program.h"
#include "exec/ranges.h"
#include <limits.h>
#include <omp.h>

/* A value in memory; a value may lie in several layouts. */
struct place {
    int value, slot;
    struct gr_layout layout;
    int next; /* another place of the same value, or -1 */
};

/* What a gr_case points to, as long as the longest step. */
struct case_lists {
    struct gr_type *types; /* inputs, then outputs */
    const struct gr_tensor **konst;
    struct gr_layout *arrive;
    struct gr_quant *quants; /* inputs, then output 0 */
};

enum { CHAIN_STEPS = 3 }; /* that kernels may do at once */

struct planner {
    struct gr_plan *plan;
    struct program *prog;
    int *first_place; /* per value, or -1; the first is the one that its maker gave */
    struct place *places;
    size_t n_places, cap_places;
    bool reference;
    bool bf16;
    struct gr_layout *want;               /* inputs, then outputs, as long as the longest step */
    struct case_lists lists[CHAIN_STEPS]; /* of the step at hand and of those that may join it */
};

void gr_plan_options_init(struct gr_plan_options *o)
{
    *o = (struct gr_plan_options){.batch = 8,
                                  .parts = 1,
                                  .precision = GR_PRECISION_FP32,
                                  .fuse = true,
                                  .work_limit = (size_t)4 << 30};
}

int gr_plan_usual_parts(int64_t batch)
{
    int threads = omp_get_max_threads();
    return batch % threads ? 1 : threads;
}

void gr_plan_free(struct gr_plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].kernel)
            p->steps[i].kernel->unplan(p->steps[i].state);
    for (size_t i = 0; i < p->n_consts; i++)
        gr_tensor_clear(&p->consts[i]);
    gr_free(p->slots);
    gr_free(p->steps);
    gr_free(p->consts);
    gr_arena_clear(&p->arena);
    gr_arena_clear(&p->nodes);
    gr_free(p);
}

static enum graft_status add_slot(struct planner *w, int kind, int index, size_t size, int until,
                                  int *slot, struct graft_error *err)
{
    struct gr_plan *p = w->plan;
    if (!GR_GROW(p->slots, p->n_slots, p->cap_slots))
        return gr_error_nomem(err);
    p->slots[p->n_slots] = (struct plan_slot){kind, index, size, INT_MAX, -1, until, 0, NULL};
    *slot = (int)p->n_slots++;
    return GRAFT_OK;
}

static enum graft_status add_place(struct planner *w, int value, int slot, struct gr_layout layout,
                                   struct graft_error *err)
{
    if (!GR_GROW(w->places, w->n_places, w->cap_places))
        return gr_error_nomem(err);
    int *head = &w->first_place[value], until = w->prog->values[value].last_use;
    w->places[w->n_places] = (struct place){value, slot, layout, -1};
    while (*head >= 0)
        head = &w->places[*head].next;
    *head = (int)w->n_places++;
    struct plan_slot *s = &w->plan->slots[slot];
    s->needed_until = until > s->needed_until ? until : s->needed_until;
    return GRAFT_OK;
}

/* Appends a step; its lists are the planner's to fill. The kernel's state is owned from here. */
static enum graft_status add_step(struct planner *w, const struct gr_kernel *kernel,
                                  const struct gr_choice *c, int n_in, int n_out,
                                  struct plan_step **step, struct graft_error *err)
{
    struct gr_plan *p = w->plan;
    int *ids = gr_arena_alloc(&p->arena, (size_t)(n_in + n_out + 1) * sizeof *ids);
    if (!ids || !GR_GROW(p->steps, p->n_steps, p->cap_steps)) {
        kernel->unplan(c->state);
        return gr_error_nomem(err);
    }
    struct plan_step *s = &p->steps[p->n_steps++];
    *s = (struct plan_step){kernel, c->state, n_in, n_out, ids, ids + n_in, c->scratch_size, {0}};
    s->info.kernel = c->impl;
    s->info.fused = "";
    s->info.node = "";
    p->weights_size += c->weights_size;
    p->most_args = n_in + n_out > p->most_args ? n_in + n_out : p->most_args;
    for (int i = 0; i < n_in + n_out; i++)
        ids[i] = -1;
    *step = s;
    return GRAFT_OK;
}

static void touch(struct planner *w, int slot, bool memory)
{
    struct plan_slot *s = &w->plan->slots[slot];
    int step = (int)w->plan->n_steps - 1;
    s->first = step < s->first ? step : s->first;
    s->last = step > s->last ? step : s->last;
    w->plan->steps[step].info.bytes += memory ? (double)s->size : 0;
}

/* A step that copies or converts one slot into another. */
static enum graft_status add_reorder(struct planner *w, int value, int from,
                                     struct gr_layout layout, int to, struct gr_layout wanted,
                                     struct graft_error *err)
{
    struct gr_type *t = &w->prog->values[value].type;
    const struct gr_tensor *none = NULL;
    struct gr_layout in = layout, out = wanted;
    struct gr_case c = {.n_in = 1,
                        .n_out = 1,
                        .in = t,
                        .out = t,
                        .konst = &none,
                        .layout = &layout,
                        .quant = &w->prog->values[value].quant};
    struct gr_choice k = {.in = &in, .out = &out, .impl = "", .place = -1};
    struct plan_step *step = NULL;
    enum graft_status s = gr_kernel_reorder.plan(&c, &k, err);
    if (!s)
        s = add_step(w, &gr_kernel_reorder, &k, 1, 1, &step, err);
    if (s)
        return s;
    step->in[0] = from;
    step->out[0] = to;
    step->info.node = w->prog->values[value].name;
    step->info.op = "reorder";
    step->info.out = *t;
    touch(w, from, true);
    touch(w, to, true);
    return GRAFT_OK;
}

/* A constant in a wanted layout: the graph's own bytes where they fit. */
static enum graft_status place_const(struct planner *w, int value, struct gr_layout layout,
                                     int *slot, struct graft_error *err)
{
    const struct program_value *v = &w->prog->values[value];
    struct gr_plan *p = w->plan;
    struct gr_tensor t = {0};
    if (!GR_GROW(p->consts, p->n_consts, p->cap_consts))
        return gr_error_nomem(err);
    enum graft_status s = plan_arrange(&v->konst, layout, &t, err);
    if (!s)
        s = add_slot(w, SLOT_CONST, 0, t.size, INT_MAX, slot, err);
    if (s) {
        gr_tensor_clear(&t);
        return s;
    }
    p->slots[*slot].data = t.data;
    p->weights_size += t.data == v->konst.data ? 0 : t.size;
    p->consts[p->n_consts++] = t;
    return add_place(w, value, *slot, layout, err);
}

static const struct place *find_place(const struct planner *w, int value)
{
    return w->first_place[value] < 0 ? NULL : &w->places[w->first_place[value]];
}

/* The slot in which the value lies in a layout that is wanted; converts it if need be. */
static enum graft_status get_place(struct planner *w, int value, struct gr_layout layout, int *slot,
                                   struct graft_error *err)
{
    const struct gr_type *t = &w->prog->values[value].type;
    for (int i = w->first_place[value]; i >= 0; i = w->places[i].next)
        if (gr_layout_equal(w->places[i].layout, layout, &t->shape)) {
            *slot = w->places[i].slot;
            return GRAFT_OK;
        }
    if (program_const(w->prog, value))
        return place_const(w, value, layout, slot, err);
    const struct place from = *find_place(w, value);
    size_t size = 0;
    enum graft_status s = plan_size_of(t, layout.dtype, &size, err);
    if (!s)
        s = add_slot(w, SLOT_WORK, 0, size, -1, slot, err);
    if (!s)
        s = add_reorder(w, value, from.slot, from.layout, *slot, layout, err);
    return s ? s : add_place(w, value, *slot, layout, err);
}

/* Step `at` alone reads the slot last, through input `self` only. */
static bool may_overwrite(const struct planner *w, const struct plan_step *step, int self, int at)
{
    const struct plan_slot *slot = &w->plan->slots[step->in[self]];
    for (int i = 0; i < step->n_in; i++)
        if (i != self && step->in[i] == step->in[self])
            return false;
    return slot->kind == SLOT_WORK && slot->needed_until <= at;
}

/* A fresh copy of an input that the kernel updates but others still read. */
static enum graft_status copy_for_update(struct planner *w, int value, struct gr_layout layout,
                                         int *slot, struct graft_error *err)
{
    int from = *slot;
    size_t size = w->plan->slots[from].size;
    enum graft_status s = add_slot(w, SLOT_WORK, 0, size, -1, slot, err);
    return s ? s : add_reorder(w, value, from, layout, *slot, layout, err);
}

/* As those kernels see it who know nothing of 8 bits. */
static struct gr_layout plain_layout(const struct planner *w, int value)
{
    struct gr_layout layout = find_place(w, value)->layout;
    if (layout.dtype == w->prog->values[value].quant.dtype && layout.dtype)
        layout.dtype = w->bf16 ? GR_BF16 : GR_F32;
    return layout;
}

/* The same bytes under another shape: needs row-major data, does nothing at run time. */
static enum graft_status plan_view(struct planner *w, const struct gr_node *n,
                                   struct graft_error *err)
{
    int slot;
    struct gr_layout layout = {plain_layout(w, n->in[0]).dtype, false};
    enum graft_status s = get_place(w, n->in[0], layout, &slot, err);
    return s ? s : add_place(w, n->out[0], slot, layout, err);
}

static enum graft_status fill_case(struct planner *w, const struct program_step *st,
                                   struct case_lists *l, struct gr_case *c, struct graft_error *err)
{
    const struct gr_node *n = &st->node;
    *c = (struct gr_case){.node = n,
                          .n_in = n->n_in + (st->residual >= 0),
                          .n_out = n->n_out,
                          .in = l->types,
                          .out = l->types + n->n_in + 1,
                          .konst = l->konst,
                          .layout = l->arrive,
                          .quant = w->plan->precision == GR_PRECISION_INT8 ? l->quants : NULL,
                          .bf16 = w->bf16,
                          .add = st->residual >= 0,
                          .residual = st->residual,
                          .n_acts = st->n_acts};
    memcpy(c->acts, st->acts, sizeof c->acts);
    for (int i = 0; i < c->n_in; i++) {
        int v = i < n->n_in ? n->in[i] : st->residual;
        const enum graft_status s = program_settle_const(w->prog, v, err);
        if (s)
            return s;
        l->types[i] = v < 0 ? (struct gr_type){GR_UNKNOWN, {0}} : w->prog->values[v].type;
        l->konst[i] = program_const(w->prog, v);
        l->arrive[i] = v < 0 ? (struct gr_layout){GR_UNKNOWN, false}
                       : l->konst[i] || w->first_place[v] < 0
                           ? (struct gr_layout){l->types[i].dtype, false}
                           : plain_layout(w, v);
        l->quants[i] = v < 0 || l->konst[i] ? (struct gr_quant){0} : w->prog->values[v].quant;
    }
    for (int i = 0; i < n->n_out; i++) {
        int v = n->out[i];
        l->types[n->n_in + 1 + i] =
            v < 0 ? (struct gr_type){GR_UNKNOWN, {0}} : w->prog->values[v].type;
    }
    l->quants[c->n_in] =
        n->n_out && n->out[0] >= 0 ? w->prog->values[n->out[0]].quant : (struct gr_quant){0};
    if (n->n_out && n->out[0] >= 0) {
        c->f32_out = w->prog->values[n->out[0]].leaves;
        c->factor = w->prog->values[n->out[0]].factor;
    }
    return GRAFT_OK;
}

/* The step that alone reads the only output of `st`; NULL: none. */
static struct program_step *next_step(const struct planner *w, const struct program_step *st)
{
    struct program *p = w->prog;
    const struct program_value *v =
        st->node.n_out == 1 && st->node.out[0] >= 0 ? &p->values[st->node.out[0]] : NULL;
    if (!v || v->n_uses != 1 || v->last_use < 0 || v->last_use >= (int)p->n_steps)
        return NULL;
    struct program_step *next = &p->steps[v->last_use];
    for (int i = 0; !next->dead && i < next->node.n_in; i++)
        if (next->node.in[i] == st->node.out[0])
            return next;
    return NULL;
}

static enum graft_status try_kernel(struct planner *w, const struct gr_kernel *kernel,
                                    const struct gr_case *c, struct gr_choice *k,
                                    struct graft_error *err)
{
    *k = (struct gr_choice){
        .in = w->want, .out = w->want + c->n_in, .impl = "", .place = -1, .n_steps = 1};
    for (int i = 0; i < c->n_in; i++)
        k->in[i] = c->konst[i] ? (struct gr_layout){GR_UNKNOWN, false} : c->layout[i];
    for (int i = 0; i < c->n_out; i++)
        k->out[i] = (struct gr_layout){c->out[i].dtype, false};
    return kernel->plan(c, k, err);
}

/* The first kernel that can; GRAFT_E_UNSUPPORTED: none but the reference. */
static enum graft_status choose_kernel(struct planner *w, const struct gr_case *c,
                                       const struct gr_kernel **kernel, struct gr_choice *k,
                                       struct graft_error *err)
{
    if (*c->node->domain)
        return GRAFT_E_UNSUPPORTED;
    for (int i = 0; !w->reference && gr_kernel_table[i]; i++)
        for (const char *const *op = gr_kernel_table[i]->ops; *op; op++) {
            struct graft_error why = {0};
            if (strcmp(*op, c->node->op_type))
                continue;
            *kernel = gr_kernel_table[i];
            enum graft_status s = try_kernel(w, *kernel, c, k, &why);
            if (s == GRAFT_OK)
                return s;
            if (s != GRAFT_E_UNSUPPORTED)
                return gr_error(err, s, "%s", why.message);
        }
    return GRAFT_E_UNSUPPORTED;
}

/* Slots for the outputs, the inputs in place where the kernel wants it so. */
static enum graft_status place_outputs(struct planner *w, const struct program_step *st,
                                       struct plan_step *step, const struct gr_choice *k, int at,
                                       struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (int i = 0; !s && i < step->n_out; i++) {
        int v = st->node.out[i], slot = -1;
        size_t size = 0;
        if (v < 0)
            continue;
        if (i == 0 && k->place >= 0 && (k->must_place || may_overwrite(w, step, k->place, at))) {
            slot = step->in[k->place];
        } else {
            s = plan_size_of(&w->prog->values[v].type, k->out[i].dtype, &size, err);
            if (!s)
                s = add_slot(w, SLOT_WORK, 0, size, -1, &slot, err);
        }
        if (!s)
            s = add_place(w, v, slot, k->out[i], err);
        step->out[i] = slot;
    }
    return s;
}

static enum graft_status plan_step(struct planner *w, size_t at, struct graft_error *err);

/* No kernel takes the step with what was fused into it: the functions become a step again. */
static enum graft_status plan_split(struct planner *w, size_t at, struct graft_error *err)
{
    struct program *p = w->prog;
    struct program_step whole = p->steps[at];
    struct gr_tensor none = {0};
    int mid, *ids = gr_arena_alloc(&p->arena, 3 * sizeof *ids);
    if (!ids)
        return gr_error_nomem(err);
    enum graft_status s = program_add_const(p, &none, &mid, err);
    if (s)
        return s;
    int *grown = gr_realloc_array(w->first_place, p->n_values, sizeof *grown);
    if (grown)
        w->first_place = grown;
    if (!grown)
        return gr_error_nomem(err);
    grown[mid] = -1;
    p->values[mid] = p->values[whole.node.out[0]];
    p->values[mid].last_use = (int)at;
    memset(&p->values[mid].konst, 0, sizeof none);
    p->values[mid].quant = (struct gr_quant){0};
    p->values[mid].leaves = p->values[mid].factor = false;
    struct program_step head = whole, tail = whole;
    head.node.out = ids;
    head.node.n_out = 1;
    ids[0] = mid;
    head.residual = -1;
    head.n_acts = 0;
    head.fused = "";
    ids[1] = mid;
    ids[2] = whole.residual;
    tail.node.in = ids + 1;
    tail.node.n_in = whole.residual >= 0 ? 2 : 1;
    tail.residual = -1;
    tail.node.n_attrs = 0;
    tail.node.op_type = whole.residual >= 0 ? "Add" : "Identity";
    tail.node.op = whole.residual >= 0 ? gr_op_find("", "Add", 14) : &gr_op_pass_identity;
    if (!tail.node.op)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "there is no operator Add");
    p->steps[at] = head;
    s = plan_step(w, at, err);
    p->steps[at] = tail;
    if (!s)
        s = plan_step(w, at, err);
    p->steps[at] = whole;
    return s;
}

/* Step `st` is done by the kernel of `first`. */
static enum graft_status join_step(struct planner *w, struct program_step *first,
                                   struct program_step *st, const struct gr_case *c,
                                   struct gr_step_info *info, struct graft_error *err)
{
    const struct gr_node *n = &st->node;
    enum graft_status s = program_note_fused(w->prog, first, n->op_type, err);
    if (!s && *st->fused)
        s = program_note_fused(w->prog, first, st->fused, err);
    info->fused = first->fused;
    info->macs += n->op->macs ? n->op->macs(n, n->n_in, c->in, c->out) : 0;
    st->dead = true;
    return s;
}

static enum graft_status plan_step(struct planner *w, size_t at, struct graft_error *err)
{
    const struct program_step *st = &w->prog->steps[at];
    const struct gr_node *n = &st->node;
    const struct gr_kernel *kernel = &gr_kernel_reference;
    struct gr_choice k;
    struct gr_case cases[CHAIN_STEPS], *c = cases;
    struct program_step *chain[CHAIN_STEPS] = {&w->prog->steps[at]};
    struct plan_step *step = NULL;
    if (!w->reference && program_is_view(n) && n->in[0] >= 0 && n->out[0] >= 0 &&
        !program_const(w->prog, n->in[0]))
        return plan_view(w, n, err);
    enum graft_status s = fill_case(w, st, &w->lists[0], c, err);
    for (int i = 1; !s && i < CHAIN_STEPS && (chain[i] = next_step(w, chain[i - 1])); i++) {
        s = fill_case(w, chain[i], &w->lists[i], &cases[i], err);
        cases[i - 1].next = &cases[i];
    }
    if (s)
        return s;
    s = choose_kernel(w, c, &kernel, &k, err);
    if (s == GRAFT_E_UNSUPPORTED) {
        if (n->op != &gr_op_pass_identity && (st->residual >= 0 || st->n_acts))
            return plan_split(w, at, err);
        kernel = &gr_kernel_reference;
        /* The node is read while running; its lists stay in the arena, the step does not. */
        struct gr_node *own = gr_arena_copy(&w->prog->arena, n, sizeof *n);
        if (!own)
            return gr_error_nomem(err);
        c->node = own;
        s = try_kernel(w, kernel, c, &k, err);
    }
    if (s)
        return s;
    /* Reorders that the inputs need come first in the plan. */
    int *in = gr_alloc_array((size_t)c->n_in + 1, sizeof *in);
    if (!in)
        s = gr_error_nomem(err);
    for (int i = 0; !s && i < c->n_in; i++) {
        int v = i < n->n_in ? n->in[i] : st->residual;
        in[i] = -1;
        if (v >= 0 && k.in[i].dtype)
            s = get_place(w, v, k.in[i], &in[i], err);
    }
    if (!s && k.must_place) {
        struct plan_step probe = {.n_in = c->n_in, .in = in};
        if (!may_overwrite(w, &probe, k.place, (int)at))
            s = copy_for_update(w, k.place < n->n_in ? n->in[k.place] : st->residual, k.in[k.place],
                                &in[k.place], err);
    }
    if (s) {
        kernel->unplan(k.state);
        gr_free(in);
        return s;
    }
    const struct program_step *last = chain[k.n_steps - 1];
    s = add_step(w, kernel, &k, c->n_in, last->node.n_out, &step, err);
    if (!s) {
        memcpy(step->in, in, (size_t)c->n_in * sizeof *in);
        s = place_outputs(w, last, step, &k, (int)at, err);
    }
    gr_free(in);
    if (s)
        return s;
    for (int i = 0; i < c->n_in; i++)
        if (step->in[i] >= 0)
            touch(w, step->in[i], true);
    for (int i = 0; i < last->node.n_out; i++)
        if (step->out[i] >= 0)
            touch(w, step->out[i], true);
    step->info.node = n->name ? n->name : "";
    step->info.op = n->op_type;
    step->info.fused = st->fused;
    step->info.out = cases[k.n_steps - 1].out[0];
    for (int i = 0; c->quant && i < c->n_in; i++)
        step->info.int8 =
            step->info.int8 || (c->quant[i].dtype && k.in[i].dtype == c->quant[i].dtype);
    step->info.macs = n->op->macs ? n->op->macs(n, n->n_in, c->in, c->out) : 0;
    step->info.bytes += (double)k.weights_size;
    for (int i = 1; !s && i < k.n_steps; i++)
        s = join_step(w, chain[0], chain[i], &cases[i], &step->info, err);
    return s;
}

/* The plan's outputs: made right in the caller's memory where that is possible. */
static enum graft_status plan_outputs(struct planner *w, struct graft_error *err)
{
    struct gr_plan *p = w->plan;
    for (size_t i = 0; i < p->n_outputs; i++) {
        int v = w->prog->outputs[i], slot = -1, out = -1;
        struct gr_layout layout = {p->outputs[i].dtype, false};
        size_t size = 0;
        enum graft_status s = plan_size_of(&p->outputs[i], layout.dtype, &size, err);
        const struct place *at = find_place(w, v);
        if (!s && !at) /* a constant */
            s = get_place(w, v, (struct gr_layout){w->prog->values[v].type.dtype, false}, &slot,
                          err);
        if (s)
            return s;
        at = find_place(w, v);
        if (gr_layout_equal(at->layout, layout, &p->outputs[i].shape) &&
            p->slots[at->slot].kind == SLOT_WORK && p->slots[at->slot].size == size) {
            p->slots[at->slot].kind = SLOT_OUTPUT;
            p->slots[at->slot].index = (int)i;
            continue;
        }
        const struct place from = *at;
        s = add_slot(w, SLOT_OUTPUT, (int)i, size, INT_MAX, &out, err);
        if (!s)
            s = add_reorder(w, v, from.slot, from.layout, out, layout, err);
        if (s)
            return s;
    }
    return GRAFT_OK;
}

/* Floats cross the border as fp32. */
static enum gr_dtype border_dtype(enum gr_dtype t)
{
    return t == GR_F16 || t == GR_BF16 || t == GR_F64 ? GR_F32 : t;
}

static enum graft_status plan_inputs(struct planner *w, struct graft_error *err)
{
    struct gr_plan *p = w->plan;
    for (size_t i = 0; i < p->n_inputs; i++) {
        struct gr_layout layout = {p->inputs[i].dtype, false};
        size_t size = 0;
        int slot = -1;
        enum graft_status s = plan_size_of(&p->inputs[i], layout.dtype, &size, err);
        if (!s)
            s = add_slot(w, SLOT_INPUT, (int)i, size, INT_MAX, &slot, err);
        if (!s)
            s = add_place(w, w->prog->inputs[i], slot, layout, err);
        if (s)
            return s;
    }
    return GRAFT_OK;
}

static enum graft_status lists_init(struct case_lists *l, size_t n, struct graft_error *err)
{
    l->types = gr_alloc_zero(n, sizeof *l->types);
    l->konst = gr_alloc_zero(n, sizeof *l->konst);
    l->arrive = gr_alloc_zero(n, sizeof *l->arrive);
    l->quants = gr_alloc_zero(n, sizeof *l->quants);
    return l->types && l->konst && l->arrive && l->quants ? GRAFT_OK : gr_error_nomem(err);
}

static void lists_clear(struct case_lists *l)
{
    gr_free(l->types);
    gr_free(l->konst);
    gr_free(l->arrive);
    gr_free(l->quants);
}

static enum graft_status make_steps(struct gr_plan *p, struct program *prog, bool reference,
                                    struct graft_error *err)
{
    struct planner w = {.plan = p,
                        .prog = prog,
                        .reference = reference,
                        .bf16 = p->precision == GR_PRECISION_BF16 ||
                                (p->precision == GR_PRECISION_INT8 && gr_cpu_has_fast_bf16())};
    size_t widest = 2;
    for (size_t i = 0; i < prog->n_steps; i++) {
        size_t n = (size_t)(prog->steps[i].node.n_in + prog->steps[i].node.n_out) + 4;
        widest = n > widest ? n : widest;
    }
    w.first_place = gr_alloc_array(prog->n_values + 1, sizeof *w.first_place);
    w.want = gr_alloc_zero(widest, sizeof *w.want);
    enum graft_status s = w.first_place && w.want ? GRAFT_OK : gr_error_nomem(err);
    for (int i = 0; !s && i < CHAIN_STEPS; i++)
        s = lists_init(&w.lists[i], widest, err);
    for (size_t i = 0; !s && i < prog->n_values; i++)
        w.first_place[i] = -1;
    program_find_fates(prog, w.bf16);
    if (!s)
        s = plan_inputs(&w, err);
    for (size_t i = 0; !s && i < prog->n_steps; i++) {
        if (!prog->steps[i].dead)
            s = plan_step(&w, i, err);
        program_drop_consts(prog, i);
        if (s)
            gr_error_in(err, s, "'%s' (%s)", prog->steps[i].node.name, prog->steps[i].node.op_type);
    }
    if (!s)
        s = plan_outputs(&w, err);
    if (!s)
        s = plan_memory(p, err);
    gr_free(w.first_place);
    gr_free(w.places);
    gr_free(w.want);
    for (int i = 0; i < CHAIN_STEPS; i++)
        lists_clear(&w.lists[i]);
    return s;
}

static enum graft_status choose_precision(enum gr_precision wanted, enum gr_precision *p,
                                          struct graft_error *err)
{
    *p = wanted != GR_PRECISION_AUTO ? wanted
         : gr_cpu_has_fast_bf16()    ? GR_PRECISION_BF16
                                     : GR_PRECISION_FP32;
    if (*p == GR_PRECISION_BF16 && !gr_cpu_has_bf16())
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "this processor cannot multiply in bf16 (it has no AVX-512)");
    if (*p == GR_PRECISION_INT8 && !gr_cpu_has_int8())
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "this processor cannot multiply in int8 (it has no VNNI)");
    return GRAFT_OK;
}

/* The types of the graph's inputs for one part of the batch. */
static enum graft_status read_input_types(const struct gr_graph *g, const struct gr_shape *shapes,
                                          const struct gr_plan_options *o, struct gr_type *types,
                                          struct graft_error *err)
{
    if (o->batch < 1 || o->parts < 1 || o->batch % o->parts)
        return gr_error(err, GRAFT_E_ARG, "batch of %lld in %d parts", (long long)o->batch,
                        o->parts);
    for (size_t i = 0; i < g->n_inputs; i++) {
        const struct gr_value *v = &g->values[g->inputs[i]];
        types[i] = v->type;
        if (shapes)
            types[i].shape = shapes[i];
        else if (types[i].shape.rank > 0)
            types[i].shape.dim[0] = o->batch;
        if (types[i].shape.rank > 0)
            types[i].shape.dim[0] /= o->parts;
        char text[GR_SHAPE_TEXT];
        if (!gr_dtype_size(types[i].dtype) || (!shapes && !v->has_shape) ||
            gr_shape_count(&types[i].shape) < 0)
            return gr_error(err, GRAFT_E_SHAPE, "input '%s' has no complete shape: %s %s", v->name,
                            gr_dtype_name(types[i].dtype), gr_shape_print(&types[i].shape, text));
    }
    return GRAFT_OK;
}

static enum graft_status set_border(struct gr_plan *p, const struct program *prog,
                                    struct graft_error *err)
{
    p->n_inputs = prog->n_inputs;
    p->n_outputs = prog->n_outputs;
    p->inputs = gr_arena_alloc(&p->arena, (p->n_inputs + 1) * sizeof *p->inputs);
    p->outputs = gr_arena_alloc(&p->arena, (p->n_outputs + 1) * sizeof *p->outputs);
    if (!p->inputs || !p->outputs)
        return gr_error_nomem(err);
    for (size_t i = 0; i < p->n_inputs; i++)
        p->inputs[i] = prog->values[prog->inputs[i]].type;
    for (size_t i = 0; i < p->n_outputs; i++)
        p->outputs[i] = prog->values[prog->outputs[i]].type;
    for (size_t i = 0; i < p->n_inputs; i++)
        p->inputs[i].dtype = border_dtype(p->inputs[i].dtype);
    for (size_t i = 0; i < p->n_outputs; i++)
        p->outputs[i].dtype = border_dtype(p->outputs[i].dtype);
    return GRAFT_OK;
}

/* Steps for one part; what is seen from outside is the whole batch. */
static enum graft_status make_parts(struct gr_plan *p, struct program *prog,
                                    const struct gr_plan_options *o, struct graft_error *err)
{
    const int threads = omp_get_max_threads();
    p->parts = o->parts;
    if (p->parts > 1) /* kernels divide their work among the threads that they see now */
        omp_set_num_threads(1);
    enum graft_status s = make_steps(p, prog, o->reference, err);
    if (p->parts > 1)
        omp_set_num_threads(threads);
    for (size_t i = 0; i < p->n_inputs; i++)
        if (p->inputs[i].shape.rank)
            p->inputs[i].shape.dim[0] *= p->parts;
    for (size_t i = 0; i < p->n_outputs; i++)
        if (p->outputs[i].shape.rank)
            p->outputs[i].shape.dim[0] *= p->parts;
    return s;
}

/* The graph's steps after the passes. `prog` must be cleared even on failure. */
static enum graft_status make_program(const struct gr_graph *g, size_t n_outputs,
                                      const int *outputs, const struct gr_shape *input_shapes,
                                      const struct gr_plan_options *options, struct program *prog,
                                      struct graft_error *err)
{
    struct gr_inferred types = {0};
    struct gr_type *in = gr_alloc_zero(g->n_inputs + 1, sizeof *in);
    enum graft_status s = in ? GRAFT_OK : gr_error_nomem(err);
    if (!outputs) {
        outputs = g->outputs;
        n_outputs = g->n_outputs;
    }
    if (!s)
        s = read_input_types(g, input_shapes, options, in, err);
    if (!s)
        s = gr_graph_infer(g, in, n_outputs, outputs, &types, err);
    if (!s)
        s = program_init(prog, g, &types, n_outputs, outputs, options->reference, err);
    if (!s && options->fuse && !options->reference)
        s = pass_fold(prog, err);
    if (!s && options->fuse && !options->reference)
        s = pass_norm(prog, err);
    if (!s && options->fuse && !options->reference)
        s = pass_attention(prog, err);
    if (!s && !options->reference)
        s = pass_fuse(prog, options->fuse, err);
    gr_inferred_clear(&types);
    gr_free(in);
    return s;
}

enum graft_status gr_plan_new(const struct gr_graph *g, size_t n_outputs, const int *outputs,
                              const struct gr_shape *input_shapes,
                              const struct gr_plan_options *options, struct gr_plan **plan,
                              struct graft_error *err)
{
    struct program prog = {0};
    struct gr_plan *p = gr_alloc_zero(1, sizeof *p);
    enum graft_status s = p ? GRAFT_OK : gr_error_nomem(err);
    if (!s)
        s = choose_precision(options->precision, &p->precision, err);
    if (!s)
        s = make_program(g, n_outputs, outputs, input_shapes, options, &prog, err);
    if (!s && p->precision == GR_PRECISION_INT8 && options->ranges)
        s = pass_int8(&prog, options->ranges, err);
    if (!s)
        s = set_border(p, &prog, err);
    if (!s)
        s = make_parts(p, &prog, options, err);
    if (!s && p->work_size > options->work_limit / (size_t)p->parts)
        s = gr_error(err, GRAFT_E_LIMIT,
                     "a batch of %lld needs %zu MB of working memory, the limit is %zu MB",
                     (long long)options->batch, gr_plan_get_work_size(p) >> 20,
                     options->work_limit >> 20);
    if (!s) { /* steps keep pointing to nodes and names there */
        p->nodes = prog.arena;
        memset(&prog.arena, 0, sizeof prog.arena);
        *plan = p;
        p = NULL;
    }
    program_clear(&prog);
    gr_plan_free(p);
    return s;
}

enum graft_status gr_plan_find_ranged(const struct gr_graph *g, const struct gr_shape *input_shapes,
                                      const struct gr_plan_options *options, bool *ranged,
                                      struct graft_error *err)
{
    struct program prog = {0};
    bool *marks = NULL;
    enum graft_status s = make_program(g, 0, NULL, input_shapes, options, &prog, err);
    if (!s && !(marks = gr_alloc_zero(prog.n_values + 1, sizeof *marks)))
        s = gr_error_nomem(err);
    if (!s) {
        pass_int8_mark(&prog, marks);
        memcpy(ranged, marks, g->n_values * sizeof *marks);
    }
    gr_free(marks);
    program_clear(&prog);
    return s;
}

size_t gr_plan_n_inputs(const struct gr_plan *p)
{
    return p->n_inputs;
}

size_t gr_plan_n_outputs(const struct gr_plan *p)
{
    return p->n_outputs;
}

const struct gr_type *gr_plan_get_input(const struct gr_plan *p, size_t i)
{
    return &p->inputs[i];
}

const struct gr_type *gr_plan_get_output(const struct gr_plan *p, size_t i)
{
    return &p->outputs[i];
}

enum gr_precision gr_plan_get_precision(const struct gr_plan *p)
{
    return p->precision;
}

size_t gr_plan_get_weights_size(const struct gr_plan *p)
{
    return p->weights_size;
}

size_t gr_plan_get_work_size(const struct gr_plan *p)
{
    return p->work_size * (size_t)p->parts;
}

size_t gr_plan_n_steps(const struct gr_plan *p)
{
    return p->n_steps;
}

void gr_plan_get_step(const struct gr_plan *p, size_t i, struct gr_step_info *info)
{
    *info = p->steps[i].info;
}
