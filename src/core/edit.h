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

/* A run of nodes at one resolution with at least one weight in it, ending at a cut point. */
struct gr_stage {
    int cut;                /* the value at its end */
    size_t first, last;     /* its nodes */
    int64_t n_params;       /* elements of floating constants first used here */
    int64_t n_weight_bytes; /* their size in the file */
};
/* From input to output; *stages is freed with gr_free. */
enum graft_status gr_graph_stages(const struct gr_graph *g, const struct gr_inferred *types,
                                  struct gr_stage **stages, size_t *n, struct graft_error *err);

/* Makes the given values the graph's only outputs and removes nodes that nothing needs any more.
   Value ids stay valid. */
enum graft_status gr_graph_cut(struct gr_graph *g, size_t n, const int *values,
                               struct graft_error *err);

/* The other half of a cut: `value` becomes the only input, of that type, and only what the outputs
   still need of the graph above it stays. */
enum graft_status gr_graph_keep_above(struct gr_graph *g, int value, const struct gr_type *type,
                                      struct graft_error *err);

/* Adds what turns the given values into one feature vector (N, *n_features) and makes it the only
   output: maps are averaged over their pixels, tokens (N, T, D) over T, several values are
   concatenated. `types` must be of this graph. Call after gr_graph_cut. */
enum graft_status gr_graph_pool_features(struct gr_graph *g, const struct gr_inferred *types,
                                         size_t n, const int *values, int *features,
                                         int64_t *n_features, struct graft_error *err);

/* Adding nodes by hand: one output, named `name` or, where that is taken, name_1, ... */
enum graft_status gr_graph_append(struct gr_graph *g, const char *op_type, const char *name,
                                  int n_in, const int *in, int *node, int *out,
                                  struct graft_error *err);
/* A new constant; `data` is copied. */
enum graft_status gr_graph_append_const(struct gr_graph *g, const char *name, enum gr_dtype dtype,
                                        const struct gr_shape *shape, const void *data, int *out,
                                        struct graft_error *err);

/* Keeps float32 constants of two and more dimensions as float16 with a Cast behind each: half the
   bytes in a file that is ordinary ONNX. COMPUTE for values beyond float16's range; the graph is
   then half done. *n: how many. */
enum graft_status gr_graph_store_half(struct gr_graph *g, size_t *n, struct graft_error *err);
/* What it does to one: only for tensors that can be. */
bool gr_tensor_can_halve(const struct gr_tensor *t);
enum graft_status gr_tensor_halve(const struct gr_tensor *t, const char *name,
                                  struct gr_tensor *half, struct graft_error *err);
/* The other way: a Cast of a float16 constant to float becomes the constant itself, so that it is a
   weight like any other. */
enum graft_status gr_graph_fold_half(struct gr_graph *g, size_t *n, struct graft_error *err);

/* Proves that the first dimension of every input may be any number: types for batch 1 and 3 differ
   only there. Constants of Reshape nodes that fix the batch to the exported one are freed (their
   first entry becomes 0, "as in the input") where that is the only thing in the way. */
enum graft_status gr_graph_free_batch(struct gr_graph *g, struct graft_error *err);

/* ---- edit_input.c: other planes of a picture ------------------------------------------------- */

enum { GR_MAX_PLANES = 4 };
/* Plane f of the n_from that the network was made for is the sum of a[f][t] x plane t over the n_to
   that it shall take, plus d[f]. */
struct gr_planes {
    int n_from, n_to;
    double a[GR_MAX_PLANES][GR_MAX_PLANES], d[GR_MAX_PLANES];
};
struct gr_planes_report {
    enum {
        GR_PLANES_IN_KERNELS, /* the first layer's kernels were mixed, nothing else changed */
        GR_PLANES_WITH_ONES,  /* so they were; d goes with a plane of ones that is put in front */
        GR_PLANES_IN_FRONT    /* a 1x1 layer in front makes the old planes, pixel by pixel */
    } how;
    const char *node; /* the first layer, or what is in the way of mixing its kernels */
};
/* Makes the network's first input, (N,C,H,W) with axis 1 or (N,H,W,C) with axis 3, take the new
   planes; what it computes stays the same. Constants cannot go into a bias: next to padding, which
   is 0 in the old planes, fewer of them are summed. A plane of ones is padded like the others, so
   it gives the same sums everywhere. */
enum graft_status gr_graph_map_planes(struct gr_graph *g, int axis, const struct gr_planes *p,
                                      struct gr_planes_report *report, struct graft_error *err);
/* Average pools over the whole map, at those types of the graph's inputs, become global ones, which
   do not depend on its size; *n: how many. A graph that cannot be typed is left as it is. */
enum graft_status gr_graph_pool_all(struct gr_graph *g, const struct gr_type *inputs, int *n,
                                    struct graft_error *err);

#endif
