#include "core/data/image.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/image_codecs.h"

/* The resampler loads four bytes where a pixel has three. */
enum { PIXEL_SLACK_BYTES = 16 };

status image_alloc(image *im, int32_t width, int32_t height, int32_t channels)
{
    *im = (image){0};
    if (width < 1 || height < 1 || (channels != 1 && channels != 3))
        return FAIL(E_INTERNAL, "no image of %d x %d pixels with %d channels", width, height, channels);
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
    im->pixels = calloc(1, bytes + PIXEL_SLACK_BYTES);
    if (!im->pixels) return FAIL_MEMORY(bytes);
    im->width = width;
    im->height = height;
    im->channels = channels;
    return OK;
}

void image_free(image *im)
{
    free(im->pixels);
    *im = (image){0};
}

status image_check_size(int64_t width, int64_t height, const decode_options *options)
{
    if (width < 1 || height < 1) return FAIL(E_DATA, "the header says %lld x %lld pixels", (long long)width, (long long)height);
    if (width > INT32_MAX || height > INT32_MAX || width > options->max_pixels / height)
        return FAIL(E_DATA, "%lld x %lld pixels are more than data.max_pixels = %lld allows", (long long)width,
            (long long)height, (long long)options->max_pixels);
    return OK;
}

status image_orient(image *im, int orientation)
{
    if (orientation <= 1 || orientation > 8) return OK;
    bool swap = orientation >= 5;
    image turned;
    TRY(image_alloc(&turned, swap ? im->height : im->width, swap ? im->width : im->height, im->channels));
    /* Rows of the stored picture run along the upright picture's x axis (1 to 4) or y axis (5 to 8). */
    bool x_back = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    bool y_back = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    size_t c = (size_t)im->channels;
    for (int32_t y = 0; y < im->height; y++) {
        const uint8_t *from = im->pixels + (size_t)y * (size_t)im->width * c;
        for (int32_t x = 0; x < im->width; x++, from += c) {
            int32_t u = swap ? y : x, v = swap ? x : y;
            if (x_back) u = turned.width - 1 - u;
            if (y_back) v = turned.height - 1 - v;
            memcpy(turned.pixels + ((size_t)v * (size_t)turned.width + (size_t)u) * c, from, c);
        }
    }
    image_free(im);
    *im = turned;
    return OK;
}

typedef struct codec {
    const char *name;
    const char *signature;
    size_t signature_bytes;
    status (*decode)(image *im, const uint8_t *bytes, size_t count, const decode_options *options);
    status (*probe)(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height);
} codec;

/* Formats with a name but no decoder are known in order to be refused by their name. */
static const codec codecs[] = {
    {"jpeg", "\xff\xd8\xff", 3, jpeg_decode, jpeg_probe},
    {"png", "\x89PNG\r\n\x1a\n", 8, stb_decode, stb_probe},
    {"bmp", "BM", 2, stb_decode, stb_probe},
    {"pgm", "P5", 2, pnm_decode, pnm_probe},
    {"ppm", "P6", 2, pnm_decode, pnm_probe},
    {"GIF", "GIF8", 4, NULL, NULL},
    {"WebP (or another RIFF file)", "RIFF", 4, NULL, NULL},
    {"TIFF", "II*\0", 4, NULL, NULL},
    {"TIFF", "MM\0*", 4, NULL, NULL},
    {"HTML", "<!DO", 4, NULL, NULL},
    {"HTML", "<htm", 4, NULL, NULL},
};

static status find_codec(const codec **found, const uint8_t *bytes, size_t count)
{
    if (count == 0) return FAIL(E_DATA, "the file is empty");
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        const codec *c = &codecs[i];
        if (count < c->signature_bytes || memcmp(bytes, c->signature, c->signature_bytes) != 0) continue;
        if (!c->decode) return FAIL(E_DATA, "this is a %s; JPEG, PNG, BMP and PNM are read: convert it", c->name);
        *found = c;
        return OK;
    }
    return FAIL(E_DATA, "no image format that is known here (JPEG, PNG, BMP, PNM)");
}

status image_decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    *im = (image){0};
    const codec *c;
    TRY(find_codec(&c, bytes, count));
    status result = c->decode(im, bytes, count, options);
    if (result != OK) image_free(im);
    return result;
}

status image_probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height,
    const char **format)
{
    const codec *c;
    TRY(find_codec(&c, bytes, count));
    TRY(c->probe(bytes, count, options, width, height));
    if (format) *format = c->name;
    return OK;
}
