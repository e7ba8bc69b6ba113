#include "core/ops/onnx.h"

#include <inttypes.h>

/* Every float type is f32 here, so a cast between them does nothing. saturate (opset 19) and round_mode (24) are about
 * floats of 8 bits, to which nothing is cast here. */
static status read_cast(onnx_call *c)
{
    onnx_value *v;
    int64_t to, saturate;
    const char *round_mode;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_int(c, "to", 0, &to));
    TRY(onnx_int(c, "saturate", 1, &saturate));
    TRY(onnx_text(c, "round_mode", "up", &round_mode));
    if (to != 1 && to != 10 && to != 11 && to != 16)
        return onnx_fail(c, "of a computed value to ONNX type %" PRId64 ", expected a float type", to);
    return onnx_put_value(c, v);
}

static status read_cast_like(onnx_call *c)
{
    onnx_value *v, *like;
    int64_t saturate;
    const char *round_mode;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_need(c, 1, &like));
    TRY(onnx_int(c, "saturate", 1, &saturate));
    TRY(onnx_text(c, "round_mode", "up", &round_mode));
    if (like->constant && !dtype_is_float(like->constant->type))
        return onnx_fail(c, "of a computed value to %s, expected a float type", dtype_name(like->constant->type));
    return onnx_put_value(c, v);
}

const op_onnx cast_onnx = {.read = {{"Cast", read_cast}, {"CastLike", read_cast_like}, {NULL, NULL}}};
