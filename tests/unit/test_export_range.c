/* From histogram to clipping point. Expected values: tests/golden/calibration_range.py (numpy). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "export/calibrate.h"

typedef struct range_case {
    const char *name;
    int64_t entropy, percentile_9999, percentile_99, mse; /* kept bins */
} range_case;

static const range_case cases[] = {
    {"decay", 952, 839, 456, 847},
    {"relu", 952, 814, 417, 847},
    {"uniform", 2048, 2048, 2028, 2040},
    {"outlier", 300, 300, 280, 857},
};
enum { CASES = sizeof cases / sizeof *cases };

static void fill(const char *name, int64_t bin[CALIBRATION_BINS])
{
    int64_t value = 1000000;
    for (int64_t i = 0; i < CALIBRATION_BINS; i++) {
        bin[i] = value + (i * 7919 % 61 == 0);
        value = value * 99 / 100;
        if (strcmp(name, "uniform") == 0) bin[i] = 1000;
        if (strcmp(name, "outlier") == 0) bin[i] = i < 300 ? 5000 - 16 * i : i == 2047 ? 3 : 0;
    }
    if (strcmp(name, "relu") == 0) bin[0] = 50000000;
}

static tensor_range make_range(const char *name, float amax, int64_t bin[CALIBRATION_BINS])
{
    tensor_range r = {.amax = amax, .bin = bin};
    fill(name, bin);
    for (int64_t i = 0; i < CALIBRATION_BINS; i++) r.count += bin[i];
    return r;
}

static void check(const range_case *c, spec_calibrator method, double percentile, int64_t kept)
{
    int64_t bin[CALIBRATION_BINS];
    float amax = 2.5f;
    tensor_range r = make_range(c->name, amax, bin);
    float expected = kept == CALIBRATION_BINS ? amax : (float)((double)amax * (double)kept / CALIBRATION_BINS);
    float clip = range_clip(&r, method, percentile);
    if (clip != expected)
        fail_msg("%s, %s: kept %.1f bins, expected %lld", c->name, calibrator_name(method), (double)clip / amax * CALIBRATION_BINS,
                 (long long)kept);
}

static void test_methods(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        check(&cases[i], CALIBRATOR_ENTROPY, 0, cases[i].entropy);
        check(&cases[i], CALIBRATOR_PERCENTILE, 99.99, cases[i].percentile_9999);
        check(&cases[i], CALIBRATOR_PERCENTILE, 99, cases[i].percentile_99);
        check(&cases[i], CALIBRATOR_MSE, 0, cases[i].mse);
        check(&cases[i], CALIBRATOR_MINMAX, 0, CALIBRATION_BINS);
    }
}

/* Everything lies below the 100th percentile. */
static void test_percentile_100(void **state)
{
    (void)state;
    check(&(range_case){.name = "outlier"}, CALIBRATOR_PERCENTILE, 100, CALIBRATION_BINS);
}

/* A clipping point follows the unit that values are measured in. */
static void test_scale_free(void **state)
{
    (void)state;
    int64_t bin[CALIBRATION_BINS];
    tensor_range r = make_range("decay", 1.0f, bin);
    float clip = range_clip(&r, CALIBRATOR_ENTROPY, 0);
    r.amax = 1024.0f;
    assert_true(range_clip(&r, CALIBRATOR_ENTROPY, 0) == 1024.0f * clip);
}

/* Constant zero, one single value, and tensors that nobody wants. */
static void test_degenerate(void **state)
{
    (void)state;
    int64_t zero[CALIBRATION_BINS] = {100}, single[CALIBRATION_BINS] = {0};
    single[CALIBRATION_BINS - 1] = 7;
    tensor_range ranges[] = {{.amax = 0, .count = 100, .bin = zero}, {.amax = 3, .count = 7, .bin = single}, {.amax = 0}};
    calibration c = {.range = ranges, .edge_count = 3, .images = 1};
    for (spec_calibrator m = CALIBRATOR_ENTROPY; m < CALIBRATOR_AUTO; m++) {
        float scale[3] = {-1, -1, -1};
        calibration_scales(&c, m, 99.99, scale);
        assert_true(scale[0] == 1.0f);
        assert_true(scale[1] > 3.0f / 127 * 0.99f && scale[1] <= 3.0f / 127);
        assert_true(scale[2] == 0.0f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_percentile_100),
        cmocka_unit_test(test_scale_free),
        cmocka_unit_test(test_degenerate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
