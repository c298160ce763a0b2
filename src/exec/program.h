/* What a plan is made from: a private list of steps that the passes rewrite. */
#ifndef GR_EXEC_PROGRAM_H
#define GR_EXEC_PROGRAM_H

#include "core/infer.h"
#include "core/kernel.h"
#include "exec/plan.h"

struct program_value {
    const char *name;
    struct gr_type type;
    struct gr_tensor konst; /* buf != NULL: known before running */
    /* Not NULL: number i of the constant is still to be multiplied by scale[i / run % n_scale]. Its
       copy is made when it is wanted, so that not all are there at once. */
    const double *scale;
    int64_t n_scale, run;
    struct gr_quant quant; /* set by pass_int8 */
    /* Set by program_count: */
    int n_uses;   /* by steps and as outputs of the plan */
    int maker;    /* the step that makes it, or -1 */
    int last_use; /* the last step that reads it, -1 for none, INT_MAX for an output */
    /* Set by program_find_fates, of what becomes of it, perhaps under another shape: */
    bool leaves; /* it leaves the plan */
    bool factor; /* nothing but products in bf16 reads it */
};

/* acts(node(in...) + residual); a dead step is skipped. */
struct program_step {
    struct gr_node node; /* lists and attributes lie in the program's arena or the graph's */
    int residual;        /* value, or -1 */
    int n_acts;
    struct gr_act acts[GR_MAX_ACTS];
    const char *fused; /* names of operators taken in */
    bool dead;
};

struct program {
    struct gr_arena arena;
    struct program_value *values;
    size_t n_values, cap_values;
    struct program_step *steps;
    size_t n_steps;
    size_t n_inputs, n_outputs;
    int *inputs, *outputs;
};

/* The steps that `outputs` depend on; what is constant or changes nothing is left out, except
   `verbatim`. */
enum graft_status program_init(struct program *p, const struct gr_graph *g,
                               const struct gr_inferred *types, size_t n_outputs,
                               const int *outputs, bool verbatim, struct graft_error *err);
void program_clear(struct program *p);
/* Counts uses anew and drops steps whose outputs nobody uses. */
void program_count(struct program *p);

void program_find_fates(struct program *p, bool bf16);

/* For passes. A new constant; takes the tensor over, also on failure. */
enum graft_status program_add_const(struct program *p, struct gr_tensor *t, int *value,
                                    struct graft_error *err);
/* The constant is multiplied by what it is still to be multiplied by: before its numbers are read.
 */
enum graft_status program_settle_const(struct program *p, int v, struct graft_error *err);
/* Lets go of the constants that no step after this one reads. */
void program_drop_consts(struct program *p, size_t step);
/* The step that makes v, if v is used once and the step is none that was changed by `acts` or a
   residual; else NULL. */
struct program_step *program_sole_maker(struct program *p, int v);
enum graft_status program_note_fused(struct program *p, struct program_step *s, const char *op,
                                     struct graft_error *err);
static inline const struct gr_tensor *program_const(const struct program *p, int v)
{
    return v >= 0 && p->values[v].konst.buf ? &p->values[v].konst : NULL;
}

/* The only number of a constant. */
bool program_get_number(const struct program *p, int v, double *number);
bool program_get_int(const struct program *p, int v, int64_t *number); /* of integers */
/* The step that alone reads v, or NULL; its other inputs may be anything. */
struct program_step *program_sole_reader(struct program *p, int v);
/* The same numbers in the same order under another shape. */
static inline bool program_is_view(const struct gr_node *n)
{
    return gr_node_is(n, "Reshape") || gr_node_is(n, "Flatten") || gr_node_is(n, "Squeeze") ||
           gr_node_is(n, "Unsqueeze");
}

/* The passes. */
enum graft_status pass_fold(struct program *p, struct graft_error *err);
enum graft_status pass_norm(struct program *p, struct graft_error *err);
enum graft_status pass_attention(struct program *p, struct graft_error *err);
enum graft_status pass_fuse(struct program *p, bool merge, struct graft_error *err);

/* Marks the values that plans in 8 bits read as such: `marks` has one place per value. */
void pass_int8_mark(const struct program *p, bool *marks);
/* Gives each of them whose range is known its scale. */
struct gr_ranges;
enum graft_status pass_int8(struct program *p, const struct gr_ranges *r, struct graft_error *err);

/* Operators that only passes make: with a meaning, but in no file. */
extern const struct gr_op gr_op_pass_identity, gr_op_pass_shuffle, gr_op_pass_linear,
    gr_op_pass_attention;
/* Any operator, by its double reference. */
extern const struct gr_kernel gr_kernel_reference;

#endif
