/* resize.c: nearest and bilinear resampling and their transposes. */
#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

/* The two neighbours of output position o along one axis, and the weight of the second. */
typedef struct taps {
    int64_t low, high;
    double weight;
} taps;

static taps taps_of(const resize_desc *d, int64_t o, int64_t in, int64_t out)
{
    taps t = {o * in / out, 0, 0};
    t.high = t.low;
    if (!d->bilinear) return t;
    double at = d->align_corners ? (out > 1 ? (double)(o * (in - 1)) / (double)(out - 1) : 0)
                                 : (double)((2 * o + 1) * in - out) / (double)(2 * out);
    if (at < 0) at = 0;
    t.low = (int64_t)floor(at);
    if (t.low > in - 1) t.low = in - 1;
    t.high = t.low + 1 < in ? t.low + 1 : in - 1;
    t.weight = at - (double)t.low;
    return t;
}

static const char *resize_refuse(const resize_desc *d)
{
    int64_t src[] = {d->n, d->ih, d->iw, d->c}, dst[] = {d->n, d->oh, d->ow, d->c};
    if (!ref_dims_ok(src, 4) || !ref_dims_ok(dst, 4)) return "a dimension below 1 or a tensor too large";
    if (d->ih > 1 << 20 || d->iw > 1 << 20 || d->oh > 1 << 20 || d->ow > 1 << 20) return "a side above 2^20";
    if (d->align_corners && !d->bilinear) return "nearest has no align_corners";
    return NULL;
}

static const char *forward_refuse(const void *desc)
{
    const resize_desc *d = desc;
    if ((unsigned)d->type >= DTYPE_COUNT) return "unknown type";
    if (d->bilinear && !ref_is_float(d->type)) return "bilinear works on floats only";
    return resize_refuse(d);
}

static const char *backward_refuse(const void *desc)
{
    const resize_desc *d = desc;
    if (!ref_is_float(d->type)) return "the type is no float";
    return resize_refuse(d);
}

static status forward_run(const kernel_call *call)
{
    const resize_desc *d = call->desc;
    for (int64_t p = 0; p < d->n * d->oh * d->ow; p++) {
        int64_t n = p / (d->oh * d->ow);
        taps y = taps_of(d, p / d->ow % d->oh, d->ih, d->oh), x = taps_of(d, p % d->ow, d->iw, d->ow);
        int64_t top = (n * d->ih + y.low) * d->iw, bottom = (n * d->ih + y.high) * d->iw;
        for (int64_t c = 0; c < d->c; c++) {
            double a = dtype_load(call->in[0], d->type, (top + x.low) * d->c + c), value = a;
            if (d->bilinear) {
                double b = dtype_load(call->in[0], d->type, (top + x.high) * d->c + c);
                double e = dtype_load(call->in[0], d->type, (bottom + x.low) * d->c + c);
                double f = dtype_load(call->in[0], d->type, (bottom + x.high) * d->c + c);
                value = (1 - y.weight) * ((1 - x.weight) * a + x.weight * b) +
                        y.weight * ((1 - x.weight) * e + x.weight * f);
            }
            dtype_store(call->out[0], d->type, p * d->c + c, value);
        }
    }
    return OK;
}

static size_t backward_scratch(const void *desc, const void *state)
{
    const resize_desc *d = desc;
    (void)state;
    return (size_t)(d->ih * d->iw * d->c) * sizeof(double);
}

static status backward_run(const kernel_call *call)
{
    const resize_desc *d = call->desc;
    double *image = call->scratch;
    int64_t size = d->ih * d->iw * d->c;
    for (int64_t n = 0; n < d->n; n++) {
        memset(image, 0, (size_t)size * sizeof(double));
        for (int64_t p = 0; p < d->oh * d->ow; p++) {
            taps y = taps_of(d, p / d->ow, d->ih, d->oh), x = taps_of(d, p % d->ow, d->iw, d->ow);
            for (int64_t c = 0; c < d->c; c++) {
                double g = dtype_load(call->in[0], d->type, (n * d->oh * d->ow + p) * d->c + c);
                image[(y.low * d->iw + x.low) * d->c + c] += g * (1 - y.weight) * (1 - x.weight);
                image[(y.low * d->iw + x.high) * d->c + c] += g * (1 - y.weight) * x.weight;
                image[(y.high * d->iw + x.low) * d->c + c] += g * y.weight * (1 - x.weight);
                image[(y.high * d->iw + x.high) * d->c + c] += g * y.weight * x.weight;
            }
        }
        ref_store(call->out[0], d->type, n * size, image, size);
    }
    return OK;
}

const kernel resize_forward__ref_direct = {
    .op = OP_RESIZE_FORWARD,
    .backend = BACKEND_REF,
    .name = "resize_forward__ref_direct",
    .refuse = forward_refuse,
    .run = forward_run,
};
const kernel resize_backward__ref_direct = {
    .op = OP_RESIZE_BACKWARD,
    .backend = BACKEND_REF,
    .name = "resize_backward__ref_direct",
    .refuse = backward_refuse,
    .scratch_bytes = backward_scratch,
    .run = backward_run,
};
