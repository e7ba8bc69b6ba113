/* Philox against the published vectors of Random123 1.14.0 (tests/kat_vectors, lines "philox4x32 10"), and the
 * distributions drawn from it. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <stdlib.h>

#include "core/base/rng.h"

static void philox_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vector[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vector / sizeof *vector; i++) {
        const uint32_t *c = vector[i].counter, *k = vector[i].key;
        uint32_t out[4];
        philox4x32(out, k[0] | (uint64_t)k[1] << 32, c[0] | (uint64_t)c[1] << 32, c[2] | (uint64_t)c[3] << 32);
        assert_memory_equal(out, vector[i].expected, sizeof out);
    }
}

static void words_are_the_blocks_in_order(void **state)
{
    (void)state;
    rng r = rng_make(42, RNG_AUGMENT, 7);
    for (uint64_t block = 0; block < 3; block++) {
        uint32_t expected[4];
        philox4x32(expected, rng_key(42, RNG_AUGMENT), block, 7);
        for (int i = 0; i < 4; i++) assert_int_equal(rng_u32(&r), expected[i]);
    }
}

static void streams_and_indices_differ(void **state)
{
    (void)state;
    rng a = rng_make(1, RNG_INIT, 0), b = rng_make(1, RNG_SHUFFLE, 0), c = rng_make(2, RNG_INIT, 0);
    rng d = rng_make(1, RNG_INIT, 1);
    uint64_t x = rng_u64(&a);
    assert_true(x != rng_u64(&b));
    assert_true(x != rng_u64(&c));
    assert_true(x != rng_u64(&d));
    assert_true(rng_key(1, RNG_INIT) != rng_key(1, RNG_SHUFFLE));
}

/* Pearson's statistic over 7 cells, 70000 draws: beyond 30 has probability 4e-5 (chi-square, 6 degrees of freedom). The
 * numbers are fixed by the seed, so the test cannot fail by chance later. */
static void below_is_unbiased(void **state)
{
    (void)state;
    rng r = rng_make(3, RNG_TEST, 0);
    int cell[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint32_t value = rng_below(&r, 7);
        assert_true(value < 7);
        cell[value]++;
    }
    double statistic = 0;
    for (int i = 0; i < 7; i++) statistic += (cell[i] - 10000.0) * (cell[i] - 10000.0) / 10000.0;
    assert_true(statistic < 30);
    for (int i = 0; i < 100; i++) assert_int_equal(rng_below(&r, 1), 0);
    /* A bound just above 2^31 rejects almost half of the words; without rejection low values come twice as often. */
    int low = 0;
    for (int i = 0; i < 10000; i++) low += rng_below(&r, 0x80000001u) < 0x40000000u;
    assert_true(low > 4700 && low < 5300);
}

static void uniform_ranges(void **state)
{
    (void)state;
    rng r = rng_make(4, RNG_TEST, 0);
    double sum = 0, sum_double = 0;
    for (int i = 0; i < 100000; i++) {
        float u = rng_uniform(&r), v = rng_uniform_in(&r, -10, 10);
        double d = rng_uniform_double(&r);
        assert_true(u >= 0 && u < 1 && d >= 0 && d < 1 && v >= -10 && v < 10);
        sum += (double)u;
        sum_double += d;
    }
    /* The mean of n uniforms deviates by 1/sqrt(12 n) = 0.0009; five of those. */
    assert_true(fabs(sum / 100000 - 0.5) < 0.0046);
    assert_true(fabs(sum_double / 100000 - 0.5) < 0.0046);
    /* [low, high) even where the spacing of floats is wider than the interval's steps. */
    for (int i = 0; i < 10000; i++) assert_true(rng_uniform_in(&r, 16777215.0f, 16777216.0f) < 16777216.0f);
}

static void normal_moments(void **state)
{
    (void)state;
    rng r = rng_make(5, RNG_TEST, 0);
    const int n = 200000;
    double sum = 0, square = 0, fourth = 0;
    for (int i = 0; i < n; i++) {
        double x = (double)rng_normal(&r);
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
    }
    /* Five standard errors: 1, sqrt 2 and sqrt 96 over sqrt n. */
    assert_true(fabs(sum / n) < 5 * 1.0 / sqrt(n));
    assert_true(fabs(square / n - 1) < 5 * sqrt(2.0) / sqrt(n));
    assert_true(fabs(fourth / n - 3) < 5 * sqrt(96.0) / sqrt(n));
}

static void truncated_normal_stays_inside(void **state)
{
    (void)state;
    rng r = rng_make(6, RNG_TEST, 0);
    double square = 0;
    for (int i = 0; i < 50000; i++) {
        float x = rng_truncated_normal(&r, 2, 4);
        assert_true(fabsf(x) <= 4);
        square += (double)(x * x);
    }
    /* Variance of N(0, s) cut at 2 s: s^2 (1 - 2 * 2 phi(2) / (2 Phi(2) - 1)) = 0.773741 s^2. */
    assert_true(fabs(square / 50000 - 4 * 0.773741) < 0.06);
    /* Cut at s / 2: variance 0.080 s^2, close to the uniform's 1/12 * s^2 = 0.0833 s^2. */
    square = 0;
    for (int i = 0; i < 50000; i++) {
        float x = rng_truncated_normal(&r, 1, 0.5f);
        assert_true(fabsf(x) <= 0.5f);
        square += (double)(x * x);
    }
    double phi = exp(-0.125) / sqrt(6.283185307179586), mass = erf(0.5 / sqrt(2.0));
    assert_true(fabs(square / 50000 - (1 - phi / mass)) < 0.003);
    assert_true(rng_truncated_normal(&r, 0, 1) == 0 && rng_truncated_normal(&r, 1, 0) == 0);
}

static void shuffle_is_a_fair_permutation(void **state)
{
    (void)state;
    int first[5] = {0};
    for (uint64_t epoch = 0; epoch < 10000; epoch++) {
        int64_t items[5] = {0, 1, 2, 3, 4};
        rng r = rng_make(7, RNG_SHUFFLE, epoch);
        rng_shuffle(&r, items, 5);
        int seen = 0;
        for (int i = 0; i < 5; i++) seen |= 1 << items[i];
        assert_int_equal(seen, 31);
        first[items[0]]++;
    }
    /* Binomial(10000, 0.2): deviation 40; five of those. */
    for (int i = 0; i < 5; i++) assert_true(abs(first[i] - 2000) < 200);
    rng r = rng_make(7, RNG_SHUFFLE, 0);
    rng_shuffle(&r, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_known_answers),        cmocka_unit_test(words_are_the_blocks_in_order),
        cmocka_unit_test(streams_and_indices_differ),  cmocka_unit_test(below_is_unbiased),
        cmocka_unit_test(uniform_ranges),              cmocka_unit_test(normal_moments),
        cmocka_unit_test(truncated_normal_stays_inside), cmocka_unit_test(shuffle_is_a_fair_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
