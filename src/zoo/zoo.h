/* Architectures for files that hold weights only: which network do these tensor names and shapes
   belong to, and what is its graph? */
#ifndef GR_ZOO_ZOO_H
#define GR_ZOO_ZOO_H

#include "core/model.h"

/* Recognises the weights by names and shapes alone and fills a zeroed model: graph (operator set
   17, input "input" (-1,3,H,W), output "logits" (-1,classes), or "features", the last feature map,
   where the file has no head), arch, pretrain, pre, labels where they are certain, notes. Tensors
   are referenced, not copied, unless they are float16, bfloat16 or float64. On failure *model is
   untouched and the message names the nearest architecture and the first tensor that did not fit.
 */
enum graft_status gr_zoo_build(const struct gr_weights *w, struct gr_model *model,
                               struct graft_error *err);

/* The other way round: an architecture by name ("resnet20", "mobilenet_v2_0.35"), its weights all
   zero (see train/init.h), for so many classes. ARG with the known names when there is none. */
enum graft_status gr_zoo_new(const char *name, int64_t classes, struct gr_model *model,
                             struct graft_error *err);
/* The known names, NULL after the last. */
const char *gr_zoo_name(size_t i);

#endif
