/* What identifies bytes? */
#include "base/hash.h"
#include "base/file.h"
#include "base/mem.h"
#include <openssl/sha.h>
#include <string.h>
#include <xxhash.h>

struct gr_hasher {
    XXH3_state_t *state;
};

struct gr_hasher *gr_hasher_new(void)
{
    struct gr_hasher *h = gr_alloc(sizeof *h);
    if (!h)
        return NULL;
    h->state = XXH3_createState();
    if (!h->state) {
        gr_free(h);
        return NULL;
    }
    XXH3_128bits_reset(h->state);
    return h;
}

void gr_hasher_free(struct gr_hasher *h)
{
    if (h) {
        XXH3_freeState(h->state);
        gr_free(h);
    }
}

void gr_hasher_add(struct gr_hasher *h, const void *data, size_t size)
{
    if (size)
        XXH3_128bits_update(h->state, data, size);
}

void gr_hasher_add_str(struct gr_hasher *h, const char *s)
{
    gr_hasher_add(h, s, strlen(s) + 1);
}

void gr_hasher_add_i64(struct gr_hasher *h, int64_t v)
{
    gr_hasher_add(h, &v, sizeof v);
}

struct gr_hash gr_hasher_get(const struct gr_hasher *h)
{
    XXH128_hash_t x = XXH3_128bits_digest(h->state);
    return (struct gr_hash){x.low64, x.high64};
}

struct gr_hash gr_hash_bytes(const void *data, size_t size)
{
    XXH128_hash_t x = XXH3_128bits(data, size);
    return (struct gr_hash){x.low64, x.high64};
}

void gr_sha256_bytes(const void *data, size_t size, char hex[GR_SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char md[SHA256_DIGEST_LENGTH];
    SHA256(data, size, md);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        hex[2 * i] = digits[md[i] >> 4];
        hex[2 * i + 1] = digits[md[i] & 15];
    }
    hex[2 * SHA256_DIGEST_LENGTH] = 0;
}

enum graft_status gr_sha256_file(const char *path, char hex[GR_SHA256_HEX], struct graft_error *err)
{
    struct gr_map map;
    enum graft_status s = gr_map_open(path, &map, err);
    if (!s) {
        gr_sha256_bytes(map.data, map.size, hex);
        gr_map_close(&map);
    }
    return s;
}
