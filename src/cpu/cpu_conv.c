/* How is a convolution computed fast? */
#include "base/mem.h"
#include "cpu/int8.h"
#include "cpu/kernels.h"
#include <math.h>

/* Constant `t` as aligned fp32, or GRAFT_E_UNSUPPORTED. */
enum graft_status gr_const_f32(const struct gr_tensor *t, struct gr_tensor *out,
                               struct graft_error *err)
{
    if (!t)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "the weights are not constant");
    return gr_tensor_convert(t, GR_F32, out, err);
}

/* The residual may lie anywhere: it is read through the destination. */
void gr_choose_tail(const struct gr_case *c, struct gr_choice *k)
{
    if (!c->add)
        return;
    k->in[c->n_in - 1] = k->out[0];
    k->place = c->n_in - 1;
    k->must_place = true;
}

bool gr_is_const_conv(const struct gr_case *c)
{
    const struct gr_node *n = c->node;
    return gr_node_is(n, "Conv") && c->in[0].dtype == GR_F32 && c->in[0].shape.rank == 4 &&
           gr_shape_count(&c->in[0].shape) && gr_shape_count(&c->out[0].shape) && c->konst[1] &&
           (n->n_in < 3 || n->in[2] < 0 || c->konst[2]);
}

const struct gr_tensor *gr_conv_bias(const struct gr_case *c)
{
    return c->node->n_in > 2 && c->node->in[2] >= 0 ? c->konst[2] : NULL;
}

bool gr_read_clip(const struct gr_case *c, float *low, float *high)
{
    *low = -INFINITY;
    *high = INFINITY;
    for (int i = 0; i < c->n_acts; i++) {
        const struct gr_act *a = &c->acts[i];
        if (a->kind != GR_ACT_CLIP)
            return false;
        *low = fminf(fmaxf(*low, a->a), a->b);
        *high = fminf(fmaxf(*high, a->a), a->b);
    }
    return true;
}

/* A 1x1 convolution of single pixels multiplies the batch by a matrix. */
static enum graft_status new_product(const struct dnn_conv *v, struct dnn **d,
                                     struct graft_error *err)
{
    struct dnn_matmul m = {.a = {2, {v->n, v->ic}, {v->ic, 1}, v->src},
                           .w = {2, {v->ic, v->oc}, {1, v->ic}, v->src},
                           .y = {2, {v->n, v->oc}, {v->oc, 1}, v->dst},
                           .w_data = v->w,
                           .n_bias = v->b ? v->oc : 0,
                           .bias = v->b,
                           .tail = v->tail,
                           .quant = v->quant};
    if (v->quant)
        m.w.dtype = GR_I8;
    return dnn_matmul_new(&m, d, err);
}

static bool is_product(const struct dnn_conv *v)
{
    bool one = v->groups == 1 && !v->transposed;
    for (int i = 0; i < v->n_spatial; i++)
        one = one && v->in[i] == 1 && v->out[i] == 1 && v->kernel[i] == 1 && !v->pad_l[i];
    return one;
}

static enum graft_status plan(const struct gr_case *c, bool int8, struct gr_choice *k,
                              struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape, *w = &c->in[1].shape, *y = &c->out[0].shape;
    bool transposed = gr_node_is(c->node, "ConvTranspose");
    struct gr_tensor wt = {0}, bt = {0};
    struct int8_product p = {0};
    struct dnn *d = NULL;
    struct gr_window win;
    bool has_b = c->node->n_in > 2 && c->node->in[2] >= 0;
    if (c->in[0].dtype != GR_F32 || x->rank < 3 || x->rank > 5 || !gr_shape_count(x) ||
        !gr_shape_count(y))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "only fp32 pictures");
    if (int8 && (transposed || !int8_suits(c)))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "not in 8 bits");
    enum graft_status s = gr_const_f32(c->konst[1], &wt, err);
    if (!s && has_b)
        s = gr_const_f32(c->konst[2], &bt, err);
    if (s)
        goto out;
    gr_window_read(c->node, x, y, w->dim + 2, &win);
    struct dnn_conv v = {.n_spatial = win.n,
                         .n = x->dim[0],
                         .ic = x->dim[1],
                         .oc = y->dim[1],
                         .groups = gr_node_get_int(c->node, "group", 1),
                         .transposed = transposed,
                         .src = c->bf16 ? GR_BF16 : GR_F32,
                         .dst = c->bf16 && !c->f32_out ? GR_BF16 : GR_F32,
                         .w = wt.data,
                         .b = has_b ? bt.data : NULL,
                         .tail = {c->add, c->n_acts, c->acts}};
    for (int i = 0; i < win.n; i++) {
        v.in[i] = win.in[i];
        v.out[i] = win.out[i];
        v.kernel[i] = w->dim[2 + i];
        v.stride[i] = win.stride[i];
        v.dilation[i] = win.dilation[i];
        v.pad_l[i] = win.pad_l[i];
        v.pad_r[i] = win.pad_r[i];
        if (transposed) { /* what a forward convolution from y to x would need */
            int64_t span = (v.kernel[i] - 1) * v.dilation[i] + 1;
            v.pad_l[i] = gr_node_get_ints(c->node, "pads", (size_t)i, 0);
            v.pad_r[i] = (win.in[i] - 1) * v.stride[i] + span - win.out[i] - v.pad_l[i];
            if (gr_node_find_attr(c->node, "auto_pad") ||
                gr_node_find_attr(c->node, "output_shape"))
                s = gr_error(err, GRAFT_E_UNSUPPORTED, "automatic padding");
        }
    }
    if (!s && int8) {
        const int64_t inner = gr_shape_count(w) / v.oc;
        s = int8_prepare(c, v.w, v.b, v.oc, inner, inner, 1, &p, err);
        v.src = p.src;
        v.dst = p.dst;
        v.w = p.w;
        v.b = v.b ? p.bias : NULL;
        v.tail = p.tail;
        v.quant = &p.quant;
    }
    if (!s)
        s = is_product(&v) ? new_product(&v, &d, err) : dnn_conv_new(&v, &d, err);
    if (s)
        goto out;
    k->in[0] = (struct gr_layout){v.src, true};
    k->out[0] = (struct gr_layout){v.dst, true};
    dnn_choose(d, k);
    gr_choose_tail(c, k);
    if (int8 && c->add)
        k->in[c->n_in - 1].dtype = p.quant.residual_dtype;
out:
    int8_clear(&p);
    gr_tensor_clear(&wt);
    gr_tensor_clear(&bt);
    return s;
}

static enum graft_status conv_plan(const struct gr_case *c, struct gr_choice *k,
                                   struct graft_error *err)
{
    return plan(c, false, k, err);
}

static enum graft_status conv_int8_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    return plan(c, true, k, err);
}

static const char *const conv_ops[] = {"Conv", "ConvTranspose", NULL};
const struct gr_kernel gr_kernel_conv = {"conv",     conv_ops,    conv_plan, dnn_bind,
                                         dnn_unbind, dnn_forward, dnn_unplan};
const struct gr_kernel gr_kernel_conv_int8 = {"conv_int8", conv_ops,    conv_int8_plan, dnn_bind,
                                              dnn_unbind,  dnn_forward, dnn_unplan};
