#include "core/ops/infer.h"

static const op_field fields[] = {
    {"scale", FIELD_FLOAT, offsetof(quantise_attr, scale), 1, 1e-37, 1e37, NULL}, /* its inverse is finite too */
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const quantise_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    if (x->type != DTYPE_F32) return infer_fail(n, "input is %s, expected f32", dtype_name(x->type));
    TRY(infer_out(g, n, 0, DTYPE_I8, x->shape));
    return infer_out_scale(g, n, 0, a->scale);
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const quantise_attr *a = n->attr;
    b->op = OP_QUANTISE;
    b->desc.cast = (cast_desc){.count = shape_count(infer_in(g, n, 0)->shape),
        .src_type = DTYPE_F32,
        .dst_type = DTYPE_I8,
        .scale = 1.0f / a->scale};
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
    return OK;
}

const op op_quantise = {.name = "quantise",
    .attr_bytes = sizeof(quantise_attr),
    .fields = fields,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_SAME,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe,
    .onnx = &quantise_onnx};
