/* Do two graphs compute the same? */
#include "base/hash.h"
#include "core/graph.h"
#include <string.h>

static void hash_tensor(const struct gr_tensor *t, struct gr_hasher *h)
{
    gr_hasher_add_i64(h, t->dtype);
    gr_hasher_add_i64(h, t->shape.rank);
    gr_hasher_add(h, t->shape.dim, (size_t)t->shape.rank * sizeof t->shape.dim[0]);
    gr_hasher_add(h, t->data, t->size);
}

static void hash_attr(const struct gr_attr *a, struct gr_hasher *h)
{
    gr_hasher_add_str(h, a->name);
    gr_hasher_add_i64(h, a->type);
    gr_hasher_add_i64(h, a->i);
    gr_hasher_add(h, &a->f, sizeof a->f);
    gr_hasher_add_i64(h, (int64_t)a->s_size);
    gr_hasher_add(h, a->s, a->s ? a->s_size : 0);
    gr_hasher_add_i64(h, (int64_t)a->n);
    if (a->ints)
        gr_hasher_add(h, a->ints, a->n * sizeof *a->ints);
    if (a->floats)
        gr_hasher_add(h, a->floats, a->n * sizeof *a->floats);
    for (size_t i = 0; a->strings && i < a->n; i++)
        gr_hasher_add_str(h, a->strings[i]);
    hash_tensor(&a->t, h);
}

void gr_graph_hash(const struct gr_graph *g, struct gr_hasher *h)
{
    /* Values are known by their ids, which a reader gives in the order of the file. */
    for (size_t i = 0; i < g->n_inputs; i++)
        gr_hasher_add_i64(h, g->inputs[i]);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct gr_node *n = &g->nodes[i];
        gr_hasher_add_str(h, n->domain);
        gr_hasher_add_str(h, n->op_type);
        gr_hasher_add_i64(h, n->opset);
        gr_hasher_add_i64(h, n->n_in);
        gr_hasher_add(h, n->in, (size_t)n->n_in * sizeof *n->in);
        gr_hasher_add_i64(h, n->n_out);
        gr_hasher_add(h, n->out, (size_t)n->n_out * sizeof *n->out);
        for (size_t k = 0; k < n->n_attrs; k++)
            hash_attr(&n->attrs[k], h);
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] >= 0 && gr_value_is_const(&g->values[n->in[k]]))
                hash_tensor(&g->values[n->in[k]].data, h);
    }
    for (size_t i = 0; i < g->n_outputs; i++)
        gr_hasher_add_i64(h, g->outputs[i]);
}
