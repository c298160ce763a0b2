/* Which known architecture do these tensors belong to? */
#include "zoo/zoo.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "zoo/builder.h"
#include <stdio.h>
#include <string.h>

/* What training frameworks put before the module path. */
static const char *const prefixes[] = {"",      "module.",     "model.",   "module.model.",
                                       "net.",  "backbone.",   "encoder.", "module.backbone.",
                                       "body.", "module.body."};

/* Bookkeeping that no network computes with. */
static bool is_ignored(const char *name)
{
    static const char *const ends[] = {"num_batches_tracked", "total_ops", "total_params"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t k = strlen(ends[i]);
        if (n >= k && !strcmp(name + n - k, ends[i]))
            return true;
    }
    return false;
}

/* The part of a name between the prefix and the next dot: the outermost module. */
static const char *outer_module(const struct gr_zoo_builder *b, const char *name, char *text,
                                size_t size)
{
    size_t skip = strlen(b->prefix);
    if (strncmp(name, b->prefix, skip))
        return NULL;
    snprintf(text, size, "%.*s", (int)strcspn(name + skip, "."), name + skip);
    return text;
}

/* A tensor inside a used module that the network does not know (squeeze-and-excite, say) changes
   what is computed: refused. Others are noted. */
static void judge_unused(struct gr_zoo_builder *b)
{
    struct gr_names modules = {0};
    size_t n = 0;
    const struct gr_weight *first = NULL;
    char text[GR_SHAPE_TEXT], module[1024];
    for (size_t i = 0; !b->status && i < b->w->n; i++) {
        const char *name = b->w->items[i].name;
        if (!b->used[i] || !outer_module(b, name, module, sizeof module) ||
            gr_names_find(&modules, module) >= 0)
            continue;
        char *copy = gr_arena_strdup(&b->g->arena, module);
        if (!copy || !gr_names_set(&modules, copy, 1))
            b->status = gr_error_nomem(&b->err);
    }
    for (size_t i = 0; !b->status && i < b->w->n; i++) {
        const struct gr_weight *item = &b->w->items[i];
        if (b->used[i] || is_ignored(item->name))
            continue;
        if (outer_module(b, item->name, module, sizeof module) &&
            gr_names_find(&modules, module) >= 0)
            gr_zoo_fail(b, "'%s' of shape %s has no place in it", item->name,
                        gr_shape_print(&item->tensor.shape, text));
        first = n++ ? first : item;
    }
    if (!b->status && n)
        b->status = gr_model_add_note(b->model, &b->err, "%zu tensor%s not used, first '%s' %s", n,
                                      n > 1 ? "s" : "", first->name,
                                      gr_shape_print(&first->tensor.shape, text));
    gr_names_clear(&modules);
}

/* One attempt; the result is in b->status, b->model and the two counts. */
static void attempt(struct gr_zoo_builder *b, const struct gr_arch *arch, const char *prefix)
{
    b->prefix = prefix;
    b->n_names = b->n_fit = 0;
    b->eps = 1e-5f;
    b->clip_min = b->clip_max = -1;
    memset(b->used, 0, b->w->n);
    b->status = gr_graph_new(&b->model->graph, &b->err);
    b->g = b->model->graph;
    gr_zoo_title(b, "%s", arch->title);
    if (!b->status)
        b->status = gr_graph_set_opset(b->g, "", 17, &b->err);
    if (!b->status)
        arch->build(b);
    if (!b->n_names)
        gr_zoo_fail(b, "not one of its tensors is there");
    judge_unused(b);
    if (b->status)
        return;
    b->g->name = gr_zoo_path(b, "%s", b->model->arch);
    b->model->ir_version = 8;
    if (!b->status && gr_zoo_classes(b) && !b->model->pretrain) {
        /* Trained on somebody's own classes, most likely from the usual start. */
        struct graft_preprocess pre = b->model->pre;
        gr_zoo_set_pre(b, gr_zoo_path(b, "%s, assumed", b->model->pre_source), false, &pre);
    }
    if (!b->status)
        b->status = gr_graph_check(b->g, &b->err);
    if (!b->status)
        b->status = gr_graph_bind(b->g, &b->err);
}

/* Says what was looked for and what came nearest. */
static enum graft_status no_match(const struct gr_weights *w, const char *nearest, size_t n_names,
                                  const struct graft_error *why, struct graft_error *err)
{
    struct gr_buf list;
    char text[GR_SHAPE_TEXT];
    enum graft_status s;
    gr_buf_init(&list, 4096);
    for (size_t i = 0; gr_zoo_archs[i]; i++) {
        gr_buf_printf(&list, "%s%s", i ? "; " : "", gr_zoo_archs[i]->title);
        if (!nearest)
            gr_buf_printf(&list, ": %s", gr_zoo_archs[i]->signature);
    }
    char *known = gr_buf_take(&list);
    if (!known)
        s = gr_error_nomem(err);
    else if (nearest)
        s = gr_error(err, GRAFT_E_UNSUPPORTED,
                     "the tensors fit no known architecture; nearest: %s (%zu of %zu names); "
                     "%s; known are %s",
                     nearest, n_names, w->n, why->message, known);
    else
        s = gr_error(err, GRAFT_E_UNSUPPORTED,
                     "the tensors fit no known architecture; the first of %zu is '%.100s' %s; "
                     "looked for %s",
                     w->n, w->items[0].name, gr_shape_print(&w->items[0].tensor.shape, text),
                     known);
    gr_free(known);
    return s;
}

enum graft_status gr_zoo_build(const struct gr_weights *w, struct gr_model *model,
                               struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct gr_names index = {0};
    struct gr_model m = {0};
    struct gr_zoo_builder b = {.w = w, .index = &index, .model = &m};
    struct graft_error why = {0};
    char *nearest = NULL;
    size_t best_names = 0, best_fit = 0;
    bool found = false;
    if (!w->n)
        return gr_error(err, GRAFT_E_FORMAT, "the file holds no tensors");
    b.used = gr_alloc_zero(w->n, sizeof *b.used);
    if (!b.used)
        s = gr_error_nomem(err);
    for (size_t i = 0; !s && i < w->n; i++)
        if (!gr_names_set(&index, w->items[i].name, (int64_t)i))
            s = gr_error_nomem(err);
    for (size_t i = 0; !s && !found && gr_zoo_archs[i]; i++)
        for (size_t p = 0; !s && !found && p < sizeof prefixes / sizeof *prefixes; p++) {
            attempt(&b, gr_zoo_archs[i], prefixes[p]);
            found = !b.status;
            if (b.status && b.status != GRAFT_E_UNSUPPORTED) {
                s = gr_error(err, b.status, "%s: %s", m.arch ? m.arch : "", b.err.message);
            } else if (b.status && (b.n_names > best_names ||
                                    (b.n_names == best_names && b.n_fit > best_fit))) {
                gr_free(nearest);
                nearest = m.arch;
                m.arch = NULL;
                best_names = b.n_names;
                best_fit = b.n_fit;
                why = b.err;
            }
            if (!found)
                gr_model_clear(&m);
        }
    if (!s && !found) /* a few names in common by chance make nobody a neighbour */
        s = no_match(w, best_names * 8 < w->n ? NULL : nearest, best_names, &why, err);
    if (!s)
        *model = m;
    gr_free(nearest);
    gr_free(b.used);
    gr_free(b.channels);
    gr_names_clear(&index);
    return s;
}
