#include "core/ops/onnx.h"

#include <inttypes.h>

/* ---------------------------------------------------------------------------------------------------- reading */

/* Before opset 13 all dimensions from the axis on were one: the same when only one of them is longer than 1. */
static status old_axis(const onnx_call *c, const onnx_value *v, int32_t *axis)
{
    int32_t long_ones = 0, from = *axis;
    for (int32_t i = from; i < v->shape.rank; i++) {
        if (v->shape.dim[i] == 1) continue;
        long_ones++;
        *axis = i;
    }
    return long_ones > 1 ? onnx_fail(c, "over several dimensions at once (opset %" PRId64 ")", c->opset) : OK;
}

static status read_softmax(onnx_call *c)
{
    onnx_value *v;
    int64_t given;
    int32_t last, axis[SHAPE_MAX_RANK];
    edge_id x, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_int(c, "axis", c->opset < 13 ? 1 : -1, &given));
    TRY(onnx_axis(c, given, v->shape.rank, &last));
    if (c->opset < 13) TRY(old_axis(c, v, &last));
    onnx_order_last(v->shape.rank, last, axis);
    TRY(onnx_arrange(c, v, axis, &x));
    TRY(onnx_node(c, &op_softmax, NULL, NULL, &x, 1, &y));
    return onnx_put(c, y, axis);
}

/* ---------------------------------------------------------------------------------------------------- writing */


static status write(onnx_sink *s, const node *n)
{
    int32_t rank = s->g->edges[n->in[0]].shape.rank;
    const char *from;
    onnx_out_node *o;
    TRY(onnx_ordered_name(s, n->in[0], &from));
    TRY(onnx_node_out(s, "Softmax", &from, 1, s->g->edges[n->out[0]].name, &o));
    onnx_attr_int(o, "axis", onnx_out_axis(rank, rank - 1));
    onnx_made(s, n);
    return OK;
}

const op_onnx softmax_onnx = {.read = {{"Softmax", read_softmax}, {NULL, NULL}}, .write = write};
