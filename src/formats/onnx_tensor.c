/* Where are the numbers of an ONNX tensor? */
#include "formats/onnx_wire.h"
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct gr_onnx_limits gr_onnx_limits_of(const struct gr_onnx_limits *limits, size_t size)
{
    struct gr_onnx_limits l = limits ? *limits : (struct gr_onnx_limits){0};
    if (!l.depth)
        l.depth = 32;
    if (!l.decoded_size)
        l.decoded_size = ((size_t)64 << 20) + 16 * size;
    if (!l.n_ports)
        l.n_ports = 4096;
    return l;
}

void gr_onnx_source_clear(struct gr_onnx_source *src)
{
    for (size_t i = 0; i < src->n_ext; i++) {
        gr_free(src->ext[i].location);
        gr_buffer_unref(src->ext[i].buf);
    }
    gr_free(src->ext);
    gr_free(src->dir);
    gr_buffer_unref(src->buf);
    memset(src, 0, sizeof *src);
}

static const char *find_entry(const Onnx__TensorProto *p, const char *key)
{
    for (size_t i = 0; i < p->n_external_data; i++) {
        const Onnx__StringStringEntryProto *e = p->external_data[i];
        if (e->key && e->value && !strcmp(e->key, key))
            return e->value;
    }
    return NULL;
}

static enum graft_status read_number(const char *text, const char *key, size_t *n,
                                     struct graft_error *err)
{
    size_t v = 0;
    for (const char *c = text; *c || c == text; c++)
        if (*c < '0' || *c > '9' || !gr_mul_size(v, 10, &v) ||
            !gr_add_size(v, (size_t)(*c - '0'), &v))
            return gr_error(err, GRAFT_E_FORMAT, "external data: %s is '%s', expected a number",
                            key, text);
    *n = v;
    return GRAFT_OK;
}

/* The mapped file of that name, which must really lie in the model's folder or below it. */
static enum graft_status map_external(struct gr_onnx_source *src, const char *location,
                                      struct gr_buffer **buf, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    char *path = NULL, *real = NULL;
    for (size_t i = 0; i < src->n_ext; i++)
        if (!strcmp(src->ext[i].location, location)) {
            *buf = src->ext[i].buf;
            return GRAFT_OK;
        }
    if (!src->dir)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "weights are in the file '%s', but the model is read from memory",
                        location);
    if (src->n_ext >= src->limits.n_ports)
        return gr_error(err, GRAFT_E_LIMIT, "weights are in more than %zu files", src->n_ext);
    size_t n = strlen(src->dir);
    path = gr_path_join(src->dir, location);
    if (!path) {
        s = gr_error_nomem(err);
        goto out;
    }
    real = realpath(path, NULL);
    if (!real) {
        s = gr_error_errno(err, path, "cannot open external data");
    } else if (*location == '/' || strncmp(real, src->dir, n) ||
               (real[n] != '/' && src->dir[n - 1] != '/')) {
        s = gr_error(err, GRAFT_E_FORMAT, "external data '%s' is outside the model's folder",
                     location);
    } else if (!GR_GROW(src->ext, src->n_ext, src->cap_ext)) {
        s = gr_error_nomem(err);
    } else {
        struct gr_onnx_external e = {.location = gr_strdup(location)};
        s = e.location ? gr_buffer_map(real, &e.buf, err) : gr_error_nomem(err);
        if (s) {
            gr_free(e.location);
        } else {
            src->ext[src->n_ext++] = e;
            *buf = e.buf;
        }
    }
out:
    free(real); /* realpath's own */
    gr_free(path);
    return s;
}

static enum graft_status external_tensor(struct gr_onnx_source *src, const Onnx__TensorProto *p,
                                         enum gr_dtype dtype, const struct gr_shape *shape,
                                         size_t need, struct gr_tensor *t, struct graft_error *err)
{
    const char *location = find_entry(p, "location");
    const char *offset = find_entry(p, "offset"), *length = find_entry(p, "length");
    size_t at = 0, n = need;
    struct gr_buffer *buf = NULL;
    enum graft_status s = GRAFT_OK;
    if (!location || !*location)
        return gr_error(err, GRAFT_E_FORMAT, "external data without a location");
    if (*location == '/' || !strncmp(location, "../", 3) || strstr(location, "/../") ||
        !strcmp(location, ".."))
        return gr_error(err, GRAFT_E_FORMAT, "external data '%s' is outside the model's folder",
                        location);
    if (offset)
        s = read_number(offset, "offset", &at, err);
    if (!s && length)
        s = read_number(length, "length", &n, err);
    if (!s && n != need) {
        char text[GR_SHAPE_TEXT];
        s = gr_error(err, GRAFT_E_FORMAT, "dims %s need %zu bytes, external length is %zu",
                     gr_shape_print(shape, text), need, n);
    }
    if (!s)
        s = map_external(src, location, &buf, err);
    if (!s && (s = gr_tensor_view(buf, at, dtype, shape, t, err)))
        s = gr_error_in(err, s, "external data '%s'", location);
    return s;
}

/* The list that holds elements of this type, and the size of its elements. */
static const char *typed_list(const Onnx__TensorProto *p, enum gr_dtype dtype, const void **list,
                              size_t *n, size_t *item)
{
    switch (dtype) {
    case GR_F32:
        *list = p->float_data, *n = p->n_float_data, *item = 4;
        return "float_data";
    case GR_F64:
        *list = p->double_data, *n = p->n_double_data, *item = 8;
        return "double_data";
    case GR_I64:
        *list = p->int64_data, *n = p->n_int64_data, *item = 8;
        return "int64_data";
    case GR_U32:
    case GR_U64:
        *list = p->uint64_data, *n = p->n_uint64_data, *item = 8;
        return "uint64_data";
    default:
        *list = p->int32_data, *n = p->n_int32_data, *item = 4;
        return "int32_data";
    }
}

static enum graft_status typed_tensor(const Onnx__TensorProto *p, enum gr_dtype dtype,
                                      const struct gr_shape *shape, struct gr_tensor *t,
                                      struct graft_error *err)
{
    const void *list;
    size_t n, item, width = gr_dtype_size(dtype), want = (size_t)gr_shape_count(shape);
    char text[GR_SHAPE_TEXT];
    const char *name = typed_list(p, dtype, &list, &n, &item);
    if (n != want)
        return gr_error(err, GRAFT_E_FORMAT, "dims %s need %zu %s elements, %s has %zu",
                        gr_shape_print(shape, text), want, gr_dtype_name(dtype), name, n);
    struct gr_tensor o;
    enum graft_status s = gr_tensor_new(dtype, shape, &o, err);
    if (s)
        return s;
    uint8_t *dst = gr_tensor_mut(&o);
    if (width == item && n)
        memcpy(dst, list, n * width);
    for (size_t i = 0; width != item && i < n; i++) /* little-endian: the low bytes come first */
        memcpy(dst + i * width, (const uint8_t *)list + i * item, width);
    *t = o;
    return GRAFT_OK;
}

enum graft_status gr_onnx_tensor(struct gr_onnx_source *src, const Onnx__TensorProto *p,
                                 const uint8_t *raw, size_t raw_size, struct gr_tensor *t,
                                 struct graft_error *err)
{
    enum gr_dtype dtype = (enum gr_dtype)p->data_type;
    char text[GR_SHAPE_TEXT];
    if (p->n_dims > GR_MAX_RANK)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "%zu dimensions, at most %d are supported",
                        p->n_dims, GR_MAX_RANK);
    struct gr_shape shape = gr_shape_from((int)p->n_dims, p->dims);
    int64_t count = gr_shape_count(&shape);
    if (count < 0)
        return gr_error(err, GRAFT_E_FORMAT, "dims %s are not a size",
                        gr_shape_print(&shape, text));
    if (dtype == GR_STRING) {
        *t = (struct gr_tensor){.dtype = GR_STRING, .shape = shape};
        return GRAFT_OK;
    }
    if (!gr_dtype_size(dtype))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "data type %" PRId32 " is not supported",
                        p->data_type);
    if (p->segment)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "tensors in segments are not supported");
    size_t need = (size_t)count * gr_dtype_size(dtype);
    if (p->has_data_location && p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return external_tensor(src, p, dtype, &shape, need, t, err);
    bool copied = !raw && p->raw_data.len;
    if (copied) {
        raw = p->raw_data.data;
        raw_size = p->raw_data.len;
    }
    if (!raw_size)
        return typed_tensor(p, dtype, &shape, t, err);
    if (raw_size != need)
        return gr_error(err, GRAFT_E_FORMAT, "dims %s need %zu bytes, raw_data has %zu",
                        gr_shape_print(&shape, text), need, raw_size);
    if (copied)
        return gr_tensor_from(dtype, &shape, raw, t, err);
    size_t size;
    const uint8_t *start = gr_buffer_data(src->buf, &size);
    return gr_tensor_view(src->buf, (size_t)(raw - start), dtype, &shape, t, err);
}

enum graft_status gr_onnx_tensor_bytes(struct gr_onnx_source *src, const uint8_t *data, size_t size,
                                       char **name, struct gr_tensor *t, struct graft_error *err)
{
    enum { RAW_DATA = 9 };
    enum graft_status s = GRAFT_OK;
    const uint8_t *raw = NULL;
    size_t raw_size = 0;
    ProtobufCMessage *m = NULL;
    struct gr_buf lean; /* the message without its raw_data */
    struct gr_reader r;
    struct gr_wire_field f;
    gr_buf_init(&lean, 0);
    gr_reader_init(&r, data, size);
    while (gr_wire_next(&r, &f)) {
        if (f.number == RAW_DATA && f.wire == GR_WIRE_BYTES) {
            raw = f.data;
            raw_size = f.size;
        } else {
            gr_buf_append(&lean, f.tag, (size_t)(f.data + f.size - f.tag));
        }
    }
    if (r.failed) {
        s = gr_error(err, GRAFT_E_FORMAT, "malformed TensorProto");
        goto out;
    }
    if (lean.failed) {
        s = gr_error_nomem(err);
        goto out;
    }
    s = gr_wire_unpack(&onnx__tensor_proto__descriptor, lean.data, lean.size,
                       src->limits.decoded_size, &m, err);
    if (s)
        goto out;
    const Onnx__TensorProto *p = (const Onnx__TensorProto *)m;
    *name = gr_strdup(p->name ? p->name : "");
    if (!*name) {
        s = gr_error_nomem(err);
        goto out;
    }
    s = gr_onnx_tensor(src, p, raw, raw_size, t, err);
    if (s) {
        s = gr_error_in(err, s, "initializer '%s'", *name);
        gr_free(*name);
        *name = NULL;
    }
out:
    gr_wire_free(m);
    gr_buf_clear(&lean);
    return s;
}
