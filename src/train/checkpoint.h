/* Checkpoints: named blocks of memory in one file that is whole or not there, for the machine that
   wrote it. */
#ifndef GR_TRAIN_CHECKPOINT_H
#define GR_TRAIN_CHECKPOINT_H

#include "base/hash.h"
#include <stddef.h>

enum { GR_CHECKPOINT_NAME = 16 };

struct gr_checkpoint_block {
    const char *name; /* shorter than GR_CHECKPOINT_NAME */
    void *data;       /* NULL only with size 0 */
    size_t size;
};

/* `key`: hash of everything that must be the same to go on (options, data, network). Replaces the
   file at once or not at all. */
enum graft_status gr_checkpoint_write(const char *path, struct gr_hash key,
                                      const struct gr_checkpoint_block *blocks, size_t n,
                                      struct graft_error *err);
/* Fills the blocks, which must be those of the file: same names, sizes and order. FORMAT: damaged,
   or no checkpoint; ARG: a good one, of another key, version or other blocks. On failure the blocks
   are as they were. */
enum graft_status gr_checkpoint_read(const char *path, struct gr_hash key,
                                     const struct gr_checkpoint_block *blocks, size_t n,
                                     struct graft_error *err);

/* Fills one block of a checkpoint, whatever its key: what must be known before a run can go on.
   Fails as gr_checkpoint_read does. */
enum graft_status gr_checkpoint_peek(const char *path, const struct gr_checkpoint_block *block,
                                     struct graft_error *err);

#endif
