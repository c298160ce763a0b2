/* The feature cache: what the frozen part of a network gave for a picture, kept on disk (LMDB)
   under the hash of the computation and the hash of the picture's bytes. Pictures that could not be
   read are kept too, so that they are not tried again.

   Several processes may use one cache at once, reading and writing. In one process open a folder
   once; all functions may be called from any thread. A killed run loses at most the batch that it
   was writing. */
#ifndef GR_DATA_CACHE_H
#define GR_DATA_CACHE_H

#include "base/error.h"
#include "base/hash.h"
#include "data/preprocess.h"
#include "data/sniff.h"

struct gr_cache;

struct gr_cache_key {
    struct gr_hash model;   /* weights, cut, preprocessing, precision */
    struct gr_hash content; /* bytes of the picture file */
};

/* All but the features themselves. */
struct gr_cache_entry {
    enum graft_status status; /* GRAFT_OK, or why the picture is bad */
    char message[256];        /* of a bad picture, else "" */
    int width, height;        /* upright */
    enum gr_format format;
    uint8_t thumb[GR_THUMB_SIZE];
};

/* One addition; features are borrowed, n_features is 0 for a bad picture. */
struct gr_cache_put {
    struct gr_cache_key key;
    const struct gr_cache_entry *entry;
    const float *features;
    size_t n_features;
};

struct gr_cache_stat {
    uint64_t n_entries;
    uint64_t bytes; /* of the file */
};

#define GR_CACHE_MAX_SIZE ((uint64_t)64 << 30)

/* $GRAFT_CACHE, else $XDG_CACHE_HOME/graft, else $HOME/.cache/graft. NULL without a home or memory;
   free with gr_free. */
char *gr_cache_default_path(void);

/* Opens or creates the cache in the folder `path`. `max_size`: the file never grows beyond so many
   bytes (0: GR_CACHE_MAX_SIZE). FORMAT: what lies there is damaged or something else. */
enum graft_status gr_cache_open(const char *path, uint64_t max_size, struct gr_cache **cache,
                                struct graft_error *err);
void gr_cache_close(struct gr_cache *cache); /* NULL is fine */

/* Whether gr_cache_get would find it. A failing cache says no. */
bool gr_cache_has(struct gr_cache *cache, struct gr_cache_key key, size_t n_features);

/* Copies the entry out. *found false: not there (or with another number of features than asked
   for, which a changed program can leave behind). A bad picture leaves `features` alone. */
enum graft_status gr_cache_get(struct gr_cache *cache, struct gr_cache_key key,
                               struct gr_cache_entry *entry, float *features, size_t n_features,
                               bool *found, struct graft_error *err);

/* Adds or replaces all of them or, on failure, none. LIMIT: max_size is reached; IO: disk full. */
enum graft_status gr_cache_put_batch(struct gr_cache *cache, const struct gr_cache_put *puts,
                                     size_t n, struct graft_error *err);

enum graft_status gr_cache_stat(struct gr_cache *cache, struct gr_cache_stat *stat,
                                struct graft_error *err);

#endif
