/* Augmentation against closed forms: matrices of single changes, TLT's colour matrices written out, the same map for
 * points and pixels. And preprocessing constants. */
#include "tests/unit/data_files.h"

#include <math.h>

#include "core/base/json.h"
#include "core/data/augment.h"

static const augment_params neutral = {.box = {0, 0, 100, 60}, .width = 100, .height = 60, .zoom = 1, .saturation = 1};

static void check_matrix(const float *m, const double *expected, int n)
{
    for (int i = 0; i < n; i++)
        if (fabs(m[i] - expected[i]) > 1e-5 * (1 + fabs(expected[i])))
            fail_msg("element %d is %g, expected %g", i, m[i], expected[i]);
}

static void build(augmentation *a, augment_params p)
{
    *a = (augmentation){.params = p};
    augment_build(a, 100, 60);
}

static void test_single_changes(void **state)
{
    (void)state;
    augmentation a;
    augment_params p = neutral;
    build(&a, p);
    check_matrix(a.forward, (double[]){1, 0, 0, 0, 1, 0, 0, 0, 1}, 9);
    assert_false(a.has_color);
    p.hflip = true; /* x' = W - x */
    build(&a, p);
    check_matrix(a.forward, (double[]){-1, 0, 0, 0, 1, 0, 100, 0, 1}, 9);
    p = neutral;
    p.vflip = true;
    build(&a, p);
    check_matrix(a.forward, (double[]){1, 0, 0, 0, -1, 0, 0, 60, 1}, 9);
    p = neutral; /* translate(-t) scale(r) */
    p.zoom = 2, p.zoom_x = 10, p.zoom_y = 5;
    build(&a, p);
    check_matrix(a.forward, (double[]){2, 0, 0, 0, 2, 0, -20, -10, 1}, 9);
    p = neutral;
    p.shift_x = 3, p.shift_y = -7;
    build(&a, p);
    check_matrix(a.forward, (double[]){1, 0, 0, 0, 1, 0, 3, -7, 1}, 9);
    p = neutral; /* a box of 50 x 20 at (10, 20), scaled by 2 and 3 */
    p.box[0] = 10, p.box[1] = 20, p.box[2] = 60, p.box[3] = 40;
    build(&a, p);
    check_matrix(a.forward, (double[]){2, 0, 0, 0, 3, 0, -20, -60, 1}, 9);
    p = neutral; /* a quarter turn about (50, 30): x' = 50 - (y - 30), y' = 30 + (x - 50) */
    p.rotate = (float)(M_PI / 2);
    build(&a, p);
    check_matrix(a.forward, (double[]){0, 1, 0, -1, 0, 0, 80, -20, 1}, 9);
    p = neutral; /* x' = x + y - 30 */
    p.shear = (float)(M_PI / 4);
    build(&a, p);
    check_matrix(a.forward, (double[]){1, 0, 0, 1, 1, 0, -30, 0, 1}, 9);
}

/* crop -> flip -> rotation -> zoom -> translation, by hand for one point. */
static void test_order_of_changes(void **state)
{
    (void)state;
    augment_params p = neutral;
    p.box[0] = 10, p.box[1] = 0, p.box[2] = 60, p.box[3] = 60;
    p.hflip = true;
    p.rotate = 0.3f, p.zoom = 1.5f, p.zoom_x = 4, p.zoom_y = 2, p.shift_x = 5, p.shift_y = 6;
    augmentation a;
    build(&a, p);
    double x = (23 - 10) * 2.0, y = 17;
    x = 100 - x;
    double u = (x - 50) * cos(0.3) - (y - 30) * sin(0.3) + 50, v = (x - 50) * sin(0.3) + (y - 30) * cos(0.3) + 30;
    u = (u - 4) * 1.5 + 5;
    v = (v - 2) * 1.5 + 6;
    float got_x, got_y, back_x, back_y;
    matrix_apply(a.forward, 23, 17, &got_x, &got_y);
    assert_true(fabs(got_x - u) < 1e-3 && fabs(got_y - v) < 1e-3);
    matrix_apply(a.inverse, got_x, got_y, &back_x, &back_y);
    assert_true(fabsf(back_x - 23) < 1e-3f && fabsf(back_y - 17) < 1e-3f);
    float inverse[9], product[9], singular[9] = {1, 2, 0, 2, 4, 0, 0, 0, 1};
    assert_true(matrix_invert(inverse, a.forward));
    matrix_multiply(product, a.forward, inverse, 3);
    check_matrix(product, (double[]){1, 0, 0, 0, 1, 0, 0, 0, 1}, 9);
    assert_false(matrix_invert(inverse, singular));
}

static void color_of(const augment_params *p, const double rgb[3], double out[3])
{
    augmentation a;
    build(&a, *p);
    assert_true(a.has_color);
    for (int j = 0; j < 3; j++)
        out[j] = rgb[0] * a.color[j] + rgb[1] * a.color[4 + j] + rgb[2] * a.color[8 + j] + a.color[12 + j];
}

static void test_colour(void **state)
{
    (void)state;
    const double rgb[3] = {0.8, 0.5, 0.1}, luma = 0.299 * 0.8 + 0.587 * 0.5 + 0.114 * 0.1;
    double out[3];
    augment_params p = neutral;
    p.saturation = 0; /* grey of the same luma */
    color_of(&p, rgb, out);
    for (int i = 0; i < 3; i++) assert_true(fabs(out[i] - luma) < 1e-6);
    p.saturation = 1.2f; /* away from grey */
    color_of(&p, rgb, out);
    for (int i = 0; i < 3; i++) assert_true(fabs(out[i] - (luma + 1.2 * (rgb[i] - luma))) < 1e-6);
    p = neutral; /* c (x - centre) + x */
    p.contrast = 0.25f, p.contrast_center = 0.4f;
    color_of(&p, rgb, out);
    for (int i = 0; i < 3; i++) assert_true(fabs(out[i] - (rgb[i] * 1.25 - 0.25 * 0.4)) < 1e-6);
    p = neutral;
    p.color_shift[0] = 0.1f, p.color_shift[2] = -0.2f;
    color_of(&p, rgb, out);
    assert_true(fabs(out[0] - 0.9) < 1e-6 && fabs(out[1] - 0.5) < 1e-6 && fabs(out[2] + 0.1) < 1e-6);
    p = neutral; /* hue by 90 degrees: L + M2, TLT20.md 4.2.3 */
    p.hue = (float)(M_PI / 2);
    color_of(&p, rgb, out);
    static const double m2[3][3] = {{0.168, -0.328, 1.25}, {0.330, 0.035, -1.05}, {-0.497, 0.292, -0.203}};
    for (int j = 0; j < 3; j++)
        assert_true(fabs(out[j] - (luma + rgb[0] * m2[0][j] + rgb[1] * m2[1][j] + rgb[2] * m2[2][j])) < 1e-6);
    /* Hue and saturation, then contrast, then shift. */
    p.saturation = 0.5f, p.contrast = -0.1f, p.contrast_center = 0.5f, p.color_shift[1] = 0.05f;
    color_of(&p, rgb, out);
    double hued = luma + 0.5 * (rgb[0] * m2[0][1] + rgb[1] * m2[1][1] + rgb[2] * m2[2][1]);
    assert_true(fabs(out[1] - (hued * 0.9 + 0.1 * 0.5 + 0.05)) < 1e-6);
}

static const spec_augment everything = {.enable = true, .hflip = 0.5, .vflip = 0.25, .zoom_min = 0.8, .zoom_max = 1.5,
    .translate_max_x = 5, .translate_max_y = 3, .rotate_max = 20, .shear_max = 5, .hue_max = 25, .saturation_max = 0.2,
    .contrast_max = 0.1, .contrast_center = 0.5, .brightness_max = 0.1, .color_shift_stddev = 0.05, .pad_crop = 2};
static const preprocess input = {.width = 64, .height = 48, .channels = 3, .std = {1, 1, 1}, .crop_fraction = 0.875f};

static void test_draws_stay_in_range(void **state)
{
    (void)state;
    int hflips = 0, vflips = 0;
    double least_zoom = 9, greatest_zoom = 0, least_shift = 99, greatest_shift = -99, square_hue = 0;
    for (int i = 0; i < 4000; i++) {
        rng r = rng_make(1, RNG_AUGMENT, (uint64_t)i);
        augmentation a;
        augment_draw(&a, &everything, &input, 320, 240, &r);
        const augment_params *p = &a.params;
        hflips += p->hflip;
        vflips += p->vflip;
        least_zoom = fmin(least_zoom, p->zoom);
        greatest_zoom = fmax(greatest_zoom, p->zoom);
        least_shift = fmin(least_shift, p->shift_x);
        greatest_shift = fmax(greatest_shift, p->shift_x);
        square_hue += p->hue * p->hue;
        assert_true(p->zoom_x * (p->zoom - 1) >= 0 && fabsf(p->zoom_x) <= fabsf(64 - 64 / p->zoom) + 1e-4f);
        assert_true(fabsf(p->hue) <= 25 * M_PI / 180 + 1e-6 && fabsf(p->contrast) <= 0.1f + 1e-6f);
        assert_true(fabsf(p->rotate) <= 20 * M_PI / 180 && p->saturation >= 0.8f && p->saturation <= 1.2f);
    }
    assert_true(abs(hflips - 2000) < 160 && abs(vflips - 1000) < 140);
    assert_true(least_zoom >= 0.8 && least_zoom < 0.81 && greatest_zoom <= 1.5 && greatest_zoom > 1.49);
    assert_true(least_shift == -7 && greatest_shift == 7);
    /* A normal of sigma 12.5 degrees cut at 2 sigma has 0.7737 of its variance. */
    double expected = 0.7737 * pow(12.5 * M_PI / 180, 2);
    assert_true(fabs(square_hue / 4000 - expected) < 0.1 * expected);
}

static void test_random_resized_crop(void **state)
{
    (void)state;
    double area[2] = {0.2, 0.5}, aspect[2] = {0.5, 2};
    spec_augment s = {.enable = true, .zoom_min = 1, .zoom_max = 1, .random_resized_crop = true, .crop_area = {area, 2},
        .crop_aspect = {aspect, 2}};
    double low_x = 999, high_x = 0, sum_area = 0;
    for (int i = 0; i < 3000; i++) {
        rng r = rng_make(2, RNG_AUGMENT, (uint64_t)i);
        augmentation a;
        augment_draw(&a, &s, &input, 300, 200, &r);
        const float *b = a.params.box;
        double w = b[2] - b[0], h = b[3] - b[1];
        assert_true(b[0] >= 0 && b[1] >= 0 && b[2] <= 300 && b[3] <= 200);
        assert_true(w * h / 60000 > 0.19 && w * h / 60000 < 0.51 && w / h > 0.48 && w / h < 2.08);
        low_x = fmin(low_x, b[0]);
        high_x = fmax(high_x, b[2]);
        sum_area += w * h / 60000;
        float x, y;
        matrix_apply(a.forward, b[0], b[1], &x, &y);
        assert_true(fabsf(x) < 1e-3f && fabsf(y) < 1e-3f);
        matrix_apply(a.forward, b[2], b[3], &x, &y);
        assert_true(fabsf(x - 64) < 1e-3f && fabsf(y - 48) < 1e-3f);
        int32_t lw, lh;
        augment_least_size(&a, 300, 200, &lw, &lh);
        assert_true(lw * w / 300 >= fmin(64, w) - 1e-3 && lh * h / 200 >= fmin(48, h) - 1e-3);
    }
    assert_true(low_x == 0 && high_x == 300);
    assert_true(fabs(sum_area / 3000 - 0.35) < 0.02);
    /* Too narrow for any crop: the centre with the nearest aspect. */
    rng r = rng_make(3, RNG_AUGMENT, 0);
    augmentation a;
    augment_draw(&a, &s, &input, 1000, 10, &r);
    assert_true(a.params.box[0] == 490 && a.params.box[2] == 510 && a.params.box[3] == 10);
}

/* Identity, flips, whole-pixel shifts and quarter turns move pixels exactly. */
static void test_warp_moves_pixels(void **state)
{
    (void)state;
    image src = make_picture(30, 20, 3), dst;
    static const struct { float m[9]; int ax, bx, cx, ay, by, cy; } cases[] = {
        {{1, 0, 0, 0, 1, 0, 0, 0, 1}, 1, 0, 0, 0, 1, 0},
        {{-1, 0, 0, 0, 1, 0, 30, 0, 1}, -1, 0, 29, 0, 1, 0},
        {{1, 0, 0, 0, -1, 0, 0, 20, 1}, 1, 0, 0, 0, -1, 19},
        {{1, 0, 0, 0, 1, 0, 4, -3, 1}, 1, 0, 4, 0, 1, -3},
        {{0, 1, 0, 1, 0, 0, 0, 0, 1}, 0, 1, 0, 1, 0, 0},
        {{0, 1, 0, -1, 0, 0, 25, -2, 1}, 0, -1, 24, 1, 0, -2},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        assert_ok(image_alloc(&dst, 30, 20, 3));
        assert_ok(image_warp(&dst, &src, cases[k].m, NULL, INTERPOLATION_BILINEAR, 9));
        for (int y = 0; y < 20; y++)
            for (int x = 0; x < 30; x++) {
                int sx = cases[k].ax * x + cases[k].bx * y + cases[k].cx,
                    sy = cases[k].ay * x + cases[k].by * y + cases[k].cy;
                bool inside = sx >= 0 && sx < 30 && sy >= 0 && sy < 20;
                for (int c = 0; c < 3; c++) {
                    int expected = inside ? src.pixels[(sy * 30 + sx) * 3 + c] : 9;
                    if (dst.pixels[(y * 30 + x) * 3 + c] != expected)
                        fail_msg("case %zu: pixel %d %d is %d, expected %d", k, x, y, dst.pixels[(y * 30 + x) * 3 + c],
                            expected);
                }
            }
        image_free(&dst);
    }
    image_free(&src);
}

/* The general path (forced by a turn too small to matter) agrees with the upright one, magnifying and shrinking. */
static void test_warp_paths_agree(void **state)
{
    (void)state;
    image src = make_smooth(160, 120, 3, 1), a, b;
    static const float scales[] = {0.4f, 1, 2.5f};
    for (int k = 0; k < 3; k++) {
        float upright[9] = {scales[k], 0, 0, 0, scales[k], 0, 10, 7, 1}, turned[9];
        memcpy(turned, upright, sizeof turned);
        turned[1] = 1e-7f;
        assert_ok(image_alloc(&a, 50, 40, 3));
        assert_ok(image_alloc(&b, 50, 40, 3));
        assert_ok(image_warp(&a, &src, upright, NULL, INTERPOLATION_BILINEAR, 0));
        assert_ok(image_warp(&b, &src, turned, NULL, INTERPOLATION_BILINEAR, 0));
        for (int i = 0; i < 50 * 40 * 3; i++)
            if (abs(a.pixels[i] - b.pixels[i]) > 2)
                fail_msg("scale %g, value %d: %d and %d", scales[k], i, a.pixels[i], b.pixels[i]);
        image_free(&a);
        image_free(&b);
    }
    image_free(&src);
}

static void test_warp_colours(void **state)
{
    (void)state;
    image src = make_picture(16, 16, 3), dst;
    const float identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    augment_params p = neutral;
    p.hue = 0.3f, p.saturation = 1.2f, p.contrast = 0.1f, p.contrast_center = 0.5f, p.color_shift[0] = 0.1f;
    augmentation a;
    build(&a, p);
    assert_ok(image_alloc(&dst, 16, 16, 3));
    assert_ok(image_warp(&dst, &src, identity, a.color, INTERPOLATION_BILINEAR, 0));
    for (int i = 0; i < 256; i++)
        for (int c = 0; c < 3; c++) {
            const uint8_t *s = src.pixels + i * 3;
            double v = s[0] * a.color[c] + s[1] * a.color[4 + c] + s[2] * a.color[8 + c] + 255 * a.color[12 + c];
            v = fmin(fmax(v, 0), 255);
            if (fabs(v - dst.pixels[i * 3 + c]) > 0.501)
                fail_msg("pixel %d channel %d: %d, expected %g", i, c, dst.pixels[i * 3 + c], v);
        }
    image_free(&src);
    image_free(&dst);
}

static void test_preprocess_modes(void **state)
{
    (void)state;
    spec_model model = {.input_width = 2, .input_height = 1, .channels = 3};
    spec_data data = {.preprocess = PREPROCESS_CAFFE, .crop_fraction = 0.875};
    preprocess p, back;
    const uint8_t pixels[6] = {10, 20, 30, 255, 0, 128};
    float out[6];
    assert_ok(preprocess_from_spec(&p, &model, &data));
    image_normalise(out, pixels, &p); /* blue first */
    assert_true(fabsf(out[0] - (30 - 103.939f)) < 1e-4f && fabsf(out[2] - (10 - 123.68f)) < 1e-4f);
    data.preprocess = PREPROCESS_TF;
    assert_ok(preprocess_from_spec(&p, &model, &data));
    image_normalise(out, pixels, &p);
    assert_true(out[3] == 1 && out[4] == -1);
    data.preprocess = PREPROCESS_TORCH; /* (x / 255 - mean) / std with ImageNet's 0.485 ... 0.225 */
    assert_ok(preprocess_from_spec(&p, &model, &data));
    image_normalise(out, pixels, &p);
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    for (int i = 0; i < 6; i++) assert_true(fabs(out[i] - (pixels[i] / 255.0 - mean[i % 3]) / std[i % 3]) < 1e-5);
    data.preprocess = PREPROCESS_CUSTOM;
    assert_int_equal(preprocess_from_spec(&p, &model, &data), E_USAGE);
    double m[1] = {5}, s[1] = {2};
    data.mean = (float_list){m, 1}, data.std = (float_list){s, 1};
    model.channels = 1;
    assert_ok(preprocess_from_spec(&p, &model, &data));
    image_normalise(out, pixels, &p);
    assert_true(out[0] == 2.5f && out[1] == 7.5f);
    json_writer w = {0};
    const char *text;
    size_t bytes;
    preprocess_write(&p, &w);
    assert_ok(json_writer_finish(&w, &text, &bytes));
    arena memory = {0};
    json *root;
    assert_ok(json_parse(&memory, text, bytes, "test", &root));
    assert_ok(preprocess_read(&back, root));
    assert_true(back.width == 2 && back.height == 1 && back.channels == 1 && back.mean[0] == 5 && back.std[0] == 2 &&
                back.crop_fraction == p.crop_fraction && back.crop_size == 0 && back.resize == p.resize &&
                back.interpolation == p.interpolation);
    assert_ok(json_parse(&memory, "{\"width\": 0}", 12, "test", &root));
    assert_int_equal(preprocess_read(&back, root), E_MODEL);
    arena_free(&memory);
    json_writer_free(&w);
}

static void test_placement(void **state)
{
    (void)state;
    preprocess p = {.width = 224, .height = 224, .channels = 3, .std = {1, 1, 1}, .crop_fraction = 0.875f};
    image_placement place = image_place(512, 256, &p); /* 256 high as it is; centre 224 */
    assert_true(place.box[0] == 144 && place.box[1] == 16 && place.box[2] == 368 && place.box[3] == 240);
    p = (preprocess){
        .width = 64, .height = 32, .channels = 3, .crop_fraction = 0.875f, .crop_size = 56}; /* 112 x 56 of 128 x 64 */
    place = image_place(256, 256, &p);
    assert_true(
        place.box[0] == 16 && place.box[1] == 72 && place.box[2] == 240 && place.box[3] == 184 && place.width == 64);
    p = (preprocess){.width = 224,
        .height = 224,
        .channels = 3,
        .std = {1, 1, 1},
        .crop_fraction = 0.875f,
        .resize = RESIZE_LETTERBOX};
    place = image_place(448, 224, &p);
    assert_true(place.width == 224 && place.height == 112 && place.x == 0 && place.y == 56);
    image im = make_smooth(448, 224, 3, 0);
    float *out = malloc(224 * 224 * 3 * sizeof *out);
    assert_ok(image_preprocess(out, &im, &p));
    assert_true(out[0] == IMAGE_BORDER && out[55 * 224 * 3] == IMAGE_BORDER && out[56 * 224 * 3] != IMAGE_BORDER);
    free(out);
    image_free(&im);
    p.resize = RESIZE_STRETCH;
    place = image_place(448, 100, &p);
    assert_true(place.box[2] == 448 && place.box[3] == 100 && place.width == 224 && place.height == 224);
    for (int w = 1; w < 40; w++) /* nothing ever falls outside */
        for (int h = 1; h < 40; h++) {
            preprocess q = {
                .width = 1 + w * 7 % 30, .height = 1 + h * 5 % 30, .crop_fraction = 0.9f, .crop_size = w * h % 50};
            place = image_place(w, h, &q);
            assert_true(place.box[0] >= 0 && place.box[1] >= 0 && place.box[2] <= (float)w && place.box[3] <= (float)h);
            assert_true(place.box[2] > place.box[0] && place.box[3] > place.box[1]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_changes),
        cmocka_unit_test(test_order_of_changes),
        cmocka_unit_test(test_colour),
        cmocka_unit_test(test_draws_stay_in_range),
        cmocka_unit_test(test_random_resized_crop),
        cmocka_unit_test(test_warp_moves_pixels),
        cmocka_unit_test(test_warp_paths_agree),
        cmocka_unit_test(test_warp_colours),
        cmocka_unit_test(test_preprocess_modes),
        cmocka_unit_test(test_placement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
