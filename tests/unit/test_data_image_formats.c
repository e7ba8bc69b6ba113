/* Pixels of every file format. PNG and BMP are written here, in every depth and layout that their standards know, and
 * expected are the samples that were written, scaled to 8 bits by the standards' own rule. The formats of optional
 * libraries come from tests/golden/pictures (make_image_fixtures.py): what Pillow, tiffcp and heif-enc made of the
 * picture of data_files.h. */
#include "tests/unit/data_files.h"

#include <zlib.h>

enum { W = 24, H = 16 };

/* ------------------------------------------------------------------------------------------------ bytes of files to be
 */

typedef struct bytes {
    uint8_t *data;
    size_t count, room;
} bytes;

static void put(bytes *b, const void *data, size_t count)
{
    if (b->count + count > b->room) {
        b->room = (b->count + count) * 2;
        b->data = realloc(b->data, b->room);
        assert_non_null(b->data);
    }
    memcpy(b->data + b->count, data, count);
    b->count += count;
}

static void put_big(bytes *b, uint32_t v)
{
    put(b, (uint8_t[]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}, 4);
}
static void put_16(bytes *b, unsigned v) { put(b, (uint8_t[]){(uint8_t)v, (uint8_t)(v >> 8)}, 2); }
static void put_32(bytes *b, uint32_t v) { put_16(b, v & 0xffff), put_16(b, v >> 16); }

/* Sample `c` of the pixel (x, y): `bits` bits of nothing in particular. */
static unsigned sample_at(int x, int y, int c, int bits)
{
    uint32_t v = (uint32_t)(x * 7919 + y * 104729 + c * 1299709 + 12345) * 2654435761u;
    return v >> 7 & ((1u << bits) - 1);
}

/* ------------------------------------------------------------------------------------------------ PNG */

static void put_chunk(bytes *b, const char *type, const void *data, size_t count)
{
    put_big(b, (uint32_t)count);
    size_t at = b->count;
    put(b, type, 4);
    put(b, data, count);
    put_big(b, (uint32_t)crc32(0, b->data + at, (unsigned)(count + 4)));
}

/* Rows of one pass: a filter byte (0 and 1, none and sub, by turns), then the samples from the highest bit on. */
static void put_pass(bytes *raw, int w, int h, int samples, int bits, int first_x, int first_y, int step_x, int step_y)
{
    for (int y = first_y, n = 0; y < h && first_x < w; y += step_y, n++) {
        uint8_t row[1024] = {0};
        int bit = 0;
        for (int x = first_x; x < w; x += step_x)
            for (int c = 0; c < samples; c++, bit += bits) {
                unsigned v = sample_at(x, y, c, bits);
                if (bits == 16) row[bit / 8] = (uint8_t)(v >> 8), row[bit / 8 + 1] = (uint8_t)v;
                else row[bit / 8] = (uint8_t)(row[bit / 8] | v << (8 - bits - bit % 8));
            }
        int length = (bit + 7) / 8, pixel = bits * samples < 8 ? 1 : bits * samples / 8;
        put(raw, (uint8_t[]){(uint8_t)(n & 1)}, 1);
        for (int i = length - 1; n & 1 && i >= pixel; i--) row[i] = (uint8_t)(row[i] - row[i - pixel]);
        put(raw, row, (size_t)length);
    }
}

static uint8_t palette_at(unsigned index, int c) { return (uint8_t)(index * 37 + (unsigned)c * 91 + 5); }

static bytes make_png(int w, int h, int colour, int bits, bool interlaced)
{
    static const int samples[7] = {1, 0, 3, 1, 2, 0, 4};
    static const int passes[7][4] = {
        {0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    bytes b = {0}, raw = {0};
    uint8_t head[13] = {0, 0, 0, (uint8_t)w, 0, 0, 0, (uint8_t)h, (uint8_t)bits, (uint8_t)colour, 0, 0, interlaced},
            palette[768];
    put(&b, "\x89PNG\r\n\x1a\n", 8);
    put_chunk(&b, "IHDR", head, sizeof head);
    put_chunk(&b, "gAMA", "\0\0\x27\x10", 4);
    for (unsigned i = 0; i < 256; i++)
        for (int c = 0; c < 3; c++) palette[3 * i + (unsigned)c] = palette_at(i, c);
    if (colour == 3) put_chunk(&b, "PLTE", palette, 3u << bits);
    if (colour == 3) put_chunk(&b, "tRNS", "\0\x80", 2);
    if (!interlaced) put_pass(&raw, w, h, samples[colour], bits, 0, 0, 1, 1);
    for (int p = 0; interlaced && p < 7; p++)
        put_pass(&raw, w, h, samples[colour], bits, passes[p][0], passes[p][1], passes[p][2], passes[p][3]);
    uLongf size = compressBound(raw.count);
    uint8_t *packed = malloc(size);
    assert_int_equal(compress(packed, &size, raw.data, raw.count), Z_OK);
    put_chunk(&b, "IDAT", packed, size / 2);
    put_chunk(&b, "IDAT", packed + size / 2, size - size / 2);
    put_chunk(&b, "IEND", "", 0);
    free(packed);
    free(raw.data);
    return b;
}

/* floor(v * 255 / greatest + 1/2): PNG, second edition, 13.12. */
static uint8_t to_8_bits(unsigned v, int bits)
{
    unsigned greatest = (1u << bits) - 1;
    return (uint8_t)((v * 510 + greatest) / (2 * greatest));
}

static void check_png(int w, int h, int colour, int bits, bool interlaced)
{
    bytes b = make_png(w, h, colour, bits, interlaced);
    image im;
    if (image_decode(&im, b.data, b.count, &any_image) != OK)
        fail_msg("colour %d, %d bits, %d x %d: %s", colour, bits, w, h, status_message());
    assert_int_equal(im.channels, colour == 0 || colour == 4 ? 1 : 3);
    assert_true(im.width == w && im.height == h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < im.channels; c++) {
                unsigned v = sample_at(x, y, colour == 3 ? 0 : c, bits);
                uint8_t expected = colour == 3 ? palette_at(v, c) : to_8_bits(v, bits),
                        got = im.pixels[(y * w + x) * im.channels + c];
                if (got != expected)
                    fail_msg("colour %d, %d bits%s, %d x %d at %d %d %d: %d, written was %d", colour, bits,
                        interlaced ? " interlaced" : "", w, h, x, y, c, got, expected);
            }
    image_free(&im);
    free(b.data);
}

static void test_png_of_every_kind(void **state)
{
    (void)state;
    static const int kinds[][2] = {{0, 1}, {0, 2}, {0, 4}, {0, 8}, {0, 16}, {2, 8}, {2, 16}, {3, 1}, {3, 2}, {3, 4},
        {3, 8}, {4, 8}, {4, 16}, {6, 8}, {6, 16}};
    static const int sizes[][2] = {{1, 1}, {2, 3}, {5, 1}, {1, 7}, {33, 17}};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
            for (int interlaced = 0; interlaced < 2; interlaced++)
                check_png(sizes[s][0], sizes[s][1], kinds[k][0], kinds[k][1], interlaced);
}

/* ------------------------------------------------------------------------------------------------ BMP */

/* masks: NULL without. A top-down picture has a negative height. */
static bytes make_bmp(int w, int h, int bits, bool top_down, const uint32_t *masks)
{
    bytes b = {0};
    uint32_t colours = bits <= 8 ? 1u << bits : 0, at = 14 + 40 + (masks ? 12 : 0) + 4 * colours;
    put(&b, "BM", 2);
    put_32(&b, 0), put_32(&b, 0), put_32(&b, at);
    put_32(&b, 40), put_32(&b, (uint32_t)w), put_32(&b, (uint32_t)(top_down ? -h : h)), put_16(&b, 1),
        put_16(&b, (unsigned)bits);
    put_32(&b, masks ? 3 : 0);
    for (int i = 0; i < 5; i++) put_32(&b, 0);
    for (int i = 0; masks && i < 3; i++) put_32(&b, masks[i]);
    for (uint32_t i = 0; i < colours; i++)
        put(&b, (uint8_t[]){palette_at(i, 2), palette_at(i, 1), palette_at(i, 0), 0}, 4);
    for (int k = 0; k < h; k++) {
        uint8_t row[512] = {0};
        int y = top_down ? k : h - 1 - k, bit = 0;
        for (int x = 0; x < w; x++, bit += bits) {
            if (bits <= 8) row[bit / 8] = (uint8_t)(row[bit / 8] | sample_at(x, y, 0, bits) << (8 - bits - bit % 8));
            for (int c = 0; bits == 24 && c < 3; c++) row[bit / 8 + 2 - c] = (uint8_t)sample_at(x, y, c, 8);
            uint32_t v = 0;
            for (int c = 0; bits > 8 && bits != 24 && c < 3; c++) {
                uint32_t m = masks ? masks[c] : bits == 16 ? (uint32_t[]){0x7c00, 0x3e0, 0x1f}[c] : 0xff0000u >> 8 * c;
                v |= sample_at(x, y, c, __builtin_popcount(m)) << __builtin_ctz(m);
            }
            for (int i = 0; bits > 8 && bits != 24 && i < bits / 8; i++) row[bit / 8 + i] = (uint8_t)(v >> 8 * i);
        }
        put(&b, row, (size_t)(bit + 31) / 32 * 4);
    }
    return b;
}

/* depths[c]: bits of the mask. Narrow ones are repeated to fill eight bits, which is exact at both ends. */
static void check_bmp(int bits, bool top_down, const uint32_t *masks, const int depths[3])
{
    enum { BW = 13, BH = 6 };
    bytes b = make_bmp(BW, BH, bits, top_down, masks);
    image im;
    if (image_decode(&im, b.data, b.count, &any_image) != OK) fail_msg("%d bits: %s", bits, status_message());
    assert_true(im.width == BW && im.height == BH && im.channels == 3);
    for (int i = 0; i < BW * BH * 3; i++) {
        int x = i / 3 % BW, y = i / 3 / BW, c = i % 3;
        unsigned v = sample_at(x, y, bits <= 8 ? 0 : c, bits <= 8 ? bits : depths[c]), wide = v;
        for (int have = depths[c]; have < 8; have += depths[c]) wide = wide << depths[c] | v;
        if (depths[c] < 8) wide >>= (8 + depths[c] - 1) / depths[c] * depths[c] - 8;
        uint8_t expected = bits <= 8 ? palette_at(v, c) : (uint8_t)wide;
        if (im.pixels[i] != expected)
            fail_msg("%d bits at %d %d %d: %d, written was %d", bits, x, y, c, im.pixels[i], expected);
    }
    image_free(&im);
    assert_fails(E_DATA, "truncated", image_decode(&im, b.data, b.count - 4, &any_image));
    free(b.data);
}

static void test_bmp_of_every_kind(void **state)
{
    (void)state;
    static const int eight[3] = {8, 8, 8}, five[3] = {5, 5, 5}, uneven[3] = {5, 6, 5}, four[3] = {4, 4, 4};
    static const uint32_t mask_565[3] = {0xf800, 0x7e0, 0x1f}, mask_444[3] = {0xf00, 0xf0, 0xf},
                          mask_bgr[3] = {0xff, 0xff00, 0xff0000};
    for (int top_down = 0; top_down < 2; top_down++) {
        for (int bits = 1; bits <= 8; bits = bits == 1 ? 4 : bits * 2) check_bmp(bits, top_down, NULL, eight);
        check_bmp(24, top_down, NULL, eight);
        check_bmp(32, top_down, NULL, eight);
        check_bmp(32, top_down, mask_bgr, eight);
        check_bmp(16, top_down, NULL, five);
        check_bmp(16, top_down, mask_565, uneven);
        check_bmp(16, top_down, mask_444, four);
    }
}

/* ------------------------------------------------------------------------------------------------ optional libraries
 */

typedef struct fixture {
    const char *name;
    int orientation; /* 6: the stored picture lies on its side */
    int tolerance;
    bool ends_early; /* behind the first frame nothing is looked at */
} fixture;

/* HEIC and AVIF: Y, Cb and Cr are rounded once, each by half a level. Of red that leaves 0.5 + 1.402 / 2 = 1.2 levels,
 * of blue 0.5 + 1.772 / 2 = 1.4, of green less, which after rounding is one level. */
static const fixture fixtures[] = {{"lossless.webp", 1, 0, false}, {"orientation6.webp", 6, 0, false},
    {"animated.webp", 1, 0, false}, {"lossy.webp", 1, 0, false}, {"orientation6.png", 6, 0, false},
    {"lzw.tif", 1, 0, false}, {"orientation6.tif", 6, 0, false}, {"tiled.tif", 1, 0, false},
    {"planes.tif", 1, 0, false}, {"cmyk.tif", 1, 0, false}, {"fax.tif", 1, 0, false}, {"palette.tif", 1, 0, false},
    {"interlaced.gif", 1, 0, true}, {"animated.gif", 1, 0, true}, {"lossless.heic", 1, 1, false},
    {"lossless.avif", 1, 1, false}, {"turned.heic", 6, 1, false}};
enum { FIXTURES = sizeof fixtures / sizeof fixtures[0] };

static void read_fixture(arena *a, const fixture *f, void **data, size_t *count)
{
    assert_ok(file_read_all(a, arena_printf(a, "tests/golden/pictures/%s", f->name), 1 << 20, data, count));
}

/* A build without the library says so, and that is all it does. */
static bool is_absent(const fixture *f, status code)
{
    if (code != E_DATA || !strstr(status_message(), "built without")) return false;
    print_message("# skipped: %s: %s\n", f->name, status_message());
    return true;
}

/* The picture as it was saved, or, where the format has losses, as Pillow reads it. */
static image expected_picture(arena *a, const fixture *f)
{
    image im = make_picture(W, H, 3);
    char *path = arena_printf(a, "tests/golden/pictures/%s.rgb", f->name);
    void *data;
    size_t count;
    if (!file_exists(path)) return im;
    assert_ok(file_read_all(a, path, 1 << 20, &data, &count));
    assert_int_equal(count, W * H * 3);
    memcpy(im.pixels, data, count);
    return im;
}

/* Orientation 6: row 0 of what is stored is the right-hand side of what is seen (EXIF 2.32, tag 0x0112). */
static void check_pixels(const fixture *f, const image *im, const image *stored, bool upright)
{
    bool turned = upright && f->orientation == 6;
    assert_int_equal(im->width, turned ? H : W);
    assert_int_equal(im->height, turned ? W : H);
    for (int y = 0; y < im->height; y++)
        for (int x = 0; x < im->width; x++)
            for (int c = 0; c < 3; c++) {
                int sx = turned ? y : x, sy = turned ? H - 1 - x : y, got = im->pixels[(y * im->width + x) * 3 + c];
                int expected = stored->pixels[(sy * W + sx) * 3 + c];
                if (abs(got - expected) > f->tolerance)
                    fail_msg("%s at %d %d %d: %d, expected %d", f->name, x, y, c, got, expected);
            }
}

static void test_optional_formats(void **state)
{
    (void)state;
    arena memory = {0};
    for (int i = 0; i < FIXTURES; i++) {
        const fixture *f = &fixtures[i];
        void *data;
        size_t count;
        image im, expected = expected_picture(&memory, f);
        decode_options o = any_image;
        int32_t w, h;
        o.channels = 3;
        read_fixture(&memory, f, &data, &count);
        status code = image_decode(&im, data, count, &o);
        if (!is_absent(f, code)) {
            if (code != OK) fail_msg("%s: %s", f->name, status_message());
            check_pixels(f, &im, &expected, true);
            assert_ok(image_probe(data, count, &o, &w, &h, NULL));
            assert_true(w == im.width && h == im.height);
            image_free(&im);
            o.exif = EXIF_IGNORE;
            assert_ok(image_decode(&im, data, count, &o));
            check_pixels(f, &im, &expected, false);
            image_free(&im);
            o.exif = EXIF_ERROR;
            assert_int_equal(image_decode(&im, data, count, &o), f->orientation == 1 ? OK : E_DATA);
            image_free(&im);
            o.max_pixels = W * H - 1;
            o.exif = EXIF_APPLY;
            assert_fails(E_DATA, f->tolerance ? "" : "max_pixels", image_decode(&im, data, count, &o));
        }
        image_free(&expected);
    }
    arena_free(&memory);
}

/* A cut file is refused, or has the pixels of the whole one (what was cut had no part in them). */
static void test_cut_files(void **state)
{
    (void)state;
    arena memory = {0};
    for (int i = 0; i < FIXTURES; i++) {
        void *data;
        size_t count, fine = 0, tried = 0;
        image whole, im;
        read_fixture(&memory, &fixtures[i], &data, &count);
        if (is_absent(&fixtures[i], image_decode(&whole, data, count, &any_image))) continue;
        for (size_t n = 0; n < count; n += 1 + n / 60, tried++) {
            uint8_t *cut = malloc(n ? n : 1);
            memcpy(cut, data, n);
            status code = image_decode(&im, cut, n, &any_image);
            free(cut);
            if (code == E_DATA) continue;
            size_t bytes_of_all = (size_t)(whole.width * whole.height * whole.channels);
            if (code != OK || im.width != whole.width || memcmp(im.pixels, whole.pixels, bytes_of_all) != 0)
                fail_msg("%s cut to %zu of %zu bytes: %d, other pixels", fixtures[i].name, n, count, (int)code);
            image_free(&im);
            fine++;
        }
        if (fine > tried / 10 && !fixtures[i].ends_early)
            fail_msg("%s: %zu of %zu cuts are read", fixtures[i].name, fine, tried);
        image_free(&whole);
    }
    arena_free(&memory);
}

/* First bytes of files that are named and not read, from their standards. */
static void test_formats_that_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        const char *name;
    } files[] = {{"\xff\x0a\x00\x10", 4, "JPEG XL"}, {"\0\0\0\x0cJXL \r\n\x87\n", 12, "JPEG XL"},
        {"\0\0\0\x0cjP  \r\n\x87\n", 12, "JPEG 2000"}, {"\xff\x4f\xff\x51\0", 5, "JPEG 2000"},
        {"8BPS\0\1", 6, "Photoshop"}, {"II*\0\x10\0\0\0CR\2\0", 12, "raw"}, {"FUJIFILMCCD-RAW 0201", 20, "raw"},
        {"IIU\0\x08\0\0\0", 8, "raw"},
        {"\0\0\0\x18"
         "ftypcrx \0\0\0\1",
            16, "raw"},
        {"\x76\x2f\x31\x01\2", 5, "OpenEXR"}, {"#?RADIANCE\n", 11, "Radiance"}, {"qoif\0\0", 6, "QOI"},
        {"gimp xcf v011", 13, "GIMP"}, {"\0\0\1\0\1\0\x10\x10", 8, "icon"}, {"DDS |\0\0\0", 8, "DirectDraw"},
        {"P4\n8 8\n", 7, "PNM"}, {"P3\n8 8\n255\n", 11, "PNM"}, {"<?xml version=\"1.0\"?><svg>", 26, "SVG"},
        {"<!DOCTYPE html>", 15, "web page"}, {"SIMPLE  =                    T", 30, "FITS"}};
    image im;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        assert_fails(
            E_DATA, files[i].name, image_decode(&im, (const uint8_t *)files[i].bytes, files[i].count, &any_image));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_png_of_every_kind),
        cmocka_unit_test(test_bmp_of_every_kind), cmocka_unit_test(test_optional_formats),
        cmocka_unit_test(test_cut_files), cmocka_unit_test(test_formats_that_are_named)};
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
