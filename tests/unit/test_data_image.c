/* Pictures: decoding against Pillow's pixels (CRC-32), resizing against Pillow within one grey level, orientation by
 * the EXIF standard's own table. Fixtures: tests/golden/make_image_fixtures.py. */
#include "tests/unit/data_files.h"

#include <zlib.h>

#include "core/data/exif.h"

static void read_fixture(const char *name, arena *a, void **bytes, size_t *count)
{
    char path[256];
    snprintf(path, sizeof path, "tests/golden/%s", name);
    assert_ok(file_read_all(a, path, 1 << 26, bytes, count));
}

static int greatest_difference(const uint8_t *a, const uint8_t *b, size_t count)
{
    int greatest = 0;
    for (size_t i = 0; i < count; i++)
        if (abs(a[i] - b[i]) > greatest) greatest = abs(a[i] - b[i]);
    return greatest;
}

/* Two taps about the centre of the target pixel, however much it shrinks: of six pixels to two, centres 1.5 and 4.5 are
 * pixels 1 and 4; of eight to two, centres 2 and 6 are the means of pixels 1 and 2, 5 and 6. */
static void test_linear_takes_two_taps(void **state)
{
    (void)state;
    static const struct { int32_t width; uint8_t pixel[8], expected[2]; } cases[] = {
        {6, {200, 10, 200, 90, 60, 0}, {10, 60}}, {8, {255, 10, 30, 255, 255, 100, 101, 255}, {20, 101}}};
    for (int i = 0; i < 2; i++) {
        image src = {.width = cases[i].width, .height = 1, .channels = 1, .pixels = (uint8_t *)cases[i].pixel}, dst;
        assert_ok(image_resize(&dst, &src, NULL, 2, 1, INTERPOLATION_LINEAR));
        assert_int_equal(dst.pixels[0], cases[i].expected[0]);
        assert_int_equal(dst.pixels[1], cases[i].expected[1]);
        image_free(&dst);
    }
}

static void test_resize_agrees_with_pillow(void **state)
{
    (void)state;
    static const spec_interpolation filters[] = {INTERPOLATION_BILINEAR, INTERPOLATION_BICUBIC, INTERPOLATION_NEAREST};
    arena memory = {0};
    void *bytes;
    size_t count, at = 0;
    int cases = 0;
    read_fixture("resize_pillow.bin", &memory, &bytes, &count);
    while (at < count) {
        int32_t n[6];
        float box[4];
        memcpy(n, (uint8_t *)bytes + at, sizeof n);
        memcpy(box, (uint8_t *)bytes + at + sizeof n, sizeof box);
        at += sizeof n + sizeof box;
        image src = make_picture(n[0], n[1], n[4]), dst;
        assert_ok(image_resize(&dst, &src, box, n[2], n[3], filters[n[5]]));
        size_t size = (size_t)n[2] * (size_t)n[3] * (size_t)n[4];
        int difference = greatest_difference(dst.pixels, (uint8_t *)bytes + at, size);
        if (difference > (n[5] == 2 ? 0 : 1))
            fail_msg("%d x %d to %d x %d, %d channels, filter %d: %d grey levels", n[0], n[1], n[2], n[3], n[4], n[5],
                difference);
        at += size;
        image_free(&src);
        image_free(&dst);
        cases++;
    }
    assert_int_equal(cases, 3 * (8 * 2 + 3));
    arena_free(&memory);
}

/* Cut first, a filter ends at the crop's border; in one resampling it sees what lies around. */
static bool on_border(size_t pixel, size_t side)
{
    size_t x = pixel % side, y = pixel / side;
    return x == 0 || y == 0 || x == side - 1 || y == side - 1;
}

static void test_crop_agrees_with_torchvision(void **state)
{
    (void)state;
    arena memory = {0};
    void *bytes;
    size_t count, at = 0;
    int cases = 0;
    read_fixture("preprocess_torch.bin", &memory, &bytes, &count);
    for (; at < count; cases++) {
        int32_t n[5];
        memcpy(n, (uint8_t *)bytes + at, sizeof n);
        at += sizeof n;
        preprocess p = {.width = n[4],
            .height = n[4],
            .channels = 3,
            .std = {1, 1, 1},
            .crop_fraction = (float)n[2] / (float)n[3],
            .crop_size = n[2] == n[4] ? 0 : n[2]};
        image src = make_picture(n[0], n[1], 3);
        size_t size = (size_t)n[4] * (size_t)n[4] * 3;
        float *dst = malloc(size * sizeof *dst);
        assert_ok(image_preprocess(dst, &src, &p));
        for (size_t i = 0; i < size; i++)
            if (abs((int)dst[i] - ((uint8_t *)bytes)[at + i]) > 1 && !(p.crop_size && on_border(i / 3, (size_t)n[4])))
                fail_msg(
                    "%d x %d: value %zu is %g, torchvision has %d", n[0], n[1], i, dst[i], ((uint8_t *)bytes)[at + i]);
        at += size;
        free(dst);
        image_free(&src);
    }
    assert_int_equal(cases, 6);
    arena_free(&memory);
}

static void test_oddities(void **state)
{
    (void)state;
    const char *folder = shared_data("oddities");
    if (!folder) skip();
    arena memory = {0};
    void *text;
    size_t bytes;
    read_fixture("oddities_pillow.txt", &memory, &text, &bytes);
    int lines = 0;
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line && *line; line = strsep(&rest, "\n"), lines++) {
        char name[128], first[32];
        int w = 0, h = 0, c = 0;
        unsigned crc = 0;
        image im;
        void *file;
        size_t count;
        assert_true(sscanf(line, "%127s %31s", name, first) == 2);
        assert_ok(file_read_all(&memory, path_join(&memory, folder, name), 1 << 26, &file, &count));
        status code = image_decode(&im, file, count, &any_image);
        if (strcmp(first, "bad") == 0) {
            if (code != E_DATA) fail_msg("%s: should be refused", name);
            continue;
        }
        if (code != OK && strstr(status_message(), "built without")) {
            print_message("# skipped: %s: %s\n", name, status_message());
            continue;
        }
        if (code != OK) fail_msg("%s: %s", name, status_message());
        assert_int_equal(sscanf(line, "%127s %d %d %d %x", name, &w, &h, &c, &crc), 5);
        unsigned ours = (unsigned)crc32(0, im.pixels, (unsigned)(im.width * im.height * im.channels));
        if (im.width != w || im.height != h || im.channels != c || ours != crc)
            fail_msg("%s: %d x %d x %d crc %08x, Pillow has %s", name, im.width, im.height, im.channels, ours, line);
        image_free(&im);
    }
    assert_int_equal(lines, 23);
    arena_free(&memory);
}

/* Where the stored corner (0, 0) and the stored corner (last, 0) come to lie: EXIF 2.32, table of tag 0x0112. */
static void test_orientation_of_all_eight(void **state)
{
    (void)state;
    enum { L = 0, R = 31, T = 0, B = 15 };
    /* {x of (0,0), y of (0,0), x of (last,0), y of (last,0)} as left/right, top/bottom */
    static const char *const expected[9] = {"", "LTRT", "RTLT", "RBLB", "LBRB", "LTLB", "RTRB", "RBRT", "LBLT"};
    image im;
    assert_ok(image_alloc(&im, 32, 16, 3));
    memset(im.pixels, 128, 32 * 16 * 3);
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++) {
            memcpy(im.pixels + (y * 32 + x) * 3, "\xff\0\0", 3);
            memcpy(im.pixels + (y * 32 + 24 + x) * 3, "\0\0\xff", 3);
        }
    for (int o = 1; o <= 8; o++) {
        size_t count;
        uint8_t *bytes = make_jpeg(&im, 95, o, &count);
        image up;
        int32_t w, h;
        const char *format;
        assert_ok(image_decode(&up, bytes, count, &any_image));
        assert_int_equal(up.width, o >= 5 ? 16 : 32);
        assert_int_equal(up.height, o >= 5 ? 32 : 16);
        assert_ok(image_probe(bytes, count, &any_image, &w, &h, &format));
        assert_int_equal(w, up.width);
        assert_int_equal(h, up.height);
        assert_string_equal(format, "jpeg");
        for (int corner = 0; corner < 2; corner++) {
            const char *where = expected[o] + 2 * corner;
            int x = where[0] == 'L' ? 1 : up.width - 2, y = where[1] == 'T' ? 1 : up.height - 2;
            const uint8_t *p = up.pixels + (y * up.width + x) * 3;
            if (!(p[corner ? 2 : 0] > 200 && p[corner ? 0 : 2] < 60))
                fail_msg("orientation %d: corner %d is not there", o, corner);
        }
        image_free(&up);
        decode_options strict = any_image;
        strict.exif = EXIF_ERROR;
        assert_int_equal(image_decode(&up, bytes, count, &strict), o == 1 ? OK : E_DATA);
        image_free(&up);
        strict.exif = EXIF_IGNORE;
        assert_ok(image_decode(&up, bytes, count, &strict));
        assert_int_equal(up.width, 32);
        image_free(&up);
        free(bytes);
    }
    image_free(&im);
}

static void test_exif_never_reads_outside(void **state)
{
    (void)state;
    uint8_t exif[] = {
        'E', 'x', 'i', 'f', 0, 0, 'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0};
    assert_int_equal(exif_orientation(exif, sizeof exif), 6);
    for (size_t n = 0; n < sizeof exif - 2; n++) {
        uint8_t *cut = malloc(n + 1);
        memcpy(cut, exif, n);
        assert_int_equal(exif_orientation(cut, n), 1);
        free(cut);
    }
    exif[24] = 9;
    assert_int_equal(exif_orientation(exif, sizeof exif), 1);
    memset(exif + 10, 0xff, 4);
    assert_int_equal(exif_orientation(exif, sizeof exif), 1);
}

/* Every prefix of a file is refused, whatever the format, and nothing is read outside of it. */
static void test_truncated_everywhere(void **state)
{
    (void)state;
    image im = make_smooth(40, 30, 3, 1), out;
    uint8_t *jpeg, *png;
    size_t jpeg_count, png_count;
    jpeg = make_jpeg(&im, 80, 3, &jpeg_count);
    assert_ok(image_encode_png(&im, &png, &png_count));
    char *pnm = malloc(64 + 3600);
    int head = sprintf(pnm, "P6\n40 30\n255\n");
    memcpy(pnm + head, im.pixels, 3600);
    const struct {
        const uint8_t *bytes;
        size_t count;
    } files[] = {{jpeg, jpeg_count}, {png, png_count}, {(uint8_t *)pnm, (size_t)head + 3600}};
    for (int f = 0; f < 3; f++) {
        for (size_t n = 0; n < files[f].count; n += 1 + n / 40) {
            uint8_t *cut = malloc(n ? n : 1);
            memcpy(cut, files[f].bytes, n);
            if (image_decode(&out, cut, n, &any_image) != E_DATA)
                fail_msg("file %d cut to %zu of %zu bytes", f, n, files[f].count);
            free(cut);
        }
        assert_int_equal(image_decode(&out, files[f].bytes, files[f].count - 1, &any_image), E_DATA);
        assert_ok(image_decode(&out, files[f].bytes, files[f].count, &any_image));
        assert_int_equal(out.width, 40);
        image_free(&out);
    }
    free(jpeg);
    free(png);
    free(pnm);
    image_free(&im);
}

static void test_limits(void **state)
{
    (void)state;
    size_t count;
    image im = make_smooth(50, 40, 3, 2), out;
    uint8_t *bytes = make_jpeg(&im, 80, 0, &count);
    decode_options o = any_image;
    o.max_pixels = 1999;
    assert_fails(E_DATA, "max_pixels", image_decode(&out, bytes, count, &o));
    o.max_pixels = 2000;
    assert_ok(image_decode(&out, bytes, count, &o));
    image_free(&out);
    free(bytes);
    image_free(&im);
    assert_fails(E_DATA, "max_pixels", image_decode(&out, (const uint8_t *)"P6 60000 60000 255\n", 19, &any_image));
    assert_fails(E_DATA, "GIF", image_decode(&out, (const uint8_t *)"GIF89a...", 9, &any_image));
    assert_fails(E_DATA, "empty", image_decode(&out, (const uint8_t *)"", 0, &any_image));
}

static void test_pnm(void **state)
{
    (void)state;
    static const char *const files[] = {
        "P5 #note\n 2 # two\n1\n100\n\x32\xff", "P5 2 1 65535 \x80\x80\xff\xff", "P6\n1 1\n255\n\x01\x02\x03"};
    static const size_t bytes[] = {26, 17, 14};
    static const int values[3][3] = {{128, 255}, {128, 255}, {1, 2, 3}};
    for (int i = 0; i < 3; i++) {
        image im;
        assert_ok(image_decode(&im, (const uint8_t *)files[i], bytes[i], &any_image));
        assert_int_equal(im.width, i == 2 ? 1 : 2);
        for (int k = 0; k < im.width * im.channels; k++) assert_int_equal(im.pixels[k], values[i][k]);
        image_free(&im);
        assert_int_equal(image_decode(&im, (const uint8_t *)files[i], bytes[i] - 1, &any_image), E_DATA);
    }
    image im;
    assert_fails(
        E_DATA, "header", image_decode(&im, (const uint8_t *)"P5 99999999999999999999 1 255 ", 30, &any_image));
}

static void test_png_round_trip(void **state)
{
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) {
        image im = make_picture(33, 17, channels), back;
        uint8_t *bytes;
        size_t count;
        assert_ok(image_encode_png(&im, &bytes, &count));
        assert_ok(image_decode(&back, bytes, count, &any_image));
        assert_int_equal(back.channels, channels);
        assert_memory_equal(im.pixels, back.pixels, (size_t)(33 * 17 * channels));
        free(bytes);
        image_free(&im);
        image_free(&back);
    }
}

/* A reduced decode is never smaller than asked for, and looks like the picture averaged. */
static void test_scaled_decode(void **state)
{
    (void)state;
    size_t count;
    image im = make_smooth(320, 200, 3, 3), out, small;
    uint8_t *bytes = make_jpeg(&im, 95, 6, &count);
    static const struct {
        int32_t min_w, min_h, w, h;
    } cases[] = {{0, 0, 200, 320}, {200, 320, 200, 320}, {101, 1, 200, 320}, {100, 160, 100, 160}, {50, 80, 50, 80},
        {49, 81, 100, 160}, {1, 1, 25, 40}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        decode_options o = any_image;
        o.min_width = cases[i].min_w;
        o.min_height = cases[i].min_h;
        assert_ok(image_decode(&out, bytes, count, &o));
        assert_int_equal(out.width, cases[i].w);
        assert_int_equal(out.height, cases[i].h);
        o.min_width = o.min_height = 0;
        image full;
        assert_ok(image_decode(&full, bytes, count, &o));
        assert_ok(image_resize(&small, &full, NULL, out.width, out.height, INTERPOLATION_BILINEAR));
        assert_true(greatest_difference(out.pixels, small.pixels, (size_t)(out.width * out.height * 3)) <= 8);
        image_free(&out);
        image_free(&full);
        image_free(&small);
    }
    free(bytes);
    image_free(&im);
}

static void test_draw_is_clipped(void **state)
{
    (void)state;
    static const uint8_t red[3] = {255, 0, 0};
    image im, stamp = make_picture(9, 9, 1);
    assert_ok(image_alloc(&im, 20, 12, 3));
    image_draw_text(&im, -3, -2, "Graft 100 %", red, 2);
    image_draw_text(&im, 18, 11, "~\x7f\xff", red, 1);
    image_draw_rect(&im, -5, -5, 40, 40, red, 2);
    image_draw_rect(&im, 2147483600, 2147483600, 2147483647, 2147483647, red, 9);
    image_paste(&im, &stamp, -4, 8);
    image_paste(&im, &stamp, 15, -8);
    memset(im.pixels, 7, 20 * 12 * 3);
    image_draw_rect(&im, 2, 3, 10, 9, red, 1);
    assert_memory_equal(im.pixels + (3 * 20 + 2) * 3, red, 3);
    assert_memory_equal(im.pixels + (8 * 20 + 9) * 3, red, 3);
    assert_int_equal(im.pixels[(4 * 20 + 3) * 3], 7);
    assert_int_equal(im.pixels[(9 * 20 + 9) * 3], 7);
    image_paste(&im, &stamp, 5, 5);
    assert_int_equal(im.pixels[(6 * 20 + 7) * 3 + 2], stamp.pixels[9 + 2]);
    image_free(&im);
    image_free(&stamp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resize_agrees_with_pillow), cmocka_unit_test(test_linear_takes_two_taps),
        cmocka_unit_test(test_crop_agrees_with_torchvision),
        cmocka_unit_test(test_oddities),
        cmocka_unit_test(test_orientation_of_all_eight),
        cmocka_unit_test(test_exif_never_reads_outside),
        cmocka_unit_test(test_truncated_everywhere),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_pnm),
        cmocka_unit_test(test_png_round_trip),
        cmocka_unit_test(test_scaled_decode),
        cmocka_unit_test(test_draw_is_clipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
