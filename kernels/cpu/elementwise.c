/* add, mul, mul_reduce, fill and the conversions: bound by memory bandwidth. */
#include <string.h>

#include "kernels/cpu/isa.h"

/* dst = act(a a_scale + b b_scale), each product rounded before the sum. */
#define ADD_RANGE(type, STORE)                                                                                         \
    static void add_##type(type *dst, const type *a, const type *b, int64_t count, const binary_desc *d)               \
    {                                                                                                                  \
        float sa = d->a_scale, sb = d->b_scale, alpha = d->alpha, beta = d->beta;                                      \
        switch (d->act) {                                                                                              \
            CPU_ACT_CASES(STORE)                                                                                       \
        default: break;                                                                                                \
        }                                                                                                              \
    }
#define LOOP(kind, value)                                                                                              \
    case kind: {                                                                                                       \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) dst[i] = (value);                                      \
        break;                                                                                                         \
    }
#define SUM(kind) cpu_activate((float)a[i] * sa + (float)b[i] * sb, kind, alpha, beta)
#define STORE_F32(kind) LOOP(kind, SUM(kind))
#define STORE_I8(kind) LOOP(kind, (int8_t)cpu_round(SUM(kind), -128.0f, 127.0f))
#define STORE_U8(kind) LOOP(kind, (uint8_t)cpu_round(SUM(kind), 0.0f, 255.0f))
ADD_RANGE(float, STORE_F32)
ADD_RANGE(int8_t, STORE_I8)
ADD_RANGE(uint8_t, STORE_U8)
#undef SUM

static const char *add_refuse(const void *desc)
{
    const binary_desc *d = desc;
    if (d->type != DTYPE_F32 && d->type != DTYPE_I8 && d->type != DTYPE_U8) return "f32, i8 and u8 only";
    if (!cpu_act_is_simple(d->act)) return "no exponential activation";
    if (d->b_broadcast) return "no broadcast";
    return CPU_REFUSE();
}

static status add_run(const kernel_call *call)
{
    const binary_desc *d = call->desc;
    int64_t count = d->n * d->pixels * d->channels;
#pragma omp parallel for schedule(static) if (count > CPU_SERIAL)
    for (int64_t k = 0; k < cpu_chunks(count); k++) {
        int64_t at = k * CPU_CHUNK, left = cpu_min(CPU_CHUNK, count - at);
#define CASE(TYPE, type)                                                                                               \
    case TYPE:                                                                                                         \
        add_##type(                                                                                                    \
            (type *)call->out[0] + at, (const type *)call->in[0] + at, (const type *)call->in[1] + at, left, d);       \
        break;
        switch (d->type) {
            CASE(DTYPE_F32, float)
            CASE(DTYPE_I8, int8_t)
            CASE(DTYPE_U8, uint8_t)
        default: break;
        }
#undef CASE
    }
    return OK;
}

static const char *mul_refuse(const void *desc)
{
    const binary_desc *d = desc;
    if (d->type != DTYPE_F32) return "f32 only";
    return CPU_REFUSE();
}

static void mul_range(float *dst, const float *a, const float *b, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) dst[i] = a[i] * b[i];
}

static status mul_run(const kernel_call *call)
{
    const binary_desc *d = call->desc;
    float *dst = call->out[0];
    const float *a = call->in[0], *b = call->in[1];
    int64_t c = d->channels, rows = d->n * d->pixels, count = rows * c;
    if (d->b_broadcast) {
#pragma omp parallel for schedule(static) if (count > CPU_SERIAL)
        for (int64_t r = 0; r < rows; r++) mul_range(dst + r * c, a + r * c, b + r / d->pixels * c, c);
        return OK;
    }
#pragma omp parallel for schedule(static) if (count > CPU_SERIAL)
    for (int64_t k = 0; k < cpu_chunks(count); k++) {
        int64_t at = k * CPU_CHUNK;
        mul_range(dst + at, a + at, b + at, cpu_min(CPU_CHUNK, count - at));
    }
    return OK;
}

enum { BLOCK = 64 };

static status mul_reduce_run(const kernel_call *call)
{
    const binary_desc *d = call->desc;
    float *db = call->out[0];
    const float *ddst = call->in[0], *a = call->in[1];
    int64_t c = d->channels, blocks = (c + BLOCK - 1) / BLOCK;
#pragma omp parallel for collapse(2) schedule(static) if (d->n * d->pixels * c > CPU_SERIAL)
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t k = 0; k < blocks; k++) {
            int64_t from = k * BLOCK, width = cpu_min(BLOCK, c - from);
            double sum[BLOCK] = {0};
            for (int64_t p = 0; p < d->pixels; p++) {
                int64_t at = (n * d->pixels + p) * c + from;
#pragma omp simd
                for (int64_t i = 0; i < width; i++) sum[i] += (double)ddst[at + i] * (double)a[at + i];
            }
            for (int64_t i = 0; i < width; i++) db[n * c + from + i] = (float)sum[i];
        }
    return OK;
}

/* Conversions with f32 on one side or the other. */
#define CONVERT(name, to, from, value)                                                                                 \
    static void name(void *out, const void *in, int64_t count, float scale)                                            \
    {                                                                                                                  \
        to *dst = out;                                                                                                 \
        const from *src = in;                                                                                          \
        (void)scale;                                                                                                   \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) dst[i] = (value);                                      \
    }
CONVERT(f32_from_i8, float, int8_t, (float)src[i])
CONVERT(f32_from_u8, float, uint8_t, (float)src[i])
CONVERT(i8_from_f32, int8_t, float, (int8_t)cpu_round(src[i], -128.0f, 127.0f))
CONVERT(u8_from_f32, uint8_t, float, (uint8_t)cpu_round(src[i], 0.0f, 255.0f))
CONVERT(quantise_i8, int8_t, float, (int8_t)cpu_round(src[i] * scale, -128.0f, 127.0f))
CONVERT(quantise_u8, uint8_t, float, (uint8_t)cpu_round(src[i] * scale, 0.0f, 255.0f))
CONVERT(dequantise_i8, float, int8_t, (float)src[i] * scale)
CONVERT(dequantise_u8, float, uint8_t, (float)src[i] * scale)

typedef void convert_fn(void *dst, const void *src, int64_t count, float scale);

/* [op - OP_CAST][which integer][0: to f32, 1: from f32]: NULL where there is no such conversion. */
static convert_fn *converter(kernel_op op, const cast_desc *d)
{
    static convert_fn *const table[3][2][2] = {
        {{f32_from_i8, i8_from_f32}, {f32_from_u8, u8_from_f32}},
        {{NULL, quantise_i8}, {NULL, quantise_u8}},
        {{dequantise_i8, NULL}, {dequantise_u8, NULL}},
    };
    dtype integer = d->src_type == DTYPE_F32 ? d->dst_type : d->src_type;
    bool from_float = d->src_type == DTYPE_F32;
    if (!from_float && d->dst_type != DTYPE_F32) return NULL;
    if (integer != DTYPE_I8 && integer != DTYPE_U8) return NULL;
    return table[op - OP_CAST][integer == DTYPE_U8][from_float];
}

static status convert_run(const kernel_call *call, kernel_op op)
{
    const cast_desc *d = call->desc;
    convert_fn *convert = converter(op, d);
    size_t to = dtype_bytes(d->dst_type), from = dtype_bytes(d->src_type);
#pragma omp parallel for schedule(static) if (d->count > CPU_SERIAL)
    for (int64_t k = 0; k < cpu_chunks(d->count); k++) {
        int64_t at = k * CPU_CHUNK;
        convert((char *)call->out[0] + (size_t)at * to, (const char *)call->in[0] + (size_t)at * from,
                cpu_min(CPU_CHUNK, d->count - at), d->scale);
    }
    return OK;
}

#define CONVERSION(name, OP)                                                                                           \
    static const char *name##_refuse(const void *desc)                                                                 \
    {                                                                                                                  \
        return converter(OP, desc) ? CPU_REFUSE() : "between f32 and i8 or u8 only";                                   \
    }                                                                                                                  \
    static status name##_run(const kernel_call *call)                                                                  \
    {                                                                                                                  \
        return convert_run(call, OP);                                                                                  \
    }                                                                                                                  \
    CPU_KERNEL(name, OP, .refuse = name##_refuse, .run = name##_run)

static const char *fill_refuse(const void *desc)
{
    dtype type = ((const fill_desc *)desc)->type;
    return type == DTYPE_F32 || type == DTYPE_I8 || type == DTYPE_U8 ? CPU_REFUSE() : "f32, i8 and u8 only";
}

static void fill_range(void *dst, int64_t at, int64_t count, const fill_desc *d)
{
    if (d->type == DTYPE_F32) {
        float *p = (float *)dst + at;
        for (int64_t i = 0; i < count; i++) p[i] = d->value;
    } else {
        bool is_signed = d->type == DTYPE_I8;
        memset((char *)dst + at, cpu_round(d->value, is_signed ? -128.0f : 0.0f, is_signed ? 127.0f : 255.0f),
            (size_t)count);
    }
}

static status fill_run(const kernel_call *call)
{
    const fill_desc *d = call->desc;
#pragma omp parallel for schedule(static) if (d->count > CPU_SERIAL)
    for (int64_t k = 0; k < cpu_chunks(d->count); k++)
        fill_range(call->out[0], k * CPU_CHUNK, cpu_min(CPU_CHUNK, d->count - k * CPU_CHUNK), d);
    return OK;
}

CPU_KERNEL(add, OP_ADD, .refuse = add_refuse, .run = add_run);
CPU_KERNEL(mul, OP_MUL, .refuse = mul_refuse, .run = mul_run);
CPU_KERNEL(mul_reduce, OP_MUL_REDUCE, .refuse = mul_refuse, .run = mul_reduce_run);
CONVERSION(cast, OP_CAST);
CONVERSION(quantise, OP_QUANTISE);
CONVERSION(dequantise, OP_DEQUANTISE);
CPU_KERNEL(fill, OP_FILL, .refuse = fill_refuse, .run = fill_run);
