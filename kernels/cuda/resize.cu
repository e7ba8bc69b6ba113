/* resize.cu: nearest and bilinear resampling and their transposes, NHWC.
 *
 * Positions are quotients of integers: the floor is an integer division, the weights are the remainder and what it
 * lacks, over the divisor, each rounded once. direct: a thread an element. packed: a thread N neighbouring
 * channels of a pixel in 16-byte accesses (nearest forward: bytes, move.cuh). backward gathers: a thread visits
 * the outputs that read its pixel, in order, so no atomics are needed. Bound by memory: src read (each pixel up to
 * 4 times, from cache), dst written.
 */
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/move.cuh"

constexpr int THREADS = COLUMN_THREADS;

static const char *backward_refuse(const void *desc)
{
    return cuda_refuse_type(((const resize_desc *)desc)->type);
}

/* Nearest moves any type, f64 too. */
static const char *forward_refuse(const void *desc)
{
    const resize_desc *d = (const resize_desc *)desc;
    return d->bilinear ? cuda_refuse_type(d->type) : NULL;
}

/* One axis; sides are at most 2^20. */
typedef struct axis {
    int32_t in, out;
    bool bilinear, align;
} axis;

typedef struct shape {
    int64_t n, c;
    axis y, x;
} shape;

static shape shape_of(const resize_desc *d)
{
    shape s = {d->n, d->c, {(int32_t)d->ih, (int32_t)d->oh, d->bilinear, d->align_corners},
        {(int32_t)d->iw, (int32_t)d->ow, d->bilinear, d->align_corners}};
    return s;
}

/* The two neighbours of an output position and their weights. */
typedef struct taps {
    int32_t low, high;
    float low_weight, high_weight;
} taps;

static __device__ taps taps_of(const axis &a, int32_t o)
{
    int64_t above = (int64_t)o * a.in; /* the position is above / below */
    int32_t below = a.out;
    if (a.bilinear && a.align) {
        above = a.out > 1 ? (int64_t)o * (a.in - 1) : 0;
        below = a.out > 1 ? a.out - 1 : 1;
    } else if (a.bilinear) {
        above = (2 * (int64_t)o + 1) * a.in - a.out;
        below = 2 * a.out;
        if (above < 0) above = 0;
    }
    int64_t low = quotient(above, below);
    taps t = {(int32_t)low, (int32_t)low, 1.0f, 0.0f};
    if (!a.bilinear) return t;
    int64_t rest = above - low * below; /* below 2^21: exact as f32 */
    t.high = t.low + 1 < a.in ? t.low + 1 : a.in - 1;
    t.high_weight = (float)rest / (float)below;
    t.low_weight = (float)(below - rest) / (float)below; /* 1 - high_weight would lose what is small */
    return t;
}

/* Outputs first .. end - 1: all that read input i are among them. */
typedef struct span {
    int32_t first, end;
} span;

static __device__ span readers_of(const axis &a, int32_t i)
{
    int64_t first, last;
    if (!a.bilinear) { /* floor(o in / out) = i */
        first = ((int64_t)i * a.out + a.in - 1) / a.in;
        last = ((int64_t)(i + 1) * a.out - 1) / a.in;
    } else if (a.align) { /* i - 1 < o (in - 1) / (out - 1) < i + 1 */
        int64_t steps = a.in > 1 ? a.in - 1 : 1;
        first = a.in > 1 ? ((int64_t)i - 1) * (a.out - 1) / steps : 0;
        last = a.in > 1 ? ((int64_t)(i + 1) * (a.out - 1) + steps - 1) / steps : a.out - 1;
    } else { /* i - 1 < ((2 o + 1) in - out) / (2 out) < i + 1; beyond the borders positions are moved inside */
        first = i > 0 ? ((2 * (int64_t)i - 1) * a.out / a.in - 1) / 2 : 0;
        last = ((2 * (int64_t)i + 3) * a.out / a.in + 1) / 2;
    }
    span s = {first < 0 ? 0 : (int32_t)first, (int32_t)(last + 1 > a.out ? a.out : last + 1)};
    return s;
}

/* How much of output o comes from input i. */
static __device__ float share_of(const axis &a, int32_t o, int32_t i)
{
    taps t = taps_of(a, o);
    return (t.low == i ? t.low_weight : 0.0f) + (t.high == i ? t.high_weight : 0.0f);
}

/* ------------------------------------------------------------------------------------------------ forward */

/* A thread an element of the pixels (N channels of them), for the pixels of a band one after the other: columns.cuh. */

/* T is an element's bytes, `packs` their number in a pixel. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    nearest_elements(T *__restrict__ dst, const T *__restrict__ src, shape s, int64_t packs, int64_t band)
{
    int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, pixels = (int64_t)s.y.out * s.x.out,
            end = (blockIdx.y + 1) * band;
    if (end > pixels) end = pixels;
    for (int64_t image = blockIdx.z; at < packs && image < s.n; image += gridDim.z)
        for (int64_t p = blockIdx.y * band + threadIdx.y; p < end; p += blockDim.y) {
            int32_t oy = (int32_t)quotient(p, s.x.out), y = taps_of(s.y, oy).low;
            int32_t x = taps_of(s.x, (int32_t)(p - (int64_t)oy * s.x.out)).low;
            dst[(image * pixels + p) * packs + at] = src[((image * s.y.in + y) * s.x.in + x) * packs + at];
        }
}

template <typename T, int N>
static __device__ void forward_pixel(T *dst, const T *src, const shape &s, int64_t image, int64_t p, int64_t channel)
{
    int32_t oy = (int32_t)quotient(p, s.x.out);
    taps y = taps_of(s.y, oy), x = taps_of(s.x, (int32_t)(p - (int64_t)oy * s.x.out));
    const T *from = src + channel;
    int64_t top = (image * s.y.in + y.low) * s.x.in, bottom = (image * s.y.in + y.high) * s.x.in;
    pack<T, N> a = load_pack<N>(from + (top + x.low) * s.c), b = load_pack<N>(from + (top + x.high) * s.c);
    pack<T, N> e = load_pack<N>(from + (bottom + x.low) * s.c), f = load_pack<N>(from + (bottom + x.high) * s.c),
               result;
#pragma unroll
    for (int k = 0; k < N; k++) {
        float upper = x.low_weight * to_float(a.at[k]) + x.high_weight * to_float(b.at[k]);
        float lower = x.low_weight * to_float(e.at[k]) + x.high_weight * to_float(f.at[k]);
        result.at[k] = from_float<T>(y.low_weight * upper + y.high_weight * lower);
    }
    store_pack(dst + (image * s.y.out * s.x.out + p) * s.c + channel, result);
}

/* N = 1 is the direct variant. */
template <typename T, int N>
static __global__ void __launch_bounds__(THREADS, 2)
    bilinear_forward(T *__restrict__ dst, const T *__restrict__ src, shape s, int64_t band)
{
    int64_t channel = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, pixels = (int64_t)s.y.out * s.x.out;
    int64_t end = (blockIdx.y + 1) * band;
    if (end > pixels) end = pixels;
    for (int64_t image = blockIdx.z; channel < s.c && image < s.n; image += gridDim.z)
        for (int64_t p = blockIdx.y * band + threadIdx.y; p < end; p += blockDim.y)
            forward_pixel<T, N>(dst, src, s, image, p, channel);
}

template <typename T> static status launch_nearest(const kernel_call *call, int64_t packs)
{
    const resize_desc *d = (const resize_desc *)call->desc;
    column_plan p = column_plan_of(d->n, d->oh * d->ow, packs, 1);
    return launch(
        nearest_elements<T>, p.grid, p.block, 0, call->stream, call->out[0], call->in[0], shape_of(d), packs, p.band);
}

template <typename T, int N> static status launch_bilinear(const kernel_call *call)
{
    const resize_desc *d = (const resize_desc *)call->desc;
    column_plan p = column_plan_of(d->n, d->oh * d->ow, d->c / N, 1);
    return launch(
        bilinear_forward<T, N>, p.grid, p.block, 0, call->stream, call->out[0], call->in[0], shape_of(d), p.band);
}

/* ------------------------------------------------------------------------------------------------ backward */

template <typename T, int N>
static __device__ void backward_pixel(T *dsrc, const T *ddst, const shape &s, int64_t image, int64_t p, int64_t channel)
{
    int32_t iy = (int32_t)quotient(p, s.x.in), ix = (int32_t)(p - (int64_t)iy * s.x.in);
    const T *from = ddst + image * s.y.out * s.x.out * s.c + channel;
    span y = readers_of(s.y, iy), x = readers_of(s.x, ix);
    float sum[N] = {};
    for (int32_t oy = y.first; oy < y.end; oy++) {
        float share_y = share_of(s.y, oy, iy);
        if (share_y == 0.0f) continue;
        for (int32_t ox = x.first; ox < x.end; ox++) {
            float share = share_y * share_of(s.x, ox, ix);
            if (share == 0.0f) continue;
            pack<T, N> g = load_pack<N>(from + ((int64_t)oy * s.x.out + ox) * s.c);
#pragma unroll
            for (int k = 0; k < N; k++) sum[k] = fmaf(share, to_float(g.at[k]), sum[k]);
        }
    }
    pack<T, N> result;
#pragma unroll
    for (int k = 0; k < N; k++) result.at[k] = from_float<T>(sum[k]);
    store_pack(dsrc + (image * s.y.in * s.x.in + p) * s.c + channel, result);
}

template <typename T, int N>
static __global__ void __launch_bounds__(THREADS, 2)
    backward_gather(T *__restrict__ dsrc, const T *__restrict__ ddst, shape s, int64_t band)
{
    int64_t channel = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, pixels = (int64_t)s.y.in * s.x.in;
    int64_t end = (blockIdx.y + 1) * band;
    if (end > pixels) end = pixels;
    for (int64_t image = blockIdx.z; channel < s.c && image < s.n; image += gridDim.z)
        for (int64_t p = blockIdx.y * band + threadIdx.y; p < end; p += blockDim.y)
            backward_pixel<T, N>(dsrc, ddst, s, image, p, channel);
}

template <typename T, int N> static status launch_backward(const kernel_call *call)
{
    const resize_desc *d = (const resize_desc *)call->desc;
    column_plan p = column_plan_of(d->n, d->ih * d->iw, d->c / N, 1);
    return launch(
        backward_gather<T, N>, p.grid, p.block, 0, call->stream, call->out[0], call->in[0], shape_of(d), p.band);
}

/* ------------------------------------------------------------------------------------------------ variants */

/* Whether the pixels of both tensors are whole 16 bytes. */
template <typename T> static bool is_packed(const kernel_call *call)
{
    return ((const resize_desc *)call->desc)->c % LANES<T> == 0 && aligned_to(call->out[0], 16) &&
           aligned_to(call->in[0], 16);
}

template <typename T> static status bilinear_direct(const kernel_call *call)
{
    return launch_bilinear<T, 1>(call);
}

template <typename T> static status bilinear_packed(const kernel_call *call)
{
    return is_packed<T>(call) ? launch_bilinear<T, LANES<T>>(call) : launch_bilinear<T, 1>(call);
}

template <typename T> static status backward_direct(const kernel_call *call)
{
    return launch_backward<T, 1>(call);
}

template <typename T> static status backward_packed(const kernel_call *call)
{
    return is_packed<T>(call) ? launch_backward<T, LANES<T>>(call) : launch_backward<T, 1>(call);
}

static status forward_direct_run(const kernel_call *call)
{
    const resize_desc *d = (const resize_desc *)call->desc;
    if (!d->bilinear) return FOR_ELEMENT(dtype_bytes(d->type), launch_nearest, call, d->c);
    return FOR_FLOAT_TYPE(d->type, bilinear_direct, call);
}

static status forward_packed_run(const kernel_call *call)
{
    const resize_desc *d = (const resize_desc *)call->desc;
    size_t bytes = dtype_bytes(d->type);
    int64_t packs = d->c;
    if (d->bilinear) return FOR_FLOAT_TYPE(d->type, bilinear_packed, call);
    while (bytes < 16 && packs % 2 == 0 && aligned_to(call->out[0], 2 * bytes) && aligned_to(call->in[0], 2 * bytes))
        bytes *= 2, packs /= 2;
    return FOR_ELEMENT(bytes, launch_nearest, call, packs);
}

static status backward_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const resize_desc *)call->desc)->type, backward_direct, call);
}

static status backward_packed_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const resize_desc *)call->desc)->type, backward_packed, call);
}

CUDA_KERNEL(resize_forward__cuda_packed, OP_RESIZE_FORWARD, .refuse = forward_refuse, .run = forward_packed_run);
CUDA_KERNEL(resize_forward__cuda_direct, OP_RESIZE_FORWARD, .refuse = forward_refuse, .run = forward_direct_run);
CUDA_KERNEL(resize_backward__cuda_packed, OP_RESIZE_BACKWARD, .refuse = backward_refuse, .run = backward_packed_run);
CUDA_KERNEL(resize_backward__cuda_direct, OP_RESIZE_BACKWARD, .refuse = backward_refuse, .run = backward_direct_run);
