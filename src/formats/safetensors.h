/* safetensors: an 8-byte header length, JSON {name: {dtype, shape, data_offsets}}, then the data.
 */
#ifndef GR_FORMATS_SAFETENSORS_H
#define GR_FORMATS_SAFETENSORS_H

#include "core/tensor.h"

/* Tensors are views of the mapped file, in the order of the header. __metadata__ goes into the
   note. `out` is zeroed before the call; on failure it stays empty. */
enum graft_status gr_safetensors_read(const char *path, struct gr_weights *out,
                                      struct graft_error *err);
/* The same from bytes; a reference of `buf` is taken for each view. */
enum graft_status gr_safetensors_read_buffer(struct gr_buffer *buf, struct gr_weights *out,
                                             struct graft_error *err);
/* All shards that a model.safetensors.index.json beside them names. */
enum graft_status gr_safetensors_read_index(const char *path, struct gr_weights *out,
                                            struct graft_error *err);

/* Writes n named tensors and n_meta pairs of strings. The same input gives the same bytes. Wider
   elements come first, so that all data is aligned. */
enum graft_status gr_safetensors_write(const char *path, size_t n, const char *const *names,
                                       const struct gr_tensor *tensors, size_t n_meta,
                                       const char *const *keys, const char *const *values,
                                       struct graft_error *err);

#endif
