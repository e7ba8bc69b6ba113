#include "core/ops/onnx.h"

#include <inttypes.h>

/* ---------------------------------------------------------------------------------------------------- reading */

typedef struct range {
    int64_t begin, size, step; /* size -1: everything */
} range;

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* ranges: by ONNX's axis. Into output 0. */
static status add_slice(onnx_call *c, onnx_value *v, const range *r, const char *suffix)
{
    edge_id x, y;
    slice_attr a = {.begin = {0}};
    TRY(onnx_ordered(c, v, &x));
    for (int32_t i = 0; i < v->shape.rank; i++) {
        const range *p = &r[v->axis[i]];
        if (p->size < 0) continue;
        a.begin[i] = p->begin, a.size[i] = p->size, a.step[i] = p->step;
    }
    TRY(onnx_node(c, &op_slice, suffix, &a, &x, 1, &y));
    return onnx_put_same(c, y, v);
}

/* start, end, step of one axis as ONNX has them. */
static status cut_axis(
    const onnx_call *c, const onnx_value *v, int32_t axis, int64_t start, int64_t end, int64_t step, range *r)
{
    int64_t size = v->shape.dim[axis];
    if (step < 1 || step > INT32_MAX) return onnx_fail(c, "a step of %" PRId64 ", expected 1 or more", step);
    int64_t first = clamp(start < 0 ? start + size : start, 0, size), last = clamp(end < 0 ? end + size : end, 0, size);
    if (last <= first) return onnx_fail(c, "nothing is left of dimension %d", axis);
    if (first == 0 && last == size && step == 1) return OK;
    *r = (range){first, (last - first + step - 1) / step, step};
    return OK;
}

status onnx_slice_read(onnx_call *c, onnx_slice *s)
{
    int64_t ends, axes = 0, steps = 0;
    *s = (onnx_slice){0};
    if (c->opset < 10) {
        TRY(onnx_ints(c, "starts", &s->start, &s->count));
        TRY(onnx_ints(c, "ends", &s->end, &ends));
        TRY(onnx_ints(c, "axes", &s->axes, &axes));
    } else {
        TRY(onnx_const_ints(c, 1, SHAPE_MAX_RANK, &s->start, &s->count));
        TRY(onnx_const_ints(c, 2, SHAPE_MAX_RANK, &s->end, &ends));
        if (onnx_has(c, 3)) TRY(onnx_const_ints(c, 3, SHAPE_MAX_RANK, &s->axes, &axes));
        if (onnx_has(c, 4)) TRY(onnx_const_ints(c, 4, SHAPE_MAX_RANK, &s->step, &steps));
    }
    if (ends != s->count || (axes && axes != s->count) || (steps && steps != s->count))
        return onnx_fail(c, "starts, ends, axes and steps differ in length");
    if (!axes) s->axes = NULL;
    if (!steps) s->step = NULL;
    return OK;
}

static status read_slice(onnx_call *c)
{
    onnx_value *v;
    onnx_slice s;
    range r[SHAPE_MAX_RANK];
    bool seen[SHAPE_MAX_RANK] = {false};
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_slice_read(c, &s));
    for (int32_t i = 0; i < SHAPE_MAX_RANK; i++) r[i] = (range){.size = -1};
    for (int64_t i = 0; i < s.count; i++) {
        int32_t axis;
        TRY(onnx_axis(c, s.axes ? s.axes[i] : i, v->shape.rank, &axis));
        if (seen[axis]) return onnx_fail(c, "axis %d twice", axis);
        seen[axis] = true;
        TRY(cut_axis(c, v, axis, s.start[i], s.end[i], s.step ? s.step[i] : 1, &r[axis]));
    }
    return add_slice(c, v, r, NULL);
}

/* Sizes of equal parts: since opset 18 the last may be smaller. */
static status even_parts(onnx_call *c, int64_t total, int64_t *size)
{
    int64_t outputs;
    TRY(onnx_int(c, "num_outputs", c->out_count, &outputs));
    if (outputs != c->out_count)
        return onnx_fail(c, "num_outputs = %" PRId64 " for %d outputs", outputs, c->out_count);
    *size = (total + outputs - 1) / outputs;
    if (c->opset < 18 && total % outputs != 0)
        return onnx_fail(c, "%" PRId64 " entries cannot be split into %d equal parts", total, c->out_count);
    return OK;
}

/* A slice per output. */
static status read_split(onnx_call *c)
{
    onnx_value *v, *first = c->out_count > 0 ? c->out[0] : NULL;
    const int64_t *sizes;
    int64_t given, count, at = 0, even = 0;
    int32_t axis;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_int(c, "axis", 0, &given));
    TRY(onnx_axis(c, given, v->shape.rank, &axis));
    TRY(onnx_axes(c, "split", 1, &sizes, &count));
    int64_t total = v->shape.dim[axis];
    if (c->out_count < 1) return onnx_fail(c, "it has no output");
    if (count == 0) TRY(even_parts(c, total, &even));
    else if (count != c->out_count) return onnx_fail(c, "%" PRId64 " sizes for %d outputs", count, c->out_count);
    for (int32_t i = 0; i < c->out_count; i++) {
        range r[SHAPE_MAX_RANK];
        for (int32_t k = 0; k < SHAPE_MAX_RANK; k++) r[k] = (range){.size = -1};
        int64_t size = count ? sizes[i] : even < total - at ? even : total - at;
        if (size < 1 || size > total - at)
            return onnx_fail(c, "part %d has %" PRId64 " of the %" PRId64 " that are left", i, size, total - at);
        r[axis] = (range){at, size, 1};
        at += size;
        char suffix[32];
        onnx_number(i, suffix);
        c->out[0] = i == 0 ? first : c->out[i];
        if (c->out[0]) TRY(add_slice(c, v, r, suffix));
    }
    c->out[0] = first;
    return OK;
}

/* One entry of an axis, as indexing writes it: the axis is gone. Several indices are as many slices, joined. */
static status read_gather(onnx_call *c)
{
    onnx_value *v, *which, one = {.name = "entry", .edge = EDGE_NONE}, *result = c->out_count > 0 ? c->out[0] : NULL;
    const int64_t *index;
    int64_t given, count;
    int32_t axis, order[SHAPE_MAX_RANK];
    edge_id parts[NODE_MAX_IN], y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_need(c, 1, &which));
    TRY(onnx_const_ints(c, 1, NODE_MAX_IN, &index, &count));
    TRY(onnx_int(c, "axis", 0, &given));
    TRY(onnx_axis(c, given, v->shape.rank, &axis));
    if (axis == 0) return onnx_fail(c, "from the batch");
    if (which->constant->shape.rank > 1 || count < 1)
        return onnx_fail(c, "indices of %d dimensions, or none", which->constant->shape.rank);
    onnx_order_last(v->shape.rank, axis, order);
    for (int64_t i = 0; i < count; i++) {
        range r[SHAPE_MAX_RANK];
        int64_t size = v->shape.dim[axis], at = index[i] < 0 ? index[i] + size : index[i];
        if (at < 0 || at >= size) return onnx_fail(c, "index %" PRId64 " of %" PRId64, index[i], size);
        for (int32_t k = 0; k < SHAPE_MAX_RANK; k++) r[k] = (range){.size = -1};
        r[axis] = (range){at, 1, 1};
        c->out[0] = &one;
        TRY(add_slice(c, v, r, "entry"));
        TRY(onnx_arrange(c, &one, order, &parts[i]));
    }
    c->out[0] = result;
    if (which->constant->shape.rank == 0) {
        shape s = one.shape;
        for (int32_t i = axis; i + 1 < s.rank; i++) s.dim[i] = s.dim[i + 1];
        s.rank--;
        return onnx_reshape(c, &one, s);
    }
    y = parts[0];
    if (count > 1) TRY(onnx_node(c, &op_concat, NULL, &(concat_attr){0}, parts, (int32_t)count, &y));
    return onnx_put(c, y, order);
}

/* ---------------------------------------------------------------------------------------------------- writing */


static status write(onnx_sink *s, const node *n)
{
    const slice_attr *a = n->attr;
    shape from = s->g->edges[n->in[0]].shape, to = s->g->edges[n->out[0]].shape;
    int64_t start[SHAPE_MAX_RANK], end[SHAPE_MAX_RANK], axes[SHAPE_MAX_RANK], steps[SHAPE_MAX_RANK], count = 0;
    const char *in[5];
    onnx_out_node *o;
    for (int32_t i = 0; i < from.rank; i++) {
        int64_t step = a->step[i] > 1 ? a->step[i] : 1;
        if (a->begin[i] == 0 && step == 1 && to.dim[i] == from.dim[i]) continue;
        start[count] = a->begin[i], end[count] = a->begin[i] + (to.dim[i] - 1) * step + 1, steps[count] = step;
        axes[count++] = onnx_out_axis(from.rank, i);
    }
    TRY(onnx_ordered_name(s, n->in[0], &in[0]));
    if (count == 0) {
        TRY(onnx_node_out(s, "Identity", in, 1, s->g->edges[n->out[0]].name, &o));
    } else {
        TRY(onnx_ints_out(s, n->name, "starts", start, count, &in[1]));
        TRY(onnx_ints_out(s, n->name, "ends", end, count, &in[2]));
        TRY(onnx_ints_out(s, n->name, "axes", axes, count, &in[3]));
        TRY(onnx_ints_out(s, n->name, "steps", steps, count, &in[4]));
        TRY(onnx_node_out(s, "Slice", in, 5, s->g->edges[n->out[0]].name, &o));
    }
    onnx_made(s, n);
    return OK;
}

const op_onnx slice_onnx = {.read = {{"Slice", read_slice}, {"Split", read_split}, {"Gather", read_gather},
    {NULL, NULL}}, .write = write};
