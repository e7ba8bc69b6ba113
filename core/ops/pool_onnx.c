#include <inttypes.h>
#include <string.h>

#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

static status add_pool(onnx_call *c, onnx_value *v, const pool_attr *a)
{
    edge_id x, y;
    TRY(onnx_image(c, v, &x));
    TRY(onnx_node(c, &op_pool, NULL, a, &x, 1, &y));
    return onnx_put_image(c, y);
}

static status read_pool(onnx_call *c)
{
    onnx_value *v;
    onnx_window w;
    int64_t ceil_mode, include, order;
    bool max = strcmp(c->type, "MaxPool") == 0;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_read_window(c, v, NULL, &w));
    TRY(onnx_int(c, "ceil_mode", 0, &ceil_mode));
    TRY(onnx_int(c, "count_include_pad", 0, &include));
    TRY(onnx_int(c, "storage_order", 0, &order)); /* of the positions, which nobody may read */
    if (w.dilation[0] != 1 || w.dilation[1] != 1)
        return onnx_fail(c, "dilations %d %d, expected 1", w.dilation[0], w.dilation[1]);
    pool_attr a = {
        .kind = max ? POOL_MAX : POOL_AVERAGE, .ceil_mode = ceil_mode != 0, .count_include_pad = include != 0};
    memcpy(a.kernel, w.kernel, sizeof a.kernel);
    memcpy(a.stride, w.stride, sizeof a.stride);
    memcpy(a.pad, w.pad, sizeof a.pad);
    return add_pool(c, v, &a);
}

static status read_global_average(onnx_call *c)
{
    onnx_value *v;
    TRY(onnx_need(c, 0, &v));
    return add_pool(c, v, &(pool_attr){.kind = POOL_AVERAGE, .global = true});
}

static status read_global_max(onnx_call *c)
{
    onnx_value *v;
    TRY(onnx_need(c, 0, &v));
    return add_pool(c, v, &(pool_attr){.kind = POOL_MAX, .global = true});
}

/* Which of a value's axes are reduced: attribute `axes`, input 1 since opset 18. None given: all of them, or none. */
static status read_reduced(onnx_call *c, const onnx_value *v, bool *reduced, bool *nothing)
{
    const int64_t *axes;
    int64_t count, noop;
    TRY(onnx_axes(c, "axes", 1, &axes, &count));
    TRY(onnx_int(c, "noop_with_empty_axes", 0, &noop));
    *nothing = count == 0 && noop != 0;
    for (int32_t i = 0; i < v->shape.rank; i++) reduced[i] = count == 0 && !noop;
    for (int64_t i = 0; i < count; i++) {
        int32_t axis;
        TRY(onnx_axis(c, axes[i], v->shape.rank, &axis));
        if (reduced[axis]) return onnx_fail(c, "axis %d twice", axis);
        reduced[axis] = true;
    }
    return OK;
}

/* A mean or maximum within an image, as exporters write adaptive pooling: the axes that go are height and width of a
 * global pool, those that stay are its channels. That holds for images in any order, NHWC too, and for other shapes
 * once they are made images. */
static status read_reduce(onnx_call *c)
{
    onnx_value *v;
    bool reduced[SHAPE_MAX_RANK], nothing;
    int32_t axis[SHAPE_MAX_RANK], at = 1, kept = 0;
    int64_t keep, pixels = 1, channels = 1;
    edge_id x, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_int(c, "keepdims", 1, &keep));
    TRY(read_reduced(c, v, reduced, &nothing));
    if (nothing) return onnx_put_value(c, v);
    int32_t rank = v->shape.rank;
    if (rank < 2 || reduced[0])
        return onnx_fail(c, "over the batch: only a mean or maximum within each image is supported");
    shape s = shape_1(v->shape.dim[0]), all = s;
    for (int32_t i = 1; i < rank; i++)
        if (reduced[i]) axis[at++] = i, pixels *= v->shape.dim[i];
    int32_t gone = at - 1;
    for (int32_t i = 1; i < rank; i++) {
        if (!reduced[i]) axis[at++] = i, channels *= v->shape.dim[i], kept++, s.dim[s.rank++] = v->shape.dim[i];
        all.dim[all.rank++] = reduced[i] ? 1 : v->shape.dim[i];
    }
    axis[0] = 0;
    TRY(onnx_arrange(c, v, axis, &x));
    bool image = rank == 4 && gone == 2;
    if (!image) TRY(onnx_reshape_edge(c, x, shape_4(s.dim[0], pixels, 1, channels), &x));
    pool_attr a = {.kind = strcmp(c->type, "ReduceMax") == 0 ? POOL_MAX : POOL_AVERAGE, .global = true};
    TRY(onnx_node(c, &op_pool, image && keep ? NULL : "pool", &a, &x, 1, &y));
    if (image && keep) return onnx_put(c, y, axis);
    if (!keep && kept == 1) TRY(onnx_node(c, &op_flatten, NULL, NULL, &y, 1, &x));
    else TRY(onnx_reshape_edge(c, y, keep ? all : s, &x));
    return onnx_put_plain(c, x);
}

/* ---------------------------------------------------------------------------------------------------- writing */


/* What ONNX's formula gives; ours leaves out a last window that starts in the padding behind (pool.c). */
static int64_t ceil_size(int64_t size, int64_t pads, int64_t window, int64_t stride)
{
    return (size + pads - window + stride - 1) / stride + 1;
}

static status write_window(onnx_sink *s, const node *n, const pool_attr *a, onnx_out_node *o)
{
    shape in = s->g->edges[n->in[0]].shape, out = s->g->edges[n->out[0]].shape;
    int64_t pads[4] = {a->pad[0], a->pad[1], a->pad[2], a->pad[3]};
    bool ceil_mode = a->ceil_mode;
    for (int32_t i = 0; i < 2; i++)
        ceil_mode =
            ceil_mode && ceil_size(in.dim[1 + i], pads[i] + pads[2 + i], a->kernel[i], a->stride[i]) == out.dim[1 + i];
    if (a->ceil_mode && !ceil_mode && a->kind == POOL_AVERAGE && a->count_include_pad)
        return onnx_write_fail(n, "ceil_mode and count_include_pad with a last window in the padding");
    for (int32_t i = 0; a->ceil_mode && !ceil_mode && i < 2; i++) /* pads that say the same */
        pads[2 + i] = (out.dim[1 + i] - 1) * a->stride[i] + a->kernel[i] - in.dim[1 + i] - pads[i];
    if (pads[2] < 0) pads[2] = 0;
    if (pads[3] < 0) pads[3] = 0;
    onnx_attr_ints(s, o, "kernel_shape", (int64_t[]){a->kernel[0], a->kernel[1]}, 2);
    onnx_attr_ints(s, o, "strides", (int64_t[]){a->stride[0], a->stride[1]}, 2);
    onnx_attr_ints(s, o, "pads", pads, 4);
    if (ceil_mode) onnx_attr_int(o, "ceil_mode", 1);
    if (a->kind == POOL_AVERAGE) onnx_attr_int(o, "count_include_pad", a->count_include_pad);
    return OK;
}

/* Adaptive windows of different sizes, along one axis: a slice and a pool per output, joined. */
static status write_axis(onnx_sink *s, const node *n, int32_t axis, const char *base, const char *from, const char *out)
{
    const pool_attr *a = n->attr;
    int64_t size = s->g->edges[n->in[0]].shape.dim[axis - 1], count = a->adaptive[axis - 2];
    const char *axes, *bounds[2], *cut, *in[ONNX_OUT_IN];
    onnx_out_node *o;
    if (count > ONNX_OUT_IN)
        return onnx_write_fail(n, "%" PRId64 " adaptive windows of different sizes, at most %d", count, ONNX_OUT_IN);
    TRY(onnx_ints_out(s, base, "axis", (int64_t[]){axis}, 1, &axes));
    for (int64_t i = 0; i < count; i++) {
        int64_t begin = i * size / count, end = ((i + 1) * size + count - 1) / count;
        const char *part;
        TRY_ALLOC(part, arena_printf(&s->memory, "%s/%" PRId64, base, i));
        TRY(onnx_ints_out(s, part, "begin", &begin, 1, &bounds[0]));
        TRY(onnx_ints_out(s, part, "end", &end, 1, &bounds[1]));
        TRY(onnx_name(s, part, "slice", &cut));
        TRY(onnx_node_out(s, "Slice", (const char *[]){from, bounds[0], bounds[1], axes}, 4, cut, &o));
        TRY(onnx_name(s, part, "pool", &in[i]));
        TRY(onnx_node_out(s, a->kind == POOL_MAX ? "MaxPool" : "AveragePool", &cut, 1, in[i], &o));
        onnx_attr_ints(s, o, "kernel_shape", (int64_t[]){axis == 2 ? end - begin : 1, axis == 3 ? end - begin : 1}, 2);
    }
    TRY(onnx_node_out(s, "Concat", in, (int32_t)count, out, &o));
    onnx_attr_int(o, "axis", axis);
    return OK;
}

/* A mean over a rectangle is the mean of the means of its rows; so is a maximum. */
static status write_adaptive(onnx_sink *s, const node *n, const char *from)
{
    const char *rows, *columns, *between;
    TRY(onnx_name(s, n->name, "rows", &rows));
    TRY(onnx_name(s, n->name, "columns", &columns));
    TRY(onnx_name(s, rows, "joined", &between));
    TRY(write_axis(s, n, 2, rows, from, between));
    TRY(write_axis(s, n, 3, columns, between, s->g->edges[n->out[0]].name));
    onnx_made(s, n);
    return OK;
}

/* Integers pass through a maximum: it is taken of the floats, whose order is theirs. */
static status write(onnx_sink *s, const node *n)
{
    const pool_attr *a = n->attr;
    shape in = s->g->edges[n->in[0]].shape, out = s->g->edges[n->out[0]].shape;
    const char *from;
    onnx_out_node *o;
    pool_attr window = *a;
    bool max = a->kind == POOL_MAX, global = a->global || (a->adaptive[0] == 1 && a->adaptive[1] == 1);
    TRY(max ? onnx_raw_name(s, n->in[0], &from) : onnx_read_name(s, n->in[0], &from));
    if (a->adaptive[0] > 0 && !global) {
        if (in.dim[1] % out.dim[1] != 0 || in.dim[2] % out.dim[2] != 0) return write_adaptive(s, n, from);
        window = (pool_attr){.kind = a->kind};
        for (int32_t i = 0; i < 2; i++) window.kernel[i] = window.stride[i] = (int32_t)(in.dim[1 + i] / out.dim[1 + i]);
    }
    const char *type = global ? max ? "GlobalMaxPool" : "GlobalAveragePool" : max ? "MaxPool" : "AveragePool";
    TRY(onnx_node_out(s, type, &from, 1, s->g->edges[n->out[0]].name, &o));
    if (!global) TRY(write_window(s, n, &window, o));
    onnx_made(s, n);
    return OK;
}

const op_onnx pool_onnx = {
    .read = {{"MaxPool", read_pool}, {"AveragePool", read_pool}, {"GlobalAveragePool", read_global_average},
        {"GlobalMaxPool", read_global_max}, {"ReduceMean", read_reduce}, {"ReduceMax", read_reduce}, {NULL, NULL}},
    .write = write};
