#include <inttypes.h>
#include <string.h>

#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

/* Pads as ONNX has them, begins then ends, spread to [2 * rank]. Since opset 18 they may be of some axes only,
 * input 3. */
static status spread(onnx_call *c, const int64_t *pads, int64_t count, int32_t rank, int64_t *all)
{
    const int64_t *axes = NULL;
    int64_t given = rank;
    bool seen[SHAPE_MAX_RANK] = {false};
    if (c->opset >= 18 && onnx_has(c, 3)) TRY(onnx_const_ints(c, 3, SHAPE_MAX_RANK, &axes, &given));
    if (count != 2 * given) return onnx_fail(c, "%" PRId64 " pads for %" PRId64 " dimensions", count, given);
    for (int64_t i = 0; i < given; i++) {
        int32_t axis;
        TRY(onnx_axis(c, axes ? axes[i] : i, rank, &axis));
        if (seen[axis]) return onnx_fail(c, "axis %d twice", axis);
        seen[axis] = true;
        all[axis] = pads[i], all[rank + axis] = pads[given + i];
    }
    return OK;
}

static status read_pad(onnx_call *c)
{
    onnx_value *v;
    const char *mode;
    const int64_t *pads;
    int64_t count, all[2 * SHAPE_MAX_RANK] = {0};
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
        if (onnx_has(c, 2)) TRY(onnx_const_scalar(c, 2, &value));
    }
    int32_t rank = v->shape.rank;
    TRY(spread(c, pads, count, rank, all));
    pad_attr a = {.value = (float)value};
    TRY(onnx_ordered(c, v, &x));
    for (int32_t i = 0; i < rank; i++) a.before[i] = all[v->axis[i]], a.after[i] = all[rank + v->axis[i]];
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
