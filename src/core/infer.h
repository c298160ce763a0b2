/* Complete types of all values of a graph for given inputs, with constants computed through. */
#ifndef GR_CORE_INFER_H
#define GR_CORE_INFER_H

#include "core/graph.h"

struct gr_inferred {
    size_t n; /* values */
    struct gr_type *type;
    struct gr_tensor *konst; /* buf != NULL: known before running */
};

/* `inputs`: one complete type for each graph input. Fails at the first node that does not fit, or,
   where operators are unsupported, with one message that lists them all. A value that depends only
   on constants is computed with the operator's reference. `upto`: value ids that must be typed, or
   NULL for all nodes (nodes not needed for them are skipped). */
enum graft_status gr_graph_infer(const struct gr_graph *g, const struct gr_type *inputs,
                                 size_t n_upto, const int *upto, struct gr_inferred *out,
                                 struct graft_error *err);
void gr_inferred_clear(struct gr_inferred *r);

/* Multiply-adds of a node; 0 where nothing is multiplied. */
double gr_node_macs(const struct gr_node *n, const struct gr_inferred *types);

/* Runs one operator's reference on tensors of any dtype. out[i] are new tensors. */
enum graft_status gr_op_run_ref(const struct gr_node *node, int n_in,
                                const struct gr_tensor *const *in, int n_out,
                                const struct gr_type *out_types, struct gr_tensor *out,
                                struct graft_error *err);

/* Marks (1) the nodes that `n` values depend on. needed has g->n_nodes entries. */
void gr_graph_needed(const struct gr_graph *g, size_t n, const int *values, unsigned char *needed);

/* Each kind of unsupported operator once, "NonZero (2 nodes, first 'mask')", in the order of the
   graph; everything in `arena`. `needed`: as above, or NULL: all nodes. */
enum graft_status gr_graph_unsupported(const struct gr_graph *g, const unsigned char *needed,
                                       struct gr_arena *arena, size_t *n, const char *const **list,
                                       struct graft_error *err);

#endif
