/* What belongs to a network besides its graph? */
#include "core/model.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void gr_model_clear(struct gr_model *m)
{
    gr_graph_free(m->graph);
    gr_free(m->path);
    gr_free(m->format);
    gr_free(m->arch);
    gr_free(m->pretrain);
    gr_free(m->licence);
    gr_free(m->producer);
    gr_free(m->pre_source);
    for (size_t i = 0; i < m->n_labels; i++)
        gr_free(m->labels[i]);
    gr_free(m->labels);
    for (size_t i = 0; i < m->n_props; i++) {
        gr_free(m->props[i].key);
        gr_free(m->props[i].value);
    }
    gr_free(m->props);
    for (size_t i = 0; i < m->n_notes; i++)
        gr_free(m->notes[i]);
    gr_free(m->notes);
    memset(m, 0, sizeof *m);
}

enum graft_status gr_model_add_note(struct gr_model *m, struct graft_error *err, const char *fmt,
                                    ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char **more = gr_realloc_array(m->notes, m->n_notes + 1, sizeof *more);
    if (more)
        m->notes = more;
    if (!more || !(more[m->n_notes] = gr_strdup(text)))
        return gr_error_nomem(err);
    m->n_notes++;
    return GRAFT_OK;
}

const char *gr_model_get_prop(const struct gr_model *m, const char *key)
{
    for (size_t i = 0; i < m->n_props; i++)
        if (!strcmp(m->props[i].key, key))
            return m->props[i].value;
    return NULL;
}

enum graft_status gr_model_set_prop(struct gr_model *m, const char *key, const char *value,
                                    struct graft_error *err)
{
    size_t i = 0;
    while (i < m->n_props && strcmp(m->props[i].key, key))
        i++;
    if (!value) {
        if (i < m->n_props) {
            gr_free(m->props[i].key);
            gr_free(m->props[i].value);
            m->n_props--;
            memmove(&m->props[i], &m->props[i + 1], (m->n_props - i) * sizeof *m->props);
        }
        return GRAFT_OK;
    }
    char *copy = gr_strdup(value);
    if (!copy)
        return gr_error_nomem(err);
    if (i < m->n_props) {
        gr_free(m->props[i].value);
        m->props[i].value = copy;
        return GRAFT_OK;
    }
    struct gr_prop *more = gr_realloc_array(m->props, m->n_props + 1, sizeof *more);
    if (more)
        m->props = more;
    char *k = more ? gr_strdup(key) : NULL;
    if (!k) {
        gr_free(copy);
        return gr_error_nomem(err);
    }
    m->props[m->n_props++] = (struct gr_prop){k, copy};
    return GRAFT_OK;
}

enum graft_status gr_model_set_labels(struct gr_model *m, size_t n, const char *const *labels,
                                      struct graft_error *err)
{
    char **copy = gr_alloc_zero(n, sizeof *copy);
    bool ok = copy != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = (copy[i] = gr_strdup(labels[i])) != NULL;
    if (!ok) {
        for (size_t i = 0; copy && i < n; i++)
            gr_free(copy[i]);
        gr_free(copy);
        return gr_error_nomem(err);
    }
    for (size_t i = 0; i < m->n_labels; i++)
        gr_free(m->labels[i]);
    gr_free(m->labels);
    m->labels = copy;
    m->n_labels = n;
    return GRAFT_OK;
}
