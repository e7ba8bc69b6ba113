/* columns.cuh: tensors [outer, rows, channels] walked by columns: a thread keeps its channels (N of them,
 * neighbours) in registers and walks down the rows, so that what belongs to a channel is loaded once and
 * sums over rows need no atomics.
 *
 * Block (x, y): x packs of channels, at most 32 and as evenly cut as possible, times as many rows as fit 256 threads;
 * grid (chunks of channels, bands of rows, outer). Neighbouring threads touch neighbouring bytes whatever the number of
 * channels. The cut depends on the sizes alone, so sums have the same bits on every GPU.
 */
#ifndef GRAFT_CUDA_COLUMNS_CUH
#define GRAFT_CUDA_COLUMNS_CUH

#include "kernels/cuda/common.cuh"

constexpr int COLUMN_THREADS = 256, COLUMN_WIDTH = 32, COLUMN_BLOCKS = 1024;

typedef struct column_plan {
    dim3 grid, block;
    int64_t band;  /* rows of a band   */
    int64_t bands; /* grid.y           */
} column_plan;

/* packs: channels / N. A thread gets at least `least` rows where there are that many;
 * COLUMN_BLOCKS blocks or so in all. */
static inline column_plan column_plan_of(int64_t outer, int64_t rows, int64_t packs, int64_t least)
{
    int64_t chunks = (packs + COLUMN_WIDTH - 1) / COLUMN_WIDTH, width = (packs + chunks - 1) / chunks,
            height = COLUMN_THREADS / width;
    int64_t most = COLUMN_BLOCKS / chunks / outer, bands = (rows + height * least - 1) / (height * least);
    if (bands > most) bands = most;
    if (bands < 1) bands = 1;
    int64_t band = ((rows + bands - 1) / bands + height - 1) / height * height;
    bands = (rows + band - 1) / band;
    column_plan p = {
        dim3((unsigned)((packs + width - 1) / width), (unsigned)bands, (unsigned)(outer < GRID_MAX ? outer : GRID_MAX)),
        dim3((unsigned)width, (unsigned)height), band, bands};
    return p;
}

/* Rows of `channels` that make one row of whole 16 bytes, if `rows` divide so: then odd channel counts go by 16 bytes,
 * too, a thread's channel being its column modulo `channels`. 0: they do not. */
static inline int64_t column_period(int64_t rows, int64_t channels, int64_t lanes)
{
    int64_t period = 1;
    while (channels * period % lanes != 0) period *= 2;
    return rows % period == 0 ? period : 0;
}

/* What bn_apply without add has stored, or would have, of src x and its channel's coefficients. */
template <typename T>
static inline __device__ float remade(T x, float a, float shift, activation act, float alpha, float beta)
{
    return to_float(from_float<T>(activate(fmaf(a, to_float(x), shift), act, alpha, beta)));
}

constexpr int FOLD_STRIDE =
    COLUMN_THREADS + 8; /* so that neighbouring values of a narrow block lie in different banks */

/* Leaves VALUES sums per thread for column_total; its return value goes there. All threads of the block call it. */
template <int VALUES> static inline __device__ const double *column_fold(const double values[VALUES])
{
    SHARED(double, fold, [VALUES][FOLD_STRIDE]);
    int thread = (int)(threadIdx.y * blockDim.x + threadIdx.x);
    __syncthreads(); /* fold may still be read by an earlier call */
#pragma unroll
    for (int v = 0; v < VALUES; v++) fold[v][thread] = values[v];
    __syncthreads();
    return &fold[0][0];
}

/* Sum over threadIdx.y, in order, of value v of the threads with threadIdx.x = x. */
static inline __device__ double column_total(const double *fold, int v, int x)
{
    double sum = 0.0;
#pragma unroll 4
    for (int y = 0; y < (int)blockDim.y; y++) sum += fold[v * FOLD_STRIDE + y * (int)blockDim.x + x];
    return sum;
}

#endif
