/* binary.cu: sums and products of two tensors; b may be [n, 1, c] against a [n, pixels, c].
 *
 *     add   dst = act(a a_scale + b b_scale), integers rounded half to even and saturated     mul   dst = a b
 *     mul_reduce   db[n, c] = sum over pixels of ddst a
 *
 * direct: a thread an element (an output, for the sum). columns: see columns.cuh; where b is a row it stays
 * in registers. Without broadcast the tensor is one long row of whole 16 bytes, and the grid walks it.
 * Sums: reduce.cuh. Bound by memory.
 */
#include "kernels/cuda/reduce.cuh"

constexpr int THREADS = COLUMN_THREADS, UNROLL = 2;

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const binary_desc *)desc)->type);
}

/* What one element needs of the descriptor. multiply: the product, nothing else counts. */
typedef struct rule {
    bool multiply;
    float a_scale, b_scale;
    activation act;
    float alpha, beta;
} rule;

static rule rule_of(const binary_desc *d, bool multiply)
{
    rule r = {multiply, d->a_scale, d->b_scale, d->act, d->alpha, d->beta};
    return r;
}

template <typename T> static __device__ T combine(T a, T b, const rule &r)
{
    float x = to_float(a), y = to_float(b);
    if (r.multiply) return from_float<T>(x * y);
    float sum = x * r.a_scale + y * r.b_scale; /* three roundings, see kernels.h */
    return from_float<T>(
        sizeof(T) == 1 ? activate_exactly(sum, r.act, r.alpha, r.beta) : activate(sum, r.act, r.alpha, r.beta));
}

/* ------------------------------------------------------------------------------------------------ direct */

/* dst may be a. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    combine_direct(T *dst, const T *a, const T *b, int64_t n, int64_t pixels, int64_t channels, bool broadcast, rule r)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * pixels * channels) return;
    int64_t j = broadcast ? i / (pixels * channels) * channels + i % channels : i;
    dst[i] = combine(a[i], b[j], r);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) reduce_direct(T *__restrict__ db, const T *__restrict__ ddst,
    const T *__restrict__ a, int64_t n, int64_t pixels, int64_t channels)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * channels) return;
    int64_t first = i / channels * pixels * channels + i % channels;
    double sum = 0.0;
    for (int64_t p = 0; p < pixels; p++)
        sum += (double)to_float(ddst[first + p * channels]) * (double)to_float(a[first + p * channels]);
    db[i] = from_float<T>((float)sum);
}

template <typename T> static status launch_combine_direct(const kernel_call *call, bool multiply)
{
    const binary_desc *d = (const binary_desc *)call->desc;
    return launch(combine_direct<T>, dim3(blocks_for(d->n * d->pixels * d->channels, THREADS)), dim3(THREADS), 0,
        call->stream, call->out[0], call->in[0], call->in[1], d->n, d->pixels, d->channels, d->b_broadcast,
        rule_of(d, multiply));
}

template <typename T> static status launch_reduce_direct(const kernel_call *call)
{
    const binary_desc *d = (const binary_desc *)call->desc;
    return launch(reduce_direct<T>, dim3(blocks_for(d->n * d->channels, THREADS)), dim3(THREADS), 0, call->stream,
        call->out[0], call->in[0], call->in[1], d->n, d->pixels, d->channels);
}

static status add_direct_run(const kernel_call *call)
{
    return FOR_ACTIVATION_TYPE(((const binary_desc *)call->desc)->type, launch_combine_direct, call, false);
}

static status mul_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const binary_desc *)call->desc)->type, launch_combine_direct, call, true);
}

static status reduce_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const binary_desc *)call->desc)->type, launch_reduce_direct, call);
}

/* ------------------------------------------------------------------------------------------------ columns */

/* Equal shapes: packs of 16 bytes, then what is left. packs is 0 where a tensor is not aligned. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    combine_vector(T *dst, const T *a, const T *b, int64_t count, int64_t packs, rule r)
{
    constexpr int N = LANES<T>;
    int64_t first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = first; i < packs; i += UNROLL * stride) {
        pack<T, N> x[UNROLL], y[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            if (i + u * stride >= packs) break;
            x[u] = load_pack<N>(a + (i + u * stride) * N);
            y[u] = load_pack<N>(b + (i + u * stride) * N);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            if (i + u * stride >= packs) break;
#pragma unroll
            for (int k = 0; k < N; k++) x[u].at[k] = combine(x[u].at[k], y[u].at[k], r);
            store_pack(dst + (i + u * stride) * N, x[u]);
        }
    }
    for (int64_t i = packs * N + first; i < count; i += stride) dst[i] = combine(a[i], b[i], r);
}

/* b [n, 1, c] against a [n, pixels, c]. */
template <typename T, int N>
static __global__ void __launch_bounds__(THREADS)
    combine_row(T *dst, const T *a, const T *b, int64_t n, int64_t pixels, int64_t channels, int64_t band, rule r)
{
    int64_t channel = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, step = blockDim.y * channels;
    if (channel >= channels) return;
    int64_t last = (blockIdx.y + 1) * band;
    if (last > pixels) last = pixels;
    for (int64_t image = blockIdx.z; image < n; image += gridDim.z) {
        pack<T, N> y = load_pack<N>(b + image * channels + channel);
        int64_t end = (image * pixels + last) * channels;
        int64_t at = (image * pixels + blockIdx.y * band + threadIdx.y) * channels + channel;
        for (; at < end; at += UNROLL * step) {
            pack<T, N> x[UNROLL];
#pragma unroll
            for (int u = 0; u < UNROLL; u++)
                if (at + u * step < end) x[u] = load_pack<N>(a + at + u * step);
#pragma unroll
            for (int u = 0; u < UNROLL; u++) {
                if (at + u * step >= end) break;
#pragma unroll
                for (int k = 0; k < N; k++) x[u].at[k] = combine(x[u].at[k], y.at[k], r);
                store_pack(dst + at + u * step, x[u]);
            }
        }
    }
}

template <typename T, int N> static status launch_combine_row(const kernel_call *call, bool multiply)
{
    const binary_desc *d = (const binary_desc *)call->desc;
    column_plan p = column_plan_of(d->n, d->pixels, d->channels / N, UNROLL);
    return launch(combine_row<T, N>, p.grid, p.block, 0, call->stream, call->out[0], call->in[0], call->in[1], d->n,
        d->pixels, d->channels, p.band, rule_of(d, multiply));
}

template <typename T> static status launch_combine(const kernel_call *call, bool multiply)
{
    const binary_desc *d = (const binary_desc *)call->desc;
    bool aligned = aligned_to(call->out[0], 16) && aligned_to(call->in[0], 16) && aligned_to(call->in[1], 16);
    int64_t count = d->n * d->pixels * d->channels;
    if (d->b_broadcast)
        return aligned && d->channels % LANES<T> == 0 ? launch_combine_row<T, LANES<T>>(call, multiply)
                                                       : launch_combine_row<T, 1>(call, multiply);
    unsigned blocks;
    TRY(blocks_on_device(&blocks, count, THREADS * UNROLL * LANES<T>));
    return launch(combine_vector<T>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0], call->in[0],
        call->in[1], count, aligned ? count / LANES<T> : 0, rule_of(d, multiply));
}

static size_t reduce_scratch(const void *desc, const void *state)
{
    const binary_desc *d = (const binary_desc *)desc;
    (void)state;
    return reduce_scratch_bytes(d->n, d->pixels, d->channels, dtype_bytes(d->type));
}

template <typename T> static status launch_mul_reduce(const kernel_call *call)
{
    const binary_desc *d = (const binary_desc *)call->desc;
    return launch_reduce<T, true>(call, d->n, d->pixels, d->channels, 1.0f);
}

static status add_columns_run(const kernel_call *call)
{
    return FOR_ACTIVATION_TYPE(((const binary_desc *)call->desc)->type, launch_combine, call, false);
}

static status mul_columns_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const binary_desc *)call->desc)->type, launch_combine, call, true);
}

static status reduce_columns_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const binary_desc *)call->desc)->type, launch_mul_reduce, call);
}

CUDA_KERNEL(add__cuda_columns, OP_ADD, .refuse = refuse, .run = add_columns_run);
CUDA_KERNEL(add__cuda_direct, OP_ADD, .refuse = refuse, .run = add_direct_run);
CUDA_KERNEL(mul__cuda_columns, OP_MUL, .refuse = refuse, .run = mul_columns_run);
CUDA_KERNEL(mul__cuda_direct, OP_MUL, .refuse = refuse, .run = mul_direct_run);
CUDA_KERNEL(mul_reduce__cuda_columns, OP_MUL_REDUCE, .refuse = refuse, .scratch_bytes = reduce_scratch,
    .run = reduce_columns_run);
CUDA_KERNEL(mul_reduce__cuda_direct, OP_MUL_REDUCE, .refuse = refuse, .run = reduce_direct_run);
