/* How are means trained fast? */
#include "base/mem.h"
#include "cpu/train_util.h"

/* x is (outer, n, inner), y (outer, inner). */
struct mean {
    int64_t outer, n, inner;
};

static enum graft_status refuse(struct graft_error *err, const char *why)
{
    return gr_error(err, GRAFT_E_UNSUPPORTED, "%s", why);
}

/* The range of axes first..last; false when they are not one range, or not known. */
static bool read_axes(const struct gr_case *c, int *first, int *last)
{
    const struct gr_shape *x = &c->in[0].shape;
    const struct gr_attr *a = gr_node_find_attr(c->node, "axes");
    bool given = c->n_in > 1 && c->in[1].dtype;
    unsigned found = 0;
    if (gr_node_is(c->node, "GlobalAveragePool")) {
        *first = 2;
        *last = x->rank - 1;
        return x->rank >= 3;
    }
    if ((given && !c->konst[1]) || (!given && !a))
        return false;
    int64_t n = given ? gr_tensor_count(c->konst[1]) : (int64_t)a->n;
    for (int64_t i = 0; i < n; i++) {
        int64_t v =
            given ? gr_load_i64(c->konst[1]->dtype, c->konst[1]->data, (size_t)i) : a->ints[i];
        int axis = gr_axis(v, x->rank);
        if (axis < 0)
            return false;
        found |= 1u << axis;
    }
    for (*first = 0; *first < x->rank && !(found >> *first & 1); ++*first)
        ;
    for (*last = *first; *last + 1 < x->rank && found >> (*last + 1) & 1; ++*last)
        ;
    return found && found == (2u << *last) - (1u << *first);
}

static enum graft_status mean_plan(const struct gr_train_case *tc, struct gr_train_choice *k,
                                   struct graft_error *err)
{
    const struct gr_case *c = &tc->c;
    const struct gr_shape *x = &c->in[0].shape;
    int first, last;
    if (c->in[0].dtype != GR_F32 || !gr_shape_count(x) || !read_axes(c, &first, &last))
        return refuse(err, "not over neighbouring axes of fp32 numbers");
    bool spatial = first == 2 && last == x->rank - 1 && c->layout[0].channels_last;
    struct mean *t = gr_alloc(sizeof *t);
    if (!t)
        return gr_error_nomem(err);
    *t = spatial ? (struct mean){x->dim[0], gr_shape_count_range(x, 2, x->rank), x->dim[1]}
                 : (struct mean){gr_shape_count_range(x, 0, first),
                                 gr_shape_count_range(x, first, last + 1),
                                 gr_shape_count_range(x, last + 1, x->rank)};
    k->c.in[0] = (struct gr_layout){GR_F32, spatial};
    k->c.out[0] = (struct gr_layout){GR_F32, false};
    k->keep_in[0] = k->keep_out[0] = false;
    k->c.state = t;
    k->c.impl = "rows";
    return GRAFT_OK;
}

CLONES static void mean_block(const struct mean *t, const float *x, float *y)
{
    if (t->inner == 1) {
        double sum = 0;
        for (int64_t i = 0; i < t->n; i++)
            sum += (double)x[i];
        *y = (float)(sum / (double)t->n);
        return;
    }
    memset(y, 0, (size_t)t->inner * sizeof *y);
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t k = 0; k < t->inner; k++)
            y[k] += x[i * t->inner + k];
    for (int64_t k = 0; k < t->inner; k++)
        y[k] /= (float)t->n;
}

CLONES static void spread_block(const struct mean *t, const float *dy, float *dx)
{
    float part = 1 / (float)t->n;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t k = 0; k < t->inner; k++)
            dx[i * t->inner + k] = dy[k] * part;
}

static enum graft_status mean_forward(void *state, const struct gr_train_pass *p,
                                      struct graft_error *err)
{
    const struct mean *t = state;
    (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < t->outer; o++)
        mean_block(t, (const float *)p->in[0] + o * t->n * t->inner,
                   (float *)p->out[0] + o * t->inner);
    return GRAFT_OK;
}

static enum graft_status mean_backward(void *state, const struct gr_train_pass *p,
                                       struct graft_error *err)
{
    const struct mean *t = state;
    (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < t->outer; o++)
        spread_block(t, (const float *)p->dout[0] + o * t->inner,
                     (float *)p->din[0] + o * t->n * t->inner);
    return GRAFT_OK;
}

static const char *const ops[] = {"GlobalAveragePool", "ReduceMean", NULL};
const struct gr_train_kernel gr_train_mean = {"mean",       ops,           mean_plan,
                                              mean_forward, mean_backward, gr_free};
