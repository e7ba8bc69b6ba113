/* conv2d_mma.cuh: implicit GEMM on tensor cores: the product of conv2d.cuh by mma.sync. Forward and data gradient.
 * This file holds the kernel and its launches; conv2d_mma_load.cuh loads slices, conv2d_mma_product.cuh multiplies
 * them, conv2d_mma_store.cuh stores results.
 *
 * A block forms BM x BN results, a warp WM x WN of them. k is walked in slices of 64 bytes per row (32 values of 16
 * bits, 16 tf32, 64 i8), taps outermost, channels within; a slice of both factors lies in shared memory row by row, its
 * four 16-byte chunks XORed with bits of the row number so that neither the copies nor ldmatrix meet a bank conflict.
 * The fragments of all mma shapes used here are the same bytes, so one loop serves every type. Per row of the tile a
 * thread keeps the address of tap 0 and one word of mask: bit ty, and bit 16 + tx, say whether that tap lies inside the
 * image.
 *
 *   STAGE_COPY    sm_80: cp.async, TILE::STAGES slices in flight, padding filled with zeros by the copy; channels in
 *                 whole chunks
 *   STAGE_VECTOR  through registers, two buffers: sm_75, the input transform, f32 rounded to 16 bits; channels in
 *                 whole chunks
 *   STAGE_GATHER  the same, element by element: any number of channels: stems and odd groups
 *
 * 1x1 convolutions with stride 1 are plain products of matrices: the large tiles of STAGE_COPY have a form without taps
 * and masks (POINT).
 *
 * The epilogue passes each 16 rows of a warp through shared memory, so that a thread finishes 8 neighbouring channels
 * and stores 16 bytes of a 16-bit type at once; sums of channels for batch-norm go lanes, warps, one row per block, and
 * are added over blocks in order.
 *
 * Bound by mma issue where k is long, by memory for 1x1 with few channels. kernelcheck --bench
 * --only=conv2d_forward__cuda_mma --shapes=bench/shapes/resnet50-bf16.txt.
 */
#ifndef GRAFT_CUDA_CONV2D_MMA_CUH
#define GRAFT_CUDA_CONV2D_MMA_CUH

#include "kernels/cuda/conv2d_mma_load.cuh"
#include "kernels/cuda/conv2d_mma_product.cuh"
#include "kernels/cuda/conv2d_mma_store.cuh"
#include "kernels/cuda/conv2d_tile.h"

/* One launch. */
typedef struct mma_call {
    conv2d_gemm g;
    conv2d_input in;
    conv2d_output out;
    const void *src, *weight; /* weight: rows of k_pitch, packed or as they are */
    double *stats;            /* partial [tiles along m, 2, channels] or NULL   */
    conv2d_tile tile;
    mma_stage stage;
    void *stream;
} mma_call;

/* conv2d_mma_PRODUCT.cu: f16 and bf16 take tensors of their type or f32; sm_75: those of the older shapes. */
status conv2d_mma_f16(const mma_call *c);
status conv2d_mma_f16_of_f32(const mma_call *c);
status conv2d_mma_bf16(const mma_call *c);
status conv2d_mma_bf16_of_f32(const mma_call *c);
status conv2d_mma_tf32(const mma_call *c);
status conv2d_mma_s8(const mma_call *c);
status conv2d_mma_u8(const mma_call *c);
status conv2d_mma_f16_sm75(const mma_call *c);
status conv2d_mma_s8_sm75(const mma_call *c);

/* ------------------------------------------------------------------------------------------------ kernel */

template <typename P, typename T, typename TILE, mma_stage STAGE, bool POINT>
static __global__ void __launch_bounds__(TILE::THREADS) mma_kernel(conv2d_gemm g, conv2d_input in, conv2d_output out,
    double *__restrict__ stats, const T *__restrict__ src, const typename P::element *__restrict__ weight)
{
    typedef typename P::element E;
    constexpr int ELEMENTS = CHUNK / sizeof(E), DEPTH = SLICE / sizeof(E);
    SHARED_DYNAMIC(shared);
    int32_t down = (g.m + TILE::BM - 1) / TILE::BM, across = (g.n + TILE::BN - 1) / TILE::BN, tile_m, tile_n;
    int32_t group = blockIdx.x / (down * across), slices = (g.k + DEPTH - 1) / DEPTH;
    tile_at(blockIdx.x - group * down * across, down, across, &tile_m, &tile_n);
    const E *rows = weight + (int64_t)group * g.n * g.k_pitch;
    int32_t n0 = tile_n * TILE::BN;
    typename P::sum sum[TILE::MI][TILE::NI][4] = {};
    loader<TILE> l;
    loader_open<TILE, ELEMENTS, POINT>(&l, &g, group, tile_m * TILE::BM);
    if constexpr (STAGE == STAGE_COPY) {
#pragma unroll
        for (int s = 0; s < TILE::STAGES - 1; s++) {
            if (s < slices) copy_slice<TILE, E, POINT>(shared + s * TILE::STAGE_BYTES, &l, &g, src, rows, n0);
            ptx_cp_async_commit();
            loader_next<TILE, POINT>(&l, &g, DEPTH);
        }
        for (int32_t s = 0, read = 0, write = TILE::STAGES - 1; s < slices; s++) {
            ptx_cp_async_wait<TILE::STAGES - 2>();
            __syncthreads();
            if (s + TILE::STAGES - 1 < slices)
                copy_slice<TILE, E, POINT>(shared + write * TILE::STAGE_BYTES, &l, &g, src, rows, n0);
            ptx_cp_async_commit();
            loader_next<TILE, POINT>(&l, &g, DEPTH);
            multiply_slice<P, TILE, P::TF32>(sum, shared + read * TILE::STAGE_BYTES);
            read = read + 1 == TILE::STAGES ? 0 : read + 1;
            write = write + 1 == TILE::STAGES ? 0 : write + 1;
        }
        ptx_cp_async_wait<0>();
    } else {
        staged<TILE, T, E> s;
        if (slices) load_staged<TILE, T, E, STAGE>(&s, &l, &g, src, rows, n0);
        for (int32_t i = 0; i < slices; i++) {
            store_staged<TILE, T, P, STAGE>(shared + i % 2 * TILE::STAGE_BYTES, &s, &l, &g, &in, group);
            __syncthreads();
            loader_next<TILE, POINT>(&l, &g, DEPTH);
            if (i + 1 < slices) load_staged<TILE, T, E, STAGE>(&s, &l, &g, src, rows, n0);
            multiply_slice<P, TILE, false>(sum, shared + i % 2 * TILE::STAGE_BYTES);
        }
    }
    store_tile<P, T, TILE>(sum, shared, &g, &out, stats, group, tile_m, n0);
}

template <typename P, typename T, typename TILE, mma_stage STAGE, bool POINT = false>
static status mma_launch(const mma_call *c)
{
    size_t bytes = TILE::STAGE_BYTES * (STAGE == STAGE_COPY ? TILE::STAGES : 2);
    if (bytes < TILE::EPILOGUE_BYTES) bytes = TILE::EPILOGUE_BYTES;
    unsigned blocks = blocks_for(c->g.m, TILE::BM) * blocks_for(c->g.n, TILE::BN) * c->g.groups;
    if (blocks == 0) return OK;
    return launch(mma_kernel<P, T, TILE, STAGE, POINT>, dim3(blocks), dim3(TILE::THREADS), bytes, c->stream, c->g,
        c->in, c->out, c->stats, (const T *)c->src, (const typename P::element *)c->weight);
}

/* A 1x1 convolution with stride 1 and no padding, and its data gradient. */
static inline bool is_point(const conv2d_gemm *g)
{
    return g->taps_h == 1 && g->taps_w == 1 && g->step_h == 1 && g->step_w == 1 && g->first_h == 0 && g->first_w == 0 &&
           g->rows_h == g->in_h && g->rows_w == g->in_w;
}

template <typename P, typename TILE> static status mma_large(const mma_call *c)
{
    typedef typename P::element E;
    return is_point(&c->g) ? mma_launch<P, E, TILE, STAGE_COPY, true>(c) : mma_launch<P, E, TILE, STAGE_COPY>(c);
}

/* Tiles of STAGE_COPY. */
template <typename P> static status mma_copied(const mma_call *c)
{
    typedef typename P::element E;
    switch (c->tile) {
    case TILE_256_128: return mma_large<P, mma_tile<256, 128, 64, 64, 3>>(c);
    case TILE_128_128: return mma_large<P, mma_tile<128, 128, 64, 64, 3>>(c);
    case TILE_128_64: return mma_large<P, mma_tile<128, 64, 64, 32, 4>>(c);
    case TILE_64_64: return mma_launch<P, E, mma_tile<64, 64, 32, 32, 4>, STAGE_COPY>(c);
    default: return mma_launch<P, E, mma_tile<64, 32, 32, 16, 4>, STAGE_COPY>(c);
    }
}

constexpr uint32_t COPIED_TILES = (1 << TILE_COUNT) - 1, VECTOR_TILES = 1 << TILE_128_128 | 1 << TILE_64_64,
                   GATHER_TILES = 1 << TILE_64_64;

/* Registers hold a slice besides: more warps for the large tile. */
template <typename P, typename T> static status mma_vector(const mma_call *c)
{
    return c->tile == TILE_128_128 ? mma_launch<P, T, mma_tile<128, 128, 64, 32, 2>, STAGE_VECTOR>(c)
                                   : mma_launch<P, T, mma_tile<64, 64, 32, 32, 2>, STAGE_VECTOR>(c);
}

template <typename P, typename T> static status mma_gathered(const mma_call *c)
{
    return mma_launch<P, T, mma_tile<64, 64, 32, 32, 2>, STAGE_GATHER>(c);
}

#endif
