/* Files that ask for far more memory or work than their pixels are worth. Memory is the peak of a process that decodes
 * nothing else (getrusage): at most twice the decoded size and 16 MiB, as image.h promises. */
#include "tests/unit/data_files.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <zlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MEMORY_IS_OURS = 0 }; /* the sanitizer's own memory counts too */
#else
enum { MEMORY_IS_OURS = 1 };
#endif

static long peak_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* Decodes in a child; returns its status. *grown: how far its peak rose above what it had. */
static status decode_in_child(const uint8_t *bytes, size_t count, long *grown_kib)
{
    int ends[2], code = 0;
    struct {
        status code;
        long grown_kib;
    } said = {0};
    assert_int_equal(pipe(ends), 0);
    malloc_trim(0); /* what is freed and still held here would be room for the child */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        image im;
        long before = peak_kib();
        said.code = image_decode(&im, bytes, count, &any_image);
        said.grown_kib = peak_kib() - before;
        _exit(write(ends[1], &said, sizeof said) == sizeof said ? 0 : 1);
    }
    assert_int_equal(read(ends[0], &said, sizeof said), sizeof said);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    close(ends[0]);
    close(ends[1]);
    *grown_kib = said.grown_kib;
    return said.code;
}

static void assert_memory_of(const char *what, long grown_kib, int64_t decoded_bytes)
{
    long allowed = (long)((2 * decoded_bytes + (16 << 20)) / 1024);
    if (MEMORY_IS_OURS && grown_kib > allowed)
        fail_msg("%s: the peak rose by %ld KiB, allowed are %ld", what, grown_kib, allowed);
}

/* A pixel of 64 MiB, and an endless name and profile beside it. */
static uint8_t *make_png_bomb(size_t *count)
{
    enum { ZEROS = 64 << 20 };
    uint8_t *zeros = calloc(1, ZEROS), *packed = malloc(compressBound(ZEROS)),
            *file = malloc(2 * compressBound(ZEROS) + 256), *to = file;
    uLongf size = compressBound(ZEROS);
    assert_int_equal(compress2(packed, &size, zeros, ZEROS, 9), Z_OK);
    memcpy(to, "\x89PNG\r\n\x1a\n", 8), to += 8;
    static const char *const types[] = {"IHDR", "iCCP", "IDAT", "IEND"};
    for (int i = 0; i < 4; i++) {
        uint8_t *data = to + 8;
        size_t length = i == 0 ? 13 : i == 3 ? 0 : size;
        memcpy(to + 4, types[i], 4);
        if (i == 0) memcpy(data, "\0\0\0\1\0\0\0\1\x08\0\0\0\0", 13);
        if (i == 1) memcpy(data, "p\0\0", 3), memcpy(data + 3, packed, size), length += 3;
        if (i == 2) memcpy(data, packed, size);
        uint32_t crc = (uint32_t)crc32(0, to + 4, (unsigned)length + 4);
        for (int k = 0; k < 4; k++)
            to[k] = (uint8_t)(length >> (24 - 8 * k)), data[length + (size_t)k] = (uint8_t)(crc >> (24 - 8 * k));
        to = data + length + 4;
    }
    *count = (size_t)(to - file);
    free(zeros);
    free(packed);
    return file;
}

static void test_png_inflates_what_the_header_says(void **state)
{
    (void)state;
    size_t count;
    long grown;
    uint8_t *file = make_png_bomb(&count);
    assert_int_equal(decode_in_child(file, count, &grown), OK);
    assert_memory_of("a pixel with 64 MiB behind it", grown, 1);
    /* The same data for a picture that needs a thousand times as much of them: nothing of its size is allocated. */
    memcpy(file + 16, "\0\0\x27\x10\0\0\x27\x10\x08\2", 10);
    uint32_t crc = (uint32_t)crc32(0, file + 12, 17);
    for (int k = 0; k < 4; k++) file[29 + k] = (uint8_t)(crc >> (24 - 8 * k));
    assert_int_equal(decode_in_child(file, count, &grown), E_DATA);
    assert_memory_of("a PNG without pixels", grown, 0);
    free(file);
}

/* Headers that claim 10000 x 10000 pixels, and nothing behind them. */
static void test_headers_alone(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t count;
    } files[] = {{"BMP",
                     "BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x10\x27\0\0\x10\x27\0\0\1\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0"
                     "\0\0\0\0\0\0\0\0\0\0\0\0",
                     54},
        {"BMP, top-down",
            "BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x10\x27\0\0\xf0\xd8\xff\xff\1\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
            "\0\0\0\0\0\0\0\0\0",
            54},
        {"PPM", "P6 10000 10000 255\n123", 22},
        {"GIF", "GIF89a\x10\x27\x10\x27\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x10\x27\x10\x27\0\2\2\x44\1\0;", 34},
        {"WebP", "RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\x0f\xe7\xc3\x09\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0", 34},
        {"TIFF",
            "II*"
            "\0\x08\0\0\0\6\0\0\1\4\0\1\0\0\0\x10\x27\0\0\1\1\4\0\1\0\0\0\x10\x27\0\0\2\1\3\0\1\0\0\0\x08\0\0\0\3\1\3\0"
            "\1\0\0\0\5\0\0\0"
            "\6\1\3\0\1\0\0\0\1\0\0\0\x11\1\4\0\1\0\0\0\x08\0\0\0\0\0\0\0",
            86}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        long grown;
        assert_int_equal(decode_in_child((const uint8_t *)files[i].bytes, files[i].count, &grown), E_DATA);
        assert_memory_of(files[i].name, grown, 0);
    }
}

/* A JPEG in `scans` scans: the mean values, then one coefficient of each component after the other. */
static uint8_t *make_scans(int side, int scans, bool colour, bool busy, size_t *count)
{
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    static jpeg_scan_info script[100];
    unsigned char *bytes = NULL;
    unsigned long length = 0;
    uint8_t *row = malloc((size_t)side * 3);
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &length);
    info.image_width = info.image_height = (JDIMENSION)side;
    info.input_components = colour ? 3 : 1;
    info.in_color_space = colour ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(&info);
    for (int i = 0; i < info.num_components; i++) info.comp_info[i].h_samp_factor = info.comp_info[i].v_samp_factor = 1;
    script[0] = (jpeg_scan_info){.comps_in_scan = info.num_components, .component_index = {0, 1, 2}};
    for (int i = 1; i < scans; i++) {
        int band = (i - 1) / info.num_components + 1;
        bool last = i > scans - 1 - info.num_components;
        script[i] = (jpeg_scan_info){
            .comps_in_scan = 1, .component_index = {(i - 1) % info.num_components}, .Ss = band, .Se = last ? 63 : band};
    }
    info.scan_info = script;
    info.num_scans = scans;
    jpeg_start_compress(&info, TRUE);
    for (int y = 0; y < side; y++) {
        for (int i = 0; i < side * info.num_components; i++)
            row[i] = (uint8_t)(busy ? (i * 31 + y * 17) ^ (i * y >> 4) : 128);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    free(row);
    *count = length;
    return bytes;
}

static void test_jpeg_scans_are_bounded(void **state)
{
    (void)state;
    static const struct {
        int side, scans;
        bool colour;
        const char *refused;
    } cases[] = {{64, 60, false, NULL}, {2048, 10, true, NULL}, {2048, 60, false, "60 scans of 2048 x 2048"},
        {1024, 61, true, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t count;
        image im;
        uint8_t *file = make_scans(cases[i].side, cases[i].scans, cases[i].colour, false, &count);
        if (cases[i].refused) assert_fails(E_DATA, cases[i].refused, image_decode(&im, file, count, &any_image));
        else assert_ok(image_decode(&im, file, count, &any_image));
        image_free(&im);
        free(file);
    }
}

/* Frame headers with other sizes than their data have: two bytes each of height and width behind the marker SOF2. */
static void test_jpeg_headers_that_lie(void **state)
{
    (void)state;
    size_t count;
    image im;
    uint8_t *file = make_scans(64, 4, false, false, &count), *frame = memmem(file, count, "\xff\xc2", 2),
            *scan = memmem(file, count, "\xff\xda", 2);
    assert_true(frame && scan);
    memcpy(frame + 5, "\x27\x10\x27\x10", 4);
    assert_fails(E_DATA, "cannot hold 10000 x 10000 pixels", image_decode(&im, file, count, &any_image));
    memcpy(frame + 5, "\0\x40\0\x40", 4);
    /* Without the scan of the mean values a file of any size could be a few bytes long. */
    scan[7] = 1;
    assert_fails(E_DATA, "no scan begins component 1", image_decode(&im, file, count, &any_image));
    free(file);
}

/* A HEIF file says sizes in its container (the boxes "ispe") and again in the coded picture, and decoders believe the
 * latter. */
static void test_heif_containers_that_lie(void **state)
{
    (void)state;
    static const char *const names[] = {"flat.heic", "flat.avif"};
    arena memory = {0};
    for (int i = 0; i < 2; i++) {
        void *file;
        size_t count;
        long grown;
        image im;
        char *path = arena_printf(&memory, "tests/golden/pictures/%s", names[i]);
        assert_ok(file_read_all(&memory, path, 1 << 20, &file, &count));
        if (image_decode(&im, file, count, &any_image) == E_DATA && strstr(status_message(), "built without")) {
            print_message("# skipped: %s: %s\n", names[i], status_message());
            continue;
        }
        assert_true(im.width == 1100 && im.height == 1100);
        image_free(&im);
        uint8_t *end = (uint8_t *)file + count;
        for (uint8_t *at = file; (at = memmem(at, (size_t)(end - at), "ispe", 4)); at += 4)
            memcpy(at + 8, "\0\0\0\x40\0\0\0\x40", 8);
        assert_fails(E_DATA, "64 x 64 pixels in the header", image_decode(&im, file, count, &any_image));
        assert_int_equal(decode_in_child(file, count, &grown), E_DATA);
        assert_memory_of(names[i], grown, 0);
    }
    arena_free(&memory);
}

/* libjpeg keeps the coefficients of a progressive picture, two bytes each, until its last row is made. */
static void test_memory_of_progressive_jpeg(void **state)
{
    (void)state;
    enum { SIDE = 3000 };
    for (int colour = 0; colour < 2; colour++) {
        size_t count;
        long grown;
        uint8_t *file = make_scans(SIDE, colour ? 7 : 3, colour, true, &count);
        assert_int_equal(decode_in_child(file, count, &grown), OK);
        assert_memory_of(colour ? "a progressive JPEG, 4:4:4" : "a progressive JPEG, grey", grown,
            (int64_t)SIDE * SIDE * (colour ? 3 : 1));
        free(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_png_inflates_what_the_header_says),
        cmocka_unit_test(test_headers_alone), cmocka_unit_test(test_jpeg_scans_are_bounded),
        cmocka_unit_test(test_jpeg_headers_that_lie), cmocka_unit_test(test_heif_containers_that_lie),
        cmocka_unit_test(test_memory_of_progressive_jpeg)};
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
