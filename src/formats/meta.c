/* What does a model file say of its labels and its preprocessing? */
#include "formats/meta.h"
#include "base/bytes.h"
#include "base/mem.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const resizes[] = {"shortest", "stretch", "letterbox", NULL};
static const char *const filters[] = {"nearest", "bilinear", "bicubic", "lanczos", "box", NULL};
static const char *const orders[] = {"rgb", "bgr", "grey", "rgba", NULL};

/* ---- writing -------------------------------------------------------------------------------- */

/* Sets `key` to the JSON text and releases `v`; NULL stands for a failed jansson call. The fewest
   digits that give the same numbers back: .485, not .48499999999999999. */
static enum graft_status set_json(struct gr_model *m, const char *key, json_t *v,
                                  struct graft_error *err)
{
    char *text = NULL;
    bool same = false;
    for (size_t digits = 15; v && !same && digits <= 17; digits++) {
        free(text); /* jansson's own */
        text = json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(digits));
        json_t *back = text ? json_loads(text, 0, NULL) : NULL;
        same = back && json_equal(v, back);
        json_decref(back);
    }
    enum graft_status s =
        same
            ? gr_model_set_prop(m, key, text, err)
            : gr_error(err, GRAFT_E_ARG, "metadata '%s' is not UTF-8 text and finite numbers", key);
    free(text);
    json_decref(v);
    return s;
}

static json_t *json_numbers(const double *v, size_t n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(a, json_real(v[i]));
    return a;
}

static json_t *json_pre(const struct graft_preprocess *p)
{
    size_t planes = (size_t)gr_channels_count(p->channels);
    json_t *o = json_pack("{s:[i,i], s:s, s:i, s:s, s:b}", "size", p->height, p->width, "resize",
                          resizes[p->resize], "resize_to", p->resize_to, "filter",
                          filters[p->filter], "antialias", 1);
    int side = p->height < p->width ? p->height : p->width;
    if (p->resize == GRAFT_RESIZE_SHORTEST)
        json_object_set_new(o, "crop_pct", json_real((double)side / p->resize_to));
    json_object_set_new(o, "scale", json_real(p->scale));
    json_object_set_new(o, "mean", json_numbers(p->mean, planes));
    json_object_set_new(o, "std", json_numbers(p->std, planes));
    json_object_set_new(o, "channels", json_string(orders[p->channels]));
    json_object_set_new(o, "pad_value", json_integer(p->pad_value));
    return o;
}

/* Which of the ranges that ONNX names the pixels 0..255 are mapped to; NULL: another. */
static const char *pixel_range(const struct graft_preprocess *p)
{
    static const struct {
        const char *name;
        double lo, hi;
    } ranges[] = {
        {"NominalRange_0_255", 0, 255}, {"Normalized_0_1", 0, 1}, {"Normalized_1_1", -1, 1}};
    size_t planes = (size_t)gr_channels_count(p->channels);
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        bool fits = true;
        for (size_t c = 0; c < planes; c++) {
            double lo = -p->mean[c] / p->std[c], hi = (255 * p->scale - p->mean[c]) / p->std[c];
            double eps = 1e-6 * ranges[r].hi;
            fits = fits && fabs(lo - ranges[r].lo) <= eps && fabs(hi - ranges[r].hi) <= eps;
        }
        if (fits)
            return ranges[r].name;
    }
    return NULL;
}

static enum graft_status write_pre(struct gr_model *m, struct graft_error *err)
{
    static const char *const formats[] = {"Rgb8", "Bgr8", "Gray8", "Rgba8"};
    const struct graft_preprocess *p = &m->pre;
    char imgsz[40];
    enum graft_status s = gr_meta_check_pre(p, err);
    if (s)
        return s;
    snprintf(imgsz, sizeof imgsz, "[%d, %d]", p->height, p->width);
    s = set_json(m, "graft.preprocess", json_pre(p), err);
    if (!s)
        s = gr_model_set_prop(m, "imgsz", imgsz, err);
    if (!s)
        s = gr_model_set_prop(m, "Image.BitmapPixelFormat", formats[p->channels], err);
    if (!s)
        s = gr_model_set_prop(m, "Image.NominalPixelRange", pixel_range(p), err);
    return s;
}

/* {0: 'ants', 1: 'bees'}: Python's way of writing it, which Ultralytics reads back. */
static enum graft_status write_names(struct gr_model *m, struct graft_error *err)
{
    struct gr_buf b;
    gr_buf_init(&b, 0);
    gr_buf_puts(&b, "{");
    for (size_t i = 0; i < m->n_labels; i++) {
        gr_buf_printf(&b, "%s%zu: '", i ? ", " : "", i);
        for (const char *c = m->labels[i]; *c; c++) {
            if (*c == '\'' || *c == '\\')
                gr_buf_printf(&b, "\\%c", *c);
            else if ((unsigned char)*c < 0x20 || *c == 0x7f)
                gr_buf_printf(&b, "\\x%02x", (unsigned)*c);
            else
                gr_buf_append(&b, c, 1);
        }
        gr_buf_puts(&b, "'");
    }
    gr_buf_puts(&b, "}");
    char *text = gr_buf_take(&b);
    enum graft_status s = text ? gr_model_set_prop(m, "names", text, err) : gr_error_nomem(err);
    gr_free(text);
    return s;
}

static enum graft_status write_labels(struct gr_model *m, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    json_t *a = json_array();
    for (size_t i = 0; !s && i < m->n_labels; i++)
        if (json_array_append_new(a, json_string(m->labels[i])))
            s = gr_error(err, GRAFT_E_ARG, "label %zu '%s' is not UTF-8 text", i, m->labels[i]);
    if (s) {
        json_decref(a);
        return s;
    }
    s = set_json(m, "graft.labels", a, err);
    return s ? s : write_names(m, err);
}

/* Drops what describes the source and not the new model. */
static enum graft_status clear_old(struct gr_model *m, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = m->n_props; !s && i-- > 0;)
        if (gr_meta_is_foreign(m->props[i].key) || !strncmp(m->props[i].key, "graft.", 6))
            s = gr_model_set_prop(m, m->props[i].key, NULL, err);
    return s;
}

enum graft_status gr_meta_write(struct gr_model *m, const struct gr_meta_extra *x,
                                struct graft_error *err)
{
    const char *task = x->task ? x->task : "classify";
    char seed[24];
    enum graft_status s = clear_old(m, err);
    if (!s)
        s = gr_model_set_prop(m, "graft.version", graft_version(), err);
    if (!s)
        s = gr_model_set_prop(m, "graft.task", task, err);
    if (!s && m->n_labels)
        s = write_labels(m, err);
    if (!s && m->has_pre)
        s = write_pre(m, err);
    if (!s && x->source_name)
        s = set_json(m, "graft.source",
                     json_pack("{s:s, s:s*, s:s*}", "name", x->source_name, "sha256",
                               x->source_sha256, "licence", x->source_licence),
                     err);
    if (!s && x->cut)
        s = gr_model_set_prop(m, "graft.cut", x->cut, err);
    if (!s && x->precision)
        s = gr_model_set_prop(m, "graft.precision", x->precision, err);
    if (!s && x->int8)
        s = gr_model_set_prop(m, "graft.int8", x->int8, err);
    if (!s && x->verdict)
        s = gr_model_set_prop(m, "graft.verdict", x->verdict, err);
    if (!s && x->arch)
        s = gr_model_set_prop(m, "graft.arch", x->arch, err);
    if (!s && x->metrics_json)
        s = gr_model_set_prop(m, "graft.metrics", x->metrics_json, err);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)x->seed);
    if (!s && x->has_seed)
        s = gr_model_set_prop(m, "graft.seed", seed, err);
    if (!s)
        s = gr_model_set_prop(m, "task", task, err);
    if (!s && x->author)
        s = gr_model_set_prop(m, "model_author", x->author, err);
    if (!s && x->licence)
        s = gr_model_set_prop(m, "model_license", x->licence, err);
    return s;
}

/* ---- reading -------------------------------------------------------------------------------- */

enum graft_status gr_meta_check_pre(const struct graft_preprocess *p, struct graft_error *err)
{
    size_t planes = (size_t)gr_channels_count(p->channels);
    if (p->width < 1 || p->width > GR_META_MAX_SIDE || p->height < 1 ||
        p->height > GR_META_MAX_SIDE)
        return gr_error(err, GRAFT_E_FORMAT, "size %d x %d, each must be within 1..%d", p->height,
                        p->width, GR_META_MAX_SIDE);
    if (p->resize == GRAFT_RESIZE_SHORTEST && (p->resize_to < 1 || p->resize_to > GR_META_MAX_SIDE))
        return gr_error(err, GRAFT_E_FORMAT, "resize_to is %d, must be within 1..%d", p->resize_to,
                        GR_META_MAX_SIDE);
    if (p->pad_value < 0 || p->pad_value > 255)
        return gr_error(err, GRAFT_E_FORMAT, "pad_value is %d, must be within 0..255",
                        p->pad_value);
    if (!isfinite(p->scale) || p->scale == 0)
        return gr_error(err, GRAFT_E_FORMAT, "scale is %g", p->scale);
    for (size_t c = 0; c < planes; c++)
        if (!isfinite(p->mean[c]) || !isfinite(p->std[c]) || p->std[c] == 0)
            return gr_error(err, GRAFT_E_FORMAT, "mean %g and std %g of channel %zu", p->mean[c],
                            p->std[c], c);
    return GRAFT_OK;
}

void gr_meta_take_labels(struct gr_model *m, size_t n, char **labels)
{
    gr_labels_free(m->n_labels, m->labels);
    m->n_labels = n;
    m->labels = labels;
}

enum graft_status gr_meta_set_pre(struct gr_model *m, const struct graft_preprocess *p,
                                  const char *source, struct graft_error *err)
{
    enum graft_status s = gr_meta_check_pre(p, err);
    if (s)
        return s;
    char *copy = gr_strdup(source);
    if (!copy)
        return gr_error_nomem(err);
    gr_free(m->pre_source);
    m->pre_source = copy;
    m->pre = *p;
    m->has_pre = true;
    return GRAFT_OK;
}

static enum graft_status get_choice(const json_t *o, const char *field, const char *const *names,
                                    int *out, struct graft_error *err)
{
    const json_t *v = json_object_get(o, field);
    if (!v)
        return GRAFT_OK;
    const char *text = json_string_value(v);
    for (int i = 0; text && names[i]; i++)
        if (!strcmp(text, names[i])) {
            *out = i;
            return GRAFT_OK;
        }
    return gr_error(err, GRAFT_E_FORMAT, "%s is '%s', expected %s, %s ...", field,
                    text ? text : "no text", names[0], names[1]);
}

static enum graft_status get_int(const json_t *v, const char *field, int *out,
                                 struct graft_error *err)
{
    if (!v)
        return GRAFT_OK;
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < 0 || i > GR_META_MAX_SIDE)
        return gr_error(err, GRAFT_E_FORMAT, "%s is no number within 0..%d", field,
                        GR_META_MAX_SIDE);
    *out = (int)i;
    return GRAFT_OK;
}

static enum graft_status get_number(const json_t *v, const char *field, double *out,
                                    struct graft_error *err)
{
    if (!v)
        return GRAFT_OK;
    if (!json_is_number(v))
        return gr_error(err, GRAFT_E_FORMAT, "%s is no number", field);
    *out = json_number_value(v);
    return GRAFT_OK;
}

static enum graft_status get_planes(const json_t *o, const char *field, size_t n, double *out,
                                    struct graft_error *err)
{
    const json_t *v = json_object_get(o, field);
    enum graft_status s = GRAFT_OK;
    if (v && (!json_is_array(v) || json_array_size(v) != n))
        return gr_error(err, GRAFT_E_FORMAT, "%s is no list of %zu numbers", field, n);
    for (size_t i = 0; v && !s && i < n; i++)
        s = get_number(json_array_get(v, i), field, &out[i], err);
    return s;
}

static enum graft_status read_pre(const json_t *o, struct graft_preprocess *p,
                                  struct graft_error *err)
{
    const json_t *size = json_object_get(o, "size");
    int resize = GRAFT_RESIZE_SHORTEST, filter = GRAFT_BILINEAR, channels = GRAFT_RGB;
    double crop = 1;
    *p = (struct graft_preprocess){.scale = 1.0 / 255, .std = {1, 1, 1}};
    if (json_array_size(size) != 2)
        return gr_error(err, GRAFT_E_FORMAT, "size is no list of height and width");
    enum graft_status s = get_int(json_array_get(size, 0), "size", &p->height, err);
    if (!s)
        s = get_int(json_array_get(size, 1), "size", &p->width, err);
    if (!s)
        s = get_choice(o, "resize", resizes, &resize, err);
    if (!s)
        s = get_choice(o, "filter", filters, &filter, err);
    if (!s)
        s = get_choice(o, "channels", orders, &channels, err);
    if (!s)
        s = get_number(json_object_get(o, "crop_pct"), "crop_pct", &crop, err);
    if (!s && !(crop > 0 && crop <= GR_META_MAX_SIDE))
        s = gr_error(err, GRAFT_E_FORMAT, "crop_pct is %g", crop);
    if (s)
        return s;
    p->resize = (enum graft_resize)resize;
    p->filter = (enum graft_filter)filter;
    p->channels = (enum graft_channels)channels;
    double side = floor((p->height < p->width ? p->height : p->width) / crop + 0.5);
    p->resize_to = side < INT32_MAX ? (int)side : INT32_MAX;
    size_t planes = (size_t)gr_channels_count(p->channels);
    if (planes > 3)
        p->std[3] = 1;
    s = get_int(json_object_get(o, "resize_to"), "resize_to", &p->resize_to, err);
    if (!s)
        s = get_number(json_object_get(o, "scale"), "scale", &p->scale, err);
    if (!s)
        s = get_planes(o, "mean", planes, p->mean, err);
    if (!s)
        s = get_planes(o, "std", planes, p->std, err);
    if (!s)
        s = get_int(json_object_get(o, "pad_value"), "pad_value", &p->pad_value, err);
    return s;
}

static enum graft_status read_own_pre(struct gr_model *m, const char *text, struct graft_error *err)
{
    struct graft_preprocess p;
    json_error_t e;
    if (strlen(text) > GR_META_MAX_TEXT)
        return gr_error(err, GRAFT_E_LIMIT, "longer than %d bytes", GR_META_MAX_TEXT);
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &e);
    if (!o)
        return gr_error(err, GRAFT_E_FORMAT, "JSON: %s", e.text);
    enum graft_status s = read_pre(o, &p, err);
    json_decref(o);
    return s ? s : gr_meta_set_pre(m, &p, "metadata graft.preprocess", err);
}

enum graft_status gr_meta_read(struct gr_model *m, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    const char *labels = gr_model_get_prop(m, "graft.labels");
    const char *pre = gr_model_get_prop(m, "graft.preprocess");
    const char *licence = gr_model_get_prop(m, "model_license");
    const char *arch = gr_model_get_prop(m, "graft.arch");
    if (arch && !m->arch && !(m->arch = gr_strdup(arch)))
        return gr_error_nomem(err);
    if (labels) {
        char **list = NULL;
        size_t n = 0;
        s = gr_labels_parse(labels, strlen(labels), &n, &list, err);
        if (s)
            return gr_error_in(err, s, "metadata 'graft.labels'");
        gr_meta_take_labels(m, n, list);
    }
    if (pre && (s = read_own_pre(m, pre, err)))
        return gr_error_in(err, s, "metadata 'graft.preprocess'");
    if (licence && *licence && !m->licence && !(m->licence = gr_strdup(licence)))
        return gr_error_nomem(err);
    if (labels || pre)
        return GRAFT_OK;
    s = gr_meta_read_ultralytics(m, err);
    if (!s)
        s = gr_meta_read_custom_vision(m, err);
    if (!s)
        s = gr_meta_read_openvino(m, err);
    return s;
}
