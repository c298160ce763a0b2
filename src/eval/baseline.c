/* How far do the most common class and the nearest small picture get? */
#include "eval/baseline.h"
#include "base/mem.h"
#include "train/knn.h"
#include <math.h>

#define MAX_K           5
#define MAX_LOO_QUERIES 4000
#define CHUNK           1024

void gr_baseline_majority(const int *y, size_t n, size_t n_classes, size_t n_test, float *probs)
{
    for (size_t i = 0; i < n_test; i++)
        for (size_t c = 0; c < n_classes; c++)
            probs[i * n_classes + c] = 0;
    if (n_test == 0 || n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        probs[y[i]] += 1;
    for (size_t c = 0; c < n_classes; c++)
        probs[c] /= (float)n;
    for (size_t i = 1; i < n_test; i++)
        for (size_t c = 0; c < n_classes; c++)
            probs[i * n_classes + c] = probs[c];
}

/* Mean 0 and norm 1, so that the inner product is the correlation; a flat picture becomes 0. */
static void normalise(const uint8_t *thumb, float *out)
{
    double mean = 0, norm = 0;
    for (size_t j = 0; j < GR_THUMB; j++)
        mean += thumb[j] / (double)GR_THUMB;
    for (size_t j = 0; j < GR_THUMB; j++)
        norm += (thumb[j] - mean) * (thumb[j] - mean);
    double scale = norm > 1e-9 ? 1 / sqrt(norm) : 0;
    for (size_t j = 0; j < GR_THUMB; j++)
        out[j] = (float)((thumb[j] - mean) * scale);
}

/* The best k by leave-one-out; the smaller of equals. */
static enum graft_status choose_k(const float *refs, const int *y, size_t n, size_t *best_k,
                                  struct graft_error *err)
{
    enum graft_status st = GRAFT_OK;
    size_t n_q = n < MAX_LOO_QUERIES ? n : MAX_LOO_QUERIES, best_right = 0;
    size_t max_k = n - 1 < MAX_K ? n - 1 : MAX_K;
    float *q = gr_alloc_array(CHUNK, GR_THUMB * sizeof *q);
    int64_t *found = gr_alloc_array(n_q, MAX_K * sizeof *found);
    int64_t *self = gr_alloc_array(n_q, sizeof *self);
    *best_k = 1;
    if (!q || !found || !self) {
        st = gr_error_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < n_q; i += CHUNK) {
        size_t m = n_q - i < CHUNK ? n_q - i : CHUNK;
        for (size_t r = 0; r < m; r++) {
            self[i + r] = (int64_t)((i + r) * n / n_q);
            for (size_t j = 0; j < GR_THUMB; j++)
                q[r * GR_THUMB + j] = refs[(size_t)self[i + r] * GR_THUMB + j];
        }
        st = gr_knn_search(q, m, GR_THUMB, refs, NULL, n, GR_THUMB, GR_THUMB, max_k, self + i,
                           found + i * max_k, err);
        if (st)
            goto out;
    }
    for (size_t k = 1; k <= max_k; k += 2) {
        size_t right = 0;
        for (size_t i = 0; i < n_q; i++) {
            const int64_t *f = found + i * max_k;
            int winner = y[f[0]];
            size_t winner_votes = 0;
            for (size_t a = 0; a < k; a++) {
                size_t votes = 0;
                for (size_t b = 0; b < k; b++)
                    votes += y[f[b]] == y[f[a]];
                if (votes > winner_votes || (votes == winner_votes && y[f[a]] < winner)) {
                    winner = y[f[a]];
                    winner_votes = votes;
                }
            }
            right += winner == y[self[i]];
        }
        if (right > best_right) {
            best_right = right;
            *best_k = k;
        }
    }
out:
    gr_free(q);
    gr_free(found);
    gr_free(self);
    return st;
}

enum graft_status gr_baseline_pixels(const uint8_t *train, const int *y, size_t n,
                                     const uint8_t *test, size_t n_test, size_t n_classes,
                                     float *probs, size_t *k_out, struct graft_error *err)
{
    enum graft_status st = GRAFT_OK;
    size_t k = 1;
    float *refs = NULL, *q = NULL;
    int64_t *found = NULL;
    if (n == 0)
        return gr_error(err, GRAFT_E_ARG, "no training pictures");
    refs = gr_alloc_array(n, GR_THUMB * sizeof *refs);
    q = gr_alloc_array(CHUNK, GR_THUMB * sizeof *q);
    found = gr_alloc_array(CHUNK, MAX_K * sizeof *found);
    if (!refs || !q || !found) {
        st = gr_error_nomem(err);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        normalise(train + i * GR_THUMB, refs + i * GR_THUMB);
    if (n > 1 && (st = choose_k(refs, y, n, &k, err)))
        goto out;
    for (size_t i = 0; i < n_test; i += CHUNK) {
        size_t m = n_test - i < CHUNK ? n_test - i : CHUNK;
        for (size_t r = 0; r < m; r++)
            normalise(test + (i + r) * GR_THUMB, q + r * GR_THUMB);
        st = gr_knn_search(q, m, GR_THUMB, refs, NULL, n, GR_THUMB, GR_THUMB, k, NULL, found, err);
        if (st)
            goto out;
        gr_knn_vote(found, m, k, k, y, n_classes, probs + i * n_classes);
    }
    if (k_out)
        *k_out = k;
out:
    gr_free(refs);
    gr_free(q);
    gr_free(found);
    return st;
}
