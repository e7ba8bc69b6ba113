#include <inttypes.h>
#include <string.h>

#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

static status read_pad(onnx_call *c)
{
    onnx_value *v;
    const char *mode;
    const int64_t *pads;
    int64_t count;
    double value = 0;
    edge_id x, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_text(c, "mode", "constant", &mode));
    if (strcmp(mode, "constant") != 0) return onnx_fail(c, "mode = %s, expected constant", mode);
    if (c->opset < 11) {
        float given;
        TRY(onnx_ints(c, "pads", &pads, &count));
        TRY(onnx_float(c, "value", 0, &given));
        value = (double)given;
    } else {
        TRY(onnx_const_ints(c, 1, 2 * SHAPE_MAX_RANK, &pads, &count));
        if (c->in_count > 2 && c->in[2]) TRY(onnx_const_scalar(c, 2, &value));
    }
    int32_t rank = v->shape.rank;
    if (count != 2 * rank) return onnx_fail(c, "%" PRId64 " pads for %d dimensions", count, rank);
    pad_attr a = {.value = (float)value};
    TRY(onnx_ordered(c, v, &x));
    for (int32_t i = 0; i < rank; i++) a.before[i] = pads[v->axis[i]], a.after[i] = pads[rank + v->axis[i]];
    TRY(onnx_node(c, &op_pad, NULL, &a, &x, 1, &y));
    return onnx_put_same(c, y, v);
}

/* ---------------------------------------------------------------------------------------------------- writing */


static status write(onnx_sink *s, const node *n)
{
    const pad_attr *a = n->attr;
    int32_t rank = s->g->edges[n->in[0]].shape.rank;
    int64_t pads[2 * SHAPE_MAX_RANK];
    const char *in[3];
    onnx_out_node *o;
    for (int32_t i = 0; i < rank; i++) {
        pads[onnx_out_axis(rank, i)] = a->before[i];
        pads[rank + onnx_out_axis(rank, i)] = a->after[i];
    }
    TRY(onnx_ordered_name(s, n->in[0], &in[0]));
    TRY(onnx_ints_out(s, n->name, "pads", pads, 2 * rank, &in[1]));
    TRY(onnx_const_out(s, n->name, "value", DTYPE_F32, (shape){0}, &a->value, &in[2]));
    TRY(onnx_node_out(s, "Pad", in, 3, s->g->edges[n->out[0]].name, &o));
    onnx_made(s, n);
    return OK;
}

const op_onnx pad_onnx = {.read = {{"Pad", read_pad}, {NULL, NULL}}, .write = write};
