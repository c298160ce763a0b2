/* Low-rank adapters (LoRA): beside a frozen weight W a branch s * B(A(x)) with s = alpha / rank is
   learned, and in the end W + s B A takes W's place, so nothing of it stays in the network. */
#ifndef GR_TRAIN_LORA_H
#define GR_TRAIN_LORA_H

#include "core/graph.h"

struct gr_lora_layer {
    int weight;          /* value id of W, the same in every graph of the network */
    int64_t n_in, n_out; /* W maps n_in to n_out numbers */
    bool conv;           /* 1x1: W is (n_out,n_in,1,1) */
    bool out_first;      /* else W is (n_out,n_in) or (n_in,n_out) */
    int a, b;            /* value ids of A and B in the graph with the branches */
    char *module;        /* its path in PyTorch: "features.18.0" from its weight's name
                            "features.18.0.weight", else from its node's
                            "/features/features.18/features.18.0/Conv", else the weight's name with dots
                            for        slashes; unique, printable ASCII */
};
struct gr_lora {
    int64_t rank;
    double alpha;
    size_t n;
    struct gr_lora_layer *layers; /* in the order of the graph */
};
void gr_lora_clear(struct gr_lora *l);

/* Which of `weights` (value ids) belong to layers that can be adapted: 1x1 convolutions in one
   group, Gemm with alpha 1, MatMul with the weight on the right; float32, used by one node. ARG
   when the rank is below 1 or above the smaller side of such a layer. `l` is zeroed on failure. */
enum graft_status gr_lora_find(const struct gr_graph *g, size_t n, const int *weights, int64_t rank,
                               double alpha, struct gr_lora *l, struct graft_error *err);

/* Adds a branch beside each layer: ordinary nodes and new constants, A as PEFT begins it
   (Kaiming-uniform with a = sqrt 5: within 1 / sqrt(n_in)), B zero, so at first the network
   computes what it did. Value ids stay. A graph output that is a layer's becomes the sum. */
enum graft_status gr_lora_attach(struct gr_lora *l, struct gr_graph *g, uint64_t seed,
                                 struct graft_error *err);

/* W + s B A of `branched` becomes W of `g`, which never had the branches. */
enum graft_status gr_lora_merge(const struct gr_lora *l, const struct gr_graph *branched,
                                struct gr_graph *g, struct graft_error *err);

/* A (rank,n_in) and B (n_out,rank) in the shapes of PEFT, with two trailing 1s for convolutions.
   New tensors. */
enum graft_status gr_lora_factors(const struct gr_lora *l, const struct gr_graph *branched,
                                  size_t layer, struct gr_tensor *a, struct gr_tensor *b,
                                  struct graft_error *err);

#endif
