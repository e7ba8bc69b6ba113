#include <math.h>

#include "core/ops/onnx.h"

static status read_relu(onnx_call *c) { return onnx_unary(c, &op_activation, &(activation_attr){.act = ACT_RELU}); }

static status read_sigmoid(onnx_call *c)
{
    return onnx_unary(c, &op_activation, &(activation_attr){.act = ACT_SIGMOID});
}

static status read_leaky(onnx_call *c)
{
    activation_attr a = {.act = ACT_LEAKY};
    TRY(onnx_float(c, "alpha", 0.01f, &a.alpha));
    return onnx_unary(c, &op_activation, &a);
}

/* Bounds are attributes up to opset 10, then inputs; a missing one does not bound. */
static status read_clip(onnx_call *c)
{
    static const double limit = 2.9e38; /* of attributes: op.fields */
    double low = -limit, high = limit;
    if (c->opset < 11) {
        float min, max;
        TRY(onnx_float(c, "min", (float)-limit, &min));
        TRY(onnx_float(c, "max", (float)limit, &max));
        low = (double)min, high = (double)max;
    } else {
        if (onnx_has(c, 1)) TRY(onnx_const_scalar(c, 1, &low));
        if (onnx_has(c, 2)) TRY(onnx_const_scalar(c, 2, &high));
    }
    if (low == 0 && high >= limit) return read_relu(c);
    activation_attr a = {.act = low == 0 && high == 6 ? ACT_RELU6 : ACT_CLIP};
    if (a.act == ACT_CLIP) a.alpha = (float)fmax(low, -limit), a.beta = (float)fmin(high, limit);
    return onnx_unary(c, &op_activation, &a);
}

/* x * sigmoid(alpha * x), since opset 24. */
static status read_swish(onnx_call *c)
{
    float alpha;
    TRY(onnx_float(c, "alpha", 1, &alpha));
    if (alpha != 1) return onnx_fail(c, "alpha = %g, expected 1", (double)alpha);
    return onnx_unary(c, &op_activation, &(activation_attr){.act = ACT_SWISH});
}

/* clip(slope * x + shift, 0, 1), in output 0. */
static status hard_sigmoid(onnx_call *c, onnx_value *v, float slope, float shift, edge_id *e)
{
    onnx_channels k = onnx_any_channels(v);
    float *scale, *offset;
    TRY(onnx_repeat(c, slope, k.count, &scale));
    TRY(onnx_repeat(c, shift, k.count, &offset));
    TRY(onnx_affine(c, v, k, scale, offset, true));
    edge_id line = c->out[0]->edge;
    return onnx_node(c, &op_activation, "clip", &(activation_attr){.act = ACT_CLIP, .beta = 1}, &line, 1, e);
}

static status read_hard_sigmoid(onnx_call *c)
{
    onnx_value *v;
    float slope, shift;
    edge_id e;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_float(c, "alpha", 0.2f, &slope));
    TRY(onnx_float(c, "beta", 0.5f, &shift));
    TRY(hard_sigmoid(c, v, slope, shift, &e));
    return onnx_put_same(c, e, c->out[0]);
}

/* x * hard_sigmoid(x) with 1/6 and 1/2. */
static status read_hard_swish(onnx_call *c)
{
    onnx_value *v;
    edge_id in[2], y;
    TRY(onnx_need(c, 0, &v));
    TRY(hard_sigmoid(c, v, 1.0f / 6, 0.5f, &in[1]));
    TRY(onnx_arrange(c, v, c->out[0]->axis, &in[0]));
    TRY(onnx_node(c, &op_mul, NULL, &(binary_attr){0}, in, 2, &y));
    return onnx_put_same(c, y, c->out[0]);
}

/* ---------------------------------------------------------------------------------------------------- writing */


static status write(onnx_sink *s, const node *n)
{
    const activation_attr *a = n->attr;
    const char *from;
    TRY(onnx_raw_name(s, n->in[0], &from));
    s->flat[n->out[0]] = s->flat[n->in[0]];
    if (a->act != ACT_NONE) return onnx_act_out(s, n, from, a->act, a->alpha, a->beta, 1);
    s->name[n->out[0]] = from;
    return OK;
}

const op_onnx activation_onnx = {
    .read = {{"Relu", read_relu}, {"Sigmoid", read_sigmoid}, {"LeakyRelu", read_leaky}, {"Clip", read_clip},
        {"HardSigmoid", read_hard_sigmoid}, {"HardSwish", read_hard_swish}, {"Swish", read_swish}, {NULL, NULL}},
    .write = write};
