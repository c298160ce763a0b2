/* How is data moved without arithmetic: joined, cut, turnedor padded? */
#include "base/mem.h"
#include "cpu/dnn_compat.h"
#include "cpu/kernels.h"
#include "cpu/strided.h"
#include "cpu/train_util.h"

struct move {
    size_t n;
    struct part {
        int in, out;
        struct strided copy;
    } * parts;
    bool fill; /* first set all of output 0 */
    size_t elem_size;
    int64_t fill_count;
    unsigned char fill_value[8];
};

static void move_unplan(void *state)
{
    struct move *m = state;
    if (m)
        gr_free(m->parts);
    gr_free(m);
}

static enum graft_status refuse(struct graft_error *err, const char *why)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "%s", why);
}

/* Copies the box `dim` from one dense operand to another. */
static void add_part(struct move *m, int in, int out, const struct dnn_operand *x, int64_t x_at,
                     const struct dnn_operand *y, int64_t y_at, const int64_t *dim)
{
    struct part *p = &m->parts[m->n++];
    p->in = in;
    p->out = out;
    strided_init(&p->copy, x->rank, dim, x->stride, x_at, y->stride, y_at, m->elem_size);
}

/* All data in one layout: channels last if an input that is not constant comes so. */
static struct gr_layout common_layout(const struct gr_case *c)
{
    struct gr_layout l = {c->out[0].dtype, false};
    for (int i = 0; i < c->n_in; i++)
        if (c->layout[i].dtype && !c->konst[i] && c->in[i].dtype == c->out[0].dtype &&
            c->in[i].shape.rank == c->out[0].shape.rank) {
            l.channels_last = l.channels_last || c->layout[i].channels_last;
            l.dtype = c->layout[i].dtype == GR_BF16 ? GR_BF16 : l.dtype;
        }
    return l;
}

static enum graft_status concat(const struct gr_case *c, struct gr_choice *k, struct move *m,
                                struct graft_error *err)
{
    int axis = gr_axis(gr_node_get_int(c->node, "axis", 0), c->out[0].shape.rank);
    struct gr_layout l = common_layout(c);
    struct dnn_operand y = dnn_operand_of(&c->out[0].shape, l);
    int64_t at = 0;
    if (axis < 0)
        return refuse(err, "axis");
    for (int i = 0; i < c->n_in; i++) {
        struct dnn_operand x = dnn_operand_of(&c->in[i].shape, l);
        k->in[i] = l;
        add_part(m, i, 0, &x, 0, &y, at, c->in[i].shape.dim);
        at += c->in[i].shape.dim[axis] * y.stride[axis];
    }
    k->out[0] = l;
    return GRAFT_OK;
}

static enum graft_status split(const struct gr_case *c, struct gr_choice *k, struct move *m,
                               struct graft_error *err)
{
    int axis = gr_axis(gr_node_get_int(c->node, "axis", 0), c->in[0].shape.rank);
    struct dnn_operand x = dnn_operand_of(&c->in[0].shape, c->layout[0]);
    int64_t at = 0;
    if (axis < 0)
        return refuse(err, "axis");
    for (int i = 0; i < c->n_out; i++) {
        struct dnn_operand y = dnn_operand_of(&c->out[i].shape, c->layout[0]);
        k->out[i] = c->layout[0];
        if (c->node->out[i] >= 0)
            add_part(m, 0, i, &x, at, &y, 0, c->out[i].shape.dim);
        at += c->out[i].shape.dim[axis] * x.stride[axis];
    }
    return GRAFT_OK;
}

static int64_t int_at(const struct gr_tensor *t, int64_t i)
{
    return gr_load_i64(t->dtype, t->data, (size_t)i);
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* starts, ends, axes, steps as inputs (from opset 10), or as attributes with steps of 1. */
static enum graft_status slice(const struct gr_case *c, struct gr_choice *k, struct move *m,
                               struct graft_error *err)
{
    const struct gr_shape *xs = &c->in[0].shape;
    struct dnn_operand x = dnn_operand_of(xs, c->layout[0]);
    struct dnn_operand y = dnn_operand_of(&c->out[0].shape, c->layout[0]), from = x;
    const struct gr_tensor *t[5] = {0};
    int64_t at = 0, n;
    for (int i = 1; i < c->n_in && i < 5; i++) {
        t[i] = c->konst[i];
        if (c->in[i].dtype && !t[i])
            return refuse(err, "variable bounds");
    }
    const struct gr_attr *starts = gr_node_find_attr(c->node, "starts"),
                         *axes = gr_node_find_attr(c->node, "axes");
    if (!t[1] && !starts)
        return refuse(err, "no bounds");
    n = t[1] ? gr_tensor_count(t[1]) : (int64_t)starts->n;
    for (int64_t i = 0; i < n; i++) {
        int axis = gr_axis(t[3] ? int_at(t[3], i) : axes ? axes->ints[i] : i, xs->rank);
        int64_t step = t[4] ? int_at(t[4], i) : 1, d = axis < 0 ? 0 : xs->dim[axis];
        int64_t start = t[1] ? int_at(t[1], i) : starts->ints[i];
        if (axis < 0 || !step || step < -GR_MAX_COUNT || step > GR_MAX_COUNT)
            return refuse(err, "bounds");
        start = clamp(start < 0 ? start + d : start, 0, step < 0 ? d - 1 : d);
        at += start * x.stride[axis];
        from.stride[axis] *= step;
    }
    k->out[0] = c->layout[0];
    add_part(m, 0, 0, &from, at, &y, 0, c->out[0].shape.dim);
    return GRAFT_OK;
}

static enum graft_status transpose(const struct gr_case *c, struct gr_choice *k, struct move *m,
                                   struct graft_error *err)
{
    const struct gr_shape *ys = &c->out[0].shape;
    struct gr_layout l = {c->layout[0].dtype, false};
    struct dnn_operand x = dnn_operand_of(&c->in[0].shape, c->layout[0]), from = x;
    struct dnn_operand y = dnn_operand_of(ys, l);
    for (int i = 0; i < ys->rank; i++) {
        int64_t p = gr_node_get_ints(c->node, "perm", (size_t)i, ys->rank - 1 - i);
        if (p < 0 || p >= ys->rank)
            return refuse(err, "perm");
        from.stride[i] = x.stride[p];
    }
    k->out[0] = l;
    add_part(m, 0, 0, &from, 0, &y, 0, ys->dim);
    return GRAFT_OK;
}

static enum graft_status expand(const struct gr_case *c, struct gr_choice *k, struct move *m)
{
    const struct gr_shape *xs = &c->in[0].shape, *ys = &c->out[0].shape;
    struct gr_layout l = {c->layout[0].dtype, false};
    struct dnn_operand x = dnn_operand_of(xs, l), from = {.rank = ys->rank};
    struct dnn_operand y = dnn_operand_of(ys, l);
    for (int i = 0; i < ys->rank; i++) {
        int j = i - (ys->rank - xs->rank);
        from.stride[i] = j < 0 || xs->dim[j] == 1 ? 0 : x.stride[j];
    }
    k->in[0] = k->out[0] = l;
    add_part(m, 0, 0, &from, 0, &y, 0, ys->dim);
    return GRAFT_OK;
}

/* Constant padding; negative pads cut. */
static enum graft_status pad(const struct gr_case *c, struct gr_choice *k, struct move *m,
                             struct graft_error *err)
{
    const struct gr_shape *xs = &c->in[0].shape, *ys = &c->out[0].shape;
    const struct gr_attr *mode = gr_node_find_attr(c->node, "mode");
    const struct gr_attr *pads = gr_node_find_attr(c->node, "pads");
    const struct gr_tensor *t = c->n_in > 1 ? c->konst[1] : NULL;
    struct dnn_operand x = dnn_operand_of(xs, c->layout[0]), y = dnn_operand_of(ys, c->layout[0]);
    int64_t x_at = 0, y_at = 0, dim[GR_MAX_RANK];
    double value = gr_node_get_float(c->node, "value", 0);
    if ((mode && strcmp(mode->s, "constant")) || (!t && !pads) ||
        (c->n_in > 2 && c->in[2].dtype && !c->konst[2]) || (c->n_in > 3 && c->in[3].dtype))
        return refuse(err, "not constant padding");
    if (c->n_in > 2 && c->konst[2] && gr_tensor_count(c->konst[2]) == 1)
        value = gr_load_f64(c->konst[2]->dtype, c->konst[2]->data, 0);
    for (int i = 0; i < xs->rank; i++) {
        int64_t before = t ? int_at(t, i) : pads->ints[i], skip = before < 0 ? -before : 0;
        int64_t into = before > 0 ? before : 0;
        dim[i] = xs->dim[i] - skip;
        if (dim[i] > ys->dim[i] - into)
            dim[i] = ys->dim[i] - into;
        if (dim[i] < 0)
            return refuse(err, "nothing left");
        x_at += skip * x.stride[i];
        y_at += into * y.stride[i];
    }
    k->out[0] = c->layout[0];
    m->fill = true;
    m->fill_count = gr_shape_count(ys);
    gr_store_f64(c->layout[0].dtype, m->fill_value, 0, value);
    add_part(m, 0, 0, &x, x_at, &y, y_at, dim);
    return GRAFT_OK;
}

/* Constant indices that lie evenly: one index, every second one, ... */
static enum graft_status gather(const struct gr_case *c, struct gr_choice *k, struct move *m,
                                struct graft_error *err)
{
    const struct gr_shape *xs = &c->in[0].shape, *ys = &c->out[0].shape;
    const struct gr_tensor *t = c->konst[1];
    int axis = gr_axis(gr_node_get_int(c->node, "axis", 0), xs->rank);
    int64_t n = t ? gr_tensor_count(t) : 0;
    if (axis < 0 || n < 1 || t->shape.rank > 1)
        return refuse(err, "indices");
    bool last = c->layout[0].channels_last && ys->rank == xs->rank;
    struct gr_layout l = {c->layout[0].dtype, last};
    struct dnn_operand x = dnn_operand_of(xs, c->layout[0]), y = dnn_operand_of(ys, l);
    struct dnn_operand from = {.rank = ys->rank};
    int64_t d = xs->dim[axis], first = int_at(t, 0), step = n > 1 ? int_at(t, 1) - first : 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t v = int_at(t, i);
        if (v != first + i * step || v < -d || v >= d || (v < 0) != (first < 0))
            return refuse(err, "uneven indices");
    }
    for (int i = 0, o = 0; i < xs->rank; i++) {
        if (i == axis && !t->shape.rank)
            continue;
        from.stride[o++] = x.stride[i] * (i == axis ? step : 1);
    }
    k->out[0] = l;
    add_part(m, 0, 0, &from, (first < 0 ? first + d : first) * x.stride[axis], &y, 0, ys->dim);
    return GRAFT_OK;
}

static enum graft_status move_plan(const struct gr_case *c, struct gr_choice *k,
                                   struct graft_error *err)
{
    const struct gr_node *n = c->node;
    enum graft_status s;
    if (c->add || c->n_acts)
        return refuse(err, "no arithmetic");
    for (int i = 0; i < c->n_in; i++)
        if (c->in[i].shape.rank >= GR_MAX_RANK)
            return refuse(err, "rank");
    for (int i = 0; i < c->n_in; i++) /* a constant that is read lies row-major */
        if (i == 0 && c->konst[i] && !gr_node_is(n, "Concat"))
            return refuse(err, "constant data");
    struct move *m = gr_alloc_zero(1, sizeof *m);
    if (!m)
        return gr_error_nomem(err);
    m->parts = gr_alloc_zero((size_t)(c->n_in + c->n_out), sizeof *m->parts);
    enum gr_dtype t = gr_node_is(n, "Concat") ? common_layout(c).dtype : c->layout[0].dtype;
    m->elem_size = gr_dtype_size(t);
    k->impl = "copy";
    if (!m->parts)
        s = gr_error_nomem(err);
    else if (gr_node_is(n, "Concat"))
        s = concat(c, k, m, err);
    else if (gr_node_is(n, "Split"))
        s = split(c, k, m, err);
    else if (gr_node_is(n, "Slice"))
        s = slice(c, k, m, err);
    else if (gr_node_is(n, "Transpose"))
        s = transpose(c, k, m, err);
    else if (gr_node_is(n, "Gather"))
        s = gather(c, k, m, err);
    else if (gr_node_is(n, "Expand"))
        s = expand(c, k, m);
    else
        s = pad(c, k, m, err);
    if (s)
        move_unplan(m);
    else
        k->state = m;
    return s;
}

static enum graft_status move_forward(const void *state, void *bound, const void *const *in,
                                      void *const *out, void *scratch, struct graft_error *err)
{
    const struct move *m = state;
    (void)bound;
    (void)scratch;
    (void)err;
    if (m->fill) {
        static const int64_t one = 1, zero = 0;
        struct strided all;
        strided_init(&all, 1, &m->fill_count, &zero, 0, &one, 0, m->elem_size);
        strided_run(&all, m->fill_value, out[0]);
    }
    for (size_t i = 0; i < m->n; i++)
        strided_run(&m->parts[i].copy, in[m->parts[i].in], out[m->parts[i].out]);
    return GRAFT_OK;
}

static const char *const ops[] = {"Concat", "Split",  "Slice", "Transpose",
                                  "Expand", "Gather", "Pad",   NULL};
const struct gr_kernel gr_kernel_move = {
    .name = "move", .ops = ops, .plan = move_plan, .forward = move_forward, .unplan = move_unplan};

/* ---- in training: the gradients take the same ways back ---------------------------------------
 */

struct move_train {
    struct move *m;
    int n_in;
    size_t in_size[]; /* bytes, of gradients that not every element of is written */
};

static void move_train_unplan(void *state)
{
    struct move_train *t = state;
    if (t)
        move_unplan(t->m);
    gr_free(t);
}

static enum graft_status move_train_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                         struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    bool whole = gr_node_is(c->node, "Concat") || gr_node_is(c->node, "Transpose");
    const struct gr_tensor *at = gr_node_is(c->node, "Gather") ? c->konst[1] : NULL;
    if (at && gr_tensor_count(at) > 1 && int_at(at, 0) == int_at(at, 1))
        return refuse(err, "one element several times: its gradients would have to be added");
    struct move_train *t = gr_alloc_zero(1, sizeof *t + (size_t)c->n_in * sizeof *t->in_size);
    if (!t)
        return gr_error_nomem(err);
    enum graft_status s = move_plan(c, &k->c, err);
    if (s) {
        gr_free(t);
        return s;
    }
    t->m = k->c.state;
    t->n_in = c->n_in;
    for (int i = 0; i < c->n_in; i++) {
        t->in_size[i] = whole ? 0 : (size_t)gr_shape_count(&c->in[i].shape) * t->m->elem_size;
        k->keep_in[i] = false;
    }
    for (int i = 0; i < c->n_out; i++)
        k->keep_out[i] = false;
    k->c.state = t;
    return GRAFT_OK;
}

static enum graft_status move_train_forward(void *state, const struct gr_train_pass *p,
                                            struct graft_error *err)
{
    struct move_train *t = state;
    return move_forward(t->m, NULL, p->in, p->out, p->scratch, err);
}

static enum graft_status move_train_backward(void *state, const struct gr_train_pass *p,
                                             struct graft_error *err)
{
    struct move_train *t = state;
    (void)err;
    for (int i = 0; i < t->n_in; i++)
        if (p->din[i] && t->in_size[i])
            memset(p->din[i], 0, t->in_size[i]);
    for (size_t i = 0; i < t->m->n; i++) {
        const struct part *from = &t->m->parts[i];
        struct strided back;
        if (!p->din[from->in] || !p->dout[from->out])
            continue;
        strided_init(&back, from->copy.rank, from->copy.dim, from->copy.dst, from->copy.dst_offset,
                     from->copy.src, from->copy.src_offset, from->copy.elem_size);
        strided_run(&back, p->dout[from->out], p->din[from->in]);
    }
    return GRAFT_OK;
}

static const char *const train_ops[] = {"Concat", "Split", "Slice", "Transpose",
                                        "Gather", "Pad",   NULL};
const struct gr_train_kernel gr_train_move = {
    "move", train_ops, move_train_plan, move_train_forward, move_train_backward, move_train_unplan};
