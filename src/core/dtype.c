/* How are elements of each type stored? */
#include "core/dtype.h"
#include <math.h>
#include <stdbool.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [GR_F32] = {"float32", 4}, [GR_U8] = {"uint8", 1},      [GR_I8] = {"int8", 1},
    [GR_U16] = {"uint16", 2},  [GR_I16] = {"int16", 2},     [GR_I32] = {"int32", 4},
    [GR_I64] = {"int64", 8},   [GR_STRING] = {"string", 0}, [GR_BOOL] = {"bool", 1},
    [GR_F16] = {"float16", 2}, [GR_F64] = {"float64", 8},   [GR_U32] = {"uint32", 4},
    [GR_U64] = {"uint64", 8},  [GR_BF16] = {"bfloat16", 2},
};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

size_t gr_dtype_size(enum gr_dtype t)
{
    return (unsigned)t < N_DTYPES ? dtypes[t].size : 0;
}

const char *gr_dtype_name(enum gr_dtype t)
{
    return (unsigned)t < N_DTYPES && dtypes[t].name ? dtypes[t].name : "unknown";
}

float gr_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h >> 15) << 31, exp = h >> 10 & 31, man = h & 1023, u;
    float f;
    if (exp == 0) { /* zero and subnormals: man * 2^-24 is exact */
        f = (float)man * 0x1p-24f;
        return sign ? -f : f;
    }
    u = sign | (exp == 31 ? 0x7f800000u : (exp + 112) << 23) | man << 13;
    memcpy(&f, &u, 4);
    return f;
}

uint16_t gr_f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return sign | 0x7e00;
    if (u >= 0x477ff000u) /* 65520 and more round to infinity */
        return sign | 0x7c00;
    if (u < 0x38800000u) { /* subnormal half: units of 2^-24, rounded to even by rintf */
        float a;
        memcpy(&a, &u, 4);
        return sign | (uint16_t)rintf(a * 0x1p24f);
    }
    u += 0xfffu + (u >> 13 & 1);
    return sign | (uint16_t)((u - 0x38000000u) >> 13);
}

#define LOAD(type)                                                                                 \
    type x;                                                                                        \
    memcpy(&x, (const char *)data + i * sizeof x, sizeof x)

double gr_load_f64(enum gr_dtype t, const void *data, size_t i)
{
    switch (t) {
    case GR_F32: {
        LOAD(float);
        return x;
    }
    case GR_F64: {
        LOAD(double);
        return x;
    }
    case GR_F16: {
        LOAD(uint16_t);
        return gr_f16_to_f32(x);
    }
    case GR_BF16: {
        LOAD(uint16_t);
        return gr_bf16_to_f32(x);
    }
    case GR_U64: {
        LOAD(uint64_t);
        return (double)x;
    }
    default:
        return (double)gr_load_i64(t, data, i);
    }
}

int64_t gr_load_i64(enum gr_dtype t, const void *data, size_t i)
{
    switch (t) {
    case GR_I64: {
        LOAD(int64_t);
        return x;
    }
    case GR_I32: {
        LOAD(int32_t);
        return x;
    }
    case GR_U32: {
        LOAD(uint32_t);
        return x;
    }
    case GR_I16: {
        LOAD(int16_t);
        return x;
    }
    case GR_U16: {
        LOAD(uint16_t);
        return x;
    }
    case GR_I8: {
        LOAD(int8_t);
        return x;
    }
    case GR_U8: {
        LOAD(uint8_t);
        return x;
    }
    case GR_BOOL: {
        LOAD(uint8_t);
        return x != 0;
    }
    case GR_U64: {
        LOAD(uint64_t);
        return x > INT64_MAX ? INT64_MAX : (int64_t)x;
    }
    case GR_F32:
    case GR_F64:
    case GR_F16:
    case GR_BF16: {
        int64_t v;
        double d = gr_load_f64(t, data, i);
        gr_store_f64(GR_I64, &v, 0, d);
        return v;
    }
    default:
        return 0;
    }
}

#define STORE(type, value)                                                                         \
    do {                                                                                           \
        type x = (type)(value);                                                                    \
        memcpy((char *)data + i * sizeof x, &x, sizeof x);                                         \
    } while (0)

static double clamp(double v, double lo, double hi)
{
    return v != v ? 0 : v < lo ? lo : v > hi ? hi : v;
}

void gr_store_f64(enum gr_dtype t, void *data, size_t i, double v)
{
    switch (t) {
    case GR_F32:
        STORE(float, v);
        break;
    case GR_F64:
        STORE(double, v);
        break;
    case GR_F16:
        STORE(uint16_t, gr_f32_to_f16((float)v));
        break;
    case GR_BF16:
        STORE(uint16_t, gr_f32_to_bf16((float)v));
        break;
    case GR_BOOL:
        STORE(uint8_t, v != 0);
        break;
    case GR_U8:
        STORE(uint8_t, clamp(v, 0, UINT8_MAX));
        break;
    case GR_I8:
        STORE(int8_t, clamp(v, INT8_MIN, INT8_MAX));
        break;
    case GR_U16:
        STORE(uint16_t, clamp(v, 0, UINT16_MAX));
        break;
    case GR_I16:
        STORE(int16_t, clamp(v, INT16_MIN, INT16_MAX));
        break;
    case GR_U32:
        STORE(uint32_t, clamp(v, 0, UINT32_MAX));
        break;
    case GR_I32:
        STORE(int32_t, clamp(v, INT32_MIN, INT32_MAX));
        break;
    case GR_I64: /* not in one expression: INT64_MAX as a double is 2^63, which does not fit back */
        if (v >= 0x1p63)
            STORE(int64_t, INT64_MAX);
        else
            STORE(int64_t, clamp(v, -0x1p63, 0x1p63));
        break;
    case GR_U64:
        if (v >= 0x1p64)
            STORE(uint64_t, UINT64_MAX);
        else
            STORE(uint64_t, clamp(v, 0, 0x1p64));
        break;
    default:
        break;
    }
}

void gr_convert(enum gr_dtype dt, void *dst, enum gr_dtype st, const void *src, size_t n)
{
    if (dt == st) {
        memcpy(dst, src, n * gr_dtype_size(dt));
        return;
    }
    if (dt == GR_F32 && st == GR_BF16) {
        for (size_t i = 0; i < n; i++)
            ((float *)dst)[i] = gr_bf16_to_f32(((const uint16_t *)src)[i]);
        return;
    }
    if (dt == GR_BF16 && st == GR_F32) {
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)dst)[i] = gr_f32_to_bf16(((const float *)src)[i]);
        return;
    }
    bool floats = dt == GR_F32 || dt == GR_F64 || dt == GR_F16 || dt == GR_BF16 || st == GR_F32 ||
                  st == GR_F64 || st == GR_F16 || st == GR_BF16;
    for (size_t i = 0; i < n; i++) {
        if (floats || dt == GR_BOOL || st == GR_U64 || dt == GR_U64) {
            gr_store_f64(dt, dst, i, gr_load_f64(st, src, i));
        } else { /* between integers: two's complement wrap, as every runtime does */
            int64_t v = gr_load_i64(st, src, i);
            memcpy((char *)dst + i * gr_dtype_size(dt), &v, gr_dtype_size(dt));
        }
    }
}
