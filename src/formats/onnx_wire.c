/* Are these bytes protobuf, and may protobuf-c decode them? */
#include "formats/onnx_wire.h"
#include "base/mem.h"
#include <string.h>

static uint64_t read_varint(struct gr_reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = gr_read_u8(r);
        if (shift < 64)
            v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return v;
    }
    r->failed = true;
    return 0;
}

bool gr_wire_next(struct gr_reader *r, struct gr_wire_field *f)
{
    if (r->failed || !gr_reader_left(r))
        return false;
    f->tag = r->p;
    uint64_t tag = read_varint(r), size = 0;
    f->wire = tag & 7;
    f->number = (uint32_t)(tag >> 3);
    if (tag >> 32 || !f->number)
        r->failed = true;
    if (f->wire == GR_WIRE_BYTES)
        size = read_varint(r);
    f->data = r->p;
    if (f->wire == GR_WIRE_VARINT)
        read_varint(r);
    else if (f->wire == GR_WIRE_64)
        gr_read_bytes(r, 8);
    else if (f->wire == GR_WIRE_32)
        gr_read_bytes(r, 4);
    else if (f->wire == GR_WIRE_BYTES)
        gr_read_bytes(r, size);
    else
        r->failed = true; /* groups have never been in ONNX */
    f->size = (size_t)(r->p - f->data);
    return !r->failed;
}

enum graft_status gr_wire_check(const ProtobufCMessageDescriptor *d, const uint8_t *data,
                                size_t size, int depth, struct graft_error *err)
{
    struct gr_reader r;
    struct gr_wire_field f;
    uint64_t seen = 0;
    if (depth <= 0)
        return gr_error(err, GRAFT_E_LIMIT, "messages are nested too deeply");
    gr_reader_init(&r, data, size);
    while (gr_wire_next(&r, &f)) {
        const ProtobufCFieldDescriptor *fd = protobuf_c_message_descriptor_get_field(d, f.number);
        if (!fd || f.wire != GR_WIRE_BYTES)
            continue; /* protobuf-c keeps unknown fields and refuses wrong wire types */
        if (fd->type == PROTOBUF_C_TYPE_STRING && memchr(f.data, 0, f.size))
            return gr_error(err, GRAFT_E_FORMAT, "%s.%s has a NUL inside", d->short_name, fd->name);
        if (fd->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (fd->label != PROTOBUF_C_LABEL_REPEATED) {
            uint64_t bit = (uint64_t)1 << ((fd - d->fields) & 63);
            if (seen & bit)
                return gr_error(err, GRAFT_E_FORMAT, "%s.%s is given twice", d->short_name,
                                fd->name);
            seen |= bit;
        }
        enum graft_status s = gr_wire_check(fd->descriptor, f.data, f.size, depth - 1, err);
        if (s)
            return s;
    }
    if (r.failed)
        return gr_error(err, GRAFT_E_FORMAT,
                        "%s is cut short or no protobuf after %zu of %zu bytes", d->short_name,
                        gr_reader_pos(&r), size);
    return GRAFT_OK;
}

struct budget {
    size_t left;
    bool spent, no_memory;
};

static void *budget_alloc(void *user, size_t size)
{
    struct budget *b = user;
    if (size > b->left) {
        b->spent = true;
        return NULL;
    }
    b->left -= size;
    void *p = gr_alloc(size);
    b->no_memory |= !p;
    return p;
}

static void budget_free(void *user, void *p)
{
    (void)user;
    gr_free(p);
}

enum graft_status gr_wire_unpack(const ProtobufCMessageDescriptor *d, const uint8_t *data,
                                 size_t size, size_t budget, ProtobufCMessage **out,
                                 struct graft_error *err)
{
    struct budget b = {.left = budget};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &b};
    ProtobufCMessage *m = protobuf_c_message_unpack(d, &allocator, size, data);
    if (m) {
        *out = m;
        return GRAFT_OK;
    }
    if (b.no_memory)
        return gr_error_nomem(err);
    if (b.spent)
        return gr_error(err, GRAFT_E_LIMIT, "%s of %zu bytes needs more than %zu bytes decoded",
                        d->short_name, size, budget);
    return gr_error(err, GRAFT_E_FORMAT, "malformed %s", d->short_name);
}

void gr_wire_free(void *message)
{
    ProtobufCAllocator allocator = {NULL, budget_free, NULL};
    if (message)
        protobuf_c_message_free_unpacked(message, &allocator);
}

size_t gr_wire_varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >>= 7)
        n++;
    return n;
}

void gr_wire_put_varint(struct gr_buf *b, uint64_t v)
{
    uint8_t text[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        text[n++] = (uint8_t)(v | 0x80);
    text[n++] = (uint8_t)v;
    gr_buf_append(b, text, n);
}

void gr_wire_put_tag(struct gr_buf *b, uint32_t number, unsigned wire)
{
    gr_wire_put_varint(b, (uint64_t)number << 3 | wire);
}

struct buf_sink {
    ProtobufCBuffer base;
    struct gr_buf *buf;
};

static void append(ProtobufCBuffer *sink, size_t size, const uint8_t *data)
{
    gr_buf_append(((struct buf_sink *)sink)->buf, data, size);
}

void gr_wire_pack(struct gr_buf *b, const ProtobufCMessage *m)
{
    struct buf_sink sink = {{append}, b};
    protobuf_c_message_pack_to_buffer(m, &sink.base);
}

void gr_wire_put_message(struct gr_buf *b, uint32_t number, const ProtobufCMessage *m)
{
    gr_wire_put_tag(b, number, GR_WIRE_BYTES);
    gr_wire_put_varint(b, protobuf_c_message_get_packed_size(m));
    gr_wire_pack(b, m);
}
