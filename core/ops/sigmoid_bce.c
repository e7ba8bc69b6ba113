#include "core/ops/loss.h"

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    return loss_describe(g, n, OP_SIGMOID_BCE, b);
}

const op op_sigmoid_bce = {.name = "sigmoid_bce",
    .attr_bytes = sizeof(loss_attr),
    .fields = loss_fields,
    .in_min = 2,
    .in_max = 5,
    .out_min = 2,
    .out_count = 3,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = loss_infer,
    .describe = describe,
    .gradient = loss_gradient};
