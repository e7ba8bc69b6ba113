#include <string.h>

#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"

/* The loss of SSD, and what it shares with RetinaNet's (focal_loss.c). Its gradient is computed with it, as those of
 * the losses of classification are (loss.c). */

enum { LOCATION, CONFIDENCE, PRIORS, BOXES, BOX_CLASS, MATCH, LOSS_SCALE };
enum { TOTAL, BOX, CLASS, POSITIVES, DLOCATION, DCONFIDENCE };

static const op_field fields[] = {
    {"neg_pos_ratio", FIELD_FLOAT, offsetof(multibox_loss_attr, neg_pos_ratio), 1, 0, SIZE_LIMIT, NULL},
    {"location_weight", FIELD_FLOAT, offsetof(multibox_loss_attr, location_weight), 1, 0, FLOAT_LIMIT, NULL},
    {"variance", FIELD_FLOAT, offsetof(multibox_loss_attr, variance), 4, LEAST_VARIANCE, FLOAT_LIMIT, NULL},
    {"grad_scale", FIELD_FLOAT, offsetof(multibox_loss_attr, grad_scale), 1, -FLOAT_LIMIT, FLOAT_LIMIT, NULL},
    FIELDS_END,
};

status infer_is_detector(const graph *g, const node *n, int32_t backgrounds)
{
    TRY(infer_is_float(g, n, LOCATION));
    TRY(infer_rank(g, n, LOCATION, 3, 3));
    TRY(infer_rank(g, n, CONFIDENCE, 3, 3));
    const edge *location = infer_in(g, n, LOCATION);
    shape s = location->shape, scores = infer_in(g, n, CONFIDENCE)->shape;
    TRY(infer_is(g, n, LOCATION, location->type, (shape){3, {s.dim[0], s.dim[1], 4}}));
    TRY(infer_is(g, n, CONFIDENCE, location->type, (shape){3, {s.dim[0], s.dim[1], scores.dim[2]}}));
    if (scores.dim[2] <= backgrounds) return infer_fail(n, "input %d has no channel but the background", CONFIDENCE);
    return infer_is(g, n, PRIORS, DTYPE_F32, shape_2(s.dim[1], 4));
}

status prior_loss_infer(graph *g, node *n, int32_t backgrounds)
{
    TRY(infer_is_detector(g, n, backgrounds));
    TRY(infer_rank(g, n, BOX_CLASS, 2, 2));
    shape location = infer_in(g, n, LOCATION)->shape, confidence = infer_in(g, n, CONFIDENCE)->shape;
    int64_t images = location.dim[0], capacity = infer_in(g, n, BOX_CLASS)->shape.dim[1];
    dtype type = infer_in(g, n, LOCATION)->type;
    TRY(infer_is(g, n, BOXES, DTYPE_F32, (shape){3, {images, capacity, 4}}));
    TRY(infer_is(g, n, BOX_CLASS, DTYPE_I32, shape_2(images, capacity)));
    TRY(infer_is(g, n, MATCH, DTYPE_I32, shape_2(images, location.dim[1])));
    TRY(infer_is_vector(g, n, LOSS_SCALE, DTYPE_F32, 1));
    for (int32_t i = TOTAL; i <= POSITIVES; i++) TRY(infer_out(g, n, i, DTYPE_F64, shape_1(1)));
    TRY(infer_out(g, n, DLOCATION, type, location));
    return infer_out(g, n, DCONFIDENCE, type, confidence);
}

static status infer(graph *g, node *n) { return prior_loss_infer(g, n, 1); }

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const multibox_loss_attr *a = n->attr;
    const edge *confidence = infer_in(g, n, CONFIDENCE);
    multibox_loss_desc *d = &b->desc.multibox_loss;
    b->op = OP_MULTIBOX_LOSS;
    *d = (multibox_loss_desc){.n = confidence->shape.dim[0],
        .priors = confidence->shape.dim[1],
        .classes = confidence->shape.dim[2] - 1,
        .capacity = infer_in(g, n, BOX_CLASS)->shape.dim[1],
        .type = confidence->type,
        .neg_pos_ratio = a->neg_pos_ratio,
        .location_weight = a->location_weight,
        .grad_scale = a->grad_scale};
    memcpy(d->variance, a->variance, sizeof d->variance);
    for (int32_t i = 0; i < n->in_count; i++) b->in[i] = n->in[i];
    for (int32_t i = 0; i < n->out_count; i++) b->out[i] = n->out[i];
    return OK;
}

status prior_loss_gradient(autodiff *a, const node *n, const edge_id *dout)
{
    if (dout[TOTAL] != a->seed || dout[BOX] != EDGE_NONE || dout[CLASS] != EDGE_NONE || dout[POSITIVES] != EDGE_NONE)
        return FAIL(E_INTERNAL,
            "node '%s' (%s): its gradient is computed with the loss: nothing but sums may follow it", n->name,
            n->op->name);
    for (int32_t i = PRIORS; i < n->in_count; i++)
        if (autodiff_wants(a, n->in[i]))
            return FAIL(E_INTERNAL, "node '%s' (%s): no gradient by input %d", n->name, n->op->name, (int)i);
    node_id self = a->g->edges[n->out[TOTAL]].producer;
    for (int32_t i = LOCATION; i <= CONFIDENCE; i++) {
        edge_id dsrc;
        if (!autodiff_wants(a, n->in[i])) continue;
        TRY(graph_want_output(a->g, self, DLOCATION + i, &dsrc));
        TRY(autodiff_add(a, n->in[i], dsrc));
    }
    return OK;
}

const op op_multibox_loss = {.name = "multibox_loss",
    .attr_bytes = sizeof(multibox_loss_attr),
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
