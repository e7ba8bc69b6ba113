/* bn_apply.cu: the passes of batch normalisation over whole tensors [rows, c]:
 *
 *     bn_apply        dst = act(a[c] src + d[c] (+ add))
 *     bn_grad_apply   g = ddst act'(dst);  dsrc = p[c] g + q[c] src + r[c];  dadd = g  (dst made again: remade)
 *
 * direct: a thread an element. columns: see columns.cuh; the coefficients of a thread's channels stay in registers, a
 * row costs one 16-byte access per tensor, four (two) rows are in flight. Where channels are no whole 16 bytes, several
 * rows are taken for one, if rows allow it. What of the activation is known at compile time is none, relu and "look".
 * Bound by memory: one access per tensor and element.
 */
#include "kernels/cuda/columns.cuh"

constexpr int THREADS = COLUMN_THREADS, UNROLL = 4, GRAD_UNROLL = 2;

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const bn_desc *)desc)->type);
}

/* What the element-wise part needs of the descriptor. A kernel's row may be several of the tensor's: columns
 * is then a multiple of channels. */
typedef struct shape {
    int64_t rows, columns, channels, band;
    activation act;
    float alpha, beta;
} shape;

static shape shape_of(const bn_desc *d, int64_t period, int64_t band)
{
    shape s = {d->rows / period, d->channels * period, d->channels, band, d->act, d->alpha, d->beta};
    return s;
}

/* ------------------------------------------------------------------------------------------------ direct */

/* add may be NULL. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) apply_direct(T *__restrict__ dst, const T *__restrict__ src,
    const float *__restrict__ coef, const T *__restrict__ add, shape s)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= s.rows * s.channels) return;
    int64_t c = i % s.channels;
    float y = fmaf(coef[c], to_float(src[i]), coef[s.channels + c]);
    if (add) y += to_float(add[i]);
    dst[i] = from_float<T>(activate(y, s.act, s.alpha, s.beta));
}

/* dadd may be NULL; dst too where there is no activation, or where `apply`, bn_apply's coefficients, make it. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    grad_apply_direct(T *__restrict__ dsrc, T *__restrict__ dadd, const T *__restrict__ ddst, const T *__restrict__ src,
        const T *__restrict__ dst, const float *__restrict__ coef, const float *__restrict__ apply, shape s)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= s.rows * s.channels) return;
    int64_t c = i % s.channels;
    float y = 0.0f;
    if (apply) y = remade(src[i], apply[c], apply[s.channels + c], s.act, s.alpha, s.beta);
    else if (s.act != ACT_NONE) y = to_float(dst[i]);
    float g = activate_gradient(to_float(ddst[i]), y, s.act, s.alpha, s.beta);
    dsrc[i] = from_float<T>(fmaf(coef[c], g, fmaf(coef[s.channels + c], to_float(src[i]), coef[2 * s.channels + c])));
    if (dadd) dadd[i] = from_float<T>(g);
}

template <typename T> static status launch_apply_direct(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    return launch(apply_direct<T>, dim3(blocks_for(d->rows * d->channels, THREADS)), dim3(THREADS), 0, call->stream,
        call->out[0], call->in[0], call->in[1], d->has_add ? call->in[2] : NULL, shape_of(d, 1, 0));
}

template <typename T> static status launch_grad_apply_direct(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    return launch(grad_apply_direct<T>, dim3(blocks_for(d->rows * d->channels, THREADS)), dim3(THREADS), 0,
        call->stream, call->out[0], call->out[1], call->in[0], call->in[1], call->in[2], call->in[3],
        d->recompute ? call->in[4] : NULL, shape_of(d, 1, 0));
}

static status apply_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const bn_desc *)call->desc)->type, launch_apply_direct, call);
}

static status grad_apply_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const bn_desc *)call->desc)->type, launch_grad_apply_direct, call);
}

/* ------------------------------------------------------------------------------------------------ columns */

/* ACT: the activation, or -1: s.act decides at run time. */
template <typename T, int N, int ACT>
static __global__ void __launch_bounds__(THREADS, 2) apply_columns(T *__restrict__ dst, const T *__restrict__ src,
    const float *__restrict__ coef, const T *__restrict__ add, shape s)
{
    int64_t column = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, step = blockDim.y * s.columns;
    if (column >= s.columns) return;
    int64_t end = (blockIdx.y + 1) * s.band;
    end = (end < s.rows ? end : s.rows) * s.columns;
    activation act = ACT < 0 ? s.act : (activation)ACT;
    float a[N], shift[N];
#pragma unroll
    for (int k = 0; k < N; k++) {
        int64_t c = (column + k) % s.channels;
        a[k] = coef[c], shift[k] = coef[s.channels + c];
    }
    for (int64_t at = (blockIdx.y * s.band + threadIdx.y) * s.columns + column; at < end; at += UNROLL * step) {
        pack<T, N> x[UNROLL], more[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            if (at + u * step >= end) break;
            x[u] = load_pack<N>(src + at + u * step);
            if (add) more[u] = load_pack<N>(add + at + u * step);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            if (at + u * step >= end) break;
#pragma unroll
            for (int k = 0; k < N; k++) {
                float y = fmaf(a[k], to_float(x[u].at[k]), shift[k]);
                if (add) y += to_float(more[u].at[k]);
                x[u].at[k] = from_float<T>(activate(y, act, s.alpha, s.beta));
            }
            store_pack(dst + at + u * step, x[u]);
        }
    }
}

/* REMADE: dst is NULL, apply has its coefficients. */
template <typename T, int N, int ACT, bool REMADE>
static __global__ void __launch_bounds__(THREADS, 2) grad_apply_columns(T *__restrict__ dsrc, T *__restrict__ dadd,
    const T *__restrict__ ddst, const T *__restrict__ src, const T *__restrict__ dst, const float *__restrict__ coef,
    const float *__restrict__ apply, shape s)
{
    int64_t column = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, step = blockDim.y * s.columns;
    if (column >= s.columns) return;
    int64_t end = (blockIdx.y + 1) * s.band;
    end = (end < s.rows ? end : s.rows) * s.columns;
    activation act = ACT < 0 ? s.act : (activation)ACT;
    float p[N], q[N], r[N], a[N] = {}, shift[N] = {};
#pragma unroll
    for (int k = 0; k < N; k++) {
        int64_t c = (column + k) % s.channels;
        p[k] = coef[c], q[k] = coef[s.channels + c], r[k] = coef[2 * s.channels + c];
        if (REMADE) a[k] = apply[c], shift[k] = apply[s.channels + c];
    }
    for (int64_t at = (blockIdx.y * s.band + threadIdx.y) * s.columns + column; at < end; at += GRAD_UNROLL * step) {
        pack<T, N> g[GRAD_UNROLL], x[GRAD_UNROLL], y[GRAD_UNROLL] = {};
#pragma unroll
        for (int u = 0; u < GRAD_UNROLL; u++) {
            if (at + u * step >= end) break;
            g[u] = load_pack<N>(ddst + at + u * step);
            x[u] = load_pack<N>(src + at + u * step);
            if (act != ACT_NONE && !REMADE) y[u] = load_pack<N>(dst + at + u * step);
        }
#pragma unroll
        for (int u = 0; u < GRAD_UNROLL; u++) {
            if (at + u * step >= end) break;
#pragma unroll
            for (int k = 0; k < N; k++) {
                float out = REMADE ? remade(x[u].at[k], a[k], shift[k], act, s.alpha, s.beta) : to_float(y[u].at[k]);
                float inside = activate_gradient(to_float(g[u].at[k]), out, act, s.alpha, s.beta);
                g[u].at[k] = from_float<T>(inside);
                x[u].at[k] = from_float<T>(fmaf(p[k], inside, fmaf(q[k], to_float(x[u].at[k]), r[k])));
            }
            store_pack(dsrc + at + u * step, x[u]);
            if (dadd) store_pack(dadd + at + u * step, g[u]);
        }
    }
}

template <typename T, int N, int ACT> static status launch_apply(const kernel_call *call, int64_t period)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    column_plan p = column_plan_of(1, d->rows / period, d->channels * period / N, UNROLL);
    return launch(apply_columns<T, N, ACT>, p.grid, p.block, 0, call->stream, call->out[0], call->in[0], call->in[1],
        d->has_add ? call->in[2] : NULL, shape_of(d, period, p.band));
}

template <typename T, int N, int ACT, bool REMADE = false>
static status launch_grad_apply(const kernel_call *call, int64_t period)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    column_plan p = column_plan_of(1, d->rows / period, d->channels * period / N, GRAD_UNROLL);
    return launch(grad_apply_columns<T, N, ACT, REMADE>, p.grid, p.block, 0, call->stream, call->out[0], call->out[1],
        call->in[0], call->in[1], call->in[2], call->in[3], REMADE ? call->in[4] : NULL, shape_of(d, period, p.band));
}

template <typename T> static status choose_apply(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    bool aligned = aligned_to(call->out[0], 16) && aligned_to(call->in[0], 16) && aligned_to(call->in[2], 16);
    int64_t period = column_period(d->rows, d->channels, LANES<T>);
    if (!period || !aligned) return launch_apply<T, 1, -1>(call, 1);
    if (d->act == ACT_NONE) return launch_apply<T, LANES<T>, ACT_NONE>(call, period);
    return d->act == ACT_RELU ? launch_apply<T, LANES<T>, ACT_RELU>(call, period)
                              : launch_apply<T, LANES<T>, -1>(call, period);
}

template <typename T> static status choose_grad_apply(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    bool aligned = aligned_to(call->out[0], 16) && aligned_to(call->out[1], 16);
    for (int i = 0; i < 3; i++) aligned = aligned && aligned_to(call->in[i], 16);
    int64_t period = column_period(d->rows, d->channels, LANES<T>);
    if (d->recompute && period && aligned)
        return d->act == ACT_RELU ? launch_grad_apply<T, LANES<T>, ACT_RELU, true>(call, period)
                                  : launch_grad_apply<T, LANES<T>, -1, true>(call, period);
    if (d->recompute) return launch_grad_apply<T, 1, -1, true>(call, 1);
    if (!period || !aligned) return launch_grad_apply<T, 1, -1>(call, 1);
    if (d->act == ACT_NONE) return launch_grad_apply<T, LANES<T>, ACT_NONE>(call, period);
    return d->act == ACT_RELU ? launch_grad_apply<T, LANES<T>, ACT_RELU>(call, period)
                              : launch_grad_apply<T, LANES<T>, -1>(call, period);
}

static status apply_columns_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const bn_desc *)call->desc)->type, choose_apply, call);
}

static status grad_apply_columns_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const bn_desc *)call->desc)->type, choose_grad_apply, call);
}

CUDA_KERNEL(bn_apply__cuda_columns, OP_BN_APPLY, .refuse = refuse, .run = apply_columns_run);
CUDA_KERNEL(bn_apply__cuda_direct, OP_BN_APPLY, .refuse = refuse, .run = apply_direct_run);
CUDA_KERNEL(bn_grad_apply__cuda_columns, OP_BN_GRAD_APPLY, .refuse = refuse, .run = grad_apply_columns_run);
CUDA_KERNEL(bn_grad_apply__cuda_direct, OP_BN_GRAD_APPLY, .refuse = refuse, .run = grad_apply_direct_run);
