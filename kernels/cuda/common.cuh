/* common.cuh: what every CUDA kernel of ours stands on: launching, shared memory, element
 * types, activations, reductions.
 *
 * The same .cu sources are compiled twice: by nvcc for GPUs, and by the host compiler with -DGRAFT_SIMT
 * for kernels/simt, which runs them on the CPU, one fibre per thread, and watches their accesses. So
 * device code keeps to these rules:
 *
 *   - shared memory is declared by SHARED or SHARED_DYNAMIC, never by __shared__;
 *   - kernels start through launch(), never by <<<>>>;
 *   - PTX and intrinsics only through ptx.cuh; what an architecture lacks is chosen on the host (cuda_properties) and
 *     is a template parameter, never an #if on __CUDA_ARCH__;
 *   - every thread of a block reaches every barrier, every lane of a warp every shuffle: guard loads and stores, do not
 *     return early;
 *   - arithmetic is f32 (f64 where a descriptor says so); f16 and bf16 are only loaded and stored. Contraction is off
 *     (-fmad=false): write fmaf where a fused product is meant, and both compilations give the same bits;
 *   - no float atomics, no allocation, no synchronisation with the host.
 *
 *     static __global__ void __launch_bounds__(256)
 *         leaky(float *__restrict__ dst, const float *__restrict__ src, float slope, int64_t count)
 *     {
 *         int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
 *         if (i < count) dst[i] = src[i] > 0.0f ? src[i] : slope * src[i];
 *     }
 *     static status leaky_run(const kernel_call *call)
 *     {
 *         const act_desc *d = (const act_desc *)call->desc;
 *         return launch(leaky, dim3(blocks_for(d->count, 256)), dim3(256), 0, call->stream, call->out[0], call->in[0],
 *             d->alpha, d->count);
 *     }
 *     CUDA_KERNEL(act_forward__cuda_leaky, OP_ACT_FORWARD, .refuse = refuse, .run = leaky_run);
 */
#ifndef GRAFT_CUDA_COMMON_CUH
#define GRAFT_CUDA_COMMON_CUH

#include <cuda_runtime.h> /* the toolkit's, or kernels/simt/include's */
#include <math.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "kernels/cuda/ptx.cuh"

#define CUDA_TRY(call)                                                                                                 \
    do {                                                                                                               \
        cudaError_t e_ = (call);                                                                                       \
        if (e_ != cudaSuccess) return FAIL(E_DEVICE, "%s: %s", #call, cudaGetErrorString(e_));                         \
    } while (0)

/* ------------------------------------------------------------------------------------------------ shared memory */

/* SHARED(float, tile, [32][33]);  a block's own array, uninitialised.
 * SHARED_DYNAMIC(bytes);          unsigned char *bytes: launch()'s shared_bytes, 128-byte aligned. */
#ifdef GRAFT_SIMT
#define SHARED(type, name, dims)                                                                                       \
    typedef type name##_type dims;                                                                                     \
    static const char name##_key = 0;                                                                                  \
    name##_type &name = *(name##_type *)simt_shared(&name##_key, sizeof(name##_type), #name)
#define SHARED_DYNAMIC(name) unsigned char *name = (unsigned char *)simt_shared_dynamic()
#else
#define SHARED(type, name, dims) __shared__ type name dims
#define SHARED_DYNAMIC(name) extern __shared__ __align__(128) unsigned char name[]
#endif

/* ------------------------------------------------------------------------------------------------ launching */

/* Of the current device: what launchers choose by. Under kernels/simt those of a small
 * imaginary GPU (GRAFT_SIMT_SM=75|80|90). */
typedef struct cuda_properties {
    int32_t sm;          /* 75, 80, 90 ...: 10 * major + minor     */
    int32_t processors;  /* multiprocessors                        */
    int32_t shared_bytes;/* most that one block can have (opt-in)  */
} cuda_properties;

static inline status cuda_properties_get(cuda_properties *p)
{
    int device, major, minor;
    CUDA_TRY(cudaGetDevice(&device));
    CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    CUDA_TRY(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
    CUDA_TRY(cudaDeviceGetAttribute(&p->processors, cudaDevAttrMultiProcessorCount, device));
    CUDA_TRY(cudaDeviceGetAttribute(&p->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    p->sm = 10 * major + minor;
    return OK;
}

/* Defines the variant `symbol` of `op_value`; the rest are fields of `kernel` in its order, from .refuse on. */
#define CUDA_KERNEL(symbol, op_value, ...)                                                                             \
    extern "C" {                                                                                                       \
    extern const kernel symbol;                                                                                        \
    }                                                                                                                  \
    const kernel symbol = {.op = op_value, .backend = BACKEND_CUDA, .name = #symbol, __VA_ARGS__}

/* What every variant on floats refuses. */
static inline const char *cuda_refuse_type(dtype type)
{
    return type == DTYPE_F64 ? "f64 is the reference's" : NULL;
}

/* a / b for a >= 0, b > 0: by the short division, which is several times as fast, where it can be. */
static inline __device__ int64_t quotient(int64_t a, int32_t b)
{
    return a <= INT32_MAX ? (int32_t)a / b : a / b;
}

/* A grid's y and z: kernels walk on in steps of the grid. */
constexpr int GRID_MAX = 65535;

/* Blocks that cover `count` with `each` elements a block. */
static inline unsigned blocks_for(int64_t count, int64_t each)
{
    return (unsigned)((count + each - 1) / each);
}

/* The same for kernels that walk on in steps of the grid: no more blocks of 256 threads
 * than the device holds at once. */
static inline status blocks_on_device(unsigned *blocks, int64_t count, int64_t each)
{
    cuda_properties p;
    TRY(cuda_properties_get(&p));
    int64_t needed = (count + each - 1) / each, most = 8 * (int64_t)p.processors;
    *blocks = (unsigned)(needed < most ? needed : most);
    return OK;
}

/* Starts `kernel` on the call's stream. E_DEVICE with the CUDA error. Arguments are converted to the kernel's
 * parameters. More than 48 KB of shared memory must be opted into, here by what is asked for alone: a kernel that asks
 * for up to 48 KB must keep what it declares within them, too. */
template <typename... Parameters, typename... Arguments>
static inline status launch(
    void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, void *stream, Arguments... arguments)
{
#ifdef GRAFT_SIMT
    return simt_launch(
        [=] { kernel((Parameters)arguments...); }, (const void *)kernel, grid, block, shared_bytes, stream);
#else
    auto start = [&](Parameters... parameters) {
        void *pointers[] = {(void *)&parameters...};
        return cudaLaunchKernel((const void *)kernel, grid, block, pointers, shared_bytes, (cudaStream_t)stream);
    };
    if (shared_bytes > 48 * 1024)
        CUDA_TRY(
            cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes));
    CUDA_TRY(start((Parameters)arguments...));
    return OK;
#endif
}

/* ------------------------------------------------------------------------------------------------ element types */

/* Storage only: load converts to f32, store rounds to nearest, ties to even (integers saturate). */
static inline __device__ float to_float(float x) { return x; }
static inline __device__ float to_float(f16 x) { return ptx_f16_to_f32(x); }
static inline __device__ float to_float(bf16 x) { return ptx_bf16_to_f32(x); }
static inline __device__ float to_float(int8_t x) { return (float)x; }
static inline __device__ float to_float(uint8_t x) { return (float)x; }

template <typename T> static inline __device__ T from_float(float x);
template <> inline __device__ float from_float<float>(float x) { return x; }
template <> inline __device__ f16 from_float<f16>(float x) { return ptx_f32_to_f16(x); }
template <> inline __device__ bf16 from_float<bf16>(float x) { return ptx_f32_to_bf16(x); }
template <> inline __device__ int8_t from_float<int8_t>(float x) { return ptx_f32_to_s8(x); }
template <> inline __device__ uint8_t from_float<uint8_t>(float x) { return ptx_f32_to_u8(x); }

/* N elements in one access: an array with that alignment (sizeof(T) * N at most 16). */
template <typename T, int N> struct alignas(sizeof(T) * N) pack {
    T at[N];
};

/* Elements of T that one 16-byte access moves. */
template <typename T> constexpr int LANES = 16 / (int)sizeof(T);

template <int N, typename T> static inline __device__ pack<T, N> load_pack(const T *from)
{
    return *(const pack<T, N> *)from;
}
template <int N, typename T> static inline __device__ void store_pack(T *to, const pack<T, N> &values)
{
    *(pack<T, N> *)to = values;
}

/* Whether accesses of `bytes` (a power of two) may start at p; an absent tensor does not mind. */
static inline bool aligned_to(const void *p, size_t bytes)
{
    return ((uintptr_t)p & (bytes - 1)) == 0;
}

/* Calls FUNCTION<T>(arguments) for the storage type of a float dtype. */
#define FOR_FLOAT_TYPE(type, FUNCTION, ...)                                                                            \
    ((type) == DTYPE_F16       ? FUNCTION<f16>(__VA_ARGS__)                                                            \
        : (type) == DTYPE_BF16 ? FUNCTION<bf16>(__VA_ARGS__)                                                           \
                               : FUNCTION<float>(__VA_ARGS__))

/* The same for activations of an engine, i8 and u8, too. */
#define FOR_ACTIVATION_TYPE(type, FUNCTION, ...)                                                                       \
    ((type) == DTYPE_I8      ? FUNCTION<int8_t>(__VA_ARGS__)                                                           \
        : (type) == DTYPE_U8 ? FUNCTION<uint8_t>(__VA_ARGS__)                                                          \
                             : FOR_FLOAT_TYPE(type, FUNCTION, __VA_ARGS__))

/* Sums of integers are integers. */
template <typename T> struct sum_of { typedef float type; };
template <> struct sum_of<int8_t> { typedef int32_t type; };
template <> struct sum_of<uint8_t> { typedef int32_t type; };

/* ------------------------------------------------------------------------------------------------ activations */

static inline __device__ float activate(float x, activation act, float alpha, float beta)
{
    switch (act) {
    case ACT_RELU: return x < 0.0f ? 0.0f : x;
    case ACT_RELU6: return x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x;
    case ACT_LEAKY: return x > 0.0f ? x : alpha * x;
    case ACT_SIGMOID: return 1.0f / (1.0f + expf(-x));
    case ACT_SWISH: return x / (1.0f + expf(-x));
    case ACT_CLIP: return x < alpha ? alpha : x > beta ? beta : x;
    default: return x;
    }
}

/* Before a rounding to an integer, which must be the same on every machine: exp in double, as the reference has it. */
static inline __device__ float activate_exactly(float x, activation act, float alpha, float beta)
{
    if (act == ACT_SIGMOID) return (float)(1.0 / (1.0 + exp(-(double)x)));
    if (act == ACT_SWISH) return (float)((double)x / (1.0 + exp(-(double)x)));
    return activate(x, act, alpha, beta);
}

/* g * act'(x), for x the input or, of those that bn_desc allows, the output of the activation. */
static inline __device__ float activate_gradient(float g, float x, activation act, float alpha, float beta)
{
    switch (act) {
    case ACT_RELU: return x > 0.0f ? g : 0.0f;
    case ACT_RELU6: return x > 0.0f && x < 6.0f ? g : 0.0f;
    case ACT_LEAKY: return x > 0.0f ? g : alpha * g;
    case ACT_CLIP: return x > alpha && x < beta ? g : 0.0f;
    case ACT_SIGMOID: { float s = 1.0f / (1.0f + expf(-x)); return g * s * (1.0f - s); }
    case ACT_SWISH: { float s = 1.0f / (1.0f + expf(-x)); return g * (s + x * s * (1.0f - s)); }
    default: return g;
    }
}

/* ------------------------------------------------------------------------------------------------ reductions */

enum { WARP = 32 };

/* Sum over a warp in a fixed tree; every lane gets it. T: float or double. */
template <typename T> static inline __device__ T warp_sum(T x)
{
    for (int offset = WARP / 2; offset > 0; offset /= 2) x += ptx_shuffle_xor(x, offset);
    return x;
}

static inline __device__ float warp_max(float x)
{
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        float y = ptx_shuffle_xor(x, offset);
        x = y > x ? y : x;
    }
    return x;
}

/* Sum over a block of at most 1024 threads, a multiple of 32; every thread gets it. All threads call it. */
template <typename T> static inline __device__ T block_sum(T x)
{
    SHARED(T, partial, [WARP]);
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    __syncthreads(); /* partial may still be read by an earlier call */
    if (lane == 0) partial[warp] = x;
    __syncthreads();
    T sum = 0;
    for (int i = 0; i < warps; i++) sum += partial[i];
    return sum;
}

#endif
