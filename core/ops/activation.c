#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"

static const op_field fields[] = {FIELDS_ACTIVATION(activation_attr), FIELDS_END};

/* Integers pass where the activation means the same at any scale. */
static status infer(graph *g, node *n)
{
    const activation_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    dtype type = x->type;
    float scale = x->scale;
    bool integer = type == DTYPE_I8 || type == DTYPE_U8;
    if (integer && a->act != ACT_NONE && a->act != ACT_RELU)
        return infer_fail(n, "%s of integers, expected relu", activation_names[a->act]);
    if (a->act == ACT_CLIP && !(a->alpha <= a->beta))
        return infer_fail(n, "clip from %g to %g", (double)a->alpha, (double)a->beta);
    if (!integer) TRY(infer_is_float(g, n, 0));
    TRY(infer_out(g, n, 0, type, x->shape));
    return integer ? infer_out_scale(g, n, 0, scale) : OK;
}

static void fill(const graph *g, const node *n, kernel_binding *b, kernel_op o)
{
    const activation_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    b->op = o;
    b->desc.act =
        (act_desc){.count = shape_count(x->shape), .type = x->type, .act = a->act, .alpha = a->alpha, .beta = a->beta};
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    fill(g, n, b, OP_ACT_FORWARD);
    return OK;
}

/* From the output where that determines the slope: the input's memory is then free after the forward pass. */
static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const activation_attr *attr = n->attr;
    if (!autodiff_wants(a, n->in[0])) return OK;
    edge_id of = activation_recoverable(attr->act, attr->alpha) ? n->out[0] : n->in[0], out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_act_backward, "dsrc", attr, (edge_id[]){dout[0], of}, 2, out));
    return autodiff_add(a, n->in[0], out[0]);
}

static status infer_backward(graph *g, node *n)
{
    TRY(infer_is_float(g, n, 0));
    const edge *ddst = infer_in(g, n, 0);
    TRY(infer_is(g, n, 1, ddst->type, ddst->shape));
    return infer_out(g, n, 0, ddst->type, ddst->shape);
}

static status describe_backward(const graph *g, const node *n, kernel_binding *b)
{
    fill(g, n, b, OP_ACT_BACKWARD);
    b->in[1] = n->in[1];
    return OK;
}

const op op_activation = {.name = "activation",
    .attr_bytes = sizeof(activation_attr),
    .fields = fields,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_SAME,
    .quant = QUANT_PASS,
    .inplace_in = -1,
    .narrow_in = 1,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &activation_onnx};
const op op_act_backward = {.name = "act_backward",
    .attr_bytes = sizeof(activation_attr),
    .fields = fields,
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_SAME,
    .inplace_in = -1,
    .infer = infer_backward,
    .describe = describe_backward};
