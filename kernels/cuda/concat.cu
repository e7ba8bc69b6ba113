/* concat.cu: up to eight tensors [rows, channels[i]] side by side; integers of another scale are
 * rescaled, rounded half to even.
 *
 * direct: a thread an element of dst, which looks up its input. packed: elements widened up to 16 bytes (move.cuh), 16
 * integers at a time where something is rescaled; a thread keeps its column, so that the input is looked up once, and
 * walks rows, four in flight (columns.cuh). Bound by memory: one read, one write.
 */
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/move.cuh"

constexpr int THREADS = COLUMN_THREADS, UNROLL = 4;

/* Inputs in elements of the kernel's size. scale 1: moved as it is. */
typedef struct inputs {
    int32_t count;
    const void *src[CONCAT_MAX];
    int64_t first[CONCAT_MAX + 1]; /* column of dst where input i starts; the last entry: columns in all */
    float scale[CONCAT_MAX];
} inputs;

static __device__ int input_of(const inputs &in, int64_t column)
{
    int k = 0;
    while (k + 1 < in.count && column >= in.first[k + 1]) k++;
    return k;
}

template <int N> static __device__ pack<int8_t, N> rescaled(pack<int8_t, N> x, float scale)
{
#pragma unroll
    for (int k = 0; k < N; k++) x.at[k] = from_float<int8_t>(to_float(x.at[k]) * scale);
    return x;
}

template <int N> static __device__ pack<uint8_t, N> rescaled(pack<uint8_t, N> x, float scale)
{
#pragma unroll
    for (int k = 0; k < N; k++) x.at[k] = from_float<uint8_t>(to_float(x.at[k]) * scale);
    return x;
}

template <typename T> static __device__ T rescaled(T x, float scale)
{
    (void)scale;
    return x;
}

/* ------------------------------------------------------------------------------------------------ direct */

template <typename T>
static __global__ void __launch_bounds__(THREADS) concat_direct(T *__restrict__ dst, int64_t rows, inputs in)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, columns = in.first[in.count];
    if (i >= rows * columns) return;
    int64_t row = i / columns, column = i % columns;
    int k = input_of(in, column);
    T x = ((const T *)in.src[k])[row * (in.first[k + 1] - in.first[k]) + column - in.first[k]];
    dst[i] = in.scale[k] == 1.0f ? x : rescaled(x, in.scale[k]);
}

/* Inputs in elements of `lanes` channels. */
static inputs inputs_of(const kernel_call *call, int64_t lanes)
{
    const concat_desc *d = (const concat_desc *)call->desc;
    inputs in = {};
    in.count = d->inputs;
    for (int32_t i = 0; i < d->inputs; i++) {
        in.src[i] = call->in[i];
        in.first[i + 1] = in.first[i] + d->channels[i] / lanes;
        in.scale[i] = d->type == DTYPE_I8 || d->type == DTYPE_U8 ? d->scale[i] : 1.0f;
    }
    return in;
}

template <typename T> static status launch_direct(const kernel_call *call)
{
    const concat_desc *d = (const concat_desc *)call->desc;
    inputs in = inputs_of(call, 1);
    return launch(concat_direct<T>, dim3(blocks_for(d->rows * in.first[in.count], THREADS)), dim3(THREADS), 0,
        call->stream, call->out[0], d->rows, in);
}

static status direct_run(const kernel_call *call)
{
    const concat_desc *d = (const concat_desc *)call->desc;
    if (d->type == DTYPE_I8) return launch_direct<pack<int8_t, 1>>(call);
    if (d->type == DTYPE_U8) return launch_direct<pack<uint8_t, 1>>(call);
    return FOR_ELEMENT(dtype_bytes(d->type), launch_direct, call);
}

/* ------------------------------------------------------------------------------------------------ packed */

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    concat_columns(T *__restrict__ dst, int64_t rows, int64_t band, inputs in)
{
    int64_t columns = in.first[in.count], column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, step = blockDim.y;
    if (column >= columns) return;
    int64_t end = (blockIdx.y + 1) * band;
    if (end > rows) end = rows;
    int k = input_of(in, column);
    int64_t width = in.first[k + 1] - in.first[k];
    const T *src = (const T *)in.src[k] + column - in.first[k];
    float scale = in.scale[k];
    for (int64_t row = blockIdx.y * band + threadIdx.y; row < end; row += UNROLL * step) {
        T x[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            if (row + u * step < end) x[u] = src[(row + u * step) * width];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            if (row + u * step < end)
                dst[(row + u * step) * columns + column] = scale == 1.0f ? x[u] : rescaled(x[u], scale);
    }
}

template <typename T> static status launch_columns(const kernel_call *call, int64_t lanes)
{
    const concat_desc *d = (const concat_desc *)call->desc;
    inputs in = inputs_of(call, lanes);
    column_plan p = column_plan_of(1, d->rows, in.first[in.count], UNROLL);
    return launch(concat_columns<T>, p.grid, p.block, 0, call->stream, call->out[0], d->rows, p.band, in);
}

/* Integers keep their type, since they may be rescaled. */
template <typename T> static status launch_integers(const kernel_call *call, int64_t lanes)
{
    if (lanes == 16) return launch_columns<pack<T, 16>>(call, 16);
    if (lanes >= 4) return launch_columns<pack<T, 4>>(call, 4);
    return launch_columns<pack<T, 1>>(call, 1);
}

static status packed_run(const kernel_call *call)
{
    const concat_desc *d = (const concat_desc *)call->desc;
    int64_t size = (int64_t)dtype_bytes(d->type), lanes = 16 / size;
    for (; lanes > 1; lanes /= 2) { /* the most channels that one access can take */
        bool fits = aligned_to(call->out[0], (size_t)(lanes * size));
        for (int32_t i = 0; i < d->inputs; i++)
            fits = fits && d->channels[i] % lanes == 0 && aligned_to(call->in[i], (size_t)(lanes * size));
        if (fits) break;
    }
    if (d->type == DTYPE_I8) return launch_integers<int8_t>(call, lanes);
    if (d->type == DTYPE_U8) return launch_integers<uint8_t>(call, lanes);
    return FOR_ELEMENT(lanes * size, launch_columns, call, lanes);
}

CUDA_KERNEL(concat__cuda_packed, OP_CONCAT, .run = packed_run);
CUDA_KERNEL(concat__cuda_direct, OP_CONCAT, .run = direct_run);
