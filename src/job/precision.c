/* Is bf16 good enough for this network on these pictures? */
#include "base/events.h"
#include "base/mem.h"
#include "data/cache.h"
#include "data/source.h"
#include "job/pictures.h"
#include <math.h>
#include <string.h>

/* Mean over pictures of |bf16 - fp32| / |fp32| above which bf16 is not chosen by itself. */
#define BF16_LIMIT 0.01

enum graft_status gr_network_picture(const struct gr_network *net, struct gr_picture_reader *r,
                                     const struct gr_pictures *p, size_t i, int64_t max_pixels,
                                     float *x, struct graft_error *err)
{
    const int64_t planes = gr_preprocess_channels(&net->pre);
    const int64_t pixels = (int64_t)net->pre.width * net->pre.height;
    size_t size;
    r->pp.limits = (struct gr_image_limits){max_pixels, GR_IMAGE_MAX_SIDE};
    if (!r->one && !(r->one = gr_alloc_array((size_t)(planes * pixels), sizeof *r->one)))
        return gr_error_nomem(err);
    enum graft_status s = gr_source_read(p->ds.source, p->ds.examples[i].path, GR_MAX_PICTURE_FILE,
                                         &r->bytes, &r->cap, &size, err);
    if (!s)
        s = gr_preprocess_picture(&r->pp, r->bytes, size, &net->pre, r->one, NULL, err);
    if (!s && net->channels_last)
        gr_planes_last(r->one, planes, pixels, x);
    else if (!s)
        memcpy(x, r->one, (size_t)(planes * pixels) * sizeof *x);
    return s;
}

void gr_picture_reader_clear(struct gr_picture_reader *r)
{
    gr_preprocessor_clear(&r->pp);
    gr_free(r->one);
    gr_free(r->bytes);
}

/* Prepares the first readable pictures; their number. */
static enum graft_status load_first(const struct gr_network *net, const struct gr_pictures *p,
                                    int64_t max_pixels, float *x, size_t *n,
                                    struct graft_error *err)
{
    struct gr_picture_reader r = {0};
    const size_t batch = (size_t)net->batch;
    const size_t size = (size_t)gr_shape_count(&gr_plan_get_input(net->plan, 0)->shape) / batch;
    enum graft_status s = GRAFT_OK;
    *n = 0;
    for (size_t i = 0; !s && i < p->ds.n && i < 4 * batch && *n < batch; i++) {
        struct graft_error bad;
        s = gr_network_picture(net, &r, p, i, max_pixels, x + *n * size, &bad);
        if (s == GRAFT_E_NOMEM)
            break;
        *n += !s; /* the others are listed when their turn comes */
        s = GRAFT_OK;
    }
    gr_picture_reader_clear(&r);
    return s ? gr_error_nomem(err) : GRAFT_OK;
}

static enum graft_status run_plan(const struct gr_plan *plan, const float *x, float *y,
                                  struct graft_error *err)
{
    struct gr_exec *exec = NULL;
    const void *in = x;
    void *out = y;
    enum graft_status s = gr_exec_new(plan, &exec, err);
    if (!s)
        s = gr_exec_run(exec, &in, &out, err);
    gr_exec_free(exec);
    return s;
}

float gr_mean_difference(const float *a, const float *b, size_t n, size_t width)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = 0, norm = 0;
        for (size_t k = i * width; k < (i + 1) * width; k++) {
            d += ((double)a[k] - b[k]) * ((double)a[k] - b[k]);
            norm += (double)b[k] * b[k];
        }
        sum += norm > 0 ? sqrt(d / norm) : d > 0;
    }
    return n ? (float)(sum / (double)n) : INFINITY;
}

/* `bf16` and `fp32` are plans of one graph. */
static enum graft_status measure(const struct gr_model *m, const struct gr_network *bf16,
                                 const struct gr_network *fp32, const struct gr_pictures *p,
                                 int64_t max_pixels, float *difference, struct graft_error *err)
{
    const size_t batch = (size_t)bf16->batch, width = (size_t)bf16->width;
    const size_t in = (size_t)gr_shape_count(&gr_plan_get_input(bf16->plan, 0)->shape);
    float *x = gr_alloc_aligned(in * sizeof *x, true);
    float *a = gr_alloc_aligned(batch * width * sizeof *a, true);
    float *b = gr_alloc_aligned(batch * width * sizeof *b, true);
    size_t n = 0;
    enum graft_status s =
        x && a && b ? load_first(bf16, p, max_pixels, x, &n, err) : gr_error_nomem(err);
    if (!s) {
        s = run_plan(bf16->plan, x, a, err);
        if (!s)
            s = run_plan(fp32->plan, x, b, err);
        if (s)
            gr_error_in(err, s, "%s", m->path);
    }
    if (!s)
        *difference = gr_mean_difference(a, b, n, width);
    gr_free_aligned(x);
    gr_free_aligned(a);
    gr_free_aligned(b);
    return s;
}

/* The difference is kept beside the features, so that a second run decodes nothing; under a hash of
   the pictures' bytes, so that it does not depend on what another data set left in the cache. */
static enum graft_status make_cache_key(const struct gr_network *net, const struct gr_pictures *p,
                                        struct gr_cache_key *key, struct graft_error *err)
{
    struct gr_hasher *h = gr_hasher_new();
    uint8_t *bytes = NULL;
    size_t cap = 0, size;
    if (!h)
        return gr_error_nomem(err);
    gr_hasher_add_str(h, "difference of bf16 and fp32");
    for (size_t i = 0; i < p->ds.n && i < (size_t)net->batch; i++) {
        struct graft_error bad;
        if (!gr_source_read(p->ds.source, p->ds.examples[i].path, GR_MAX_PICTURE_FILE, &bytes, &cap,
                            &size, &bad))
            gr_hasher_add(h, bytes, size);
    }
    key->content = gr_hasher_get(h);
    gr_hasher_free(h);
    gr_free(bytes);
    return gr_network_hash(net, &key->model, err);
}

static bool recall(struct gr_cache *cache, struct gr_cache_key key, float *difference)
{
    struct gr_cache_entry e;
    struct graft_error ignored;
    bool found = false;
    return cache && !gr_cache_get(cache, key, &e, difference, 1, &found, &ignored) && found;
}

static void remember(struct gr_cache *cache, struct gr_cache_key key, const float *difference)
{
    struct gr_cache_entry e;
    struct graft_error ignored; /* it will be measured again */
    memset(&e, 0, sizeof e);
    const struct gr_cache_put put = {key, &e, difference, 1};
    if (cache && isfinite(*difference))
        gr_cache_put_batch(cache, &put, 1, &ignored);
}

enum graft_status gr_network_settle(struct gr_network *net, const struct gr_model *m,
                                    const struct gr_pictures *p, const struct graft_data_options *o,
                                    const struct graft_events *ev, struct graft_error *err)
{
    struct gr_cache *cache = NULL;
    struct gr_network fp32 = {0};
    float difference = 0;
    if (o->precision == GRAFT_PRECISION_INT8 && !net->ranges.n)
        return gr_network_calibrate(net, m, p, o, ev, err);
    if (o->precision != GRAFT_PRECISION_AUTO ||
        gr_plan_get_precision(net->plan) != GR_PRECISION_BF16)
        return GRAFT_OK;
    if (gr_model_get_prop(m, "graft.precision")) /* settled when the model was trained */
        return GRAFT_OK;
    struct gr_cache_key key;
    enum graft_status s = make_cache_key(net, p, &key, err);
    if (!s)
        s = gr_cache_of_options(o, ev, &cache, err);
    if (!s && recall(cache, key, &difference)) {
        if (difference > BF16_LIMIT)
            s = gr_network_to_fp32(m, net, &fp32, err);
    } else if (!s) {
        s = gr_network_to_fp32(m, net, &fp32, err);
        if (!s)
            s = measure(m, net, &fp32, p, o->max_pixels, &difference, err);
        if (!s)
            remember(cache, key, &difference);
    }
    gr_cache_close(cache);
    if (!s && difference > BF16_LIMIT) {
        gr_note(ev, "precision",
                "fp32: bf16 would change the network's output by %.1f %% "
                "(--precision bf16 is faster)",
                100 * difference);
        struct gr_network old = *net;
        *net = fp32;
        fp32 = old;
    } else if (!s) {
        gr_note(ev, "precision",
                "bf16: the network's output differs from fp32 by %.1f %% "
                "(--precision fp32 for full precision)",
                100 * difference);
    }
    gr_network_clear(&fp32);
    return s;
}
