#include "core/data/box_clusters.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { ROUNDS_MOST = 1000 };

static int by_area(const void *a, const void *b)
{
    const box_size *x = a, *y = b;
    double p = x->width * x->height, q = y->width * y->height;
    if (p < q || p > q) return p < q ? -1 : 1;
    return x->width < y->width ? -1 : x->width > y->width;
}

static double iou_of(const box_size *a, const box_size *b)
{
    double common = fmin(a->width, b->width) * fmin(a->height, b->height);
    return common / (a->width * a->height + b->width * b->height - common);
}

/* The first of the nearest. */
static int64_t nearest(const box_size *cluster, int64_t clusters, const box_size *b, double *iou)
{
    int64_t best = 0;
    *iou = -1;
    for (int64_t k = 0; k < clusters; k++) {
        double found = iou_of(&cluster[k], b);
        if (found > *iou) *iou = found, best = k;
    }
    return best;
}

static int64_t count_different(const box_size *size, int64_t count)
{
    int64_t different = count > 0;
    for (int64_t i = 1; i < count; i++) different += by_area(&size[i - 1], &size[i]) != 0;
    return different;
}

/* Sizes at equal steps of the different ones. */
static void start(box_size *cluster, int64_t clusters, const box_size *size, int64_t count, int64_t different)
{
    int64_t seen = -1, k = 0;
    for (int64_t i = 0; i < count && k < clusters; i++) {
        seen += i == 0 || by_area(&size[i - 1], &size[i]) != 0;
        if (seen >= (2 * k + 1) * different / (2 * clusters)) cluster[k++] = size[i];
    }
}

/* Moves each cluster to the mean of its boxes, and finds the boxes' nearest anew; how many have changed. */
static int64_t go_round(
    box_size *cluster, int64_t clusters, const box_size *size, int64_t count, int64_t *of, box_size *sum)
{
    int64_t changed = 0, *members = of + count;
    double iou;
    for (int64_t k = 0; k < clusters; k++) sum[k] = (box_size){0, 0}, members[k] = 0;
    for (int64_t i = 0; i < count; i++) {
        sum[of[i]].width += size[i].width;
        sum[of[i]].height += size[i].height;
        members[of[i]]++;
    }
    for (int64_t k = 0; k < clusters; k++)
        if (members[k] > 0)
            cluster[k] = (box_size){sum[k].width / (double)members[k], sum[k].height / (double)members[k]};
    for (int64_t i = 0; i < count; i++) {
        int64_t k = nearest(cluster, clusters, &size[i], &iou);
        changed += k != of[i];
        of[i] = k;
    }
    return changed;
}

status box_clusters_find(box_size *cluster, int64_t clusters, box_size *size, int64_t count, double *mean_iou)
{
    if (count > 0) qsort(size, (size_t)count, sizeof *size, by_area);
    int64_t different = count_different(size, count);
    if (different < clusters)
        return FAIL(E_DATA, "%" PRId64 " boxes have %" PRId64 " different sizes, fewer than %" PRId64 " anchors", count,
            different, clusters);
    int64_t *of = malloc((size_t)(count + clusters) * sizeof *of);
    box_size *sum = malloc((size_t)clusters * sizeof *sum);
    status result = of && sum ? OK : FAIL_MEMORY((count + clusters) * sizeof *of);
    double iou, total = 0;
    if (result == OK) {
        start(cluster, clusters, size, count, different);
        for (int64_t i = 0; i < count; i++) of[i] = nearest(cluster, clusters, &size[i], &iou);
        for (int round = 0; round < ROUNDS_MOST && go_round(cluster, clusters, size, count, of, sum) > 0;) round++;
        qsort(cluster, (size_t)clusters, sizeof *cluster, by_area);
        for (int64_t i = 0; i < count; i++) total += (nearest(cluster, clusters, &size[i], &iou), iou);
        *mean_iou = total / (double)count;
    }
    free(of);
    free(sum);
    return result;
}
