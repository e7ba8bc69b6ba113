#include "core/ops/infer.h"

static const op_field fields[] = {
    {"scale", FIELD_FLOAT, offsetof(quantise_attr, scale), 1, 1e-37, 1e37, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const quantise_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    if (x->type != DTYPE_I8 && x->type != DTYPE_U8)
        return infer_fail(n, "input is %s, expected i8 or u8", dtype_name(x->type));
    if (x->scale != a->scale)
        return infer_fail(n, "scale %g, but the input's is %g", (double)a->scale, (double)x->scale);
    return infer_out(g, n, 0, DTYPE_F32, x->shape);
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const quantise_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    b->op = OP_DEQUANTISE;
    b->desc.cast =
        (cast_desc){.count = shape_count(x->shape), .src_type = x->type, .dst_type = DTYPE_F32, .scale = a->scale};
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
    return OK;
}

const op op_dequantise = {.name = "dequantise",
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
    .onnx = &dequantise_onnx};
