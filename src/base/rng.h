/* Counter-based random numbers: each is a pure function of (seed, stream, counter), so any run can
   be resumed anywhere. The mixer is SplitMix64's (Steele, Lea, Flood 2014). */
#ifndef GR_BASE_RNG_H
#define GR_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t gr_rng_mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t gr_rng_u64(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return gr_rng_mix(gr_rng_mix(gr_rng_mix(seed) ^ stream) ^ counter);
}

/* Uniform in [0, 1) with 53 bits. */
static inline double gr_rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return (double)(gr_rng_u64(seed, stream, counter) >> 11) * 0x1p-53;
}

/* Uniform in 0..n-1 (n > 0); the bias of the multiply-shift method is below 2^-32 for n < 2^32. */
static inline uint64_t gr_rng_below(uint64_t seed, uint64_t stream, uint64_t counter, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)gr_rng_u64(seed, stream, counter) * n) >> 64);
}

/* Standard normal (Box-Muller); uses counters 2c and 2c+1. */
double gr_rng_normal(uint64_t seed, uint64_t stream, uint64_t counter);

/* Shuffles idx[0..n-1] in place (Fisher-Yates). */
void gr_rng_shuffle(uint64_t seed, uint64_t stream, int64_t *idx, size_t n);

#endif
