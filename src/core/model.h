/* A network with what belongs to it: labels, preprocessing, where it came from. */
#ifndef GR_CORE_MODEL_H
#define GR_CORE_MODEL_H

#include "core/graph.h"

struct gr_prop {
    char *key, *value;
};

/* Strings are owned (gr_free). A zeroed struct is an empty model. */
struct gr_model {
    struct gr_graph *graph;
    char *path;
    char *format;   /* "ONNX", "PyTorch zip", ... */
    char *arch;     /* "ResNet-18", or NULL when not known */
    char *pretrain; /* what it was trained on, "ImageNet-1k", or NULL */
    char *licence;  /* or NULL */
    char *producer; /* "pytorch 1.13.0" or NULL */
    int64_t ir_version;
    struct graft_preprocess pre;
    int64_t file_height,
        file_width;   /* of the input in the file where pre has another size, else 0 */
    bool has_pre;     /* pre is known, not merely a guess from the input's shape */
    char *pre_source; /* how it is known: "torchvision ImageNet", "metadata", "guess: ..." */
    size_t n_labels;  /* 0: unknown */
    char **labels;
    size_t n_props; /* metadata_props of an ONNX file, kept and written back */
    struct gr_prop *props;
    char **notes; /* lines for the person: tensors left unused, what was guessed */
    size_t n_notes;
};

static inline int gr_channels_count(enum graft_channels channels)
{
    return channels == GRAFT_GREY ? 1 : channels == GRAFT_RGBA ? 4 : 3;
}

void gr_model_clear(struct gr_model *m);
enum graft_status gr_model_add_note(struct gr_model *m, struct graft_error *err, const char *fmt,
                                    ...) GR_PRINTF(3, 4);
/* Replaces or adds a metadata property; NULL value removes it. */
enum graft_status gr_model_set_prop(struct gr_model *m, const char *key, const char *value,
                                    struct graft_error *err);
const char *gr_model_get_prop(const struct gr_model *m, const char *key); /* NULL: absent */
/* Copies the list. */
enum graft_status gr_model_set_labels(struct gr_model *m, size_t n, const char *const *labels,
                                      struct graft_error *err);

#endif
