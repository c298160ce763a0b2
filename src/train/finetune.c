/* How is the upper part of a network trained, epoch by epoch? */
#include "train/finetune.h"
#include "base/file.h"
#include "base/mem.h"
#include "train/fit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_EPOCHS 100000
#define MAX_SOUP   64

void gr_finetune_options_init(struct gr_finetune_options *o)
{
    *o = (struct gr_finetune_options){.epochs = 5,
                                      .accumulate = 1,
                                      .lr = 1e-3,
                                      .schedule = GR_SCHEDULE_ONE_CYCLE,
                                      .momentum_low = 0.85,
                                      .weight_decay = 0.01,
                                      .layer_decay = 1,
                                      .lowest = 0.01,
                                      .clip = 1,
                                      .n_soup = 1};
    gr_optim_options_init(&o->optim, GR_OPTIM_ADAMW);
    o->optim.momentum = 0.95; /* with momentum_low as in fastai */
}

static const char *topic_of(const struct gr_fit *f)
{
    return f->t->topic ? f->t->topic : "fine-tune";
}

/* ---- setting up ---- */

static enum graft_status check_source(const struct gr_batch_source *s, const char *what,
                                      size_t n_classes, struct graft_error *err)
{
    if (s->n > (size_t)1 << 40)
        return gr_error(err, GRAFT_E_LIMIT, "fine-tuning: %zu %s examples", s->n, what);
    for (size_t i = 0; i < s->n; i++) {
        if (s->label[i] < 0 || (size_t)s->label[i] >= n_classes)
            return gr_error(err, GRAFT_E_ARG, "fine-tuning: %s example %zu is of class %d, of %zu",
                            what, i, s->label[i], n_classes);
    }
    return GRAFT_OK;
}

static enum graft_status check(const struct gr_finetune_task *t,
                               const struct gr_finetune_options *o, struct graft_error *err)
{
    if (o->epochs < 1 || o->epochs > MAX_EPOCHS || o->accumulate < 1 || o->accumulate > 1 << 20)
        return gr_error(err, GRAFT_E_ARG, "fine-tuning: %lld epochs (1..%d), %lld batches a step",
                        (long long)o->epochs, MAX_EPOCHS, (long long)o->accumulate);
    if (!(o->warmup >= 0 && o->warmup <= 1) || !(o->weight_decay >= 0) || !(o->pull >= 0) ||
        !(o->clip >= 0) || !(o->ema >= 0 && o->ema < 1) || !(o->momentum_low >= 0) ||
        !(o->momentum_low < 1))
        return gr_error(err, GRAFT_E_ARG,
                        "fine-tuning: warm-up %g, weight decay %g, pull %g, clip %g, average %g, "
                        "low momentum %g",
                        o->warmup, o->weight_decay, o->pull, o->clip, o->ema, o->momentum_low);
    if (!(o->layer_decay > 0 && o->layer_decay <= 1) || !(o->lowest > 0 && o->lowest <= 1))
        return gr_error(err, GRAFT_E_ARG, "fine-tuning: layer decay %g, lowest rate %g (0..1)",
                        o->layer_decay, o->lowest);
    if (o->keep_last && (o->patience || o->n_soup > 1))
        return gr_error(err, GRAFT_E_ARG,
                        "fine-tuning: of %lld epochs only the last is kept: no patience (%lld), no "
                        "soup (%d)",
                        (long long)o->epochs, (long long)o->patience, o->n_soup);
    if (o->n_soup < 0 || o->n_soup > MAX_SOUP || o->patience < 0 || o->checkpoint_every < 0)
        return gr_error(err, GRAFT_E_ARG, "fine-tuning: soup of %d (0..%d), patience %lld",
                        o->n_soup, MAX_SOUP, (long long)o->patience);
    if (!t->n_inputs || !t->train->n || t->input_shapes[0].rank < 1)
        return gr_error(err, GRAFT_E_ARG, "fine-tuning: %zu inputs, %zu examples", t->n_inputs,
                        t->train->n);
    for (size_t k = 0; k < t->n_inputs; k++) {
        const struct gr_shape *s = &t->input_shapes[k];
        if (gr_shape_count(s) < 1 || s->rank < 1 || s->dim[0] != t->input_shapes[0].dim[0])
            return gr_error(err, GRAFT_E_SHAPE, "fine-tuning: input %zu has no whole batch", k);
    }
    if (t->n_soft &&
        (!t->train->soft || !(t->soft_weight >= 0) || o->mix.mixup > 0 || o->mix.cutmix > 0))
        return gr_error(err, GRAFT_E_ARG,
                        "fine-tuning: a teacher of weight %g%s (mixing of pictures needs a teacher "
                        "that sees the mixed ones)",
                        t->soft_weight, t->train->soft ? "" : " without probabilities");
    enum graft_status s = gr_loss_check(&o->loss, t->n_classes, err);
    if (!s)
        s = gr_mix_check(&o->mix, t->n_inputs, t->input_shapes, err);
    if (!s)
        s = check_source(t->train, "training", t->n_classes, err);
    if (!s && t->val)
        s = check_source(t->val, "validation", t->n_classes, err);
    return s;
}

/* One group per tensor: rate by depth, no decay where there is one dimension. */
static enum graft_status make_groups(struct gr_fit *f, struct graft_error *err)
{
    const struct gr_finetune_task *t = f->t;
    const struct gr_finetune_options *o = f->o;
    const size_t n = gr_trainer_n_params(t->trainer);
    int deepest = 0;
    struct gr_optim_group *groups = gr_alloc_zero(n, sizeof *groups);
    f->rate = gr_alloc_array(n, sizeof *f->rate);
    if (!groups || !f->rate) {
        gr_free(groups);
        return gr_error_nomem(err);
    }
    for (size_t i = 0; i < n && t->depth; i++)
        deepest = t->depth[i] > deepest ? t->depth[i] : deepest;
    for (size_t i = 0; i < n; i++) {
        const struct gr_trainer_param *p = gr_trainer_get_param(t->trainer, i);
        int depth = t->depth ? t->depth[i] : deepest;
        groups[i] = (struct gr_optim_group){
            .offset = p->offset,
            .count = p->count,
            .lr_scale = o->layer_decay < 1 ? gr_layer_decay(depth, deepest + 1, o->layer_decay)
                                           : gr_layer_spread(depth, deepest + 1, o->lowest),
            .weight_decay = p->shape.rank > 1 ? o->weight_decay : 0,
            .pull = t->fresh && t->fresh[i] ? 0 : o->pull};
    }
    for (size_t i = 0; i < n; i++)
        f->rate[i] = groups[i].lr_scale;
    enum graft_status s = gr_optim_init(&f->optim, &o->optim, f->n, groups, n, f->source, err);
    gr_free(groups);
    return s;
}

static void fit_clear(struct gr_fit *f)
{
    gr_optim_clear(&f->optim);
    for (size_t k = 0; f->x && k < f->t->n_inputs; k++)
        gr_free_aligned(f->x[k]);
    gr_free(f->x);
    gr_free(f->source);
    gr_free(f->stats_before);
    gr_free_aligned(f->grads);
    gr_free_aligned(f->part);
    gr_free(f->ema);
    if (f->outputs != f->logits) {
        gr_free(f->outputs);
        gr_free(f->doutputs);
    }
    gr_free(f->logits);
    gr_free(f->dlogits);
    gr_free(f->target);
    gr_free(f->row_weight);
    gr_free(f->label);
    gr_free(f->order);
    gr_free(f->rows);
    gr_free(f->kept);
    gr_free(f->kept_info);
    gr_free(f->rate);
}

static float *copy_of(const float *p, size_t n)
{
    float *copy = gr_alloc_array(n, sizeof *copy);
    if (copy)
        memcpy(copy, p, n * sizeof *copy);
    return copy;
}

static enum graft_status fit_init(struct gr_fit *f, struct graft_error *err)
{
    const struct gr_finetune_task *t = f->t;
    const struct gr_finetune_options *o = f->o;
    enum graft_status s = check(t, o, err);
    if (s)
        return s;
    f->n = gr_trainer_size(t->trainer);
    f->params = gr_trainer_params(t->trainer);
    f->stats = gr_trainer_stats(t->trainer, &f->n_stats);
    f->batch = (size_t)t->input_shapes[0].dim[0];
    f->n_batches = (int64_t)((t->train->n + f->batch - 1) / f->batch);
    f->epoch_steps = (f->n_batches + o->accumulate - 1) / o->accumulate;
    f->each_kept = f->n + f->n_stats;
    f->n_keep = o->n_soup > 1 ? (size_t)o->n_soup : 1;
    f->since = gr_seconds();
    size_t most = t->val && t->val->n > t->train->n ? t->val->n : t->train->n, n_kept, scores,
           width;
    if (!gr_mul_size(f->n_keep, f->each_kept, &n_kept) ||
        !gr_mul_size(f->batch, t->n_classes, &scores) ||
        !gr_mul_size(t->n_classes + t->n_soft, sizeof(float), &width))
        return gr_error_nomem(err);
    f->x = gr_alloc_zero(t->n_inputs, sizeof *f->x);
    f->grads = gr_alloc_aligned(f->n * sizeof(float), true);
    f->part = o->accumulate > 1 ? gr_alloc_aligned(f->n * sizeof(float), true) : NULL;
    f->source = o->pull > 0 ? copy_of(f->params, f->n) : NULL;
    f->stats_before = gr_alloc_array(f->n_stats, sizeof(float));
    f->ema = o->ema > 0 ? copy_of(f->params, f->n) : NULL;
    f->logits = gr_alloc_zero(scores, sizeof(float));
    f->dlogits = gr_alloc_zero(scores, sizeof(float));
    f->outputs = t->n_soft ? gr_alloc_zero(f->batch, width) : f->logits;
    f->doutputs = t->n_soft ? gr_alloc_zero(f->batch, width) : f->dlogits;
    f->target = gr_alloc_zero(scores, sizeof(float));
    f->row_weight = gr_alloc_zero(f->batch, sizeof(float));
    f->label = gr_alloc_zero(f->batch, sizeof *f->label);
    f->order = gr_alloc_zero(most + f->batch, sizeof *f->order);
    f->rows = gr_alloc_zero((size_t)o->epochs + 1, sizeof *f->rows);
    f->kept = gr_alloc_zero(n_kept, sizeof(float));
    f->kept_info = gr_alloc_zero(f->n_keep, sizeof *f->kept_info);
    if (!f->x || !f->grads || !f->stats_before || (o->accumulate > 1 && !f->part) ||
        (o->pull > 0 && !f->source) || (o->ema > 0 && !f->ema) || !f->logits || !f->dlogits ||
        !f->outputs || !f->doutputs || !f->target || !f->row_weight || !f->label || !f->order ||
        !f->rows || !f->kept || !f->kept_info)
        return gr_error_nomem(err);
    for (size_t k = 0; k < t->n_inputs; k++) {
        f->x[k] =
            gr_alloc_aligned((size_t)gr_shape_count(&t->input_shapes[k]) * sizeof(float), true);
        if (!f->x[k])
            return gr_error_nomem(err);
    }
    int64_t n_steps = o->epochs * f->epoch_steps;
    gr_schedule_init(&f->schedule, o->schedule, o->lr, n_steps);
    f->schedule.warmup = (int64_t)(o->warmup * (double)n_steps);
    s = gr_schedule_check(&f->schedule, err);
    if (!s)
        s = make_groups(f, err);
    return s ? s : gr_fit_make_key(f, err);
}

size_t gr_finetune_size(const struct gr_finetune_options *o, size_t n, size_t n_stats, size_t batch,
                        size_t n_input, size_t n_classes, size_t n_examples)
{
    const size_t n_kept = o->n_soup > 1 ? (size_t)o->n_soup : 1;
    const size_t blocks = 1 + (o->accumulate > 1) + (o->pull > 0) + (o->ema > 0) + n_kept +
                          (o->optim.kind == GR_OPTIM_ADAMW ? 2 : 1);
    const size_t floats = blocks * n + (1 + n_kept) * n_stats + n_input + 3 * batch * n_classes;
    return floats * sizeof(float) + (n_examples + batch) * sizeof(int64_t);
}

/* ---- epochs ---- */

static void swap_average(struct gr_fit *f)
{
    for (size_t i = 0; f->ema && i < f->n; i++) {
        float t = f->params[i];
        f->params[i] = f->ema[i];
        f->ema[i] = t;
    }
}

/* Validates, keeps and reports what there is after `epoch` epochs. When it fails (or is cancelled),
   it can be done again. */
static enum graft_status end_epoch(struct gr_fit *f, int64_t epoch, struct graft_error *err)
{
    struct gr_fit_state *st = &f->s;
    struct gr_fit_kept now = {.epoch = epoch};
    swap_average(f);
    enum graft_status s = gr_fit_validate(f, &now.loss, &now.accuracy, err);
    if (!s && (!f->o->keep_last || epoch == 0 || epoch == f->o->epochs))
        st->stale = gr_fit_keep(f, now) ? 0 : st->stale + 1;
    swap_average(f);
    if (s)
        return s;
    st->epoch = epoch;
    st->batch = 0;
    double seconds = gr_seconds();
    st->seconds += seconds - f->since;
    f->since = seconds;
    struct gr_history_row *row = &f->rows[st->n_rows++];
    *row =
        (struct gr_history_row){.epoch = st->epoch,
                                .step = st->step,
                                .lr = st->step ? gr_schedule_lr(&f->schedule, st->step - 1) : NAN,
                                .train_loss = st->weight > 0 ? st->loss / st->weight : NAN,
                                .val_loss = now.loss,
                                .val_accuracy = now.accuracy,
                                .seconds = st->seconds};
    st->loss = st->weight = 0;
    char val[80] = "";
    if (!isnan(row->val_loss))
        snprintf(val, sizeof val, "  val loss %.4f  val accuracy %.4f", row->val_loss,
                 row->val_accuracy);
    if (st->epoch > 0)
        gr_note(f->t->events, topic_of(f), "epoch %lld/%lld  loss %.4f%s  %.1f s",
                (long long)st->epoch, (long long)f->o->epochs, row->train_loss, val, row->seconds);
    if (f->t->on_epoch)
        f->t->on_epoch(f->t->user, row);
    st->finished = st->epoch == f->o->epochs || (f->o->patience && st->stale >= f->o->patience);
    return GRAFT_OK;
}

/* What still waits for its epoch has rate 0. */
static void unfreeze_gradually(struct gr_fit *f)
{
    const int *depth = f->t->depth;
    int deepest = 0;
    if (!f->o->gradual || !depth)
        return;
    for (size_t i = 0; i < f->optim.n_groups; i++)
        deepest = depth[i] > deepest ? depth[i] : deepest;
    for (size_t i = 0; i < f->optim.n_groups; i++)
        f->optim.groups[i].lr_scale = deepest - depth[i] <= f->s.epoch ? f->rate[i] : 0;
}

/* The steps that are left of epoch s.epoch. */
static enum graft_status run_steps(struct gr_fit *f, struct graft_error *err)
{
    struct gr_fit_state *st = &f->s;
    const struct gr_batch_source *train = f->t->train;
    const size_t left = (size_t)(f->n_batches - st->batch) * f->batch;
    double loss;
    enum graft_status s = GRAFT_OK;
    gr_fit_order(f, st->epoch);
    unfreeze_gradually(f);
    if (train->begin && left)
        s = train->begin(train->user, st->epoch, f->order + (size_t)st->batch * f->batch, left,
                         err);
    while (!s && st->batch < f->n_batches) {
        if (gr_cancelled(f->t->events, err))
            return GRAFT_E_CANCELLED;
        f->optim.o.momentum = gr_schedule_momentum(&f->schedule, st->step, f->o->optim.momentum,
                                                   fmin(f->o->momentum_low, f->o->optim.momentum));
        s = gr_fit_step(f, gr_schedule_lr(&f->schedule, st->step), &loss, err);
        if (s)
            break;
        gr_progress(f->t->events, topic_of(f), st->step, f->o->epochs * f->epoch_steps, "step");
        if (f->o->checkpoint_every && st->step % f->o->checkpoint_every == 0)
            s = gr_fit_save(f, err);
    }
    return s;
}

static enum graft_status run_epoch(struct gr_fit *f, struct graft_error *err)
{
    enum graft_status s = run_steps(f, err);
    if (!s)
        s = end_epoch(f, f->s.epoch + 1, err);
    if (s == GRAFT_E_CANCELLED) {
        s = gr_fit_save(f, err);
        return s ? s
                 : gr_error(err, GRAFT_E_CANCELLED, "interrupted after step %lld of %lld",
                            (long long)f->s.step, (long long)(f->o->epochs * f->epoch_steps));
    }
    if (!s && (!f->o->checkpoint_every || f->s.finished))
        s = gr_fit_save(f, err);
    return s;
}

static enum graft_status start_or_resume(struct gr_fit *f, struct graft_error *err)
{
    const struct gr_finetune_options *o = f->o;
    if (!o->resume || !o->checkpoint || !gr_is_file(o->checkpoint)) {
        if (o->resume && o->checkpoint)
            gr_note(f->t->events, topic_of(f), "nothing to go on from at %s: from the start",
                    o->checkpoint);
        return end_epoch(f, 0, err); /* the start is the first candidate */
    }
    enum graft_status s = gr_fit_load(f, err);
    if (s)
        return s;
    gr_note(f->t->events, topic_of(f), "resumed after step %lld of %lld from %s",
            (long long)f->s.step, (long long)(o->epochs * f->epoch_steps), o->checkpoint);
    for (int64_t i = 0; i < f->s.n_rows && f->t->on_epoch; i++)
        f->t->on_epoch(f->t->user, &f->rows[i]);
    return GRAFT_OK;
}

enum graft_status gr_finetune(const struct gr_finetune_task *t, const struct gr_finetune_options *o,
                              struct gr_finetune_report *report, struct graft_error *err)
{
    struct gr_fit f = {.t = t, .o = o};
    int n_souped = 1;
    enum graft_status s = fit_init(&f, err);
    if (!s)
        s = start_or_resume(&f, err);
    while (!s && !f.s.finished)
        s = run_epoch(&f, err);
    if (f.s.n_kept) {
        if (!s && o->n_soup > 1)
            s = gr_fit_soup(&f, &n_souped, err);
        gr_fit_load_best(&f);
        *report =
            (struct gr_finetune_report){.n_epochs = f.s.epoch,
                                        .n_steps = f.s.step,
                                        .best_epoch = f.kept_info[0].epoch,
                                        .start_loss = f.rows[0].val_loss,
                                        .start_accuracy = f.rows[0].val_accuracy,
                                        .best_loss = f.kept_info[0].loss,
                                        .best_accuracy = f.kept_info[0].accuracy,
                                        .last_accuracy = f.rows[f.s.n_rows - 1].val_accuracy,
                                        .n_souped = n_souped,
                                        .stopped_early = f.s.finished && f.s.epoch < o->epochs,
                                        .seconds = f.s.seconds + (gr_seconds() - f.since)};
    }
    fit_clear(&f);
    return s;
}

enum graft_status gr_finetune_losses(const struct gr_finetune_task *t, double *losses,
                                     struct graft_error *err)
{
    struct gr_finetune_options o;
    double loss, accuracy;
    gr_finetune_options_init(&o);
    struct gr_fit f = {.t = t, .o = &o, .each_loss = losses};
    enum graft_status s = fit_init(&f, err);
    if (!s)
        s = gr_fit_validate(&f, &loss, &accuracy, err);
    fit_clear(&f);
    return s;
}

enum graft_status gr_finetune_find_lr(const struct gr_finetune_task *t,
                                      const struct gr_finetune_options *o,
                                      struct gr_lr_finder *finder, double *lr,
                                      struct graft_error *err)
{
    struct gr_fit f = {.t = t, .o = o};
    struct gr_lr_finder tried = {0};
    double loss = 0;
    enum graft_status s = fit_init(&f, err);
    if (s)
        goto out;
    gr_fit_keep(&f, (struct gr_fit_kept){.loss = NAN});
    for (bool more = true; more && !s;) {
        if (f.s.batch == f.n_batches) {
            f.s.epoch++;
            f.s.batch = 0;
        }
        if (f.s.batch == 0) {
            gr_fit_order(&f, f.s.epoch);
            if (t->train->begin)
                s = t->train->begin(t->train->user, f.s.epoch, f.order,
                                    (size_t)f.n_batches * f.batch, err);
        }
        if (!s && gr_cancelled(t->events, err))
            s = GRAFT_E_CANCELLED;
        if (!s) {
            struct graft_error ran_away;
            enum graft_status step = gr_fit_step(&f, gr_lr_finder_rate(tried.n), &loss, &ran_away);
            if (step == GRAFT_E_COMPUTE)
                break; /* that is what the search is for */
            if (step)
                s = gr_error(err, step, "%s", ran_away.message);
            else
                more = gr_lr_finder_add(&tried, loss);
        }
        gr_progress(t->events, "learning rate", tried.n, GR_LR_FINDER_STEPS, "step");
    }
    gr_fit_load_best(&f);
    if (!s) {
        *finder = tried;
        *lr = gr_lr_finder_suggest(&tried);
    }
out:
    fit_clear(&f);
    return s;
}
