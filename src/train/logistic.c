/* Which logistic regression fits these features, and how strongly must it be held back?

   The penalty is chosen by stratified K-fold cross-validation over a log-spaced grid, from strong
   to weak, each fold starting where its last two solutions point; the smallest mean held-out log
   loss wins, and the final fit starts from the mean of its folds. Features are standardised; inside
   a fold with the moments of its training rows only. */
#include "base/events.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/gemm.h"
#include "train/head.h"
#include "train/scaler.h"
#include "train/softmax.h"
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

/* The path stops after this many penalties in a row that are worse than the best. */
#define CV_PATIENCE 2
/* A held-out loss needs no more than this: it comes out within 0.5 %, and the next penalty's is
   further away. */
#define CV_TOLERANCE  1e-4
#define CV_DELTA      1e-3
#define CV_ITERATIONS 200
/* Multiply-adds below which a product is faster on one thread; bytes for all folds' gradients. */
#define SMALL_PRODUCTS 1e7
#define FOLDS_ROOM     64e6
/* Evaluations that a preconditioner saves, at least: of a fit from the start, and of one that
   starts near its end. It must have examples enough that taking it off again counts little. */
#define SAVED_BY_FIT    8
#define SAVED_BY_FOLD   2
#define LEAST_PER_WIDTH 4
/* The final fit also ends where float arithmetic cannot lower the loss further. */
#define FIT_DELTA 1e-5

struct fit {
    const struct gr_head_options *o;
    const struct gr_head_data *data;
    const struct graft_events *ev;
    struct gr_scaler scaler;
    size_t n_active;
    int *class_of, *active_of; /* active class -> class, class -> active class or -1 */
    int64_t *order;            /* row r of x is example order[r]; folds lie together */
    size_t fold_start[GR_MAX_FOLDS + 1];
    float *x;
    int *y;
    double *weight; /* sums to 1 */
    struct gr_softmax p;
    struct gr_precond precond;
};

static void fit_clear(struct fit *f)
{
    gr_precond_clear(&f->precond);
    gr_softmax_clear(&f->p);
    gr_scaler_clear(&f->scaler);
    gr_free(f->class_of);
    gr_free(f->active_of);
    gr_free(f->order);
    gr_free_aligned(f->x);
    gr_free(f->y);
    gr_free(f->weight);
}

/* Deals each class, shuffled, over the folds, going on where the class before ended; then sorts
   the examples by fold. */
static enum graft_status deal_folds(struct fit *f, int folds, struct graft_error *err)
{
    const struct gr_head_data *data = f->data;
    enum graft_status st = GRAFT_OK;
    int64_t *members = gr_alloc_array(data->n, sizeof *members);
    int *fold = gr_alloc_array(data->n, sizeof *fold), next = 0;
    if (!members || !fold) {
        st = gr_error_nomem(err);
        goto out;
    }
    for (size_t c = 0; c < data->n_classes; c++) {
        size_t count = 0;
        if (data->class_counts[c] == 0)
            continue;
        for (size_t i = 0; i < data->n; i++)
            if (data->y[i] == (int)c)
                members[count++] = (int64_t)i;
        gr_rng_shuffle(f->o->seed, c, members, count);
        for (size_t i = 0; i < count; i++) {
            fold[members[i]] = next;
            next = (next + 1) % folds;
        }
    }
    size_t r = 0;
    for (int k = 0; k < folds; k++) {
        f->fold_start[k] = r;
        for (size_t i = 0; i < data->n; i++)
            if (fold[i] == k)
                f->order[r++] = (int64_t)i;
    }
    f->fold_start[folds] = r;
out:
    gr_free(members);
    gr_free(fold);
    return st;
}

/* Classes, rows in order of fold, standardised copy, workspace. */
static enum graft_status fit_init(struct fit *f, int folds, struct graft_error *err)
{
    const struct gr_head_data *data = f->data;
    enum graft_status st;
    size_t n = data->n, ld = gr_gemm_pad(data->d), bytes;
    double total = 0;
    f->class_of = gr_alloc_array(data->n_classes, sizeof(int));
    f->active_of = gr_alloc_array(data->n_classes, sizeof(int));
    f->order = gr_alloc_array(n, sizeof *f->order);
    f->y = gr_alloc_array(n, sizeof *f->y);
    f->weight = gr_alloc_array(n, sizeof *f->weight);
    if (gr_mul_size(n, ld * sizeof(float), &bytes))
        f->x = gr_alloc_aligned(bytes, false);
    if (!f->class_of || !f->active_of || !f->order || !f->y || !f->weight || !f->x)
        return gr_error_nomem(err);
    for (size_t c = 0; c < data->n_classes; c++) {
        bool active = data->class_counts[c] > 0 && data->class_weights[c] > 0;
        f->active_of[c] = active ? (int)f->n_active : -1;
        if (active)
            f->class_of[f->n_active++] = (int)c;
    }
    if (f->n_active < 2)
        return gr_error(err, GRAFT_E_ARG,
                        "logistic regression needs examples of at least 2 classes, found %zu",
                        f->n_active);
    for (size_t i = 0; i < n; i++)
        f->order[i] = (int64_t)i;
    if (folds && (st = deal_folds(f, folds, err)))
        return st;
    if ((st = gr_scaler_fit(data->x, n, data->d, &f->scaler, err)))
        return st;
    gr_scaler_apply(&f->scaler, data->x, n, f->order, f->x, ld);
    for (size_t i = 0; i < n; i++)
        total += data->class_weights[data->y[i]];
    for (size_t r = 0; r < n; r++) {
        int c = data->y[f->order[r]];
        f->y[r] = f->active_of[c] < 0 ? 0 : f->active_of[c]; /* weight 0: the label is not used */
        f->weight[r] = data->class_weights[c] / total;
    }
    f->p = (struct gr_softmax){
        .x = f->x, .y = f->y, .n = n, .ld = ld, .n_classes = f->n_active, .row_weight = f->weight};
    return gr_softmax_init(&f->p, err);
}

/* Zero weights, and the biases that give the classes their share of the weight. */
static void start_params(const struct gr_softmax *p, double *params)
{
    double *bias = params + p->n_classes * p->ld;
    memset(params, 0, p->n_params * sizeof *params);
    for (size_t i = 0; i < p->n; i++)
        bias[p->y[i]] += p->row_weight[i];
    for (size_t c = 0; c < p->n_classes; c++)
        bias[c] = log(bias[c] > 1e-12 ? bias[c] : 1e-12);
}

static double zero_gradient_norm(struct gr_softmax *p, double *params, double *grad)
{
    double sum = 0;
    memset(params, 0, p->n_params * sizeof *params);
    gr_softmax_eval(p, params, grad);
    for (size_t i = 0; i < p->n_params; i++)
        sum += grad[i] * grad[i];
    return sqrt(sum);
}

/* Multiply-adds of one evaluation. */
static double eval_work(const struct fit *f)
{
    return 2 * (double)f->p.n * (double)f->p.n_classes * (double)f->p.ld;
}

/* Small fits are over before it pays. */
static enum graft_status init_precond(struct fit *f, struct graft_error *err)
{
    const double work = gr_precond_init_work(f->p.n, f->p.ld) + gr_precond_factor_work(f->p.ld);
    if (eval_work(f) < 2 * SMALL_PRODUCTS || f->p.n < LEAST_PER_WIDTH * f->p.ld ||
        work > SAVED_BY_FIT * eval_work(f))
        return GRAFT_OK;
    return gr_precond_init(&f->precond, f->x, f->p.n, f->p.ld, err);
}

/* The preconditioner for a penalty, if there is one and it saves so many evaluations. */
static const struct gr_precond *factor_precond(struct fit *f, double lambda, double saved)
{
    if (!f->precond.ld || gr_precond_factor_work(f->p.ld) > saved * eval_work(f))
        return NULL;
    gr_precond_factor(&f->precond, f->p.n_classes, lambda);
    return &f->precond;
}

struct fold {
    double *params, *before; /* of the penalty at hand and of the one before */
    double *row_weight, *mean, *scale, gradient_unit, held_weight;
    struct gr_softmax p; /* with room of its own, or in the room of fit.p */
    bool own_room;
    double loss; /* of what was held out, at the penalty at hand */
    size_t right;
    enum graft_status status;
    struct graft_error err;
};

/* What fold k trains on: weights without the held-out rows, moments of the others. */
static void fold_prepare(const struct fit *f, struct fold *fold, size_t from, size_t to)
{
    const size_t n = f->p.n, ld = f->p.ld;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        bool held = i >= from && i < to;
        fold->row_weight[i] = held ? 0 : f->weight[i];
        sum += fold->row_weight[i];
    }
    for (size_t i = 0; i < n; i++)
        fold->row_weight[i] /= sum;
    fold->held_weight = 0;
    for (size_t i = from; i < to; i++)
        fold->held_weight += f->weight[i];
    memset(fold->mean, 0, ld * sizeof(double));
    memset(fold->scale, 0, ld * sizeof(double));
#pragma omp parallel for if (n * ld > 100000)
    for (size_t col = 0; col < ld; col += GR_GEMM_PAD) {
        for (size_t i = 0; i < n; i++) {
            const float *row = f->x + i * ld;
            if (i >= from && i < to)
                continue;
            for (size_t j = col; j < col + GR_GEMM_PAD; j++) {
                fold->mean[j] += row[j];
                fold->scale[j] += (double)row[j] * row[j];
            }
        }
        /* over all rows these are 0 and 1, so nothing is lost in the difference of squares */
        for (size_t j = col; j < col + GR_GEMM_PAD; j++) {
            double mean = fold->mean[j] / (double)(n - (to - from));
            double var = fold->scale[j] / (double)(n - (to - from)) - mean * mean;
            fold->mean[j] = mean;
            fold->scale[j] = var > 1e-10 ? 1 / sqrt(var) : 1;
        }
    }
}

static void fold_clear(struct fold *fold)
{
    if (fold->own_room)
        gr_softmax_clear(&fold->p);
    gr_free_aligned(fold->params);
    gr_free(fold->before);
    gr_free(fold->row_weight);
    gr_free(fold->mean);
    gr_free(fold->scale);
}

static enum graft_status fold_init(struct fit *f, struct fold *fold, int k, bool own_room,
                                   double *grad, struct graft_error *err)
{
    fold->params = gr_alloc_aligned(f->p.n_params * sizeof(double), false);
    fold->before = gr_alloc_array(f->p.n_params, sizeof(double));
    fold->row_weight = gr_alloc_array(f->p.n, sizeof(double));
    fold->mean = gr_alloc_array(f->p.ld, sizeof(double));
    fold->scale = gr_alloc_array(f->p.ld, sizeof(double));
    if (!fold->params || !fold->before || !fold->row_weight || !fold->mean || !fold->scale)
        return gr_error_nomem(err);
    fold_prepare(f, fold, f->fold_start[k], f->fold_start[k + 1]);
    fold->p = f->p;
    fold->p.row_weight = fold->row_weight;
    fold->p.mean = fold->mean;
    fold->p.scale = fold->scale;
    if (own_room) {
        enum graft_status st = gr_softmax_init(&fold->p, err);
        if (st)
            return st;
        fold->own_room = true;
    }
    fold->gradient_unit = zero_gradient_norm(&fold->p, fold->params, grad);
    start_params(&fold->p, fold->params);
    return GRAFT_OK;
}

/* Penalties are the same factor apart, so that a solution lies about as far from the last as that
   one from the one before. */
static void fold_step(struct fold *fold, bool have_two)
{
    for (size_t i = 0; i < fold->p.n_params; i++) {
        const double at = fold->params[i];
        if (have_two)
            fold->params[i] += at - fold->before[i];
        fold->before[i] = at;
    }
}

static void fold_fit(const struct fit *f, struct fold *fold, int k, int l, double lambda,
                     const struct gr_precond *precond)
{
    struct gr_softmax_end end;
    fold_step(fold, l >= 2);
    fold->p.lambda = lambda;
    fold->p.precond = precond;
    fold->status = gr_softmax_minimise(&fold->p, fold->params, CV_TOLERANCE * fold->gradient_unit,
                                       CV_DELTA, CV_ITERATIONS, f->ev, &end, &fold->err);
    if (!fold->status)
        gr_softmax_score(&fold->p, fold->params, f->fold_start[k], f->fold_start[k + 1], f->weight,
                         &fold->loss, &fold->right);
}

/* One penalty: every fold fitted and scored on what it held out. Folds with room of their own go
   side by side, a thread each, which saves the threads from waiting for each other in every
   product; what a fold finds does not depend on it. */
static enum graft_status cv_point(struct fit *f, struct fold *fold, int folds, int l, double lambda,
                                  struct gr_cv_point *point, struct graft_error *err)
{
    double loss = 0, weight = 0;
    size_t right = 0;
    const struct gr_precond *precond = factor_precond(f, lambda, SAVED_BY_FOLD * folds);
#pragma omp parallel for schedule(dynamic, 1) if (fold[0].own_room)
    for (int k = 0; k < folds; k++)
        fold_fit(f, &fold[k], k, l, lambda, precond);
    for (int k = 0; k < folds; k++) {
        if (fold[k].status)
            return gr_error(err, fold[k].status, "%s", fold[k].err.message);
        loss += fold[k].loss;
        weight += fold[k].held_weight;
        right += fold[k].right;
    }
    *point = (struct gr_cv_point){lambda, loss / weight, (double)right / (double)f->p.n};
    return GRAFT_OK;
}

/* Side by side: where few threads would be left without a fold, or products are too small to be
   divided, and the room is small. */
static bool side_by_side(const struct fit *f, int folds)
{
    const double room = (double)folds * (double)f->p.n_slabs * (double)f->p.n_classes *
                        (double)f->p.ld * sizeof(float);
    const int threads = omp_get_max_threads();
    return threads > 1 && (threads <= folds || eval_work(f) < 2 * SMALL_PRODUCTS) &&
           room < FOLDS_ROOM;
}

static void mean_params(const struct fold *fold, int folds, size_t n_params, double *mean)
{
    for (size_t i = 0; i < n_params; i++) {
        mean[i] = 0;
        for (int k = 0; k < folds; k++)
            mean[i] += fold[k].params[i] / folds;
    }
}

/* The penalty for the report, and in `start` where the fit of all examples starts from. */
static enum graft_status cross_validate(struct fit *f, int folds, double *start,
                                        struct gr_head_report *report, struct graft_error *err)
{
    const struct gr_head_options *o = f->o;
    enum graft_status st = GRAFT_OK;
    struct fold fold[GR_MAX_FOLDS];
    int best = 0;
    memset(fold, 0, sizeof fold);
    double *grad = gr_alloc_aligned(f->p.n_params * sizeof(double), false);
    if (!grad)
        st = gr_error_nomem(err);
    const bool own_room = side_by_side(f, folds);
    for (int k = 0; k < folds && !st; k++)
        st = fold_init(f, &fold[k], k, own_room, grad, err);
    for (int l = 0; l < o->n_lambdas && !st; l++) {
        double t = o->n_lambdas > 1 ? (double)l / (o->n_lambdas - 1) : 0;
        double lambda = o->lambda_max * pow(o->lambda_min / o->lambda_max, t);
        struct gr_cv_point *curve = report->curve;
        gr_progress(f->ev, "head", l, o->n_lambdas, "penalty");
        st = cv_point(f, fold, folds, l, lambda, &curve[l], err);
        if (st)
            break;
        report->n_curve = l + 1;
        if (curve[l].loss < curve[best].loss ||
            (curve[l].loss == curve[best].loss && curve[l].accuracy > curve[best].accuracy))
            best = l;
        if (best == l)
            mean_params(fold, folds, f->p.n_params, start);
        if (l - best >= CV_PATIENCE)
            break;
    }
    if (!st) {
        gr_progress(f->ev, "head", o->n_lambdas, o->n_lambdas, "penalty");
        report->folds = folds;
        report->lambda = report->curve[best].lambda;
    }
    for (int k = 0; k < folds; k++)
        fold_clear(&fold[k]);
    gr_free_aligned(grad);
    return st;
}

/* How many folds the smallest class allows; 0 when there is nothing to choose or no way to. */
static int usable_folds(const struct gr_head_options *o, const struct gr_head_data *data,
                        const struct graft_events *ev, double *lambda)
{
    size_t fewest = SIZE_MAX, which = 0;
    *lambda = o->lambda;
    if (o->lambda > 0)
        return 0;
    for (size_t c = 0; c < data->n_classes; c++)
        if (data->class_counts[c] && data->class_weights[c] > 0 && data->class_counts[c] < fewest) {
            fewest = data->class_counts[c];
            which = c;
        }
    if (fewest < 2) {
        *lambda = GR_LAMBDA_DEFAULT;
        gr_warn(ev, "head",
                "class %zu has 1 example: no cross-validation, lambda stays at its default %g",
                which, *lambda);
        return 0;
    }
    if (fewest < (size_t)o->folds) {
        gr_note(ev, "head", "class %zu has %zu examples: %zu folds instead of %d", which, fewest,
                fewest, o->folds);
        return (int)fewest;
    }
    return o->folds;
}

static enum graft_status write_head(const struct fit *f, const double *params, struct gr_head *head,
                                    struct graft_error *err)
{
    const size_t d = f->data->d, n_classes = f->data->n_classes;
    struct gr_head h = {.kind = GR_HEAD_LINEAR, .n_features = d, .n_classes = n_classes};
    h.w = gr_alloc_zero(n_classes * d, sizeof(float));
    h.b = gr_alloc_array(n_classes, sizeof(float));
    if (!h.w || !h.b) {
        gr_head_free(&h);
        return gr_error_nomem(err);
    }
    for (size_t c = 0; c < n_classes; c++)
        h.b[c] = GR_ABSENT_LOGIT;
    for (size_t a = 0; a < f->n_active; a++)
        gr_scaler_fold(&f->scaler, params + a * f->p.ld, f->p.ld,
                       params + f->n_active * f->p.ld + a, 1, h.w + (size_t)f->class_of[a] * d,
                       h.b + f->class_of[a]);
    *head = h;
    return GRAFT_OK;
}

GR_HEAD_FIT(gr_logistic_fit)
{
    enum graft_status st;
    struct fit f = {.o = o, .data = data, .ev = ev};
    struct gr_softmax_end end;
    double *params = NULL, *grad = NULL;
    int folds = usable_folds(o, data, ev, &report->lambda);
    if ((st = fit_init(&f, folds, err)))
        goto out;
    params = gr_alloc_aligned(f.p.n_params * sizeof *params, false);
    grad = gr_alloc_aligned(f.p.n_params * sizeof *grad, false);
    if (!params || !grad) {
        st = gr_error_nomem(err);
        goto out;
    }
    double unit = zero_gradient_norm(&f.p, params, grad);
    start_params(&f.p, params);
    if ((st = init_precond(&f, err)) ||
        (folds && (st = cross_validate(&f, folds, params, report, err))))
        goto out;
    f.p.lambda = report->lambda;
    f.p.precond = factor_precond(&f, report->lambda, SAVED_BY_FIT);
    st = gr_softmax_minimise(&f.p, params, o->tolerance * unit, FIT_DELTA, o->max_iterations, ev,
                             &end, err);
    if (st)
        goto out;
    if ((st = write_head(&f, params, head, err)))
        goto out;
    report->c = 1 / ((double)data->n * report->lambda);
    report->iterations = end.iterations;
    report->loss = end.loss;
    report->gradient_norm = unit > 0 ? end.gradient_norm / unit : 0;
    report->converged = end.converged;
    if (!end.converged)
        gr_warn(ev, "head", "not converged after %d iterations (gradient %.2g of the first)",
                end.iterations, report->gradient_norm);
    if (report->folds)
        snprintf(report->summary, sizeof report->summary, "logistic regression, C=%.3g (%d-fold)",
                 report->c, report->folds);
    else
        snprintf(report->summary, sizeof report->summary, "logistic regression, C=%.3g (%s)",
                 report->c, o->lambda > 0 ? "given" : "default");
out:
    gr_free_aligned(params);
    gr_free_aligned(grad);
    fit_clear(&f);
    return st;
}
