/* Which tensors does a safetensors file hold, and how is one written? */
#include "formats/safetensors.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/map.h"
#include "base/mem.h"
#include "formats/weights.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000, ALIGNMENT = 64, MAX_INDEX = 100000000 };

static const struct {
    const char *name;
    enum gr_dtype dtype;
} dtypes[] = {
    {"F64", GR_F64}, {"I64", GR_I64}, {"U64", GR_U64},   {"F32", GR_F32}, {"I32", GR_I32},
    {"U32", GR_U32}, {"F16", GR_F16}, {"BF16", GR_BF16}, {"I16", GR_I16}, {"U16", GR_U16},
    {"I8", GR_I8},   {"U8", GR_U8},   {"BOOL", GR_BOOL},
};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

/* ---- reading -------------------------------------------------------------------------------- */

struct range {
    uint64_t begin, end;
    const char *name;
};

static int compare_ranges(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The format allows neither holes nor overlaps. */
static enum graft_status check_ranges(struct range *ranges, size_t n, uint64_t size,
                                      struct graft_error *err)
{
    uint64_t at = 0;
    if (n)
        qsort(ranges, n, sizeof *ranges, compare_ranges);
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].begin != at)
            return gr_error(err, GRAFT_E_FORMAT,
                            "tensor '%.200s' begins at byte %llu of the data, expected %llu",
                            ranges[i].name, (unsigned long long)ranges[i].begin,
                            (unsigned long long)at);
        at = ranges[i].end;
    }
    if (at != size)
        return gr_error(err, GRAFT_E_FORMAT, "tensors need %llu bytes, the file has %llu",
                        (unsigned long long)at, (unsigned long long)size);
    return GRAFT_OK;
}

static enum graft_status read_shape(const json_t *dims, struct gr_shape *shape,
                                    struct graft_error *err)
{
    size_t n = json_array_size(dims);
    if (!json_is_array(dims))
        return gr_error(err, GRAFT_E_FORMAT, "shape is no list");
    if (n > GR_MAX_RANK)
        return gr_error(err, GRAFT_E_FORMAT, "%zu dimensions, at most %d are read", n, GR_MAX_RANK);
    *shape = (struct gr_shape){.rank = (int)n};
    for (size_t i = 0; i < n; i++) {
        const json_t *d = json_array_get(dims, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return gr_error(err, GRAFT_E_FORMAT, "dimension %zu is no count", i);
        shape->dim[i] = json_integer_value(d);
    }
    return GRAFT_OK;
}

/* One entry of the header; `data` is where the data begins, `size` how much there is. */
static enum graft_status read_entry(struct gr_buffer *buf, size_t data, uint64_t size,
                                    const json_t *entry, struct gr_tensor *t, struct range *range,
                                    struct graft_error *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    char text[GR_SHAPE_TEXT];
    struct gr_shape shape;
    if (json_object_size(entry) != 3 || !type || json_array_size(offsets) != 2 ||
        !json_is_integer(begin) || !json_is_integer(end))
        return gr_error(err, GRAFT_E_FORMAT, "its entry is not {dtype, shape, data_offsets}");
    enum graft_status s = read_shape(json_object_get(entry, "shape"), &shape, err);
    if (s)
        return s;
    json_int_t b = json_integer_value(begin), e = json_integer_value(end);
    if (b < 0 || e < b || (uint64_t)e > size)
        return gr_error(err, GRAFT_E_FORMAT, "data_offsets %lld..%lld, the data has %llu bytes",
                        (long long)b, (long long)e, (unsigned long long)size);
    size_t i = 0;
    while (i < N_DTYPES && strcmp(dtypes[i].name, type) != 0)
        i++;
    if (i == N_DTYPES)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "elements of type '%.40s' are not read", type);
    s = gr_tensor_view(buf, data + (size_t)b, dtypes[i].dtype, &shape, t, err);
    if (s)
        return s;
    if (t->size != (uint64_t)(e - b)) {
        s = gr_error(err, GRAFT_E_FORMAT, "shape %s of %s needs %zu bytes, data_offsets give %lld",
                     gr_shape_print(&shape, text), type, t->size, (long long)(e - b));
        gr_tensor_clear(t);
        return s;
    }
    *range = (struct range){(uint64_t)b, (uint64_t)e, NULL};
    return GRAFT_OK;
}

/* "metadata: format=pt, ..." */
static enum graft_status read_metadata(json_t *meta, struct gr_weights *w, struct graft_error *err)
{
    struct gr_buf note;
    const char *key;
    json_t *value;
    size_t n = 0;
    gr_buf_init(&note, 0);
    if (!json_is_object(meta))
        return gr_error(err, GRAFT_E_FORMAT, "__metadata__ is no object");
    json_object_foreach(meta, key, value)
    {
        const char *text = json_string_value(value);
        if (!text) {
            gr_buf_clear(&note);
            return gr_error(err, GRAFT_E_FORMAT, "__metadata__ '%.100s' is no string", key);
        }
        if (n < 12 && gr_weights_name_ok(key, strlen(key)) &&
            gr_weights_name_ok(text, strlen(text)))
            gr_buf_printf(&note, "%s%.60s=%.100s", n++ ? ", " : "metadata: ", key, text);
    }
    if (n && !(w->note = gr_buf_take(&note)))
        return gr_error_nomem(err);
    return GRAFT_OK;
}

static enum graft_status parse_header(struct gr_buffer *buf, json_t **header, size_t *data,
                                      struct graft_error *err)
{
    struct gr_reader r;
    json_error_t je;
    size_t size;
    const uint8_t *bytes = gr_buffer_data(buf, &size);
    gr_reader_init(&r, bytes, size);
    uint64_t n = gr_read_u64le(&r);
    if (r.failed)
        return gr_error(err, GRAFT_E_FORMAT, "%zu bytes are no safetensors file", size);
    if (n > MAX_HEADER)
        return gr_error(err, GRAFT_E_LIMIT, "header of %llu bytes, limit is %d",
                        (unsigned long long)n, MAX_HEADER);
    const uint8_t *text = gr_read_bytes(&r, (size_t)n);
    if (!text || n < 2 || text[0] != '{')
        return gr_error(err, GRAFT_E_FORMAT, "header of %llu bytes, %zu are there%s",
                        (unsigned long long)n, size - 8, text ? ", and it is no JSON object" : "");
    json_t *root = json_loadb((const char *)text, (size_t)n, JSON_REJECT_DUPLICATES, &je);
    if (!root && json_error_code(&je) == json_error_out_of_memory)
        return gr_error_nomem(err);
    if (!root)
        return gr_error(err, GRAFT_E_FORMAT, "header: line %d: %s", je.line, je.text);
    *header = root;
    *data = gr_reader_pos(&r);
    return GRAFT_OK;
}

enum graft_status gr_safetensors_read_buffer(struct gr_buffer *buf, struct gr_weights *out,
                                             struct graft_error *err)
{
    json_t *header = NULL, *entry;
    const char *name;
    struct gr_weights w = {0};
    struct range *ranges = NULL;
    size_t data = 0, size = 0, n = 0;
    gr_buffer_data(buf, &size);
    enum graft_status s = parse_header(buf, &header, &data, err);
    if (s)
        goto out;
    ranges = gr_alloc_array(json_object_size(header), sizeof *ranges);
    if (!ranges) {
        s = gr_error_nomem(err);
        goto out;
    }
    json_object_foreach(header, name, entry)
    {
        struct gr_tensor t = {0};
        if (!strcmp(name, "__metadata__")) {
            if ((s = read_metadata(entry, &w, err)))
                goto out;
            continue;
        }
        if (!gr_weights_name_ok(name, strlen(name))) {
            s = gr_error(err, GRAFT_E_FORMAT, "tensor %zu has no printable name", n);
            goto out;
        }
        s = read_entry(buf, data, size - data, entry, &t, &ranges[n], err);
        if (s) {
            gr_error_in(err, s, "tensor '%.200s'", name);
            goto out;
        }
        ranges[n++].name = name;
        if ((s = gr_weights_add(&w, name, &t, err)))
            goto out;
    }
    if ((s = check_ranges(ranges, n, size - data, err)))
        goto out;
    w.format = gr_strdup("safetensors");
    if (!w.format) {
        s = gr_error_nomem(err);
        goto out;
    }
    *out = w;
    memset(&w, 0, sizeof w);
out:
    gr_weights_clear(&w);
    gr_free(ranges);
    json_decref(header);
    return s;
}

enum graft_status gr_safetensors_read(const char *path, struct gr_weights *out,
                                      struct graft_error *err)
{
    struct gr_buffer *buf = NULL;
    enum graft_status s = gr_buffer_map(path, &buf, err);
    if (s)
        return s;
    s = gr_safetensors_read_buffer(buf, out, err);
    gr_buffer_unref(buf);
    return s ? gr_error_in(err, s, "%s", path) : s;
}

/* ---- shards --------------------------------------------------------------------------------- */

/* Reads one shard and moves its tensors into w. */
static enum graft_status add_shard(const char *folder, const char *name, struct gr_weights *w,
                                   struct gr_names *seen, struct graft_error *err)
{
    struct gr_weights shard = {0};
    char *path = gr_path_join(folder, name);
    if (!path)
        return gr_error_nomem(err);
    enum graft_status s = gr_safetensors_read(path, &shard, err);
    gr_free(path);
    for (size_t i = 0; i < shard.n && !s; i++) {
        if (gr_names_find(seen, shard.items[i].name) >= 0)
            s = gr_error(err, GRAFT_E_FORMAT, "%s: tensor '%.200s' is in another shard too", name,
                         shard.items[i].name);
        else
            s = gr_weights_add(w, shard.items[i].name, &shard.items[i].tensor, err);
        if (!s && !gr_names_set(seen, w->items[w->n - 1].name, 1))
            s = gr_error_nomem(err);
    }
    gr_weights_clear(&shard);
    return s;
}

enum graft_status gr_safetensors_read_index(const char *path, struct gr_weights *out,
                                            struct graft_error *err)
{
    uint8_t *text = NULL;
    size_t cap = 0, size = 0;
    json_t *root = NULL, *shard;
    json_error_t je;
    const char *tensor;
    struct gr_names files = {0}, seen = {0};
    struct gr_weights w = {0};
    char *folder = gr_path_dir(path);
    enum graft_status s =
        folder ? gr_file_read(path, MAX_INDEX, &text, &cap, &size, err) : gr_error_nomem(err);
    if (s)
        goto out;
    root = json_loadb((const char *)text, size, JSON_REJECT_DUPLICATES, &je);
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map)) {
        s = gr_error(err, GRAFT_E_FORMAT, "%s: %s", path, root ? "no weight_map" : je.text);
        goto out;
    }
    json_object_foreach(map, tensor, shard)
    {
        const char *name = json_string_value(shard);
        if (!name || !gr_weights_name_ok(name, strlen(name)) || strchr(name, '/') ||
            name[0] == '.') {
            s = gr_error(err, GRAFT_E_FORMAT,
                         "%s: a shard's name is no plain file name in the same folder", path);
            goto out;
        }
        if (gr_names_find(&files, name) >= 0)
            continue;
        if (!gr_names_set(&files, name, 1)) {
            s = gr_error_nomem(err);
            goto out;
        }
        if ((s = add_shard(folder, name, &w, &seen, err)))
            goto out;
    }
    json_object_foreach(map, tensor, shard)
    {
        if (gr_names_find(&seen, tensor) < 0) {
            s = gr_error(err, GRAFT_E_FORMAT, "%s: tensor '%.200s' is in no shard", path,
                         gr_weights_name_ok(tensor, strlen(tensor)) ? tensor : "?");
            goto out;
        }
    }
    w.format = gr_sprintf("safetensors, %zu shards", files.n);
    if (!w.format) {
        s = gr_error_nomem(err);
        goto out;
    }
    *out = w;
    memset(&w, 0, sizeof w);
out:
    gr_names_clear(&files);
    gr_names_clear(&seen);
    gr_weights_clear(&w);
    json_decref(root);
    gr_free(text);
    gr_free(folder);
    return s;
}

/* ---- writing -------------------------------------------------------------------------------- */

static enum graft_status header_entry(json_t *header, const char *name, const struct gr_tensor *t,
                                      const char *type, uint64_t begin, struct graft_error *err)
{
    json_t *shape = json_array();
    bool ok = shape != NULL;
    for (int i = 0; ok && i < t->shape.rank; i++)
        ok = !json_array_append_new(shape, json_integer(t->shape.dim[i]));
    json_t *entry = json_pack("{s:s, s:O, s:[I, I]}", "dtype", type, "shape", shape, "data_offsets",
                              (json_int_t)begin, (json_int_t)(begin + t->size));
    json_decref(shape);
    if (!ok || !entry || json_object_set_new(header, name, entry))
        return gr_error_nomem(err);
    return GRAFT_OK;
}

static enum graft_status build_header(size_t n, const char *const *names,
                                      const struct gr_tensor *tensors, size_t n_meta,
                                      const char *const *keys, const char *const *values,
                                      size_t *order, json_t *header, struct graft_error *err)
{
    size_t n_ordered = 0;
    uint64_t at = 0;
    json_t *meta = n_meta ? json_object() : NULL;
    for (size_t i = 0; i < n_meta; i++)
        if (json_object_set_new(meta, keys[i], json_string(values[i]))) {
            json_decref(meta);
            return gr_error(err, GRAFT_E_ARG, "metadata %zu is no UTF-8", i);
        }
    if (meta && json_object_set_new(header, "__metadata__", meta))
        return gr_error_nomem(err);
    for (size_t elem = 8; elem; elem /= 2)
        for (size_t i = 0; i < n; i++) {
            size_t k = 0;
            if (gr_dtype_size(tensors[i].dtype) != elem)
                continue;
            while (k < N_DTYPES && dtypes[k].dtype != tensors[i].dtype)
                k++;
            if (k == N_DTYPES)
                break;
            if (!gr_weights_name_ok(names[i], strlen(names[i])) ||
                json_object_get(header, names[i]))
                return gr_error(err, GRAFT_E_ARG, "tensor %zu: its name is bad or used twice", i);
            enum graft_status s =
                header_entry(header, names[i], &tensors[i], dtypes[k].name, at, err);
            if (s)
                return s;
            order[n_ordered++] = i;
            at += tensors[i].size;
        }
    if (n_ordered != n)
        return gr_error(err, GRAFT_E_ARG, "%zu of %zu tensors have no type that can be written",
                        n - n_ordered, n);
    return GRAFT_OK;
}

enum graft_status gr_safetensors_write(const char *path, size_t n, const char *const *names,
                                       const struct gr_tensor *tensors, size_t n_meta,
                                       const char *const *keys, const char *const *values,
                                       struct graft_error *err)
{
    static const char spaces[ALIGNMENT] = "                                "
                                          "                                ";
    struct gr_outfile o = {0};
    char *text = NULL;
    json_t *header = json_object();
    size_t *order = gr_alloc_array(n, sizeof *order);
    enum graft_status s =
        header && order ? build_header(n, names, tensors, n_meta, keys, values, order, header, err)
                        : gr_error_nomem(err);
    if (s)
        goto out;
    text = json_dumps(header, JSON_COMPACT);
    if (!text) {
        s = gr_error_nomem(err);
        goto out;
    }
    size_t size = strlen(text), pad = (ALIGNMENT - (size + 8) % ALIGNMENT) % ALIGNMENT;
    if (size + pad > MAX_HEADER) {
        s = gr_error(err, GRAFT_E_LIMIT, "header of %zu bytes, limit is %d", size + pad,
                     MAX_HEADER);
        goto out;
    }
    if ((s = gr_outfile_open(&o, path, err)))
        goto out;
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)(size + pad) >> (8 * i));
    fwrite(length, 1, 8, o.f);
    fwrite(text, 1, size, o.f);
    fwrite(spaces, 1, pad, o.f);
    for (size_t i = 0; i < n; i++) {
        const struct gr_tensor *t = &tensors[order[i]];
        if (t->size)
            fwrite(t->data, 1, t->size, o.f);
    }
    s = gr_outfile_commit(&o, err);
out:
    gr_outfile_abort(&o);
    free(text); /* from jansson */
    json_decref(header);
    gr_free(order);
    return s;
}
