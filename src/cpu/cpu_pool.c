/* How are windows of a picture pooled fast? */
#include "cpu/dnn_compat.h"
#include "cpu/kernels.h"

static enum graft_status refuse(struct graft_error *err, const char *why)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "%s", why);
}

enum graft_status gr_pool_read(const struct gr_case *c, struct dnn_pool *pool,
                               struct graft_error *err)
{
    const struct gr_node *n = c->node;
    const struct gr_shape *x = &c->in[0].shape, *y = &c->out[0].shape;
    bool max = gr_node_is(n, "MaxPool") || gr_node_is(n, "GlobalMaxPool");
    bool global = !strncmp(n->op_type, "Global", 6);
    bool with_pad = gr_node_get_int(n, "count_include_pad", 0);
    struct gr_window w;
    if (c->in[0].dtype != GR_F32 || x->rank < 3 || x->rank > 5 || !gr_shape_count(y) ||
        !gr_shape_count(x))
        return refuse(err, "only fp32 pictures");
    if (n->n_out > 1 && n->out[1] >= 0)
        return refuse(err, "positions of the largest");
    struct dnn_pool p = {.n_spatial = x->rank - 2, .n = x->dim[0], .c = x->dim[1]};
    for (int i = 0; i < p.n_spatial; i++)
        p.kernel[i] = global ? x->dim[2 + i] : gr_node_get_ints(n, "kernel_shape", (size_t)i, 1);
    gr_window_read(n, x, y, p.kernel, &w);
    for (int i = 0; i < p.n_spatial; i++) {
        int64_t span = (p.kernel[i] - 1) * w.dilation[i] + 1;
        p.in[i] = w.in[i];
        p.out[i] = w.out[i];
        p.stride[i] = w.stride[i];
        p.dilation[i] = w.dilation[i];
        p.pad_l[i] = w.pad_l[i];
        p.pad_r[i] = w.pad_r[i];
        /* A window that sees only padding, or counts pixels beyond it, means something else. */
        if (w.pad_l[i] >= span || w.pad_r[i] >= span ||
            (with_pad && gr_node_get_int(n, "ceil_mode", 0) &&
             w.pad_r[i] > gr_node_get_ints(n, "pads", (size_t)(p.n_spatial + i), 0)))
            return refuse(err, "windows beyond the padding");
    }
    p.kind = max ? DNN_POOL_MAX : with_pad ? DNN_POOL_AVG_WITH_PAD : DNN_POOL_AVG;
    p.layout = (struct gr_layout){c->layout[0].dtype, true};
    *pool = p;
    return GRAFT_OK;
}

static enum graft_status pool_plan(const struct gr_case *c, struct gr_choice *k,
                                   struct graft_error *err)
{
    struct dnn_pool p;
    struct dnn *d = NULL;
    if (c->n_acts || c->add)
        return refuse(err, "only fp32 pictures");
    enum graft_status s = gr_pool_read(c, &p, err);
    if (!s)
        s = dnn_pool_new(&p, &d, err);
    if (s)
        return s;
    k->in[0] = k->out[0] = p.layout;
    dnn_choose(d, k);
    return GRAFT_OK;
}

/* The largest of what lies in 8 bits, where both sides have one scale. */
static enum graft_status max_int8_plan(const struct gr_case *c, struct gr_choice *k,
                                       struct graft_error *err)
{
    struct dnn_pool p;
    struct dnn *d = NULL;
    const struct gr_quant *q = c->quant;
    if (!q || !q[0].dtype || q[0].dtype != q[1].dtype || q[0].scale != q[1].scale || c->f32_out ||
        c->n_acts || c->add)
        return refuse(err, "not in 8 bits");
    enum graft_status s = gr_pool_read(c, &p, err);
    p.layout = (struct gr_layout){q->dtype, true};
    if (!s)
        s = dnn_pool_new(&p, &d, err);
    if (s)
        return s;
    k->in[0] = k->out[0] = p.layout;
    dnn_choose(d, k);
    return GRAFT_OK;
}

static const char *const max_ops[] = {"MaxPool", NULL};
const struct gr_kernel gr_kernel_max_pool_int8 = {
    "max_pool_int8", max_ops, max_int8_plan, dnn_bind, dnn_unbind, dnn_forward, dnn_unplan};
static const char *const ops[] = {"MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool",
                                  NULL};
const struct gr_kernel gr_kernel_pool = {"pool",     ops,         pool_plan, dnn_bind,
                                         dnn_unbind, dnn_forward, dnn_unplan};
