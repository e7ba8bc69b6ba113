/* Metrics. Losses, hits and the confusion matrix of the fixture: torch 1.13 in float64 (cross_entropy,
 * binary_cross_entropy_with_logits, topk, argmax). Means from these by hand. */
#include "tests/unit/unit_test.h"

#include <math.h>

#include "core/task/classify/metrics.h"

enum { ROWS = 12, CLASSES = 4 };
static const float logits[ROWS * CLASSES] = {-3.05f, -1.5f, -1.31f, -3.22f, -0.2f, -1.22f, -1.96f, -3.22f, -1.42f,
    0.61f, -1.55f, -0.5f, -0.44f, 3.37f, 0.46f, 0.94f, -1.39f, -2.32f, 1.4f, 0.4f, 1.73f, 0.49f, -1.33f, 1.61f, 2.2f,
    -0.35f, -4.49f, -2.89f, 0.12f, -1.24f, -1.6f, -0.26f, 3.76f, -0.14f, 0.32f, -1.55f, 0.4f, 0.09f, 0.31f, -0.95f,
    -0.22f, 0.59f, -0.32f, -0.06f, 4.71f, -2.07f, 3.15f, -1.26f};
static const int32_t labels[ROWS] = {1, 0, 0, 1, 0, 0, 1, 1, 1, 2, 1, 0};

static void near(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-7)) fail_msg("got %.17g, expected %.17g", got, expected);
}

static void agrees_with_torch(void **state)
{
    (void)state;
    static const int64_t confusion[CLASSES * CLASSES] = {3, 1, 1, 0, 3, 2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0};
    metrics m;
    assert_int_equal(metrics_init(&m, CLASSES, 2, LOSS_SOFTMAX), OK);
    metrics_add(&m, logits, labels, 5);
    metrics_add(&m, logits + 5 * CLASSES, labels + 5, ROWS - 5);
    near(metrics_loss(&m), 1.5772333187634586);
    assert_int_equal(m.correct, 5);
    assert_int_equal(m.correct_top_k, 8);
    assert_memory_equal(m.confusion, confusion, sizeof confusion);
    class_metrics zero = metrics_class(&m, 0), three = metrics_class(&m, 3), macro = metrics_macro(&m),
                  weighted = metrics_weighted(&m);
    near(zero.precision, 3.0 / 7);
    near(zero.recall, 0.6);
    near(zero.f1, 0.5);
    assert_true(isnan(three.precision) && isnan(three.recall) && isnan(three.f1));
    near(macro.precision, (3.0 / 7 + 2.0 / 3 + 0) / 3);
    near(weighted.recall, 5.0 / 12);
    near(macro.f1, (0.5 + 4.0 / 9 + 0) / 3);
    metrics_free(&m);
}

static void sigmoid_loss_is_torchs(void **state)
{
    (void)state;
    metrics m;
    assert_int_equal(metrics_init(&m, CLASSES, 5, LOSS_SIGMOID), OK);
    metrics_add(&m, logits, labels, ROWS);
    near(metrics_loss(&m), 0.7698304150052074);
    assert_int_equal(m.top_k, CLASSES); /* there are no five */
    near(metrics_accuracy_top_k(&m), 1);
    metrics_free(&m);
}

static void ties_go_to_the_first(void **state)
{
    (void)state;
    const float equal[3] = {1, 1, 1};
    int32_t predicted;
    int64_t rank;
    metrics_row(equal, 3, 2, LOSS_SOFTMAX, &predicted, &rank);
    assert_int_equal(predicted, 0);
    assert_int_equal(rank, 2);
}

static void nan_is_wrong(void **state)
{
    (void)state;
    const float rows[4] = {NAN, 1, NAN, NAN};
    const int32_t zero[2] = {0, 0};
    metrics m;
    assert_int_equal(metrics_init(&m, 2, 2, LOSS_SOFTMAX), OK);
    metrics_add(&m, rows, zero, 2);
    assert_int_equal(m.count, 2);
    assert_int_equal(m.correct, 0);
    assert_int_equal(m.correct_top_k, 0);
    assert_int_equal(m.predicted[0] + m.predicted[1], 1);
    assert_true(isnan(metrics_loss(&m)));
    metrics_free(&m);
}

static void nothing_has_no_mean(void **state)
{
    (void)state;
    metrics m;
    const int32_t unknown[2] = {-1, 4};
    assert_int_equal(metrics_init(&m, CLASSES, 1, LOSS_SOFTMAX), OK);
    metrics_add(&m, logits, unknown, 2);
    assert_int_equal(m.count, 0);
    assert_true(isnan(metrics_loss(&m)) && isnan(metrics_accuracy(&m)) && isnan(metrics_macro(&m).f1));
    metrics_free(&m);
}

static void batches_do_not_matter(void **state)
{
    (void)state;
    metrics one, many;
    assert_int_equal(metrics_init(&one, CLASSES, 2, LOSS_SOFTMAX), OK);
    assert_int_equal(metrics_init(&many, CLASSES, 2, LOSS_SOFTMAX), OK);
    metrics_add(&one, logits, labels, ROWS);
    for (int i = 0; i < ROWS; i++) metrics_add(&many, logits + i * CLASSES, labels + i, 1);
    assert_memory_equal(&one.loss_sum, &many.loss_sum, sizeof one.loss_sum);
    metrics_reset(&one);
    assert_int_equal(one.count + one.correct + one.support[0] + one.confusion[0], 0);
    metrics_free(&one);
    metrics_free(&many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_torch),
        cmocka_unit_test(sigmoid_loss_is_torchs),
        cmocka_unit_test(ties_go_to_the_first),
        cmocka_unit_test(nan_is_wrong),
        cmocka_unit_test(nothing_has_no_mean),
        cmocka_unit_test(batches_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
