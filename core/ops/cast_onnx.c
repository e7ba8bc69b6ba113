#include "core/ops/onnx.h"

#include <inttypes.h>

/* Every float type is f32 here, so a cast between them does nothing. */
static status read_cast(onnx_call *c)
{
    onnx_value *v;
    int64_t to;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_int(c, "to", 0, &to));
    if (to != 1 && to != 10 && to != 11 && to != 16)
        return onnx_fail(c, "of a computed value to ONNX type %" PRId64 ", expected a float type", to);
    return onnx_put_value(c, v);
}

const op_onnx cast_onnx = {.read = {{"Cast", read_cast}, {NULL, NULL}}};
