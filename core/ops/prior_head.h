/* prior_head.h: what the ends of detectors with priors have in common (ssd_head.c, retinanet_head.c): predictions
 * become boxes; in training, a loss of matched priors. Private to core/ops. */
#ifndef GRAFT_OPS_PRIOR_HEAD_H
#define GRAFT_OPS_PRIOR_HEAD_H

#include "core/ops/infer.h"
#include "core/ops/internal.h"
#include "core/ops/terms.h"

enum { PRIOR_HEAD_LOCATION, PRIOR_HEAD_CONFIDENCE, PRIOR_HEAD_PRIORS };

/* Rows of op.fields for a type of attributes whose first member is `head`. */
#define PRIOR_HEAD_FIELD(type, name, kind, count, low, high)                                                           \
    {                                                                                                                  \
#name, kind, offsetof(type, head.name), count, low, high, NULL                                                 \
    }
#define PRIOR_HEAD_FIELDS(type)                                                                                        \
    PRIOR_HEAD_FIELD(type, classes, FIELD_INT64, 1, 1, SIZE_LIMIT),                                                    \
        PRIOR_HEAD_FIELD(type, capacity, FIELD_INT64, 1, 1, SIZE_LIMIT),                                               \
        PRIOR_HEAD_FIELD(type, label_capacity, FIELD_INT64, 1, 0, SIZE_LIMIT),                                         \
        PRIOR_HEAD_FIELD(type, top_k, FIELD_INT64, 1, 1, SIZE_LIMIT),                                                  \
        PRIOR_HEAD_FIELD(type, threshold, FIELD_FLOAT, 1, 0, 1), PRIOR_HEAD_FIELD(type, iou, FIELD_FLOAT, 1, 0, 1),    \
        PRIOR_HEAD_FIELD(type, variance, FIELD_FLOAT, 4, LEAST_VARIANCE, FLOAT_LIMIT),                                 \
        PRIOR_HEAD_FIELD(type, width, FIELD_INT32, 1, 1, SIZE_LIMIT),                                                  \
        PRIOR_HEAD_FIELD(type, height, FIELD_INT32, 1, 1, SIZE_LIMIT),                                                 \
        PRIOR_HEAD_FIELD(type, positive, FIELD_FLOAT, 1, LEAST_IOU, 1),                                                \
        PRIOR_HEAD_FIELD(type, negative, FIELD_FLOAT, 1, LEAST_IOU, 1),                                                \
        PRIOR_HEAD_FIELD(type, location_weight, FIELD_FLOAT, 1, 0, FLOAT_LIMIT)

/* a: the head's. backgrounds: channels of the confidences beside the classes, 0 or 1. */
status prior_head_infer(graph *g, const node *n, const prior_head_attr *a, int32_t backgrounds);
status prior_head_describe(const graph *g, const node *n, const prior_head_attr *a, kernel_binding *b);
/* Appends the matching (low_quality: as of OP_MATCH_BOXES; else bipartite) and `loss`, with attributes of its own, and
 * their four terms. */
status prior_head_add_loss(graph *g, const node *head, const prior_head_attr *a, bool low_quality, const op *loss,
    const void *its_attr, edge_id loss_scale, loss_terms *terms);

#endif
