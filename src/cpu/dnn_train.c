/* How is oneDNN called in training? */
#include "cpu/dnn_train.h"
#include "base/mem.h"
#include <dnnl.h>
#include <math.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-overread"
#endif

enum { MAX_OPERANDS = 5, SCRATCH = MAX_OPERANDS };

struct dnn_prim {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t prim;
    const char *impl;
    size_t scratch_size;
    int n; /* operands; the scratch block comes last among the arguments */
    int n_args;
    dnnl_exec_arg_t args[MAX_OPERANDS + 1];
    const void *set[MAX_OPERANDS + 1];
};

static size_t padded(size_t size)
{
    return (size + 63) / 64 * 64;
}

static enum graft_status fail(dnnl_status_t status, const char *what, struct graft_error *err)
{
    if (status == dnnl_out_of_memory)
        return gr_error_nomem(err);
    if (status == dnnl_unimplemented || status == dnnl_invalid_arguments)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "oneDNN cannot do this %s", what);
    return gr_error(err, GRAFT_E_COMPUTE, "oneDNN's %s failed with status %d", what, (int)status);
}

void dnn_prim_free(struct dnn_prim *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n_args; i++)
        dnnl_memory_destroy(p->args[i].memory);
    dnnl_primitive_destroy(p->prim);
    dnnl_stream_destroy(p->stream);
    dnnl_engine_destroy(p->engine);
    gr_free(p);
}

const char *dnn_prim_get_impl(const struct dnn_prim *p)
{
    return p->impl;
}

size_t dnn_prim_get_scratch_size(const struct dnn_prim *p)
{
    return p->scratch_size;
}

static dnnl_status_t add_arg(struct dnn_prim *p, int id, const dnnl_memory_desc_t *md)
{
    dnnl_exec_arg_t *a = &p->args[p->n_args];
    dnnl_status_t s = dnnl_memory_create(&a->memory, md, p->engine, NULL);
    a->arg = id;
    p->n_args += !s;
    return s;
}

/* Takes the engine over, also on failure. */
static dnnl_status_t make_prim(dnnl_engine_t engine, dnnl_primitive_desc_t pd, int n,
                               const int *ids, const dnnl_memory_desc_t *const *mds,
                               struct dnn_prim **out)
{
    const_dnnl_primitive_desc_t own;
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    struct dnn_prim *p = gr_alloc_zero(1, sizeof *p);
    if (!p) {
        dnnl_engine_destroy(engine);
        return dnnl_out_of_memory;
    }
    p->engine = engine;
    p->impl = "";
    p->n = n;
    dnnl_status_t s = dnnl_primitive_create(&p->prim, pd);
    if (!s)
        s = dnnl_primitive_get_primitive_desc(p->prim, &own);
    if (!s)
        s = dnnl_primitive_desc_query(own, dnnl_query_impl_info_str, 0, &p->impl);
    if (!s)
        s = dnnl_stream_create(&p->stream, engine, dnnl_stream_default_flags);
    for (int i = 0; !s && i < n; i++)
        s = add_arg(p, ids[i], mds[i]);
    if (!s && scratch && (p->scratch_size = dnnl_memory_desc_get_size(scratch)) > 0)
        s = add_arg(p, DNNL_ARG_SCRATCHPAD, scratch);
    if (s)
        dnn_prim_free(p);
    else
        *out = p;
    return s;
}

enum graft_status dnn_prim_run(struct dnn_prim *p, const void *const *operands, void *scratch,
                               struct graft_error *err)
{
    dnnl_status_t s = dnnl_success;
    for (int i = 0; !s && i < p->n_args; i++) {
        const void *at = i < p->n ? operands[i] : scratch;
        if (at != p->set[i])
            s = dnnl_memory_set_data_handle(p->args[i].memory, (void *)(uintptr_t)at);
        p->set[i] = at;
    }
    if (!s)
        s = dnnl_primitive_execute(p->prim, p->stream, p->n_args, p->args);
    if (!s)
        s = dnnl_stream_wait(p->stream);
    return s ? fail(s, "primitive", err) : GRAFT_OK;
}

static dnnl_data_type_t dtype_of(enum gr_dtype t)
{
    return t == GR_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t md_of(const struct dnn_operand *o)
{
    dnnl_memory_desc_t md;
    memset(&md, 0, sizeof md);
    dnnl_memory_desc_init_by_strides(&md, o->rank, o->dim, dtype_of(o->dtype), o->stride);
    return md;
}

static dnnl_status_t open_engine(dnnl_engine_t *engine, dnnl_primitive_attr_t *attr)
{
    *engine = NULL;
    *attr = NULL;
    dnnl_status_t s = dnnl_engine_create(engine, dnnl_cpu, 0);
    if (!s)
        s = dnnl_primitive_attr_create(attr);
    return s ? s : dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
}

/* A primitive from an operation's description; `hint`: the forward one, for backward. */
static dnnl_status_t describe(const void *desc, dnnl_primitive_desc_t hint, dnnl_engine_t *engine,
                              dnnl_primitive_desc_t *pd)
{
    dnnl_primitive_attr_t attr;
    dnnl_status_t s = open_engine(engine, &attr);
    if (!s)
        s = dnnl_primitive_desc_create(pd, desc, attr, *engine, hint);
    if (s) {
        dnnl_engine_destroy(*engine);
        *engine = NULL;
    }
    dnnl_primitive_attr_destroy(attr);
    return s;
}

static const dnnl_memory_desc_t *query(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static dnnl_status_t new_reorder(const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                                 struct dnn_prim **p)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr;
    dnnl_engine_t engine;
    dnnl_status_t s = open_engine(&engine, &attr);
    if (!s)
        s = dnnl_reorder_primitive_desc_create(&pd, from, engine, to, engine, attr);
    if (s)
        dnnl_engine_destroy(engine);
    else
        s = make_prim(engine, pd, 2, (int[]){DNNL_ARG_FROM, DNNL_ARG_TO},
                      (const dnnl_memory_desc_t *[]){from, to}, p);
    dnnl_primitive_attr_destroy(attr);
    dnnl_primitive_desc_destroy(pd);
    return s;
}

/* ---- convolution ---------------------------------------------------------------------------- */

struct dnn_conv_train {
    struct dnn_prim *forward, *data, *weights;
    struct dnn_prim *pack_forward, *pack_data, *unpack; /* NULL: row-major as it is */
    size_t packed_size, scratch_size;
    size_t bias_size; /* at the end of what is packed: a bias gradient that nobody wants */
    bool bias;
};

void dnn_conv_train_free(struct dnn_conv_train *t)
{
    if (!t)
        return;
    dnn_prim_free(t->forward);
    dnn_prim_free(t->data);
    dnn_prim_free(t->weights);
    dnn_prim_free(t->pack_forward);
    dnn_prim_free(t->pack_data);
    dnn_prim_free(t->unpack);
    gr_free(t);
}

const char *dnn_conv_train_get_impl(const struct dnn_conv_train *t)
{
    return t->forward->impl;
}

size_t dnn_conv_train_get_scratch_size(const struct dnn_conv_train *t)
{
    return t->scratch_size;
}

/* Weights as a primitive wants them: the reorder, and room for them in the scratch block. */
static dnnl_status_t add_pack(struct dnn_conv_train *t, const dnnl_memory_desc_t *plain,
                              const dnnl_memory_desc_t *wanted, bool back, struct dnn_prim **pack)
{
    size_t size = padded(dnnl_memory_desc_get_size(wanted));
    if (dnnl_memory_desc_equal(plain, wanted))
        return dnnl_success;
    t->packed_size = size > t->packed_size ? size : t->packed_size;
    return back ? new_reorder(wanted, plain, pack) : new_reorder(plain, wanted, pack);
}

static void need_scratch(struct dnn_conv_train *t, const struct dnn_prim *p)
{
    if (p && p->scratch_size > t->scratch_size)
        t->scratch_size = p->scratch_size;
}

struct conv_mds {
    dnnl_memory_desc_t x, y, plain, any, any_grad, bias;
    int64_t stride[3], dilate[3], pad_l[3], pad_r[3];
};

static void describe_conv(const struct dnn_conv *c, struct conv_mds *m)
{
    struct gr_shape src = {2 + c->n_spatial, {c->n, c->ic}},
                    dst = {2 + c->n_spatial, {c->n, c->oc}};
    struct dnn_operand w = {.dtype = GR_F32};
    memset(m, 0, sizeof *m);
    if (c->groups > 1)
        w.dim[w.rank++] = c->groups;
    w.dim[w.rank++] = c->oc / c->groups;
    w.dim[w.rank++] = c->ic / c->groups;
    for (int i = 0; i < c->n_spatial; i++) {
        src.dim[2 + i] = c->in[i];
        dst.dim[2 + i] = c->out[i];
        w.dim[w.rank++] = c->kernel[i];
        m->stride[i] = c->stride[i];
        m->dilate[i] = c->dilation[i] - 1;
        m->pad_l[i] = c->pad_l[i];
        m->pad_r[i] = c->pad_r[i];
    }
    int64_t step = 1;
    for (int i = w.rank - 1; i >= 0; i--) {
        w.stride[i] = step;
        step *= w.dim[i];
    }
    struct dnn_operand x = dnn_operand_of(&src, (struct gr_layout){c->src, true});
    struct dnn_operand y = dnn_operand_of(&dst, (struct gr_layout){c->dst, true});
    m->x = md_of(&x);
    m->y = md_of(&y);
    m->plain = md_of(&w);
    dnnl_memory_desc_init_by_tag(&m->any, w.rank, w.dim, dtype_of(c->src), dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&m->any_grad, w.rank, w.dim, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&m->bias, 1, &c->oc, dnnl_f32, dnnl_x);
}

static dnnl_status_t new_forward(struct dnn_conv_train *t, const struct conv_mds *m,
                                 dnnl_primitive_desc_t *pd)
{
    dnnl_convolution_desc_t desc;
    dnnl_engine_t engine;
    dnnl_status_t s = dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_training, dnnl_convolution_direct, &m->x, &m->any,
        t->bias ? &m->bias : NULL, &m->y, m->stride, m->dilate, m->pad_l, m->pad_r);
    if (!s)
        s = describe(&desc, NULL, &engine, pd);
    if (s)
        return s;
    const dnnl_memory_desc_t *w = query(*pd, dnnl_query_weights_md);
    s = make_prim(engine, *pd, t->bias ? 4 : 3,
                  (int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS},
                  (const dnnl_memory_desc_t *[]){&m->x, w, &m->y, &m->bias}, &t->forward);
    return s ? s : add_pack(t, &m->plain, w, false, &t->pack_forward);
}

static dnnl_status_t new_data(struct dnn_conv_train *t, const struct conv_mds *m,
                              dnnl_primitive_desc_t hint)
{
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_engine_t engine;
    dnnl_status_t s = dnnl_dilated_convolution_backward_data_desc_init(
        &desc, dnnl_convolution_direct, &m->x, &m->any, &m->y, m->stride, m->dilate, m->pad_l,
        m->pad_r);
    if (!s)
        s = describe(&desc, hint, &engine, &pd);
    if (s)
        return s;
    const dnnl_memory_desc_t *w = query(pd, dnnl_query_weights_md);
    s = make_prim(engine, pd, 3, (int[]){DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC},
                  (const dnnl_memory_desc_t *[]){&m->y, w, &m->x}, &t->data);
    if (!s)
        s = add_pack(t, &m->plain, w, false, &t->pack_data);
    dnnl_primitive_desc_destroy(pd);
    return s;
}

static dnnl_status_t new_weights(struct dnn_conv_train *t, const struct conv_mds *m,
                                 dnnl_primitive_desc_t hint)
{
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_engine_t engine;
    dnnl_status_t s = dnnl_dilated_convolution_backward_weights_desc_init(
        &desc, dnnl_convolution_direct, &m->x, &m->any_grad, t->bias ? &m->bias : NULL, &m->y,
        m->stride, m->dilate, m->pad_l, m->pad_r);
    if (!s)
        s = describe(&desc, hint, &engine, &pd);
    if (s)
        return s;
    const dnnl_memory_desc_t *w = query(pd, dnnl_query_diff_weights_md);
    s = make_prim(
        engine, pd, t->bias ? 4 : 3,
        (int[]){DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS},
        (const dnnl_memory_desc_t *[]){&m->x, &m->y, w, &m->bias}, &t->weights);
    if (!s)
        s = add_pack(t, &m->plain, w, true, &t->unpack);
    dnnl_primitive_desc_destroy(pd);
    return s;
}

enum graft_status dnn_conv_train_new(const struct dnn_conv *c, bool bias, bool data, bool weights,
                                     struct dnn_conv_train **out, struct graft_error *err)
{
    dnnl_primitive_desc_t pd = NULL;
    struct conv_mds m;
    struct dnn_conv_train *t = gr_alloc_zero(1, sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    t->bias = bias;
    describe_conv(c, &m);
    dnnl_status_t s = new_forward(t, &m, &pd);
    if (!s && data)
        s = new_data(t, &m, pd);
    if (!s && weights)
        s = new_weights(t, &m, pd);
    dnnl_primitive_desc_destroy(pd);
    if (s) {
        dnn_conv_train_free(t);
        return fail(s, "convolution", err);
    }
    struct dnn_prim *all[] = {t->forward,      t->data,      t->weights,
                              t->pack_forward, t->pack_data, t->unpack};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        need_scratch(t, all[i]);
    if (weights && dnnl_memory_desc_get_size(&m.plain) > t->packed_size) /* nor their gradient */
        t->packed_size = padded(dnnl_memory_desc_get_size(&m.plain));
    t->bias_size = bias ? padded((size_t)c->oc * 4) : 0;
    t->packed_size += t->bias_size;
    t->scratch_size += t->packed_size;
    *out = t;
    return GRAFT_OK;
}

enum graft_status dnn_conv_train_forward(struct dnn_conv_train *t, const void *x, const float *w,
                                         const float *b, void *y, void *scratch,
                                         struct graft_error *err)
{
    void *own = (char *)scratch + t->packed_size;
    const void *packed = t->pack_forward ? scratch : w;
    enum graft_status s = GRAFT_OK;
    if (t->pack_forward)
        s = dnn_prim_run(t->pack_forward, (const void *[]){w, scratch}, own, err);
    return s ? s : dnn_prim_run(t->forward, (const void *[]){x, packed, y, b}, own, err);
}

enum graft_status dnn_conv_train_backward(struct dnn_conv_train *t, const void *x, const float *w,
                                          const void *dy, void *dx, float *dw, float *db,
                                          void *scratch, struct graft_error *err)
{
    void *own = (char *)scratch + t->packed_size;
    enum graft_status s = GRAFT_OK;
    if (dx && t->pack_data)
        s = dnn_prim_run(t->pack_data, (const void *[]){w, scratch}, own, err);
    if (!s && dx)
        s = dnn_prim_run(t->data, (const void *[]){dy, t->pack_data ? scratch : w, dx}, own, err);
    if (s || !(dw || db))
        return s;
    void *to = t->unpack || !dw ? scratch : (void *)dw;
    const void *bias = db ? (void *)db : (char *)own - t->bias_size;
    s = dnn_prim_run(t->weights, (const void *[]){x, dy, to, bias}, own, err);
    if (!s && t->unpack && dw)
        s = dnn_prim_run(t->unpack, (const void *[]){scratch, dw}, own, err);
    return s;
}

/* ---- the others ----------------------------------------------------------------------------- */

/* The end of every pair: descriptors go, and both primitives are given away or freed. */
static enum graft_status give_pair(dnnl_status_t s, const char *what, dnnl_primitive_desc_t fwd,
                                   dnnl_primitive_desc_t bwd, struct dnn_prim *f,
                                   struct dnn_prim *b, struct dnn_prim **forward,
                                   struct dnn_prim **backward, struct graft_error *err)
{
    dnnl_primitive_desc_destroy(fwd);
    dnnl_primitive_desc_destroy(bwd);
    if (s) {
        dnn_prim_free(f);
        dnn_prim_free(b);
        return fail(s, what, err);
    }
    *forward = f;
    *backward = b;
    return GRAFT_OK;
}

enum graft_status dnn_pool_train_new(const struct dnn_pool *p, struct dnn_prim **forward,
                                     struct dnn_prim **backward, size_t *workspace_size,
                                     struct graft_error *err)
{
    static const dnnl_alg_kind_t alg[] = {[DNN_POOL_MAX] = dnnl_pooling_max,
                                          [DNN_POOL_AVG] = dnnl_pooling_avg_exclude_padding,
                                          [DNN_POOL_AVG_WITH_PAD] =
                                              dnnl_pooling_avg_include_padding};
    struct gr_shape src = {2 + p->n_spatial, {p->n, p->c}}, dst = src;
    dnnl_primitive_desc_t fwd = NULL, bwd = NULL;
    dnnl_pooling_v2_desc_t desc;
    dnnl_engine_t engine;
    int64_t dilates[3];
    bool max = p->kind == DNN_POOL_MAX;
    struct dnn_prim *f = NULL, *b = NULL;
    for (int i = 0; i < p->n_spatial; i++) {
        src.dim[2 + i] = p->in[i];
        dst.dim[2 + i] = p->out[i];
        dilates[i] = p->dilation[i] - 1;
    }
    struct dnn_operand xo = dnn_operand_of(&src, p->layout), yo = dnn_operand_of(&dst, p->layout);
    dnnl_memory_desc_t x = md_of(&xo), y = md_of(&yo);
    const dnnl_memory_desc_t *space = NULL;
    dnnl_status_t s =
        dnnl_pooling_v2_forward_desc_init(&desc, dnnl_forward_training, alg[p->kind], &x, &y,
                                          p->stride, p->kernel, dilates, p->pad_l, p->pad_r);
    if (!s)
        s = describe(&desc, NULL, &engine, &fwd);
    if (!s) {
        space = max ? query(fwd, dnnl_query_workspace_md) : NULL;
        s = make_prim(engine, fwd, max ? 3 : 2,
                      (int[]){DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WORKSPACE},
                      (const dnnl_memory_desc_t *[]){&x, &y, space}, &f);
    }
    if (!s)
        s = dnnl_pooling_v2_backward_desc_init(&desc, alg[p->kind], &x, &y, p->stride, p->kernel,
                                               dilates, p->pad_l, p->pad_r);
    if (!s)
        s = describe(&desc, fwd, &engine, &bwd);
    if (!s)
        s = make_prim(engine, bwd, max ? 3 : 2,
                      (int[]){DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_WORKSPACE},
                      (const dnnl_memory_desc_t *[]){&x, &y, space}, &b);
    if (!s)
        *workspace_size = space ? dnnl_memory_desc_get_size(space) : 0;
    return give_pair(s, "pooling", fwd, bwd, f, b, forward, backward, err);
}

enum graft_status dnn_eltwise_train_new(const struct gr_act *act, const struct dnn_operand *x,
                                        struct dnn_prim **forward, struct dnn_prim **backward,
                                        bool *by_y, struct graft_error *err)
{
    /* Backward by y where that has a form of its own: x need not be kept. */
    static const struct {
        dnnl_alg_kind_t forward, by_y;
    } alg[GR_N_ACTS] = {
        [GR_ACT_CLIP] = {dnnl_eltwise_clip_v2, dnnl_eltwise_clip_v2_use_dst_for_bwd},
        [GR_ACT_LEAKY] = {dnnl_eltwise_relu, dnnl_eltwise_relu_use_dst_for_bwd},
        [GR_ACT_SIGMOID] = {dnnl_eltwise_logistic, dnnl_eltwise_logistic_use_dst_for_bwd},
        [GR_ACT_SWISH] = {dnnl_eltwise_swish, dnnl_alg_kind_undef},
        [GR_ACT_TANH] = {dnnl_eltwise_tanh, dnnl_eltwise_tanh_use_dst_for_bwd},
        [GR_ACT_HARD_SWISH] = {dnnl_eltwise_hardswish, dnnl_alg_kind_undef},
        [GR_ACT_ELU] = {dnnl_eltwise_elu, dnnl_eltwise_elu_use_dst_for_bwd},
        [GR_ACT_GELU] = {dnnl_eltwise_gelu_erf, dnnl_alg_kind_undef},
        [GR_ACT_GELU_TANH] = {dnnl_eltwise_gelu_tanh, dnnl_alg_kind_undef},
        [GR_ACT_SOFTPLUS] = {dnnl_eltwise_soft_relu, dnnl_alg_kind_undef},
        [GR_ACT_EXP] = {dnnl_eltwise_exp, dnnl_eltwise_exp_use_dst_for_bwd},
        [GR_ACT_SQRT] = {dnnl_eltwise_sqrt, dnnl_eltwise_sqrt_use_dst_for_bwd},
        [GR_ACT_ABS] = {dnnl_eltwise_abs, dnnl_alg_kind_undef},
    };
    dnnl_primitive_desc_t fwd = NULL, bwd = NULL;
    dnnl_eltwise_desc_t desc;
    dnnl_engine_t engine;
    struct dnn_prim *f = NULL, *b = NULL;
    dnnl_memory_desc_t md = md_of(x);
    float alpha = act->a, beta = act->b;
    dnnl_alg_kind_t kind = alg[act->kind].forward, by = alg[act->kind].by_y;
    if (act->kind == GR_ACT_CLIP && act->a == 0 && isinf(act->b)) {
        kind = dnnl_eltwise_relu;
        by = dnnl_eltwise_relu_use_dst_for_bwd;
        alpha = beta = 0;
    }
    if ((act->kind == GR_ACT_LEAKY || act->kind == GR_ACT_ELU) && act->a < 0)
        by = dnnl_alg_kind_undef; /* y does not tell the sign of x */
    kind = by ? by : kind;
    if (!kind)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "no such function");
    dnnl_status_t s =
        dnnl_eltwise_forward_desc_init(&desc, dnnl_forward_training, kind, &md, alpha, beta);
    if (!s)
        s = describe(&desc, NULL, &engine, &fwd);
    if (!s)
        s = make_prim(engine, fwd, 2, (int[]){DNNL_ARG_SRC, DNNL_ARG_DST},
                      (const dnnl_memory_desc_t *[]){&md, &md}, &f);
    if (!s)
        s = dnnl_eltwise_backward_desc_init(&desc, kind, &md, &md, alpha, beta);
    if (!s)
        s = describe(&desc, fwd, &engine, &bwd);
    if (!s)
        s = make_prim(
            engine, bwd, 3,
            (int[]){by ? DNNL_ARG_DST : DNNL_ARG_SRC, DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST},
            (const dnnl_memory_desc_t *[]){&md, &md, &md}, &b);
    dnnl_primitive_desc_destroy(fwd);
    dnnl_primitive_desc_destroy(bwd);
    if (s) {
        dnn_prim_free(f);
        dnn_prim_free(b);
        return fail(s, "function", err);
    }
    *forward = f;
    *backward = b;
    *by_y = by != dnnl_alg_kind_undef;
    return GRAFT_OK;
}

enum graft_status dnn_softmax_train_new(const struct dnn_operand *x, struct dnn_prim **forward,
                                        struct dnn_prim **backward, struct graft_error *err)
{
    dnnl_primitive_desc_t fwd = NULL, bwd = NULL;
    dnnl_softmax_desc_t desc;
    dnnl_engine_t engine;
    struct dnn_prim *f = NULL, *b = NULL;
    dnnl_memory_desc_t md = md_of(x);
    dnnl_status_t s =
        dnnl_softmax_forward_desc_init(&desc, dnnl_forward_training, &md, x->rank - 1);
    if (!s)
        s = describe(&desc, NULL, &engine, &fwd);
    if (!s)
        s = make_prim(engine, fwd, 2, (int[]){DNNL_ARG_SRC, DNNL_ARG_DST},
                      (const dnnl_memory_desc_t *[]){&md, &md}, &f);
    if (!s)
        s = dnnl_softmax_backward_desc_init(&desc, &md, &md, x->rank - 1);
    if (!s)
        s = describe(&desc, fwd, &engine, &bwd);
    if (!s)
        s = make_prim(engine, bwd, 3, (int[]){DNNL_ARG_DST, DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST},
                      (const dnnl_memory_desc_t *[]){&md, &md, &md}, &b);
    return give_pair(s, "softmax", fwd, bwd, f, b, forward, backward, err);
}

enum graft_status dnn_convert_new(const struct dnn_operand *from, const struct dnn_operand *to,
                                  struct dnn_prim **p, struct graft_error *err)
{
    dnnl_memory_desc_t mf = md_of(from), mt = md_of(to);
    dnnl_status_t s = new_reorder(&mf, &mt, p);
    return s ? fail(s, "reorder", err) : GRAFT_OK;
}

enum graft_status dnn_product_new(const struct dnn_operand *a, const struct dnn_operand *w,
                                  const struct dnn_operand *y, int64_t n_bias, struct dnn_prim **p,
                                  struct graft_error *err)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_matmul_desc_t desc;
    dnnl_engine_t engine;
    struct dnn_operand bias = {.rank = y->rank, .dtype = GR_F32};
    for (int i = 0; i < bias.rank; i++) {
        bias.dim[i] = i == bias.rank - 1 ? n_bias : 1;
        bias.stride[i] = i == bias.rank - 1 ? 1 : n_bias;
    }
    dnnl_memory_desc_t ma = md_of(a), mw = md_of(w), my = md_of(y), mb = md_of(&bias);
    dnnl_status_t s = dnnl_matmul_desc_init(&desc, &ma, &mw, n_bias ? &mb : NULL, &my);
    if (!s)
        s = describe(&desc, NULL, &engine, &pd);
    if (!s)
        s = make_prim(engine, pd, n_bias ? 4 : 3,
                      (int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS},
                      (const dnnl_memory_desc_t *[]){&ma, &mw, &my, &mb}, p);
    dnnl_primitive_desc_destroy(pd);
    return s ? fail(s, "matrix product", err) : GRAFT_OK;
}
