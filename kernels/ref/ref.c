#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

/* A NaN passes through: all comparisons with it are false. */
double ref_act(activation act, float alpha, float beta, double x)
{
    switch (act) {
    case ACT_NONE: return x;
    case ACT_RELU: return x <= 0 ? 0 : x;
    case ACT_RELU6: return x <= 0 ? 0 : x > 6 ? 6 : x;
    case ACT_LEAKY: return x <= 0 ? alpha * x : x;
    case ACT_SIGMOID: return 1 / (1 + exp(-x));
    case ACT_SWISH: return x / (1 + exp(-x));
    case ACT_CLIP: return x < (double)alpha ? (double)alpha : x > (double)beta ? (double)beta : x;
    }
    BUG("activation %d", (int)act);
}

/* All but leaky choose among f32 values; sigmoid and swish are rounded once. */
float ref_act_f32(activation act, float alpha, float beta, float x)
{
    if (act == ACT_LEAKY) return x <= 0 ? alpha * x : x;
    return (float)ref_act(act, alpha, beta, (double)x);
}

double ref_act_grad(activation act, float alpha, float beta, double x)
{
    double s;
    switch (act) {
    case ACT_NONE: return 1;
    case ACT_RELU: return x > 0;
    case ACT_RELU6: return x > 0 && x < 6;
    case ACT_LEAKY: return x > 0 ? 1 : (double)alpha;
    case ACT_SIGMOID: s = 1 / (1 + exp(-x)); return s * (1 - s);
    case ACT_SWISH: s = 1 / (1 + exp(-x)); return s + x * s * (1 - s);
    case ACT_CLIP: return x > (double)alpha && x < (double)beta;
    }
    BUG("activation %d", (int)act);
}

double ref_act_grad_dst(activation act, float alpha, float beta, double y)
{
    switch (act) {
    case ACT_NONE: return 1;
    case ACT_RELU: return y > 0;
    case ACT_RELU6: return y > 0 && y < 6;
    case ACT_LEAKY: return y > 0 ? 1 : (double)alpha;
    case ACT_CLIP: return y > (double)alpha && y < (double)beta;
    default: BUG("the input of activation %d does not follow from its output", (int)act);
    }
}

bool ref_act_known(activation act)
{
    return (unsigned)act <= ACT_CLIP;
}

bool ref_act_recoverable(activation act, float alpha)
{
    return act == ACT_NONE || act == ACT_RELU || act == ACT_RELU6 || act == ACT_CLIP ||
           (act == ACT_LEAKY && alpha >= 0);
}

void ref_load(double *values, const void *data, dtype type, int64_t first, int64_t count)
{
    if (type == DTYPE_F32) {
        const float *from = (const float *)data + first;
        for (int64_t i = 0; i < count; i++) values[i] = from[i];
    } else if (type == DTYPE_F64) {
        memcpy(values, (const double *)data + first, (size_t)count * sizeof(double));
    } else {
        for (int64_t i = 0; i < count; i++) values[i] = dtype_load(data, type, first + i);
    }
}

void ref_store(void *data, dtype type, int64_t first, const double *values, int64_t count)
{
    if (type == DTYPE_F32) {
        float *to = (float *)data + first;
        for (int64_t i = 0; i < count; i++) to[i] = (float)values[i];
    } else if (type == DTYPE_F64) {
        memcpy((double *)data + first, values, (size_t)count * sizeof(double));
    } else {
        for (int64_t i = 0; i < count; i++) dtype_store(data, type, first + i, values[i]);
    }
}

void ref_store_f32(void *data, dtype type, int64_t i, float y)
{
    if (type == DTYPE_I8 || type == DTYPE_U8) {
        float low = type == DTYPE_I8 ? -128.0f : 0.0f, high = type == DTYPE_I8 ? 127.0f : 255.0f;
        float r = rintf(y);
        r = r < low ? low : r > high ? high : r;
        if (type == DTYPE_I8) ((int8_t *)data)[i] = r == r ? (int8_t)r : 0;
        else ((uint8_t *)data)[i] = r == r ? (uint8_t)r : 0;
        return;
    }
    dtype_store(data, type, i, (double)y);
}

bool ref_is_float(dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16 || type == DTYPE_F64;
}

bool ref_is_i8(dtype type)
{
    return type == DTYPE_I8 || type == DTYPE_U8;
}

dtype ref_param_type(dtype type)
{
    return type == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

bool ref_dims_ok(const int64_t *dim, int32_t count)
{
    int64_t left = INT64_C(1) << 40;
    for (int32_t i = 0; i < count; i++) {
        if (dim[i] < 1 || dim[i] > left || (count > 1 && dim[i] > INT32_MAX)) return false;
        left /= dim[i];
    }
    return true;
}
