/* Protobuf bytes of ONNX messages: checked before they are decoded, decoded under a budget. Private
   to the onnx_*.c files. */
#ifndef GR_FORMATS_ONNX_WIRE_H
#define GR_FORMATS_ONNX_WIRE_H

#include "base/bytes.h"
#include "formats/onnx.h"
#include "onnx.pb-c.h"

/* ---- the wire ------------------------------------------------------------------------------- */

enum { GR_WIRE_VARINT = 0, GR_WIRE_64 = 1, GR_WIRE_BYTES = 2, GR_WIRE_32 = 5 };

/* One field of a message; all pointers are into the message. */
struct gr_wire_field {
    uint32_t number;
    unsigned wire;
    const uint8_t *tag; /* the whole field is tag .. data + size */
    const uint8_t *data;
    size_t size;
};
/* False at the end and, with r->failed set, on bytes that are no protobuf. */
bool gr_wire_next(struct gr_reader *r, struct gr_wire_field *f);

/* What protobuf-c trusts its input with: nesting (its recursion), strings without NUL, singular
   messages given once (it would merge them). */
enum graft_status gr_wire_check(const ProtobufCMessageDescriptor *d, const uint8_t *data,
                                size_t size, int depth, struct graft_error *err);

/* Decodes with at most `budget` bytes of memory. The message is freed with gr_wire_free. */
enum graft_status gr_wire_unpack(const ProtobufCMessageDescriptor *d, const uint8_t *data,
                                 size_t size, size_t budget, ProtobufCMessage **out,
                                 struct graft_error *err);
void gr_wire_free(void *message); /* NULL is fine */

void gr_wire_put_tag(struct gr_buf *b, uint32_t number, unsigned wire);
void gr_wire_put_varint(struct gr_buf *b, uint64_t v);
/* A message's bytes; and a whole field that holds them. */
void gr_wire_pack(struct gr_buf *b, const ProtobufCMessage *m);
void gr_wire_put_message(struct gr_buf *b, uint32_t number, const ProtobufCMessage *m);
size_t gr_wire_varint_size(uint64_t v);

/* ---- where tensors come from ---------------------------------------------------------------- */

struct gr_onnx_source {
    const char *name; /* for messages */
    char *dir;        /* real path of the folder of external weights; NULL: there is none */
    struct gr_buffer *buf;
    struct gr_onnx_limits limits;
    struct gr_onnx_external {
        char *location;
        struct gr_buffer *buf;
    } * ext;
    size_t n_ext, cap_ext;
};

/* Copies limits, filling in defaults for a file of `size` bytes. */
struct gr_onnx_limits gr_onnx_limits_of(const struct gr_onnx_limits *limits, size_t size);
void gr_onnx_source_clear(struct gr_onnx_source *src);

/* A decoded tensor. Its raw_data may be taken out beforehand: `raw` points into src->buf then, and
   the tensor becomes a view of it. A string tensor gives dtype GR_STRING without data. */
enum graft_status gr_onnx_tensor(struct gr_onnx_source *src, const Onnx__TensorProto *p,
                                 const uint8_t *raw, size_t raw_size, struct gr_tensor *t,
                                 struct graft_error *err);
/* The bytes of a TensorProto inside src->buf. *name is freed with gr_free. */
enum graft_status gr_onnx_tensor_bytes(struct gr_onnx_source *src, const uint8_t *data, size_t size,
                                       char **name, struct gr_tensor *t, struct graft_error *err);

#endif
