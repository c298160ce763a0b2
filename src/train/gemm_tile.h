/* The two products for one instruction set. gemm.c includes this once per set, after defining
   ISA(name), the attribute TARGET, the vector length LANES, and the tile that fits the registers:
   TILE_M x TILE_N vectors. */
typedef float ISA(vec) __attribute__((vector_size(4 * LANES)));
typedef float ISA(mem) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define VEC     ISA(vec)
#define LOAD(p) (*(const ISA(mem) *)(p))
#define INLINE  static inline __attribute__((always_inline)) TARGET
#define UNROLL  _Pragma("GCC unroll 24")
/* Where there are registers enough, 5 or 6 that are left go together: the other side is read once.
 */
#define LAST(left, tile) ((tile) == 4 && ((left) == 5 || (left) == 6))
#define MOST_ACC         (TILE_N == 4 ? 24 : TILE_M * TILE_N)

/* c (mr,nr) = a (mr,k) times the transpose of b (nr,k); mr and nr are constants at each call */
INLINE void ISA(nt_tile)(const size_t mr, const size_t nr, size_t k, const float *a, size_t lda,
                         const float *b, size_t ldb, float *c, size_t ldc)
{
    VEC acc[MOST_ACC];
    size_t p = 0;
    UNROLL for (size_t i = 0; i < mr * nr; i++) acc[i] = (VEC){0};
    for (; p + LANES <= k; p += LANES) {
        VEC bv[6];
        UNROLL for (size_t j = 0; j < nr; j++) bv[j] = LOAD(b + j * ldb + p);
        UNROLL for (size_t i = 0; i < mr; i++)
        {
            VEC av = LOAD(a + i * lda + p);
            UNROLL for (size_t j = 0; j < nr; j++) acc[i * nr + j] += av * bv[j];
        }
    }
    UNROLL for (size_t i = 0; i < mr; i++)
    {
        UNROLL for (size_t j = 0; j < nr; j++)
        {
            float part[LANES];
            memcpy(part, &acc[i * nr + j], sizeof part);
            for (size_t half = LANES / 2; half; half /= 2)
                for (size_t l = 0; l < half; l++)
                    part[l] += part[l + half];
            for (size_t q = p; q < k; q++)
                part[0] += a[i * lda + q] * b[j * ldb + q];
            c[i * ldc + j] = part[0];
        }
    }
}

/* mr rows of a against all of b */
INLINE void ISA(nt_strip)(const size_t nr, size_t m, size_t k, const float *a, size_t lda,
                          const float *b, size_t ldb, float *c, size_t ldc)
{
    size_t i = 0;
    for (; i + TILE_M <= m; i += TILE_M)
        ISA(nt_tile)(TILE_M, nr, k, a + i * lda, lda, b, ldb, c + i * ldc, ldc);
    for (; i < m; i++)
        ISA(nt_tile)(1, nr, k, a + i * lda, lda, b, ldb, c + i * ldc, ldc);
}

static TARGET void ISA(nt)(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                           size_t ldb, float *c, size_t ldc)
{
    size_t rows = gr_gemm_block_rows(k);
    for (size_t i = 0; i < m; i += rows) {
        size_t mb = m - i < rows ? m - i : rows, j = 0;
        const float *ai = a + i * lda;
        float *ci = c + i * ldc;
        for (; j + TILE_N <= n && !LAST(n - j, TILE_N); j += TILE_N)
            ISA(nt_strip)(TILE_N, mb, k, ai, lda, b + j * ldb, ldb, ci + j, ldc);
        if (LAST(n - j, TILE_N)) {
            if (n - j == 6)
                ISA(nt_strip)(6, mb, k, ai, lda, b + j * ldb, ldb, ci + j, ldc);
            else
                ISA(nt_strip)(5, mb, k, ai, lda, b + j * ldb, ldb, ci + j, ldc);
            continue;
        }
        if (TILE_N > 2 && j + 2 <= n) {
            ISA(nt_strip)(2, mb, k, ai, lda, b + j * ldb, ldb, ci + j, ldc);
            j += 2;
        }
        for (; j < n; j++)
            ISA(nt_strip)(1, mb, k, ai, lda, b + j * ldb, ldb, ci + j, ldc);
    }
}

/* c (mr, nr vectors) += the transpose of a (k,mr) times b (k, nr vectors) */
INLINE void ISA(tn_tile)(const size_t mr, const size_t nr, size_t k, const float *a, size_t lda,
                         const float *b, size_t ldb, float *c, size_t ldc)
{
    VEC acc[MOST_ACC];
    UNROLL for (size_t i = 0; i < mr * nr; i++) acc[i] = (VEC){0};
    for (size_t p = 0; p < k; p++) {
        VEC bv[TILE_N];
        UNROLL for (size_t j = 0; j < nr; j++) bv[j] = LOAD(b + p * ldb + j * LANES);
        UNROLL for (size_t i = 0; i < mr; i++)
        {
            VEC av = a[p * lda + i] - (VEC){0};
            UNROLL for (size_t j = 0; j < nr; j++) acc[i * nr + j] += av * bv[j];
        }
    }
    UNROLL for (size_t i = 0; i < mr; i++)
    {
        UNROLL for (size_t j = 0; j < nr; j++)
        {
            ISA(mem) *out = (ISA(mem) *)(c + i * ldc + j * LANES);
            *out += acc[i * nr + j];
        }
    }
}

/* nr vectors of columns of c */
INLINE void ISA(tn_strip)(const size_t nr, size_t m, size_t k, const float *a, size_t lda,
                          const float *b, size_t ldb, float *c, size_t ldc)
{
    size_t i = 0;
    for (; i + TILE_M <= m && !LAST(m - i, TILE_N); i += TILE_M)
        ISA(tn_tile)(TILE_M, nr, k, a + i, lda, b, ldb, c + i * ldc, ldc);
    if (LAST(m - i, TILE_N)) {
        if (m - i == 6)
            ISA(tn_tile)(6, nr, k, a + i, lda, b, ldb, c + i * ldc, ldc);
        else
            ISA(tn_tile)(5, nr, k, a + i, lda, b, ldb, c + i * ldc, ldc);
        return;
    }
    if (TILE_M > 2 && i + 2 <= m) {
        ISA(tn_tile)(2, nr, k, a + i, lda, b, ldb, c + i * ldc, ldc);
        i += 2;
    }
    for (; i < m; i++)
        ISA(tn_tile)(1, nr, k, a + i, lda, b, ldb, c + i * ldc, ldc);
}

static TARGET void ISA(tn)(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                           size_t ldb, float *c, size_t ldc)
{
    size_t rows = gr_gemm_block_rows(n);
    for (size_t p = 0; p < k; p += rows) {
        size_t kb = k - p < rows ? k - p : rows, j = 0;
        const float *ap = a + p * lda, *bp = b + p * ldb;
        for (; j + TILE_N * LANES <= n; j += TILE_N * LANES)
            ISA(tn_strip)(TILE_N, m, kb, ap, lda, bp + j, ldb, c + j, ldc);
        for (; j + LANES <= n; j += LANES)
            ISA(tn_strip)(1, m, kb, ap, lda, bp + j, ldb, c + j, ldc);
        for (; j < n; j++)
            for (size_t i = 0; i < m; i++) {
                float s = 0;
                for (size_t q = 0; q < kb; q++)
                    s += ap[q * lda + i] * bp[q * ldb + j];
                c[i * ldc + j] += s;
            }
    }
}

#undef VEC
#undef LOAD
#undef INLINE
#undef UNROLL
#undef LAST
#undef MOST_ACC
#undef ISA
#undef TARGET
#undef LANES
#undef TILE_M
#undef TILE_N
