/* What an operator is to the rest of graft: one `const struct gr_op` in its own file under ops/. */
#ifndef GR_CORE_OP_H
#define GR_CORE_OP_H

#include "core/graph.h"

/* ---- attributes: one table row is the truth for reading, range checks and docs -------------- */

struct gr_ints {
    size_t n;
    const int64_t *v;
};
struct gr_floats {
    size_t n;
    const float *v;
};

enum gr_param_kind {
    GR_PARAM_INT,    /* int64_t, within min..max */
    GR_PARAM_BOOL,   /* int64_t 0 or 1 */
    GR_PARAM_FLOAT,  /* float */
    GR_PARAM_INTS,   /* struct gr_ints, each within min..max; absent: n == 0, v == NULL */
    GR_PARAM_FLOATS, /* struct gr_floats */
    GR_PARAM_CHOICE, /* int64_t: index into `choices` */
    GR_PARAM_STRING, /* const char *, absent: NULL */
    GR_PARAM_TENSOR  /* const struct gr_tensor *, absent: NULL */
};

struct gr_param {
    const char *name;
    enum gr_param_kind kind;
    size_t offset; /* into the op's params struct */
    double def;    /* default of INT, BOOL, FLOAT, CHOICE */
    int64_t min, max;
    const char *const *choices; /* NULL-terminated */
    bool required;
    const char *help; /* one line for the generated documentation */
};

/* ---- the shape rule ------------------------------------------------------------------------- */

/* Types are complete (known dtype, all dimensions >= 0). konst[i] is the value of input i where it
   is known before running (initializers and everything computed from constants), else NULL.
   An absent optional input has in[i].dtype == GR_UNKNOWN. */
struct gr_infer {
    const struct gr_node *node;
    int n_in;
    const struct gr_type *in;
    const struct gr_tensor *const *konst;
    int n_out;
    struct gr_type *out; /* to fill; an absent optional output may be filled too */
};

/* ---- the slow, obvious, double-precision meaning -------------------------------------------- */

/* A tensor in double, whatever its dtype (int64 is exact to 2^53; larger magnitudes such as the
   INT64_MAX of Slice only ever mean "to the end"). Row-major. v == NULL: absent. */
struct gr_ref {
    enum gr_dtype dtype;
    struct gr_shape shape;
    double *v;
};

struct gr_op {
    const char *name;
    const char *domain; /* "" for ONNX */
    int since;          /* first operator set in which this meaning holds; older ones the file
                           handles itself by looking at node->opset */
    int min_in, max_in, min_out, max_out;
    size_t params_size;
    const struct gr_param *params; /* ends with a row whose name is NULL; NULL: no attributes */

    /* Pure, total on hostile input: an error, never a crash or a huge loop. */
    enum graft_status (*infer)(struct gr_infer *c, struct graft_error *err);
    /* Plain loops. out[i].v is allocated by the caller to the inferred shape, zeroed. Values of
       inputs (indices, axes) may still be out of range: an error. */
    enum graft_status (*ref)(const struct gr_node *node, int n_in, const struct gr_ref *in,
                             int n_out, struct gr_ref *out, struct graft_error *err);
    /* The gradient, plain loops too. dout[i]: of output i (v == NULL: zero); din[i]: of input i, to
       overwrite (v == NULL: not wanted). Types and shapes are those of in and out, with or without
       v; `in` and `out` are as `ref` had and left them. Inputs that only say where or how much
       (indices, axes, sizes) get zeros. NULL: no useful gradient exists. */
    enum graft_status (*ref_grad)(const struct gr_node *node, int n_in, const struct gr_ref *in,
                                  int n_out, const struct gr_ref *out, const struct gr_ref *dout,
                                  struct gr_ref *din, struct graft_error *err);
    /* Multiply-adds for these types; NULL: not counted (elementwise work). */
    double (*macs)(const struct gr_node *node, int n_in, const struct gr_type *in,
                   const struct gr_type *out);
};

/* The table in ops/op_table.c, sorted by name, NULL-terminated. */
extern const struct gr_op *const gr_op_table[];
/* NULL: unsupported. "ai.onnx" counts as "". */
const struct gr_op *gr_op_find(const char *domain, const char *op_type, int64_t opset);
/* Reads node->attrs into a fresh params struct in `arena` by the op's table. Unknown attributes,
   wrong types and values out of range are errors that name them. */
enum graft_status gr_op_read_params(const struct gr_op *op, const struct gr_node *node,
                                    struct gr_arena *arena, const void **params,
                                    struct graft_error *err);

#define GR_PARAMS(node, type) ((const type *)(node)->params)

#endif
