/* conv2d_tiled.cu: convolution as blocked products in f32 on the ordinary cores, for f32, f16 and bf16 tensors: the
 * true-f32 training path, and bf16 on GPUs whose tensor cores lack it.
 *
 * A block of 256 threads forms BM x BN results of the product that conv2d.cuh describes. Slices of 16 k go global ->
 * registers -> shared (two buffers, so that the next slice's loads overlap this one's arithmetic); a thread owns TM x
 * TN results in quads that lie apart, so that the 16-byte reads of shared memory meet no bank conflict. Bound by FMA
 * issue at 128 x 128, by L2 below. kernelcheck --bench --only=conv2d_forward__cuda_tiled
 * --shapes=bench/shapes/resnet50-bf16.txt.
 *
 * Statistics are of what is stored: a thread adds its TM rows in f32, the block's 16 rows of threads are added in
 * double, tiles in order by a second kernel.
 *
 * The weight gradient is the product with m = output channels, n = (tap, channel) and k = pixels, cut into bands of
 * pixels whose partial results a second kernel adds in order.
 */
#include "kernels/cuda/conv2d.cuh"

constexpr int THREADS = 256, BK = 16;

template <int BM_, int BN_, int TM_, int TN_> struct tile {
    static constexpr int BM = BM_, BN = BN_, TM = TM_, TN = TN_, ACROSS = BN / TN, PITCH_M = BM + 4, PITCH_N = BN + 4;
    static constexpr int A = BM * BK / THREADS, B = BN * BK / THREADS;
    static constexpr int BLOCKS = BM == 64 ? 2 : 1; /* that a processor should hold, so that registers do not spill */
    static_assert(
        BM / TM * ACROSS == THREADS && TM % 4 == 0 && TN % 4 == 0, "a tile is shared out among 256 threads in quads");
};
typedef tile<128, 128, 8, 8> tile_large;
typedef tile<64, 64, 4, 4> tile_small;

/* Result i (0 .. TM-1) of thread `at` of `count` along one axis of length EXTENT: quad i / 4
 * of the axis cut into T / 4 runs. */
template <int EXTENT, int T> static inline __device__ int result_at(int at, int i)
{
    return i / 4 * (EXTENT / (T / 4)) + at * 4 + i % 4;
}

template <typename TILE>
static inline __device__ void multiply(float sum[TILE::TM][TILE::TN], const float *a, const float *b)
{
    int down = threadIdx.x / TILE::ACROSS, across = threadIdx.x % TILE::ACROSS;
#pragma unroll
    for (int k = 0; k < BK; k++) {
        float x[TILE::TM], w[TILE::TN];
#pragma unroll
        for (int i = 0; i < TILE::TM; i += 4)
            *(pack<float, 4> *)&x[i] =
                *(const pack<float, 4> *)&a[k * TILE::PITCH_M + result_at<TILE::BM, TILE::TM>(down, i)];
#pragma unroll
        for (int j = 0; j < TILE::TN; j += 4)
            *(pack<float, 4> *)&w[j] =
                *(const pack<float, 4> *)&b[k * TILE::PITCH_N + result_at<TILE::BN, TILE::TN>(across, j)];
#pragma unroll
        for (int i = 0; i < TILE::TM; i++)
#pragma unroll
            for (int j = 0; j < TILE::TN; j++) sum[i][j] = fmaf(x[i], w[j], sum[i][j]);
    }
}

/* ------------------------------------------------------------------------------------------------ forward and dsrc */

/* A slice of 16 k of both factors in registers. */
template <typename TILE> struct slice {
    float a[TILE::A], b[TILE::B];
};

template <typename T, typename TILE>
static inline __device__ void load_slice(slice<TILE> *s, const conv2d_gemm *g, const conv2d_input *in,
    conv2d_compute compute, const pixel_origin *rows, const T *src, const T *weight, int32_t group, int32_t n0,
    int32_t k0)
{
    int32_t lane = threadIdx.x % BK, run = threadIdx.x / BK;
    { /* 16 neighbouring threads read 16 neighbouring k of a row */
        int32_t k = k0 + lane, tap = divide(k, g->by_channels), c = k - tap * g->channels,
                ty = divide(tap, g->by_taps_w);
        int32_t dy = ty * g->gap_h, dx = (tap - ty * g->taps_w) * g->gap_w;
        uint32_t offset = (uint32_t)((dy * g->in_w + dx) * g->in_pitch + group * g->channels + c);
#pragma unroll
        for (int i = 0; i < TILE::A; i++) {
            pixel_origin r = rows[run + i * (THREADS / BK)];
            bool inside =
                k < g->k && (uint32_t)(r.y + dy) < (uint32_t)g->in_h && (uint32_t)(r.x + dx) < (uint32_t)g->in_w;
            float x = inside ? to_float(src[r.base + offset]) : 0.0f;
            if (in->a && inside) x = transformed(in, x, group * g->channels + c);
            s->a[i] = round_factor(x, compute);
        }
    }
    bool by_n = g->w_n == 1; /* which index has neighbours in memory */
#pragma unroll
    for (int i = 0; i < TILE::B; i++) {
        int32_t j = by_n ? threadIdx.x % TILE::BN : run + i * (THREADS / BK);
        int32_t k = k0 + (by_n ? threadIdx.x / TILE::BN + i * (THREADS / TILE::BN) : lane), n = n0 + j;
        int32_t tap = divide(k, g->by_channels), c = k - tap * g->channels, ty = divide(tap, g->by_taps_w),
                tx = tap - ty * g->taps_w;
        bool inside = k < g->k && n < g->n;
        int64_t at = g->w_first + group * g->w_group + n * g->w_n + ty * g->w_ty + tx * g->w_tx + c * g->w_c;
        s->b[i] = inside ? round_factor(to_float(weight[at]), compute) : 0.0f;
    }
}

template <typename TILE> static inline __device__ void store_slice(const slice<TILE> *s, bool by_n, float *a, float *b)
{
    int lane = threadIdx.x % BK, run = threadIdx.x / BK;
#pragma unroll
    for (int i = 0; i < TILE::A; i++) a[lane * TILE::PITCH_M + run + i * (THREADS / BK)] = s->a[i];
#pragma unroll
    for (int i = 0; i < TILE::B; i++) {
        int j = by_n ? threadIdx.x % TILE::BN : run + i * (THREADS / BK);
        int k = by_n ? threadIdx.x / TILE::BN + i * (THREADS / TILE::BN) : lane;
        b[k * TILE::PITCH_N + j] = s->b[i];
    }
}

/* Adds the sums of the block's threads, column by column, in order: one row of stats [tiles, 2, oc].
 * shared: two arrays of 16 rows of BN. */
template <typename TILE>
static inline __device__ void store_stats(double *stats, float *sums, float *squares, const float sum[TILE::TN],
    const float square[TILE::TN], const conv2d_gemm *g, int32_t group, int32_t n0)
{
    int down = threadIdx.x / TILE::ACROSS, across = threadIdx.x % TILE::ACROSS;
#pragma unroll
    for (int j = 0; j < TILE::TN; j++) {
        int at = down * TILE::BN + result_at<TILE::BN, TILE::TN>(across, j);
        sums[at] = sum[j], squares[at] = square[j];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * TILE::BN; i += THREADS) {
        const float *rows = (i < TILE::BN ? sums : squares) + i % TILE::BN;
        double total = 0;
        for (int r = 0; r < THREADS / TILE::ACROSS; r++) total += (double)rows[r * TILE::BN];
        int32_t n = n0 + i % TILE::BN;
        if (n < g->n) stats[((int64_t)blockIdx.x * 2 + i / TILE::BN) * g->out_pitch + group * g->n + n] = total;
    }
    __syncthreads(); /* the next group's slices come where these sums lie */
}

template <typename T, typename TILE>
static __global__ void __launch_bounds__(THREADS, TILE::BLOCKS)
    gathered_kernel(conv2d_gemm g, conv2d_input in, conv2d_output out, conv2d_compute compute,
        double *__restrict__ stats, const T *__restrict__ src, const T *__restrict__ weight)
{
    static_assert(THREADS / TILE::ACROSS * TILE::BN <= 2 * BK * TILE::PITCH_M && TILE::PITCH_M <= TILE::PITCH_N,
        "sums fit where slices lay");
    SHARED(float, a, [2][BK * TILE::PITCH_M]);
    SHARED(float, b, [2][BK * TILE::PITCH_N]);
    SHARED(pixel_origin, rows, [TILE::BM]);
    int32_t m0 = blockIdx.x * TILE::BM, n0 = blockIdx.y * TILE::BN, slices = (g.k + BK - 1) / BK;
    for (int i = threadIdx.x; i < TILE::BM; i += THREADS) rows[i] = pixel_origin_of(&g, m0 + i, g.m);
    __syncthreads();
    for (int32_t group = blockIdx.z; group < g.groups; group += gridDim.z) {
        float sum[TILE::TM][TILE::TN] = {};
        slice<TILE> s;
        load_slice<T, TILE>(&s, &g, &in, compute, rows, src, weight, group, n0, 0);
        for (int32_t i = 0; i < slices; i++) {
            store_slice<TILE>(&s, g.w_n == 1, a[i % 2], b[i % 2]);
            __syncthreads();
            if (i + 1 < slices) load_slice<T, TILE>(&s, &g, &in, compute, rows, src, weight, group, n0, (i + 1) * BK);
            multiply<TILE>(sum, a[i % 2], b[i % 2]);
        }
        __syncthreads(); /* the next group stores into what this one still reads */
        float column_sum[TILE::TN] = {}, column_square[TILE::TN] = {};
#pragma unroll
        for (int i = 0; i < TILE::TM; i++) {
            int32_t m = m0 + result_at<TILE::BM, TILE::TM>(threadIdx.x / TILE::ACROSS, i);
            if (m >= g.m) continue;
            int64_t at = out_element(&g, m) + group * g.n;
#pragma unroll
            for (int j = 0; j < TILE::TN; j++) {
                int32_t n = n0 + result_at<TILE::BN, TILE::TN>(threadIdx.x % TILE::ACROSS, j);
                if (n >= g.n) continue;
                float add = out.add ? to_float(((const T *)out.add)[at + n]) : 0.0f;
                float y = activate(epilogue_sum(&out, sum[i][j], add, group * g.n + n), out.act, out.alpha, out.beta);
                T stored = from_float<T>(y);
                ((T *)out.dst)[at + n] = stored;
                y = to_float(stored);
                column_sum[j] += y;
                column_square[j] = fmaf(y, y, column_square[j]);
            }
        }
        if (stats) store_stats<TILE>(stats, a[0], b[0], column_sum, column_square, &g, group, n0);
    }
}

/* The large tile where it fills two waves of a GPU of 132 processors; from the shape alone. */
static bool large_tile(int64_t m, int64_t n, int64_t groups)
{
    return n > 64 && (m + 127) / 128 * ((n + 127) / 128) * groups >= 264;
}

template <typename T, typename TILE>
static status launch_gathered(const kernel_call *call, const conv2d_gemm *g, const conv2d_input *in,
    const conv2d_output *out, double *stats, const void *src, const void *weight)
{
    dim3 grid(blocks_for(g->m, TILE::BM), blocks_for(g->n, TILE::BN), g->groups < GRID_MAX ? g->groups : GRID_MAX);
    return launch(gathered_kernel<T, TILE>, grid, dim3(THREADS), 0, call->stream, *g, *in, *out,
        ((const conv2d_desc *)call->desc)->compute, stats, (const T *)src, (const T *)weight);
}

template <typename T>
static status gathered(const kernel_call *call, const conv2d_gemm *g, const conv2d_input *in, const conv2d_output *out,
    double *stats, const void *src, const void *weight)
{
    if (g->m == 0) return OK;
    return large_tile(g->m, g->n, g->groups) ? launch_gathered<T, tile_large>(call, g, in, out, stats, src, weight)
                                             : launch_gathered<T, tile_small>(call, g, in, out, stats, src, weight);
}

/* Rows of tiles: as many partial sums per column. */
static int64_t tile_rows(const conv2d_gemm *g)
{
    return blocks_for(g->m, large_tile(g->m, g->n, g->groups) ? tile_large::BM : tile_small::BM);
}

static status forward_run(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    conv2d_gemm g = conv2d_gemm_forward(d);
    conv2d_input in = conv2d_input_of(call);
    conv2d_output out = conv2d_output_of(call);
    double *stats = d->epilogue.stats ? (double *)call->scratch : NULL;
    TRY(FOR_FLOAT_TYPE(
        d->src_type, gathered, call, &g, &in, &out, stats, call->in[CONV2D_SRC], call->in[CONV2D_WEIGHT]));
    return stats ? conv2d_sum_parts((double *)call->out[1], stats, tile_rows(&g), 2 * d->oc, call->stream) : OK;
}

static size_t forward_scratch(const void *desc, const void *state)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    conv2d_gemm g = conv2d_gemm_forward(d);
    (void)state;
    return d->epilogue.stats ? (size_t)(tile_rows(&g) * 2 * d->oc) * sizeof(double) : 0;
}

static status dsrc_run(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    conv2d_input in = {};
    conv2d_output out = {};
    out.dst = call->out[0];
    for (int32_t ph = 0; ph < d->sh && ph < d->ih; ph++)
        for (int32_t pw = 0; pw < d->sw && pw < d->iw; pw++) {
            conv2d_gemm g = conv2d_gemm_dsrc(d, ph, pw);
            TRY(FOR_FLOAT_TYPE(d->src_type, gathered, call, &g, &in, &out, NULL, call->in[0], call->in[1]));
        }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ dweight */

/* A slice of 16 pixels from k0: ddst's channels m0 .. and the gathered (tap, channel) n0 ..,
 * neighbours of both neighbours in memory. */
template <typename T, typename TILE>
static inline __device__ void load_pixels(slice<TILE> *s, const conv2d_gemm *g, const conv2d_input *in,
    conv2d_compute compute, const T *src, const T *ddst, int32_t group, int32_t m0, int32_t n0, int32_t k0, int32_t end)
{
    int32_t m = m0 + threadIdx.x % TILE::BM, n = n0 + threadIdx.x % TILE::BN;
    int32_t tap = divide(n, g->by_channels), c = n - tap * g->channels, ty = divide(tap, g->by_taps_w),
            tx = tap - ty * g->taps_w;
    uint32_t offset = (uint32_t)((ty * g->gap_h * g->in_w + tx * g->gap_w) * g->in_pitch + group * g->channels + c);
#pragma unroll
    for (int i = 0; i < TILE::A; i++) {
        int32_t k = k0 + threadIdx.x / TILE::BM + i * (THREADS / TILE::BM);
        s->a[i] = k < end && m < g->n
                      ? round_factor(to_float(ddst[(int64_t)k * g->out_pitch + group * g->n + m]), compute)
                      : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < TILE::B; i++) {
        int32_t k = k0 + threadIdx.x / TILE::BN + i * (THREADS / TILE::BN);
        pixel_origin r = pixel_origin_of(g, k, end);
        bool inside = n < g->k && (uint32_t)(r.y + ty * g->gap_h) < (uint32_t)g->in_h &&
                      (uint32_t)(r.x + tx * g->gap_w) < (uint32_t)g->in_w;
        float x = inside ? to_float(src[r.base + offset]) : 0.0f;
        if (in->a && inside) x = transformed(in, x, group * g->channels + c);
        s->b[i] = round_factor(x, compute);
    }
}

template <typename TILE> static inline __device__ void store_pixels(const slice<TILE> *s, float *a, float *b)
{
#pragma unroll
    for (int i = 0; i < TILE::A; i++)
        a[(threadIdx.x / TILE::BM + i * (THREADS / TILE::BM)) * TILE::PITCH_M + threadIdx.x % TILE::BM] = s->a[i];
#pragma unroll
    for (int i = 0; i < TILE::B; i++)
        b[(threadIdx.x / TILE::BN + i * (THREADS / TILE::BN)) * TILE::PITCH_N + threadIdx.x % TILE::BN] = s->b[i];
}

/* Grid: x tiles of one group's oc x (tap, channel), y bands, z groups. partial [bands, oc, taps * channels]. */
template <typename T, typename TILE>
static __global__ void __launch_bounds__(THREADS, TILE::BLOCKS)
    dweight_kernel(conv2d_gemm g, conv2d_input in, conv2d_compute compute, float *__restrict__ partial,
        const T *__restrict__ src, const T *__restrict__ ddst, int32_t bands)
{
    SHARED(float, a, [2][BK * TILE::PITCH_M]);
    SHARED(float, b, [2][BK * TILE::PITCH_N]);
    int32_t across = (g.k + TILE::BN - 1) / TILE::BN, m0 = blockIdx.x / across * TILE::BM,
            n0 = blockIdx.x % across * TILE::BN;
    int32_t band = blockIdx.y, from = (int32_t)((int64_t)g.m * band / bands),
            end = (int32_t)((int64_t)g.m * (band + 1) / bands);
    for (int32_t group = blockIdx.z; group < g.groups; group += gridDim.z) {
        float sum[TILE::TM][TILE::TN] = {};
        slice<TILE> s;
        load_pixels<T, TILE>(&s, &g, &in, compute, src, ddst, group, m0, n0, from, end);
        for (int32_t k = from, i = 0; k < end; k += BK, i ^= 1) {
            store_pixels<TILE>(&s, a[i], b[i]);
            __syncthreads();
            if (k + BK < end) load_pixels<T, TILE>(&s, &g, &in, compute, src, ddst, group, m0, n0, k + BK, end);
            multiply<TILE>(sum, a[i], b[i]);
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE::TM; i++) {
            int32_t m = m0 + result_at<TILE::BM, TILE::TM>(threadIdx.x / TILE::ACROSS, i);
#pragma unroll
            for (int j = 0; j < TILE::TN; j++) {
                int32_t n = n0 + result_at<TILE::BN, TILE::TN>(threadIdx.x % TILE::ACROSS, j);
                if (m < g.n && n < g.k) partial[(((int64_t)band * g.groups + group) * g.n + m) * g.k + n] = sum[i][j];
            }
        }
    }
}

template <typename T, typename TILE>
static status launch_dweight(const kernel_call *call, const conv2d_gemm *g, float *partial, int32_t bands)
{
    dim3 grid(
        blocks_for(g->n, TILE::BM) * blocks_for(g->k, TILE::BN), bands, g->groups < GRID_MAX ? g->groups : GRID_MAX);
    return launch(dweight_kernel<T, TILE>, grid, dim3(THREADS), 0, call->stream, *g, conv2d_input_of(call),
        ((const conv2d_desc *)call->desc)->compute, partial, (const T *)call->in[0], (const T *)call->in[1], bands);
}

template <typename T>
static status dweight(const kernel_call *call, const conv2d_gemm *g, float *partial, int32_t bands)
{
    return g->n > 64 && g->k >= 512 ? launch_dweight<T, tile_large>(call, g, partial, bands)
                                    : launch_dweight<T, tile_small>(call, g, partial, bands);
}

/* Scratch: sums of dbias, then the partial results. */
static size_t dweight_scratch(const void *desc, const void *state)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    conv2d_gemm g = conv2d_gemm_forward(d);
    (void)state;
    return conv2d_columns_scratch(d) + (size_t)conv2d_bands(&g) * g.groups * g.n * g.k * sizeof(float);
}

static status dweight_run(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    conv2d_gemm g = conv2d_gemm_forward(d);
    int32_t bands = conv2d_bands(&g);
    float *partial = (float *)((char *)call->scratch + conv2d_columns_scratch(d));
    TRY(FOR_FLOAT_TYPE(d->src_type, dweight, call, &g, partial, bands));
    TRY(conv2d_add_parts(call->out[0], d->weight_type, partial, bands, (int64_t)g.groups * g.n * g.k, call->stream));
    return call->out[1] ? conv2d_dbias(call, (float *)call->out[1], call->scratch) : OK;
}

/* ------------------------------------------------------------------------------------------------ variants */

static const char *refuse(const void *desc)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    if (d->src_type != DTYPE_F32 && d->src_type != DTYPE_F16 && d->src_type != DTYPE_BF16)
        return "f32, f16 and bf16 only";
    return conv2d_refuse_gemm(d);
}

static const char *dsrc_refuse(const void *desc)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    if ((int64_t)d->sh * d->sw > 64) return "more than 64 parities: a launch each";
    return refuse(desc);
}

extern const kernel conv2d_forward__cuda_tiled = {
    .op = OP_CONV2D_FORWARD,
    .backend = BACKEND_CUDA,
    .name = "conv2d_forward__cuda_tiled",
    .refuse = refuse,
    .scratch_bytes = forward_scratch,
    .run = forward_run,
};
extern const kernel conv2d_dsrc__cuda_tiled = {
    .op = OP_CONV2D_DSRC,
    .backend = BACKEND_CUDA,
    .name = "conv2d_dsrc__cuda_tiled",
    .refuse = dsrc_refuse,
    .run = dsrc_run,
};
extern const kernel conv2d_dweight__cuda_tiled = {
    .op = OP_CONV2D_DWEIGHT,
    .backend = BACKEND_CUDA,
    .name = "conv2d_dweight__cuda_tiled",
    .refuse = refuse,
    .scratch_bytes = dweight_scratch,
    .run = dweight_run,
};
