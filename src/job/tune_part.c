/* Which part of a network moves in fine-tuning? */
#include "base/mem.h"
#include "job/tune.h"
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gr_moving_clear(struct gr_moving *p)
{
    gr_graph_free(p->upper);
    gr_free(p->params);
    gr_free(p->depth);
    gr_free(p->fresh);
    memset(p, 0, sizeof *p);
}

int gr_bn_mode_find(const char *word)
{
    static const char *const words[] = {
        [GR_BN_FROZEN] = "frozen", [GR_BN_ADAPT] = "adapt", [GR_BN_TRAIN] = "train"};
    for (int i = 0; i < (int)(sizeof words / sizeof *words); i++)
        if (!strcmp(word, words[i]))
            return i;
    return -1;
}

/* Which inputs of an operator are weights that training may move: bits 1 << i. */
static unsigned weight_inputs(const struct gr_node *n, enum gr_bn_mode bn)
{
    static const struct {
        const char *op;
        unsigned inputs;
    } table[] = {
        {"Conv", 6},
        {"ConvTranspose", 6},
        {"Gemm", 6},
        {"MatMul", 3},
        {"PRelu", 2},
        {"LayerNormalization", 6},
        {"Add", 3},
        {"InstanceNormalization", 6},
        {"GroupNormalization", 6},
    };
    if (*n->domain)
        return 0;
    if (!strcmp(n->op_type, "BatchNormalization"))
        return bn == GR_BN_FROZEN ? 0 : 6;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(n->op_type, table[i].op))
            return table[i].inputs;
    return 0;
}

static bool is_weight(const struct gr_graph *g, const struct gr_node *n, int k, enum gr_bn_mode bn)
{
    int v = n->in[k];
    return k < 31 && (weight_inputs(n, bn) >> k & 1) && v >= 0 &&
           gr_value_is_const(&g->values[v]) && g->values[v].data.dtype == GR_F32 &&
           gr_tensor_count(&g->values[v].data) > 1;
}

struct choice {
    regex_t regex;
    bool by_name;
    size_t first; /* node from which on everything may move */
};

static bool moves(const struct choice *c, const struct gr_graph *g, size_t node, int v,
                  size_t head_node)
{
    if (node >= head_node)
        return true;
    return node >= c->first && (!c->by_name || !regexec(&c->regex, g->values[v].name, 0, NULL, 0));
}

/* The first node that may move, from the text of the option. */
static enum graft_status read_choice(const struct gr_graph *g, const struct gr_stage *stages,
                                     size_t n_stages, const char *unfreeze, size_t head_node,
                                     enum gr_bn_mode bn, struct choice *c, struct graft_error *err)
{
    size_t len = strlen(unfreeze);
    char *end;
    long n = strtol(unfreeze, &end, 10);
    if (!strcmp(unfreeze, "all"))
        return GRAFT_OK;
    if (end != unfreeze && !*end && n > 0) {
        if ((size_t)n < n_stages)
            c->first = stages[n_stages - (size_t)n].first;
        return GRAFT_OK;
    }
    if (len < 3 || unfreeze[0] != '/' || unfreeze[len - 1] != '/')
        return gr_error(err, GRAFT_E_ARG,
                        "unfreeze is '%s', expected a number of stages, all or /regex/", unfreeze);
    char *pattern = gr_strndup(unfreeze + 1, len - 2);
    if (!pattern)
        return gr_error_nomem(err);
    int failed = regcomp(&c->regex, pattern, REG_EXTENDED | REG_NOSUB);
    gr_free(pattern);
    if (failed) {
        char why[200];
        regerror(failed, &c->regex, why, sizeof why);
        return gr_error(err, GRAFT_E_ARG, "unfreeze %s: %s", unfreeze, why);
    }
    c->by_name = true;
    for (size_t i = 0; i < head_node; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (is_weight(g, &g->nodes[i], k, bn) && moves(c, g, i, g->nodes[i].in[k], head_node)) {
                c->first = i;
                return GRAFT_OK;
            }
    return gr_error(err, GRAFT_E_ARG, "unfreeze %s fits no weight's name", unfreeze);
}

/* May node n run in every step of training as it does once below the border? */
static bool is_fixed(const struct gr_node *n, enum gr_bn_mode bn)
{
    return !gr_node_is(n, "Dropout") &&
           (bn == GR_BN_FROZEN || !gr_node_is(n, "BatchNormalization"));
}

/* The last cut point before node `first`, or the network's input. Values there are kept for every
   example: an earlier cut point with at most half of them is taken instead where what lies between,
   which runs in each step then, is little work: a MobileNet's stages begin within a block, where it
   is widest. */
static int find_border(const struct gr_graph *g, const struct gr_inferred *types, const int *cuts,
                       size_t n, size_t first, enum gr_bn_mode bn)
{
    const double little = 0.05;
    double above = 0, between = 0;
    size_t last = n, at = first;
    while (last && (g->values[cuts[last - 1]].producer < 0 ||
                    (size_t)g->values[cuts[last - 1]].producer >= first))
        last--;
    if (!last)
        return g->inputs[0];
    int border = cuts[last - 1];
    int64_t size = gr_shape_count(&types->type[border].shape) / 2;
    for (size_t i = first; i < g->n_nodes; i++)
        above += gr_node_macs(&g->nodes[i], types);
    for (size_t i = last; i-- > 0 && g->values[cuts[i]].producer >= 0;) {
        const int64_t count = gr_shape_count(&types->type[cuts[i]].shape);
        for (; at > (size_t)g->values[cuts[i]].producer + 1; at--) {
            if (!is_fixed(&g->nodes[at - 1], bn))
                return border;
            between += gr_node_macs(&g->nodes[at - 1], types);
        }
        if (between > little * above)
            return border;
        if (count > 0 && count <= size) {
            border = cuts[i];
            size = count - 1;
        }
    }
    return border;
}

static enum graft_status list_params(const struct gr_graph *g, const struct choice *c,
                                     const struct gr_stage *stages, size_t n_stages,
                                     size_t head_node, enum gr_bn_mode bn, struct gr_moving *out,
                                     struct graft_error *err)
{
    size_t cap = 0;
    bool *seen = gr_alloc_zero(g->n_values, sizeof *seen);
    enum graft_status s = seen ? GRAFT_OK : gr_error_nomem(err);
    for (size_t i = 0; !s && i < g->n_nodes; i++) {
        int depth = 0;
        while ((size_t)depth + 1 < n_stages && i > stages[depth].last)
            depth++;
        if (i >= head_node)
            depth = (int)n_stages;
        for (int k = 0; !s && k < g->nodes[i].n_in; k++) {
            int v = g->nodes[i].in[k];
            if (!is_weight(g, &g->nodes[i], k, bn) || seen[v] || !moves(c, g, i, v, head_node))
                continue;
            seen[v] = true;
            if (out->n_params == cap) {
                size_t more = cap ? 2 * cap : 64;
                int *p = gr_realloc_array(out->params, more, sizeof *p);
                out->params = p ? p : out->params;
                int *d = p ? gr_realloc_array(out->depth, more, sizeof *d) : NULL;
                out->depth = d ? d : out->depth;
                bool *f = d ? gr_realloc_array(out->fresh, more, sizeof *f) : NULL;
                out->fresh = f ? f : out->fresh;
                if (!f) {
                    s = gr_error_nomem(err);
                    break;
                }
                cap = more;
            }
            out->params[out->n_params] = v;
            out->depth[out->n_params] = depth;
            out->fresh[out->n_params++] = i >= head_node;
            out->n_weights += gr_tensor_count(&g->values[v].data);
        }
    }
    gr_free(seen);
    return s;
}

enum graft_status gr_moving_split(const struct gr_graph *whole, const struct gr_moving *m,
                                  struct gr_graph **upper, struct graft_error *err)
{
    struct gr_graph *g = NULL;
    struct gr_type type = {GR_F32, m->border_shape};
    type.shape.dim[0] = -1;
    enum graft_status s = gr_graph_copy(whole, &g, err);
    if (!s)
        s = gr_graph_cut(g, 1, &m->logits, err);
    if (!s && !m->from_pictures)
        s = gr_graph_keep_above(g, m->border, &type, err);
    if (s)
        gr_graph_free(g);
    else
        *upper = g;
    return s;
}

enum graft_status gr_moving_choose(const struct gr_model *m, const struct gr_graph *backbone,
                                   const struct gr_graph *whole, const char *unfreeze,
                                   enum gr_bn_mode bn, struct gr_moving *out,
                                   struct graft_error *err)
{
    const size_t head_node = backbone->n_nodes;
    struct gr_inferred types = {0};
    struct gr_type *inputs = NULL;
    struct gr_stage *stages = NULL;
    struct choice c = {0};
    int *cuts = NULL;
    size_t n_stages = 0, n_cuts = 0;
    memset(out, 0, sizeof *out);
    out->logits = whole->outputs[0];
    enum graft_status s = gr_job_input_types(m, 1, &inputs, err);
    if (!s)
        s = gr_graph_infer(backbone, inputs, 0, NULL, &types, err);
    if (!s)
        s = gr_graph_stages(backbone, &types, &stages, &n_stages, err);
    if (!s)
        s = gr_graph_cut_points(backbone, &types, &cuts, &n_cuts, err);
    if (!s)
        s = read_choice(whole, stages, n_stages, unfreeze, head_node, bn, &c, err);
    if (!s) {
        out->border = find_border(backbone, &types, cuts, n_cuts, c.first, bn);
        out->from_pictures = out->border == whole->inputs[0];
        s = list_params(whole, &c, stages, n_stages, head_node, bn, out, err);
    }
    if (!s) {
        out->border_shape = types.type[out->border].shape;
        s = gr_moving_split(whole, out, &out->upper, err);
    }
    if (!s)
        snprintf(out->text, sizeof out->text,
                 "%zu tensors (%lld weights) move%s%s%s; batch-norm %s", out->n_params,
                 (long long)out->n_weights,
                 out->from_pictures ? ", nothing is frozen" : ", frozen up to '",
                 out->from_pictures ? "" : whole->values[out->border].name,
                 out->from_pictures ? "" : "'",
                 bn == GR_BN_FROZEN  ? "frozen"
                 : bn == GR_BN_ADAPT ? "adapts scale and bias"
                                     : "trains with batch statistics");
    if (c.by_name)
        regfree(&c.regex);
    gr_free(stages);
    gr_free(cuts);
    gr_free(inputs);
    gr_inferred_clear(&types);
    if (s)
        gr_moving_clear(out);
    return s;
}
