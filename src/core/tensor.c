/* Who owns the bytes of a tensor? */
#include "core/tensor.h"
#include "base/file.h"
#include "base/mem.h"
#include <stdatomic.h>

struct gr_buffer {
    atomic_int refs;
    void *data;
    size_t size;
    void (*release)(void *user, void *data, size_t size);
    void *user;
};

struct gr_buffer *gr_buffer_new(void *data, size_t size,
                                void (*release)(void *user, void *data, size_t size), void *user)
{
    struct gr_buffer *b = gr_alloc(sizeof *b);
    if (b) {
        atomic_init(&b->refs, 1);
        b->data = data;
        b->size = size;
        b->release = release;
        b->user = user;
    }
    return b;
}

static void release_aligned(void *user, void *data, size_t size)
{
    (void)user, (void)size;
    gr_free_aligned(data);
}

static void release_map(void *user, void *data, size_t size)
{
    struct gr_map map = {.data = data, .size = size};
    (void)user;
    gr_map_close(&map);
}

enum graft_status gr_buffer_map(const char *path, struct gr_buffer **buf, struct graft_error *err)
{
    struct gr_map map;
    enum graft_status s = gr_map_open(path, &map, err);
    if (s)
        return s;
    struct gr_buffer *b = gr_buffer_new((void *)(uintptr_t)map.data, map.size, release_map, NULL);
    if (!b) {
        gr_map_close(&map);
        return gr_error_nomem(err);
    }
    *buf = b;
    return GRAFT_OK;
}

void gr_buffer_ref(struct gr_buffer *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

void gr_buffer_unref(struct gr_buffer *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
        if (b->release)
            b->release(b->user, b->data, b->size);
        gr_free(b);
    }
}

const void *gr_buffer_data(const struct gr_buffer *b, size_t *size)
{
    *size = b->size;
    return b->data;
}

static enum graft_status tensor_size(enum gr_dtype dtype, const struct gr_shape *shape,
                                     size_t *size, struct graft_error *err)
{
    int64_t n = gr_shape_count(shape);
    char text[GR_SHAPE_TEXT];
    if (n < 0)
        return gr_error(err, GRAFT_E_LIMIT, "a tensor of shape %s is too large",
                        gr_shape_print(shape, text));
    if (!gr_dtype_size(dtype))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "tensors of type %s are not supported",
                        gr_dtype_name(dtype));
    *size = (size_t)n * gr_dtype_size(dtype);
    return GRAFT_OK;
}

static enum graft_status new_tensor(enum gr_dtype dtype, const struct gr_shape *shape, bool zero,
                                    struct gr_tensor *t, struct graft_error *err)
{
    size_t size;
    enum graft_status s = tensor_size(dtype, shape, &size, err);
    if (s)
        return s;
    void *data = gr_alloc_aligned(size, zero);
    struct gr_buffer *buf = data ? gr_buffer_new(data, size, release_aligned, NULL) : NULL;
    if (!buf) {
        gr_free_aligned(data);
        return gr_error_nomem(err);
    }
    *t = (struct gr_tensor){dtype, *shape, size, data, buf};
    return GRAFT_OK;
}

enum graft_status gr_tensor_new(enum gr_dtype dtype, const struct gr_shape *shape,
                                struct gr_tensor *t, struct graft_error *err)
{
    return new_tensor(dtype, shape, true, t, err);
}

enum graft_status gr_tensor_new_unset(enum gr_dtype dtype, const struct gr_shape *shape,
                                      struct gr_tensor *t, struct graft_error *err)
{
    return new_tensor(dtype, shape, false, t, err);
}

enum graft_status gr_tensor_view(struct gr_buffer *buf, size_t offset, enum gr_dtype dtype,
                                 const struct gr_shape *shape, struct gr_tensor *t,
                                 struct graft_error *err)
{
    size_t size;
    enum graft_status s = tensor_size(dtype, shape, &size, err);
    if (s)
        return s;
    if (offset > buf->size || size > buf->size - offset)
        return gr_error(err, GRAFT_E_FORMAT, "tensor needs %zu bytes at offset %zu, only %zu there",
                        size, offset, buf->size);
    gr_buffer_ref(buf);
    *t = (struct gr_tensor){dtype, *shape, size, (const char *)buf->data + offset, buf};
    return GRAFT_OK;
}

enum graft_status gr_tensor_from(enum gr_dtype dtype, const struct gr_shape *shape,
                                 const void *data, struct gr_tensor *t, struct graft_error *err)
{
    enum graft_status s = gr_tensor_new_unset(dtype, shape, t, err);
    if (!s && t->size)
        memcpy(gr_tensor_mut(t), data, t->size);
    return s;
}

struct gr_tensor gr_tensor_ref(const struct gr_tensor *t)
{
    if (t->buf)
        gr_buffer_ref(t->buf);
    return *t;
}

void gr_tensor_clear(struct gr_tensor *t)
{
    gr_buffer_unref(t->buf);
    memset(t, 0, sizeof *t);
}

int64_t gr_tensor_count(const struct gr_tensor *t)
{
    return gr_shape_count(&t->shape);
}

enum graft_status gr_tensor_convert(const struct gr_tensor *t, enum gr_dtype dtype,
                                    struct gr_tensor *out, struct graft_error *err)
{
    if (t->dtype == dtype && (uintptr_t)t->data % gr_dtype_size(dtype) == 0) {
        *out = gr_tensor_ref(t);
        return GRAFT_OK;
    }
    struct gr_tensor o;
    enum graft_status s = gr_tensor_new_unset(dtype, &t->shape, &o, err);
    if (s)
        return s;
    if ((uintptr_t)t->data % 4 && dtype != t->dtype) { /* the fast pairs want aligned data */
        for (int64_t i = 0, n = gr_tensor_count(t); i < n; i++)
            gr_store_f64(dtype, gr_tensor_mut(&o), (size_t)i,
                         gr_load_f64(t->dtype, t->data, (size_t)i));
    } else {
        gr_convert(dtype, gr_tensor_mut(&o), t->dtype, t->data, (size_t)gr_tensor_count(t));
    }
    *out = o;
    return GRAFT_OK;
}

void gr_weights_clear(struct gr_weights *w)
{
    for (size_t i = 0; i < w->n; i++) {
        gr_free(w->items[i].name);
        gr_tensor_clear(&w->items[i].tensor);
    }
    gr_free(w->items);
    gr_free(w->format);
    gr_free(w->wrapper);
    gr_free(w->note);
    memset(w, 0, sizeof *w);
}

enum graft_status gr_weights_add(struct gr_weights *w, const char *name, struct gr_tensor *t,
                                 struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    char *copy = NULL;
    if (!GR_GROW(w->items, w->n, w->cap) || !(copy = gr_strdup(name))) {
        s = gr_error_nomem(err);
        gr_tensor_clear(t);
        return s;
    }
    w->items[w->n++] = (struct gr_weight){copy, *t};
    memset(t, 0, sizeof *t);
    return s;
}

int64_t gr_weights_find(const struct gr_weights *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->items[i].name, name))
            return (int64_t)i;
    return -1;
}
