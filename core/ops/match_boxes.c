#include "core/ops/infer.h"
#include "core/ops/internal.h"

/* Which box of the labels each prior of a detector stands for. */

enum { PRIORS, BOXES, BOX_CLASS };

static const op_field fields[] = {
    {"positive", FIELD_FLOAT, offsetof(match_boxes_attr, positive), 1, LEAST_IOU, 1, NULL},
    {"negative", FIELD_FLOAT, offsetof(match_boxes_attr, negative), 1, LEAST_IOU, 1, NULL},
    {"bipartite", FIELD_BOOL, offsetof(match_boxes_attr, bipartite), 1, 0, 1, NULL},
    {"low_quality", FIELD_BOOL, offsetof(match_boxes_attr, low_quality), 1, 0, 1, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const match_boxes_attr *a = n->attr;
    TRY(infer_rank(g, n, PRIORS, 2, 2));
    TRY(infer_rank(g, n, BOX_CLASS, 2, 2));
    int64_t priors = infer_in(g, n, PRIORS)->shape.dim[0];
    shape labels = infer_in(g, n, BOX_CLASS)->shape;
    TRY(infer_is(g, n, PRIORS, DTYPE_F32, shape_2(priors, 4)));
    TRY(infer_is(g, n, BOXES, DTYPE_F32, (shape){3, {labels.dim[0], labels.dim[1], 4}}));
    TRY(infer_is(g, n, BOX_CLASS, DTYPE_I32, labels));
    if (a->negative > a->positive)
        return infer_fail(n, "negative %g is above positive %g", (double)a->negative, (double)a->positive);
    return infer_out(g, n, 0, DTYPE_I32, shape_2(labels.dim[0], priors));
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const match_boxes_attr *a = n->attr;
    shape labels = infer_in(g, n, BOX_CLASS)->shape;
    b->op = OP_MATCH_BOXES;
    b->desc.match_boxes = (match_boxes_desc){.n = labels.dim[0],
        .priors = infer_in(g, n, PRIORS)->shape.dim[0],
        .capacity = labels.dim[1],
        .positive = a->positive,
        .negative = a->negative,
        .bipartite = a->bipartite,
        .low_quality = a->low_quality};
    for (int32_t i = 0; i < n->in_count; i++) b->in[i] = n->in[i];
    b->out[0] = n->out[0];
    return OK;
}

const op op_match_boxes = {.name = "match_boxes",
    .attr_bytes = sizeof(match_boxes_attr),
    .fields = fields,
    .internal = true,
    .in_min = 3,
    .in_max = 3,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe};
