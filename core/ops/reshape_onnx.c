#include <string.h>

#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

/* 0 copies the input's dimension (unless allowzero), one -1 takes the rest. */
static status read_reshape(onnx_call *c)
{
    onnx_value *v;
    const int64_t *dim;
    int64_t rank, allow_zero, known = 1, have;
    int32_t open = -1;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_const_ints(c, 1, SHAPE_MAX_RANK, &dim, &rank));
    TRY(onnx_int(c, "allowzero", 0, &allow_zero));
    shape s = {.rank = (int32_t)rank};
    for (int32_t i = 0; i < s.rank; i++) {
        s.dim[i] = dim[i];
        if (dim[i] == 0 && !allow_zero) s.dim[i] = i < v->shape.rank ? v->shape.dim[i] : -2;
        if (dim[i] == -1 && open < 0) open = i;
        else if (s.dim[i] < 0 || __builtin_mul_overflow(known, s.dim[i], &known)) return onnx_fail(c, "dimension %d of the new shape is %lld", i, (long long)dim[i]);
    }
    if (!shape_count_checked(v->shape, &have)) return onnx_fail(c, "its input is too large");
    if (open >= 0 && (known < 1 || have % known != 0)) return onnx_fail(c, "%lld elements cannot be divided by %lld", (long long)have, (long long)known);
    if (open >= 0) s.dim[open] = have / known;
    return onnx_reshape(c, v, s);
}

static status read_flatten(onnx_call *c)
{
    onnx_value *v;
    int64_t axis;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_int(c, "axis", 1, &axis));
    if (axis < 0) axis += v->shape.rank;
    if (axis < 0 || axis > v->shape.rank) return onnx_fail(c, "axis %lld of %d dimensions", (long long)axis, v->shape.rank);
    shape s = shape_2(1, 1);
    for (int32_t i = 0; i < v->shape.rank; i++) s.dim[i >= axis] *= v->shape.dim[i];
    return onnx_reshape(c, v, s);
}

static status read_squeeze(onnx_call *c)
{
    onnx_value *v;
    const int64_t *axes;
    int64_t count;
    bool gone[SHAPE_MAX_RANK] = {false};
    shape s = {.rank = 0};
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_axes(c, "axes", 1, &axes, &count));
    for (int64_t i = 0; i < count; i++) {
        int32_t axis;
        TRY(onnx_axis(c, axes[i], v->shape.rank, &axis));
        if (v->shape.dim[axis] != 1) return onnx_fail(c, "axis %d has %lld entries, expected 1", axis, (long long)v->shape.dim[axis]);
        gone[axis] = true;
    }
    for (int32_t i = 0; i < v->shape.rank; i++)
        if (count ? !gone[i] : v->shape.dim[i] != 1) s.dim[s.rank++] = v->shape.dim[i];
    return onnx_reshape(c, v, s);
}

static status read_unsqueeze(onnx_call *c)
{
    onnx_value *v;
    const int64_t *axes;
    int64_t count;
    bool added[SHAPE_MAX_RANK] = {false};
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_axes(c, "axes", 1, &axes, &count));
    if (count > SHAPE_MAX_RANK - v->shape.rank) return onnx_fail(c, "%lld new dimensions beside %d", (long long)count, v->shape.rank);
    shape s = {.rank = v->shape.rank + (int32_t)count};
    for (int64_t i = 0; i < count; i++) {
        int32_t axis;
        TRY(onnx_axis(c, axes[i], s.rank, &axis));
        if (added[axis]) return onnx_fail(c, "axis %d twice", axis);
        added[axis] = true;
    }
    for (int32_t i = 0, from = 0; i < s.rank; i++) s.dim[i] = added[i] ? 1 : v->shape.dim[from++];
    return onnx_reshape(c, v, s);
}

const op_onnx reshape_onnx = {.read = {{"Reshape", read_reshape}, {"Flatten", read_flatten}, {"Squeeze", read_squeeze},
    {"Unsqueeze", read_unsqueeze}, {NULL, NULL}}};
