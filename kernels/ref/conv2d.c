/* conv2d.c: convolution by its definition, one image at a time. The image and the weights are turned to double once;
 * the innermost loop runs over neighbouring elements. */
#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------ descriptors */

/* How the scratch is cut up: all double. */
typedef struct conv_sizes {
    int64_t image, weights, row; /* ih*iw*ic; oc*kh*kw*ic/groups; oc */
    int64_t icg, ocg;            /* channels per group */
} conv_sizes;

static conv_sizes sizes_of(const conv2d_desc *d)
{
    int64_t icg = d->ic / d->groups;
    return (conv_sizes){d->ih * d->iw * d->ic, d->oc * d->kh * d->kw * icg, d->oc, icg, d->oc / d->groups};
}

static bool output_follows(
    int64_t out, int64_t in, int32_t window, int32_t stride, int32_t dilation, int32_t first, int32_t last)
{
    int64_t room = in + first + last - ((int64_t)(window - 1) * dilation + 1);
    return room >= 0 && out == room / stride + 1;
}

static const char *geometry_refuse(const conv2d_desc *d)
{
    int64_t src[] = {d->n, d->ih, d->iw, d->ic}, dst[] = {d->n, d->oh, d->ow, d->oc};
    int64_t weight[] = {d->oc, d->kh, d->kw, d->ic}, steps[] = {d->sh, d->sw}, gaps[] = {d->dil_h, d->dil_w};
    if (!ref_dims_ok(src, 4) || !ref_dims_ok(dst, 4) || !ref_dims_ok(weight, 4))
        return "a dimension below 1 or a tensor too large";
    if (!ref_dims_ok(steps, 2) || !ref_dims_ok(gaps, 2)) return "a stride or dilation below 1";
    if (d->groups < 1 || d->ic % d->groups || d->oc % d->groups) return "groups do not divide the channels";
    if (d->pt < 0 || d->pl < 0 || d->pb < 0 || d->pr < 0) return "a negative pad";
    if (!output_follows(d->oh, d->ih, d->kh, d->sh, d->dil_h, d->pt, d->pb) ||
        !output_follows(d->ow, d->iw, d->kw, d->sw, d->dil_w, d->pl, d->pr))
        return "oh or ow does not follow from input, window, stride and pads";
    return NULL;
}

static const char *float_types_refuse(const conv2d_desc *d)
{
    if ((unsigned)d->compute > COMPUTE_TF32 || (d->compute != COMPUTE_F32 && d->src_type != DTYPE_F32))
        return "reduced products are f16, bf16 or tf32, of f32 tensors";
    return NULL;
}

static const char *forward_refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    const conv2d_epilogue *e = &d->epilogue;
    const char *why = geometry_refuse(d);
    if (why) return why;
    if (!ref_act_known(e->act) || !ref_act_known(d->transform.act)) return "unknown activation";
    if (ref_is_i8(d->src_type)) {
        if (d->weight_type != DTYPE_I8) return "weights of an integer convolution are i8";
        if (!ref_is_i8(d->dst_type) && d->dst_type != DTYPE_F32) return "an integer convolution writes i8, u8 or f32";
        if (d->compute != COMPUTE_F32 || d->transform.enabled || e->stats)
            return "an integer convolution has no reduced products, transform or statistics";
        if (sizes_of(d).icg * d->kh * d->kw > 65536) return "the int32 sum could overflow";
        if (e->has_add && !ref_is_i8(e->add_type) && e->add_type != DTYPE_F32)
            return "add of an integer convolution is i8, u8 or f32";
        return NULL;
    }
    if (!ref_is_float(d->src_type) || d->weight_type != d->src_type || d->dst_type != d->src_type)
        return "src, weight and dst are not one float type";
    if (e->has_add && e->add_type != d->dst_type) return "add differs in type from dst";
    return float_types_refuse(d);
}

static const char *dsrc_refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    const char *why = geometry_refuse(d);
    if (why) return why;
    if (!ref_is_float(d->src_type) || d->weight_type != d->src_type || d->dst_type != d->src_type)
        return "dsrc, weight and ddst are not one float type";
    if (d->transform.enabled) return "the gradient by the input has no transform";
    return float_types_refuse(d);
}

static const char *dweight_refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    const char *why = geometry_refuse(d);
    if (why) return why;
    if (!ref_is_float(d->src_type) || d->dst_type != d->src_type) return "src and ddst are not one float type";
    if (d->weight_type != d->src_type && (d->weight_type != DTYPE_F32 || d->src_type == DTYPE_F64))
        return "dweight has neither the tensors' type nor f32";
    if (!ref_act_known(d->transform.act)) return "unknown activation";
    return float_types_refuse(d);
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    conv_sizes s = sizes_of(desc);
    (void)state;
    return (size_t)(s.image + s.weights + s.row) * sizeof(double);
}

/* ------------------------------------------------------------------------------------------------ loading */

static float f32_to_tf32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isfinite(x)) bits = (bits + 0x1000u) & ~0x1fffu; /* half of the last bit kept, whatever the sign */
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* With reduced products both factors are rounded before they are multiplied. */
static void reduce_products(const conv2d_desc *d, double *values, int64_t count)
{
    for (int64_t i = 0; i < count && d->compute == COMPUTE_F16; i++)
        values[i] = f16_to_f32(f32_to_f16((float)values[i]));
    for (int64_t i = 0; i < count && d->compute == COMPUTE_BF16; i++)
        values[i] = bf16_to_f32(f32_to_bf16((float)values[i]));
    for (int64_t i = 0; i < count && d->compute == COMPUTE_TF32; i++) values[i] = f32_to_tf32((float)values[i]);
}

static void load_image(const conv2d_desc *d, double *image, const void *src, const void *coef, int64_t n)
{
    int64_t count = sizes_of(d).image;
    ref_load(image, src, d->src_type, n * count, count);
    if (d->transform.enabled) {
        dtype type = ref_param_type(d->src_type);
        for (int64_t c = 0; c < d->ic; c++) {
            double a = dtype_load(coef, type, c), shift = dtype_load(coef, type, d->ic + c);
            for (int64_t i = c; i < count; i += d->ic)
                image[i] = ref_act(d->transform.act, d->transform.alpha, d->transform.beta, a * image[i] + shift);
        }
    }
    reduce_products(d, image, count);
}

/* ------------------------------------------------------------------------------------------------ forward */

/* Weights as [groups, kh, kw, icg, ocg], so that neighbouring output channels are neighbours. */
static void load_weights_by_output(const conv2d_desc *d, double *weights, const void *weight)
{
    conv_sizes s = sizes_of(d);
    int64_t taps = (int64_t)d->kh * d->kw;
    for (int64_t oc = 0; oc < d->oc; oc++) {
        double *to = weights + (oc / s.ocg) * taps * s.icg * s.ocg + oc % s.ocg;
        for (int64_t i = 0; i < taps * s.icg; i++)
            to[i * s.ocg] = dtype_load(weight, d->weight_type, oc * taps * s.icg + i);
    }
    reduce_products(d, weights, s.weights);
}

/* sums[oc] of one output pixel. */
static void pixel_sums(
    const conv2d_desc *d, double *sums, const double *image, const double *weights, int64_t oy, int64_t ox)
{
    conv_sizes s = sizes_of(d);
    memset(sums, 0, (size_t)d->oc * sizeof(double));
    for (int32_t ky = 0; ky < d->kh; ky++) {
        int64_t iy = oy * d->sh - d->pt + (int64_t)ky * d->dil_h;
        if (iy < 0 || iy >= d->ih) continue;
        for (int32_t kx = 0; kx < d->kw; kx++) {
            int64_t ix = ox * d->sw - d->pl + (int64_t)kx * d->dil_w;
            if (ix < 0 || ix >= d->iw) continue;
            const double *x = image + (iy * d->iw + ix) * d->ic;
            for (int64_t c = 0; c < d->ic; c++) {
                int64_t g = c / s.icg;
                const double *w = weights + (((g * d->kh + ky) * d->kw + kx) * s.icg + c % s.icg) * s.ocg;
                double *sum = sums + g * s.ocg, xc = x[c];
                for (int64_t o = 0; o < s.ocg; o++) sum[o] += xc * w[o];
            }
        }
    }
}

/* The fixed order of kernels.h in f32; -ffp-contract=off keeps each step rounded. */
static void epilogue_integer(const conv2d_desc *d, const kernel_call *call, const double *sums, int64_t first)
{
    const conv2d_epilogue *e = &d->epilogue;
    const float *bias = call->in[CONV2D_BIAS], *scale = call->in[CONV2D_SCALE];
    for (int64_t o = 0; o < d->oc; o++) {
        float y = (float)sums[o];
        if (e->has_bias) y += bias[o];
        if (e->has_scale) y *= scale[o];
        if (e->has_add) y = fmaf((float)dtype_load(call->in[CONV2D_ADD], e->add_type, first + o), e->add_scale, y);
        y = ref_act_f32(e->act, e->alpha, e->beta, y);
        ref_store_f32(call->out[0], d->dst_type, first + o, y);
    }
}

static void epilogue_float(const conv2d_desc *d, const kernel_call *call, const double *sums, int64_t first)
{
    const conv2d_epilogue *e = &d->epilogue;
    dtype param = ref_param_type(d->src_type);
    double *stats = e->stats ? call->out[1] : NULL;
    for (int64_t o = 0; o < d->oc; o++) {
        double y = sums[o];
        if (e->has_bias) y += dtype_load(call->in[CONV2D_BIAS], param, o);
        if (e->has_scale) y *= dtype_load(call->in[CONV2D_SCALE], param, o);
        if (e->has_add) y += dtype_load(call->in[CONV2D_ADD], e->add_type, first + o) * (double)e->add_scale;
        dtype_store(call->out[0], d->dst_type, first + o, ref_act(e->act, e->alpha, e->beta, y));
        if (stats) {
            y = dtype_load(call->out[0], d->dst_type, first + o);
            stats[o] += y;
            stats[d->oc + o] += y * y;
        }
    }
}

static status forward_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    conv_sizes s = sizes_of(d);
    double *image = call->scratch, *weights = image + s.image, *sums = weights + s.weights;
    load_weights_by_output(d, weights, call->in[CONV2D_WEIGHT]);
    if (d->epilogue.stats) memset(call->out[1], 0, (size_t)d->oc * 2 * sizeof(double));
    for (int64_t n = 0; n < d->n; n++) {
        load_image(d, image, call->in[CONV2D_SRC], call->in[CONV2D_TRANSFORM], n);
        for (int64_t p = 0; p < d->oh * d->ow; p++) {
            pixel_sums(d, sums, image, weights, p / d->ow, p % d->ow);
            int64_t first = (n * d->oh * d->ow + p) * d->oc;
            if (ref_is_i8(d->src_type)) epilogue_integer(d, call, sums, first);
            else epilogue_float(d, call, sums, first);
        }
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ gradients */

/* What both gradients do at one output pixel: for every tap inside the image and every output channel, run over the
 * ic/groups neighbours. to_image: image += ddst * weights, else weights += ddst * image. */
static void pixel_gradient(
    const conv2d_desc *d, bool to_image, double *image, double *weights, const double *ddst, int64_t oy, int64_t ox)
{
    conv_sizes s = sizes_of(d);
    for (int32_t ky = 0; ky < d->kh; ky++) {
        int64_t iy = oy * d->sh - d->pt + (int64_t)ky * d->dil_h;
        if (iy < 0 || iy >= d->ih) continue;
        for (int32_t kx = 0; kx < d->kw; kx++) {
            int64_t ix = ox * d->sw - d->pl + (int64_t)kx * d->dil_w;
            if (ix < 0 || ix >= d->iw) continue;
            for (int64_t o = 0; o < d->oc; o++) {
                double *x = image + (iy * d->iw + ix) * d->ic + (o / s.ocg) * s.icg;
                double *w = weights + ((o * d->kh + ky) * d->kw + kx) * s.icg, g = ddst[o];
                if (to_image)
                    for (int64_t c = 0; c < s.icg; c++) x[c] += g * w[c];
                else
                    for (int64_t c = 0; c < s.icg; c++) w[c] += g * x[c];
            }
        }
    }
}

static status dsrc_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    conv_sizes s = sizes_of(d);
    double *image = call->scratch, *weights = image + s.image, *ddst = weights + s.weights;
    ref_load(weights, call->in[1], d->weight_type, 0, s.weights);
    reduce_products(d, weights, s.weights);
    for (int64_t n = 0; n < d->n; n++) {
        memset(image, 0, (size_t)s.image * sizeof(double));
        for (int64_t p = 0; p < d->oh * d->ow; p++) {
            ref_load(ddst, call->in[0], d->dst_type, (n * d->oh * d->ow + p) * d->oc, d->oc);
            reduce_products(d, ddst, d->oc);
            pixel_gradient(d, true, image, weights, ddst, p / d->ow, p % d->ow);
        }
        ref_store(call->out[0], d->src_type, n * s.image, image, s.image);
    }
    return OK;
}

static status dweight_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    conv_sizes s = sizes_of(d);
    double *image = call->scratch, *weights = image + s.image, *ddst = weights + s.weights;
    memset(weights, 0, (size_t)s.weights * sizeof(double));
    for (int64_t n = 0; n < d->n; n++) {
        load_image(d, image, call->in[CONV2D_SRC], call->in[CONV2D_TRANSFORM], n);
        for (int64_t p = 0; p < d->oh * d->ow; p++) {
            ref_load(ddst, call->in[1], d->dst_type, (n * d->oh * d->ow + p) * d->oc, d->oc);
            reduce_products(d, ddst, d->oc);
            pixel_gradient(d, false, image, weights, ddst, p / d->ow, p % d->ow);
        }
    }
    for (int64_t i = 0; i < s.weights; i++)
        dtype_store(call->out[0], d->weight_type, i, dtype_load(call->out[0], d->weight_type, i) + weights[i]);
    for (int64_t o = 0; o < d->oc && call->out[1]; o++) {
        dtype param = ref_param_type(d->src_type);
        double sum = dtype_load(call->out[1], param, o);
        for (int64_t p = 0; p < d->n * d->oh * d->ow; p++) sum += dtype_load(call->in[1], d->dst_type, p * d->oc + o);
        dtype_store(call->out[1], param, o, sum);
    }
    return OK;
}

const kernel conv2d_forward__ref_direct = {
    .op = OP_CONV2D_FORWARD,
    .backend = BACKEND_REF,
    .name = "conv2d_forward__ref_direct",
    .refuse = forward_refuse,
    .scratch_bytes = scratch_bytes,
    .run = forward_run,
};
const kernel conv2d_dsrc__ref_direct = {
    .op = OP_CONV2D_DSRC,
    .backend = BACKEND_REF,
    .name = "conv2d_dsrc__ref_direct",
    .refuse = dsrc_refuse,
    .scratch_bytes = scratch_bytes,
    .run = dsrc_run,
};
const kernel conv2d_dweight__ref_direct = {
    .op = OP_CONV2D_DWEIGHT,
    .backend = BACKEND_REF,
    .name = "conv2d_dweight__ref_direct",
    .refuse = dweight_refuse,
    .scratch_bytes = scratch_bytes,
    .run = dweight_run,
};
