/* ONNX files: bytes <-> graph, weights and metadata. */
#ifndef GR_FORMATS_ONNX_H
#define GR_FORMATS_ONNX_H

#include "base/file.h"
#include "core/model.h"

/* 0 in a field means its default. */
struct gr_onnx_limits {
    int depth;           /* of nested messages (32): a subgraph in an attribute takes three */
    size_t decoded_size; /* bytes of decoded messages, weights not counted (64 MB + 16 x file) */
    size_t n_ports;      /* graph inputs, graph outputs, metadata properties, attributes of a node,
                            external files: of each so many (4096) */
};

/* Reads a model; the weights of the file stay mapped and are shared, not copied. `model` must be
   empty (zeroed); it is filled only on success. Operators that graft does not know are no error
   here (nodes[i].op is NULL); local functions, sparse weights and operator sets before 7 are. The
   metadata is kept in model->props and not interpreted: that is gr_meta_read. */
enum graft_status gr_onnx_read(const char *path, const struct gr_onnx_limits *limits,
                               struct gr_model *model, struct graft_error *err);
/* The same from bytes, which are copied; `name` stands for the path in messages. Weights in other
   files are refused. */
enum graft_status gr_onnx_read_memory(const void *data, size_t size, const char *name,
                                      const struct gr_onnx_limits *limits, struct gr_model *model,
                                      struct graft_error *err);
/* A file that holds one TensorProto. *name is freed with gr_free. */
enum graft_status gr_onnx_read_tensor(const char *path, char **name, struct gr_tensor *tensor,
                                      struct graft_error *err);

/* Writes the model: nodes, names, operator sets and attributes as they are, constants that nothing
   uses left out, model->props as metadata. Weights go straight from their tensors to the file.
   Equal models give equal bytes. GRAFT_E_LIMIT beyond 2 GB, which protobuf cannot hold. */
enum graft_status gr_onnx_write(const struct gr_model *model, const char *path,
                                struct graft_error *err);
/* The same, leaving the file under o->tmp for the caller to read back, and to commit (which reports
   what the disk could not take) or abort. On failure there is nothing to abort. */
enum graft_status gr_onnx_write_open(const struct gr_model *model, const char *path,
                                     struct gr_outfile *o, struct graft_error *err);

#endif
