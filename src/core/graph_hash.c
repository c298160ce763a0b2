/* Do two graphs compute the same? */
#include "base/hash.h"
#include "base/mem.h"
#include "core/graph.h"

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

/* Values are numbered in the order in which they are met, so that two readers which number them
   differently agree. */
static int64_t number(int *numbers, int *n, int value)
{
    if (value < 0)
        return -1;
    if (!numbers[value])
        numbers[value] = ++*n;
    return numbers[value];
}

enum graft_status gr_graph_hash(const struct gr_graph *g, struct gr_hasher *h,
                                struct graft_error *err)
{
    int *numbers = gr_alloc_zero(g->n_values, sizeof *numbers), n_numbers = 0;
    if (!numbers)
        return gr_error_nomem(err);
    for (size_t i = 0; i < g->n_inputs; i++)
        gr_hasher_add_i64(h, number(numbers, &n_numbers, g->inputs[i]));
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct gr_node *n = &g->nodes[i];
        gr_hasher_add_str(h, n->domain);
        gr_hasher_add_str(h, n->op_type);
        gr_hasher_add_i64(h, n->opset);
        gr_hasher_add_i64(h, n->n_in);
        for (int k = 0; k < n->n_in; k++) {
            int v = n->in[k];
            bool known = v >= 0 && numbers[v];
            gr_hasher_add_i64(h, number(numbers, &n_numbers, v));
            if (v >= 0 && !known && gr_value_is_const(&g->values[v]))
                hash_tensor(&g->values[v].data, h);
        }
        gr_hasher_add_i64(h, n->n_out);
        for (int k = 0; k < n->n_out; k++)
            gr_hasher_add_i64(h, number(numbers, &n_numbers, n->out[k]));
        for (size_t k = 0; k < n->n_attrs; k++)
            hash_attr(&n->attrs[k], h);
    }
    for (size_t i = 0; i < g->n_outputs; i++)
        gr_hasher_add_i64(h, number(numbers, &n_numbers, g->outputs[i]));
    gr_free(numbers);
    return GRAFT_OK;
}
