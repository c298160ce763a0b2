/* Which elementwise steps become part of the step before them? */
#include "core/op.h"
#include "exec/program.h"
#include <limits.h>
#include <math.h>

static double scalar(const struct gr_tensor *t)
{
    return gr_load_f64(t->dtype, t->data, 0);
}

/* The bounds of Clip: attributes until opset 6, constant inputs later. */
static bool read_clip(const struct program *p, const struct gr_node *n, struct gr_act *a)
{
    *a = (struct gr_act){GR_ACT_CLIP, gr_node_get_float(n, "min", -INFINITY),
                         gr_node_get_float(n, "max", INFINITY)};
    for (int i = 1; i < n->n_in && i < 3; i++) {
        const struct gr_tensor *t = program_const(p, n->in[i]);
        if (n->in[i] < 0)
            continue;
        if (!t || gr_tensor_count(t) != 1)
            return false;
        *(i == 1 ? &a->a : &a->b) = (float)scalar(t);
    }
    return true;
}

/* Add, Sub, Mul, Div with one constant number: a x + b; *x is the other input. */
static bool read_linear(const struct program *p, const struct gr_node *n, struct gr_act *a, int *x)
{
    for (int k = 0; n->n_in == 2 && k < 2; k++) {
        const struct gr_tensor *t = program_const(p, n->in[1 - k]);
        if (!t || gr_tensor_count(t) != 1 || n->in[k] < 0 ||
            !gr_shape_equal(&p->values[n->in[k]].type.shape, &p->values[n->out[0]].type.shape))
            continue;
        float v = (float)scalar(t);
        *x = k;
        if (gr_node_is(n, "Add"))
            *a = (struct gr_act){GR_ACT_LINEAR, 1, v};
        else if (gr_node_is(n, "Sub"))
            *a = k ? (struct gr_act){GR_ACT_LINEAR, -1, v} : (struct gr_act){GR_ACT_LINEAR, 1, -v};
        else if (gr_node_is(n, "Mul"))
            *a = (struct gr_act){GR_ACT_LINEAR, v, 0};
        else if (gr_node_is(n, "Div") && !k && isfinite(1 / v))
            *a = (struct gr_act){GR_ACT_LINEAR, 1 / v, 0};
        else
            return false;
        return true;
    }
    return false;
}

static bool read_act(const struct program *p, const struct gr_node *n, struct gr_act *a, int *x)
{
    static const struct {
        const char *op;
        enum gr_act_kind kind;
        const char *a_name, *b_name;
        float a, b;
    } table[] = {{"Relu", GR_ACT_CLIP, NULL, NULL, 0, INFINITY},
                 {"LeakyRelu", GR_ACT_LEAKY, "alpha", NULL, 0.01f, 0},
                 {"Sigmoid", GR_ACT_SIGMOID, NULL, NULL, 0, 0},
                 {"Tanh", GR_ACT_TANH, NULL, NULL, 0, 0},
                 {"HardSwish", GR_ACT_HARD_SWISH, NULL, NULL, 0, 0},
                 {"HardSigmoid", GR_ACT_HARD_SIGMOID, "alpha", "beta", 0.2f, 0.5f},
                 {"Elu", GR_ACT_ELU, "alpha", NULL, 1, 0},
                 {"Softplus", GR_ACT_SOFTPLUS, NULL, NULL, 0, 0},
                 {"Mish", GR_ACT_MISH, NULL, NULL, 0, 0},
                 {"Exp", GR_ACT_EXP, NULL, NULL, 0, 0},
                 {"Sqrt", GR_ACT_SQRT, NULL, NULL, 0, 0},
                 {"Abs", GR_ACT_ABS, NULL, NULL, 0, 0},
                 {"Erf", GR_ACT_ERF, NULL, NULL, 0, 0},
                 {"Neg", GR_ACT_LINEAR, NULL, NULL, -1, 0}};
    *x = 0;
    if (*n->domain || n->n_in < 1 || n->n_out != 1 || n->in[0] < 0 || n->out[0] < 0 ||
        p->values[n->in[0]].type.dtype != GR_F32 || p->values[n->out[0]].type.dtype != GR_F32)
        return false;
    if (gr_node_is(n, "Clip"))
        return read_clip(p, n, a);
    if (gr_node_is(n, "Gelu")) {
        const struct gr_attr *t = gr_node_find_attr(n, "approximate");
        *a = (struct gr_act){t && !strcmp(t->s, "tanh") ? GR_ACT_GELU_TANH : GR_ACT_GELU, 0, 0};
        return true;
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(n->op_type, table[i].op)) {
            *a = (struct gr_act){table[i].kind, table[i].a, table[i].b};
            if (table[i].a_name)
                a->a = gr_node_get_float(n, table[i].a_name, a->a);
            if (table[i].b_name)
                a->b = gr_node_get_float(n, table[i].b_name, a->b);
            return true;
        }
    return read_linear(p, n, a, x);
}

/* The node becomes Identity of input x, followed by the function. */
static void become_act(struct program *p, struct program_step *s, int x, const struct gr_act *a)
{
    int *in = s->node.in;
    for (int k = 0; k < s->node.n_in; k++)
        if (k != x && in[k] >= 0)
            p->values[in[k]].n_uses--;
    in[0] = in[x];
    s->node.n_in = 1;
    s->node.op_type = "Identity";
    s->node.op = &gr_op_pass_identity;
    s->node.n_attrs = 0;
    s->acts[0] = *a;
    s->n_acts = 1;
}

static bool is_lone_act(const struct program_step *s)
{
    return !s->dead && s->node.op == &gr_op_pass_identity && s->n_acts == 1;
}

/* x * sigmoid(x), x * hard_sigmoid(x) */
static enum graft_status fuse_swish(struct program *p, struct program_step *s,
                                    struct graft_error *err)
{
    if (s->dead || !gr_node_is(&s->node, "Mul") || s->node.n_in != 2)
        return GRAFT_OK;
    for (int k = 0; k < 2; k++) {
        int v = s->node.in[k];
        if (v < 0 || p->values[v].maker < 0 || p->values[v].n_uses != 1)
            continue;
        struct program_step *m = &p->steps[p->values[v].maker];
        struct gr_act a = m->acts[0];
        bool hard = a.kind == GR_ACT_HARD_SIGMOID && fabsf(a.a * 6 - 1) < 1e-5f && a.b == 0.5f;
        if (!is_lone_act(m) || m->node.in[0] != s->node.in[1 - k] ||
            !(hard || a.kind == GR_ACT_SIGMOID))
            continue;
        a = hard ? (struct gr_act){GR_ACT_HARD_SWISH, 0, 0} : (struct gr_act){GR_ACT_SWISH, 1, 0};
        m->dead = true;
        p->values[m->node.in[0]].n_uses--;
        become_act(p, s, 1 - k, &a);
        return program_note_fused(p, s, hard ? "HardSigmoid" : "Sigmoid", err);
    }
    return GRAFT_OK;
}

/* The lone step that makes v by that function, if nobody else reads v. */
static struct program_step *act_maker(struct program *p, int v, enum gr_act_kind kind, float a,
                                      float b)
{
    if (v < 0 || p->values[v].maker < 0 || p->values[v].n_uses != 1)
        return NULL;
    struct program_step *m = &p->steps[p->values[v].maker];
    const struct gr_act *act = &m->acts[0];
    return is_lone_act(m) && act->kind == kind && fabsf(act->a - a) <= 1e-6f && act->b == b ? m
                                                                                            : NULL;
}

/* x * (1 + erf(x / sqrt 2)) / 2 as exporters write it, halved at the end or at the start. */
static enum graft_status fuse_gelu(struct program *p, struct program_step *s,
                                   struct graft_error *err)
{
    const bool half_last = is_lone_act(s) && s->acts[0].kind == GR_ACT_LINEAR &&
                           s->acts[0].a == 0.5f && s->acts[0].b == 0;
    struct program_step *mul = half_last ? program_sole_maker(p, s->node.in[0]) : s;
    if (!mul || mul->dead || !gr_node_is(&mul->node, "Mul") || mul->node.n_in != 2 || mul->n_acts)
        return GRAFT_OK;
    for (int k = 0; k < 2; k++) {
        const int other = mul->node.in[1 - k];
        struct program_step *plus = act_maker(p, mul->node.in[k], GR_ACT_LINEAR, 1, 1);
        struct program_step *erf = plus ? act_maker(p, plus->node.in[0], GR_ACT_ERF, 0, 0) : NULL;
        if (!erf)
            continue;
        struct program_step *scale = act_maker(p, erf->node.in[0], GR_ACT_LINEAR, 0.70710678f, 0),
                            *half = half_last ? NULL : act_maker(p, other, GR_ACT_LINEAR, 0.5f, 0);
        if (!scale || (!half_last && !half) ||
            (half ? half->node.in[0] : other) != scale->node.in[0])
            continue;
        const struct gr_act gelu = {GR_ACT_GELU, 0, 0};
        const int x = scale->node.in[0];
        mul->dead = plus->dead = erf->dead = scale->dead = true;
        if (half)
            half->dead = true;
        s->dead = false;
        p->values[x].n_uses--; /* of two, one is left */
        s->node.in[0] = x;
        become_act(p, s, 0, &gelu);
        return program_note_fused(p, s, "Gelu", err);
    }
    return GRAFT_OK;
}

/* A product with one constant matrix takes the constant row that is added to its rows. */
static enum graft_status fuse_bias(struct program *p, struct program_step *s,
                                   struct graft_error *err)
{
    if (s->dead || !gr_node_is(&s->node, "Add") || s->node.n_in != 2)
        return GRAFT_OK;
    for (int k = 0; k < 2; k++) {
        const struct gr_tensor *b = program_const(p, s->node.in[1 - k]);
        struct program_step *m = program_sole_maker(p, s->node.in[k]);
        const struct gr_tensor *w =
            m && gr_node_is(&m->node, "MatMul") ? program_const(p, m->node.in[1]) : NULL;
        if (!b || !w || w->shape.rank != 2 || b->shape.rank < 1 || b->dtype != GR_F32 ||
            p->values[s->node.out[0]].type.dtype != GR_F32 ||
            gr_tensor_count(b) != w->shape.dim[1] ||
            b->shape.dim[b->shape.rank - 1] != w->shape.dim[1] ||
            !gr_shape_equal(&p->values[m->node.out[0]].type.shape,
                            &p->values[s->node.out[0]].type.shape))
            continue;
        int *in = gr_arena_alloc(&p->arena, 3 * sizeof *in);
        if (!in)
            return gr_error_nomem(err);
        in[0] = m->node.in[0];
        in[1] = m->node.in[1];
        in[2] = s->node.in[1 - k];
        m->node.in = in;
        m->node.n_in = 3;
        m->node.op_type = "Linear";
        m->node.op = &gr_op_pass_linear;
        m->node.out[0] = s->node.out[0];
        p->values[s->node.out[0]].maker = (int)(m - p->steps);
        s->dead = true;
        return program_note_fused(p, m, "Add", err);
    }
    return GRAFT_OK;
}

static bool takes_acts(const struct gr_node *n)
{
    static const char *const ops[] = {"Conv",
                                      "ConvTranspose",
                                      "Gemm",
                                      "MatMul",
                                      "Linear",
                                      "Add",
                                      "BatchNormalization",
                                      "Sub",
                                      "Mul",
                                      "Div",
                                      "Identity",
                                      "PRelu",
                                      "Sum",
                                      "Min",
                                      "Max",
                                      "Pow"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (gr_node_is(n, ops[i]))
            return true;
    return false;
}

/* Appends a function; two bounds in a row are one. */
static void append_act(struct program_step *s, const struct gr_act *a)
{
    struct gr_act *last = s->n_acts ? &s->acts[s->n_acts - 1] : NULL;
    if (last && last->kind == GR_ACT_CLIP && a->kind == GR_ACT_CLIP) {
        last->a = fminf(fmaxf(last->a, a->a), a->b);
        last->b = fminf(fmaxf(last->b, a->a), a->b);
    } else {
        s->acts[s->n_acts++] = *a;
    }
}

/* Takes a lone function into the step that makes its input. */
static enum graft_status fuse_act(struct program *p, struct program_step *s,
                                  const char *const *names, struct graft_error *err)
{
    if (!is_lone_act(s))
        return GRAFT_OK;
    int v = s->node.in[0];
    if (p->values[v].n_uses != 1 || p->values[v].maker < 0)
        return GRAFT_OK;
    struct program_step *m = &p->steps[p->values[v].maker];
    if (!takes_acts(&m->node) || m->n_acts == GR_MAX_ACTS || m->node.n_out != 1)
        return GRAFT_OK;
    append_act(m, &s->acts[0]);
    s->dead = true;
    m->node.out[0] = s->node.out[0];
    p->values[s->node.out[0]].maker = p->values[v].maker;
    enum graft_status status = *s->fused ? program_note_fused(p, m, s->fused, err) : GRAFT_OK;
    return status ? status : program_note_fused(p, m, names[s - p->steps], err);
}

/* Add of a product and something older: the product is added to the older one in place. */
static enum graft_status fuse_residual(struct program *p, struct program_step *s,
                                       struct graft_error *err)
{
    static const char *const products[] = {"Conv", "Gemm", "MatMul", "Linear", "ConvTranspose"};
    enum { FAR = 4096 }; /* steps between the two: bounds the search below */
    int at = (int)(s - p->steps), best = -1;
    if (s->dead || !gr_node_is(&s->node, "Add") || s->node.n_in != 2 ||
        s->node.in[0] == s->node.in[1])
        return GRAFT_OK;
    for (int k = 0; k < 2; k++) {
        int v = s->node.in[k], r = s->node.in[1 - k];
        struct program_step *m = program_sole_maker(p, v);
        if (!m || r < 0 || program_const(p, r) || p->values[r].maker < 0 ||
            p->values[v].type.dtype != GR_F32 || p->values[r].last_use != at ||
            !gr_shape_equal(&p->values[v].type.shape, &p->values[r].type.shape) ||
            p->values[r].maker > p->values[v].maker || at - p->values[v].maker > FAR)
            continue;
        bool product = false;
        for (size_t i = 0; i < sizeof products / sizeof *products; i++)
            product = product || gr_node_is(&m->node, products[i]);
        if (product)
            best = k;
    }
    if (best < 0)
        return GRAFT_OK;
    int v = s->node.in[best], r = s->node.in[1 - best], maker = p->values[v].maker;
    struct program_step *m = &p->steps[maker];
    for (size_t i = (size_t)maker; i < (size_t)at; i++) { /* the older one may not be read later */
        const struct program_step *t = &p->steps[i];
        for (int k = 0; !t->dead && k <= t->node.n_in; k++)
            if ((k < t->node.n_in ? t->node.in[k] : t->residual) == r)
                return GRAFT_OK;
    }
    m->residual = r;
    m->n_acts = s->n_acts;
    memcpy(m->acts, s->acts, sizeof m->acts);
    m->node.out[0] = s->node.out[0];
    p->values[s->node.out[0]].maker = maker;
    p->values[r].last_use = maker;
    s->dead = true;
    enum graft_status status = program_note_fused(p, m, "Add", err);
    return status || !*s->fused ? status : program_note_fused(p, m, s->fused, err);
}

/* Reshape to (N,g,C/g,...), Transpose of 1 and 2, Reshape back: a channel shuffle. */
static enum graft_status fuse_shuffle(struct program *p, struct program_step *s,
                                      struct graft_error *err)
{
    if (s->dead || !gr_node_is(&s->node, "Reshape"))
        return GRAFT_OK;
    struct program_step *t = program_sole_maker(p, s->node.in[0]);
    if (!t || !gr_node_is(&t->node, "Transpose"))
        return GRAFT_OK;
    struct program_step *r = program_sole_maker(p, t->node.in[0]);
    if (!r || !gr_node_is(&r->node, "Reshape") || r->node.in[0] < 0)
        return GRAFT_OK;
    const struct gr_shape *x = &p->values[r->node.in[0]].type.shape,
                          *mid = &p->values[r->node.out[0]].type.shape,
                          *y = &p->values[s->node.out[0]].type.shape;
    if (x->rank < 3 || mid->rank != x->rank + 1 || !gr_shape_equal(x, y) ||
        mid->dim[0] != x->dim[0] || mid->dim[1] * mid->dim[2] != x->dim[1] || !mid->dim[1])
        return GRAFT_OK;
    for (int i = 2; i < x->rank; i++)
        if (mid->dim[i + 1] != x->dim[i])
            return GRAFT_OK;
    for (int i = 0; i < mid->rank; i++)
        if (gr_node_get_ints(&t->node, "perm", (size_t)i, mid->rank - 1 - i) != (i == 1   ? 2
                                                                                 : i == 2 ? 1
                                                                                          : i))
            return GRAFT_OK;
    struct gr_attr *a = gr_arena_alloc(&p->arena, sizeof *a);
    if (!a)
        return gr_error_nomem(err);
    *a = (struct gr_attr){.name = "group", .type = GR_ATTR_INT, .i = mid->dim[1]};
    s->node.in[0] = r->node.in[0];
    s->node.n_in = 1;
    s->node.op_type = "ChannelShuffle";
    s->node.op = &gr_op_pass_shuffle;
    s->node.attrs = a;
    s->node.n_attrs = 1;
    t->dead = r->dead = true;
    return program_note_fused(p, s, "Reshape Transpose Reshape", err);
}

/* Concat of the groups before a shuffle: the groups become its inputs. */
static enum graft_status fuse_concat(struct program *p, struct program_step *s,
                                     struct graft_error *err)
{
    if (s->dead || s->node.op != &gr_op_pass_shuffle || s->node.n_in != 1)
        return GRAFT_OK;
    struct program_step *c = program_sole_maker(p, s->node.in[0]);
    if (!c || !gr_node_is(&c->node, "Concat") ||
        c->node.n_in != gr_node_get_int(&s->node, "group", 1))
        return GRAFT_OK;
    const struct gr_shape *y = &p->values[s->node.in[0]].type.shape;
    for (int i = 0; i < c->node.n_in; i++) {
        const struct gr_shape *x = &p->values[c->node.in[i]].type.shape;
        if (x->rank != y->rank || x->dim[1] * c->node.n_in != y->dim[1] ||
            program_const(p, c->node.in[i]))
            return GRAFT_OK;
    }
    s->node.in = c->node.in;
    s->node.n_in = c->node.n_in;
    c->dead = true;
    return program_note_fused(p, s, "Concat", err);
}

/* The channels from `*first` that a Slice or Split takes from its input; false if it is not that.
 */
static bool reads_channels(const struct program *p, const struct gr_node *n, int64_t *first)
{
    const struct gr_shape *x = &p->values[n->in[0]].type.shape,
                          *y = &p->values[n->out[0]].type.shape;
    if (!gr_node_is(n, "Slice") || n->n_in < 4 || n->n_out != 1)
        return false;
    for (int i = 1; i < n->n_in; i++) {
        const struct gr_tensor *t = program_const(p, n->in[i]);
        if (!t || gr_tensor_count(t) != 1)
            return false;
        int64_t v = gr_load_i64(t->dtype, t->data, 0);
        if (i == 1)
            *first = v < 0 ? v + x->dim[1] : v;
        if ((i == 3 && gr_axis(v, x->rank) != 1) || (i == 4 && v != 1))
            return false;
    }
    return *first >= 0 && *first + y->dim[1] <= x->dim[1];
}

/* A shuffle whose result is only read in two parts, by two Slices or one Split, gives the parts. */
static enum graft_status fuse_parts(struct program *p, int value, const int *readers, int n,
                                    struct graft_error *err)
{
    struct program_step *s = &p->steps[p->values[value].maker], *a = &p->steps[readers[0]],
                        *b = n > 1 ? &p->steps[readers[1]] : NULL;
    int64_t group = gr_node_get_int(&s->node, "group", 1), at_a = 0, at_b = 0;
    int *out = gr_arena_alloc(&p->arena, 2 * sizeof *out);
    if (!out)
        return gr_error_nomem(err);
    if (n == 1 && gr_node_is(&a->node, "Split") && a->node.n_out == 2 && a->node.out[0] >= 0 &&
        a->node.out[1] >= 0 &&
        gr_axis(gr_node_get_int(&a->node, "axis", 0), p->values[value].type.shape.rank) == 1) {
        out[0] = a->node.out[0];
        out[1] = a->node.out[1];
    } else if (n == 2 && reads_channels(p, &a->node, &at_a) && reads_channels(p, &b->node, &at_b)) {
        out[at_a > at_b] = a->node.out[0];
        out[at_a <= at_b] = b->node.out[0];
        int64_t low = p->values[out[0]].type.shape.dim[1];
        if ((at_a > at_b ? at_b : at_a) != 0 || (at_a > at_b ? at_a : at_b) != low)
            return GRAFT_OK;
    } else {
        return GRAFT_OK;
    }
    int64_t wide = 0;
    for (int i = 0; i < 2; i++) {
        const struct gr_shape *y = &p->values[out[i]].type.shape;
        wide += y->dim[1];
        if (y->dim[1] % group)
            return GRAFT_OK;
    }
    if (wide != p->values[value].type.shape.dim[1])
        return GRAFT_OK;
    s->node.out = out;
    s->node.n_out = 2;
    a->dead = true;
    if (b)
        b->dead = true;
    return program_note_fused(p, s, n == 1 ? "Split" : "Slice Slice", err);
}

static enum graft_status fuse_all_parts(struct program *p, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    int(*readers)[2] = gr_arena_alloc(&p->arena, (p->n_values + 1) * sizeof *readers);
    int *n = gr_arena_alloc(&p->arena, (p->n_values + 1) * sizeof *n);
    if (!readers || !n)
        return gr_error_nomem(err);
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct program_step *st = &p->steps[i];
        int v = st->dead || st->node.n_in < 1 ? -1 : st->node.in[0];
        if (v >= 0 && n[v] < 2)
            readers[v][n[v]++] = (int)i;
    }
    for (size_t v = 0; !s && v < p->n_values; v++)
        if (n[v] && n[v] == p->values[v].n_uses && p->values[v].maker >= 0 &&
            p->steps[p->values[v].maker].node.op == &gr_op_pass_shuffle)
            s = fuse_parts(p, (int)v, readers[v], n[v], err);
    return s;
}

enum graft_status pass_fuse(struct program *p, bool merge, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    const char **names = gr_arena_alloc(&p->arena, (p->n_steps + 1) * sizeof *names);
    if (!names)
        return gr_error_nomem(err);
    for (size_t i = 0; merge && !s && i < p->n_steps; i++)
        s = fuse_bias(p, &p->steps[i], err);
    for (size_t i = 0; i < p->n_steps; i++) {
        struct program_step *st = &p->steps[i];
        struct gr_act a;
        int x;
        names[i] = st->node.op_type;
        if (!st->dead && read_act(p, &st->node, &a, &x))
            become_act(p, st, x, &a);
    }
    for (size_t i = 0; merge && !s && i < p->n_steps; i++)
        s = fuse_swish(p, &p->steps[i], err);
    for (size_t i = 0; merge && !s && i < p->n_steps; i++)
        s = fuse_gelu(p, &p->steps[i], err);
    for (size_t i = 0; merge && !s && i < p->n_steps; i++)
        s = fuse_shuffle(p, &p->steps[i], err);
    program_count(p);
    for (size_t i = 0; merge && !s && i < p->n_steps; i++)
        s = fuse_concat(p, &p->steps[i], err);
    program_count(p);
    if (merge && !s)
        s = fuse_all_parts(p, err);
    program_count(p);
    for (size_t i = 0; merge && !s && i < p->n_steps; i++)
        s = fuse_act(p, &p->steps[i], names, err);
    program_count(p);
    for (size_t i = 0; merge && !s && i < p->n_steps; i++)
        s = fuse_residual(p, &p->steps[i], err);
    program_count(p);
    return s;
}
