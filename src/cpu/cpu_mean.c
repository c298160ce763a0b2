/* How is the mean over all pixels of each channel computed fast? */
#include "base/mem.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"

struct mean {
    int64_t n, c, pixels;
    enum gr_dtype in, out;
    bool channels_last;
};

enum { CHANNELS = 64 };

/* ReduceMean of exactly the dimensions 2.. */
static bool reduces_pixels(const struct gr_case *c)
{
    int rank = c->in[0].shape.rank;
    unsigned seen = 0;
    const struct gr_attr *a = gr_node_find_attr(c->node, "axes");
    const struct gr_tensor *t = c->n_in > 1 ? c->konst[1] : NULL;
    int64_t n = a ? (int64_t)a->n : t ? gr_tensor_count(t) : 0;
    for (int64_t i = 0; i < n; i++) {
        int axis = gr_axis(a ? a->ints[i] : gr_load_i64(t->dtype, t->data, (size_t)i), rank);
        if (axis < 2)
            return false;
        seen |= 1u << axis;
    }
    return n && seen == (1u << rank) - 4u;
}

static enum graft_status mean_plan(const struct gr_case *c, struct gr_choice *k,
                                   struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    if (c->in[0].dtype != GR_F32 || c->add || c->n_acts || x->rank < 3 || !gr_shape_count(x) ||
        (gr_node_is(c->node, "ReduceMean") && !reduces_pixels(c)))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "not a mean over pixels");
    struct mean *m = gr_alloc(sizeof *m);
    if (!m)
        return gr_error_nomem(err);
    *m = (struct mean){x->dim[0],
                       x->dim[1],
                       gr_shape_count_range(x, 2, x->rank),
                       c->layout[0].dtype,
                       c->f32_out ? GR_F32 : c->layout[0].dtype,
                       c->layout[0].channels_last};
    k->out[0] = (struct gr_layout){m->out, false};
    k->state = m;
    k->impl = "mean";
    return GRAFT_OK;
}

/* Sums of up to CHANNELS neighbouring channels; partial sums keep the error small. */
static void sum_last(const struct mean *m, const void *x, int64_t offset, float *total, int n)
{
    float part[CHANNELS], row[CHANNELS];
    for (int64_t p = 0; p < m->pixels;) {
        memset(part, 0, sizeof part);
        for (int k = 0; k < 64 && p < m->pixels; k++, p++) {
            vec_load(m->in, row, x, offset + p * m->c, 1, n);
            vec_binary(VEC_ADD, part, row, n);
        }
        vec_binary(VEC_ADD, total, part, n);
    }
}

static float sum_row(const struct mean *m, const void *x, int64_t offset)
{
    float row[CHANNELS];
    double total = 0;
    for (int64_t p = 0; p < m->pixels; p += CHANNELS) {
        int n = (int)(m->pixels - p < CHANNELS ? m->pixels - p : CHANNELS);
        vec_load(m->in, row, x, offset + p, 1, n);
        total += vec_sum(row, n);
    }
    return (float)total;
}

static enum graft_status mean_forward(const void *state, void *bound, const void *const *in,
                                      void *const *out, void *scratch, struct graft_error *err)
{
    const struct mean *m = state;
    int64_t blocks = (m->c + CHANNELS - 1) / CHANNELS;
    struct gr_act scale = {GR_ACT_LINEAR, 1.0f / (float)m->pixels, 0};
    (void)bound;
    (void)scratch;
    (void)err;
#pragma omp parallel for if (m->n * m->c * m->pixels >= 1 << 14) schedule(static)
    for (int64_t r = 0; r < m->n * blocks; r++) {
        int64_t first = r % blocks * CHANNELS, image = r / blocks;
        int n = (int)(m->c - first < CHANNELS ? m->c - first : CHANNELS);
        float total[CHANNELS] = {0};
        if (m->channels_last)
            sum_last(m, in[0], image * m->pixels * m->c + first, total, n);
        else
            for (int i = 0; i < n; i++)
                total[i] = sum_row(m, in[0], (image * m->c + first + i) * m->pixels);
        vec_act(&scale, total, n);
        vec_store(m->out, out[0], image * m->c + first, total, n);
    }
    return GRAFT_OK;
}

static const char *const ops[] = {"GlobalAveragePool", "ReduceMean", NULL};
const struct gr_kernel gr_kernel_mean = {
    .name = "mean", .ops = ops, .plan = mean_plan, .forward = mean_forward, .unplan = gr_free};
