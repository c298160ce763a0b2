/* What is kept between forward and backward, and where does it lie? */
#include "base/mem.h"
#include "exec/trainer_plan.h"

/* The forward pass, to plan backward from more than once. */
struct memory {
    struct train_planner *w;
    int logits;
    size_t n_slots;
    struct plan_slot *slots; /* copies */
    int *maker, *reader;     /* per slot: the step that makes it, the last that reads it, or -1 */
    bool *wanted;            /* per slot: backward reads it when everything is kept */
    bool *cut;               /* per step: only one value goes from the steps before to it */
    bool *runs;              /* per step */
    size_t *bytes;           /* per step: what backward wants of it */
    int *segment;
    bool *dropped;
    int n_segments;
};

enum graft_status train_add_scratch(struct train_planner *w, const struct train_step *step,
                                    int *slot, struct graft_error *err)
{
    *slot = -1;
    return step->scratch_size ? train_add_slot(w, SLOT_WORK, 0, step->scratch_size, NULL, slot, err)
                              : GRAFT_OK;
}

/* ---- doing a segment again ------------------------------------------------------------------ */

static int slot_of(const struct gr_trainer *t, int var)
{
    return var < 0 ? -1 : t->vars[var].slot;
}

static bool is_dropped(const struct train_planner *w, int slot)
{
    return slot >= 0 && w->dropped[slot];
}

/* Marks a dropped slot for being filled again. */
static void need(const struct train_planner *w, int slot, bool *needed)
{
    if (is_dropped(w, slot))
        needed[slot] = true;
}

static enum graft_status again_slot(struct train_planner *w, int slot, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    int copy;
    if (!is_dropped(w, slot) || t->again[slot] >= 0)
        return GRAFT_OK;
    enum graft_status s = train_add_slot(w, SLOT_WORK, 0, t->slots[slot].size, NULL, &copy, err);
    if (!s)
        t->again[slot] = copy;
    return s;
}

static enum graft_status redo(struct train_planner *w, int at, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    const struct train_step *step = &t->steps[at];
    struct train_back b = {.kind = BACK_AGAIN, .step = at, .dst = -1, .src = -1};
    enum graft_status s = again_slot(w, step->saved, err);
    for (int i = 0; !s && i < step->n_out; i++)
        s = again_slot(w, slot_of(t, step->out[i]), err);
    if (!s)
        s = train_add_scratch(w, step, &b.scratch, err);
    if (!s)
        s = train_add_back(w, b, err);
    if (s)
        return s;
    int time = (int)(t->n_steps + t->n_backs) - 1;
    train_touch(w, b.scratch, time);
    train_touch(w, train_late(t, step->saved), time);
    for (int i = 0; i < step->n_in; i++)
        train_touch(w, train_late(t, slot_of(t, step->in[i])), time);
    for (int i = 0; i < step->n_out; i++)
        train_touch(w, train_late(t, slot_of(t, step->out[i])), time);
    return GRAFT_OK;
}

enum graft_status train_plan_again(struct train_planner *w, int at, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    const int n = (int)t->n_steps;
    if (!w->segment || at + 1 == n || w->segment[at] == w->segment[at + 1])
        return GRAFT_OK;
    int first = at;
    while (first > 0 && w->segment[first - 1] == w->segment[at])
        first--;
    bool *needed = gr_alloc_zero(t->n_slots + 1, sizeof *needed);
    bool *does = gr_alloc_zero((size_t)n + 1, sizeof *does);
    enum graft_status s = needed && does ? GRAFT_OK : gr_error_nomem(err);
    for (int i = first; !s && i <= at; i++) {
        const struct train_step *step = &t->steps[i];
        for (int k = 0; w->runs[i] && k < step->n_in; k++)
            if (step->keep_in[k])
                need(w, slot_of(t, step->in[k]), needed);
        for (int k = 0; w->runs[i] && k < step->n_out; k++)
            if (step->keep_out[k])
                need(w, slot_of(t, step->out[k]), needed);
        if (w->runs[i])
            need(w, step->saved, needed);
    }
    for (int i = at; !s && i >= first; i--) {
        const struct train_step *step = &t->steps[i];
        does[i] = step->saved >= 0 && needed[step->saved];
        for (int k = 0; k < step->n_out; k++)
            does[i] = does[i] || (step->out[k] >= 0 && needed[slot_of(t, step->out[k])]);
        does[i] = does[i] && step->kernel;
        for (int k = 0; does[i] && k < step->n_in; k++)
            need(w, slot_of(t, step->in[k]), needed);
    }
    for (int i = first; !s && i <= at; i++)
        if (does[i])
            s = redo(w, i, err);
    gr_free(needed);
    gr_free(does);
    return s;
}

/* ---- what is dropped ------------------------------------------------------------------------ */

/* Makers and readers, and the places between steps that one value passes. */
static void look_forward(struct memory *m)
{
    const struct gr_trainer *t = m->w->t;
    const int n = (int)t->n_steps;
    for (size_t i = 0; i < m->n_slots; i++)
        m->maker[i] = m->reader[i] = -1;
    for (int i = 0; i < n; i++) {
        const struct train_step *step = &t->steps[i];
        for (int k = 0; k < step->n_in; k++)
            if (step->in[k] >= 0)
                m->reader[slot_of(t, step->in[k])] = i;
        for (int k = 0; step->kernel && k < step->n_out; k++)
            if (step->out[k] >= 0)
                m->maker[slot_of(t, step->out[k])] = i;
    }
    m->reader[t->logits] = n;
    for (int p = 1; p < n; p++) {
        int crossing = 0;
        for (size_t i = 0; i < m->n_slots && crossing < 2; i++)
            crossing += m->maker[i] >= 0 && m->maker[i] < p && m->reader[i] >= p;
        m->cut[p] = crossing == 1;
    }
}

/* What backward reads, from a plan that keeps everything. */
static void look_backward(struct memory *m)
{
    const struct gr_trainer *t = m->w->t;
    for (size_t b = 0; b < t->n_backs; b++) {
        if (t->backs[b].kind != BACK_STEP)
            continue;
        const int i = t->backs[b].step;
        const struct train_step *step = &t->steps[i];
        m->runs[i] = true;
        for (int k = 0; k < step->n_in; k++)
            if (step->keep_in[k] && step->in[k] >= 0)
                m->wanted[slot_of(t, step->in[k])] = true;
        for (int k = 0; k < step->n_out; k++)
            if (step->keep_out[k] && step->out[k] >= 0)
                m->wanted[slot_of(t, step->out[k])] = true;
        if (step->saved >= 0)
            m->bytes[i] += t->slots[step->saved].size;
    }
    for (size_t i = 0; i < m->n_slots; i++)
        if (m->wanted[i] && m->maker[i] >= 0)
            m->bytes[m->maker[i]] += t->slots[i].size;
}

/* Segments of about an n-th of the bytes each, from cut to cut. */
static void split(struct memory *m, int n)
{
    const size_t n_steps = m->w->t->n_steps;
    size_t all = 0, here = 0;
    for (size_t i = 0; i < n_steps; i++)
        all += m->bytes[i];
    m->n_segments = n_steps > 0;
    for (size_t i = 0; i < n_steps; i++) {
        if (m->cut[i] && here >= all / (size_t)n) {
            m->n_segments++;
            here = 0;
        }
        here += m->bytes[i];
        m->segment[i] = m->n_segments - 1;
    }
}

static bool is_cheap(const struct train_step *step)
{
    static const char *const products[] = {"Conv", "ConvTranspose", "Gemm", "MatMul", NULL};
    for (int i = 0; products[i]; i++)
        if (!strcmp(step->op, products[i]))
            return false;
    return step->kernel && step->kernel != &train_reference;
}

/* A cheap step is done again where that needs nothing that would not be kept anyway. */
static bool can_drop(const struct memory *m, const struct train_step *step)
{
    const struct gr_trainer *t = m->w->t;
    if (!is_cheap(step))
        return false;
    for (int k = 0; k < step->n_in; k++) {
        int slot = slot_of(t, step->in[k]);
        if (slot >= 0 && t->slots[slot].kind == SLOT_WORK && !m->wanted[slot] && !m->dropped[slot])
            return false;
    }
    return true;
}

static void drop(struct memory *m, enum gr_trainer_keep keep)
{
    const struct gr_trainer *t = m->w->t;
    memset(m->dropped, 0, m->n_slots * sizeof *m->dropped);
    for (size_t i = 0; keep && i < t->n_steps && m->segment[i] + 1 < m->n_segments; i++) {
        const struct train_step *step = &t->steps[i];
        if (!step->kernel || (keep == GR_KEEP_PRODUCTS && !can_drop(m, step)))
            continue;
        for (int k = 0; k < step->n_out; k++) {
            int slot = slot_of(t, step->out[k]);
            if (slot >= 0 && m->reader[slot] < (int)t->n_steps &&
                (m->reader[slot] < 0 || m->segment[m->reader[slot]] == m->segment[i]))
                m->dropped[slot] = true;
        }
        if (step->saved >= 0 && !step->once && keep == GR_KEEP_BORDERS)
            m->dropped[step->saved] = true;
    }
}

/* ---- choosing ------------------------------------------------------------------------------- */

static enum graft_status attempt(struct memory *m, enum gr_trainer_keep keep, int n_segments,
                                 struct graft_error *err)
{
    struct train_planner *w = m->w;
    struct gr_trainer *t = w->t;
    t->n_slots = m->n_slots;
    memcpy(t->slots, m->slots, m->n_slots * sizeof *m->slots);
    for (size_t i = 0; i < m->n_slots; i++) {
        w->shared[i] = t->slots[i].kind == SLOT_INPUT;
        t->again[i] = -1;
    }
    for (size_t i = 0; i < t->n_vars; i++)
        t->vars[i].grad = -1;
    for (size_t i = 0; i < t->n_steps; i++) {
        for (int k = 0; k < t->steps[i].n_in; k++)
            t->steps[i].din[k] = -1;
        for (int k = 0; k < t->steps[i].n_out; k++)
            t->steps[i].dout[k] = -1;
    }
    t->n_backs = 0;
    t->keep = keep;
    split(m, n_segments);
    drop(m, keep);
    w->segment = keep ? m->segment : NULL;
    w->dropped = m->dropped;
    w->runs = m->runs;
    enum graft_status s = train_plan_backward(w, m->logits, err);
    return s ? s : plan_slots(t->slots, t->n_slots, &t->work_size, err);
}

/* The first way of keeping that fits, and in it the number of segments that needs least. */
static enum graft_status choose(struct memory *m, struct graft_error *err)
{
    static const int pieces[] = {2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64};
    struct gr_trainer *t = m->w->t;
    const enum gr_trainer_keep from = t->options.keep;
    const size_t limit = t->options.max_work;
    enum gr_trainer_keep best_keep = GR_KEEP_ALL;
    int best_n = 1;
    enum graft_status s = attempt(m, GR_KEEP_ALL, 1, err);
    size_t best = t->work_size;
    if (s)
        return s;
    look_backward(m);
    if (from == GR_KEEP_ALL && (!limit || best <= limit))
        return GRAFT_OK;
    for (int keep = from ? (int)from : GR_KEEP_PRODUCTS; keep <= GR_KEEP_BORDERS; keep++) {
        if (best <= limit && best_keep >= from)
            break;
        int last = 1;
        for (size_t i = 0; !s && i < sizeof pieces / sizeof *pieces; i++) {
            split(m, pieces[i]);
            if (m->n_segments == last)
                continue;
            last = m->n_segments;
            s = attempt(m, (enum gr_trainer_keep)keep, pieces[i], err);
            if (!s && (t->work_size < best || best_keep < from)) {
                best = t->work_size;
                best_keep = (enum gr_trainer_keep)keep;
                best_n = pieces[i];
            }
        }
        if (!limit)
            break;
    }
    return s ? s : attempt(m, best_keep, best_n, err);
}

enum graft_status train_plan_memory(struct train_planner *w, int logits, struct graft_error *err)
{
    struct gr_trainer *t = w->t;
    struct memory m = {.w = w, .logits = logits};
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < t->n_steps; i++) {
        s = train_add_scratch(w, &t->steps[i], &t->steps[i].scratch, err);
        train_touch(w, t->steps[i].scratch, (int)i);
    }
    if (s)
        return s;
    m.n_slots = t->n_slots;
    m.slots = gr_alloc_array(m.n_slots + 1, sizeof *m.slots);
    m.maker = gr_alloc_array(m.n_slots + 1, sizeof *m.maker);
    m.reader = gr_alloc_array(m.n_slots + 1, sizeof *m.reader);
    m.wanted = gr_alloc_zero(m.n_slots + 1, sizeof *m.wanted);
    m.dropped = gr_alloc_zero(m.n_slots + 1, sizeof *m.dropped);
    m.cut = gr_alloc_zero(t->n_steps + 1, sizeof *m.cut);
    m.runs = gr_alloc_zero(t->n_steps + 1, sizeof *m.runs);
    m.bytes = gr_alloc_zero(t->n_steps + 1, sizeof *m.bytes);
    m.segment = gr_alloc_zero(t->n_steps + 1, sizeof *m.segment);
    if (!m.slots || !m.maker || !m.reader || !m.wanted || !m.dropped || !m.cut || !m.runs ||
        !m.bytes || !m.segment) {
        s = gr_error_nomem(err);
    } else {
        memcpy(m.slots, t->slots, m.n_slots * sizeof *m.slots);
        look_forward(&m);
        s = choose(&m, err);
    }
    w->segment = NULL;
    w->dropped = w->runs = NULL;
    gr_free(m.slots);
    gr_free(m.maker);
    gr_free(m.reader);
    gr_free(m.wanted);
    gr_free(m.dropped);
    gr_free(m.cut);
    gr_free(m.runs);
    gr_free(m.bytes);
    gr_free(m.segment);
    return s;
}
