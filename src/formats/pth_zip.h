/* The directory of a zip archive in memory, as torch.save writes them: stored entries are found in
   place, deflated ones are inflated within a bound. */
#ifndef GR_FORMATS_PTH_ZIP_H
#define GR_FORMATS_PTH_ZIP_H

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"

struct gr_zip {
    const uint8_t *data; /* borrowed */
    size_t size;
    struct gr_arena arena;
    struct gr_zip_entry {
        const char *name;
        bool deflated;
        size_t header;       /* where its local header is */
        size_t packed, size; /* bytes in the file, bytes of content; equal when not deflated */
        uint32_t crc;        /* of the content */
    } * entries;
    size_t n, cap;
    struct gr_names ids; /* name -> number */
};

/* On failure *z is empty. Duplicate names are refused. */
enum graft_status gr_zip_open(struct gr_zip *z, const void *data, size_t size,
                              struct graft_error *err);
void gr_zip_close(struct gr_zip *z);
/* Where the bytes of an entry begin; they lie inside of the file. No checksum is made: torch can
   be told to write none, and reading all of a mapped file is what the mapping avoids. */
enum graft_status gr_zip_locate(const struct gr_zip *z, size_t i, size_t *offset,
                                struct graft_error *err);
/* The content of a deflated entry (free with gr_free); its checksum is compared. */
enum graft_status gr_zip_inflate(const struct gr_zip *z, size_t i, uint8_t **data,
                                 struct graft_error *err);

#endif
