/* The pictures of a data set with everything that later steps need of them. */
#ifndef GR_JOB_PICTURES_H
#define GR_JOB_PICTURES_H

#include "data/dataset.h"
#include "data/preprocess.h"
#include "job/job.h"

/* An augmented view of every picture, a pure function of seed, number and place in the list. */
struct gr_pictures_view {
    const struct gr_augment *augment;
    uint64_t seed;
    int64_t number;
};

struct gr_pictures {
    const char *path;                    /* borrowed from whoever opened it */
    const struct gr_pictures_view *view; /* borrowed; NULL: as they are. Use no cache with it */
    struct gr_dataset ds;
    /* By example, as in ds: */
    bool *ok;             /* it could be read */
    char **problem;       /* why not, else NULL */
    float *x;             /* (ds.n, width): the network's vector */
    uint8_t *thumbs;      /* (ds.n, 256): grey pixels */
    struct gr_hash *hash; /* of the file's bytes */
    size_t n_done;        /* how many of the first examples that is known of */
    double seconds;       /* that it took */
    int64_t width, n_computed, n_cached, n_bad;
};

/* What no job can work with: a batch below 1, an unknown precision, no pixels allowed. */
enum graft_status gr_data_options_check(const struct graft_data_options *o,
                                        struct graft_error *err);
/* Reads the list of labelled pictures at `path`, or what o->source gives, into p->ds, splits it and
 * notes what was found. */
enum graft_status gr_pictures_open(const char *path, const struct graft_data_options *o,
                                   const struct graft_events *ev, struct gr_pictures *p,
                                   struct graft_error *err);
/* The same for pictures that need no labels and no splits. */
enum graft_status gr_pictures_open_any(const char *path, const struct graft_data_options *o,
                                       const struct graft_events *ev, struct gr_pictures *p,
                                       struct graft_error *err);
/* With o->stop_on_bad: an error when a listed file is no picture. */
enum graft_status gr_pictures_stop(const struct gr_pictures *p, const struct graft_data_options *o,
                                   struct graft_error *err);
/* Fills the rest: from the cache, or by reading, decoding and running the network. Examples that
   are done already stay as they are. With o->stop_on_bad the first unreadable picture is an error.
 */
enum graft_status gr_pictures_run(struct gr_pictures *p, struct gr_network *net,
                                  const struct graft_data_options *o, const char *topic,
                                  const struct graft_events *ev, struct graft_error *err);
/* The same for the first examples, until a batch is full of readable ones or 4 batches were tried,
   without a look into the cache; `twin`, which must have the same input and width, is run on them
   too. Its vectors are (p->n_done, width), freed with gr_free, on success only. */
enum graft_status gr_pictures_run_first(struct gr_pictures *p, struct gr_network *net,
                                        struct gr_network *twin, float **twin_x,
                                        const struct graft_data_options *o,
                                        const struct graft_events *ev, struct graft_error *err);
/* The same without a network: hashes and thumbnails, which pictures can be read. `pre` decides how
   they are decoded. */
enum graft_status gr_pictures_read(struct gr_pictures *p, const struct graft_preprocess *pre,
                                   const struct graft_data_options *o, const char *topic,
                                   const struct graft_events *ev, struct graft_error *err);
/* The labelled examples whose split is in the mask (1 << GR_SPLIT_TEST), without those known to be
   unreadable, as a data set of their own: nothing is known of them yet, paths and classes are
   borrowed from p. */
enum graft_status gr_pictures_subset(const struct gr_pictures *p, unsigned splits,
                                     struct gr_pictures *subset, struct graft_error *err);
/* The data check, with what reading found (p->hash NULL: nothing was read yet); every finding
   becomes a note or a warning. */
enum graft_status gr_pictures_check(const struct gr_pictures *p, const struct graft_events *ev,
                                    struct gr_findings *findings, struct graft_error *err);
/* The cache that the options name, or NULL: none was wanted or (with a warning) could be had. */
struct gr_cache;
enum graft_status gr_cache_of_options(const struct graft_data_options *o,
                                      const struct graft_events *ev, struct gr_cache **cache,
                                      struct graft_error *err);

/* ---- precision.c ---- */
/* Picture i of p->ds as the network takes it. A zeroed reader serves many. */
struct gr_picture_reader {
    struct gr_preprocessor pp;
    uint8_t *bytes;
    size_t cap;
    float *one;
};
enum graft_status gr_network_picture(const struct gr_network *net, struct gr_picture_reader *r,
                                     const struct gr_pictures *p, size_t i, int64_t max_pixels,
                                     float *x, struct graft_error *err);
void gr_picture_reader_clear(struct gr_picture_reader *r);
/* Mean over n rows of |a - b| / |b|. */
float gr_mean_difference(const float *a, const float *b, size_t n, size_t width);
/* With precision INT8 and no ranges yet: gr_network_calibrate. With precision AUTO and a plan in
   bf16: measures on the first pictures how far it is from fp32, says so, and takes fp32 where that
   is more than 1 %. What they gave stays in p for gr_pictures_run. */
enum graft_status gr_network_settle(struct gr_network *net, const struct gr_model *m,
                                    struct gr_pictures *p, const struct graft_data_options *o,
                                    const struct graft_events *ev, struct graft_error *err);

/* ---- precision_int8.c ---- */
/* Finds the ranges of the network's values on up to 128 pictures, those for training where there
   are such, and plans it anew in int8. A pure function of the pictures and o->seed. */
enum graft_status gr_network_calibrate(struct gr_network *net, const struct gr_model *m,
                                       const struct gr_pictures *p,
                                       const struct graft_data_options *o,
                                       const struct graft_events *ev, struct graft_error *err);
/* Is int8 good enough to learn from? The head's accuracy on held-out pictures for training and
   validation, by cross-validation, with the features in p and with those of the same network in
   fp32; GRAFT_E_GATE when it is more than half a point lower. `how` as for the head itself. */
struct gr_head_options;
enum graft_status gr_int8_check(const struct gr_model *m, const struct gr_network *net,
                                const struct gr_pictures *p, const struct gr_head_options *how,
                                const struct graft_data_options *o, const struct graft_events *ev,
                                struct graft_error *err);

void gr_pictures_clear(struct gr_pictures *p);

#endif
