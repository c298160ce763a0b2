/* How are rows resized with AVX-512? */
#include "base/mem.h"
#include "data/resize_passes.h"
#include <string.h>

/* Sixteen sums are three colours of five, and one that nobody wants: of five neighbouring outputs,
   a tap at a time, while 64 bytes hold that tap of all five; else of five taps of one output, added
   up in the end. */
#define FIVE  5
#define LANES 16

/* Do 64 bytes hold the first taps of every five outputs? */
static bool is_close(const struct gr_taps *t, int n)
{
    for (int i = 0; i < n; i += FIVE) {
        int last = i + FIVE < n ? i + FIVE - 1 : n - 1;
        if (3 * (t->first[last] - t->first[i]) + 3 > 64)
            return false;
    }
    return true;
}

/* For each five outputs a vector that says where their first taps lie, in its spare lane how many
   taps they have at most; then a vector of weights for each tap. */
enum graft_status gr_taps_spread(struct gr_taps *t, int n, struct graft_error *err)
{
    const size_t blocks = (size_t)(n + FIVE - 1) / FIVE, vectors = (size_t)t->most + 1;
    size_t size;
    t->close = is_close(t, n);
    if (!t->close)
        return GRAFT_OK;
    if (!gr_mul_size(blocks * vectors, LANES * sizeof *t->spread, &size))
        return gr_error_nomem(err);
    if (t->cap_spread < size) {
        gr_free_aligned(t->spread);
        t->cap_spread = 0;
        t->spread = gr_alloc_aligned(size, false);
        if (!t->spread)
            return gr_error_nomem(err);
        t->cap_spread = size;
    }
    memset(t->spread, 0, size);
    for (int i = 0; i < n; i++) {
        const int32_t *w = t->weight + (size_t)i * (size_t)t->most;
        int32_t *block = t->spread + (size_t)(i / FIVE) * vectors * LANES;
        int32_t *to = block + 3 * (i % FIVE);
        for (int c = 0; c < 3; c++)
            to[c] = 3 * (t->first[i] - t->first[i - i % FIVE]) + c;
        if (block[LANES - 1] < t->n[i])
            block[LANES - 1] = t->n[i];
        for (int k = 0; k < t->n[i]; k++) {
            to += LANES;
            to[0] = to[1] = to[2] = w[k];
        }
    }
    return GRAFT_OK;
}

#ifdef __x86_64__
#include <immintrin.h>
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))

bool gr_resize_has_avx512(void)
{
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi");
}

#define HALF (1 << (GR_TAPS_PRECISION - 1))

TARGET static void five_across(const int32_t *spread, const uint8_t *in, size_t in_stride, int rows,
                               uint8_t *out, size_t out_stride)
{
    const __mmask64 low = 0x1111111111111111; /* of each sum's four bytes */
    const __m512i at = _mm512_load_si512(spread);
    const int count = spread[LANES - 1];
    for (int y = 0; y < rows; y++, in += in_stride, out += out_stride) {
        __m512i sum = _mm512_set1_epi32(HALF);
        for (int k = 0; k < count; k++) {
            __m512i v = _mm512_maskz_permutexvar_epi8(low, at, _mm512_loadu_si512(in + 3 * k));
            __m512i w = _mm512_load_si512(spread + (k + 1) * LANES);
            sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(v, w));
        }
        sum = _mm512_max_epi32(_mm512_srai_epi32(sum, GR_TAPS_PRECISION), _mm512_setzero_si512());
        _mm_storeu_si128((__m128i *)out, _mm512_cvtusepi32_epi8(sum));
    }
}

TARGET static void row_by_taps(const struct gr_taps *t, const uint8_t *in, int n, uint8_t *out)
{
    const __m512i thrice = _mm512_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5);
    const __m512i zero = _mm512_setzero_si512();
    for (int i = 0; i < n; i++, out += 3) {
        const uint8_t *p = in + 3 * (size_t)t->first[i];
        const int32_t *weight = t->weight + (size_t)i * (size_t)t->most;
        __m512i s = zero;
        for (int k = 0; k < t->n[i]; k += FIVE, p += 3 * FIVE, weight += FIVE) {
            const int left = t->n[i] - k < FIVE ? t->n[i] - k : FIVE;
            __m512i w = _mm512_maskz_loadu_epi32((__mmask16)((1 << left) - 1), weight);
            __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
            w = _mm512_permutexvar_epi32(thrice, w);
            s = _mm512_add_epi32(s, _mm512_mullo_epi32(v, w));
        }
        __m512i twice = _mm512_add_epi32(s, _mm512_alignr_epi32(zero, s, 6));
        __m512i four = _mm512_add_epi32(twice, _mm512_alignr_epi32(zero, twice, 3));
        __m512i all = _mm512_add_epi32(four, _mm512_alignr_epi32(zero, s, 12));
        __m128i v = _mm_add_epi32(_mm512_castsi512_si128(all), _mm_set1_epi32(HALF));
        v = _mm_max_epi32(_mm_srai_epi32(v, GR_TAPS_PRECISION), _mm_setzero_si128());
        _mm_storeu_si32(out, _mm_cvtusepi32_epi8(v));
    }
}

TARGET void gr_rows_across_avx512(const struct gr_taps *t, const uint8_t *in, size_t in_stride,
                                  int rows, int n, uint8_t *out, size_t out_stride)
{
    enum { TILE = 16 }; /* rows that stay in the L1 cache */
    for (int y = 0; y < rows && t->close; y += TILE) {
        const int32_t *w = t->spread;
        for (int i = 0; i < n; i += FIVE, w += (t->most + 1) * LANES)
            five_across(w, in + (size_t)y * in_stride + 3 * (size_t)t->first[i], in_stride,
                        rows - y < TILE ? rows - y : TILE,
                        out + (size_t)y * out_stride + 3 * (size_t)i, out_stride);
    }
    for (int y = 0; y < rows && !t->close; y++)
        row_by_taps(t, in + (size_t)y * in_stride, n, out + (size_t)y * out_stride);
}

TARGET void gr_row_down_avx512(const uint8_t *rows, size_t stride, const int32_t *weight, int count,
                               size_t n, uint8_t *out)
{
    /* packing works within quarters of a vector; this puts them in order */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (size_t at = 0; at < n; at += 64) {
        __m512i s[4];
        for (int i = 0; i < 4; i++)
            s[i] = _mm512_set1_epi32(HALF);
        const uint8_t *p = rows + at;
        for (int k = 0; k < count; k++, p += stride) {
            const __m512i w = _mm512_set1_epi32(weight[k]);
            for (int i = 0; i < 4; i++) {
                __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(p + 16 * i)));
                s[i] = _mm512_add_epi32(s[i], _mm512_mullo_epi32(v, w));
            }
        }
        for (int i = 0; i < 4; i++)
            s[i] = _mm512_srai_epi32(s[i], GR_TAPS_PRECISION);
        __m512i v =
            _mm512_packus_epi16(_mm512_packs_epi32(s[0], s[1]), _mm512_packs_epi32(s[2], s[3]));
        v = _mm512_permutexvar_epi32(order, v);
        if (n - at >= 64)
            _mm512_storeu_si512(out + at, v);
        else
            _mm512_mask_storeu_epi8(out + at, ((__mmask64)1 << (n - at)) - 1, v);
    }
}
#else
bool gr_resize_has_avx512(void)
{
    return false;
}
void gr_rows_across_avx512(const struct gr_taps *t, const uint8_t *in, size_t in_stride, int rows,
                           int n, uint8_t *out, size_t out_stride)
{
    (void)t, (void)in, (void)in_stride, (void)rows, (void)n, (void)out, (void)out_stride;
}
void gr_row_down_avx512(const uint8_t *rows, size_t stride, const int32_t *weight, int count,
                        size_t n, uint8_t *out)
{
    (void)rows, (void)stride, (void)weight, (void)count, (void)n, (void)out;
}
#endif
