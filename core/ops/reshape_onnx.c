#include <inttypes.h>
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
        else if (s.dim[i] < 0 || __builtin_mul_overflow(known, s.dim[i], &known))
            return onnx_fail(c, "dimension %d of the new shape is %" PRId64, i, dim[i]);
    }
    if (!shape_count_checked(v->shape, &have)) return onnx_fail(c, "its input is too large");
    if (open >= 0 && (known < 1 || have % known != 0))
        return onnx_fail(c, "%" PRId64 " elements cannot be divided by %" PRId64, have, known);
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
    if (axis < 0 || axis > v->shape.rank) return onnx_fail(c, "axis %" PRId64 " of %d dimensions", axis, v->shape.rank);
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
        if (v->shape.dim[axis] != 1)
            return onnx_fail(c, "axis %d has %" PRId64 " entries, expected 1", axis, v->shape.dim[axis]);
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
    if (count > SHAPE_MAX_RANK - v->shape.rank)
        return onnx_fail(c, "%" PRId64 " new dimensions beside %d", count, v->shape.rank);
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

/* ---------------------------------------------------------------------------------------------------- writing */


/* Into our order, into the new shape, and an image back into ONNX's. */
static status write(onnx_sink *s, const node *n)
{
    const reshape_attr *a = n->attr;
    const char *from, *dims, *part, *out = s->g->edges[n->out[0]].name;
    int64_t dim[SHAPE_MAX_RANK];
    onnx_out_node *o;
    TRY(onnx_ordered_name(s, n->in[0], &from));
    if (s->g->edges[n->in[0]].shape.rank == 4) {
        TRY(onnx_name(s, n->name, "channels_last", &part));
        TRY(onnx_node_out(s, "Transpose", &from, 1, part, &o));
        onnx_attr_ints(s, o, "perm", (int64_t[]){0, 2, 3, 1}, 4);
        from = part;
    }
    for (int32_t i = 0; i < a->rank; i++) dim[i] = i == 0 && a->dim[0] == -1 ? 0 : a->dim[i]; /* 0: as it is */
    TRY(onnx_ints_out(s, n->name, "shape", dim, a->rank, &dims));
    part = out;
    if (a->rank == 4) TRY(onnx_name(s, n->name, "reshaped", &part));
    TRY(onnx_node_out(s, "Reshape", (const char *[]){from, dims}, 2, part, &o));
    if (a->rank == 4) {
        TRY(onnx_node_out(s, "Transpose", &part, 1, out, &o));
        onnx_attr_ints(s, o, "perm", (int64_t[]){0, 3, 1, 2}, 4);
    }
    onnx_made(s, n);
    return OK;
}

/* In ONNX's order: whoever reads it turns its weight, or the values. */
static status write_flatten(onnx_sink *s, const node *n)
{
    shape in = s->g->edges[n->in[0]].shape;
    onnx_out_node *o;
    TRY(onnx_simple_out(s, n, "Flatten", &o));
    onnx_attr_int(o, "axis", 1);
    if (in.rank == 4 && in.dim[1] * in.dim[2] > 1 && in.dim[3] > 1) s->flat[n->out[0]] = in;
    else if (in.rank == 2) s->flat[n->out[0]] = s->flat[n->in[0]];
    return OK;
}

const op_onnx flatten_onnx = {.read = {{NULL, NULL}}, .write = write_flatten};

const op_onnx reshape_onnx = {.read = {{"Reshape", read_reshape}, {"Flatten", read_flatten}, {"Squeeze", read_squeeze},
    {"Unsqueeze", read_unsqueeze}, {NULL, NULL}}, .write = write};
