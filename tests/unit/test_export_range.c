/* From histogram to clipping point. Expected values: tests/golden/calibration_range.py (numpy). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/unit_test.h"

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
        fail_msg("%s, %s: kept %.1f bins, expected %lld", c->name, calibrator_name(method),
            (double)clip / amax * CALIBRATION_BINS, (long long)kept);
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
    tensor_range ranges[] = {
        {.amax = 0, .count = 100, .bin = zero}, {.amax = 3, .count = 7, .bin = single}, {.amax = 0}};
    calibration c = {.range = ranges, .edge_count = 3, .images = 1};
    for (spec_calibrator m = CALIBRATOR_ENTROPY; m < CALIBRATOR_AUTO; m++) {
        float scale[3] = {-1, -1, -1};
        calibration_scales(&c, m, 99.99, scale);
        assert_true(scale[0] == 1.0f);
        assert_true(scale[1] > 3.0f / 127 * 0.99f && scale[1] <= 3.0f / 127);
        assert_true(scale[2] == 0.0f);
    }
}

/* Real histograms: entropy keeps what NVIDIA's published method keeps, tensor by tensor, also where that is little of
 * the range. Numbers and counts: tests/golden/calibration_peers.py; those of ncnn and onnxruntime stand beside, for the
 * reader (docs/QAT.md). */
static void test_published(void **state)
{
    (void)state;
    enum { TENSORS = 4 };
    const char *path = "tests/golden/calibration_demo.txt";
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s: not there: tests run in the repository's root", path);
    for (int i = 0; i < TENSORS; i++) {
        char name[64];
        long long kept, count;
        double ncnn, onnxruntime;
        int64_t bin[CALIBRATION_BINS];
        tensor_range r = {.amax = 1, .bin = bin};
        assert_int_equal(fscanf(f, "%63s %lld %lf %lf", name, &kept, &ncnn, &onnxruntime), 4);
        for (int64_t k = 0; k < CALIBRATION_BINS; k++, r.count += count) {
            assert_int_equal(fscanf(f, "%lld", &count), 1);
            bin[k] = count;
        }
        double ours = (double)range_clip(&r, CALIBRATOR_ENTROPY, 0) * CALIBRATION_BINS;
        if (ours != (double)kept) fail_msg("%s: %.1f bins, NVIDIA's method keeps %lld", name, ours, kept);
    }
    fclose(f);
}

/* The tensor that is clipped hardest is named; rounding of scales is no clipping. */
static void test_least_kept(void **state)
{
    (void)state;
    int64_t bin[CALIBRATION_BINS] = {0};
    tensor_range ranges[] = {{.amax = 2, .bin = bin}, {.amax = 3, .bin = bin}, {.amax = 5}, {.amax = 7, .bin = bin}};
    calibration c = {.range = ranges, .edge_count = 4};
    float whole[] = {2.0f / 127, 3.0f / 127, 0, 7.0f / 127}, clipped[] = {1.0f / 127, 0.75f / 127, 0, 7.0f / 127};
    edge_id e = 0;
    assert_true(calibration_least_kept(&c, whole, &e) == 1);
    assert_int_equal(e, EDGE_NONE);
    assert_true(fabs(calibration_least_kept(&c, clipped, &e) - 0.25) < 1e-6);
    assert_int_equal(e, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_percentile_100),
        cmocka_unit_test(test_scale_free),
        cmocka_unit_test(test_degenerate),
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_least_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
