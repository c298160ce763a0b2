/* Which ranges have the values of a network that are to be kept in 8 bits? */
#include "base/mem.h"
#include "exec/ranges.h"

/* A plan that gives every value whose range is wanted. */
struct gr_calibrator {
    const struct gr_graph *graph;
    struct gr_plan *plan;
    struct gr_exec *exec;
    size_t n;
    int *ids; /* of values */
    struct gr_histogram *seen;
    float **y;
};

void gr_calibrator_free(struct gr_calibrator *c)
{
    if (!c)
        return;
    gr_exec_free(c->exec);
    for (size_t i = 0; c->y && i < c->n; i++)
        gr_free_aligned(c->y[i]);
    gr_plan_free(c->plan);
    gr_free(c->ids);
    gr_free(c->seen);
    gr_free(c->y);
    gr_free(c);
}

static size_t count_of(const struct gr_calibrator *c, size_t i)
{
    return (size_t)gr_shape_count(&gr_plan_get_output(c->plan, i)->shape);
}

static enum graft_status find_values(struct gr_calibrator *c, const struct gr_shape *shapes,
                                     const struct gr_plan_options *o, struct graft_error *err)
{
    const struct gr_graph *g = c->graph;
    bool *ranged = gr_alloc_zero(g->n_values + 1, sizeof *ranged);
    c->ids = gr_alloc_array(g->n_values + 1, sizeof *c->ids);
    enum graft_status s =
        ranged && c->ids ? gr_plan_find_ranged(g, shapes, o, ranged, err) : gr_error_nomem(err);
    for (size_t i = 0; !s && i < g->n_values; i++)
        if (ranged[i])
            c->ids[c->n++] = (int)i;
    if (!s && !c->n)
        s = gr_error(err, GRAFT_E_UNSUPPORTED,
                     "nothing in this network can be computed in int8: it has no convolution and "
                     "no product with constant weights");
    gr_free(ranged);
    return s;
}

static enum graft_status make_room(struct gr_calibrator *c, struct graft_error *err)
{
    c->seen = gr_alloc_zero(c->n, sizeof *c->seen);
    c->y = gr_alloc_zero(c->n, sizeof *c->y);
    if (!c->seen || !c->y)
        return gr_error_nomem(err);
    for (size_t i = 0; i < c->n; i++)
        if (!(c->y[i] = gr_alloc_aligned(count_of(c, i) * sizeof **c->y, false)))
            return gr_error_nomem(err);
    return GRAFT_OK;
}

enum graft_status gr_calibrator_new(const struct gr_graph *g, const struct gr_shape *input_shapes,
                                    struct gr_calibrator **out, struct graft_error *err)
{
    struct gr_plan_options o;
    struct gr_calibrator *c = gr_alloc_zero(1, sizeof *c);
    if (!c)
        return gr_error_nomem(err);
    c->graph = g;
    gr_plan_options_init(&o);
    o.batch = 1;
    enum graft_status s = find_values(c, input_shapes, &o, err);
    if (!s)
        s = gr_plan_new(g, c->n, c->ids, input_shapes, &o, &c->plan, err);
    if (!s)
        s = gr_exec_new(c->plan, &c->exec, err);
    if (!s)
        s = make_room(c, err);
    if (s) {
        gr_calibrator_free(c);
        return s;
    }
    *out = c;
    return GRAFT_OK;
}

enum graft_status gr_calibrator_look(struct gr_calibrator *c, const void *const *inputs,
                                     struct graft_error *err)
{
    enum graft_status s = gr_exec_run(c->exec, inputs, (void *const *)c->y, err);
    if (s)
        return s;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < c->n; i++)
        gr_histogram_add(&c->seen[i], c->y[i], count_of(c, i));
    return GRAFT_OK;
}

enum graft_status gr_calibrator_get_ranges(const struct gr_calibrator *c, struct gr_ranges *r,
                                           struct graft_error *err)
{
    r->items = gr_alloc_zero(c->n, sizeof *r->items);
    if (!r->items)
        return gr_error_nomem(err);
    for (size_t i = 0; i < c->n; i++) {
        const float high = gr_histogram_bound(&c->seen[i]);
        if (!(high > 1e-20f && high < 1e20f)) /* stays in floats */
            continue;
        struct gr_range *range = &r->items[r->n];
        *range =
            (struct gr_range){gr_strdup(c->graph->values[c->ids[i]].name), high, c->seen[i].below};
        if (!range->value)
            return gr_error_nomem(err);
        r->n++;
    }
    gr_ranges_sort(r);
    return GRAFT_OK;
}
