#include <string.h>

#include "core/ops/infer.h"
#include "core/ops/internal.h"

/* The loss of RetinaNet. */

enum { CONFIDENCE = 1, BOX_CLASS = 4 };

static const op_field fields[] = {
    {"alpha", FIELD_FLOAT, offsetof(focal_loss_attr, alpha), 1, 0, 1, NULL},
    {"gamma", FIELD_FLOAT, offsetof(focal_loss_attr, gamma), 1, 0, FLOAT_LIMIT, NULL},
    {"beta", FIELD_FLOAT, offsetof(focal_loss_attr, beta), 1, 0, FLOAT_LIMIT, NULL},
    {"location_weight", FIELD_FLOAT, offsetof(focal_loss_attr, location_weight), 1, 0, FLOAT_LIMIT, NULL},
    {"variance", FIELD_FLOAT, offsetof(focal_loss_attr, variance), 4, LEAST_VARIANCE, FLOAT_LIMIT, NULL},
    {"grad_scale", FIELD_FLOAT, offsetof(focal_loss_attr, grad_scale), 1, -FLOAT_LIMIT, FLOAT_LIMIT, NULL},
    {"per_image", FIELD_BOOL, offsetof(focal_loss_attr, per_image), 1, 0, 1, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n) { return prior_loss_infer(g, n, 0); }

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const focal_loss_attr *a = n->attr;
    const edge *confidence = infer_in(g, n, CONFIDENCE);
    focal_loss_desc *d = &b->desc.focal_loss;
    b->op = OP_FOCAL_LOSS;
    *d = (focal_loss_desc){.n = confidence->shape.dim[0],
        .priors = confidence->shape.dim[1],
        .classes = confidence->shape.dim[2],
        .capacity = infer_in(g, n, BOX_CLASS)->shape.dim[1],
        .type = confidence->type,
        .alpha = a->alpha,
        .gamma = a->gamma,
        .beta = a->beta,
        .location_weight = a->location_weight,
        .per_image = a->per_image,
        .grad_scale = a->grad_scale};
    memcpy(d->variance, a->variance, sizeof d->variance);
    for (int32_t i = 0; i < n->in_count; i++) b->in[i] = n->in[i];
    for (int32_t i = 0; i < n->out_count; i++) b->out[i] = n->out[i];
    return OK;
}

const op op_focal_loss = {.name = "focal_loss",
    .attr_bytes = sizeof(focal_loss_attr),
    .fields = fields,
    .internal = true,
    .in_min = 6,
    .in_max = 7,
    .out_min = 4,
    .out_count = 6,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe,
    .gradient = prior_loss_gradient};
