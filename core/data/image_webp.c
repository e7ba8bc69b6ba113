/* WebP by libwebp; of an animation the first frame, on black where it does not cover the canvas. Alpha is dropped. */
#include <stdio.h>
#include <string.h>

#include <webp/decode.h>

#include "core/data/exif.h"
#include "core/data/image_codecs.h"

/* A copy of 4096 pixels takes half a bit at the very least, a skipped block of 256 about as little. */
enum { MOST_PER_BYTE = 1 << 16, RIFF_HEADER = 12, CHUNK_HEADER = 8, FRAME_HEADER = 16 };

typedef struct webp_file {
    int64_t width, height;  /* of the canvas, as stored       */
    int64_t x, y;           /* where the picture lies in it   */
    const uint8_t *picture; /* what libwebp is given          */
    size_t picture_bytes;
    WebPBitstreamFeatures features; /* of the picture               */
    int orientation;
} webp_file;

static uint32_t u24(const uint8_t *b) { return (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0]; }
static uint32_t u32(const uint8_t *b) { return (uint32_t)b[3] << 24 | u24(b); }

static status read_frame_header(webp_file *f, const uint8_t *data, size_t length)
{
    if (length < FRAME_HEADER) return FAIL(E_DATA, "WebP: a frame is cut short");
    f->x = 2 * (int64_t)u24(data);
    f->y = 2 * (int64_t)u24(data + 3);
    f->picture = data + FRAME_HEADER;
    f->picture_bytes = length - FRAME_HEADER;
    return OK;
}

/* Orientation and the first frame of an animation. */
static status walk_chunks(webp_file *f, int *stored, const uint8_t *bytes, size_t count)
{
    size_t end = (size_t)u32(bytes + 4) + 8;
    if (end > count) return FAIL(E_DATA, "the file is truncated");
    for (size_t at = RIFF_HEADER; end > at && end - at >= CHUNK_HEADER;) {
        size_t length = u32(bytes + at + 4);
        const uint8_t *data = bytes + at + CHUNK_HEADER;
        if (length > end - at - CHUNK_HEADER) return FAIL(E_DATA, "the file is truncated");
        if (memcmp(bytes + at, "EXIF", 4) == 0) *stored = exif_orientation(data, length);
        if (memcmp(bytes + at, "ANMF", 4) == 0 && f->picture == bytes) TRY(read_frame_header(f, data, length));
        at += CHUNK_HEADER + length + (length & 1);
    }
    return OK;
}

static status read_header(webp_file *f, const uint8_t *bytes, size_t count, const decode_options *options)
{
    int stored = 1;
    *f = (webp_file){.picture = bytes, .picture_bytes = count};
    if (count < RIFF_HEADER + CHUNK_HEADER) return FAIL(E_DATA, "the file is truncated");
    if (memcmp(bytes, "RIFF", 4) != 0) return FAIL(E_DATA, "WebP: the header is not valid");
    TRY(walk_chunks(f, &stored, bytes, count));
    VP8StatusCode code = WebPGetFeatures(bytes, count, &f->features);
    if (code != VP8_STATUS_OK) return FAIL(E_DATA, "WebP: the header is truncated or not valid");
    f->width = f->features.width;
    f->height = f->features.height;
    TRY(image_check_size(f->width, f->height, options));
    TRY(image_check_density(f->width, f->height, count, MOST_PER_BYTE));
    if (f->features.has_animation) {
        if (f->picture == bytes) return FAIL(E_DATA, "WebP: no picture in it");
        if (WebPGetFeatures(f->picture, f->picture_bytes, &f->features) != VP8_STATUS_OK || f->features.has_animation ||
            f->x + f->features.width > f->width || f->y + f->features.height > f->height)
            return FAIL(E_DATA, "WebP: the first frame is not valid");
    }
    return image_choose_orientation(&f->orientation, stored, options);
}

static status decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    webp_file f;
    WebPDecoderConfig config;
    TRY(read_header(&f, bytes, count, options));
    if (!WebPInitDecoderConfig(&config)) return FAIL(E_INTERNAL, "libwebp is another version than at build");
    TRY(image_alloc(im, (int32_t)f.width, (int32_t)f.height, 3));
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.stride = (int)f.width * 3;
    config.output.u.RGBA.rgba = im->pixels + 3 * (f.y * f.width + f.x);
    config.output.u.RGBA.size = (size_t)f.features.height * (size_t)f.width * 3 - 3 * (size_t)f.x;
    VP8StatusCode code = WebPDecode(f.picture, f.picture_bytes, &config);
    WebPFreeDecBuffer(&config.output);
    if (code == VP8_STATUS_OUT_OF_MEMORY) return FAIL_MEMORY((size_t)f.width * (size_t)f.height * 4);
    if (code != VP8_STATUS_OK) return FAIL(E_DATA, "WebP: the data is truncated or corrupt");
    TRY(image_convert_channels(im, options->channels));
    return image_orient(im, f.orientation);
}

static status probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    webp_file f;
    TRY(read_header(&f, bytes, count, options));
    image_oriented_size(width, height, f.width, f.height, f.orientation);
    return OK;
}

static void version(char *text, size_t room)
{
    int v = WebPGetDecoderVersion();
    snprintf(text, room, "libwebp %d.%d.%d", v >> 16, v >> 8 & 255, v & 255);
}

const image_codec codec_webp = {"webp", "WebP", "libwebp-dev", decode, probe, version};
