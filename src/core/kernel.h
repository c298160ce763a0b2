/* How operators are computed fast: kernels, chosen by the planner from one table. */
#ifndef GR_CORE_KERNEL_H
#define GR_CORE_KERNEL_H

#include "core/graph.h"
#include <string.h>

/* How a value lies in memory: always dense, either row-major (N,C,H,W) or, from rank 3 on, with the
   channels last (N,H,W,C). Its shape is (N,C,...) in both. */
struct gr_layout {
    enum gr_dtype dtype; /* GR_UNKNOWN: not wanted at run time */
    bool channels_last;
};

/* How a value of floats can be kept in 8 bits: x = scale * what lies there. dtype is GR_U8 (no x
   below 0) or GR_I8; GR_UNKNOWN: it cannot. */
struct gr_quant {
    enum gr_dtype dtype;
    float scale;
};

/* Elementwise functions that can follow another operator in one step. */
enum gr_act_kind {
    GR_ACT_CLIP,    /* min(max(x, a), b) */
    GR_ACT_LEAKY,   /* x < 0 ? a x : x */
    GR_ACT_LINEAR,  /* a x + b */
    GR_ACT_SIGMOID, /* 1 / (1 + exp(-x)) */
    GR_ACT_SWISH,   /* x / (1 + exp(-a x)) */
    GR_ACT_TANH,
    GR_ACT_HARD_SWISH,   /* x min(max(x + 3, 0), 6) / 6 */
    GR_ACT_HARD_SIGMOID, /* min(max(a x + b, 0), 1) */
    GR_ACT_ELU,          /* x < 0 ? a (exp(x) - 1) : x */
    GR_ACT_GELU,         /* x (1 + erf(x / sqrt 2)) / 2 */
    GR_ACT_GELU_TANH,
    GR_ACT_SOFTPLUS, /* log(1 + exp(x)) */
    GR_ACT_MISH,     /* x tanh(softplus(x)) */
    GR_ACT_EXP,
    GR_ACT_SQRT,
    GR_ACT_ABS,
    GR_ACT_ERF,
    GR_N_ACTS
};

struct gr_act {
    enum gr_act_kind kind;
    float a, b;
};

enum { GR_MAX_ACTS = 4 };

/* What is to be computed: acts(node(in...) + residual). */
struct gr_case {
    const struct gr_node *node;
    int n_in, n_out; /* n_in: the node's inputs, and one more for the residual if `add` */
    const struct gr_type *in, *out;
    const struct gr_tensor *const *konst; /* inputs known before running, else NULL */
    const struct gr_layout *layout;       /* in which each input arrives, or would without quant */
    const struct gr_quant *quant; /* of the inputs, then of output 0; NULL: nothing in 8 bits */
    bool bf16;                    /* multiply in bf16; else everything in fp32 */
    bool f32_out;                 /* output 0 leaves the plan: fp32 is wanted */
    bool factor;                  /* only products read output 0, which round it to bf16 anyway */
    bool add;                     /* the last input, of the output's shape, is added to output 0 */
    int residual;                 /* the value that is added */
    int n_acts;
    struct gr_act acts[GR_MAX_ACTS];
    const struct gr_case *next; /* the step that alone reads output 0, as an input; NULL: none */
};

/* What a kernel answers. Filled in by the planner beforehand: inputs are wanted as they arrive
   (constants not at all), outputs are row-major in their own dtype. */
struct gr_choice {
    struct gr_layout *in, *out; /* n_in and n_out entries */
    void *state;                /* immutable after planning; shared by threads */
    const char *impl;           /* shown to the person; lives as long as state */
    size_t scratch_size, weights_size;
    int place;       /* input whose memory output 0 may take over, or -1 */
    bool must_place; /* output 0 must lie there: the input is updated */
    int n_steps; /* that the kernel does at once: 1, or more with those that follow (next), whose
                    last makes the output; of their inputs it reads constants only */
};

struct gr_kernel {
    const char *name;
    const char *const *ops; /* NULL-terminated ONNX operator names */
    /* GRAFT_E_UNSUPPORTED: not this case, try the next kernel; other failures end the planning. */
    enum graft_status (*plan)(const struct gr_case *c, struct gr_choice *choice,
                              struct graft_error *err);
    /* What one gr_exec needs beside the shared state; NULL: nothing. */
    enum graft_status (*bind)(const void *state, void **bound, struct graft_error *err);
    void (*unbind)(void *bound);
    /* in[i], out[i] in the chosen layouts; in[i] is NULL where not wanted. No allocation. */
    enum graft_status (*forward)(const void *state, void *bound, const void *const *in,
                                 void *const *out, void *scratch, struct graft_error *err);
    void (*unplan)(void *state);
};

/* ---- in training: weights change, and gradients flow back ------------------------------------ */

struct gr_train_case {
    struct gr_case c;  /* konst: what never changes; the trained weights are inputs as all others */
    const bool *wants; /* per input: its gradient is wanted */
    bool batch_stats;  /* BatchNormalization: of the batch, inputs 3 and 4 are updated */
    double momentum;
    uint64_t seed; /* of this node */
};

/* As gr_choice; the gradient of a value lies like the value itself. */
struct gr_train_choice {
    struct gr_choice c;       /* place is not used */
    bool *keep_in, *keep_out; /* backward reads them; all true beforehand */
    bool *same;               /* the gradient of this input is that of output 0, unchanged */
    size_t saved_size;        /* written by forward in training, read by backward */
};

/* What one call works on. Gradients that are not there, or not wanted, are NULL. */
struct gr_train_pass {
    int n_in; /* entries of in and din */
    const void *const *in;
    void *const *out;
    const void *const *dout;
    void *const *din; /* overwritten */
    void *saved, *scratch;
    bool training; /* else nothing is saved, no backward follows */
    bool again;    /* forward of this step for the second time: statistics stay as they are, and
                      `saved` holds what the first time has left where it moved them */
    uint64_t step;
};

struct gr_train_kernel {
    const char *name;
    const char *const *ops;
    enum graft_status (*plan)(const struct gr_train_case *c, struct gr_train_choice *choice,
                              struct graft_error *err);
    /* `state` belongs to one trainer and may change. No allocation. */
    enum graft_status (*forward)(void *state, const struct gr_train_pass *p,
                                 struct graft_error *err);
    enum graft_status (*backward)(void *state, const struct gr_train_pass *p,
                                  struct graft_error *err);
    void (*unplan)(void *state);
};

/* The table in cpu/train_table.c. */
extern const struct gr_train_kernel *const gr_train_table[];
/* Batch-norm and Dropout, whose training no reference of an operator tells: always by kernel. */
extern const struct gr_train_kernel gr_train_dropout;
/* y += x, F32 or BF16: gradients that come by several ways. */
void gr_train_add(enum gr_dtype dtype, void *y, const void *x, size_t n);

/* The table in cpu/kernel_table.c, NULL-terminated; the first that plans a case is taken. */
extern const struct gr_kernel *const gr_kernel_table[];
/* Changes dtype and order; `node` is NULL, layout[0] the source, choice->out[0] the target. */
extern const struct gr_kernel gr_kernel_reorder;

/* This processor multiplies bf16 at all / faster than fp32. */
bool gr_cpu_has_bf16(void);
bool gr_cpu_has_fast_bf16(void);
/* It multiplies 8-bit integers and adds in 32 bits without saturating on the way. */
bool gr_cpu_has_int8(void);

/* Both orders are the same bytes: one channel, or one pixel. */
static inline bool gr_shape_is_orderless(const struct gr_shape *s)
{
    return s->rank < 3 || s->dim[1] == 1 || gr_shape_count_range(s, 2, s->rank) == 1;
}

static inline bool gr_layout_equal(struct gr_layout a, struct gr_layout b, const struct gr_shape *s)
{
    return a.dtype == b.dtype && (a.channels_last == b.channels_last || gr_shape_is_orderless(s));
}

static inline bool gr_is_float(enum gr_dtype t)
{
    return t == GR_F32 || t == GR_BF16;
}

/* Attributes of a node whose attributes gr_op_read_params has accepted. */
static inline int64_t gr_node_get_int(const struct gr_node *n, const char *name, int64_t def)
{
    const struct gr_attr *a = gr_node_find_attr(n, name);
    return a ? a->i : def;
}

static inline float gr_node_get_float(const struct gr_node *n, const char *name, float def)
{
    const struct gr_attr *a = gr_node_find_attr(n, name);
    return a ? a->f : def;
}

static inline int64_t gr_node_get_ints(const struct gr_node *n, const char *name, size_t i,
                                       int64_t def)
{
    const struct gr_attr *a = gr_node_find_attr(n, name);
    return a && i < a->n ? a->ints[i] : def;
}

/* How a window slides over the last dimensions of x, giving those of y. */
struct gr_window {
    int n; /* spatial dimensions */
    int64_t in[3], out[3], stride[3], dilation[3], pad_l[3];
    int64_t pad_r[3]; /* as far as the last window really reaches: may be negative */
};
/* Fills all but the kernel's size, which is given. x and y are (N,C,...) of rank 3 to 5. */
void gr_window_read(const struct gr_node *node, const struct gr_shape *x, const struct gr_shape *y,
                    const int64_t *kernel, struct gr_window *w);

/* Element (batch, head, row, column) of a value that lies row-major; in elements. */
struct gr_strided {
    int64_t offset, step[4];
};

/* What passes make of the steps of an attention: inputs q, k, v and perhaps a mask are views of
   what they were made from, the output one of what is made of it.
   y = softmax(scale q k' + mask) v for each batch and head. */
struct gr_attention {
    struct gr_attention_views {
        int64_t batch, heads, queries, keys, width, out_width;
        struct gr_strided q, k, v, mask, y; /* mask: (queries, keys) */
    } at;                                   /* attribute `views` has these numbers, in this order */
    float scale;
    bool masked;
};
static inline void gr_attention_read(const struct gr_node *n, struct gr_attention *a)
{
    memcpy(&a->at, gr_node_find_attr(n, "views")->ints, sizeof a->at);
    a->scale = gr_node_get_float(n, "scale", 1);
    a->masked = n->n_in > 3;
}

static inline bool gr_node_is(const struct gr_node *n, const char *op_type)
{
    return !*n->domain && !strcmp(n->op_type, op_type);
}

#endif
