#include <string.h>

#include "core/ops/prior_head.h"

/* The end of RetinaNet: each class by itself for every prior. */

static const op_field fields[] = {
    PRIOR_HEAD_FIELDS(retinanet_head_attr),
    {"alpha", FIELD_FLOAT, offsetof(retinanet_head_attr, alpha), 1, 0, 1, NULL},
    {"gamma", FIELD_FLOAT, offsetof(retinanet_head_attr, gamma), 1, 0, FLOAT_LIMIT, NULL},
    {"beta", FIELD_FLOAT, offsetof(retinanet_head_attr, beta), 1, 0, FLOAT_LIMIT, NULL},
    {"per_image", FIELD_BOOL, offsetof(retinanet_head_attr, per_image), 1, 0, 1, NULL},
    {"low_quality", FIELD_BOOL, offsetof(retinanet_head_attr, low_quality), 1, 0, 1, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const retinanet_head_attr *a = n->attr;
    return prior_head_infer(g, n, &a->head, 0);
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const retinanet_head_attr *a = n->attr;
    return prior_head_describe(g, n, &a->head, b);
}

static status add_loss(graph *g, const node *n, double grad_scale, edge_id loss_scale, loss_terms *terms)
{
    const retinanet_head_attr *a = n->attr;
    focal_loss_attr loss = {.alpha = a->alpha,
        .gamma = a->gamma,
        .beta = a->beta,
        .per_image = a->per_image,
        .location_weight = a->head.location_weight,
        .grad_scale = (float)grad_scale};
    memcpy(loss.variance, a->head.variance, sizeof loss.variance);
    return prior_head_add_loss(g, n, &a->head, a->low_quality, &op_focal_loss, &loss, loss_scale, terms);
}

const op op_retinanet_head = {.name = "retinanet_head",
    .attr_bytes = sizeof(retinanet_head_attr),
    .fields = fields,
    .in_min = 3,
    .in_max = 3,
    .out_min = 1,
    .out_count = 1,
    .head_in = 1u << PRIOR_HEAD_LOCATION | 1u << PRIOR_HEAD_CONFIDENCE,
    .class_in = 1u << PRIOR_HEAD_CONFIDENCE,
    .score_prior = 0.01f, /* section 4.1: of many priors hardly one is an object */
    .coupling = COUPLE_FIXED,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe,
    .add_loss = add_loss};
