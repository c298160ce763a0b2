/* Hashes: xxHash for cache keys, SHA-256 for provenance. */
#ifndef GR_BASE_HASH_H
#define GR_BASE_HASH_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct gr_hash {
    uint64_t lo, hi; /* 128 bits of XXH3 */
};

/* Streaming: any number of parts, then finish. One state per thread; free with gr_hasher_free. */
struct gr_hasher;
struct gr_hasher *gr_hasher_new(void); /* NULL when out of memory */
void gr_hasher_free(struct gr_hasher *h);
void gr_hasher_add(struct gr_hasher *h, const void *data, size_t size);
void gr_hasher_add_str(struct gr_hasher *h,
                       const char *s); /* with its NUL, so "ab","c" != "a","bc" */
void gr_hasher_add_i64(struct gr_hasher *h, int64_t v);
struct gr_hash gr_hasher_get(const struct gr_hasher *h);

struct gr_hash gr_hash_bytes(const void *data, size_t size);

#define GR_SHA256_HEX 65
/* Lower-case hex with a closing NUL. */
void gr_sha256_bytes(const void *data, size_t size, char hex[GR_SHA256_HEX]);
enum graft_status gr_sha256_file(const char *path, char hex[GR_SHA256_HEX],
                                 struct graft_error *err);

#endif
