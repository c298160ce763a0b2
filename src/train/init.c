/* With which random weights does a family of networks begin? */
#include "train/init.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/edit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum rule {
    FAN_OUT,         /* normal, variance 2 / fan out; bias 0 */
    FAN_IN,          /* normal, variance 2 / fan in; bias as UNIFORM */
    FAN_IN_UNIFORM,  /* uniform, variance 2 / fan in; bias 0 */
    UNIFORM,         /* +-1/sqrt(fan in), bias too: PyTorch's layers by themselves */
    UNIFORM_FAN_OUT, /* +-1/sqrt(fan out); bias 0 */
    SMALL,           /* normal, deviation 0.01; bias 0 */
    XAVIER           /* uniform, variance 2 / (fan in + fan out); bias 0 */
};

static const char *const rule_names[] = {"Kaiming normal (fan out)",
                                         "Kaiming normal (fan in)",
                                         "Kaiming uniform (fan in)",
                                         "uniform (1/sqrt(fan in))",
                                         "uniform (1/sqrt(fan out))",
                                         "normal (0.01)",
                                         "Xavier uniform"};

/* As torchvision's constructors, and the CIFAR repository's, set them. */
static const struct family {
    const char *arch; /* begins so */
    enum rule conv, linear;
} families[] = {
    {"CIFAR ResNet", FAN_IN, FAN_IN}, {"ResNet", FAN_OUT, UNIFORM},
    {"ResNeXt", FAN_OUT, UNIFORM},    {"Wide ResNet", FAN_OUT, UNIFORM},
    {"graft-base", FAN_OUT, UNIFORM}, {"MobileNetV2", FAN_OUT, SMALL},
    {"MobileNetV3", FAN_OUT, SMALL},  {"VGG", FAN_OUT, SMALL},
    {"RegNet", FAN_OUT, SMALL},       {"EfficientNet", FAN_OUT, UNIFORM_FAN_OUT},
    {"DenseNet", FAN_IN, UNIFORM},    {"SqueezeNet", FAN_IN_UNIFORM, UNIFORM},
    {"AlexNet", UNIFORM, UNIFORM},    {"ShuffleNet", UNIFORM, UNIFORM},
    {"", FAN_OUT, UNIFORM},
};

struct init {
    struct gr_graph *g;
    uint64_t seed;
    const struct family *family;
    bool *done; /* per value */
    struct gr_init_report *report;
};

static bool is_weight(const struct gr_graph *g, int v)
{
    return v >= 0 && gr_value_is_const(&g->values[v]) && g->values[v].data.dtype == GR_F32;
}

static enum graft_status put(struct init *s, int v, struct gr_tensor *t, struct graft_error *err)
{
    enum graft_status e = gr_graph_set_const(s->g, v, t, err);
    gr_tensor_clear(t);
    s->done[v] = true;
    s->report->n_weights++;
    return e;
}

static enum graft_status fill(struct init *s, int v, float x, struct graft_error *err)
{
    struct gr_tensor t = {0};
    if (!is_weight(s->g, v) || s->done[v])
        return GRAFT_OK;
    enum graft_status e = gr_tensor_new(GR_F32, &s->g->values[v].data.shape, &t, err);
    if (e)
        return e;
    float *p = gr_tensor_mut(&t);
    for (int64_t i = 0, n = gr_tensor_count(&t); i < n; i++)
        p[i] = x;
    return put(s, v, &t, err);
}

/* deviation > 0: normal; else uniform in +-bound. The stream is the value's id. */
static enum graft_status draw(struct init *s, int v, double deviation, double bound,
                              struct graft_error *err)
{
    struct gr_tensor t = {0};
    if (!is_weight(s->g, v) || s->done[v])
        return GRAFT_OK;
    enum graft_status e = gr_tensor_new(GR_F32, &s->g->values[v].data.shape, &t, err);
    if (e)
        return e;
    float *p = gr_tensor_mut(&t);
    const uint64_t stream = 0x696e6974u + (uint64_t)v;
    for (int64_t i = 0, n = gr_tensor_count(&t); i < n; i++)
        p[i] = deviation > 0
                   ? (float)(deviation * gr_rng_normal(s->seed, stream, (uint64_t)i))
                   : (float)(bound * (2 * gr_rng_uniform(s->seed, stream, (uint64_t)i) - 1));
    return put(s, v, &t, err);
}

static enum graft_status layer(struct init *s, enum rule rule, int w, int bias, double in,
                               double out, struct graft_error *err)
{
    double deviation = 0, bound = 0, bias_bound = 0;
    switch (rule) {
    case FAN_OUT:
        deviation = sqrt(2 / out);
        break;
    case FAN_IN:
        deviation = sqrt(2 / in);
        bias_bound = 1 / sqrt(in);
        break;
    case FAN_IN_UNIFORM:
        bound = sqrt(6 / in);
        break;
    case UNIFORM:
        bound = bias_bound = 1 / sqrt(in);
        break;
    case UNIFORM_FAN_OUT:
        bound = 1 / sqrt(out);
        break;
    case SMALL:
        deviation = 0.01;
        break;
    case XAVIER:
        bound = sqrt(6 / (in + out));
        break;
    }
    enum graft_status e = draw(s, w, deviation, bound, err);
    if (!e)
        e = bias_bound > 0 ? draw(s, bias, 0, bias_bound, err) : fill(s, bias, 0, err);
    return e;
}

static int input(const struct gr_node *n, int k)
{
    return k < n->n_in ? n->in[k] : -1;
}

static int64_t int_attr(const struct gr_node *n, const char *name)
{
    const struct gr_attr *a = gr_node_find_attr(n, name);
    return a && a->type == GR_ATTR_INT ? a->i : 0;
}

static enum graft_status matrix(struct init *s, int w, int bias, bool rows, enum rule rule,
                                struct graft_error *err)
{
    const struct gr_shape *shape = &s->g->values[w].data.shape;
    if (shape->rank < 2)
        return GRAFT_OK;
    double a = (double)shape->dim[shape->rank - 2], b = (double)shape->dim[shape->rank - 1];
    return layer(s, rule, w, bias, rows ? b : a, rows ? a : b, err);
}

static bool is_norm(const char *op)
{
    return !strcmp(op, "LayerNormalization") || !strcmp(op, "InstanceNormalization") ||
           !strcmp(op, "GroupNormalization");
}

static enum graft_status node(struct init *s, const struct gr_node *n, struct graft_error *err)
{
    const struct gr_value *values = s->g->values;
    const int w = input(n, 1);
    enum graft_status e = GRAFT_OK;
    if (*n->domain)
        return GRAFT_OK;
    if ((!strcmp(n->op_type, "Conv") || !strcmp(n->op_type, "ConvTranspose")) &&
        is_weight(s->g, w) && values[w].data.shape.rank >= 3) {
        const struct gr_shape *k = &values[w].data.shape;
        double window = (double)gr_shape_count_range(k, 2, k->rank);
        e = layer(s, s->family->conv, w, input(n, 2), (double)k->dim[1] * window,
                  (double)k->dim[0] * window, err);
    } else if (!strcmp(n->op_type, "Gemm") && is_weight(s->g, w)) {
        e = matrix(s, w, input(n, 2), int_attr(n, "transB"), s->family->linear, err);
    } else if (!strcmp(n->op_type, "MatMul")) {
        for (int k = 0; !e && k < 2; k++)
            if (is_weight(s->g, input(n, k)))
                e = matrix(s, input(n, k), -1, false, XAVIER, err);
    } else if (!strcmp(n->op_type, "BatchNormalization")) {
        for (int k = 1; !e && k < 5; k++)
            e = fill(s, input(n, k), k == 1 || k == 4 ? 1 : 0, err);
    } else if (is_norm(n->op_type)) {
        e = fill(s, w, 1, err);
        if (!e)
            e = fill(s, input(n, 2), 0, err);
    } else if (!strcmp(n->op_type, "PRelu")) {
        e = fill(s, w, 0.25f, err);
    } else if (!strcmp(n->op_type, "Gather") && is_weight(s->g, input(n, 0))) {
        e = draw(s, input(n, 0), 0.02, 0, err); /* an embedding */
    } else if (!strcmp(n->op_type, "Add")) {
        for (int k = 0; !e && k < 2; k++) {
            int v = input(n, k), other = input(n, 1 - k);
            int from = other >= 0 ? values[other].producer : -1;
            if (is_weight(s->g, v) && from >= 0 && !strcmp(s->g->nodes[from].op_type, "MatMul"))
                e = fill(s, v, 0, err); /* the bias of a linear layer */
        }
    }
    return e;
}

enum graft_status gr_init_weights(struct gr_graph *g, const char *arch, uint64_t seed,
                                  struct gr_init_report *report, struct graft_error *err)
{
    struct init s = {.g = g, .seed = seed, .family = families, .report = report};
    enum graft_status e = GRAFT_OK;
    memset(report, 0, sizeof *report);
    while (strncmp(arch ? arch : "", s.family->arch, strlen(s.family->arch)) != 0)
        s.family++;
    report->rule = rule_names[s.family->conv];
    s.done = gr_alloc_zero(g->n_values, sizeof *s.done);
    if (!s.done)
        return gr_error_nomem(err);
    for (size_t i = 0; !e && i < g->n_nodes; i++)
        e = node(&s, &g->nodes[i], err);
    for (size_t i = 0; !e && i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++) {
            int v = g->nodes[i].in[k];
            if (!is_weight(g, v) || s.done[v] || gr_tensor_count(&g->values[v].data) < 2)
                continue;
            s.done[v] = true;
            if (!report->n_left++)
                report->first = g->values[v].name;
        }
    gr_free(s.done);
    return e;
}

/* ---- batch-norm that was folded away --------------------------------------------------------- */

static enum graft_status add_channels(struct gr_graph *g, const char *conv, const char *part,
                                      int64_t channels, float x, int *out, struct graft_error *err)
{
    const struct gr_shape shape = gr_shape_from(1, &channels);
    float *v = gr_alloc_array((size_t)channels, sizeof *v);
    char *name = gr_sprintf("%s.%s", conv, part);
    enum graft_status s = v && name ? GRAFT_OK : gr_error_nomem(err);
    for (int64_t i = 0; !s && i < channels; i++)
        v[i] = x;
    if (!s)
        s = gr_graph_append_const(g, name, GR_F32, &shape, v, out, err);
    gr_free(name);
    gr_free(v);
    return s;
}

/* conv -> y becomes conv -> y' -> batch-norm -> y, so that readers of y need no change. */
static enum graft_status insert(struct gr_graph *g, size_t conv, struct graft_error *err)
{
    static const char *const parts[] = {"bn.weight", "bn.bias", "bn.running_mean",
                                        "bn.running_var"};
    const int y = g->nodes[conv].out[0];
    const int64_t channels = g->values[g->nodes[conv].in[1]].data.shape.dim[0];
    const char *base = g->values[y].name, *name;
    int in[5], id;
    char *text = gr_sprintf("%s.bn", base);
    enum graft_status s = text ? GRAFT_OK : gr_error_nomem(err);
    name = gr_graph_free_name(g, "conv_out");
    if (!s)
        s = name ? gr_graph_value(g, name, &in[0], err) : gr_error_nomem(err);
    for (int k = 0; !s && k < 4; k++)
        s = add_channels(g, base, parts[k], channels, k == 0 || k == 3 ? 1 : 0, &in[k + 1], err);
    if (!s) {
        g->values[in[0]].producer = (int)conv;
        g->nodes[conv].out[0] = in[0];
        g->nodes[conv].in[2] = -1;
        g->nodes[conv].n_in = 2;
        g->values[y].producer = -1;
        s = gr_graph_add_node(g, "BatchNormalization", "", text, 5, in, 1, &y, &id, err);
    }
    gr_free(text);
    return s;
}

enum graft_status gr_init_unfold_batch_norm(struct gr_graph *g, size_t *n, struct graft_error *err)
{
    const size_t n_nodes = g->n_nodes;
    enum graft_status s = GRAFT_OK;
    *n = 0;
    for (size_t i = 0; i < n_nodes; i++)
        if (!strcmp(g->nodes[i].op_type, "BatchNormalization") || is_norm(g->nodes[i].op_type))
            return GRAFT_OK;
    for (size_t i = 0; !s && i < n_nodes; i++) {
        const struct gr_node *c = &g->nodes[i];
        if (strcmp(c->op_type, "Conv") != 0 || *c->domain || c->n_in < 3 || c->n_out < 1 ||
            c->out[0] < 0 || !is_weight(g, c->in[1]) || !is_weight(g, c->in[2]) ||
            g->values[c->in[1]].data.shape.rank < 3)
            continue;
        s = insert(g, i, err);
        ++*n;
    }
    if (!s && *n)
        s = gr_graph_check(g, err); /* topological order */
    return s ? s : gr_graph_bind(g, err);
}
