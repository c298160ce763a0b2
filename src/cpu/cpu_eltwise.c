/* How are elementwise operators with broadcasting computed fast? */
#include "base/mem.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"
#include <math.h>

enum { MAX_SOURCES = 8, PARALLEL_COUNT = 1 << 14 };

/* One operand, walked along the output's dimensions in the order in which they lie. */
struct source {
    int input; /* or -1: own data */
    const float *own;
    enum gr_dtype dtype;
    int64_t stride[GR_MAX_RANK];
    enum vec_op op; /* how it joins what came before; unused for the first */
};

struct eltwise {
    int rank; /* of the walk, joined where all operands allow */
    int64_t dim[GR_MAX_RANK];
    int n_sources;
    struct source source[MAX_SOURCES];
    enum gr_dtype out;
    int n_acts;
    struct gr_act acts[GR_MAX_ACTS];
    float *own; /* scale and shift of a batch-norm */
};

static void eltwise_unplan(void *state)
{
    struct eltwise *e = state;
    if (e)
        gr_free(e->own);
    gr_free(e);
}

/* Strides of a dense x as seen from y's dimensions: 0 where x is repeated. */
static void broadcast_strides(const struct gr_shape *x, bool channels_last,
                              const struct gr_shape *y, int64_t *stride)
{
    int64_t own[GR_MAX_RANK] = {0}, step = 1;
    bool last = channels_last && x->rank >= 3;
    if (last) {
        own[1] = 1;
        step = x->dim[1];
    }
    for (int i = x->rank - 1; i >= 0; i--) {
        if (last && i == 1)
            continue;
        own[i] = step;
        step *= x->dim[i];
    }
    for (int i = 0; i < y->rank; i++) {
        int k = i - (y->rank - x->rank);
        stride[i] = k < 0 || x->dim[k] == 1 ? 0 : own[k];
    }
}

/* Puts the dimensions into the order of the output's memory and joins neighbours. */
static void join(struct eltwise *e, const struct gr_shape *y, bool channels_last)
{
    int order[GR_MAX_RANK], n = 0;
    struct eltwise old = *e;
    for (int i = 0; i < y->rank; i++)
        if (!(channels_last && i == 1))
            order[n++] = i;
    if (channels_last)
        order[n++] = 1;
    e->rank = 0;
    for (int i = 0; i < n; i++) {
        int d = order[i], at = e->rank - 1;
        if (y->dim[d] == 1)
            continue;
        bool fits = at >= 0;
        for (int s = 0; fits && s < e->n_sources; s++)
            fits = e->source[s].stride[at] == old.source[s].stride[d] * y->dim[d];
        if (fits) {
            e->dim[at] *= y->dim[d];
        } else {
            at = e->rank++;
            e->dim[at] = y->dim[d];
        }
        for (int s = 0; s < e->n_sources; s++)
            e->source[s].stride[at] = old.source[s].stride[d];
    }
    if (!e->rank) {
        e->rank = 1;
        e->dim[0] = 1;
        for (int s = 0; s < e->n_sources; s++)
            e->source[s].stride[0] = 1;
    }
}

static bool find_op(const struct gr_node *n, enum vec_op *op)
{
    static const struct {
        const char *name;
        enum vec_op op;
    } table[] = {{"Add", VEC_ADD},
                 {"Sub", VEC_SUB},
                 {"Mul", VEC_MUL},
                 {"Div", VEC_DIV},
                 {"Sum", VEC_ADD},
                 {"Min", VEC_MIN},
                 {"Max", VEC_MAX},
                 {"Pow", VEC_POW},
                 {"PRelu", VEC_PRELU},
                 {"Identity", VEC_ADD},
                 {"BatchNormalization", VEC_MUL}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(n->op_type, table[i].name)) {
            *op = table[i].op;
            return true;
        }
    return false;
}

/* y = x * own[c] + own[C + c] */
static enum graft_status add_norm(const struct gr_case *c, struct eltwise *e,
                                  struct graft_error *err)
{
    int64_t n = c->in[0].shape.rank > 1 ? c->in[0].shape.dim[1] : 1;
    float eps = gr_node_get_float(c->node, "epsilon", 1e-5f);
    if (gr_node_get_int(c->node, "training_mode", 0))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "batch statistics");
    for (int i = 1; i < 5; i++)
        if (!c->konst[i] || gr_tensor_count(c->konst[i]) != n)
            return gr_error(err, GRAFT_E_UNSUPPORTED, "statistics are not constant");
    e->own = gr_alloc_array((size_t)n, 2 * sizeof *e->own);
    if (!e->own)
        return gr_error_nomem(err);
    for (int64_t i = 0; i < n; i++) {
        double v[5];
        for (int k = 1; k < 5; k++)
            v[k] = gr_load_f64(c->konst[k]->dtype, c->konst[k]->data, (size_t)i);
        double s = v[1] / sqrt(v[4] + eps);
        e->own[i] = (float)s;
        e->own[n + i] = (float)(v[2] - v[3] * s);
    }
    for (int k = 0; k < 2; k++) {
        struct source *s = &e->source[e->n_sources++];
        *s = (struct source){-1, e->own + k * n, GR_F32, {0}, k ? VEC_ADD : VEC_MUL};
        s->stride[c->out[0].shape.rank > 1 ? 1 : 0] = 1;
    }
    return GRAFT_OK;
}

static enum graft_status eltwise_plan(const struct gr_case *c, struct gr_choice *k,
                                      struct graft_error *err)
{
    const struct gr_shape *y = &c->out[0].shape;
    bool norm = gr_node_is(c->node, "BatchNormalization");
    int n_in = norm ? 1 : c->n_in;
    enum vec_op op;
    enum graft_status s = GRAFT_OK;
    bool last = false, bf16 = false, f32 = false;
    if (c->add || n_in > MAX_SOURCES || c->out[0].dtype != GR_F32 || !find_op(c->node, &op))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "not elementwise on fp32");
    for (int i = 0; i < n_in; i++) {
        bool whole = gr_shape_equal(&c->in[i].shape, y);
        if (c->in[i].dtype != GR_F32)
            return gr_error(err, GRAFT_E_UNSUPPORTED, "not fp32");
        last = last || (whole && !c->konst[i] && c->layout[i].channels_last);
        bf16 = bf16 || (whole && !c->konst[i] && c->layout[i].dtype == GR_BF16);
        f32 = f32 || (whole && !c->konst[i] && c->layout[i].dtype == GR_F32);
    }
    struct eltwise *e = gr_alloc_zero(1, sizeof *e);
    if (!e)
        return gr_error_nomem(err);
    for (int i = 0; i < n_in; i++) {
        bool whole = c->in[i].shape.rank == y->rank;
        struct source *src = &e->source[e->n_sources++];
        k->in[i] = (struct gr_layout){c->konst[i] ? GR_F32 : c->layout[i].dtype, whole && last};
        *src = (struct source){i, NULL, k->in[i].dtype, {0}, op};
        broadcast_strides(&c->in[i].shape, k->in[i].channels_last, y, src->stride);
    }
    if (norm)
        s = add_norm(c, e, err);
    if (s) {
        eltwise_unplan(e);
        return s;
    }
    e->n_acts = c->n_acts;
    memcpy(e->acts, c->acts, sizeof e->acts);
    /* A sum keeps the digits of what has most: residuals of transformers stay in fp32. */
    e->out = bf16 && !f32 && !c->f32_out ? GR_BF16 : GR_F32;
    k->out[0] = (struct gr_layout){e->out, last};
    k->weights_size = norm ? 2 * (size_t)y->dim[y->rank > 1] * sizeof(float) : 0;
    for (int i = 0; i < n_in && k->place < 0; i++)
        if (gr_shape_equal(&c->in[i].shape, y) && !c->konst[i] &&
            gr_layout_equal(k->in[i], k->out[0], y))
            k->place = i;
    join(e, y, last);
    k->state = e;
    k->impl = "elementwise";
    return GRAFT_OK;
}

/* `rows` rows of `n` elements of one source, the first at element `offset`. */
static void load_rows(const struct source *s, const void *data, int64_t offset, int64_t step,
                      int64_t stride, int rows, int n, float *x)
{
    if (rows == 1 || (stride == 1 && step == n)) {
        vec_load(s->dtype, x, data, offset, stride, rows * n);
        return;
    }
    vec_load(s->dtype, x, data, offset, stride, n);
    for (int r = 1; r < rows; r++)
        if (step)
            vec_load(s->dtype, x + r * n, data, offset + r * step, stride, n);
        else
            memcpy(x + r * n, x, (size_t)n * sizeof *x);
}

static enum graft_status eltwise_forward(const void *state, void *bound, const void *const *in,
                                         void *const *out, void *scratch, struct graft_error *err)
{
    const struct eltwise *e = state;
    int at = e->rank - 1;
    int64_t inner = e->dim[at], high = at ? e->dim[at - 1] : 1, outer = 1;
    (void)bound;
    (void)scratch;
    (void)err;
    for (int i = 0; i < at - 1; i++)
        outer *= e->dim[i];
    /* A tile is a piece of one row, or several whole rows. */
    int64_t tall = inner < VEC_ROW ? VEC_ROW / inner : 1;
    tall = tall < high ? tall : high;
    int64_t down = (high + tall - 1) / tall, across = (inner + VEC_ROW - 1) / VEC_ROW;
#pragma omp parallel for if (outer * high * inner >= PARALLEL_COUNT) schedule(static)
    for (int64_t t = 0; t < outer * down * across; t++) {
        float acc[VEC_ROW], x[VEC_ROW];
        int64_t first = t % across * VEC_ROW, row = t / across % down * tall;
        int64_t block = t / across / down;
        int n = (int)(inner - first < VEC_ROW ? inner - first : VEC_ROW);
        int rows = (int)(high - row < tall ? high - row : tall);
        for (int s = 0; s < e->n_sources; s++) {
            const struct source *src = &e->source[s];
            int64_t step = at ? src->stride[at - 1] : 0, rest = block;
            int64_t offset = first * src->stride[at] + row * step;
            for (int i = at - 2; i >= 0; i--) {
                offset += rest % e->dim[i] * src->stride[i];
                rest /= e->dim[i];
            }
            load_rows(src, src->own ? src->own : in[src->input], offset, step, src->stride[at],
                      rows, n, s ? x : acc);
            if (s)
                vec_binary(src->op, acc, x, rows * n);
        }
        for (int i = 0; i < e->n_acts; i++)
            vec_act(&e->acts[i], acc, rows * n);
        vec_store(e->out, out[0], (block * high + row) * inner + first, acc, rows * n);
    }
    return GRAFT_OK;
}

static const char *const ops[] = {"Add",
                                  "Sub",
                                  "Mul",
                                  "Div",
                                  "Sum",
                                  "Min",
                                  "Max",
                                  "Pow",
                                  "PRelu",
                                  "Identity",
                                  "BatchNormalization",
                                  NULL};
const struct gr_kernel gr_kernel_eltwise = {
    .name = "elementwise",
    .ops = ops,
    .plan = eltwise_plan,
    .forward = eltwise_forward,
    .unplan = eltwise_unplan,
};
