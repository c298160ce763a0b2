/* How does fine-tuning move adapters instead of weights, and what becomes of them? */
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "core/kernel.h"
#include "exec/plan.h"
#include "formats/safetensors.h"
#include "job/tune.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the largest logit: how far merged weights and adapters may be apart. */
#define ROUNDING 1e-4

enum { MOST_PROVED = 8 }; /* examples */

/* ---- in -------------------------------------------------------------------------------------- */

/* Elements of all floating constants that nodes use. */
static enum graft_status count_weights(const struct gr_graph *g, int64_t *n,
                                       struct graft_error *err)
{
    bool *seen = gr_alloc_zero(g->n_values, sizeof *seen);
    if (!seen)
        return gr_error_nomem(err);
    *n = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++) {
            int v = g->nodes[i].in[k];
            if (v < 0 || seen[v] || !gr_value_is_const(&g->values[v]) ||
                !gr_is_float(g->values[v].data.dtype))
                continue;
            seen[v] = true;
            *n += gr_tensor_count(&g->values[v].data);
        }
    gr_free(seen);
    return GRAFT_OK;
}

static void print_moving(const struct gr_lora *l, const struct gr_graph *whole, int64_t n_all,
                         struct gr_moving *m)
{
    char names[260] = "";
    size_t used = 0, shown = 0;
    for (; shown < l->n; shown++) {
        const char *name = l->layers[shown].module;
        if (used + strlen(name) + 2 > sizeof names - 40)
            break;
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", name);
    }
    if (shown < l->n)
        snprintf(names + used, sizeof names - used, "%s%zu more", used ? " and " : "",
                 l->n - shown);
    snprintf(m->text, sizeof m->text,
             "adapters of rank %lld, alpha %g, on %zu layer%s (%s); %lld of %lld weights move with "
             "the head; %s%.100s%s",
             (long long)l->rank, l->alpha, l->n, l->n > 1 ? "s" : "", names,
             (long long)m->n_weights, (long long)n_all,
             m->from_pictures ? "nothing runs ahead" : "frozen up to '",
             m->from_pictures ? "" : whole->values[m->border].name, m->from_pictures ? "" : "'");
}

/* The movers become A and B of each layer, at the depth of its weight, and the head. */
static enum graft_status replace_params(const struct gr_lora *l, const struct gr_graph *whole,
                                        struct gr_moving *m, struct graft_error *err)
{
    const size_t room = 2 * l->n + m->n_params;
    int *depth_of = gr_alloc_zero(whole->n_values, sizeof *depth_of);
    int *params = gr_alloc_array(room, sizeof *params),
        *depth = gr_alloc_array(room, sizeof *depth);
    bool *fresh = gr_alloc_array(room, sizeof *fresh);
    size_t n = 0;
    if (!depth_of || !params || !depth || !fresh) {
        gr_free(depth_of);
        gr_free(params);
        gr_free(depth);
        gr_free(fresh);
        return gr_error_nomem(err);
    }
    for (size_t i = 0; i < m->n_params; i++)
        depth_of[m->params[i]] = m->depth[i];
    for (size_t i = 0; i < l->n; i++)
        for (int k = 0; k < 2; k++) {
            params[n] = k ? l->layers[i].b : l->layers[i].a;
            depth[n] = depth_of[l->layers[i].weight];
            fresh[n++] = false;
        }
    for (size_t i = 0; i < m->n_params; i++)
        if (m->fresh[i]) {
            params[n] = m->params[i];
            depth[n] = m->depth[i];
            fresh[n++] = true;
        }
    m->n_weights = 0;
    for (size_t i = 0; i < n; i++)
        m->n_weights += gr_tensor_count(&m->upper->values[params[i]].data);
    gr_free(depth_of);
    gr_free(m->params);
    gr_free(m->depth);
    gr_free(m->fresh);
    m->params = params;
    m->depth = depth;
    m->fresh = fresh;
    m->n_params = n;
    return GRAFT_OK;
}

enum graft_status gr_moving_adapt(struct gr_moving *m, const struct gr_graph *whole,
                                  const struct graft_finetune_options *o, uint64_t seed,
                                  struct gr_lora *l, struct graft_error *err)
{
    const double alpha = o->lora_alpha > 0 ? o->lora_alpha : o->lora;
    int *weights = gr_alloc_array(m->n_params, sizeof *weights);
    enum graft_status s = weights ? GRAFT_OK : gr_error_nomem(err);
    size_t n = 0;
    int64_t n_all = 0;
    for (size_t i = 0; !s && i < m->n_params; i++)
        if (!m->fresh[i])
            weights[n++] = m->params[i];
    if (!s)
        s = gr_lora_find(whole, n, weights, o->lora, alpha, l, err);
    if (!s && !l->n)
        s = gr_error(err, GRAFT_E_ARG,
                     "no linear or 1x1 layer among the %zu tensors that --unfreeze %s chooses: "
                     "nothing to adapt",
                     n, o->unfreeze);
    if (!s)
        s = gr_lora_attach(l, m->upper, seed, err);
    if (!s)
        s = replace_params(l, whole, m, err);
    if (!s)
        s = count_weights(whole, &n_all, err);
    if (!s)
        print_moving(l, whole, n_all, m);
    gr_free(weights);
    return s;
}

/* ---- out ------------------------------------------------------------------------------------- */

static enum graft_status run_plan(const struct gr_graph *g, const struct gr_shape *shape,
                                  const float *x, float *logits, struct graft_error *err)
{
    struct gr_plan *plan = NULL;
    struct gr_exec *exec = NULL;
    struct gr_plan_options o;
    const void *in = x;
    void *out = logits;
    gr_plan_options_init(&o);
    o.batch = shape->dim[0];
    enum graft_status s = gr_plan_new(g, 0, NULL, shape, &o, &plan, err);
    if (!s)
        s = gr_exec_new(plan, &exec, err);
    if (!s)
        s = gr_exec_run(exec, &in, &out, err);
    gr_exec_free(exec);
    gr_plan_free(plan);
    return s;
}

/* A few examples through both in fp32; *apart: the largest difference over the largest logit. */
static enum graft_status prove(const struct gr_graph *whole, const struct gr_moving *m,
                               const struct gr_batch_source *source, size_t batch, size_t n,
                               size_t n_classes, double *apart, struct graft_error *err)
{
    struct gr_graph *upper = NULL;
    struct gr_shape shape = m->border_shape;
    const size_t row = (size_t)gr_shape_count(&shape), n_logits = n * n_classes;
    int64_t *index = gr_alloc_array(batch, sizeof *index);
    float *x = gr_alloc_aligned(batch * row * sizeof *x, true);
    float *branch = gr_alloc_aligned(n_logits * sizeof *branch, true);
    float *merged = gr_alloc_aligned(n_logits * sizeof *merged, true);
    enum graft_status s = index && x && branch && merged ? GRAFT_OK : gr_error_nomem(err);
    shape.dim[0] = (int64_t)n;
    for (size_t i = 0; !s && i < batch; i++)
        index[i] = (int64_t)(i % source->n);
    if (!s && source->begin)
        s = source->begin(source->user, 0, index, batch, err);
    if (!s)
        s = source->fill(source->user, 0, index, batch, &x, err);
    if (!s)
        s = run_plan(m->upper, &shape, x, branch, err);
    if (!s)
        s = gr_moving_split(whole, m, &upper, err);
    if (!s)
        s = run_plan(upper, &shape, x, merged, err);
    double most = 1, worst = 0;
    size_t at = 0;
    for (size_t i = 0; !s && i < n_logits; i++) {
        const double d = fabs((double)merged[i] - (double)branch[i]);
        most = fmax(most, fabs((double)branch[i]));
        if (!(d <= worst)) {
            worst = d;
            at = i;
        }
    }
    if (!s && !(worst <= ROUNDING * most))
        s = gr_error(err, GRAFT_E_COMPUTE,
                     "merging the adapters: picture %zu, class %zu: the merged network gives %.9g, "
                     "with adapters it gives %.9g",
                     at / n_classes, at % n_classes, (double)merged[at], (double)branch[at]);
    *apart = worst / most;
    gr_graph_free(upper);
    gr_free(index);
    gr_free_aligned(x);
    gr_free_aligned(branch);
    gr_free_aligned(merged);
    return s;
}

enum graft_status gr_moving_merge(const struct gr_moving *m, const struct gr_lora *l,
                                  struct gr_trainer *trainer, const struct gr_batch_source *source,
                                  int64_t batch, size_t n_classes, struct gr_graph *whole,
                                  const struct graft_events *ev, struct graft_error *err)
{
    double apart = 0;
    const size_t n = batch < MOST_PROVED ? (size_t)batch : MOST_PROVED;
    enum graft_status s = gr_trainer_store(trainer, m->upper, err);
    for (size_t i = 0; !s && i < m->n_params; i++)
        if (m->fresh[i])
            s = gr_graph_set_const(whole, m->params[i], &m->upper->values[m->params[i]].data, err);
    if (!s)
        s = gr_lora_merge(l, m->upper, whole, err);
    if (!s)
        s = prove(whole, m, source, (size_t)batch, n, n_classes, &apart, err);
    if (!s)
        gr_note(ev, "fine-tune", "adapters merged: %zu logits with and without differ by %.1g",
                n * n_classes, apart);
    return s;
}

/* ---- on disk --------------------------------------------------------------------------------- */

static enum graft_status write_config(const char *path, const struct gr_lora *l, const char *from,
                                      struct graft_error *err)
{
    json_t *modules = json_array();
    bool ok = modules != NULL;
    for (size_t i = 0; ok && i < l->n; i++)
        ok = !json_array_append_new(modules, json_string(l->layers[i].module));
    json_t *alpha =
        floor(l->alpha) == l->alpha ? json_integer((json_int_t)l->alpha) : json_real(l->alpha);
    json_t *name = json_string(from); /* NULL where it is no UTF-8 */
    json_t *root = json_pack(
        "{s:s, s:n, s:o, s:I, s:o, s:f, s:s, s:b, s:b, s:b, s:n, s:o}", "peft_type", "LORA",
        "task_type", "base_model_name_or_path", name ? name : json_null(), "r", (json_int_t)l->rank,
        "lora_alpha", alpha, "lora_dropout", 0.0, "bias", "none", "fan_in_fan_out", 0, "use_rslora",
        0, "inference_mode", 1, "modules_to_save", "target_modules", modules);
    char *text = ok && root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    enum graft_status s = text ? gr_file_write(path, text, strlen(text), err) : gr_error_nomem(err);
    free(text); /* from jansson */
    json_decref(root);
    return s;
}

static enum graft_status write_tensors(const char *path, const struct gr_lora *l,
                                       const struct gr_graph *branched, struct graft_error *err)
{
    static const char *const key = "format", *const value = "pt";
    const size_t n = 2 * l->n;
    char **names = gr_alloc_zero(n, sizeof *names);
    struct gr_tensor *t = gr_alloc_zero(n, sizeof *t);
    enum graft_status s = names && t ? GRAFT_OK : gr_error_nomem(err);
    for (size_t i = 0; !s && i < l->n; i++) {
        s = gr_lora_factors(l, branched, i, &t[2 * i], &t[2 * i + 1], err);
        for (int k = 0; !s && k < 2; k++) {
            names[2 * i + (size_t)k] = gr_sprintf("base_model.model.%s.lora_%c.weight",
                                                  l->layers[i].module, k ? 'B' : 'A');
            if (!names[2 * i + (size_t)k])
                s = gr_error_nomem(err);
        }
    }
    if (!s)
        s = gr_safetensors_write(path, n, (const char *const *)names, t, 1, &key, &value, err);
    for (size_t i = 0; i < n; i++) {
        if (names)
            gr_free(names[i]);
        if (t)
            gr_tensor_clear(&t[i]);
    }
    gr_free(names);
    gr_free(t);
    return s;
}

enum graft_status gr_lora_write(const struct gr_lora *l, const struct gr_graph *branched,
                                const char *dir, const char *from, bool keep,
                                struct graft_error *err)
{
    char *tensors = gr_path_join(dir, "adapter_model.safetensors");
    char *config = gr_path_join(dir, "adapter_config.json");
    enum graft_status s = tensors && config ? GRAFT_OK : gr_error_nomem(err);
    if (!s && !keep) {
        remove(tensors);
        remove(config);
    }
    if (!s && keep)
        s = write_tensors(tensors, l, branched, err);
    if (!s && keep)
        s = write_config(config, l, from, err);
    gr_free(tensors);
    gr_free(config);
    return s;
}
