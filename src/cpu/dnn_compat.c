/* How is oneDNN called? */
#include "cpu/dnn_compat.h"
#include "base/mem.h"
#include <dnnl.h>
#include <math.h>
#include <omp.h>

#if DNNL_VERSION_MAJOR != 2 || DNNL_VERSION_MINOR < 5
#error "this file speaks oneDNN 2.5 to 2.7; port it here, nothing else knows the version"
#endif

/* The header declares lists of 12 dimensions; only as many as the rank says are read. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-overread"
#endif

enum { MAX_ARGS = 6 };

/* Bytes below which packing weights is done before other threads have woken up. */
enum { SHARED_REORDER = 1 << 19 };

/* Where the data of an argument come from: an input, output 0, the scratch block, or own memory. */
enum source { FROM_IN0, FROM_IN1, FROM_IN2, FROM_OUT, FROM_SCRATCH, FROM_SELF };

struct arg {
    int id;
    enum source from;
    dnnl_memory_desc_t md;
    void *self; /* packed here; gr_free_aligned */
};

struct dnn {
    dnnl_engine_t engine;
    dnnl_primitive_t prim;
    const char *impl;
    size_t scratch_size, weights_size;
    int n_args;
    struct arg args[MAX_ARGS];
};

struct bound {
    dnnl_stream_t stream;
    int n_args;
    dnnl_exec_arg_t args[MAX_ARGS];
    const void *set[MAX_ARGS]; /* the handle that each memory has now */
};

static enum graft_status fail(dnnl_status_t status, const char *what, struct graft_error *err)
{
    if (status == dnnl_out_of_memory)
        return gr_error_nomem(err);
    if (status == dnnl_unimplemented || status == dnnl_invalid_arguments)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "oneDNN cannot do this %s", what);
    return gr_error(err, GRAFT_E_COMPUTE, "oneDNN's %s failed with status %d", what, (int)status);
}

static dnnl_data_type_t dtype_of(enum gr_dtype t)
{
    return t == GR_BF16 ? dnnl_bf16 : t == GR_U8 ? dnnl_u8 : t == GR_I8 ? dnnl_s8 : dnnl_f32;
}

static enum graft_status open_new(struct dnn **d, struct graft_error *err)
{
    struct dnn *n = gr_alloc_zero(1, sizeof *n);
    dnnl_status_t s = n ? dnnl_engine_create(&n->engine, dnnl_cpu, 0) : dnnl_out_of_memory;
    if (s) {
        gr_free(n);
        return fail(s, "engine", err);
    }
    n->impl = "";
    *d = n;
    return GRAFT_OK;
}

void dnn_unplan(void *state)
{
    struct dnn *d = state;
    if (!d)
        return;
    for (int i = 0; i < d->n_args; i++)
        gr_free_aligned(d->args[i].self);
    dnnl_primitive_destroy(d->prim);
    dnnl_engine_destroy(d->engine);
    gr_free(d);
}

void dnn_choose(struct dnn *d, struct gr_choice *k)
{
    k->state = d;
    k->impl = dnn_get_impl(d);
    k->scratch_size = dnn_get_scratch_size(d);
    k->weights_size = dnn_get_weights_size(d);
}

const char *dnn_get_impl(const struct dnn *d)
{
    return d->impl;
}

size_t dnn_get_scratch_size(const struct dnn *d)
{
    return d->scratch_size;
}

size_t dnn_get_weights_size(const struct dnn *d)
{
    return d->weights_size;
}

static void add_arg(struct dnn *d, int id, enum source from, const dnnl_memory_desc_t *md)
{
    d->args[d->n_args++] = (struct arg){id, from, *md, NULL};
}

static dnnl_memory_desc_t md_of(const struct dnn_operand *o)
{
    dnnl_memory_desc_t md;
    memset(&md, 0, sizeof md);
    dnnl_memory_desc_init_by_strides(&md, o->rank, o->dim, dtype_of(o->dtype), o->stride);
    return md;
}

static dnnl_memory_desc_t md_any(int rank, const int64_t *dim, enum gr_dtype t)
{
    dnnl_memory_desc_t md;
    memset(&md, 0, sizeof md);
    dnnl_memory_desc_init_by_tag(&md, rank, dim, dtype_of(t), dnnl_format_tag_any);
    return md;
}

struct dnn_operand dnn_operand_of(const struct gr_shape *shape, struct gr_layout layout)
{
    struct dnn_operand o = {shape->rank, {0}, {0}, layout.dtype};
    int64_t step = 1;
    bool last = layout.channels_last && shape->rank >= 3;
    if (!shape->rank) {
        o.rank = 1;
        o.dim[0] = o.stride[0] = 1;
        return o;
    }
    if (last) {
        o.stride[1] = 1;
        step = shape->dim[1];
    }
    for (int i = shape->rank - 1; i >= 0; i--) {
        o.dim[i] = shape->dim[i];
        if (last && i == 1)
            continue;
        o.stride[i] = step;
        step *= shape->dim[i];
    }
    return o;
}

/* scale * a(x) */
static dnnl_status_t append_act(dnnl_post_ops_t po, float scale, const struct gr_act *a)
{
    static const dnnl_alg_kind_t alg[GR_N_ACTS] = {
        [GR_ACT_CLIP] = dnnl_eltwise_clip,
        [GR_ACT_LEAKY] = dnnl_eltwise_relu,
        [GR_ACT_LINEAR] = dnnl_eltwise_linear,
        [GR_ACT_SIGMOID] = dnnl_eltwise_logistic,
        [GR_ACT_SWISH] = dnnl_eltwise_swish,
        [GR_ACT_TANH] = dnnl_eltwise_tanh,
        [GR_ACT_HARD_SWISH] = dnnl_eltwise_hardswish,
        [GR_ACT_HARD_SIGMOID] = dnnl_eltwise_linear,
        [GR_ACT_ELU] = dnnl_eltwise_elu,
        [GR_ACT_GELU] = dnnl_eltwise_gelu_erf,
        [GR_ACT_GELU_TANH] = dnnl_eltwise_gelu_tanh,
        [GR_ACT_SOFTPLUS] = dnnl_eltwise_soft_relu,
        [GR_ACT_MISH] = dnnl_eltwise_mish,
        [GR_ACT_EXP] = dnnl_eltwise_exp,
        [GR_ACT_SQRT] = dnnl_eltwise_sqrt,
        [GR_ACT_ABS] = dnnl_eltwise_abs,
    };
    if (!alg[a->kind])
        return dnnl_unimplemented;
    if (a->kind == GR_ACT_CLIP && a->a == 0 && isinf(a->b))
        return dnnl_post_ops_append_eltwise(po, scale, dnnl_eltwise_relu, 0, 0);
    const bool hard = a->kind == GR_ACT_HARD_SIGMOID;
    dnnl_status_t s = dnnl_post_ops_append_eltwise(po, hard ? 1 : scale, alg[a->kind], a->a, a->b);
    return s || !hard ? s : dnnl_post_ops_append_eltwise(po, scale, dnnl_eltwise_clip, 0, 1);
}

/* Attributes: the caller owns the scratch block, and the tail. */
static dnnl_status_t make_attr(const struct dnn_tail *t, const struct dnn_quant *q,
                               dnnl_primitive_attr_t *attr)
{
    dnnl_post_ops_t po = NULL;
    *attr = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(attr);
    if (!s)
        s = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (s || !t || !(t->add || t->n_acts))
        return s;
    s = dnnl_post_ops_create(&po);
    if (!s && t->add)
        s = dnnl_post_ops_append_sum_v2(po, q ? q->residual : 1,
                                        q ? dtype_of(q->residual_dtype) : dnnl_data_type_undef);
    for (int i = 0; !s && i < t->n_acts; i++)
        s = append_act(po, q && i == t->n_acts - 1 ? q->out : 1, &t->acts[i]);
    if (!s)
        s = dnnl_primitive_attr_set_post_ops(*attr, po);
    dnnl_post_ops_destroy(po);
    return s;
}

/* Makes the primitive and keeps what is asked about it later. */
static dnnl_status_t make_prim(struct dnn *d, dnnl_primitive_desc_t pd)
{
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &d->impl);
    dnnl_status_t s = dnnl_primitive_create(&d->prim, pd);
    if (s)
        return s;
    const_dnnl_primitive_desc_t own; /* lives as long as the primitive */
    s = dnnl_primitive_get_primitive_desc(d->prim, &own);
    if (!s)
        s = dnnl_primitive_desc_query(own, dnnl_query_impl_info_str, 0, &d->impl);
    if (scratch)
        d->scratch_size = dnnl_memory_desc_get_size(scratch);
    if (!s && d->scratch_size)
        add_arg(d, DNNL_ARG_SCRATCHPAD, FROM_SCRATCH, scratch);
    return s;
}

static dnnl_status_t run_reorder(dnnl_engine_t engine, const dnnl_memory_desc_t *from,
                                 const void *src, const dnnl_memory_desc_t *to, void *dst)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t prim = NULL;
    dnnl_memory_t a = NULL, b = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t s = dnnl_reorder_primitive_desc_create(&pd, from, engine, to, engine, NULL);
    if (!s)
        s = dnnl_primitive_create(&prim, pd);
    if (!s)
        s = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (!s)
        s = dnnl_memory_create(&a, from, engine, (void *)(uintptr_t)src);
    if (!s)
        s = dnnl_memory_create(&b, to, engine, dst);
    if (!s) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, a}, {DNNL_ARG_TO, b}};
        s = dnnl_primitive_execute(prim, stream, 2, args);
    }
    if (!s)
        s = dnnl_stream_wait(stream);
    dnnl_memory_destroy(a);
    dnnl_memory_destroy(b);
    dnnl_stream_destroy(stream);
    dnnl_primitive_destroy(prim);
    dnnl_primitive_desc_destroy(pd);
    return s;
}

/* Constant data in the layout that the primitive wants. */
static dnnl_status_t add_packed(struct dnn *d, int id, const dnnl_memory_desc_t *plain,
                                const void *data, const dnnl_memory_desc_t *wanted)
{
    size_t size = dnnl_memory_desc_get_size(wanted);
    add_arg(d, id, FROM_SELF, wanted);
    struct arg *a = &d->args[d->n_args - 1];
    a->self = gr_alloc_aligned(size, false); /* a reorder fills the padding too */
    d->weights_size += size;
    if (!a->self)
        return dnnl_out_of_memory;
    const int threads = omp_get_max_threads();
    if (size < SHARED_REORDER)
        omp_set_num_threads(1);
    dnnl_status_t s = run_reorder(d->engine, plain, data, wanted, a->self);
    omp_set_num_threads(threads);
    return s;
}

static const dnnl_memory_desc_t *query(dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static enum graft_status finish(struct dnn *d, dnnl_status_t s, const char *what, struct dnn **out,
                                struct graft_error *err)
{
    if (s) {
        dnn_unplan(d);
        return fail(s, what, err);
    }
    *out = d;
    return GRAFT_OK;
}

enum graft_status dnn_conv_new(const struct dnn_conv *c, struct dnn **out, struct graft_error *err)
{
    struct dnn *d = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    struct gr_shape src = {2 + c->n_spatial, {c->n, c->ic}},
                    dst = {2 + c->n_spatial, {c->n, c->oc}};
    struct dnn_operand w = {.dtype = c->quant ? GR_I8 : GR_F32};
    int64_t dilates[3];
    enum graft_status r = open_new(&d, err);
    if (r)
        return r;
    if (c->groups > 1)
        w.dim[w.rank++] = c->groups;
    int o_axis = w.rank, i_axis = w.rank + 1;
    w.dim[w.rank++] = c->oc / c->groups;
    w.dim[w.rank++] = c->ic / c->groups;
    for (int i = 0; i < c->n_spatial; i++) {
        src.dim[2 + i] = c->in[i];
        dst.dim[2 + i] = c->out[i];
        w.dim[w.rank++] = c->kernel[i];
        dilates[i] = c->dilation[i] - 1;
    }
    int64_t step = 1;
    for (int i = w.rank - 1; i > i_axis; i--) {
        w.stride[i] = step;
        step *= w.dim[i];
    }
    int inner = c->transposed ? o_axis : i_axis, outer = c->transposed ? i_axis : o_axis;
    w.stride[inner] = step;
    w.stride[outer] = step * w.dim[inner];
    if (c->groups > 1)
        w.stride[0] = w.stride[outer] * w.dim[outer];
    struct dnn_operand x = dnn_operand_of(&src, (struct gr_layout){c->src, true});
    struct dnn_operand y = dnn_operand_of(&dst, (struct gr_layout){c->dst, true});
    dnnl_memory_desc_t x_md = md_of(&x), y_md = md_of(&y), w_plain = md_of(&w),
                       w_any = md_any(w.rank, w.dim, c->quant ? GR_I8 : c->src), b_md;
    dnnl_memory_desc_init_by_tag(&b_md, 1, &c->oc, dnnl_f32, dnnl_x);
    dnnl_status_t s = make_attr(&c->tail, c->quant, &attr);
    if (!s && c->quant)
        s = dnnl_primitive_attr_set_output_scales(attr, c->oc, 1 << 1, c->quant->product);
    if (!s && c->transposed) {
        dnnl_deconvolution_desc_t desc;
        s = dnnl_dilated_deconvolution_forward_desc_init(
            &desc, dnnl_forward_inference, dnnl_deconvolution_direct, &x_md, &w_any,
            c->b ? &b_md : NULL, &y_md, c->stride, dilates, c->pad_l, c->pad_r);
        if (!s)
            s = dnnl_primitive_desc_create(&pd, &desc, attr, d->engine, NULL);
    } else if (!s) {
        dnnl_convolution_desc_t desc;
        s = dnnl_dilated_convolution_forward_desc_init(
            &desc, dnnl_forward_inference, dnnl_convolution_direct, &x_md, &w_any,
            c->b ? &b_md : NULL, &y_md, c->stride, dilates, c->pad_l, c->pad_r);
        if (!s)
            s = dnnl_primitive_desc_create(&pd, &desc, attr, d->engine, NULL);
    }
    if (!s)
        s = make_prim(d, pd);
    if (!s) {
        add_arg(d, DNNL_ARG_SRC, FROM_IN0, &x_md);
        add_arg(d, DNNL_ARG_DST, FROM_OUT, &y_md);
        s = add_packed(d, DNNL_ARG_WEIGHTS, &w_plain, c->w, query(pd, dnnl_query_weights_md));
    }
    if (!s && c->b)
        s = add_packed(d, DNNL_ARG_BIAS, &b_md, c->b, &b_md);
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return finish(d, s, "convolution", out, err);
}

enum graft_status dnn_matmul_new(const struct dnn_matmul *m, struct dnn **out,
                                 struct graft_error *err)
{
    struct dnn *d = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_matmul_desc_t desc;
    enum graft_status r = open_new(&d, err);
    if (r)
        return r;
    struct dnn_operand bias = {.rank = m->y.rank, .dtype = GR_F32};
    for (int i = 0; i < bias.rank; i++) {
        bias.dim[i] = i == bias.rank - 1 ? m->n_bias : 1;
        bias.stride[i] = i == bias.rank - 1 ? 1 : m->n_bias;
    }
    struct dnn_operand w_plain = m->w;
    const enum gr_dtype w_dtype = m->quant ? GR_I8 : m->a.dtype;
    w_plain.dtype = m->quant ? GR_I8 : m->w_data ? GR_F32 : m->w.dtype;
    dnnl_memory_desc_t a_md = md_of(&m->a), y_md = md_of(&m->y), wp_md = md_of(&w_plain), b_md,
                       w_md = m->w_data ? md_any(m->w.rank, m->w.dim, w_dtype) : wp_md;
    if (m->n_bias)
        b_md = md_of(&bias);
    dnnl_status_t s = make_attr(&m->tail, m->quant, &attr);
    if (!s && m->quant)
        s = dnnl_primitive_attr_set_output_scales(attr, m->y.dim[1], 1 << 1, m->quant->product);
    if (!s)
        s = dnnl_matmul_desc_init(&desc, &a_md, &w_md, m->n_bias ? &b_md : NULL, &y_md);
    if (!s)
        s = dnnl_primitive_desc_create(&pd, &desc, attr, d->engine, NULL);
    if (!s)
        s = make_prim(d, pd);
    if (!s) {
        add_arg(d, DNNL_ARG_SRC, FROM_IN0, &a_md);
        add_arg(d, DNNL_ARG_DST, FROM_OUT, &y_md);
        if (m->w_data)
            s = add_packed(d, DNNL_ARG_WEIGHTS, &wp_md, m->w_data,
                           query(pd, dnnl_query_weights_md));
        else
            add_arg(d, DNNL_ARG_WEIGHTS, FROM_IN1, &w_md);
    }
    if (!s && m->n_bias && m->bias)
        s = add_packed(d, DNNL_ARG_BIAS, &b_md, m->bias, &b_md);
    else if (!s && m->n_bias)
        add_arg(d, DNNL_ARG_BIAS, FROM_IN2, &b_md);
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return finish(d, s, "matrix product", out, err);
}

enum graft_status dnn_pool_new(const struct dnn_pool *p, struct dnn **out, struct graft_error *err)
{
    static const dnnl_alg_kind_t alg[] = {[DNN_POOL_MAX] = dnnl_pooling_max,
                                          [DNN_POOL_AVG] = dnnl_pooling_avg_exclude_padding,
                                          [DNN_POOL_AVG_WITH_PAD] =
                                              dnnl_pooling_avg_include_padding};
    struct dnn *d = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_pooling_v2_desc_t desc;
    struct gr_shape src = {2 + p->n_spatial, {p->n, p->c}}, dst = src;
    int64_t dilates[3];
    enum graft_status r = open_new(&d, err);
    if (r)
        return r;
    for (int i = 0; i < p->n_spatial; i++) {
        src.dim[2 + i] = p->in[i];
        dst.dim[2 + i] = p->out[i];
        dilates[i] = p->dilation[i] - 1;
    }
    struct dnn_operand x = dnn_operand_of(&src, p->layout), y = dnn_operand_of(&dst, p->layout);
    dnnl_memory_desc_t x_md = md_of(&x), y_md = md_of(&y);
    dnnl_status_t s = make_attr(NULL, NULL, &attr);
    if (!s)
        s = dnnl_pooling_v2_forward_desc_init(&desc, dnnl_forward_inference, alg[p->kind], &x_md,
                                              &y_md, p->stride, p->kernel, dilates, p->pad_l,
                                              p->pad_r);
    if (!s)
        s = dnnl_primitive_desc_create(&pd, &desc, attr, d->engine, NULL);
    if (!s)
        s = make_prim(d, pd);
    if (!s) {
        add_arg(d, DNNL_ARG_SRC, FROM_IN0, &x_md);
        add_arg(d, DNNL_ARG_DST, FROM_OUT, &y_md);
    }
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return finish(d, s, "pooling", out, err);
}

enum graft_status dnn_reorder_new(const struct dnn_operand *src, const struct dnn_operand *dst,
                                  float scale, struct dnn **out, struct graft_error *err)
{
    struct dnn *d = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    enum graft_status r = open_new(&d, err);
    if (r)
        return r;
    dnnl_memory_desc_t x_md = md_of(src), y_md = md_of(dst);
    dnnl_status_t s = make_attr(NULL, NULL, &attr);
    if (!s && scale != 1)
        s = dnnl_primitive_attr_set_output_scales(attr, 1, 0, &scale);
    if (!s)
        s = dnnl_reorder_primitive_desc_create(&pd, &x_md, d->engine, &y_md, d->engine, attr);
    if (!s)
        s = make_prim(d, pd);
    if (!s) {
        add_arg(d, DNNL_ARG_FROM, FROM_IN0, &x_md);
        add_arg(d, DNNL_ARG_TO, FROM_OUT, &y_md);
    }
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return finish(d, s, "reorder", out, err);
}

enum graft_status dnn_bind(const void *state, void **out, struct graft_error *err)
{
    const struct dnn *d = state;
    struct bound *b = gr_alloc_zero(1, sizeof *b);
    if (!b)
        return gr_error_nomem(err);
    dnnl_status_t s = dnnl_stream_create(&b->stream, d->engine, dnnl_stream_default_flags);
    for (int i = 0; !s && i < d->n_args; i++) {
        s = dnnl_memory_create(&b->args[i].memory, &d->args[i].md, d->engine, d->args[i].self);
        b->args[i].arg = d->args[i].id;
        b->n_args += !s;
    }
    if (s) {
        dnn_unbind(b);
        return fail(s, "memory", err);
    }
    *out = b;
    return GRAFT_OK;
}

void dnn_unbind(void *bound)
{
    struct bound *b = bound;
    if (!b)
        return;
    for (int i = 0; i < b->n_args; i++)
        dnnl_memory_destroy(b->args[i].memory);
    dnnl_stream_destroy(b->stream);
    gr_free(b);
}

enum graft_status dnn_forward(const void *state, void *bound, const void *const *in,
                              void *const *out, void *scratch, struct graft_error *err)
{
    const struct dnn *d = state;
    struct bound *b = bound;
    dnnl_status_t s = dnnl_success;
    for (int i = 0; !s && i < d->n_args; i++) {
        enum source from = d->args[i].from;
        if (from == FROM_SELF)
            continue;
        const void *p = from == FROM_OUT ? out[0] : from == FROM_SCRATCH ? scratch : in[from];
        if (p != b->set[i])
            s = dnnl_memory_set_data_handle(b->args[i].memory, (void *)(uintptr_t)p);
        b->set[i] = p;
    }
    if (!s)
        s = dnnl_primitive_execute(d->prim, b->stream, b->n_args, b->args);
    if (!s)
        s = dnnl_stream_wait(b->stream);
    return s ? fail(s, "primitive", err) : GRAFT_OK;
}

static bool has_isa(dnnl_cpu_isa_t isa)
{
    return ((int)dnnl_get_effective_cpu_isa() & (int)isa) == (int)isa;
}

bool gr_cpu_has_bf16(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core);
}

bool dnn_has_amx(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_amx);
}

bool gr_cpu_has_fast_bf16(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_bf16);
}

bool gr_cpu_has_int8(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_vnni) || has_isa(dnnl_cpu_isa_avx2_vnni);
}
