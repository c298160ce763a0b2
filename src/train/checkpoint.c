/* How is a training run kept, so that it can go on after anything? */
#include "train/checkpoint.h"
#include "base/bytes.h"
#include "base/file.h"
#include <assert.h>
#include <string.h>

/* magic, byte order, version, number of blocks, key;
   for each block: name, size, bytes;
   XXH3-128 of all before it. */
static const char magic[8] = "GRFTCKPT";
#define BYTE_ORDER_MARK 0x01020304u
#define VERSION         2u

struct head {
    char magic[8];
    uint32_t order, version;
    uint64_t n_blocks;
    struct gr_hash key;
};

struct entry {
    char name[GR_CHECKPOINT_NAME];
    uint64_t size;
};

static void put(struct gr_outfile *o, struct gr_hasher *h, const void *data, size_t size)
{
    gr_hasher_add(h, data, size);
    if (size)
        fwrite(data, 1, size, o->f); /* a failure stays in the stream until commit */
}

enum graft_status gr_checkpoint_write(const char *path, struct gr_hash key,
                                      const struct gr_checkpoint_block *blocks, size_t n,
                                      struct graft_error *err)
{
    struct gr_outfile o = {0};
    struct head head = {.order = BYTE_ORDER_MARK, .version = VERSION, .n_blocks = n, .key = key};
    struct gr_hasher *h = gr_hasher_new();
    if (!h)
        return gr_error_nomem(err);
    memcpy(head.magic, magic, sizeof magic);
    enum graft_status s = gr_outfile_open(&o, path, err);
    if (s)
        goto out;
    put(&o, h, &head, sizeof head);
    for (size_t i = 0; i < n; i++) {
        struct entry e = {.size = blocks[i].size};
        assert(strlen(blocks[i].name) < sizeof e.name);
        memcpy(e.name, blocks[i].name, strlen(blocks[i].name));
        put(&o, h, &e, sizeof e);
        put(&o, h, blocks[i].data, blocks[i].size);
    }
    struct gr_hash sum = gr_hasher_get(h);
    fwrite(&sum, sizeof sum, 1, o.f);
    s = gr_outfile_commit(&o, err);
out:
    gr_outfile_abort(&o);
    gr_hasher_free(h);
    return s;
}

static enum graft_status check_head(const struct head *head, struct graft_error *err)
{
    if (head->order != BYTE_ORDER_MARK || head->version != VERSION)
        return gr_error(err, GRAFT_E_ARG, "checkpoint of version %u, byte order %x; this is %u, %x",
                        head->version, head->order, VERSION, BYTE_ORDER_MARK);
    return GRAFT_OK;
}

static enum graft_status read_all(const struct gr_map *map, struct gr_hash key,
                                  const struct gr_checkpoint_block *blocks, size_t n, bool copy,
                                  struct graft_error *err)
{
    struct gr_reader r;
    struct head head = {0};
    gr_reader_init(&r, map->data, map->size - sizeof(struct gr_hash));
    memcpy(&head, gr_read_bytes(&r, sizeof head), sizeof head);
    enum graft_status s = check_head(&head, err);
    if (s)
        return s;
    if (head.key.lo != key.lo || head.key.hi != key.hi)
        return gr_error(err, GRAFT_E_ARG,
                        "checkpoint of a run with other options, data or network");
    if (head.n_blocks != n)
        return gr_error(err, GRAFT_E_ARG, "checkpoint of %llu blocks, expected %zu",
                        (unsigned long long)head.n_blocks, n);
    for (size_t i = 0; i < n; i++) {
        struct entry e, want = {.size = blocks[i].size};
        memcpy(want.name, blocks[i].name, strlen(blocks[i].name));
        const uint8_t *p = gr_read_bytes(&r, sizeof e);
        if (!p)
            return gr_error(err, GRAFT_E_FORMAT, "checkpoint ends before block %zu of %zu", i, n);
        memcpy(&e, p, sizeof e);
        if (memcmp(&e, &want, sizeof e) || e.size > gr_reader_left(&r))
            return gr_error(err, GRAFT_E_ARG,
                            "checkpoint block %zu is '%.*s' of %llu bytes, expected '%s' of %zu", i,
                            GR_CHECKPOINT_NAME, e.name, (unsigned long long)e.size, blocks[i].name,
                            blocks[i].size);
        p = gr_read_bytes(&r, blocks[i].size);
        if (copy && blocks[i].size)
            memcpy(blocks[i].data, p, blocks[i].size);
    }
    if (gr_reader_left(&r))
        return gr_error(err, GRAFT_E_FORMAT, "checkpoint has %zu bytes after its last block",
                        gr_reader_left(&r));
    return GRAFT_OK;
}

static enum graft_status read_one(const struct gr_map *map, const struct gr_checkpoint_block *block,
                                  struct graft_error *err)
{
    struct gr_reader r;
    struct head head = {0};
    struct entry e, want = {.size = block->size};
    gr_reader_init(&r, map->data, map->size - sizeof(struct gr_hash));
    memcpy(&head, gr_read_bytes(&r, sizeof head), sizeof head);
    memcpy(want.name, block->name, strlen(block->name));
    enum graft_status s = check_head(&head, err);
    for (uint64_t i = 0; !s && i < head.n_blocks; i++) {
        const uint8_t *p = gr_read_bytes(&r, sizeof e);
        if (!p)
            return gr_error(err, GRAFT_E_FORMAT, "checkpoint ends before block %llu of %llu",
                            (unsigned long long)i, (unsigned long long)head.n_blocks);
        memcpy(&e, p, sizeof e);
        p = e.size <= gr_reader_left(&r) ? gr_read_bytes(&r, (size_t)e.size) : NULL;
        if (!p)
            return gr_error(err, GRAFT_E_FORMAT,
                            "checkpoint block %llu has %llu bytes, left are %zu",
                            (unsigned long long)i, (unsigned long long)e.size, gr_reader_left(&r));
        if (!memcmp(&e, &want, sizeof e)) {
            memcpy(block->data, p, block->size);
            return GRAFT_OK;
        }
    }
    return s ? s
             : gr_error(err, GRAFT_E_ARG, "checkpoint has no block '%s' of %zu bytes", block->name,
                        block->size);
}

/* The whole file, once it is known to be as it was written. */
static enum graft_status open_whole(const char *path, struct gr_map *map, struct graft_error *err)
{
    struct gr_hash sum, found;
    enum graft_status s = gr_map_open(path, map, err);
    if (s)
        return s;
    if (map->size < sizeof(struct head) + sizeof sum || memcmp(map->data, magic, sizeof magic))
        return gr_error(err, GRAFT_E_FORMAT, "%s: not a checkpoint (%zu bytes)", path, map->size);
    memcpy(&found, map->data + map->size - sizeof found, sizeof found);
    sum = gr_hash_bytes(map->data, map->size - sizeof sum);
    if (sum.lo != found.lo || sum.hi != found.hi)
        return gr_error(err, GRAFT_E_FORMAT,
                        "%s: checkpoint is damaged: checksum %016llx, expected %016llx", path,
                        (unsigned long long)sum.lo, (unsigned long long)found.lo);
    return GRAFT_OK;
}

enum graft_status gr_checkpoint_read(const char *path, struct gr_hash key,
                                     const struct gr_checkpoint_block *blocks, size_t n,
                                     struct graft_error *err)
{
    struct gr_map map = {0};
    enum graft_status s = open_whole(path, &map, err);
    if (!s) {
        s = read_all(&map, key, blocks, n, false, err);
        if (!s)
            s = read_all(&map, key, blocks, n, true, err);
        if (s)
            s = gr_error_in(err, s, "%s", path);
    }
    gr_map_close(&map);
    return s;
}

enum graft_status gr_checkpoint_peek(const char *path, const struct gr_checkpoint_block *block,
                                     struct graft_error *err)
{
    struct gr_map map = {0};
    enum graft_status s = open_whole(path, &map, err);
    if (!s) {
        s = read_one(&map, block, err);
        if (s)
            s = gr_error_in(err, s, "%s", path);
    }
    gr_map_close(&map);
    return s;
}
