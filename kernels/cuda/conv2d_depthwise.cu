/* conv2d_depthwise.cu: one input and one output channel per group: forward, data gradient and weight gradient.
 *
 * Bound by memory: 2 kh kw operations per element. A thread owns V neighbouring channels of a strip of STRIP outputs
 * that lie below each other; rows of the input pass through it once, each loaded value serving every output of the
 * strip whose window holds it (3x3 and 5x5, stride 1 and 2). Other windows, and the data gradient of strided ones (a
 * product per parity, conv2d.cuh), take one output per thread and rely on L1. Weights are packed as f32 [taps,
 * channels]. Integers are multiplied and added in f32, which is exact below 2^24.
 *
 * Weight gradient: a thread owns V channels and walks along rows of the output, the window sliding through registers; 8
 * rows of threads, then bands of rows, are added in order. kernelcheck --bench --only=conv2d_forward__cuda_depthwise
 * --shapes=bench/shapes/mobilenet_v2-bf16.txt.
 */
#include "kernels/cuda/conv2d.cuh"

constexpr int THREADS = 128, STRIP = 4;

/* The product of an output with its taps in rising order of the input's rows and
 * columns: a gradient's run backwards. */
static conv2d_gemm turned(conv2d_gemm g)
{
    if (g.taps_h == 0) g.gap_h = g.gap_w = 1;
    if (g.gap_h < 0) {
        g.first_h += g.gap_h * (g.taps_h - 1), g.gap_h = -g.gap_h;
        g.w_first += g.w_ty * (g.taps_h - 1), g.w_ty = -g.w_ty;
    }
    if (g.gap_w < 0) {
        g.first_w += g.gap_w * (g.taps_w - 1), g.gap_w = -g.gap_w;
        g.w_first += g.w_tx * (g.taps_w - 1), g.w_tx = -g.w_tx;
    }
    return g;
}

/* ------------------------------------------------------------------------------------------------ weights */

static __global__ void __launch_bounds__(THREADS) pack_kernel(
    float *__restrict__ packed, conv2d_gemm g, const void *__restrict__ weight, dtype type, conv2d_compute compute)
{
    int32_t count = g.groups * g.taps_h * g.taps_w;
    for (int32_t i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        int32_t tap = i / g.groups, c = i % g.groups;
        int64_t from = g.w_first + c * g.w_group + tap / g.taps_w * g.w_ty + tap % g.taps_w * g.w_tx;
        packed[i] = round_factor(load_as(weight, type, from), compute);
    }
}

static status pack_weights(const kernel_call *call, float *packed, const conv2d_gemm *g)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    int32_t count = g->groups * g->taps_h * g->taps_w;
    if (count == 0) return OK;
    return launch(pack_kernel, dim3(blocks_for(count, THREADS)), dim3(THREADS), 0, call->stream, packed, *g,
        call->in[1], d->weight_type, d->compute);
}

/* ------------------------------------------------------------------------------------------------ forward and dsrc */

/* Factors of V channels at an input pixel; zeros outside the image. PLAIN: no
 * transform, and no rounding but to tf32. */
template <typename T, int V, bool PLAIN>
static inline __device__ void load_pixel(float x[V], const conv2d_gemm *g, const conv2d_input *in,
    conv2d_compute compute, const T *src, int32_t image, int32_t iy, int32_t ix, int32_t c)
{
    bool inside = (uint32_t)iy < (uint32_t)g->in_h && (uint32_t)ix < (uint32_t)g->in_w;
    pack<T, V> v = {};
    if (inside) v = *(const pack<T, V> *)(src + (((int64_t)image * g->in_h + iy) * g->in_w + ix) * g->in_pitch + c);
#pragma unroll
    for (int i = 0; i < V; i++) {
        x[i] = to_float(v.at[i]);
        if (PLAIN) {
            if (sizeof(T) == 4 && compute == COMPUTE_TF32) x[i] = round_tf32(x[i]);
        } else {
            if (in->a && inside) x[i] = transformed(in, x[i], c + i);
            x[i] = round_factor(x[i], compute);
        }
    }
}

template <typename T, int V> static inline __device__ void store_pack(void *to, int64_t at, const float y[V])
{
    pack<T, V> v;
#pragma unroll
    for (int i = 0; i < V; i++) v.at[i] = from_float<T>(y[i]);
    *(pack<T, V> *)((T *)to + at) = v;
}

template <typename T, int V> static inline __device__ void load_pack(float y[V], const void *from, int64_t at)
{
    pack<T, V> v = *(const pack<T, V> *)((const T *)from + at);
#pragma unroll
    for (int i = 0; i < V; i++) y[i] = to_float(v.at[i]);
}

template <typename T, int V>
static inline __device__ void finish_pixel(float y[V], const conv2d_output *out, int64_t at, int32_t c)
{
    float add[V] = {};
    if (out->add) {
        if (sizeof(T) > 1) load_pack<T, V>(add, out->add, at);
        else if (out->add_type == DTYPE_I8) load_pack<int8_t, V>(add, out->add, at);
        else if (out->add_type == DTYPE_U8) load_pack<uint8_t, V>(add, out->add, at);
        else load_pack<float, V>(add, out->add, at);
    }
#pragma unroll
    for (int i = 0; i < V; i++) y[i] = epilogue_sum(out, y[i], add[i], c + i);
    activate_each<V>(y, out->act, out->alpha, out->beta);
    if (sizeof(T) > 1) store_pack<T, V>(out->dst, at, y);
    else if (out->dst_type == DTYPE_I8) store_pack<int8_t, V>(out->dst, at, y);
    else if (out->dst_type == DTYPE_U8) store_pack<uint8_t, V>(out->dst, at, y);
    else store_pack<float, V>(out->dst, at, y);
}

/* K x K taps, stride S, no dilation; plain factors. Threads: channel packs fastest, then columns, strips, images. */
template <typename T, int V, int K, int S>
static __global__ void __launch_bounds__(THREADS) strip_kernel(conv2d_gemm g, conv2d_output out, conv2d_compute compute,
    const T *__restrict__ src, const float *__restrict__ weight)
{
    int32_t packs = g.groups / V, strips = (g.rows_h + STRIP - 1) / STRIP, images = g.m / g.by_image.value;
    int32_t index = blockIdx.x * THREADS + threadIdx.x, rest = index / packs, c = (index - rest * packs) * V;
    int32_t x = rest % g.rows_w, strip = rest / g.rows_w % strips, image = rest / g.rows_w / strips;
    if (image >= images) return; /* no barrier below */
    float w[K * K][V], sum[STRIP][V] = {};
#pragma unroll
    for (int t = 0; t < K * K; t++)
#pragma unroll
        for (int i = 0; i < V; i++) w[t][i] = weight[t * g.groups + c + i];
    int32_t y0 = strip * STRIP, iy0 = y0 * S + g.first_h, ix0 = x * S + g.first_w;
#pragma unroll
    for (int r = 0; r < (STRIP - 1) * S + K; r++) {
        float row[K][V];
#pragma unroll
        for (int k = 0; k < K; k++) load_pixel<T, V, true>(row[k], &g, NULL, compute, src, image, iy0 + r, ix0 + k, c);
#pragma unroll
        for (int ky = 0; ky < K; ky++) {
            if (r < ky || (r - ky) % S || (r - ky) / S >= STRIP) continue;
#pragma unroll
            for (int kx = 0; kx < K; kx++)
#pragma unroll
                for (int i = 0; i < V; i++)
                    sum[(r - ky) / S][i] = fmaf(row[kx][i], w[ky * K + kx][i], sum[(r - ky) / S][i]);
        }
    }
#pragma unroll
    for (int s = 0; s < STRIP; s++)
        if (y0 + s < g.rows_h) finish_pixel<T, V>(sum[s], &out, out_element_at(&g, image, y0 + s, x) + c, c);
}

/* Any window; one output pixel and V channels per thread. */
template <typename T, int V>
static __global__ void __launch_bounds__(THREADS, 8) window_kernel(conv2d_gemm g, conv2d_input in, conv2d_output out,
    conv2d_compute compute, const T *__restrict__ src, const float *__restrict__ weight)
{
    int32_t packs = g.groups / V, index = blockIdx.x * THREADS + threadIdx.x, m = index / packs,
            c = (index - m * packs) * V;
    if (m >= g.m) return; /* no barrier below */
    int32_t image = divide(m, g.by_image), pixel = m - image * g.by_image.value, y = divide(pixel, g.by_row),
            x = pixel - y * g.by_row.value;
    float sum[V] = {};
    for (int32_t ty = 0; ty < g.taps_h; ty++)
        for (int32_t tx = 0; tx < g.taps_w; tx++) {
            float v[V];
            load_pixel<T, V, false>(v, &g, &in, compute, src, image, y * g.step_h + g.first_h + ty * g.gap_h,
                x * g.step_w + g.first_w + tx * g.gap_w, c);
#pragma unroll
            for (int i = 0; i < V; i++) sum[i] = fmaf(v[i], weight[(ty * g.taps_w + tx) * g.groups + c + i], sum[i]);
        }
    finish_pixel<T, V>(sum, &out, out_element_at(&g, image, y, x) + c, c);
}

typedef struct depthwise_call {
    conv2d_gemm g;
    conv2d_input in;
    conv2d_output out;
    conv2d_compute compute;
    const void *src;
    const float *weight;
    void *stream;
} depthwise_call;

template <typename T, int V, int K, int S> static status launch_strip(const depthwise_call *c)
{
    int64_t strips = (c->g.rows_h + STRIP - 1) / STRIP, images = c->g.m / c->g.by_image.value;
    return launch(strip_kernel<T, V, K, S>,
        dim3(blocks_for(images * strips * c->g.rows_w * (c->g.groups / V), THREADS)), dim3(THREADS), 0, c->stream, c->g,
        c->out, c->compute, (const T *)c->src, c->weight);
}

template <typename T, int V> static status launch_window(const depthwise_call *c)
{
    return launch(window_kernel<T, V>, dim3(blocks_for((int64_t)c->g.m * (c->g.groups / V), THREADS)), dim3(THREADS), 0,
        c->stream, c->g, c->in, c->out, c->compute, (const T *)c->src, c->weight);
}

/* V fills 16 bytes where the weights leave registers for it; bytes go by fours. */
template <typename T> static status depthwise(const depthwise_call *c)
{
    constexpr int V = sizeof(T) == 2 ? 8 : 4;
    const conv2d_gemm *g = &c->g;
    if (g->m == 0) return OK;
    if (g->groups % V) return launch_window<T, 1>(c);
    bool plain = !c->in.a && (c->compute == COMPUTE_F32 || c->compute == COMPUTE_TF32);
    bool square = plain && g->taps_h == g->taps_w && g->step_h == g->step_w && g->gap_h == 1 && g->gap_w == 1;
    if (square && g->taps_h == 3 && g->step_h == 1) return launch_strip<T, V, 3, 1>(c);
    if (square && g->taps_h == 3 && g->step_h == 2) return launch_strip<T, V, 3, 2>(c);
    if (square && g->taps_h == 5 && g->step_h == 1) return launch_strip<T, 4, 5, 1>(c);
    if (square && g->taps_h == 5 && g->step_h == 2) return launch_strip<T, 4, 5, 2>(c);
    return launch_window<T, V>(c);
}

static status forward_run(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    depthwise_call c = {turned(conv2d_gemm_forward(d)), conv2d_input_of(call), conv2d_output_of(call), d->compute,
        call->in[CONV2D_SRC], (const float *)call->packed, call->stream};
    if (d->src_type == DTYPE_I8) return depthwise<int8_t>(&c);
    if (d->src_type == DTYPE_U8) return depthwise<uint8_t>(&c);
    return FOR_FLOAT_TYPE(d->src_type, depthwise, &c);
}

static size_t packed_bytes(const void *desc, const void *)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    return (size_t)d->kh * d->kw * d->oc * sizeof(float);
}

static status forward_pack(const kernel_call *call)
{
    conv2d_gemm g = turned(conv2d_gemm_forward((const conv2d_desc *)call->desc));
    return pack_weights(call, (float *)call->packed, &g);
}

/* Parities one after the other, in dsrc and in the packed weights. */
static status dsrc_pack(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    float *packed = (float *)call->packed;
    for (int32_t i = 0; i < d->sh * d->sw; i++) {
        conv2d_gemm g = turned(conv2d_gemm_dsrc(d, i / d->sw, i % d->sw));
        TRY(pack_weights(call, packed, &g));
        packed += (size_t)g.groups * g.taps_h * g.taps_w;
    }
    return OK;
}

static status dsrc_run(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    const float *packed = (const float *)call->packed;
    for (int32_t i = 0; i < d->sh * d->sw; i++) {
        depthwise_call c = {};
        c.g = turned(conv2d_gemm_dsrc(d, i / d->sw, i % d->sw));
        c.out.dst = call->out[0];
        c.compute = d->compute, c.src = call->in[0], c.weight = packed, c.stream = call->stream;
        TRY(FOR_FLOAT_TYPE(d->src_type, depthwise, &c));
        packed += (size_t)c.g.groups * c.g.taps_h * c.g.taps_w;
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ dweight */

constexpr int ROWS = 8;

/* V channels per thread, 32 threads along channels, 8 along rows of the output. partial [bands, channels, taps]. With K
 * = 0 the taps are blockIdx.z, one each, the window does not slide, and factors may be rounded to any type. */
template <typename T, int V, int K, int S>
static __global__ void __launch_bounds__(WARP *ROWS) dweight_kernel(conv2d_gemm g, conv2d_compute compute,
    float *__restrict__ partial, const T *__restrict__ src, const T *__restrict__ ddst, int32_t bands)
{
    constexpr int TAPS = K ? K * K : 1;
    SHARED(float, shared, [ROWS][WARP]);
    int lane = threadIdx.x % WARP, run = threadIdx.x / WARP;
    int32_t c = (blockIdx.x * WARP + lane) * V, rows = g.m / g.rows_w, band = blockIdx.y, taps = g.taps_h * g.taps_w;
    int32_t from = (int32_t)((int64_t)rows * band / bands), end = (int32_t)((int64_t)rows * (band + 1) / bands);
    float sum[TAPS][V] = {};
    int32_t ty = K ? 0 : blockIdx.z / g.taps_w, tx = K ? 0 : blockIdx.z % g.taps_w;
    for (int32_t row = from + run; row < end && c < g.groups; row += ROWS) {
        int32_t image = row / g.rows_h, y = row - image * g.rows_h, iy = y * g.step_h + g.first_h + ty * g.gap_h;
        float window[K ? K : 1][K ? K : 1][V];
        for (int32_t x = 0; x < g.rows_w; x++) {
            int32_t ix = x * g.step_w + g.first_w + tx * g.gap_w;
            pack<T, V> v = *(const pack<T, V> *)(ddst + ((int64_t)row * g.rows_w + x) * g.out_pitch + c);
            float dy[V];
#pragma unroll
            for (int i = 0; i < V; i++) dy[i] = round_factor(to_float(v.at[i]), compute);
            if constexpr (K == 0) {
                conv2d_input none = {};
                load_pixel<T, V, false>(window[0][0], &g, &none, compute, src, image, iy, ix, c);
#pragma unroll
                for (int i = 0; i < V; i++) sum[0][i] = fmaf(dy[i], window[0][0][i], sum[0][i]);
            } else {
#pragma unroll
                for (int ky = 0; ky < K; ky++)
#pragma unroll
                    for (int kx = 0; kx < K; kx++) {
                        /* All of it in the first column; later what the last step's window leaves over,
                         * and S new columns. */
                        if (kx + S < K && x > 0) {
#pragma unroll
                            for (int i = 0; i < V; i++) window[ky][kx][i] = window[ky][kx + S][i];
                        } else {
                            load_pixel<T, V, true>(window[ky][kx], &g, NULL, compute, src, image, iy + ky, ix + kx, c);
                        }
#pragma unroll
                        for (int i = 0; i < V; i++)
                            sum[ky * K + kx][i] = fmaf(dy[i], window[ky][kx][i], sum[ky * K + kx][i]);
                    }
            }
        }
    }
#pragma unroll
    for (int t = 0; t < TAPS; t++)
#pragma unroll
        for (int i = 0; i < V; i++) {
            __syncthreads(); /* the value before has been read */
            shared[run][lane] = sum[t][i];
            __syncthreads();
            float total = 0;
            for (int r = 0; r < ROWS; r++) total += shared[r][lane];
            if (run == 0 && c < g.groups)
                partial[((int64_t)band * g.groups + c + i) * taps + (K ? t : (int)blockIdx.z)] = total;
        }
}

/* About 512 blocks, 8 rows at least in each; from the shape alone. */
static int32_t row_bands(const conv2d_desc *d)
{
    int64_t rows = d->n * d->oh, across = (d->oc + 63) / 64, bands = (512 + across - 1) / across,
            most = (rows + ROWS - 1) / ROWS;
    return (int32_t)(bands < most ? bands : most);
}

template <typename T, int V, int K, int S>
static status launch_dweight(const kernel_call *call, const conv2d_gemm *g, float *partial, int32_t bands)
{
    dim3 grid(blocks_for(g->groups, WARP * V), bands, K ? 1 : g->taps_h * g->taps_w);
    return launch(dweight_kernel<T, V, K, S>, grid, dim3(WARP * ROWS), 0, call->stream, *g,
        ((const conv2d_desc *)call->desc)->compute, partial, (const T *)call->in[0], (const T *)call->in[1], bands);
}

template <typename T>
static status dweight(const kernel_call *call, const conv2d_gemm *g, float *partial, int32_t bands)
{
    constexpr int V = 4 / sizeof(T);
    if (g->groups % V) return launch_dweight<T, 1, 0, 1>(call, g, partial, bands);
    conv2d_compute compute = ((const conv2d_desc *)call->desc)->compute;
    bool plain = compute == COMPUTE_F32 || compute == COMPUTE_TF32;
    bool square = plain && g->taps_h == g->taps_w && g->step_h == g->step_w && g->gap_h == 1 && g->gap_w == 1;
    if (square && g->taps_h == 3 && g->step_h == 1) return launch_dweight<T, V, 3, 1>(call, g, partial, bands);
    if (square && g->taps_h == 3 && g->step_h == 2) return launch_dweight<T, V, 3, 2>(call, g, partial, bands);
    if (square && g->taps_h == 5 && g->step_h == 1) return launch_dweight<T, V, 5, 1>(call, g, partial, bands);
    if (square && g->taps_h == 5 && g->step_h == 2) return launch_dweight<T, V, 5, 2>(call, g, partial, bands);
    return launch_dweight<T, V, 0, 1>(call, g, partial, bands);
}

/* Scratch: sums of dbias, then the partial results. */
static size_t dweight_scratch(const void *desc, const void *)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    return conv2d_columns_scratch(d) + (size_t)row_bands(d) * d->oc * d->kh * d->kw * sizeof(float);
}

static status dweight_run(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    conv2d_gemm g = turned(conv2d_gemm_forward(d));
    int32_t bands = row_bands(d);
    float *partial = (float *)((char *)call->scratch + conv2d_columns_scratch(d));
    TRY(FOR_FLOAT_TYPE(d->src_type, dweight, call, &g, partial, bands));
    TRY(conv2d_add_parts(call->out[0], d->weight_type, partial, bands, d->oc * d->kh * d->kw, call->stream));
    return call->out[1] ? conv2d_dbias(call, (float *)call->out[1], call->scratch) : OK;
}

/* ------------------------------------------------------------------------------------------------ variants */

static const char *shape_refuse(const conv2d_desc *d)
{
    if (d->groups != d->ic || d->ic != d->oc) return "not depthwise";
    if (d->src_type == DTYPE_F64) return "f64 is the reference's";
    return conv2d_refuse_gemm(d);
}

static const char *forward_refuse(const void *desc)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    bool integer = d->src_type == DTYPE_I8 || d->src_type == DTYPE_U8,
         exponential = d->epilogue.act == ACT_SIGMOID || d->epilogue.act == ACT_SWISH;
    const char *why = shape_refuse(d);
    if (why) return why;
    /* A thread has 4 results of a channel: sums over them would be as many bytes as a
     * quarter of what bn_stats reads. */
    if (d->epilogue.stats) return "no statistics";
    if (integer && d->kh * d->kw > 512)
        return "a window of more than 512 taps"; /* 512 * 255 * 128 < 2^24: sums in f32 are exact */
    return integer && d->dst_type != DTYPE_F32 && exponential ? "sigmoid or swish, rounded to an integer" : NULL;
}

static const char *dsrc_refuse(const void *desc)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    const char *why = shape_refuse(d);
    if (why) return why;
    return (int64_t)d->sh * d->sw > 64 ? "more than 64 parities: a launch each" : NULL;
}

static const char *dweight_refuse(const void *desc)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    const char *why = shape_refuse(d);
    if (why) return why;
    if (d->transform.enabled) return "no input transform: of a window in registers it would be done again and again";
    return (int64_t)d->kh * d->kw > 512 ? "a window of more than 512 taps" : NULL;
}

extern const kernel conv2d_forward__cuda_depthwise = {
    .op = OP_CONV2D_FORWARD,
    .backend = BACKEND_CUDA,
    .name = "conv2d_forward__cuda_depthwise",
    .refuse = forward_refuse,
    .packed_bytes = packed_bytes,
    .pack = forward_pack,
    .run = forward_run,
};
extern const kernel conv2d_dsrc__cuda_depthwise = {
    .op = OP_CONV2D_DSRC,
    .backend = BACKEND_CUDA,
    .name = "conv2d_dsrc__cuda_depthwise",
    .refuse = dsrc_refuse,
    .packed_bytes = packed_bytes,
    .pack = dsrc_pack,
    .run = dsrc_run,
};
extern const kernel conv2d_dweight__cuda_depthwise = {
    .op = OP_CONV2D_DWEIGHT,
    .backend = BACKEND_CUDA,
    .name = "conv2d_dweight__cuda_depthwise",
    .refuse = dweight_refuse,
    .scratch_bytes = dweight_scratch,
    .run = dweight_run,
};
