/* How many multiply-adds and bytes a second does this machine manage at most? */
#include "core/peak.h"
#include "base/events.h"
#include "base/mem.h"
#include "core/kernel.h"
#include "cpu/panels.h"
#include <omp.h>
#include <string.h>
#ifdef __x86_64__
#include "cpu/zmm.h"
#endif

/* Runs one block of work and returns how much it was: operations or bytes. */
typedef double work_fn(float *block, size_t size);

#define ROUNDS 512

/* `n` sums of vectors in registers, enough of them to hide how long one multiply-add takes. */
#define MULTIPLY_ADDS(name, target, lanes, n)                                                      \
    typedef float name##_vec __attribute__((vector_size(4 * (lanes)), aligned(4), may_alias));     \
    target static double name(float *block, size_t size)                                           \
    {                                                                                              \
        name##_vec sum[n], by = {0}, add = {0};                                                    \
        (void)size;                                                                                \
        by += block[0];                                                                            \
        add += block[1];                                                                           \
        for (int i = 0; i < (n); i++)                                                              \
            sum[i] = by + (float)i; /* all the same would be computed once */                      \
        for (int r = 0; r < ROUNDS; r++)                                                           \
            _Pragma("GCC unroll 24") for (int i = 0; i < (n); i++) sum[i] = sum[i] * by + add;     \
        for (int i = 1; i < (n); i++)                                                              \
            sum[0] += sum[i];                                                                      \
        *(name##_vec *)(block + 16) = sum[0];                                                      \
        return 2.0 * ROUNDS * (n) * (lanes);                                                       \
    }

MULTIPLY_ADDS(fma_base, , 4, 10)
#ifdef __x86_64__
MULTIPLY_ADDS(fma_avx2, __attribute__((target("avx2,fma"))), 8, 12)
MULTIPLY_ADDS(fma_avx512, __attribute__((target("avx512f"))), 16, 24)

/* Pairs of bf16, added up in fp32. */
__attribute__((target("avx512f,avx512bf16"))) static double bf16_avx512(float *block, size_t size)
{
    enum { N = 24 };
    __m512 sum[N];
    const __m512 first = _mm512_set1_ps(block[0]);
    const __m512bh by = _mm512_cvtne2ps_pbh(first, first);
    (void)size;
    for (int i = 0; i < N; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++)
        _Pragma("GCC unroll 24") for (int i = 0; i < N; i++) sum[i] =
            _mm512_dpbf16_ps(sum[i], by, by);
    for (int i = 1; i < N; i++)
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    _mm512_storeu_ps(block + 16, sum[0]);
    return 2.0 * ROUNDS * N * 32;
}

/* Fours of 8-bit integers, added up in 32 bits. */
ZMM_TARGET static double int8_avx512(float *block, size_t size)
{
    enum { N = 24 };
    __m512i sum[N];
    const __m512i by = _mm512_set1_epi8((char)(block[1] + 1));
    (void)size;
    _Pragma("GCC unroll 24") for (int i = 0; i < N; i++) sum[i] = _mm512_set1_epi32(i);
    for (int r = 0; r < ROUNDS; r++)
        _Pragma("GCC unroll 24") for (int i = 0; i < N; i++) sum[i] = zmm_dot_fours(sum[i], by, by);
    _Pragma("GCC unroll 24") for (int i = 1; i < N; i++) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    _mm512_storeu_si512(block + 16, sum[0]);
    return 2.0 * ROUNDS * N * 64;
}

__attribute__((target("avx2,avxvnni"))) static double int8_avx2(float *block, size_t size)
{
    enum { N = 12 };
    __m256i sum[N];
    const __m256i by = _mm256_set1_epi8((char)(block[1] + 1));
    (void)size;
    for (int i = 0; i < N; i++)
        sum[i] = _mm256_set1_epi32(i);
    for (int r = 0; r < ROUNDS; r++)
        _Pragma("GCC unroll 12") for (int i = 0; i < N; i++) sum[i] =
            _mm256_dpbusd_avx_epi32(sum[i], by, by);
    for (int i = 1; i < N; i++)
        sum[0] = _mm256_add_epi32(sum[0], sum[i]);
    _mm256_storeu_si256((void *)(block + 16), sum[0]);
    return 2.0 * ROUNDS * N * 32;
}

/* Tiles of 16 rows of 64 bytes: 2 x 2 products of 16 x 32 by 32 x 16, in 8 bits of 16 x 64. */
#define TILES(name, isa, multiply, depth_)                                                         \
    __attribute__((target("amx-tile," isa))) static double name(float *block, size_t size)         \
    {                                                                                              \
        struct tiles_state before;                                                                 \
        const struct panels whole_tiles = {.unit = PANEL_TILES, .depth = 32};                      \
        (void)block, (void)size;                                                                   \
        panels_begin(PANEL_TILES, &before);                                                        \
        panels_enter(&whole_tiles);                                                                \
        _tile_zero(0);                                                                             \
        _tile_zero(1);                                                                             \
        _tile_zero(2);                                                                             \
        _tile_zero(3);                                                                             \
        _tile_zero(4);                                                                             \
        _tile_zero(5);                                                                             \
        _tile_zero(6);                                                                             \
        _tile_zero(7);                                                                             \
        for (int r = 0; r < ROUNDS; r++) {                                                         \
            multiply(0, 4, 6);                                                                     \
            multiply(1, 4, 7);                                                                     \
            multiply(2, 5, 6);                                                                     \
            multiply(3, 5, 7);                                                                     \
        }                                                                                          \
        panels_end(PANEL_TILES, &before);                                                          \
        return 2.0 * ROUNDS * 4 * 16 * 16 * (depth_);                                              \
    }
TILES(bf16_amx, "amx-bf16", _tile_dpbf16ps, 32)
TILES(int8_amx, "amx-int8", _tile_dpbusd, 64)
#endif

static work_fn *best_fp32(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return fma_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return fma_avx2;
#endif
    return fma_base;
}

static work_fn *best_bf16(void)
{
#ifdef __x86_64__
    const enum panel_unit unit = panels_get_unit(true);
    if (unit != PANEL_NONE)
        return unit == PANEL_TILES ? bf16_amx : bf16_avx512;
#endif
    return best_fp32(); /* where bf16 is computed at all, then as fp32 */
}

static work_fn *best_int8(void)
{
#ifdef __x86_64__
    if (panels_get_unit(true) == PANEL_TILES)
        return int8_amx;
    if (__builtin_cpu_supports("avx512vnni"))
        return int8_avx512;
    if (gr_cpu_has_int8())
        return int8_avx2;
#endif
    return best_fp32();
}

/* Four vectors at a time, so that neither loop waits for its own sums. */
#define MOVES(suffix, target)                                                                      \
    target static double read_##suffix(float *block, size_t size)                                  \
    {                                                                                              \
        wide *x = (wide *)block, a = {0}, b = {0}, c = {0}, d = {0};                               \
        for (size_t i = 0; i + 4 <= size / sizeof *x; i += 4) {                                    \
            a += x[i];                                                                             \
            b += x[i + 1];                                                                         \
            c += x[i + 2];                                                                         \
            d += x[i + 3];                                                                         \
        }                                                                                          \
        *x = (a + b) + (c + d);                                                                    \
        return (double)size;                                                                       \
    }                                                                                              \
    target static double update_##suffix(float *block, size_t size)                                \
    {                                                                                              \
        wide *x = (wide *)block;                                                                   \
        for (size_t i = 0; i < size / sizeof *x; i++)                                              \
            x[i] += 1;                                                                             \
        return 2.0 * (double)size;                                                                 \
    }

typedef uint32_t wide __attribute__((vector_size(64), may_alias));
MOVES(base, )
#ifdef __x86_64__
MOVES(avx2, __attribute__((target("avx2"))))
MOVES(avx512, __attribute__((target("avx512f"))))
#endif

static void best_moves(work_fn *moves[2])
{
    moves[0] = read_base;
    moves[1] = update_base;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f")) {
        moves[0] = read_avx512;
        moves[1] = update_avx512;
    } else if (__builtin_cpu_supports("avx2")) {
        moves[0] = read_avx2;
        moves[1] = update_avx2;
    }
#endif
}

/* The best rate of one thread: blocks are repeated until they take long enough for the clock, and
   some of them must have been left alone by whoever else wants the core. */
static double rate(work_fn *fn, float *block, size_t size, double seconds)
{
    enum { LONGEST = 1 << 16, FEWEST = 8 };
    const double began = gr_seconds();
    double best = 0, now = began;
    int times = 1, n = 0;
    do {
        const double start = now;
        double work = 0;
        for (int i = 0; i < times; i++)
            work += fn(block, size);
        now = gr_seconds();
        const double took = now - start;
        if (took < 50e-6 && times < LONGEST)
            times *= 2;
        else if (took > 0 && ++n && work / took > best)
            best = work / took;
    } while (now - began < seconds || n < FEWEST);
    return best;
}

/* All threads at once. */
static double rate_of_all(work_fn *fn, float *block, size_t step, size_t size, int threads,
                          double seconds)
{
    double sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    {
        float *own = (float *)((char *)block + (size_t)omp_get_thread_num() * step);
#pragma omp barrier
        sum += rate(fn, own, size, seconds);
    }
    return sum;
}

enum graft_status gr_cpu_measure(int threads, double seconds, struct gr_peaks *p,
                                 struct graft_error *err)
{
    static const size_t sizes[GR_PEAK_SIZES] = {32 << 10, 256 << 10, 2 << 20,
                                                8 << 20,  24 << 20,  64 << 20};
    const size_t room = (size_t)512 << 20, share = room / (size_t)threads / 4096 * 4096;
    const size_t step = share < sizes[GR_PEAK_SIZES - 1] ? share : sizes[GR_PEAK_SIZES - 1];
    work_fn *moves[2];
    if (step < sizes[0])
        return gr_error(err, GRAFT_E_LIMIT, "%d threads", threads);
    float *block = gr_alloc_aligned(step * (size_t)threads, true);
    if (!block)
        return gr_error_nomem(err);
    struct gr_peaks peaks = {.threads = threads};
    for (int t = 0; t < threads; t++) { /* numbers that neither grow nor become denormal */
        float *own = (float *)((char *)block + (size_t)t * step);
        own[0] = 0.5f;
        own[1] = 1;
    }
    peaks.fp32 = rate_of_all(best_fp32(), block, step, step, threads, seconds);
    peaks.bf16 = rate_of_all(best_bf16(), block, step, step, threads, seconds);
    peaks.int8 = rate_of_all(best_int8(), block, step, step, threads, seconds);
    best_moves(moves);
    for (int i = 0; i < GR_PEAK_SIZES; i++) {
        peaks.size[i] = sizes[i] < step ? sizes[i] : step;
        for (int k = 0; k < 2; k++) {
            double r = rate_of_all(moves[k], block, step, peaks.size[i], threads, seconds / 2);
            peaks.bytes[i] = r > peaks.bytes[i] ? r : peaks.bytes[i];
        }
    }
    gr_free_aligned(block);
    *p = peaks;
    return GRAFT_OK;
}
