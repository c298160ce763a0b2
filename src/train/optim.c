/* How do parameters move along their gradients? */
#include "train/optim.h"
#include "base/mem.h"
#include <math.h>
#include <string.h>

void gr_optim_options_init(struct gr_optim_options *o, enum gr_optim_kind kind)
{
    *o = (struct gr_optim_options){.kind = kind,
                                   .momentum = 0.9,
                                   .nesterov = kind == GR_OPTIM_SGD,
                                   .beta2 = 0.999,
                                   .epsilon = 1e-8};
}

enum graft_status gr_optim_init(struct gr_optim *p, const struct gr_optim_options *o, size_t n,
                                const struct gr_optim_group *groups, size_t n_groups,
                                const float *source, struct graft_error *err)
{
    memset(p, 0, sizeof *p);
    if (!(o->momentum >= 0 && o->momentum < 1) || !(o->beta2 >= 0 && o->beta2 < 1) ||
        !(o->epsilon >= 0))
        return gr_error(err, GRAFT_E_ARG, "optimiser: momentum %g, beta2 %g, epsilon %g",
                        o->momentum, o->beta2, o->epsilon);
    for (size_t i = 0; i < n_groups; i++) {
        const struct gr_optim_group *g = &groups[i];
        if (g->offset > n || g->count > n - g->offset)
            return gr_error(err, GRAFT_E_ARG, "optimiser: group %zu is %zu+%zu, of %zu parameters",
                            i, g->offset, g->count, n);
        if (!(g->lr_scale >= 0) || !(g->weight_decay >= 0) || !(g->pull >= 0) ||
            (g->pull > 0 && !source))
            return gr_error(err, GRAFT_E_ARG,
                            "optimiser: group %zu has rate %g, decay %g, pull %g %s source", i,
                            g->lr_scale, g->weight_decay, g->pull, source ? "with" : "without");
    }
    p->o = *o;
    p->n = n;
    p->n_groups = n_groups;
    p->source = source;
    p->n_state = n;
    if (o->kind == GR_OPTIM_ADAMW && !gr_mul_size(n, 2, &p->n_state))
        return gr_error_nomem(err);
    p->groups = gr_alloc_array(n_groups, sizeof *groups);
    p->state = gr_alloc_zero(p->n_state, sizeof *p->state);
    if (!p->groups || !p->state) {
        gr_optim_clear(p);
        return gr_error_nomem(err);
    }
    if (n_groups)
        memcpy(p->groups, groups, n_groups * sizeof *groups);
    return GRAFT_OK;
}

void gr_optim_clear(struct gr_optim *p)
{
    gr_free(p->groups);
    gr_free(p->state);
    memset(p, 0, sizeof *p);
}

struct range {
    size_t n;
    float *restrict w;
    const float *restrict g, *restrict source;
    float *restrict m, *restrict v;
};

static void sgd(const struct gr_optim *p, const struct gr_optim_group *group, double lr,
                const struct range *r)
{
    float *restrict w = r->w, *restrict m = r->m;
    const float *restrict g = r->g, *restrict source = r->source;
    const float rate = (float)(lr * group->lr_scale), momentum = (float)p->o.momentum;
    const float decay = (float)group->weight_decay, pull = (float)group->pull;
    const float keep = p->o.nesterov ? 1.0f : 0.0f, follow = p->o.nesterov ? momentum : 1.0f;
#pragma omp parallel for simd schedule(static) if (r->n > 65536)
    for (size_t i = 0; i < r->n; i++) {
        float d = g[i] + decay * w[i];
        if (source)
            d += pull * (w[i] - source[i]);
        m[i] = momentum * m[i] + d;
        w[i] -= rate * (keep * d + follow * m[i]);
    }
}

static void adamw(const struct gr_optim *p, const struct gr_optim_group *group, double lr,
                  const struct range *r)
{
    float *restrict w = r->w, *restrict m = r->m, *restrict v = r->v;
    const float *restrict g = r->g, *restrict source = r->source;
    const double rate = lr * group->lr_scale, t = (double)p->step;
    const float a1 = (float)p->o.momentum, b1 = (float)(1 - p->o.momentum);
    const float a2 = (float)p->o.beta2, b2 = (float)(1 - p->o.beta2);
    const float root = (float)(1 / sqrt(1 - pow(p->o.beta2, t))), epsilon = (float)p->o.epsilon;
    const float step = (float)(rate / (1 - pow(p->o.momentum, t)));
    const float shrink = (float)(1 - rate * group->weight_decay);
    const float pull = (float)(rate * group->pull);
#pragma omp parallel for simd schedule(static) if (r->n > 65536)
    for (size_t i = 0; i < r->n; i++) {
        float at = w[i] * shrink;
        if (source)
            at -= pull * (w[i] - source[i]);
        m[i] = a1 * m[i] + b1 * g[i];
        v[i] = a2 * v[i] + b2 * g[i] * g[i];
        w[i] = at - step * m[i] / (sqrtf(v[i]) * root + epsilon);
    }
}

void gr_optim_step(struct gr_optim *p, double lr, float *params, const float *grads)
{
    p->step++;
    for (size_t i = 0; i < p->n_groups; i++) {
        const struct gr_optim_group *group = &p->groups[i];
        size_t at = group->offset;
        struct range r = {.n = group->count,
                          .w = params + at,
                          .g = grads + at,
                          .source = group->pull > 0 ? p->source + at : NULL,
                          .m = p->state + at};
        if (p->o.kind == GR_OPTIM_SGD) {
            sgd(p, group, lr, &r);
        } else {
            r.v = p->state + p->n + at;
            adamw(p, group, lr, &r);
        }
    }
}

/* ---- what happens to gradients and weights around a step ---- */

#define CHUNKS 64

double gr_grad_norm(const float *g, size_t n)
{
    double part[CHUNKS], sum = 0;
    const size_t each = n / CHUNKS + 1;
#pragma omp parallel for schedule(static) if (n > 65536)
    for (size_t c = 0; c < CHUNKS; c++) {
        size_t from = c * each, to = from + each < n ? from + each : n;
        double s[8] = {0}; /* independent sums, which overlap and fill vectors */
        size_t i = from;
        for (; i + 8 <= to; i += 8)
            for (size_t k = 0; k < 8; k++)
                s[k] += (double)g[i + k] * (double)g[i + k];
        for (; i < to; i++)
            s[0] += (double)g[i] * (double)g[i];
        part[c] = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
    }
    for (size_t c = 0; c < CHUNKS; c++)
        sum += part[c];
    return sqrt(sum);
}

void gr_grad_scale(float *g, size_t n, double factor)
{
    const float f = (float)factor;
#pragma omp parallel for simd schedule(static) if (n > 65536)
    for (size_t i = 0; i < n; i++)
        g[i] *= f;
}

void gr_grad_add(float *restrict sum, const float *restrict g, size_t n)
{
#pragma omp parallel for simd schedule(static) if (n > 65536)
    for (size_t i = 0; i < n; i++)
        sum[i] += g[i];
}

void gr_ema_update(float *restrict mean, const float *restrict params, size_t n, double decay)
{
    const float keep = (float)decay, take = (float)(1 - decay);
#pragma omp parallel for simd schedule(static) if (n > 65536)
    for (size_t i = 0; i < n; i++)
        mean[i] = keep * mean[i] + take * params[i];
}
