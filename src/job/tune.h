/* Fine-tuning as a step of training: which part moves, and what comes of it. */
#ifndef GR_JOB_TUNE_H
#define GR_JOB_TUNE_H

#include "data/augment.h"
#include "data/loader.h"
#include "job/pictures.h"
#include "train/finetune.h"
#include "train/head.h"
#include "train/lora.h"

/* ---- tune_part.c: which part of the network moves ---- */

struct gr_moving {
    struct gr_graph *upper; /* what lies above the border, with the head; its only input is it */
    int border;             /* value id, in this and in the whole graph */
    bool from_pictures;     /* the border is the network's input: nothing is frozen below it */
    struct gr_shape border_shape; /* for a batch of 1 */
    int logits;
    int *params, *depth; /* trained constants, from input to output, and their stage */
    bool *fresh;         /* of the new head */
    size_t n_params;
    int64_t n_weights; /* their elements */
    char text[512];    /* one line: what moves, what stays */
};
/* What "frozen", "adapt" or "train" says; -1: none of them. */
int gr_bn_mode_find(const char *word);
/* `whole` is `backbone` (pictures in, features out) with a head after it: the same ids and node
   numbers. `unfreeze` as in graft_finetune_options. */
enum graft_status gr_moving_choose(const struct gr_model *m, const struct gr_graph *backbone,
                                   const struct gr_graph *whole, const char *unfreeze,
                                   enum gr_bn_mode bn, struct gr_moving *out,
                                   struct graft_error *err);
/* The part of `whole` above the border, up to the logits. */
enum graft_status gr_moving_split(const struct gr_graph *whole, const struct gr_moving *m,
                                  struct gr_graph **upper, struct graft_error *err);
void gr_moving_clear(struct gr_moving *p);

/* ---- tune_lora.c: adapters instead of the weights themselves ---- */

/* What was chosen stays frozen; m->upper gets adapters beside its linear and 1x1 layers, and they
   and the head are what moves. ARG where nothing can be adapted. */
enum graft_status gr_moving_adapt(struct gr_moving *m, const struct gr_graph *whole,
                                  const struct graft_finetune_options *o, uint64_t seed,
                                  struct gr_lora *l, struct graft_error *err);
/* What the trainer learned goes into m->upper, and merged into `whole`, which has no adapters.
   COMPUTE unless both give the first examples of `source` the same logits in fp32. */
enum graft_status gr_moving_merge(const struct gr_moving *m, const struct gr_lora *l,
                                  struct gr_trainer *trainer, const struct gr_batch_source *source,
                                  int64_t batch, size_t n_classes, struct gr_graph *whole,
                                  const struct graft_events *ev, struct graft_error *err);
/* adapter_model.safetensors and adapter_config.json in `dir`, as PEFT reads them; with `keep` false
   those of an earlier run are removed. `from`: path of the source model. */
enum graft_status gr_lora_write(const struct gr_lora *l, const struct gr_graph *branched,
                                const char *dir, const char *from, bool keep,
                                struct graft_error *err);

/* ---- tune_data.c ---- */

enum { GR_MAX_VIEWS = 64 };
struct gr_tune_task;
/* Training or validation examples: their border values in memory, or their pictures on disk. */
struct gr_tune_part {
    struct gr_pictures pics; /* a subset; x holds border values unless from pictures */
    int *labels;
    const char **paths;
    struct gr_batch_source source;
    const struct graft_data_options *data;
    const struct graft_events *ev;
    struct gr_augment augment;
    size_t row_size; /* floats of an example */
    float *soft;     /* (n, teacher's classes) */
    /* at the border: */
    int n_views; /* an epoch shows view (epoch + index) mod n_views of an example */
    float *more_views[GR_MAX_VIEWS - 1];
    /* from pictures: */
    const struct graft_preprocess *pre;
    bool augmented;
    int64_t last_planes; /* > 0: the network wants so many planes last, (H,W,C) */
    struct gr_loader *loader;
    int depth; /* pictures read ahead */
    const char **epoch_paths;
    struct gr_view *views;
};
/* Without a val part the fraction --val of each class, by the seed, becomes one. */
enum graft_status gr_tune_list_parts(const struct gr_tune_task *task, struct gr_tune_part *train,
                                     struct gr_tune_part *val, struct graft_error *err);
/* Runs what is frozen (`below`), or gets ready to read pictures. */
enum graft_status gr_tune_open_part(const struct gr_tune_task *task, const struct gr_moving *moving,
                                    struct gr_network *below, bool train, struct gr_tune_part *p,
                                    struct graft_error *err);
void gr_tune_part_clear(struct gr_tune_part *p);

/* ---- teacher.c ---- */

/* Probabilities of another network's classes, for distillation. */
struct gr_teacher {
    struct gr_pictures pics; /* the training pictures; x (n, classes) */
    size_t n;                /* classes */
    struct gr_hash key;      /* of the network */
};
enum graft_status gr_teacher_ask(const char *path, const struct gr_pictures *all,
                                 const struct graft_data_options *o, const struct graft_events *ev,
                                 struct gr_teacher *t, struct graft_error *err);
void gr_teacher_clear(struct gr_teacher *t);

/* ---- tune.c ---- */

struct gr_tune_task {
    const struct graft_train_options *o;
    const struct graft_finetune_options *how;
    const char *topic; /* of notes: "fine-tune" */
    const struct graft_events *ev;
    const struct gr_model *model;
    const struct gr_network *net;   /* pictures to features */
    const struct gr_pictures *pics; /* with features and splits */
    /* How the head is fitted, its strength already chosen; NULL: a random one, features are not
       looked at. */
    const struct gr_head_options *head;
    /* With a random head: further outputs learn what a teacher says, and are dropped in the end. */
    const struct gr_teacher *teacher; /* NULL: none */
    double teacher_weight;
    enum gr_precision precision; /* of the part that moves */
    bool want_losses;            /* fill gr_tuned.val_losses */
    const char *dir;             /* for the checkpoint and history.jsonl */
};
struct gr_tuned {
    struct gr_graph *graph; /* whole network with the weights that were best on validation */
    struct gr_finetune_report report;
    size_t n_train, n_val;
    double *val_losses; /* (n_val) cross-entropy of each validation picture; NULL: not wanted */
    char text[512];     /* what moved */
};
/* Whether any setting but unfreeze is another than the default. */
bool gr_tune_differs(const struct graft_finetune_options *o);
/* Everything that can be wrong with the options, before any work. */
enum graft_status gr_tune_check(const struct graft_finetune_options *o, struct graft_error *err);
/* The checkpoint stays: with `resume` the same call then returns at once. */
enum graft_status gr_tune(const struct gr_tune_task *t, struct gr_tuned *out,
                          struct graft_error *err);
/* Removes the checkpoints in the folder of a task, those of gr_tune_depth too. */
void gr_tune_forget(const char *dir);
void gr_tuned_clear(struct gr_tuned *t);

/* ---- tune_depth.c ---- */

/* --unfreeze auto: gr_tune with 1, 2, ... stages for as long as another one lowers the validation
   loss by more than the standard error of the paired difference, with no fewer right; *out is the
   last that did. Says what it saw. */
enum graft_status gr_tune_depth(const struct gr_tune_task *t, struct gr_tuned *out,
                                struct graft_error *err);

#endif
