/* Which steps are together the attention of a transformer?

   softmax(scale q k' + mask) v is two products and a softmax, and around them exporters write what
   only moves numbers: a packed projection is cut into q, k and v and these into heads, and the
   heads are put side by side again. Whatever the order of these steps, q, k and v are strided views
   of the values that they were made from, and so is what the second product gives of the value that
   is made of it. */
#include "base/mem.h"
#include "core/op.h"
#include "exec/program.h"

/* An axis is a list of parts, the outermost first: elements of `value` that are `stride` apart. */
enum { MOST_PARTS = 24 };
struct part {
    int64_t size, stride;
};
struct axis {
    int n;
    struct part part[MOST_PARTS];
};
struct view {
    int value;
    int64_t offset;
    double scale; /* by which the elements are multiplied */
    struct gr_shape shape;
    struct axis axis[GR_MAX_RANK];
};

static bool append_part(struct axis *a, int64_t size, int64_t stride)
{
    if (size == 1)
        return true;
    if (a->n == MOST_PARTS)
        return false;
    a->part[a->n++] = (struct part){size, stride};
    return true;
}

/* The value itself. */
static void view_init(struct view *v, int value, const struct gr_shape *shape)
{
    int64_t stride = 1;
    *v = (struct view){.value = value, .scale = 1, .shape = *shape};
    for (int i = shape->rank; i-- > 0; stride *= shape->dim[i])
        append_part(&v->axis[i], shape->dim[i], stride);
}

/* The same elements in the same order under another shape. */
static bool view_reshape(struct view *v, const struct gr_shape *to)
{
    struct view from = *v;
    int axis = 0, at = 0;
    v->shape = *to;
    memset(v->axis, 0, sizeof v->axis);
    for (int i = 0; i < to->rank; i++)
        for (int64_t left = to->dim[i]; left > 1;) {
            while (axis < from.shape.rank && at == from.axis[axis].n) {
                axis++;
                at = 0;
            }
            if (axis == from.shape.rank)
                return false;
            struct part *p = &from.axis[axis].part[at];
            if (left % p->size == 0) {
                left /= p->size;
                at++;
                if (!append_part(&v->axis[i], p->size, p->stride))
                    return false;
            } else if (p->size % left == 0) {
                p->size /= left;
                if (!append_part(&v->axis[i], left, p->stride * p->size))
                    return false;
                left = 1;
            } else {
                return false;
            }
        }
    return true;
}

static bool view_transpose(struct view *v, const struct gr_node *n)
{
    const struct view from = *v;
    for (int i = 0; i < from.shape.rank; i++) {
        const int k = (int)gr_node_get_ints(n, "perm", (size_t)i, from.shape.rank - 1 - i);
        v->axis[i] = from.axis[k];
        v->shape.dim[i] = from.shape.dim[k];
    }
    return true;
}

/* Indices first..first+size-1 of an axis. */
static bool view_slice(struct view *v, int axis, int64_t first, int64_t size)
{
    struct axis *a = &v->axis[axis];
    int64_t inner = 1;
    if (first < 0 || size < 1 || size > v->shape.dim[axis] - first)
        return false;
    v->shape.dim[axis] = size;
    if (size == 1) {
        while (a->n > 0) {
            const struct part *p = &a->part[--a->n];
            v->offset += first % p->size * p->stride;
            first /= p->size;
        }
        return true;
    }
    for (int i = 1; i < a->n; i++)
        inner *= a->part[i].size;
    if (first % inner || size % inner)
        return false;
    v->offset += first / inner * a->part[0].stride;
    a->part[0].size = size / inner;
    if (a->part[0].size == 1)
        memmove(a->part, a->part + 1, (size_t)--a->n * sizeof *a->part);
    return true;
}

static bool view_gather(const struct program *p, struct view *v, const struct gr_node *n,
                        const struct gr_shape *to)
{
    const int axis = gr_axis(gr_node_get_int(n, "axis", 0), v->shape.rank);
    int64_t index;
    if (axis < 0 || n->n_in != 2 || !program_get_int(p, n->in[1], &index))
        return false;
    return view_slice(v, axis, index < 0 ? index + v->shape.dim[axis] : index, 1) &&
           view_reshape(v, to);
}

/* A Slice of one axis, every element of it. */
static bool view_cut(const struct program *p, struct view *v, const struct gr_node *n,
                     const struct gr_shape *to)
{
    int64_t first, axis, step = 1;
    if (n->n_in < 4 || !program_get_int(p, n->in[1], &first) ||
        !program_get_int(p, n->in[3], &axis) ||
        (n->n_in > 4 && n->in[4] >= 0 && !program_get_int(p, n->in[4], &step)) || step != 1)
        return false;
    const int k = gr_axis(axis, v->shape.rank);
    return k >= 0 && view_slice(v, k, first < 0 ? first + v->shape.dim[k] : first, to->dim[k]);
}

static bool view_split(const struct program *p, struct view *v, const struct gr_node *n, int value)
{
    const int axis = gr_axis(gr_node_get_int(n, "axis", 0), v->shape.rank);
    int64_t first = 0;
    for (int i = 0; axis >= 0 && i < n->n_out && n->out[i] >= 0; i++) {
        const int64_t size = p->values[n->out[i]].type.shape.dim[axis];
        if (n->out[i] == value)
            return view_slice(v, axis, first, size);
        first += size;
    }
    return false;
}

/* Multiplication with one number; `x` is the other input. */
static bool read_scale(const struct program *p, const struct gr_node *n, int *x, double *scale)
{
    for (int k = 0; n->n_in == 2 && k < 2; k++) {
        if (n->in[k] < 0 || !program_get_number(p, n->in[1 - k], scale) ||
            !gr_shape_equal(&p->values[n->in[k]].type.shape, &p->values[n->out[0]].type.shape))
            continue;
        *x = n->in[k];
        if (gr_node_is(n, "Div") && !k) {
            *scale = 1 / *scale;
            return *scale - *scale == 0;
        }
        return gr_node_is(n, "Mul");
    }
    return false;
}

/* What `value` is made of, through steps that only choose, order and scale. */
static void view_of(const struct program *p, int value, struct view *v)
{
    enum { DEPTH = 32 };
    int chain[DEPTH], n = 0, x;
    double scale;
    for (chain[0] = value; n + 1 < DEPTH; n++) {
        const int maker = p->values[chain[n]].maker;
        const struct gr_node *node = maker >= 0 ? &p->steps[maker].node : NULL;
        if (!node || program_const(p, chain[n]) || node->in[0] < 0)
            break;
        if (program_is_view(node) || gr_node_is(node, "Transpose") || gr_node_is(node, "Gather") ||
            gr_node_is(node, "Slice") || gr_node_is(node, "Split"))
            chain[n + 1] = node->in[0];
        else if (read_scale(p, node, &x, &scale))
            chain[n + 1] = x;
        else
            break;
    }
    view_init(v, chain[n], &p->values[chain[n]].type.shape);
    while (n-- > 0) { /* where a step cannot be expressed, its result is where to begin */
        const struct gr_node *node = &p->steps[p->values[chain[n]].maker].node;
        const struct gr_shape *to = &p->values[chain[n]].type.shape;
        bool ok = true;
        if (program_is_view(node))
            ok = view_reshape(v, to);
        else if (gr_node_is(node, "Transpose"))
            ok = view_transpose(v, node);
        else if (gr_node_is(node, "Gather"))
            ok = view_gather(p, v, node, to);
        else if (gr_node_is(node, "Slice"))
            ok = view_cut(p, v, node, to);
        else if (gr_node_is(node, "Split"))
            ok = view_split(p, v, node, chain[n]);
        else if (read_scale(p, node, &x, &scale))
            v->scale *= scale;
        if (!ok)
            view_init(v, chain[n], to);
    }
}

/* `from` as elements of what `n` steps make of it that only order. */
static bool view_into(const struct program *p, int from, int n, const int *steps, struct view *v)
{
    const struct gr_shape *shape = &p->values[from].type.shape;
    struct view to;
    int64_t stride = 1, before[MOST_PARTS];
    view_init(&to, from, shape);
    for (int i = 0; i < n; i++) {
        const struct gr_node *node = &p->steps[steps[i]].node;
        if (!(program_is_view(node) ? view_reshape(&to, &p->values[node->out[0]].type.shape)
                                    : view_transpose(&to, node)))
            return false;
    }
    *v = (struct view){.value = n ? p->steps[steps[n - 1]].node.out[0] : from,
                       .scale = 1,
                       .shape = {1, {gr_shape_count(shape)}}};
    struct axis *all = &v->axis[0];
    for (int i = to.shape.rank; i-- > 0;)
        for (int k = to.axis[i].n; k-- > 0;) { /* sorted as they lie in `from` */
            const struct part part = to.axis[i].part[k];
            int at = all->n;
            if (!append_part(all, part.size, stride))
                return false;
            for (; at > 0 && before[at - 1] < part.stride; at--) {
                all->part[at] = all->part[at - 1];
                before[at] = before[at - 1];
            }
            all->part[at] = (struct part){part.size, stride};
            before[at] = part.stride;
            stride *= part.size;
        }
    return view_reshape(v, shape);
}

/* The steps that are fused, and what they read and make. */
enum { Q, K, V, MASK, Y, OPERANDS };
struct attention {
    struct program_step *product, *softmax, *sum; /* what lies between belongs to them alone */
    int mask;                                     /* value, or -1 */
    double scale;
    struct view view[OPERANDS];
};

/* An axis as a single part, of `size` elements in any case. */
static bool single(const struct view *v, int axis, int64_t *stride)
{
    const struct axis *a = &v->axis[axis];
    *stride = a->n ? a->part[a->n - 1].stride : 0;
    for (int i = 0; i + 1 < a->n; i++)
        if (a->part[i].stride != a->part[i + 1].stride * a->part[i + 1].size)
            return false;
    return true;
}

/* The axes of a view before its last two, as those of y: what is repeated has a stride of 0. */
static bool leading(const struct view *v, const struct view *y, struct axis *all)
{
    all->n = 0;
    for (int i = 0; i < y->shape.rank - 2; i++) {
        const int k = i - (y->shape.rank - v->shape.rank);
        if (k < 0 || v->shape.dim[k] == 1) {
            if (!append_part(all, y->shape.dim[i], 0))
                return false;
            continue;
        }
        if (v->shape.dim[k] != y->shape.dim[i])
            return false;
        for (int j = 0; j < v->axis[k].n; j++)
            if (!append_part(all, v->axis[k].part[j].size, v->axis[k].part[j].stride))
                return false;
    }
    return true;
}

/* All leading axes as batch and heads, which must do for every operand. */
static bool read_heads(const struct attention *a, struct gr_attention_views *at,
                       struct gr_strided *const *to)
{
    struct axis all[OPERANDS];
    int64_t size[2] = {1, 1};
    int n = -1; /* 0: heads, 1: batch */
    for (int i = 0; i < OPERANDS; i++)
        if (!leading(&a->view[i], &a->view[Y], &all[i]))
            return false;
    while (all[Y].n) {
        int64_t least = INT64_MAX;
        bool joins = n >= 0;
        for (int i = 0; i < OPERANDS; i++) {
            const struct part *p = &all[i].part[all[i].n - 1];
            least = p->size < least ? p->size : least;
            joins = joins && p->stride == to[i]->step[1 - n] * size[n];
        }
        if (!joins && ++n > 1)
            return false;
        for (int i = 0; i < OPERANDS; i++) {
            struct part *p = &all[i].part[all[i].n - 1];
            if (p->size % least)
                return false;
            if (!joins)
                to[i]->step[1 - n] = p->stride;
            p->size /= least;
            p->stride *= least;
            all[i].n -= p->size == 1;
        }
        size[n] *= least;
    }
    at->heads = size[0];
    at->batch = size[1];
    return true;
}

static bool read_views(const struct attention *a, struct gr_attention_views *at)
{
    const struct gr_shape *q = &a->view[Q].shape, *y = &a->view[Y].shape;
    struct gr_strided *const to[] = {&at->q, &at->k, &at->v, &at->mask, &at->y};
    *at = (struct gr_attention_views){.queries = q->dim[q->rank - 2],
                                      .width = q->dim[q->rank - 1],
                                      .keys = a->view[V].shape.dim[a->view[V].shape.rank - 2],
                                      .out_width = y->dim[y->rank - 1]};
    for (int i = 0; i < OPERANDS; i++) {
        const int rank = a->view[i].shape.rank;
        to[i]->offset = a->view[i].offset;
        for (int k = 0; k < 2; k++)
            if (rank + k >= 2 && !single(&a->view[i], rank - 2 + k, &to[i]->step[2 + k]))
                return false;
    }
    const int64_t t = at->k.step[2]; /* k is multiplied transposed */
    at->k.step[2] = at->k.step[3];
    at->k.step[3] = t;
    return (at->y.step[3] == 1 || at->out_width == 1) && read_heads(a, at, to);
}

/* The steps from `v` on, each alone reading the one before, that only order. */
static int follow(struct program *p, int v, int *steps, int most)
{
    int n = 0;
    for (const struct program_step *s; n < most && (s = program_sole_reader(p, v)); n++) {
        const struct gr_node *node = &s->node;
        if (node->in[0] != v || !(program_is_view(node) || gr_node_is(node, "Transpose")))
            break;
        steps[n] = (int)(s - p->steps);
        v = node->out[0];
    }
    return n;
}

/* The step that alone reads v if it is a product of rows with constant numbers, and one row added.
 */
static struct program_step *projection(struct program *p, int v)
{
    struct program_step *s = program_sole_reader(p, v);
    if (!s || !gr_node_is(&s->node, "Gemm") || s->node.in[0] != v || s->node.n_in < 3 ||
        gr_node_get_int(&s->node, "transA", 0) || gr_node_get_float(&s->node, "alpha", 1) != 1 ||
        gr_node_get_float(&s->node, "beta", 1) != 1)
        return NULL;
    const struct gr_tensor *w = program_const(p, s->node.in[1]),
                           *b = program_const(p, s->node.in[2]);
    const int64_t width = p->values[s->node.out[0]].type.shape.dim[1];
    return w && w->dtype == GR_F32 && b && b->dtype == GR_F32 && b->shape.rank >= 1 &&
                   b->shape.dim[b->shape.rank - 1] == width && gr_tensor_count(b) == width
               ? s
               : NULL;
}

/* The matrix of a Gemm as MatMul has it. */
static enum graft_status turn_matrix(struct program *p, const struct gr_node *n, int *value,
                                     struct graft_error *err)
{
    struct gr_tensor t = {0};
    *value = n->in[1];
    if (!gr_node_get_int(n, "transB", 0))
        return GRAFT_OK;
    enum graft_status s = program_settle_const(p, n->in[1], err);
    if (s)
        return s;
    const struct gr_tensor *w = program_const(p, n->in[1]);
    const int64_t rows = w->shape.dim[1], columns = w->shape.dim[0];
    const int64_t dims[] = {rows, columns};
    const struct gr_shape shape = gr_shape_from(2, dims);
    s = gr_tensor_new(GR_F32, &shape, &t, err);
    if (s)
        return s;
    float *y = gr_tensor_mut(&t);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            y[r * columns + c] = ((const float *)w->data)[c * rows + r];
    return program_add_const(p, &t, value, err);
}

/* Rows of a projection that are put into another order may as well be read in that order: the steps
   which do that go before it. */
static enum graft_status turn_projection(struct program *p, struct program_step *g,
                                         struct graft_error *err)
{
    enum { MOST_STEPS = 4 };
    int steps[MOST_STEPS], n = follow(p, g->node.out[0], steps, MOST_STEPS), w, x = g->node.in[0];
    int64_t from = p->values[g->node.out[0]].type.shape.dim[1];
    for (int i = 0; i < n; i++) { /* whole rows only */
        const struct gr_node *node = &p->steps[steps[i]].node;
        const struct gr_shape *y = &p->values[node->out[0]].type.shape;
        const int last = y->rank - 1;
        if (last < 1 || y->dim[last] != from ||
            (gr_node_is(node, "Transpose") &&
             gr_node_get_ints(node, "perm", (size_t)last, 0) != last))
            n = i;
    }
    const int64_t width = p->values[x].type.shape.dim[1];
    int *ids = gr_arena_alloc(&p->arena, (size_t)(n + 4) * sizeof *ids);
    if (!ids)
        return gr_error_nomem(err);
    if (!n)
        return GRAFT_OK;
    enum graft_status s = turn_matrix(p, &g->node, &w, err);
    if (s)
        return s;
    struct program_step product = *g;
    product.node.in = ids;
    product.node.n_in = 3;
    ids[1] = w;
    ids[2] = g->node.in[2];
    product.node.op_type = "Linear";
    product.node.op = &gr_op_pass_linear;
    product.node.n_attrs = 0;
    product.node.out[0] = p->steps[steps[n - 1]].node.out[0];
    /* What the product reads stays the value that it was, so that its range is known. */
    struct gr_tensor none = {0};
    const int read = x;
    s = program_add_const(p, &none, &x, err);
    if (s)
        return s;
    p->values[x].type = p->values[read].type;
    p->steps[p->values[read].maker].node.out[0] = x;
    struct program_step *to = g;
    for (int i = 0; i < n; i++) { /* each one place to the front */
        struct program_step moved = p->steps[steps[i]];
        const struct gr_type type = p->values[moved.node.out[0]].type;
        int y = read;
        s = i + 1 < n ? program_add_const(p, &none, &y, err) : GRAFT_OK;
        if (s)
            return s;
        p->values[y].type = type;
        p->values[y].type.shape.dim[type.shape.rank - 1] = width;
        ids[3 + i] = x;
        moved.node.in = &ids[3 + i];
        moved.node.n_in = 1;
        moved.node.out = i + 1 < n ? &ids[4 + i] : &ids[0];
        *moved.node.out = x = y;
        *to = moved;
        to = &p->steps[steps[i]];
    }
    *to = product;
    program_count(p);
    return GRAFT_OK;
}

static struct program_step *sole_maker(struct program *p, int v, const char *op)
{
    struct program_step *s = program_sole_maker(p, v);
    return s && gr_node_is(&s->node, op) ? s : NULL;
}

/* The product whose result is `v`, scaled. */
static struct program_step *scaled_product(struct program *p, int v, double *scale)
{
    struct program_step *s = program_sole_maker(p, v);
    double factor;
    int x;
    *scale = 1;
    if (s && read_scale(p, &s->node, &x, &factor)) {
        *scale = factor;
        s = program_sole_maker(p, x);
    }
    return s && gr_node_is(&s->node, "MatMul") ? s : NULL;
}

/* softmax(product * scale + mask) times something. */
static bool match(struct program *p, struct program_step *sum, struct attention *a)
{
    *a = (struct attention){.sum = sum, .mask = -1};
    if (sum->dead || !gr_node_is(&sum->node, "MatMul") || sum->node.in[0] == sum->node.in[1] ||
        !(a->softmax = sole_maker(p, sum->node.in[0], "Softmax")))
        return false;
    const struct gr_node *soft = &a->softmax->node;
    const struct gr_shape *s = &p->values[soft->in[0]].type.shape;
    if (gr_axis(gr_node_get_int(soft, "axis", soft->opset < 13 ? 1 : -1), s->rank) != s->rank - 1)
        return false;
    if ((a->product = scaled_product(p, soft->in[0], &a->scale)))
        return true;
    const struct program_step *add = sole_maker(p, soft->in[0], "Add");
    for (int k = 0; add && k < 2; k++)
        if ((a->product = scaled_product(p, add->node.in[k], &a->scale)) &&
            gr_shape_equal(&p->values[add->node.in[k]].type.shape, s)) {
            a->mask = add->node.in[1 - k];
            return true;
        }
    return false;
}

/* Views of what is read; those of scores of one number need no mask's. */
static bool view_operands(struct program *p, struct attention *a)
{
    const int in[] = {a->product->node.in[0], a->product->node.in[1], a->sum->node.in[1]};
    const struct gr_shape *y = &p->values[a->sum->node.out[0]].type.shape;
    for (int i = Q; i <= V; i++) {
        view_of(p, in[i], &a->view[i]);
        if (a->view[i].shape.rank < 2 || p->values[a->view[i].value].type.dtype != GR_F32)
            return false;
        a->scale *= a->view[i].scale;
    }
    if (a->view[V].scale != 1 || gr_shape_count(y) < 1 || y->rank < 2)
        return false;
    a->view[MASK] = (struct view){.value = -1};
    if (a->mask >= 0) {
        const struct gr_shape *s = &p->values[a->mask].type.shape;
        if (p->values[a->mask].type.dtype != GR_F32 || s->rank > y->rank)
            return false;
        view_init(&a->view[MASK], a->mask, s);
    }
    return true;
}

static enum graft_status replace(struct program *p, const struct attention *a,
                                 const struct gr_attention_views *views, struct graft_error *err)
{
    const bool masked = a->mask >= 0;
    struct gr_node *n = &a->sum->node;
    struct gr_attention_views *own = gr_arena_copy(&p->arena, views, sizeof *views);
    struct gr_attr *attrs = gr_arena_alloc(&p->arena, 2 * sizeof *attrs);
    int *in = gr_arena_alloc(&p->arena, 4 * sizeof *in);
    if (!own || !attrs || !in)
        return gr_error_nomem(err);
    for (int i = Q; i <= MASK; i++)
        in[i] = a->view[i].value;
    attrs[0] = (struct gr_attr){.name = "views",
                                .type = GR_ATTR_INTS,
                                .n = sizeof *own / sizeof(int64_t),
                                .ints = (const int64_t *)own};
    attrs[1] = (struct gr_attr){.name = "scale", .type = GR_ATTR_FLOAT, .f = (float)a->scale};
    n->in = in;
    n->n_in = masked ? 4 : 3;
    n->out[0] = a->view[Y].value;
    n->op_type = "Attention";
    n->op = &gr_op_pass_attention;
    n->attrs = attrs;
    n->n_attrs = 2;
    return program_note_fused(p, a->sum,
                              masked ? "MatMul Add Softmax MatMul" : "MatMul Softmax MatMul", err);
}

/* `a` is memory to work in. */
static enum graft_status fuse(struct program *p, struct program_step *sum, struct attention *a,
                              struct graft_error *err)
{
    enum { MOST_STEPS = 8 };
    struct gr_attention_views views;
    int steps[MOST_STEPS];
    if (!match(p, sum, a) || !view_operands(p, a))
        return GRAFT_OK;
    int n = follow(p, sum->node.out[0], steps, MOST_STEPS);
    struct program_step *next =
        projection(p, n ? p->steps[steps[n - 1]].node.out[0] : sum->node.out[0]);
    enum graft_status s = next ? turn_projection(p, next, err) : GRAFT_OK;
    if (s)
        return s;
    if (next)
        n = follow(p, sum->node.out[0], steps, MOST_STEPS);
    while (n >= 0 &&
           !(view_into(p, sum->node.out[0], n, steps, &a->view[Y]) && read_views(a, &views)))
        n--;
    if (n < 0)
        return GRAFT_OK;
    for (int i = 0; i < n; i++)
        p->steps[steps[i]].dead = true;
    s = replace(p, a, &views, err);
    program_count(p);
    return s;
}

enum graft_status pass_attention(struct program *p, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct attention *a = gr_alloc(sizeof *a);
    if (!a)
        return gr_error_nomem(err);
    for (size_t i = 0; !s && i < p->n_steps; i++)
        if (!p->steps[i].dead && gr_node_is(&p->steps[i].node, "MatMul"))
            s = fuse(p, &p->steps[i], a, err);
    gr_free(a);
    return s;
}
