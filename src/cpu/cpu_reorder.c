/* How does a value change its dtype or the order of its dimensions? */
#include "base/mem.h"
#include "cpu/dnn_compat.h"
#include "cpu/kernels.h"
#include "cpu/strided.h"

/* Changes of fp32, bf16 and what is kept in 8 bits go through oneDNN, copies of one dtype through
   the strided copy, and other conversions (at the borders of a plan) are plain loops. */
struct reorder {
    struct dnn *d;
    struct strided copy;
    enum gr_dtype from, to;
    int64_t count;
};

static void reorder_unplan(void *state)
{
    struct reorder *r = state;
    if (r)
        dnn_unplan(r->d);
    gr_free(r);
}

static enum graft_status reorder_plan(const struct gr_case *c, struct gr_choice *k,
                                      struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    struct gr_layout from = c->layout[0], to = k->out[0];
    const struct gr_quant *q = c->quant;
    const bool packs = q && gr_is_float(from.dtype) && to.dtype == q->dtype;
    const bool unpacks = q && gr_is_float(to.dtype) && from.dtype == q->dtype;
    enum graft_status s = GRAFT_OK;
    struct reorder *r = gr_alloc_zero(1, sizeof *r);
    if (!r)
        return gr_error_nomem(err);
    if ((packs || unpacks || (gr_is_float(from.dtype) && gr_is_float(to.dtype))) &&
        gr_shape_count(x) && !gr_layout_equal(from, to, x)) {
        struct dnn_operand a = dnn_operand_of(x, from), b = dnn_operand_of(x, to);
        s = dnn_reorder_new(&a, &b, packs ? 1 / q->scale : unpacks ? q->scale : 1, &r->d, err);
        k->impl = r->d ? dnn_get_impl(r->d) : "";
        k->scratch_size = r->d ? dnn_get_scratch_size(r->d) : 0;
    } else if (from.dtype == to.dtype) {
        struct dnn_operand a = dnn_operand_of(x, from), b = dnn_operand_of(x, to);
        strided_init(&r->copy, a.rank, a.dim, a.stride, 0, b.stride, 0, gr_dtype_size(to.dtype));
        k->impl = "copy";
    } else if (from.channels_last == to.channels_last || gr_shape_is_orderless(x)) {
        r->from = from.dtype;
        r->to = to.dtype;
        r->count = gr_shape_count(x);
        k->impl = "convert";
    } else {
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "cannot convert %s to %s", gr_dtype_name(from.dtype),
                     gr_dtype_name(to.dtype));
    }
    k->state = r;
    if (s)
        reorder_unplan(r);
    return s;
}

static enum graft_status reorder_bind(const void *state, void **bound, struct graft_error *err)
{
    const struct reorder *r = state;
    return r->d ? dnn_bind(r->d, bound, err) : GRAFT_OK;
}

static enum graft_status reorder_forward(const void *state, void *bound, const void *const *in,
                                         void *const *out, void *scratch, struct graft_error *err)
{
    const struct reorder *r = state;
    if (r->d)
        return dnn_forward(r->d, bound, in, out, scratch, err);
    if (r->to)
        gr_convert(r->to, out[0], r->from, in[0], (size_t)r->count);
    else
        strided_run(&r->copy, in[0], out[0]);
    return GRAFT_OK;
}

const struct gr_kernel gr_kernel_reorder = {
    "reorder", NULL, reorder_plan, reorder_bind, dnn_unbind, reorder_forward, reorder_unplan};
