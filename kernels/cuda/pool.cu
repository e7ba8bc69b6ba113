/* pool.cu: window, global and adaptive pooling, forward and backward, NHWC.
 *
 * direct: a thread a channel of an output (of backward: of an input pixel, which gathers from the windows over it, in
 * order, so that no atomics are needed), then of the next pixel of its band. packed: the same with N neighbouring
 * channels per thread in 16-byte accesses; neighbouring threads take neighbouring channels, then neighbouring pixels,
 * so that overlapping windows meet in the L1 cache. columns (forward averages over whole images): see reduce.cuh. Bound
 * by memory: one read of src, one write of dst (and of index); windows that overlap are read again from cache.
 */
#include "kernels/cuda/reduce.cuh"

constexpr int THREADS = COLUMN_THREADS;

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const pool_desc *)desc)->type);
}

/* Averages of every pixel of an image. */
static const char *columns_refuse(const void *desc)
{
    const pool_desc *d = (const pool_desc *)desc;
    if (d->kind != POOL_AVERAGE || d->oh != 1 || d->ow != 1) return "no average to one pixel";
    bool whole = d->adaptive || (d->pt == 0 && d->pl == 0 && d->kh >= d->ih && d->kw >= d->iw);
    if (!whole) return "the window is not the image";
    return refuse(desc);
}

/* One axis of the descriptor; values of 31 bits in 32, so that divisions are short. */
typedef struct axis {
    int32_t in, out, window, stride, before, after;
    bool adaptive, count_pad;
} axis;

/* Input positions first .. end - 1 under an output, and how many the average divides by; or outputs over an input. */
typedef struct span {
    int32_t first, end, divisor;
} span;

typedef struct shape {
    int64_t n, c;
    axis y, x;
} shape;

static shape shape_of(const pool_desc *d)
{
    shape s = {d->n, d->c,
        {(int32_t)d->ih, (int32_t)d->oh, d->kh, d->sh, d->pt, d->pb, d->adaptive, d->count_include_pad},
        {(int32_t)d->iw, (int32_t)d->ow, d->kw, d->sw, d->pl, d->pr, d->adaptive, d->count_include_pad}};
    return s;
}

static __device__ span span_of(const axis &a, int32_t o)
{
    span s;
    if (a.adaptive) {
        s.first = (int32_t)((int64_t)o * a.in / a.out);
        s.end = (int32_t)(((int64_t)(o + 1) * a.in + a.out - 1) / a.out);
        s.divisor = s.end - s.first;
        return s;
    }
    int64_t first = (int64_t)o * a.stride - a.before, end = first + a.window, limit = (int64_t)a.in + a.after;
    if (end > limit) end = limit;
    s.divisor = (int32_t)(end - first);
    s.first = first < 0 ? 0 : (int32_t)first;
    s.end = end > a.in ? a.in : (int32_t)end;
    if (!a.count_pad) s.divisor = s.end - s.first;
    return s;
}

/* Outputs whose window holds input i. */
static __device__ span covering(const axis &a, int32_t i)
{
    span s = {0, 0, 0};
    if (a.adaptive) {
        s.first = (int32_t)((int64_t)i * a.out / a.in);
        s.end = (int32_t)(((int64_t)(i + 1) * a.out + a.in - 1) / a.in);
        return s;
    }
    int64_t past = (int64_t)i + a.before - a.window; /* the last position before the first window that reaches i */
    s.first = past < 0 ? 0 : (int32_t)(past / a.stride + 1);
    int64_t end = ((int64_t)i + a.before) / a.stride + 1;
    s.end = end > a.out ? a.out : (int32_t)end;
    return s;
}

/* ------------------------------------------------------------------------------------------------ window by window */

/* NaN wins: the finite check of a step must see what a layer has spoilt. */
static __device__ bool exceeds(float x, float best)
{
    return x > best || x != x;
}

/* Pixel `p` of an image of dst: the first N channels from `channel` on. index may be NULL. */
template <typename T, int N, pool_kind KIND>
static __device__ void forward_pixel(
    T *dst, int32_t *index, const T *src, const shape &s, int64_t image, int64_t p, int64_t channel)
{
    int32_t oy = (int32_t)quotient(p, s.x.out), ox = (int32_t)(p - (int64_t)oy * s.x.out);
    const T *from = src + image * s.y.in * s.x.in * s.c + channel;
    span y = span_of(s.y, oy), x = span_of(s.x, ox);
    pack<T, N> best = load_pack<N>(from + ((int64_t)y.first * s.x.in + x.first) * s.c);
    pack<int32_t, N> at;
    typename sum_of<T>::type sum[N] = {};
#pragma unroll
    for (int k = 0; k < N; k++) at.at[k] = y.first * s.x.in + x.first;
    for (int32_t iy = y.first; iy < y.end; iy++)
#pragma unroll 2
        for (int32_t ix = x.first; ix < x.end; ix++) {
            pack<T, N> v = load_pack<N>(from + ((int64_t)iy * s.x.in + ix) * s.c);
#pragma unroll
            for (int k = 0; k < N; k++) {
                if (KIND == POOL_AVERAGE) sum[k] = accumulate(sum[k], v.at[k]);
                else if (exceeds(to_float(v.at[k]), to_float(best.at[k])))
                    best.at[k] = v.at[k], at.at[k] = iy * s.x.in + ix;
            }
        }
    float divisor = (float)((int64_t)y.divisor * x.divisor);
    int64_t to = (image * s.y.out * s.x.out + p) * s.c + channel;
#pragma unroll
    for (int k = 0; k < N && KIND == POOL_AVERAGE; k++) best.at[k] = from_float<T>((float)sum[k] / divisor);
    store_pack(dst + to, best);
    if (index && KIND == POOL_MAX)
#pragma unroll
        for (int k = 0; k < N; k++) index[to + k] = at.at[k];
}

template <typename T, int N, pool_kind KIND>
static __device__ void backward_pixel(
    T *dsrc, const T *ddst, const int32_t *index, const shape &s, int64_t image, int32_t p, int64_t channel)
{
    int32_t iy = p / s.x.in, ix = p - iy * s.x.in;
    span y = covering(s.y, iy), x = covering(s.x, ix);
    float sum[N] = {};
    for (int32_t oy = y.first; oy < y.end; oy++)
        for (int32_t ox = x.first; ox < x.end; ox++) {
            int64_t at = (image * s.y.out * s.x.out + (int64_t)oy * s.x.out + ox) * s.c + channel;
            pack<T, N> g = load_pack<N>(ddst + at);
            float divisor = 1.0f;
            if (KIND == POOL_AVERAGE) divisor = (float)((int64_t)span_of(s.y, oy).divisor * span_of(s.x, ox).divisor);
#pragma unroll
            for (int k = 0; k < N; k++) {
                if (KIND == POOL_AVERAGE) sum[k] += to_float(g.at[k]) / divisor;
                else if (index[at + k] == p) sum[k] += to_float(g.at[k]);
            }
        }
    pack<T, N> result;
#pragma unroll
    for (int k = 0; k < N; k++) result.at[k] = from_float<T>(sum[k]);
    store_pack(dsrc + (image * s.y.in * s.x.in + p) * s.c + channel, result);
}

/* A thread its channels, and pixels of a band one after the other (columns.cuh). N = 1 is the direct variant. */
template <typename T, int N, pool_kind KIND>
static __global__ void __launch_bounds__(THREADS, 2) forward_window(T *__restrict__ dst, int32_t *__restrict__ index,
    const T *__restrict__ src, shape s, int64_t band)
{
    int64_t channel = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, pixels = (int64_t)s.y.out * s.x.out;
    int64_t end = (blockIdx.y + 1) * band;
    if (end > pixels) end = pixels;
    for (int64_t image = blockIdx.z; channel < s.c && image < s.n; image += gridDim.z)
        for (int64_t p = blockIdx.y * band + threadIdx.y; p < end; p += blockDim.y)
            forward_pixel<T, N, KIND>(dst, index, src, s, image, p, channel);
}

template <typename T, int N, pool_kind KIND>
static __global__ void __launch_bounds__(THREADS, 2) backward_window(T *__restrict__ dsrc, const T *__restrict__ ddst,
    const int32_t *__restrict__ index, shape s, int64_t band)
{
    int64_t channel = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, pixels = (int64_t)s.y.in * s.x.in;
    int64_t end = (blockIdx.y + 1) * band;
    if (end > pixels) end = pixels;
    for (int64_t image = blockIdx.z; channel < s.c && image < s.n; image += gridDim.z)
        for (int64_t p = blockIdx.y * band + threadIdx.y; p < end; p += blockDim.y)
            backward_pixel<T, N, KIND>(dsrc, ddst, index, s, image, (int32_t)p, channel);
}

template <typename T, int N> static status launch_forward(const kernel_call *call)
{
    const pool_desc *d = (const pool_desc *)call->desc;
    column_plan p = column_plan_of(d->n, d->oh * d->ow, d->c / N, 1);
    return launch(d->kind == POOL_MAX ? forward_window<T, N, POOL_MAX> : forward_window<T, N, POOL_AVERAGE>, p.grid,
        p.block, 0, call->stream, call->out[0], call->out[1], call->in[0], shape_of(d), p.band);
}

template <typename T, int N> static status launch_backward(const kernel_call *call)
{
    const pool_desc *d = (const pool_desc *)call->desc;
    column_plan p = column_plan_of(d->n, d->ih * d->iw, d->c / N, 1);
    return launch(d->kind == POOL_MAX ? backward_window<T, N, POOL_MAX> : backward_window<T, N, POOL_AVERAGE>, p.grid,
        p.block, 0, call->stream, call->out[0], call->in[0], call->in[1], shape_of(d), p.band);
}

template <typename T> static status forward_direct(const kernel_call *call)
{
    return launch_forward<T, 1>(call);
}

template <typename T> static status backward_direct(const kernel_call *call)
{
    return launch_backward<T, 1>(call);
}

/* i8 by 8: 16 accumulators each of value and position would not leave registers for the loads. */
template <typename T> static status forward_packed(const kernel_call *call)
{
    constexpr int N = sizeof(T) == 1 ? 8 : LANES<T>;
    const pool_desc *d = (const pool_desc *)call->desc;
    bool whole = d->c % N == 0 && aligned_to(call->out[0], 16) && aligned_to(call->in[0], 16);
    return whole ? launch_forward<T, N>(call) : launch_forward<T, 1>(call);
}

template <typename T> static status backward_packed(const kernel_call *call)
{
    const pool_desc *d = (const pool_desc *)call->desc;
    bool whole = d->c % LANES<T> == 0 && aligned_to(call->out[0], 16) && aligned_to(call->in[0], 16);
    return whole ? launch_backward<T, LANES<T>>(call) : launch_backward<T, 1>(call);
}

static status forward_direct_run(const kernel_call *call)
{
    return FOR_ACTIVATION_TYPE(((const pool_desc *)call->desc)->type, forward_direct, call);
}

static status forward_packed_run(const kernel_call *call)
{
    return FOR_ACTIVATION_TYPE(((const pool_desc *)call->desc)->type, forward_packed, call);
}

static status backward_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const pool_desc *)call->desc)->type, backward_direct, call);
}

static status backward_packed_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const pool_desc *)call->desc)->type, backward_packed, call);
}

/* ------------------------------------------------------------------------------------------------ columns */

static size_t average_scratch(const void *desc, const void *state)
{
    const pool_desc *d = (const pool_desc *)desc;
    (void)state;
    return reduce_scratch_bytes(d->n, d->ih * d->iw, d->c, dtype_bytes(d->type));
}

template <typename T> static status average(const kernel_call *call)
{
    const pool_desc *d = (const pool_desc *)call->desc;
    /* The padding behind the image counts if it is asked for. */
    int64_t kh = d->kh < d->ih + d->pb ? d->kh : d->ih + d->pb, kw = d->kw < d->iw + d->pr ? d->kw : d->iw + d->pr;
    bool padded = d->count_include_pad && !d->adaptive;
    kernel_call plain = *call; /* in[1] is no factor */
    plain.in[1] = NULL;
    return launch_reduce<T, false>(
        &plain, d->n, d->ih * d->iw, d->c, padded ? (float)(kh * kw) : (float)(d->ih * d->iw));
}

static status average_run(const kernel_call *call)
{
    return FOR_ACTIVATION_TYPE(((const pool_desc *)call->desc)->type, average, call);
}

CUDA_KERNEL(pool_forward__cuda_columns, OP_POOL_FORWARD, .refuse = columns_refuse, .scratch_bytes = average_scratch,
    .run = average_run);
CUDA_KERNEL(pool_forward__cuda_packed, OP_POOL_FORWARD, .refuse = refuse, .run = forward_packed_run);
CUDA_KERNEL(pool_forward__cuda_direct, OP_POOL_FORWARD, .refuse = refuse, .run = forward_direct_run);
CUDA_KERNEL(pool_backward__cuda_packed, OP_POOL_BACKWARD, .refuse = refuse, .run = backward_packed_run);
CUDA_KERNEL(pool_backward__cuda_direct, OP_POOL_BACKWARD, .refuse = refuse, .run = backward_direct_run);
