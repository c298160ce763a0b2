/* A plan: a graph, or a part of it, made ready to run for one batch size; and the memory to run it.
   The plan is immutable and may be shared by threads; each thread runs its own gr_exec. */
#ifndef GR_EXEC_PLAN_H
#define GR_EXEC_PLAN_H

#include "core/infer.h"

enum gr_precision {
    GR_PRECISION_AUTO, /* bf16 where the processor is fast at it (AMX or AVX512-BF16) */
    GR_PRECISION_FP32,
    GR_PRECISION_BF16, /* compute in bf16, accumulate in fp32; inputs and outputs stay fp32 */
    GR_PRECISION_INT8 /* convolutions and matrices of constant weights in 8 bits, where the range of
                         what goes in is known; what is left in bf16 where that is fast, else fp32
                       */
};

struct gr_plan_options {
    int64_t batch; /* replaces an unknown first dimension of every input; >= 1 */
    enum gr_precision precision;
    const struct gr_ranges *ranges; /* for INT8; see exec/ranges.h */
    int parts; /* the batch is cut into so many, each run by one thread on its own: nothing waits
                  between steps. Divides the batch, which all inputs and outputs have first */
    bool fuse; /* fold batch-norm, fuse activations and sums; off only in tests */
    bool reference;    /* every node by its double reference; only in tests */
    size_t work_limit; /* a plan whose activations and scratch need more bytes is refused */
};
void gr_plan_options_init(struct gr_plan_options *o); /* batch 8, 1 part, fp32, fuse, 4 GiB */

/* As many parts as there are threads, where that divides the batch; else 1, and all threads share
   each step. */
int gr_plan_usual_parts(int64_t batch);

struct gr_plan;
/* Plans the nodes that `outputs` (value ids; NULL: the graph's own) depend on. `input_shapes`
   gives one complete shape per graph input, or NULL: as declared, with the first dimension set to
   options->batch. The graph is only read, and must outlive the plan. Unsupported operators on the
   way are reported all at once. */
enum graft_status gr_plan_new(const struct gr_graph *g, size_t n_outputs, const int *outputs,
                              const struct gr_shape *input_shapes,
                              const struct gr_plan_options *options, struct gr_plan **plan,
                              struct graft_error *err);
void gr_plan_free(struct gr_plan *p);
/* Types at the border: dense row-major; floats are GR_F32 whatever the precision. */
size_t gr_plan_n_inputs(const struct gr_plan *p);
size_t gr_plan_n_outputs(const struct gr_plan *p);
const struct gr_type *gr_plan_get_input(const struct gr_plan *p, size_t i);
const struct gr_type *gr_plan_get_output(const struct gr_plan *p, size_t i);
enum gr_precision gr_plan_get_precision(const struct gr_plan *p); /* never AUTO */
/* Bytes: weights that the plan holds itself, and activations + scratch of each gr_exec. */
size_t gr_plan_get_weights_size(const struct gr_plan *p);
size_t gr_plan_get_work_size(const struct gr_plan *p);

/* One step as `graft bench` and `inspect -v` show it. */
struct gr_step_info {
    const char *node, *op, *kernel; /* "brgconv:avx512_core", "reference" */
    const char *fused;              /* "BatchNormalization Relu", or "" */
    bool int8;                      /* reads 8 bits */
    struct gr_type out;
    double macs, bytes;
};
size_t gr_plan_n_steps(const struct gr_plan *p);
void gr_plan_get_step(const struct gr_plan *p, size_t i, struct gr_step_info *info);

struct gr_exec;
enum graft_status gr_exec_new(const struct gr_plan *p, struct gr_exec **e, struct graft_error *err);
void gr_exec_free(struct gr_exec *e);
/* inputs[i], outputs[i]: dense arrays of the types above. Uses the calling thread's OpenMP
   setting. No allocation. */
enum graft_status gr_exec_run(struct gr_exec *e, const void *const *inputs, void *const *outputs,
                              struct graft_error *err);
/* Like run, and gives the mean seconds of each step over `reps` runs (array of n_steps). */
enum graft_status gr_exec_time(struct gr_exec *e, const void *const *inputs, void *const *outputs,
                               int reps, double *seconds, struct graft_error *err);

#endif
