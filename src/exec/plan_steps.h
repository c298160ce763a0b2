/* A finished plan, as plan.c makes it and run.c runs it. */
#ifndef GR_EXEC_PLAN_STEPS_H
#define GR_EXEC_PLAN_STEPS_H

#include "core/kernel.h"
#include "exec/plan.h"

/* A piece of memory; several values may lie in one. */
struct plan_slot {
    enum { SLOT_WORK, SLOT_INPUT, SLOT_OUTPUT, SLOT_CONST } kind;
    int index;        /* of the input or output */
    size_t size;      /* bytes */
    int first, last;  /* plan steps that touch it */
    int needed_until; /* program step after which no value in it is read */
    size_t offset;    /* of work */
    const void *data; /* of a constant */
};

struct plan_step {
    const struct gr_kernel *kernel;
    void *state;
    int n_in, n_out;
    int *in, *out; /* slots, or -1 */
    size_t scratch_size;
    struct gr_step_info info;
};

struct gr_plan {
    struct gr_arena arena;
    enum gr_precision precision;
    int parts; /* of the batch; everything below but inputs and outputs is for one of them */
    size_t n_inputs, n_outputs;
    struct gr_type *inputs, *outputs;
    struct plan_slot *slots;
    size_t n_slots, cap_slots;
    struct plan_step *steps;
    size_t n_steps, cap_steps;
    struct gr_tensor *consts; /* that slots refer to */
    size_t n_consts, cap_consts;
    size_t weights_size, scratch_offset, work_size;
    int most_args;
    /* What the reference kernel reads nodes from: */
    struct gr_arena nodes;
};

/* Bytes of a value in that dtype. */
enum graft_status plan_size_of(const struct gr_type *t, enum gr_dtype dtype, size_t *size,
                               struct graft_error *err);
/* A constant in a wanted layout: its own bytes where they fit. */
enum graft_status plan_arrange(const struct gr_tensor *konst, struct gr_layout layout,
                               struct gr_tensor *out, struct graft_error *err);

/* Gives every work slot an offset such that slots alive at one time do not overlap; `total` bytes
   hold them all. */
enum graft_status plan_slots(struct plan_slot *slots, size_t n_slots, size_t *total,
                             struct graft_error *err);
/* That, and room for the scratch of all steps. */
enum graft_status plan_memory(struct gr_plan *p, struct graft_error *err);

#endif
