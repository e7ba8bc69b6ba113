/* dtype.h: element types and their conversions. Rounding is to nearest, ties to even, everywhere. */
#ifndef GRAFT_BASE_DTYPE_H
#define GRAFT_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_F64, /* reference kernels only */
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_COUNT
} dtype;

size_t dtype_bytes(dtype type);
const char *dtype_name(dtype type);                  /* "f32"; never NULL for a valid type          */
int dtype_from_name(const char *name, dtype *type);  /* 1 if known                                  */
double dtype_epsilon(dtype type);                    /* distance from 1 to the next value; 0 for integers */

uint16_t f32_to_f16(float value); /* overflow gives infinity; NaN stays NaN */
float f16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);
float bf16_to_f32(uint16_t bits);

/* Element i of an array of any type, as double; and back, rounded (integers: half to even, saturated). */
double dtype_load(const void *data, dtype type, int64_t i);
void dtype_store(void *data, dtype type, int64_t i, double value);

#ifdef __cplusplus
}
#endif
#endif
