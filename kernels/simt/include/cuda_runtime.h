/* cuda_runtime.h: CUDA C as far as Graft's kernels use it, for the host compiler. The API is in cuda_runtime_api.h;
 * waiting and warps are in kernels/simt/simt.h and ptx.h. */
#ifndef GRAFT_SIMT_CUDA_RUNTIME_H
#define GRAFT_SIMT_CUDA_RUNTIME_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
#include <math.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

extern "C" {
/* The running thread's; const, because to device code they never change. */
extern const __thread uint3 threadIdx __attribute__((tls_model("initial-exec")));
extern const __thread uint3 blockIdx __attribute__((tls_model("initial-exec")));
extern const __thread uint3 simt_block_dim __attribute__((tls_model("initial-exec")));
extern const __thread uint3 simt_grid_dim __attribute__((tls_model("initial-exec")));
}
#define blockDim simt_block_dim
#define gridDim simt_grid_dim
enum { warpSize = 32 };

#define SIMT_FN static inline __attribute__((unused))

/* ------------------------------------------------------------------------------------------------ vectors */

#define SIMT_VECTORS(type, name, bytes)                                                                                \
    struct alignas(2 * bytes) name##2 { type x, y; };                                                                  \
    struct name##3 { type x, y, z; };                                                                                  \
    struct alignas(4 * bytes > 16 ? 16 : 4 * bytes) name##4 { type x, y, z, w; };                                      \
    SIMT_FN name##2 make_##name##2(type x, type y) { return {x, y}; }                                                  \
    SIMT_FN name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                                       \
    SIMT_FN name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
SIMT_VECTORS(float, float, 4)
SIMT_VECTORS(double, double, 8)
SIMT_VECTORS(int, int, 4)
SIMT_VECTORS(signed char, char, 1)
SIMT_VECTORS(unsigned char, uchar, 1)
SIMT_VECTORS(short, short, 2)
SIMT_VECTORS(unsigned short, ushort, 2)
SIMT_VECTORS(long long, longlong, 8)
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
SIMT_FN uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
SIMT_FN uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
SIMT_FN uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
#undef SIMT_VECTORS

/* ------------------------------------------------------------------------------------------------ intrinsics */

template <typename To, typename From> SIMT_FN To simt_bits(From x)
{
    static_assert(sizeof(To) == sizeof(From), "same size");
    return __builtin_bit_cast(To, x);
}
SIMT_FN unsigned __float_as_uint(float x) { return simt_bits<unsigned>(x); }
SIMT_FN int __float_as_int(float x) { return simt_bits<int>(x); }
SIMT_FN float __uint_as_float(unsigned x) { return simt_bits<float>(x); }
SIMT_FN float __int_as_float(int x) { return simt_bits<float>(x); }
SIMT_FN long long __double_as_longlong(double x) { return simt_bits<long long>(x); }
SIMT_FN double __longlong_as_double(long long x) { return simt_bits<double>(x); }

SIMT_FN float __fadd_rn(float a, float b) { return a + b; }
SIMT_FN float __fsub_rn(float a, float b) { return a - b; }
SIMT_FN float __fmul_rn(float a, float b) { return a * b; }
SIMT_FN float __fdiv_rn(float a, float b) { return a / b; }
SIMT_FN float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
SIMT_FN float __frcp_rn(float a) { return 1.0f / a; }
SIMT_FN float __fsqrt_rn(float a) { return sqrtf(a); }
SIMT_FN double __dadd_rn(double a, double b) { return a + b; }
SIMT_FN double __dsub_rn(double a, double b) { return a - b; }
SIMT_FN double __dmul_rn(double a, double b) { return a * b; }
SIMT_FN double __ddiv_rn(double a, double b) { return a / b; }
SIMT_FN double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
SIMT_FN float rsqrtf(float a) { return (float)(1.0 / sqrt((double)a)); }
SIMT_FN double rsqrt(double a) { return 1.0 / sqrt(a); }
/* glibc declares these names itself, without their GPU meaning. */
#define __expf expf
#define __logf logf
SIMT_FN float __fdividef(float a, float b) { return a / b; }
SIMT_FN float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }
/* Saturating, NaN gives 0. */
SIMT_FN int simt_f2i(float a)
{
    return a != a ? 0 : a >= 2147483648.0f ? 2147483647 : a < -2147483648.0f ? -2147483647 - 1 : (int)a;
}
SIMT_FN int __float2int_rn(float a) { return simt_f2i(rintf(a)); }
SIMT_FN int __float2int_rd(float a) { return simt_f2i(floorf(a)); }
SIMT_FN int __float2int_ru(float a) { return simt_f2i(ceilf(a)); }
SIMT_FN int __float2int_rz(float a) { return simt_f2i(truncf(a)); }
SIMT_FN float __int2float_rn(int a) { return (float)a; }
SIMT_FN float __double2float_rn(double a) { return (float)a; }

SIMT_FN int __popc(unsigned x) { return __builtin_popcount(x); }
SIMT_FN int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
SIMT_FN int __ffs(int x) { return __builtin_ffs(x); }
SIMT_FN unsigned __brev(unsigned x)
{
    unsigned y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1u) << (31 - i);
    return y;
}
SIMT_FN int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
SIMT_FN unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
SIMT_FN unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
SIMT_FN int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++) c += (int)(signed char)(a >> 8 * i) * (int)(signed char)(b >> 8 * i);
    return c;
}
template <typename T> SIMT_FN T __ldg(const T *p) { return *p; }
SIMT_FN void __threadfence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
SIMT_FN void __threadfence_block(void) {}

#define SIMT_MINMAX(type)                                                                                              \
    SIMT_FN type min(type a, type b) { return b < a ? b : a; }                                                         \
    SIMT_FN type max(type a, type b) { return a < b ? b : a; }
SIMT_MINMAX(int)
SIMT_MINMAX(unsigned)
SIMT_MINMAX(long)
SIMT_MINMAX(unsigned long)
SIMT_MINMAX(long long)
SIMT_MINMAX(unsigned long long)
#undef SIMT_MINMAX
SIMT_FN float min(float a, float b) { return fminf(a, b); }
SIMT_FN float max(float a, float b) { return fmaxf(a, b); }
SIMT_FN double min(double a, double b) { return fmin(a, b); }
SIMT_FN double max(double a, double b) { return fmax(a, b); }

#endif
#endif
