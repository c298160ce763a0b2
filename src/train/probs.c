/* How do scores become probabilities, a row at a time and fast? */
#include "train/probs.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

#define ISA(name) base_##name
#define TARGET
#define LANES 4
#include "train/probs_lanes.h"

#ifdef __x86_64__
#define ISA(name) avx2_##name
#define TARGET    __attribute__((target("avx2,fma")))
#define LANES     8
#include "train/probs_lanes.h"

#define ISA(name) avx512_##name
#define TARGET    __attribute__((target("avx512f")))
#define LANES     16
#include "train/probs_lanes.h"
#endif

double gr_probs_row(enum gr_gemm_isa isa, size_t ld, float *z, const float *bias, int label,
                    double weight, size_t *top)
{
    switch (isa) {
#ifdef __x86_64__
    case GR_GEMM_AVX512:
        return avx512_row(ld, z, bias, label, weight, top);
    case GR_GEMM_AVX2:
        return avx2_row(ld, z, bias, label, weight, top);
#endif
    default:
        return base_row(ld, z, bias, label, weight, top);
    }
}
