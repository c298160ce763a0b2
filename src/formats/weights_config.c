/* What do config.json and preprocessor_config.json say about a network's input and output? */
#include "formats/weights_config.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/weights.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 16 << 20, MAX_PIXELS = 16384 };

static const double imagenet_mean[3] = {0.485, 0.456, 0.406};
static const double imagenet_std[3] = {0.229, 0.224, 0.225};

/* *root stays NULL when there is no such file. */
static enum graft_status load(const char *folder, const char *name, json_t **root,
                              struct graft_error *err)
{
    uint8_t *text = NULL;
    size_t cap = 0, size = 0;
    json_error_t je;
    char *path = gr_path_join(folder, name);
    if (!path)
        return gr_error_nomem(err);
    enum graft_status s = GRAFT_OK;
    if (!gr_is_file(path))
        goto out;
    s = gr_file_read(path, MAX_FILE, &text, &cap, &size, err);
    if (s)
        goto out;
    *root = json_loadb((const char *)text, size, 0, &je);
    if (!*root)
        s = gr_error(err, GRAFT_E_FORMAT, "line %d: %s", je.line, je.text);
    else if (!json_is_object(*root))
        s = gr_error(err, GRAFT_E_FORMAT, "no JSON object");
out:
    gr_free(text);
    gr_free(path);
    return s;
}

static enum graft_status copy_text(const json_t *v, char **out, struct graft_error *err)
{
    const char *s = json_string_value(v);
    if (!s || *out || !gr_weights_name_ok(s, strlen(s)))
        return GRAFT_OK; /* not told, or not printable */
    *out = gr_strdup(s);
    return *out ? GRAFT_OK : gr_error_nomem(err);
}

/* ---- numbers -------------------------------------------------------------------------------- */

static enum graft_status read_pixels(const json_t *v, const char *name, int *out,
                                     struct graft_error *err)
{
    double d = json_number_value(v);
    if (!json_is_number(v) || !(d >= 1 && d <= MAX_PIXELS) || d != floor(d))
        return gr_error(err, GRAFT_E_FORMAT, "%s is %g, expected 1 to %d pixels", name, d,
                        MAX_PIXELS);
    *out = (int)d;
    return GRAFT_OK;
}

/* One or three numbers, or one for all. */
static enum graft_status read_channels(const json_t *v, const char *name, double out[3],
                                       struct graft_error *err)
{
    size_t n = json_array_size(v);
    if (!json_is_number(v) && n != 1 && n != 3)
        return gr_error(err, GRAFT_E_FORMAT, "%s is no list of 1 or 3 numbers", name);
    for (size_t i = 0; i < 3; i++) {
        const json_t *e = json_is_number(v) ? v : json_array_get(v, n == 1 ? 0 : i);
        if (!json_is_number(e))
            return gr_error(err, GRAFT_E_FORMAT, "%s: entry %zu is no number", name, i);
        out[i] = json_number_value(e);
    }
    return GRAFT_OK;
}

static enum graft_status check_std(const double std[3], struct graft_error *err)
{
    for (int i = 0; i < 3; i++)
        if (!(std[i] > 0) || !isfinite(std[i]))
            return gr_error(err, GRAFT_E_FORMAT, "std of channel %d is %g", i, std[i]);
    return GRAFT_OK;
}

/* floor(size / crop_pct), as timm and Hugging Face compute it. */
static enum graft_status before_crop(int size, double crop_pct, int *out, struct graft_error *err)
{
    if (!(crop_pct > 0.05 && crop_pct <= 1))
        return gr_error(err, GRAFT_E_FORMAT, "crop_pct is %g, expected 0.05 to 1", crop_pct);
    *out = (int)floor(size / crop_pct);
    return GRAFT_OK;
}

/* ---- timm ----------------------------------------------------------------------------------- */

static enum graft_status timm_filter(const json_t *cfg, enum graft_filter *filter,
                                     struct graft_error *err)
{
    static const struct {
        const char *name;
        enum graft_filter filter;
    } filters[] = {
        {"bilinear", GRAFT_BILINEAR}, {"bicubic", GRAFT_BICUBIC}, {"nearest", GRAFT_NEAREST},
        {"lanczos", GRAFT_LANCZOS},   {"box", GRAFT_BOX},         {"random", GRAFT_BILINEAR},
    };
    const char *name = json_string_value(json_object_get(cfg, "interpolation"));
    *filter = GRAFT_BICUBIC; /* timm's default */
    if (!name)
        return GRAFT_OK;
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (!strcmp(name, filters[i].name)) {
            *filter = filters[i].filter;
            return GRAFT_OK;
        }
    return gr_error(err, GRAFT_E_UNSUPPORTED, "interpolation '%.40s'", name);
}

static enum graft_status timm_preprocess(const json_t *cfg, struct gr_hf_config *c,
                                         struct graft_error *err)
{
    const json_t *size = json_object_get(cfg, "input_size");
    const json_t *mean = json_object_get(cfg, "mean"), *std = json_object_get(cfg, "std");
    const json_t *pct = json_object_get(cfg, "crop_pct");
    const char *mode = json_string_value(json_object_get(cfg, "crop_mode"));
    double crop_pct = json_is_number(pct) ? json_number_value(pct) : 0.875;
    struct graft_preprocess p = {.scale = 1.0 / 255};
    int channels = 0;
    bool exact = true;
    enum graft_status s;
    if (!size)
        return GRAFT_OK;
    memcpy(p.mean, imagenet_mean, sizeof imagenet_mean);
    memcpy(p.std, imagenet_std, sizeof imagenet_std);
    if ((s = read_pixels(json_array_get(size, 0), "input_size[0]", &channels, err)) ||
        (s = read_pixels(json_array_get(size, 1), "input_size[1]", &p.height, err)) ||
        (s = read_pixels(json_array_get(size, 2), "input_size[2]", &p.width, err)) ||
        (mean && (s = read_channels(mean, "mean", p.mean, err))) ||
        (std && (s = read_channels(std, "std", p.std, err))) || (s = check_std(p.std, err)) ||
        (s = timm_filter(cfg, &p.filter, err)) ||
        (s = before_crop(p.height < p.width ? p.height : p.width, crop_pct, &p.resize_to, err)))
        return s;
    if (channels != 1 && channels != 3)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "input of %d channels, 1 and 3 are read",
                        channels);
    p.channels = channels == 1 ? GRAFT_GREY : GRAFT_RGB;
    p.resize = GRAFT_RESIZE_SHORTEST;
    if (mode && !strcmp(mode, "squash")) {
        p.resize = GRAFT_RESIZE_STRETCH;
        exact = p.resize_to == p.width && p.resize_to == p.height;
    } else if (mode && !strcmp(mode, "border")) {
        p.resize = GRAFT_RESIZE_LETTERBOX;
        p.pad_value = (int)fmin(fmax(nearbyint(255 * p.mean[0]), 0), 255);
        exact = crop_pct == 1;
    }
    c->pre = p;
    c->has_pre = true;
    c->pre_source = gr_strdup(exact ? "timm config.json"
                                    : "timm config.json, its crop after the resize left out");
    return c->pre_source ? GRAFT_OK : gr_error_nomem(err);
}

/* ---- Hugging Face --------------------------------------------------------------------------- */

/* Pillow's numbers. */
static enum graft_status hf_filter(const json_t *v, bool cubic, enum graft_filter *filter,
                                   struct graft_error *err)
{
    static const enum graft_filter filters[] = {GRAFT_NEAREST, GRAFT_LANCZOS, GRAFT_BILINEAR,
                                                GRAFT_BICUBIC, GRAFT_BOX};
    json_int_t i = json_is_integer(v) ? json_integer_value(v) : cubic ? 3 : 2;
    if (i < 0 || i >= (json_int_t)(sizeof filters / sizeof *filters))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "resample is %lld, 0 to 4 are read",
                        (long long)i);
    *filter = filters[i];
    return GRAFT_OK;
}

/* An int, {"height", "width"} or {"shortest_edge"}. */
struct hf_size {
    int shortest, height, width; /* shortest, or the two others, or all three: a plain int */
};

static enum graft_status hf_size(const json_t *v, const char *name, struct hf_size *z,
                                 struct graft_error *err)
{
    const json_t *edge = json_object_get(v, "shortest_edge");
    enum graft_status s;
    memset(z, 0, sizeof *z);
    if (json_is_number(v)) {
        s = read_pixels(v, name, &z->shortest, err);
        z->height = z->width = z->shortest;
        return s;
    }
    if (edge)
        return read_pixels(edge, name, &z->shortest, err);
    s = read_pixels(json_object_get(v, "height"), name, &z->height, err);
    return s ? s : read_pixels(json_object_get(v, "width"), name, &z->width, err);
}

static bool flag(const json_t *root, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(root, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static enum graft_status hf_geometry(const json_t *root, bool convnext, struct graft_preprocess *p,
                                     bool *exact, struct graft_error *err)
{
    const json_t *pct = json_object_get(root, "crop_pct");
    const json_t *crop = json_object_get(root, "crop_size");
    struct hf_size size, out;
    enum graft_status s = hf_size(json_object_get(root, "size"), "size", &size, err);
    if (s)
        return s;
    if (convnext) { /* below 384 cropped, from there on stretched */
        int edge = size.shortest ? size.shortest : size.height;
        p->width = p->height = edge;
        p->resize = edge < 384 ? GRAFT_RESIZE_SHORTEST : GRAFT_RESIZE_STRETCH;
        return before_crop(edge, json_is_number(pct) ? json_number_value(pct) : 224.0 / 256,
                           &p->resize_to, err);
    }
    out = size;
    bool crops = flag(root, "do_center_crop", crop != NULL) && crop;
    if (crops && (s = hf_size(crop, "crop_size", &out, err)))
        return s;
    p->height = out.height ? out.height : out.shortest;
    p->width = out.width ? out.width : out.shortest;
    p->resize_to = size.shortest ? size.shortest : size.height;
    p->resize =
        size.shortest && (crops || !size.height) ? GRAFT_RESIZE_SHORTEST : GRAFT_RESIZE_STRETCH;
    if (p->resize == GRAFT_RESIZE_STRETCH)
        *exact = p->height == size.height && p->width == size.width;
    else
        *exact = crops; /* without a crop pictures keep their aspect: a centre square is taken */
    return GRAFT_OK;
}

static enum graft_status hf_preprocess(const json_t *root, struct gr_hf_config *c,
                                       struct graft_error *err)
{
    const json_t *mean = json_object_get(root, "image_mean");
    const json_t *std = json_object_get(root, "image_std");
    const json_t *factor = json_object_get(root, "rescale_factor");
    const char *type = json_string_value(json_object_get(root, "image_processor_type"));
    struct graft_preprocess p = {.scale = 1.0 / 255, .std = {1, 1, 1}};
    bool exact = true;
    enum graft_status s;
    if (!type)
        type = json_string_value(json_object_get(root, "feature_extractor_type"));
    if (!json_object_get(root, "size") || !flag(root, "do_resize", true))
        return GRAFT_OK;
    bool convnext = (type && !strncmp(type, "ConvNext", 8)) || json_object_get(root, "crop_pct");
    bool cubic = convnext || (type && !strncmp(type, "CLIP", 4));
    if ((s = hf_geometry(root, convnext, &p, &exact, err)) ||
        (s = hf_filter(json_object_get(root, "resample"), cubic, &p.filter, err)))
        return s;
    if (json_is_number(factor))
        p.scale = json_number_value(factor);
    if (!flag(root, "do_rescale", true))
        p.scale = 1;
    if (!(p.scale > 0) || !isfinite(p.scale))
        return gr_error(err, GRAFT_E_FORMAT, "rescale_factor is %g", p.scale);
    if (flag(root, "do_normalize", mean != NULL)) {
        if ((s = read_channels(mean, "image_mean", p.mean, err)) ||
            (s = read_channels(std, "image_std", p.std, err)) || (s = check_std(p.std, err)))
            return s;
    }
    if (flag(root, "rescale_offset", false)) /* EfficientNet's: minus 1 before normalising */
        for (int i = 0; i < 3; i++)
            p.mean[i] += 1;
    p.channels = flag(root, "do_flip_channel_order", false) ? GRAFT_BGR : GRAFT_RGB;
    c->pre = p;
    c->has_pre = true;
    gr_free(c->pre_source); /* goes before what timm's file says */
    c->pre_source = gr_strdup(exact ? "preprocessor_config.json"
                                    : "preprocessor_config.json, its crop only approximated");
    return c->pre_source ? GRAFT_OK : gr_error_nomem(err);
}

/* ---- labels --------------------------------------------------------------------------------- */

static enum graft_status set_label(struct gr_hf_config *c, size_t i, const char *text,
                                   struct graft_error *err)
{
    if (!text || !gr_weights_name_ok(text, strlen(text)))
        return gr_error(err, GRAFT_E_FORMAT, "label %zu is no printable text", i);
    c->labels[i] = gr_strdup(text);
    return c->labels[i] ? GRAFT_OK : gr_error_nomem(err);
}

static bool are_placeholders(const struct gr_hf_config *c)
{
    for (size_t i = 0; i < c->n_labels; i++) {
        char text[32];
        snprintf(text, sizeof text, "LABEL_%zu", i);
        if (strcmp(c->labels[i], text) != 0)
            return false;
    }
    return true;
}

static void clear_labels(struct gr_hf_config *c)
{
    for (size_t i = 0; i < c->n_labels; i++)
        gr_free(c->labels[i]);
    gr_free(c->labels);
    c->labels = NULL;
    c->n_labels = 0;
}

/* {"0": "cat", "1": "dog"}, or a list of names, for which `words` may have better ones. */
static enum graft_status read_labels(const json_t *list, const json_t *words,
                                     struct gr_hf_config *c, struct graft_error *err)
{
    size_t n = json_is_object(list) ? json_object_size(list) : json_array_size(list);
    enum graft_status s = GRAFT_OK;
    if (!n || c->n_labels)
        return GRAFT_OK;
    c->labels = gr_alloc_zero(n, sizeof *c->labels);
    if (!c->labels)
        return gr_error_nomem(err);
    c->n_labels = n;
    for (size_t i = 0; i < n && !s; i++) {
        char id[32];
        snprintf(id, sizeof id, "%zu", i);
        const json_t *v =
            json_is_object(list) ? json_object_get(list, id) : json_array_get(list, i);
        const char *text = json_string_value(v);
        const char *word = text ? json_string_value(json_object_get(words, text)) : NULL;
        if (!v)
            s = gr_error(err, GRAFT_E_FORMAT, "%zu labels, but none for class %zu", n, i);
        else
            s = set_label(c, i, word ? word : text, err);
    }
    if (!s && are_placeholders(c))
        clear_labels(c);
    return s;
}

/* ---- both ----------------------------------------------------------------------------------- */

static enum graft_status read_config(const json_t *root, struct gr_hf_config *c,
                                     struct graft_error *err)
{
    const json_t *cfg = json_object_get(root, "pretrained_cfg");
    const json_t *arch = json_object_get(root, "architecture");
    enum graft_status s;
    c->is_timm = arch != NULL;
    if (!json_is_object(cfg))
        cfg = root; /* older files have it all on one level */
    if ((s = copy_text(arch ? arch : json_object_get(root, "model_type"), &c->arch, err)) ||
        (s = copy_text(json_object_get(cfg, "classifier"), &c->classifier, err)) ||
        (s = copy_text(json_object_get(cfg, "license"), &c->licence, err)))
        return s;
    if (c->arch)
        c->arch[strcspn(c->arch, ".")] = 0; /* the tag */
    if (c->is_timm && (s = timm_preprocess(cfg, c, err)))
        return s;
    s = read_labels(json_object_get(root, "id2label"), NULL, c, err);
    for (int k = 0; k < 2 && !s; k++) {
        const json_t *at = k ? cfg : root;
        s = read_labels(json_object_get(at, "label_names"),
                        json_object_get(at, "label_descriptions"), c, err);
    }
    return s;
}

enum graft_status gr_hf_config_read(const char *folder, struct gr_hf_config *c,
                                    struct graft_error *err)
{
    static const struct {
        const char *name;
        enum graft_status (*read)(const json_t *root, struct gr_hf_config *c,
                                  struct graft_error *err);
    } files[] = {{"config.json", read_config}, {"preprocessor_config.json", hf_preprocess}};
    enum graft_status s = GRAFT_OK;
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < sizeof files / sizeof *files && !s; i++) {
        json_t *root = NULL;
        s = load(folder, files[i].name, &root, err);
        if (!s && root)
            s = files[i].read(root, c, err);
        if (s)
            gr_error_in(err, s, "%s/%s", folder, files[i].name);
        json_decref(root);
    }
    if (s)
        gr_hf_config_clear(c);
    return s;
}

void gr_hf_config_clear(struct gr_hf_config *c)
{
    clear_labels(c);
    gr_free(c->arch);
    gr_free(c->classifier);
    gr_free(c->licence);
    gr_free(c->pre_source);
    memset(c, 0, sizeof *c);
}
