/* Pictures that the calling program gives itself (struct graft_source), as a data set. To
   everything else they are files: bytes under a name. Pixels get the header of a BMP. */
#ifndef GR_DATA_SOURCE_H
#define GR_DATA_SOURCE_H

#include "data/dataset.h"
#include "graft.h"

/* Fills *ds (to be cleared with gr_dataset_clear) as gr_dataset_open does; `from` must outlive it.
   ARG when two examples have one name or one has no bytes, or both pixels and a size. */
enum graft_status gr_source_open(const struct graft_source *from, struct gr_dataset *ds,
                                 struct graft_error *err);

/* The bytes under a name: as gr_file_read, from the program where `source` is not NULL. */
enum graft_status gr_source_read(const struct gr_source *source, const char *name, size_t limit,
                                 uint8_t **data, size_t *cap, size_t *size,
                                 struct graft_error *err);

#endif
