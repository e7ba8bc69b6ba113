/* ptx.cuh: PTX and intrinsics as thin device functions, each with its host twin (kernels/simt/ptx.h)
 * for the compilation that runs on the CPU. Fragment layouts are those of the PTX ISA manual,
 * "Matrix fragments for mma.mNNnNNkNN".
 *
 * Needs sm_80: cp_async, bf16 and tf32 products, m16n8k16 and m16n8k32 shapes; sm_75 has ldmatrix, mma f16 m16n8k8 and
 * s8 m8n8k16. A function that the compiled architecture lacks traps: launchers choose by cuda_properties.
 */
#ifndef GRAFT_CUDA_PTX_CUH
#define GRAFT_CUDA_PTX_CUH

#include <stdint.h>

/* 16-bit floats as storage. */
typedef struct f16 { uint16_t bits; } f16;
typedef struct bf16 { uint16_t bits; } bf16;

#ifdef GRAFT_SIMT
#include "kernels/simt/ptx.h"
#else

#define PTX static __device__ __forceinline__
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define PTX_AMPERE(statement) __trap()
#else
#define PTX_AMPERE(statement) statement
#endif

/* ------------------------------------------------------------------------------------------------ conversions */

PTX float ptx_f16_to_f32(f16 x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits)); return y; }
PTX f16 ptx_f32_to_f16(float x) { f16 y; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); return y; }
PTX float ptx_bf16_to_f32(bf16 x) { return __uint_as_float((uint32_t)x.bits << 16); }
/* By integers, so that sm_75 has it too: nearest, ties to even; NaN stays NaN. */
PTX bf16 ptx_f32_to_bf16(float x)
{
    uint32_t u = __float_as_uint(x), rounded = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    return bf16{(uint16_t)(x != x ? u >> 16 | 0x40 : rounded)};
}
/* Nearest, ties to even, saturated; NaN gives 0. */
PTX int8_t ptx_f32_to_s8(float x) { int32_t y; asm("cvt.rni.sat.s8.f32 %0, %1;" : "=r"(y) : "f"(x)); return (int8_t)y; }
PTX uint8_t ptx_f32_to_u8(float x)
{
    uint32_t y;
    asm("cvt.rni.sat.u8.f32 %0, %1;" : "=r"(y) : "f"(x));
    return (uint8_t)y;
}
/* The 19 bits that a tf32 product reads, nearest, ties away from zero. */
PTX uint32_t ptx_f32_to_tf32(float x)
{
    uint32_t y = 0;
    PTX_AMPERE(asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x)));
    return y;
}

/* ------------------------------------------------------------------------------------------------ warps */

template <typename T> PTX T ptx_shuffle_xor(T x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
template <typename T> PTX T ptx_shuffle_down(T x, int delta) { return __shfl_down_sync(0xffffffffu, x, delta); }
template <typename T> PTX T ptx_shuffle(T x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
PTX uint32_t ptx_ballot(bool x) { return __ballot_sync(0xffffffffu, x); }
PTX void ptx_warp_barrier(void) { __syncwarp(); }

/* ------------------------------------------------------------------------------------------------ copies */

/* Global to shared without registers: bytes 4, 8 or 16 (16 past L1), zeros where `valid` is false (source
 * is then not read, but must be a valid address). Visible to this thread after ptx_cp_async_wait, to the
 * block after a barrier behind that. */
template <int BYTES> PTX void ptx_cp_async(void *shared, const void *global, bool valid)
{
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    int read = valid ? BYTES : 0;
    if (BYTES == 16)
        PTX_AMPERE(asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(read)
                                : "memory"));
    else
        PTX_AMPERE(
            asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(to), "l"(global), "r"(read), "n"(BYTES)
                         : "memory"));
}
PTX void ptx_cp_async_commit(void) { PTX_AMPERE(asm volatile("cp.async.commit_group;" ::: "memory")); }
/* Waits until at most PENDING of this thread's newest groups are under way. */
template <int PENDING> PTX void ptx_cp_async_wait(void)
{
    PTX_AMPERE(asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"));
}

/* Four (two, one) 8x8 matrices of 16-bit elements from shared memory; lane i gives the row
 * address of matrix i / 8, row i % 8. */
PTX void ptx_ldmatrix_x4(uint32_t r[4], const void *shared)
{
    uint32_t from = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}
PTX void ptx_ldmatrix_x4_trans(uint32_t r[4], const void *shared)
{
    uint32_t from = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}
PTX void ptx_ldmatrix_x2(uint32_t r[2], const void *shared)
{
    uint32_t from = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(from)
                 : "memory");
}
PTX void ptx_ldmatrix_x2_trans(uint32_t r[2], const void *shared)
{
    uint32_t from = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(from)
                 : "memory");
}

/* ------------------------------------------------------------------------------------------------ products */

/* d[16x8] += a[16xK] * b[Kx8], f32 (s32) accumulators. */
PTX void ptx_mma_f16_k16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    PTX_AMPERE(asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}
PTX void ptx_mma_bf16_k16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    PTX_AMPERE(asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}
PTX void ptx_mma_tf32_k8(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    PTX_AMPERE(asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}
/* sm_75 too. */
PTX void ptx_mma_f16_k8(float d[4], const uint32_t a[2], const uint32_t b[1])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}
PTX void ptx_mma_s8_k32(int32_t d[4], const uint32_t a[4], const uint32_t b[2])
{
    PTX_AMPERE(asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}
/* u8 activations, s8 weights. */
PTX void ptx_mma_u8s8_k32(int32_t d[4], const uint32_t a[4], const uint32_t b[2])
{
    PTX_AMPERE(asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}
/* d[8x8] += a[8x16] * b[16x8]; sm_75 too. */
PTX void ptx_mma_s8_k16(int32_t d[2], const uint32_t a[1], const uint32_t b[1])
{
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
        : "+r"(d[0]), "+r"(d[1]) : "r"(a[0]), "r"(b[0]));
}

#undef PTX_AMPERE
#undef PTX
#endif
#endif
