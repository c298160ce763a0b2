/* Training within the memory that was allowed. */
#ifndef GR_JOB_MEMORY_H
#define GR_JOB_MEMORY_H

#include "train/finetune.h"

/* What is to be trained, and in how many bytes. */
struct gr_fit_task {
    const struct gr_graph *graph;
    int logits;
    struct gr_shape input; /* of a batch of 1 */
    size_t n_params;
    const int *params;
    struct gr_trainer_options options;      /* batch: as asked for */
    const struct gr_finetune_options *loop; /* accumulate: as asked for */
    size_t n_classes, n_train;
    size_t others;               /* bytes that are needed besides: pictures read ahead */
    size_t limit;                /* of the whole process; 0: none */
    struct gr_fit_split resumed; /* of the checkpoint to go on from; batch 0: none */
};
struct gr_fit_choice {
    struct gr_trainer *trainer;
    int64_t batch, accumulate; /* their product is that of the task, or all examples */
    size_t peak;               /* of the process, as planned */
    char text[300];            /* one line about it */
};
/* The batch as asked for; else with part of the forward pass done twice; else in smaller batches,
   several a step; else LIMIT with both figures. With `resumed` that split or LIMIT, and ARG where
   it makes other steps than those asked for. */
enum graft_status gr_memory_fit(const struct gr_fit_task *task, struct gr_fit_choice *choice,
                                struct graft_error *err);
/* The k-th way of cutting a step of `batch` examples into equal parts: the size of a part, or 0
   where there is none. Of `all` examples at most one part may be smaller. */
int64_t gr_memory_part(int64_t batch, int64_t k, int64_t all);
/* LIMIT when `more` bytes beside what the process uses now are over the limit (0: none). */
enum graft_status gr_memory_check(size_t limit, size_t more, const char *what,
                                  struct graft_error *err);

#endif
