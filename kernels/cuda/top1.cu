/* top1.cu: rows whose largest score stands where the largest target stands. A warp takes a row; each block leaves a
 * count, one block adds them in order. Bound by memory: scores and targets are read once.
 */
#include "kernels/cuda/common.cuh"

constexpr int THREADS = 256, ROWS = THREADS / WARP, BLOCKS = 128;

typedef struct largest {
    float value;
    int index; /* -1: nothing but -inf and NaN was seen */
} largest;

static __device__ largest larger(largest a, largest b)
{
    bool second = b.index >= 0 && (a.index < 0 || b.value > a.value || (b.value == a.value && b.index < a.index));
    return second ? b : a;
}

/* The first of the largest, the same in every lane; NaN is larger than nothing, and nothing is larger than NaN. */
template <typename T> static __device__ int first_largest(const T *row, int classes, int lane)
{
    largest best = {-INFINITY, -1};
    for (int c = lane; c < classes; c += WARP) {
        float x = to_float(row[c]);
        if (x > best.value) best = {x, c};
    }
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        best = larger(best, {ptx_shuffle_xor(best.value, offset), ptx_shuffle_xor(best.index, offset)});
    float x = to_float(row[0]);
    return best.index < 0 || x != x ? 0 : best.index;
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) count_blocks(double *__restrict__ count, /* [gridDim.x] */
    const T *__restrict__ scores, const float *__restrict__ targets, int64_t rows, int classes)
{
    int lane = (int)threadIdx.x % WARP;
    double correct = 0.0;
    for (int64_t row = (int64_t)blockIdx.x * ROWS + threadIdx.x / WARP; row < rows; row += (int64_t)gridDim.x * ROWS) {
        int wanted = first_largest(targets + row * classes, classes, lane),
            found = first_largest(scores + row * classes, classes, lane);
        if (lane == 0 && found == wanted && targets[row * classes + wanted] > 0.0f) correct += 1.0;
    }
    correct = block_sum(correct);
    if (threadIdx.x == 0) count[blockIdx.x] = correct;
}

static __global__ void __launch_bounds__(THREADS)
    sum_counts(double *__restrict__ sum, const double *__restrict__ count, int blocks)
{
    double correct = block_sum((int)threadIdx.x < blocks ? count[threadIdx.x] : 0.0);
    if (threadIdx.x == 0) *sum = correct;
}

static_assert(BLOCKS <= THREADS, "sum_counts has a thread per block");

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const softmax_desc *)desc)->type);
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    (void)desc;
    (void)state;
    return BLOCKS * sizeof(double);
}

template <typename T> static status launch_top1(const kernel_call *call)
{
    const softmax_desc *d = (const softmax_desc *)call->desc;
    int64_t needed = (d->rows + ROWS - 1) / ROWS;
    int blocks = needed < BLOCKS ? (int)needed : BLOCKS;
    double *count = (double *)call->scratch;
    TRY(launch(count_blocks<T>, dim3((unsigned)blocks), dim3(THREADS), 0, call->stream, count, (const T *)call->in[0],
        (const float *)call->in[1], d->rows, (int)d->classes));
    return launch(sum_counts, dim3(1), dim3(THREADS), 0, call->stream, (double *)call->out[0], count, blocks);
}

static status top1_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const softmax_desc *)call->desc)->type, launch_top1, call);
}

CUDA_KERNEL(top1__cuda_rows, OP_TOP1, .refuse = refuse, .scratch_bytes = scratch_bytes, .run = top1_run);
