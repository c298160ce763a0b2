/* With which ranges does a network run in int8, and is it still good enough? */
#include "base/events.h"
#include "base/mem.h"
#include "base/rng.h"
#include "job/pictures.h"
#include "train/head.h"
#include <stdio.h>

/* From 8 pictures on the features of MobileNetV2 differ from fp32 by the same, to 0.1 %. */
enum { N_CALIBRATION = 16, N_CHECK = 1000, RANDOM_CALIBRATION = 0x1278, RANDOM_CHECK = 0x1279 };

/* Drop of accuracy above which int8 is refused. */
#define MOST_DROP 0.005

/* Some of the examples of these splits, in an order that the seed decides; free with gr_free. */
static enum graft_status choose(const struct gr_pictures *p, unsigned splits, uint64_t seed,
                                uint64_t stream, int64_t **idx, size_t *n, struct graft_error *err)
{
    *idx = gr_alloc_array(p->ds.n, sizeof **idx);
    if (!*idx)
        return gr_error_nomem(err);
    *n = 0;
    for (size_t i = 0; i < p->ds.n; i++)
        if ((!p->ok || p->ok[i]) && (splits >> p->ds.examples[i].split & 1))
            (*idx)[(*n)++] = (int64_t)i;
    gr_rng_shuffle(seed, stream, *idx, *n);
    return GRAFT_OK;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

enum graft_status gr_network_calibrate(struct gr_network *net, const struct gr_model *m,
                                       const struct gr_pictures *p,
                                       const struct graft_data_options *o,
                                       const struct graft_events *ev, struct graft_error *err)
{
    struct gr_calibrator *calibrator = NULL;
    struct gr_picture_reader reader = {0};
    struct gr_ranges ranges = {0};
    struct gr_type *t = NULL;
    float *x = NULL;
    int64_t *idx = NULL;
    size_t n = 0, read = 0;
    enum graft_status s =
        choose(p, 1u << GR_SPLIT_TRAIN, o->seed, RANDOM_CALIBRATION, &idx, &n, err);
    if (!s && !n) {
        gr_free(idx);
        s = choose(p, ~0u, o->seed, RANDOM_CALIBRATION, &idx, &n, err);
    }
    if (!s)
        s = gr_job_input_types(m, 1, &t, err);
    if (!s && !(x = gr_alloc_aligned((size_t)gr_shape_count(&t[0].shape) * sizeof *x, true)))
        s = gr_error_nomem(err);
    if (!s)
        s = gr_calibrator_new(net->graph, &t[0].shape, &calibrator, err);
    for (size_t i = 0; !s && i < n && read < N_CALIBRATION; i++) {
        struct graft_error bad; /* listed when its turn comes */
        s = gr_network_picture(net, &reader, p, (size_t)idx[i], o->max_pixels, x, &bad);
        if (s == GRAFT_E_NOMEM)
            gr_error_nomem(err);
        else if (s)
            s = GRAFT_OK;
        else if (!(s = gr_calibrator_look(calibrator, &(const void *){x}, err)))
            read++;
        if (!s && gr_cancelled(ev, err))
            s = GRAFT_E_CANCELLED;
    }
    if (!s && !read)
        s = gr_error(err, GRAFT_E_CHECK, "%s: no readable picture to find the ranges for int8 on",
                     p->path);
    if (!s)
        s = gr_calibrator_get_ranges(calibrator, &ranges, err);
    const size_t n_ranges = ranges.n;
    if (!s)
        s = gr_network_to_int8(m, net, &ranges, err);
    if (!s) {
        size_t layers = 0, all = 0;
        for (size_t i = 0; i < gr_plan_n_steps(net->plan); i++) {
            struct gr_step_info info;
            gr_plan_get_step(net->plan, i, &info);
            layers += info.int8 && info.macs > 0;
            all += info.macs > 0;
        }
        gr_note(ev, "precision",
                "int8: %zu of %zu steps with products read 8 bits, ranges of %zu values from %zu "
                "pictures",
                layers, all, n_ranges, read);
    }
    gr_picture_reader_clear(&reader);
    gr_ranges_clear(&ranges);
    gr_calibrator_free(calibrator);
    gr_free_aligned(x);
    gr_free(t);
    gr_free(idx);
    return s;
}

/* ---- the check ------------------------------------------------------------------------------- */

struct fold {
    int *y;
    float *x; /* (n, width) */
    float *probs;
    size_t n;
};

static size_t largest(const float *p, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = p[i] > p[best] ? i : best;
    return best;
}

/* How many of n are recognised by a head that has not seen them. Row i is held out in fold i %
   folds. `room` is for n rows. */
static enum graft_status count_right(const struct gr_head_options *how, const float *x,
                                     const int *y, size_t n, size_t width, size_t n_classes,
                                     struct fold *room, const struct graft_events *ev,
                                     size_t *right, struct graft_error *err)
{
    const size_t folds = (size_t)how->folds < n ? (size_t)how->folds : n;
    enum graft_status s = GRAFT_OK;
    *right = 0;
    for (size_t f = 0; !s && f < folds; f++) {
        struct gr_head head = {0};
        struct gr_head_report report;
        room->n = 0;
        for (size_t i = 0; i < n; i++)
            if (i % folds != f) {
                memcpy(room->x + room->n * width, x + i * width, width * sizeof *x);
                room->y[room->n++] = y[i];
            }
        s = gr_head_fit(how, room->x, room->y, room->n, width, n_classes, NULL, NULL, &head,
                        &report, err);
        for (size_t i = f; !s && i < n; i += folds) {
            s = gr_head_probs(&head, x + i * width, 1, room->probs, err);
            *right += !s && largest(room->probs, n_classes) == (size_t)y[i];
        }
        gr_head_free(&head);
        if (!s && gr_cancelled(ev, err))
            s = GRAFT_E_CANCELLED;
    }
    return s;
}

/* Those of `p` at idx as a data set of their own. */
static enum graft_status pick(const struct gr_pictures *p, const int64_t *idx, size_t n,
                              struct gr_pictures *out, struct graft_error *err)
{
    enum graft_status s =
        gr_pictures_subset(p, 1u << GR_SPLIT_TRAIN | 1u << GR_SPLIT_VAL, out, err);
    for (size_t i = 0; !s && i < n; i++)
        out->ds.examples[i] = p->ds.examples[idx[i]];
    out->ds.n = n;
    return s;
}

static enum graft_status judge(size_t n, size_t right8, size_t right32, int folds, float difference,
                               const struct graft_events *ev, struct graft_error *err)
{
    const double acc8 = (double)right8 / (double)n, acc32 = (double)right32 / (double)n;
    char text[200];
    snprintf(
        text, sizeof text,
        "accuracy %.1f %%, with fp32 %.1f %% (%zu held-out pictures, %d folds); features differ "
        "by %.1f %%",
        100 * acc8, 100 * acc32, n, folds, 100 * (double)difference);
    if (acc32 - acc8 > MOST_DROP)
        return gr_error(
            err, GRAFT_E_GATE,
            "int8 is refused, it costs more than half a point: %s; take --precision bf16 "
            "or fp32",
            text);
    gr_note(ev, "precision", "int8: %s", text);
    return GRAFT_OK;
}

enum graft_status gr_int8_check(const struct gr_model *m, const struct gr_network *net,
                                const struct gr_pictures *p, const struct gr_head_options *how,
                                const struct graft_data_options *o, const struct graft_events *ev,
                                struct graft_error *err)
{
    const size_t width = (size_t)net->width;
    struct gr_network fp32 = {0};
    struct gr_pictures some = {0};
    struct fold room = {0};
    float *x = NULL;
    int *y = NULL;
    int64_t *idx = NULL;
    size_t n = 0, right8 = 0, right32 = 0;
    enum graft_status s =
        choose(p, 1u << GR_SPLIT_TRAIN | 1u << GR_SPLIT_VAL, o->seed, RANDOM_CHECK, &idx, &n, err);
    size_t labelled = 0;
    for (size_t i = 0; !s && i < n; i++)
        if (p->ds.examples[idx[i]].label >= 0)
            idx[labelled++] = idx[i];
    n = labelled < N_CHECK ? labelled : N_CHECK;
    if (!s)
        s = pick(p, idx, n, &some, err);
    if (!s)
        s = gr_network_to_fp32(m, net, &fp32, err);
    if (!s)
        s = gr_pictures_run(&some, &fp32, o, "features, fp32", ev, err);
    if (!s && some.n_bad)
        s = gr_error(err, GRAFT_E_IO, "%lld pictures could be read before, now not",
                     (long long)some.n_bad);
    if (!s) {
        x = gr_alloc_array(n, width * sizeof *x);
        y = gr_alloc_array(n, sizeof *y);
        room.x = gr_alloc_array(n, width * sizeof *x);
        room.y = gr_alloc_array(n, sizeof *y);
        room.probs = gr_alloc_array(p->ds.n_classes, sizeof *room.probs);
        if (!x || !y || !room.x || !room.y || !room.probs)
            s = gr_error_nomem(err);
    }
    for (size_t i = 0; !s && i < n; i++) {
        memcpy(x + i * width, p->x + (size_t)idx[i] * width, width * sizeof *x);
        y[i] = p->ds.examples[idx[i]].label;
    }
    if (!s)
        s = count_right(how, x, y, n, width, p->ds.n_classes, &room, ev, &right8, err);
    if (!s)
        s = count_right(how, some.x, y, n, width, p->ds.n_classes, &room, ev, &right32, err);
    if (!s)
        s = judge(n, right8, right32, how->folds, gr_mean_difference(x, some.x, n, width), ev, err);
    gr_network_clear(&fp32);
    gr_pictures_clear(&some);
    gr_free(room.x);
    gr_free(room.y);
    gr_free(room.probs);
    gr_free(x);
    gr_free(y);
    gr_free(idx);
    return s;
}
