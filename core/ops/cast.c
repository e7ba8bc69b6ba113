#include "core/graph/transform.h"
#include "core/ops/infer.h"

static const op_field fields[] = {
    {"type", FIELD_ENUM, offsetof(cast_attr, type), 1, 0, 0, dtype_names},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const cast_attr *a = n->attr;
    return infer_out(g, n, 0, a->type, infer_in(g, n, 0)->shape);
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const cast_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    b->op = OP_CAST;
    b->desc.cast = (cast_desc){.count = shape_count(x->shape), .src_type = x->type, .dst_type = a->type};
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    if (!autodiff_wants(a, n->in[0])) return OK;
    cast_attr back = {a->g->edges[n->in[0]].type};
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_cast, "dsrc", &back, dout, 1, out));
    return autodiff_add(a, n->in[0], out[0]);
}

const op op_cast = {.name = "cast",
    .straight_through = true,
    .attr_bytes = sizeof(cast_attr),
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
    .gradient = gradient,
    .onnx = &cast_onnx};
