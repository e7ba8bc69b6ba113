/* image_warp.c: pictures of a batch through their maps into the network's input. */
#include "kernels/ref/ref.h"

#include <math.h>

static const char *warp_refuse(const void *desc)
{
    const image_warp_desc *d = desc;
    int64_t dim[] = {d->n, d->height, d->width, d->dst_channels};
    if (!ref_dims_ok(dim, 4) || !ref_dims_ok(&d->bytes, 1)) return "a dimension below 1 or a tensor too large";
    if (d->channels != 1 && d->channels != 3) return "channels are neither 1 nor 3";
    if (d->dst_channels < d->channels || d->dst_channels > 4) return "dst_channels not in channels .. 4";
    if (!ref_is_float(d->type)) return "the type is no float";
    for (int32_t c = 0; c < d->channels; c++)
        if (!(d->std[c] > 0)) return "a standard deviation not above 0";
    return NULL;
}

typedef struct point {
    double x, y;
} point;

static point source_position(const float m[9], double u, double v)
{
    double x = u * (double)m[0] + v * (double)m[3] + (double)m[6],
           y = u * (double)m[1] + v * (double)m[4] + (double)m[7];
    double w = u * (double)m[2] + v * (double)m[5] + (double)m[8];
    return (point){x / w, y / w};
}

/* Pixels first .. end - 1 within the filter's radius. */
typedef struct span {
    int32_t first, end;
} span;

static span taps_of(double at, double radius, int32_t length)
{
    double first = ceil(at - radius - 0.5), last = floor(at + radius - 0.5);
    return (span){first < 0 ? 0 : (int32_t)first, last > length - 1 ? length : (int32_t)last + 1};
}

static double triangle(double distance)
{
    double weight = 1 - fabs(distance);
    return weight > 0 ? weight : 0;
}

static void sample(double rgb[3], const image_warp_desc *d, const image_source *s, const uint8_t *pixels, point p)
{
    span x = taps_of(p.x, (double)s->radius_x, s->width), y = taps_of(p.y, (double)s->radius_y, s->height);
    double total = 0, sum[3] = {0};
    for (int32_t iy = y.first; iy < y.end; iy++)
        for (int32_t ix = x.first; ix < x.end; ix++) {
            double weight =
                triangle((iy + 0.5 - p.y) / (double)s->radius_y) * triangle((ix + 0.5 - p.x) / (double)s->radius_x);
            const uint8_t *pixel = pixels + ((int64_t)iy * s->width + ix) * d->channels;
            for (int32_t c = 0; c < d->channels; c++) sum[c] += weight * pixel[c];
            total += weight;
        }
    for (int32_t c = 0; c < d->channels; c++) rgb[c] = sum[c] / total;
}

static void recolour(double rgb[3], const image_warp_desc *d, const float m[16])
{
    double from[3] = {rgb[0], d->channels == 1 ? rgb[0] : rgb[1], d->channels == 1 ? rgb[0] : rgb[2]};
    for (int32_t c = 0; c < d->channels; c++) {
        double v =
            from[0] * (double)m[c] + from[1] * (double)m[4 + c] + from[2] * (double)m[8 + c] + 255 * (double)m[12 + c];
        rgb[c] = v < 0 ? 0 : v > 255 ? 255 : v;
    }
}

static status warp_run(const kernel_call *call)
{
    const image_warp_desc *d = call->desc;
    const image_source *sources = call->in[1];
    for (int64_t i = 0; i < d->n * d->height * d->width; i++) {
        const image_source *s = &sources[i / (d->height * d->width)];
        point p = source_position(s->inverse, (double)(i % d->width) + 0.5, (double)(i / d->width % d->height) + 0.5);
        double rgb[3] = {(double)s->fill, (double)s->fill, (double)s->fill};
        if (p.x >= 0 && p.x <= s->width && p.y >= 0 && p.y <= s->height)
            sample(rgb, d, s, (const uint8_t *)call->in[0] + s->offset, p);
        if (s->has_color) recolour(rgb, d, s->color);
        for (int32_t c = 0; c < d->dst_channels; c++) {
            bool used = c < d->channels;
            double v = used ? rgb[d->bgr && d->channels == 3 ? 2 - c : c] : 0;
            dtype_store(call->out[0], d->type, i * d->dst_channels + c,
                used ? (v - (double)d->mean[c]) / (double)d->std[c] : 0);
        }
    }
    return OK;
}

const kernel image_warp__ref_direct = {
    .op = OP_IMAGE_WARP,
    .backend = BACKEND_REF,
    .name = "image_warp__ref_direct",
    .refuse = warp_refuse,
    .run = warp_run,
};
