/* A row of scores for one instruction set. probs.c includes this once per set, after defining
   ISA(name), the attribute TARGET and the vector length LANES. */
typedef float ISA(vec) __attribute__((vector_size(4 * LANES)));
typedef float ISA(mem) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t ISA(bits) __attribute__((vector_size(4 * LANES)));

#define VEC  ISA(vec)
#define BITS ISA(bits)
#define MEM  ISA(mem)

static TARGET double ISA(row)(size_t ld, float *z, const float *bias, int label, double weight,
                              size_t *top)
{
    VEC high = *(const MEM *)z + *(const MEM *)bias, sum = {0};
    float lane[LANES], max;
    for (size_t c = 0; c < ld; c += LANES) {
        VEC v = *(const MEM *)(z + c) + *(const MEM *)(bias + c);
        BITS more = (BITS)(v > high);
        high = (VEC)(((BITS)v & more) | ((BITS)high & ~more));
        *(MEM *)(z + c) = v;
    }
    memcpy(lane, &high, sizeof lane);
    max = lane[0];
    for (size_t l = 1; l < LANES; l++)
        max = lane[l] > max ? lane[l] : max;
    double loss = (double)max - z[label], total = 0;
    if (top) /* the first; NaNs are no maximum */
        for (*top = 0; *top + 1 < ld && z[*top] != max;)
            ++*top;
    for (size_t c = 0; c < ld; c += LANES) {
        /* exp(x) = 2^n exp(r), r within half of ln 2 (Cephes' polynomial); 0 where it is so small
           that later products would be denormal, which is slow */
        VEC x = *(const MEM *)(z + c) - max;
        VEC shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
        VEC r = x - n * 0.693359375f + n * 2.12194440e-4f;
        VEC e = r * 1.9875691500e-4f + 1.3981999507e-3f;
        e = e * r + 8.3334519073e-3f;
        e = e * r + 4.1665795894e-2f;
        e = e * r + 1.6666665459e-1f;
        e = e * r + 5.0000001201e-1f;
        e = e * r * r + r + 1.0f;
        e = (VEC)(((BITS)e + ((BITS)shifted << 23)) & ~(BITS)(x < -46.0f));
        sum += e;
        *(MEM *)(z + c) = e;
    }
    memcpy(lane, &sum, sizeof lane);
    for (size_t l = 0; l < LANES; l++)
        total += lane[l];
    const float scale = (float)(weight / total);
    for (size_t c = 0; c < ld; c += LANES)
        *(MEM *)(z + c) = *(const MEM *)(z + c) * scale;
    return loss + log(total);
}

#undef VEC
#undef BITS
#undef MEM
#undef ISA
#undef TARGET
#undef LANES
