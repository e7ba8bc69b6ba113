/* pad, transpose, concat: data movement by element size. */
#include <string.h>

#include "kernels/cpu/isa.h"

static int64_t product(const int64_t *dim, int32_t from, int32_t to)
{
    int64_t p = 1;
    for (int32_t i = from; i < to; i++) p *= dim[i];
    return p;
}

/* -------------------------------------------------------------------------------------------------- pad */

static const char *pad_refuse(const void *desc)
{
    const pad_desc *d = desc;
    if (d->scatter) return "no scatter";
    for (int32_t i = 0; i < d->rank; i++)
        if (d->step[i] != 1) return "no strides";
    return CPU_REFUSE();
}

/* One element of the padding. */
static void pad_value(const pad_desc *d, unsigned char value[8])
{
    dtype_store(value, d->type, 0, (double)d->value);
}

static void fill_elements(char *dst, const unsigned char value[8], size_t size, int64_t count)
{
    bool zero = true;
    for (size_t i = 0; i < size; i++) zero = zero && value[i] == 0;
    if (zero || size == 1) {
        memset(dst, value[0], (size_t)count * size);
        return;
    }
    for (int64_t i = 0; i < count; i++) memcpy(dst + (size_t)i * size, value, size);
}

/* One row of dst (its last dimension): inside the source, padding left and right of a copy; outside, all padding. */
static void pad_row(char *dst, const char *src, const pad_desc *d, const unsigned char value[8], size_t size)
{
    int32_t last = d->rank - 1;
    int64_t width = d->dst_dim[last], from = d->before[last], to = from + d->src_dim[last];
    if (!src) from = to = width;
    int64_t left = from < 0 ? 0 : cpu_min(from, width), right = to < left ? left : cpu_min(to, width);
    fill_elements(dst, value, size, left);
    if (right > left)
        memcpy(dst + (size_t)left * size, src + (size_t)(left - from) * size, (size_t)(right - left) * size);
    fill_elements(dst + (size_t)right * size, value, size, width - right);
}

static status pad_run(const kernel_call *call)
{
    const pad_desc *d = call->desc;
    size_t size = dtype_bytes(d->type);
    int32_t last = d->rank - 1;
    int64_t rows = product(d->dst_dim, 0, last), width = d->dst_dim[last];
    unsigned char value[8] = {0};
    pad_value(d, value);
#pragma omp parallel for schedule(static) if (rows * width > CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t left = r, at = 0, stride = 1;
        bool inside = true;
        for (int32_t i = last - 1; i >= 0; i--) {
            int64_t x = left % d->dst_dim[i] - d->before[i];
            left /= d->dst_dim[i];
            inside = inside && x >= 0 && x < d->src_dim[i];
            at += x * stride;
            stride *= d->src_dim[i];
        }
        const char *src = (const char *)call->in[0] + (inside ? (size_t)(at * d->src_dim[last]) * size : 0);
        pad_row((char *)call->out[0] + (size_t)(r * width) * size, inside ? src : NULL, d, value, size);
    }
    return OK;
}

/* ----------------------------------------------------------------------------------------------- concat */

static const char *concat_refuse(const void *desc)
{
    (void)desc;
    return CPU_REFUSE();
}

#define RESCALE(type, low, high)                                                                                       \
    static void rescale_##type(type *dst, const type *src, int64_t count, float scale)                                 \
    {                                                                                                                  \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) dst[i] =                                               \
            (type)cpu_round((float)src[i] * scale, low, high);                                                         \
    }
RESCALE(int8_t, -128.0f, 127.0f)
RESCALE(uint8_t, 0.0f, 255.0f)

static status concat_run(const kernel_call *call)
{
    const concat_desc *d = call->desc;
    int64_t size = (int64_t)dtype_bytes(d->type), width = 0;
    for (int32_t i = 0; i < d->inputs; i++) width += d->channels[i];
#pragma omp parallel for schedule(static) if (d->rows * width > CPU_SERIAL)
    for (int64_t r = 0; r < d->rows; r++) {
        char *dst = (char *)call->out[0] + r * width * size;
        for (int32_t i = 0; i < d->inputs; i++) {
            int64_t bytes = d->channels[i] * size;
            const char *src = (const char *)call->in[i] + r * bytes;
            if (d->type == DTYPE_I8 && d->scale[i] != 1.0f)
                rescale_int8_t((int8_t *)dst, (const int8_t *)src, bytes, d->scale[i]);
            else if (d->type == DTYPE_U8 && d->scale[i] != 1.0f)
                rescale_uint8_t((uint8_t *)dst, (const uint8_t *)src, bytes, d->scale[i]);
            else
                memcpy(dst, src, (size_t)bytes);
            dst += bytes;
        }
    }
    return OK;
}

/* -------------------------------------------------------------------------------------------- transpose */

/* Dimensions that stay neighbours are merged; what is left is rows of dst, gathered from src with a constant stride. */
typedef struct gather {
    int32_t rank;
    int64_t dim[MOVE_MAX_RANK], stride[MOVE_MAX_RANK]; /* of dst, and of the same index in src */
} gather;

static gather plan_gather(const transpose_desc *d)
{
    int64_t stride[MOVE_MAX_RANK];
    for (int32_t i = 0; i < d->rank; i++) stride[i] = product(d->src_dim, i + 1, d->rank);
    gather g = {0};
    for (int32_t i = 0; i < d->rank; i++) {
        int64_t dim = d->src_dim[d->perm[i]], step = stride[d->perm[i]];
        if (dim == 1) continue;
        if (g.rank && g.stride[g.rank - 1] == dim * step) {
            g.dim[g.rank - 1] *= dim;
            g.stride[g.rank - 1] = step;
            continue;
        }
        g.dim[g.rank] = dim;
        g.stride[g.rank++] = step;
    }
    if (!g.rank) g.dim[g.rank] = 1, g.stride[g.rank++] = 1;
    return g;
}

#define GATHER(type)                                                                                                   \
    static void gather_##type(type *dst, const type *src, int64_t count, int64_t stride)                               \
    {                                                                                                                  \
        for (int64_t i = 0; i < count; i++) dst[i] = src[i * stride];                                                  \
    }
GATHER(uint8_t)
GATHER(uint16_t)
GATHER(uint32_t)
GATHER(uint64_t)

static void gather_row(char *dst, const char *src, int64_t count, int64_t stride, size_t size)
{
    if (stride == 1) memcpy(dst, src, (size_t)count * size);
    else if (size == 1) gather_uint8_t((uint8_t *)dst, (const uint8_t *)src, count, stride);
    else if (size == 2) gather_uint16_t((uint16_t *)(void *)dst, (const uint16_t *)(const void *)src, count, stride);
    else if (size == 4) gather_uint32_t((uint32_t *)(void *)dst, (const uint32_t *)(const void *)src, count, stride);
    else gather_uint64_t((uint64_t *)(void *)dst, (const uint64_t *)(const void *)src, count, stride);
}

static const char *transpose_refuse(const void *desc)
{
    (void)desc;
    return CPU_REFUSE();
}

static status transpose_run(const kernel_call *call)
{
    const transpose_desc *d = call->desc;
    gather g = plan_gather(d);
    size_t size = dtype_bytes(d->type);
    int32_t last = g.rank - 1;
    int64_t rows = product(g.dim, 0, last), width = g.dim[last];
#pragma omp parallel for schedule(static) if (rows * width > CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t left = r, at = 0;
        for (int32_t i = last - 1; i >= 0; i--) {
            at += left % g.dim[i] * g.stride[i];
            left /= g.dim[i];
        }
        gather_row((char *)call->out[0] + (size_t)(r * width) * size, (const char *)call->in[0] + (size_t)at * size,
            width, g.stride[last], size);
    }
    return OK;
}

CPU_KERNEL(pad, OP_PAD, .refuse = pad_refuse, .run = pad_run);
CPU_KERNEL(concat, OP_CONCAT, .refuse = concat_refuse, .run = concat_run);
CPU_KERNEL(transpose, OP_TRANSPOSE, .refuse = transpose_refuse, .run = transpose_run);
