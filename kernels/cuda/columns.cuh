/* columns.cuh: tensors [outer, rows, channels] walked by columns: a thread keeps its channels (N of them, neighbours) in registers and walks
 * down the rows, so that what belongs to a channel is loaded once and sums over rows need no atomics.
 *
 * Block (x, y): x packs of channels, at most 32 and as evenly cut as possible, times as many rows as fit 256 threads; grid (chunks of
 * channels, bands of rows, outer). Neighbouring threads touch neighbouring bytes whatever the number of channels. The cut depends on the
 * sizes alone, so sums have the same bits on every GPU.
 */
#ifndef GRAFT_CUDA_COLUMNS_CUH
#define GRAFT_CUDA_COLUMNS_CUH

#include "kernels/cuda/common.cuh"

constexpr int COLUMN_THREADS = 256, COLUMN_WIDTH = 32, COLUMN_BLOCKS = 1024, GRID_MAX = 65535;

typedef struct column_plan {
    dim3 grid, block;
    int64_t band;  /* rows of a band   */
    int64_t bands; /* grid.y           */
} column_plan;

/* packs: channels / N. A thread gets at least `least` rows where there are that many; COLUMN_BLOCKS blocks or so in all. */
static inline column_plan column_plan_of(int64_t outer, int64_t rows, int64_t packs, int64_t least)
{
    int64_t chunks = (packs + COLUMN_WIDTH - 1) / COLUMN_WIDTH, width = (packs + chunks - 1) / chunks, height = COLUMN_THREADS / width;
    int64_t most = COLUMN_BLOCKS / chunks / outer, bands = (rows + height * least - 1) / (height * least);
    if (bands > most) bands = most;
    if (bands < 1) bands = 1;
    int64_t band = ((rows + bands - 1) / bands + height - 1) / height * height;
    bands = (rows + band - 1) / band;
    column_plan p = {dim3((unsigned)((packs + width - 1) / width), (unsigned)bands, (unsigned)(outer < GRID_MAX ? outer : GRID_MAX)),
        dim3((unsigned)width, (unsigned)height), band, bands};
    return p;
}

/* Sum over threadIdx.y of one value per thread, in order; holds where threadIdx.y is 0. All threads of the block call it. */
static inline __device__ double column_sum(double x)
{
    SHARED(double, fold, [COLUMN_THREADS]);
    __syncthreads(); /* fold may still be read by an earlier call */
    fold[threadIdx.y * blockDim.x + threadIdx.x] = x;
    __syncthreads();
    double sum = 0.0;
    if (threadIdx.y != 0) return sum;
#pragma unroll 4
    for (unsigned y = 0; y < blockDim.y; y++) sum += fold[y * blockDim.x + threadIdx.x];
    return sum;
}

/* out[i] = sum of partial[band][i] over the bands, in a fixed order. Block (32, 8). */
static __global__ void __launch_bounds__(COLUMN_THREADS) sum_bands(double *__restrict__ out, const double *__restrict__ partial,
    int64_t count, int64_t bands)
{
    int64_t i = (int64_t)blockIdx.x * WARP + threadIdx.x;
    double sum = 0.0;
#pragma unroll 4
    for (int64_t b = threadIdx.y; b < bands; b += blockDim.y)
        if (i < count) sum += partial[b * count + i];
    sum = column_sum(sum);
    if (threadIdx.y == 0 && i < count) out[i] = sum;
}

static inline status launch_sum_bands(const kernel_call *call, double *out, const double *partial, int64_t count, int64_t bands)
{
    return launch(sum_bands, dim3(blocks_for(count, WARP)), dim3(WARP, COLUMN_THREADS / WARP), 0, call->stream, out, partial, count, bands);
}

#endif
