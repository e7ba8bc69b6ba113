#include "core/base/hash.h"
#include "core/base/rng.h"
#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"

enum { X, KEYS };

static const op_field fields[] = {
    {"probability", FIELD_FLOAT, offsetof(dropout_attr, probability), 1, 0, 0.999999, NULL},
    {"seed", FIELD_INT64, offsetof(dropout_attr, seed), 1, -9.3e18, 9.3e18, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    TRY(infer_is_float(g, n, X));
    TRY(infer_rank(g, n, X, 1, SHAPE_MAX_RANK));
    const edge *x = infer_in(g, n, X);
    TRY(infer_is_vector(g, n, KEYS, DTYPE_I64, x->shape.dim[0]));
    return infer_out(g, n, 0, x->type, x->shape);
}

static void fill(const graph *g, const node *n, kernel_binding *b, const dropout_attr *a, uint64_t salt)
{
    const edge *x = infer_in(g, n, X);
    b->op = OP_DROPOUT;
    b->desc.dropout.n = x->shape.dim[0];
    b->desc.dropout.per_sample = shape_count(x->shape) / x->shape.dim[0];
    b->desc.dropout.type = x->type;
    b->desc.dropout.probability = a->probability;
    b->desc.dropout.key = rng_key((uint64_t)a->seed, RNG_DROPOUT);
    b->desc.dropout.salt = salt;
    b->in[0] = n->in[X];
    b->in[1] = n->in[KEYS];
    b->out[0] = n->out[0];
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    fill(g, n, b, n->attr, hash64_text(n->name));
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const dropout_attr *attr = n->attr;
    if (!autodiff_wants(a, n->in[X])) return OK;
    dropout_grad_attr grad = {.dropout = *attr, .salt = hash64_text(n->name)};
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_dropout_backward, "dsrc", &grad, (edge_id[]){dout[0], n->in[KEYS]}, 2, out));
    return autodiff_add(a, n->in[X], out[0]);
}

static status describe_backward(const graph *g, const node *n, kernel_binding *b)
{
    const dropout_grad_attr *a = n->attr;
    fill(g, n, b, &a->dropout, a->salt);
    return OK;
}

const op op_dropout = {.name = "dropout",
    .attr_bytes = sizeof(dropout_attr),
    .fields = fields,
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_SAME,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .narrow_in = 1,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &dropout_onnx};
const op op_dropout_backward = {.name = "dropout_backward",
    .attr_bytes = sizeof(dropout_grad_attr),
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_SAME,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe_backward};
