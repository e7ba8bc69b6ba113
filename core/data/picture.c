#include "core/data/picture.h"

#include <math.h>
#include <string.h>

/* Source pixels first .. end - 1 along one axis. */
typedef struct range {
    int32_t first, end;
} range;

/* What positions low .. high need when the filter reaches `radius` pixels: also the pixel behind a rounding error. */
static range reached(double low, double high, double radius, int32_t length)
{
    double first = fmin(fmax(floor(low - radius) - 1, 0), length - 1),
           end = fmax(fmin(ceil(high + radius) + 1, length), first + 1);
    return (range){(int32_t)first, (int32_t)end};
}

static void visible(range *x, range *y, const picture *p, const image *im, int32_t width, int32_t height)
{
    double low_x = im->width, low_y = im->height, high_x = 0, high_y = 0;
    for (int corner = 0; corner < 4; corner++) {
        float at_x, at_y;
        matrix_apply(p->inverse, corner & 1 ? (float)width : 0, corner & 2 ? (float)height : 0, &at_x, &at_y);
        low_x = fmin(low_x, (double)at_x), high_x = fmax(high_x, (double)at_x);
        low_y = fmin(low_y, (double)at_y), high_y = fmax(high_y, (double)at_y);
    }
    *x = reached(low_x, high_x, (double)p->radius[0], im->width);
    *y = reached(low_y, high_y, (double)p->radius[1], im->height);
}

/* The filter's reach: the length of a step of the output in source pixels, where that is more than one. */
static void set_radius(picture *p, spec_interpolation filter)
{
    for (int k = 0; k < 2; k++) {
        double x = p->inverse[k], y = p->inverse[3 + k],
               shrink = sqrt(x * x + y * y); /* hypot is glibc 2.35's: make dist runs on 2.34 */
        p->radius[k] = filter == INTERPOLATION_LINEAR || !(shrink > 1) ? 1 : (float)shrink;
    }
}

/* Positions of the source become those of its part from (x, y) on, scaled by fx and fy. */
static void move_map(picture *p, double x, double y, double fx, double fy)
{
    for (int row = 0; row < 3; row++) {
        float *m = p->inverse + 3 * row;
        m[0] = (float)(((double)m[0] - x * (double)m[2]) * fx);
        m[1] = (float)(((double)m[1] - y * (double)m[2]) * fy);
    }
}

static status reduce(
    picture *p, uint8_t *pixels, size_t capacity, const image *im, range x, range y, spec_interpolation filter)
{
    double width = x.end - x.first, height = y.end - y.first,
           factor = sqrt((double)capacity / (width * height * im->channels));
    image small;
    p->width = (int32_t)fmax(1, floor(width * factor));
    p->height = (int32_t)fmax(1, floor(height * factor));
    /* A strip that would be thinner than a pixel is one pixel high (wide). */
    int32_t most = (int32_t)(capacity / (size_t)im->channels);
    if (p->height == 1 && p->width > most) p->width = most;
    if (p->width == 1 && p->height > most) p->height = most;
    TRY(image_resize(&small, im, (float[4]){(float)x.first, (float)y.first, (float)x.end, (float)y.end}, p->width,
        p->height, filter));
    memcpy(pixels, small.pixels, (size_t)p->width * (size_t)p->height * (size_t)im->channels);
    image_free(&small);
    move_map(p, x.first, y.first, p->width / width, p->height / height);
    set_radius(p, filter);
    return OK;
}

status picture_make(picture *p, uint8_t *pixels, size_t capacity, const image *im, const augmentation *a, int32_t width,
    int32_t height, spec_interpolation filter)
{
    range x, y;
    *p = (picture){.fill = a->fill, .has_color = a->has_color};
    memcpy(p->inverse, a->inverse, sizeof p->inverse);
    memcpy(p->color, a->color, sizeof p->color);
    set_radius(p, filter);
    visible(&x, &y, p, im, width, height);
    size_t channels = (size_t)im->channels, row = (size_t)(x.end - x.first) * channels,
           rows = (size_t)(y.end - y.first);
    if (row * rows > capacity) return reduce(p, pixels, capacity, im, x, y, filter);
    for (size_t k = 0; k < rows; k++)
        memcpy(pixels + k * row, im->pixels + (((size_t)y.first + k) * (size_t)im->width + (size_t)x.first) * channels,
            row);
    p->width = x.end - x.first;
    p->height = y.end - y.first;
    move_map(p, x.first, y.first, 1, 1);
    return OK;
}
