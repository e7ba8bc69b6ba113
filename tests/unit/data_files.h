/* data_files.h: pictures and data sets made on the spot for the tests of core/data. */
#ifndef TESTS_DATA_FILES_H
#define TESTS_DATA_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/unit/unit_test.h"

#include <jpeglib.h>
#include <zlib.h>

#include "core/base/arena.h"
#include "core/base/file.h"
#include "core/data/dataset.h"
#include "core/data/image.h"

/* A status that must be OK; the message is shown when it is not. */
#define assert_ok(expr)                                                                                                \
    do {                                                                                                               \
        status code_ = (expr);                                                                                         \
        if (code_ != OK) fail_msg("%s: %s", #expr, status_message());                                                  \
    } while (0)
#define assert_fails(code, text, expr) do { \
    assert_int_equal((expr), (code)); \
    if (!strstr(status_message(), (text))) fail_msg("\"%s\" is not in \"%s\"", (text), status_message()); } while (0)

static const decode_options any_image = {.channels = 0, .max_pixels = 100000000, .exif = EXIF_APPLY};

/* The picture of tests/golden/make_image_fixtures.py. */
static inline image make_picture(int32_t w, int32_t h, int32_t channels)
{
    image im;
    assert_ok(image_alloc(&im, w, h, channels));
    for (int32_t y = 0; y < h; y++)
        for (int32_t x = 0; x < w; x++)
            for (int32_t c = 0; c < channels; c++)
                im.pixels[((size_t)y * (size_t)w + (size_t)x) * (size_t)channels + (size_t)c] =
                    (uint8_t)((x * 7 + y * 13 + c * 29 + ((x * y) >> 2)) ^ (x << 1));
    return im;
}

/* A smooth picture, distinct by `kind`, that JPEG keeps well. */
static inline image make_smooth(int32_t w, int32_t h, int32_t channels, int32_t kind)
{
    image im;
    assert_ok(image_alloc(&im, w, h, channels));
    for (int32_t y = 0; y < h; y++)
        for (int32_t x = 0; x < w; x++)
            for (int32_t c = 0; c < channels; c++)
                im.pixels[(y * w + x) * channels + c] =
                    (uint8_t)(40 + 150 * (c == 1 ? y : x) / (c == 1 ? h : w) + (kind * 37 + c * 11) % 60);
    return im;
}

/* A JPEG file; orientation 0 writes no EXIF. Free the bytes. */
static inline uint8_t *make_jpeg(const image *im, int quality, int orientation, size_t *count)
{
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long length = 0;
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &length);
    info.image_width = (JDIMENSION)im->width;
    info.image_height = (JDIMENSION)im->height;
    info.input_components = im->channels;
    info.in_color_space = im->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, quality, TRUE);
    for (int i = 0; i < info.num_components; i++) info.comp_info[i].h_samp_factor = info.comp_info[i].v_samp_factor = 1;
    jpeg_start_compress(&info, TRUE);
    if (orientation) {
        unsigned char exif[] = {'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0,
            1, 0, (unsigned char)orientation, 0, 0, 0, 0, 0, 0};
        jpeg_write_marker(&info, JPEG_APP0 + 1, exif, sizeof exif);
    }
    while (info.next_scanline < info.image_height) {
        JSAMPROW row = im->pixels + (size_t)info.next_scanline * (size_t)im->width * (size_t)im->channels;
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    *count = length;
    return bytes;
}

static inline void put_file(const char *path, const void *bytes, size_t count)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

static inline void put_text(const char *path, const char *text) { put_file(path, text, strlen(text)); }

static inline void put_jpeg(const char *path, int32_t w, int32_t h, int32_t kind)
{
    size_t count;
    image im = make_smooth(w, h, 3, kind);
    uint8_t *bytes = make_jpeg(&im, 90, 0, &count);
    put_file(path, bytes, count);
    free(bytes);
    image_free(&im);
}

/* "a/b/c" under the test's folder, with the folders in between made. The text lives until the test program ends. */
static arena test_memory;
static char test_folder[64];

static inline const char *test_path(const char *fmt, ...)
{
    char name[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    char *path = arena_printf(&test_memory, "%s/%s", test_folder, name);
    char *folder = arena_strndup(&test_memory, path, (size_t)(path_base(path) - path));
    assert_ok(dir_make(folder));
    return path;
}

static inline int make_test_folder(void **state)
{
    (void)state;
    snprintf(test_folder, sizeof test_folder, "/tmp/graft-data-XXXXXX");
    return mkdtemp(test_folder) ? 0 : -1;
}

static inline int remove_test_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", test_folder);
    arena_free(&test_memory);
    return system(command);
}

/* A spec's [data] with a quarter for validation where the set has no such part. */
static inline spec_data options_for(const char *root)
{
    return (spec_data){.root = root, .train = "", .val = "", .test = "", .cache = "", .val_fraction = 0.25,
        .max_pixels = 1000000, .max_bad_fraction = 1, .threads = 2};
}

/* NAME/PART/{ants,bees}/n.jpg, 6 ants and 4 bees. */
static inline const char *make_folder_set(const char *name, const char *part)
{
    for (int i = 0; i < 10; i++)
        put_jpeg(test_path("%s/%s/%s/%d.jpg", name, part, i < 6 ? "ants" : "bees", i), 40 + i, 30, i);
    return test_path("%s", name);
}

/* An IDX file of bytes in `out`; its length. */
static inline size_t make_idx(uint8_t *out, int rank, const int *dim, const uint8_t *data, size_t bytes)
{
    memcpy(out, (uint8_t[]){0, 0, 8, (uint8_t)rank}, 4);
    for (int i = 0; i < rank; i++)
        memcpy(out + 4 + 4 * i, (uint8_t[]){0, 0, (uint8_t)(dim[i] >> 8), (uint8_t)dim[i]}, 4);
    memcpy(out + 4 + 4 * rank, data, bytes);
    return 4 + 4 * (size_t)rank + bytes;
}

static inline void put_gzip(const char *path, const uint8_t *bytes, size_t count)
{
    gzFile f = gzopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, bytes, (unsigned)count), (int)count);
    assert_int_equal(gzclose(f), Z_OK);
}

/* Five pictures of 4 x 3 pixels in 3 classes. */
static inline void make_idx_set(const char *name, bool gzip)
{
    uint8_t file[1024], pixels[5 * 4 * 3], labels[5] = {2, 0, 1, 2, 0};
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 3);
    size_t bytes = make_idx(file, 3, (int[]){5, 4, 3}, pixels, sizeof pixels);
    const char *path = test_path("%s/train-images-idx3-ubyte%s", name, gzip ? ".gz" : "");
    if (gzip) put_gzip(path, file, bytes);
    else put_file(path, file, bytes);
    bytes = make_idx(file, 1, (int[]){5}, labels, 5);
    path = test_path("%s/train-labels-idx1-ubyte%s", name, gzip ? ".gz" : "");
    if (gzip) put_gzip(path, file, bytes);
    else put_file(path, file, bytes);
}

/* NULL, with a message, when the shared data sets are not there. */
static inline const char *shared_data(const char *name)
{
    const char *shared = getenv("GRAFT_SHARED");
    static char path[1024];
    snprintf(path, sizeof path, "%s/data/%s", shared ? shared : "../shared", name);
    if (file_exists(path)) return path;
    print_message("# skipped: %s is not there\n", path);
    return NULL;
}

/* A bad sample in the data folder: truncated JPEG. */
static inline void put_truncated_jpeg(const char *path)
{
    size_t count;
    image im = make_smooth(64, 48, 3, 5);
    uint8_t *bytes = make_jpeg(&im, 90, 0, &count);
    put_file(path, bytes, count / 2);
    free(bytes);
    image_free(&im);
}

#endif
