/* How are channels shuffled between groups fast? */
#include "base/mem.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"

/* Channel i of group k goes to i * group + k. The groups are equal parts of one input, or one input
   each; the outputs are consecutive ranges of the result. */
struct shuffle {
    int group, n_in, n_out;
    int64_t n, pixels, per;     /* channels of a group */
    int64_t width[4], first[4]; /* of each output, divided by group */
    size_t elem_size;
    bool channels_last;
};

static enum graft_status shuffle_plan(const struct gr_case *c, struct gr_choice *k,
                                      struct graft_error *err)
{
    const struct gr_shape *x = &c->in[0].shape;
    int64_t group = gr_node_get_int(c->node, "group", 1), first = 0;
    struct gr_layout l = c->layout[0];
    if (c->add || c->n_acts || group > 8 || c->n_out > 4 || (c->n_in > 1 && c->n_in != group) ||
        c->in[0].dtype != GR_F32 || !gr_shape_count(x))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "many groups");
    struct shuffle s = {.group = (int)group,
                        .n_in = c->n_in,
                        .n_out = c->n_out,
                        .n = x->dim[0],
                        .pixels = gr_shape_count_range(x, 2, x->rank),
                        .per = c->n_in > 1 ? x->dim[1] : x->dim[1] / group};
    for (int i = 0; i < c->n_in; i++) {
        l.channels_last = l.channels_last || c->layout[i].channels_last;
        if (c->layout[i].dtype == GR_BF16)
            l.dtype = GR_BF16;
    }
    for (int i = 0; i < c->n_out; i++) {
        if (c->out[i].shape.dim[1] % group)
            return gr_error(err, GRAFT_E_UNSUPPORTED, "outputs that cut a group");
        s.width[i] = c->out[i].shape.dim[1] / group;
        s.first[i] = first;
        first += s.width[i];
        k->out[i] = l;
    }
    for (int i = 0; i < c->n_in; i++)
        k->in[i] = l;
    s.elem_size = gr_dtype_size(l.dtype);
    s.channels_last = l.channels_last;
    struct shuffle *state = gr_alloc(sizeof *state);
    if (!state)
        return gr_error_nomem(err);
    *state = s;
    k->state = state;
    k->impl = "shuffle";
    return GRAFT_OK;
}

/* Where channel `channel` of a group begins, for an image and, channels last, a pixel. */
static const char *group_at(const struct shuffle *s, const void *const *in, int group,
                            int64_t image, int64_t pixel, int64_t channel)
{
    int64_t groups = s->n_in > 1 ? 1 : s->group, c = s->per * groups;
    if (s->n_in == 1)
        channel += group * s->per;
    int64_t at = s->channels_last ? (image * s->pixels + pixel) * c + channel
                                  : (image * c + channel) * s->pixels;
    return (const char *)in[s->n_in > 1 ? group : 0] + at * (int64_t)s->elem_size;
}

static enum graft_status shuffle_forward(const void *state, void *bound, const void *const *in,
                                         void *const *out, void *scratch, struct graft_error *err)
{
    const struct shuffle *s = state;
    int64_t rows = s->channels_last ? s->n * s->pixels : s->n * s->per;
    (void)bound;
    (void)scratch;
    (void)err;
#pragma omp parallel for if (s->n * s->per * s->pixels >= 1 << 14) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        int64_t image = r / (rows / s->n), at = r % (rows / s->n); /* pixel, or channel */
        for (int o = 0; o < s->n_out; o++) {
            int64_t width = s->width[o] * s->group, c = at - s->first[o];
            if (s->channels_last) {
                const void *x[8];
                for (int g = 0; g < s->group; g++)
                    x[g] = group_at(s, in, g, image, at, s->first[o]);
                vec_interleave(s->elem_size, (char *)out[o] + r * width * (int64_t)s->elem_size, x,
                               s->group, s->width[o]);
            } else if (c >= 0 && c < s->width[o]) {
                size_t size = (size_t)s->pixels * s->elem_size;
                for (int g = 0; g < s->group; g++)
                    memcpy((char *)out[o] + (size_t)(image * width + c * s->group + g) * size,
                           group_at(s, in, g, image, 0, at), size);
            }
        }
    }
    return GRAFT_OK;
}

static const char *const ops[] = {"ChannelShuffle", NULL};
const struct gr_kernel gr_kernel_shuffle = {.name = "shuffle",
                                            .ops = ops,
                                            .plan = shuffle_plan,
                                            .forward = shuffle_forward,
                                            .unplan = gr_free};
