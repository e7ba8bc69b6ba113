/* reduce.cuh: dst[n, c] = sum over rows of a[n, rows, c] (times b) / divisor: averages over whole images,
 * gradients of what was broadcast.
 *
 * Columns (columns.cuh): f32 within a thread (integers: int32), double across the threads of a block.
 * Where images times channels are too few blocks, the rows are cut into bands that leave partial sums,
 * added in order by a second kernel.
 */
#ifndef GRAFT_CUDA_REDUCE_CUH
#define GRAFT_CUDA_REDUCE_CUH

#include "kernels/cuda/columns.cuh"

static inline __device__ int32_t accumulate(int32_t sum, int8_t x) { return sum + x; }
static inline __device__ int32_t accumulate(int32_t sum, uint8_t x) { return sum + x; }
template <typename T> static inline __device__ float accumulate(float sum, T x) { return sum + to_float(x); }

/* partial [n, bands, channels], or NULL: one band, whose sum is the result. PRODUCT: of a and b. */
template <typename T, int N, bool PRODUCT>
static __global__ void __launch_bounds__(COLUMN_THREADS, 2)
    reduce_columns(T *__restrict__ dst, double *__restrict__ partial, const T *__restrict__ a, const T *__restrict__ b,
        int64_t n, int64_t rows, int64_t channels, int64_t band, float divisor)
{
    constexpr int UNROLL = PRODUCT ? 2 : 4;
    int64_t channel = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, step = blockDim.y,
            end = (blockIdx.y + 1) * band;
    if (end > rows) end = rows;
    if (channel >= channels) end = 0;
    for (int64_t image = blockIdx.z; image < n; image += gridDim.z) {
        typename sum_of<T>::type sum[N] = {};
        double total[N];
        for (int64_t row = blockIdx.y * band + threadIdx.y; row < end; row += UNROLL * step) {
            pack<T, N> x[UNROLL] = {}, y[UNROLL] = {};
#pragma unroll
            for (int u = 0; u < UNROLL; u++) {
                if (row + u * step >= end) break;
                int64_t at = (image * rows + row + u * step) * channels + channel;
                x[u] = load_pack<N>(a + at);
                if constexpr (PRODUCT) y[u] = load_pack<N>(b + at);
            }
#pragma unroll
            for (int u = 0; u < UNROLL; u++)
#pragma unroll
                for (int k = 0; k < N; k++) {
                    if constexpr (PRODUCT) sum[k] = fmaf(to_float(x[u].at[k]), to_float(y[u].at[k]), sum[k]);
                    else sum[k] = accumulate(sum[k], x[u].at[k]);
                }
        }
#pragma unroll
        for (int k = 0; k < N; k++) total[k] = (double)sum[k];
        const double *fold = column_fold<N>(total);
        for (int k = threadIdx.y; k < N && channel < channels; k += blockDim.y) {
            double whole = column_total(fold, k, (int)threadIdx.x);
            if (partial) partial[(image * gridDim.y + blockIdx.y) * channels + channel + k] = whole;
            else dst[image * channels + channel + k] = from_float<T>((float)whole / divisor);
        }
    }
}

/* Block (8, 32). */
template <typename T>
static __global__ void __launch_bounds__(COLUMN_THREADS, 2) reduce_bands(
    T *__restrict__ dst, const double *__restrict__ partial, int64_t n, int64_t channels, int64_t bands, float divisor)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, image = i / channels;
    const double *from = partial + image * bands * channels + (i - image * channels);
    double sum = 0.0;
#pragma unroll 8
    for (int64_t k = threadIdx.y; k < bands; k += blockDim.y)
        if (image < n) sum += from[k * channels];
    const double *fold = column_fold<1>(&sum);
    if (threadIdx.y == 0 && image < n) dst[i] = from_float<T>((float)column_total(fold, 0, (int)threadIdx.x) / divisor);
}

/* Lanes of a 16-byte access, at most 8 (16 integers would not leave registers for the loads), or 1. */
static inline int64_t reduce_lanes(int64_t channels, size_t element_bytes)
{
    int64_t lanes = element_bytes == 1 ? 8 : 16 / (int64_t)element_bytes;
    return channels % lanes == 0 ? lanes : 1;
}

static inline column_plan reduce_plan(int64_t n, int64_t rows, int64_t channels, int64_t lanes)
{
    return column_plan_of(n, rows, channels / lanes, 16);
}

/* Alignment, which is known only at the call, may choose single lanes. */
static inline size_t reduce_scratch_bytes(int64_t n, int64_t rows, int64_t channels, size_t element_bytes)
{
    int64_t single = reduce_plan(n, rows, channels, 1).bands,
            wide = reduce_plan(n, rows, channels, reduce_lanes(channels, element_bytes)).bands;
    int64_t bands = single > wide ? single : wide;
    return bands > 1 ? (size_t)(n * bands * channels) * sizeof(double) : 0;
}

template <typename T, int N, bool PRODUCT>
static status launch_reduce_lanes(const kernel_call *call, int64_t n, int64_t rows, int64_t channels, float divisor)
{
    column_plan p = reduce_plan(n, rows, channels, N);
    double *partial = p.bands > 1 ? (double *)call->scratch : NULL;
    TRY(launch(reduce_columns<T, N, PRODUCT>, p.grid, p.block, 0, call->stream, call->out[0], partial, call->in[0],
        call->in[1], n, rows, channels, p.band, divisor));
    if (!partial) return OK;
    constexpr int WIDTH = 8;
    return launch(reduce_bands<T>, dim3(blocks_for(n * channels, WIDTH)), dim3(WIDTH, COLUMN_THREADS / WIDTH), 0,
        call->stream, call->out[0], partial, n, channels, p.bands, divisor);
}

/* in[0] (and in[1]) [n, rows, channels] to out[0] [n, channels], with reduce_scratch_bytes of scratch. */
template <typename T, bool PRODUCT>
static status launch_reduce(const kernel_call *call, int64_t n, int64_t rows, int64_t channels, float divisor)
{
    constexpr int N = sizeof(T) == 1 ? 8 : LANES<T>;
    bool wide = channels % N == 0 && aligned_to(call->in[0], 16) && (!PRODUCT || aligned_to(call->in[1], 16));
    return wide ? launch_reduce_lanes<T, N, PRODUCT>(call, n, rows, channels, divisor)
                : launch_reduce_lanes<T, 1, PRODUCT>(call, n, rows, channels, divisor);
}

#endif
