#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

/* One value per sample and channel: [n, c, 1, 1]. */
static bool is_gate(shape s) { return s.rank == 4 && s.dim[2] == 1 && s.dim[3] == 1; }

static status by_constant(onnx_call *c, onnx_value *x, int32_t constant)
{
    float *values, *zeros;
    TRY(onnx_per_channel(c, x, constant, &values));
    TRY(onnx_repeat(c, 0, onnx_channels(x), &zeros));
    return onnx_affine(c, x, values, zeros, false);
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
    if (is_gate(a->shape)) { /* the gate second */
        onnx_value *swap = a;
        a = b, b = swap;
    }
    if (a->shape.rank != 4 || !is_gate(b->shape) || a->shape.dim[0] != b->shape.dim[0] || a->shape.dim[1] != b->shape.dim[1])
        return onnx_fail(c, "broadcasting of computed values is not supported, but for [n, c, 1, 1]");
    TRY(onnx_image(c, a, &in[0]));
    TRY(onnx_image(c, b, &in[1]));
    TRY(onnx_node(c, &op_mul, NULL, &(binary_attr){0}, in, 2, &y));
    return onnx_put_image(c, y);
}

static status read_div(onnx_call *c)
{
    onnx_value *a, *b;
    float *values, *zeros;
    TRY(onnx_need(c, 0, &a));
    TRY(onnx_need(c, 1, &b));
    if (a->constant || !b->constant) return onnx_fail(c, "only division by a constant is supported");
    int64_t channels = onnx_channels(a);
    TRY(onnx_per_channel(c, a, 1, &values));
    TRY(onnx_repeat(c, 0, channels, &zeros));
    for (int64_t i = 0; i < channels; i++) {
        if (values[i] == 0) return onnx_fail(c, "division by 0");
        values[i] = 1 / values[i];
    }
    return onnx_affine(c, a, values, zeros, false);
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
