/* fake_quant.cu: through an engine's integers and back.
 *
 *     range[r]  : greatest |src| of row r, or its moving average
 *     dst       = saturate(half even(src * (1 / scale))) * scale,  scale = range[r] / 127
 *     dsrc      = ddst where nothing was saturated, else 0
 *
 * A grid's y walks rows, its x the elements of one. The maximum is taken in two steps, bands of a row and then the
 * bands: a maximum does not depend on its order. Every step is rounded as the reference does it, so results are equal
 * to the bit. Bound by memory: one or two reads and one write per element.
 */
#include "kernels/cuda/common.cuh"

constexpr int THREADS = 256, BANDS = 256;
#define RANGE_MIN 1e-30f

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const fake_quant_desc *)desc)->type);
}

static int64_t bands_of(const fake_quant_desc *d)
{
    int64_t bands = (d->count + 4 * THREADS - 1) / (4 * THREADS);
    return bands < BANDS ? bands : BANDS;
}

static dim3 grid_of(const fake_quant_desc *d, int64_t across)
{
    return dim3((unsigned)across, (unsigned)(d->rows < GRID_MAX ? d->rows : GRID_MAX));
}

/* ------------------------------------------------------------------------------------------------ range */

/* NaN is never greater. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) greatest_of_bands(float *__restrict__ partial, /* [rows, bands] */
    const T *__restrict__ src, int64_t rows, int64_t count)
{
    SHARED(float, warps, [THREADS / WARP]);
    for (int64_t r = blockIdx.y; r < rows; r += gridDim.y) {
        float greatest = 0.0f;
        for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS) {
            float x = fabsf(to_float(src[r * count + i]));
            greatest = x > greatest ? x : greatest;
        }
        for (int offset = WARP / 2; offset > 0; offset /= 2) {
            float other = ptx_shuffle_xor(greatest, offset);
            greatest = other > greatest ? other : greatest;
        }
        __syncthreads(); /* warps may still be read for the row before */
        if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = greatest;
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int w = 1; w < THREADS / WARP; w++) greatest = warps[w] > greatest ? warps[w] : greatest;
            partial[r * gridDim.x + blockIdx.x] = greatest;
        }
    }
}

static __global__ void __launch_bounds__(THREADS) update_range(
    float *__restrict__ range, const float *__restrict__ partial, int64_t rows, int64_t bands, float momentum)
{
    int64_t r = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (r >= rows) return;
    float greatest = 0.0f, before = range[r];
    for (int64_t b = 0; b < bands; b++)
        greatest = partial[r * bands + b] > greatest ? partial[r * bands + b] : greatest;
    bool first = momentum == 1.0f || !(before > RANGE_MIN);
    range[r] = first ? greatest : (1.0f - momentum) * before + momentum * greatest;
}

static size_t range_scratch(const void *desc, const void *state)
{
    const fake_quant_desc *d = (const fake_quant_desc *)desc;
    (void)state;
    return (size_t)(d->rows * bands_of(d)) * sizeof(float);
}

template <typename T> static status launch_range(const kernel_call *call)
{
    const fake_quant_desc *d = (const fake_quant_desc *)call->desc;
    int64_t bands = bands_of(d);
    TRY(launch(greatest_of_bands<T>, grid_of(d, bands), dim3(THREADS), 0, call->stream, call->scratch, call->in[0],
        d->rows, d->count));
    return launch(update_range, dim3(blocks_for(d->rows, THREADS)), dim3(THREADS), 0, call->stream, call->out[0],
        call->scratch, d->rows, bands, d->momentum);
}

static status range_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const fake_quant_desc *)call->desc)->type, launch_range, call);
}

/* ------------------------------------------------------------------------------------------------ there and back */

template <typename T>
static __global__ void __launch_bounds__(THREADS) forward(T *__restrict__ dst, const T *__restrict__ src,
    const float *__restrict__ range, int64_t rows, int64_t count, float least)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    for (int64_t r = blockIdx.y; r < rows; r += gridDim.y) {
        float x = to_float(src[r * count + i]), scale = range[r] / 127.0f;
        float y = fminf(fmaxf(rintf(x * (1.0f / scale)), least), 127.0f) * scale;
        dst[r * count + i] = from_float<T>(range[r] > RANGE_MIN && x == x ? y : x);
    }
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) backward(T *__restrict__ dsrc, const T *__restrict__ ddst,
    const T *__restrict__ src, const float *__restrict__ range, int64_t rows, int64_t count, float least)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    for (int64_t r = blockIdx.y; r < rows; r += gridDim.y) {
        float y = rintf(to_float(src[r * count + i]) * (1.0f / (range[r] / 127.0f)));
        bool saturated = range[r] > RANGE_MIN && (y < least || y > 127.0f);
        dsrc[r * count + i] = saturated ? from_float<T>(0.0f) : ddst[r * count + i];
    }
}

static float least_of(const fake_quant_desc *d)
{
    return d->narrow ? -127.0f : -128.0f;
}

template <typename T> static status launch_forward(const kernel_call *call)
{
    const fake_quant_desc *d = (const fake_quant_desc *)call->desc;
    return launch(forward<T>, grid_of(d, blocks_for(d->count, THREADS)), dim3(THREADS), 0, call->stream, call->out[0],
        call->in[0], call->in[1], d->rows, d->count, least_of(d));
}

template <typename T> static status launch_backward(const kernel_call *call)
{
    const fake_quant_desc *d = (const fake_quant_desc *)call->desc;
    return launch(backward<T>, grid_of(d, blocks_for(d->count, THREADS)), dim3(THREADS), 0, call->stream, call->out[0],
        call->in[0], call->in[1], call->in[2], d->rows, d->count, least_of(d));
}

static status forward_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const fake_quant_desc *)call->desc)->type, launch_forward, call);
}

static status backward_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const fake_quant_desc *)call->desc)->type, launch_backward, call);
}

CUDA_KERNEL(fake_quant_range__cuda_bands, OP_FAKE_QUANT_RANGE, .refuse = refuse, .scratch_bytes = range_scratch,
    .run = range_run);
CUDA_KERNEL(fake_quant__cuda_direct, OP_FAKE_QUANT, .refuse = refuse, .run = forward_run);
CUDA_KERNEL(fake_quant_backward__cuda_direct, OP_FAKE_QUANT_BACKWARD, .refuse = refuse, .run = backward_run);
