/* Which type has every value, and which are known before running? */
#include "core/infer.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "core/op.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

void gr_inferred_clear(struct gr_inferred *r)
{
    for (size_t i = 0; r->konst && i < r->n; i++)
        gr_tensor_clear(&r->konst[i]);
    gr_free(r->type);
    gr_free(r->konst);
    memset(r, 0, sizeof *r);
}

void gr_graph_needed(const struct gr_graph *g, size_t n, const int *values, unsigned char *needed)
{
    if (g->n_nodes)
        memset(needed, 0, g->n_nodes);
    for (size_t i = 0; i < n; i++)
        if (g->values[values[i]].producer >= 0)
            needed[g->values[values[i]].producer] = 1;
    for (size_t i = g->n_nodes; i-- > 0;) /* nodes are in topological order */
        for (int k = 0; needed[i] && k < g->nodes[i].n_in; k++) {
            int v = g->nodes[i].in[k];
            if (v >= 0 && g->values[v].producer >= 0)
                needed[g->values[v].producer] = 1;
        }
}

enum graft_status gr_op_run_ref(const struct gr_node *node, int n_in,
                                const struct gr_tensor *const *in, int n_out,
                                const struct gr_type *out_types, struct gr_tensor *out,
                                struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct gr_ref *r = gr_alloc_zero((size_t)(n_in + n_out), sizeof *r), *y = r + n_in;
    if (!r)
        return gr_error_nomem(err);
    memset(out, 0, (size_t)n_out * sizeof *out);
    for (int i = 0; !s && i < n_in; i++) {
        if (!in[i])
            continue;
        int64_t n = gr_tensor_count(in[i]);
        r[i] = (struct gr_ref){in[i]->dtype, in[i]->shape, gr_alloc_array((size_t)n, 8)};
        if (!r[i].v)
            s = gr_error_nomem(err);
        for (int64_t k = 0; !s && k < n; k++)
            r[i].v[k] = gr_load_f64(in[i]->dtype, in[i]->data, (size_t)k);
    }
    for (int i = 0; !s && i < n_out; i++) {
        y[i] = (struct gr_ref){out_types[i].dtype, out_types[i].shape, NULL};
        if (!out_types[i].dtype)
            continue;
        s = gr_tensor_new(out_types[i].dtype, &out_types[i].shape, &out[i], err);
        if (!s && !(y[i].v = gr_alloc_zero((size_t)gr_tensor_count(&out[i]), 8)))
            s = gr_error_nomem(err);
    }
    if (!s)
        s = node->op->ref(node, n_in, r, n_out, y, err);
    for (int i = 0; !s && i < n_out; i++)
        for (int64_t k = 0, n = y[i].v ? gr_tensor_count(&out[i]) : 0; k < n; k++)
            gr_store_f64(out[i].dtype, gr_tensor_mut(&out[i]), (size_t)k, y[i].v[k]);
    for (int i = 0; i < n_in + n_out; i++)
        gr_free(r[i].v);
    for (int i = 0; s && i < n_out; i++)
        gr_tensor_clear(&out[i]);
    gr_free(r);
    return s;
}

enum graft_status gr_graph_unsupported(const struct gr_graph *g, const unsigned char *needed,
                                       struct gr_arena *arena, size_t *n, const char *const **list,
                                       struct graft_error *err)
{
    struct kind {
        const char *name;
        size_t first, count;
    } *kinds = NULL;
    struct gr_names ids = {0};
    const char **texts = NULL;
    size_t n_kinds = 0, cap = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < g->n_nodes; i++) {
        const struct gr_node *node = &g->nodes[i];
        if (node->op || (needed && !needed[i]))
            continue;
        size_t size = strlen(node->domain) + strlen(node->op_type) + 3;
        char *name = gr_alloc(size);
        if (!(ok = name != NULL))
            break;
        snprintf(name, size, "%s%s%s", node->domain, *node->domain ? "::" : "", node->op_type);
        int64_t id = gr_names_find(&ids, name);
        if (id < 0) {
            const char *kept = gr_arena_strdup(arena, name);
            ok = kept && GR_GROW(kinds, n_kinds, cap) &&
                 gr_names_set(&ids, kept, id = (int64_t)n_kinds);
            if (ok)
                kinds[n_kinds++] = (struct kind){kept, i, 0};
        }
        if (ok)
            kinds[id].count++;
        gr_free(name);
    }
    if (ok)
        ok = (texts = gr_arena_alloc(arena, n_kinds * sizeof *texts)) != NULL;
    for (size_t k = 0; ok && k < n_kinds; k++) {
        const char *first = g->nodes[kinds[k].first].name;
        size_t size = strlen(kinds[k].name) + strlen(first) + 64;
        char *text = gr_arena_alloc(arena, size);
        if (text)
            snprintf(text, size, "%s (%zu node%s, first '%s')", kinds[k].name, kinds[k].count,
                     kinds[k].count > 1 ? "s" : "", first);
        ok = (texts[k] = text) != NULL;
    }
    gr_names_clear(&ids);
    gr_free(kinds);
    if (!ok)
        return gr_error_nomem(err);
    *list = texts;
    *n = n_kinds;
    return GRAFT_OK;
}

/* "2 unsupported operators: If (2 nodes, first 'loop'), NonZero (1 node, first 'mask')" */
static enum graft_status refuse_unsupported(const struct gr_graph *g, const unsigned char *needed,
                                            struct graft_error *err)
{
    struct gr_arena arena = {0};
    const char *const *list = NULL;
    size_t n = 0;
    enum graft_status s = gr_graph_unsupported(g, needed, &arena, &n, &list, err);
    if (!s && n) {
        struct gr_buf b;
        gr_buf_init(&b, 800);
        for (size_t i = 0; i < n; i++)
            gr_buf_printf(&b, "%s%s", i ? ", " : "", list[i]);
        char *text = gr_buf_take(&b);
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "%zu unsupported operator%s: %s", n,
                     n > 1 ? "s" : "", text ? text : "too many to list");
        gr_free(text);
    }
    gr_arena_clear(&arena);
    return s;
}

/* Constants computed from constants may have this many elements in all, and take this much work: in
   multiply-adds, some seconds. The part per element of the file's own constants is for large
   networks whose weights are computed on load. */
#define FOLD_FREE            ((int64_t)1 << 24)
#define FOLD_PER_WEIGHT      4
#define FOLD_WORK_FREE       2e9
#define FOLD_WORK_PER_WEIGHT 256
#define ELEMENT_WORK         8 /* an element to double and back costs as much as 8 multiply-adds */

struct scratch { /* per-node arrays, as long as the longest lists */
    struct gr_type *in, *out;
    const struct gr_tensor **konst;
    struct gr_tensor *value;
    int64_t budget; /* elements that constants may still grow to: a hostile file can ask for more */
    double work;    /* that computing them may still take */
};

double gr_node_macs(const struct gr_node *n, const struct gr_inferred *types)
{
    enum { MOST = 16 }; /* inputs of what multiplies */
    struct gr_type in[MOST] = {0};
    if (!n->op || !n->op->macs || n->n_in > MOST || n->out[0] < 0)
        return 0;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] >= 0)
            in[k] = types->type[n->in[k]];
    return n->op->macs(n, n->n_in, in, &types->type[n->out[0]]);
}

static bool all_finite_sizes(const struct gr_type *t)
{
    return gr_shape_count(&t->shape) >= 0 && t->shape.rank >= 0 && t->shape.rank <= GR_MAX_RANK;
}

/* What the reference does for these types. Operators that count no multiply-adds touch each element
   once, but for windows: `kernel_shape` of a pool, `size` of LRN. */
static double folding_work(const struct gr_node *n, const struct scratch *w)
{
    double work = n->op->macs ? n->op->macs(n, n->n_in, w->in, w->out) : 0;
    double per_output = ELEMENT_WORK, taps = 1;
    const struct gr_attr *kernel = gr_node_find_attr(n, "kernel_shape");
    const struct gr_attr *size = gr_node_find_attr(n, "size");
    for (size_t i = 0; kernel && i < kernel->n; i++)
        taps *= (double)kernel->ints[i];
    if (size)
        taps *= (double)size->i;
    if (!n->op->macs && n->n_in) /* padding is not looked at */
        per_output += fmin(taps, (double)gr_shape_count(&w->in[0].shape));
    for (int i = 0; i < n->n_in; i++)
        if (w->in[i].dtype)
            work += ELEMENT_WORK * (double)gr_shape_count(&w->in[i].shape);
    for (int i = 0; i < n->n_out; i++)
        if (w->out[i].dtype)
            work += per_output * (double)gr_shape_count(&w->out[i].shape);
    return work;
}

static enum graft_status infer_node(const struct gr_node *n, struct gr_inferred *r,
                                    struct scratch *w, struct graft_error *err)
{
    bool constant = true;
    for (int i = 0; i < n->n_in; i++) {
        int v = n->in[i];
        w->in[i] = v < 0 ? (struct gr_type){GR_UNKNOWN, {0}} : r->type[v];
        w->konst[i] = v >= 0 && r->konst[v].buf ? &r->konst[v] : NULL;
        constant = constant && (v < 0 || w->konst[i]);
        if (v < 0 && i < n->op->min_in)
            return gr_error(err, GRAFT_E_FORMAT, "input %d is missing", i);
    }
    memset(w->out, 0, (size_t)n->n_out * sizeof *w->out);
    struct gr_infer c = {n, n->n_in, w->in, w->konst, n->n_out, w->out};
    enum graft_status s = n->op->infer(&c, err);
    for (int i = 0; !s && i < n->n_out; i++) {
        char text[GR_SHAPE_TEXT];
        if (n->out[i] >= 0 && !all_finite_sizes(&w->out[i]))
            s = gr_error(err, GRAFT_E_LIMIT, "output %d has shape %s, which is too large", i,
                         gr_shape_print(&w->out[i].shape, text));
        else if (n->out[i] >= 0)
            r->type[n->out[i]] = w->out[i];
        else
            w->out[i].dtype = GR_UNKNOWN;
    }
    /* What a shape is does not depend on the data: Shape and Size are constants too. */
    bool is_shape = !strcmp(n->op_type, "Shape") || !strcmp(n->op_type, "Size");
    if (s || !(constant || is_shape))
        return s;
    struct gr_tensor shape_only = {0};
    if (is_shape && !constant) { /* no data is read: a tensor with the type and nothing in it */
        shape_only.dtype = w->in[0].dtype;
        shape_only.shape = w->in[0].shape;
        struct gr_ref x = {shape_only.dtype, shape_only.shape, NULL};
        struct gr_ref y = {w->out[0].dtype, w->out[0].shape, NULL};
        double dims[GR_MAX_RANK] = {0};
        y.v = dims;
        s = n->op->ref(n, 1, &x, 1, &y, err);
        if (!s)
            s = gr_tensor_new(y.dtype, &y.shape, &w->value[0], err);
        for (int64_t i = 0; !s && i < gr_shape_count(&y.shape); i++)
            gr_store_f64(y.dtype, gr_tensor_mut(&w->value[0]), (size_t)i, dims[i]);
    } else {
        for (int i = 0; i < n->n_out; i++)
            w->budget -= w->out[i].dtype ? gr_shape_count(&w->out[i].shape) : 0;
        if (w->budget < 0)
            return gr_error(err, GRAFT_E_LIMIT, "constants computed so far are too large");
        double work = folding_work(n, w);
        if (!(work <= w->work))
            return gr_error(err, GRAFT_E_LIMIT,
                            "computing this constant takes %.3g operations, at most %.3g are left",
                            work, w->work);
        w->work -= work;
        s = gr_op_run_ref(n, n->n_in, w->konst, n->n_out, w->out, w->value, err);
    }
    for (int i = 0; !s && i < n->n_out; i++)
        if (n->out[i] >= 0) {
            gr_tensor_clear(&r->konst[n->out[i]]);
            r->konst[n->out[i]] = w->value[i];
        }
    return s;
}

enum graft_status gr_graph_infer(const struct gr_graph *g, const struct gr_type *inputs,
                                 size_t n_upto, const int *upto, struct gr_inferred *out,
                                 struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct gr_inferred r = {.n = g->n_values};
    struct scratch w = {.budget = FOLD_FREE, .work = FOLD_WORK_FREE};
    unsigned char *needed = gr_alloc_zero(g->n_nodes, 1);
    size_t widest = 1;
    char text[256];
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct gr_node *n = &g->nodes[i];
        size_t wide = (size_t)(n->n_in > n->n_out ? n->n_in : n->n_out);
        widest = wide > widest ? wide : widest;
    }
    r.type = gr_alloc_zero(r.n, sizeof *r.type);
    r.konst = gr_alloc_zero(r.n, sizeof *r.konst);
    w.in = gr_alloc_zero(widest, sizeof *w.in);
    w.out = gr_alloc_zero(widest, sizeof *w.out);
    w.konst = gr_alloc_zero(widest, sizeof *w.konst);
    w.value = gr_alloc_zero(widest, sizeof *w.value);
    if (!needed || !r.type || !r.konst || !w.in || !w.out || !w.konst || !w.value) {
        s = gr_error_nomem(err);
        goto out;
    }
    if (upto)
        gr_graph_needed(g, n_upto, upto, needed);
    else
        memset(needed, 1, g->n_nodes);
    s = refuse_unsupported(g, needed, err);
    for (size_t i = 0; !s && i < g->n_values; i++)
        if (gr_value_is_const(&g->values[i])) {
            r.type[i] = (struct gr_type){g->values[i].data.dtype, g->values[i].data.shape};
            r.konst[i] = gr_tensor_ref(&g->values[i].data);
            w.budget += FOLD_PER_WEIGHT * gr_tensor_count(&r.konst[i]);
            w.work += FOLD_WORK_PER_WEIGHT * (double)gr_tensor_count(&r.konst[i]);
        }
    for (size_t i = 0; !s && i < g->n_inputs; i++) {
        int v = g->inputs[i];
        if (!gr_dtype_size(inputs[i].dtype) || gr_shape_count(&inputs[i].shape) < 0)
            s = gr_error(err, GRAFT_E_SHAPE, "input '%s' has no complete type: %s %s",
                         g->values[v].name, gr_dtype_name(inputs[i].dtype),
                         gr_shape_print(&inputs[i].shape, text));
        r.type[v] = inputs[i];
    }
    for (size_t i = 0; !s && i < g->n_nodes; i++) {
        if (!needed[i])
            continue;
        s = infer_node(&g->nodes[i], &r, &w, err);
        if (s)
            gr_error_in(err, s, "%s", gr_node_print(g, (int)i, text, sizeof text));
    }
out:
    gr_free(needed);
    gr_free(w.in);
    gr_free(w.out);
    gr_free(w.konst);
    gr_free(w.value);
    if (s)
        gr_inferred_clear(&r);
    else
        *out = r;
    return s;
}
