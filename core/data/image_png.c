/* PNG out, by stb_image_write with zlib's deflate (its own is slower and packs less). */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/base/file.h"
#include "core/data/image.h"

static unsigned char *deflate_bytes(unsigned char *data, int data_len, int *out_len, int quality)
{
    uLongf bytes = compressBound((uLong)data_len);
    unsigned char *out = malloc(bytes);
    (void)quality;
    if (!out || compress2(out, &bytes, data, (uLong)data_len, 6) != Z_OK || bytes > INT_MAX) {
        free(out);
        return NULL;
    }
    *out_len = (int)bytes;
    return out;
}

#define STBIW_ZLIB_COMPRESS deflate_bytes
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma GCC diagnostic ignored "-Wunused-function" /* reported at the end of the file, so never restored */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

/* stb counts in int; its buffers are a little larger than the pixels. */
enum { MAX_PNG_BYTES = 1 << 30 };

status image_encode_png(const image *im, uint8_t **bytes, size_t *count)
{
    int length = 0;
    *bytes = NULL;
    *count = 0;
    if ((int64_t)im->width * im->height > MAX_PNG_BYTES / im->channels)
        return FAIL(E_DATA, "%d x %d pixels are too many for a PNG file", im->width, im->height);
    *bytes = stbi_write_png_to_mem(im->pixels, im->width * im->channels, im->width, im->height, im->channels, &length);
    if (!*bytes) return FAIL_MEMORY((size_t)im->width * (size_t)im->height * (size_t)im->channels);
    *count = (size_t)length;
    return OK;
}

status image_write_png(const char *path, const image *im)
{
    uint8_t *bytes;
    size_t count;
    TRY(image_encode_png(im, &bytes, &count));
    status result = file_write_all(path, bytes, count);
    free(bytes);
    return result;
}
