/* ptx.h: the host twins of ptx.cuh, which documents them. Those that wait have the caller's line
 * as a last, defaulted argument. */
#ifndef GRAFT_SIMT_PTX_H
#define GRAFT_SIMT_PTX_H

#include <math.h>

#include "core/base/dtype.h"
#include "kernels/simt/simt.h"
#ifdef __F16C__
#include <immintrin.h>
#endif

#define PTX static inline __attribute__((unused))

/* ------------------------------------------------------------------------------------------------ conversions */

#ifdef __F16C__
PTX float ptx_f16_to_f32(f16 x) { return _cvtsh_ss(x.bits); }
PTX f16 ptx_f32_to_f16(float x)
{
    return f16{x != x ? (uint16_t)0x7fff : (uint16_t)_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)};
}
#else
PTX float ptx_f16_to_f32(f16 x) { return f16_to_f32(x.bits); }
PTX f16 ptx_f32_to_f16(float x) { return f16{x != x ? (uint16_t)0x7fff : f32_to_f16(x)}; } /* cvt gives this NaN */
#endif
PTX float ptx_bf16_to_f32(bf16 x) { return __uint_as_float((uint32_t)x.bits << 16); }
PTX bf16 ptx_f32_to_bf16(float x)
{
    uint32_t u = __float_as_uint(x), rounded = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    return bf16{(uint16_t)(x != x ? u >> 16 | 0x40 : rounded)};
}
PTX int8_t ptx_f32_to_s8(float x)
{
    float y = rintf(x);
    return (int8_t)(y != y ? 0 : y < -128.0f ? -128 : y > 127.0f ? 127 : (int)y);
}
PTX uint8_t ptx_f32_to_u8(float x)
{
    float y = rintf(x);
    return (uint8_t)(y != y ? 0 : y < 0.0f ? 0 : y > 255.0f ? 255 : (int)y);
}
PTX uint32_t ptx_f32_to_tf32(float x, SIMT_HERE)
{
    simt_needs(80, "cvt.rna.tf32.f32", simt_site_of(at));
    uint32_t u = __float_as_uint(x), magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fffffffu;
    return magnitude == 0x7f800000u
               ? u
               : (u + 0x1000u) & 0xffffe000u; /* half a unit up in magnitude: ties away from zero */
}

/* ------------------------------------------------------------------------------------------------ warps */

/* Lane `source`'s x, for an x of at most 8 bytes. */
template <typename T> PTX T simt_exchange_from(T x, int source, const char *name, const simt_site *site)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
    simt_exchange e = {0, source};
    memcpy(&e.value, &x, sizeof x);
    simt_collective(simt_combine_exchange, name, &e, site);
    memcpy(&x, &e.value, sizeof x);
    return x;
}
PTX int simt_lane(void)
{
    return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32u);
}
template <typename T> PTX T ptx_shuffle_xor(T x, int mask, SIMT_HERE)
{
    return simt_exchange_from(x, (simt_lane() ^ mask) & 31, "shfl.bfly", simt_site_of(at));
}
template <typename T> PTX T ptx_shuffle_down(T x, int delta, SIMT_HERE)
{
    int lane = simt_lane();
    return simt_exchange_from(x, lane + delta < 32 ? lane + delta : lane, "shfl.down", simt_site_of(at));
}
template <typename T> PTX T ptx_shuffle(T x, int lane, SIMT_HERE)
{
    return simt_exchange_from(x, lane & 31, "shfl.idx", simt_site_of(at));
}
PTX uint32_t ptx_ballot(bool x, SIMT_HERE)
{
    simt_vote vote = {x};
    simt_collective(simt_combine_vote, "vote.ballot", &vote, simt_site_of(at));
    return vote.value;
}
PTX void ptx_warp_barrier(SIMT_HERE)
{
    char nothing;
    simt_collective(simt_combine_nothing, "bar.warp.sync", &nothing, simt_site_of(at));
}

/* ------------------------------------------------------------------------------------------------ copies */

template <int BYTES> PTX void ptx_cp_async(void *shared, const void *global, bool valid, SIMT_HERE)
{
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    simt_needs(80, "cp.async", simt_site_of(at));
    simt_cp_async(shared, global, BYTES, valid, simt_site_of(at));
}
PTX void ptx_cp_async_commit(SIMT_HERE)
{
    simt_needs(80, "cp.async.commit_group", simt_site_of(at));
    simt_cp_async_commit();
}
template <int PENDING> PTX void ptx_cp_async_wait(SIMT_HERE)
{
    simt_needs(80, "cp.async.wait_group", simt_site_of(at));
    simt_cp_async_wait(PENDING);
}

PTX void simt_load_matrix(
    simt_combine *combine, const char *name, uint32_t *r, const void *shared, const simt_site *site)
{
    simt_ldmatrix load = {r, shared};
    simt_collective(combine, name, &load, site);
}
PTX void ptx_ldmatrix_x4(uint32_t r[4], const void *shared, SIMT_HERE)
{
    simt_load_matrix(simt_combine_ldmatrix_x4, "ldmatrix.x4", r, shared, simt_site_of(at));
}
PTX void ptx_ldmatrix_x4_trans(uint32_t r[4], const void *shared, SIMT_HERE)
{
    simt_load_matrix(simt_combine_ldmatrix_x4_trans, "ldmatrix.x4.trans", r, shared, simt_site_of(at));
}
PTX void ptx_ldmatrix_x2(uint32_t r[2], const void *shared, SIMT_HERE)
{
    simt_load_matrix(simt_combine_ldmatrix_x2, "ldmatrix.x2", r, shared, simt_site_of(at));
}
PTX void ptx_ldmatrix_x2_trans(uint32_t r[2], const void *shared, SIMT_HERE)
{
    simt_load_matrix(simt_combine_ldmatrix_x2_trans, "ldmatrix.x2.trans", r, shared, simt_site_of(at));
}

/* ------------------------------------------------------------------------------------------------ products */

PTX void simt_multiply(simt_combine *combine, const char *name, int sm, void *d, const uint32_t *a, const uint32_t *b,
    const simt_site *site)
{
    if (sm > 75) simt_needs(sm, name, site);
    simt_mma product = {d, a, b};
    simt_collective(combine, name, &product, site);
}
PTX void ptx_mma_f16_k16(float d[4], const uint32_t a[4], const uint32_t b[2], SIMT_HERE)
{
    simt_multiply(simt_combine_mma_f16_k16, "mma.m16n8k16.f16", 80, d, a, b, simt_site_of(at));
}
PTX void ptx_mma_bf16_k16(float d[4], const uint32_t a[4], const uint32_t b[2], SIMT_HERE)
{
    simt_multiply(simt_combine_mma_bf16_k16, "mma.m16n8k16.bf16", 80, d, a, b, simt_site_of(at));
}
PTX void ptx_mma_tf32_k8(float d[4], const uint32_t a[4], const uint32_t b[2], SIMT_HERE)
{
    simt_multiply(simt_combine_mma_tf32_k8, "mma.m16n8k8.tf32", 80, d, a, b, simt_site_of(at));
}
PTX void ptx_mma_f16_k8(float d[4], const uint32_t a[2], const uint32_t b[1], SIMT_HERE)
{
    simt_multiply(simt_combine_mma_f16_k8, "mma.m16n8k8.f16", 75, d, a, b, simt_site_of(at));
}
PTX void ptx_mma_s8_k32(int32_t d[4], const uint32_t a[4], const uint32_t b[2], SIMT_HERE)
{
    simt_multiply(simt_combine_mma_s8_k32, "mma.m16n8k32.s8", 80, d, a, b, simt_site_of(at));
}
PTX void ptx_mma_u8s8_k32(int32_t d[4], const uint32_t a[4], const uint32_t b[2], SIMT_HERE)
{
    simt_multiply(simt_combine_mma_u8s8_k32, "mma.m16n8k32.u8.s8", 80, d, a, b, simt_site_of(at));
}
PTX void ptx_mma_s8_k16(int32_t d[2], const uint32_t a[1], const uint32_t b[1], SIMT_HERE)
{
    simt_multiply(simt_combine_mma_s8_k16, "mma.m8n8k16.s8", 75, d, a, b, simt_site_of(at));
}

#undef PTX
#endif
