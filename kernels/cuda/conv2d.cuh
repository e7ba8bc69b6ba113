/* conv2d.cuh: what the convolution kernels share: a convolution seen as a product of gathered rows,
 * factors, epilogue, sums of columns.
 *
 * Every product here is out[m, n] = sum over k of in[m, k] * weight[n, k]: rows m are pixels (images x rows_h x
 * rows_w), columns n output channels of a group, and k runs over taps and, within a tap, the input channels of a
 * group. Forward is one such product. The data gradient is one per parity of the input pixel: dsrc pixels (first +
 * stride * y, ...) see a fixed subset of the taps, whose ddst pixels again lie a constant apart, so that no product
 * by a structural zero is formed.
 */
#ifndef GRAFT_CUDA_CONV2D_CUH
#define GRAFT_CUDA_CONV2D_CUH

#include "kernels/cuda/common.cuh"

/* ------------------------------------------------------------------------------------------------ division */

/* x / value for 0 <= x < 2^31 as a multiplication (Granlund and Montgomery 1994, "Division by
 * invariant integers", theorem 4.2). */
typedef struct divisor {
    uint32_t multiplier, shift;
    int32_t value;
} divisor;

divisor divisor_make(int32_t value);

static inline __device__ int32_t divide(int32_t x, divisor by)
{
    return by.value == 1 ? x : (int32_t)((uint64_t)(uint32_t)x * by.multiplier >> by.shift);
}

/* ------------------------------------------------------------------------------------------------ geometry */

typedef struct conv2d_gemm {
    int32_t m, n, k, groups;                         /* n and k of one group                                          */
    int32_t taps_h, taps_w, channels;                /* k = (ty * taps_w + tx) * channels + c                         */
    int32_t rows_h, rows_w;                          /* m = (image * rows_h + y) * rows_w + x                         */
    divisor by_image, by_row, by_channels, by_taps_w;/* by rows_h * rows_w; rows_w; ...                               */
    int32_t in_h, in_w, in_pitch;                    /* in_pitch: channels of all groups                              */
    int32_t first_h, first_w, step_h, step_w, gap_h, gap_w; /* input row of (y, ty): first + y * step + ty * gap      */
    int32_t out_h, out_w, out_pitch;
    int32_t out_first_h, out_first_w, out_step_h, out_step_w;
    int64_t w_first, w_group, w_n, w_ty, w_tx, w_c;  /* element of weight: w_first + g * w_group + n * w_n + ...      */
    int32_t k_pitch;                                 /* of a row of packed weights, see conv2d_pack_weights           */
    bool plain_out;                                  /* output pixel m is pixel m                                     */
} conv2d_gemm;

conv2d_gemm conv2d_gemm_forward(const conv2d_desc *d);
/* The product of dsrc's pixels (ph + sh * y, pw + sw * x), 0 <= ph < sh, 0 <= pw < sw; m or k may be 0. */
conv2d_gemm conv2d_gemm_dsrc(const conv2d_desc *d, int32_t ph, int32_t pw);
/* Why conv2d_gemm cannot describe it, or NULL: offsets of elements, padding included, and
 * indices of threads must fit 31 bits. */
const char *conv2d_refuse_gemm(const conv2d_desc *d);

/* Bands of pixels that a weight gradient is summed over apart: at least 256 pixels each, 512 tiles of 64 x 64 in all,
 * at most 64 MiB of partial results. From the shape alone, so that a result has the same bits on every GPU. */
int32_t conv2d_bands(const conv2d_gemm *g);

/* Where row m reads: its pixel at tap 0, channel 0. The element counts modulo 2^32, since in padding it may lie before
 * or behind the tensor: base + (offset of a tap that lies inside) is right again. */
typedef struct pixel_origin {
    uint32_t base;
    int32_t y, x;
} pixel_origin;

/* Rows from `end` on lie outside. */
static inline __device__ pixel_origin pixel_origin_of(const conv2d_gemm *g, int32_t m, int32_t end)
{
    if (m >= end) return pixel_origin{0, -(1 << 30), 0};
    int32_t image = divide(m, g->by_image), pixel = m - image * g->by_image.value, y = divide(pixel, g->by_row);
    int32_t iy = y * g->step_h + g->first_h, ix = (pixel - y * g->by_row.value) * g->step_w + g->first_w;
    return pixel_origin{(((uint32_t)image * g->in_h + iy) * g->in_w + ix) * g->in_pitch, iy, ix};
}

/* First element of the pixel that row (image, y, x) writes. */
static inline __device__ int64_t out_element_at(const conv2d_gemm *g, int32_t image, int32_t y, int32_t x)
{
    int64_t oy = g->out_first_h + y * g->out_step_h, ox = g->out_first_w + x * g->out_step_w;
    return ((image * (int64_t)g->out_h + oy) * g->out_w + ox) * g->out_pitch;
}

static inline __device__ int64_t out_element(const conv2d_gemm *g, int32_t m)
{
    if (g->plain_out) return (int64_t)m * g->out_pitch;
    int32_t image = divide(m, g->by_image), pixel = m - image * g->by_image.value, y = divide(pixel, g->by_row);
    return out_element_at(g, image, y, pixel - y * g->by_row.value);
}

/* ------------------------------------------------------------------------------------------------ factors */

/* Nearest with 10 bits of mantissa, ties away from zero: cvt.rna.tf32, which sm_75 lacks. */
static inline __device__ float round_tf32(float x)
{
    union { float f; uint32_t u; } v = {x};
    if (fabsf(x) < INFINITY) v.u = (v.u + 0x1000u) & ~0x1fffu;
    return v.f;
}

static inline __device__ float round_factor(float x, conv2d_compute compute)
{
    switch (compute) {
    case COMPUTE_F16: return to_float(from_float<f16>(x));
    case COMPUTE_BF16: return to_float(from_float<bf16>(x));
    case COMPUTE_TF32: return round_tf32(x);
    default: return x;
    }
}

/* conv2d_transform with its coefficients; a is NULL when there is none. */
typedef struct conv2d_input {
    const float *a, *d;
    activation act;
    float alpha, beta;
} conv2d_input;

conv2d_input conv2d_input_of(const kernel_call *call);

static inline __device__ float transformed(const conv2d_input *t, float x, int32_t channel)
{
    return activate(fmaf(t->a[channel], x, t->d[channel]), t->act, t->alpha, t->beta);
}

/* ------------------------------------------------------------------------------------------------ epilogue */

/* Element `at` of a tensor whose type is known at run time only. */
static inline __device__ float load_as(const void *data, dtype type, int64_t at)
{
    switch (type) {
    case DTYPE_F16: return to_float(((const f16 *)data)[at]);
    case DTYPE_BF16: return to_float(((const bf16 *)data)[at]);
    case DTYPE_I8: return to_float(((const int8_t *)data)[at]);
    case DTYPE_U8: return to_float(((const uint8_t *)data)[at]);
    default: return ((const float *)data)[at];
    }
}

static inline __device__ void store_as(void *data, dtype type, int64_t at, float x)
{
    switch (type) {
    case DTYPE_F16: ((f16 *)data)[at] = from_float<f16>(x); break;
    case DTYPE_BF16: ((bf16 *)data)[at] = from_float<bf16>(x); break;
    case DTYPE_I8: ((int8_t *)data)[at] = from_float<int8_t>(x); break;
    case DTYPE_U8: ((uint8_t *)data)[at] = from_float<uint8_t>(x); break;
    default: ((float *)data)[at] = x;
    }
}

/* conv2d_epilogue with its tensors; absent ones are NULL. A gradient's is empty but for dst. */
typedef struct conv2d_output {
    void *dst;
    dtype dst_type, add_type;
    const float *bias, *scale;
    const void *add;
    float add_scale, alpha, beta;
    activation act;
} conv2d_output;

conv2d_output conv2d_output_of(const kernel_call *call); /* of a forward call */

template <activation ACT, int N> static inline __device__ void activate_as(float y[N], float alpha, float beta)
{
#pragma unroll
    for (int i = 0; i < N; i++) y[i] = activate(y[i], ACT, alpha, beta);
}

/* The same for several values with one branch. */
template <int N> static inline __device__ void activate_each(float y[N], activation act, float alpha, float beta)
{
    switch (act) {
    case ACT_RELU: activate_as<ACT_RELU, N>(y, alpha, beta); break;
    case ACT_RELU6: activate_as<ACT_RELU6, N>(y, alpha, beta); break;
    case ACT_LEAKY: activate_as<ACT_LEAKY, N>(y, alpha, beta); break;
    case ACT_SIGMOID: activate_as<ACT_SIGMOID, N>(y, alpha, beta); break;
    case ACT_SWISH: activate_as<ACT_SWISH, N>(y, alpha, beta); break;
    case ACT_CLIP: activate_as<ACT_CLIP, N>(y, alpha, beta); break;
    default: break;
    }
}

/* Everything but the activation, in the order of kernels.h. */
static inline __device__ float epilogue_sum(const conv2d_output *o, float y, float add, int32_t channel)
{
    if (o->bias) y += o->bias[channel];
    if (o->scale) y *= o->scale[channel];
    if (o->add) y = fmaf(add, o->add_scale, y);
    return y;
}

/* ------------------------------------------------------------------------------------------------ packed weights */

/* Rows [groups * n, k_pitch] of a product's weights in its order of k, zeros from k on, converted to `to`: f32 (rounded
 * to tf32), f16, bf16 or, of integers, i8. */
status conv2d_pack_weights(void *packed, dtype to, const conv2d_gemm *g, const void *weight, dtype from, void *stream);

/* ------------------------------------------------------------------------------------------------ sums of columns */

/* Sums over dst's pixels by the kernel of OP_BN_STATS: conv2d_stats writes stats [2, oc] of the dst that
 * a forward call has written; conv2d_dbias adds the sums of a weight gradient's ddst to dbias [oc]. Both
 * use conv2d_columns_scratch bytes. */
size_t conv2d_columns_scratch(const conv2d_desc *d);
status conv2d_stats(const kernel_call *call, double *stats, void *scratch);
status conv2d_dbias(const kernel_call *call, float *dbias, void *scratch);
/* Sums partial [parts, columns], f64, over parts in order. */
status conv2d_sum_parts(double *sums, const double *partial, int64_t parts, int64_t columns, void *stream);

/* out[i] += sum over parts of partial [parts, count], in order. */
status conv2d_add_parts(void *out, dtype type, const float *partial, int64_t parts, int64_t count, void *stream);

#endif
