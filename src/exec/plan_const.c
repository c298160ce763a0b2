/* How does a constant come to lie as a kernel wants it? */
#include "base/mem.h"
#include "exec/plan_steps.h"

enum graft_status plan_size_of(const struct gr_type *t, enum gr_dtype dtype, size_t *size,
                               struct graft_error *err)
{
    int64_t n = gr_shape_count(&t->shape);
    if (n < 0 || !gr_mul_size((size_t)n, gr_dtype_size(dtype), size))
        return gr_error(err, GRAFT_E_LIMIT, "a value is too large");
    return GRAFT_OK;
}

/* (N,C,...) to (N,...,C) */
static enum graft_status turn(const struct gr_tensor *from, struct gr_tensor *to,
                              struct graft_error *err)
{
    const struct gr_shape *x = &from->shape;
    int64_t inner = gr_shape_count_range(x, 2, x->rank), n_c = x->dim[1];
    size_t e = gr_dtype_size(from->dtype);
    enum graft_status s = gr_tensor_new(from->dtype, x, to, err);
    for (int64_t i = 0; !s && i < gr_tensor_count(from); i++) {
        int64_t n = i / (n_c * inner), c = i / inner % n_c, px = i % inner;
        memcpy((char *)gr_tensor_mut(to) + (size_t)((n * inner + px) * n_c + c) * e,
               (const char *)from->data + (size_t)i * e, e);
    }
    return s;
}

enum graft_status plan_arrange(const struct gr_tensor *konst, struct gr_layout layout,
                               struct gr_tensor *out, struct graft_error *err)
{
    struct gr_tensor t = {0}, turned = {0};
    enum graft_status s = gr_tensor_convert(konst, layout.dtype, &t, err);
    if (!s && layout.channels_last && !gr_shape_is_orderless(&t.shape)) {
        s = turn(&t, &turned, err);
        gr_tensor_clear(&t);
        t = turned;
    }
    if (!s)
        *out = t;
    return s;
}
