/* Learning rates. cosine, multistep and polynomial without warm-up: printed by torch 1.13's CosineAnnealingLR(100,
 * eta_min 0.001), MultiStepLR([30, 60]) and PolynomialLR(100, power 2), base 0.1. soft_start and step: Python's math on
 * TLT's formulas. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <string.h>

#include "core/train/schedule.h"

static double milestones[3] = {0.3, 0.6};

static spec_schedule plain(spec_schedule_type type)
{
    return (spec_schedule){.type = type,
        .learning_rate = 0.1,
        .gamma = 0.1,
        .power = 2,
        .step_size = 10,
        .annealing = 0.7,
        .milestones = {milestones, 2}};
}

static void near(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-12 * fabs(expected) + 1e-18)) fail_msg("got %.17g, expected %.17g", got, expected);
}

static void constant_stays(void **state)
{
    (void)state;
    spec_schedule s = plain(SCHEDULE_CONSTANT);
    near(schedule_rate(&s, 0, 100, 1), 0.1);
    near(schedule_rate(&s, 99, 100, 1), 0.1);
}

static void cosine_is_torchs(void **state)
{
    (void)state;
    spec_schedule s = plain(SCHEDULE_COSINE);
    s.min_learning_rate = 0.001;
    static const int at[] = {0, 25, 50, 75, 99};
    static const double rate[] = {
        0.1, 0.08550178566873408, 0.050499999999999975, 0.015498214331265893, 0.0010244252618962857};
    for (int i = 0; i < 5; i++) near(schedule_rate(&s, at[i], 100, 1), rate[i]);
}

static void multistep_is_torchs(void **state)
{
    (void)state;
    spec_schedule s = plain(SCHEDULE_MULTISTEP);
    static const int at[] = {0, 29, 30, 59, 60, 99};
    static const double rate[] = {0.1, 0.1, 0.01, 0.01, 0.001, 0.001};
    for (int i = 0; i < 6; i++) near(schedule_rate(&s, at[i], 100, 1), rate[i]);
}

static void polynomial_is_torchs(void **state)
{
    (void)state;
    spec_schedule s = plain(SCHEDULE_POLYNOMIAL);
    static const int at[] = {0, 25, 50, 99};
    static const double rate[] = {0.1, 0.05625, 0.025, 1e-5};
    for (int i = 0; i < 4; i++) near(schedule_rate(&s, at[i], 100, 1), rate[i]);
}

static void step_has_a_continuous_exponent(void **state)
{
    (void)state;
    spec_schedule s = plain(SCHEDULE_STEP);
    s.learning_rate = 0.006;
    static const int at[] = {0, 10, 20, 100, 199};
    static const double rate[] = {0.006, 0.0018973665961010276, 0.0006, 6e-08, 6.732110725811795e-13};
    for (int i = 0; i < 5; i++) near(schedule_rate(&s, at[i], 200, 1), rate[i]);
}

static void soft_start_moves_on_a_log_scale(void **state)
{
    (void)state;
    spec_schedule s = plain(SCHEDULE_SOFT_START);
    s.min_learning_rate = 5e-6, s.learning_rate = 5e-4, s.soft_start = 0.1;
    static const int at[] = {0, 50, 100, 400, 700, 850, 999};
    static const double rate[] = {5e-06, 5e-05, 5e-4, 5e-4, 5e-4, 5e-05, 5.077344962165397e-06};
    for (int i = 0; i < 7; i++) near(schedule_rate(&s, at[i], 1000, 1), rate[i]);
    s.soft_start = 0, s.annealing = 1;
    near(schedule_rate(&s, 0, 1000, 1), 5e-4);
    near(schedule_rate(&s, 999, 1000, 1), 5e-4);
}

static void soft_anneal_rises_then_falls_in_steps(void **state)
{
    (void)state;
    spec_schedule s = plain(SCHEDULE_SOFT_ANNEAL);
    s.learning_rate = 5e-4, s.warmup_start = 3e-4, s.soft_start = 0.056;
    near(schedule_rate(&s, 0, 1000, 1), 3e-4);
    near(schedule_rate(&s, 28, 1000, 1), 4e-4);
    near(schedule_rate(&s, 56, 1000, 1), 5e-4);
    near(schedule_rate(&s, 299, 1000, 1), 5e-4);
    near(schedule_rate(&s, 300, 1000, 1), 5e-5);
    near(schedule_rate(&s, 600, 1000, 1), 5e-6);
}

/* Linear from warmup_start to the schedule's own value at the end of the warm-up, whatever the schedule. */
static void warmup_is_linear_and_continuous(void **state)
{
    (void)state;
    static const spec_schedule_type types[] = {
        SCHEDULE_CONSTANT, SCHEDULE_STEP, SCHEDULE_MULTISTEP, SCHEDULE_COSINE, SCHEDULE_POLYNOMIAL};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        spec_schedule s = plain(types[i]);
        s.warmup = 0.1, s.warmup_start = 0.02;
        double top = types[i] == SCHEDULE_STEP ? 0.01 : 0.1; /* 0.1 * 0.1^(0.1 / 0.1) */
        near(schedule_rate(&s, 0, 1000, 1), 0.02);
        near(schedule_rate(&s, 50, 1000, 1), (0.02 + top) / 2);
        near(schedule_rate(&s, 100, 1000, 1), top);
    }
    spec_schedule s = plain(SCHEDULE_COSINE);
    s.warmup = 0.5;
    near(schedule_rate(&s, 75, 100, 1), 0.05); /* half way from the end of the warm-up to the end */
}

static void rates_grow_with_the_world(void **state)
{
    (void)state;
    spec_schedule s = plain(SCHEDULE_CONSTANT);
    near(schedule_rate(&s, 0, 10, 4), 0.1);
    s.scale_with_world = true;
    near(schedule_rate(&s, 0, 10, 4), 0.4);
}

static void bad_combinations_are_refused(void **state)
{
    (void)state;
    spec_schedule s = plain(SCHEDULE_SOFT_START);
    assert_int_equal(schedule_check(&s), E_USAGE); /* min 0 has no logarithm */
    assert_non_null(strstr(status_message(), "min_learning_rate"));
    s.min_learning_rate = 1e-6, s.soft_start = 0.7;
    assert_int_equal(schedule_check(&s), E_USAGE);
    s.soft_start = 0.1;
    assert_int_equal(schedule_check(&s), OK);
    s = plain(SCHEDULE_SOFT_ANNEAL), s.soft_start = 0.3;
    assert_int_equal(schedule_check(&s), E_USAGE);
    assert_non_null(strstr(status_message(), "schedule.milestones"));
    s = plain(SCHEDULE_MULTISTEP);
    assert_int_equal(schedule_check(&s), OK);
    double falling[] = {0.6, 0.3};
    s.milestones.value = falling;
    assert_int_equal(schedule_check(&s), E_USAGE);
    s.milestones.count = 0;
    assert_int_equal(schedule_check(&s), E_USAGE);
    s = plain(SCHEDULE_COSINE), s.min_learning_rate = 0.2;
    assert_int_equal(schedule_check(&s), E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_stays), cmocka_unit_test(cosine_is_torchs), cmocka_unit_test(multistep_is_torchs),
        cmocka_unit_test(polynomial_is_torchs), cmocka_unit_test(step_has_a_continuous_exponent),
        cmocka_unit_test(soft_start_moves_on_a_log_scale), cmocka_unit_test(soft_anneal_rises_then_falls_in_steps),
        cmocka_unit_test(warmup_is_linear_and_continuous), cmocka_unit_test(rates_grow_with_the_world),
        cmocka_unit_test(bad_combinations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
