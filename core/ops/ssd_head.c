#include <string.h>

#include "core/ops/prior_head.h"

/* The end of SSD: a class or the background for every prior. */

static const op_field fields[] = {
    PRIOR_HEAD_FIELDS(ssd_head_attr),
    {"neg_pos_ratio", FIELD_FLOAT, offsetof(ssd_head_attr, neg_pos_ratio), 1, 0, SIZE_LIMIT, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const ssd_head_attr *a = n->attr;
    return prior_head_infer(g, n, &a->head, 1);
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const ssd_head_attr *a = n->attr;
    return prior_head_describe(g, n, &a->head, b);
}

static status add_loss(graph *g, const node *n, double grad_scale, edge_id loss_scale, loss_terms *terms)
{
    const ssd_head_attr *a = n->attr;
    multibox_loss_attr loss = {.neg_pos_ratio = a->neg_pos_ratio,
        .location_weight = a->head.location_weight,
        .grad_scale = (float)grad_scale};
    memcpy(loss.variance, a->head.variance, sizeof loss.variance);
    return prior_head_add_loss(g, n, &a->head, false, &op_multibox_loss, &loss, loss_scale, terms);
}

const op op_ssd_head = {.name = "ssd_head",
    .attr_bytes = sizeof(ssd_head_attr),
    .fields = fields,
    .in_min = 3,
    .in_max = 3,
    .out_min = 1,
    .out_count = 1,
    .head_in = 1u << PRIOR_HEAD_LOCATION | 1u << PRIOR_HEAD_CONFIDENCE,
    .class_in = 1u << PRIOR_HEAD_CONFIDENCE,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe,
    .add_loss = add_loss};
