/* boxes.cuh: what the box kernels share: geometry, keys that order values, the greatest of a block, the k-th greatest
 * of many. */
#ifndef GRAFT_CUDA_BOXES_CUH
#define GRAFT_CUDA_BOXES_CUH

#include "kernels/cuda/common.cuh"

static inline __device__ float box_common(float4 a, float4 b)
{
    float width = (a.z < b.z ? a.z : b.z) - (a.x > b.x ? a.x : b.x),
          height = (a.w < b.w ? a.w : b.w) - (a.y > b.y ? a.y : b.y);
    return width > 0.0f && height > 0.0f ? width * height : 0.0f;
}

static inline __device__ float box_area(float4 a) { return (a.z - a.x) * (a.w - a.y); }

static inline __device__ float box_iou(float4 a, float4 b)
{
    float common = box_common(a, b), iou = common / (box_area(a) + box_area(b) - common);
    return common > 0.0f && iou > 0.0f ? iou : 0.0f;
}

/* The offsets of a box from a prior, as OP_MULTIBOX_LOSS encodes them. */
static inline __device__ void box_offsets(double offset[4], float4 prior, float4 box, const double *variance)
{
    double width = (double)prior.z - (double)prior.x, height = (double)prior.w - (double)prior.y;
    double x = ((double)box.x + (double)box.z) / 2.0 - ((double)prior.x + (double)prior.z) / 2.0;
    double y = ((double)box.y + (double)box.w) / 2.0 - ((double)prior.y + (double)prior.w) / 2.0;
    offset[0] = x / (width * variance[0]);
    offset[1] = y / (height * variance[1]);
    offset[2] = log(((double)box.z - (double)box.x) / width) / variance[2];
    offset[3] = log(((double)box.w - (double)box.y) / height) / variance[3];
}

/* Greater values have greater keys, of equal ones the first. value >= 0, or its bits; 0 is no key of any value above 0.
 */
static inline __device__ uint64_t rank_key(uint32_t value, int64_t index)
{
    return (uint64_t)value << 32 | (0xffffffffu - (uint32_t)index);
}

static inline __device__ int64_t rank_index(uint64_t key) { return (int64_t)(0xffffffffu - (uint32_t)key); }

/* The greatest of a block; every thread gets it. All threads call it. */
static inline __device__ uint64_t block_greatest(uint64_t x)
{
    SHARED(uint64_t, greatest, [WARP]);
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        uint64_t y = ptx_shuffle_xor(x, offset);
        x = y > x ? y : x;
    }
    __syncthreads(); /* greatest may still be read by an earlier call */
    if (lane == 0) greatest[warp] = x;
    __syncthreads();
    for (int i = 0; i < warps; i++) x = greatest[i] > x ? greatest[i] : x;
    return x;
}

/* The k-th greatest of key(0) ... key(count - 1), which differ where they are not 0, for k >= 1; 1 where fewer than k
 * are not 0: whatever is at least the result is chosen. A radix select, four bits at a time from the top: each thread
 * counts digits in a column of its own, so no atomics are needed. A block of THREADS threads, all of which call it and
 * get the result. */
template <int THREADS, typename Key> static __device__ uint64_t block_select(Key key, int64_t count, int64_t k)
{
    constexpr int DIGITS = 16;
    SHARED(uint32_t, digits, [DIGITS][THREADS]);
    SHARED(int64_t, total, [DIGITS]);
    uint64_t prefix = 0;
    for (int shift = 60; shift >= 0; shift -= 4) {
        for (int d = 0; d < DIGITS; d++) digits[d][threadIdx.x] = 0;
        for (int64_t i = threadIdx.x; i < count; i += THREADS) {
            uint64_t x = key(i);
            bool inside = x != 0 && (shift == 60 || x >> (shift + 4) == prefix >> (shift + 4));
            if (inside) digits[x >> shift & (DIGITS - 1)][threadIdx.x]++;
        }
        __syncthreads();
        int warp = threadIdx.x / WARP;
        for (int d = warp; d < DIGITS; d += THREADS / WARP) {
            int64_t sum = 0;
            for (int i = threadIdx.x % WARP; i < THREADS; i += WARP) sum += digits[d][i];
            for (int offset = WARP / 2; offset > 0; offset /= 2) sum += ptx_shuffle_xor(sum, offset);
            if (threadIdx.x % WARP == 0) total[d] = sum;
        }
        __syncthreads();
        int d = DIGITS - 1;
        while (d >= 0 && total[d] < k) k -= total[d--];
        __syncthreads();     /* total is written by the next round */
        if (d < 0) return 1; /* in the first round only, and in every thread */
        prefix |= (uint64_t)d << shift;
    }
    return prefix;
}

#endif
