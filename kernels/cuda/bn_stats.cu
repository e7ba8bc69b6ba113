/* bn_stats.cu: the sums over rows of batch normalisation's two directions, f64 [2, c]:
 *
 *     bn_stats        sum x, sum x^2              bn_grad_stats   sum g, sum g x    with g = ddst * act'(dst)
 *
 * direct: a block a channel, in double.
 * columns: see columns.cuh. Runs of 16 rows are summed in f32, the runs in double (of the f32 sum's error sqrt(16) u is
 * left, and double arithmetic stays within the loads' time even where it runs at 1/32 rate); the rows of a block are
 * added in order, then the bands. Where channels are no whole 16 bytes but rows allow it, two, four or eight rows are
 * taken for one. Bound by memory: one read of src (ddst, src and dst).
 */
#include "kernels/cuda/columns.cuh"

constexpr int THREADS = COLUMN_THREADS, UNROLL = 4, RUN = 4; /* RUN times UNROLL rows in f32 */

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const bn_desc *)desc)->type);
}

/* ------------------------------------------------------------------------------------------------ direct */

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    stats_direct(double *__restrict__ stats, const T *__restrict__ src, int64_t rows, int64_t channels)
{
    int64_t c = blockIdx.x;
    double sum = 0.0, squares = 0.0;
    for (int64_t r = threadIdx.x; r < rows; r += blockDim.x) {
        double x = (double)to_float(src[r * channels + c]);
        sum += x;
        squares += x * x;
    }
    sum = block_sum(sum);
    squares = block_sum(squares);
    if (threadIdx.x == 0) {
        stats[c] = sum;
        stats[channels + c] = squares;
    }
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) grad_stats_direct(double *__restrict__ stats,
    const T *__restrict__ ddst, const T *__restrict__ src, const T *__restrict__ dst, const float *__restrict__ apply,
    int64_t rows, int64_t channels, activation act, float alpha, float beta)
{
    int64_t c = blockIdx.x;
    double sum = 0.0, products = 0.0;
    for (int64_t r = threadIdx.x; r < rows; r += blockDim.x) {
        int64_t i = r * channels + c;
        float y = 0.0f;
        if (apply) y = remade(src[i], apply[c], apply[channels + c], act, alpha, beta);
        else if (act != ACT_NONE) y = to_float(dst[i]);
        double g = (double)activate_gradient(to_float(ddst[i]), y, act, alpha, beta);
        sum += g;
        products += g * (double)to_float(src[i]);
    }
    sum = block_sum(sum);
    products = block_sum(products);
    if (threadIdx.x == 0) {
        stats[c] = sum;
        stats[channels + c] = products;
    }
}

template <typename T> static status launch_stats_direct(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    return launch(stats_direct<T>, dim3((unsigned)d->channels), dim3(THREADS), 0, call->stream, call->out[0],
        call->in[0], d->rows, d->channels);
}

template <typename T> static status launch_grad_stats_direct(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    return launch(grad_stats_direct<T>, dim3((unsigned)d->channels), dim3(THREADS), 0, call->stream, call->out[0],
        call->in[0], call->in[1], call->in[2], d->recompute ? call->in[3] : NULL, d->rows, d->channels, d->act,
        d->alpha, d->beta);
}

static status stats_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const bn_desc *)call->desc)->type, launch_stats_direct, call);
}

static status grad_stats_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const bn_desc *)call->desc)->type, launch_grad_stats_direct, call);
}

/* ------------------------------------------------------------------------------------------------ columns */

/* What a thread has summed for its N channels: in f32 since the last fold, and before. */
template <int N> struct sums {
    float run[2][N];
    double total[2][N];
};

template <int N> static inline __device__ void sums_clear(sums<N> *s)
{
#pragma unroll
    for (int k = 0; k < N; k++) s->run[0][k] = s->run[1][k] = 0.0f, s->total[0][k] = s->total[1][k] = 0.0;
}

template <int N> static inline __device__ void sums_fold(sums<N> *s)
{
#pragma unroll
    for (int k = 0; k < N; k++) {
        s->total[0][k] += (double)s->run[0][k];
        s->total[1][k] += (double)s->run[1][k];
        s->run[0][k] = s->run[1][k] = 0.0f;
    }
}

/* Adds up the block's rows and writes them as the band's: partial [bands, 2, columns]. All threads call it. */
template <int N> static inline __device__ void sums_write(double *partial, const sums<N> *s, int64_t columns)
{
    const double *fold = column_fold<2 * N>(&s->total[0][0]);
    double *band = partial + (int64_t)blockIdx.y * 2 * columns;
    int width = (int)blockDim.x, thread = (int)threadIdx.y * width + (int)threadIdx.x;
    for (int i = thread; i < 2 * N * width;
         i += width * (int)blockDim.y) { /* neighbouring threads, neighbouring columns */
        int stat = i / (N * width), at = i - stat * N * width, x = at / N, k = at % N;
        int64_t column = (int64_t)blockIdx.x * width * N + at;
        if (column < columns) band[stat * columns + column] = column_total(fold, stat * N + k, x);
    }
}

template <typename T, int N>
static __global__ void __launch_bounds__(THREADS, 2)
    stats_columns(double *__restrict__ partial, const T *__restrict__ src, int64_t rows, int64_t channels, int64_t band)
{
    int64_t channel = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, step = blockDim.y;
    int64_t row = blockIdx.y * band + threadIdx.y, end = (blockIdx.y + 1) * band;
    if (end > rows) end = rows;
    if (channel >= channels) end = 0;
    sums<N> s;
    sums_clear(&s);
    while (row < end) {
#pragma unroll 1
        for (int run = 0; run < RUN; run++, row += UNROLL * step) {
            pack<T, N> x[UNROLL] = {};
#pragma unroll
            for (int u = 0; u < UNROLL; u++)
                if (row + u * step < end) x[u] = load_pack<N>(src + (row + u * step) * channels + channel);
#pragma unroll
            for (int u = 0; u < UNROLL; u++)
#pragma unroll
                for (int k = 0; k < N; k++) {
                    float value = to_float(x[u].at[k]);
                    s.run[0][k] += value;
                    s.run[1][k] = fmaf(value, value, s.run[1][k]);
                }
        }
        sums_fold(&s);
    }
    sums_write(partial, &s, channels);
}

/* ACT: the activation, or -1: `act` decides at run time. REMADE: dst is NULL, apply has bn_apply's coefficients. */
template <typename T, int N, int ACT, bool REMADE>
static __global__ void __launch_bounds__(THREADS, 2) grad_stats_columns(double *__restrict__ partial,
    const T *__restrict__ ddst, const T *__restrict__ src, const T *__restrict__ dst, const float *__restrict__ apply,
    int64_t rows, int64_t channels, int64_t period, int64_t band, activation act, float alpha, float beta)
{
    int64_t channel = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, step = blockDim.y;
    int64_t row = blockIdx.y * band + threadIdx.y, end = (blockIdx.y + 1) * band;
    if (end > rows) end = rows;
    if (channel >= channels) end = 0;
    if (ACT >= 0) act = (activation)ACT;
    float a[N] = {}, shift[N] = {};
#pragma unroll
    for (int k = 0; k < N; k++) {
        int64_t own = channels / period, c = (channel + k) % own;
        if (REMADE && channel < channels) a[k] = apply[c], shift[k] = apply[own + c];
    }
    sums<N> s;
    sums_clear(&s);
    while (row < end) {
#pragma unroll 1
        for (int run = 0; run < RUN * 2; run++, row += UNROLL / 2 * step) {
            pack<T, N> g[UNROLL / 2] = {}, x[UNROLL / 2] = {}, y[UNROLL / 2] = {};
#pragma unroll
            for (int u = 0; u < UNROLL / 2; u++) {
                if (row + u * step >= end) continue;
                int64_t at = (row + u * step) * channels + channel;
                g[u] = load_pack<N>(ddst + at);
                x[u] = load_pack<N>(src + at);
                if (act != ACT_NONE && !REMADE) y[u] = load_pack<N>(dst + at);
            }
#pragma unroll
            for (int u = 0; u < UNROLL / 2; u++)
#pragma unroll
                for (int k = 0; k < N; k++) {
                    float out = REMADE ? remade(x[u].at[k], a[k], shift[k], act, alpha, beta) : to_float(y[u].at[k]);
                    float value = activate_gradient(to_float(g[u].at[k]), out, act, alpha, beta);
                    s.run[0][k] += value;
                    s.run[1][k] = fmaf(value, to_float(x[u].at[k]), s.run[1][k]);
                }
        }
        sums_fold(&s);
    }
    sums_write(partial, &s, channels);
}

/* stats[stat, c] = sum over bands and periods of partial[band, stat, period, c], in a fixed order. Block (8, 32). */
static __global__ void __launch_bounds__(THREADS, 2) sum_bands(
    double *__restrict__ stats, const double *__restrict__ partial, int64_t channels, int64_t bands, int64_t period)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, stat = i / channels, c = i - stat * channels,
            step = 2 * period * channels;
    double sum = 0.0;
    for (int64_t j = 0; j < period && stat < 2; j++) {
        const double *from = partial + (stat * period + j) * channels + c;
#pragma unroll 8
        for (int64_t band = threadIdx.y; band < bands; band += blockDim.y) sum += from[band * step];
    }
    const double *fold = column_fold<1>(&sum);
    if (threadIdx.y == 0 && stat < 2) stats[i] = column_total(fold, 0, (int)threadIdx.x);
}

static status launch_sum_bands(const kernel_call *call, const double *partial, int64_t bands, int64_t period)
{
    constexpr int WIDTH = 8;
    int64_t channels = ((const bn_desc *)call->desc)->channels;
    return launch(sum_bands, dim3(blocks_for(2 * channels, WIDTH)), dim3(WIDTH, THREADS / WIDTH), 0, call->stream,
        call->out[0], partial, channels, bands, period);
}

/* How a tensor is cut: `period` rows of it are one of the kernel's. */
typedef struct cut {
    int64_t period, rows, channels;
    column_plan plan;
} cut;

static cut cut_of(const bn_desc *d, int64_t lanes, int64_t period)
{
    cut c = {period, d->rows / period, d->channels * period, {}};
    c.plan = column_plan_of(1, c.rows, c.channels / lanes, RUN * UNROLL);
    return c;
}

/* Whether 16-byte accesses are possible, and with what period. */
static int64_t packed_period(const bn_desc *d)
{
    return column_period(d->rows, d->channels, 16 / (int64_t)dtype_bytes(d->type));
}

/* Doubles of the first level's results; 0 where it can write the result itself. */
static int64_t partial_count(const cut &c)
{
    return c.plan.bands * c.period > 1 ? c.plan.bands * 2 * c.channels : 0;
}

/* Alignment, which is known only at the call, may choose the other width. */
static size_t scratch_bytes(const void *desc, const void *state)
{
    const bn_desc *d = (const bn_desc *)desc;
    int64_t single = partial_count(cut_of(d, 1, 1)), period = packed_period(d), packed = 0;
    if (period) packed = partial_count(cut_of(d, 16 / (int64_t)dtype_bytes(d->type), period));
    (void)state;
    return (size_t)(packed > single ? packed : single) * sizeof(double);
}

template <typename T, int N> static status launch_stats_columns(const kernel_call *call, int64_t period)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    cut c = cut_of(d, N, period);
    double *stats = (double *)call->out[0], *partial = partial_count(c) ? (double *)call->scratch : stats;
    TRY(launch(stats_columns<T, N>, c.plan.grid, c.plan.block, 0, call->stream, partial, call->in[0], c.rows,
        c.channels, c.plan.band));
    return partial == stats ? OK : launch_sum_bands(call, partial, c.plan.bands, period);
}

template <typename T, int N, int ACT, bool REMADE = false>
static status launch_grad_stats_columns(const kernel_call *call, int64_t period)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    cut c = cut_of(d, N, period);
    double *stats = (double *)call->out[0], *partial = partial_count(c) ? (double *)call->scratch : stats;
    TRY(launch(grad_stats_columns<T, N, ACT, REMADE>, c.plan.grid, c.plan.block, 0, call->stream, partial, call->in[0],
        call->in[1], call->in[2], REMADE ? call->in[3] : NULL, c.rows, c.channels, period, c.plan.band, d->act,
        d->alpha, d->beta));
    return partial == stats ? OK : launch_sum_bands(call, partial, c.plan.bands, period);
}

static bool is_aligned(const kernel_call *call)
{
    return aligned_to(call->in[0], 16) && aligned_to(call->in[1], 16) && aligned_to(call->in[2], 16);
}

template <typename T> static status choose_stats(const kernel_call *call)
{
    int64_t period = packed_period((const bn_desc *)call->desc);
    return period && aligned_to(call->in[0], 16) ? launch_stats_columns<T, LANES<T>>(call, period)
                                                 : launch_stats_columns<T, 1>(call, 1);
}

template <typename T> static status choose_grad_stats(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    int64_t period = packed_period(d);
    if (d->recompute && period && is_aligned(call))
        return d->act == ACT_RELU ? launch_grad_stats_columns<T, LANES<T>, ACT_RELU, true>(call, period)
                                  : launch_grad_stats_columns<T, LANES<T>, -1, true>(call, period);
    if (d->recompute) return launch_grad_stats_columns<T, 1, -1, true>(call, 1);
    if (!period || !is_aligned(call)) return launch_grad_stats_columns<T, 1, -1>(call, 1);
    if (d->act == ACT_NONE) return launch_grad_stats_columns<T, LANES<T>, ACT_NONE>(call, period);
    if (d->act == ACT_RELU) return launch_grad_stats_columns<T, LANES<T>, ACT_RELU>(call, period);
    return launch_grad_stats_columns<T, LANES<T>, -1>(call, period);
}

static status stats_columns_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const bn_desc *)call->desc)->type, choose_stats, call);
}

static status grad_stats_columns_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const bn_desc *)call->desc)->type, choose_grad_stats, call);
}

CUDA_KERNEL(
    bn_stats__cuda_columns, OP_BN_STATS, .refuse = refuse, .scratch_bytes = scratch_bytes, .run = stats_columns_run);
CUDA_KERNEL(bn_stats__cuda_direct, OP_BN_STATS, .refuse = refuse, .run = stats_direct_run);
CUDA_KERNEL(bn_grad_stats__cuda_columns, OP_BN_GRAD_STATS, .refuse = refuse, .scratch_bytes = scratch_bytes,
    .run = grad_stats_columns_run);
CUDA_KERNEL(bn_grad_stats__cuda_direct, OP_BN_GRAD_STATS, .refuse = refuse, .run = grad_stats_direct_run);
