/* As many numbers at once as a register of the processor compiled for holds, in plain C with vector
   types. Passed by pointer, as such registers are not everywhere arguments; all of it is inlined.
 */
#ifndef GR_CPU_LANES_H
#define GR_CPU_LANES_H

#include "cpu/train_util.h"

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes_mask __attribute__((vector_size(4 * LANES))); /* 0 or -1, as == gives */
typedef uint32_t lanes_bits __attribute__((vector_size(4 * LANES)));
typedef uint16_t lanes_half __attribute__((vector_size(2 * LANES)));

TRAIN_INLINE void lanes_load(enum gr_dtype t, lanes *y, const void *p, int64_t i)
{
    if (t == GR_F32) {
        memcpy(y, (const float *)p + i, sizeof *y);
        return;
    }
    lanes_half h;
    memcpy(&h, (const uint16_t *)p + i, sizeof h);
    *y = (lanes)(__builtin_convertvector(h, lanes_bits) << 16);
}

/* y where the mask is set, else 0. */
TRAIN_INLINE void lanes_keep(lanes *y, const lanes_mask *m)
{
    *y = (lanes)((lanes_mask)*y & *m);
}

TRAIN_INLINE void lanes_choose(lanes *y, const lanes_mask *m, const lanes *other)
{
    *y = (lanes)(((lanes_mask)*y & ~*m) | ((lanes_mask)*other & *m));
}

/* Rounds to nearest even as train_store does; a NaN stays one. */
TRAIN_INLINE void lanes_store(enum gr_dtype t, void *p, int64_t i, const lanes *x)
{
    if (t == GR_F32) {
        memcpy((float *)p + i, x, sizeof *x);
        return;
    }
    lanes_bits u = (lanes_bits)*x, r = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    lanes_bits nan = (lanes_bits)(*x != *x);
    r = (r & ~nan) | ((u >> 16 | 0x40) & nan);
    lanes_half h = __builtin_convertvector(r, lanes_half);
    memcpy((uint16_t *)p + i, &h, sizeof h);
}

#endif
