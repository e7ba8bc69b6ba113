/* image_warp.cu: the augmentation pass: u8 pictures of any size through a map and a colour matrix, normalised, into the
 * network's NHWC input. The formula is in kernels.h.
 *
 * direct: a thread an element of dst. packed: a thread a pixel, whose taps and position serve all its channels; a block
 * is 32 x 8 pixels of one picture, so that neighbouring threads read neighbouring pixels whatever the rotation; four
 * channels leave in one store. Positions are double, as the reference's, to the bit; the sums f32. Bound by memory
 * where pictures are enlarged or copied (source read once, four taps from the L1 cache), by the taps where they shrink:
 * 4 radius_x radius_y of them per pixel.
 */
#include "kernels/cuda/common.cuh"

constexpr int THREADS = 256, TILE_X = 32, TILE_Y = 8;

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const image_warp_desc *)desc)->type);
}

/* What all pixels share. */
typedef struct shape {
    int64_t n, height, width;
    int32_t channels, dst_channels;
    bool swap; /* blue first */
    float mean[3], std[3];
} shape;

static shape shape_of(const image_warp_desc *d)
{
    shape s = {d->n, d->height, d->width, d->channels, d->dst_channels, d->bgr && d->channels == 3,
        {d->mean[0], d->mean[1], d->mean[2]}, {d->std[0], d->std[1], d->std[2]}};
    return s;
}

typedef struct point {
    double x, y;
} point;

static __device__ point source_position(const float m[9], double u, double v)
{
    double x = u * (double)m[0] + v * (double)m[3] + (double)m[6],
           y = u * (double)m[1] + v * (double)m[4] + (double)m[7];
    double w = u * (double)m[2] + v * (double)m[5] + (double)m[8];
    if (w == 1.0) return point{x, y}; /* affine: a division in double costs more than the rest */
    return point{x / w, y / w};
}

/* Pixels first .. end - 1 within the filter's radius. */
typedef struct span {
    int32_t first, end;
} span;

static __device__ span taps_of(double at, double radius, int32_t length)
{
    double first = ceil(at - radius - 0.5), last = floor(at + radius - 0.5);
    span s = {first < 0.0 ? 0 : (int32_t)first, last > (double)(length - 1) ? length : (int32_t)last + 1};
    return s;
}

static __device__ float triangle(int32_t pixel, double at, float inverse_radius)
{
    return fmaxf(1.0f - fabsf((float)((double)pixel + 0.5 - at)) * inverse_radius, 0.0f);
}

/* Weighted average of the pixels around p, per channel. */
static __device__ void sample(float rgb[3], const image_source &s, const uint8_t *pixels, int32_t channels, point p)
{
    span x = taps_of(p.x, (double)s.radius_x, s.width), y = taps_of(p.y, (double)s.radius_y, s.height);
    float inverse_x = 1.0f / s.radius_x, inverse_y = 1.0f / s.radius_y, total = 0.0f, sum[3] = {};
    for (int32_t iy = y.first; iy < y.end; iy++) {
        float weight_y = triangle(iy, p.y, inverse_y);
        const uint8_t *row = pixels + (int64_t)iy * s.width * channels;
        for (int32_t ix = x.first; ix < x.end; ix++) {
            float weight = weight_y * triangle(ix, p.x, inverse_x);
            total += weight;
            sum[0] = fmaf(weight, (float)row[ix * channels], sum[0]);
            if (channels == 1) continue;
            sum[1] = fmaf(weight, (float)row[ix * 3 + 1], sum[1]);
            sum[2] = fmaf(weight, (float)row[ix * 3 + 2], sum[2]);
        }
    }
    rgb[0] = sum[0] / total;
    rgb[1] = (channels == 1 ? sum[0] : sum[1]) / total;
    rgb[2] = (channels == 1 ? sum[0] : sum[2]) / total;
}

static __device__ void recolour(float rgb[3], const float m[16])
{
    float r = rgb[0], g = rgb[1], b = rgb[2];
#pragma unroll
    for (int c = 0; c < 3; c++)
        rgb[c] = fminf(fmaxf(r * m[c] + g * m[4 + c] + b * m[8 + c] + 255.0f * m[12 + c], 0.0f), 255.0f);
}

/* Colours 0 .. 255 of a pixel of dst. */
static __device__ void pixel_of(
    float rgb[3], const uint8_t *src, const image_source &s, const shape &d, int64_t x, int64_t y)
{
    point p = source_position(s.inverse, (double)x + 0.5, (double)y + 0.5);
    rgb[0] = rgb[1] = rgb[2] = s.fill;
    if (p.x >= 0.0 && p.x <= (double)s.width && p.y >= 0.0 && p.y <= (double)s.height)
        sample(rgb, s, src + s.offset, d.channels, p);
    if (s.has_color) recolour(rgb, s.color);
}

/* Channel c of the network's. */
static __device__ float normalised(const float rgb[3], const shape &d, int c)
{
    return ((d.swap ? rgb[2 - c] : rgb[c]) - d.mean[c]) / d.std[c];
}

/* ------------------------------------------------------------------------------------------------ direct */

template <typename T>
static __global__ void __launch_bounds__(THREADS, 2) warp_direct(T *__restrict__ dst, const uint8_t *__restrict__ src,
    const image_source *__restrict__ sources, shape d)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, pixel = i / d.dst_channels;
    if (i >= d.n * d.height * d.width * d.dst_channels) return;
    int channel = (int)(i % d.dst_channels);
    float rgb[3], value = 0.0f;
    pixel_of(rgb, src, sources[pixel / (d.height * d.width)], d, pixel % d.width, pixel / d.width % d.height);
#pragma unroll
    for (int c = 0; c < 3; c++)
        if (c == channel && c < d.channels) value = normalised(rgb, d, c);
    dst[i] = from_float<T>(value);
}

template <typename T> static status launch_direct(const kernel_call *call)
{
    const image_warp_desc *d = (const image_warp_desc *)call->desc;
    return launch(warp_direct<T>, dim3(blocks_for(d->n * d->height * d->width * d->dst_channels, THREADS)),
        dim3(THREADS), 0, call->stream, call->out[0], call->in[0], call->in[1], shape_of(d));
}

static status direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const image_warp_desc *)call->desc)->type, launch_direct, call);
}

/* ------------------------------------------------------------------------------------------------ packed */

/* CHANNELS of dst, stored at once where they are a power of two. */
template <typename T, int CHANNELS>
static __global__ void __launch_bounds__(THREADS, 2) warp_pixels(T *__restrict__ dst, const uint8_t *__restrict__ src,
    const image_source *__restrict__ sources, shape d)
{
    int64_t tiles = (d.width + TILE_X - 1) / TILE_X;
    int64_t x = blockIdx.x % tiles * TILE_X + threadIdx.x, y = blockIdx.x / tiles * TILE_Y + threadIdx.y;
    if (x >= d.width || y >= d.height) return;
    for (int64_t n = blockIdx.z; n < d.n; n += gridDim.z) {
        T *to = dst + ((n * d.height + y) * d.width + x) * CHANNELS;
        float rgb[3];
        pack<T, 4> values;
        pixel_of(rgb, src, sources[n], d, x, y);
#pragma unroll
        for (int c = 0; c < CHANNELS; c++)
            values.at[c] = from_float<T>(c < 3 && c < d.channels ? normalised(rgb, d, c < 3 ? c : 0) : 0.0f);
        if constexpr (CHANNELS == 4) {
            store_pack(to, values);
        } else {
#pragma unroll
            for (int c = 0; c < CHANNELS; c++) to[c] = values.at[c];
        }
    }
}

template <typename T> static status launch_packed(const kernel_call *call)
{
    const image_warp_desc *d = (const image_warp_desc *)call->desc;
    int64_t tiles = ((d->width + TILE_X - 1) / TILE_X) * ((d->height + TILE_Y - 1) / TILE_Y);
    dim3 grid((unsigned)tiles, 1, (unsigned)(d->n < GRID_MAX ? d->n : GRID_MAX));
    void (*const kernels[])(T *, const uint8_t *, const image_source *, shape) = {
        warp_pixels<T, 1>, warp_pixels<T, 2>, warp_pixels<T, 3>, warp_pixels<T, 4>};
    if (!aligned_to(call->out[0], 16)) return launch_direct<T>(call);
    return launch(kernels[d->dst_channels - 1], grid, dim3(TILE_X, TILE_Y), 0, call->stream, call->out[0], call->in[0],
        call->in[1], shape_of(d));
}

static status packed_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const image_warp_desc *)call->desc)->type, launch_packed, call);
}

CUDA_KERNEL(image_warp__cuda_packed, OP_IMAGE_WARP, .refuse = refuse, .run = packed_run);
CUDA_KERNEL(image_warp__cuda_direct, OP_IMAGE_WARP, .refuse = refuse, .run = direct_run);
