/* softmax.cu: softmax over the last dimension and its gradient.
 *
 *     dst = exp(src - max) / sum exp(src - max)            dsrc = dst (ddst - sum(ddst dst))
 *
 * direct: a thread a row. rows: a warp a row of up to 1024 classes, beyond that a block; one pass for maximum and
 * sum (the dot product), one to write, which finds the row in the L1 cache. Bound by memory: one read and one write
 * of [rows, classes] (two reads).
 */
#include "kernels/cuda/softmax.cuh"

constexpr int THREADS = ROW_THREADS;

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const softmax_desc *)desc)->type);
}

/* ------------------------------------------------------------------------------------------------ direct */

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    forward_direct(T *__restrict__ dst, const T *__restrict__ src, int64_t rows, int64_t classes)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    float max = -INFINITY, sum = 0.0f;
    for (int64_t i = row * classes; i < (row + 1) * classes; i++) max = fmaxf(max, to_float(src[i]));
    for (int64_t i = row * classes; i < (row + 1) * classes; i++) sum += expf(to_float(src[i]) - max);
    for (int64_t i = row * classes; i < (row + 1) * classes; i++)
        dst[i] = from_float<T>(expf(to_float(src[i]) - max) / sum);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) backward_direct(
    T *__restrict__ dsrc, const T *__restrict__ ddst, const T *__restrict__ dst, int64_t rows, int64_t classes)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    float dot = 0.0f;
    for (int64_t i = row * classes; i < (row + 1) * classes; i++) dot = fmaf(to_float(ddst[i]), to_float(dst[i]), dot);
    for (int64_t i = row * classes; i < (row + 1) * classes; i++)
        dsrc[i] = from_float<T>(to_float(dst[i]) * (to_float(ddst[i]) - dot));
}

template <typename T> static status launch_forward_direct(const kernel_call *call)
{
    const softmax_desc *d = (const softmax_desc *)call->desc;
    return launch(forward_direct<T>, dim3(blocks_for(d->rows, THREADS)), dim3(THREADS), 0, call->stream, call->out[0],
        call->in[0], d->rows, d->classes);
}

template <typename T> static status launch_backward_direct(const kernel_call *call)
{
    const softmax_desc *d = (const softmax_desc *)call->desc;
    return launch(backward_direct<T>, dim3(blocks_for(d->rows, THREADS)), dim3(THREADS), 0, call->stream, call->out[0],
        call->in[0], call->in[1], d->rows, d->classes);
}

static status forward_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const softmax_desc *)call->desc)->type, launch_forward_direct, call);
}

static status backward_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const softmax_desc *)call->desc)->type, launch_backward_direct, call);
}

/* ------------------------------------------------------------------------------------------------ rows */

template <typename T, int GROUP>
static __global__ void __launch_bounds__(THREADS, 4)
    forward_rows(T *__restrict__ dst, const T *__restrict__ src, int64_t rows, int64_t classes)
{
    for (int64_t row = group_index<GROUP>(); row < rows; row += (int64_t)gridDim.x * GROUPS<GROUP>) {
        const T *x = src + row * classes;
        exp_sum s = {-INFINITY, 0.0f};
#pragma unroll 4
        for (int64_t c = group_lane<GROUP>(); c < classes; c += GROUP) exp_sum_add(&s, to_float(x[c]));
        s = group_join<GROUP>(s);
        for (int64_t c = group_lane<GROUP>(); c < classes; c += GROUP)
            dst[row * classes + c] = from_float<T>(expf(to_float(x[c]) - s.max) / s.sum);
    }
}

template <typename T, int GROUP>
static __global__ void __launch_bounds__(THREADS, 4) backward_rows(
    T *__restrict__ dsrc, const T *__restrict__ ddst, const T *__restrict__ dst, int64_t rows, int64_t classes)
{
    for (int64_t row = group_index<GROUP>(); row < rows; row += (int64_t)gridDim.x * GROUPS<GROUP>) {
        int64_t first = row * classes;
        float dot = 0.0f;
#pragma unroll 4
        for (int64_t c = group_lane<GROUP>(); c < classes; c += GROUP)
            dot = fmaf(to_float(ddst[first + c]), to_float(dst[first + c]), dot);
        dot = group_sum<GROUP>(dot);
        for (int64_t c = group_lane<GROUP>(); c < classes; c += GROUP)
            dsrc[first + c] = from_float<T>(to_float(dst[first + c]) * (to_float(ddst[first + c]) - dot));
    }
}

template <typename T, int GROUP> static status launch_forward_group(const kernel_call *call)
{
    const softmax_desc *d = (const softmax_desc *)call->desc;
    unsigned blocks;
    TRY(row_blocks<GROUP>(&blocks, d->rows));
    return launch(forward_rows<T, GROUP>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0], call->in[0],
        d->rows, d->classes);
}

template <typename T, int GROUP> static status launch_backward_group(const kernel_call *call)
{
    const softmax_desc *d = (const softmax_desc *)call->desc;
    unsigned blocks;
    TRY(row_blocks<GROUP>(&blocks, d->rows));
    return launch(backward_rows<T, GROUP>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0], call->in[0],
        call->in[1], d->rows, d->classes);
}

template <typename T> static status launch_forward(const kernel_call *call)
{
    bool narrow = ((const softmax_desc *)call->desc)->classes <= WARP_CLASSES;
    return narrow ? launch_forward_group<T, WARP>(call) : launch_forward_group<T, THREADS>(call);
}

template <typename T> static status launch_backward(const kernel_call *call)
{
    bool narrow = ((const softmax_desc *)call->desc)->classes <= WARP_CLASSES;
    return narrow ? launch_backward_group<T, WARP>(call) : launch_backward_group<T, THREADS>(call);
}

static status forward_rows_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const softmax_desc *)call->desc)->type, launch_forward, call);
}

static status backward_rows_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const softmax_desc *)call->desc)->type, launch_backward, call);
}

CUDA_KERNEL(softmax_forward__cuda_rows, OP_SOFTMAX_FORWARD, .refuse = refuse, .run = forward_rows_run);
CUDA_KERNEL(softmax_forward__cuda_direct, OP_SOFTMAX_FORWARD, .refuse = refuse, .run = forward_direct_run);
CUDA_KERNEL(softmax_backward__cuda_rows, OP_SOFTMAX_BACKWARD, .refuse = refuse, .run = backward_rows_run);
CUDA_KERNEL(softmax_backward__cuda_direct, OP_SOFTMAX_BACKWARD, .refuse = refuse, .run = backward_direct_run);
