#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

static status read_identity(onnx_call *c)
{
    onnx_value *v;
    TRY(onnx_need(c, 0, &v));
    return onnx_put_value(c, v);
}

/* Kept for fine-tuning; it does nothing in evaluation. */
static status read_dropout(onnx_call *c)
{
    onnx_value *v;
    float ratio;
    double given = 0.5, training = 0;
    int64_t seed;
    edge_id in[2], y;
    TRY(onnx_need(c, 0, &v));
    if (c->opset < 12) {
        TRY(onnx_float(c, "ratio", 0.5f, &ratio));
        given = (double)ratio;
    } else {
        TRY(onnx_int(c, "seed", 0, &seed));
        if (onnx_has(c, 1)) TRY(onnx_const_scalar(c, 1, &given));
        if (onnx_has(c, 2)) TRY(onnx_const_scalar(c, 2, &training));
    }
    if (training != 0) return onnx_fail(c, "training_mode = true");
    if (!(given > 0 && given < 1) || v->shape.rank < 1) return onnx_put_value(c, v);
    TRY(onnx_edge(c, v, &in[0]));
    in[1] = graph_find_edge(c->g, "sample_keys");
    if (in[1] == EDGE_NONE)
        in[1] = graph_input(c->g, "sample_keys", DTYPE_I64, shape_1(c->g->edges[in[0]].shape.dim[0]));
    if (in[1] == EDGE_NONE) return onnx_fail(c, "%s", status_message());
    TRY(onnx_node(c, &op_dropout, NULL, &(dropout_attr){.probability = (float)given}, in, 2, &y));
    return onnx_put_same(c, y, v);
}

/* ---------------------------------------------------------------------------------------------------- writing */


/* Nothing in evaluation. */
static status write(onnx_sink *s, const node *n)
{
    s->flat[n->out[0]] = s->flat[n->in[0]];
    return onnx_raw_name(s, n->in[0], &s->name[n->out[0]]);
}

const op_onnx dropout_onnx = {
    .read = {{"Dropout", read_dropout}, {"Identity", read_identity}, {NULL, NULL}}, .write = write};
