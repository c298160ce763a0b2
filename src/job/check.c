/* Is a data set fit for training? */
#include "base/events.h"
#include "base/mem.h"
#include "data/loader.h"
#include "job/pictures.h"

/* Decodes every picture once: what cannot be read is found before training, not in it. */
static enum graft_status read_all(struct gr_pictures *p, const struct graft_data_options *o,
                                  const struct graft_events *ev, struct graft_error *err)
{
    const size_t n = p->ds.n;
    struct gr_loader *loader = NULL;
    struct graft_preprocess pre;
    const char **paths = gr_alloc_array(n, sizeof *paths);
    p->ok = gr_alloc_zero(n, sizeof *p->ok);
    p->problem = gr_alloc_zero(n, sizeof *p->problem);
    p->hash = gr_alloc_zero(n, sizeof *p->hash);
    if (!paths || !p->ok || !p->problem || !p->hash) {
        gr_free(paths);
        return gr_error_nomem(err);
    }
    for (size_t i = 0; i < n; i++)
        paths[i] = p->ds.examples[i].path;
    graft_preprocess_init(&pre);
    pre.width = pre.height = pre.resize_to = 32; /* the pixels are not looked at */
    const struct gr_loader_options lo = {
        .paths = paths,
        .source = p->ds.source,
        .n = n,
        .preprocess = &pre,
        .batch = 32,
        .workers = o->workers,
        .limits = {o->max_pixels, GR_IMAGE_MAX_SIDE},
        .events = ev,
    };
    int64_t done = 0;
    enum graft_status s = gr_loader_open(&lo, &loader, err);
    while (!s) {
        const struct gr_batch *b;
        s = gr_loader_next(loader, &b, err);
        if (s || !b)
            break;
        for (size_t i = 0; !s && i < b->n; i++) {
            const struct gr_item *item = &b->items[i];
            p->ok[item->index] = !item->status;
            if (item->have_content)
                p->hash[item->index] = item->content;
            if (item->status && !(p->problem[item->index] =
                                      gr_sprintf("%s: %s", paths[item->index], item->message)))
                s = gr_error_nomem(err);
        }
        done += (int64_t)b->n;
        gr_progress(ev, "check", done, (int64_t)n, "img");
    }
    gr_loader_close(loader);
    gr_free(paths);
    return s;
}

enum graft_status graft_check(const char *data, const struct graft_data_options *o,
                              const struct graft_events *ev, struct graft_error *err)
{
    struct gr_pictures p = {0};
    struct gr_findings findings = {0};
    if (!data)
        return gr_error(err, GRAFT_E_ARG, "data must be given");
    enum graft_status s = gr_data_options_check(o, err);
    if (!s)
        s = gr_pictures_open(data, o, ev, &p, err);
    if (!s)
        s = read_all(&p, o, ev, err);
    if (!s)
        s = gr_pictures_check(&p, ev, &findings, err);
    if (!s)
        gr_note(ev, "check", "%zu to be mended, %zu warnings", findings.n_errors,
                findings.n_warnings);
    if (!s && findings.n_errors)
        s = gr_error(err, GRAFT_E_CHECK, "%s: %zu thing%s must be mended", data, findings.n_errors,
                     findings.n_errors > 1 ? "s" : "");
    gr_findings_clear(&findings);
    gr_pictures_clear(&p);
    return s;
}
