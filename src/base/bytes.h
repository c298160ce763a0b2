/* Reading hostile bytes with a cursor that fails once and stays failed; growing byte buffers. */
#ifndef GR_BASE_BYTES_H
#define GR_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- a cursor over bytes that it borrows ---- */
struct gr_reader {
    const uint8_t *start, *p, *end;
    bool failed; /* set by the first read past the end; all later reads give 0 or NULL */
};

void gr_reader_init(struct gr_reader *r, const void *data, size_t size);
static inline size_t gr_reader_left(const struct gr_reader *r)
{
    return (size_t)(r->end - r->p);
}
static inline size_t gr_reader_pos(const struct gr_reader *r)
{
    return (size_t)(r->p - r->start);
}
uint8_t gr_read_u8(struct gr_reader *r);
uint16_t gr_read_u16le(struct gr_reader *r);
uint32_t gr_read_u32le(struct gr_reader *r);
uint64_t gr_read_u64le(struct gr_reader *r);
uint16_t gr_read_u16be(struct gr_reader *r);
uint32_t gr_read_u32be(struct gr_reader *r);
uint64_t gr_read_u64be(struct gr_reader *r);
/* The next n bytes, borrowed; NULL and failed when fewer are left. */
const uint8_t *gr_read_bytes(struct gr_reader *r, size_t n);
/* The bytes up to (without) the next '\n', which is skipped; NULL and failed when there is none. */
const uint8_t *gr_read_line(struct gr_reader *r, size_t *n);

/* ---- a buffer that grows up to `limit` ---- */
struct gr_buf {
    uint8_t *data;
    size_t size, cap, limit; /* limit 0: none */
    bool failed;             /* out of memory or over the limit; later appends do nothing */
};

void gr_buf_init(struct gr_buf *b, size_t limit);
void gr_buf_clear(struct gr_buf *b);
void gr_buf_append(struct gr_buf *b, const void *data, size_t size);
void gr_buf_puts(struct gr_buf *b, const char *s);
void gr_buf_printf(struct gr_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Ends the text with a NUL (not counted in size) and gives it away; NULL when the buffer failed.
   The buffer is empty afterwards; free the text with gr_free. */
char *gr_buf_take(struct gr_buf *b);

#endif
