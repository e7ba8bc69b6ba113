/* Boxes and polygons moved with their images. The independent source is the image path itself: a mask of the object is
 * warped by image_warp with the inverse matrix, and the pixels that are lit are counted. Closed forms check what a mask
 * cannot show. */
#include "tests/unit/data_files.h"

#include <math.h>

#include "core/base/rng.h"
#include "core/data/augment.h"
#include "core/data/boxes.h"

enum { SRC_W = 160, SRC_H = 120, DST_W = 128, DST_H = 96, ROUNDS = 150, LIT = 128 };
static const float identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};

/* Masks and targets have four times the pixels on each side: a sharp corner that ends between pixels is then short
 * against one pixel. */
enum { FINE = 4, FINE_W = DST_W * FINE, FINE_H = DST_H * FINE };

static bool is_inside(const float *p, int32_t count, double x, double y)
{
    bool odd = false;
    for (int32_t i = 0; i < count; i++) {
        const float *a = p + 2 * i, *b = p + 2 * ((i + 1) % count);
        if ((a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])) odd = !odd;
    }
    return odd;
}

static image make_mask(const float *points, int32_t count)
{
    image im;
    assert_ok(image_alloc(&im, SRC_W * FINE, SRC_H * FINE, 1));
    for (int32_t y = 0; y < im.height; y++)
        for (int32_t x = 0; x < im.width; x++)
            im.pixels[y * im.width + x] = is_inside(points, count, (x + 0.5) / FINE, (y + 0.5) / FINE) ? 255 : 0;
    return im;
}

/* Which part of the target the warped mask lights, in pixels, and its area. False: none. */
static bool find_lit(const image *mask, const float inverse[9], float lit[4], double *area)
{
    const float to_mask[9] = {FINE, 0, 0, 0, FINE, 0, 0, 0, 1},
                from_fine[9] = {1.0f / FINE, 0, 0, 0, 1.0f / FINE, 0, 0, 0, 1};
    float half[9], whole[9];
    int32_t box[4] = {FINE_W, FINE_H, 0, 0};
    image seen;
    matrix_multiply(half, from_fine, inverse, 3);
    matrix_multiply(whole, half, to_mask, 3);
    assert_ok(image_alloc(&seen, FINE_W, FINE_H, 1));
    assert_ok(image_warp(&seen, mask, whole, NULL, INTERPOLATION_BILINEAR, 0));
    *area = 0;
    for (int32_t y = 0; y < FINE_H; y++)
        for (int32_t x = 0; x < FINE_W; x++) {
            *area += seen.pixels[y * FINE_W + x] / 255.0 / (FINE * FINE);
            if (seen.pixels[y * FINE_W + x] < LIT) continue;
            box[0] = x < box[0] ? x : box[0], box[1] = y < box[1] ? y : box[1];
            box[2] = x >= box[2] ? x + 1 : box[2], box[3] = y >= box[3] ? y + 1 : box[3];
        }
    for (int k = 0; k < 4; k++) lit[k] = (float)box[k] / FINE;
    image_free(&seen);
    return box[2] > 0;
}

static void draw_augmentation(augmentation *a, int round)
{
    spec_augment o = {.enable = true, .hflip = 0.5, .vflip = 0.3, .zoom_min = 1, .zoom_max = 1};
    preprocess p = {.width = DST_W, .height = DST_H, .channels = 3, .resize = RESIZE_STRETCH};
    rng r = rng_make(11, RNG_TEST, (uint64_t)round);
    if (round % 2) o.rotate_max = 40;
    if (round % 3 == 0) o.shear_max = 20;
    if (round % 4 == 1) o.zoom_min = 0.6, o.zoom_max = 2;
    if (round % 5 == 2) o.random_resized_crop = true;
    if (round % 7 == 3) o.translate_max_x = 40, o.translate_max_y = 30;
    augment_draw(a, &o, &p, SRC_W, SRC_H, &r);
}

static void compare_hull(const moved_box *b, const float lit[4], int round)
{
    const float edge[4] = {b->x0, b->y0, b->x1, b->y1};
    for (int k = 0; k < 4; k++)
        if (!(fabsf(edge[k] - lit[k]) <= 1))
            fail_msg("round %d: edge %d at %g, lit pixels end at %g", round, k, (double)edge[k], (double)lit[k]);
}

/* Draws a box or, by `points`, a polygon within it; returns the mask. */
static image draw_object(rng *r, label_box *b, float *points, int32_t count)
{
    float w = rng_uniform_in(r, 20, 80), h = rng_uniform_in(r, 20, 70);
    *b = (label_box){.x0 = rng_uniform_in(r, 0, SRC_W - w), .y0 = rng_uniform_in(r, 0, SRC_H - h), .class_index = 3};
    b->x1 = b->x0 + w, b->y1 = b->y0 + h;
    if (count == 4) {
        const float corner[8] = {b->x0, b->y0, b->x1, b->y0, b->x1, b->y1, b->x0, b->y1};
        memcpy(points, corner, sizeof corner);
        return make_mask(points, count);
    }
    /* A blunt cross: concave, with no corner sharper than a right angle. */
    static const float cross[24] = {
        .3f, 0, .7f, 0, .7f, .3f, 1, .3f, 1, .7f, .7f, .7f, .7f, 1, .3f, 1, .3f, .7f, 0, .7f, 0, .3f, .3f, .3f};
    for (int32_t i = 0; i < count; i++)
        points[2 * i] = b->x0 + w * cross[2 * i], points[2 * i + 1] = b->y0 + h * cross[2 * i + 1];
    b->polygon_count = count;
    return make_mask(points, count);
}

/* The whole object's area is the source's times the matrix's determinant. Pixels along its outline are half right at
 * worst. */
static void compare_area(const moved_box *b, const image *mask, const float m[9], double area, int round)
{
    double whole = 0;
    for (int32_t i = 0; i < mask->width * mask->height; i++) whole += mask->pixels[i] / 255.0 / (FINE * FINE);
    whole *= fabs((double)m[0] * m[4] - (double)m[1] * m[3]);
    double outline = 2 * ((double)b->x1 - b->x0 + b->y1 - b->y0);
    if (fabs(b->visible - area / whole) > 0.5 / FINE * outline / whole)
        fail_msg("round %d: visible %g, by the mask %g", round, (double)b->visible, area / whole);
}

static void check_objects(int32_t count)
{
    int seen = 0, cut = 0;
    for (int round = 0; round < ROUNDS; round++) {
        augmentation a;
        label_box b;
        float points[24];
        float lit[4];
        double area;
        rng r = rng_make(12, RNG_TEST, (uint64_t)round);
        draw_augmentation(&a, round);
        image mask = draw_object(&r, &b, points, count);
        moved_box to = box_move(&b, points, a.forward, DST_W, DST_H, 0);
        bool any = find_lit(&mask, a.inverse, lit, &area);
        if (to.class_index == BOX_NONE) {
            assert_true(!any || lit[2] - lit[0] <= 2 || lit[3] - lit[1] <= 2);
        } else {
            compare_hull(&to, lit, round);
            compare_area(&to, &mask, a.forward, area, round);
            seen++;
            cut += to.visible < 0.9f;
        }
        image_free(&mask);
    }
    assert_true(seen > ROUNDS / 2 && cut > ROUNDS / 20);
}

static void test_boxes_and_masks(void **state)
{
    (void)state;
    check_objects(4);
}

static void test_polygons_and_masks(void **state)
{
    (void)state;
    check_objects(12);
}

static void assert_box(const moved_box *b, float x0, float y0, float x1, float y1, float visible)
{
    const float want[5] = {x0, y0, x1, y1, visible}, have[5] = {b->x0, b->y0, b->x1, b->y1, b->visible};
    for (int i = 0; i < 5; i++)
        if (!(fabsf(want[i] - have[i]) < 1e-4f))
            fail_msg("value %d: %g, expected %g", i, (double)have[i], (double)want[i]);
}

static void test_closed_forms(void **state)
{
    (void)state;
    const label_box b = {.x0 = 10, .y0 = 20, .x1 = 30, .y1 = 60, .class_index = 2};
    moved_box to = box_move(&b, NULL, identity, 100, 100, 0.5f);
    assert_box(&to, 10, 20, 30, 60, 1);
    assert_int_equal(to.class_index, 2);
    const float half_and_move[9] = {0.5f, 0, 0, 0, 0.5f, 0, -10, 0, 1}; /* to (-5, 10) .. (5, 30) */
    to = box_move(&b, NULL, half_and_move, 100, 100, 0.49f);
    assert_box(&to, 0, 10, 5, 30, 0.5f);
    assert_int_equal(to.class_index, 2);
    assert_int_equal(box_move(&b, NULL, half_and_move, 100, 100, 0.51f).class_index, BOX_IGNORE);
    const float flip[9] = {-1, 0, 0, 0, 1, 0, 100, 0, 1};
    to = box_move(&b, NULL, flip, 100, 100, 0);
    assert_box(&to, 70, 20, 90, 60, 1);
    const float turn[9] = {0, 1, 0, -1, 0, 0, 100, 0, 1}; /* (x, y) to (100 - y, x) */
    to = box_move(&b, NULL, turn, 100, 100, 0);
    assert_box(&to, 40, 10, 80, 30, 1);
    const float away[9] = {1, 0, 0, 0, 1, 0, 100, 0, 1}, thin[9] = {0.04f, 0, 0, 0, 1, 0, 0, 0, 1};
    assert_int_equal(box_move(&b, NULL, away, 100, 100, 0).class_index, BOX_NONE);
    assert_int_equal(box_move(&b, NULL, thin, 100, 100, 0).class_index, BOX_NONE); /* 0.8 pixels wide */
    const float behind[9] = {1, 0, -0.1f, 0, 1, 0, 0, 0, 1};
    assert_int_equal(box_move(&b, NULL, behind, 100, 100, 0).class_index, BOX_NONE);
    /* A box around the whole target shows all of it: 100 * 100 of 300 * 300. */
    const label_box around = {.x0 = -100, .y0 = -100, .x1 = 200, .y1 = 200};
    to = box_move(&around, NULL, identity, 100, 100, 0);
    assert_box(&to, 0, 0, 100, 100, 1.0f / 9);
}

/* A square turned by 45 degrees about the corner of the target: a quarter of it remains, a triangle. */
static void test_turned_corner(void **state)
{
    (void)state;
    const label_box b = {.x0 = -10, .y0 = -10, .x1 = 10, .y1 = 10};
    const float h = 0.70710678f, turn[9] = {h, h, 0, -h, h, 0, 0, 0, 1};
    moved_box to = box_move(&b, NULL, turn, 50, 50, 0);
    assert_box(&to, 0, 0, 14.142136f, 14.142136f, 0.25f);
}

/* A U of two prongs to the left: cut at x = 4, then below the upper prong. Its hull must not follow the cut between the
 * prongs. */
static void test_concave_polygon(void **state)
{
    (void)state;
    const float u[16] = {0, 0, 20, 0, 20, 30, 0, 30, 0, 20, 10, 20, 10, 10, 0, 10};
    const label_box b = {.x0 = 0, .y0 = 0, .x1 = 20, .y1 = 30, .polygon_count = 8};
    const float move[9] = {1, 0, 0, 0, 1, 0, -5, -15, 1};
    /* Left of x = 4 in the target (9 before) nothing is seen until the lower prong begins at y = 5 (20 before). */
    moved_box to = box_move(&b, u, move, 4, 100, 0);
    assert_box(&to, 0, 5, 4, 15, 4 * 10 / 500.0f);
}

static void test_clip_and_judge(void **state)
{
    (void)state;
    const struct {
        label_box box;
        box_fault fault;
    } cases[] = {{{1, 1, 9, 9}, BOX_FINE}, {{0, 0, 20, 10}, BOX_FINE}, {{-1, 0, 21, 11}, BOX_FINE},
        {{-5, 2, 8, 8}, BOX_CROSSES_EDGE}, {{2, 2, 8, 80}, BOX_CROSSES_EDGE}, {{20, 0, 30, 5}, BOX_OUTSIDE},
        {{-9, 0, 0, 5}, BOX_OUTSIDE}, {{2, 10, 5, 12}, BOX_OUTSIDE}, {{3, 3, 3, 8}, BOX_EMPTY},
        {{3, 8, 9, 8}, BOX_EMPTY}, {{3, 3, 4, 8}, BOX_EMPTY}, {{9, 3, 3, 8}, BOX_REVERSED},
        {{3, 8, 9, 3}, BOX_REVERSED}, {{NAN, 0, 3, 3}, BOX_NOT_FINITE}, {{0, 0, INFINITY, 3}, BOX_NOT_FINITE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        label_box b = cases[i].box;
        assert_int_equal(box_clip(&b, 20, 10), cases[i].fault);
        if (cases[i].fault < BOX_OUTSIDE) assert_true(b.x0 >= 0 && b.y0 >= 0 && b.x1 <= 20 && b.y1 <= 10);
    }
    label_box b = {-5, 2, 8, 80};
    box_clip(&b, 20, 10);
    assert_true(b.x0 == 0 && b.y0 == 2 && b.x1 == 8 && b.y1 == 10);
}

static void test_all_of_a_sample(void **state)
{
    (void)state;
    label_box box[] = {{0, 0, 5, 5, .class_index = 0, .ignore = true}, {9, 9, 2, 2, .class_index = 1},
        {1, 1, 6, 6, .class_index = 2}, {NAN, 1, 6, 6, .class_index = 1}, {0, 0, 4, 4, .class_index = 1}};
    const sample s = {.box = box, .box_count = 5};
    const preprocess p = {.width = 20, .height = 20};
    const label_view v = {.sample = &s, .width = 20, .height = 20, .to_input = identity, .input = &p};
    float rows[5][4];
    int32_t box_class[5];
    assert_int_equal(boxes_move(rows, box_class, 5, &v, 0), 3);
    assert_true(box_class[0] == 2 && box_class[1] == 1 && box_class[2] == BOX_IGNORE);
    assert_int_equal(boxes_move(rows, box_class, 2, &v, 0), 2);
    assert_int_equal(box_class[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_forms),
        cmocka_unit_test(test_turned_corner),
        cmocka_unit_test(test_concave_polygon),
        cmocka_unit_test(test_clip_and_judge),
        cmocka_unit_test(test_all_of_a_sample),
        cmocka_unit_test(test_boxes_and_masks),
        cmocka_unit_test(test_polygons_and_masks),
    };
    return cmocka_run_group_tests_name("data_boxes", tests, NULL, NULL);
}
