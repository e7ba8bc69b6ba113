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
    if (w.dilation[0] != 1 || w.dilation[1] != 1) return onnx_fail(c, "dilations %d %d, expected 1", w.dilation[0], w.dilation[1]);
    pool_attr a = {.kind = max ? POOL_MAX : POOL_AVERAGE, .ceil_mode = ceil_mode != 0, .count_include_pad = include != 0};
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

/* The mean over height and width of an image, as exporters write adaptive pooling. */
static status read_reduce_mean(onnx_call *c)
{
    onnx_value *v;
    const int64_t *axes;
    int64_t count, keep;
    int32_t seen = 0, axis;
    edge_id x, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_ints(c, "axes", &axes, &count));
    TRY(onnx_int(c, "keepdims", 1, &keep));
    for (int64_t i = 0; i < count; i++) {
        TRY(onnx_axis(c, axes[i], v->shape.rank, &axis));
        seen |= 1 << axis;
    }
    if (v->shape.rank != 4 || seen != (1 << 2 | 1 << 3)) return onnx_fail(c, "only the mean over height and width of an image is supported");
    TRY(onnx_image(c, v, &x));
    TRY(onnx_node(c, &op_pool, keep ? NULL : "pool", &(pool_attr){.kind = POOL_AVERAGE, .global = true}, &x, 1, &y));
    if (keep) return onnx_put_image(c, y);
    TRY(onnx_node(c, &op_flatten, NULL, NULL, &y, 1, &x));
    return onnx_put_plain(c, x);
}

const op_onnx pool_onnx = {.read = {{"MaxPool", read_pool}, {"AveragePool", read_pool}, {"GlobalAveragePool", read_global_average},
    {"GlobalMaxPool", read_global_max}, {"ReduceMean", read_reduce_mean}, {NULL, NULL}}};
