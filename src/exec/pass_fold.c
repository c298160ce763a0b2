/* Which constants can be multiplied into the weights before them, which padding into a window? */
#include "base/mem.h"
#include "core/op.h"
#include "exec/program.h"
#include <math.h>

/* y = x * scale[c] + shift[c] */
struct affine {
    int64_t n;
    double *scale, *shift;
};

/* Constant t as one number per channel of y (dimension `axis`): v[n]. False if it is not so. */
static bool per_channel(const struct gr_tensor *t, const struct gr_shape *y, int axis, double *v)
{
    int64_t n = y->dim[axis], count = t ? gr_tensor_count(t) : 0;
    if (!t || !gr_is_float(t->dtype) || t->shape.rank > y->rank || (count != 1 && count != n))
        return false;
    for (int i = 0; i < t->shape.rank; i++)
        if (t->shape.dim[i] != 1 && (i + y->rank - t->shape.rank != axis || t->shape.dim[i] != n))
            return false;
    for (int64_t i = 0; i < n; i++)
        v[i] = gr_load_f64(t->dtype, t->data, count == 1 ? 0 : (size_t)i);
    return true;
}

static bool read_batch_norm(const struct program *p, const struct gr_node *n, struct affine *a)
{
    double eps = gr_node_get_float(n, "epsilon", 1e-5f);
    const struct gr_tensor *t[5];
    if (n->n_in < 5 || gr_node_get_int(n, "training_mode", 0))
        return false;
    for (int i = 1; i < 5; i++) {
        t[i] = program_const(p, n->in[i]);
        if (!t[i] || gr_tensor_count(t[i]) != a->n)
            return false;
    }
    for (int64_t i = 0; i < a->n; i++) {
        double v[5];
        for (int k = 1; k < 5; k++)
            v[k] = gr_load_f64(t[k]->dtype, t[k]->data, (size_t)i);
        a->scale[i] = v[1] / sqrt(v[4] + eps);
        a->shift[i] = v[2] - v[3] * a->scale[i];
    }
    return true;
}

/* Add, Sub, Mul, Div of x and a constant, on either side; a->shift is scratch too. */
static bool read_binary(const struct program *p, const struct gr_node *n, int x_at, int axis,
                        struct affine *a)
{
    const struct gr_shape *y = &p->values[n->out[0]].type.shape;
    if (n->n_in != 2 || !gr_shape_equal(&p->values[n->in[x_at]].type.shape, y) ||
        !per_channel(program_const(p, n->in[1 - x_at]), y, axis, a->shift))
        return false;
    bool add = gr_node_is(n, "Add"), sub = gr_node_is(n, "Sub"), mul = gr_node_is(n, "Mul");
    if (!add && !sub && !mul && !(gr_node_is(n, "Div") && !x_at))
        return false;
    for (int64_t i = 0; i < a->n; i++) {
        double v = a->shift[i];
        a->scale[i] = add || sub ? (sub && x_at ? -1 : 1) : mul ? v : 1 / v;
        a->shift[i] = add ? v : sub ? (x_at ? v : -v) : 0;
        if (!isfinite(a->scale[i]) || !isfinite(a->shift[i]))
            return false;
    }
    return true;
}

/* Weights as (outer, channels, inner): how often the list of output channels comes, and how many
   neighbours share one. False for a grouped transposed convolution, whose channels differ. */
static bool channel_runs(const struct gr_node *n, const struct gr_shape *w, int64_t *inner)
{
    bool rows = gr_node_is(n, "Conv") || (gr_node_is(n, "Gemm") && gr_node_get_int(n, "transB", 0));
    *inner = rows                    ? gr_shape_count_range(w, 1, w->rank)
             : gr_node_is(n, "Gemm") ? 1
                                     : gr_shape_count_range(w, 2, w->rank);
    return !gr_node_is(n, "ConvTranspose") || gr_node_get_int(n, "group", 1) == 1;
}

/* Multiplies a into the weights of maker; false when it is not that kind of step. */
static enum graft_status fold_into(struct program *p, struct program_step *m,
                                   const struct affine *a, bool *done, struct graft_error *err)
{
    struct gr_node *n = &m->node;
    const struct gr_shape row = {1, {a->n}};
    struct gr_tensor w = {0}, b = {0};
    double *old = NULL;
    int wid = -1, bid = -1;
    enum graft_status s;
    bool has_b = n->n_in > 2 && n->in[2] >= 0;
    const struct gr_tensor *wt = program_const(p, n->in[1]),
                           *bt = has_b ? program_const(p, n->in[2]) : NULL;
    *done = false;
    int64_t inner;
    if (!wt || wt->dtype != GR_F32 || (has_b && !bt) || !channel_runs(n, &wt->shape, &inner) ||
        (gr_node_is(n, "Gemm") && gr_node_get_float(n, "beta", 1) != 1))
        return GRAFT_OK;
    old = gr_alloc_zero((size_t)a->n, sizeof *old);
    int *in = gr_arena_alloc(&p->arena, 3 * sizeof *in);
    if (!old || !in) {
        s = gr_error_nomem(err);
        goto out;
    }
    s = GRAFT_OK;
    if (has_b) {
        struct gr_shape y = {2, {1, a->n}};
        if (!per_channel(bt, &y, 1, old))
            goto out;
    }
    s = program_settle_const(p, n->in[1], err);
    if (!s)
        s = gr_tensor_new(GR_F32, &row, &b, err);
    double *scale = s ? NULL : gr_arena_copy(&p->arena, a->scale, (size_t)a->n * sizeof *scale);
    if (!s && !scale)
        s = gr_error_nomem(err);
    if (s)
        goto out;
    float *bv = gr_tensor_mut(&b);
    for (int64_t i = 0; i < a->n; i++)
        bv[i] = (float)(old[i] * a->scale[i] + a->shift[i]);
    w = gr_tensor_ref(program_const(p, n->in[1]));
    s = program_add_const(p, &w, &wid, err);
    if (!s)
        s = program_add_const(p, &b, &bid, err);
    if (s)
        goto out;
    p->values[wid].scale = scale;
    p->values[wid].n_scale = a->n;
    p->values[wid].run = inner;
    in[0] = n->in[0];
    in[1] = wid;
    in[2] = bid;
    n->in = in;
    n->n_in = 3;
    *done = true;
out:
    gr_tensor_clear(&w);
    gr_tensor_clear(&b);
    gr_free(old);
    return s;
}

/* MatMul of two dimensions is Gemm without C. */
static enum graft_status to_gemm(struct program *p, struct gr_node *n, struct graft_error *err)
{
    const struct gr_op *gemm = gr_op_find("", "Gemm", 13);
    if (!gr_node_is(n, "MatMul") || !gemm || p->values[n->out[0]].type.shape.rank != 2 ||
        p->values[n->in[0]].type.shape.rank != 2 || !program_const(p, n->in[1]) ||
        p->values[n->in[1]].type.shape.rank != 2)
        return GRAFT_OK;
    n->op_type = "Gemm";
    n->op = gemm;
    n->opset = 13;
    return gr_op_read_params(gemm, n, &p->arena, &n->params, err);
}

static enum graft_status fold_affine(struct program *p, struct program_step *st,
                                     struct graft_error *err)
{
    struct gr_node *n = &st->node;
    bool norm = gr_node_is(n, "BatchNormalization"), done = false;
    enum graft_status s = GRAFT_OK;
    for (int k = 0; k < (norm ? 1 : n->n_in) && k < 2 && !done && !s; k++) {
        struct program_step *m = program_sole_maker(p, n->in[k]);
        if (!m)
            continue;
        const struct gr_shape *y = &p->values[n->out[0]].type.shape;
        if (!gr_node_is(&m->node, "Conv") && !gr_node_is(&m->node, "ConvTranspose") &&
            !gr_node_is(&m->node, "Gemm") && !gr_node_is(&m->node, "MatMul"))
            continue;
        if (y->rank < 2)
            continue;
        struct affine a = {y->dim[1], NULL, NULL};
        a.scale = gr_alloc_array((size_t)a.n, 2 * sizeof *a.scale);
        if (!a.scale)
            return gr_error_nomem(err);
        a.shift = a.scale + a.n;
        if (norm ? read_batch_norm(p, n, &a) : read_binary(p, n, k, 1, &a)) {
            s = to_gemm(p, &m->node, err);
            if (!s && !gr_node_is(&m->node, "MatMul"))
                s = fold_into(p, m, &a, &done, err);
        }
        gr_free(a.scale);
        if (done && !s) {
            p->values[n->out[0]].maker = p->values[n->in[k]].maker;
            m->node.out[0] = n->out[0];
            st->dead = true;
            s = program_note_fused(p, m, n->op_type, err);
        }
    }
    return s;
}

/* Zero padding of pixels only: before[], for each spatial dimension. */
static bool read_zero_pad(const struct program *p, const struct gr_node *n, int64_t *before)
{
    const struct gr_attr *mode = gr_node_find_attr(n, "mode"), *a = gr_node_find_attr(n, "pads");
    const struct gr_tensor *t = n->n_in > 1 ? program_const(p, n->in[1]) : NULL;
    int rank = p->values[n->in[0]].type.shape.rank;
    if ((mode && strcmp(mode->s, "constant")) || (!a && !t) || rank < 3 || rank > 5 ||
        gr_node_get_float(n, "value", 0) != 0 || (n->n_in > 3 && n->in[3] >= 0))
        return false;
    if ((a ? (int64_t)a->n : gr_tensor_count(t)) != 2 * rank)
        return false;
    if (n->n_in > 2 && n->in[2] >= 0) {
        const struct gr_tensor *v = program_const(p, n->in[2]);
        if (!v || gr_tensor_count(v) != 1 || gr_load_f64(v->dtype, v->data, 0) != 0)
            return false;
    }
    for (int i = 0; i < 2 * rank; i++) {
        int64_t v = a ? a->ints[i] : gr_load_i64(t->dtype, t->data, (size_t)i);
        if (v < 0 || (i % rank < 2 && v))
            return false;
        if (i >= 2 && i < rank)
            before[i - 2] = v;
    }
    return true;
}

/* Gives the node an attribute list of its own with these pads. */
static enum graft_status set_pads(struct program *p, struct gr_node *n, int spatial,
                                  const int64_t *pads, bool include_pad, struct graft_error *err)
{
    struct gr_attr *list = gr_arena_alloc(&p->arena, (n->n_attrs + 2) * sizeof *list);
    int64_t *ints = gr_arena_copy(&p->arena, pads, 2 * (size_t)spatial * sizeof *pads);
    size_t count = 0;
    if (!list || !ints)
        return gr_error_nomem(err);
    for (size_t i = 0; i < n->n_attrs; i++)
        if (strcmp(n->attrs[i].name, "pads") && strcmp(n->attrs[i].name, "auto_pad") &&
            !(include_pad && !strcmp(n->attrs[i].name, "count_include_pad")))
            list[count++] = n->attrs[i];
    list[count++] = (struct gr_attr){
        .name = "pads", .type = GR_ATTR_INTS, .n = 2 * (size_t)spatial, .ints = ints};
    if (include_pad)
        list[count++] = (struct gr_attr){.name = "count_include_pad", .type = GR_ATTR_INT, .i = 1};
    n->attrs = list;
    n->n_attrs = count;
    return gr_op_read_params(n->op, n, &p->arena, &n->params, err);
}

static enum graft_status fold_pad(struct program *p, struct program_step *st,
                                  struct graft_error *err)
{
    struct gr_node *n = &st->node;
    bool conv = gr_node_is(n, "Conv"), pool = gr_node_is(n, "AveragePool");
    int64_t before[3], pads[6], kernel[3];
    struct gr_window old, win;
    if ((!conv && !pool) || p->values[n->in[0]].maker < 0)
        return GRAFT_OK;
    const struct program_step *m = &p->steps[p->values[n->in[0]].maker];
    if (!gr_node_is(&m->node, "Pad") || m->dead || !read_zero_pad(p, &m->node, before))
        return GRAFT_OK;
    const struct gr_shape *padded = &p->values[n->in[0]].type.shape,
                          *x = &p->values[m->node.in[0]].type.shape,
                          *y = &p->values[n->out[0]].type.shape;
    for (int i = 0; i < x->rank - 2; i++)
        kernel[i] = conv ? p->values[n->in[1]].type.shape.dim[2 + i]
                         : gr_node_get_ints(n, "kernel_shape", (size_t)i, 1);
    gr_window_read(n, padded, y, kernel, &old);
    gr_window_read(n, x, y, kernel, &win);
    for (int i = 0; i < win.n; i++) {
        int64_t total = win.pad_l[i] + win.pad_r[i]; /* same whatever the left is */
        pads[i] = old.pad_l[i] + before[i];
        pads[win.n + i] = total > pads[i] ? total - pads[i] : 0;
        if (pool &&
            (gr_node_get_int(n, "ceil_mode", 0) ||
             (!gr_node_get_int(n, "count_include_pad", 0) && (old.pad_l[i] || old.pad_r[i] > 0)) ||
             pads[i] >= kernel[i] || pads[win.n + i] >= kernel[i]))
            return GRAFT_OK;
    }
    enum graft_status s = set_pads(p, n, win.n, pads, pool, err);
    n->in[0] = m->node.in[0];
    return s ? s : program_note_fused(p, st, "Pad", err);
}

enum graft_status pass_fold(struct program *p, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < p->n_steps; i++) {
        struct program_step *st = &p->steps[i];
        if (st->dead || st->node.n_out < 1 || st->node.out[0] < 0 || st->node.n_in < 1 ||
            st->node.in[0] < 0 || p->values[st->node.out[0]].type.dtype != GR_F32)
            continue;
        s = fold_pad(p, st, err);
        if (!s && !st->dead)
            s = fold_affine(p, st, err);
    }
    program_count(p);
    return s;
}
