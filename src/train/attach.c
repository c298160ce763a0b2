/* How is a head written as a network? */
#include "train/attach.h"
#include "base/mem.h"
#include "core/edit.h"
#include <stdio.h>

static enum graft_status add_matrix(struct gr_graph *g, const char *name, size_t rows, size_t cols,
                                    const float *v, int *out, struct graft_error *err)
{
    int64_t dims[2] = {(int64_t)rows, (int64_t)cols};
    struct gr_shape shape = gr_shape_from(2, dims);
    return gr_graph_append_const(g, name, GR_F32, &shape, v, out, err);
}

static enum graft_status add_vector(struct gr_graph *g, const char *name, size_t n, const float *v,
                                    int *out, struct graft_error *err)
{
    int64_t dim = (int64_t)n;
    struct gr_shape shape = gr_shape_from(1, &dim);
    return gr_graph_append_const(g, name, GR_F32, &shape, v, out, err);
}

/* y = x w' + b with w (n_out, n_in) */
static enum graft_status add_linear(struct gr_graph *g, const char *name, int x, size_t n_out,
                                    size_t n_in, const float *w, const float *b, int *y,
                                    struct graft_error *err)
{
    int in[3] = {x}, node;
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    enum graft_status s = add_matrix(g, weight, n_out, n_in, w, &in[1], err);
    if (!s)
        s = add_vector(g, bias, n_out, b, &in[2], err);
    if (!s)
        s = gr_graph_append(g, "Gemm", name, 3, in, &node, y, err);
    if (!s)
        s = gr_node_set_int(g, node, "transB", 1, err);
    return s;
}

static enum graft_status add_top_k(struct gr_graph *g, int scores, size_t k, int *indices,
                                   struct graft_error *err)
{
    int in[2] = {scores, -1}, out[2] = {-1, -1}, n_in = 1, node;
    const int64_t count = (int64_t)k;
    const struct gr_shape one = gr_shape_of(1, 1);
    const char *name = gr_graph_free_name(g, "head.nearest_score");
    enum graft_status s = name ? gr_graph_value(g, name, &out[0], err) : gr_error_nomem(err);
    name = gr_graph_free_name(g, "head.nearest");
    if (!s)
        s = name ? gr_graph_value(g, name, &out[1], err) : gr_error_nomem(err);
    if (!s && gr_graph_get_opset(g, "") >= 10) {
        n_in = 2;
        s = gr_graph_append_const(g, "head.k", GR_I64, &one, &count, &in[1], err);
    }
    if (!s)
        s = gr_graph_add_node(g, "TopK", "", "head.topk", n_in, in, 2, out, &node, err);
    if (!s && n_in == 1)
        s = gr_node_set_int(g, node, "k", count, err);
    if (!s)
        s = gr_node_set_int(g, node, "axis", 1, err);
    *indices = out[1];
    return s;
}

/* q = (x - mean) * scale; the k references with the largest ref . q + bias vote with their
   one-hot labels; logits = log(max(share, 1e-12)) */
static enum graft_status add_knn(struct gr_graph *g, int x, const struct gr_head *h, int *logits,
                                 struct graft_error *err)
{
    static const float tiny = 1e-12f;
    enum graft_status s = GRAFT_OK;
    float *votes = gr_alloc_zero(h->n_refs, h->n_classes * sizeof *votes);
    const struct gr_shape scalar = {0};
    const int64_t axis = 1;
    const struct gr_shape one = gr_shape_of(1, 1);
    int in[3] = {x}, node, v, nearest = -1;
    if (!votes)
        return gr_error_nomem(err);
    for (size_t i = 0; i < h->n_refs; i++)
        votes[i * h->n_classes + (size_t)h->ref_labels[i]] = 1;
    s = add_vector(g, "head.mean", h->n_features, h->mean, &in[1], err);
    if (!s)
        s = gr_graph_append(g, "Sub", "head.centred", 2, in, &node, &in[0], err);
    if (!s)
        s = add_vector(g, "head.scale", h->n_features, h->scale, &in[1], err);
    if (!s)
        s = gr_graph_append(g, "Mul", "head.scaled", 2, in, &node, &in[0], err);
    if (!s)
        s = add_linear(g, "head.references", in[0], h->n_refs, h->n_features, h->refs, h->ref_bias,
                       &v, err);
    if (!s)
        s = add_top_k(g, v, h->k, &nearest, err);
    if (!s)
        s = add_matrix(g, "head.votes", h->n_refs, h->n_classes, votes, &in[0], err);
    in[1] = nearest;
    if (!s)
        s = gr_graph_append(g, "Gather", "head.vote", 2, in, &node, &in[0], err);
    int n_in = 1;
    if (!s && gr_graph_get_opset(g, "") >= 18) {
        n_in = 2;
        s = gr_graph_append_const(g, "head.axis", GR_I64, &one, &axis, &in[1], err);
    }
    if (!s)
        s = gr_graph_append(g, "ReduceMean", "head.share", n_in, in, &node, &in[0], err);
    if (!s && n_in == 1)
        s = gr_node_set_ints(g, node, "axes", 1, &axis, err);
    if (!s)
        s = gr_node_set_int(g, node, "keepdims", 0, err);
    if (!s)
        s = gr_graph_append_const(g, "head.tiny", GR_F32, &scalar, &tiny, &in[1], err);
    if (!s)
        s = gr_graph_append(g, "Max", "head.clipped", 2, in, &node, &v, err);
    if (!s)
        s = gr_graph_append(g, "Log", "logits", 1, &v, &node, logits, err);
    gr_free(votes);
    return s;
}

enum graft_status gr_head_attach(struct gr_graph *g, int features, const struct gr_head *h,
                                 struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    int v = features, node, out[2];
    const struct gr_type type = {GR_F32, gr_shape_of(2, -1, (int)h->n_classes)};
    switch (h->kind) {
    case GR_HEAD_MLP:
        s = add_linear(g, "head.hidden", v, h->n_hidden, h->n_features, h->w1, h->b1, &v, err);
        if (!s)
            s = gr_graph_append(g, "Relu", "head.relu", 1, &v, &node, &v, err);
        if (!s)
            s = add_linear(g, "logits", v, h->n_classes, h->n_hidden, h->w, h->b, &out[0], err);
        break;
    case GR_HEAD_LINEAR:
        s = add_linear(g, "logits", v, h->n_classes, h->n_features, h->w, h->b, &out[0], err);
        break;
    case GR_HEAD_KNN:
        s = add_knn(g, v, h, &out[0], err);
        break;
    }
    if (!s)
        s = gr_graph_append(g, "Softmax", "probabilities", 1, &out[0], &node, &out[1], err);
    if (!s)
        s = gr_node_set_int(g, node, "axis", 1, err);
    if (!s)
        s = gr_graph_cut(g, 2, out, err);
    for (int i = 0; !s && i < 2; i++) {
        g->values[out[i]].type = type;
        g->values[out[i]].has_shape = true;
    }
    return s ? s : gr_graph_bind(g, err);
}
