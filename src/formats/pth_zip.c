/* Where are the entries of a zip archive? */
#include "formats/pth_zip.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "formats/weights.h"
#include <limits.h>
#include <string.h>
#include <zlib.h>

#define SIG_LOCAL   0x04034b50u
#define SIG_ENTRY   0x02014b50u
#define SIG_END     0x06054b50u
#define SIG_END64   0x06064b50u
#define SIG_LOCATOR 0x07064b50u

enum { END_SIZE = 22, LOCATOR_SIZE = 20, END64_SIZE = 56, LOCAL_SIZE = 30 };

struct directory {
    uint64_t n, size, offset;
};

/* The end record is the last thing in the file, but for a comment of at most 65535 bytes. */
static enum graft_status find_directory(const uint8_t *data, size_t size, struct directory *d,
                                        struct graft_error *err)
{
    struct gr_reader r;
    size_t at = size < END_SIZE ? 0 : size - END_SIZE + 1, last = at > 65536 ? at - 65536 : 0;
    while (at > last) {
        at--;
        gr_reader_init(&r, data + at, size - at);
        if (gr_read_u32le(&r) != SIG_END ||
            (gr_read_bytes(&r, 16), gr_read_u16le(&r)) != gr_reader_left(&r))
            continue;
        gr_reader_init(&r, data + at + 10, END_SIZE - 10);
        d->n = gr_read_u16le(&r);
        d->size = gr_read_u32le(&r);
        d->offset = gr_read_u32le(&r);
        if (at < LOCATOR_SIZE)
            return GRAFT_OK;
        gr_reader_init(&r, data + at - LOCATOR_SIZE, LOCATOR_SIZE);
        if (gr_read_u32le(&r) != SIG_LOCATOR)
            return GRAFT_OK;
        gr_read_u32le(&r);
        uint64_t end64 = gr_read_u64le(&r);
        if (end64 > at || at - end64 < END64_SIZE)
            return gr_error(err, GRAFT_E_FORMAT, "zip: zip64 record at %llu, file has %zu bytes",
                            (unsigned long long)end64, size);
        gr_reader_init(&r, data + end64, END64_SIZE);
        if (gr_read_u32le(&r) != SIG_END64)
            return gr_error(err, GRAFT_E_FORMAT, "zip: no zip64 record at %llu",
                            (unsigned long long)end64);
        gr_read_bytes(&r, 28);
        d->n = gr_read_u64le(&r);
        d->size = gr_read_u64le(&r);
        d->offset = gr_read_u64le(&r);
        return GRAFT_OK;
    }
    return gr_error(err, GRAFT_E_FORMAT,
                    "zip: no directory at the end of %zu bytes (is the file truncated?)", size);
}

/* The 64-bit numbers that did not fit, in the order of the fields that hold all ones. */
static void read_zip64(const uint8_t *extra, size_t n, uint64_t *size, uint64_t *packed,
                       uint64_t *header)
{
    struct gr_reader r;
    gr_reader_init(&r, extra, n);
    while (gr_reader_left(&r) >= 4) {
        uint16_t id = gr_read_u16le(&r), len = gr_read_u16le(&r);
        const uint8_t *p = gr_read_bytes(&r, len);
        if (!p)
            return;
        if (id != 1)
            continue;
        gr_reader_init(&r, p, len);
        if (*size == UINT32_MAX)
            *size = gr_read_u64le(&r);
        if (*packed == UINT32_MAX)
            *packed = gr_read_u64le(&r);
        if (*header == UINT32_MAX)
            *header = gr_read_u64le(&r);
        return;
    }
}

static enum graft_status read_entry(struct gr_zip *z, struct gr_reader *r, struct graft_error *err)
{
    if (gr_read_u32le(r) != SIG_ENTRY)
        return gr_error(err, GRAFT_E_FORMAT, "zip: directory entry %zu is damaged", z->n);
    gr_read_bytes(r, 4);
    uint16_t flags = gr_read_u16le(r), method = gr_read_u16le(r);
    gr_read_bytes(r, 4);
    uint32_t crc = gr_read_u32le(r);
    uint64_t packed = gr_read_u32le(r), size = gr_read_u32le(r);
    uint16_t n_name = gr_read_u16le(r), n_extra = gr_read_u16le(r), n_comment = gr_read_u16le(r);
    gr_read_bytes(r, 8);
    uint64_t header = gr_read_u32le(r);
    const uint8_t *name = gr_read_bytes(r, n_name), *extra = gr_read_bytes(r, n_extra);
    gr_read_bytes(r, n_comment);
    if (r->failed)
        return gr_error(err, GRAFT_E_FORMAT, "zip: directory entry %zu is damaged", z->n);
    if (!gr_weights_name_ok((const char *)name, n_name))
        return gr_error(err, GRAFT_E_FORMAT, "zip: entry %zu has no printable name", z->n);
    read_zip64(extra, n_extra, &size, &packed, &header);
    char *copy = gr_arena_strndup(&z->arena, (const char *)name, n_name);
    if (!copy || !GR_GROW(z->entries, z->n, z->cap))
        return gr_error_nomem(err);
    if (flags & 1)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "zip: '%s' is encrypted", copy);
    if (method != 0 && method != 8)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "zip: '%s' is compressed by method %u, 0 and 8 are read", copy, method);
    if (packed > z->size || header > z->size || (method == 0 && packed != size) || size > INT64_MAX)
        return gr_error(err, GRAFT_E_FORMAT,
                        "zip: '%s' has %llu bytes of %llu at %llu, the file has %zu", copy,
                        (unsigned long long)packed, (unsigned long long)size,
                        (unsigned long long)header, z->size);
    if (gr_names_find(&z->ids, copy) >= 0)
        return gr_error(err, GRAFT_E_FORMAT, "zip: '%s' is there twice", copy);
    if (!gr_names_set(&z->ids, copy, (int64_t)z->n))
        return gr_error_nomem(err);
    z->entries[z->n++] =
        (struct gr_zip_entry){copy, method == 8, (size_t)header, (size_t)packed, (size_t)size, crc};
    return GRAFT_OK;
}

enum graft_status gr_zip_open(struct gr_zip *z, const void *data, size_t size,
                              struct graft_error *err)
{
    struct directory d = {0};
    struct gr_reader r;
    memset(z, 0, sizeof *z);
    z->data = data;
    z->size = size;
    enum graft_status s = find_directory(data, size, &d, err);
    if (!s && (d.offset > size || d.size > size - d.offset))
        s = gr_error(err, GRAFT_E_FORMAT, "zip: directory of %llu bytes at %llu, file has %zu",
                     (unsigned long long)d.size, (unsigned long long)d.offset, size);
    if (!s) {
        gr_reader_init(&r, z->data + d.offset, (size_t)d.size);
        for (uint64_t i = 0; i < d.n && !s; i++)
            s = read_entry(z, &r, err); /* ends with the bytes, whatever d.n says */
    }
    if (s)
        gr_zip_close(z);
    return s;
}

void gr_zip_close(struct gr_zip *z)
{
    gr_names_clear(&z->ids);
    gr_arena_clear(&z->arena);
    gr_free(z->entries);
    memset(z, 0, sizeof *z);
}

enum graft_status gr_zip_locate(const struct gr_zip *z, size_t i, size_t *offset,
                                struct graft_error *err)
{
    const struct gr_zip_entry *e = &z->entries[i];
    struct gr_reader r;
    gr_reader_init(&r, z->data + e->header, z->size - e->header);
    bool ok = gr_read_u32le(&r) == SIG_LOCAL;
    gr_read_bytes(&r, LOCAL_SIZE - 8);
    size_t n_name = gr_read_u16le(&r), n_extra = gr_read_u16le(&r);
    gr_read_bytes(&r, n_name);
    gr_read_bytes(&r, n_extra);
    if (!ok || r.failed || e->packed > gr_reader_left(&r))
        return gr_error(err, GRAFT_E_FORMAT,
                        "zip: '%s' needs %zu bytes behind its header at %zu, the file has %zu",
                        e->name, e->packed, e->header, z->size);
    *offset = e->header + gr_reader_pos(&r);
    return GRAFT_OK;
}

enum graft_status gr_zip_inflate(const struct gr_zip *z, size_t i, uint8_t **data,
                                 struct graft_error *err)
{
    const struct gr_zip_entry *e = &z->entries[i];
    size_t offset;
    enum graft_status s = gr_zip_locate(z, i, &offset, err);
    if (s)
        return s;
    /* deflate packs at most 1032:1, so a larger claim is a lie and is not allocated */
    if (e->size / 1032 > e->packed || e->packed > UINT_MAX || e->size > UINT_MAX)
        return gr_error(err, GRAFT_E_LIMIT, "zip: '%s' unpacks %zu bytes to %zu", e->name,
                        e->packed, e->size);
    uint8_t *out = gr_alloc(e->size);
    z_stream zs = {.next_in = (Bytef *)(uintptr_t)(z->data + offset),
                   .avail_in = (uInt)e->packed,
                   .next_out = out,
                   .avail_out = (uInt)e->size};
    if (!out || inflateInit2(&zs, -MAX_WBITS) != Z_OK) {
        gr_free(out);
        return gr_error_nomem(err);
    }
    int rc = inflate(&zs, Z_FINISH);
    if (rc != Z_STREAM_END || zs.total_out != e->size || crc32(0, out, (uInt)e->size) != e->crc)
        s = gr_error(err, GRAFT_E_FORMAT, "zip: '%s' is damaged: %lu bytes unpacked, %zu expected",
                     e->name, zs.total_out, e->size);
    inflateEnd(&zs);
    if (s)
        gr_free(out);
    else
        *data = out;
    return s;
}
