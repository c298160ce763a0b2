/* What do other exporters say of labels and preprocessing? */
#include "base/bytes.h"
#include "base/mem.h"
#include "formats/meta.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char cv_prefix[] = "CustomVision.";
static const char ov_prefix[] = "model_info";

bool gr_meta_is_foreign(const char *key)
{
    static const char *const keys[] = {"names",
                                       "task",
                                       "imgsz",
                                       "Image.BitmapPixelFormat",
                                       "Image.NominalPixelRange",
                                       "Image.ColorSpaceGamma",
                                       NULL};
    for (size_t i = 0; keys[i]; i++)
        if (!strcmp(key, keys[i]))
            return true;
    return !strncmp(key, cv_prefix, sizeof cv_prefix - 1) ||
           !strncmp(key, ov_prefix, sizeof ov_prefix - 1);
}

static enum graft_status in_key(struct graft_error *err, enum graft_status s, const char *key)
{
    return s ? gr_error_in(err, s, "metadata '%s'", key) : GRAFT_OK;
}

/* Up to `max` numbers out of "[0.5, 0.5, 0.5]", "(224,224)" or "123.6 116.2 103.5". */
static enum graft_status read_numbers(const char *text, size_t max, double *v, size_t *n,
                                      struct graft_error *err)
{
    static const char between[] = "[](), \t";
    *n = 0;
    for (const char *p = text + strspn(text, between); *p; p += strspn(p, between)) {
        char *end;
        double x = strtod(p, &end);
        if (end == p || (*end && !strchr(between, *end)))
            return gr_error(err, GRAFT_E_FORMAT, "'%.40s' is no list of numbers", text);
        if (*n == max)
            return gr_error(err, GRAFT_E_FORMAT, "more than %zu numbers", max);
        v[(*n)++] = x;
        p = end;
    }
    return GRAFT_OK;
}

/* One number for all channels, or three; what is absent or "null" leaves v alone. */
static enum graft_status read_planes(const struct gr_model *m, const char *key, double v[3],
                                     struct graft_error *err)
{
    const char *text = gr_model_get_prop(m, key);
    double x[3];
    size_t n;
    if (!text || !*text || !strcmp(text, "null") || !strcmp(text, "None"))
        return GRAFT_OK;
    enum graft_status s = read_numbers(text, 3, x, &n, err);
    if (!s && n != 1 && n != 3)
        s = gr_error(err, GRAFT_E_FORMAT, "%zu numbers, expected 1 or 3", n);
    for (size_t i = 0; !s && i < 3; i++)
        v[i] = x[n == 1 ? 0 : i];
    return in_key(err, s, key);
}

static enum graft_status read_int(const struct gr_model *m, const char *key, int *v,
                                  struct graft_error *err)
{
    const char *text = gr_model_get_prop(m, key);
    if (!text || !*text || !strcmp(text, "null"))
        return GRAFT_OK;
    char *end;
    long x = strtol(text, &end, 10);
    if (*end || x < 0 || x > GR_META_MAX_SIDE)
        return in_key(err,
                      gr_error(err, GRAFT_E_FORMAT, "'%.40s' is no number within 0..%d", text,
                               GR_META_MAX_SIDE),
                      key);
    *v = (int)x;
    return GRAFT_OK;
}

/* Height and width that the first input declares; false where it is no picture of fixed size. */
static bool input_size(const struct gr_model *m, int *h, int *w)
{
    if (!m->graph || !m->graph->n_inputs)
        return false;
    const struct gr_shape *s = &m->graph->values[m->graph->inputs[0]].type.shape;
    if (s->rank != 4)
        return false;
    int at = s->dim[1] == 1 || s->dim[1] == 3 ? 2 : s->dim[3] == 1 || s->dim[3] == 3 ? 1 : 0;
    if (!at || s->dim[at] < 1 || s->dim[at] > GR_META_MAX_SIDE || s->dim[at + 1] < 1 ||
        s->dim[at + 1] > GR_META_MAX_SIDE)
        return false;
    *h = (int)s->dim[at];
    *w = (int)s->dim[at + 1];
    return true;
}

/* ---- Ultralytics: names = {0: 'ants', 1: "queen's"}, imgsz = [224, 224], task = classify ------
 */

static void skip_blanks(const char **p)
{
    *p += strspn(*p, " \t\r\n");
}

static void put_utf8(struct gr_buf *b, unsigned long c)
{
    char out[4];
    size_t n = 0;
    if (c < 0x80) {
        out[n++] = (char)c;
    } else if (c < 0x800) {
        out[n++] = (char)(0xc0 | c >> 6);
        out[n++] = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        out[n++] = (char)(0xe0 | c >> 12);
        out[n++] = (char)(0x80 | (c >> 6 & 63));
        out[n++] = (char)(0x80 | (c & 63));
    } else {
        out[n++] = (char)(0xf0 | c >> 18);
        out[n++] = (char)(0x80 | (c >> 12 & 63));
        out[n++] = (char)(0x80 | (c >> 6 & 63));
        out[n++] = (char)(0x80 | (c & 63));
    }
    gr_buf_append(b, out, n);
}

/* The backslash at *p and what follows it, as Python reads it. */
static bool read_escape(const char **p, struct gr_buf *b)
{
    static const char letters[] = "n\nt\tr\r'\'\"\"\\\\";
    char c = (*p)[1];
    int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (!c)
        return false;
    if (!digits) {
        for (size_t i = 0; letters[i]; i += 2)
            if (letters[i] == c) {
                gr_buf_append(b, &letters[i + 1], 1);
                *p += 2;
                return true;
            }
        gr_buf_append(b, *p, 2); /* an unknown one stands for itself */
        *p += 2;
        return true;
    }
    unsigned long code = 0;
    *p += 2;
    for (int i = 0; i < digits; i++, (*p)++) {
        char h = (char)tolower((unsigned char)**p);
        if (!isxdigit((unsigned char)h))
            return false;
        code = code << 4 | (unsigned long)(h <= '9' ? h - '0' : h - 'a' + 10);
    }
    if (!code || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return false;
    put_utf8(b, code);
    return true;
}

/* A quoted string of Python at *p, the name of class `i`. */
static enum graft_status read_quoted(const char **p, size_t i, char **text, struct graft_error *err)
{
    struct gr_buf b;
    char quote = **p;
    bool ok = quote == '\'' || quote == '"';
    gr_buf_init(&b, 0);
    for (*p += ok; ok && **p != quote;) {
        if (!**p)
            ok = false;
        else if (**p == '\\')
            ok = read_escape(p, &b);
        else
            gr_buf_append(&b, (*p)++, 1);
    }
    if (!ok) {
        gr_buf_clear(&b);
        return gr_error(err, GRAFT_E_FORMAT, "the name of class %zu is no quoted text", i);
    }
    ++*p;
    *text = gr_buf_take(&b);
    return *text ? GRAFT_OK : gr_error_nomem(err);
}

/* {0: 'a', 1: 'b'} or ['a', 'b']; the numbers must count up. */
static enum graft_status read_names(const char *p, size_t *n, char ***labels,
                                    struct graft_error *err)
{
    char **list = NULL;
    size_t count = 0, cap = 0;
    enum graft_status s = GRAFT_OK;
    char close = *p == '{' ? '}' : ']';
    p++;
    for (;;) {
        skip_blanks(&p);
        if (*p == close)
            break;
        if (close == '}') {
            char quote = *p == '\'' || *p == '"' ? *p++ : 0, *end = NULL;
            unsigned long id = isdigit((unsigned char)*p) ? strtoul(p, &end, 10) : count + 1;
            if (id != count || (quote && *end++ != quote)) {
                s = gr_error(err, GRAFT_E_FORMAT, "class %zu is missing or not in order", count);
                break;
            }
            p = end;
            skip_blanks(&p);
            if (*p++ != ':') {
                s = gr_error(err, GRAFT_E_FORMAT, "no ':' after class number %zu", count);
                break;
            }
            skip_blanks(&p);
        }
        char *label = NULL;
        s = read_quoted(&p, count, &label, err);
        if (s)
            break;
        if (!GR_GROW(list, count, cap)) {
            gr_free(label);
            s = gr_error_nomem(err);
            break;
        }
        list[count++] = label;
        skip_blanks(&p);
        if (*p == ',') {
            p++;
        } else if (*p != close) {
            s = gr_error(err, GRAFT_E_FORMAT, "no ',' or '%c' after class %zu", close, count - 1);
            break;
        }
    }
    if (!s && !count)
        s = gr_error(err, GRAFT_E_FORMAT, "no names in it");
    if (s) {
        gr_labels_free(count, list);
        return s;
    }
    *n = count;
    *labels = list;
    return GRAFT_OK;
}

enum graft_status gr_meta_read_ultralytics(struct gr_model *m, struct graft_error *err)
{
    const char *names = gr_model_get_prop(m, "names"), *imgsz = gr_model_get_prop(m, "imgsz");
    const char *task = gr_model_get_prop(m, "task");
    enum graft_status s = GRAFT_OK;
    if (!names || (*names != '{' && *names != '['))
        return GRAFT_OK; /* too common a key to make anything else of it */
    if (!m->n_labels) {
        char **list = NULL;
        size_t n = 0;
        s = read_names(names, &n, &list, err);
        if (s)
            return in_key(err, s, "names");
        gr_meta_take_labels(m, n, list);
    }
    if (m->has_pre || !imgsz)
        return GRAFT_OK;
    double side[2];
    size_t n;
    s = read_numbers(imgsz, 2, side, &n, err);
    if (!s && !n)
        s = gr_error(err, GRAFT_E_FORMAT, "'%.40s' holds no size", imgsz);
    for (size_t i = 0; !s && i < n; i++)
        if (!(side[i] >= 1 && side[i] <= GR_META_MAX_SIDE))
            s = gr_error(err, GRAFT_E_FORMAT, "size %g, must be within 1..%d", side[i],
                         GR_META_MAX_SIDE);
    if (s)
        return in_key(err, s, "imgsz");
    struct graft_preprocess p = {.filter = GRAFT_BILINEAR, .scale = 1.0 / 255, .std = {1, 1, 1}};
    bool classify = !task || !strcmp(task, "classify");
    p.height = (int)side[0];
    p.width = (int)side[n - 1];
    p.resize = classify ? GRAFT_RESIZE_SHORTEST : GRAFT_RESIZE_LETTERBOX;
    p.resize_to = p.height < p.width ? p.width : p.height;
    p.pad_value = classify ? 0 : 114;
    return in_key(err, gr_meta_set_pre(m, &p, "metadata of Ultralytics", err), "imgsz");
}

/* ---- Custom Vision -------------------------------------------------------------------------- */

enum graft_status gr_meta_read_custom_vision(struct gr_model *m, struct graft_error *err)
{
    const char *format = gr_model_get_prop(m, "Image.BitmapPixelFormat");
    const char *range = gr_model_get_prop(m, "Image.NominalPixelRange");
    const char *resize = gr_model_get_prop(m, "CustomVision.Preprocess.ResizeMethod");
    struct graft_preprocess p = {.filter = GRAFT_BILINEAR, .std = {1, 1, 1}};
    int crop_w = 0, crop_h = 0;
    if (m->has_pre || !resize)
        return GRAFT_OK;
    enum graft_status s = read_int(m, "CustomVision.Preprocess.TargetWidth", &p.width, err);
    if (!s)
        s = read_int(m, "CustomVision.Preprocess.TargetHeight", &p.height, err);
    if (!s)
        s = read_int(m, "CustomVision.Preprocess.CropWidth", &crop_w, err);
    if (!s)
        s = read_int(m, "CustomVision.Preprocess.CropHeight", &crop_h, err);
    if (!s)
        s = read_planes(m, "CustomVision.Preprocess.NormalizeMean", p.mean, err);
    if (!s)
        s = read_planes(m, "CustomVision.Preprocess.NormalizeStd", p.std, err);
    if (s)
        return s;
    if ((!p.width || !p.height) && !input_size(m, &p.height, &p.width))
        return gr_model_add_note(m, err, "Custom Vision metadata without an input size: ignored");
    p.resize =
        strncasecmp(resize, "ByShorterSide", 13) ? GRAFT_RESIZE_STRETCH : GRAFT_RESIZE_SHORTEST;
    p.resize_to = p.width < p.height ? p.width : p.height;
    if (crop_w && crop_h) {
        p.width = crop_w;
        p.height = crop_h;
    }
    p.channels = format && !strcasecmp(format, "Bgr8")    ? GRAFT_BGR
                 : format && !strcasecmp(format, "Gray8") ? GRAFT_GREY
                                                          : GRAFT_RGB;
    p.scale = range && !strcasecmp(range, "NominalRange_0_255") ? 1 : 1.0 / 255;
    return in_key(err, gr_meta_set_pre(m, &p, "metadata of Custom Vision", err),
                  "CustomVision.Preprocess");
}

/* ---- OpenVINO: "model_info labels" and so on, in the spellings that are about ---------------- */

static const char *ov_key(const struct gr_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_props; i++) {
        const char *key = m->props[i].key;
        if (!strncmp(key, ov_prefix, sizeof ov_prefix - 1) && key[sizeof ov_prefix - 1] &&
            strchr(" /.:", key[sizeof ov_prefix - 1]) && !strcmp(key + sizeof ov_prefix, name))
            return key;
    }
    return "";
}

static bool is_true(const char *s)
{
    return s && (!strcasecmp(s, "yes") || !strcasecmp(s, "true") || !strcmp(s, "1"));
}

/* Names are separated by blanks; a blank inside one was written as '_'. */
static enum graft_status ov_labels(struct gr_model *m, const char *text, struct graft_error *err)
{
    char **list = NULL;
    size_t n = 0, cap = 0;
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        size_t size = strcspn(p, " ");
        if (!GR_GROW(list, n, cap) || !(list[n] = gr_strndup(p, size))) {
            gr_labels_free(n, list);
            return gr_error_nomem(err);
        }
        n++;
        p += size;
    }
    if (n)
        gr_meta_take_labels(m, n, list);
    return GRAFT_OK;
}

enum graft_status gr_meta_read_openvino(struct gr_model *m, struct graft_error *err)
{
    const char *labels = gr_model_get_prop(m, ov_key(m, "labels"));
    const char *resize = gr_model_get_prop(m, ov_key(m, "resize_type"));
    const char *mean = ov_key(m, "mean_values"), *scale = ov_key(m, "scale_values");
    struct graft_preprocess p = {.filter = GRAFT_BILINEAR, .scale = 1, .std = {1, 1, 1}};
    enum graft_status s = GRAFT_OK;
    if (labels && !m->n_labels)
        s = ov_labels(m, labels, err);
    if (s || m->has_pre || (!*mean && !*scale && !resize))
        return s;
    if (!input_size(m, &p.height, &p.width))
        return gr_model_add_note(m, err, "OpenVINO metadata without an input size: ignored");
    s = read_planes(m, mean, p.mean, err);
    if (!s)
        s = read_planes(m, scale, p.std, err);
    if (!s)
        s = read_int(m, ov_key(m, "pad_value"), &p.pad_value, err);
    if (s)
        return s;
    if (!resize || !*resize || !strcmp(resize, "standard"))
        p.resize = GRAFT_RESIZE_STRETCH;
    else if (!strncmp(resize, "fit_to_window", 13))
        p.resize = GRAFT_RESIZE_LETTERBOX;
    else if (!strcmp(resize, "crop"))
        p.resize = GRAFT_RESIZE_SHORTEST;
    else
        return in_key(err,
                      gr_error(err, GRAFT_E_FORMAT,
                               "'%.40s', expected standard, fit_to_window or crop", resize),
                      ov_key(m, "resize_type"));
    p.resize_to = p.width < p.height ? p.height : p.width;
    /* its pictures are BGR; reversed, the network gets RGB */
    bool reversed = is_true(gr_model_get_prop(m, ov_key(m, "reverse_input_channels")));
    p.channels = reversed ? GRAFT_RGB : GRAFT_BGR;
    return in_key(err, gr_meta_set_pre(m, &p, "metadata of OpenVINO", err), ov_prefix);
}
