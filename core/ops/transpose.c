#include "core/graph/transform.h"
#include "core/ops/infer.h"

static const op_field fields[] = {
    {"perm", FIELD_INT32, offsetof(transpose_attr, perm), SHAPE_MAX_RANK, 0, SHAPE_MAX_RANK - 1, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const transpose_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    shape s = {.rank = x->shape.rank};
    float scale = x->scale;
    uint32_t seen = 0;
    if (s.rank < 1) return infer_fail(n, "a scalar has no dimensions to transpose");
    for (int32_t i = 0; i < s.rank; i++) {
        if (a->perm[i] < s.rank) s.dim[i] = x->shape.dim[a->perm[i]], seen |= 1u << a->perm[i];
    }
    if (seen != (1u << s.rank) - 1) return infer_fail(n, "perm is no permutation of %d dimensions", s.rank);
    TRY(infer_out(g, n, 0, x->type, s));
    if (n->out[0] != EDGE_NONE) g->edges[n->out[0]].scale = scale;
    return OK;
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const transpose_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    b->op = OP_TRANSPOSE;
    b->desc.transpose.rank = x->shape.rank;
    b->desc.transpose.type = x->type;
    for (int32_t i = 0; i < x->shape.rank; i++) {
        b->desc.transpose.src_dim[i] = x->shape.dim[i];
        b->desc.transpose.perm[i] = a->perm[i];
    }
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const transpose_attr *attr = n->attr;
    if (!autodiff_wants(a, n->in[0])) return OK;
    transpose_attr back = {0};
    for (int32_t i = 0; i < a->g->edges[n->in[0]].shape.rank; i++) back.perm[attr->perm[i]] = i;
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_transpose, "dsrc", &back, dout, 1, out));
    return autodiff_add(a, n->in[0], out[0]);
}

const op op_transpose = {.name = "transpose",
    .attr_bytes = sizeof(transpose_attr),
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
    .onnx = &transpose_onnx};
