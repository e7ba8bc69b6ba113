/* act_forward and act_backward, f32: bound by memory bandwidth, the exponential ones about so too. */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/exp.h"

static const char *refuse(const void *desc)
{
    return ((const act_desc *)desc)->type == DTYPE_F32 ? CPU_REFUSE() : "f32 only";
}

static void forward(float *dst, const float *src, int64_t count, const act_desc *d)
{
    float alpha = d->alpha, beta = d->beta;
#define CASE(kind, value)                                                                                              \
    case kind: {                                                                                                       \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) dst[i] = (value);                                      \
        break;                                                                                                         \
    }
#define SIMPLE(kind) CASE(kind, cpu_activate(src[i], kind, alpha, beta))
    switch (d->act) {
        CPU_ACT_CASES(SIMPLE)
        CASE(ACT_SIGMOID, cpu_sigmoid(src[i]))
        CASE(ACT_SWISH, src[i] * cpu_sigmoid(src[i]))
    }
#undef SIMPLE
}

/* d/dx x s(x) = s + x s (1 - s) */
static inline float swish_gradient(float x)
{
    float s = cpu_sigmoid(x);
    return s + x * s * (1.0f - s);
}

static inline float sigmoid_gradient(float x)
{
    float s = cpu_sigmoid(x);
    return s * (1.0f - s);
}

static void backward(float *dst, const float *ddst, const float *src, int64_t count, const act_desc *d)
{
    float alpha = d->alpha, beta = d->beta;
#define SIMPLE(kind) CASE(kind, cpu_activate_gradient(ddst[i], src[i], kind, alpha, beta))
    switch (d->act) {
        CPU_ACT_CASES(SIMPLE)
        CASE(ACT_SIGMOID, ddst[i] * sigmoid_gradient(src[i]))
        CASE(ACT_SWISH, ddst[i] * swish_gradient(src[i]))
    }
#undef SIMPLE
#undef CASE
}

static status forward_run(const kernel_call *call)
{
    const act_desc *d = call->desc;
    float *dst = call->out[0];
    const float *src = call->in[0];
#pragma omp parallel for schedule(static) if (d->count > CPU_SERIAL)
    for (int64_t k = 0; k < cpu_chunks(d->count); k++) {
        int64_t at = k * CPU_CHUNK;
        forward(dst + at, src + at, cpu_min(CPU_CHUNK, d->count - at), d);
    }
    return OK;
}

static status backward_run(const kernel_call *call)
{
    const act_desc *d = call->desc;
    float *dsrc = call->out[0];
    const float *ddst = call->in[0], *src = call->in[1];
#pragma omp parallel for schedule(static) if (d->count > CPU_SERIAL)
    for (int64_t k = 0; k < cpu_chunks(d->count); k++) {
        int64_t at = k * CPU_CHUNK;
        backward(dsrc + at, ddst + at, src + at, cpu_min(CPU_CHUNK, d->count - at), d);
    }
    return OK;
}

CPU_KERNEL(act_forward, OP_ACT_FORWARD, .refuse = refuse, .run = forward_run);
CPU_KERNEL(act_backward, OP_ACT_BACKWARD, .refuse = refuse, .run = backward_run);
