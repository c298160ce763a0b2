/* How far do the numbers of a value reach, and which of them are worth 8 bits? */
#include "exec/ranges.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

void gr_ranges_clear(struct gr_ranges *r)
{
    for (size_t i = 0; i < r->n; i++)
        gr_free(r->items[i].value);
    gr_free(r->items);
    *r = (struct gr_ranges){0};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct gr_range *)a)->value, ((const struct gr_range *)b)->value);
}

void gr_ranges_sort(struct gr_ranges *r)
{
    if (r->n)
        qsort(r->items, r->n, sizeof *r->items, by_name);
}

const struct gr_range *gr_ranges_find(const struct gr_ranges *r, const char *value)
{
    const struct gr_range key = {.value = (char *)(uintptr_t)value};
    return r->n ? bsearch(&key, r->items, r->n, sizeof *r->items, by_name) : NULL;
}

struct gr_quant gr_range_quant(const struct gr_range *r)
{
    return r->below ? (struct gr_quant){GR_I8, r->high / 127}
                    : (struct gr_quant){GR_U8, r->high / 255};
}

/* Room for values up to `largest`: bins become wider by powers of two. */
static void widen(struct gr_histogram *h, float largest)
{
    if (h->width == 0) {
        int exponent;
        frexpf(largest, &exponent); /* largest < 2^exponent */
        h->width = fmaxf(ldexpf(2.0f / GR_RANGE_BINS, exponent), 0x1p-126f);
    }
    while (largest / h->width >= GR_RANGE_BINS) {
        for (int i = 0; i < GR_RANGE_BINS; i++)
            h->count[i] = 2 * i < GR_RANGE_BINS ? h->count[2 * i] + h->count[2 * i + 1] : 0;
        h->width *= 2;
    }
}

/* What decides how a run of numbers is counted; in integers, which compilers turn into vectors. */
struct summary {
    uint32_t largest; /* the bits of the largest finite |x| */
    bool below, odd;  /* some x < 0; some are not finite */
    size_t zeros;
};

static struct summary summarise(const float *x, size_t n)
{
    enum { INF = 0x7f800000 };
    uint32_t largest = 0, below = 0, odd = 0, zeros = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        const uint32_t size = bits & 0x7fffffff, finite = size < INF ? size : 0;
        largest = finite > largest ? finite : largest;
        below |= finite ? bits : 0;
        odd |= size >= INF;
        zeros += !size;
    }
    return (struct summary){largest, below >> 31, odd, zeros};
}

/* Numbers that are counted at a time; in turn in several tables, as neighbours are often alike and
   would wait for one another. */
enum { RUN = 1 << 16, TABLES = 4 };

static void count_run(struct gr_histogram *h, const float *x, size_t n)
{
    uint32_t count[TABLES][GR_RANGE_BINS] = {0};
    const struct summary s = summarise(x, n);
    float largest;
    memcpy(&largest, &s.largest, sizeof largest);
    if (largest == 0)
        return;
    widen(h, largest);
    h->below = h->below || s.below;
    const float per = 1 / h->width;
    for (size_t i = 0; i < n; i++)
        if (!s.odd || isfinite(x[i]))
            count[i % TABLES][(int)(fabsf(x[i]) * per)]++;
    for (int k = 0; k < TABLES; k++)
        for (int i = 0; i < GR_RANGE_BINS; i++)
            h->count[i] += count[k][i];
    h->count[0] -= (double)s.zeros;
}

void gr_histogram_add(struct gr_histogram *h, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += RUN)
        count_run(h, x + i, n - i < RUN ? n - i : RUN);
}

float gr_histogram_bound(const struct gr_histogram *h)
{
    const double steps = h->below ? 127 : 255;
    double n = 0, beyond = 0, sum = 0, square = 0; /* of those beyond the bound, in bins */
    double best = INFINITY;
    int bound = 0;
    for (int i = 0; i < GR_RANGE_BINS; i++)
        n += h->count[i];
    if (n == 0)
        return 1;
    for (int i = GR_RANGE_BINS; i > 0; i--) {
        const double at = i, step = at / steps;
        const double error =
            square - 2 * at * sum + at * at * beyond + (n - beyond) * step * step / 12;
        if (error < best) {
            best = error;
            bound = i;
        }
        const double c = h->count[i - 1], x = i - 0.5;
        beyond += c;
        sum += c * x;
        square += c * x * x;
    }
    return (float)bound * h->width;
}
