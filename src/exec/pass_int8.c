/* Which values are kept in 8 bits, and with which scale? */
#include "base/mem.h"
#include "exec/program.h"
#include "exec/ranges.h"

/* A product of a picture or matrix with constant weights. */
static bool is_product(const struct program *p, const struct gr_node *n)
{
    return (gr_node_is(n, "Conv") || gr_node_is(n, "Gemm") || gr_node_is(n, "MatMul") ||
            gr_node_is(n, "Linear")) &&
           n->n_in > 1 && n->in[0] >= 0 && !program_const(p, n->in[0]) &&
           program_const(p, n->in[1]) && p->values[n->in[0]].type.dtype == GR_F32;
}

/* Both sides of a MaxPool hold the same numbers. */
static bool is_max(const struct gr_node *n)
{
    return gr_node_is(n, "MaxPool") && n->in[0] >= 0 && n->out[0] >= 0;
}

void pass_int8_mark(const struct program *p, bool *marks)
{
    for (size_t i = p->n_steps; i-- > 0;) {
        const struct program_step *s = &p->steps[i];
        if (s->dead)
            continue;
        const bool out = s->node.n_out && s->node.out[0] >= 0 && marks[s->node.out[0]];
        if (is_product(p, &s->node)) {
            marks[s->node.in[0]] = true;
            if (out && s->residual >= 0) /* it is read where the output goes */
                marks[s->residual] = true;
        } else if (out && is_max(&s->node)) {
            marks[s->node.in[0]] = true;
        }
    }
}

enum graft_status pass_int8(struct program *p, const struct gr_ranges *r, struct graft_error *err)
{
    bool *marks = gr_alloc_zero(p->n_values + 1, sizeof *marks);
    if (!marks)
        return gr_error_nomem(err);
    pass_int8_mark(p, marks);
    for (size_t v = 0; v < p->n_values; v++) {
        const struct gr_range *range = marks[v] ? gr_ranges_find(r, p->values[v].name) : NULL;
        if (range)
            p->values[v].quant = gr_range_quant(range);
    }
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct program_step *s = &p->steps[i];
        if (!s->dead && is_max(&s->node) && p->values[s->node.in[0]].quant.dtype)
            p->values[s->node.out[0]].quant = p->values[s->node.in[0]].quant;
    }
    gr_free(marks);
    return GRAFT_OK;
}
