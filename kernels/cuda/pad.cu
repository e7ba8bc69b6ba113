/* pad.cu: padding, cropping, strided slices and their gradients.
 *
 *     dst[i] = src[i * step - before], `value` outside          scatter: dst[i * step - before] = src[i], 0 elsewhere
 *
 * A thread an element of dst in both cases: scatter asks which src element lands here. direct: elements as they are.
 * packed: dimensions that are copied whole are joined with the one before them, and elements are widened up to 16
 * bytes, four of them in flight (move.cuh). Bound by memory: one read, one write.
 */
#include "kernels/cuda/move.cuh"

#include <string.h>

constexpr int THREADS = 256, UNROLL = 4;

/* The descriptor as the kernel walks it. */
typedef struct shape {
    int32_t rank;
    int64_t src_dim[MOVE_MAX_RANK], dst_dim[MOVE_MAX_RANK], before[MOVE_MAX_RANK], step[MOVE_MAX_RANK];
    bool scatter;
} shape;

/* Src element of dst element i. False: none. INDEX: int32_t where that is enough, else int64_t. */
template <typename INDEX> static __device__ bool source_of(const shape &s, INDEX i, INDEX *from)
{
    INDEX flat = 0, stride = 1;
#pragma unroll
    for (int k = MOVE_MAX_RANK - 1; k >= 0;
         k--) { /* unrolled, so that the shape is indexed by constants and stays out of local memory */
        if (k >= s.rank) continue;
        INDEX dim = (INDEX)s.dst_dim[k], at = i % dim;
        i /= dim;
        if (s.scatter) {
            INDEX shifted = at + (INDEX)s.before[k], step = (INDEX)s.step[k];
            at = shifted < 0 || shifted % step != 0 ? -1 : shifted / step;
        } else {
            at = at * (INDEX)s.step[k] - (INDEX)s.before[k];
        }
        if (at < 0 || at >= (INDEX)s.src_dim[k]) return false;
        flat += at * stride;
        stride *= (INDEX)s.src_dim[k];
    }
    *from = flat;
    return true;
}

template <typename T, typename INDEX>
static __global__ void __launch_bounds__(THREADS)
    pad_elements(T *__restrict__ dst, const T *__restrict__ src, INDEX count, shape s, T value)
{
    INDEX stride = (INDEX)gridDim.x * THREADS;
    for (INDEX i = (INDEX)blockIdx.x * THREADS + (INDEX)threadIdx.x; i < count; i += UNROLL * stride) {
        T x[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            INDEX from;
            x[u] = value;
            if (i + u * stride < count && source_of(s, i + u * stride, &from)) x[u] = src[from];
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            if (i + u * stride < count) dst[i + u * stride] = x[u];
    }
}

static shape shape_of(const pad_desc *d)
{
    shape s = {};
    s.rank = d->rank;
    s.scatter = d->scatter;
    for (int32_t k = 0; k < d->rank; k++)
        s.src_dim[k] = d->src_dim[k], s.dst_dim[k] = d->dst_dim[k], s.before[k] = d->before[k], s.step[k] = d->step[k];
    return s;
}

/* Dimension k as a whole moves along with the one before it. */
static bool joins(const shape *s, int32_t k)
{
    return s->src_dim[k] == s->dst_dim[k] && s->before[k] == 0 && s->step[k] == 1 && s->step[k - 1] == 1;
}

static void join_dimensions(shape *s)
{
    for (int32_t k = s->rank - 1; k > 0; k--) {
        if (!joins(s, k)) continue;
        int64_t size = s->src_dim[k];
        s->src_dim[k - 1] *= size;
        s->dst_dim[k - 1] *= size;
        s->before[k - 1] *= size;
        s->rank--;
        for (int32_t j = k; j < s->rank; j++)
            s->src_dim[j] = s->src_dim[j + 1], s->dst_dim[j] = s->dst_dim[j + 1], s->before[j] = s->before[j + 1],
            s->step[j] = s->step[j + 1];
    }
}

/* Makes one element of two as long as the last dimension and the addresses allow. Gives the bytes of an element. */
static size_t widen_elements(shape *s, size_t bytes, const kernel_call *call)
{
    int32_t k = s->rank - 1;
    while (bytes < 16 && s->step[k] == 1 && s->src_dim[k] % 2 == 0 && s->dst_dim[k] % 2 == 0 && s->before[k] % 2 == 0 &&
           aligned_to(call->out[0], 2 * bytes) && aligned_to(call->in[0], 2 * bytes)) {
        bytes *= 2;
        s->src_dim[k] /= 2, s->dst_dim[k] /= 2, s->before[k] /= 2;
    }
    return bytes;
}

template <typename T> static status launch_pad(const kernel_call *call, shape s)
{
    const pad_desc *d = (const pad_desc *)call->desc;
    int64_t count = product_of(s.dst_dim, s.rank), reach = 1;
    unsigned char filled[16];
    T value;
    for (size_t i = 0; i < 16 / dtype_bytes(d->type); i++)
        dtype_store(filled, d->type, (int64_t)i, d->scatter ? 0.0 : (double)d->value);
    memcpy(&value, filled, sizeof value);
    for (int32_t k = 0; k < s.rank; k++) /* the largest coordinates that are looked at */
        if (reach < s.dst_dim[k] * s.step[k] + llabs(s.before[k]))
            reach = s.dst_dim[k] * s.step[k] + llabs(s.before[k]);
    unsigned blocks;
    TRY(blocks_on_device(&blocks, count, THREADS * UNROLL));
    bool is_32 = is_short(count) && is_short(product_of(s.src_dim, s.rank)) && is_short(reach) && is_short(reach * 4);
    if (is_32)
        return launch(pad_elements<T, int32_t>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0], call->in[0],
            count, s, value);
    return launch(pad_elements<T, int64_t>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0], call->in[0],
        count, s, value);
}

static status direct_run(const kernel_call *call)
{
    const pad_desc *d = (const pad_desc *)call->desc;
    return FOR_ELEMENT(dtype_bytes(d->type), launch_pad, call, shape_of(d));
}

static status packed_run(const kernel_call *call)
{
    const pad_desc *d = (const pad_desc *)call->desc;
    shape s = shape_of(d);
    join_dimensions(&s);
    size_t bytes = widen_elements(&s, dtype_bytes(d->type), call);
    return FOR_ELEMENT(bytes, launch_pad, call, s);
}

CUDA_KERNEL(pad__cuda_packed, OP_PAD, .run = packed_run);
CUDA_KERNEL(pad__cuda_direct, OP_PAD, .run = direct_run);
