/* Where do activations lie? */
#include "base/mem.h"
#include "exec/plan_steps.h"
#include <stdlib.h>

static size_t padded(size_t size)
{
    return (size + 63) / 64 * 64;
}

static int by_size(const void *a, const void *b)
{
    const struct plan_slot *x = *(struct plan_slot *const *)a, *y = *(struct plan_slot *const *)b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return x->first - y->first;
}

static int by_offset(const void *a, const void *b)
{
    const struct plan_slot *x = *(struct plan_slot *const *)a, *y = *(struct plan_slot *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Largest first, each into the tightest gap among those placed that live at the same time. */
enum graft_status plan_slots(struct plan_slot *slots, size_t n_slots, size_t *total,
                             struct graft_error *err)
{
    struct plan_slot **order = gr_alloc_array(n_slots + 1, sizeof *order);
    struct plan_slot **near = gr_alloc_array(n_slots + 1, sizeof *near);
    size_t n = 0, end = 0;
    enum graft_status s = order && near ? GRAFT_OK : gr_error_nomem(err);
    for (size_t i = 0; !s && i < n_slots; i++)
        if (slots[i].kind == SLOT_WORK)
            order[n++] = &slots[i];
    if (!s)
        qsort(order, n, sizeof *order, by_size);
    for (size_t i = 0; !s && i < n; i++) {
        size_t n_near = 0, size = padded(order[i]->size), at = 0, best = SIZE_MAX, best_gap = 0;
        for (size_t k = 0; k < i; k++)
            if (order[k]->first <= order[i]->last && order[i]->first <= order[k]->last)
                near[n_near++] = order[k];
        qsort(near, n_near, sizeof *near, by_offset);
        for (size_t k = 0; k < n_near; k++) {
            if (near[k]->offset > at && near[k]->offset - at >= size &&
                (best == SIZE_MAX || near[k]->offset - at < best_gap)) {
                best = at;
                best_gap = near[k]->offset - at;
            }
            size_t after = near[k]->offset + padded(near[k]->size);
            at = after > at ? after : at;
        }
        order[i]->offset = best != SIZE_MAX ? best : at;
        if (!gr_add_size(order[i]->offset, size, &size))
            s = gr_error(err, GRAFT_E_LIMIT, "activations are too large");
        end = size > end ? size : end;
    }
    gr_free(order);
    gr_free(near);
    if (!s)
        *total = end;
    return s;
}

enum graft_status plan_memory(struct gr_plan *p, struct graft_error *err)
{
    size_t end = 0, scratch = 0;
    enum graft_status s = plan_slots(p->slots, p->n_slots, &end, err);
    for (size_t i = 0; i < p->n_steps; i++)
        scratch = p->steps[i].scratch_size > scratch ? p->steps[i].scratch_size : scratch;
    p->scratch_offset = end;
    if (!s && !gr_add_size(end, padded(scratch), &p->work_size))
        s = gr_error(err, GRAFT_E_LIMIT, "activations are too large");
    return s;
}
