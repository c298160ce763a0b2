/* What kind of model or weights file is this? */
#include "formats/weights.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/pth.h"
#include "formats/safetensors.h"
#include <string.h>

const char *gr_file_format_name(enum gr_file_format format)
{
    static const char *const names[] = {
        [GR_FILE_UNKNOWN] = "unknown",         [GR_FILE_ONNX] = "ONNX",
        [GR_FILE_PTH_ZIP] = "PyTorch zip",     [GR_FILE_PTH_STREAM] = "PyTorch stream",
        [GR_FILE_SAFETENSORS] = "safetensors", [GR_FILE_SAFETENSORS_INDEX] = "safetensors index",
        [GR_FILE_KERAS_H5] = "Keras HDF5",     [GR_FILE_TFLITE] = "TensorFlow Lite",
    };
    return names[format];
}

bool gr_weights_name_ok(const char *name, size_t size)
{
    const uint8_t *p = (const uint8_t *)name, *end = p + size;
    if (size == 0 || size > 1023)
        return false;
    while (p < end) {
        uint8_t c = *p++;
        int more = c < 0x80                ? 0
                   : c >= 0xc2 && c < 0xe0 ? 1
                   : c >= 0xe0 && c < 0xf0 ? 2
                   : c >= 0xf0 && c < 0xf5 ? 3
                                           : -1;
        if (more < 0 || more > end - p || c < 0x20 || c == 0x7f)
            return false;
        if ((c == 0xe0 && *p < 0xa0) || (c == 0xed && *p > 0x9f) || (c == 0xf0 && *p < 0x90) ||
            (c == 0xf4 && *p > 0x8f)) /* overlong, surrogates, beyond Unicode */
            return false;
        for (; more > 0; more--)
            if ((*p++ & 0xc0) != 0x80)
                return false;
    }
    return true;
}

static bool starts(const uint8_t *data, size_t size, size_t at, const char *magic, size_t n)
{
    return size >= at + n && !memcmp(data + at, magic, n);
}
#define STARTS(at, magic) starts(data, size, at, magic, sizeof magic - 1)

/* A protobuf message whose fields are those of onnx.ModelProto, with a graph. */
static bool is_onnx(const uint8_t *data, size_t size)
{
    enum { GRAPH = 7, MAX_FIELD = 30 };
    struct gr_reader r;
    gr_reader_init(&r, data, size);
    for (int n = 0; n < 10000 && gr_reader_left(&r) && !r.failed; n++) {
        uint64_t number[2] = {0}; /* tag, then value or length */
        uint64_t wire = 0;
        for (int k = 0; k < 2; k++) {
            for (int shift = 0; shift < 64; shift += 7) {
                uint8_t b = gr_read_u8(&r);
                number[k] |= (uint64_t)(b & 0x7f) << shift;
                if (!(b & 0x80))
                    break;
            }
            wire = number[0] & 7;
            if ((wire != 0 && wire != 2) || number[0] >> 3 == 0 || number[0] >> 3 > MAX_FIELD)
                return false;
        }
        if (wire == 2 && number[0] >> 3 == GRAPH)
            return number[1] > 1;
        if (wire == 2)
            gr_read_bytes(&r, number[1] > SIZE_MAX ? SIZE_MAX : (size_t)number[1]);
    }
    return false;
}

enum gr_file_format gr_file_format_sniff_bytes(const void *bytes, size_t size)
{
    const uint8_t *data = bytes;
    struct gr_reader r;
    gr_reader_init(&r, data, size);
    if (STARTS(0, "PK\3\4"))
        return GR_FILE_PTH_ZIP; /* its reader tells what else a zip may be */
    if (gr_pth_is_stream(data, size))
        return GR_FILE_PTH_STREAM;
    if (STARTS(0, "\x89HDF\r\n\x1a\n") || STARTS(512, "\x89HDF\r\n\x1a\n"))
        return GR_FILE_KERAS_H5;
    if (STARTS(4, "TFL3"))
        return GR_FILE_TFLITE;
    uint64_t header = gr_read_u64le(&r);
    if (header && header <= size && STARTS(8, "{"))
        return GR_FILE_SAFETENSORS;
    if (STARTS(0, "{") && memmem(data, size, "\"weight_map\"", 12))
        return GR_FILE_SAFETENSORS_INDEX;
    return is_onnx(data, size) ? GR_FILE_ONNX : GR_FILE_UNKNOWN;
}

/* What people hand over by mistake. */
static const char *describe_other(const uint8_t *data, size_t size)
{
    if (size == 0)
        return "an empty file";
    if (STARTS(0, "version https://git-lfs"))
        return "a Git LFS pointer: the file itself was not downloaded";
    if (STARTS(0, "<!DOCTYPE") || STARTS(0, "<!doctype") || STARTS(0, "<html"))
        return "a web page, not the file that it links to";
    if (STARTS(257, "ustar"))
        return "a tar archive; unpack it first, or, from PyTorch before 0.1.10, load and save it "
               "again with a newer one";
    if (STARTS(0, "\x1f\x8b"))
        return "a gzip file; unpack it first";
    if (STARTS(0, "\xfd"
                  "7zXZ") ||
        STARTS(0, "BZh") || STARTS(0, "\x28\xb5\x2f\xfd"))
        return "a compressed file; unpack it first";
    if (STARTS(0, "\x93NUMPY"))
        return "a NumPy array, not named weights";
    if (STARTS(0, "GGUF"))
        return "a GGUF language model";
    if (STARTS(0, "\xff\xd8\xff") || STARTS(0, "\x89PNG"))
        return "a picture";
    if (data[0] == 0x80 && size > 1 && data[1] >= 2 && data[1] <= 5)
        return "a pickle that torch.save did not write";
    if (data[0] == '{')
        return "JSON, but no safetensors index";
    return "no format that graft knows";
}

static enum graft_status unknown(const uint8_t *data, size_t size, struct graft_error *err)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED,
                    "%s (read are ONNX, PyTorch .pth, safetensors, Keras .h5)",
                    describe_other(data, size));
}

enum graft_status gr_file_format_sniff(const char *path, enum gr_file_format *format,
                                       struct graft_error *err)
{
    struct gr_map map = {0};
    enum graft_status s = gr_map_open(path, &map, err);
    if (s)
        return s;
    enum gr_file_format found = gr_file_format_sniff_bytes(map.data, map.size);
    if (found)
        *format = found;
    else if ((s = unknown(map.data, map.size, err)))
        gr_error_in(err, s, "%s", path);
    gr_map_close(&map);
    return s;
}

enum graft_status gr_weights_locate(const char *path, char **file, struct graft_error *err)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                        "pytorch_model.bin", "model.onnx"};
    const size_t n = sizeof names / sizeof *names;
    char *found = NULL;
    if (!gr_is_dir(path)) {
        found = gr_strdup(path);
    } else {
        for (size_t i = 0; i < n; i++) {
            gr_free(found);
            found = gr_path_join(path, names[i]);
            if (!found || gr_is_file(found))
                break;
            if (i + 1 == n) {
                gr_free(found);
                return gr_error(err, GRAFT_E_UNSUPPORTED, "%s: a folder without %s, %s, %s or %s",
                                path, names[0], names[1], names[2], names[3]);
            }
        }
    }
    *file = found;
    return found ? GRAFT_OK : gr_error_nomem(err);
}

static enum graft_status read_file(const char *path, struct gr_weights *out,
                                   struct graft_error *err)
{
    enum gr_file_format format = GR_FILE_UNKNOWN;
    enum graft_status s = gr_file_format_sniff(path, &format, err);
    if (s)
        return s;
    switch (format) {
    case GR_FILE_PTH_ZIP:
    case GR_FILE_PTH_STREAM:
        return gr_pth_read(path, out, err);
    case GR_FILE_SAFETENSORS:
        return gr_safetensors_read(path, out, err);
    case GR_FILE_SAFETENSORS_INDEX:
        return gr_safetensors_read_index(path, out, err);
    default:
        return gr_error(err, GRAFT_E_UNSUPPORTED, "%s: %s, which is not read as a file of weights",
                        path, gr_file_format_name(format));
    }
}

enum graft_status gr_weights_read(const char *path, struct gr_weights *out, struct graft_error *err)
{
    char *file = NULL;
    enum graft_status s = gr_weights_locate(path, &file, err);
    if (!s)
        s = read_file(file, out, err);
    gr_free(file);
    return s;
}
