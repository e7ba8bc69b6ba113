/* cast.cu: between element types, with and without a scale. Results are defined to the bit (kernels.h).
 *
 * direct: a thread an element, every pair of types through double, as the reference does. vector: among f32,
 * f16, bf16, i8 and u8, whose values f32 holds; a thread moves four elements per access (16 bytes of f32),
 * four in flight. Bound by memory.
 */
#include "kernels/cuda/common.cuh"

#include <string.h>

constexpr int THREADS = 256, UNROLL = 4, WIDTH = 4;

/* The types that f32 holds exactly. */
static bool is_narrow(dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16 || type == DTYPE_I8 || type == DTYPE_U8;
}

static const char *vector_refuse(const void *desc)
{
    const cast_desc *d = (const cast_desc *)desc;
    return is_narrow(d->src_type) && is_narrow(d->dst_type) ? NULL : "a type that f32 does not hold";
}

/* ------------------------------------------------------------------------------------------------ direct */

static __device__ double load_any(const void *src, dtype type, int64_t i)
{
    switch (type) {
    case DTYPE_F32: return (double)((const float *)src)[i];
    case DTYPE_F16: return (double)to_float(((const f16 *)src)[i]);
    case DTYPE_BF16: return (double)to_float(((const bf16 *)src)[i]);
    case DTYPE_F64: return ((const double *)src)[i];
    case DTYPE_I8: return (double)((const int8_t *)src)[i];
    case DTYPE_U8: return (double)((const uint8_t *)src)[i];
    case DTYPE_I32: return (double)((const int32_t *)src)[i];
    case DTYPE_I64: return (double)((const int64_t *)src)[i];
    default: return 0.0;
    }
}

/* To f32 rounded to odd, so that a second rounding to a shorter type equals one direct
 * rounding (Boldo and Melquiond 2008). */
static __device__ float to_odd(double value)
{
    float near = (float)value;
    if ((double)near == value || value != value) return near;
    uint32_t bits;
    memcpy(&bits, &near, sizeof bits);
    if (fabs((double)near) > fabs(value)) bits--;
    bits |= 1;
    memcpy(&near, &bits, sizeof near);
    return near;
}

static __device__ double rounded_between(double value, double low, double high)
{
    if (value != value) return 0.0;
    double near = rint(value);
    return near < low ? low : near > high ? high : near;
}

static __device__ void store_any(void *dst, dtype type, int64_t i, double value)
{
    switch (type) {
    case DTYPE_F32: ((float *)dst)[i] = (float)value; return;
    case DTYPE_F16: ((f16 *)dst)[i] = from_float<f16>(to_odd(value)); return;
    case DTYPE_BF16: ((bf16 *)dst)[i] = from_float<bf16>(to_odd(value)); return;
    case DTYPE_F64: ((double *)dst)[i] = value; return;
    case DTYPE_I8: ((int8_t *)dst)[i] = (int8_t)rounded_between(value, -128.0, 127.0); return;
    case DTYPE_U8: ((uint8_t *)dst)[i] = (uint8_t)rounded_between(value, 0.0, 255.0); return;
    case DTYPE_I32: ((int32_t *)dst)[i] = (int32_t)rounded_between(value, -2147483648.0, 2147483647.0); return;
    case DTYPE_I64: /* 2^63 itself is a double but no int64_t */
        ((int64_t *)dst)[i] = value >= 0x1p63 ? INT64_MAX : (int64_t)rounded_between(value, -0x1p63, 0x1p63);
        return;
    default: return;
    }
}

/* scaled: the product with `scale` in f32, rounded there. */
static __global__ void __launch_bounds__(THREADS) cast_direct(void *__restrict__ dst, const void *__restrict__ src,
    int64_t count, dtype dst_type, dtype src_type, bool scaled, float scale)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    double x = load_any(src, src_type, i);
    if (scaled) x = (double)((float)x * scale);
    store_any(dst, dst_type, i, x);
}

static status launch_direct(const kernel_call *call, bool scaled)
{
    const cast_desc *d = (const cast_desc *)call->desc;
    return launch(cast_direct, dim3(blocks_for(d->count, THREADS)), dim3(THREADS), 0, call->stream, call->out[0],
        call->in[0], d->count, d->dst_type, d->src_type, scaled, d->scale);
}

static status cast_direct_run(const kernel_call *call)
{
    return launch_direct(call, false);
}

static status scale_direct_run(const kernel_call *call)
{
    return launch_direct(call, true);
}

/* ------------------------------------------------------------------------------------------------ vector */

/* packs of WIDTH elements; 0 where a tensor is not aligned. A plain cast has scale 1. */
template <typename TO, typename FROM>
static __global__ void __launch_bounds__(THREADS)
    cast_vector(TO *__restrict__ dst, const FROM *__restrict__ src, int64_t count, int64_t packs, float scale)
{
    int64_t first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = first; i < packs; i += UNROLL * stride) {
        pack<FROM, WIDTH> x[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            if (i + u * stride < packs) x[u] = load_pack<WIDTH>(src + (i + u * stride) * WIDTH);
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            if (i + u * stride >= packs) break;
            pack<TO, WIDTH> y;
#pragma unroll
            for (int k = 0; k < WIDTH; k++) y.at[k] = from_float<TO>(to_float(x[u].at[k]) * scale);
            store_pack(dst + (i + u * stride) * WIDTH, y);
        }
    }
    for (int64_t i = packs * WIDTH + first; i < count; i += stride) dst[i] = from_float<TO>(to_float(src[i]) * scale);
}

template <typename TO, typename FROM> static status launch_vector(const kernel_call *call, float scale)
{
    const cast_desc *d = (const cast_desc *)call->desc;
    bool aligned = aligned_to(call->out[0], WIDTH * sizeof(TO)) && aligned_to(call->in[0], WIDTH * sizeof(FROM));
    unsigned blocks;
    TRY(blocks_on_device(&blocks, d->count, THREADS * UNROLL * WIDTH));
    return launch(cast_vector<TO, FROM>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0], call->in[0],
        d->count, aligned ? d->count / WIDTH : 0, scale);
}

template <typename FROM> static status launch_from(const kernel_call *call, float scale)
{
    switch (((const cast_desc *)call->desc)->dst_type) {
    case DTYPE_F16: return launch_vector<f16, FROM>(call, scale);
    case DTYPE_BF16: return launch_vector<bf16, FROM>(call, scale);
    case DTYPE_I8: return launch_vector<int8_t, FROM>(call, scale);
    case DTYPE_U8: return launch_vector<uint8_t, FROM>(call, scale);
    default: return launch_vector<float, FROM>(call, scale);
    }
}

static status launch_typed(const kernel_call *call, float scale)
{
    switch (((const cast_desc *)call->desc)->src_type) {
    case DTYPE_F16: return launch_from<f16>(call, scale);
    case DTYPE_BF16: return launch_from<bf16>(call, scale);
    case DTYPE_I8: return launch_from<int8_t>(call, scale);
    case DTYPE_U8: return launch_from<uint8_t>(call, scale);
    default: return launch_from<float>(call, scale);
    }
}

static status cast_vector_run(const kernel_call *call)
{
    return launch_typed(call, 1.0f);
}

static status scale_vector_run(const kernel_call *call)
{
    return launch_typed(call, ((const cast_desc *)call->desc)->scale);
}

CUDA_KERNEL(cast__cuda_vector, OP_CAST, .refuse = vector_refuse, .run = cast_vector_run);
CUDA_KERNEL(cast__cuda_direct, OP_CAST, .run = cast_direct_run);
CUDA_KERNEL(quantise__cuda_vector, OP_QUANTISE, .refuse = vector_refuse, .run = scale_vector_run);
CUDA_KERNEL(quantise__cuda_direct, OP_QUANTISE, .run = scale_direct_run);
CUDA_KERNEL(dequantise__cuda_vector, OP_DEQUANTISE, .refuse = vector_refuse, .run = scale_vector_run);
CUDA_KERNEL(dequantise__cuda_direct, OP_DEQUANTISE, .run = scale_direct_run);
