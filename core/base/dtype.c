#include "core/base/dtype.h"

#include <math.h>
#include <string.h>

typedef struct dtype_row {
    const char *name;
    size_t bytes;
    double epsilon;
} dtype_row;

static const dtype_row rows[DTYPE_COUNT] = {
    [DTYPE_F32] = {"f32", 4, 0x1p-23}, [DTYPE_F16] = {"f16", 2, 0x1p-10}, [DTYPE_BF16] = {"bf16", 2, 0x1p-7},
    [DTYPE_F64] = {"f64", 8, 0x1p-52}, [DTYPE_I8] = {"i8", 1, 0},         [DTYPE_U8] = {"u8", 1, 0},
    [DTYPE_I32] = {"i32", 4, 0},       [DTYPE_I64] = {"i64", 8, 0},
};

static int known(dtype type)
{
    return (unsigned)type < DTYPE_COUNT;
}

size_t dtype_bytes(dtype type)
{
    return known(type) ? rows[type].bytes : 0;
}

const char *dtype_name(dtype type)
{
    return known(type) ? rows[type].name : NULL;
}

int dtype_from_name(const char *name, dtype *type)
{
    for (int i = 0; name && i < DTYPE_COUNT; i++) {
        if (strcmp(name, rows[i].name) == 0) {
            *type = (dtype)i;
            return 1;
        }
    }
    return 0;
}

double dtype_epsilon(dtype type)
{
    return known(type) ? rows[type].epsilon : 0;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t f32_to_f16(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x1ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to infinity */
    if (magnitude < 0x38800000u) {
        /* Below 2^-14 the result is a multiple of 2^-24. Adding 0.5 leaves exactly those bits in the significand. */
        float sum = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(sum) - bits_of(0.5f)));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

float f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, exponent = bits >> 10 & 0x1fu, fraction = bits & 0x3ffu;
    if (exponent == 0x1fu) return float_of(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) {
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    return float_of(sign | (exponent + 112u) << 23 | fraction << 13);
}

uint16_t f32_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float bf16_to_f32(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

/* Double to float rounded to odd, so that a second rounding to a shorter type equals one direct rounding
 * (Boldo and Melquiond 2008). */
static float to_odd(double value)
{
    float near = (float)value;
    if ((double)near == value || isnan(value)) return near;
    uint32_t bits = bits_of(near);
    if (fabs((double)near) > fabs(value)) bits--;
    return float_of(bits | 1u);
}

static double rounded_between(double value, double low, double high)
{
    if (isnan(value)) return 0;
    double near = nearbyint(value);
    return near < low ? low : near > high ? high : near;
}

double dtype_load(const void *data, dtype type, int64_t i)
{
    switch (type) {
    case DTYPE_F32: return (double)((const float *)data)[i];
    case DTYPE_F16: return (double)f16_to_f32(((const uint16_t *)data)[i]);
    case DTYPE_BF16: return (double)bf16_to_f32(((const uint16_t *)data)[i]);
    case DTYPE_F64: return ((const double *)data)[i];
    case DTYPE_I8: return ((const int8_t *)data)[i];
    case DTYPE_U8: return ((const uint8_t *)data)[i];
    case DTYPE_I32: return ((const int32_t *)data)[i];
    case DTYPE_I64: return (double)((const int64_t *)data)[i];
    case DTYPE_COUNT: break;
    }
    return 0;
}

void dtype_store(void *data, dtype type, int64_t i, double value)
{
    switch (type) {
    case DTYPE_F32: ((float *)data)[i] = (float)value; return;
    case DTYPE_F16: ((uint16_t *)data)[i] = f32_to_f16(to_odd(value)); return;
    case DTYPE_BF16: ((uint16_t *)data)[i] = f32_to_bf16(to_odd(value)); return;
    case DTYPE_F64: ((double *)data)[i] = value; return;
    case DTYPE_I8: ((int8_t *)data)[i] = (int8_t)rounded_between(value, INT8_MIN, INT8_MAX); return;
    case DTYPE_U8: ((uint8_t *)data)[i] = (uint8_t)rounded_between(value, 0, UINT8_MAX); return;
    case DTYPE_I32: ((int32_t *)data)[i] = (int32_t)rounded_between(value, INT32_MIN, INT32_MAX); return;
    case DTYPE_I64:
        /* 2^63 itself is a double but no int64_t. */
        ((int64_t *)data)[i] = value >= 0x1p63 ? INT64_MAX : (int64_t)rounded_between(value, -0x1p63, 0x1p63);
        return;
    case DTYPE_COUNT: return;
    }
}
