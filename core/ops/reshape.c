#include "core/graph/transform.h"

#include <inttypes.h>

#include "core/ops/infer.h"

static const op_field fields[] = {
    {"rank", FIELD_INT32, offsetof(reshape_attr, rank), 1, 1, SHAPE_MAX_RANK, NULL},
    {"dim", FIELD_INT64, offsetof(reshape_attr, dim), SHAPE_MAX_RANK, -1, INT32_MAX, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const reshape_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    shape s = {.rank = a->rank};
    float scale = x->scale;
    for (int32_t i = 0; i < a->rank; i++) {
        s.dim[i] = i == 0 && a->dim[0] == -1 && x->shape.rank > 0 ? x->shape.dim[0] : a->dim[i];
        if (s.dim[i] < 1)
            return infer_fail(n, "dim[%d] = %" PRId64 ", expected 1 or more (or -1 for the batch, dim[0])", i,
                a->dim[i]);
    }
    int64_t count = 0;
    if (!shape_count_checked(s, &count) || count != shape_count(x->shape)) {
        char have[128], want[128];
        shape_text(x->shape, have);
        shape_text(s, want);
        return infer_fail(n, "%s and %s differ in elements", have, want);
    }
    TRY(infer_out(g, n, 0, x->type, s));
    if (n->out[0] != EDGE_NONE) g->edges[n->out[0]].scale = scale;
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    if (!autodiff_wants(a, n->in[0])) return OK;
    shape s = a->g->edges[n->in[0]].shape;
    reshape_attr back = {.rank = s.rank};
    for (int32_t i = 0; i < s.rank; i++) back.dim[i] = s.dim[i];
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_reshape, "dsrc", &back, dout, 1, out));
    return autodiff_add(a, n->in[0], out[0]);
}

const op op_reshape = {.name = "reshape",
    .attr_bytes = sizeof(reshape_attr),
    .fields = fields,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .alias = true,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_PASS,
    .inplace_in = -1,
    .narrow_in = 1,
    .infer = infer,
    .gradient = gradient,
    .onnx = &reshape_onnx};
