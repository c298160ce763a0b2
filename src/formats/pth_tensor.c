/* What tensor does a pickled call of torch._utils._rebuild_... stand for? */
#include "formats/pth_tensor.h"
#include "base/mem.h"
#include "formats/weights.h"
#include <stdio.h>
#include <string.h>

/* ---- names ---------------------------------------------------------------------------------- */

static const struct gr_pth_kind kinds[] = {
    {"FloatStorage", GR_F32, 4},
    {"HalfStorage", GR_F16, 2},
    {"DoubleStorage", GR_F64, 8},
    {"BFloat16Storage", GR_BF16, 2},
    {"LongStorage", GR_I64, 8},
    {"IntStorage", GR_I32, 4},
    {"ShortStorage", GR_I16, 2},
    {"CharStorage", GR_I8, 1},
    {"ByteStorage", GR_U8, 1},
    {"BoolStorage", GR_BOOL, 1},
    {"UntypedStorage", GR_UNKNOWN, 1},
    {"storage.UntypedStorage", GR_UNKNOWN, 1},
    {"storage._UntypedStorage", GR_UNKNOWN, 1},
    {"ComplexFloatStorage", GR_UNKNOWN, 8},
    {"ComplexDoubleStorage", GR_UNKNOWN, 16},
    {"QInt8Storage", GR_UNKNOWN, 1},
    {"QUInt8Storage", GR_UNKNOWN, 1},
    {"QInt32Storage", GR_UNKNOWN, 4},
};

static const struct {
    const char *name;
    enum gr_dtype dtype;
} dtypes[] = {
    {"float32", GR_F32}, {"float16", GR_F16}, {"float64", GR_F64}, {"bfloat16", GR_BF16},
    {"int64", GR_I64},   {"int32", GR_I32},   {"int16", GR_I16},   {"int8", GR_I8},
    {"uint8", GR_U8},    {"bool", GR_BOOL},   {"uint16", GR_U16},  {"uint32", GR_U32},
    {"uint64", GR_U64},
};

#define REBUILD_V1        "torch._utils._rebuild_tensor"
#define REBUILD_V2        "torch._utils._rebuild_tensor_v2"
#define REBUILD_V3        "torch._utils._rebuild_tensor_v3"
#define REBUILD_PARAM     "torch._utils._rebuild_parameter"
#define REBUILD_PARAM_OF  "torch._utils._rebuild_parameter_with_state"
#define REBUILD_FROM_TYPE "torch._tensor._rebuild_from_type_v2"

static const char *const plain_globals[] = {
    REBUILD_V1,
    REBUILD_V2,
    REBUILD_V3,
    REBUILD_PARAM,
    REBUILD_PARAM_OF,
    REBUILD_FROM_TYPE,
    "collections.OrderedDict",
    "collections.defaultdict",
    "torch.storage.TypedStorage",
    "torch.storage._TypedStorage",
    "torch.Size",
    "torch.device",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
};

/* The part behind "torch." and "torch.cuda.", where old files name their device. */
static const char *after_torch(const char *global)
{
    if (strncmp(global, "torch.", 6) != 0)
        return "";
    global += 6;
    return strncmp(global, "cuda.", 5) ? global : global + 5;
}

const struct gr_pth_kind *gr_pth_kind_find(const char *global)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(after_torch(global), kinds[i].name))
            return &kinds[i];
    return NULL;
}

static enum gr_dtype dtype_find(const char *global)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(after_torch(global), dtypes[i].name))
            return dtypes[i].dtype;
    return GR_UNKNOWN;
}

bool gr_pth_is_known_global(const char *global)
{
    for (size_t i = 0; i < sizeof plain_globals / sizeof *plain_globals; i++)
        if (!strcmp(global, plain_globals[i]))
            return true;
    return gr_pth_kind_find(global) || dtype_find(global);
}

/* The old stream names a module's class by a persistent id ('module', class, file, source). */
const char *gr_pth_class_name(const struct gr_pkl *v)
{
    if (v->kind != GR_PKL_OBJECT)
        return "";
    v = v->obj->callable;
    if (v->kind == GR_PKL_PERSID && v->pid->kind == GR_PKL_TUPLE && v->pid->n_v >= 2 &&
        gr_pkl_is_str(v->pid->v[0], "module"))
        v = v->pid->v[1];
    return v->kind == GR_PKL_GLOBAL ? v->s : "";
}

/* ---- bounds --------------------------------------------------------------------------------- */

enum graft_status gr_pth_charge(struct gr_pth *f, size_t bytes, struct graft_error *err)
{
    if (bytes > f->budget)
        return gr_error(err, GRAFT_E_LIMIT,
                        "%zu more bytes are asked for than a file of %zu bytes can sensibly hold",
                        bytes - f->budget, f->size);
    f->budget -= bytes;
    return GRAFT_OK;
}

enum graft_status gr_pth_step(struct gr_pth *f, size_t n, struct graft_error *err)
{
    if (n > f->steps)
        return gr_error(err, GRAFT_E_LIMIT, "the pickle's %zu values contain each other too often",
                        f->pickle.n_values);
    f->steps -= n;
    return GRAFT_OK;
}

/* ---- storages ------------------------------------------------------------------------------- */

/* pid = ('storage', class, key, device, count[, None or (view key, offset, count)]). */
static bool is_storage_pid(const struct gr_pkl *pid)
{
    return pid->kind == GR_PKL_TUPLE && pid->n_v >= 5 && gr_pkl_is_str(pid->v[0], "storage") &&
           pid->v[1]->kind == GR_PKL_GLOBAL && pid->v[2]->kind == GR_PKL_STR &&
           pid->v[2]->n < 256 && gr_weights_name_ok(pid->v[2]->s, pid->v[2]->n) &&
           pid->v[4]->kind == GR_PKL_INT && pid->v[4]->i >= 0;
}

static void storage_key(const struct gr_pkl *pid, char key[256])
{
    memcpy(key, pid->v[2]->s, pid->v[2]->n);
    key[pid->v[2]->n] = 0;
}

enum graft_status gr_pth_add_storage(struct gr_pth *f, const struct gr_pkl *pid,
                                     struct graft_error *err)
{
    char key[256];
    if (pid->kind == GR_PKL_TUPLE && pid->n_v && gr_pkl_is_str(pid->v[0], "module"))
        return GRAFT_OK;
    if (!is_storage_pid(pid))
        return gr_error(err, GRAFT_E_FORMAT, "pickle: a persistent id that names no storage");
    const struct gr_pth_kind *kind = gr_pth_kind_find(pid->v[1]->s);
    if (!kind)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "storages of kind %.200s are not read",
                        pid->v[1]->s);
    storage_key(pid, key);
    int64_t i = gr_names_find(&f->storage_ids, key);
    uint64_t n_elem = (uint64_t)pid->v[4]->i;
    if (i >= 0) {
        const struct gr_pth_storage *st = &f->storages[i];
        if (st->kind != kind || st->n_elem != n_elem)
            return gr_error(err, GRAFT_E_FORMAT, "storage '%s' is both %llu of %s and %llu of %s",
                            key, (unsigned long long)st->n_elem, st->kind->name,
                            (unsigned long long)n_elem, kind->name);
        return GRAFT_OK;
    }
    char *copy = gr_arena_strdup(&f->arena, key);
    if (!copy || !GR_GROW(f->storages, f->n_storages, f->cap_storages) ||
        !gr_names_set(&f->storage_ids, copy, (int64_t)f->n_storages))
        return gr_error_nomem(err);
    f->storages[f->n_storages++] =
        (struct gr_pth_storage){.key = copy, .kind = kind, .n_elem = n_elem};
    return GRAFT_OK;
}

static void release_heap(void *user, void *data, size_t size)
{
    (void)user, (void)size;
    gr_free(data);
}

/* Storages of a zip are entries, found when first wanted. */
static enum graft_status find_in_zip(struct gr_pth *f, struct gr_pth_storage *st,
                                     struct graft_error *err)
{
    char name[1024];
    snprintf(name, sizeof name, "%sdata/%s", f->folder, st->key);
    int64_t i = gr_names_find(&f->zip.ids, name);
    if (i < 0)
        return gr_error(err, GRAFT_E_FORMAT, "zip: no '%s'", name);
    const struct gr_zip_entry *e = &f->zip.entries[i];
    uint8_t *unpacked = NULL;
    size_t offset = 0;
    enum graft_status s;
    if (!e->deflated) {
        s = gr_zip_locate(&f->zip, (size_t)i, &offset, err);
        if (s)
            return s;
        gr_buffer_ref(f->buf);
        st->buf = f->buf;
    } else {
        s = gr_pth_charge(f, e->size, err);
        if (!s)
            s = gr_zip_inflate(&f->zip, (size_t)i, &unpacked, err);
        if (s)
            return s;
        st->buf = gr_buffer_new(unpacked, e->size, release_heap, NULL);
        if (!st->buf) {
            gr_free(unpacked);
            return gr_error_nomem(err);
        }
    }
    st->offset = offset;
    st->size = e->size;
    return GRAFT_OK;
}

/* The storage of a persistent id, with its bytes; *from is where a view of it begins, in
   elements. */
static enum graft_status find_storage(struct gr_pth *f, const struct gr_pkl *v,
                                      struct gr_pth_storage **out, uint64_t *from, uint64_t *n_elem,
                                      struct graft_error *err)
{
    char key[256];
    if (v->kind != GR_PKL_PERSID || !is_storage_pid(v->pid))
        return gr_error(err, GRAFT_E_FORMAT, "%s where a storage is expected",
                        gr_pkl_print(v, key, sizeof key));
    storage_key(v->pid, key);
    int64_t i = gr_names_find(&f->storage_ids, key);
    if (i < 0)
        return gr_error(err, GRAFT_E_FORMAT, "no storage '%s'", key);
    struct gr_pth_storage *st = &f->storages[i];
    if (!st->buf) {
        enum graft_status s = f->is_zip ? find_in_zip(f, st, err)
                                        : gr_error(err, GRAFT_E_FORMAT, "no storage '%s'", key);
        if (s)
            return s;
    }
    if (st->n_elem > st->size / st->kind->elem_size)
        return gr_error(err, GRAFT_E_FORMAT, "storage '%s' has %zu bytes, needs %llu of %zu", key,
                        st->size, (unsigned long long)st->n_elem, st->kind->elem_size);
    *from = 0;
    *n_elem = st->n_elem;
    const struct gr_pkl *view = v->pid->n_v > 5 ? v->pid->v[5] : NULL;
    if (view && view->kind != GR_PKL_NONE) {
        if (view->kind != GR_PKL_TUPLE || view->n_v != 3 || view->v[1]->kind != GR_PKL_INT ||
            view->v[2]->kind != GR_PKL_INT || view->v[1]->i < 0 || view->v[2]->i < 0 ||
            (uint64_t)view->v[1]->i > st->n_elem ||
            (uint64_t)view->v[2]->i > st->n_elem - (uint64_t)view->v[1]->i)
            return gr_error(err, GRAFT_E_FORMAT, "bad view of storage '%s', which has %llu", key,
                            (unsigned long long)st->n_elem);
        *from = (uint64_t)view->v[1]->i;
        *n_elem = (uint64_t)view->v[2]->i;
    }
    *out = st;
    return GRAFT_OK;
}

/* ---- tensors -------------------------------------------------------------------------------- */

struct layout {
    struct gr_shape shape;
    int64_t stride[GR_MAX_RANK]; /* in elements */
    int64_t first, count;
    int64_t end; /* one past the last element touched, from the storage's start */
    bool dense;
};

/* torch.Size((2, 3)) is an object around the tuple. */
static const struct gr_pkl *as_tuple(const struct gr_pkl *v)
{
    if (v->kind == GR_PKL_OBJECT && !strcmp(gr_pth_class_name(v), "torch.Size") &&
        v->obj->args->n_v == 1)
        v = v->obj->args->v[0];
    return v->kind == GR_PKL_TUPLE || v->kind == GR_PKL_LIST ? v : NULL;
}

static enum graft_status read_layout(const struct gr_pkl *offset, const struct gr_pkl *sizes,
                                     const struct gr_pkl *strides, struct layout *l,
                                     struct graft_error *err)
{
    char text[GR_SHAPE_TEXT];
    memset(l, 0, sizeof *l);
    sizes = as_tuple(sizes);
    strides = as_tuple(strides);
    if (!sizes || !strides || sizes->n_v != strides->n_v || offset->kind != GR_PKL_INT)
        return gr_error(err, GRAFT_E_FORMAT, "sizes, strides or offset are no numbers");
    if (sizes->n_v > GR_MAX_RANK)
        return gr_error(err, GRAFT_E_FORMAT, "%zu dimensions, at most %d are read", sizes->n_v,
                        GR_MAX_RANK);
    l->shape.rank = (int)sizes->n_v;
    l->first = offset->i;
    for (int i = 0; i < l->shape.rank; i++) {
        const struct gr_pkl *d = sizes->v[i], *st = strides->v[i];
        if (d->kind != GR_PKL_INT || st->kind != GR_PKL_INT || d->i < 0 || st->i < 0)
            return gr_error(err, GRAFT_E_FORMAT, "dimension %d: bad size or stride", i);
        l->shape.dim[i] = d->i;
        l->stride[i] = st->i;
    }
    l->count = gr_shape_count(&l->shape);
    if (l->first < 0 || l->count < 0)
        return gr_error(err, GRAFT_E_FORMAT, "bad shape %s or offset %lld",
                        gr_shape_print(&l->shape, text), (long long)l->first);
    l->dense = true;
    if (l->count == 0)
        return GRAFT_OK;
    l->end = l->first;
    int64_t expected = 1, span;
    for (int i = l->shape.rank - 1; i >= 0; i--) {
        int64_t d = l->shape.dim[i];
        if (__builtin_mul_overflow(d - 1, l->stride[i], &span) ||
            __builtin_add_overflow(l->end, span, &l->end))
            return gr_error(err, GRAFT_E_FORMAT, "shape %s: stride %lld overflows",
                            gr_shape_print(&l->shape, text), (long long)l->stride[i]);
        l->dense = l->dense && (d == 1 || l->stride[i] == expected);
        expected *= d;
    }
    if (__builtin_add_overflow(l->end, 1, &l->end))
        return gr_error(err, GRAFT_E_FORMAT, "offset %lld overflows", (long long)l->first);
    return GRAFT_OK;
}

static void copy_elem(uint8_t *dst, const uint8_t *src, size_t size, bool swap)
{
    if (!swap)
        memcpy(dst, src, size);
    for (size_t i = 0; swap && i < size; i++)
        dst[i] = src[size - 1 - i];
}

/* Copies what is not dense, or of the other byte order, into a tensor of its own. */
static enum graft_status copy_strided(struct gr_pth *f, const uint8_t *base, enum gr_dtype dtype,
                                      const struct layout *l, struct gr_tensor *t,
                                      struct graft_error *err)
{
    size_t elem = gr_dtype_size(dtype);
    enum graft_status s = gr_pth_charge(f, (size_t)l->count * elem, err);
    if (!s)
        s = gr_tensor_new(dtype, &l->shape, t, err);
    if (s)
        return s;
    uint8_t *dst = gr_tensor_mut(t);
    int64_t index[GR_MAX_RANK] = {0}, at = l->first;
    for (int64_t i = 0; i < l->count; i++) {
        copy_elem(dst + (size_t)i * elem, base + (size_t)at * elem, elem, f->swap);
        for (int k = l->shape.rank - 1; k >= 0; k--) { /* to the next element, row-major */
            if (++index[k] < l->shape.dim[k]) {
                at += l->stride[k];
                break;
            }
            index[k] = 0;
            at -= (l->shape.dim[k] - 1) * l->stride[k];
        }
    }
    return GRAFT_OK;
}

static enum graft_status rebuild(struct gr_pth *f, const struct gr_pkl *args,
                                 const struct gr_pkl *dtype_name, struct gr_tensor *t,
                                 struct graft_error *err)
{
    struct gr_pth_storage *st = NULL;
    struct layout l;
    uint64_t from = 0, n_elem = 0;
    char text[GR_SHAPE_TEXT];
    enum graft_status s = find_storage(f, args->v[0], &st, &from, &n_elem, err);
    if (!s)
        s = read_layout(args->v[1], args->v[2], args->v[3], &l, err);
    if (s)
        return s;
    enum gr_dtype dtype = st->kind->dtype;
    const char *type_name = st->kind->name;
    if (dtype_name) {
        type_name = dtype_name->kind == GR_PKL_GLOBAL ? dtype_name->s : "no name";
        dtype = dtype_find(type_name);
    }
    if (!dtype)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "elements of type %.100s are not read",
                        type_name);
    size_t elem = gr_dtype_size(dtype);
    if (elem != st->kind->elem_size) { /* an untyped storage counts bytes */
        if (from || st->kind->elem_size != 1)
            return gr_error(err, GRAFT_E_FORMAT, "storage '%s' of %s holds no %s", st->key,
                            st->kind->name, gr_dtype_name(dtype));
        n_elem /= elem;
    }
    if ((uint64_t)l.end > n_elem)
        return gr_error(err, GRAFT_E_FORMAT,
                        "shape %s at %lld ends at element %lld of storage '%s', which has %llu",
                        gr_shape_print(&l.shape, text), (long long)l.first, (long long)l.end,
                        st->key, (unsigned long long)n_elem);
    size_t start = st->offset + (size_t)from * elem; /* inside of st->buf, as is all up to end */
    if (l.dense && !(f->swap && elem > 1))
        return gr_tensor_view(st->buf, l.count ? start + (size_t)l.first * elem : 0, dtype,
                              &l.shape, t, err);
    size_t size;
    const uint8_t *base = gr_buffer_data(st->buf, &size);
    return copy_strided(f, base + start, dtype, &l, t, err);
}

bool gr_pth_is_tensor(const struct gr_pkl *v)
{
    const char *name = gr_pth_class_name(v);
    return !strncmp(name, "torch._utils._rebuild_", 22) ||
           !strncmp(name, "torch._tensor._rebuild_", 23);
}

enum graft_status gr_pth_tensor(struct gr_pth *f, const struct gr_pkl *v, struct gr_tensor *t,
                                struct graft_error *err)
{
    char text[256];
    struct gr_pkl_object inner_obj;
    struct gr_pkl inner;
    for (int depth = 0; depth < 8; depth++) {
        if (v->kind != GR_PKL_OBJECT)
            return gr_error(err, GRAFT_E_FORMAT, "%s where a tensor is expected",
                            gr_pkl_print(v, text, sizeof text));
        const char *name = gr_pth_class_name(v);
        const struct gr_pkl *args = v->obj->args;
        size_t need = !strcmp(name, REBUILD_V1)          ? 4
                      : !strcmp(name, REBUILD_V2)        ? 6
                      : !strcmp(name, REBUILD_V3)        ? 7
                      : !strcmp(name, REBUILD_PARAM)     ? 1
                      : !strcmp(name, REBUILD_PARAM_OF)  ? 1
                      : !strcmp(name, REBUILD_FROM_TYPE) ? 3
                                                         : 0;
        if (!need)
            return gr_error(err, GRAFT_E_UNSUPPORTED,
                            "%s, which is no tensor that graft can rebuild (dense and not "
                            "quantized)",
                            gr_pkl_print(v, text, sizeof text));
        if (args->n_v < need)
            return gr_error(err, GRAFT_E_FORMAT, "%s has %zu arguments, needs %zu", name, args->n_v,
                            need);
        if (need >= 4)
            return rebuild(f, args, need == 7 ? args->v[6] : NULL, t, err);
        if (need == 1) {
            v = args->v[0];
            continue;
        }
        /* _rebuild_from_type_v2(function, class, arguments, state) */
        if (args->v[2]->kind != GR_PKL_TUPLE)
            return gr_error(err, GRAFT_E_FORMAT, "%s: arguments are no tuple", name);
        inner_obj = (struct gr_pkl_object){.callable = args->v[0], .args = args->v[2]};
        inner = (struct gr_pkl){.kind = GR_PKL_OBJECT, .obj = &inner_obj};
        v = &inner;
    }
    return gr_error(err, GRAFT_E_FORMAT, "a parameter is nested too deeply");
}
