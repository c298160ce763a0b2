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

/* Of the rows whose picture could be read. */
static float mean_difference(const struct gr_pictures *p, const float *fp32)
{
    const size_t width = (size_t)p->width;
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < p->n_done; i++) {
        if (!p->ok[i])
            continue;
        sum += gr_mean_difference(p->x + i * width, fp32 + i * width, 1, width);
        n++;
    }
    return n ? (float)(sum / (double)n) : INFINITY;
}

/* The difference is kept beside the features, so that a second run decodes nothing; under a hash of
   the pictures' bytes, so that it does not depend on what another data set left in the cache. */
static enum graft_status make_cache_key(struct gr_network *net, const struct gr_pictures *p,
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
    enum graft_status s = gr_network_keep_hash(net, err);
    return s ? s : gr_network_hash(net, &key->model, err);
}

/* Looks into the cache; that it cannot be had is for gr_pictures_run to say. */
static enum graft_status recall(struct gr_network *net, const struct gr_pictures *p,
                                const struct graft_data_options *o, struct gr_cache_key *key,
                                float *difference, bool *found, struct graft_error *err)
{
    struct gr_cache *cache = NULL;
    struct gr_cache_entry e;
    struct graft_error ignored;
    *found = false;
    enum graft_status s = gr_cache_of_options(o, NULL, &cache, err);
    if (!s && cache)
        s = make_cache_key(net, p, key, err);
    if (!s && cache && gr_cache_get(cache, *key, &e, difference, 1, found, &ignored))
        *found = false;
    gr_cache_close(cache);
    return s;
}

static void remember(const struct graft_data_options *o, struct gr_cache_key key, float difference)
{
    struct gr_cache *cache = NULL;
    struct gr_cache_entry e;
    struct graft_error ignored; /* it will be measured again */
    memset(&e, 0, sizeof e);
    const struct gr_cache_put put = {key, &e, &difference, 1};
    if (isfinite(difference) && !gr_cache_of_options(o, NULL, &cache, &ignored) && cache)
        gr_cache_put_batch(cache, &put, 1, &ignored);
    gr_cache_close(cache);
}

enum graft_status gr_network_settle(struct gr_network *net, const struct gr_model *m,
                                    struct gr_pictures *p, const struct graft_data_options *o,
                                    const struct graft_events *ev, struct graft_error *err)
{
    struct gr_network fp32 = {0};
    struct gr_cache_key key = {0}; /* that of no cache */
    float difference = 0, *x = NULL;
    bool known;
    if (o->precision == GRAFT_PRECISION_INT8 && !net->ranges.n)
        return gr_network_calibrate(net, m, p, o, ev, err);
    if (o->precision != GRAFT_PRECISION_AUTO || net->precision != GR_PRECISION_BF16)
        return GRAFT_OK;
    if (gr_model_get_prop(m, "graft.precision")) /* settled when the model was trained */
        return GRAFT_OK;
    enum graft_status s = recall(net, p, o, &key, &difference, &known, err);
    if (!s && (!known || difference > BF16_LIMIT))
        s = gr_network_to_fp32(m, net, &fp32, err);
    if (!s && !known) {
        s = gr_pictures_run_first(p, net, &fp32, &x, o, ev, err);
        if (!s) {
            difference = mean_difference(p, x);
            remember(o, key, difference);
        }
    }
    if (!s && difference > BF16_LIMIT) {
        gr_note(ev, "precision",
                "fp32: bf16 would change the network's output by %.1f %% "
                "(--precision bf16 is faster)",
                100 * difference);
        struct gr_network old = *net;
        *net = fp32;
        fp32 = old;
        if (x)
            memcpy(p->x, x, p->n_done * (size_t)p->width * sizeof *x);
    } else if (!s) {
        gr_note(ev, "precision",
                "bf16: the network's output differs from fp32 by %.1f %% "
                "(--precision fp32 for full precision)",
                100 * difference);
    }
    gr_network_clear(&fp32);
    gr_free(x);
    return s;
}
