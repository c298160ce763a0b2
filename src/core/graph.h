/* A network: ONNX operators joined by named values. The graph owns its nodes, names and attribute
   data in an arena; nodes and values refer to each other by index, never by pointer. */
#ifndef GR_CORE_GRAPH_H
#define GR_CORE_GRAPH_H

#include "base/arena.h"
#include "base/map.h"
#include "core/tensor.h"

struct gr_op;

struct gr_type {
    enum gr_dtype dtype;
    struct gr_shape shape;
};

/* The numbers are those of ONNX AttributeProto.AttributeType. */
enum gr_attr_type {
    GR_ATTR_FLOAT = 1,
    GR_ATTR_INT = 2,
    GR_ATTR_STRING = 3,
    GR_ATTR_TENSOR = 4,
    GR_ATTR_GRAPH = 5, /* kept as a name only: such nodes are unsupported */
    GR_ATTR_FLOATS = 6,
    GR_ATTR_INTS = 7,
    GR_ATTR_STRINGS = 8
};

/* One attribute exactly as the file had it; written back unchanged. */
struct gr_attr {
    const char *name;
    enum gr_attr_type type;
    int64_t i;
    float f;
    const char *s; /* NUL after its s_size bytes */
    size_t s_size;
    struct gr_tensor t; /* a reference, released with the graph */
    size_t n;           /* of the three lists */
    const int64_t *ints;
    const float *floats;
    const char *const *strings;
};

enum { GR_MAX_ARITY = 4096 };

struct gr_node {
    const char *name; /* may be "" */
    const char *op_type, *domain;
    int n_in, n_out;
    int *in, *out; /* value ids; -1 for an optional one left out */
    size_t n_attrs, cap_attrs;
    struct gr_attr *attrs;
    /* Set by gr_graph_bind: */
    const struct gr_op *op; /* NULL: unsupported */
    const void *params;     /* the op's own struct, filled from attrs by its attribute table */
    int64_t opset;          /* of the node's domain */
};

struct gr_value {
    const char *name;      /* unique in the graph, never "" */
    int producer;          /* node id, or -1: a graph input, a constant, or nobody */
    struct gr_tensor data; /* data.buf != NULL: a constant (initializer) */
    struct gr_type type;   /* as declared by the file: dtype GR_UNKNOWN or dim -1 where unknown */
    bool has_shape;        /* type.shape was declared */
};

struct gr_opset {
    const char *domain; /* "" for the ONNX operators */
    int64_t version;
};

struct gr_graph {
    struct gr_arena arena;
    const char *name;
    struct gr_node *nodes; /* in topological order once gr_graph_check has passed */
    size_t n_nodes, cap_nodes;
    struct gr_value *values;
    size_t n_values, cap_values;
    struct gr_names value_ids;
    int *inputs, *outputs; /* value ids; constants are not among the inputs */
    size_t n_inputs, cap_inputs, n_outputs, cap_outputs;
    struct gr_opset opsets[16];
    size_t n_opsets;
};

enum graft_status gr_graph_new(struct gr_graph **g, struct graft_error *err);
void gr_graph_free(struct gr_graph *g);
/* A deep copy of the structure; tensors are shared by reference. */
enum graft_status gr_graph_copy(const struct gr_graph *g, struct gr_graph **out,
                                struct graft_error *err);

/* The version of a domain, 0 when not imported; set replaces. "ai.onnx" is the same as "". */
int64_t gr_graph_get_opset(const struct gr_graph *g, const char *domain);
enum graft_status gr_graph_set_opset(struct gr_graph *g, const char *domain, int64_t version,
                                     struct graft_error *err);

/* The id of a name, or -1. */
int gr_graph_find_value(const struct gr_graph *g, const char *name);
int gr_graph_find_node(const struct gr_graph *g, const char *name);
/* Finds or creates; the name is copied. */
enum graft_status gr_graph_value(struct gr_graph *g, const char *name, int *id,
                                 struct graft_error *err);
/* `base`, or base_1, base_2, ... : a value name that is still free, in the arena. NULL: no memory.
 */
const char *gr_graph_free_name(struct gr_graph *g, const char *base);
/* Makes a value a graph input / output of that declared type (shape dims may be -1). */
enum graft_status gr_graph_add_input(struct gr_graph *g, int value, const struct gr_type *type,
                                     struct graft_error *err);
enum graft_status gr_graph_add_output(struct gr_graph *g, int value, const struct gr_type *type,
                                      struct graft_error *err);
/* Makes a value a constant; takes a reference of `t`. */
enum graft_status gr_graph_set_const(struct gr_graph *g, int value, const struct gr_tensor *t,
                                     struct graft_error *err);

/* Appends a node; strings and id lists are copied. in[i] may be -1. Refuses an output that has a
   producer, is constant or is a graph input. */
enum graft_status gr_graph_add_node(struct gr_graph *g, const char *op_type, const char *domain,
                                    const char *name, int n_in, const int *in, int n_out,
                                    const int *out, int *id, struct graft_error *err);
/* Attributes of the node added last or any other; names and data are copied, tensors referenced.
   Refuses a second one of the same name. */
enum graft_status gr_node_add_attr(struct gr_graph *g, int node, const struct gr_attr *a,
                                   struct graft_error *err);
enum graft_status gr_node_set_int(struct gr_graph *g, int node, const char *name, int64_t v,
                                  struct graft_error *err);
enum graft_status gr_node_set_float(struct gr_graph *g, int node, const char *name, float v,
                                    struct graft_error *err);
enum graft_status gr_node_set_ints(struct gr_graph *g, int node, const char *name, size_t n,
                                   const int64_t *v, struct graft_error *err);
enum graft_status gr_node_set_string(struct gr_graph *g, int node, const char *name, const char *s,
                                     struct graft_error *err);
const struct gr_attr *gr_node_find_attr(const struct gr_node *n, const char *name);

/* Structure is sound: every used value has a source, no cycle; nodes are put into topological order
   (stable: an order that is already right is kept). */
enum graft_status gr_graph_check(struct gr_graph *g, struct graft_error *err);
/* Looks up every node's operator and reads its attributes into params. Unsupported operators are
   left with op == NULL, it is no error here; a malformed attribute is. */
enum graft_status gr_graph_bind(struct gr_graph *g, struct graft_error *err);
/* "node 37 'layer1.0/Conv' (Conv)" into text; returns text. */
const char *gr_node_print(const struct gr_graph *g, int node, char *text, size_t size);

/* Feeds everything that decides what the graph computes (operators, attributes, connections,
   constants, outputs), but no names. */
struct gr_hasher;
enum graft_status gr_graph_hash(const struct gr_graph *g, struct gr_hasher *h,
                                struct graft_error *err);

static inline bool gr_value_is_const(const struct gr_value *v)
{
    return v->data.buf != NULL;
}

#endif
