/* How does a file become a model with labels and preprocessing? */
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/preprocess.h"
#include "formats/meta.h"
#include "formats/onnx.h"
#include "formats/weights.h"
#include "formats/weights_config.h"
#include "job/job.h"
#include "zoo/zoo.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static enum graft_status open_weights(const char *path, struct gr_model *m, struct graft_error *err)
{
    struct gr_weights w = {0};
    enum graft_status s = gr_weights_read(path, &w, err);
    if (!s && (s = gr_zoo_build(&w, m, err)))
        gr_error_in(err, s, "%s", path);
    if (!s && w.wrapper)
        s = gr_model_add_note(m, err, "weights were nested under '%s'", w.wrapper);
    if (!s && w.note)
        s = gr_model_add_note(m, err, "%s", w.note);
    if (!s && !(m->format = gr_strdup(w.format)))
        s = gr_error_nomem(err);
    gr_weights_clear(&w);
    return s;
}

/* What people mostly did with pictures of that size, said as a guess. */
static enum graft_status guess_preprocess(struct gr_model *m, struct graft_error *err)
{
    const struct gr_graph *g = m->graph;
    graft_preprocess_init(&m->pre);
    if (g->n_inputs) {
        const struct gr_shape *x = &g->values[g->inputs[0]].type.shape;
        if (x->rank == 4) {
            const bool last = gr_job_planes_axis(x) == 3;
            int64_t h = x->dim[last ? 1 : 2], w = x->dim[last ? 2 : 3], c = x->dim[last ? 3 : 1];
            if (h > 0 && h <= 8192 && w > 0 && w <= 8192) {
                m->pre.height = (int)h;
                m->pre.width = (int)w;
                m->pre.resize_to = (int)((h < w ? h : w) * 256 / 224);
            }
            if (h != w || h < 64)
                m->pre.resize = GRAFT_RESIZE_STRETCH;
            if (c == 1)
                m->pre.channels = GRAFT_GREY;
        }
    }
    gr_free(m->pre_source);
    m->pre_source = gr_strdup("guess: ImageNet mean and standard deviation as in torchvision");
    return m->pre_source ? GRAFT_OK : gr_error_nomem(err);
}

/* What Hugging Face and timm keep beside the weights. */
static enum graft_status read_config(const char *file, struct gr_model *m, struct graft_error *err)
{
    struct gr_hf_config c;
    char *folder = gr_path_dir(file);
    enum graft_status s = folder ? gr_hf_config_read(folder, &c, err) : gr_error_nomem(err);
    gr_free(folder);
    if (s)
        return s;
    if (c.has_pre) {
        gr_free(m->pre_source);
        m->pre = c.pre;
        m->has_pre = true;
        m->pre_source = c.pre_source;
        c.pre_source = NULL;
    }
    if (c.licence && !m->licence) {
        m->licence = c.licence;
        c.licence = NULL;
    }
    if (c.n_labels)
        s = gr_model_set_labels(m, c.n_labels, (const char *const *)c.labels, err);
    gr_hf_config_clear(&c);
    return s;
}

static enum graft_status read_any(const char *file, struct gr_model *m, struct graft_error *err)
{
    enum gr_file_format format = GR_FILE_UNKNOWN;
    enum graft_status s = gr_file_format_sniff(file, &format, err);
    if (s)
        return s;
    if (format == GR_FILE_ONNX) {
        size_t n_half;
        s = gr_onnx_read(file, NULL, m, err);
        if (!s)
            s = gr_graph_fold_half(m->graph, &n_half, err);
        if (!s && (s = gr_meta_read(m, err)))
            gr_error_in(err, s, "%s", file);
        return s;
    }
    s = open_weights(file, m, err);
    if (!s && (format == GR_FILE_SAFETENSORS || format == GR_FILE_SAFETENSORS_INDEX))
        s = read_config(file, m, err);
    return s;
}

static enum graft_status apply_options(const struct graft_load_options *o, struct gr_model *m,
                                       struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    char **labels = NULL;
    size_t n_labels = 0;
    if (o->labels) {
        s = gr_labels_read(o->labels, &n_labels, &labels, err);
        if (!s)
            s = gr_model_set_labels(m, n_labels, (const char *const *)labels, err);
        gr_labels_free(n_labels, labels);
    }
    if (!s && o->preprocess) {
        m->pre = *o->preprocess;
        m->has_pre = true;
        gr_free(m->pre_source);
        if (!(m->pre_source = gr_strdup("given by the caller")))
            s = gr_error_nomem(err);
    }
    return s;
}

enum graft_status gr_job_open_model(const char *path, const struct graft_load_options *o,
                                    struct gr_model *m, struct graft_error *err)
{
    char *file = NULL;
    enum graft_status s = gr_weights_locate(path, &file, err);
    if (!s)
        s = read_any(file, m, err);
    if (!s && !m->path && !(m->path = gr_strdup(file)))
        s = gr_error_nomem(err);
    if (!s && o)
        s = apply_options(o, m, err);
    if (!s && !m->pre_source)
        s = guess_preprocess(m, err);
    if (!s && o)
        s = gr_job_fit_input(m, o, err);
    if (!s)
        s = gr_preprocess_check(&m->pre, err);
    gr_free(file);
    if (s)
        gr_model_clear(m);
    return s;
}

const char *gr_job_print_preprocess(const struct graft_preprocess *p, char *text, size_t size)
{
    static const char *const filters[] = {"nearest", "bilinear", "bicubic", "lanczos", "box"};
    static const char *const planes[] = {"RGB", "BGR", "grey", "RGBA"};
    char how[96], mean[80] = "", std[80] = "";
    if (p->resize == GRAFT_RESIZE_SHORTEST)
        snprintf(how, sizeof how, "short side %d, centre crop %dx%d", p->resize_to, p->width,
                 p->height);
    else
        snprintf(how, sizeof how, "%s to %dx%d",
                 p->resize == GRAFT_RESIZE_STRETCH ? "stretch" : "letterbox", p->width, p->height);
    for (int c = 0; c < gr_preprocess_channels(p); c++) {
        size_t m = strlen(mean), s = strlen(std);
        snprintf(mean + m, sizeof mean - m, " %g", p->mean[c]);
        snprintf(std + s, sizeof std - s, " %g", p->std[c]);
    }
    snprintf(text, size, "%s, %s, %s, mean%s, std%s", how, filters[p->filter], planes[p->channels],
             mean, std);
    return text;
}

void gr_job_tell_notes(const struct gr_model *m, const struct graft_events *ev)
{
    for (size_t i = 0; i < m->n_notes; i++)
        gr_note(ev, gr_path_base(m->path), "%s", m->notes[i]);
}

enum graft_status gr_job_input_types(const struct gr_model *m, int64_t batch,
                                     struct gr_type **types, struct graft_error *err)
{
    const struct gr_graph *g = m->graph;
    struct gr_type *t = gr_alloc_array(g->n_inputs, sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    for (size_t i = 0; i < g->n_inputs; i++) {
        t[i] = g->values[g->inputs[i]].type;
        struct gr_shape *x = &t[i].shape;
        if (!x->rank)
            continue;
        x->dim[0] = batch;
        if (x->rank == 4) {
            const bool last = gr_job_planes_axis(x) == 3;
            int c = last ? 3 : 1, h = last ? 1 : 2;
            const int64_t picture[2] = {m->pre.height, m->pre.width};
            const int64_t planes = gr_preprocess_channels(&m->pre);
            for (int k = 0; k < 2; k++)
                if (x->dim[h + k] < 0)
                    x->dim[h + k] = picture[k];
            if (x->dim[c] < 0)
                x->dim[c] = planes;
        }
    }
    *types = t;
    return GRAFT_OK;
}
