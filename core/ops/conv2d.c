#include <inttypes.h>
#include <math.h>

#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"

enum { X, WEIGHT, BIAS, ADD, SCALE, TRANSFORM };

static const op_field fields[] = {
    {"stride", FIELD_INT32, offsetof(conv2d_attr, stride), 2, 1, SIZE_LIMIT, NULL},
    {"pad", FIELD_INT32, offsetof(conv2d_attr, pad), 4, 0, SIZE_LIMIT, NULL},
    {"dilation", FIELD_INT32, offsetof(conv2d_attr, dilation), 2, 1, SIZE_LIMIT, NULL},
    {"groups", FIELD_INT32, offsetof(conv2d_attr, groups), 1, 1, INT32_MAX, NULL},
    FIELDS_ACTIVATION(conv2d_attr),
    {"out_type", FIELD_ENUM, offsetof(conv2d_attr, out_type), 1, 0, 0, dtype_names},
    {"add_scale", FIELD_FLOAT, offsetof(conv2d_attr, add_scale), 1, -FLOAT_LIMIT, FLOAT_LIMIT, NULL},
    {"out_scale", FIELD_FLOAT, offsetof(conv2d_attr, out_scale), 1, 0, FLOAT_LIMIT, NULL},
    FIELDS_END,
};

/* Output length along one axis; 0 when the window does not fit. */
static int64_t out_size(int64_t size, int64_t pads, int64_t window, int64_t dilation, int64_t stride)
{
    int64_t room = size + pads - ((window - 1) * dilation + 1);
    return room < 0 ? 0 : room / stride + 1;
}

/* The descriptor both directions share. A linear layer is a 1x1 convolution of one pixel. */
static void set_desc(conv2d_desc *d, const conv2d_attr *a, shape src, shape weight, bool linear)
{
    if (linear) {
        int64_t n = src.dim[0], features = shape_count(weight) / weight.dim[0];
        src = shape_4(n, 1, 1, features);
        weight = shape_4(weight.dim[0], 1, 1, features);
    }
    d->n = src.dim[0], d->ih = src.dim[1], d->iw = src.dim[2], d->ic = src.dim[3];
    d->oc = weight.dim[0], d->kh = (int32_t)weight.dim[1], d->kw = (int32_t)weight.dim[2];
    d->sh = a->stride[0], d->sw = a->stride[1];
    d->pt = a->pad[0], d->pl = a->pad[1], d->pb = a->pad[2], d->pr = a->pad[3];
    d->dil_h = a->dilation[0], d->dil_w = a->dilation[1];
    d->groups = a->groups;
    d->compute = a->compute;
    d->oh = out_size(d->ih, (int64_t)d->pt + d->pb, d->kh, d->dil_h, d->sh);
    d->ow = out_size(d->iw, (int64_t)d->pl + d->pr, d->kw, d->dil_w, d->sw);
}

/* Types of src, weight, bias, scale and the type and scale of dst; one rule for conv2d and linear. */
static status infer_types(graph *g, const node *n, const conv2d_attr *a, int64_t oc, dtype *out)
{
    const edge *x = infer_in(g, n, X), *w = infer_in(g, n, WEIGHT), *bias = infer_in(g, n, BIAS);
    bool integer = x->type == DTYPE_I8 || x->type == DTYPE_U8;
    if (!integer) TRY(infer_is_float(g, n, X));
    dtype weight_type = integer ? DTYPE_I8 : x->type;
    if (w->type != weight_type)
        return infer_fail(n, "weight is %s, expected %s for an input of %s", dtype_name(w->type),
            dtype_name(weight_type), dtype_name(x->type));
    if (bias) TRY(infer_is_vector(g, n, BIAS, param_type(x->type), oc));
    *out = integer ? a->out_type : x->type;
    if (*out != DTYPE_I8 && *out != DTYPE_U8 && !dtype_is_float(*out))
        return infer_fail(n, "out_type cannot be %s", dtype_name(*out));
    if (integer && dtype_is_float(*out) && *out != DTYPE_F32)
        return infer_fail(n, "out_type %s, expected i8, u8 or f32", dtype_name(*out));
    return OK;
}

static status infer(graph *g, node *n)
{
    const conv2d_attr *a = n->attr;
    TRY(infer_rank(g, n, X, 4, 4));
    TRY(infer_rank(g, n, WEIGHT, 4, 4));
    shape x = infer_in(g, n, X)->shape, w = infer_in(g, n, WEIGHT)->shape;
    if (x.dim[3] % a->groups != 0 || w.dim[0] % a->groups != 0)
        return infer_fail(n, "groups = %d divides not both %" PRId64 " input and %" PRId64 " output channels",
            a->groups, x.dim[3], w.dim[0]);
    if (w.dim[3] != x.dim[3] / a->groups)
        return infer_fail(n, "weight has %" PRId64 " input channels per group, expected %" PRId64 " / %d", w.dim[3],
            x.dim[3], a->groups);
    conv2d_desc d = {0};
    set_desc(&d, a, x, w, false);
    if (d.oh < 1 || d.ow < 1)
        return infer_fail(n,
            "the %dx%d window (dilation %dx%d) is larger than the padded %" PRId64 "x%" PRId64 " input", d.kh, d.kw,
            d.dil_h, d.dil_w, d.ih, d.iw);
    dtype type;
    TRY(infer_types(g, n, a, d.oc, &type));
    shape out = shape_4(d.n, d.oh, d.ow, d.oc);
    const edge *add = infer_in(g, n, ADD);
    if (add) TRY(infer_is(g, n, ADD, add->type, out));
    if (add && dtype_is_float(infer_in(g, n, X)->type) && add->type != type)
        return infer_fail(n, "add is %s, expected %s", dtype_name(add->type), dtype_name(type));
    if (infer_in(g, n, SCALE)) TRY(infer_is_vector(g, n, SCALE, DTYPE_F32, d.oc));
    TRY(infer_is(g, n, TRANSFORM, param_type(infer_in(g, n, X)->type), shape_2(2, d.ic)));
    TRY(infer_out(g, n, 0, type, out));
    if (!dtype_is_float(type)) TRY(infer_out_scale(g, n, 0, a->out_scale));
    return infer_out(g, n, 1, DTYPE_F64, shape_2(2, d.oc));
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const conv2d_attr *a = n->attr;
    const edge *x = infer_in(g, n, X), *w = infer_in(g, n, WEIGHT), *add = infer_in(g, n, ADD);
    conv2d_desc *d = &b->desc.conv2d;
    b->op = OP_CONV2D_FORWARD;
    set_desc(d, a, x->shape, w->shape, false);
    d->src_type = x->type, d->weight_type = w->type, d->dst_type = g->edges[n->out[0]].type;
    conv2d_epilogue *e = &d->epilogue;
    e->has_bias = infer_in(g, n, BIAS) != NULL;
    e->has_scale = infer_in(g, n, SCALE) != NULL;
    e->act = a->act, e->alpha = a->alpha, e->beta = a->beta;
    e->stats = n->out[1] != EDGE_NONE;
    if (infer_in(g, n, TRANSFORM))
        d->transform = (conv2d_transform){true, a->transform.act, a->transform.alpha, a->transform.beta};
    if (add) e->has_add = true, e->add_type = add->type, e->add_scale = dtype_is_float(x->type) ? 1.0f : a->add_scale;
    b->in[CONV2D_SRC] = n->in[X];
    b->in[CONV2D_WEIGHT] = n->in[WEIGHT];
    b->in[CONV2D_BIAS] = n->in[BIAS];
    b->in[CONV2D_ADD] = n->in[ADD];
    b->in[CONV2D_SCALE] = n->in[SCALE];
    b->in[CONV2D_TRANSFORM] = infer_in(g, n, TRANSFORM) ? n->in[TRANSFORM] : EDGE_NONE;
    b->out[0] = n->out[0];
    b->out[1] = n->out[1];
    b->weight_in = CONV2D_WEIGHT;
    return OK;
}

static int64_t macs(const graph *g, const node *n)
{
    shape y = g->edges[n->out[0]].shape, w = g->edges[n->in[WEIGHT]].shape;
    return macs_product((int64_t[]){shape_count(y), w.dim[1], w.dim[2], w.dim[3]}, 4);
}

/* Only depthwise convolutions lose groups, one per channel; several channels per group are never cut. */
static void cut(void *attr, shape weight)
{
    conv2d_attr *a = attr;
    if (weight.dim[0] < a->groups) a->groups = (int32_t)weight.dim[0];
}

/* ---------------------------------------------------------------------------------------------------- lowering */

/* What an engine will compute with integers reads the weights as they will be there. */
static status lower(graph_builder *b, const node *n)
{
    edge_id weight = n->in[WEIGHT], image;
    if (!quantised_input(b->src, n->in[X]) || b->src->edges[weight].kind != EDGE_PARAM) return builder_copy(b, n);
    TRY(quantised_weight(b, n, weight, &image));
    edge_id as_trained = b->map[weight];
    b->map[weight] = image;
    TRY(builder_copy(b, n));
    b->map[weight] = as_trained;
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- gradient */

/* A bias alone (its weight is frozen): the weight gradient of a 1x1 convolution whose input is a plane of ones. */
static status gradient_bias(autodiff *a, const node *n, edge_id ddst, edge_id dbias)
{
    shape y = a->g->edges[ddst].shape;
    bool linear = y.rank == 2;
    shape ones_shape = linear ? shape_2(y.dim[0], 1) : shape_4(y.dim[0], y.dim[1], y.dim[2], 1);
    char *name;
    TRY_ALLOC(name, arena_printf(&a->g->memory, "%s/ones", n->name));
    dtype type = a->g->edges[ddst].type;
    edge_id ones = graph_edge(a->g, name, EDGE_CONST, type, ones_shape);
    if (ones == EDGE_NONE) return E_MEMORY;
    for (int64_t i = 0; i < shape_count(ones_shape); i++) dtype_store(a->g->edges[ones].data, type, i, 1.0);
    conv2d_grad_attr attr = {.conv = {.stride = {1, 1}, .dilation = {1, 1}, .groups = 1},
        .src = ones_shape,
        .linear = linear,
        .weight = shape_4(y.dim[y.rank - 1], 1, 1, 1)};
    edge_id out[] = {dbias, EDGE_NONE};
    return autodiff_node(a, n, &op_conv2d_dweight, "dbias", &attr, (edge_id[]){ones, ddst}, 2, out);
}

/* Weight before input: the input of the forward node is then free before the input's gradient needs memory. */
static status gradient_products(autodiff *a, const node *n, const conv2d_grad_attr *attr, edge_id ddst)
{
    edge_id dweight = EDGE_NONE, dbias = EDGE_NONE;
    TRY(autodiff_param_grad(a, n->in[WEIGHT], &dweight));
    if (n->in[BIAS] != EDGE_NONE) TRY(autodiff_param_grad(a, n->in[BIAS], &dbias));
    if (dweight != EDGE_NONE) {
        edge_id out[] = {dweight, dbias};
        TRY(autodiff_node(a, n, &op_conv2d_dweight, "dweight", attr, (edge_id[]){n->in[X], ddst}, 2, out));
    } else if (dbias != EDGE_NONE) {
        TRY(gradient_bias(a, n, ddst, dbias));
    }
    if (!autodiff_wants(a, n->in[X])) return OK;
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_conv2d_dsrc, "dsrc", attr, (edge_id[]){ddst, n->in[WEIGHT]}, 2, out));
    return autodiff_add(a, n->in[X], out[0]);
}

/* Through the fused activation: ddst becomes the gradient of what went into it. */
static status gradient_activation(autodiff *a, const node *n, activation act, float alpha, float beta, edge_id *ddst)
{
    if (n->in[SCALE] != EDGE_NONE || !activation_recoverable(act, alpha))
        return FAIL(E_INTERNAL, "node '%s' (%s): a fused scale or %s has no gradient", n->name, n->op->name,
            activation_names[act]);
    if (act == ACT_NONE) return OK;
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(
        a, n, &op_act_backward, "dact", &(activation_attr){act, alpha, beta}, (edge_id[]){*ddst, n->out[0]}, 2, out));
    *ddst = out[0];
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const conv2d_attr *attr = n->attr;
    edge_id ddst = dout[0];
    if (n->in_count > TRANSFORM && n->in[TRANSFORM] != EDGE_NONE)
        return FAIL(E_INTERNAL, "node '%s' (conv2d): a transformed input has no gradient", n->name);
    TRY(gradient_activation(a, n, attr->act, attr->alpha, attr->beta, &ddst));
    if (autodiff_wants(a, n->in[ADD])) TRY(autodiff_add(a, n->in[ADD], ddst));
    conv2d_grad_attr grad = {
        .conv = *attr, .src = a->g->edges[n->in[X]].shape, .weight = a->g->edges[n->in[WEIGHT]].shape};
    grad.conv.act = ACT_NONE;
    return gradient_products(a, n, &grad, ddst);
}

enum { GRAD_TRANSFORM = 2 }; /* of dweight */

static shape grad_dst_shape(const conv2d_grad_attr *a)
{
    conv2d_desc d = {0};
    set_desc(&d, &a->conv, a->src, a->weight, a->linear);
    return a->linear ? shape_2(d.n, d.oc) : shape_4(d.n, d.oh, d.ow, d.oc);
}

static void grad_desc(const graph *g, const node *n, kernel_binding *b)
{
    const conv2d_grad_attr *a = n->attr;
    conv2d_desc *d = &b->desc.conv2d;
    set_desc(d, &a->conv, a->src, a->weight, a->linear);
    d->src_type = d->weight_type = d->dst_type = g->edges[n->in[0]].type;
    if (n->op == &op_conv2d_dweight) d->weight_type = g->edges[n->out[0]].type;
    b->in[0] = n->in[0];
    b->in[1] = n->in[1];
    b->out[0] = n->out[0];
    b->out[1] = n->out[1];
}

static status infer_dsrc(graph *g, node *n)
{
    const conv2d_grad_attr *a = n->attr;
    TRY(infer_is_float(g, n, 0));
    dtype type = infer_in(g, n, 0)->type;
    TRY(infer_is(g, n, 0, type, grad_dst_shape(a)));
    TRY(infer_is(g, n, 1, type, a->weight));
    return infer_out(g, n, 0, type, a->src);
}

static status describe_dsrc(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_CONV2D_DSRC;
    grad_desc(g, n, b);
    b->weight_in = 1;
    return OK;
}

static status infer_dweight(graph *g, node *n)
{
    const conv2d_grad_attr *a = n->attr;
    TRY(infer_is_float(g, n, 0));
    dtype type = infer_in(g, n, 0)->type;
    TRY(infer_is(g, n, 0, type, a->src));
    TRY(infer_is(g, n, 1, type, grad_dst_shape(a)));
    TRY(infer_is(g, n, GRAD_TRANSFORM, param_type(type), shape_2(2, a->src.dim[a->src.rank - 1])));
    const edge *dweight = &g->edges[n->out[0]];
    bool bias_only = dweight->shape.rank == 1 && dweight->shape.dim[0] == shape_count(a->weight);
    /* Gradients of 16-bit tensors are summed in f32. */
    dtype sum_type = dweight->type == param_type(type) ? param_type(type) : type;
    TRY(infer_out(g, n, 0, sum_type, bias_only ? dweight->shape : a->weight));
    return infer_out(g, n, 1, param_type(type), shape_1(a->weight.dim[0]));
}

static status describe_dweight(const graph *g, const node *n, kernel_binding *b)
{
    const conv2d_transform *t = &((const conv2d_grad_attr *)n->attr)->conv.transform;
    b->op = OP_CONV2D_DWEIGHT;
    grad_desc(g, n, b);
    if (!infer_in(g, n, GRAD_TRANSFORM)) return OK;
    b->desc.conv2d.transform = (conv2d_transform){true, t->act, t->alpha, t->beta};
    b->in[CONV2D_TRANSFORM] = n->in[GRAD_TRANSFORM];
    return OK;
}

const op op_conv2d = {.name = "conv2d",
    .attr_bytes = sizeof(conv2d_attr),
    .fields = fields,
    .in_min = 2,
    .in_max = 6,
    .out_min = 1,
    .out_count = 2,
    .coupling = COUPLE_WEIGHT,
    .quant = QUANT_CONV,
    .inplace_in = ADD,
    .narrow_in = 1 << X | 1 << WEIGHT | 1 << ADD,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .lower = lower,
    .macs = macs,
    .cut = cut,
    .onnx = &conv2d_onnx};
const op op_conv2d_dsrc = {.name = "conv2d_dsrc",
    .attr_bytes = sizeof(conv2d_grad_attr),
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_FIXED,
    .inplace_in = -1,
    .infer = infer_dsrc,
    .describe = describe_dsrc};
const op op_conv2d_dweight = {.name = "conv2d_dweight",
    .attr_bytes = sizeof(conv2d_grad_attr),
    .in_min = 2,
    .in_max = 3,
    .out_min = 1,
    .out_count = 2,
    .internal = true,
    .coupling = COUPLE_FIXED,
    .inplace_in = -1,
    .infer = infer_dweight,
    .describe = describe_dweight};

/* ---------------------------------------------------------------------------------------------------- linear */

/* Stands here because it is the same arithmetic: a 1x1 convolution over [n, 1, 1, features]. */
enum { LINEAR_SCALE = 3 };

static const op_field linear_fields[] = {
    FIELDS_ACTIVATION(linear_attr),
    {"out_type", FIELD_ENUM, offsetof(linear_attr, out_type), 1, 0, 0, dtype_names},
    {"out_scale", FIELD_FLOAT, offsetof(linear_attr, out_scale), 1, 0, FLOAT_LIMIT, NULL},
    FIELDS_END,
};

static const conv2d_attr unit_conv = {.stride = {1, 1}, .dilation = {1, 1}, .groups = 1};

static status linear_infer(graph *g, node *n)
{
    const linear_attr *a = n->attr;
    TRY(infer_rank(g, n, X, 2, 4));
    TRY(infer_rank(g, n, WEIGHT, 4, 4));
    shape x = infer_in(g, n, X)->shape, w = infer_in(g, n, WEIGHT)->shape;
    int64_t oc = w.dim[0], features = shape_count(w) / oc, given = shape_count(x) / x.dim[0];
    if (features != given)
        return infer_fail(n, "weight takes %" PRId64 " features, the input has %" PRId64, features, given);
    if (x.rank == 3) return infer_fail(n, "input has 3 dimensions, expected [n, features] or [n, h, w, c]");
    conv2d_attr conv = unit_conv;
    conv.out_type = a->out_type;
    dtype type;
    TRY(infer_types(g, n, &conv, oc, &type));
    if (infer_in(g, n, LINEAR_SCALE)) TRY(infer_is_vector(g, n, LINEAR_SCALE, DTYPE_F32, oc));
    TRY(infer_out(g, n, 0, type, shape_2(x.dim[0], oc)));
    return dtype_is_float(type) ? OK : infer_out_scale(g, n, 0, a->out_scale);
}

static status linear_describe(const graph *g, const node *n, kernel_binding *b)
{
    const linear_attr *a = n->attr;
    const edge *x = infer_in(g, n, X), *w = infer_in(g, n, WEIGHT);
    conv2d_desc *d = &b->desc.conv2d;
    b->op = OP_CONV2D_FORWARD;
    conv2d_attr conv = unit_conv;
    conv.compute = a->compute;
    set_desc(d, &conv, x->shape, w->shape, true);
    d->src_type = x->type, d->weight_type = w->type, d->dst_type = g->edges[n->out[0]].type;
    d->epilogue = (conv2d_epilogue){.has_bias = infer_in(g, n, BIAS) != NULL,
        .has_scale = infer_in(g, n, LINEAR_SCALE) != NULL,
        .act = a->act,
        .alpha = a->alpha,
        .beta = a->beta};
    b->in[CONV2D_SRC] = n->in[X];
    b->in[CONV2D_WEIGHT] = n->in[WEIGHT];
    b->in[CONV2D_BIAS] = n->in[BIAS];
    b->in[CONV2D_SCALE] = n->in[LINEAR_SCALE];
    b->out[0] = n->out[0];
    b->weight_in = CONV2D_WEIGHT;
    return OK;
}

static int64_t linear_macs(const graph *g, const node *n)
{
    return macs_product((int64_t[]){g->edges[n->in[X]].shape.dim[0], shape_count(g->edges[n->in[WEIGHT]].shape)}, 2);
}

static status linear_gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const linear_attr *attr = n->attr;
    edge_id ddst = dout[0];
    node as_trained = *n;
    as_trained.in[SCALE] = n->in[LINEAR_SCALE]; /* where conv2d has it */
    TRY(gradient_activation(a, &as_trained, attr->act, attr->alpha, attr->beta, &ddst));
    conv2d_grad_attr grad = {.conv = unit_conv, .linear = true, .src = a->g->edges[n->in[X]].shape,
        .weight = a->g->edges[n->in[WEIGHT]].shape};
    grad.conv.compute = attr->compute;
    return gradient_products(a, n, &grad, ddst);
}

const op op_linear = {.name = "linear",
    .attr_bytes = sizeof(linear_attr),
    .fields = linear_fields,
    .in_min = 2,
    .in_max = 4,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_WEIGHT,
    .quant = QUANT_CONV,
    .inplace_in = -1,
    .narrow_in = 1 << X | 1 << WEIGHT,
    .infer = linear_infer,
    .describe = linear_describe,
    .gradient = linear_gradient,
    .lower = lower,
    .macs = linear_macs,
    .onnx = &linear_onnx};
