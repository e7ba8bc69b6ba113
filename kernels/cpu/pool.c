/* Pooling, channels last: f32 forward and backward, i8 and u8 forward. Loops run along channels; pieces are output
 * rows, or for a single output pixel (global pooling) blocks of channels. */
#include <string.h>

#include "kernels/cpu/isa.h"

/* The source rows or columns that output o covers: [from, to) inside the image, `full`
 * long with the padding that counts. */
typedef struct span {
    int64_t from, to, full;
} span;

static span window(
    int64_t o, int64_t in, int64_t out, int32_t k, int32_t stride, int32_t before, int32_t after, bool adaptive)
{
    if (adaptive) {
        span s = {o * in / out, ((o + 1) * in + out - 1) / out, 0};
        s.full = s.to - s.from;
        return s;
    }
    int64_t from = o * stride - before, to = cpu_min(from + k, in + after);
    span s = {from < 0 ? 0 : from, cpu_min(to, in), to - from};
    return s;
}

static span rows_of(const pool_desc *d, int64_t y)
{
    return window(y, d->ih, d->oh, d->kh, d->sh, d->pt, d->pb, d->adaptive);
}

static span columns_of(const pool_desc *d, int64_t x)
{
    return window(x, d->iw, d->ow, d->kw, d->sw, d->pl, d->pr, d->adaptive);
}

static float divisor(const pool_desc *d, span h, span w)
{
    return d->count_include_pad ? (float)(h.full * w.full) : (float)((h.to - h.from) * (w.to - w.from));
}

enum { BLOCK = 64 }; /* channels at a time: an accumulator per channel stays in registers or the first cache */

/* One output pixel, channels [0, c) of a block; src points at the block's first channel of the image. */
static void max_pixel(float *dst, int32_t *index, const float *src, const pool_desc *d, span h, span w, int64_t c)
{
    float best[BLOCK];
    int32_t at[BLOCK];
    int32_t first = (int32_t)(h.from * d->iw + w.from);
    const float *p = src + first * d->c;
    for (int64_t i = 0; i < c; i++) best[i] = p[i], at[i] = first;
    for (int64_t y = h.from; y < h.to; y++)
        for (int64_t x = w.from; x < w.to; x++) {
            int32_t here = (int32_t)(y * d->iw + x);
            p = src + here * d->c;
#pragma omp simd
            for (int64_t i = 0; i < c; i++) {
                bool take = p[i] > best[i] || p[i] != p[i]; /* NaN wins, as in PyTorch */
                best[i] = take ? p[i] : best[i];
                at[i] = take ? here : at[i];
            }
        }
    memcpy(dst, best, (size_t)c * sizeof *dst);
    if (index) memcpy(index, at, (size_t)c * sizeof *index);
}

static void average_pixel(float *dst, const float *src, const pool_desc *d, span h, span w, int64_t c)
{
    double sum[BLOCK] = {0};
    float count = divisor(d, h, w);
    for (int64_t y = h.from; y < h.to; y++)
        for (int64_t x = w.from; x < w.to; x++) {
            const float *p = src + (y * d->iw + x) * d->c;
#pragma omp simd
            for (int64_t i = 0; i < c; i++) sum[i] += (double)p[i];
        }
    for (int64_t i = 0; i < c; i++) dst[i] = (float)sum[i] / count;
}

/* The two integer types differ in their loads only. */
#define INTEGER_PIXEL(name, type)                                                                                      \
    static void name##_max_pixel(                                                                                      \
        type *dst, int32_t *index, const type *src, const pool_desc *d, span h, span w, int64_t c)                     \
    {                                                                                                                  \
        type best[BLOCK];                                                                                              \
        int32_t at[BLOCK], first = (int32_t)(h.from * d->iw + w.from);                                                 \
        const type *p = src + first * d->c;                                                                            \
        for (int64_t i = 0; i < c; i++) best[i] = p[i], at[i] = first;                                                 \
        for (int64_t y = h.from; y < h.to; y++)                                                                        \
            for (int64_t x = w.from; x < w.to; x++) {                                                                  \
                int32_t here = (int32_t)(y * d->iw + x);                                                               \
                p = src + here * d->c;                                                                                 \
                for (int64_t i = 0; index && i < c; i++) at[i] = p[i] > best[i] ? here : at[i];                        \
                for (int64_t i = 0; i < c; i++) best[i] = p[i] > best[i] ? p[i] : best[i];                             \
            }                                                                                                          \
        memcpy(dst, best, (size_t)c);                                                                                  \
        if (index) memcpy(index, at, (size_t)c * sizeof *index);                                                       \
    }                                                                                                                  \
    static void name##_average_pixel(type *dst, const type *src, const pool_desc *d, span h, span w, int64_t c)        \
    {                                                                                                                  \
        int32_t sum[BLOCK] = {0};                                                                                      \
        float count = divisor(d, h, w), low = (type)-1 < 0 ? -128.0f : 0.0f, high = low + 255.0f;                      \
        for (int64_t y = h.from; y < h.to; y++)                                                                        \
            for (int64_t x = w.from; x < w.to; x++) {                                                                  \
                const type *p = src + (y * d->iw + x) * d->c;                                                          \
                for (int64_t i = 0; i < c; i++) sum[i] += p[i];                                                        \
            }                                                                                                          \
        for (int64_t i = 0; i < c; i++) dst[i] = (type)cpu_round((float)sum[i] / count, low, high);                    \
    }
INTEGER_PIXEL(i8, int8_t)
INTEGER_PIXEL(u8, uint8_t)

/* Output pixel (y, x) of image n, channels [from, from + c). */
static void pixel(const kernel_call *call, const pool_desc *d, int64_t n, int64_t y, int64_t x, int64_t from, int64_t c)
{
    span h = rows_of(d, y), w = columns_of(d, x);
    int64_t out = ((n * d->oh + y) * d->ow + x) * d->c + from, in = n * d->ih * d->iw * d->c + from;
    bool max = d->kind == POOL_MAX;
    int32_t *index = max && call->out[1] ? (int32_t *)call->out[1] + out : NULL;
#define CASE(TYPE, type, prefix)                                                                                       \
    case TYPE: {                                                                                                       \
        type *dst = (type *)call->out[0] + out;                                                                        \
        const type *src = (const type *)call->in[0] + in;                                                              \
        if (max)                                                                                                       \
            prefix##max_pixel(dst, index, src, d, h, w, c);                                                            \
        else                                                                                                           \
            prefix##average_pixel(dst, src, d, h, w, c);                                                               \
        break;                                                                                                         \
    }
    switch (d->type) {
        CASE(DTYPE_F32, float, )
        CASE(DTYPE_I8, int8_t, i8_)
        CASE(DTYPE_U8, uint8_t, u8_)
    default: break;
    }
#undef CASE
}

static bool work_is_large(const pool_desc *d)
{
    return d->n * d->c * (d->ih * d->iw + d->oh * d->ow) > CPU_SERIAL;
}

static status forward_run(const kernel_call *call)
{
    const pool_desc *d = call->desc;
    int64_t blocks = (d->c + BLOCK - 1) / BLOCK, rows = d->n * d->oh;
#pragma omp parallel for collapse(2) schedule(static) if (work_is_large(d))
    for (int64_t row = 0; row < rows; row++)
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t x = 0; x < d->ow; x++)
                pixel(call, d, row / d->oh, row % d->oh, x, b * BLOCK, cpu_min(BLOCK, d->c - b * BLOCK));
    return OK;
}

static const char *forward_refuse(const void *desc)
{
    const pool_desc *d = desc;
    if (d->type != DTYPE_F32 && d->type != DTYPE_I8 && d->type != DTYPE_U8) return "f32, i8 and u8 only";
    return CPU_REFUSE();
}

static void max_backward(float *dsrc, const float *ddst, const int32_t *index, const pool_desc *d, int64_t c)
{
    for (int64_t p = 0; p < d->oh * d->ow; p++, ddst += d->c, index += d->c)
        for (int64_t i = 0; i < c; i++) dsrc[index[i] * d->c + i] += ddst[i];
}

static void average_backward(float *dsrc, const float *ddst, const pool_desc *d, int64_t c)
{
    for (int64_t y = 0; y < d->oh; y++)
        for (int64_t x = 0; x < d->ow; x++, ddst += d->c) {
            span h = rows_of(d, y), w = columns_of(d, x);
            float g[BLOCK], count = divisor(d, h, w);
            for (int64_t i = 0; i < c; i++) g[i] = ddst[i] / count;
            for (int64_t v = h.from; v < h.to; v++)
                for (int64_t u = w.from; u < w.to; u++) {
                    float *p = dsrc + (v * d->iw + u) * d->c;
#pragma omp simd
                    for (int64_t i = 0; i < c; i++) p[i] += g[i];
                }
        }
}

/* Windows overlap, so a piece is a whole image by a block of channels: sums come in the order of the outputs. */
static status backward_run(const kernel_call *call)
{
    const pool_desc *d = call->desc;
    int64_t blocks = (d->c + BLOCK - 1) / BLOCK;
#pragma omp parallel for collapse(2) schedule(static) if (work_is_large(d))
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t c = cpu_min(BLOCK, d->c - b * BLOCK), pixels = d->ih * d->iw;
            int64_t out = n * d->oh * d->ow * d->c + b * BLOCK;
            float *dsrc = (float *)call->out[0] + n * pixels * d->c + b * BLOCK;
            const float *ddst = (const float *)call->in[0] + out;
            for (int64_t p = 0; p < pixels; p++) memset(dsrc + p * d->c, 0, (size_t)c * sizeof *dsrc);
            if (d->kind == POOL_MAX)
                max_backward(dsrc, ddst, (const int32_t *)call->in[1] + out, d, c);
            else
                average_backward(dsrc, ddst, d, c);
        }
    return OK;
}

static const char *backward_refuse(const void *desc)
{
    return ((const pool_desc *)desc)->type == DTYPE_F32 ? CPU_REFUSE() : "f32 only";
}

CPU_KERNEL(pool_forward, OP_POOL_FORWARD, .refuse = forward_refuse, .run = forward_run);
CPU_KERNEL(pool_backward, OP_POOL_BACKWARD, .refuse = backward_refuse, .run = backward_run);
