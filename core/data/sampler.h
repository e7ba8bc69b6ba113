/* sampler.h: in which order the samples of an epoch are shown. Depends on (seed, epoch) only.
 *
 *     sampler s;
 *     TRY(sampler_init(&s, ds, data_options, seed));
 *     sampler_order(&s, epoch, order);      // order[ds->count]
 *     sampler_free(&s);
 */
#ifndef GRAFT_DATA_SAMPLER_H
#define GRAFT_DATA_SAMPLER_H

#include "core/data/dataset.h"

typedef struct sampler {
    spec_sampling sampling;
    uint64_t seed;
    int64_t count;
    int64_t class_count;
    int64_t *members;     /* [count], samples class by class                                  */
    int64_t *class_first; /* [class_count + 1], where each class starts in members            */
    double *chance;       /* [class_count], cumulative: weighted sampling                     */
    int64_t *cursor;      /* [class_count], scratch of sampler_order: next member of the class */
    int64_t *round;       /* [class_count], scratch: classes in the order of a balanced round */
    int64_t *deck;        /* [count], scratch: members, shuffled within each class            */
    arena memory;
} sampler;

/* E_USAGE when data.class_weights does not fit the classes; E_DATA when a sample has
 * no class. options NULL: shuffle. */
status sampler_init(sampler *s, const dataset *ds, const spec_data *options, uint64_t seed);
void sampler_free(sampler *s);

/* shuffle: a permutation. weighted: each draw takes a class with a chance proportional to its weight times its number
 * of images, then the class's next image in a shuffled deck of them. balanced: rounds of one image from every class,
 * classes in random order. Not thread-safe (scratch). */
void sampler_order(sampler *s, int64_t epoch, int64_t *order);

/* Whether an epoch may show a sample more than once. */
static inline bool sampler_repeats(const sampler *s) { return s->sampling != SAMPLING_SHUFFLE; }

#endif
