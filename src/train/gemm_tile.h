/* The products for one instruction set. gemm.c includes this once per set, after defining
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
            __builtin_prefetch(a + (i + mr) * lda + p); /* a comes from far away, row after row */
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
    UNROLL for (size_t i = 0; i < mr * nr; i++)
    {
        acc[i] = (VEC){0};
        __builtin_prefetch(c + i / nr * ldc + i % nr * LANES, 1); /* c comes from far away */
    }
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

/* c (mr, nr vectors) = a (mr,k) times a panel of packed b, or += from the second part of k on */
INLINE void ISA(panel_tile)(const size_t mr, const size_t nr, bool add, size_t k, const float *a,
                            size_t lda, const float *b, float *c, size_t ldc)
{
    VEC acc[24];
    UNROLL for (size_t i = 0; i < mr; i++)
    {
        UNROLL for (size_t j = 0; j < nr; j++)
        {
            acc[i * nr + j] = (VEC){0};
            if (add)
                acc[i * nr + j] += LOAD(c + i * ldc + j * LANES);
        }
    }
    for (size_t p = 0; p < k; p++) {
        VEC bv[TILE_N];
        UNROLL for (size_t j = 0; j < nr; j++) bv[j] = LOAD(b + p * GR_GEMM_PANEL + j * LANES);
        UNROLL for (size_t i = 0; i < mr; i++)
        {
            VEC av = a[i * lda + p] - (VEC){0};
            UNROLL for (size_t j = 0; j < nr; j++) acc[i * nr + j] += av * bv[j];
        }
    }
    UNROLL for (size_t i = 0; i < mr; i++)
    {
        UNROLL for (size_t j = 0; j < nr; j++)
        {
            *(ISA(mem) *)(c + i * ldc + j * LANES) = acc[i * nr + j];
        }
    }
}

/* A part of the panel that stays in the first-level cache for all rows, and then the next. */
INLINE void ISA(panel_strip)(const size_t nr, size_t m, size_t k, const float *a, size_t lda,
                             const float *b, float *c, size_t ldc)
{
    enum { PART = 128 };
    for (size_t p = 0; p < k; p += PART, a += PART, b += PART * GR_GEMM_PANEL) {
        const size_t part = k - p < PART ? k - p : PART;
        size_t i = 0;
        for (; i + 6 <= m; i += 6)
            ISA(panel_tile)(6, nr, p, part, a + i * lda, lda, b, c + i * ldc, ldc);
        for (; i + 2 <= m; i += 2)
            ISA(panel_tile)(2, nr, p, part, a + i * lda, lda, b, c + i * ldc, ldc);
        if (i < m)
            ISA(panel_tile)(1, nr, p, part, a + i * lda, lda, b, c + i * ldc, ldc);
    }
}

static TARGET void ISA(nt_packed)(size_t m, size_t n, size_t k, const float *a, size_t lda,
                                  const float *packed, float *c, size_t ldc)
{
    for (size_t j = 0; j < gr_gemm_pad(n); j += TILE_N * LANES) {
        const float *b = packed + j / GR_GEMM_PANEL * GR_GEMM_PANEL * k + j % GR_GEMM_PANEL;
        const size_t left = (gr_gemm_pad(n) - j) / LANES;
        if (left >= TILE_N)
            ISA(panel_strip)(TILE_N, m, k, a, lda, b, c + j, ldc);
        else if (TILE_N > 3 && left == 3)
            ISA(panel_strip)(3, m, k, a, lda, b, c + j, ldc);
        else if (TILE_N > 2 && left == 2)
            ISA(panel_strip)(2, m, k, a, lda, b, c + j, ldc);
        else
            ISA(panel_strip)(1, m, k, a, lda, b, c + j, ldc);
    }
}

/* The second product where c has many rows: a strip of b is copied together and used for all of
   them. */
static TARGET void ISA(tn_many)(size_t m, size_t n, size_t k, const float *a, size_t lda,
                                const float *b, size_t ldb, float *c, size_t ldc)
{
    enum { ROWS = 128, WIDTH = TILE_N * LANES, HIGH = TILE_N == 4 ? 6 : TILE_M };
    float strip[ROWS * WIDTH] __attribute__((aligned(64)));
    for (size_t p = 0; p < k; p += ROWS) {
        const size_t kb = k - p < ROWS ? k - p : ROWS, whole = n / WIDTH * WIDTH;
        const float *ap = a + p * lda, *bp = b + p * ldb;
        for (size_t j = 0; j < whole; j += WIDTH) {
            size_t i = 0;
            for (size_t q = 0; q < kb; q++)
                memcpy(strip + q * WIDTH, bp + q * ldb + j, WIDTH * sizeof *strip);
            for (; i + HIGH <= m; i += HIGH)
                ISA(tn_tile)(HIGH, TILE_N, kb, ap + i, lda, strip, WIDTH, c + i * ldc + j, ldc);
            for (; i < m; i++)
                ISA(tn_tile)(1, TILE_N, kb, ap + i, lda, strip, WIDTH, c + i * ldc + j, ldc);
        }
        if (whole < n)
            ISA(tn)(m, n - whole, kb, ap, lda, bp + whole, ldb, c + whole, ldc);
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
