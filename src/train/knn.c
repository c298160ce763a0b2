/* Which stored examples are nearest, and what do they vote? */
#include "train/knn.h"
#include "base/events.h"
#include "base/mem.h"
#include "train/gemm.h"
#include "train/head.h"
#include "train/scaler.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SCORE_FLOATS ((size_t)4 << 20) /* products held at once */

/* Keeps best[0..k) sorted by score, then by index. Candidates come in order of index. */
static void insert(float score, int64_t j, size_t k, float *best, int64_t *found, size_t *n_found)
{
    size_t at = *n_found;
    if (at == k) {
        if (!(score > best[k - 1]))
            return;
        at = k - 1;
    } else {
        *n_found += 1;
    }
    for (; at > 0 && score > best[at - 1]; at--) {
        best[at] = best[at - 1];
        found[at] = found[at - 1];
    }
    best[at] = score;
    found[at] = j;
}

enum graft_status gr_knn_search(const float *q, size_t n_q, size_t ldq, const float *refs,
                                const float *bias, size_t n_refs, size_t ldr, size_t d, size_t k,
                                const int64_t *self, int64_t *found, struct graft_error *err)
{
    enum graft_status st = GRAFT_OK;
    size_t rows = SCORE_FLOATS / (n_refs ? n_refs : 1);
    rows = rows < 16 ? 16 : rows > 1024 ? 1024 : rows;
    float *scores = gr_alloc_array(rows, n_refs * sizeof *scores);
    float *best = gr_alloc_array(rows, k * sizeof *best);
    if (!scores || !best) {
        st = gr_error_nomem(err);
        goto out;
    }
    for (size_t i0 = 0; i0 < n_q; i0 += rows) {
        size_t m = n_q - i0 < rows ? n_q - i0 : rows;
        gr_gemm_nt(m, n_refs, d, q + i0 * ldq, ldq, refs, ldr, scores, n_refs);
#pragma omp parallel for if (m * n_refs > 50000)
        for (size_t r = 0; r < m; r++) {
            size_t n_found = 0;
            int64_t skip = self ? self[i0 + r] : -1;
            for (size_t j = 0; j < n_refs; j++)
                if ((int64_t)j != skip)
                    insert(scores[r * n_refs + j] + (bias ? bias[j] : 0), (int64_t)j, k,
                           best + r * k, found + (i0 + r) * k, &n_found);
        }
    }
out:
    gr_free(scores);
    gr_free(best);
    return st;
}

void gr_knn_vote(const int64_t *found, size_t n, size_t k_found, size_t k, const int *labels,
                 size_t n_classes, float *probs)
{
    memset(probs, 0, n * n_classes * sizeof *probs);
    for (size_t i = 0; i < n; i++) {
        float *p = probs + i * n_classes;
        for (size_t j = 0; j < k; j++)
            p[labels[found[i * k_found + j]]] += 1;
        for (size_t c = 0; c < n_classes; c++)
            p[c] /= (float)k;
    }
}

GR_HEAD_FIT(gr_knn_fit)
{
    const size_t n = data->n, d = data->d;
    enum graft_status st;
    struct gr_scaler s = {0};
    struct gr_head h = {.kind = GR_HEAD_KNN,
                        .n_features = d,
                        .n_classes = data->n_classes,
                        .n_refs = n,
                        .k = o->k < n ? o->k : n,
                        .cosine = o->cosine};
    if ((st = gr_scaler_fit(data->x, n, d, &s, err)))
        goto out;
    h.refs = gr_alloc_array(n, d * sizeof(float));
    h.ref_bias = gr_alloc_zero(n, sizeof(float));
    h.ref_labels = gr_alloc_array(n, sizeof(int));
    h.mean = gr_alloc_array(d, sizeof(float));
    h.scale = gr_alloc_array(d, sizeof(float));
    if (!h.refs || !h.ref_bias || !h.ref_labels || !h.mean || !h.scale) {
        st = gr_error_nomem(err);
        goto out;
    }
    if (h.k < o->k)
        gr_note(ev, "head", "%zu examples: k is %zu instead of %zu", n, h.k, o->k);
    gr_scaler_apply(&s, data->x, n, NULL, h.refs, d);
    for (size_t i = 0; i < n; i++) {
        double norm = 0;
        float *ref = h.refs + i * d;
        for (size_t j = 0; j < d; j++)
            norm += (double)ref[j] * ref[j];
        if (!o->cosine)
            h.ref_bias[i] = (float)(-0.5 * norm);
        for (size_t j = 0; o->cosine && norm > 0 && j < d; j++)
            ref[j] = (float)(ref[j] / sqrt(norm));
        h.ref_labels[i] = data->y[i];
    }
    for (size_t j = 0; j < d; j++) {
        h.mean[j] = (float)s.mean[j];
        h.scale[j] = (float)s.scale[j];
    }
    report->converged = true;
    snprintf(report->summary, sizeof report->summary, "%zu nearest neighbours, %s", h.k,
             o->cosine ? "cosine" : "euclidean");
    *head = h;
    memset(&h, 0, sizeof h);
out:
    gr_scaler_clear(&s);
    gr_head_free(&h);
    return st;
}
