#include <math.h>
#include <stdbool.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "core/data/image_resample.h"

typedef struct point {
    double x, y;
} point;

/* (x, y, 1) * m */
static point apply(const double m[9], double x, double y)
{
    double w = x * m[2] + y * m[5] + m[8];
    return (point){(x * m[0] + y * m[3] + m[6]) / w, (x * m[1] + y * m[4] + m[7]) / w};
}

/* Upright and affine: the axes do not mix. */
static status warp_upright(image *dst, const image *src, const double m[9], spec_interpolation filter, uint8_t fill)
{
    arena memory = {0};
    axis ax, ay;
    status result = OK;
    image out = {0};
    TRY_OUT(axis_make(&ax, &memory, dst->width, src->width, m[0] / m[8], m[6] / m[8], filter));
    TRY_OUT(axis_make(&ay, &memory, dst->height, src->height, m[4] / m[8], m[7] / m[8], filter));
    TRY_OUT(image_resample(&out, src, &ax, &ay, fill));
    memcpy(dst->pixels, out.pixels, (size_t)dst->width * (size_t)dst->height * (size_t)dst->channels);
out:
    image_free(&out);
    arena_free(&memory);
    return result;
}

/* The part of the source that the output can see. */
static void visible_box(float box[4], const image *dst, const image *src, const double m[9])
{
    double low_x = src->width, low_y = src->height, high_x = 0, high_y = 0;
    for (int corner = 0; corner < 4; corner++) {
        point p = apply(m, corner & 1 ? dst->width : 0, corner & 2 ? dst->height : 0);
        low_x = fmin(low_x, p.x);
        low_y = fmin(low_y, p.y);
        high_x = fmax(high_x, p.x);
        high_y = fmax(high_y, p.y);
    }
    box[0] = (float)fmin(fmax(floor(low_x) - 2, 0), src->width - 1);
    box[1] = (float)fmin(fmax(floor(low_y) - 2, 0), src->height - 1);
    box[2] = (float)fmax(fmin(ceil(high_x) + 2, src->width), box[0] + 1);
    box[3] = (float)fmax(fmin(ceil(high_y) + 2, src->height), box[1] + 1);
}

/* What warp_any reads: the source, or a reduced copy of the visible part, and the whole
 * source's extent in its coordinates. */
typedef struct warp_source {
    image reduced; /* no pixels: the source itself */
    point low, high;
} warp_source;

/* Reduces the source where the map would skip pixels of it; m then maps to the reduced one. */
static status prefilter(warp_source *w, const image *dst, const image *src, double m[9], spec_interpolation filter)
{
    *w = (warp_source){.high = {src->width, src->height}};
    double shrink_x = sqrt(m[0] * m[0] + m[3] * m[3]) / fabs(m[8]),
           shrink_y = sqrt(m[1] * m[1] + m[4] * m[4]) / fabs(m[8]);
    if (!(shrink_x > 1 || shrink_y > 1)) return OK;
    float box[4];
    visible_box(box, dst, src, m);
    double width = box[2] - box[0], height = box[3] - box[1];
    int32_t small_w = (int32_t)fmax(1, rint(width / fmax(shrink_x, 1)));
    int32_t small_h = (int32_t)fmax(1, rint(height / fmax(shrink_y, 1)));
    TRY(image_resize(&w->reduced, src, box, small_w, small_h, filter));
    double fx = small_w / width, fy = small_h / height;
    for (int row = 0; row < 3; row++) {
        m[row * 3 + 0] = (m[row * 3 + 0] - box[0] * m[row * 3 + 2]) * fx;
        m[row * 3 + 1] = (m[row * 3 + 1] - box[1] * m[row * 3 + 2]) * fy;
    }
    w->low = (point){-box[0] * fx, -box[1] * fy};
    w->high = (point){(src->width - box[0]) * fx, (src->height - box[1]) * fy};
    return OK;
}

/* Pixel left of (above) a coordinate, kept inside, and the weight (of 256) of the one behind it. */
static int32_t split(double at, int32_t length, int32_t *part, bool *has_next)
{
    int64_t fixed = (int64_t)floor((at - 0.5) * 256 + 0.5), low = fixed >> 8;
    *part = (int32_t)(fixed & 255);
    *has_next = low >= 0 && low + 1 < length;
    if (!*has_next) *part = 0;
    return low < 0 ? 0 : low >= length ? length - 1 : (int32_t)low;
}

static void sample_bilinear(uint8_t *dst, const image *src, point p)
{
    bool next_x, next_y;
    int32_t fx, fy, c = src->channels;
    int32_t x = split(p.x, src->width, &fx, &next_x), y = split(p.y, src->height, &fy, &next_y);
    size_t stride = (size_t)src->width * (size_t)c;
    const uint8_t *a = src->pixels + (size_t)y * stride + (size_t)x * (size_t)c;
    const uint8_t *b = a + (next_y ? stride : 0);
    int32_t right = next_x ? c : 0;
    for (int32_t i = 0; i < c; i++) {
        int32_t top = a[i] * (256 - fx) + a[i + right] * fx, bottom = b[i] * (256 - fx) + b[i + right] * fx;
        dst[i] = (uint8_t)((top * (256 - fy) + bottom * fy + 0x8000) >> 16);
    }
}

/* Coordinates are doubles and steps are exact products, so a pixel does not depend on where its row started. */
static void warp_any(image *dst, const image *src, const double m[9], point low, point high, uint8_t fill)
{
    bool affine = m[2] == 0 && m[5] == 0;
    uint8_t *out = dst->pixels;
    for (int32_t y = 0; y < dst->height; y++) {
        for (int32_t x = 0; x < dst->width; x++, out += dst->channels) {
            double u = x + 0.5, v = y + 0.5, w = affine ? m[8] : u * m[2] + v * m[5] + m[8];
            point p = {(u * m[0] + v * m[3] + m[6]) / w, (u * m[1] + v * m[4] + m[7]) / w};
            if (p.x >= low.x && p.x <= high.x && p.y >= low.y && p.y <= high.y) sample_bilinear(out, src, p);
            else memset(out, fill, (size_t)dst->channels);
        }
    }
}

static void recolour_grey(image *im, const float color[16])
{
    uint8_t table[256];
    for (int i = 0; i < 256; i++) {
        float v = rintf((float)i * (color[0] + color[4] + color[8]) + 255 * color[12]);
        table[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
    size_t count = (size_t)im->width * (size_t)im->height;
    for (size_t i = 0; i < count; i++) im->pixels[i] = table[im->pixels[i]];
}

static void recolour(image *im, const float m[16])
{
    size_t count = (size_t)im->width * (size_t)im->height;
    uint8_t *p = im->pixels;
#ifdef __SSE2__
    const __m128 red = _mm_loadu_ps(m), green = _mm_loadu_ps(m + 4), blue = _mm_loadu_ps(m + 8);
    const __m128 shift = _mm_mul_ps(_mm_loadu_ps(m + 12), _mm_set1_ps(255));
    for (size_t i = 0; i < count; i++, p += 3) {
        __m128 sum = _mm_add_ps(_mm_mul_ps(_mm_set1_ps(p[0]), red), _mm_mul_ps(_mm_set1_ps(p[1]), green));
        sum = _mm_add_ps(_mm_add_ps(sum, _mm_mul_ps(_mm_set1_ps(p[2]), blue)), shift);
        __m128i v = _mm_packs_epi32(_mm_cvtps_epi32(sum), _mm_setzero_si128());
        int32_t bits = _mm_cvtsi128_si32(_mm_packus_epi16(v, v));
        memcpy(p, &bits, 3);
    }
#else
    for (size_t i = 0; i < count; i++, p += 3) {
        float rgb[3] = {p[0], p[1], p[2]};
        for (int c = 0; c < 3; c++) {
            float v = rintf(rgb[0] * m[c] + rgb[1] * m[4 + c] + rgb[2] * m[8 + c] + 255 * m[12 + c]);
            p[c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
#endif
}

status image_warp(image *dst, const image *src, const float inverse[9], const float color[16],
    spec_interpolation filter, uint8_t fill)
{
    double m[9];
    for (int i = 0; i < 9; i++) m[i] = inverse[i];
    if (dst->channels != src->channels || !dst->pixels) BUG("image_warp needs an allocated dst of src's channels");
    if (m[1] == 0 && m[3] == 0 && m[2] == 0 && m[5] == 0 && m[8] != 0) {
        TRY(warp_upright(dst, src, m, filter, fill));
    } else {
        warp_source w;
        TRY(prefilter(&w, dst, src, m, filter));
        warp_any(dst, w.reduced.pixels ? &w.reduced : src, m, w.low, w.high, fill);
        image_free(&w.reduced);
    }
    if (color && dst->channels == 3) recolour(dst, color);
    else if (color) recolour_grey(dst, color);
    return OK;
}
