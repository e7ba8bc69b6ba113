#include "core/task/detect/average_precision.h"

#include <math.h>
#include <stdlib.h>

static int by_rank(const void *a, const void *b)
{
    const ranked_detection *x = a, *y = b;
    if (x->class_index != y->class_index) return x->class_index < y->class_index ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->sample != y->sample) return x->sample < y->sample ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

void detections_rank(ranked_detection *d, int64_t count)
{
    if (count > 0) qsort(d, (size_t)count, sizeof *d, by_rank);
}

/* From the worst detection to the best the envelope only grows, and every recall is passed once:
 * recall k / objects stands at hit k. */
double average_precision(const ranked_detection *d, int64_t count, int64_t objects, bool sample)
{
    enum { STEPS = 10 };
    int64_t hits = 0, seen = 0, step = STEPS;
    double envelope = 0, sum = 0;
    if (objects < 1) return NAN;
    for (int64_t i = 0; i < count; i++) hits += d[i].hit, seen += !d[i].ignored;
    for (int64_t i = count - 1; i >= 0; i--) {
        if (d[i].ignored) continue;
        for (; sample && step >= 0 && step * objects > hits * STEPS; step--)
            sum += envelope; /* recalls above this one's */
        envelope = fmax(envelope, (double)hits / (double)seen--);
        if (!d[i].hit) continue;
        if (!sample) sum += envelope;
        hits--;
    }
    for (; sample && step >= 0; step--) sum += envelope;
    return sum / (sample ? STEPS + 1 : (double)objects);
}
