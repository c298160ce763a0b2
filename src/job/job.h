/* The steps that commands are made of; the only room that may use all others. */
#ifndef GR_JOB_JOB_H
#define GR_JOB_JOB_H

#include "base/hash.h"
#include "core/edit.h"
#include "core/model.h"
#include "exec/ranges.h"

/* ---- open.c: a model from any file ----------------------------------------------------------- */

/* Reads, recognises, adds labels and preprocessing (the file's, the options', or a guess that is
   said in m->pre_source with m->has_pre false). `m` must be zeroed. */
enum graft_status gr_job_open_model(const char *path, const struct graft_load_options *o,
                                    struct gr_model *m, struct graft_error *err);
/* One line: "short side 256, centre crop 224x224, bilinear, RGB, ..." into text; returns text. */
const char *gr_job_print_preprocess(const struct graft_preprocess *p, char *text, size_t size);
/* What reading and fitting found worth saying, under the file's name. */
void gr_job_tell_notes(const struct gr_model *m, const struct graft_events *ev);
/* One complete type per graph input for that batch: the declared one, with the picture size of the
   preprocessing where height and width are free. Free with gr_free. */
enum graft_status gr_job_input_types(const struct gr_model *m, int64_t batch,
                                     struct gr_type **types, struct graft_error *err);

/* ---- scratch.c: networks with random weights ------------------------------------------------- */

/* Replaces what the network has learned by random weights and says so under `topic`. */
struct graft_events;
enum graft_status gr_job_forget(struct gr_model *m, uint64_t seed, const char *topic,
                                const struct graft_events *ev, struct graft_error *err);
/* An architecture by name (zoo/), or that of a model file, with random weights, or with the file's
   own. `m` zeroed. */
enum graft_status gr_job_new_model(const char *arch, const struct graft_load_options *o,
                                   bool keep_weights, uint64_t seed, const struct graft_events *ev,
                                   struct gr_model *m, struct graft_error *err);
/* Graph, preprocessing and names of `m` with random weights. */
enum graft_status gr_job_forgotten_copy(const struct gr_model *m, uint64_t seed, const char *topic,
                                        const struct graft_events *ev, struct gr_model *out,
                                        struct graft_error *err);

/* ---- base.c ---------------------------------------------------------------------------------- */

/* Says that nobody named a source model, so that graft_base_model's at `path` is taken. */
void gr_job_tell_base(const char *path, const struct graft_events *ev);

/* ---- inspect.c ------------------------------------------------------------------------------- */

struct graft_model {
    struct gr_model m;
    struct gr_arena arena; /* what info points to */
    struct graft_model_info info;
    bool inspected;
    bool half;       /* graft_model_save writes float16 */
    bool overridden; /* labels or preprocessing were given at loading */
};
enum graft_status gr_job_inspect(struct graft_model *model, struct graft_error *err);

/* ---- network.c: a model, or its frozen part, ready to run on pictures -------------------------
 */

struct gr_network {
    struct gr_graph *graph; /* owned: pictures in, one vector out */
    struct gr_plan *plan;   /* NULL: gr_network_plan makes it */
    struct gr_shape input;
    struct graft_preprocess pre;
    int64_t batch;
    int64_t width;               /* of the vector */
    const char *name;            /* the model's path, borrowed, for messages */
    char cut[256];               /* names of the values cut at, comma-separated */
    bool channels_last;          /* the graph's input is (N,H,W,C) */
    struct gr_ranges ranges;     /* owned; of a plan in int8 */
    enum gr_precision precision; /* never AUTO */
    bool hashed;
    struct gr_hash graph_hash; /* when `hashed` */
};
/* Plans a network that is not planned yet; what is in the cache already needs no plan. */
enum graft_status gr_network_plan(struct gr_network *net, struct graft_error *err);
/* A plan in int8 takes its ranges from the model's properties. Features of a model without them are
   planned in fp32, for gr_network_settle to find them.

   The features, not planned yet: cut at `cut` (comma-separated names) or, when NULL, where the head
   begins. */
enum graft_status gr_network_features(const struct gr_model *m, const char *cut, int64_t batch,
                                      enum graft_precision precision, struct gr_network *net,
                                      struct graft_error *err);
/* The class scores: output "probabilities" or the last output; whether they are probabilities
   already is found out by looking at the graph's end (*softmax: the caller must apply it). */
enum graft_status gr_network_scores(const struct gr_model *m, int64_t batch,
                                    enum graft_precision precision, struct gr_network *net,
                                    bool *softmax, struct graft_error *err);
/* The part of `g` (pictures in) up to a value, of any shape; net->width counts all its elements. */
enum graft_status gr_network_below(const struct gr_model *m, const struct gr_graph *g, int value,
                                   int64_t batch, enum graft_precision precision,
                                   struct gr_network *net, struct graft_error *err);
/* What is asked for; AUTO: what the model says it was settled on, else what this processor is fast
   at. */
enum gr_precision gr_model_precision(const struct gr_model *m, enum graft_precision asked);
enum graft_precision gr_precision_told(enum gr_precision precision);     /* not of AUTO */
enum graft_precision gr_network_precision(const struct gr_network *net); /* never AUTO */
const char *gr_precision_name(enum graft_precision precision);           /* "fp32" */
/* The same network in int8; takes the ranges over, also on failure. */
enum graft_status gr_network_to_int8(const struct gr_model *m, struct gr_network *net,
                                     struct gr_ranges *ranges, struct graft_error *err);
/* The same network in fp32, not planned yet. */
enum graft_status gr_network_to_fp32(const struct gr_model *m, const struct gr_network *net,
                                     struct gr_network *fp32, struct graft_error *err);
/* Of everything that decides the vector, for the cache. Who will ask again lets the hash of the
   graph be kept. */
enum graft_status gr_network_keep_hash(struct gr_network *net, struct graft_error *err);
enum graft_status gr_network_hash(const struct gr_network *net, struct gr_hash *key,
                                  struct graft_error *err);
void gr_network_clear(struct gr_network *net);

/* ---- ranges.c: ranges as the property graft.int8 of a model -----------------------------------
 */

/* {"value": [low, high], ...}, low 0 or -high; free with gr_free, NULL: no memory. */
char *gr_job_print_ranges(const struct gr_ranges *r);
enum graft_status gr_job_parse_ranges(const char *text, struct gr_ranges *r,
                                      struct graft_error *err);

/* ---- input.c: other planes, another size ------------------------------------------------------
 */

/* Which dimension of an input of rank 4 has the planes: 1 or 3. */
int gr_job_planes_axis(const struct gr_shape *x);
/* Changes the graph where `o` asks for other planes or (with o->preprocess) for another size than
   it has, adds notes, and leaves in m->pre what the new input wants. m->pre must be complete. */
enum graft_status gr_job_fit_input(struct gr_model *m, const struct graft_load_options *o,
                                   struct graft_error *err);
/* Adds both sizes to an error that another size may be the reason of; returns s. */
enum graft_status gr_job_size_error(const struct gr_model *m, enum graft_status s,
                                    struct graft_error *err);
/* Does the whole network take pictures of another size than the file's, where one was asked for? */
enum graft_status gr_job_check_size(const struct gr_model *m, struct graft_error *err);

/* ---- predictor.c ------------------------------------------------------------------------------
 */

#define GR_MAX_PICTURE_FILE ((size_t)1 << 30)
/* The model's labels, or 0, 1, ... as text; the list and its strings are freed with gr_free. ARG
   when their number is not `width`. */
enum graft_status gr_job_labels(const struct gr_model *m, int64_t width, char ***labels, int *n,
                                struct graft_error *err);
/* (C,H,W) to (H,W,C). */
void gr_planes_last(const float *planes, int64_t n_planes, int64_t n_pixels, float *out);

#endif
