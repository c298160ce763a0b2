/* How does a model, or its frozen part, become ready to run on pictures? */
#include "base/mem.h"
#include "data/preprocess.h"
#include "job/job.h"
#include <stdio.h>
#include <string.h>

enum { MAX_WIDTH = 1 << 24 }; /* of a vector of features or classes */

void gr_network_clear(struct gr_network *net)
{
    gr_plan_free(net->plan);
    gr_graph_free(net->graph);
    gr_ranges_clear(&net->ranges);
    memset(net, 0, sizeof *net);
}

static enum graft_status check_input(const struct gr_model *m, struct gr_network *net,
                                     struct graft_error *err)
{
    const struct gr_graph *g = m->graph;
    if (g->n_inputs != 1)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "the network has %zu inputs; pictures go into networks with one",
                        g->n_inputs);
    struct gr_type *t = NULL;
    enum graft_status s = gr_job_input_types(m, net->batch, &t, err);
    if (s)
        return s;
    const struct gr_shape *x = &t[0].shape;
    const int64_t planes = gr_preprocess_channels(&m->pre);
    char text[GR_SHAPE_TEXT];
    net->channels_last = x->rank == 4 && x->dim[1] == m->pre.height && x->dim[2] == m->pre.width &&
                         x->dim[3] == planes && x->dim[1] != planes;
    bool first = x->rank == 4 && x->dim[1] == planes && x->dim[2] == m->pre.height &&
                 x->dim[3] == m->pre.width;
    if (t[0].dtype != GR_F32)
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "the network's input is %s, expected float32",
                     gr_dtype_name(t[0].dtype));
    else if (!first && !net->channels_last)
        s = gr_error(
            err, GRAFT_E_SHAPE,
            "the network's input '%s' is %s, but pictures are prepared as (%lld,%lld,%d,%d)"
            " (see --img-size and --channels)",
            g->values[g->inputs[0]].name, gr_shape_print(x, text), (long long)net->batch,
            (long long)planes, m->pre.height, m->pre.width);
    gr_free(t);
    return s;
}

static enum graft_status read_ranges(const struct gr_model *m, struct gr_network *net,
                                     struct graft_error *err)
{
    const char *text = gr_model_get_prop(m, "graft.int8");
    if (!text)
        return gr_error(err, GRAFT_E_ARG,
                        "the model does not say the ranges of its values, which int8 needs; "
                        "'graft train --precision int8' writes them");
    return gr_job_parse_ranges(text, &net->ranges, err);
}

enum gr_precision gr_model_precision(const struct gr_model *m, enum graft_precision asked)
{
    static const enum gr_precision of[] = {GR_PRECISION_AUTO, GR_PRECISION_FP32, GR_PRECISION_BF16,
                                           GR_PRECISION_INT8};
    const char *settled = gr_model_get_prop(m, "graft.precision");
    if (of[asked] != GR_PRECISION_AUTO)
        return of[asked];
    if (settled && !strcmp(settled, "fp32"))
        return GR_PRECISION_FP32;
    if (settled && !strcmp(settled, "int8"))
        return gr_cpu_has_int8() ? GR_PRECISION_INT8 : GR_PRECISION_FP32;
    return gr_cpu_has_fast_bf16() ? GR_PRECISION_BF16 : GR_PRECISION_FP32;
}

/* What the plan will be: precision, ranges of int8, shape of the input. */
static enum graft_status choose(const struct gr_model *m, enum graft_precision precision,
                                struct gr_network *net, struct graft_error *err)
{
    struct gr_type *t = NULL;
    net->precision = gr_model_precision(m, precision);
    enum graft_status s = GRAFT_OK;
    if (net->precision == GR_PRECISION_INT8 && !net->ranges.n)
        s = read_ranges(m, net, err);
    if (!s)
        s = gr_job_input_types(m, net->batch, &t, err);
    if (!s)
        net->input = t[0].shape;
    gr_free(t);
    return s;
}

static enum graft_status make_plan(struct gr_network *net, struct graft_error *err)
{
    struct gr_plan_options o;
    gr_plan_options_init(&o);
    o.batch = net->batch;
    o.parts = gr_plan_usual_parts(net->batch);
    o.precision = net->precision;
    o.ranges = &net->ranges;
    enum graft_status s = gr_plan_new(net->graph, 0, NULL, &net->input, &o, &net->plan, err);
    if (s)
        return s;
    const struct gr_type *y = gr_plan_get_output(net->plan, 0);
    char text[GR_SHAPE_TEXT];
    if (y->shape.rank < 2 || y->shape.dim[0] != net->batch || y->dtype != GR_F32)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "the network gives %s %s, expected float32 numbers for each picture",
                        gr_dtype_name(y->dtype), gr_shape_print(&y->shape, text));
    const int64_t width = gr_shape_count_range(&y->shape, 1, y->shape.rank);
    if (width < 1 || (net->width && width != net->width))
        return gr_error(err, GRAFT_E_SHAPE, "the network gives %s for %lld pictures",
                        gr_shape_print(&y->shape, text), (long long)net->batch);
    net->width = width;
    return GRAFT_OK;
}

enum graft_status gr_network_plan(struct gr_network *net, struct graft_error *err)
{
    enum graft_status s = net->plan ? GRAFT_OK : make_plan(net, err);
    return s ? gr_error_in(err, s, "%s", net->name) : GRAFT_OK;
}

static enum graft_status check_vector(const struct gr_network *net, struct graft_error *err)
{
    const struct gr_shape *y = &gr_plan_get_output(net->plan, 0)->shape;
    char text[GR_SHAPE_TEXT];
    if (net->width > MAX_WIDTH)
        return gr_error(err, GRAFT_E_LIMIT, "the network gives %lld numbers, limit is %d",
                        (long long)net->width, MAX_WIDTH);
    if (net->width == y->dim[1])
        return GRAFT_OK;
    return gr_error(err, GRAFT_E_UNSUPPORTED,
                    "the network gives %s, expected a vector for each "
                    "picture",
                    gr_shape_print(y, text));
}

static enum graft_status hash_graph(const struct gr_network *net, struct gr_hash *hash,
                                    struct graft_error *err)
{
    struct gr_hasher *h = gr_hasher_new();
    if (!h)
        return gr_error_nomem(err);
    enum graft_status s = gr_graph_hash(net->graph, h, err);
    *hash = gr_hasher_get(h);
    gr_hasher_free(h);
    return s;
}

enum graft_status gr_network_keep_hash(struct gr_network *net, struct graft_error *err)
{
    enum graft_status s = net->hashed ? GRAFT_OK : hash_graph(net, &net->graph_hash, err);
    net->hashed = !s;
    return s;
}

/* Everything that decides the vectors. The version goes up whenever kernels or preprocessing give
   other numbers. */
enum graft_status gr_network_hash(const struct gr_network *net, struct gr_hash *key,
                                  struct graft_error *err)
{
    enum { VERSION = 5 };
    struct gr_hash graph = net->graph_hash;
    enum graft_status s = net->hashed ? GRAFT_OK : hash_graph(net, &graph, err);
    if (s)
        return s;
    struct gr_hasher *h = gr_hasher_new();
    const struct graft_preprocess *p = &net->pre;
    if (!h)
        return gr_error_nomem(err);
    gr_hasher_add_i64(h, VERSION);
    gr_hasher_add(h, &graph, sizeof graph);
    gr_hasher_add_i64(h, net->precision);
    gr_hasher_add_i64(h, net->batch);
    const int64_t how[] = {p->width,  p->height,   p->resize,   p->resize_to,
                           p->filter, p->channels, p->pad_value};
    gr_hasher_add(h, how, sizeof how);
    gr_hasher_add(h, &p->scale, sizeof p->scale);
    const size_t planes = (size_t)gr_preprocess_channels(p);
    gr_hasher_add(h, p->mean, planes * sizeof *p->mean);
    gr_hasher_add(h, p->std, planes * sizeof *p->std);
    for (size_t i = 0; i < net->ranges.n; i++) {
        const struct gr_range *r = &net->ranges.items[i];
        gr_hasher_add_str(h, r->value);
        gr_hasher_add(h, &r->high, sizeof r->high);
        gr_hasher_add_i64(h, r->below);
    }
    *key = gr_hasher_get(h);
    gr_hasher_free(h);
    return GRAFT_OK;
}

/* Exporters often write the batch of 1 into the graph: any number must do. */
static enum graft_status free_batch(const struct gr_model *m, struct gr_network *net,
                                    struct graft_error *err)
{
    struct gr_type *t = NULL;
    if (net->batch == 1) /* nothing to free, and proving it would take as long as planning */
        return GRAFT_OK;
    enum graft_status s = gr_job_input_types(m, 1, &t, err);
    if (!s) {
        net->graph->values[net->graph->inputs[0]].type = t[0];
        s = gr_graph_free_batch(net->graph, err);
    }
    gr_free(t);
    return s;
}

/* Comma-separated names to ids. */
static enum graft_status find_cuts(const struct gr_graph *g, const char *names, int *ids, size_t *n,
                                   size_t max, struct graft_error *err)
{
    bool one = gr_graph_find_value(g, names) >= 0; /* its own name may have commas */
    for (*n = 0; names;) {
        const char *end = one ? NULL : strchr(names, ',');
        size_t len = end ? (size_t)(end - names) : strlen(names);
        char *name = gr_strndup(names, len);
        if (!name)
            return gr_error_nomem(err);
        int id = gr_graph_find_value(g, name);
        enum graft_status s = GRAFT_OK;
        if (id < 0 || gr_value_is_const(&g->values[id]))
            s = gr_error(err, GRAFT_E_ARG,
                         "the network has no value '%s' to cut at; 'graft inspect' lists them",
                         name);
        else if (*n == max)
            s = gr_error(err, GRAFT_E_LIMIT, "more than %zu values to cut at", max);
        gr_free(name);
        if (s)
            return s;
        ids[(*n)++] = id;
        names = end ? end + 1 : NULL;
    }
    return GRAFT_OK;
}

static enum graft_status begin(const struct gr_model *m, int64_t batch, struct gr_network *net,
                               struct graft_error *err)
{
    *net = (struct gr_network){.batch = batch, .name = m->path, .pre = m->pre};
    return check_input(m, net, err);
}

/* After everything that made net->graph went as in `s`: what is planned and perhaps the plan, or
   nothing is left. */
static enum graft_status finish(const struct gr_model *m, enum graft_precision precision, bool plan,
                                struct gr_network *net, enum graft_status s,
                                struct graft_error *err)
{
    if (!s)
        s = choose(m, precision, net, err);
    if (!s && plan)
        s = make_plan(net, err);
    if (s) {
        gr_network_clear(net);
        gr_error_in(err, gr_job_size_error(m, s, err), "%s", m->path);
    }
    return s;
}

enum graft_precision gr_precision_told(enum gr_precision precision)
{
    static const enum graft_precision of[] = {[GR_PRECISION_FP32] = GRAFT_PRECISION_FP32,
                                              [GR_PRECISION_BF16] = GRAFT_PRECISION_BF16,
                                              [GR_PRECISION_INT8] = GRAFT_PRECISION_INT8};
    return of[precision];
}

enum graft_precision gr_network_precision(const struct gr_network *net)
{
    return gr_precision_told(net->precision);
}

const char *gr_precision_name(enum graft_precision precision)
{
    static const char *const names[] = {"auto", "fp32", "bf16", "int8"};
    return names[precision];
}

enum graft_status gr_network_to_int8(const struct gr_model *m, struct gr_network *net,
                                     struct gr_ranges *ranges, struct graft_error *err)
{
    gr_plan_free(net->plan);
    net->plan = NULL;
    gr_ranges_clear(&net->ranges);
    net->ranges = *ranges;
    *ranges = (struct gr_ranges){0};
    enum graft_status s = choose(m, GRAFT_PRECISION_INT8, net, err);
    return s ? s : make_plan(net, err);
}

enum graft_status gr_network_to_fp32(const struct gr_model *m, const struct gr_network *net,
                                     struct gr_network *fp32, struct graft_error *err)
{
    *fp32 = *net;
    fp32->graph = NULL;
    fp32->plan = NULL;
    fp32->ranges = (struct gr_ranges){0};
    enum graft_status s = gr_graph_copy(net->graph, &fp32->graph, err);
    if (!s)
        s = choose(m, GRAFT_PRECISION_FP32, fp32, err);
    if (s)
        gr_network_clear(fp32);
    return s;
}

enum graft_status gr_network_features(const struct gr_model *m, const char *cut, int64_t batch,
                                      enum graft_precision precision, struct gr_network *net,
                                      struct graft_error *err)
{
    enum { MAX_CUTS = 16 };
    struct gr_inferred types = {0};
    struct gr_type *inputs = NULL;
    struct gr_head_site head;
    int ids[MAX_CUTS], feature;
    size_t n = 1;
    enum graft_status s = begin(m, batch, net, err);
    if (!s)
        s = gr_graph_copy(m->graph, &net->graph, err);
    if (!s)
        s = gr_job_input_types(m, 1, &inputs, err);
    if (!s && cut) {
        s = find_cuts(net->graph, cut, ids, &n, MAX_CUTS, err);
        if (!s)
            s = gr_graph_cut(net->graph, n, ids, err);
        if (!s)
            s = gr_graph_infer(net->graph, inputs, 0, NULL, &types, err);
    } else if (!s) {
        s = gr_graph_infer(net->graph, inputs, 0, NULL, &types, err);
        if (!s)
            s = gr_graph_find_head(net->graph, &types, &head, err);
        ids[0] = head.features;
        if (!s)
            s = gr_graph_cut(net->graph, 1, ids, err);
    }
    for (size_t i = 0; !s && i < n; i++) {
        size_t used = strlen(net->cut);
        snprintf(net->cut + used, sizeof net->cut - used, "%s%s", i ? "," : "",
                 net->graph->values[ids[i]].name);
    }
    if (!s)
        s = gr_graph_pool_features(net->graph, &types, n, ids, &feature, &net->width, err);
    if (!s)
        s = free_batch(m, net, err);
    gr_inferred_clear(&types);
    gr_free(inputs);
    if (precision == GRAFT_PRECISION_INT8 && !gr_model_get_prop(m, "graft.int8"))
        precision = GRAFT_PRECISION_FP32;
    return finish(m, precision, false, net, s, err);
}

/* Is the value a Softmax's output, reshaped perhaps? */
static bool ends_in_softmax(const struct gr_graph *g, int value)
{
    while (g->values[value].producer >= 0) {
        const struct gr_node *n = &g->nodes[g->values[value].producer];
        if (*n->domain || n->n_in < 1 || n->in[0] < 0)
            return false;
        if (!strcmp(n->op_type, "Softmax") || !strcmp(n->op_type, "Sigmoid"))
            return true;
        if (strcmp(n->op_type, "Flatten") && strcmp(n->op_type, "Reshape") &&
            strcmp(n->op_type, "Squeeze") && strcmp(n->op_type, "Identity"))
            return false;
        value = n->in[0];
    }
    return false;
}

enum graft_status gr_network_scores(const struct gr_model *m, int64_t batch,
                                    enum graft_precision precision, struct gr_network *net,
                                    bool *softmax, struct graft_error *err)
{
    enum graft_status s = begin(m, batch, net, err);
    if (!s && !m->graph->n_outputs)
        s = gr_error(err, GRAFT_E_FORMAT, "the network has no output");
    if (!s)
        s = gr_graph_copy(m->graph, &net->graph, err);
    if (!s) {
        const struct gr_graph *g = net->graph;
        int out = gr_graph_find_value(g, "probabilities");
        bool listed = false;
        for (size_t i = 0; i < g->n_outputs; i++)
            listed = listed || g->outputs[i] == out;
        if (!listed)
            out = g->outputs[0];
        *softmax = !ends_in_softmax(g, out);
        s = gr_graph_cut(net->graph, 1, &out, err);
    }
    if (!s)
        s = free_batch(m, net, err);
    s = finish(m, precision, true, net, s, err);
    if (!s && (s = check_vector(net, err))) {
        gr_error_in(err, s, "%s", m->path);
        gr_network_clear(net);
    }
    return s;
}

enum graft_status gr_network_below(const struct gr_model *m, const struct gr_graph *g, int value,
                                   int64_t batch, enum graft_precision precision,
                                   struct gr_network *net, struct graft_error *err)
{
    enum graft_status s = begin(m, batch, net, err);
    if (!s)
        s = gr_graph_copy(g, &net->graph, err);
    if (!s)
        s = gr_graph_cut(net->graph, 1, &value, err);
    if (!s)
        snprintf(net->cut, sizeof net->cut, "%s", g->values[value].name);
    return finish(m, precision, true, net, s, err);
}
