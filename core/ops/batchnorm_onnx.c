#include "core/ops/onnx.h"

/* ONNX's momentum is the part of the old value, ours (PyTorch's) that of the new one. */
static status read_batchnorm(onnx_call *c)
{
    static const char *const suffix[] = {NULL, "weight", "bias", "running_mean", "running_var"};
    onnx_value *v;
    float epsilon, momentum;
    int64_t spatial, training, test = 1;
    int32_t axis[SHAPE_MAX_RANK];
    edge_id in[5], y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_float(c, "epsilon", 1e-5f, &epsilon));
    TRY(onnx_float(c, "momentum", 0.9f, &momentum));
    TRY(onnx_int(c, "spatial", 1, &spatial));
    TRY(onnx_int(c, "training_mode", 0, &training));
    if (c->opset < 7) TRY(onnx_int(c, "is_test", 0, &test));
    if (training || !test || !spatial) return onnx_fail(c, "%s", spatial ? "training_mode = 1" : "spatial = 0");
    if (v->shape.rank < 2 || v->shape.rank > 4) return onnx_fail(c, "its input has %d dimensions, expected 2 to 4", v->shape.rank);
    onnx_order_last(v->shape.rank, 1, axis);
    TRY(onnx_arrange(c, v, axis, &in[0]));
    for (int32_t i = 1; i < 5; i++)
        TRY(onnx_vector(c, i, suffix[i], i < 3 ? EDGE_PARAM : EDGE_STATE, v->shape.dim[1], &in[i]));
    batchnorm_attr a = {.epsilon = epsilon, .momentum = 1 - momentum};
    TRY(onnx_node(c, &op_batchnorm, NULL, &a, in, 5, &y));
    return onnx_put(c, y, axis);
}

const op_onnx batchnorm_onnx = {.read = {{"BatchNormalization", read_batchnorm}, {NULL, NULL}}};
