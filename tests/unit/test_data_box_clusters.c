/* Sizes that stand for boxes: sets whose clusters are known, and what must hold of any. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/data/box_clusters.h"

enum { MOST = 400 };

static void near(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-9)) fail_msg("got %.12g, expected %.12g", got, expected);
}

/* Three sizes, each many times: they are the clusters, and fit wholly. */
static void finds_what_is_there(void **state)
{
    (void)state;
    static const box_size three[] = {{10, 20}, {40, 30}, {100, 50}};
    box_size size[MOST], cluster[3];
    double mean_iou;
    for (int i = 0; i < MOST; i++) size[i] = three[(i * 7) % 3];
    GOOD(box_clusters_find(cluster, 3, size, MOST, &mean_iou));
    for (int k = 0; k < 3; k++) near(cluster[k].width, three[k].width), near(cluster[k].height, three[k].height);
    near(mean_iou, 1);
}

/* One cluster is the mean; its IoU with 10 x 10 and 30 x 10 is 1/2 and 2/3. */
static void one_is_the_mean(void **state)
{
    (void)state;
    box_size size[] = {{30, 10}, {10, 10}}, cluster;
    double mean_iou;
    GOOD(box_clusters_find(&cluster, 1, size, 2, &mean_iou));
    near(cluster.width, 20), near(cluster.height, 10);
    near(mean_iou, (0.5 + 2.0 / 3) / 2);
}

static void draw(box_size size[MOST], uint64_t seed)
{
    rng r = rng_make(seed, RNG_TEST, 0);
    for (int i = 0; i < MOST; i++) size[i] = (box_size){rng_uniform_in(&r, 4, 200), rng_uniform_in(&r, 4, 200)};
}

/* The order of the boxes does not matter, and more clusters fit better. */
static void order_does_not_matter(void **state)
{
    (void)state;
    double last = 0;
    for (int64_t k = 1; k <= 12; k += 3) {
        box_size size[MOST], turned[MOST], a[12], b[12];
        double x, y;
        draw(size, 5);
        for (int i = 0; i < MOST; i++) turned[i] = size[MOST - 1 - i];
        GOOD(box_clusters_find(a, k, size, MOST, &x));
        GOOD(box_clusters_find(b, k, turned, MOST, &y));
        assert_memory_equal(a, b, (size_t)k * sizeof *a);
        assert_true(x > last && x < 1);
        near(x, y);
        for (int64_t i = 1; i < k; i++) assert_true(a[i - 1].width * a[i - 1].height <= a[i].width * a[i].height);
        last = x;
    }
}

static void too_few_sizes(void **state)
{
    (void)state;
    box_size size[] = {{1, 2}, {1, 2}, {3, 4}}, cluster[3];
    double mean_iou;
    assert_int_equal(box_clusters_find(cluster, 3, size, 3, &mean_iou), E_DATA);
    assert_non_null(strstr(status_message(), "2 different sizes, fewer than 3"));
    assert_int_equal(box_clusters_find(cluster, 1, size, 0, &mean_iou), E_DATA);
    GOOD(box_clusters_find(cluster, 2, size, 3, &mean_iou));
    near(mean_iou, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_what_is_there), cmocka_unit_test(one_is_the_mean),
        cmocka_unit_test(order_does_not_matter), cmocka_unit_test(too_few_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
