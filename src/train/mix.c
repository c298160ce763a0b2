/* How are the examples of a batch mixed? */
#include "train/mix.h"
#include "base/rng.h"
#include <math.h>
#include <string.h>

#define STREAM_MIX 0x6d69780000000000u

enum graft_status gr_mix_check(const struct gr_mix *m, size_t n_inputs,
                               const struct gr_shape *input_shapes, struct graft_error *err)
{
    if (!(m->mixup >= 0 && m->mixup <= 100) || !(m->cutmix >= 0 && m->cutmix <= 100))
        return gr_error(err, GRAFT_E_ARG, "mixup %g, cutmix %g: each must be 0..100", m->mixup,
                        m->cutmix);
    if (m->cutmix > 0 && (n_inputs != 1 || input_shapes[0].rank != 4))
        return gr_error(err, GRAFT_E_ARG,
                        "cutmix needs one input (N,C,H,W); there are %zu, the first of rank %d",
                        n_inputs, input_shapes[0].rank);
    return GRAFT_OK;
}

/* Gamma(alpha, 1) (Marsaglia, Tsang 2000), from counter *c on. */
static double draw_gamma(double alpha, uint64_t seed, uint64_t stream, uint64_t *c)
{
    double boost = 1;
    if (alpha < 1) {
        boost = pow(1 - gr_rng_uniform(seed, stream, (*c)++), 1 / alpha);
        alpha += 1;
    }
    const double d = alpha - 1.0 / 3, k = 1 / sqrt(9 * d);
    for (;;) {
        double x = gr_rng_normal(seed, stream, *c);
        double u = 1 - gr_rng_uniform(seed, stream, 2 * *c + 2), v = 1 + k * x;
        *c += 2; /* a normal takes counters 2c and 2c+1 */
        if (v > 0 && log(u) < 0.5 * x * x + d - d * v * v * v + d * log(v * v * v))
            return boost * d * v * v * v;
    }
}

double gr_mix_beta(double alpha, uint64_t seed, uint64_t stream)
{
    uint64_t c = 0;
    double a = draw_gamma(alpha, seed, stream, &c);
    c += 1000;
    double b = draw_gamma(alpha, seed, stream, &c);
    return a + b > 0 ? a / (a + b) : 0.5;
}

static void blend_pair(float *restrict a, float *restrict b, size_t n, float keep)
{
    for (size_t i = 0; i < n; i++) {
        float x = a[i], y = b[i];
        a[i] = keep * x + (1 - keep) * y;
        b[i] = keep * y + (1 - keep) * x;
    }
}

struct box {
    int64_t x0, y0, x1, y1;
};

static void swap_box(float *restrict a, float *restrict b, const struct gr_shape *s, struct box r)
{
    const int64_t h = s->dim[2], w = s->dim[3];
    for (int64_t c = 0; c < s->dim[1]; c++) {
        for (int64_t y = r.y0; y < r.y1; y++) {
            for (int64_t i = (c * h + y) * w + r.x0, end = i + r.x1 - r.x0; i < end; i++) {
                float t = a[i];
                a[i] = b[i];
                b[i] = t;
            }
        }
    }
}

void gr_mix_rows(const struct gr_mix *m, uint64_t seed, uint64_t step, size_t n, size_t n_inputs,
                 float *const *inputs, const struct gr_shape *input_shapes, size_t n_classes,
                 float *target)
{
    if (n < 2 || (m->mixup <= 0 && m->cutmix <= 0))
        return;
    const uint64_t stream = STREAM_MIX + 2 * step;
    const bool cut = m->cutmix > 0 && (m->mixup <= 0 || gr_rng_uniform(seed, stream + 1, 0) < 0.5);
    double keep = gr_mix_beta(cut ? m->cutmix : m->mixup, seed, stream);
    struct box r = {0};
    if (cut) { /* a box of area 1 - keep about a random point, clipped; then its true area */
        const int64_t h = input_shapes[0].dim[2], w = input_shapes[0].dim[3];
        int64_t half_h = (int64_t)(0.5 * sqrt(1 - keep) * (double)h);
        int64_t half_w = (int64_t)(0.5 * sqrt(1 - keep) * (double)w);
        int64_t y = (int64_t)gr_rng_below(seed, stream + 1, 1, (uint64_t)h);
        int64_t x = (int64_t)gr_rng_below(seed, stream + 1, 2, (uint64_t)w);
        r.y0 = y > half_h ? y - half_h : 0;
        r.x0 = x > half_w ? x - half_w : 0;
        r.y1 = y + half_h < h ? y + half_h : h;
        r.x1 = x + half_w < w ? x + half_w : w;
        keep = 1 - (double)((r.y1 - r.y0) * (r.x1 - r.x0)) / (double)(h * w);
    }
    for (size_t i = 0, j = n - 1; i < j; i++, j--) {
        for (size_t k = 0; k < n_inputs; k++) {
            size_t each = (size_t)gr_shape_count_range(&input_shapes[k], 1, input_shapes[k].rank);
            if (cut)
                swap_box(inputs[k] + i * each, inputs[k] + j * each, &input_shapes[k], r);
            else
                blend_pair(inputs[k] + i * each, inputs[k] + j * each, each, (float)keep);
        }
        blend_pair(target + i * n_classes, target + j * n_classes, n_classes, (float)keep);
    }
}
