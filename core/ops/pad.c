#include "core/graph/transform.h"

#include <inttypes.h>

#include "core/ops/infer.h"

static const op_field fields[] = {
    {"before", FIELD_INT64, offsetof(pad_attr, before), SHAPE_MAX_RANK, -INT32_MAX, INT32_MAX, NULL},
    {"after", FIELD_INT64, offsetof(pad_attr, after), SHAPE_MAX_RANK, -INT32_MAX, INT32_MAX, NULL},
    {"value", FIELD_FLOAT, offsetof(pad_attr, value), 1, -FLOAT_LIMIT, FLOAT_LIMIT, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const pad_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    shape s = x->shape;
    float scale = x->scale;
    for (int32_t i = 0; i < SHAPE_MAX_RANK; i++) {
        if (i >= s.rank && (a->before[i] != 0 || a->after[i] != 0))
            return infer_fail(n, "pads dimension %d of %d", i, s.rank);
        if (i >= s.rank) continue;
        int64_t size = s.dim[i] + a->before[i] + a->after[i]; /* all within 32 bits */
        if (size < 1)
            return infer_fail(n, "pads %" PRId64 " and %" PRId64 " leave nothing of dimension %d, which is %" PRId64,
                a->before[i], a->after[i], i, s.dim[i]);
        s.dim[i] = size;
    }
    if (x->type == DTYPE_I64 || x->type == DTYPE_I32) return infer_fail(n, "input is %s", dtype_name(x->type));
    TRY(infer_out(g, n, 0, x->type, s));
    return dtype_is_float(g->edges[n->in[0]].type) ? OK : infer_out_scale(g, n, 0, scale);
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const pad_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    pad_desc *d = &b->desc.pad;
    b->op = OP_PAD;
    d->rank = x->shape.rank;
    d->type = x->type;
    d->value = dtype_is_float(x->type) ? a->value : a->value / x->scale;
    for (int32_t i = 0; i < d->rank; i++) {
        d->src_dim[i] = x->shape.dim[i];
        d->dst_dim[i] = g->edges[n->out[0]].shape.dim[i];
        d->before[i] = a->before[i];
        d->step[i] = 1;
    }
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const pad_attr *attr = n->attr;
    if (!autodiff_wants(a, n->in[0])) return OK;
    pad_attr back = {.value = 0.0f};
    for (int32_t i = 0; i < SHAPE_MAX_RANK; i++) back.before[i] = -attr->before[i], back.after[i] = -attr->after[i];
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_pad, "dsrc", &back, dout, 1, out));
    return autodiff_add(a, n->in[0], out[0]);
}

const op op_pad = {.name = "pad",
    .attr_bytes = sizeof(pad_attr),
    .fields = fields,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_PASS,
    .inplace_in = -1,
    .narrow_in = 1,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &pad_onnx};
