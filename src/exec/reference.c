/* How is any operator run by its double reference? */
#include "base/mem.h"
#include "core/op.h"
#include "exec/program.h"
#include <math.h>

struct reference {
    const struct gr_node *node;
    int n_in, n_out; /* of the node */
    bool add;
    int n_acts;
    struct gr_act acts[GR_MAX_ACTS];
    struct gr_type types[]; /* inputs, residual if any, outputs */
};

static size_t padded(size_t size)
{
    return (size + 63) / 64 * 64;
}

static enum graft_status reference_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    size_t n = (size_t)(c->n_in + c->n_out);
    struct reference *r = gr_alloc_zero(1, sizeof *r + n * sizeof *r->types);
    if (!r)
        return gr_error_nomem(err);
    *r = (struct reference){c->node, c->node->n_in, c->n_out, c->add, c->n_acts, {{0}}};
    memcpy(r->acts, c->acts, sizeof r->acts);
    k->scratch_size = padded(n * sizeof(struct gr_ref));
    for (int i = 0; i < c->n_in + c->n_out; i++) {
        const struct gr_type *t = i < c->n_in ? &c->in[i] : &c->out[i - c->n_in];
        struct gr_layout plain = {t->dtype, false};
        size_t size;
        r->types[i] = *t;
        *(i < c->n_in ? &k->in[i] : &k->out[i - c->n_in]) = plain;
        if (!gr_mul_size(t->dtype ? (size_t)gr_shape_count(&t->shape) : 0, 8, &size) ||
            !gr_add_size(k->scratch_size, padded(size), &k->scratch_size)) {
            gr_free(r);
            return gr_error(err, GRAFT_E_LIMIT, "too large for the reference");
        }
    }
    k->state = r;
    k->impl = "reference";
    return GRAFT_OK;
}

static double clip(double x, double lo, double hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

static double apply(const struct gr_act *t, double x)
{
    double a = t->a, b = t->b;
    switch (t->kind) {
    case GR_ACT_CLIP:
        return clip(x, a, b);
    case GR_ACT_LEAKY:
        return x < 0 ? a * x : x;
    case GR_ACT_LINEAR:
        return a * x + b;
    case GR_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case GR_ACT_SWISH:
        return x / (1 + exp(-a * x));
    case GR_ACT_TANH:
        return tanh(x);
    case GR_ACT_HARD_SWISH:
        return x * clip(x + 3, 0, 6) / 6;
    case GR_ACT_HARD_SIGMOID:
        return clip(a * x + b, 0, 1);
    case GR_ACT_ELU:
        return x < 0 ? a * expm1(x) : x;
    case GR_ACT_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case GR_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case GR_ACT_SOFTPLUS:
        return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    case GR_ACT_MISH:
        return x * tanh(x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)));
    case GR_ACT_EXP:
        return exp(x);
    case GR_ACT_SQRT:
        return sqrt(x);
    case GR_ACT_ABS:
        return fabs(x);
    case GR_ACT_ERF:
        return erf(x);
    case GR_N_ACTS:
        break;
    }
    return x;
}

static enum graft_status reference_forward(const void *state, void *bound, const void *const *in,
                                           void *const *out, void *scratch, struct graft_error *err)
{
    const struct reference *r = state;
    int n_in = r->n_in + r->add, n = n_in + r->n_out;
    struct gr_ref *ref = scratch;
    char *at = (char *)scratch + padded((size_t)n * sizeof *ref);
    (void)bound;
    for (int i = 0; i < n; i++) {
        int64_t count = r->types[i].dtype ? gr_shape_count(&r->types[i].shape) : 0;
        ref[i] = (struct gr_ref){r->types[i].dtype, r->types[i].shape, NULL};
        if (!r->types[i].dtype)
            continue;
        ref[i].v = (double *)at;
        at += padded((size_t)count * 8);
        if (i >= n_in)
            memset(ref[i].v, 0, (size_t)count * 8);
        for (int64_t k = 0; i < n_in && k < count; k++)
            ref[i].v[k] = gr_load_f64(r->types[i].dtype, in[i], (size_t)k);
    }
    struct gr_ref *y = ref + n_in;
    enum graft_status s = r->node->op->ref(r->node, r->n_in, ref, r->n_out, y, err);
    if (s)
        return s;
    for (int i = 0; i < r->n_out; i++) {
        int64_t count = y[i].v ? gr_shape_count(&y[i].shape) : 0;
        for (int64_t k = 0; k < count; k++) {
            double v = y[i].v[k] + (!i && r->add ? ref[r->n_in].v[k] : 0);
            for (int a = 0; !i && a < r->n_acts; a++)
                v = apply(&r->acts[a], v);
            if (out[i])
                gr_store_f64(y[i].dtype, out[i], (size_t)k, v);
        }
    }
    return GRAFT_OK;
}

const struct gr_kernel gr_kernel_reference = {
    .name = "reference", .plan = reference_plan, .forward = reference_forward, .unplan = gr_free};

static enum graft_status identity_ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                      int n_out, struct gr_ref *out, struct graft_error *err)
{
    (void)node;
    (void)n_in;
    (void)n_out;
    (void)err;
    memcpy(out[0].v, in[0].v, (size_t)gr_shape_count(&in[0].shape) * 8);
    return GRAFT_OK;
}

/* Channel i of group k goes to i * group + k; the groups are parts of one input or one input each,
   the outputs are consecutive ranges. */
static enum graft_status shuffle_ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                     int n_out, struct gr_ref *out, struct graft_error *err)
{
    const struct gr_shape *s = &in[0].shape;
    int64_t g = gr_node_get_int(node, "group", 1), inner = gr_shape_count_range(s, 2, s->rank),
            per = n_in > 1 ? s->dim[1] : s->dim[1] / g, first = 0;
    (void)err;
    for (int o = 0; o < n_out; o++) {
        int64_t width = out[o].shape.dim[1];
        for (int64_t i = 0; i < s->dim[0] * width; i++) {
            int64_t n = i / width, c = first + i % width, k = c % g;
            const struct gr_ref *x = &in[n_in > 1 ? k : 0];
            int64_t from = n * s->dim[1] + c / g + (n_in > 1 ? 0 : k * per);
            memcpy(out[o].v + i * inner, x->v + from * inner, (size_t)inner * 8);
        }
        first += width;
    }
    return GRAFT_OK;
}

/* MatMul with one matrix for all rows, and a row added to each. */
static enum graft_status linear_ref(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                    int n_out, struct gr_ref *out, struct graft_error *err)
{
    const struct gr_op *product = gr_op_find("", "MatMul", 13);
    const int64_t width = out[0].shape.dim[out[0].shape.rank - 1];
    enum graft_status s = product ? product->ref(node, n_in - 1, in, n_out, out, err)
                                  : gr_error(err, GRAFT_E_UNSUPPORTED, "there is no MatMul");
    for (int64_t i = 0; !s && i < gr_shape_count(&out[0].shape); i++)
        out[0].v[i] += in[2].v[i % width];
    return s;
}

static double linear_macs(const struct gr_node *node, int n_in, const struct gr_type *in,
                          const struct gr_type *out)
{
    (void)node;
    (void)n_in;
    return (double)gr_shape_count(&out[0].shape) * (double)in[1].shape.dim[0];
}

static int64_t strided_at(const struct gr_strided *s, int64_t batch, int64_t head, int64_t row,
                          int64_t column)
{
    return s->offset + batch * s->step[0] + head * s->step[1] + row * s->step[2] +
           column * s->step[3];
}

static enum graft_status attention_ref(const struct gr_node *node, int n_in,
                                       const struct gr_ref *in, int n_out, struct gr_ref *out,
                                       struct graft_error *err)
{
    struct gr_attention a;
    gr_attention_read(node, &a);
    const struct gr_attention_views *at = &a.at;
    double *shares = gr_alloc_array((size_t)at->keys + 1, sizeof *shares);
    (void)n_in;
    (void)n_out;
    if (!shares)
        return gr_error_nomem(err);
    for (int64_t i = 0; i < at->batch * at->heads * at->queries; i++) {
        const int64_t b = i / at->queries / at->heads, h = i / at->queries % at->heads,
                      r = i % at->queries;
        double top = -INFINITY, sum = 0;
        for (int64_t k = 0; k < at->keys; k++) {
            double s = 0;
            for (int64_t d = 0; d < at->width; d++)
                s += in[0].v[strided_at(&at->q, b, h, r, d)] *
                     in[1].v[strided_at(&at->k, b, h, k, d)];
            s = s * (double)a.scale + (a.masked ? in[3].v[strided_at(&at->mask, b, h, r, k)] : 0);
            shares[k] = s;
            top = s > top ? s : top;
        }
        for (int64_t k = 0; k < at->keys; k++)
            sum += shares[k] = exp(shares[k] - top);
        for (int64_t d = 0; d < at->out_width; d++) {
            double y = 0;
            for (int64_t k = 0; k < at->keys; k++)
                y += shares[k] * in[2].v[strided_at(&at->v, b, h, k, d)];
            out[0].v[strided_at(&at->y, b, h, r, d)] = y / sum;
        }
    }
    gr_free(shares);
    return GRAFT_OK;
}

static double attention_macs(const struct gr_node *node, int n_in, const struct gr_type *in,
                             const struct gr_type *out)
{
    struct gr_attention a;
    gr_attention_read(node, &a);
    (void)n_in;
    (void)in;
    (void)out;
    return (double)(a.at.batch * a.at.heads * a.at.queries) * (double)a.at.keys *
           (double)(a.at.width + a.at.out_width);
}

const struct gr_op gr_op_pass_identity = {.name = "Identity", .domain = "", .ref = identity_ref};
const struct gr_op gr_op_pass_shuffle = {
    .name = "ChannelShuffle", .domain = "", .ref = shuffle_ref};
const struct gr_op gr_op_pass_linear = {
    .name = "Linear", .domain = "", .ref = linear_ref, .macs = linear_macs};
const struct gr_op gr_op_pass_attention = {
    .name = "Attention", .domain = "", .ref = attention_ref, .macs = attention_macs};
