/* What does a weight matrix cost on these examples, and which one costs least? */
#include "train/softmax.h"
#include "base/events.h"
#include "base/mem.h"
#include "train/probs.h"
#include <lbfgs.h>
#include <math.h>
#include <string.h>

/* Rows are cut into slabs, each summed by one thread, and the slabs added in order: the result
   does not depend on the number of threads. */
#define MAX_SLABS  32
#define MIN_SLABS  8
#define SLAB_BYTES ((size_t)32 << 20)

void gr_softmax_clear(struct gr_softmax *p)
{
    gr_free_aligned(p->w);
    gr_free_aligned(p->slab_grad);
    gr_free_aligned(p->slab_z);
    gr_free_aligned(p->b);
    gr_free(p->slab_bias);
    gr_free(p->slab_loss);
    gr_free(p->class_norm);
    p->w = p->b = p->slab_grad = p->slab_z = NULL;
    p->slab_bias = p->slab_loss = p->class_norm = NULL;
}

enum graft_status gr_softmax_init(struct gr_softmax *p, struct graft_error *err)
{
    size_t n_w, n_grad, n_z, bytes;
    p->w = p->b = p->slab_grad = p->slab_z = NULL;
    p->slab_bias = p->slab_loss = p->class_norm = NULL;
    p->packed = p->n_classes >= GR_GEMM_MANY;
    p->ldz = gr_gemm_pad(p->n_classes);
    p->block = p->packed ? GR_GEMM_PACKED_BLOCK : gr_gemm_block_rows(p->ld);
    size_t n_blocks = (p->n + p->block - 1) / p->block;
    p->n_slabs = n_blocks < MAX_SLABS ? n_blocks : MAX_SLABS;
    if (!gr_mul_size(gr_gemm_packed_rows(p->n_classes), p->ld, &n_w) ||
        !gr_mul_size(n_w, sizeof(double) * 64, &bytes))
        return gr_error(err, GRAFT_E_LIMIT, "%zu classes x %zu features", p->n_classes, p->ld);
    const size_t n_packed = n_w;
    n_w = p->n_classes * p->ld;
    while (p->n_slabs > MIN_SLABS && p->n_slabs * n_w * sizeof(float) > SLAB_BYTES)
        p->n_slabs--;
    p->n_params = n_w + gr_gemm_pad(p->n_classes);
    n_grad = p->n_slabs * n_w;
    if (!gr_mul_size(p->n_slabs * p->block, p->ldz, &n_z) ||
        !gr_mul_size(n_z, sizeof(float), &bytes))
        return gr_error_nomem(err);
    p->w = gr_alloc_aligned((p->packed ? n_packed : n_w) * sizeof(float), true);
    p->slab_grad = gr_alloc_aligned(n_grad * sizeof(float), false);
    p->slab_z = gr_alloc_aligned(bytes, true);
    p->b = gr_alloc_aligned(p->ldz * sizeof(float), false);
    p->slab_bias = gr_alloc_array(p->n_slabs * p->n_classes, sizeof(double));
    p->slab_loss = gr_alloc_array(p->n_slabs, sizeof(double));
    p->class_norm = gr_alloc_array(p->n_classes, sizeof(double));
    if (!p->w || !p->slab_grad || !p->slab_z || !p->b || !p->slab_bias || !p->slab_loss ||
        !p->class_norm) {
        gr_softmax_clear(p);
        return gr_error_nomem(err);
    }
    for (size_t c = p->n_classes; c < p->ldz; c++)
        p->b[c] = -INFINITY;
    return GRAFT_OK;
}

/* W' x' + b with x' = (x - mean) * scale is W x + b with W = W' * scale, b = b' - W mean. */
static void load_params(struct gr_softmax *p, const double *params)
{
    const size_t ld = p->ld;
    const double *bias = params + p->n_classes * ld;
    /* a panel a thread: its lines hold the weights of many classes */
#pragma omp parallel for schedule(static, GR_GEMM_PANEL) if (p->n_classes * ld > 20000)
    for (size_t c = 0; c < p->n_classes; c++) {
        double shift = 0, norm = 0;
        const double *from = params + c * ld;
        float *to = p->w + (p->packed ? gr_gemm_packed_at(c, 0, ld) : c * ld);
        const size_t next = p->packed ? GR_GEMM_PANEL : 1;
        for (size_t j = 0; j < ld; j++)
            norm += from[j] * from[j];
        for (size_t j = 0; j < ld; j++) {
            double v = p->scale ? from[j] * p->scale[j] : from[j];
            to[j * next] = (float)v;
            if (p->mean)
                shift += v * p->mean[j];
        }
        p->b[c] = (float)(bias[c] - shift);
        p->class_norm[c] = norm;
    }
}

/* The products of m rows of x with all classes. */
static void scores(const struct gr_softmax *p, size_t from, size_t m, float *z)
{
    const float *x = p->x + from * p->ld;
    if (p->packed)
        gr_gemm_nt_packed_1(m, p->n_classes, p->ld, x, p->ld, p->w, z, p->ldz);
    else
        gr_gemm_nt_1(m, p->n_classes, p->ld, x, p->ld, p->w, p->ld, z, p->ldz);
}

static void slab_rows(const struct gr_softmax *p, size_t slab, size_t *from, size_t *to)
{
    size_t n_blocks = (p->n + p->block - 1) / p->block;
    *from = n_blocks * slab / p->n_slabs * p->block;
    *to = n_blocks * (slab + 1) / p->n_slabs * p->block;
    if (*to > p->n)
        *to = p->n;
}

static void eval_slab(struct gr_softmax *p, size_t slab)
{
    const enum gr_gemm_isa isa = gr_gemm_best_isa();
    const size_t n_classes = p->n_classes, ld = p->ld, ldz = p->ldz;
    float *grad = p->slab_grad + slab * n_classes * ld;
    float *z = p->slab_z + slab * p->block * ldz;
    double *bias = p->slab_bias + slab * n_classes, loss = 0;
    size_t from, to;
    memset(grad, 0, n_classes * ld * sizeof *grad);
    memset(bias, 0, n_classes * sizeof *bias);
    slab_rows(p, slab, &from, &to);
    for (size_t i = from; i < to; i += p->block) {
        size_t m = to - i < p->block ? to - i : p->block, n_used = 0;
        for (size_t r = 0; r < m; r++)
            n_used += p->row_weight[i + r] != 0;
        if (!n_used)
            continue;
        scores(p, i, m, z);
        for (size_t r = 0; r < m; r++) {
            const double weight = p->row_weight[i + r];
            const int label = p->y[i + r];
            float *zr = z + r * ldz;
            if (weight == 0) {
                memset(zr, 0, ldz * sizeof *zr);
                continue;
            }
            loss += weight * gr_probs_row(isa, ldz, zr, p->b, label, weight, NULL);
            zr[label] = (float)(zr[label] - weight);
            for (size_t c = 0; c < n_classes; c++)
                bias[c] += zr[c];
        }
        gr_gemm_tn_add_1(n_classes, ld, m, z, ldz, p->x + i * ld, ld, grad, ld);
    }
    p->slab_loss[slab] = loss;
}

double gr_softmax_eval(struct gr_softmax *p, const double *params, double *grad)
{
    const size_t n_classes = p->n_classes, ld = p->ld;
    double loss = 0, norm = 0, *grad_bias = grad + n_classes * ld;
    load_params(p, params);
#pragma omp parallel for schedule(dynamic, 1) if (p->n * n_classes * ld > 200000)
    for (size_t s = 0; s < p->n_slabs; s++)
        eval_slab(p, s);
    memset(grad_bias, 0, (p->n_params - n_classes * ld) * sizeof *grad_bias);
    for (size_t s = 0; s < p->n_slabs; s++) {
        loss += p->slab_loss[s];
        for (size_t c = 0; c < n_classes; c++)
            grad_bias[c] += p->slab_bias[s * n_classes + c];
    }
#pragma omp parallel for if (p->n_slabs * n_classes * ld > 50000)
    for (size_t c = 0; c < n_classes; c++) {
        double *g = grad + c * ld;
        memset(g, 0, ld * sizeof *g);
        for (size_t s = 0; s < p->n_slabs; s++) {
            const float *part = p->slab_grad + (s * n_classes + c) * ld;
            for (size_t j = 0; j < ld; j++)
                g[j] += part[j];
        }
        for (size_t j = 0; j < ld; j++) {
            if (p->mean)
                g[j] -= grad_bias[c] * p->mean[j];
            if (p->scale)
                g[j] *= p->scale[j];
            g[j] += p->lambda * params[c * ld + j];
        }
    }
    for (size_t c = 0; c < n_classes; c++)
        norm += p->class_norm[c];
    return loss + 0.5 * p->lambda * norm;
}

void gr_softmax_score(struct gr_softmax *p, const double *params, size_t from, size_t to,
                      const double *weights, double *loss, size_t *right)
{
    const enum gr_gemm_isa isa = gr_gemm_best_isa();
    load_params(p, params);
    *loss = 0;
    *right = 0;
    for (size_t i = from; i < to; i += p->block) {
        size_t m = to - i < p->block ? to - i : p->block, top;
        scores(p, i, m, p->slab_z);
        for (size_t r = 0; r < m; r++) {
            const int label = p->y[i + r];
            *loss += weights[i + r] *
                     gr_probs_row(isa, p->ldz, p->slab_z + r * p->ldz, p->b, label, 1, &top);
            *right += top == (size_t)label;
        }
    }
}

struct search {
    struct gr_softmax *p;
    const struct graft_events *ev;
    struct graft_error *err;
    double tolerance;
    struct gr_softmax_end end;
    bool cancelled, not_finite;
    /* With a preconditioner L-BFGS moves v from 0, and W = origin + unit * v L^-1. It begins with a
       step of length 1; unit makes that the right one where the loss curves as foreseen. */
    double *origin, *params, *grad, *v, unit, loss;
    bool known; /* grad and loss are those of the next point already */
    float *from, *to;
};

/* params = where v is */
static void place_params(const struct search *s, const double *v, double *params)
{
    const struct gr_softmax *p = s->p;
    const size_t n_w = p->n_classes * p->ld;
    for (size_t i = 0; i < n_w; i++)
        s->from[i] = (float)v[i];
    gr_precond_weights(p->precond, p->n_classes, s->from, s->to);
    for (size_t i = 0; i < n_w; i++)
        params[i] = s->origin[i] + s->unit * s->to[i];
    for (size_t i = n_w; i < p->n_params; i++)
        params[i] = s->origin[i] + s->unit * p->precond->bias_unit * v[i];
}

static double norm(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

/* The loss at v, and its gradient there; grad may be v. */
static double eval_at(struct search *s, const double *v, double *grad)
{
    struct gr_softmax *p = s->p;
    const size_t n_w = p->n_classes * p->ld;
    if (!s->known) {
        place_params(s, v, s->params);
        s->loss = gr_softmax_eval(p, s->params, s->grad);
    }
    s->known = false;
    for (size_t i = 0; i < n_w; i++)
        s->from[i] = (float)s->grad[i];
    gr_precond_gradient(p->precond, p->n_classes, s->from, s->to);
    for (size_t i = 0; i < n_w; i++)
        grad[i] = s->unit * s->to[i];
    for (size_t i = n_w; i < p->n_params; i++)
        grad[i] = s->unit * p->precond->bias_unit * s->grad[i];
    return s->loss;
}

static void search_clear(struct search *s)
{
    gr_free(s->origin);
    gr_free(s->params);
    gr_free(s->grad);
    gr_free_aligned(s->v);
    gr_free(s->from);
    gr_free(s->to);
}

static enum graft_status search_init(struct search *s, const double *params,
                                     struct graft_error *err)
{
    const size_t n = s->p->n_params;
    if (!s->p->precond)
        return GRAFT_OK;
    s->origin = gr_alloc_array(n, sizeof *s->origin);
    s->params = gr_alloc_array(n, sizeof *s->params);
    s->grad = gr_alloc_array(n, sizeof *s->grad);
    s->v = gr_alloc_aligned(n * sizeof *s->v, true);
    s->from = gr_alloc_array(n, sizeof *s->from);
    s->to = gr_alloc_array(n, sizeof *s->to);
    if (!s->origin || !s->params || !s->grad || !s->v || !s->from || !s->to) {
        search_clear(s);
        return gr_error_nomem(err);
    }
    memcpy(s->origin, params, n * sizeof *params);
    s->unit = 1;
    eval_at(s, s->v, s->v);
    s->unit = norm(s->v, n);
    if (!(s->unit > 0 && isfinite(s->unit)))
        s->unit = 1;
    memset(s->v, 0, n * sizeof *s->v);
    s->known = true; /* the search begins where it was looked for its unit */
    return GRAFT_OK;
}

static lbfgsfloatval_t on_eval(void *user, const lbfgsfloatval_t *at, lbfgsfloatval_t *grad,
                               const int n, const lbfgsfloatval_t step)
{
    struct search *s = user;
    (void)n;
    (void)step;
    return s->v ? eval_at(s, at, grad) : gr_softmax_eval(s->p, at, grad);
}

static int on_iteration(void *user, const lbfgsfloatval_t *params, const lbfgsfloatval_t *grad,
                        const lbfgsfloatval_t loss, const lbfgsfloatval_t params_norm,
                        const lbfgsfloatval_t grad_norm, const lbfgsfloatval_t step, int n, int k,
                        int n_evals)
{
    struct search *s = user;
    (void)params, (void)grad, (void)params_norm, (void)step, (void)n, (void)n_evals;
    s->end.iterations = k;
    s->end.loss = loss;
    s->end.gradient_norm = s->grad ? norm(s->grad, s->p->n_params) : grad_norm;
    s->not_finite = !isfinite(loss) || !isfinite(grad_norm);
    s->end.converged = s->end.gradient_norm <= s->tolerance;
    s->cancelled = gr_cancelled(s->ev, s->err);
    return s->not_finite || s->end.converged || s->cancelled;
}

enum graft_status gr_softmax_minimise(struct gr_softmax *p, double *params, double tolerance,
                                      double delta, int max_iterations,
                                      const struct graft_events *ev, struct gr_softmax_end *end,
                                      struct graft_error *err)
{
    struct search s = {.p = p, .ev = ev, .err = err, .tolerance = tolerance};
    lbfgs_parameter_t param;
    lbfgs_parameter_init(&param);
    param.m = 10;
    param.epsilon = 0;                                 /* on_iteration decides */
    param.past = delta > 0 ? (p->precond ? 3 : 5) : 0; /* with one, fewer gain as much */
    param.delta = delta;
    param.max_iterations = max_iterations;
    if (p->n_params > INT32_MAX)
        return gr_error(err, GRAFT_E_LIMIT, "%zu parameters, limit is %d", p->n_params, INT32_MAX);
    enum graft_status st = search_init(&s, params, err);
    if (st)
        return st;
    int rc =
        lbfgs((int)p->n_params, s.v ? s.v : params, &s.end.loss, on_eval, on_iteration, &s, &param);
    if (s.v)
        place_params(&s, s.v, params);
    search_clear(&s);
    if (s.cancelled)
        return GRAFT_E_CANCELLED;
    if (s.not_finite || !isfinite(s.end.loss))
        return gr_error(err, GRAFT_E_COMPUTE, "the loss is %g after %d iterations", s.end.loss,
                        s.end.iterations);
    if (rc == LBFGSERR_OUTOFMEMORY)
        return gr_error_nomem(err);
    if (rc >= LBFGSERR_INVALID_N && rc < LBFGSERR_OUTOFINTERVAL)
        return gr_error(err, GRAFT_E_COMPUTE, "L-BFGS refused its settings (code %d)", rc);
    /* any other code than the iteration limit says that the loss no longer falls, or that the line
       search met the limit of float arithmetic: the parameters are the best point found */
    s.end.converged = rc != LBFGSERR_MAXIMUMITERATION;
    *end = s.end;
    return GRAFT_OK;
}
