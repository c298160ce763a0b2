/* Which learning rate belongs to a step and to a layer? */
#include "train/schedule.h"
#include <math.h>

void gr_schedule_init(struct gr_schedule *s, enum gr_schedule_kind kind, double lr, int64_t n_steps)
{
    *s = (struct gr_schedule){.kind = kind,
                              .lr = lr,
                              .n_steps = n_steps,
                              .rise = 0.25,
                              .div = 25,
                              .final_div = 1e5,
                              .every = n_steps > 3 ? (n_steps + 2) / 3 : 1,
                              .gamma = 0.1};
}

enum graft_status gr_schedule_check(const struct gr_schedule *s, struct graft_error *err)
{
    if (!(s->lr >= 0 && s->lr < INFINITY) || s->n_steps < 1)
        return gr_error(err, GRAFT_E_ARG, "schedule: rate %g, %lld steps", s->lr,
                        (long long)s->n_steps);
    if ((unsigned)s->kind > GR_SCHEDULE_CONSTANT || s->warmup < 0 || s->warmup > s->n_steps)
        return gr_error(err, GRAFT_E_ARG, "schedule %d: %lld of %lld steps of warm-up",
                        (int)s->kind, (long long)s->warmup, (long long)s->n_steps);
    if (!(s->rise >= 0 && s->rise <= 1) || !(s->div >= 1) || !(s->final_div >= 1) || s->every < 1 ||
        !(s->gamma > 0))
        return gr_error(err, GRAFT_E_ARG,
                        "schedule: rise %g, div %g, final div %g, every %lld, gamma %g", s->rise,
                        s->div, s->final_div, (long long)s->every, s->gamma);
    return GRAFT_OK;
}

static double anneal(double from, double to, double t)
{
    return to + (from - to) / 2 * (1 + cos(M_PI * t));
}

/* low - high - last along the two phases of the cycle. */
static double one_cycle(const struct gr_schedule *s, int64_t step, double low, double high,
                        double last)
{
    double up = s->rise * (double)s->n_steps - 1, end = (double)s->n_steps - 1, t = (double)step;
    if (t <= up)
        return up > 0 ? anneal(low, high, t / up) : high;
    return end > up ? anneal(high, last, (t - up) / (end - up)) : high;
}

double gr_schedule_lr(const struct gr_schedule *s, int64_t step)
{
    if (step >= s->n_steps)
        step = s->n_steps - 1;
    if (s->kind == GR_SCHEDULE_ONE_CYCLE)
        return one_cycle(s, step, s->lr / s->div, s->lr, s->lr / s->div / s->final_div);
    if (step < s->warmup)
        return s->lr * (double)(step + 1) / (double)s->warmup;
    if (s->kind == GR_SCHEDULE_COSINE)
        return anneal(s->lr, 0, (double)(step - s->warmup) / (double)(s->n_steps - s->warmup));
    if (s->kind == GR_SCHEDULE_STEP)
        return s->lr * pow(s->gamma, (double)(step / s->every));
    return s->lr;
}

double gr_schedule_momentum(const struct gr_schedule *s, int64_t step, double high, double low)
{
    if (s->kind != GR_SCHEDULE_ONE_CYCLE)
        return high;
    return one_cycle(s, step < s->n_steps ? step : s->n_steps - 1, high, low, high);
}

double gr_layer_decay(int depth, int n, double decay)
{
    return pow(decay, n - 1 - depth);
}

double gr_layer_spread(int depth, int n, double lowest)
{
    return n > 1 ? pow(lowest, (double)(n - 1 - depth) / (n - 1)) : 1;
}

/* ---- the finder ---- */

double gr_lr_finder_rate(int i)
{
    return 1e-7 * pow(1e8, (double)i / (GR_LR_FINDER_STEPS - 1));
}

bool gr_lr_finder_add(struct gr_lr_finder *f, double loss)
{
    if (f->n >= GR_LR_FINDER_STEPS || !isfinite(loss))
        return false;
    f->mean = 0.98 * f->mean + 0.02 * loss;
    double smooth = f->mean / (1 - pow(0.98, f->n + 1));
    if (f->n == 0 || smooth < f->best)
        f->best = smooth;
    f->loss[f->n++] = smooth;
    return smooth <= 4 * f->best && f->n < GR_LR_FINDER_STEPS;
}

double gr_lr_finder_suggest(const struct gr_lr_finder *f)
{
    int run[GR_LR_FINDER_STEPS], end = 0;
    /* as fastai: the first tenth and the last five are not looked at */
    int from = GR_LR_FINDER_STEPS / 10, n = f->n - 5 - from;
    const double *loss = f->loss + from;
    if (n < 5)
        return 0;
    for (int i = 0; i < n; i++) { /* the longest falling subsequence that ends at i */
        run[i] = 1;
        for (int j = 0; j < i; j++)
            if (loss[i] < loss[j] && run[i] < run[j] + 1)
                run[i] = run[j] + 1;
        if (run[i] > run[end])
            end = i;
    }
    int start = end - run[end] > 0 ? end - run[end] : 0;
    double third = (end - start) / 3.0;
    return gr_lr_finder_rate(from + start + (int)third + (int)(third / 2));
}
