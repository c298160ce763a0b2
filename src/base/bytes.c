/* How are bytes from outside read, and bytes of our own gathered? */
#include "base/bytes.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void gr_reader_init(struct gr_reader *r, const void *data, size_t size)
{
    r->start = r->p = data;
    r->end = r->start + size;
    r->failed = false;
}

const uint8_t *gr_read_bytes(struct gr_reader *r, size_t n)
{
    if (r->failed || n > gr_reader_left(r)) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

static uint64_t read_le(struct gr_reader *r, size_t n)
{
    const uint8_t *p = gr_read_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t read_be(struct gr_reader *r, size_t n)
{
    const uint8_t *p = gr_read_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v = v << 8 | p[i];
    return v;
}

uint8_t gr_read_u8(struct gr_reader *r)
{
    return (uint8_t)read_le(r, 1);
}

uint16_t gr_read_u16le(struct gr_reader *r)
{
    return (uint16_t)read_le(r, 2);
}

uint32_t gr_read_u32le(struct gr_reader *r)
{
    return (uint32_t)read_le(r, 4);
}

uint64_t gr_read_u64le(struct gr_reader *r)
{
    return read_le(r, 8);
}

uint16_t gr_read_u16be(struct gr_reader *r)
{
    return (uint16_t)read_be(r, 2);
}

uint32_t gr_read_u32be(struct gr_reader *r)
{
    return (uint32_t)read_be(r, 4);
}

uint64_t gr_read_u64be(struct gr_reader *r)
{
    return read_be(r, 8);
}

const uint8_t *gr_read_line(struct gr_reader *r, size_t *n)
{
    const uint8_t *nl = r->failed ? NULL : memchr(r->p, '\n', gr_reader_left(r));
    *n = 0;
    if (!nl) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    *n = (size_t)(nl - p);
    r->p = nl + 1;
    return p;
}

void gr_buf_init(struct gr_buf *b, size_t limit)
{
    memset(b, 0, sizeof *b);
    b->limit = limit;
}

void gr_buf_clear(struct gr_buf *b)
{
    gr_free(b->data);
    gr_buf_init(b, b->limit);
}

/* Makes room for `extra` bytes and a closing NUL. */
static bool buf_reserve(struct gr_buf *b, size_t extra)
{
    size_t need;
    if (b->failed)
        return false;
    if (!gr_add_size(b->size, extra, &need) || !gr_add_size(need, 1, &need) ||
        (b->limit && need - 1 > b->limit)) {
        b->failed = true;
        return false;
    }
    if (need <= b->cap)
        return true;
    size_t cap = b->cap <= need / 2 ? need : b->cap * 2;
    if (cap < 64)
        cap = 64;
    uint8_t *p = gr_realloc_array(b->data, cap, 1);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->data = p;
    b->cap = cap;
    return true;
}

void gr_buf_append(struct gr_buf *b, const void *data, size_t size)
{
    if (size && buf_reserve(b, size)) {
        memcpy(b->data + b->size, data, size);
        b->size += size;
    }
}

void gr_buf_puts(struct gr_buf *b, const char *s)
{
    gr_buf_append(b, s, strlen(s));
}

void gr_buf_printf(struct gr_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !buf_reserve(b, (size_t)n))
        return;
    va_start(ap, fmt);
    vsnprintf((char *)b->data + b->size, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->size += (size_t)n;
}

char *gr_buf_take(struct gr_buf *b)
{
    char *text = NULL;
    if (buf_reserve(b, 0)) {
        text = (char *)b->data;
        text[b->size] = 0;
        b->data = NULL;
    }
    gr_buf_clear(b);
    return text;
}
