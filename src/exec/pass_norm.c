/* Which steps are together a layer normalisation? Exporters before operator set 17 write it as
   (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * w + b, step by step. */
#include "core/op.h"
#include "exec/program.h"

/* The step that makes v, read so many times in all. */
static struct program_step *maker_of(const struct program *p, int v, const char *op, int n_uses)
{
    if (v < 0 || p->values[v].maker < 0 || p->values[v].n_uses != n_uses)
        return NULL;
    struct program_step *s = &p->steps[p->values[v].maker];
    return gr_node_is(&s->node, op) ? s : NULL;
}

/* The value whose rows, along the last axis, `v` is the mean of; else -1. */
static int mean_of(const struct program *p, int v)
{
    const struct program_step *s = maker_of(p, v, "ReduceMean", 1);
    int64_t axis;
    if (!s || s->node.in[0] < 0 || !gr_node_get_int(&s->node, "keepdims", 1))
        return -1;
    const struct gr_attr *axes = gr_node_find_attr(&s->node, "axes");
    if (axes && axes->n == 1)
        axis = axes->ints[0];
    else if (s->node.n_in < 2 || !program_get_int(p, s->node.in[1], &axis))
        return -1;
    const int rank = p->values[s->node.in[0]].type.shape.rank;
    return gr_axis(axis, rank) == rank - 1 ? s->node.in[0] : -1;
}

/* x of d = x - mean(x), or -1. */
static int centred(const struct program *p, int d, int n_uses)
{
    const struct program_step *s = maker_of(p, d, "Sub", n_uses);
    return s && mean_of(p, s->node.in[1]) == s->node.in[0] ? s->node.in[0] : -1;
}

/* x and eps of sqrt(mean(d d) + eps), where d is x - mean(x) and divided by it; else -1. */
static int deviation(const struct program *p, int v, int d, double *eps)
{
    const struct program_step *root = maker_of(p, v, "Sqrt", 1),
                              *add = root ? maker_of(p, root->node.in[0], "Add", 1) : NULL;
    for (int k = 0; add && k < 2; k++) {
        const int square = mean_of(p, add->node.in[k]);
        double two;
        if (square < 0 || !program_get_number(p, add->node.in[1 - k], eps))
            continue;
        const struct program_step *pow = maker_of(p, square, "Pow", 1),
                                  *mul = maker_of(p, square, "Mul", 1);
        if (pow && pow->node.in[0] == d && program_get_number(p, pow->node.in[1], &two) && two == 2)
            return centred(p, d, 2);
        if (mul && mul->node.in[0] == d && mul->node.in[1] == d)
            return centred(p, d, 3);
    }
    return -1;
}

/* The other input of a step whose input is `v`, where it is a constant row of so many numbers. */
static int row_beside(const struct program *p, const struct gr_node *n, int v, int64_t width)
{
    for (int k = 0; n->n_in == 2 && k < 2; k++) {
        const struct gr_tensor *t = program_const(p, n->in[1 - k]);
        if (n->in[k] == v && t && t->dtype == GR_F32 && gr_tensor_count(t) == width &&
            t->shape.rank >= 1 && t->shape.dim[t->shape.rank - 1] == width)
            return n->in[1 - k];
    }
    return -1;
}

static struct program_step *sole_reader(struct program *p, int v, const char *op)
{
    struct program_step *s = program_sole_reader(p, v);
    return s && gr_node_is(&s->node, op) ? s : NULL;
}

static enum graft_status fuse(struct program *p, const struct program_step *div,
                              struct graft_error *err)
{
    double eps = 0;
    const int x = deviation(p, div->node.in[1], div->node.in[0], &eps);
    struct program_step *mul = x < 0 ? NULL : sole_reader(p, div->node.out[0], "Mul"),
                        *add = mul ? sole_reader(p, mul->node.out[0], "Add") : NULL;
    if (!add || p->values[x].type.dtype != GR_F32)
        return GRAFT_OK;
    const struct gr_shape *s = &p->values[x].type.shape;
    const int64_t width = s->dim[s->rank - 1];
    const int w = row_beside(p, &mul->node, div->node.out[0], width),
              b = row_beside(p, &add->node, mul->node.out[0], width);
    const struct gr_op *op = gr_op_find("", "LayerNormalization", 17);
    if (w < 0 || b < 0 || !op || !gr_shape_equal(s, &p->values[add->node.out[0]].type.shape))
        return GRAFT_OK;
    int *in = gr_arena_alloc(&p->arena, 3 * sizeof *in);
    struct gr_attr *a = gr_arena_alloc(&p->arena, sizeof *a);
    if (!in || !a)
        return gr_error_nomem(err);
    *a = (struct gr_attr){.name = "epsilon", .type = GR_ATTR_FLOAT, .f = (float)eps};
    in[0] = x;
    in[1] = w;
    in[2] = b;
    add->node.in = in;
    add->node.n_in = 3;
    add->node.op_type = "LayerNormalization";
    add->node.op = op;
    add->node.opset = 17;
    add->node.attrs = a;
    add->node.n_attrs = 1;
    enum graft_status status = gr_op_read_params(op, &add->node, &p->arena, &add->node.params, err);
    if (!status)
        status =
            program_note_fused(p, add, "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add", err);
    program_count(p);
    return status;
}

enum graft_status pass_norm(struct program *p, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < p->n_steps; i++)
        if (!p->steps[i].dead && gr_node_is(&p->steps[i].node, "Div"))
            s = fuse(p, &p->steps[i], err);
    return s;
}
