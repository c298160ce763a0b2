/* Random weights for a network that has learned nothing yet. */
#ifndef GR_TRAIN_INIT_H
#define GR_TRAIN_INIT_H

#include "core/graph.h"

/* What gr_init_weights did. */
struct gr_init_report {
    size_t n_weights; /* tensors that were drawn or set */
    size_t n_left; /* float tensors of more than one element whose role is not known: as before */
    const char *first; /* name of the first of them, of the graph */
    const char *rule;  /* of convolutions: "Kaiming normal (fan out)" */
};

/* Replaces the weights of layers by random ones, as PyTorch begins with that family (`arch`: a
   title of zoo/, or NULL: Kaiming normal by fan out for convolutions, uniform 1/sqrt(fan in) for
   linear layers); normalisation layers become the identity with statistics 0 and 1. A pure function
   of graph, arch and seed. He and others, arXiv 1502.01852; Glorot, Bengio 2010 for MatMul. */
enum graft_status gr_init_weights(struct gr_graph *g, const char *arch, uint64_t seed,
                                  struct gr_init_report *report, struct graft_error *err);

/* For a network whose batch-norms were folded into its convolutions: puts a new one after every
   convolution with a constant bias, which is dropped. *n: how many; 0 where the graph has any
   batch-norm or other normalisation of its own. */
enum graft_status gr_init_unfold_batch_norm(struct gr_graph *g, size_t *n, struct graft_error *err);

#endif
