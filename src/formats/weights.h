/* What kind of model or weights file is this, and which weights does it hold? */
#ifndef GR_FORMATS_WEIGHTS_H
#define GR_FORMATS_WEIGHTS_H

#include "core/tensor.h"

enum gr_file_format {
    GR_FILE_UNKNOWN,
    GR_FILE_ONNX,
    GR_FILE_PTH_ZIP,    /* torch.save, and what turns out to be TorchScript */
    GR_FILE_PTH_STREAM, /* torch.save before 1.6 */
    GR_FILE_SAFETENSORS,
    GR_FILE_SAFETENSORS_INDEX, /* JSON that names the shards */
    GR_FILE_KERAS_H5,
    GR_FILE_TFLITE
};
/* "ONNX", "PyTorch zip", ... */
const char *gr_file_format_name(enum gr_file_format format);

/* Looks at the content, not at the name. What is none of these is GRAFT_E_UNSUPPORTED with a
   message that says what it is instead, as far as that can be told; *format is then untouched. */
enum graft_status gr_file_format_sniff(const char *path, enum gr_file_format *format,
                                       struct graft_error *err);
enum gr_file_format gr_file_format_sniff_bytes(const void *data, size_t size);

/* The file itself or, for a folder as Hugging Face lays it out, the model file in it. Free with
   gr_free. */
enum graft_status gr_weights_locate(const char *path, char **file, struct graft_error *err);

/* Reads any file of weights (PyTorch, safetensors), or the one in a folder. `out` is zeroed before
 * the call; on failure it stays empty. */
enum graft_status gr_weights_read(const char *path, struct gr_weights *out,
                                  struct graft_error *err);

/* 1..1023 bytes of UTF-8 without control characters: fit to be printed and written. */
bool gr_weights_name_ok(const char *name, size_t size);

#endif
