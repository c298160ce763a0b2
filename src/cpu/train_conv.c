/* How is a convolution trained fast? */
#include "cpu/dnn_train.h"
#include "cpu/train_util.h"

enum graft_status train_conv_read(const struct gr_case *c, struct dnn_conv *v,
                                  struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    struct gr_window win;
    if (c->in[0].dtype != GR_F32 || c->in[1].dtype != GR_F32 || x->rank < 3 || x->rank > 5 ||
        !gr_shape_count(x) || !gr_shape_count(y))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "only fp32 pictures");
    gr_window_read(c->node, x, y, w->dim + 2, &win);
    enum gr_dtype dtype = c->bf16 ? GR_BF16 : GR_F32;
    *v = (struct dnn_conv){.n_spatial = win.n,
                           .n = x->dim[0],
                           .ic = x->dim[1],
                           .oc = y->dim[1],
                           .groups = gr_node_get_int(c->node, "group", 1),
                           .src = dtype,
                           .dst = dtype};
    for (int i = 0; i < win.n; i++) {
        v->in[i] = win.in[i];
        v->out[i] = win.out[i];
        v->kernel[i] = w->dim[2 + i];
        v->stride[i] = win.stride[i];
        v->dilation[i] = win.dilation[i];
        v->pad_l[i] = win.pad_l[i];
        v->pad_r[i] = win.pad_r[i];
    }
    return GRAFT_OK;
}

void train_conv_choose(const struct gr_train_case *tc, struct gr_train_choice *k)
{
    const struct gr_layout l = {tc->c.bf16 ? GR_BF16 : GR_F32, true}, plain = {GR_F32, false};
    k->c.in[0] = k->c.out[0] = l;
    k->c.in[1] = plain;
    if (train_conv_has_bias(tc))
        k->c.in[2] = plain;
    k->keep_in[0] = tc->wants[1] || (train_conv_has_bias(tc) && tc->wants[2]);
    k->keep_out[0] = false;
}

static enum graft_status conv_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                   struct graft_error *err)
{
    struct dnn_conv_train *t = NULL;
    struct dnn_conv v;
    const bool has_b = train_conv_has_bias(tc);
    enum graft_status s = train_conv_read(&tc->c, &v, err);
    if (s)
        return s;
    bool weights = tc->wants[1] || (has_b && tc->wants[2]);
    s = dnn_conv_train_new(&v, has_b, tc->wants[0], weights, &t, err);
    if (s)
        return s;
    train_conv_choose(tc, k);
    k->c.state = t;
    k->c.impl = dnn_conv_train_get_impl(t);
    k->c.scratch_size = dnn_conv_train_get_scratch_size(t);
    return GRAFT_OK;
}

static enum graft_status conv_forward(void *state, const struct gr_train_pass *p,
                                      struct graft_error *err)
{
    return dnn_conv_train_forward(state, p->in[0], p->in[1], p->n_in > 2 ? p->in[2] : NULL,
                                  p->out[0], p->scratch, err);
}

static enum graft_status conv_backward(void *state, const struct gr_train_pass *p,
                                       struct graft_error *err)
{
    return dnn_conv_train_backward(state, p->in[0], p->in[1], p->dout[0], p->din[0], p->din[1],
                                   p->n_in > 2 ? p->din[2] : NULL, p->scratch, err);
}

static void conv_unplan(void *state)
{
    dnn_conv_train_free(state);
}

static const char *const conv_ops[] = {"Conv", NULL};
const struct gr_train_kernel gr_train_conv = {"conv",       conv_ops,      conv_plan,
                                              conv_forward, conv_backward, conv_unplan};
