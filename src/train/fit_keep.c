/* Which weights of a training run are kept, in memory and on disk? */
#include "base/file.h"
#include "base/mem.h"
#include "train/checkpoint.h"
#include "train/fit.h"
#include <math.h>
#include <string.h>

/* ---- the best ---- */

/* Against the start, by accuracy alone: its loss also falls when nothing more is right. */
static int above_start(const struct gr_fit *f, const struct gr_fit_kept *k)
{
    return k->epoch == 0 ? 0 : k->accuracy > f->rows[0].val_accuracy ? 1 : -1;
}

bool gr_fit_better(const struct gr_fit *f, const struct gr_fit_kept *a, const struct gr_fit_kept *b)
{
    if (isnan(a->loss)) /* no validation: the later */
        return a->epoch > b->epoch;
    if (f->o->beat_start && above_start(f, a) != above_start(f, b))
        return above_start(f, a) > above_start(f, b);
    if (f->o->best_by_accuracy && a->accuracy != b->accuracy)
        return a->accuracy > b->accuracy;
    return a->loss < b->loss;
}

static void copy_out(const struct gr_fit *f, float *to)
{
    memcpy(to, f->params, f->n * sizeof *to);
    if (f->n_stats)
        memcpy(to + f->n, f->stats, f->n_stats * sizeof *to);
}

bool gr_fit_keep(struct gr_fit *f, struct gr_fit_kept info)
{
    const size_t each = f->each_kept, n = (size_t)f->s.n_kept;
    size_t at = n;
    while (at > 0 && gr_fit_better(f, &info, &f->kept_info[at - 1]))
        at--;
    if (at == f->n_keep)
        return false;
    size_t behind = (n < f->n_keep ? n : f->n_keep - 1) - at;
    memmove(f->kept_info + at + 1, f->kept_info + at, behind * sizeof info);
    memmove(f->kept + (at + 1) * each, f->kept + at * each, behind * each * sizeof *f->kept);
    f->kept_info[at] = info;
    copy_out(f, f->kept + at * each);
    if (n < f->n_keep)
        f->s.n_kept++;
    return at == 0;
}

void gr_fit_load_best(struct gr_fit *f)
{
    if (!f->s.n_kept)
        return;
    memcpy(f->params, f->kept, f->n * sizeof *f->kept);
    if (f->n_stats)
        memcpy(f->stats, f->kept + f->n, f->n_stats * sizeof *f->kept);
}

enum graft_status gr_fit_soup(struct gr_fit *f, int *n, struct graft_error *err)
{
    *n = 1;
    if (isnan(f->kept_info[0].loss))
        return GRAFT_OK;
    for (size_t k = 1; k < (size_t)f->s.n_kept; k++) {
        struct gr_fit_kept with = f->kept_info[0];
        const float share = 1 / (float)(*n + 1), *next = f->kept + k * f->each_kept;
        for (size_t i = 0; i < f->each_kept; i++) {
            float v = f->kept[i] + share * (next[i] - f->kept[i]);
            *(i < f->n ? f->params + i : f->stats + i - f->n) = v;
        }
        enum graft_status s = gr_fit_validate(f, &with.loss, &with.accuracy, err);
        if (s)
            return s;
        if (gr_fit_better(f, &f->kept_info[0], &with))
            continue;
        copy_out(f, f->kept);
        f->kept_info[0] = with;
        ++*n;
    }
    return GRAFT_OK;
}

/* ---- the checkpoint ---- */

#define ADD(field) gr_hasher_add(h, &(field), sizeof(field))

enum graft_status gr_fit_make_key(struct gr_fit *f, struct graft_error *err)
{
    const struct gr_finetune_options *o = f->o;
    const struct gr_finetune_task *t = f->t;
    struct gr_hasher *h = gr_hasher_new();
    if (!h)
        return gr_error_nomem(err);
    ADD(t->key);
    const struct gr_fit_split split = {(int64_t)f->batch, o->accumulate};
    gr_hasher_add_i64(h, gr_fit_split_step(&split, t->train->n));
    ADD(o->epochs), ADD(o->lr), ADD(o->schedule), ADD(o->warmup);
    ADD(o->optim.kind), ADD(o->optim.momentum), ADD(o->optim.beta2), ADD(o->optim.epsilon);
    gr_hasher_add_i64(h, o->optim.nesterov);
    ADD(o->momentum_low), ADD(o->weight_decay), ADD(o->pull), ADD(o->layer_decay), ADD(o->lowest);
    ADD(o->clip), ADD(o->loss.smoothing), ADD(o->loss.focal), ADD(o->mix.mixup), ADD(o->mix.cutmix);
    ADD(o->ema), ADD(o->patience), ADD(o->n_soup), ADD(o->seed);
    gr_hasher_add_i64(h, o->best_by_accuracy);
    gr_hasher_add_i64(h, o->beat_start);
    gr_hasher_add_i64(h, o->keep_last);
    gr_hasher_add_i64(h, o->gradual);
    gr_hasher_add_i64(h, (int64_t)t->n_classes);
    gr_hasher_add_i64(h, (int64_t)t->n_soft);
    ADD(t->soft_weight);
    if (o->loss.class_weights)
        gr_hasher_add(h, o->loss.class_weights, t->n_classes * sizeof(double));
    for (int k = 0; k < 2; k++) {
        const struct gr_batch_source *source = k ? t->val : t->train;
        gr_hasher_add_i64(h, source ? (int64_t)source->n : -1);
        if (source)
            gr_hasher_add(h, source->label, source->n * sizeof *source->label);
    }
    for (size_t k = 0; k < t->n_inputs; k++) {
        for (int d = 1; d < t->input_shapes[k].rank; d++) /* 0: the batch */
            ADD(t->input_shapes[k].dim[d]);
        gr_hasher_add_i64(h, -1);
    }
    for (size_t i = 0; i < gr_trainer_n_params(t->trainer); i++) {
        const struct gr_trainer_param *p = gr_trainer_get_param(t->trainer, i);
        gr_hasher_add_str(h, p->name);
        gr_hasher_add_i64(h, (int64_t)p->offset);
        gr_hasher_add_i64(h, (int64_t)p->count);
        gr_hasher_add_i64(h, t->depth ? t->depth[i] : 0);
        gr_hasher_add_i64(h, t->fresh && t->fresh[i]);
    }
    gr_hasher_add(h, f->params, f->n * sizeof *f->params); /* the start */
    gr_hasher_add(h, f->stats, f->n_stats * sizeof *f->stats);
    f->key = gr_hasher_get(h);
    gr_hasher_free(h);
    return GRAFT_OK;
}

int64_t gr_fit_split_step(const struct gr_fit_split *s, size_t n)
{
    const int64_t all = (int64_t)n;
    return s->batch < all && s->accumulate < all / s->batch + 1 ? s->batch * s->accumulate : all;
}

enum graft_status gr_fit_split_load(const char *checkpoint, struct gr_fit_split *s,
                                    struct graft_error *err)
{
    const struct gr_checkpoint_block block = {"split", s, sizeof *s};
    *s = (struct gr_fit_split){0};
    if (!gr_is_file(checkpoint))
        return GRAFT_OK;
    enum graft_status status = gr_checkpoint_peek(checkpoint, &block, err);
    if (!status && (s->batch < 1 || s->accumulate < 1)) /* a checksum can be made to fit */
        status = gr_error(err, GRAFT_E_FORMAT, "%s: %lld batches of %lld make a step", checkpoint,
                          (long long)s->accumulate, (long long)s->batch);
    return status;
}

enum { N_BLOCKS = 9 };

static void blocks_of(struct gr_fit *f, struct gr_fit_state *state, struct gr_fit_split *split,
                      struct gr_checkpoint_block blocks[N_BLOCKS])
{
    *split = (struct gr_fit_split){(int64_t)f->batch, f->o->accumulate};
    const struct gr_checkpoint_block b[N_BLOCKS] = {
        {"state", state, sizeof *state},
        {"weights", f->params, f->n * sizeof(float)},
        {"statistics", f->stats, f->n_stats * sizeof(float)},
        {"moments", f->optim.state, f->optim.n_state * sizeof(float)},
        {"average", f->ema, f->ema ? f->n * sizeof(float) : 0},
        {"kept", f->kept, f->n_keep * f->each_kept * sizeof(float)},
        {"kept scores", f->kept_info, f->n_keep * sizeof *f->kept_info},
        {"history", f->rows, (size_t)(f->o->epochs + 1) * sizeof *f->rows},
        {"split", split, sizeof *split}};
    memcpy(blocks, b, sizeof b);
}

enum graft_status gr_fit_save(struct gr_fit *f, struct graft_error *err)
{
    struct gr_checkpoint_block blocks[N_BLOCKS];
    struct gr_fit_split split;
    if (!f->o->checkpoint)
        return GRAFT_OK;
    double now = gr_seconds();
    f->s.seconds += now - f->since;
    f->since = now;
    blocks_of(f, &f->s, &split, blocks);
    return gr_checkpoint_write(f->o->checkpoint, f->key, blocks, N_BLOCKS, err);
}

enum graft_status gr_fit_load(struct gr_fit *f, struct graft_error *err)
{
    struct gr_checkpoint_block blocks[N_BLOCKS];
    struct gr_fit_state s;
    struct gr_fit_split found, here;
    blocks_of(f, &s, &here, blocks);
    enum graft_status status = gr_fit_split_load(f->o->checkpoint, &found, err);
    if (!status && (found.batch != here.batch || found.accumulate != here.accumulate))
        status = gr_error(err, GRAFT_E_ARG,
                          "%s: checkpoint of %lld batches of %lld a step, expected %lld of %lld",
                          f->o->checkpoint, (long long)found.accumulate, (long long)found.batch,
                          (long long)here.accumulate, (long long)here.batch);
    if (!status)
        status = gr_checkpoint_read(f->o->checkpoint, f->key, blocks, N_BLOCKS, err);
    if (status)
        return status;
    /* a checksum can be made to fit */
    const int64_t each = f->o->accumulate;
    bool whole = s.batch % each == 0 || s.batch == f->n_batches;
    if (s.epoch < 0 || s.epoch > f->o->epochs || s.batch < 0 || s.batch > f->n_batches || !whole ||
        (s.epoch == f->o->epochs && (s.batch || !s.finished)) ||
        s.step != s.epoch * f->epoch_steps + (s.batch + each - 1) / each || s.n_kept < 1 ||
        s.n_kept > (int64_t)f->n_keep || s.n_rows != s.epoch + 1)
        return gr_error(err, GRAFT_E_FORMAT,
                        "%s: step %lld in epoch %lld, batch %lld, with %lld kept and %lld rows",
                        f->o->checkpoint, (long long)s.step, (long long)s.epoch, (long long)s.batch,
                        (long long)s.n_kept, (long long)s.n_rows);
    f->s = s;
    f->optim.step = s.optim_step;
    return GRAFT_OK;
}
