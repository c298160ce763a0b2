/* Cutting a network at a named value and attaching new nodes. */
#ifndef GR_CORE_EDIT_H
#define GR_CORE_EDIT_H

#include "core/infer.h"

/* Where the old head is: the last parametric layer on the way to the first output (Gemm, MatMul or
   Conv with a constant weight), and the value that enters it. */
struct gr_head_site {
    int node;      /* the head's first node, or -1: no classifier found (a bare backbone) */
    int features;  /* the value to cut at: the head's input, or the last feature map */
    int n_classes; /* width of the old head, 0 when there is none */
};
/* `types`: from gr_graph_infer. Looks back through Softmax, Flatten, Reshape, Squeeze, Identity,
   pooling, activations, Dropout and bias Add. */
enum graft_status gr_graph_find_head(const struct gr_graph *g, const struct gr_inferred *types,
                                     struct gr_head_site *site, struct graft_error *err);

/* Values at which the network can be cut: the only non-constant value alive at that point. In
   order from input to output; *cuts is freed with gr_free. */
enum graft_status gr_graph_cut_points(const struct gr_graph *g, const struct gr_inferred *types,
                                      int **cuts, size_t *n, struct graft_error *err);

/* Makes the given values the graph's only outputs and removes nodes that nothing needs any more.
   Value ids stay valid. */
enum graft_status gr_graph_cut(struct gr_graph *g, size_t n, const int *values,
                               struct graft_error *err);

/* Proves that the first dimension of every input may be any number: types for batch 1 and 3 differ
   only there. Constants of Reshape nodes that fix the batch to the exported one are freed (their
   first entry becomes 0, "as in the input") where that is the only thing in the way. */
enum graft_status gr_graph_free_batch(struct gr_graph *g, struct graft_error *err);

#endif
