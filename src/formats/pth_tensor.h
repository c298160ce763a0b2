/* Tensors as torch.save describes them: a call of a rebuild function on a storage. */
#ifndef GR_FORMATS_PTH_TENSOR_H
#define GR_FORMATS_PTH_TENSOR_H

#include "base/map.h"
#include "core/tensor.h"
#include "formats/pickle.h"
#include "formats/pth_zip.h"

/* A kind of storage, by the global that names it. */
struct gr_pth_kind {
    const char *name;
    enum gr_dtype dtype; /* GR_UNKNOWN: bytes, or elements that graft has no type for */
    size_t elem_size;
};
/* NULL when it is none. */
const struct gr_pth_kind *gr_pth_kind_find(const char *global);
/* The global only rebuilds tensors and plain containers. */
bool gr_pth_is_known_global(const char *global);

struct gr_pth_storage {
    const char *key;
    const struct gr_pth_kind *kind;
    uint64_t n_elem;       /* as the pickle says */
    struct gr_buffer *buf; /* NULL: not found yet */
    size_t offset, size;   /* bytes in buf */
};

/* An open file. */
struct gr_pth {
    struct gr_buffer *buf; /* the whole file, borrowed */
    const uint8_t *data;
    size_t size;
    bool swap;         /* the file is of the other byte order */
    struct gr_zip zip; /* zip only */
    bool is_zip;
    const char *folder; /* of the zip: "archive/"; in `arena` */
    uint8_t *unpacked;  /* data.pkl when it was deflated */
    struct gr_pickle pickle;
    struct gr_arena arena;
    struct gr_pth_storage *storages;
    size_t n_storages, cap_storages;
    struct gr_names storage_ids;
    size_t budget; /* bytes that may still be allocated for copies and names */
    size_t steps;  /* values that may still be visited: values are shared, visits multiply */
};

enum graft_status gr_pth_charge(struct gr_pth *f, size_t bytes, struct graft_error *err);
enum graft_status gr_pth_step(struct gr_pth *f, size_t n, struct graft_error *err);

/* Registers what a persistent id of the pickle stands for: key, kind and count; views of storages
   (only in the old stream) are not among them. */
enum graft_status gr_pth_add_storage(struct gr_pth *f, const struct gr_pkl *pid,
                                     struct graft_error *err);

/* The name of what an object was made of, or "". */
const char *gr_pth_class_name(const struct gr_pkl *v);
/* v is meant to become a tensor, of a kind that graft reads or not. */
bool gr_pth_is_tensor(const struct gr_pkl *v);
enum graft_status gr_pth_tensor(struct gr_pth *f, const struct gr_pkl *v, struct gr_tensor *t,
                                struct graft_error *err);

#endif
