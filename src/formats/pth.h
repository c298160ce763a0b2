/* Weights saved by PyTorch's torch.save: the zip archive and the older stream. */
#ifndef GR_FORMATS_PTH_H
#define GR_FORMATS_PTH_H

#include "core/tensor.h"

/* Reads the state dict, or the parameters and buffers of a whole pickled module, out of `path`.
   Tensors are views of the mapped file, except those that are not dense or were compressed.
   `out` is zeroed before the call; on failure it stays empty. */
enum graft_status gr_pth_read(const char *path, struct gr_weights *out, struct graft_error *err);
/* The same from bytes; a reference of `buf` is taken for each view. */
enum graft_status gr_pth_read_buffer(struct gr_buffer *buf, struct gr_weights *out,
                                     struct graft_error *err);

/* What the pickle of a file would import if it were run (it never is): "module.name" each. */
struct gr_pth_globals {
    size_t n;
    struct gr_pth_global {
        char *name;
        bool known; /* only rebuilds tensors and plain containers */
    } * items;
};
enum graft_status gr_pth_list_globals(const char *path, struct gr_pth_globals *out,
                                      struct graft_error *err);
void gr_pth_globals_clear(struct gr_pth_globals *g);

/* `data` starts like the old stream: its magic number, pickled. */
bool gr_pth_is_stream(const void *data, size_t size);

#endif
