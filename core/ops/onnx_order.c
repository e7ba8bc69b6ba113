/* Where the values of an ONNX node lie: orders of dimensions, results, shapes, windows. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/infer.h"
#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- orders */

void onnx_order_plain(int32_t rank, int32_t *axis)
{
    for (int32_t i = 0; i < rank; i++) axis[i] = i;
}

void onnx_order_last(int32_t rank, int32_t last, int32_t *axis)
{
    int32_t at = 0;
    for (int32_t i = 0; i < rank; i++)
        if (i != last) axis[at++] = i;
    if (rank > 0) axis[at] = last;
}

status onnx_node(
    onnx_call *c, const op *o, const char *suffix, const void *attr, const edge_id *in, int32_t in_count, edge_id *e)
{
    const char *base = suffix ? arena_printf(c->memory, "%s/%s", c->name, suffix) : c->name, *name = base;
    for (int32_t copy = 2; name && graph_find_node(c->g, name) != NODE_NONE; copy++)
        name = arena_printf(c->memory, "%s.%d", base, copy);
    if (!name) return E_MEMORY;
    return graph_add(c->g, o, name, attr, in, in_count, 0, e);
}

/* dim[0] of a reshape: the batch stays open where it is the first dimension on both sides. */
static reshape_attr reshape_to(shape from, shape to)
{
    reshape_attr a = {.rank = to.rank};
    for (int32_t i = 0; i < to.rank; i++) a.dim[i] = to.dim[i];
    if (from.rank > 0 && to.rank > 0 && from.dim[0] == to.dim[0]) a.dim[0] = -1;
    return a;
}

status onnx_reshape_edge(onnx_call *c, edge_id from, shape to, edge_id *e)
{
    shape have = c->g->edges[from].shape;
    reshape_attr a = reshape_to(have, to);
    *e = from;
    return shape_equal(have, to) ? OK : onnx_node(c, &op_reshape, "reshape", &a, &from, 1, e);
}

/* From one order of ONNX's axes to another. Where only dimensions of 1 move, the values stay where they are. */
static status reorder(onnx_call *c, edge_id from, const int32_t *have, const int32_t *want, edge_id *e)
{
    shape s = c->g->edges[from].shape, to = {.rank = s.rank};
    transpose_attr t = {.perm = {0}};
    int32_t last = -1;
    bool moves = false, same = true;
    for (int32_t i = 0; i < s.rank; i++) {
        for (int32_t k = 0; k < s.rank; k++)
            if (have[k] == want[i]) t.perm[i] = k;
        to.dim[i] = s.dim[t.perm[i]];
        same = same && t.perm[i] == i;
        if (to.dim[i] == 1) continue;
        moves = moves || t.perm[i] < last;
        last = t.perm[i];
    }
    *e = from;
    if (same) return OK;
    return moves ? onnx_node(c, &op_transpose, "transpose", &t, &from, 1, e) : onnx_reshape_edge(c, from, to, e);
}

/* Gives the value an edge of its own. */
static status constant_edge(onnx_call *c, onnx_value *v)
{
    const onnx_tensor *t = v->constant;
    int64_t count = shape_count(t->shape);
    if (!dtype_is_float(t->type))
        return onnx_fail(c, "'%s' is a constant of %s, expected floats", v->name, dtype_name(t->type));
    float *values;
    TRY_ALLOC(values, ARENA_ARRAY(c->memory, float, count));
    for (int64_t i = 0; i < count; i++) values[i] = (float)dtype_load(t->data, t->type, i);
    TRY(onnx_param(c, t->name, "constant", EDGE_CONST, LAYOUT_PLAIN, t->shape, values, &v->edge));
    v->shape = t->shape;
    onnx_order_plain(t->shape.rank, v->axis);
    return OK;
}

/* [n, h*w*c] as [n, c*h*w]. */
static status undo_flat(onnx_call *c, onnx_value *v)
{
    shape s = c->g->edges[v->edge].shape;
    edge_id image, planes;
    TRY(onnx_reshape_edge(c, v->edge, shape_4(s.dim[0], v->chw[1], v->chw[2], v->chw[0]), &image));
    TRY(onnx_node(c, &op_transpose, "planes", &(transpose_attr){.perm = {0, 3, 1, 2}}, &image, 1, &planes));
    TRY(onnx_reshape_edge(c, planes, s, &v->edge));
    v->chw[0] = 0;
    return OK;
}

status onnx_edge(onnx_call *c, onnx_value *v, edge_id *e)
{
    if (v->edge == EDGE_NONE && v->constant) TRY(constant_edge(c, v));
    if (v->edge == EDGE_NONE) return onnx_fail(c, "'%s' has not been computed", v->name);
    *e = v->edge;
    return OK;
}

status onnx_arrange(onnx_call *c, onnx_value *v, const int32_t *axis, edge_id *e)
{
    TRY(onnx_edge(c, v, e));
    if (v->chw[0] > 0) TRY(undo_flat(c, v));
    return reorder(c, v->edge, v->axis, axis, e);
}

status onnx_ordered(onnx_call *c, onnx_value *v, edge_id *e)
{
    TRY(onnx_edge(c, v, e));
    if (v->chw[0] > 0) TRY(undo_flat(c, v));
    *e = v->edge;
    return OK;
}

status onnx_same_order(onnx_call *c, onnx_value *a, onnx_value *b, edge_id *ea, edge_id *eb)
{
    TRY(onnx_edge(c, a, ea));
    TRY(onnx_edge(c, b, eb));
    bool flat = a->chw[0] > 0 && memcmp(a->chw, b->chw, sizeof a->chw) == 0;
    if (flat) return OK;
    TRY(onnx_ordered(c, a, ea));
    return onnx_arrange(c, b, a->axis, eb);
}

status onnx_plain(onnx_call *c, onnx_value *v, edge_id *e)
{
    int32_t axis[SHAPE_MAX_RANK];
    onnx_order_plain(v->shape.rank, axis);
    return onnx_arrange(c, v, axis, e);
}

status onnx_image(onnx_call *c, onnx_value *v, edge_id *e)
{
    int32_t axis[SHAPE_MAX_RANK];
    if (v->shape.rank != 4)
        return onnx_fail(c, "'%s' has %d dimensions: only images (4 dimensions) are supported", v->name, v->shape.rank);
    onnx_order_last(4, 1, axis);
    return onnx_arrange(c, v, axis, e);
}

void onnx_number(int32_t i, char text[32]) { snprintf(text, 32, "%d", i); }

/* ---------------------------------------------------------------------------------------------------- results */

status onnx_put(onnx_call *c, edge_id e, const int32_t *axis)
{
    if (c->out_count < 1 || !c->out[0]) return onnx_fail(c, "it has no output");
    onnx_value *v = c->out[0];
    shape s = c->g->edges[e].shape;
    v->edge = e;
    v->constant = NULL;
    v->chw[0] = 0;
    v->shape = (shape){.rank = s.rank};
    for (int32_t i = 0; i < s.rank; i++) {
        v->axis[i] = axis[i];
        v->shape.dim[axis[i]] = s.dim[i];
    }
    return OK;
}

status onnx_put_image(onnx_call *c, edge_id e)
{
    int32_t axis[SHAPE_MAX_RANK];
    onnx_order_last(4, 1, axis);
    return onnx_put(c, e, axis);
}

status onnx_put_plain(onnx_call *c, edge_id e)
{
    int32_t axis[SHAPE_MAX_RANK];
    onnx_order_plain(c->g->edges[e].shape.rank, axis);
    return onnx_put(c, e, axis);
}

status onnx_put_same(onnx_call *c, edge_id e, const onnx_value *like)
{
    int64_t chw[3] = {like->chw[0], like->chw[1], like->chw[2]};
    TRY(onnx_put(c, e, like->axis));
    memcpy(c->out[0]->chw, chw, sizeof chw);
    return OK;
}

status onnx_put_value(onnx_call *c, const onnx_value *v)
{
    if (v->constant) return onnx_put_const(c, v->constant);
    return onnx_put_same(c, v->edge, v);
}

status onnx_put_const(onnx_call *c, const onnx_tensor *t)
{
    if (c->out_count < 1 || !c->out[0]) return onnx_fail(c, "it has no output");
    c->out[0]->constant = t;
    c->out[0]->shape = t->shape;
    return OK;
}

status onnx_unary(onnx_call *c, const op *o, const void *attr)
{
    onnx_value *v;
    edge_id x, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_edge(c, v, &x));
    TRY(onnx_node(c, o, NULL, attr, &x, 1, &y));
    return onnx_put_same(c, y, v);
}

onnx_channels onnx_any_channels(const onnx_value *v)
{
    int32_t rank = v->shape.rank, last = rank > 1 ? v->constant ? 1 : v->axis[rank - 1] : 0;
    if (rank > 1 && last == 0) last = 1; /* the batch */
    return (onnx_channels){.axis = last, .count = rank > 1 ? v->shape.dim[last] : 1};
}

status onnx_repeat(onnx_call *c, float value, int64_t count, float **values)
{
    TRY_ALLOC(*values, ARENA_ARRAY(c->memory, float, count));
    for (int64_t i = 0; i < count; i++) (*values)[i] = value;
    return OK;
}

/* Numpy's rule aligns shapes at the end: [c, 1, 1] or [1, c, 1, 1] beside an NCHW image, [c] beside an NHWC one. */
status onnx_per_channel(onnx_call *c, const onnx_value *v, int32_t i, onnx_channels *k, float **values)
{
    const float *from;
    shape s;
    TRY(onnx_floats(c, i, &from, &s));
    int64_t count = shape_count(s);
    int32_t ahead = v->shape.rank - s.rank;
    if (ahead < 0) return onnx_fail(c, "a constant of more dimensions than the other input");
    *k = onnx_any_channels(v);
    if (count != 1) *k = (onnx_channels){.axis = -1};
    for (int32_t d = 0; count > 1 && d < s.rank; d++)
        if (ahead + d > 0 && s.dim[d] == count && v->shape.dim[ahead + d] == count)
            *k = (onnx_channels){.axis = ahead + d, .count = count};
    if (k->axis < 0)
        return onnx_fail(c,
            "a constant of %" PRId64 " values (input %d), expected one, or one for each entry of a dimension", count,
            i);
    TRY(onnx_repeat(c, from[0], k->count, values));
    for (int64_t j = 0; count > 1 && j < count; j++) (*values)[j] = from[j];
    return OK;
}

/* A depthwise 1x1 convolution: pruning, folding and INT8 know it. */
status onnx_affine(onnx_call *c, onnx_value *v, onnx_channels k, const float *scale, const float *shift, bool helper)
{
    edge_id in[3], y;
    int32_t axis[SHAPE_MAX_RANK];
    int64_t channels = k.count;
    if (channels > INT32_MAX || v->shape.rank < 1)
        return onnx_fail(c, "%" PRId64 " channels of %d dimensions", channels, v->shape.rank);
    onnx_order_last(v->shape.rank, k.axis, axis);
    TRY(onnx_arrange(c, v, axis, &in[0]));
    shape s = c->g->edges[in[0]].shape;
    int64_t n = s.rank > 1 ? s.dim[0] : 1;
    bool turn = s.rank != 4;
    if (turn) TRY(onnx_reshape_edge(c, in[0], shape_4(n, shape_count(s) / channels / n, 1, channels), &in[0]));
    TRY(onnx_param(c, NULL, "scale", EDGE_PARAM, LAYOUT_OIHW, shape_4(channels, 1, 1, 1), scale, &in[1]));
    TRY(onnx_param(c, NULL, "shift", EDGE_PARAM, LAYOUT_PLAIN, shape_1(channels), shift, &in[2]));
    conv2d_attr a = {.stride = {1, 1}, .dilation = {1, 1}, .groups = (int32_t)channels};
    TRY(onnx_node(c, &op_conv2d, helper || turn ? "affine" : NULL, &a, in, 3, &y));
    if (turn) TRY(onnx_reshape_edge(c, y, s, &y));
    return onnx_put(c, y, axis);
}

/* An image to [n, features]: kept in our order, and remembered, since weights can be turned once for all. */
static status put_flat(onnx_call *c, onnx_value *v)
{
    edge_id x, y;
    shape s = v->shape;
    TRY(onnx_image(c, v, &x));
    TRY(onnx_node(c, &op_flatten, NULL, NULL, &x, 1, &y));
    TRY(onnx_put_plain(c, y));
    if (s.dim[2] * s.dim[3] > 1 && s.dim[1] > 1) memcpy(c->out[0]->chw, &s.dim[1], sizeof c->out[0]->chw);
    return OK;
}

status onnx_reshape(onnx_call *c, onnx_value *v, shape s)
{
    edge_id x, y;
    int64_t have, want;
    char from[128], to[128];
    shape_text(v->shape, from);
    shape_text(s, to);
    if (!shape_count_checked(v->shape, &have) || !shape_count_checked(s, &want) || have != want)
        return onnx_fail(c, "%s and %s differ in elements", from, to);
    if (v->constant) {
        onnx_tensor *t;
        TRY_ALLOC(t, ARENA_NEW(c->memory, onnx_tensor));
        *t = *v->constant;
        t->shape = s;
        return onnx_put_const(c, t);
    }
    if (v->shape.rank == 4 && s.rank == 2 && s.dim[0] == v->shape.dim[0]) return put_flat(c, v);
    TRY(onnx_plain(c, v, &x));
    reshape_attr a = reshape_to(v->shape, s);
    TRY(onnx_node(c, &op_reshape, NULL, &a, &x, 1, &y));
    return onnx_put_plain(c, y);
}

/* ---------------------------------------------------------------------------------------------------- look-ahead */

onnx_call *onnx_only_reader(const onnx_call *c, const char *type)
{
    const onnx_value *v = c->out_count > 0 ? c->out[0] : NULL;
    if (!v || v->readers != 1 || !v->reader || v->reader->done || strcmp(v->reader->type, type) != 0) return NULL;
    return (onnx_call *)v->reader;
}

void onnx_merge(onnx_call *c, onnx_call *second)
{
    c->out[0]->merged = true;
    c->out[0] = second->out[0];
    c->out_count = 1;
    second->done = true;
}

/* ---------------------------------------------------------------------------------------------------- windows */

static status window_ints(onnx_call *c, const char *name, int64_t most, int64_t count, int32_t *to)
{
    const int64_t *values;
    int64_t given;
    TRY(onnx_ints(c, name, &values, &given));
    if (given == 0) return OK;
    if (given != count)
        return onnx_fail(c, "%s has %" PRId64 " values, expected %" PRId64 ": two spatial dimensions", name, given,
            count);
    for (int64_t i = 0; i < count; i++) {
        if (values[i] < 0 || values[i] > most)
            return onnx_fail(c, "%s = %" PRId64 ", expected 0 to %" PRId64, name, values[i], most);
        to[i] = (int32_t)values[i];
    }
    return OK;
}

/* SAME: the output is the input divided by the stride, rounded up. Where windows leave out two or more pixels
 * TensorFlow begins at the first one and onnxruntime does not. */
static status same_pads(const onnx_call *c, onnx_window *w, const onnx_value *v, bool more_before)
{
    for (int32_t i = 0; i < 2; i++) {
        int64_t size = v->shape.dim[2 + i], stride = w->stride[i],
                span = (int64_t)(w->kernel[i] - 1) * w->dilation[i] + 1;
        int64_t total = ((size + stride - 1) / stride - 1) * stride + span - size;
        if (total < -1)
            return onnx_fail(c, "auto_pad with a stride of %d and windows of %d: say pads, programs disagree about it",
                w->stride[i], (int)span);
        if (total < 0) total = 0;
        if (total > 4 * (int64_t)SIZE_LIMIT) total = 4 * (int64_t)SIZE_LIMIT; /* refused with the attributes */
        int32_t less = (int32_t)(total / 2), more = (int32_t)(total - total / 2);
        w->pad[i] = more_before ? more : less;
        w->pad[2 + i] = more_before ? less : more;
    }
    return OK;
}

status onnx_read_window(onnx_call *c, const onnx_value *v, const int32_t *sides, onnx_window *w)
{
    const char *auto_pad;
    *w = (onnx_window){.stride = {1, 1}, .dilation = {1, 1}};
    if (v->shape.rank != 4)
        return onnx_fail(c, "'%s' has %d dimensions: only images (4 dimensions) are supported", v->name, v->shape.rank);
    TRY(window_ints(c, "kernel_shape", SIZE_LIMIT, 2, w->kernel));
    if (sides && w->kernel[0] && (w->kernel[0] != sides[0] || w->kernel[1] != sides[1]))
        return onnx_fail(c, "kernel_shape is %dx%d, the weight %dx%d", w->kernel[0], w->kernel[1], sides[0], sides[1]);
    if (sides) memcpy(w->kernel, sides, sizeof w->kernel);
    if (w->kernel[0] < 1 || w->kernel[1] < 1) return onnx_fail(c, "kernel_shape is missing or 0");
    TRY(window_ints(c, "strides", SIZE_LIMIT, 2, w->stride));
    TRY(window_ints(c, "dilations", SIZE_LIMIT, 2, w->dilation));
    TRY(window_ints(c, "pads", SIZE_LIMIT, 4, w->pad));
    if (w->stride[0] < 1 || w->stride[1] < 1 || w->dilation[0] < 1 || w->dilation[1] < 1)
        return onnx_fail(c, "a stride or dilation of 0");
    TRY(onnx_text(c, "auto_pad", "NOTSET", &auto_pad));
    if (strcmp(auto_pad, "SAME_UPPER") == 0) return same_pads(c, w, v, false);
    if (strcmp(auto_pad, "SAME_LOWER") == 0) return same_pads(c, w, v, true);
    if (strcmp(auto_pad, "VALID") == 0) memset(w->pad, 0, sizeof w->pad);
    else if (strcmp(auto_pad, "NOTSET") != 0) return onnx_fail(c, "auto_pad = %s", auto_pad);
    return OK;
}
