/* A tensor is a dtype, a shape and a view of a reference-counted buffer. */
#ifndef GR_CORE_TENSOR_H
#define GR_CORE_TENSOR_H

#include "core/dtype.h"
#include "core/shape.h"

/* Bytes somewhere (heap, memory map, the caller's), released when the last view goes. Counting is
   atomic. */
struct gr_buffer;
/* Owns `data` from now on: `release(user, data, size)` is called at the end; on failure (NULL) it
   is not called. */
struct gr_buffer *gr_buffer_new(void *data, size_t size,
                                void (*release)(void *user, void *data, size_t size), void *user);
/* The whole file, mapped read-only. */
enum graft_status gr_buffer_map(const char *path, struct gr_buffer **buf, struct graft_error *err);
void gr_buffer_ref(struct gr_buffer *b);
void gr_buffer_unref(struct gr_buffer *b); /* NULL is fine */
const void *gr_buffer_data(const struct gr_buffer *b, size_t *size);

/* Row-major, dense. Zeroed struct = no tensor. Data of a mapped file may be unaligned: use
   gr_load_f64/gr_convert, or gr_tensor_align first. */
struct gr_tensor {
    enum gr_dtype dtype;
    struct gr_shape shape;
    size_t size; /* bytes */
    const void *data;
    struct gr_buffer *buf;
};

/* A new zeroed 64-byte aligned tensor; the writable pointer is gr_tensor_mut. */
enum graft_status gr_tensor_new(enum gr_dtype dtype, const struct gr_shape *shape,
                                struct gr_tensor *t, struct graft_error *err);
/* The same, for a caller that writes every element. */
enum graft_status gr_tensor_new_unset(enum gr_dtype dtype, const struct gr_shape *shape,
                                      struct gr_tensor *t, struct graft_error *err);
/* A view of buf at byte `offset`, takes a reference; checks that it lies inside. */
enum graft_status gr_tensor_view(struct gr_buffer *buf, size_t offset, enum gr_dtype dtype,
                                 const struct gr_shape *shape, struct gr_tensor *t,
                                 struct graft_error *err);
/* A new tensor with a copy of `data`. */
enum graft_status gr_tensor_from(enum gr_dtype dtype, const struct gr_shape *shape,
                                 const void *data, struct gr_tensor *t, struct graft_error *err);
/* Another view of the same bytes. */
struct gr_tensor gr_tensor_ref(const struct gr_tensor *t);
void gr_tensor_clear(struct gr_tensor *t);
/* Only for tensors from gr_tensor_new/from that nobody else refers to yet. */
static inline void *gr_tensor_mut(struct gr_tensor *t)
{
    return (void *)(uintptr_t)t->data;
}
int64_t gr_tensor_count(const struct gr_tensor *t);
/* Converts to dtype into *out (may alias nothing); a mere reference when dtype is the same and the
   data is aligned to its element size. */
enum graft_status gr_tensor_convert(const struct gr_tensor *t, enum gr_dtype dtype,
                                    struct gr_tensor *out, struct graft_error *err);

/* Named tensors as a weights file holds them ("state dict"), in file order. */
struct gr_weights {
    struct gr_weight {
        char *name;
        struct gr_tensor tensor;
    } * items;
    size_t n, cap;
    char *format;  /* "PyTorch zip", "PyTorch stream", "safetensors" */
    char *wrapper; /* where the tensors were nested ("state_dict"), or NULL */
    char *note;    /* what else was in the file, one line, or NULL */
};

void gr_weights_clear(struct gr_weights *w);
/* Moves `t` in (cleared on failure too). Readers refuse duplicate names. */
enum graft_status gr_weights_add(struct gr_weights *w, const char *name, struct gr_tensor *t,
                                 struct graft_error *err);
/* -1 when absent. */
int64_t gr_weights_find(const struct gr_weights *w, const char *name);

#endif
