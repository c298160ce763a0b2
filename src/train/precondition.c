/* In which coordinates is a softmax head's loss about as round as a ball? */
#include "train/precondition.h"
#include "base/mem.h"
#include "train/gemm.h"
#include <math.h>
#include <string.h>

/* Examples for each feature: more change nothing. */
#define ROWS_A_FEATURE 4
/* The mean of p (1 - p) is 1 / n_classes while nothing is known, and falls as the head learns. */
#define CURVATURE 0.1
/* A pivot below this part of the diagonal is rounding. */
#define LEAST_PIVOT 1e-6

enum {
    BLOCK = 64, /* of the factorisation */
    STRIP = 256 /* columns in which zeros above the diagonal are skipped */
};

static size_t n_rows(size_t n, size_t ld)
{
    return n < ROWS_A_FEATURE * ld ? n : ROWS_A_FEATURE * ld;
}

double gr_precond_init_work(size_t n, size_t ld)
{
    return (double)n_rows(n, ld) * (double)ld * (double)ld / 2;
}

double gr_precond_factor_work(size_t ld)
{
    return (double)ld * (double)ld * (double)ld * 2 / 3;
}

void gr_precond_clear(struct gr_precond *p)
{
    gr_free_aligned(p->gram);
    gr_free_aligned(p->inverse);
    gr_free_aligned(p->upper);
    gr_free_aligned(p->room);
    *p = (struct gr_precond){0};
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

enum graft_status gr_precond_init(struct gr_precond *p, const float *x, size_t n, size_t ld,
                                  struct graft_error *err)
{
    const size_t rows = n_rows(n, ld);
    size_t size;
    *p = (struct gr_precond){.ld = ld};
    if (!gr_mul_size(ld, ld * sizeof(float), &size))
        return gr_error_nomem(err);
    p->gram = gr_alloc_aligned(size, true);
    p->inverse = gr_alloc_aligned(size, true);
    p->upper = gr_alloc_aligned(size, true);
    p->room = gr_alloc_aligned((ld < STRIP ? STRIP : ld) * 2 * STRIP * sizeof(float), false);
    if (!p->gram || !p->inverse || !p->upper || !p->room) {
        gr_precond_clear(p);
        return gr_error_nomem(err);
    }
    for (size_t i = 0; i < rows; i += STRIP) { /* spread over all: they may lie in order of class */
        const size_t m = least(rows - i, STRIP);
        for (size_t r = 0; r < m; r++)
            memcpy(p->room + r * ld, x + (i + r) * n / rows * ld, ld * sizeof *x);
        for (size_t j = 0; j < ld; j += STRIP)
            gr_gemm_tn_add(ld - j, least(ld - j, STRIP), m, p->room + j, ld, p->room + j, ld,
                           p->gram + j * ld + j, ld);
    }
    for (size_t i = 0; i < ld * ld; i++)
        p->gram[i] /= (float)rows;
    return GRAFT_OK;
}

/* a (m, m), of which the lower triangle counts, becomes its Cholesky factor, and `inverse` that
   one's inverse; both with zeros above the diagonal. */
static void factor_block(size_t m, float *a, size_t lda, double least_pivot, float *inverse)
{
    double l[BLOCK][BLOCK] = {{0}}, v[BLOCK][BLOCK] = {{0}};
    for (size_t j = 0; j < m; j++)
        for (size_t i = j; i < m; i++) {
            double sum = a[i * lda + j];
            for (size_t k = 0; k < j; k++)
                sum -= l[i][k] * l[j][k];
            l[i][j] = i > j ? sum / l[j][j] : sqrt(sum > least_pivot ? sum : least_pivot);
        }
    for (size_t j = 0; j < m; j++)
        for (size_t i = j; i < m; i++) {
            double sum = i == j;
            for (size_t k = j; k < i; k++)
                sum -= l[i][k] * v[k][j];
            v[i][j] = sum / l[i][i];
        }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++) {
            a[i * lda + j] = (float)l[i][j];
            inverse[i * BLOCK + j] = (float)v[i][j];
        }
}

/* `inverse` holds the symmetric matrix below its diagonal. Block by block its rows become those of
   L and then, as nothing reads them again, of L's inverse; `upper` becomes the transpose of that.
 */
static void factor(struct gr_precond *p, double least_pivot)
{
    const size_t ld = p->ld;
    float *const u = p->upper, *const sums = p->room, *const block = sums + ld * BLOCK,
                 *const product = block + BLOCK * BLOCK;
    for (size_t k = 0; k < ld; k += BLOCK) {
        const size_t m = least(ld - k, BLOCK), below = ld - k - m;
        float *const row = p->inverse + k * ld;
        /* what the columns before take from this one */
        gr_gemm_nt(ld - k, m, k, row, ld, row, ld, sums, BLOCK);
        for (size_t i = 0; i < ld - k; i++)
            for (size_t j = 0; j < m; j++)
                row[i * ld + k + j] -= sums[i * BLOCK + j];
        factor_block(m, row + k, ld, least_pivot, block);
        gr_gemm_nt(below, m, m, row + m * ld + k, ld, block, BLOCK, sums, BLOCK);
        for (size_t i = 0; i < below; i++)
            memcpy(row + (m + i) * ld + k, sums + i * BLOCK, m * sizeof *sums);
        /* the inverse's rows: minus that of the diagonal block, times L's rows, times those before
         */
        gr_gemm_nt(k, m, k, u, ld, row, ld, sums, BLOCK);
        gr_gemm_nt(k, m, m, sums, BLOCK, block, BLOCK, product, BLOCK);
        for (size_t i = 0; i < m; i++) {
            for (size_t j = 0; j < k; j++)
                row[i * ld + j] = u[j * ld + k + i] = -product[j * BLOCK + i];
            for (size_t j = 0; j <= i; j++)
                row[i * ld + k + j] = u[(k + j) * ld + k + i] = block[i * BLOCK + j];
        }
    }
}

void gr_precond_factor(struct gr_precond *p, size_t n_classes, double lambda)
{
    const size_t ld = p->ld;
    const double curvature = CURVATURE / (double)n_classes;
    for (size_t i = 0; i < ld; i++)
        for (size_t j = 0; j <= i; j++)
            p->inverse[i * ld + j] =
                (float)(curvature * p->gram[i * ld + j] + (i == j ? lambda : 0));
    factor(p, LEAST_PIVOT * (curvature + lambda));
    p->bias_unit = 1 / sqrt(curvature);
}

void gr_precond_weights(const struct gr_precond *p, size_t m, const float *v, float *w)
{
    const size_t ld = p->ld;
    for (size_t j = 0; j < ld; j += STRIP)
        gr_gemm_nt(m, least(ld - j, STRIP), ld - j, v + j, ld, p->upper + j * ld + j, ld, w + j,
                   ld);
}

void gr_precond_gradient(const struct gr_precond *p, size_t m, const float *dw, float *dv)
{
    const size_t ld = p->ld;
    for (size_t j = 0; j < ld; j += STRIP)
        gr_gemm_nt(m, least(ld - j, STRIP), least(ld, j + STRIP), dw, ld, p->inverse + j * ld, ld,
                   dv + j, ld);
}
