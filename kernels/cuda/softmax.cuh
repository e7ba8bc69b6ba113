/* softmax.cuh: what softmax and the losses share: rows, each the work of one warp or of one block of 256 threads
 * ("group"), and the online maximum of Milakov and Gimelshein 2018: maximum and sum of exp(x - maximum) in one pass.
 */
#ifndef GRAFT_CUDA_SOFTMAX_CUH
#define GRAFT_CUDA_SOFTMAX_CUH

#include "kernels/cuda/common.cuh"

constexpr int ROW_THREADS = 256, WARP_CLASSES = 1024; /* a warp takes rows of up to so many classes */

/* Rows at once in a block of groups of GROUP threads. */
template <int GROUP> constexpr int GROUPS = ROW_THREADS / GROUP;

/* This thread's group within the grid, and its place within the group. */
template <int GROUP> static inline __device__ int64_t group_index(void)
{
    return (int64_t)blockIdx.x * GROUPS<GROUP> + threadIdx.x / GROUP;
}

template <int GROUP> static inline __device__ int group_lane(void)
{
    return (int)threadIdx.x % GROUP;
}

/* Over the group, in a fixed order; every thread gets it. All threads of the group call it. */
template <int GROUP, typename T> static inline __device__ T group_sum(T x)
{
    if constexpr (GROUP == WARP) return warp_sum(x);
    else return block_sum(x);
}

/* sum = sum of exp(x - max) over what has been seen. */
typedef struct exp_sum {
    float max, sum;
} exp_sum;

/* exp(-inf - -inf) would be NaN: what is minus infinity adds nothing, and a NaN stays one. */
static inline __device__ void exp_sum_add(exp_sum *s, float x)
{
    if (x > s->max) {
        s->sum = s->sum * expf(s->max - x) + 1.0f;
        s->max = x;
    } else if (x != -INFINITY) {
        s->sum += expf(x - s->max);
    }
}

static inline __device__ exp_sum exp_sum_join(exp_sum a, exp_sum b)
{
    exp_sum s = {a.max > b.max ? a.max : b.max, 0.0f};
    s.sum =
        (a.max == s.max ? a.sum : a.sum * expf(a.max - s.max)) + (b.max == s.max ? b.sum : b.sum * expf(b.max - s.max));
    return s;
}

static inline __device__ exp_sum warp_join(exp_sum s)
{
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        exp_sum other = {ptx_shuffle_xor(s.max, offset), ptx_shuffle_xor(s.sum, offset)};
        /* The same order of operands in both lanes, so that both get the same bits. */
        s = threadIdx.x & offset ? exp_sum_join(other, s) : exp_sum_join(s, other);
    }
    return s;
}

template <int GROUP> static inline __device__ exp_sum group_join(exp_sum s)
{
    s = warp_join(s);
    if constexpr (GROUP == WARP) return s;
    SHARED(exp_sum, partial, [ROW_THREADS / 32]);
    __syncthreads(); /* partial may still be read by an earlier call */
    if (threadIdx.x % WARP == 0) partial[threadIdx.x / WARP] = s;
    __syncthreads();
    s = partial[0];
    for (int i = 1; i < ROW_THREADS / 32; i++) s = exp_sum_join(s, partial[i]);
    return s;
}

/* Blocks for so many rows: as many as the device holds at once. */
template <int GROUP> static inline status row_blocks(unsigned *blocks, int64_t rows)
{
    return blocks_on_device(blocks, rows, GROUPS<GROUP>);
}

#endif
