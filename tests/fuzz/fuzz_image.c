/* The image decoders behind image_decode; the first byte chooses channels, EXIF policy and scaled decoding. */
#include "core/data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);
const char *__lsan_default_suppressions(void);

/* Two leaks of libheif 1.15 that a program of its calls alone shows, too: it hands libdav1d an AV1 item without bytes,
 * which loses 40 of its own, and with strict_decoding it loses the image that a decoder's plugin made when that finds a
 * fault. There libheif's frame stands behind one of libstdc++, which only the slow way up the stack finds. */
const char *__asan_default_options(void) { return "fast_unwind_on_malloc=0"; }
const char *__lsan_default_suppressions(void) { return "leak:libdav1d.so\nleak:heif_image_create\n"; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    image im;
    int32_t width, height;
    const char *format;
    if (size < 1) return 0;
    decode_options o = {.channels = (int32_t[]){0, 1, 3, 3}[data[0] & 3],
        .max_pixels = 1 << 20,
        .exif = (spec_exif)((data[0] >> 2) % 3)};
    if (data[0] & 32) o.min_width = o.min_height = 8;
    (void)image_probe(data + 1, size - 1, &o, &width, &height, &format);
    if (image_decode(&im, data + 1, size - 1, &o) == OK) image_free(&im);
    return 0;
}
