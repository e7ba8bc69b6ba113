/* fake_quant.c: through an engine's integers and back, f32: bound by memory bandwidth. Rows are cut into chunks; a
 * maximum does not depend on its order. */
#include <math.h>

#include "kernels/cpu/isa.h"

#define RANGE_MIN 1e-30f

static const char *refuse(const void *desc)
{
    return ((const fake_quant_desc *)desc)->type == DTYPE_F32 ? CPU_REFUSE() : "f32 only";
}

/* NaN is never greater. */
static float greatest_of(const float *src, int64_t count)
{
    float greatest = 0;
#pragma omp simd reduction(max : greatest)
    for (int64_t i = 0; i < count; i++) {
        float x = fabsf(src[i]);
        greatest = x > greatest ? x : greatest;
    }
    return greatest;
}

static float greatest_of_row(const float *src, int64_t count)
{
    float greatest = 0;
#pragma omp parallel for schedule(static) reduction(max : greatest) if (count > CPU_SERIAL)
    for (int64_t k = 0; k < cpu_chunks(count); k++) {
        float one = greatest_of(src + k * CPU_CHUNK, cpu_min(CPU_CHUNK, count - k * CPU_CHUNK));
        greatest = one > greatest ? one : greatest;
    }
    return greatest;
}

static status range_run(const kernel_call *call)
{
    const fake_quant_desc *d = call->desc;
    float *range = call->out[0];
    for (int64_t r = 0; r < d->rows; r++) {
        float greatest = greatest_of_row((const float *)call->in[0] + r * d->count, d->count);
        bool first = d->momentum == 1.0f || !(range[r] > RANGE_MIN);
        range[r] = first ? greatest : (1.0f - d->momentum) * range[r] + d->momentum * greatest;
    }
    return OK;
}

static void forward(float *dst, const float *src, int64_t count, float scale, float least)
{
    const float inverse = 1.0f / scale;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float y = (float)cpu_round(src[i] * inverse, least, 127.0f) * scale;
        dst[i] = src[i] == src[i] ? y : src[i];
    }
}

/* Half an integer beyond the last one still rounds to it where that one is even: -128. */
static void backward(float *dsrc, const float *ddst, const float *src, int64_t count, float scale, float least)
{
    const float inverse = 1.0f / scale;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float y = src[i] * inverse;
        bool saturated = y >= 127.5f || (least == -128.0f ? y < -128.5f : y <= -127.5f);
        dsrc[i] = saturated ? 0.0f : ddst[i];
    }
}

static void copy(float *dst, const float *src, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) dst[i] = src[i];
}

static status run(const kernel_call *call, bool is_backward)
{
    const fake_quant_desc *d = call->desc;
    const float *first = call->in[0], *src = call->in[is_backward], *range = call->in[is_backward ? 2 : 1];
    float *out = call->out[0], least = d->narrow ? -127.0f : -128.0f;
    int64_t chunks = cpu_chunks(d->count);
#pragma omp parallel for schedule(static) if (d->rows * d->count > CPU_SERIAL)
    for (int64_t k = 0; k < d->rows * chunks; k++) {
        int64_t inside = k % chunks * CPU_CHUNK, at = k / chunks * d->count + inside,
                count = cpu_min(CPU_CHUNK, d->count - inside);
        float r = range[k / chunks], scale = r / 127.0f;
        if (!(r > RANGE_MIN)) copy(out + at, first + at, count);
        else if (is_backward) backward(out + at, first + at, src + at, count, scale, least);
        else forward(out + at, src + at, count, scale, least);
    }
    return OK;
}

static status forward_run(const kernel_call *call)
{
    return run(call, false);
}

static status backward_run(const kernel_call *call)
{
    return run(call, true);
}

CPU_KERNEL(fake_quant_range, OP_FAKE_QUANT_RANGE, .refuse = refuse, .run = range_run);
CPU_KERNEL(fake_quant, OP_FAKE_QUANT, .refuse = refuse, .run = forward_run);
CPU_KERNEL(fake_quant_backward, OP_FAKE_QUANT_BACKWARD, .refuse = refuse, .run = backward_run);
