/* TensorRT's calibration cache. The lines 3c010a14, 3d5b2f80 and 3c009976 stand in published caches (the last in
 * NVIDIA/TensorRT issue 2036: 0.0078491, amax 0.99683); their values follow from IEEE 754. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit_test.h"

#include "core/base/file.h"
#include "export/cache.h"

static status parse(calibration_cache *c, const char *text)
{
    return cache_parse(c, text, strlen(text), "x.cal");
}

static void test_reads(void **state)
{
    (void)state;
    calibration_cache c;
    assert_int_equal(
        parse(&c, "TRT-8601-EntropyCalibration2\nimages: 3c010a14\nconv1_out: 3d5b2f80\na: b: 3C009976\n"), OK);
    assert_int_equal(c.version, 8601);
    assert_string_equal(c.algorithm, "EntropyCalibration2");
    assert_int_equal(c.count, 3);
    assert_string_equal(c.entries[0].name, "images");
    assert_true(c.entries[0].scale == 0x1.021428p-7f);
    assert_true(c.entries[1].scale == 0x1.b65f00p-5f);
    assert_string_equal(c.entries[2].name, "a: b");
    assert_true(c.entries[2].scale == 0x1.0132ecp-7f);
    assert_true(c.entries[2].scale * 127 > 0.99682f && c.entries[2].scale * 127 < 0.99684f);
    assert_ptr_equal(cache_find(&c, "conv1_out"), &c.entries[1]);
    assert_null(cache_find(&c, "conv1"));
    cache_free(&c);
}

/* What other writers do: CRLF, no final newline, leading zeros lost, empty lines. */
static void test_tolerates(void **state)
{
    (void)state;
    calibration_cache c;
    assert_int_equal(
        parse(&c, "TRT-100900-MinMaxCalibration\r\n\r\nx: 1\r\n(Unnamed Layer* 48) [Constant]_output: 3f800000"), OK);
    assert_int_equal(c.version, 100900);
    assert_string_equal(c.algorithm, "MinMaxCalibration");
    assert_int_equal(c.count, 2);
    assert_true(c.entries[0].scale == 0x1p-149f);
    assert_true(c.entries[1].scale == 1.0f);
    cache_free(&c);
}

static void test_refuses(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "empty"},
        {"images: 3c010a14\n", "x.cal:1"},
        {"TRT--EntropyCalibration2\n", "x.cal:1"},
        {"TRT-8601-\n", "x.cal:1"},
        {"TRT-99999999-Entropy\n", "x.cal:1"},
        {"TRT-8601-E\nimages 3c010a14\n", "x.cal:2"},
        {"TRT-8601-E\n: 3c010a14\n", "x.cal:2"},
        {"TRT-8601-E\nimages: \n", "x.cal:2"},
        {"TRT-8601-E\na: 3f800000\nimages: 3c010a141\n", "x.cal:3"},
        {"TRT-8601-E\nimages: 0x3c0101\n", "x.cal:2"},
        {"TRT-8601-E\nimages: 7f800000\n", "x.cal:2"}, /* infinity */
        {"TRT-8601-E\nimages: 7fc00000\n", "x.cal:2"}, /* NaN      */
        {"TRT-8601-E\nimages: bf800000\n", "x.cal:2"}, /* -1       */
        {"TRT-8601-E\nimages: 0\n", "x.cal:2"},
        {"TRT-8601-E\na: 3f800000\nb: 3f800000\na: 3f800000\n", "a stands there twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        calibration_cache c;
        assert_int_equal(parse(&c, bad[i][0]), E_MODEL);
        if (!strstr(status_message(), bad[i][1])) fail_msg("case %zu: %s", i, status_message());
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    static const char expected[] = "TRT-8601-EntropyCalibration2\nimages: 3c010a14\ntiny: 00000001\na: b: 3d5b2f80\n";
    calibration_cache c, again;
    char path[64];
    arena a = {0};
    void *text;
    size_t bytes;
    snprintf(path, sizeof path, "/tmp/graft-cache-%ld.cal", (long)getpid());
    assert_int_equal(parse(&c, expected), OK);
    assert_int_equal(cache_write(path, c.version, c.algorithm, c.entries, c.count), OK);
    assert_int_equal(file_read_all(&a, path, 4096, &text, &bytes), OK);
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(text, expected, bytes);
    assert_int_equal(cache_read(&again, path), OK);
    assert_int_equal(again.count, 3);
    assert_int_equal(cache_write(path, 8601, "E", &(cache_entry){"a\nb", 1}, 1), E_USAGE);
    unlink(path);
    arena_free(&a);
    cache_free(&c);
    cache_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_tolerates),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
