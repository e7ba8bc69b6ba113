/* What the GPU warps from the part of an image is what it would make of the whole image. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit_test.h"

#include "core/base/rng.h"
#include "core/data/picture.h"
#include "kernels/kernels.h"

enum { SRC_W = 90, SRC_H = 70, DST_W = 32, DST_H = 24, CHANNELS = 3, DST_COUNT = DST_W * DST_H * CHANNELS };

static void warp(float *dst, const uint8_t *pixels, const picture *p)
{
    image_warp_desc d = {.n = 1,
        .height = DST_H,
        .width = DST_W,
        .bytes = (int64_t)p->width * p->height * CHANNELS,
        .channels = CHANNELS,
        .dst_channels = CHANNELS,
        .type = DTYPE_F32,
        .std = {1, 1, 1}};
    image_source s = {.width = p->width,
        .height = p->height,
        .radius_x = p->radius[0],
        .radius_y = p->radius[1],
        .fill = (float)p->fill,
        .has_color = p->has_color};
    const kernel *k;
    memcpy(s.inverse, p->inverse, sizeof s.inverse);
    memcpy(s.color, p->color, sizeof s.color);
    assert_int_equal(kernel_select(&k, OP_IMAGE_WARP, BACKEND_CPU, &d, NULL, NULL), OK);
    assert_int_equal(k->run(&(kernel_call){.desc = &d, .out = {dst}, .in = {pixels, &s}}), OK);
}

static augmentation drawn(uint64_t i)
{
    const preprocess p = {.width = DST_W, .height = DST_H, .channels = CHANNELS, .crop_fraction = 0.875f};
    rng r = rng_make(11, RNG_TEST, i);
    augmentation a = {.params = {.zoom = 1, .saturation = 1}};
    float left = rng_uniform_in(&r, 0, 40), top = rng_uniform_in(&r, 0, 30);
    memcpy(a.params.box, (float[4]){left, top, left + rng_uniform_in(&r, 8, 50), top + rng_uniform_in(&r, 8, 40)},
        sizeof a.params.box);
    a.params.width = p.width, a.params.height = p.height;
    a.params.hflip = i % 2, a.params.rotate = i % 3 ? rng_uniform_in(&r, -1, 1) : 0;
    augment_build(&a, p.width, p.height);
    a.fill = 60;
    return a;
}

/* Coefficients of a cropped map are rounded to f32 once more: at 90 pixels 2^-18, times 255 levels a pixel in both
 * directions. */
static void test_crop(void **state)
{
    (void)state;
    const double tolerance = 2 * 255 * 0x1p-18 * 2;
    image src;
    static uint8_t pixels[SRC_W * SRC_H * CHANNELS];
    static float whole[DST_COUNT], part[DST_COUNT];
    rng r = rng_make(3, RNG_TEST, 0);
    int cropped = 0;
    assert_int_equal(image_alloc(&src, SRC_W, SRC_H, CHANNELS), OK);
    for (size_t i = 0; i < sizeof pixels; i++) src.pixels[i] = (uint8_t)rng_below(&r, 256);
    for (uint64_t i = 0; i < 40; i++) {
        augmentation a = drawn(i);
        picture p, all;
        assert_int_equal(picture_make(&p, pixels, sizeof pixels, &src, &a, DST_W, DST_H, INTERPOLATION_BILINEAR), OK);
        warp(part, pixels, &p);
        all = p;
        all.width = SRC_W, all.height = SRC_H;
        memcpy(all.inverse, a.inverse, sizeof all.inverse);
        warp(whole, src.pixels, &all);
        cropped += p.width < SRC_W && p.height < SRC_H;
        for (int k = 0; k < DST_COUNT; k++)
            if (!(fabs((double)part[k] - (double)whole[k]) <= tolerance))
                fail_msg("map %d, value %d: %g, of the whole image %g", (int)i, k, (double)part[k], (double)whole[k]);
    }
    assert_true(cropped > 20);
    image_free(&src);
}

/* A slope stays a slope under every filter that sums to one and is symmetric; the first rounding to 8 bits is the
 * source's (0.5), the second that of the reduction's two passes (1). Not at the borders, where filters are cut. */
static void test_reduced(void **state)
{
    (void)state;
    image src;
    static uint8_t pixels[1200];
    static float dst[DST_COUNT];
    assert_int_equal(image_alloc(&src, SRC_W, SRC_H, CHANNELS), OK);
    for (int i = 0; i < SRC_W * SRC_H * CHANNELS; i++)
        src.pixels[i] = (uint8_t)lrint(2.0 * (i / CHANNELS % SRC_W + 0.5) + 0.9 * (i / CHANNELS / SRC_W + 0.5));
    for (uint64_t i = 0; i < 20; i++) {
        augmentation a = drawn(i);
        picture p;
        assert_int_equal(picture_make(&p, pixels, sizeof pixels, &src, &a, DST_W, DST_H, INTERPOLATION_BILINEAR), OK);
        assert_true((size_t)p.width * (size_t)p.height * CHANNELS <= sizeof pixels);
        warp(dst, pixels, &p);
        for (int k = 0; k < DST_W * DST_H; k++) {
            float x, y;
            matrix_apply(a.inverse, (float)(k % DST_W) + 0.5f, (float)(k / DST_W) + 0.5f, &x, &y);
            if (x < 12 || x > SRC_W - 12 || y < 12 || y > SRC_H - 12) continue;
            double expected = 2.0 * (double)x + 0.9 * (double)y;
            if (fabs((double)dst[k * CHANNELS] - expected) > 1.6)
                fail_msg("map %d, pixel %d: %g, expected %g", (int)i, k, (double)dst[k * CHANNELS], expected);
        }
    }
    image_free(&src);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crop), cmocka_unit_test(test_reduced)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
