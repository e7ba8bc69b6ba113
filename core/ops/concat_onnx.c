#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

/* The axis goes last. More inputs than a node takes: in groups. */
static status read_concat(onnx_call *c)
{
    onnx_value *v;
    int64_t given;
    int32_t last, axis[SHAPE_MAX_RANK], at = 0;
    edge_id in[NODE_MAX_IN], y = EDGE_NONE;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_int(c, "axis", 1, &given));
    TRY(onnx_axis(c, given, v->shape.rank, &last));
    onnx_order_last(v->shape.rank, last, axis);
    for (int32_t i = 0; i < c->in_count; i++) {
        onnx_value *part;
        TRY(onnx_need(c, i, &part));
        if (part->shape.rank != v->shape.rank)
            return onnx_fail(c, "input %d has %d dimensions, input 0 %d", i, part->shape.rank, v->shape.rank);
        TRY(onnx_arrange(c, part, axis, &in[at++]));
        bool end = i == c->in_count - 1;
        if (at < NODE_MAX_IN && !end) continue;
        TRY(onnx_node(c, &op_concat, end ? NULL : "part", &(concat_attr){0}, in, at, &y));
        in[0] = y;
        at = 1;
    }
    return onnx_put(c, y, axis);
}

/* ---------------------------------------------------------------------------------------------------- writing */


static status write(onnx_sink *s, const node *n)
{
    int32_t rank = s->g->edges[n->out[0]].shape.rank;
    const char *in[NODE_MAX_IN];
    onnx_out_node *o;
    for (int32_t i = 0; i < n->in_count; i++) TRY(onnx_ordered_name(s, n->in[i], &in[i]));
    TRY(onnx_node_out(s, "Concat", in, n->in_count, s->g->edges[n->out[0]].name, &o));
    onnx_attr_int(o, "axis", onnx_out_axis(rank, rank - 1));
    onnx_made(s, n);
    return OK;
}

const op_onnx concat_onnx = {.read = {{"Concat", read_concat}, {NULL, NULL}}, .write = write};
