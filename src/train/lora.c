/* How do low-rank adapters get into a network, and out of it again? */
#include "train/lora.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/edit.h"
#include "core/kernel.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define STREAM 0x6c6f7261u /* of the random numbers, one for each layer from here on */

enum { MAX_MODULE = 800 }; /* bytes of a module's path */

void gr_lora_clear(struct gr_lora *l)
{
    for (size_t i = 0; i < l->n; i++)
        gr_free(l->layers[i].module);
    gr_free(l->layers);
    memset(l, 0, sizeof *l);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* "/layer1/layer1.0/conv1/Conv" is the scope of layer1.0.conv1: a part that begins with the one
   before it and a dot is that one's child, and the last part is the operator. */
static char *module_of_scope(const char *scope)
{
    char *out = gr_alloc_zero(strlen(scope) + 1, 1);
    const char *part = scope + 1, *last = "";
    size_t n_last = 0, used = 0;
    for (const char *end; out && (end = strchr(part, '/')); part = end + 1) {
        const size_t n = (size_t)(end - part);
        const bool child =
            n > n_last && n_last && !memcmp(part, last, n_last) && part[n_last] == '.';
        if (!n)
            continue;
        if (child)
            used -= n_last;
        else if (used)
            out[used++] = '.';
        memcpy(out + used, part, n);
        used += n;
        out[used] = 0;
        last = part;
        n_last = n;
    }
    return out;
}

static char *module_of(const struct gr_graph *g, const struct gr_node *n)
{
    static const char ending[] = ".weight";
    const char *weight = g->values[n->in[1]].name;
    const size_t size = strlen(weight), tail = sizeof ending - 1;
    if (size > tail && !strcmp(weight + size - tail, ending))
        return gr_strndup(weight, size - tail);
    if (*n->name == '/' && strchr(n->name + 1, '/') && n->name[1] != '/')
        return module_of_scope(n->name);
    char *name = gr_strdup(weight);
    for (char *p = name; p && *p; p++)
        *p = (char)(*p == '/' ? '.' : *p);
    return name;
}

/* Fit to be written; a name that is taken or too long gives way to one with the layer's number. */
static enum graft_status name_layer(const struct gr_graph *g, const struct gr_node *n, size_t i,
                                    struct gr_names *taken, char **module, struct graft_error *err)
{
    char *name = module_of(g, n);
    for (char *p = name; p && *p; p++)
        *p = (char)(*p > ' ' && *p < 127 ? *p : '_');
    for (; name && (strlen(name) > MAX_MODULE || gr_names_find(taken, name) >= 0); i++) {
        char *other = gr_sprintf("%.*s_%zu", MAX_MODULE / 2, name, i);
        gr_free(name);
        name = other;
    }
    if (!name || !gr_names_set(taken, name, 1)) {
        gr_free(name);
        return gr_error_nomem(err);
    }
    *module = name;
    return GRAFT_OK;
}

/* ---- which layers ---------------------------------------------------------------------------- */

static bool read_layer(const struct gr_graph *g, const struct gr_node *n, struct gr_lora_layer *out)
{
    if (*n->domain || n->n_in < 2 || n->in[0] < 0 || n->in[1] < 0 || n->n_out != 1 || n->out[0] < 0)
        return false;
    const struct gr_tensor *w = &g->values[n->in[1]].data;
    if (!w->buf || w->dtype != GR_F32 || gr_tensor_count(w) < 1)
        return false;
    const int64_t *dim = w->shape.dim;
    bool conv = !strcmp(n->op_type, "Conv"), gemm = !strcmp(n->op_type, "Gemm");
    if (conv &&
        (w->shape.rank != 4 || dim[2] != 1 || dim[3] != 1 || gr_node_get_int(n, "group", 1) != 1))
        return false;
    if (gemm && (gr_node_get_int(n, "transA", 0) || gr_node_get_float(n, "alpha", 1) != 1))
        return false;
    if (!conv && ((!gemm && strcmp(n->op_type, "MatMul") != 0) || w->shape.rank != 2))
        return false;
    const bool out_first = conv || (gemm && gr_node_get_int(n, "transB", 0));
    *out = (struct gr_lora_layer){.weight = n->in[1],
                                  .n_in = dim[out_first],
                                  .n_out = dim[!out_first],
                                  .conv = conv,
                                  .out_first = out_first,
                                  .a = -1,
                                  .b = -1};
    return true;
}

static int *count_uses(const struct gr_graph *g)
{
    int *uses = gr_alloc_zero(g->n_values, sizeof *uses);
    for (size_t i = 0; uses && i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0)
                uses[g->nodes[i].in[k]]++;
    return uses;
}

enum graft_status gr_lora_find(const struct gr_graph *g, size_t n, const int *weights, int64_t rank,
                               double alpha, struct gr_lora *l, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct gr_lora r = {.rank = rank, .alpha = alpha};
    bool *wanted = gr_alloc_zero(g->n_values, sizeof *wanted);
    int *uses = count_uses(g);
    struct gr_names taken = {0};
    size_t cap = 0;
    memset(l, 0, sizeof *l);
    if (!wanted || !uses)
        s = gr_error_nomem(err);
    else if (rank < 1)
        s = gr_error(err, GRAFT_E_ARG, "the rank of the adapters is %lld, expected at least 1",
                     (long long)rank);
    for (size_t i = 0; !s && i < n; i++)
        wanted[weights[i]] = true;
    for (size_t i = 0; !s && i < g->n_nodes; i++) {
        struct gr_lora_layer layer;
        if (!read_layer(g, &g->nodes[i], &layer) || !wanted[layer.weight] ||
            uses[layer.weight] != 1)
            continue;
        int64_t most = layer.n_in < layer.n_out ? layer.n_in : layer.n_out;
        if (rank > most)
            s = gr_error(
                err, GRAFT_E_ARG,
                "adapters of rank %lld: layer '%.300s' maps %lld numbers to %lld and allows "
                "at most %lld",
                (long long)rank, g->values[layer.weight].name, (long long)layer.n_in,
                (long long)layer.n_out, (long long)most);
        else if (!GR_GROW(r.layers, r.n, cap))
            s = gr_error_nomem(err);
        else if (!(s = name_layer(g, &g->nodes[i], r.n, &taken, &layer.module, err)))
            r.layers[r.n++] = layer;
    }
    gr_names_clear(&taken);
    gr_free(wanted);
    gr_free(uses);
    if (s)
        gr_lora_clear(&r);
    *l = r;
    return s;
}

/* ---- in -------------------------------------------------------------------------------------- */

/* In a graph A is what its node wants: (rank,n_in,1,1) for Conv, (n_in,rank) for MatMul. */
static enum graft_status add_factor(struct gr_graph *g, const struct gr_lora_layer *layer,
                                    const char *what, int64_t rows, int64_t cols, uint64_t seed,
                                    uint64_t stream, double bound, int *out,
                                    struct graft_error *err)
{
    struct gr_shape shape = {layer->conv ? 4 : 2, {rows, cols, 1, 1}};
    struct gr_tensor t = {0};
    char *name = gr_sprintf("%s.%s", g->values[layer->weight].name, what);
    if (!layer->conv)
        shape.dim[0] = cols, shape.dim[1] = rows;
    enum graft_status s = name ? gr_tensor_new(GR_F32, &shape, &t, err) : gr_error_nomem(err);
    float *v = s ? NULL : gr_tensor_mut(&t);
    for (int64_t i = 0; !s && bound > 0 && i < rows * cols; i++) {
        const double u = gr_rng_uniform(seed, stream, (uint64_t)i);
        v[layer->conv ? i : i % cols * rows + i / cols] = (float)(bound * (2 * u - 1));
    }
    if (!s)
        s = gr_graph_append_const(g, name, GR_F32, &shape, v, out, err);
    gr_tensor_clear(&t);
    gr_free(name);
    return s;
}

/* The node of A moves over its input as the layer does. */
static enum graft_status copy_window(struct gr_graph *g, int from, int to, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < g->nodes[from].n_attrs; i++) {
        const struct gr_attr a = g->nodes[from].attrs[i];
        if (strcmp(a.name, "group") != 0)
            s = gr_node_add_attr(g, to, &a, err);
    }
    return s;
}

static enum graft_status append(struct gr_graph *g, const struct gr_lora_layer *layer,
                                const char *op, const char *what, int a, int b, int *node, int *out,
                                struct graft_error *err)
{
    const int in[2] = {a, b};
    char *name = gr_sprintf("%s.%s", g->values[layer->weight].name, what);
    enum graft_status s =
        name ? gr_graph_append(g, op, name, 2, in, node, out, err) : gr_error_nomem(err);
    gr_free(name);
    return s;
}

/* y + B(s A(x)): the factor goes where the branch is thin. */
static enum graft_status add_branch(const struct gr_lora *l, struct gr_lora_layer *layer, int base,
                                    struct gr_graph *g, int scale, uint64_t seed, uint64_t stream,
                                    int *sum, int *sum_node, struct graft_error *err)
{
    const char *op = layer->conv ? "Conv" : "MatMul";
    const int x = g->nodes[base].in[0], y = g->nodes[base].out[0];
    const double bound = 1 / sqrt((double)layer->n_in);
    int node, v;
    enum graft_status s =
        add_factor(g, layer, "lora_A", l->rank, layer->n_in, seed, stream, bound, &layer->a, err);
    if (!s)
        s = add_factor(g, layer, "lora_B", layer->n_out, l->rank, seed, stream, 0, &layer->b, err);
    if (!s)
        s = append(g, layer, op, "lora_down", x, layer->a, &node, &v, err);
    if (!s && layer->conv)
        s = copy_window(g, base, node, err);
    if (!s)
        s = append(g, layer, "Mul", "lora_scaled", v, scale, &node, &v, err);
    if (!s)
        s = append(g, layer, op, "lora_up", v, layer->b, &node, &v, err);
    return s ? s : append(g, layer, "Add", "lora_sum", y, v, sum_node, sum, err);
}

/* Everything that read a layer's result reads the sum. */
static void reroute(struct gr_graph *g, const int *sum, const int *base_of)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++) {
            int *v = &g->nodes[i].in[k];
            if (*v >= 0 && sum[*v] >= 0 && base_of[i] != *v)
                *v = sum[*v];
        }
    for (size_t i = 0; i < g->n_outputs; i++)
        if (sum[g->outputs[i]] >= 0)
            g->outputs[i] = sum[g->outputs[i]];
}

enum { NEW_VALUES = 6, NEW_NODES = 4 }; /* of a branch */

enum graft_status gr_lora_attach(struct gr_lora *l, struct gr_graph *g, uint64_t seed,
                                 struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    const float factor = (float)(l->alpha / (double)l->rank);
    const struct gr_shape scalar = {0};
    int scale;
    const size_t n_nodes = g->n_nodes, n_values = g->n_values;
    const size_t all_values = n_values + NEW_VALUES * l->n + 1,
                 all_nodes = n_nodes + NEW_NODES * l->n;
    int *user = gr_alloc_array(n_values, sizeof *user);        /* node whose weight it is */
    int *sum = gr_alloc_array(all_values, sizeof *sum);        /* that takes a value's place */
    int *base_of = gr_alloc_array(all_nodes, sizeof *base_of); /* the value that a sum adds to */
    if (!user || !sum || !base_of)
        s = gr_error_nomem(err);
    for (size_t i = 0; !s && i < all_values; i++)
        sum[i] = -1;
    for (size_t i = 0; !s && i < all_nodes; i++)
        base_of[i] = -1;
    for (size_t i = 0; !s && i < n_values; i++)
        user[i] = -1;
    for (size_t i = 0; !s && i < n_nodes; i++)
        if (g->nodes[i].n_in > 1 && g->nodes[i].in[1] >= 0)
            user[g->nodes[i].in[1]] = (int)i;
    if (!s)
        s = gr_graph_append_const(g, "lora_scale", GR_F32, &scalar, &factor, &scale, err);
    for (size_t i = 0; !s && i < l->n; i++) {
        const int base = user[l->layers[i].weight];
        int y, node;
        if (base < 0) {
            s = gr_error(err, GRAFT_E_ARG, "no node uses '%s'",
                         g->values[l->layers[i].weight].name);
            break;
        }
        s = add_branch(l, &l->layers[i], base, g, scale, seed, STREAM + i, &y, &node, err);
        if (!s) {
            sum[g->nodes[base].out[0]] = y;
            base_of[node] = g->nodes[base].out[0];
        }
    }
    if (!s) {
        reroute(g, sum, base_of);
        s = gr_graph_check(g, err);
    }
    gr_free(user);
    gr_free(sum);
    gr_free(base_of);
    return s ? s : gr_graph_bind(g, err);
}

/* ---- out ------------------------------------------------------------------------------------- */

/* (rows,cols), row-major, from how the branch holds it. */
static enum graft_status read_factor(const struct gr_graph *g, const struct gr_lora_layer *layer,
                                     int value, int64_t rows, int64_t cols, struct gr_tensor *out,
                                     struct graft_error *err)
{
    const struct gr_shape shape = {layer->conv ? 4 : 2, {rows, cols, 1, 1}};
    const struct gr_tensor *t = &g->values[value].data;
    if (!t->buf || t->dtype != GR_F32 || gr_tensor_count(t) != rows * cols)
        return gr_error(err, GRAFT_E_ARG, "'%s' is no factor of %lld x %lld", g->values[value].name,
                        (long long)rows, (long long)cols);
    enum graft_status s = gr_tensor_new(GR_F32, &shape, out, err);
    if (s)
        return s;
    float *to = gr_tensor_mut(out);
    for (int64_t i = 0; i < rows * cols; i++)
        to[i] = (float)gr_load_f64(GR_F32, t->data,
                                   (size_t)(layer->conv ? i : i % cols * rows + i / cols));
    return GRAFT_OK;
}

enum graft_status gr_lora_factors(const struct gr_lora *l, const struct gr_graph *branched,
                                  size_t layer, struct gr_tensor *a, struct gr_tensor *b,
                                  struct graft_error *err)
{
    const struct gr_lora_layer *y = &l->layers[layer];
    struct gr_tensor ta = {0}, tb = {0};
    enum graft_status s = read_factor(branched, y, y->a, l->rank, y->n_in, &ta, err);
    if (!s)
        s = read_factor(branched, y, y->b, y->n_out, l->rank, &tb, err);
    if (s) {
        gr_tensor_clear(&ta);
        return s;
    }
    *a = ta;
    *b = tb;
    return GRAFT_OK;
}

enum graft_status gr_lora_merge(const struct gr_lora *l, const struct gr_graph *branched,
                                struct gr_graph *g, struct graft_error *err)
{
    const double scale = (float)(l->alpha / (double)l->rank);
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < l->n; i++) {
        const struct gr_lora_layer *y = &l->layers[i];
        const struct gr_tensor *old = &branched->values[y->weight].data;
        struct gr_tensor ta = {0}, tb = {0}, w = {0};
        s = gr_lora_factors(l, branched, i, &ta, &tb, err);
        if (!s)
            s = gr_tensor_new(GR_F32, &old->shape, &w, err);
        const float *a = ta.data, *b = tb.data;
        float *to = s ? NULL : gr_tensor_mut(&w);
        for (int64_t o = 0; !s && o < y->n_out; o++)
            for (int64_t k = 0; k < y->n_in; k++) {
                const int64_t at = y->out_first ? o * y->n_in + k : k * y->n_out + o;
                double sum = 0;
                for (int64_t r = 0; r < l->rank; r++)
                    sum += (double)b[o * l->rank + r] * (double)a[r * y->n_in + k];
                to[at] = (float)(gr_load_f64(GR_F32, old->data, (size_t)at) + scale * sum);
            }
        if (!s)
            s = gr_graph_set_const(g, y->weight, &w, err);
        gr_tensor_clear(&ta);
        gr_tensor_clear(&tb);
        gr_tensor_clear(&w);
    }
    return s;
}
