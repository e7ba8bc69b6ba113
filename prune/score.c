#include <math.h>
#include <stdlib.h>

#include "prune/channels.h"

/* Norm of each filter of a layer, divided by the layer's normaliser (TLT: the largest,
 * or the l2 norm over the count). */
static void score_layer(double *row_score, const edge *weight, int64_t rows, const prune_options *o)
{
    const float *w = weight->data;
    int64_t columns = shape_count(weight->shape) / rows;
    double largest = 0, square = 0;
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t i = 0; i < columns; i++) {
            double x = w[r * columns + i];
            sum += o->score == SCORE_L1 ? fabs(x) : x * x;
        }
        row_score[r] = o->score == SCORE_L1 ? sum : sqrt(sum);
        largest = fmax(largest, row_score[r]);
        square += row_score[r] * row_score[r];
    }
    double divisor = 1;
    if (o->normalizer == NORMALIZER_MAX) divisor = largest;
    if (o->normalizer == NORMALIZER_L2) divisor = sqrt(square) / (double)rows;
    for (int64_t r = 0; divisor > 0 && r < rows; r++) row_score[r] /= divisor;
}

static void merge_score(double *score, double value, prune_equalization equalization, bool first)
{
    if (equalization == EQUALIZE_GEOMETRIC) value = log(value);
    if (first) *score = value;
    else if (equalization == EQUALIZE_UNION) *score = fmax(*score, value);
    else if (equalization == EQUALIZE_INTERSECTION) *score = fmin(*score, value);
    else *score += value;
}

status score_channels(channel_map *m, const prune_options *options, double **result)
{
    double *score = ARENA_ARRAY(&m->memory, double, m->element_count);
    int64_t *members = ARENA_ARRAY(&m->memory, int64_t, m->element_count);
    if (!score || !members) return FAIL_MEMORY(m->element_count * 16);
    for (int64_t i = 0; i < m->prunable_count; i++) {
        const prunable *p = &m->prunables[i];
        double *row_score = ARENA_ARRAY(&m->memory, double, p->rows);
        if (!row_score) return FAIL_MEMORY(p->rows * 8);
        score_layer(row_score, &m->g->edges[p->weight], p->rows, options);
        for (int64_t r = 0; r < p->rows; r++) {
            int64_t root = channel_root(m, m->first[p->weight] + r);
            merge_score(&score[root], row_score[r], options->equalization, members[root]++ == 0);
        }
    }
    for (int64_t r = 0; r < m->element_count; r++) {
        if (!members[r]) continue;
        if (options->equalization == EQUALIZE_ARITHMETIC) score[r] /= (double)members[r];
        if (options->equalization == EQUALIZE_GEOMETRIC) score[r] = exp(score[r] / (double)members[r]);
    }
    *result = score;
    return OK;
}

typedef struct candidate {
    int32_t group;
    double score;
    int64_t root;
} candidate;

/* By group, best first; equal scores by position, so that the choice is one. */
static int by_score(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->root > y->root) - (x->root < y->root);
}

/* max(count above, min(min_filters, total)), rounded up to the granularity, at most all. */
static int64_t keep_count(int64_t total, int64_t above, const prune_options *o)
{
    int64_t least = o->min_filters < total ? o->min_filters : total;
    int64_t keep = above > least ? above : least;
    keep = (keep + o->granularity - 1) / o->granularity * o->granularity;
    return keep < total ? keep : total;
}

static void choose_group(
    const channel_map *m, const candidate *c, int64_t total, double threshold, const prune_options *o, bool *keep)
{
    bool whole = false;
    int64_t above = 0;
    for (int64_t i = 0; i < total; i++) {
        whole |= m->pinned[c[i].root] != NULL;
        above += c[i].score > threshold;
    }
    int64_t count = whole ? total : keep_count(total, above, o);
    for (int64_t i = 0; i < count; i++) keep[c[i].root] = true;
}

status choose_kept(channel_map *m, const double *score, double threshold, const prune_options *options, bool *keep)
{
    size_t bytes = (size_t)(m->element_count + 1) * sizeof(candidate);
    candidate *c = malloc(bytes);
    if (!c) return FAIL_MEMORY(bytes);
    int64_t count = 0;
    for (int64_t r = 0; r < m->element_count; r++) {
        keep[r] = m->group[r] < 0; /* input channels and the like: no filter makes them */
        if (m->group[r] >= 0) c[count++] = (candidate){m->group[r], score[r], r};
    }
    qsort(c, (size_t)count, sizeof *c, by_score);
    for (int64_t first = 0, next; first < count; first = next) {
        for (next = first; next < count && c[next].group == c[first].group;) next++;
        choose_group(m, c + first, next - first, threshold, options, keep);
    }
    free(c);
    return OK;
}
