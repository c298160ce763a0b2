/* Which random numbers belong to a seed? */
#include "base/rng.h"
#include <math.h>

double gr_rng_normal(uint64_t seed, uint64_t stream, uint64_t counter)
{
    double u = 1.0 - gr_rng_uniform(seed, stream, 2 * counter);
    double v = gr_rng_uniform(seed, stream, 2 * counter + 1);
    return sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v);
}

void gr_rng_shuffle(uint64_t seed, uint64_t stream, int64_t *idx, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)gr_rng_below(seed, stream, i, i);
        int64_t t = idx[i - 1];
        idx[i - 1] = idx[j];
        idx[j] = t;
    }
}
