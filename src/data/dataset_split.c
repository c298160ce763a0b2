/* Which examples are learned from, and which are kept back? */
#include "base/mem.h"
#include "base/rng.h"
#include "data/dataset.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Examples that stay together: a group, or one alone. */
struct unit {
    size_t first, n; /* in `order` */
    enum gr_split split;
};

struct splitter {
    struct gr_dataset *ds;
    size_t *order; /* labelled examples, groups together */
    struct unit *units;
    int64_t *sequence; /* units as the seed shuffles them */
    size_t n_order, n_units;
    size_t (*have)[GR_N_SPLITS];     /* per class: examples in each split so far */
    size_t (*units_in)[GR_N_SPLITS]; /* per class: units in each split */
    size_t (*want)[GR_N_SPLITS];
    size_t *size;  /* per class */
    size_t *count; /* per class, of the unit in hand */
};

static int compare_groups(const void *a, const void *b, void *arg)
{
    const struct gr_example *e = arg;
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    const char *x = e[i].group, *y = e[k].group;
    int c = x && y ? strcmp(x, y) : (x != NULL) - (y != NULL);
    return c ? c : (i > k) - (i < k);
}

static void make_units(struct splitter *s)
{
    const struct gr_example *e = s->ds->examples;
    qsort_r(s->order, s->n_order, sizeof *s->order, compare_groups, s->ds->examples);
    for (size_t i = 0; i < s->n_order; i++) {
        const char *g = e[s->order[i]].group;
        if (i > 0 && g && e[s->order[i - 1]].group && !strcmp(g, e[s->order[i - 1]].group)) {
            s->units[s->n_units - 1].n++;
            continue;
        }
        s->units[s->n_units++] = (struct unit){i, 1, GR_SPLIT_NONE};
    }
}

static int label_in(const struct splitter *s, const struct unit *u, size_t i)
{
    return s->ds->examples[s->order[u->first + i]].label;
}

/* The distinct classes of a unit are those whose count is set; the loop visits each once. */
static void count_unit(struct splitter *s, const struct unit *u)
{
    for (size_t i = 0; i < u->n; i++)
        s->count[label_in(s, u, i)]++;
}

static void uncount_unit(struct splitter *s, const struct unit *u)
{
    for (size_t i = 0; i < u->n; i++)
        s->count[label_in(s, u, i)] = 0;
}

static void move_unit(struct splitter *s, struct unit *u, enum gr_split to)
{
    count_unit(s, u);
    for (size_t i = 0; i < u->n; i++) {
        int c = label_in(s, u, i);
        size_t n = s->count[c];
        if (n == 0)
            continue; /* seen */
        s->count[c] = 0;
        s->have[c][u->split] -= n;
        s->units_in[c][u->split]--;
        s->have[c][to] += n;
        s->units_in[c][to]++;
    }
    u->split = to;
}

/* Whether taking the unit out of train leaves every class of it something to learn from. */
static bool can_leave_train(struct splitter *s, const struct unit *u)
{
    for (size_t i = 0; i < u->n; i++) {
        if (s->units_in[label_in(s, u, i)][GR_SPLIT_TRAIN] < 2)
            return false;
    }
    return true;
}

/* How many examples of the unit are still wanted in `to`. */
static size_t gain(struct splitter *s, const struct unit *u, enum gr_split to)
{
    size_t sum = 0;
    count_unit(s, u);
    for (size_t i = 0; i < u->n; i++) {
        int c = label_in(s, u, i);
        size_t missing = s->want[c][to] > s->have[c][to] ? s->want[c][to] - s->have[c][to] : 0;
        sum += s->count[c] < missing ? s->count[c] : missing;
        s->count[c] = 0;
    }
    uncount_unit(s, u);
    return sum;
}

/* A class that got nothing in a wanted split takes its smallest unit from train. */
static void fill_empty(struct splitter *s, size_t c, enum gr_split to)
{
    struct unit *best = NULL;
    if (s->want[c][to] == 0 || s->have[c][to] > 0)
        return;
    for (size_t k = 0; k < s->n_units; k++) {
        struct unit *u = &s->units[s->sequence[k]];
        if (u->split != GR_SPLIT_TRAIN || (best && u->n >= best->n) || !can_leave_train(s, u))
            continue;
        for (size_t i = 0; i < u->n; i++) {
            if (label_in(s, u, i) == (int)c) {
                best = u;
                break;
            }
        }
    }
    if (best)
        move_unit(s, best, to);
}

/* Rounded, at least one where asked for, and two of three left for the others. */
static void set_wants(struct splitter *s, double val, double test)
{
    for (size_t c = 0; c < s->ds->n_classes; c++) {
        size_t n = s->size[c], room = n > 0 ? n - 1 : 0;
        if (n < 3)
            continue;
        size_t t = (size_t)floor((double)n * test + 0.5), v = (size_t)floor((double)n * val + 0.5);
        t = test > 0 && t < 1 ? 1 : t;
        v = val > 0 && v < 1 ? 1 : v;
        if (t > room - (v > 0))
            t = room - (v > 0);
        if (v > room - t)
            v = room - t;
        s->want[c][GR_SPLIT_TEST] = t;
        s->want[c][GR_SPLIT_VAL] = v;
    }
}

static enum graft_status split_fresh(struct gr_dataset *ds, uint64_t seed, double val, double test,
                                     struct graft_error *err)
{
    struct splitter s = {.ds = ds};
    enum graft_status status = GRAFT_OK;
    s.order = gr_alloc_array(ds->n, sizeof *s.order);
    s.units = gr_alloc_array(ds->n, sizeof *s.units);
    s.sequence = gr_alloc_array(ds->n, sizeof *s.sequence);
    s.have = gr_alloc_zero(ds->n_classes, sizeof *s.have);
    s.units_in = gr_alloc_zero(ds->n_classes, sizeof *s.units_in);
    s.want = gr_alloc_zero(ds->n_classes, sizeof *s.want);
    s.size = gr_alloc_zero(ds->n_classes, sizeof *s.size);
    s.count = gr_alloc_zero(ds->n_classes, sizeof *s.count);
    if (!s.order || !s.units || !s.sequence || !s.have || !s.units_in || !s.want || !s.size ||
        !s.count) {
        status = gr_error_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < ds->n; i++) {
        ds->examples[i].split = GR_SPLIT_NONE;
        if (ds->examples[i].label < 0)
            continue;
        s.order[s.n_order++] = i;
        s.size[ds->examples[i].label]++;
        s.have[ds->examples[i].label][GR_SPLIT_NONE]++;
    }
    if (s.n_order == 0)
        goto out;
    make_units(&s);
    set_wants(&s, val, test);
    for (size_t k = 0; k < s.n_units; k++) {
        struct unit *u = &s.units[k];
        s.sequence[k] = (int64_t)k;
        /* move_unit needs the unit counted where it is. */
        count_unit(&s, u);
        for (size_t i = 0; i < u->n; i++) {
            int c = label_in(&s, u, i);
            s.units_in[c][GR_SPLIT_NONE] += s.count[c] > 0;
            s.count[c] = 0;
        }
        move_unit(&s, u, GR_SPLIT_TRAIN);
    }
    gr_rng_shuffle(seed, 0, s.sequence, s.n_units);
    static const enum gr_split order[] = {GR_SPLIT_TEST, GR_SPLIT_VAL};
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < s.n_units; i++) {
            struct unit *u = &s.units[s.sequence[i]];
            if (u->split == GR_SPLIT_TRAIN && 2 * gain(&s, u, order[k]) >= u->n &&
                can_leave_train(&s, u))
                move_unit(&s, u, order[k]);
        }
    }
    for (size_t c = 0; c < ds->n_classes; c++) {
        fill_empty(&s, c, GR_SPLIT_TEST);
        fill_empty(&s, c, GR_SPLIT_VAL);
    }
    for (size_t k = 0; k < s.n_units; k++) {
        for (size_t i = 0; i < s.units[k].n; i++)
            ds->examples[s.order[s.units[k].first + i]].split = s.units[k].split;
    }
out:
    gr_free(s.order);
    gr_free(s.units);
    gr_free(s.sequence);
    gr_free(s.have);
    gr_free(s.units_in);
    gr_free(s.want);
    gr_free(s.size);
    gr_free(s.count);
    return status;
}

enum graft_status gr_dataset_split(struct gr_dataset *ds, uint64_t seed, double val_fraction,
                                   double test_fraction, struct graft_error *err)
{
    if (!(val_fraction >= 0) || !(test_fraction >= 0) || !(val_fraction + test_fraction < 1))
        return gr_error(err, GRAFT_E_ARG,
                        "split: fractions %g (val) and %g (test) must be from 0 and sum to below 1",
                        val_fraction, test_fraction);
    if (!ds->splits_given)
        return split_fresh(ds, seed, val_fraction, test_fraction, err);
    bool test = false;
    for (size_t i = 0; i < ds->n; i++)
        test |= ds->examples[i].split == GR_SPLIT_TEST;
    if (test)
        return GRAFT_OK;
    for (size_t i = 0; i < ds->n; i++) {
        if (ds->examples[i].split == GR_SPLIT_VAL)
            ds->examples[i].split = GR_SPLIT_TEST;
    }
    return gr_dataset_note(ds, err, "no test part: the val part is the test part");
}
