/* How do callers load, look at and save models? */
#include "base/mem.h"
#include "core/edit.h"
#include "formats/meta.h"
#include "formats/onnx.h"
#include "formats/safetensors.h"
#include "job/job.h"
#include "zoo/zoo.h"
#include <string.h>

void graft_preprocess_init(struct graft_preprocess *p)
{
    *p = (struct graft_preprocess){
        .width = 224,
        .height = 224,
        .resize = GRAFT_RESIZE_SHORTEST,
        .resize_to = 256,
        .filter = GRAFT_BILINEAR,
        .channels = GRAFT_RGB,
        .scale = 1.0 / 255,
        .mean = {0.485, 0.456, 0.406},
        .std = {0.229, 0.224, 0.225},
    };
}

void graft_load_options_init(struct graft_load_options *o)
{
    memset(o, 0, sizeof *o);
}

enum graft_status graft_model_load(const char *path, const struct graft_load_options *options,
                                   struct graft_model **model, struct graft_error *err)
{
    struct graft_model *m = gr_alloc_zero(1, sizeof *m);
    if (!m)
        return gr_error_nomem(err);
    enum graft_status s = gr_job_open_model(path, options, &m->m, err);
    if (s) {
        gr_free(m);
        return s;
    }
    m->overridden = options && (options->labels || options->preprocess || options->channels);
    *model = m;
    return GRAFT_OK;
}

enum graft_status graft_model_new(const char *arch, uint64_t seed, struct graft_model **model,
                                  struct graft_error *err)
{
    struct graft_model *m = gr_alloc_zero(1, sizeof *m);
    if (!m)
        return gr_error_nomem(err);
    enum graft_status s = gr_job_new_model(arch, NULL, false, seed, NULL, &m->m, err);
    if (s) {
        gr_free(m);
        return s;
    }
    *model = m;
    return GRAFT_OK;
}

const char *graft_arch(size_t i)
{
    return gr_zoo_name(i);
}

void graft_model_free(struct graft_model *model)
{
    if (!model)
        return;
    gr_model_clear(&model->m);
    gr_arena_clear(&model->arena);
    gr_free(model);
}

/* Every constant of the graph under its name. */
static enum graft_status save_safetensors(const struct gr_model *m, bool half, const char *path,
                                          struct graft_error *err)
{
    const struct gr_graph *g = m->graph;
    const char **names = gr_alloc_array(g->n_values, sizeof *names);
    struct gr_tensor *tensors = gr_alloc_array(g->n_values, sizeof *tensors);
    size_t n = 0;
    enum graft_status s = GRAFT_OK;
    if (!names || !tensors)
        s = gr_error_nomem(err);
    for (size_t i = 0; !s && i < g->n_values; i++)
        if (gr_value_is_const(&g->values[i])) {
            const struct gr_tensor *t = &g->values[i].data;
            names[n] = g->values[i].name;
            if (half && gr_tensor_can_halve(t))
                s = gr_tensor_halve(t, names[n], &tensors[n], err);
            else
                tensors[n] = gr_tensor_ref(t);
            n += !s;
        }
    if (!s)
        s = gr_safetensors_write(path, n, names, tensors, 0, NULL, NULL, err);
    for (size_t i = 0; i < n; i++)
        gr_tensor_clear(&tensors[i]);
    gr_free(names);
    gr_free(tensors);
    return s;
}

/* The labels and the preprocessing go into the file, also those that were recognised by the weights
   or given at loading; a file that graft wrote keeps everything else that it says. */
static enum graft_status save_onnx(const struct graft_model *model, const char *path,
                                   struct graft_error *err)
{
    const struct gr_model *m = &model->m;
    bool said = gr_model_get_prop(m, "graft.version") && !model->overridden;
    if (said || (!m->n_labels && !m->has_pre))
        return gr_onnx_write(m, path, err);
    struct gr_model out = *m; /* borrows all but the properties */
    const struct gr_meta_extra nothing = {0};
    enum graft_status s = GRAFT_OK;
    out.props = NULL;
    out.n_props = 0;
    for (size_t i = 0; !s && i < m->n_props; i++)
        s = gr_model_set_prop(&out, m->props[i].key, m->props[i].value, err);
    if (!s)
        s = gr_meta_write(&out, &nothing, err);
    for (size_t i = 0; !s && i < m->n_props; i++)
        if (!strncmp(m->props[i].key, "graft.", 6) && !gr_model_get_prop(&out, m->props[i].key))
            s = gr_model_set_prop(&out, m->props[i].key, m->props[i].value, err);
    if (!s)
        s = gr_onnx_write(&out, path, err);
    for (size_t i = 0; i < out.n_props; i++) {
        gr_free(out.props[i].key);
        gr_free(out.props[i].value);
    }
    gr_free(out.props);
    return s;
}

static enum graft_status save_half(const struct graft_model *model, const char *path,
                                   struct graft_error *err)
{
    struct graft_model out = *model; /* borrows all but the graph */
    size_t n;
    enum graft_status s = gr_graph_copy(model->m.graph, &out.m.graph, err);
    if (s)
        return s;
    s = gr_graph_store_half(out.m.graph, &n, err);
    if (!s)
        s = save_onnx(&out, path, err);
    gr_graph_free(out.m.graph);
    return s;
}

void graft_model_set_half(struct graft_model *model, bool half)
{
    model->half = half;
}

enum graft_status graft_model_save(const struct graft_model *model, const char *path,
                                   struct graft_error *err)
{
    const char *dot = strrchr(path, '.');
    enum graft_status s = gr_job_check_size(&model->m, err);
    if (s)
        return s;
    if (dot && !strcmp(dot, ".onnx"))
        return model->half ? save_half(model, path, err) : save_onnx(model, path, err);
    if (dot && !strcmp(dot, ".safetensors"))
        return save_safetensors(&model->m, model->half, path, err);
    return gr_error(err, GRAFT_E_ARG, "%s: the name must end in .onnx or .safetensors", path);
}

const struct graft_preprocess *graft_model_preprocess(const struct graft_model *model)
{
    return &model->m.pre;
}

enum graft_status graft_model_inspect(struct graft_model *model,
                                      const struct graft_model_info **info, struct graft_error *err)
{
    enum graft_status s = model->inspected ? GRAFT_OK : gr_job_inspect(model, err);
    if (!s)
        *info = &model->info;
    return s;
}
