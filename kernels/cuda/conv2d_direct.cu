/* conv2d_direct.cu: convolution by its definition, one thread per element of the result. The readable form of the
 * faster kernels and what runs where they refuse. Bound by the latency of its loads; kernelcheck --bench
 * --only=conv2d_forward__cuda_direct.
 *
 *     dst[n, y, x, o]       = epilogue(sum over ky, kx, c of src[n, y sh - pt + ky dil_h, x sw - pl + kx dil_w, c]
 *                                      weight[o, ky, kx, c])
 *     dsrc[n, y, x, c]      = sum over ky, kx, o of ddst[n, (y + pt - ky dil_h) / sh, ..., o] weight[o, ky, kx, c],
 *                             where divisible
 *     dweight[o, ky, kx, c] += sum over n, y, x of ddst[n, y, x, o] src[n, y sh - pt + ky dil_h, ..., c]
 * A transform of src comes first.
 */
#include "kernels/cuda/conv2d.cuh"

enum { THREADS = 256 };

static dim3 grid_for(int64_t count)
{
    unsigned blocks = blocks_for(count, THREADS);
    return dim3(blocks < (1u << 20) ? blocks : 1u << 20);
}

/* ------------------------------------------------------------------------------------------------ products */

/* One factor: as it is for integers, else in f32 and rounded to `compute`. */
template <typename T> static inline __device__ float factor(T x, conv2d_compute compute)
{
    return round_factor(to_float(x), compute);
}
static inline __device__ int32_t factor(int8_t x, conv2d_compute) { return x; }
static inline __device__ int32_t factor(uint8_t x, conv2d_compute) { return x; }

static inline __device__ float multiply_add(float a, float b, float sum) { return fmaf(a, b, sum); }
static inline __device__ int32_t multiply_add(int32_t a, int32_t b, int32_t sum) { return a * b + sum; }

/* ------------------------------------------------------------------------------------------------ forward */

static inline __device__ float src_factor(float x, const conv2d_desc *d, const conv2d_input *in, int32_t channel)
{
    return round_factor(in->a ? transformed(in, x, channel) : x, d->compute);
}
static inline __device__ int32_t src_factor(int32_t x, const conv2d_desc *, const conv2d_input *, int32_t) { return x; }

template <typename T, typename W>
static __global__ void __launch_bounds__(THREADS, 4) forward_kernel(
    conv2d_desc d, conv2d_output out, conv2d_input in, const T *__restrict__ src, const W *__restrict__ weight)
{
    int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups, count = d.n * d.oh * d.ow * d.oc;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS) {
        int64_t o = i % d.oc, x = i / d.oc % d.ow, y = i / (d.oc * d.ow) % d.oh, n = i / (d.oc * d.ow * d.oh),
                g = o / ocg;
        typename sum_of<T>::type sum = 0;
        for (int32_t ky = 0; ky < d.kh; ky++) {
            int64_t iy = y * d.sh - d.pt + (int64_t)ky * d.dil_h;
            if (iy < 0 || iy >= d.ih) continue;
            for (int32_t kx = 0; kx < d.kw; kx++) {
                int64_t ix = x * d.sw - d.pl + (int64_t)kx * d.dil_w;
                if (ix < 0 || ix >= d.iw) continue;
                const T *s = src + ((n * d.ih + iy) * d.iw + ix) * d.ic + g * icg;
                const W *w = weight + ((o * d.kh + ky) * d.kw + kx) * icg;
                for (int64_t c = 0; c < icg; c++)
                    sum = multiply_add(src_factor(factor(s[c], COMPUTE_F32), &d, &in, (int32_t)(g * icg + c)),
                        factor(w[c], d.compute), sum);
            }
        }
        float v = epilogue_sum(&out, (float)sum, out.add ? load_as(out.add, out.add_type, i) : 0, (int32_t)o);
        bool rounded = out.dst_type == DTYPE_I8 || out.dst_type == DTYPE_U8;
        store_as(out.dst, out.dst_type, i,
            rounded ? activate_exactly(v, out.act, out.alpha, out.beta) : activate(v, out.act, out.alpha, out.beta));
    }
}

template <typename T, typename W> static status forward(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    TRY(launch(forward_kernel<T, W>, grid_for(d->n * d->oh * d->ow * d->oc), dim3(THREADS), 0, call->stream, *d,
        conv2d_output_of(call), conv2d_input_of(call), (const T *)call->in[CONV2D_SRC],
        (const W *)call->in[CONV2D_WEIGHT]));
    return d->epilogue.stats ? conv2d_stats(call, (double *)call->out[1], call->scratch) : OK;
}

static status forward_run(const kernel_call *call)
{
    switch (((const conv2d_desc *)call->desc)->src_type) {
    case DTYPE_I8: return forward<int8_t, int8_t>(call);
    case DTYPE_U8: return forward<uint8_t, int8_t>(call);
    case DTYPE_F16: return forward<f16, f16>(call);
    case DTYPE_BF16: return forward<bf16, bf16>(call);
    default: return forward<float, float>(call);
    }
}

static size_t forward_scratch(const void *desc, const void *state)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    (void)state;
    return d->epilogue.stats ? conv2d_columns_scratch(d) : 0;
}

/* ------------------------------------------------------------------------------------------------ gradients */

template <typename T>
static __global__ void __launch_bounds__(THREADS, 4)
    dsrc_kernel(conv2d_desc d, T *__restrict__ dsrc, const T *__restrict__ ddst, const T *__restrict__ weight)
{
    int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups, count = d.n * d.ih * d.iw * d.ic;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS) {
        int64_t c = i % d.ic, x = i / d.ic % d.iw, y = i / (d.ic * d.iw) % d.ih, n = i / (d.ic * d.iw * d.ih),
                g = c / icg;
        float sum = 0;
        for (int32_t ky = 0; ky < d.kh; ky++) {
            int64_t oy = y + d.pt - (int64_t)ky * d.dil_h;
            if (oy < 0 || oy % d.sh || oy / d.sh >= d.oh) continue;
            for (int32_t kx = 0; kx < d.kw; kx++) {
                int64_t ox = x + d.pl - (int64_t)kx * d.dil_w;
                if (ox < 0 || ox % d.sw || ox / d.sw >= d.ow) continue;
                const T *s = ddst + ((n * d.oh + oy / d.sh) * d.ow + ox / d.sw) * d.oc;
                for (int64_t o = g * ocg; o < (g + 1) * ocg; o++)
                    sum = fmaf(factor(s[o], d.compute),
                        factor(weight[((o * d.kh + ky) * d.kw + kx) * icg + c % icg], d.compute), sum);
            }
        }
        dsrc[i] = from_float<T>(sum);
    }
}

template <typename T> static status dsrc(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    return launch(dsrc_kernel<T>, grid_for(d->n * d->ih * d->iw * d->ic), dim3(THREADS), 0, call->stream, *d,
        (T *)call->out[0], (const T *)call->in[0], (const T *)call->in[1]);
}

static status dsrc_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const conv2d_desc *)call->desc)->src_type, dsrc, call);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS, 4) dweight_kernel(
    conv2d_desc d, conv2d_input in, void *__restrict__ dweight, const T *__restrict__ src, const T *__restrict__ ddst)
{
    int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups, count = d.oc * d.kh * d.kw * icg;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS) {
        int64_t c = i % icg, kx = i / icg % d.kw, ky = i / (icg * d.kw) % d.kh, o = i / (icg * d.kw * d.kh),
                g = o / ocg;
        float sum = 0;
        for (int64_t p = 0; p < d.n * d.oh; p++) {
            int64_t n = p / d.oh, y = p % d.oh, iy = y * d.sh - d.pt + ky * d.dil_h;
            if (iy < 0 || iy >= d.ih) continue;
            for (int64_t x = 0; x < d.ow; x++) {
                int64_t ix = x * d.sw - d.pl + kx * d.dil_w;
                if (ix < 0 || ix >= d.iw) continue;
                sum = fmaf(factor(ddst[(p * d.ow + x) * d.oc + o], d.compute),
                    src_factor(to_float(src[((n * d.ih + iy) * d.iw + ix) * d.ic + g * icg + c]), &d, &in,
                        (int32_t)(g * icg + c)),
                    sum);
            }
        }
        store_as(dweight, d.weight_type, i, load_as(dweight, d.weight_type, i) + sum);
    }
}

template <typename T> static status dweight(const kernel_call *call)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    return launch(dweight_kernel<T>, grid_for(d->oc * d->kh * d->kw * (d->ic / d->groups)), dim3(THREADS), 0,
        call->stream, *d, conv2d_input_of(call), call->out[0], (const T *)call->in[0], (const T *)call->in[1]);
}

static status dweight_run(const kernel_call *call)
{
    TRY(FOR_FLOAT_TYPE(((const conv2d_desc *)call->desc)->src_type, dweight, call));
    return call->out[1] ? conv2d_dbias(call, (float *)call->out[1], call->scratch) : OK;
}

static size_t dweight_scratch(const void *desc, const void *state)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    (void)state;
    return conv2d_columns_scratch(d);
}

/* ------------------------------------------------------------------------------------------------ variants */

static const char *refuse(const void *desc)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    return cuda_refuse_type(d->src_type);
}

extern const kernel conv2d_forward__cuda_direct = {
    .op = OP_CONV2D_FORWARD,
    .backend = BACKEND_CUDA,
    .name = "conv2d_forward__cuda_direct",
    .refuse = refuse,
    .scratch_bytes = forward_scratch,
    .run = forward_run,
};
extern const kernel conv2d_dsrc__cuda_direct = {
    .op = OP_CONV2D_DSRC,
    .backend = BACKEND_CUDA,
    .name = "conv2d_dsrc__cuda_direct",
    .refuse = refuse,
    .run = dsrc_run,
};
extern const kernel conv2d_dweight__cuda_direct = {
    .op = OP_CONV2D_DWEIGHT,
    .backend = BACKEND_CUDA,
    .name = "conv2d_dweight__cuda_direct",
    .refuse = refuse,
    .scratch_bytes = dweight_scratch,
    .run = dweight_run,
};
