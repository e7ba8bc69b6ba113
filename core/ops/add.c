#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"

static const op_field fields[] = {
    FIELDS_ACTIVATION(binary_attr),
    {"out_scale", FIELD_FLOAT, offsetof(binary_attr, out_scale), 1, 0, FLOAT_LIMIT, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const binary_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0);
    dtype type = x->type;
    bool integer = type == DTYPE_I8 || type == DTYPE_U8;
    if (!integer) TRY(infer_is_float(g, n, 0));
    TRY(infer_is(g, n, 1, type, x->shape));
    if (integer && !(x->scale > 0.0f && infer_in(g, n, 1)->scale > 0.0f))
        return infer_fail(n, "integer inputs need scales above 0");
    TRY(infer_out(g, n, 0, type, x->shape));
    return integer ? infer_out_scale(g, n, 0, a->out_scale) : OK;
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const binary_attr *a = n->attr;
    const edge *x = infer_in(g, n, 0), *y = infer_in(g, n, 1);
    binary_desc *d = &b->desc.binary;
    b->op = OP_ADD;
    shape_split(x->shape, &d->n, &d->pixels, &d->channels);
    d->type = x->type;
    d->a_scale = d->b_scale = 1.0f;
    if (!dtype_is_float(x->type)) d->a_scale = x->scale / a->out_scale, d->b_scale = y->scale / a->out_scale;
    d->act = a->act, d->alpha = a->alpha, d->beta = a->beta;
    b->in[0] = n->in[0];
    b->in[1] = n->in[1];
    b->out[0] = n->out[0];
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const binary_attr *attr = n->attr;
    edge_id g[1] = {dout[0]};
    if (!activation_recoverable(attr->act, attr->alpha))
        return FAIL(E_INTERNAL, "node '%s' (add): a fused %s has no gradient", n->name, activation_names[attr->act]);
    if (attr->act != ACT_NONE) {
        activation_attr act = {attr->act, attr->alpha, attr->beta};
        g[0] = EDGE_NEW;
        TRY(autodiff_node(a, n, &op_act_backward, "dact", &act, (edge_id[]){dout[0], n->out[0]}, 2, g));
    }
    for (int32_t i = 0; i < 2; i++)
        if (autodiff_wants(a, n->in[i])) TRY(autodiff_add(a, n->in[i], g[0]));
    return OK;
}

const op op_add = {.name = "add",
    .attr_bytes = sizeof(binary_attr),
    .fields = fields,
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_SAME,
    .quant = QUANT_RESCALE,
    .inplace_in = 0,
    .narrow_in = 1 | 2,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &add_onnx};
