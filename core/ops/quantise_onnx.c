#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

/* Symmetric int8 only: scale of the tensor, zero point 0. */
static status read_scale(onnx_call *c, float *scale)
{
    double s, zero = 0;
    onnx_value *point;
    int64_t axis;
    TRY(onnx_int(c, "axis", 1, &axis)); /* means nothing for one scale */
    TRY(onnx_need(c, 2, &point));
    if (!point->constant || point->constant->type != DTYPE_I8)
        return onnx_fail(c, "its zero point is no int8 constant: only symmetric int8 is supported");
    TRY(onnx_const_scalar(c, 1, &s));
    TRY(onnx_const_scalar(c, 2, &zero));
    if (zero != 0) return onnx_fail(c, "zero point %g: only symmetric int8 (0) is supported", zero);
    *scale = (float)s;
    return OK;
}

static status read_one(onnx_call *c, const op *o)
{
    quantise_attr a;
    TRY(read_scale(c, &a.scale));
    return onnx_unary(c, o, &a);
}

static status read_quantise(onnx_call *c) { return read_one(c, &op_quantise); }

static status read_dequantise(onnx_call *c) { return read_one(c, &op_dequantise); }

/* ---------------------------------------------------------------------------------------------------- writing */


/* The nodes are made where integers are read (onnx_read_name): behind whatever passes them through. */
static status write_quantise(onnx_sink *s, const node *n)
{
    s->flat[n->out[0]] = s->flat[n->in[0]];
    return onnx_raw_name(s, n->in[0], &s->name[n->out[0]]);
}

static status write_dequantise(onnx_sink *s, const node *n)
{
    s->flat[n->out[0]] = s->flat[n->in[0]];
    return onnx_read_name(s, n->in[0], &s->name[n->out[0]]);
}

const op_onnx quantise_onnx = {.read = {{"QuantizeLinear", read_quantise}, {NULL, NULL}}, .write = write_quantise};
const op_onnx dequantise_onnx = {.read = {{"DequantizeLinear", read_dequantise}, {NULL, NULL}}, .write = write_dequantise};
