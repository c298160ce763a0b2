/* How are the weights and the tail of a product brought into 8 bits? */
#include "cpu/int8.h"
#include "base/mem.h"
#include "cpu/kernels.h"
#include <float.h>
#include <math.h>

void int8_clear(struct int8_product *p)
{
    gr_free(p->w);
    gr_free(p->product);
    gr_free(p->bias);
    p->w = NULL;
    p->product = p->bias = NULL;
}

static const struct gr_quant *of_output(const struct gr_case *c)
{
    return c->f32_out ? NULL : c->quant[c->n_in].dtype ? &c->quant[c->n_in] : NULL;
}

bool int8_suits(const struct gr_case *c)
{
    return c->quant && c->quant[0].dtype && gr_cpu_has_int8() &&
           (!c->add || !of_output(c) || c->quant[c->n_in - 1].dtype);
}

/* Largest to 127; the scale that takes it back. */
static float round_channel(const float *w, int64_t inner, int64_t stride, int8_t *out)
{
    float largest = 0;
    for (int64_t i = 0; i < inner; i++)
        largest = fmaxf(largest, fabsf(w[i * stride]));
    if (!(largest >= FLT_MIN * 127) || !isfinite(largest)) { /* nothing to tell apart */
        for (int64_t i = 0; i < inner; i++)
            out[i * stride] = 0;
        return 1;
    }
    const float scale = largest / 127;
    for (int64_t i = 0; i < inner; i++)
        out[i * stride] = isnan(w[i * stride]) ? 0 : (int8_t)rintf(w[i * stride] / scale);
    return scale;
}

/* y / unit = acts(x / unit), where that can be had by other bounds alone. */
static bool scale_acts(const struct gr_case *c, float unit, struct gr_act *acts)
{
    for (int i = 0; i < c->n_acts; i++) {
        if (c->acts[i].kind != GR_ACT_CLIP)
            return false;
        acts[i] = (struct gr_act){GR_ACT_CLIP, c->acts[i].a / unit, c->acts[i].b / unit};
    }
    return true;
}

enum graft_status int8_prepare(const struct gr_case *c, const float *w, const float *bias,
                               int64_t n, int64_t inner, int64_t channel_stride,
                               int64_t inner_stride, struct int8_product *p,
                               struct graft_error *err)
{
    const struct gr_quant *y = of_output(c);
    const enum gr_dtype plain = c->bf16 && !c->f32_out ? GR_BF16 : GR_F32;
    p->w = gr_alloc_array((size_t)n, (size_t)inner);
    p->product = gr_alloc_array((size_t)n, sizeof *p->product);
    p->bias = gr_alloc_array((size_t)n, sizeof *p->bias);
    if (!p->w || !p->product || !p->bias)
        return gr_error_nomem(err);
    const float unit = y ? y->scale : 1;
    memcpy(p->acts, c->acts, sizeof p->acts);
    const bool early = scale_acts(c, unit, p->acts); /* all is in units of y from the sum on */
    if (!early)
        memcpy(p->acts, c->acts, sizeof p->acts);
    const float step = early ? 1 / unit : 1;
    for (int64_t k = 0; k < n; k++) {
        const float scale =
            c->quant[0].scale *
            round_channel(w + k * channel_stride, inner, inner_stride, p->w + k * channel_stride);
        p->product[k] = scale * step;
        p->bias[k] = bias ? bias[k] / scale : 0;
    }
    p->src = c->quant[0].dtype;
    p->dst = y ? y->dtype : plain;
    p->tail = (struct dnn_tail){c->add, c->n_acts, p->acts};
    p->quant = (struct dnn_quant){p->product, y && c->add ? c->quant[c->n_in - 1].scale * step : 1,
                                  early ? 1 : 1 / unit,
                                  y && c->add ? c->quant[c->n_in - 1].dtype : p->dst};
    return GRAFT_OK;
}

bool int8_read_clip(const struct gr_case *c, const struct int8_product *p, float *low, float *high)
{
    struct gr_case scaled = *c;
    memcpy(scaled.acts, p->acts, sizeof scaled.acts);
    if (!gr_read_clip(&scaled, low, high))
        return false;
    const float least = p->dst == GR_I8   ? INT8_MIN
                        : p->dst == GR_U8 ? 0
                                          : -INFINITY,
                most = p->dst == GR_I8   ? INT8_MAX
                       : p->dst == GR_U8 ? UINT8_MAX
                                         : INFINITY;
    *low = fminf(fmaxf(*low, least), most);
    *high = fminf(fmaxf(*high, least), most);
    return true;
}
