/* terms.h: the numbers that a training step reports, as f64 [1] edges of the training graph. The first is the loss. */
#ifndef GRAFT_OPS_TERMS_H
#define GRAFT_OPS_TERMS_H

#include "core/graph/graph.h"

enum { TERM_MAX = 8 };

typedef struct loss_term {
    edge_id edge;      /* f64 [1], of one batch */
    const char *tag;   /* logged as train/TAG; NULL: not logged */
    const char *label; /* in the progress line; NULL: not there */
    bool trained;      /* its gradient is what the step follows: the sum of all such terms is minimised */
    bool counted;      /* a number of images, logged as a part of all images, in per cent; else a mean over batches */
} loss_term;

typedef struct loss_terms {
    loss_term item[TERM_MAX];
    int32_t count;
} loss_terms;

#endif
