/* PNG and BMP by stb_image. Only these two are compiled in: its other formats have a record of memory errors. */
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/image_codecs.h"

#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS 65536
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#pragma GCC diagnostic ignored "-Wunused-function" /* reported at the end of the file, so never restored */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

/* stb reads zeros behind the end of its input and does not say so; this source notices. */
typedef struct source {
    const uint8_t *bytes;
    size_t count, at;
    bool ran_dry;
} source;

static int source_read(void *user, char *data, int size)
{
    source *s = user;
    size_t left = s->count - s->at, n = (size_t)size < left ? (size_t)size : left;
    if (n == 0 && size > 0) s->ran_dry = true;
    memcpy(data, s->bytes + s->at, n);
    s->at += n;
    return (int)n;
}

static void source_skip(void *user, int n)
{
    source *s = user;
    /* A negative skip gives back what stb had buffered. */
    if (n < 0) s->at -= (size_t)-n < s->at ? (size_t)-n : s->at;
    else if ((size_t)n > s->count - s->at) { s->at = s->count; s->ran_dry = true; }
    else s->at += (size_t)n;
}

static int source_eof(void *user)
{
    const source *s = user;
    return s->at >= s->count;
}

static const stbi_io_callbacks source_calls = {source_read, source_skip, source_eof};

static uint32_t big_endian(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Chunks of a PNG (length, type, data, CRC) against the file: stb allocates what a length claims before it reads, and adds to a null
 * pointer when the first IDAT is empty. */
static status check_png(const uint8_t *bytes, size_t count)
{
    static const uint8_t signature[8] = {137, 'P', 'N', 'G', '\r', '\n', 26, '\n'};
    bool image_data = false;
    if (count < sizeof signature || memcmp(bytes, signature, sizeof signature) != 0) return OK;
    for (size_t at = sizeof signature; count - at >= 12;) {
        size_t length = big_endian(bytes + at);
        const uint8_t *type = bytes + at + 4;
        if (memcmp(type, "IEND", 4) == 0) return OK;
        if (length > count - at - 12) break;
        bool idat = memcmp(type, "IDAT", 4) == 0;
        if (idat && !image_data && length == 0) return FAIL(E_DATA, "the PNG begins its image data with an empty chunk");
        image_data = image_data || idat;
        at += 12 + length;
    }
    return FAIL(E_DATA, "the file is truncated");
}

static status check_header(const uint8_t *bytes, size_t count, const decode_options *options, int *w, int *h, bool *deep)
{
    int channels;
    if (count > INT_MAX) return FAIL(E_DATA, "a file of %zu bytes is larger than is read", count);
    if (!stbi_info_from_memory(bytes, (int)count, w, h, &channels))
        return FAIL(E_DATA, "the header is not valid: %s", stbi_failure_reason());
    TRY(image_check_size(*w, *h, options));
    TRY(check_png(bytes, count));
    *deep = stbi_is_16_bit_from_memory(bytes, (int)count);
    return OK;
}

/* Colours of `from` channels (2 and 4: the last is alpha, dropped) to 1 or 3. */
static void copy_channels(image *im, const uint8_t *src, int from)
{
    size_t pixels = (size_t)im->width * (size_t)im->height;
    uint8_t *dst = im->pixels;
    for (size_t i = 0; i < pixels; i++, src += from, dst += im->channels) {
        if (im->channels == 1) dst[0] = from < 3 ? src[0] : image_luma(src[0], src[1], src[2]);
        else for (int c = 0; c < 3; c++) dst[c] = src[from < 3 ? 0 : c];
    }
}

static status load(uint8_t **pixels, source *s, bool deep, int *w, int *h, int *channels)
{
    void *loaded = deep ? (void *)stbi_load_16_from_callbacks(&source_calls, s, w, h, channels, 0)
                        : (void *)stbi_load_from_callbacks(&source_calls, s, w, h, channels, 0);
    if (!loaded) return FAIL(E_DATA, "%s", s->ran_dry ? "the file is truncated" : stbi_failure_reason());
    if (s->ran_dry) {
        stbi_image_free(loaded);
        return FAIL(E_DATA, "the file is truncated");
    }
    *pixels = loaded;
    if (!deep) return OK;
    /* In place: byte i is written behind every word that is still to be read. */
    const uint16_t *words = loaded;
    size_t values = (size_t)*w * (size_t)*h * (size_t)*channels;
    for (size_t i = 0; i < values; i++) (*pixels)[i] = (uint8_t)((words[i] + 128u) / 257u);
    return OK;
}

status stb_decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    int w, h, channels;
    bool deep;
    TRY(check_header(bytes, count, options, &w, &h, &deep));
    source s = {bytes, count, 0, false};
    uint8_t *pixels = NULL;
    TRY(load(&pixels, &s, deep, &w, &h, &channels));
    status result = image_check_size(w, h, options);
    if (result == OK) result = image_alloc(im, w, h, options->channels ? options->channels : channels < 3 ? 1 : 3);
    if (result == OK) copy_channels(im, pixels, channels);
    stbi_image_free(pixels);
    return result;
}

status stb_probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    int w, h;
    bool deep;
    TRY(check_header(bytes, count, options, &w, &h, &deep));
    *width = w;
    *height = h;
    return OK;
}
