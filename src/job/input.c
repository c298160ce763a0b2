/* How does a network meet pictures with other planes or of another size than it was made for? */
#include "base/mem.h"
#include "data/preprocess.h"
#include "job/job.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const channel_names[] = {"RGB", "BGR", "grey", "RGBA"};

static bool is_planes(int64_t n)
{
    return n == 1 || n == 3 || n == 4;
}

int gr_job_planes_axis(const struct gr_shape *x)
{
    return is_planes(x->dim[3]) && !is_planes(x->dim[1]) ? 3 : 1;
}

/* ---- planes ---------------------------------------------------------------------------------- */

/* Exact where all are the same. */
static double average(const double *v, int n)
{
    double more = 0;
    for (int i = 1; i < n; i++)
        more += v[i] - v[0];
    return v[0] + more / n;
}

static void swap(double *a, double *b)
{
    double t = *a;
    *a = *b;
    *b = t;
}

/* Red, green, blue or, for the fourth and for grey, itself: which colour plane c is. */
static int colour_of(enum graft_channels channels, int c)
{
    return channels == GRAFT_BGR && c < 3 ? 2 - c : c;
}

/* What the new planes are normalised with. Opaque alpha becomes 0, so a picture without holes gives
   what it gave without that plane. */
static void normalise_as(struct graft_preprocess *p, const struct graft_preprocess *old, int n_old)
{
    const int n_colours = n_old < 3 ? n_old : 3, n = gr_preprocess_channels(p);
    const double mean = average(old->mean, n_colours), std = average(old->std, n_colours);
    for (int t = 0; t < GR_MAX_PLANES; t++) {
        p->mean[t] = t < n ? mean : 0;
        p->std[t] = t < n ? std : 1;
    }
    for (int t = 0; n > 1 && n_old > 1 && t < 3; t++) {
        int f = colour_of(old->channels, colour_of(p->channels, t));
        p->mean[t] = old->mean[f];
        p->std[t] = old->std[f];
    }
    if (n > 3)
        p->mean[3] = 255 * p->scale;
}

/* The old planes as sums of the new ones: of their pixels, each undone and normalised again. */
static struct gr_planes mix_of(const struct graft_preprocess *old, int n_old,
                               const struct graft_preprocess *p)
{
    struct gr_planes m = {.n_from = n_old, .n_to = gr_preprocess_channels(p)};
    for (int f = 0; f < n_old; f++) {
        bool alpha = f == 3;
        m.d[f] = (alpha ? 255 * p->scale : 0) - old->mean[f];
        for (int t = 0; !alpha && t < m.n_to && t < 3; t++) {
            bool same = colour_of(old->channels, f) == colour_of(p->channels, t);
            double part = m.n_to == 1 ? 1 : n_old == 1 ? 1.0 / 3 : same;
            m.a[f][t] = part * p->std[t] / old->std[f];
            m.d[f] += part * p->mean[t];
        }
        m.d[f] = fabs(m.d[f]) < 1e-9 ? 0 : m.d[f] / old->std[f];
        if (m.n_to > 3 && !alpha)
            m.a[f][3] = 1.0 / 3; /* the new plane's kernels are the mean of the colours' */
    }
    return m;
}

static enum graft_status note_planes(struct gr_model *m, int n_old,
                                     const struct gr_planes_report *r, struct graft_error *err)
{
    const int n = gr_preprocess_channels(&m->pre);
    const char *ones = r->how == GR_PLANES_WITH_ONES
                           ? n == 1
                                 ? "; their means differ, which a plane of ones carries, exact at "
                                   "padded borders too"
                                 : "; a plane of ones carries what is constant, exact at padded "
                                   "borders too"
                           : "";
    const char *to = channel_names[m->pre.channels];
    char kernels[160];
    if (r->how == GR_PLANES_IN_FRONT)
        snprintf(kernels, sizeof kernels,
                 "a 1x1 layer in front makes the network's %d from them ('%.60s' is no "
                 "convolution that could)",
                 n_old, r->node);
    else if (n == 1)
        snprintf(kernels, sizeof kernels, "the kernels of '%.60s' are summed over their %d planes",
                 r->node, n_old);
    else
        snprintf(kernels, sizeof kernels, "the kernels of '%.60s' are %s", r->node,
                 n_old == 1 ? "repeated, divided by 3"
                 : n == 4   ? "kept, alpha's are the mean of theirs"
                            : "kept, alpha is taken as opaque");
    return gr_model_add_note(m, err, "%s input where the network had %d plane%s: %s%s", to, n_old,
                             n_old > 1 ? "s" : "", kernels, ones);
}

static enum graft_status change_planes(struct gr_model *m, enum graft_channels want,
                                       struct graft_error *err)
{
    const int input = m->graph->n_inputs == 1 ? m->graph->inputs[0] : -1;
    const struct gr_shape *x = input >= 0 ? &m->graph->values[input].type.shape : NULL;
    struct graft_preprocess old = m->pre;
    if ((unsigned)want > GRAFT_RGBA)
        return gr_error(err, GRAFT_E_ARG, "unknown channels %d", (int)want);
    if (!x || x->rank != 4)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "%s: channels can be chosen for networks with one input (N,C,H,W)",
                        m->path);
    const int axis = gr_job_planes_axis(x), n_pre = gr_preprocess_channels(&old);
    const int64_t n_file = x->dim[axis] < 0 ? n_pre : x->dim[axis];
    if (!is_planes(n_file))
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "%s: the network takes %lld planes, pictures have 1, 3 or 4", m->path,
                        (long long)n_file);
    const int n = (int)n_file;
    if (n_pre != n) { /* what was said or guessed is of another number: for all the same */
        double mean = average(old.mean, n_pre), std = average(old.std, n_pre);
        for (int c = 0; c < n; c++)
            old.mean[c] = mean, old.std[c] = std;
        old.channels = n == 1 ? GRAFT_GREY : n == 3 ? GRAFT_RGB : GRAFT_RGBA;
        m->pre = old;
    }
    m->pre.channels = want;
    if (gr_preprocess_channels(&m->pre) == n) { /* only their order; the numbers go along */
        if (n == 3 && n_pre == n && want != old.channels) {
            swap(&m->pre.mean[0], &m->pre.mean[2]);
            swap(&m->pre.std[0], &m->pre.std[2]);
        }
        return GRAFT_OK;
    }
    struct gr_planes_report report;
    normalise_as(&m->pre, &old, n);
    const struct gr_planes mix = mix_of(&old, n, &m->pre);
    enum graft_status s = gr_graph_map_planes(m->graph, axis, &mix, &report, err);
    if (s)
        return gr_error_in(err, s, "%s", m->path);
    return note_planes(m, n, &report, err);
}

/* ---- size ------------------------------------------------------------------------------------ */

/* Pictures of the asked-for size, whatever the file says; whether the network can take them is
   found when it is planned. */
static enum graft_status change_size(struct gr_model *m, struct graft_error *err)
{
    struct gr_graph *g = m->graph;
    struct gr_shape *x = g->n_inputs == 1 ? &g->values[g->inputs[0]].type.shape : NULL;
    if (!x || x->rank != 4)
        return GRAFT_OK;
    const int h = gr_job_planes_axis(x) == 1 ? 2 : 1;
    const int64_t height = x->dim[h], width = x->dim[h + 1];
    if ((height < 0 || height == m->pre.height) && (width < 0 || width == m->pre.width))
        return GRAFT_OK;
    struct gr_type *types = NULL;
    int n_pools = 0;
    enum graft_status s = gr_job_input_types(m, 1, &types, err);
    if (!s)
        s = gr_graph_pool_all(g, types, &n_pools, err);
    gr_free(types);
    if (s)
        return s;
    m->file_height = height;
    m->file_width = width;
    x->dim[h] = m->pre.height;
    x->dim[h + 1] = m->pre.width;
    for (size_t i = 0; i < g->n_outputs; i++)
        g->values[g->outputs[i]].has_shape = false; /* was for the file's size */
    s = gr_model_add_note(m, err, "input %dx%d, in the file %lldx%lld", m->pre.width, m->pre.height,
                          (long long)width, (long long)height);
    if (!s && n_pools)
        s = gr_model_add_note(m, err, "%d average pool%s over the whole map, whatever its size now",
                              n_pools, n_pools > 1 ? "s go" : " goes");
    return s;
}

enum graft_status gr_job_size_error(const struct gr_model *m, enum graft_status s,
                                    struct graft_error *err)
{
    if (!m->file_height || (s != GRAFT_E_SHAPE && s != GRAFT_E_UNSUPPORTED))
        return s;
    return gr_error_in(err, s,
                       "input %dx%d, in the file %lldx%lld (a --cut below what depends on it would "
                       "do)",
                       m->pre.width, m->pre.height, (long long)m->file_width,
                       (long long)m->file_height);
}

enum graft_status gr_job_check_size(const struct gr_model *m, struct graft_error *err)
{
    struct gr_inferred types = {0};
    struct gr_type *inputs = NULL;
    enum graft_status s = m->file_height ? gr_job_input_types(m, 1, &inputs, err) : GRAFT_OK;
    if (!s && m->file_height)
        s = gr_graph_infer(m->graph, inputs, 0, NULL, &types, err);
    gr_inferred_clear(&types);
    gr_free(inputs);
    if (s)
        gr_error_in(err, gr_job_size_error(m, s, err), "%s", m->path);
    return s;
}

enum graft_status gr_job_fit_input(struct gr_model *m, const struct graft_load_options *o,
                                   struct graft_error *err)
{
    enum graft_status s = o->preprocess ? gr_preprocess_check(&m->pre, err) : GRAFT_OK;
    if (!s && o->channels)
        s = change_planes(m, *o->channels, err);
    if (!s && o->preprocess)
        s = change_size(m, err);
    return s;
}
