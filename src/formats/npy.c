/* How is an array exchanged with NumPy? */
#include "formats/npy.h"
#include "base/bytes.h"
#include <stdlib.h>
#include <string.h>

enum { HEADER_SIZE = 128, PREAMBLE = 10 };

void gr_npy_write_header(FILE *f, int64_t rows, int64_t cols)
{
    char head[HEADER_SIZE + 1] = "\x93NUMPY\x01";
    head[8] = HEADER_SIZE - PREAMBLE; /* little-endian length of the text that follows */
    int n = snprintf(head + PREAMBLE, sizeof head - PREAMBLE,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }",
                     (long long)rows, (long long)cols);
    memset(head + PREAMBLE + n, ' ', (size_t)(HEADER_SIZE - PREAMBLE - n - 1));
    head[HEADER_SIZE - 1] = '\n';
    fwrite(head, 1, HEADER_SIZE, f);
}

void gr_npy_append(FILE *f, const float *row, int64_t cols)
{
    fwrite(row, sizeof *row, (size_t)cols, f);
}

static const struct {
    const char *descr;
    enum gr_dtype dtype;
} dtypes[] = {
    {"<f4", GR_F32}, {"<f8", GR_F64}, {"<f2", GR_F16}, {"<i8", GR_I64},
    {"<i4", GR_I32}, {"<i2", GR_I16}, {"|i1", GR_I8},  {"<u8", GR_U64},
    {"<u4", GR_U32}, {"<u2", GR_U16}, {"|u1", GR_U8},  {"|b1", GR_BOOL},
};

/* The text behind "'key': " in the header, which Python's repr writes. */
static const char *value_of(const char *text, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s': ", key);
    const char *p = strstr(text, quoted);
    return p ? p + strlen(quoted) : NULL;
}

static enum graft_status parse(const char *text, enum gr_dtype *dtype, struct gr_shape *shape,
                               struct graft_error *err)
{
    const char *descr = value_of(text, "descr"), *order = value_of(text, "fortran_order");
    const char *p = value_of(text, "shape");
    if (!descr || !order || !p || *descr != '\'' || *p != '(')
        return gr_error(err, GRAFT_E_FORMAT, "header without descr, fortran_order and shape");
    *dtype = GR_UNKNOWN;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strncmp(descr + 1, dtypes[i].descr, 3) && descr[4] == '\'')
            *dtype = dtypes[i].dtype;
    if (!*dtype)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "elements of type %.12s are not read", descr);
    if (strncmp(order, "False", 5) != 0)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "arrays in Fortran order are not read");
    *shape = (struct gr_shape){0};
    for (p++; *p && *p != ')';) {
        char *end;
        long long d = strtoll(p, &end, 10);
        if (end == p || d < 0 || shape->rank == GR_MAX_RANK)
            return gr_error(err, GRAFT_E_FORMAT, "bad shape %.60s", p);
        shape->dim[shape->rank++] = d;
        p = end + strspn(end, ", ");
    }
    return GRAFT_OK;
}

enum graft_status gr_npy_read(const char *path, struct gr_tensor *t, struct graft_error *err)
{
    struct gr_buffer *buf = NULL;
    struct gr_reader r;
    struct gr_shape shape;
    enum gr_dtype dtype = GR_UNKNOWN;
    char text[4096];
    size_t size;
    enum graft_status s = gr_buffer_map(path, &buf, err);
    if (s)
        return s;
    const uint8_t *data = gr_buffer_data(buf, &size);
    gr_reader_init(&r, data, size);
    const uint8_t *magic = gr_read_bytes(&r, 6);
    uint8_t major = gr_read_u8(&r);
    gr_read_u8(&r);
    size_t n = major == 1 ? gr_read_u16le(&r) : gr_read_u32le(&r);
    const uint8_t *head = gr_read_bytes(&r, n);
    if (!head || memcmp(magic, "\x93NUMPY", 6) != 0 || major < 1 || major > 3 || n >= sizeof text) {
        s = gr_error(err, GRAFT_E_FORMAT, "%s: no .npy file that can be read", path);
    } else {
        memcpy(text, head, n);
        text[n] = 0;
        s = parse(text, &dtype, &shape, err);
        if (!s)
            s = gr_tensor_view(buf, gr_reader_pos(&r), dtype, &shape, t, err);
        if (s)
            gr_error_in(err, s, "%s", path);
    }
    gr_buffer_unref(buf);
    return s;
}
