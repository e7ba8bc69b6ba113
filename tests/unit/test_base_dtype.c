/* Conversions. f16 and bf16 are checked against their definition for every bit pattern; the spot values were printed by
 * numpy 1.24 (np.float16) and torch 1.13 (torch.bfloat16). Shapes too. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <string.h>

#include "core/base/dtype.h"
#include "core/tensor/shape.h"

static void names_and_sizes(void **state)
{
    (void)state;
    static const size_t bytes[DTYPE_COUNT] = {4, 2, 2, 8, 1, 1, 4, 8};
    for (int i = 0; i < DTYPE_COUNT; i++) {
        dtype type = DTYPE_COUNT;
        assert_int_equal(dtype_bytes((dtype)i), bytes[i]);
        assert_int_equal(dtype_from_name(dtype_name((dtype)i), &type), 1);
        assert_int_equal(type, i);
    }
    dtype type = DTYPE_I8;
    assert_int_equal(dtype_from_name("f31", &type), 0);
    assert_int_equal(dtype_from_name("", &type), 0);
    assert_int_equal(type, DTYPE_I8);
    assert_true(dtype_epsilon(DTYPE_F16) == 0x1p-10 && dtype_epsilon(DTYPE_I32) == 0);
}

/* value of an f16 by the definition of IEEE 754 binary16. */
static double half_value(unsigned bits)
{
    double sign = bits & 0x8000 ? -1 : 1;
    int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
    if (exponent == 31) return fraction ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, -24);
    return sign * ldexp(1024 + fraction, exponent - 25);
}

static void f16_every_pattern(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x10000; bits++) {
        float value = f16_to_f32((uint16_t)bits);
        double expected = half_value(bits);
        if (isnan(expected)) {
            assert_true(isnan(value));
            assert_true(isnan(f16_to_f32(f32_to_f16(value))));
            continue;
        }
        assert_true((double)value == expected && !signbit(value) == !signbit(expected));
        assert_int_equal(f32_to_f16(value), bits);
    }
}

/* Midpoints of neighbours go to the even one; a hair to either side decides. */
static void f16_rounds_to_even(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x7bff; bits++) {
        float middle = (float)(0.5 * (half_value(bits) + half_value(bits + 1)));
        unsigned even = bits & 1 ? bits + 1 : bits;
        assert_int_equal(f32_to_f16(middle), even);
        assert_int_equal(f32_to_f16(-middle), even | 0x8000);
        assert_int_equal(f32_to_f16(nextafterf(middle, 1e9f)), bits + 1);
        assert_int_equal(f32_to_f16(nextafterf(middle, -1e9f)), bits);
    }
    assert_int_equal(f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(f32_to_f16(0x1p-25f), 0);
    assert_int_equal(f32_to_f16(1e-40f), 0);
    assert_int_equal(f32_to_f16(3.14159265f), 0x4248);
    assert_int_equal(f32_to_f16(0.1f), 0x2e66);
}

static void bf16_rounds_to_even(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x7f80; bits++) {
        float low = bf16_to_f32((uint16_t)bits), high = bf16_to_f32((uint16_t)(bits + 1));
        assert_int_equal(f32_to_bf16(low), bits);
        if (isinf(high)) continue;
        float middle = (float)(0.5 * ((double)low + (double)high));
        unsigned even = bits & 1 ? bits + 1 : bits;
        assert_int_equal(f32_to_bf16(middle), even);
        assert_int_equal(f32_to_bf16(-middle), even | 0x8000);
        assert_int_equal(f32_to_bf16(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(f32_to_bf16(nextafterf(middle, -INFINITY)), bits);
    }
    assert_int_equal(f32_to_bf16(3.4e38f), 0x7f80);
    assert_int_equal(f32_to_bf16(3.14159265f), 0x4049);
    assert_int_equal(f32_to_bf16(0.1f), 0x3dcd);
    float nan_value;
    memcpy(&nan_value, &(uint32_t){0x7f800001u}, 4); /* its upper half alone would be infinity */
    assert_true(isnan(bf16_to_f32(f32_to_bf16(nan_value))));
}

/* 1 + 2^-11 + 2^-40 lies above the midpoint of two halves, but rounding to f32 first would lose that. */
static void store_rounds_once(void **state)
{
    (void)state;
    uint16_t half, brain;
    dtype_store(&half, DTYPE_F16, 0, 1 + 0x1p-11 + 0x1p-40);
    assert_int_equal(half, 0x3c01);
    dtype_store(&half, DTYPE_F16, 0, 1 + 0x1p-11);
    assert_int_equal(half, 0x3c00);
    dtype_store(&half, DTYPE_F16, 0, 1 + 3 * 0x1p-11 - 0x1p-40);
    assert_int_equal(half, 0x3c01);
    dtype_store(&brain, DTYPE_BF16, 0, 1 + 0x1p-8 + 0x1p-40);
    assert_int_equal(brain, 0x3f81);
    dtype_store(&half, DTYPE_F16, 0, 1e300);
    assert_int_equal(half, 0x7c00);
    dtype_store(&half, DTYPE_F16, 0, (double)NAN);
    assert_true(isnan(dtype_load(&half, DTYPE_F16, 0)));
}

static void integers_saturate(void **state)
{
    (void)state;
    static const struct {
        double in;
        int i8, u8;
    } row[] = {{0.5, 0, 0},     {1.5, 2, 2},      {2.5, 2, 2},    {-0.5, 0, 0},      {-1.5, -2, 0},
               {126.5, 126, 126}, {127.5, 127, 128}, {300, 127, 255}, {-300, -128, 0}, {254.5, 127, 254}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        int8_t a[2] = {0};
        uint8_t b[2] = {0};
        dtype_store(a, DTYPE_I8, 1, row[i].in);
        dtype_store(b, DTYPE_U8, 1, row[i].in);
        assert_int_equal(a[1], row[i].i8);
        assert_int_equal(b[1], row[i].u8);
        assert_true(dtype_load(a, DTYPE_I8, 1) == row[i].i8 && dtype_load(b, DTYPE_U8, 1) == row[i].u8);
    }
    int32_t c;
    int64_t d;
    dtype_store(&c, DTYPE_I32, 0, 1e10);
    assert_int_equal(c, INT32_MAX);
    dtype_store(&c, DTYPE_I32, 0, -1e10);
    assert_int_equal(c, INT32_MIN);
    dtype_store(&d, DTYPE_I64, 0, 1e300);
    assert_true(d == INT64_MAX);
    dtype_store(&d, DTYPE_I64, 0, -1e300);
    assert_true(d == INT64_MIN);
    dtype_store(&d, DTYPE_I64, 0, (double)NAN);
    assert_true(d == 0);
    dtype_store(&d, DTYPE_I64, 0, 0x1p62);
    assert_true(d == (int64_t)1 << 62);
}

static void floats_pass_through(void **state)
{
    (void)state;
    float f[3];
    double d[3];
    dtype_store(f, DTYPE_F32, 2, 0.1);
    dtype_store(d, DTYPE_F64, 2, 0.1);
    assert_true(f[2] == 0.1f && dtype_load(f, DTYPE_F32, 2) == (double)0.1f);
    assert_true(d[2] == 0.1 && dtype_load(d, DTYPE_F64, 2) == 0.1);
}

static void shapes(void **state)
{
    (void)state;
    char text[128];
    int64_t count = -1;
    shape s = shape_4(16, 224, 200, 3);
    assert_true(shape_count(s) == 16LL * 224 * 200 * 3);
    shape_text(s, text);
    assert_string_equal(text, "[16, 224, 200, 3]");
    assert_true(shape_equal(s, shape_4(16, 224, 200, 3)) && !shape_equal(s, shape_4(16, 224, 200, 4)));
    assert_false(shape_equal(shape_1(4), shape_2(4, 1)));
    assert_true(shape_count((shape){0}) == 1);
    shape_text((shape){0}, text);
    assert_string_equal(text, "[]");
    assert_true(shape_count_checked(s, &count) && count == shape_count(s));
    assert_true(shape_count_checked(shape_2(0, INT64_MAX), &count) && count == 0);
    assert_false(shape_count_checked(shape_2(INT64_MAX, 2), &count));
    assert_false(shape_count_checked((shape){3, {INT64_MAX, INT64_MAX, 0}}, &count));
    assert_false(shape_count_checked(shape_2(-1, 2), &count));
    assert_false(shape_count_checked((shape){.rank = 7}, &count));
    shape long_shape = {6, {INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN}};
    shape_text(long_shape, text);
    assert_true(strlen(text) < 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes),     cmocka_unit_test(f16_every_pattern),
        cmocka_unit_test(f16_rounds_to_even),  cmocka_unit_test(bf16_rounds_to_even),
        cmocka_unit_test(store_rounds_once),   cmocka_unit_test(integers_saturate),
        cmocka_unit_test(floats_pass_through), cmocka_unit_test(shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
