/* mixup.h: convex combinations of a batch with its mirror (Zhang and others, "mixup: beyond
 * empirical risk minimization", 2018). */
#ifndef GRAFT_DATA_MIXUP_H
#define GRAFT_DATA_MIXUP_H

#include "core/base/rng.h"

/* max(b, 1 - b) with b from Beta(alpha, alpha), alpha > 0: at least 0.5. */
double mixup_draw(rng *r, double alpha);

/* row[i] = lambda * row[i] + (1 - lambda) * row[n - 1 - i] for all i at once; rows [n, width]. */
void mixup_rows(float *rows, int64_t n, int64_t width, double lambda);

#endif
