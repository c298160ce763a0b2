/* The JSON files that Hugging Face and timm keep beside weights: architecture, labels and how
   pictures are prepared. */
#ifndef GR_FORMATS_WEIGHTS_CONFIG_H
#define GR_FORMATS_WEIGHTS_CONFIG_H

#include "base/error.h"
#include <stdbool.h>

/* A zeroed struct is empty; strings are NULL where the files do not tell. */
struct gr_hf_config {
    char *arch;       /* timm's "architecture" ("resnet18.a1_in1k" is cut at the dot), or Hugging
                         Face's "model_type" ("resnet") */
    bool is_timm;     /* names of tensors are timm's */
    char *classifier; /* the head's module, as timm names it ("fc") */
    char *licence;
    struct graft_preprocess pre;
    bool has_pre;
    char *pre_source; /* the file that pre is from, and what of it is only approximate */
    size_t n_labels;
    char **labels;
};

/* Reads config.json and preprocessor_config.json of a folder, whichever are there; without them
 *c is empty, which is no error. On failure *c is empty too. */
enum graft_status gr_hf_config_read(const char *folder, struct gr_hf_config *c,
                                    struct graft_error *err);
void gr_hf_config_clear(struct gr_hf_config *c);

#endif
