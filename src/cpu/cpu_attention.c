/* How is attention computed fast? */
#include "base/mem.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"
#include <math.h>
#include <omp.h>

/* One head at a time: its keys and values are packed into panels of 32 columns, as products want
   them; then a few queries at a time get their scores, the softmax and the sum of values, and what
   lies between never leaves the cache. Keys are packed as (panel, width, 32), values as
   (panel, keys, 32), in fp32; or in bf16 with pairs of rows as neighbours, which is how vdpbf16ps
   multiplies. Scores, softmax and all sums are fp32. */
enum { COLUMNS = 32, ROWS = 12, ROW_STEP = 4 };

struct loops;
struct attention {
    struct gr_attention_views at;
    float scale;
    bool masked;
    enum gr_dtype in, out, packed;
    const struct loops *loops;
    int64_t parts, part; /* of a head's queries: so many of so many rows */
    int n_threads;
    /* In 4 bytes: rows of a packed panel of keys and of values, and what a thread has. */
    int64_t key_rows, value_rows, keys, values, queries, scores, all;
};

/* A few queries of one head, packed, and what becomes of them; steps in 4 bytes. */
struct block {
    int wanted, rows; /* queries; made up to a multiple of ROW_STEP, at most ROWS */
    const void *q, *keys, *values;
    float *scores; /* (rows, padded keys) */
    void *shares;  /* after softmax, without the division: as packed */
    float inverse[ROWS];
    const float *mask; /* of the first query, or NULL */
};

struct loops {
    const char *name;
    enum gr_dtype packed;
    float base; /* scores are multiplied by it: softmax takes its exponentials to another base */
    /* All keys of a head, from x on, and all its values. */
    void (*pack_keys)(const struct attention *a, const void *x, void *y);
    void (*pack_values)(const struct attention *a, const void *x, void *y);
    /* scores = q keys */
    void (*score)(const struct attention *a, struct block *b);
    /* shares = exp(scores - the largest), inverse = 1 / their sum */
    void (*soften)(const struct attention *a, struct block *b);
    /* y = inverse shares values, as many as wanted */
    void (*sum)(const struct attention *a, const struct block *b, char *y);
};

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static int64_t padded_keys(const struct attention *a)
{
    return round_up(a->at.keys, COLUMNS);
}

static int64_t rows_step(const struct attention *a)
{
    return a->packed == GR_BF16 ? padded_keys(a) / 2 : padded_keys(a);
}

/* ---- for any processor: packed in fp32 ------------------------------------------------------- */

/* (rows, columns) of x into panels of columns, the steps between both given in elements. */
static void pack_any(const struct attention *a, const void *x, int64_t rows, int64_t row_step,
                     int64_t columns, int64_t column_step, float *y)
{
    for (int64_t c = 0; c < columns; c += COLUMNS, y += rows * COLUMNS) {
        const int n = (int)(columns - c < COLUMNS ? columns - c : COLUMNS);
        for (int64_t r = 0; r < rows; r++) {
            vec_load(a->in, y + r * COLUMNS, x, r * row_step + c * column_step, column_step, n);
            memset(y + r * COLUMNS + n, 0, (size_t)(COLUMNS - n) * sizeof *y);
        }
    }
}

static void pack_keys_any(const struct attention *a, const void *x, void *y)
{
    pack_any(a, x, a->at.width, a->at.k.step[3], a->at.keys, a->at.k.step[2], y);
}

static void pack_values_any(const struct attention *a, const void *x, void *y)
{
    pack_any(a, x, a->at.keys, a->at.v.step[2], a->at.out_width, a->at.v.step[3], y);
}

static void sums_any(int64_t k, const float *x, const float *w, float *sums)
{
    float acc[COLUMNS] = {0};
    for (int64_t i = 0; i < k; i++)
        for (int c = 0; c < COLUMNS; c++)
            acc[c] += x[i] * w[i * COLUMNS + c];
    memcpy(sums, acc, sizeof acc);
}

static void score_any(const struct attention *a, struct block *b)
{
    const float *keys = b->keys;
    const int64_t step = padded_keys(a);
    for (int64_t c = 0; c < step; c += COLUMNS, keys += a->key_rows * COLUMNS)
        for (int r = 0; r < b->rows; r++)
            sums_any(a->at.width, (const float *)b->q + r * a->key_rows, keys,
                     b->scores + r * step + c);
}

static void soften_any(const struct attention *a, struct block *b)
{
    const int n = (int)a->at.keys;
    const struct gr_act scale = {GR_ACT_LINEAR, a->scale, 0};
    for (int r = 0; r < b->rows; r++) {
        float *s = b->scores + r * padded_keys(a);
        vec_act(&scale, s, n);
        for (int i = 0; b->mask && r < b->wanted && i < n; i++)
            s[i] += b->mask[r * a->at.mask.step[2] + i * a->at.mask.step[3]];
        b->inverse[r] = 1 / vec_exp_sum(s, vec_largest(s, n), n);
    }
}

static void sum_any(const struct attention *a, const struct block *b, char *y)
{
    const float *values = b->values;
    for (int64_t c = 0; c < a->at.out_width; c += COLUMNS, values += a->value_rows * COLUMNS) {
        const int n = (int)(a->at.out_width - c < COLUMNS ? a->at.out_width - c : COLUMNS);
        for (int r = 0; r < b->wanted; r++) {
            float sums[COLUMNS];
            sums_any(a->at.keys, b->scores + r * padded_keys(a), values, sums);
            vec_act(&(struct gr_act){GR_ACT_LINEAR, b->inverse[r], 0}, sums, n);
            vec_store(a->out, y, r * a->at.y.step[2] + c, sums, n);
        }
    }
}

static const struct loops loops_any = {"attention",     GR_F32,    1,          pack_keys_any,
                                       pack_values_any, score_any, soften_any, sum_any};

/* ---- with AVX-512 ---------------------------------------------------------------------------- */

#ifdef __x86_64__
#include "cpu/panel_sums.h"

#define TARGET ZMM_TARGET
#define INLINE ZMM_INLINE

/* 16 rows of 16 words become columns; words are 4 bytes, steps in words. */
INLINE void transpose_words(__m512i v[16])
{
    __m512i t[16];
    _Pragma("GCC unroll 8") for (int i = 0; i < 16; i += 2)
    {
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    _Pragma("GCC unroll 4") for (int i = 0; i < 16; i += 4)
    {
        v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* v[4 i + k] has column 4 j + k of rows 4 i on in its part j. */
    _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++)
    {
        const __m512i a = _mm512_shuffle_i32x4(v[k], v[4 + k], 0x88),
                      b = _mm512_shuffle_i32x4(v[k], v[4 + k], 0xdd),
                      c = _mm512_shuffle_i32x4(v[8 + k], v[12 + k], 0x88),
                      d = _mm512_shuffle_i32x4(v[8 + k], v[12 + k], 0xdd);
        t[k] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[4 + k] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[8 + k] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[12 + k] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
    memcpy(v, t, sizeof t);
}

/* `words` of each key become a column. */
TARGET static void pack_key_words(int64_t words, int64_t keys, const char *x, int64_t step,
                                  uint32_t *y)
{
    for (int64_t c = 0; c < round_up(keys, COLUMNS); c += 16)
        for (int64_t w = 0; w < words; w += 16) {
            const __mmask16 m = words - w < 16 ? (1 << (words - w)) - 1 : 0xffff;
            uint32_t *to = y + (c / COLUMNS * words + w) * COLUMNS + c % COLUMNS;
            __m512i v[16];
            _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++) v[i] =
                c + i < keys ? _mm512_maskz_loadu_epi32(m, x + (c + i) * step + w * 4)
                             : _mm512_setzero_si512();
            transpose_words(v);
            for (int i = 0; i < 16 && w + i < words; i++)
                _mm512_store_si512(to + i * COLUMNS, v[i]);
        }
}

static void pack_keys_f32(const struct attention *a, const void *x, void *y)
{
    if (a->at.k.step[3] == 1)
        pack_key_words(a->at.width, a->at.keys, x, a->at.k.step[2] * 4, y);
    else
        pack_keys_any(a, x, y);
}

/* (rows, columns) of bf16 into panels of columns, pairs of rows as neighbours. */
static void pack_pairs(const uint16_t *x, int64_t rows, int64_t row_step, int64_t columns,
                       int64_t column_step, uint16_t *y)
{
    const int64_t pairs = (rows + 1) / 2;
    for (int64_t c = 0; c < round_up(columns, COLUMNS); c++) {
        uint16_t *to = y + (c / COLUMNS * pairs * COLUMNS + c % COLUMNS) * 2;
        for (int64_t r = 0; r < 2 * pairs; r++)
            to[r / 2 * COLUMNS * 2 + r % 2] =
                r < rows && c < columns ? x[r * row_step + c * column_step] : 0;
    }
}

static void pack_keys_pairs(const struct attention *a, const void *x, void *y)
{
    const struct gr_attention_views *at = &a->at;
    if (at->k.step[3] == 1 && at->width % 2 == 0)
        pack_key_words(at->width / 2, at->keys, x, at->k.step[2] * 2, y);
    else
        pack_pairs(x, at->width, at->k.step[3], at->keys, at->k.step[2], y);
}

TARGET static void pack_values_pairs(const struct attention *a, const void *x, void *y)
{
    const struct gr_attention_views *at = &a->at;
    const uint16_t *v = x;
    uint32_t *to = y;
    if (at->v.step[3] != 1) {
        pack_pairs(x, at->keys, at->v.step[2], at->out_width, at->v.step[3], y);
        return;
    }
    for (int64_t c = 0; c < at->out_width; c += 16) {
        const int64_t n = at->out_width - c;
        const __mmask16 m = n < 16 ? (1 << n) - 1 : 0xffff;
        uint32_t *w = to + c / COLUMNS * a->value_rows * COLUMNS + c % COLUMNS;
        for (int64_t r = 0; r < at->keys; r += 2, w += COLUMNS) {
            const uint16_t *even = v + r * at->v.step[2] + c;
            const __m256i lo = _mm256_maskz_loadu_epi16(m, even),
                          hi =
                              _mm256_maskz_loadu_epi16(r + 1 < at->keys ? m : 0,
                                                       r + 1 < at->keys ? even + at->v.step[2] : v);
            _mm512_store_si512(w,
                               _mm512_or_si512(_mm512_cvtepu16_epi32(lo),
                                               _mm512_slli_epi32(_mm512_cvtepu16_epi32(hi), 16)));
            if (n <= 16 && c % COLUMNS == 0) /* the panel's other half */
                _mm512_store_si512(w + 16, _mm512_setzero_si512());
        }
    }
}

/* Not `wide`: of the first 16 columns only. */
INLINE void sums_v4(bool pairs, bool wide, const int rows, int64_t k, const void *x, int64_t x_step,
                    const void *w, __m512 acc[ROWS][2])
{
    PANEL_UNROLL for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    if (pairs)
        panel_sums_bf16(rows, wide, k, x, x_step * 4, w, acc);
    else
        panel_sums(rows, wide, k, x, x_step, w, acc);
}

INLINE void score_rows(bool pairs, const int rows, const struct attention *a, struct block *b)
{
    const int64_t step = padded_keys(a), panel = a->key_rows * COLUMNS;
    const __m512 scale = _mm512_set1_ps(a->scale * a->loops->base);
    for (int64_t c = 0; c < step; c += COLUMNS) {
        const float *keys = (const float *)b->keys + c / COLUMNS * panel;
        __m512 acc[ROWS][2];
        if (a->at.keys - c > COLUMNS / 2)
            sums_v4(pairs, true, rows, a->at.width, b->q, a->key_rows, keys, acc);
        else
            sums_v4(pairs, false, rows, a->at.width, b->q, a->key_rows, keys, acc);
        PANEL_UNROLL for (int r = 0; r < rows; r++)
        {
            _mm512_store_ps(b->scores + r * step + c, _mm512_mul_ps(acc[r][0], scale));
            _mm512_store_ps(b->scores + r * step + c + 16, _mm512_mul_ps(acc[r][1], scale));
        }
    }
}

#define FEW(r) _Pragma("GCC unroll 4") for (int r = 0; r < ROW_STEP; r++)

/* 2 to the power of x, to about a unit in the last place; 0 below -150, NaN stays. */
INLINE __m512 exp2_v4(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-150), x);
    const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                 f = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(1.5403530e-4f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.3333558e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6181291e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504109e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, n);
}

TARGET static void add_mask(const struct attention *a, const struct block *b, int r)
{
    float *s = b->scores + r * padded_keys(a);
    const float *mask = b->mask + r * a->at.mask.step[2];
    const int64_t step = a->at.mask.step[3];
    for (int64_t i = 0; i < a->at.keys; i++)
        s[i] += a->loops->base * mask[i * step];
}

/* ROW_STEP rows at once, as each has to wait for itself. */
INLINE void soften_few(bool pairs, const struct attention *a, struct block *b, int first)
{
    const int64_t width = padded_keys(a);
    float *s = b->scores + first * width;
    uint16_t *shares = (uint16_t *)b->shares + first * width;
    __m512 top[ROW_STEP], sum[ROW_STEP];
    for (int r = 0; r < ROW_STEP; r++)
        for (int64_t i = a->at.keys; i < width; i++) /* no keys there */
            s[r * width + i] = -INFINITY;
    FEW(r) top[r] = _mm512_load_ps(s + r * width);
    for (int64_t i = 16; i < width; i += 16)
        FEW(r) top[r] = _mm512_max_ps(top[r], _mm512_load_ps(s + r * width + i));
    FEW(r)
    {
        top[r] = _mm512_set1_ps(_mm512_reduce_max_ps(top[r]));
        sum[r] = _mm512_setzero_ps();
    }
    for (int64_t i = 0; i < width; i += 16)
        FEW(r)
        {
            const __m512 e = exp2_v4(_mm512_sub_ps(_mm512_load_ps(s + r * width + i), top[r]));
            sum[r] = _mm512_add_ps(sum[r], e);
            if (pairs)
                _mm256_storeu_si256((__m256i *)(void *)(shares + r * width + i),
                                    (__m256i)_mm512_cvtneps_pbh(e));
            else
                _mm512_store_ps(s + r * width + i, e);
        }
    FEW(r) b->inverse[first + r] = 1 / _mm512_reduce_add_ps(sum[r]);
}

INLINE void soften_v4(bool pairs, const struct attention *a, struct block *b)
{
    for (int r = 0; b->mask && r < b->wanted; r++)
        add_mask(a, b, r);
    for (int r = 0; r < b->rows; r += ROW_STEP)
        soften_few(pairs, a, b, r);
}

INLINE void sum_rows(bool pairs, const int rows, const struct attention *a, const struct block *b,
                     char *y)
{
    const int64_t panel = a->value_rows * COLUMNS;
    for (int64_t c = 0; c < a->at.out_width; c += COLUMNS) {
        const int64_t n = a->at.out_width - c;
        const __mmask32 m = n < COLUMNS ? ((__mmask32)1 << n) - 1 : ~(__mmask32)0;
        __m512 acc[ROWS][2];
        sums_v4(pairs, true, rows, a->at.keys, pairs ? b->shares : b->scores, rows_step(a),
                (const float *)b->values + c / COLUMNS * panel, acc);
        PANEL_UNROLL for (int r = 0; r < rows; r++)
        {
            const __m512 inverse = _mm512_set1_ps(b->inverse[r]),
                         s0 = _mm512_mul_ps(acc[r][0], inverse),
                         s1 = _mm512_mul_ps(acc[r][1], inverse);
            const int64_t at = r * a->at.y.step[2] + c;
            if (r >= b->wanted)
                continue;
            if (a->out == GR_BF16) {
                _mm512_mask_storeu_epi16((uint16_t *)y + at, m,
                                         (__m512i)_mm512_cvtne2ps_pbh(s1, s0));
            } else {
                _mm512_mask_storeu_ps((float *)y + at, (__mmask16)m, s0);
                _mm512_mask_storeu_ps((float *)y + at + 16, (__mmask16)(m >> 16), s1);
            }
        }
    }
}

/* DO(rows), rows being a constant, so that all sums stay in registers. */
#define BY_ROWS(rows, DO)                                                                          \
    do {                                                                                           \
        if ((rows) == 12)                                                                          \
            DO(12);                                                                                \
        else if ((rows) == 8)                                                                      \
            DO(8);                                                                                 \
        else                                                                                       \
            DO(4);                                                                                 \
    } while (0)
#define SCORE_F32(N)   score_rows(false, N, a, b)
#define SCORE_PAIRS(N) score_rows(true, N, a, b)
#define SUM_F32(N)     sum_rows(false, N, a, b, y)
#define SUM_PAIRS(N)   sum_rows(true, N, a, b, y)

TARGET static void score_f32(const struct attention *a, struct block *b)
{
    BY_ROWS(b->rows, SCORE_F32);
}

TARGET static void score_pairs(const struct attention *a, struct block *b)
{
    BY_ROWS(b->rows, SCORE_PAIRS);
}

TARGET static void soften_f32(const struct attention *a, struct block *b)
{
    soften_v4(false, a, b);
}

TARGET static void soften_pairs(const struct attention *a, struct block *b)
{
    soften_v4(true, a, b);
}

TARGET static void sum_f32(const struct attention *a, const struct block *b, char *y)
{
    BY_ROWS(b->rows, SUM_F32);
}

TARGET static void sum_pairs(const struct attention *a, const struct block *b, char *y)
{
    BY_ROWS(b->rows, SUM_PAIRS);
}

#define LOG2_E 1.44269504f
static const struct loops loops_f32 = {"attention:avx512", GR_F32,    LOG2_E,     pack_keys_f32,
                                       pack_values_any,    score_f32, soften_f32, sum_f32},
                          loops_pairs = {
                              "attention:avx512_bf16", GR_BF16,     LOG2_E,       pack_keys_pairs,
                              pack_values_pairs,       score_pairs, soften_pairs, sum_pairs};

static const struct loops *best_loops(bool bf16)
{
    return !gr_cpu_has_fast_bf16() ? &loops_any : bf16 ? &loops_pairs : &loops_f32;
}
#else
static const struct loops *best_loops(bool bf16)
{
    (void)bf16;
    return &loops_any;
}
#endif

/* ---- the heads in turn ----------------------------------------------------------------------- */

/* (n, width) of x, whose steps are those of `at`, as (n, row_step) of what is packed. */
static void pack_rows(const struct attention *a, const void *x, const struct gr_strided *at,
                      int64_t n, int64_t width, float *y, int64_t row_step)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = i * at->step[2];
        if (a->packed == GR_F32)
            vec_load(a->in, y + i * row_step, x, from, at->step[3], (int)width);
        else
            for (int64_t k = 0; k < width; k++)
                ((uint16_t *)(y + i * row_step))[k] = ((const uint16_t *)x)[from + k * at->step[3]];
    }
}

static const void *at(const struct attention *a, const void *x, const struct gr_strided *s,
                      int64_t batch, int64_t head)
{
    const int64_t i = s->offset + batch * s->step[0] + head * s->step[1];
    return (const char *)x + i * (int64_t)gr_dtype_size(a->in);
}

/* A part of the queries of one head. */
static void attend(const struct attention *a, const void *const *in, void *out, int64_t task,
                   float *memory)
{
    const struct gr_attention_views *g = &a->at;
    const int64_t head = task / a->parts, from = task % a->parts * a->part,
                  end = from + a->part < g->queries ? from + a->part : g->queries,
                  i = head / g->heads, k = head % g->heads;
    float *keys = memory, *values = keys + a->keys, *queries = values + a->values,
          *scores = queries + a->queries;
    const char *q = at(a, in[0], &g->q, i, k);
    const float *mask =
        a->masked ? (const float *)in[3] + i * g->mask.step[0] + k * g->mask.step[1] : NULL;
    char *y = (char *)out +
              (g->y.offset + i * g->y.step[0] + k * g->y.step[1]) * (int64_t)gr_dtype_size(a->out);
    struct block b = {.q = queries,
                      .keys = keys,
                      .values = values,
                      .scores = scores,
                      .shares = scores + a->scores};
    memset(queries, 0, (size_t)a->queries * sizeof *queries);
    a->loops->pack_keys(a, at(a, in[1], &g->k, i, k), keys);
    a->loops->pack_values(a, at(a, in[2], &g->v, i, k), values);
    for (int64_t r = from; r < end; r += ROWS) {
        b.wanted = (int)(end - r < ROWS ? end - r : ROWS);
        pack_rows(a, q + r * g->q.step[2] * (int64_t)gr_dtype_size(a->in), &g->q, b.wanted,
                  g->width, queries, a->key_rows);
        b.rows = (int)round_up(b.wanted, ROW_STEP);
        b.mask = mask ? mask + r * g->mask.step[2] : NULL;
        a->loops->score(a, &b);
        a->loops->soften(a, &b);
        a->loops->sum(a, &b, y + r * g->y.step[2] * (int64_t)gr_dtype_size(a->out));
    }
}

static enum graft_status attention_forward(const void *state, void *bound, const void *const *in,
                                           void *const *out, void *scratch, struct graft_error *err)
{
    const struct attention *a = state;
    (void)bound;
    (void)err;
#pragma omp parallel for num_threads(a->n_threads) schedule(static)
    for (int64_t i = 0; i < a->at.batch * a->at.heads * a->parts; i++)
        attend(a, in, out[0], i, (float *)scratch + omp_get_thread_num() * a->all);
    return GRAFT_OK;
}

static enum graft_status attention_plan(const struct gr_case *c, struct gr_choice *k,
                                        struct graft_error *err)
{
    struct attention d = {.n_threads = omp_get_max_threads(),
                          .in = c->bf16 ? GR_BF16 : GR_F32,
                          .out = c->bf16 && !c->f32_out ? GR_BF16 : GR_F32};
    struct gr_attention node;
    const struct gr_attention_views *g = &d.at;
    gr_attention_read(c->node, &node);
    d.at = node.at;
    d.scale = node.scale;
    d.masked = node.masked;
    if (c->add || c->n_acts || g->y.step[3] != 1 || g->keys > 1 << 20)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "not plain attention");
    d.loops = best_loops(c->bf16);
    d.packed = d.loops->packed;
    const int64_t per = d.packed == GR_BF16 ? 2 : 1, heads = g->batch * g->heads;
    d.parts = (d.n_threads + heads - 1) / heads;
    d.part = round_up((g->queries + d.parts - 1) / d.parts, ROWS);
    d.parts = (g->queries + d.part - 1) / d.part;
    d.key_rows = (g->width + per - 1) / per;
    d.value_rows = (g->keys + per - 1) / per;
    d.keys = padded_keys(&d) * d.key_rows;
    d.values = round_up(g->out_width, COLUMNS) * d.value_rows;
    d.queries = round_up(ROWS * d.key_rows, 16);
    d.scores = ROWS * padded_keys(&d);
    d.all = d.keys + d.values + d.queries + d.scores + (per == 2 ? d.scores / 2 : 0);
    struct attention *state = gr_alloc(sizeof *state);
    if (!state)
        return gr_error_nomem(err);
    *state = d;
    for (int i = 0; i < 3; i++)
        k->in[i] = (struct gr_layout){d.in, false};
    if (d.masked)
        k->in[3] = (struct gr_layout){GR_F32, false};
    k->out[0] = (struct gr_layout){d.out, false};
    k->state = state;
    k->impl = d.loops->name;
    k->scratch_size = (size_t)(d.n_threads * d.all) * sizeof(float);
    return GRAFT_OK;
}

static const char *const ops[] = {"Attention", NULL};
const struct gr_kernel gr_kernel_attention = {.name = "attention",
                                              .ops = ops,
                                              .plan = attention_plan,
                                              .forward = attention_forward,
                                              .unplan = gr_free};
