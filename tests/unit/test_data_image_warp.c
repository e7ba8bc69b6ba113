/* The augmentation op against the data path's own image_warp. Both define the same picture; the data path rounds on the
 * way: positions to 1/256 pixel (half of that times a step of 255 in each direction: 0.5 + 0.5 levels), or its first
 * pass to 8 bits (0.5), and the result (0.5). Noise is the worst that a picture can be. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit_test.h"

#include "core/base/rng.h"
#include "core/data/image.h"
#include "kernels/kernels.h"

enum { SRC_W = 61, SRC_H = 47, DST_W = 40, DST_H = 33 };
static const double LEVELS = 1.5 + 1e-3;

static image noise(int32_t channels)
{
    image im;
    rng r = rng_make(5, RNG_TEST, (uint64_t)channels);
    assert_int_equal(image_alloc(&im, SRC_W, SRC_H, channels), OK);
    for (int i = 0; i < SRC_W * SRC_H * channels; i++) im.pixels[i] = (uint8_t)rng_below(&r, 256);
    return im;
}

static void compare(const float inverse[9], const float *color, int32_t channels, double radius_x, double radius_y)
{
    image src = noise(channels), expected;
    float *dst = calloc(DST_W * DST_H * (size_t)channels, sizeof *dst);
    assert_non_null(dst);
    assert_int_equal(image_alloc(&expected, DST_W, DST_H, channels), OK);
    assert_int_equal(image_warp(&expected, &src, inverse, color, INTERPOLATION_BILINEAR, 77), OK);

    image_warp_desc d = {.n = 1,
        .height = DST_H,
        .width = DST_W,
        .bytes = SRC_W * SRC_H * channels,
        .channels = channels,
        .dst_channels = channels,
        .type = DTYPE_F32,
        .std = {1, 1, 1}};
    image_source s = {.width = SRC_W,
        .height = SRC_H,
        .radius_x = (float)radius_x,
        .radius_y = (float)radius_y,
        .fill = 77,
        .has_color = color != NULL};
    memcpy(s.inverse, inverse, sizeof s.inverse);
    if (color) memcpy(s.color, color, sizeof s.color);
    const kernel *k;
    assert_int_equal(kernel_select(&k, OP_IMAGE_WARP, BACKEND_CPU, &d, NULL, NULL), OK);
    assert_int_equal(k->run(&(kernel_call){.desc = &d, .out = {dst}, .in = {src.pixels, &s}}), OK);
    for (int i = 0; i < DST_W * DST_H * channels; i++)
        if (fabs((double)dst[i] - expected.pixels[i]) > LEVELS)
            fail_msg("value %d: %g, image_warp has %d", i, (double)dst[i], expected.pixels[i]);
    image_free(&src);
    image_free(&expected);
    free(dst);
}

static void test_upright(void **state)
{
    (void)state;
    static const float scales[][2] = {{1, 1}, {-1, 1}, {0.4f, 0.7f}, {1.5f, 1.3f}, {-2.2f, 3.1f}};
    for (size_t k = 0; k < sizeof scales / sizeof scales[0]; k++) {
        float x = scales[k][0], y = scales[k][1];
        float m[9] = {x, 0, 0, 0, y, 0, x < 0 ? 60.25f : -7.5f, -3.25f, 1};
        compare(m, NULL, 3, fmax(1, fabs((double)x)), fmax(1, fabs((double)y)));
        compare(m, NULL, 1, fmax(1, fabs((double)x)), fmax(1, fabs((double)y)));
    }
}

static void test_turned(void **state)
{
    (void)state;
    for (int k = 0; k < 6; k++) {
        double angle = 0.3 + k, scale = 0.35 + 0.1 * k;
        float m[9] = {(float)(scale * cos(angle)), (float)(scale * sin(angle)), 0, (float)(-scale * sin(angle)),
            (float)(scale * cos(angle)), 0, 31, 20, 1};
        compare(m, NULL, 3, 1, 1);
    }
    /* Seen from the side. */
    compare((float[9]){0.6f, 0.1f, 0.004f, -0.1f, 0.7f, 0.002f, 8, 2, 1}, NULL, 3, 1, 1);
}

/* Colours that clip at both ends; rows sum to at most 1, so that rounding errors do not grow. */
static void test_coloured(void **state)
{
    (void)state;
    float identity[9] = {1, 0, 0, 0, 1, 0, 3, 4, 1};
    float color[16] = {0.7f, 0.1f, 0, 0, 0.2f, 0.6f, -0.3f, 0, 0, 0.2f, 0.6f, 0, 0.25f, -0.2f, 0.1f, 1};
    compare(identity, color, 3, 1, 1);
    compare(identity, color, 1, 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upright), cmocka_unit_test(test_turned), cmocka_unit_test(test_coloured)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
