/* Which network has learned nothing yet? */
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/preprocess.h"
#include "job/job.h"
#include "train/init.h"
#include "zoo/zoo.h"
#include <string.h>

static bool is_arch(const char *name)
{
    const char *known;
    for (size_t i = 0; (known = gr_zoo_name(i)); i++)
        if (!strcmp(known, name))
            return true;
    return false;
}

/* By name; its input takes any picture size, so it is the one that is asked for. */
static enum graft_status from_name(const char *name, const struct graft_load_options *o,
                                   struct gr_model *m, struct graft_error *err)
{
    enum graft_status s = gr_zoo_new(name, 2, m, err); /* the head is replaced */
    if (s)
        return s;
    if (o && o->preprocess) {
        m->pre = *o->preprocess;
        gr_free(m->pre_source);
        m->pre_source = gr_strdup("given by the caller");
    }
    m->path = gr_strdup(name);
    gr_free(m->format);
    m->format = gr_strdup("by name");
    if (!m->path || !m->format || !m->pre_source)
        s = gr_error_nomem(err);
    if (!s)
        s = gr_preprocess_check(&m->pre, err);
    struct gr_type *t = &m->graph->values[m->graph->inputs[0]].type;
    t->shape.dim[2] = m->pre.height;
    t->shape.dim[3] = m->pre.width;
    return !s && o ? gr_job_fit_input(m, o, err) : s;
}

enum graft_status gr_job_forget(struct gr_model *m, uint64_t seed, const char *topic,
                                const struct graft_events *ev, struct graft_error *err)
{
    struct gr_init_report r;
    size_t n_norms;
    enum graft_status s = gr_init_unfold_batch_norm(m->graph, &n_norms, err);
    if (!s)
        s = gr_init_weights(m->graph, m->arch, seed, &r, err);
    if (s)
        return gr_error_in(err, s, "%s", m->path);
    gr_note(ev, topic, "%zu tensors with random weights, %s (--seed)", r.n_weights, r.rule);
    if (n_norms)
        gr_note(ev, topic,
                "%zu batch-norms added after the convolutions: this file has none (folded away), "
                "and without them it would hardly learn",
                n_norms);
    if (r.n_left)
        gr_warn(ev, topic,
                "%zu constants are not known as a layer's weights and stay as they are, first '%s'",
                r.n_left, r.first);
    return GRAFT_OK;
}

enum graft_status gr_job_new_model(const char *arch, const struct graft_load_options *o,
                                   bool keep_weights, uint64_t seed, const struct graft_events *ev,
                                   struct gr_model *m, struct graft_error *err)
{
    const bool named = is_arch(arch) || !gr_is_file(arch);
    if (named && keep_weights)
        return gr_error(err, GRAFT_E_ARG,
                        "'%s' is no model file: there are no weights to go on from", arch);
    enum graft_status s = named ? from_name(arch, o, m, err) : gr_job_open_model(arch, o, m, err);
    if (!s && keep_weights)
        gr_note(ev, "new", "%s: goes on from its weights (--keep-weights)", gr_path_base(arch));
    else if (!s)
        s = gr_job_forget(m, seed, "new", ev, err);
    gr_free(m->pretrain);
    m->pretrain = NULL;
    if (s)
        gr_model_clear(m);
    return s;
}

enum graft_status gr_job_forgotten_copy(const struct gr_model *m, uint64_t seed, const char *topic,
                                        const struct graft_events *ev, struct gr_model *out,
                                        struct graft_error *err)
{
    *out = (struct gr_model){.pre = m->pre, .has_pre = true, .ir_version = m->ir_version};
    enum graft_status s = gr_graph_copy(m->graph, &out->graph, err);
    out->path = gr_strdup(m->path);
    out->arch = m->arch ? gr_strdup(m->arch) : NULL;
    if (!s && (!out->path || (m->arch && !out->arch)))
        s = gr_error_nomem(err);
    if (!s)
        s = gr_job_forget(out, seed, topic, ev, err);
    if (s)
        gr_model_clear(out);
    return s;
}
