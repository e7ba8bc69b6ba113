/* Depthwise convolution (groups = ic = oc), direct: forward (f32, i8), data and weight gradient (f32). Bound by memory:
 * loops run along channels, BLOCK at a time, whose sums and weights stay in the first cache. Integer products are
 * summed in f32, exactly, as long as there are at most 512 taps. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/bias.h"
#include "kernels/cpu/epilogue.h"

enum { BLOCK = 64, MAX_TAPS = 512, MAX_BANDS = 64 };

static bool is_byte(dtype type)
{
    return type == DTYPE_I8 || type == DTYPE_U8;
}

static int64_t taps_of(const conv2d_desc *d)
{
    return (int64_t)d->kh * d->kw;
}

static const char *shape_refuse(const conv2d_desc *d)
{
    if (d->groups != d->ic || d->oc != d->ic) return "not depthwise";
    if (taps_of(d) > MAX_TAPS) return "more than 512 taps";
    if (d->compute != COMPUTE_F32) return "no reduced products of f32 tensors";
    return CPU_REFUSE();
}

static size_t packed_bytes(const void *desc, const void *state)
{
    (void)state;
    const conv2d_desc *d = desc;
    return (size_t)(taps_of(d) * d->ic) * sizeof(float);
}

/* [c, taps] to f32 [taps, c]. */
static status pack(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    float *packed = call->packed;
    int64_t taps = taps_of(d);
    for (int64_t t = 0; t < taps; t++)
        for (int64_t c = 0; c < d->ic; c++)
            packed[t * d->ic + c] = d->weight_type == DTYPE_I8 ? (float)((const int8_t *)call->in[1])[c * taps + t]
                                                               : ((const float *)call->in[1])[c * taps + t];
    return OK;
}

/* sum[c] += w[c] * x[c] */
#define TAP(name, type)                                                                                                \
    static void name(float *sum, const float *w, const void *data, int64_t at, int64_t count)                          \
    {                                                                                                                  \
        const type *x = (const type *)data + at;                                                                       \
        _Pragma("omp simd") for (int64_t c = 0; c < count; c++) sum[c] += w[c] * (float)x[c];                          \
    }
TAP(tap_f32, float)
TAP(tap_i8, int8_t)
TAP(tap_u8, uint8_t)

typedef void tap_fn(float *sum, const float *w, const void *data, int64_t at, int64_t count);

static tap_fn *tap_of(dtype type)
{
    return type == DTYPE_F32 ? tap_f32 : type == DTYPE_I8 ? tap_i8 : tap_u8;
}

/* Taps [from, to) of an output at o that meet the image. */
static void meeting(
    int64_t o, int64_t in, int64_t k, int64_t stride, int64_t before, int64_t dilation, int64_t *from, int64_t *to)
{
    int64_t first = o * stride - before;
    *from = first >= 0 ? 0 : (-first + dilation - 1) / dilation;
    *to = first >= in ? 0 : cpu_min(k, (in - 1 - first) / dilation + 1);
}

static void forward_row(const kernel_call *call, int64_t n, int64_t oy, int64_t channel, int64_t count)
{
    const conv2d_desc *d = call->desc;
    const float *w = (const float *)call->packed + channel;
    tap_fn *tap = tap_of(d->src_type);
    int64_t i0, i1, j0, j1;
    meeting(oy, d->ih, d->kh, d->sh, d->pt, d->dil_h, &i0, &i1);
    for (int64_t ox = 0; ox < d->ow; ox++) {
        float sum[BLOCK] = {0};
        meeting(ox, d->iw, d->kw, d->sw, d->pl, d->dil_w, &j0, &j1);
        for (int64_t i = i0; i < i1; i++)
            for (int64_t j = j0; j < j1; j++) {
                int64_t y = oy * d->sh - d->pt + i * d->dil_h, x = ox * d->sw - d->pl + j * d->dil_w;
                tap(sum, w + (i * d->kw + j) * d->ic, call->in[0], ((n * d->ih + y) * d->iw + x) * d->ic + channel,
                    count);
            }
        epilogue_store(call, sum, ((n * d->oh + oy) * d->ow + ox) * d->oc + channel, channel, count);
    }
}

static void dsrc_row(const kernel_call *call, int64_t n, int64_t iy, int64_t channel, int64_t count)
{
    const conv2d_desc *d = call->desc;
    const float *w = (const float *)call->packed + channel;
    for (int64_t ix = 0; ix < d->iw; ix++) {
        float sum[BLOCK] = {0};
        for (int64_t i = 0; i < d->kh; i++) {
            int64_t y = iy + d->pt - i * d->dil_h;
            if (y < 0 || y % d->sh || y / d->sh >= d->oh) continue;
            for (int64_t j = 0; j < d->kw; j++) {
                int64_t x = ix + d->pl - j * d->dil_w;
                if (x < 0 || x % d->sw || x / d->sw >= d->ow) continue;
                tap_f32(sum, w + (i * d->kw + j) * d->ic, call->in[0],
                        ((n * d->oh + y / d->sh) * d->ow + x / d->sw) * d->oc + channel, count);
            }
        }
        memcpy((float *)call->out[0] + ((n * d->ih + iy) * d->iw + ix) * d->ic + channel, sum,
            (size_t)count * sizeof *sum);
    }
}

typedef void row_fn(const kernel_call *call, int64_t n, int64_t y, int64_t channel, int64_t count);

static status run(const kernel_call *call, row_fn *row, int64_t height, int64_t width)
{
    const conv2d_desc *d = call->desc;
    int64_t blocks = (d->ic + BLOCK - 1) / BLOCK, rows = d->n * height;
#pragma omp parallel for collapse(2) schedule(static) if (rows * width * d->ic > CPU_SERIAL)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t b = 0; b < blocks; b++)
            row(call, r / height, r % height, b * BLOCK, cpu_min(BLOCK, d->ic - b * BLOCK));
    return OK;
}

static status forward_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    return run(call, forward_row, d->oh, d->ow);
}

static status dsrc_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    return run(call, dsrc_row, d->ih, d->iw);
}

/* ---------------------------------------------------------------------------------------- weight gradient */

static int64_t band_count(const conv2d_desc *d)
{
    return cpu_min(MAX_BANDS, d->n * d->oh);
}

/* Scratch: partial dbias, then per band double [taps, c] and f32 [taps, BLOCK] for the row in work. */
static size_t band_bytes(const conv2d_desc *d)
{
    return (size_t)(taps_of(d) * d->ic) * sizeof(double) + (size_t)(taps_of(d) * BLOCK) * sizeof(float);
}

static size_t dweight_scratch_bytes(const void *desc, const void *state)
{
    (void)state;
    const conv2d_desc *d = desc;
    return bias_scratch_bytes(d) + (size_t)band_count(d) * band_bytes(d);
}

/* One output row's share of a block of channels: f32 along the row, double from row to row. */
static void dweight_row(double *total, float *sum, const kernel_call *call, int64_t row, int64_t channel, int64_t count)
{
    const conv2d_desc *d = call->desc;
    int64_t taps = taps_of(d), oy = row % d->oh, n = row / d->oh, i0, i1, j0, j1;
    memset(sum, 0, (size_t)(taps * BLOCK) * sizeof *sum);
    meeting(oy, d->ih, d->kh, d->sh, d->pt, d->dil_h, &i0, &i1);
    for (int64_t ox = 0; ox < d->ow; ox++) {
        const float *g = (const float *)call->in[1] + (row * d->ow + ox) * d->oc + channel;
        meeting(ox, d->iw, d->kw, d->sw, d->pl, d->dil_w, &j0, &j1);
        for (int64_t i = i0; i < i1; i++)
            for (int64_t j = j0; j < j1; j++) {
                int64_t y = oy * d->sh - d->pt + i * d->dil_h, x = ox * d->sw - d->pl + j * d->dil_w;
                tap_f32(sum + (i * d->kw + j) * BLOCK, g, call->in[0], ((n * d->ih + y) * d->iw + x) * d->ic + channel,
                    count);
            }
    }
    for (int64_t t = 0; t < taps; t++)
        for (int64_t c = 0; c < count; c++) total[t * d->ic + channel + c] += (double)sum[t * BLOCK + c];
}

static void dweight_band(const kernel_call *call, char *scratch, int64_t band, int64_t bands)
{
    const conv2d_desc *d = call->desc;
    int64_t taps = taps_of(d), rows = d->n * d->oh;
    double *total = (double *)(void *)scratch;
    float *sum = (float *)(void *)(total + taps * d->ic);
    for (int64_t i = 0; i < taps * d->ic; i++) total[i] = 0.0;
    for (int64_t row = rows * band / bands; row < rows * (band + 1) / bands; row++)
        for (int64_t c = 0; c < d->ic; c += BLOCK) dweight_row(total, sum, call, row, c, cpu_min(BLOCK, d->ic - c));
}

static status dweight_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    int64_t taps = taps_of(d), bands = band_count(d);
    size_t stride = band_bytes(d);
    char *scratch = (char *)call->scratch + bias_scratch_bytes(d);
    float *dweight = call->out[0];
#pragma omp parallel for schedule(static) if (d->n * d->oh * d->ow * d->ic > CPU_SERIAL)
    for (int64_t band = 0; band < bands; band++) dweight_band(call, scratch + (size_t)band * stride, band, bands);
    for (int64_t c = 0; c < d->ic; c++)
        for (int64_t t = 0; t < taps; t++) {
            double sum = 0.0;
            for (int64_t band = 0; band < bands; band++)
                sum += ((const double *)(const void *)(scratch + (size_t)band * stride))[t * d->ic + c];
            dweight[c * taps + t] += (float)sum;
        }
    if (call->out[1]) bias_accumulate(d, call->out[1], call->in[1], call->scratch);
    return OK;
}

/* ----------------------------------------------------------------------------------------------- refusals */

static const char *forward_refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    const conv2d_epilogue *e = &d->epilogue;
    if (d->weight_type == DTYPE_I8) {
        if (is_byte(d->dst_type) && !cpu_act_is_simple(e->act))
            return "exponential rounded to an integer: not bit for bit";
    } else if (d->src_type != DTYPE_F32) {
        return "f32 and i8 only";
    }
    if (d->transform.enabled) return "no input transform";
    if (e->stats) return "no statistics";
    return shape_refuse(d);
}

static const char *gradient_refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    if (d->src_type != DTYPE_F32 || d->weight_type != DTYPE_F32 || d->dst_type != DTYPE_F32) return "f32 only";
    if (d->transform.enabled) return "no input transform";
    return shape_refuse(d);
}

CPU_KERNEL_AS(conv2d_forward, depthwise, OP_CONV2D_FORWARD, .refuse = forward_refuse, .packed_bytes = packed_bytes,
    .pack = pack, .run = forward_run);
CPU_KERNEL_AS(conv2d_dsrc, depthwise, OP_CONV2D_DSRC, .refuse = gradient_refuse, .packed_bytes = packed_bytes,
    .pack = pack, .run = dsrc_run);
CPU_KERNEL_AS(conv2d_dweight, depthwise, OP_CONV2D_DWEIGHT, .refuse = gradient_refuse,
    .scratch_bytes = dweight_scratch_bytes, .run = dweight_run);
