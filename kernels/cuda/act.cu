/* act.cu: activations on their own and their gradients.
 *
 *     dst = act(src)            dsrc = ddst * act'(src)
 *
 * Flat tensors. direct: a thread an element. vector: a thread moves 16 bytes per access, two of them in flight, and the
 * grid walks on; what is left over after the last whole 16 bytes is done element by element, as is everything where a
 * tensor is not aligned. Bound by memory: one (two) reads and one write per element.
 */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256, UNROLL = 2 };

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const act_desc *)desc)->type);
}

/* ------------------------------------------------------------------------------------------------ direct */

template <typename T>
static __global__ void __launch_bounds__(THREADS) forward_direct(
    T *__restrict__ dst, const T *__restrict__ src, int64_t count, activation act, float alpha, float beta)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) dst[i] = from_float<T>(activate(to_float(src[i]), act, alpha, beta));
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) backward_direct(T *__restrict__ dsrc, const T *__restrict__ ddst,
    const T *__restrict__ src, int64_t count, activation act, float alpha, float beta)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) dsrc[i] = from_float<T>(activate_gradient(to_float(ddst[i]), to_float(src[i]), act, alpha, beta));
}

template <typename T> static status launch_forward_direct(const kernel_call *call)
{
    const act_desc *d = (const act_desc *)call->desc;
    return launch(forward_direct<T>, dim3(blocks_for(d->count, THREADS)), dim3(THREADS), 0, call->stream, call->out[0],
        call->in[0], d->count, d->act, d->alpha, d->beta);
}

template <typename T> static status launch_backward_direct(const kernel_call *call)
{
    const act_desc *d = (const act_desc *)call->desc;
    return launch(backward_direct<T>, dim3(blocks_for(d->count, THREADS)), dim3(THREADS), 0, call->stream, call->out[0],
        call->in[0], call->in[1], d->count, d->act, d->alpha, d->beta);
}

static status forward_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const act_desc *)call->desc)->type, launch_forward_direct, call);
}

static status backward_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const act_desc *)call->desc)->type, launch_backward_direct, call);
}

/* ------------------------------------------------------------------------------------------------ vector */

/* packs: how many whole 16 bytes; 0 where a tensor is not aligned. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) forward_vector(T *__restrict__ dst, const T *__restrict__ src,
    int64_t count, int64_t packs, activation act, float alpha, float beta)
{
    constexpr int N = LANES<T>;
    int64_t first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = first; i < packs; i += UNROLL * stride) {
        pack<T, N> x[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            if (i + u * stride < packs) x[u] = load_pack<N>(src + (i + u * stride) * N);
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            if (i + u * stride >= packs) break;
            for (int k = 0; k < N; k++) x[u].at[k] = from_float<T>(activate(to_float(x[u].at[k]), act, alpha, beta));
            store_pack(dst + (i + u * stride) * N, x[u]);
        }
    }
    for (int64_t i = packs * N + first; i < count; i += stride)
        dst[i] = from_float<T>(activate(to_float(src[i]), act, alpha, beta));
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) backward_vector(T *__restrict__ dsrc, const T *__restrict__ ddst,
    const T *__restrict__ src, int64_t count, int64_t packs, activation act, float alpha, float beta)
{
    constexpr int N = LANES<T>;
    int64_t first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = first; i < packs; i += UNROLL * stride) {
        pack<T, N> g[UNROLL], x[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            if (i + u * stride >= packs) break;
            g[u] = load_pack<N>(ddst + (i + u * stride) * N);
            x[u] = load_pack<N>(src + (i + u * stride) * N);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            if (i + u * stride >= packs) break;
            for (int k = 0; k < N; k++)
                g[u].at[k] =
                    from_float<T>(activate_gradient(to_float(g[u].at[k]), to_float(x[u].at[k]), act, alpha, beta));
            store_pack(dsrc + (i + u * stride) * N, g[u]);
        }
    }
    for (int64_t i = packs * N + first; i < count; i += stride)
        dsrc[i] = from_float<T>(activate_gradient(to_float(ddst[i]), to_float(src[i]), act, alpha, beta));
}

template <typename T> static status launch_forward_vector(const kernel_call *call)
{
    const act_desc *d = (const act_desc *)call->desc;
    int64_t packs = aligned_to(call->out[0], 16) && aligned_to(call->in[0], 16) ? d->count / LANES<T> : 0;
    unsigned blocks;
    TRY(blocks_on_device(&blocks, d->count, THREADS * UNROLL * LANES<T>));
    return launch(forward_vector<T>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0], call->in[0], d->count,
        packs, d->act, d->alpha, d->beta);
}

template <typename T> static status launch_backward_vector(const kernel_call *call)
{
    const act_desc *d = (const act_desc *)call->desc;
    bool whole = aligned_to(call->out[0], 16) && aligned_to(call->in[0], 16) && aligned_to(call->in[1], 16);
    unsigned blocks;
    TRY(blocks_on_device(&blocks, d->count, THREADS * UNROLL * LANES<T>));
    return launch(backward_vector<T>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0], call->in[0],
        call->in[1], d->count, whole ? d->count / LANES<T> : 0, d->act, d->alpha, d->beta);
}

static status forward_vector_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const act_desc *)call->desc)->type, launch_forward_vector, call);
}

static status backward_vector_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const act_desc *)call->desc)->type, launch_backward_vector, call);
}

CUDA_KERNEL(act_forward__cuda_vector, OP_ACT_FORWARD, .refuse = refuse, .run = forward_vector_run);
CUDA_KERNEL(act_forward__cuda_direct, OP_ACT_FORWARD, .refuse = refuse, .run = forward_direct_run);
CUDA_KERNEL(act_backward__cuda_vector, OP_ACT_BACKWARD, .refuse = refuse, .run = backward_vector_run);
CUDA_KERNEL(act_backward__cuda_direct, OP_ACT_BACKWARD, .refuse = refuse, .run = backward_direct_run);
