/* Labels and preprocessing <-> the metadata properties of a model file; label lists in files. */
#ifndef GR_FORMATS_META_H
#define GR_FORMATS_META_H

#include "core/model.h"

/* What a finished training adds to the file. NULL: left out. */
struct gr_meta_extra {
    const char *task;      /* NULL: "classify" */
    const char *cut;       /* name of the value at which the source was cut */
    const char *precision; /* in which the network was computed: "fp32", "bf16", "int8" */
    const char *int8;      /* for the latter, the ranges of its values as JSON */
    const char *metrics_json;
    const char *verdict; /* against the naive baselines: "helps", "no difference", "hurts" */
    const char *arch;    /* "ResNet-18" */
    const char *source_name, *source_sha256, *source_licence;
    const char *author, *licence; /* of the new model */
    bool has_seed;
    uint64_t seed;
};

/* Sets graft.* and the properties that other tools read, from model->labels, model->pre (where
   has_pre) and `x`. What the source file's exporter had said of its own labels and preprocessing is
   removed; other properties stay. Strings must be UTF-8. */
enum graft_status gr_meta_write(struct gr_model *model, const struct gr_meta_extra *x,
                                struct graft_error *err);
/* Fills labels, pre and licence from graft.*, else from what Ultralytics, Custom Vision or OpenVINO
   wrote; leaves alone what the properties do not tell. A property that is there but malformed is an
   error that names it; `model` is then partly filled. */
enum graft_status gr_meta_read(struct gr_model *model, struct graft_error *err);

/* A list of labels: one per line (an index before each is dropped where all lines have the right
   one), a JSON array, or a JSON object {"0": "name"}. */
enum graft_status gr_labels_read(const char *path, size_t *n, char ***labels,
                                 struct graft_error *err);
/* The same from text of `size` bytes. */
enum graft_status gr_labels_parse(const char *text, size_t size, size_t *n, char ***labels,
                                  struct graft_error *err);
void gr_labels_free(size_t n, char **labels);

/* ---- between the meta_*.c files ------------------------------------------------------------- */

enum { GR_META_MAX_SIDE = 8192, GR_META_MAX_TEXT = 4 << 20 };
/* Sizes within 1..GR_META_MAX_SIDE, numbers finite, std and scale not 0. */
enum graft_status gr_meta_check_pre(const struct graft_preprocess *p, struct graft_error *err);
/* Moves `labels` in. */
void gr_meta_take_labels(struct gr_model *model, size_t n, char **labels);
enum graft_status gr_meta_set_pre(struct gr_model *model, const struct graft_preprocess *p,
                                  const char *source, struct graft_error *err);
/* Each sets what its exporter's properties tell and nothing where there are none. */
enum graft_status gr_meta_read_ultralytics(struct gr_model *model, struct graft_error *err);
enum graft_status gr_meta_read_custom_vision(struct gr_model *model, struct graft_error *err);
enum graft_status gr_meta_read_openvino(struct gr_model *model, struct graft_error *err);
/* Whether the key belongs to one of these. */
bool gr_meta_is_foreign(const char *key);

#endif
