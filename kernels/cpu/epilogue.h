/* epilogue.h: what a convolution does to its sums before it stores them. Private to kernels/cpu. */
#ifndef GRAFT_CPU_EPILOGUE_H
#define GRAFT_CPU_EPILOGUE_H

#include <math.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/isa.h"

enum { EPILOGUE_MOST = 128 }; /* channels at a time */

/* Elements [at, at + count) of a tensor of f32, i8 or u8. */
static inline void epilogue_load(float *dst, const void *src, dtype type, int64_t at, int64_t count)
{
    if (type == DTYPE_F32) {
        memcpy(dst, (const float *)src + at, (size_t)count * sizeof *dst);
    } else if (type == DTYPE_I8) {
        const int8_t *p = (const int8_t *)src + at;
        for (int64_t i = 0; i < count; i++) dst[i] = (float)p[i];
    } else {
        const uint8_t *p = (const uint8_t *)src + at;
        for (int64_t i = 0; i < count; i++) dst[i] = (float)p[i];
    }
}

static inline void epilogue_activate(float *y, int64_t count, const conv2d_epilogue *e)
{
    float alpha = e->alpha, beta = e->beta;
#define CASE(kind, value)                                                                                              \
    case kind:                                                                                                         \
        for (int64_t c = 0; c < count; c++) y[c] = (value);                                                            \
        break;
#define SIMPLE(kind) CASE(kind, cpu_activate(y[c], kind, alpha, beta))
    switch (e->act) {
        CPU_ACT_CASES(SIMPLE)
        CASE(ACT_SIGMOID, cpu_sigmoid(y[c]))
        CASE(ACT_SWISH, y[c] * cpu_sigmoid(y[c]))
    }
#undef SIMPLE
#undef CASE
}

/* The order of kernels.h: bias, scale, residual (fused), activation; y is spoilt. `channel` is the first of `count`, at
 * most EPILOGUE_MOST, `at` its place in dst. */
static inline void epilogue_store(const kernel_call *call, float *y, int64_t at, int64_t channel, int64_t count)
{
    const conv2d_desc *d = call->desc;
    const conv2d_epilogue *e = &d->epilogue;
    const float *bias = e->has_bias ? (const float *)call->in[CONV2D_BIAS] + channel : NULL;
    const float *scale = e->has_scale ? (const float *)call->in[CONV2D_SCALE] + channel : NULL;
    float add[EPILOGUE_MOST];
    for (int64_t c = 0; bias && c < count; c++) y[c] += bias[c];
    for (int64_t c = 0; scale && c < count; c++) y[c] *= scale[c];
    if (e->has_add) {
        epilogue_load(add, call->in[CONV2D_ADD], e->add_type, at, count);
        for (int64_t c = 0; c < count; c++) y[c] = fmaf(add[c], e->add_scale, y[c]);
    }
    epilogue_activate(y, count, e);
    if (d->dst_type == DTYPE_F32) memcpy((float *)call->out[0] + at, y, (size_t)count * sizeof *y);
    else if (d->dst_type == DTYPE_I8)
        for (int64_t c = 0; c < count; c++) ((int8_t *)call->out[0])[at + c] = (int8_t)cpu_round(y[c], -128.0f, 127.0f);
    else
        for (int64_t c = 0; c < count; c++) ((uint8_t *)call->out[0])[at + c] = (uint8_t)cpu_round(y[c], 0.0f, 255.0f);
}

#endif
