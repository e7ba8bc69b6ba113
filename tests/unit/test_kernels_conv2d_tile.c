/* Tiles of convolutions on tensor cores: which one a shape gets on which GPU, checked by hand-computed times
 * (rounds of the busiest processor x rows x columns / efficiency, conv2d_tile.h). */
#include "tests/unit/unit_test.h"

#include "kernels/cuda/conv2d_tile.h"

enum { ALL = (1 << TILE_COUNT) - 1 };

/* 7x7x512 at batch 32 has 1,568 rows: 28 tiles of 256x128 would leave four fifths of 132 processors idle. */
static void few_rows_get_small_tiles(void **state)
{
    (void)state;
    /* 64x32: 400 tiles, 4 rounds of 4,096; 64x64: 200, 2 of 5,851; 128x64: 104, 1 of 9,638; 128x128: 52, 1 of 16,891.
     */
    assert_int_equal(conv2d_choose_tile(1568, 512, 1, 132, ALL), TILE_128_64);
    assert_int_equal(conv2d_choose_tile(1568, 512, 1, 132, ALL & ~(1 << TILE_128_64)), TILE_64_64);
}

static void many_rows_get_the_largest(void **state)
{
    (void)state;
    assert_int_equal(conv2d_choose_tile(256 * 56 * 56, 256, 1, 132, ALL), TILE_256_128);
    /* 64 channels fill half of 128 columns. */
    assert_int_equal(conv2d_choose_tile(256 * 56 * 56, 64, 1, 132, ALL), TILE_128_64);
    assert_int_equal(conv2d_choose_tile(256 * 112 * 112, 32, 1, 132, ALL), TILE_64_32);
}

static void only_what_is_allowed(void **state)
{
    (void)state;
    for (int t = 0; t < TILE_COUNT; t++) assert_int_equal(conv2d_choose_tile(1000, 100, 3, 4, 1u << t), t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rows_get_small_tiles),
        cmocka_unit_test(many_rows_get_the_largest),
        cmocka_unit_test(only_what_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
