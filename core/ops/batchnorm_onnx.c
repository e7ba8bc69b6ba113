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
    if (v->shape.rank < 2 || v->shape.rank > 4)
        return onnx_fail(c, "its input has %d dimensions, expected 2 to 4", v->shape.rank);
    onnx_order_last(v->shape.rank, 1, axis);
    TRY(onnx_arrange(c, v, axis, &in[0]));
    for (int32_t i = 1; i < 5; i++)
        TRY(onnx_vector(c, i, suffix[i], i < 3 ? EDGE_PARAM : EDGE_STATE, v->shape.dim[1], &in[i]));
    batchnorm_attr a = {.epsilon = epsilon, .momentum = 1 - momentum};
    TRY(onnx_node(c, &op_batchnorm, NULL, &a, in, 5, &y));
    return onnx_put(c, y, axis);
}

/* ---------------------------------------------------------------------------------------------------- writing */


/* One that no convolution could take in. */
static status write(onnx_sink *s, const node *n)
{
    static const char *const part[] = {NULL, ".weight", ".bias", ".running_mean", ".running_var"};
    const batchnorm_attr *a = n->attr;
    const char *in[5], *sum, *product, *other;
    onnx_out_node *o;
    edge_id add = n->in_count > 5 ? n->in[5] : EDGE_NONE;
    if (s->g->edges[n->in[0]].shape.rank == 3) return onnx_write_fail(n, "its input has 3 dimensions");
    TRY(onnx_ordered_name(s, n->in[0], &in[0]));
    for (int32_t i = 1; i < 5; i++) {
        const edge *e = &s->g->edges[n->in[i]];
        if (!e->data || e->type != DTYPE_F32) return onnx_write_fail(n, "its %s is no constant", part[i] + 1);
        TRY(onnx_const_out(s, n->name, part[i], e->type, e->shape, e->data, &in[i]));
    }
    TRY(onnx_before_act(s, n, a->act, &sum));
    product = sum;
    if (add != EDGE_NONE) TRY(onnx_name(s, n->name, "product", &product));
    TRY(onnx_node_out(s, "BatchNormalization", in, 5, product, &o));
    onnx_attr_float(o, "epsilon", a->epsilon);
    onnx_attr_float(o, "momentum", 1 - a->momentum);
    if (add != EDGE_NONE) {
        TRY(onnx_ordered_name(s, add, &other));
        TRY(onnx_node_out(s, "Add", (const char *[]){product, other}, 2, sum, &o));
    }
    return onnx_act_out(s, n, sum, a->act, a->alpha, a->beta, 1);
}

const op_onnx batchnorm_onnx = {.read = {{"BatchNormalization", read_batchnorm}, {NULL, NULL}}, .write = write};
