/* What is in a model, told as plain data? */
#include "base/file.h"
#include "base/mem.h"
#include "core/op.h"
#include "job/job.h"
#include <stdio.h>
#include <string.h>

/* Everything after the first failed allocation does nothing. */
struct teller {
    struct graft_model *model;
    struct gr_inferred types;
    bool no_memory;
};

static void *keep(struct teller *t, size_t n, size_t size)
{
    void *p = t->no_memory ? NULL : gr_arena_alloc(&t->model->arena, n * size);
    if (!p)
        t->no_memory = true;
    return p;
}

static void tell_stages(struct teller *t, const struct gr_stage *list, size_t n)
{
    const struct gr_graph *g = t->model->m.graph;
    struct graft_model_info *info = &t->model->info;
    struct graft_stage *stages = keep(t, n, sizeof *stages);
    for (size_t i = 0; !t->no_memory && i < n; i++) {
        const struct gr_shape *shape = &t->types.type[list[i].cut].shape;
        struct graft_stage *s = &stages[i];
        s->cut = g->values[list[i].cut].name;
        s->rank = shape->rank;
        memcpy(s->shape, shape->dim, sizeof s->shape);
        s->n_nodes = (int)(list[i].last - list[i].first + 1);
        s->n_params = list[i].n_params;
        for (size_t k = list[i].first; k <= list[i].last; k++)
            s->macs += gr_node_macs(&g->nodes[k], &t->types);
        info->n_params += s->n_params;
        info->n_weight_bytes += list[i].n_weight_bytes;
        info->macs += s->macs;
    }
    info->stages = stages;
    info->n_stages = (int)n;
}

static void tell_cuts(struct teller *t, const int *cuts, size_t n)
{
    const char **names = keep(t, n, sizeof *names);
    for (size_t i = 0; !t->no_memory && i < n; i++)
        names[i] = t->model->m.graph->values[cuts[i]].name;
    t->model->info.cuts = names;
    t->model->info.n_cuts = (int)n;
}

static enum graft_status tell_structure(struct teller *t, struct graft_error *err)
{
    const struct gr_model *m = &t->model->m;
    const struct gr_graph *g = m->graph;
    struct graft_model_info *info = &t->model->info;
    struct gr_type *inputs = NULL;
    struct gr_head_site head;
    struct gr_stage *stages = NULL;
    int *cuts = NULL;
    size_t n_cuts = 0, n_stages = 0;
    enum graft_status s = gr_job_input_types(m, 1, &inputs, err);
    if (!s)
        s = gr_graph_infer(g, inputs, 0, NULL, &t->types, err);
    if (!s)
        s = gr_graph_find_head(g, &t->types, &head, err);
    if (!s)
        s = gr_graph_cut_points(g, &t->types, &cuts, &n_cuts, err);
    if (!s)
        s = gr_graph_stages(g, &t->types, &stages, &n_stages, err);
    if (!s) {
        const struct gr_shape *f = &t->types.type[head.features].shape;
        info->features = g->values[head.features].name;
        info->n_features = f->rank >= 2 ? (int)f->dim[f->rank == 3 ? 2 : 1] : 0;
        if (head.node >= 0) {
            info->head = *g->nodes[head.node].name ? g->nodes[head.node].name
                                                   : g->values[g->nodes[head.node].out[0]].name;
            info->n_classes = head.n_classes;
        }
        tell_stages(t, stages, n_stages);
        tell_cuts(t, cuts, n_cuts);
    }
    gr_free(stages);
    gr_free(cuts);
    gr_free(inputs);
    gr_inferred_clear(&t->types);
    return s;
}

/* One more note, after those of the model. */
static void tell_problem(struct teller *t, const char *text)
{
    const struct gr_model *m = &t->model->m;
    const char **notes = keep(t, m->n_notes + 1, sizeof *notes);
    if (!notes)
        return;
    for (size_t i = 0; i < m->n_notes; i++)
        notes[i] = m->notes[i];
    notes[m->n_notes] = gr_arena_strdup(&t->model->arena, text);
    t->no_memory = !notes[m->n_notes];
    t->model->info.notes = notes;
    t->model->info.n_notes = (int)m->n_notes + 1;
}

enum graft_status gr_job_inspect(struct graft_model *model, struct graft_error *err)
{
    const struct gr_model *m = &model->m;
    const struct gr_graph *g = m->graph;
    struct graft_model_info *info = &model->info;
    struct teller t = {.model = model};
    char *sha = gr_arena_alloc(&model->arena, GR_SHA256_HEX);
    if (!sha)
        return gr_error_nomem(err);
    const bool on_disk = gr_is_file(m->path); /* not one made by name */
    enum graft_status s = on_disk ? gr_sha256_file(m->path, sha, err) : GRAFT_OK;
    *info = (struct graft_model_info){
        .path = m->path,
        .format = m->format,
        .producer = m->producer,
        .arch = m->arch,
        .pretrain = m->pretrain,
        .licence = m->licence,
        .sha256 = on_disk ? sha : NULL,
        .opset = gr_graph_get_opset(g, ""),
        .n_nodes = (int)g->n_nodes,
        .n_labels = (int)m->n_labels,
        .labels = (const char *const *)m->labels,
        .preprocess = m->pre,
        .preprocess_source = m->pre_source,
        .preprocess_guessed = !m->has_pre,
        .n_notes = (int)m->n_notes,
        .notes = (const char *const *)m->notes,
        .input = g->n_inputs ? g->values[g->inputs[0]].name : "",
    };
    if (g->n_inputs) {
        info->input_rank = g->values[g->inputs[0]].type.shape.rank;
        memcpy(info->input_shape, g->values[g->inputs[0]].type.shape.dim, sizeof info->input_shape);
    }
    size_t n_unsupported = 0;
    if (!s)
        s = gr_graph_unsupported(g, NULL, &model->arena, &n_unsupported, &info->unsupported, err);
    info->n_unsupported = (int)n_unsupported;
    if (!s && !n_unsupported) {
        struct graft_error problem;
        if (tell_structure(&t, &problem)) /* the rest is worth showing all the same */
            tell_problem(&t, problem.message);
    }
    if (s)
        gr_error_in(err, s, "%s", m->path);
    else if (t.no_memory)
        s = gr_error_nomem(err);
    model->inspected = !s;
    return s;
}
