/* What happens in one step of training, and what tells that it went wrong? */
#include "base/rng.h"
#include "train/fit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define STREAM_ORDER 0x6f72640000000000u
#define RUNAWAY      10 /* times the first loss, or chance's */
#define SETTLED      10 /* steps before that is looked at */

/* order[n..] up to whole batches: examples from the front again. */
static void fill_up(struct gr_fit *f, size_t n)
{
    size_t all = (n + f->batch - 1) / f->batch * f->batch;
    for (size_t i = n; i < all; i++)
        f->order[i] = f->order[i - n];
}

void gr_fit_order(struct gr_fit *f, int64_t epoch)
{
    const size_t n = f->t->train->n;
    for (size_t i = 0; i < n; i++)
        f->order[i] = (int64_t)i;
    gr_rng_shuffle(f->o->seed, STREAM_ORDER + (uint64_t)epoch, f->order, n);
    fill_up(f, n);
}

/* Inputs, targets and row weights of batch b; *n: how many count. */
static enum graft_status get_batch(struct gr_fit *f, const struct gr_batch_source *source,
                                   int64_t epoch, int64_t b, size_t *n, struct graft_error *err)
{
    const size_t from = (size_t)b * f->batch, left = source->n - from;
    const int64_t *indices = f->order + from;
    *n = left < f->batch ? left : f->batch;
    enum graft_status s = source->fill(source->user, epoch, indices, f->batch, f->x, err);
    if (s)
        return s;
    for (size_t i = 0; i < f->batch; i++) {
        f->label[i] = source->label[indices[i]];
        f->row_weight[i] = i < *n;
    }
    gr_loss_targets(f->batch, f->t->n_classes, f->label, f->target);
    return GRAFT_OK;
}

/* ---- when something is not finite ---- */

static bool all_finite(const float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(p[i]))
            return false;
    return true;
}

static enum graft_status fail_at(const struct gr_fit *f, struct graft_error *err, const char *fact,
                                 const char *name)
{
    return gr_error(err, GRAFT_E_COMPUTE,
                    "fine-tuning: step %lld (epoch %lld, batch %lld): %s%s%s%s",
                    (long long)f->s.step + 1, (long long)f->s.epoch + 1, (long long)f->s.batch + 1,
                    fact, name ? " '" : "", name ? name : "", name ? "'" : "");
}

static enum graft_status blame_loss(const struct gr_fit *f, struct graft_error *err)
{
    for (size_t i = 0; i < gr_trainer_n_params(f->t->trainer); i++) {
        const struct gr_trainer_param *p = gr_trainer_get_param(f->t->trainer, i);
        if (!all_finite(f->params + p->offset, p->count))
            return fail_at(f, err, "the loss is not finite, nor first of the weights", p->name);
    }
    for (size_t k = 0; k < f->t->n_inputs; k++) {
        if (!all_finite(f->x[k], (size_t)gr_shape_count(&f->t->input_shapes[k])))
            return fail_at(f, err, "the loss is not finite, nor are the network's inputs", NULL);
    }
    return fail_at(f, err, "the loss is not finite, though inputs and weights are", NULL);
}

/* Gradients are made from the last layer to the first. */
static enum graft_status blame_gradient(const struct gr_fit *f, struct graft_error *err)
{
    for (size_t i = gr_trainer_n_params(f->t->trainer); i-- > 0;) {
        const struct gr_trainer_param *p = gr_trainer_get_param(f->t->trainer, i);
        if (!all_finite(f->grads + p->offset, p->count))
            return fail_at(f, err, "first not finite, going backward, is the gradient of", p->name);
    }
    return fail_at(f, err, "the gradient's norm is too large for a number", NULL);
}

/* ---- the network's outputs ---- */

static enum graft_status forward(struct gr_fit *f, bool training, uint64_t number,
                                 struct graft_error *err)
{
    const size_t n = f->t->n_classes, all = n + f->t->n_soft;
    enum graft_status s = gr_trainer_forward(f->t->trainer, (const void *const *)f->x, training,
                                             number, f->outputs, err);
    for (size_t i = 0; !s && f->t->n_soft && i < f->batch; i++)
        memcpy(f->logits + i * n, f->outputs + i * all, n * sizeof *f->logits);
    return s;
}

/* Adds the loss against the teacher, and joins the gradients. */
static void add_soft_loss(struct gr_fit *f, const int64_t *indices, double *loss)
{
    const struct gr_loss plain = {0};
    const size_t n = f->t->n_classes, n_soft = f->t->n_soft, all = n + n_soft;
    double sum = 0, weight = 0;
    for (size_t i = 0; i < f->batch; i++) {
        float *d = f->doutputs + i * all;
        memcpy(d, f->dlogits + i * n, n * sizeof *d);
        gr_loss_rows(&plain, 1, n_soft, f->outputs + i * all + n,
                     f->t->train->soft + (size_t)indices[i] * n_soft, f->row_weight + i, d + n,
                     &sum, &weight);
        for (size_t c = n; c < all; c++)
            d[c] = (float)(f->t->soft_weight * d[c]);
    }
    *loss += f->t->soft_weight * sum;
}

/* ---- a step ---- */

/* Adds one batch to the gradient. */
static enum graft_status add_batch(struct gr_fit *f, int64_t b, bool first, double *loss,
                                   double *weight, struct graft_error *err)
{
    size_t n;
    struct gr_trainer *trainer = f->t->trainer;
    const uint64_t number = (uint64_t)(f->s.epoch * f->n_batches + b);
    enum graft_status s = get_batch(f, f->t->train, f->s.epoch, b, &n, err);
    if (s)
        return s;
    gr_mix_rows(&f->o->mix, f->o->seed, number, n, f->t->n_inputs, f->x, f->t->input_shapes,
                f->t->n_classes, f->target);
    s = forward(f, true, number, err);
    if (s)
        return s;
    gr_loss_rows(&f->o->loss, f->batch, f->t->n_classes, f->logits, f->target, f->row_weight,
                 f->dlogits, loss, weight);
    if (f->t->n_soft)
        add_soft_loss(f, f->order + (size_t)b * f->batch, loss);
    if (!isfinite(*loss))
        return blame_loss(f, err);
    s = gr_trainer_backward(trainer, f->doutputs, first ? f->grads : f->part, err);
    if (!s && !first)
        gr_grad_add(f->grads, f->part, f->n);
    return s;
}

enum graft_status gr_fit_step(struct gr_fit *f, double lr, double *mean, struct graft_error *err)
{
    struct gr_fit_state *st = &f->s;
    double loss = 0, weight = 0;
    int64_t end = st->batch + f->o->accumulate;
    end = end < f->n_batches ? end : f->n_batches;
    if (f->n_stats)
        memcpy(f->stats_before, f->stats, f->n_stats * sizeof *f->stats);
    for (int64_t b = st->batch; b < end; b++) {
        enum graft_status s = add_batch(f, b, b == st->batch, &loss, &weight, err);
        if (s) { /* half a step did not happen: it may be interrupted and done again */
            if (f->n_stats)
                memcpy(f->stats, f->stats_before, f->n_stats * sizeof *f->stats);
            return s;
        }
    }
    if (weight > 0) { /* else all of them are of classes without weight */
        double norm = gr_grad_norm(f->grads, f->n) / weight;
        if (!isfinite(norm))
            return blame_gradient(f, err);
        bool clip = f->o->clip > 0 && norm > f->o->clip;
        gr_grad_scale(f->grads, f->n, (clip ? f->o->clip / norm : 1) / weight);
        gr_optim_step(&f->optim, lr, f->params, f->grads);
        *mean = loss / weight;
        st->first_loss = st->step == 0 ? *mean : st->first_loss;
        st->smooth = st->step == 0 ? *mean : 0.9 * st->smooth + 0.1 * *mean;
    }
    if (f->ema) { /* the first averages forget the start faster */
        double young = (1.0 + (double)st->step) / (10.0 + (double)st->step);
        gr_ema_update(f->ema, f->params, f->n, young < f->o->ema ? young : f->o->ema);
    }
    st->loss += loss;
    st->weight += weight;
    st->optim_step = f->optim.step;
    double chance =
        log((double)f->t->n_classes + 1) + f->t->soft_weight * log((double)f->t->n_soft + 1);
    if (st->step >= SETTLED && st->smooth > RUNAWAY * fmax(st->first_loss, chance)) {
        char fact[120];
        snprintf(fact, sizeof fact, "the loss ran away: %.4g, it began with %.4g", st->smooth,
                 st->first_loss);
        return fail_at(f, err, fact, NULL);
    }
    st->batch = end;
    st->step++;
    return GRAFT_OK;
}

/* ---- validation ---- */

enum graft_status gr_fit_validate(struct gr_fit *f, double *loss, double *accuracy,
                                  struct graft_error *err)
{
    const struct gr_batch_source *val = f->t->val;
    const struct gr_loss plain = {0};
    const size_t n_classes = f->t->n_classes;
    size_t n_right = 0, n;
    double sum = 0, weight = 0;
    *loss = *accuracy = NAN;
    if (!val || !val->n)
        return GRAFT_OK;
    for (size_t i = 0; i < val->n; i++)
        f->order[i] = (int64_t)i;
    fill_up(f, val->n);
    const size_t n_batches = (val->n + f->batch - 1) / f->batch;
    enum graft_status s = GRAFT_OK;
    if (val->begin)
        s = val->begin(val->user, 0, f->order, n_batches * f->batch, err);
    for (size_t b = 0; b < n_batches && !s; b++) {
        if (gr_cancelled(f->t->events, err))
            return GRAFT_E_CANCELLED;
        s = get_batch(f, val, 0, (int64_t)b, &n, err);
        if (!s)
            s = forward(f, false, 0, err);
        if (s)
            break;
        for (size_t i = 0; i < n; i++) {
            double before = sum;
            gr_loss_rows(&plain, 1, n_classes, f->logits + i * n_classes, f->target + i * n_classes,
                         NULL, NULL, &sum, &weight);
            if (f->each_loss)
                f->each_loss[b * f->batch + i] = sum - before;
        }
        for (size_t i = 0; i < n; i++) {
            const float *z = f->logits + i * n_classes;
            size_t top = 0;
            for (size_t c = 1; c < n_classes; c++)
                top = z[c] > z[top] ? c : top;
            n_right += top == (size_t)f->label[i];
        }
    }
    if (s)
        return s;
    *loss = sum / weight;
    *accuracy = (double)n_right / (double)val->n;
    if (!isfinite(*loss))
        return gr_error(err, GRAFT_E_COMPUTE,
                        "fine-tuning: after step %lld: the validation loss is %g",
                        (long long)f->s.step, *loss);
    return GRAFT_OK;
}
