/* Which steps does a plan start from? */
#include "exec/program.h"
#include "base/mem.h"
#include "core/op.h"
#include <limits.h>

void program_clear(struct program *p)
{
    for (size_t i = 0; i < p->n_values; i++)
        gr_tensor_clear(&p->values[i].konst);
    gr_free(p->values);
    gr_free(p->steps);
    gr_arena_clear(&p->arena);
    memset(p, 0, sizeof *p);
}

static bool all_zero(const struct gr_tensor *t)
{
    for (int64_t i = 0; i < gr_tensor_count(t); i++)
        if (gr_load_f64(t->dtype, t->data, (size_t)i) != 0)
            return false;
    return true;
}

/* Output 0 is input 0, unchanged. */
static bool is_noop(const struct program *p, const struct gr_node *n)
{
    static const char *const same[] = {"Identity", "Dropout", "Reshape",   "Flatten",
                                       "Squeeze",  "Cast",    "Unsqueeze", "Expand"};
    if (*n->domain || n->n_in < 1 || n->in[0] < 0 || n->n_out < 1 || n->out[0] < 0)
        return false;
    const struct gr_type *x = &p->values[n->in[0]].type, *y = &p->values[n->out[0]].type;
    if (x->dtype != y->dtype || !gr_shape_equal(&x->shape, &y->shape))
        return false;
    for (int i = 1; i < n->n_out; i++)
        if (n->out[i] >= 0 && p->values[n->out[i]].n_uses)
            return false;
    if (!strcmp(n->op_type, "Dropout") && n->n_in > 2 && n->in[2] >= 0) {
        const struct gr_tensor *training = program_const(p, n->in[2]);
        return training && all_zero(training);
    }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (!strcmp(n->op_type, same[i]))
            return true;
    const struct gr_attr *a = gr_node_find_attr(n, "pads");
    if (!strcmp(n->op_type, "Pad") && a) {
        for (size_t i = 0; i < a->n; i++)
            if (a->ints[i])
                return false;
        return true;
    }
    const struct gr_tensor *pads = n->n_in > 1 ? program_const(p, n->in[1]) : NULL;
    if (!strcmp(n->op_type, "Pad"))
        return pads && all_zero(pads);
    bool variadic = !strcmp(n->op_type, "Concat") || !strcmp(n->op_type, "Sum") ||
                    !strcmp(n->op_type, "Max") || !strcmp(n->op_type, "Min");
    return variadic && n->n_in == 1;
}

/* Steps that change nothing vanish: who read their output reads their input. */
static enum graft_status drop_noops(struct program *p, struct graft_error *err)
{
    int *same = gr_alloc_array(p->n_values + 1, sizeof *same);
    if (!same)
        return gr_error_nomem(err);
    for (size_t i = 0; i < p->n_values; i++)
        same[i] = (int)i;
    for (size_t i = 0; i < p->n_steps; i++) {
        struct program_step *s = &p->steps[i];
        for (int k = 0; k < s->node.n_in; k++)
            if (s->node.in[k] >= 0)
                s->node.in[k] = same[s->node.in[k]];
        if (!s->dead && is_noop(p, &s->node)) {
            s->dead = true;
            same[s->node.out[0]] = s->node.in[0];
        }
    }
    for (size_t i = 0; i < p->n_outputs; i++)
        p->outputs[i] = same[p->outputs[i]];
    gr_free(same);
    return GRAFT_OK;
}

static void count_once(struct program *p)
{
    for (size_t i = 0; i < p->n_values; i++) {
        p->values[i].n_uses = 0;
        p->values[i].maker = p->values[i].last_use = -1;
    }
    for (size_t i = 0; i < p->n_steps; i++) {
        struct program_step *s = &p->steps[i];
        for (int k = 0; !s->dead && k <= s->node.n_in; k++) {
            int v = k < s->node.n_in ? s->node.in[k] : s->residual;
            if (v >= 0) {
                p->values[v].n_uses++;
                p->values[v].last_use = (int)i;
            }
        }
        for (int k = 0; !s->dead && k < s->node.n_out; k++)
            if (s->node.out[k] >= 0)
                p->values[s->node.out[k]].maker = (int)i;
    }
    for (size_t i = 0; i < p->n_outputs; i++) {
        p->values[p->outputs[i]].n_uses++;
        p->values[p->outputs[i]].last_use = INT_MAX;
    }
}

void program_count(struct program *p)
{
    count_once(p);
    for (size_t i = p->n_steps; i-- > 0;) {
        struct program_step *s = &p->steps[i];
        bool used = false;
        for (int k = 0; k < s->node.n_out; k++)
            used = used || (s->node.out[k] >= 0 && p->values[s->node.out[k]].n_uses);
        if (s->dead || used)
            continue;
        s->dead = true;
        for (int k = 0; k <= s->node.n_in; k++) {
            int v = k < s->node.n_in ? s->node.in[k] : s->residual;
            if (v >= 0)
                p->values[v].n_uses--;
        }
    }
    count_once(p);
}

enum graft_status program_add_const(struct program *p, struct gr_tensor *t, int *value,
                                    struct graft_error *err)
{
    if (!GR_GROW(p->values, p->n_values, p->cap_values)) {
        gr_tensor_clear(t);
        return gr_error_nomem(err);
    }
    struct program_value *v = &p->values[p->n_values];
    *v = (struct program_value){
        .name = "", .type = {t->dtype, t->shape}, .konst = *t, .maker = -1, .last_use = -1};
    memset(t, 0, sizeof *t);
    *value = (int)p->n_values++;
    return GRAFT_OK;
}

enum graft_status program_settle_const(struct program *p, int v, struct graft_error *err)
{
    struct program_value *value = v < 0 ? NULL : &p->values[v];
    struct gr_tensor t = {0};
    if (!value || !value->scale)
        return GRAFT_OK;
    enum graft_status s = gr_tensor_new_unset(GR_F32, &value->konst.shape, &t, err);
    if (s)
        return s;
    float *y = gr_tensor_mut(&t);
    const uint8_t *from = value->konst.data; /* in a mapped file: perhaps not aligned */
    for (int64_t at = 0, n = gr_tensor_count(&t), r = 0; at < n; r++) {
        const double scale = value->scale[r % value->n_scale];
        memcpy(y + at, from + (size_t)at * sizeof *y, (size_t)value->run * sizeof *y);
        for (int64_t end = at + value->run; at < end; at++)
            y[at] = (float)(y[at] * scale);
    }
    gr_tensor_clear(&value->konst);
    value->konst = t;
    value->scale = NULL;
    return GRAFT_OK;
}

void program_drop_consts(struct program *p, size_t step)
{
    const struct gr_node *n = &p->steps[step].node;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 && p->values[n->in[i]].last_use == (int)step)
            gr_tensor_clear(&p->values[n->in[i]].konst);
}

struct program_step *program_sole_maker(struct program *p, int v)
{
    if (v < 0 || p->values[v].n_uses != 1 || p->values[v].maker < 0)
        return NULL;
    struct program_step *s = &p->steps[p->values[v].maker];
    return s->n_acts || s->residual >= 0 || s->node.n_out != 1 ? NULL : s;
}

struct program_step *program_sole_reader(struct program *p, int v)
{
    const int at = p->values[v].n_uses == 1 ? p->values[v].last_use : -1;
    return at < 0 || at >= (int)p->n_steps || p->steps[at].dead ? NULL : &p->steps[at];
}

bool program_get_number(const struct program *p, int v, double *number)
{
    const struct gr_tensor *t = program_const(p, v);
    if (!t || gr_tensor_count(t) != 1)
        return false;
    *number = gr_load_f64(t->dtype, t->data, 0);
    return true;
}

bool program_get_int(const struct program *p, int v, int64_t *number)
{
    const struct gr_tensor *t = program_const(p, v);
    if (!t || gr_tensor_count(t) != 1 || (t->dtype != GR_I64 && t->dtype != GR_I32))
        return false;
    *number = gr_load_i64(t->dtype, t->data, 0);
    return true;
}

/* Input k of a step is multiplied, or moved to where it will be. */
static bool makes_factor(const struct program *p, const struct gr_node *n, bool bf16, int k)
{
    const bool product = gr_node_is(n, "Conv") || gr_node_is(n, "Gemm") ||
                         gr_node_is(n, "MatMul") || gr_node_is(n, "Linear"),
               moves = program_is_view(n) || gr_node_is(n, "Transpose") ||
                       gr_node_is(n, "Gather") || gr_node_is(n, "Slice");
    return (bf16 && product && k < 2) || (bf16 && gr_node_is(n, "Attention") && k < 3) ||
           (moves && k == 0 && n->out[0] >= 0 && p->values[n->out[0]].factor);
}

void program_find_fates(struct program *p, bool bf16)
{
    for (size_t i = 0; i < p->n_values; i++) {
        p->values[i].leaves = false;
        p->values[i].factor = bf16 && p->values[i].type.dtype == GR_F32;
    }
    for (size_t i = 0; i < p->n_outputs; i++) {
        p->values[p->outputs[i]].leaves = true;
        p->values[p->outputs[i]].factor = false;
    }
    for (size_t i = p->n_steps; i-- > 0;) {
        const struct gr_node *n = &p->steps[i].node;
        if (p->steps[i].dead)
            continue;
        if (program_is_view(n) && n->in[0] >= 0 && n->out[0] >= 0 && p->values[n->out[0]].leaves)
            p->values[n->in[0]].leaves = true;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] >= 0 && !makes_factor(p, n, bf16, k))
                p->values[n->in[k]].factor = false;
        if (p->steps[i].residual >= 0)
            p->values[p->steps[i].residual].factor = false;
    }
}

enum graft_status program_note_fused(struct program *p, struct program_step *s, const char *op,
                                     struct graft_error *err)
{
    size_t a = strlen(s->fused), b = strlen(op);
    char *text = gr_arena_alloc(&p->arena, a + b + 2);
    if (!text)
        return gr_error_nomem(err);
    memcpy(text, s->fused, a);
    if (a)
        text[a++] = ' ';
    memcpy(text + a, op, b);
    s->fused = text;
    return GRAFT_OK;
}

static enum graft_status add_step(struct program *p, const struct gr_node *n)
{
    struct program_step *s = &p->steps[p->n_steps];
    int *ids = gr_arena_alloc(&p->arena, (size_t)(n->n_in + n->n_out + 1) * sizeof *ids);
    if (!ids)
        return GRAFT_E_NOMEM;
    *s = (struct program_step){.node = *n, .residual = -1, .fused = ""};
    if (n->n_in)
        memcpy(ids, n->in, (size_t)n->n_in * sizeof *ids);
    memcpy(ids + n->n_in, n->out, (size_t)n->n_out * sizeof *ids);
    s->node.in = ids;
    s->node.out = ids + n->n_in;
    p->n_steps++;
    return GRAFT_OK;
}

enum graft_status program_init(struct program *out, const struct gr_graph *g,
                               const struct gr_inferred *types, size_t n_outputs,
                               const int *outputs, bool verbatim, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct program p = {.n_inputs = g->n_inputs, .n_outputs = n_outputs};
    unsigned char *needed = gr_alloc_zero(g->n_nodes + 1, 1);
    p.values = gr_alloc_zero(g->n_values + 1, sizeof *p.values);
    p.cap_values = g->n_values + 1;
    p.steps = gr_alloc_zero(g->n_nodes + 1, sizeof *p.steps);
    p.inputs = gr_arena_alloc(&p.arena, (p.n_inputs + 1) * sizeof *p.inputs);
    p.outputs = gr_arena_alloc(&p.arena, (n_outputs + 1) * sizeof *p.outputs);
    if (!needed || !p.values || !p.steps || !p.inputs || !p.outputs) {
        s = gr_error_nomem(err);
        goto out;
    }
    if (p.n_inputs)
        memcpy(p.inputs, g->inputs, p.n_inputs * sizeof *p.inputs);
    if (n_outputs)
        memcpy(p.outputs, outputs, n_outputs * sizeof *p.outputs);
    for (size_t i = 0; i < g->n_values; i++) {
        struct program_value *v = &p.values[p.n_values++];
        *v = (struct program_value){
            .name = g->values[i].name, .type = types->type[i], .maker = -1, .last_use = -1};
        if (types->konst[i].buf)
            v->konst = gr_tensor_ref(&types->konst[i]);
    }
    gr_graph_needed(g, n_outputs, outputs, needed);
    for (size_t i = 0; !s && i < g->n_nodes; i++) {
        const struct gr_node *n = &g->nodes[i];
        bool known = true;
        for (int k = 0; k < n->n_out; k++)
            known = known && (n->out[k] < 0 || program_const(&p, n->out[k]));
        if (needed[i] && !known && add_step(&p, n))
            s = gr_error_nomem(err);
    }
    if (s)
        goto out;
    program_count(&p);
    if (!verbatim) {
        s = drop_noops(&p, err);
        program_count(&p);
    }
out:
    gr_free(needed);
    if (s)
        program_clear(&p);
    else
        *out = p;
    return s;
}
