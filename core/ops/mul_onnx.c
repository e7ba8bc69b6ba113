#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

/* One value of b per sample and channel of image a, as squeeze and excitation has it: [n, c, 1, 1], in NHWC files
 * [n, 1, 1, c]. The axis of the channels, 0 if b is something else. */
static int32_t gate_axis(shape a, shape b)
{
    if (a.rank != 4 || b.rank != 4 || a.dim[0] != b.dim[0]) return 0;
    if (b.dim[2] == 1 && b.dim[3] == 1 && a.dim[1] == b.dim[1]) return 1;
    return b.dim[1] == 1 && b.dim[2] == 1 && a.dim[3] == b.dim[3] ? 3 : 0;
}

static status by_constant(onnx_call *c, onnx_value *x, int32_t constant)
{
    onnx_channels k;
    float *values, *zeros;
    TRY(onnx_per_channel(c, x, constant, &k, &values));
    TRY(onnx_repeat(c, 0, k.count, &zeros));
    return onnx_affine(c, x, k, values, zeros, false);
}

static status read_mul(onnx_call *c)
{
    onnx_value *a, *b;
    edge_id in[2], y;
    TRY(onnx_need(c, 0, &a));
    TRY(onnx_need(c, 1, &b));
    if (a->constant || b->constant) return by_constant(c, a->constant ? b : a, a->constant ? 0 : 1);
    if (shape_equal(a->shape, b->shape)) {
        TRY(onnx_same_order(c, a, b, &in[0], &in[1]));
        TRY(onnx_node(c, &op_mul, NULL, &(binary_attr){0}, in, 2, &y));
        return onnx_put_same(c, y, a);
    }
    int32_t channels = gate_axis(a->shape, b->shape), axis[4];
    if (!channels && (channels = gate_axis(b->shape, a->shape))) { /* the gate second */
        onnx_value *swap = a;
        a = b, b = swap;
    }
    if (!channels)
        return onnx_fail(c, "broadcasting of computed values is not supported, but for [n, c, 1, 1] and [n, 1, 1, c]");
    onnx_order_last(4, channels, axis);
    TRY(onnx_arrange(c, a, axis, &in[0]));
    TRY(onnx_arrange(c, b, axis, &in[1]));
    TRY(onnx_node(c, &op_mul, NULL, &(binary_attr){0}, in, 2, &y));
    return onnx_put(c, y, axis);
}

static status read_div(onnx_call *c)
{
    onnx_value *a, *b;
    onnx_channels k;
    float *values, *zeros;
    TRY(onnx_need(c, 0, &a));
    TRY(onnx_need(c, 1, &b));
    if (a->constant || !b->constant) return onnx_fail(c, "only division by a constant is supported");
    TRY(onnx_per_channel(c, a, 1, &k, &values));
    TRY(onnx_repeat(c, 0, k.count, &zeros));
    for (int64_t i = 0; i < k.count; i++) {
        if (values[i] == 0) return onnx_fail(c, "division by 0");
        values[i] = 1 / values[i];
    }
    return onnx_affine(c, a, k, values, zeros, false);
}

/* ---------------------------------------------------------------------------------------------------- writing */


/* [n, c] beside an image becomes [n, c, 1, 1]. */
static status write(onnx_sink *s, const node *n)
{
    shape a = s->g->edges[n->in[0]].shape, b = s->g->edges[n->in[1]].shape;
    const char *in[2], *axes, *gate;
    onnx_out_node *o;
    for (int32_t i = 0; i < 2; i++) TRY(onnx_ordered_name(s, n->in[i], &in[i]));
    if (a.rank == 4 && b.rank == 2) {
        TRY(onnx_ints_out(s, n->name, "axes", (int64_t[]){2, 3}, 2, &axes));
        TRY(onnx_name(s, n->name, "gate", &gate));
        TRY(onnx_node_out(s, "Unsqueeze", (const char *[]){in[1], axes}, 2, gate, &o));
        in[1] = gate;
    } else if (a.rank != b.rank) {
        return onnx_write_fail(n, "factors of %d and %d dimensions", a.rank, b.rank);
    }
    TRY(onnx_node_out(s, "Mul", in, 2, s->g->edges[n->out[0]].name, &o));
    onnx_made(s, n);
    return OK;
}

const op_onnx mul_onnx = {.read = {{"Mul", read_mul}, {"Div", read_div}, {NULL, NULL}}, .write = write};
