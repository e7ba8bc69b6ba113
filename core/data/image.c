#include "core/data/image.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/data/image_codecs.h"

/* The resampler loads four bytes where a pixel has three. */
enum { PIXEL_SLACK_BYTES = 16 };
/* Not worth a check of what a file can hold. */
enum { SMALL_PIXELS = 1 << 20 };

static status allocate(image *im, int32_t width, int32_t height, int32_t channels, bool zeroed)
{
    *im = (image){0};
    if (width < 1 || height < 1 || (channels != 1 && channels != 3))
        return FAIL(E_INTERNAL, "no image of %d x %d pixels with %d channels", width, height, channels);
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
    im->pixels = zeroed ? calloc(1, bytes + PIXEL_SLACK_BYTES) : malloc(bytes + PIXEL_SLACK_BYTES);
    if (!im->pixels) return FAIL_MEMORY(bytes);
    memset(im->pixels + bytes, 0, PIXEL_SLACK_BYTES);
    im->width = width;
    im->height = height;
    im->channels = channels;
    return OK;
}

status image_alloc(image *im, int32_t width, int32_t height, int32_t channels)
{
    return allocate(im, width, height, channels, true);
}

status image_alloc_unset(image *im, int32_t width, int32_t height, int32_t channels)
{
    return allocate(im, width, height, channels, false);
}

void image_free(image *im)
{
    free(im->pixels);
    *im = (image){0};
}

status image_check_size(int64_t width, int64_t height, const decode_options *options)
{
    if (width < 1 || height < 1) return FAIL(E_DATA, "the header says %" PRId64 " x %" PRId64 " pixels", width, height);
    if (width > INT32_MAX || height > INT32_MAX || width > options->max_pixels / height)
        return FAIL(E_DATA, "%" PRId64 " x %" PRId64 " pixels are more than data.max_pixels = %" PRId64 " allows",
            width, height, options->max_pixels);
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

status image_check_density(int64_t width, int64_t height, size_t count, int64_t most_per_byte)
{
    if (width * height <= SMALL_PIXELS || width * height / most_per_byte <= (int64_t)count) return OK;
    return FAIL(E_DATA,
        "the file is truncated, or its header lies: %zu bytes cannot hold %" PRId64 " x %" PRId64 " pixels", count,
        width, height);
}

status image_choose_orientation(int *orientation, int stored, const decode_options *options)
{
    *orientation = options->exif == EXIF_IGNORE || stored < 1 || stored > 8 ? 1 : stored;
    if (*orientation != 1 && options->exif == EXIF_ERROR)
        return FAIL(E_DATA, "EXIF orientation %d (data.exif = error)", stored);
    return OK;
}

void image_oriented_size(int32_t *width, int32_t *height, int64_t stored_width, int64_t stored_height, int orientation)
{
    *width = (int32_t)(orientation >= 5 ? stored_height : stored_width);
    *height = (int32_t)(orientation >= 5 ? stored_width : stored_height);
}

status image_convert_channels(image *im, int32_t channels)
{
    if (channels == 0 || channels == im->channels) return OK;
    size_t pixels = (size_t)im->width * (size_t)im->height;
    if (channels == 1) {
        uint8_t *p = im->pixels;
        for (size_t i = 0; i < pixels; i++) p[i] = image_luma(p[3 * i], p[3 * i + 1], p[3 * i + 2]);
        uint8_t *less = realloc(p, pixels + PIXEL_SLACK_BYTES);
        if (less) im->pixels = less;
        im->channels = 1;
        return OK;
    }
    image wide;
    TRY(image_alloc(&wide, im->width, im->height, channels));
    for (size_t i = 0; i < pixels; i++) memset(wide.pixels + 3 * i, im->pixels[i], 3);
    image_free(im);
    *im = wide;
    return OK;
}

/* In the order in which they are listed for people. */
static const image_codec *const codecs[] = {
    &codec_jpeg, &codec_png, &codec_bmp, &codec_pnm, &codec_gif, &codec_webp, &codec_tiff, &codec_heif};
enum { CODECS = sizeof codecs / sizeof codecs[0] };

/* Appends to a list: "JPEG, PNG". */
static void append(char *text, size_t room, const char *what)
{
    size_t used = strlen(text);
    snprintf(text + used, room - used, "%s%s", used ? ", " : "", what);
}

void image_formats_text(char *text, size_t room, bool built_in, bool versions)
{
    text[0] = 0;
    for (int i = 0; i < CODECS; i++) {
        char library[64] = "", item[128];
        if ((codecs[i]->decode != NULL) != built_in) continue;
        if (versions && codecs[i]->version) codecs[i]->version(library, sizeof library);
        const char *more = versions && !built_in ? codecs[i]->package : library;
        snprintf(item, sizeof item, *more ? "%s (%s)" : "%s", codecs[i]->label, more);
        append(text, room, item);
    }
}

static status find_codec(const image_codec **found, const uint8_t *bytes, size_t count)
{
    char read[256];
    if (count == 0) return FAIL(E_DATA, "the file is empty");
    const image_format *f = image_format_of(bytes, count);
    if (f && f->codec && f->codec->decode) {
        *found = f->codec;
        return OK;
    }
    if (f && f->codec)
        return FAIL(E_DATA,
            "this is a %s image, and graft was built without its library (%s): convert it to PNG or JPEG", f->label,
            f->codec->package);
    if (f) return FAIL(E_DATA, "this is a %s, which is not read: convert it to PNG or JPEG", f->label);
    if (count >= 4 &&
        (strncasecmp((const char *)bytes, "<!do", 4) == 0 || strncasecmp((const char *)bytes, "<htm", 4) == 0))
        return FAIL(E_DATA, "this is a web page (HTML), not an image");
    image_formats_text(read, sizeof read, true, false);
    return FAIL(E_DATA, "no image format that is known here (read are %s)", read);
}

status image_decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    *im = (image){0};
    const image_codec *c;
    TRY(find_codec(&c, bytes, count));
    status result = c->decode(im, bytes, count, options);
    if (result != OK) image_free(im);
    return result;
}

status image_probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height,
    const char **format)
{
    const image_codec *c;
    TRY(find_codec(&c, bytes, count));
    TRY(c->probe(bytes, count, options, width, height));
    if (format) *format = c->name;
    return OK;
}
