/* A fitted head as ONNX nodes. */
#ifndef GR_TRAIN_ATTACH_H
#define GR_TRAIN_ATTACH_H

#include "core/graph.h"
#include "train/head.h"

/* Adds the head to `features` (N, head->n_features) and makes "logits" and "probabilities" (both
   (N, n_classes)) the graph's outputs. For k-NN the logits are the logarithms of the votes. */
enum graft_status gr_head_attach(struct gr_graph *g, int features, const struct gr_head *head,
                                 struct graft_error *err);

#endif
