/* Files: mapped for reading, written under a temporary name and renamed, folders, paths. */
#ifndef GR_BASE_FILE_H
#define GR_BASE_FILE_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A whole regular file mapped read-only. Never modified under us by graft itself, which replaces
   files by rename. */
struct gr_map {
    const uint8_t *data;
    size_t size;
};
enum graft_status gr_map_open(const char *path, struct gr_map *map, struct graft_error *err);
void gr_map_close(struct gr_map *map);

/* Reads a whole regular file of at most `limit` bytes into *data (free with gr_free), reusing
 *data of capacity *cap when it is big enough. *data and *cap may start as NULL and 0. */
enum graft_status gr_file_read(const char *path, size_t limit, uint8_t **data, size_t *cap,
                               size_t *size, struct graft_error *err);

/* An output that appears under its name only when complete. */
struct gr_outfile {
    FILE *f; /* write here; errors are collected and reported by commit */
    char *path, *tmp;
};
enum graft_status gr_outfile_open(struct gr_outfile *o, const char *path, struct graft_error *err);
/* Flush, and let the disk begin with it: commit then waits less. On failure as commit. */
enum graft_status gr_outfile_push(struct gr_outfile *o, struct graft_error *err);
/* Flush, fsync, rename. On failure the temporary file is removed and the old file kept. */
enum graft_status gr_outfile_commit(struct gr_outfile *o, struct graft_error *err);
/* Removes the temporary file; harmless on one that was committed or never opened (zeroed). */
void gr_outfile_abort(struct gr_outfile *o);
/* All three at once. */
enum graft_status gr_file_write(const char *path, const void *data, size_t size,
                                struct graft_error *err);

/* Creates a folder and its parents; fine when it exists. */
enum graft_status gr_mkdir(const char *path, struct graft_error *err);
bool gr_is_dir(const char *path);
bool gr_is_file(const char *path);
/* "dir/name"; NULL when out of memory. Free with gr_free. */
char *gr_path_join(const char *dir, const char *name);
/* The part after the last '/' (borrowed). */
const char *gr_path_base(const char *path);
/* The part before the last '/', or "."; NULL when out of memory. Free with gr_free. */
char *gr_path_dir(const char *path);

#endif
