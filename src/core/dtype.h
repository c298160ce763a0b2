/* Element types of tensors, and conversion between them. */
#ifndef GR_CORE_DTYPE_H
#define GR_CORE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The numbers are those of ONNX TensorProto.DataType. */
enum gr_dtype {
    GR_UNKNOWN = 0,
    GR_F32 = 1,
    GR_U8 = 2,
    GR_I8 = 3,
    GR_U16 = 4,
    GR_I16 = 5,
    GR_I32 = 6,
    GR_I64 = 7,
    GR_STRING = 8, /* carried only in attributes; tensors of it are unsupported */
    GR_BOOL = 9,
    GR_F16 = 10,
    GR_F64 = 11,
    GR_U32 = 12,
    GR_U64 = 13,
    GR_BF16 = 16
};

/* Bytes of one element; 0 for GR_UNKNOWN, GR_STRING and numbers that are no dtype. */
size_t gr_dtype_size(enum gr_dtype t);
/* "float32", "int64", ...; "unknown" otherwise. */
const char *gr_dtype_name(enum gr_dtype t);

/* Element i as a double (bool: 0 or 1; 64-bit integers beyond 2^53 are rounded), and back
   (rounded to nearest even for floats, truncated towards zero and saturated for integers, NaN to
   0). The data need not be aligned. */
double gr_load_f64(enum gr_dtype t, const void *data, size_t i);
void gr_store_f64(enum gr_dtype t, void *data, size_t i, double v);
/* Element i of an integer or bool tensor as int64 (U64 saturates); floats are truncated. */
int64_t gr_load_i64(enum gr_dtype t, const void *data, size_t i);

/* n elements from one type to another, through double unless a fast pair exists. dst and src may
   not overlap. */
void gr_convert(enum gr_dtype dt, void *dst, enum gr_dtype st, const void *src, size_t n);

static inline uint16_t gr_f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

static inline float gr_bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float gr_f16_to_f32(uint16_t h);
uint16_t gr_f32_to_f16(float f);

#endif
