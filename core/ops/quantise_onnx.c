#include "core/ops/onnx.h"

#include <inttypes.h>

/* ---------------------------------------------------------------------------------------------------- reading */

enum { ONNX_TYPE_FLOAT = 1, ONNX_TYPE_INT8 = 3, ONNX_TYPE_FLOAT16 = 10, ONNX_TYPE_DOUBLE = 11,
    ONNX_TYPE_BFLOAT16 = 16 };

/* Symmetric int8 only: scale of the tensor, zero point 0. A zero point left out is 0 of the type that is said
 * elsewhere: by output_dtype, or by the integers that are read. */
static status read_scale(onnx_call *c, bool int8_said, float *scale)
{
    double s, zero = 0;
    int64_t axis, block;
    TRY(onnx_int(c, "axis", 1, &axis)); /* means nothing for one scale */
    TRY(onnx_int(c, "block_size", 0, &block));
    if (block != 0) return onnx_fail(c, "block_size = %" PRId64 ": scales of blocks are not supported", block);
    if (onnx_has(c, 2)) {
        if (!c->in[2]->constant || c->in[2]->constant->type != DTYPE_I8)
            return onnx_fail(c, "its zero point is no int8 constant: only symmetric int8 is supported");
        TRY(onnx_const_scalar(c, 2, &zero));
    } else if (!int8_said) {
        return onnx_fail(c, "without a zero point it makes uint8: only symmetric int8 is supported");
    }
    TRY(onnx_const_scalar(c, 1, &s));
    if (zero != 0) return onnx_fail(c, "zero point %g: only symmetric int8 (0) is supported", zero);
    *scale = (float)s;
    return OK;
}

/* saturate (opset 19) is about floats of 8 bits. */
static status read_quantise(onnx_call *c)
{
    quantise_attr a;
    int64_t saturate, type, precision;
    TRY(onnx_int(c, "saturate", 1, &saturate));
    TRY(onnx_int(c, "output_dtype", 0, &type));
    TRY(onnx_int(c, "precision", 0, &precision));
    if (type != 0 && type != ONNX_TYPE_INT8)
        return onnx_fail(c, "output_dtype = %" PRId64 ", expected int8 (%d)", type, ONNX_TYPE_INT8);
    if (precision != 0 && precision != ONNX_TYPE_FLOAT)
        return onnx_fail(c, "precision = %" PRId64 ", expected f32 (%d)", precision, ONNX_TYPE_FLOAT);
    TRY(read_scale(c, type == ONNX_TYPE_INT8, &a.scale));
    return onnx_unary(c, &op_quantise, &a);
}

static status read_dequantise(onnx_call *c)
{
    quantise_attr a;
    int64_t type;
    TRY(onnx_int(c, "output_dtype", 0, &type));
    bool is_float = type == ONNX_TYPE_FLOAT || type == ONNX_TYPE_FLOAT16 || type == ONNX_TYPE_DOUBLE ||
        type == ONNX_TYPE_BFLOAT16;
    if (type != 0 && !is_float) return onnx_fail(c, "output_dtype = %" PRId64 ", expected a float type", type);
    TRY(read_scale(c, true, &a.scale));
    return onnx_unary(c, &op_dequantise, &a);
}

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
const op_onnx dequantise_onnx = {
    .read = {{"DequantizeLinear", read_dequantise}, {NULL, NULL}}, .write = write_dequantise};
