/* conv2d.cu: the host half of conv2d.cuh, and sums of columns: memory-bound reductions; kernelcheck --bench,
 * bench/shapes/resnet50-bf16.txt. */
#include "kernels/cuda/conv2d.cuh"

/* ------------------------------------------------------------------------------------------------ geometry */

divisor divisor_make(int32_t value)
{
    uint32_t bits = 0;
    while ((INT64_C(1) << bits) < value) bits++;
    uint32_t shift = 31 + bits;
    uint64_t multiplier = ((UINT64_C(1) << shift) + (uint64_t)value - 1) / (uint64_t)value;
    return (divisor){(uint32_t)multiplier, shift, value};
}

static void set_divisors(conv2d_gemm *g)
{
    g->by_image = divisor_make(g->rows_h * g->rows_w > 0 ? g->rows_h * g->rows_w : 1);
    g->by_row = divisor_make(g->rows_w > 0 ? g->rows_w : 1);
    g->by_channels = divisor_make(g->channels);
    g->by_taps_w = divisor_make(g->taps_w > 0 ? g->taps_w : 1);
    g->k = g->taps_h * g->taps_w * g->channels;
    g->k_pitch = g->k;
}

conv2d_gemm conv2d_gemm_forward(const conv2d_desc *d)
{
    int64_t icg = d->ic / d->groups, ocg = d->oc / d->groups;
    conv2d_gemm g = {};
    g.m = (int32_t)(d->n * d->oh * d->ow), g.n = (int32_t)ocg, g.groups = d->groups;
    g.taps_h = d->kh, g.taps_w = d->kw, g.channels = (int32_t)icg;
    g.rows_h = (int32_t)d->oh, g.rows_w = (int32_t)d->ow;
    g.in_h = (int32_t)d->ih, g.in_w = (int32_t)d->iw, g.in_pitch = (int32_t)d->ic;
    g.first_h = -d->pt, g.first_w = -d->pl, g.step_h = d->sh, g.step_w = d->sw, g.gap_h = d->dil_h, g.gap_w = d->dil_w;
    g.out_h = (int32_t)d->oh, g.out_w = (int32_t)d->ow, g.out_pitch = (int32_t)d->oc;
    g.out_step_h = g.out_step_w = 1;
    g.w_c = 1, g.w_tx = icg, g.w_ty = d->kw * icg, g.w_n = d->kh * g.w_ty, g.w_group = ocg * g.w_n;
    g.plain_out = true;
    set_divisors(&g);
    return g;
}

/* Along one axis: taps k with (p + pad - k * dilation) divisible by the stride: first, step, count; ddst row of dsrc
 * row y and the j-th of them: from + y - j * gap. */
typedef struct parity {
    int32_t first, step, count, from, gap;
} parity;

static parity parity_of(int32_t p, int32_t pad, int32_t dilation, int32_t stride, int32_t window)
{
    int32_t a = dilation, b = stride;
    while (b) {
        int32_t rest = a % b;
        a = b, b = rest;
    }
    parity r = {0, stride / a, 0, 0, dilation / a}; /* a: greatest common divisor */
    while (r.first < r.step && ((int64_t)p + pad - (int64_t)r.first * dilation) % stride != 0) r.first++;
    if (r.first == r.step || r.first >= window) {
        r.first = 0;
        return r; /* none */
    }
    r.count = (window - r.first + r.step - 1) / r.step;
    r.from = (int32_t)(((int64_t)p + pad - (int64_t)r.first * dilation) / stride);
    return r;
}

conv2d_gemm conv2d_gemm_dsrc(const conv2d_desc *d, int32_t ph, int32_t pw)
{
    int64_t icg = d->ic / d->groups, ocg = d->oc / d->groups;
    parity h = parity_of(ph, d->pt, d->dil_h, d->sh, d->kh), w = parity_of(pw, d->pl, d->dil_w, d->sw, d->kw);
    conv2d_gemm g = {};
    g.rows_h = ph < d->ih ? (int32_t)((d->ih - ph + d->sh - 1) / d->sh) : 0;
    g.rows_w = pw < d->iw ? (int32_t)((d->iw - pw + d->sw - 1) / d->sw) : 0;
    g.m = (int32_t)d->n * g.rows_h * g.rows_w, g.n = (int32_t)icg, g.groups = d->groups;
    g.taps_h = h.count, g.taps_w = w.count, g.channels = (int32_t)ocg;
    if (!g.taps_h || !g.taps_w) g.taps_h = g.taps_w = 0;
    g.in_h = (int32_t)d->oh, g.in_w = (int32_t)d->ow, g.in_pitch = (int32_t)d->oc;
    g.first_h = h.from, g.first_w = w.from, g.step_h = g.step_w = 1, g.gap_h = -h.gap, g.gap_w = -w.gap;
    g.out_h = (int32_t)d->ih, g.out_w = (int32_t)d->iw, g.out_pitch = (int32_t)d->ic;
    g.out_first_h = ph, g.out_first_w = pw, g.out_step_h = d->sh, g.out_step_w = d->sw;
    int64_t tap_w = icg, tap_h = d->kw * icg;
    g.w_n = 1, g.w_c = d->kh * tap_h, g.w_group = ocg * g.w_c;
    g.w_first = h.first * tap_h + w.first * tap_w, g.w_ty = h.step * tap_h, g.w_tx = w.step * tap_w;
    g.plain_out = d->sh == 1 && d->sw == 1;
    set_divisors(&g);
    return g;
}

const char *conv2d_refuse_gemm(const conv2d_desc *d)
{
    /* Short of 2^31 by what the last block's threads and tile may count beyond the last element. */
    double limit = 0x1p31 - 0x1p10, pixels = (double)(d->ih + d->pt + d->pb) * (double)(d->iw + d->pl + d->pr);
    double weights = (double)d->oc * d->kh * d->kw * (double)(d->ic / d->groups);
    bool fits = (double)d->n * pixels * (double)d->ic < limit &&
                (double)d->n * (double)d->oh * (double)d->ow * (double)d->oc < limit && weights < limit;
    return fits ? NULL : "a tensor of about 2^31 elements or more, padding included";
}

int32_t conv2d_bands(const conv2d_gemm *g)
{
    int64_t tiles = (int64_t)blocks_for(g->n, 64) * blocks_for(g->k, 64) * g->groups, most = (g->m + 255) / 256;
    int64_t bands = (512 + tiles - 1) / tiles, room = (INT64_C(64) << 20) / ((int64_t)g->groups * g->n * g->k * 4);
    bands = bands < most ? bands : most;
    bands = bands < room ? bands : room;
    return bands < 1 ? 1 : (int32_t)bands;
}

conv2d_input conv2d_input_of(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    const float *coef = d->transform.enabled ? (const float *)call->in[CONV2D_TRANSFORM] : NULL;
    return (conv2d_input){coef, coef ? coef + d->ic : NULL, d->transform.act, d->transform.alpha, d->transform.beta};
}

conv2d_output conv2d_output_of(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    const conv2d_epilogue *e = &d->epilogue;
    conv2d_output o = {};
    o.dst = call->out[0], o.dst_type = d->dst_type, o.add_type = e->add_type;
    o.bias = e->has_bias ? (const float *)call->in[CONV2D_BIAS] : NULL;
    o.scale = e->has_scale ? (const float *)call->in[CONV2D_SCALE] : NULL;
    o.add = e->has_add ? call->in[CONV2D_ADD] : NULL;
    o.add_scale = e->add_scale, o.alpha = e->alpha, o.beta = e->beta, o.act = e->act;
    return o;
}

/* ------------------------------------------------------------------------------------------------ packed weights */

template <typename TO> static inline __device__ TO packed_value(float x) { return from_float<TO>(x); }
template <> inline __device__ float packed_value<float>(float x) { return round_tf32(x); }

template <typename TO, typename FROM>
static __global__ void __launch_bounds__(256)
    pack_kernel(TO *__restrict__ packed, conv2d_gemm g, const FROM *__restrict__ weight)
{
    int64_t count = (int64_t)g.groups * g.n * g.k_pitch;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (int64_t)gridDim.x * blockDim.x) {
        int32_t row = (int32_t)(i / g.k_pitch), k = (int32_t)(i % g.k_pitch), group = row / g.n, n = row % g.n;
        int32_t tap = divide(k, g.by_channels), c = k - tap * g.channels, ty = divide(tap, g.by_taps_w),
                tx = tap - ty * g.taps_w;
        int64_t from = g.w_first + group * g.w_group + n * g.w_n + ty * g.w_ty + tx * g.w_tx + c * g.w_c;
        packed[i] = packed_value<TO>(k < g.k ? to_float(weight[from]) : 0.0f);
    }
}

template <typename TO, typename FROM>
static status pack_as(void *packed, const conv2d_gemm *g, const void *weight, void *stream)
{
    int64_t count = (int64_t)g->groups * g->n * g->k_pitch;
    if (count == 0) return OK;
    return launch(pack_kernel<TO, FROM>, dim3(blocks_for(count, 256)), dim3(256), 0, stream, (TO *)packed, *g,
        (const FROM *)weight);
}

template <typename TO> static status pack_from_f32(void *packed, const conv2d_gemm *g, const void *weight, void *stream)
{
    return pack_as<TO, float>(packed, g, weight, stream);
}

status conv2d_pack_weights(void *packed, dtype to, const conv2d_gemm *g, const void *weight, dtype from, void *stream)
{
    if (from == DTYPE_I8) return pack_as<int8_t, int8_t>(packed, g, weight, stream);
    if (from == DTYPE_F16) return pack_as<f16, f16>(packed, g, weight, stream);
    if (from == DTYPE_BF16) return pack_as<bf16, bf16>(packed, g, weight, stream);
    return FOR_FLOAT_TYPE(to, pack_from_f32, packed, g, weight, stream);
}

/* ------------------------------------------------------------------------------------------------ sums of columns */

extern const kernel bn_stats__cuda_columns;

static bn_desc stats_desc(const conv2d_desc *d)
{
    bn_desc b = {};
    b.rows = d->n * d->oh * d->ow, b.channels = d->oc, b.count = (double)b.rows, b.type = d->dst_type;
    return b;
}

/* The kernel's own scratch, then the sums [2, oc]. */
static size_t stats_scratch(const conv2d_desc *d)
{
    bn_desc b = stats_desc(d);
    return bn_stats__cuda_columns.scratch_bytes(&b, NULL);
}

size_t conv2d_columns_scratch(const conv2d_desc *d)
{
    return stats_scratch(d) + (size_t)d->oc * 2 * sizeof(double);
}

static status stats_of(const kernel_call *call, const void *tensor, double *stats, void *scratch)
{
    bn_desc b = stats_desc((const conv2d_desc *)call->desc);
    kernel_call c = {};
    c.desc = &b, c.in[0] = tensor, c.out[0] = stats, c.scratch = scratch, c.stream = call->stream;
    return bn_stats__cuda_columns.run(&c);
}

status conv2d_stats(const kernel_call *call, double *stats, void *scratch)
{
    return stats_of(call, call->out[0], stats, scratch);
}

static __global__ void __launch_bounds__(256)
    add_sums_kernel(float *__restrict__ dbias, const double *__restrict__ sums, int64_t columns)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < columns) dbias[i] = (float)((double)dbias[i] + sums[i]);
}

status conv2d_dbias(const kernel_call *call, float *dbias, void *scratch)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    double *sums = (double *)((char *)scratch + stats_scratch(d));
    TRY(stats_of(call, call->in[1], sums, scratch));
    return launch(add_sums_kernel, dim3(blocks_for(d->oc, 256)), dim3(256), 0, call->stream, dbias, sums, d->oc);
}

constexpr int COLUMN_LANES = 32;
constexpr int PART_RUNS = 32;

/* Sum over parts of one column of partial, in 32 interleaved runs that are added in order; holds where run is
 * 0. Block: 32 columns x 32 runs. */
template <typename T>
static inline __device__ T sum_of_parts(const T *partial, int64_t parts, int64_t pitch, int64_t column, bool some)
{
    SHARED(T, shared, [PART_RUNS][COLUMN_LANES]);
    int lane = threadIdx.x % COLUMN_LANES, run = threadIdx.x / COLUMN_LANES;
    T sum = 0;
    if (some) {
#pragma unroll 4
        for (int64_t p = run; p < parts; p += PART_RUNS) sum += partial[p * pitch + column];
    }
    shared[run][lane] = sum;
    __syncthreads();
    if (run == 0)
        for (int i = 1; i < PART_RUNS; i++) sum += shared[i][lane];
    return sum;
}

static __global__ void __launch_bounds__(COLUMN_LANES *PART_RUNS)
    sum_parts_kernel(double *__restrict__ sums, const double *__restrict__ partial, int64_t parts, int64_t columns)
{
    int64_t column = (int64_t)blockIdx.x * COLUMN_LANES + threadIdx.x % COLUMN_LANES;
    double sum = sum_of_parts(partial, parts, columns, column, column < columns);
    if (threadIdx.x < COLUMN_LANES && column < columns) sums[column] = sum;
}

status conv2d_sum_parts(double *sums, const double *partial, int64_t parts, int64_t columns, void *stream)
{
    return launch(sum_parts_kernel, dim3(blocks_for(columns, COLUMN_LANES)), dim3(COLUMN_LANES * PART_RUNS), 0, stream,
        sums, partial, parts, columns);
}

/* Few parts: a thread per element. Many, as of a small weight with many bands: 32 runs of parts per element. */
static __global__ void __launch_bounds__(256) add_parts_kernel(
    void *__restrict__ out, dtype type, const float *__restrict__ partial, int64_t parts, int64_t count)
{
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (int64_t)gridDim.x * blockDim.x) {
        float sum = 0;
#pragma unroll 4
        for (int64_t p = 0; p < parts; p++) sum += partial[p * count + i];
        store_as(out, type, i, load_as(out, type, i) + sum);
    }
}

static __global__ void __launch_bounds__(COLUMN_LANES *PART_RUNS) add_many_parts_kernel(
    void *__restrict__ out, dtype type, const float *__restrict__ partial, int64_t parts, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * COLUMN_LANES + threadIdx.x % COLUMN_LANES;
    float sum = sum_of_parts(partial, parts, count, i, i < count);
    if (threadIdx.x < COLUMN_LANES && i < count) store_as(out, type, i, load_as(out, type, i) + sum);
}

status conv2d_add_parts(void *out, dtype type, const float *partial, int64_t parts, int64_t count, void *stream)
{
    if (parts >= PART_RUNS)
        return launch(add_many_parts_kernel, dim3(blocks_for(count, COLUMN_LANES)), dim3(COLUMN_LANES * PART_RUNS), 0,
            stream, out, type, partial, parts, count);
    return launch(
        add_parts_kernel, dim3(blocks_for(count, 256)), dim3(256), 0, stream, out, type, partial, parts, count);
}
