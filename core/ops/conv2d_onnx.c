#include <string.h>

#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

/* [oc, ic, kh, kw] to [oc, kh, kw, ic]. */
static status turn_weight(onnx_call *c, const float *from, shape s, float **to)
{
    int64_t count, pixels = s.dim[2] * s.dim[3], channels = s.dim[1];
    if (!shape_count_checked(s, &count) || count < 1) return onnx_fail(c, "its weight is empty");
    *to = ARENA_ARRAY(c->memory, float, count);
    if (!*to) return FAIL_MEMORY(count * 4);
    for (int64_t o = 0; o < s.dim[0]; o++)
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t i = 0; i < channels; i++) (*to)[(o * pixels + p) * channels + i] = from[(o * channels + i) * pixels + p];
    return OK;
}

static status read_conv(onnx_call *c)
{
    onnx_value *v, *weight;
    const float *values;
    float *turned;
    shape s;
    onnx_window w;
    int64_t groups;
    edge_id in[3] = {EDGE_NONE, EDGE_NONE, EDGE_NONE}, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_need(c, 1, &weight));
    TRY(onnx_floats(c, 1, &values, &s));
    if (s.rank != 4) return onnx_fail(c, "its weight has %d dimensions: only images (4 dimensions) are supported", s.rank);
    TRY(onnx_image(c, v, &in[0]));
    TRY(onnx_read_window(c, v, (int32_t[]){(int32_t)s.dim[2], (int32_t)s.dim[3]}, &w));
    TRY(onnx_int(c, "group", 1, &groups));
    if (groups < 1 || groups > INT32_MAX) return onnx_fail(c, "group = %lld", (long long)groups);
    TRY(turn_weight(c, values, s, &turned));
    TRY(onnx_param(c, weight->name, "weight", EDGE_PARAM, LAYOUT_OIHW, shape_4(s.dim[0], s.dim[2], s.dim[3], s.dim[1]), turned, &in[1]));
    if (c->in_count > 2 && c->in[2]) TRY(onnx_vector(c, 2, "bias", EDGE_PARAM, s.dim[0], &in[2]));
    conv2d_attr a = {.groups = (int32_t)groups};
    memcpy(a.stride, w.stride, sizeof a.stride);
    memcpy(a.pad, w.pad, sizeof a.pad);
    memcpy(a.dilation, w.dilation, sizeof a.dilation);
    TRY(onnx_node(c, &op_conv2d, NULL, &a, in, 3, &y));
    return onnx_put_image(c, y);
}

/* Rows of the weight as a linear layer has them; b is [features, oc], or [oc, features] when turned. */
static status linear_weight(onnx_call *c, const onnx_value *v, const float *b, int64_t oc, int64_t features, bool turned, float alpha, edge_id *e)
{
    int64_t ch = v->chw[0] > 0 ? v->chw[0] : features, height = v->chw[0] > 0 ? v->chw[1] : 1, width = v->chw[0] > 0 ? v->chw[2] : 1, at = 0;
    float *rows = ARENA_ARRAY(c->memory, float, oc *features);
    if (!rows) return FAIL_MEMORY(oc * features * 4);
    for (int64_t o = 0; o < oc; o++)
        for (int64_t p = 0; p < height * width; p++)
            for (int64_t i = 0; i < ch; i++) {
                int64_t k = i * height * width + p;
                rows[at++] = alpha * (turned ? b[o * features + k] : b[k * oc + o]);
            }
    return onnx_param(c, c->in[1]->name, "weight", EDGE_PARAM, LAYOUT_LINEAR, shape_4(oc, height, width, ch), rows, e);
}

/* One bias per output, from a constant of `oc` elements in the last dimension, or of one. */
static status linear_bias(onnx_call *c, int32_t i, int64_t oc, float beta, edge_id *e)
{
    const float *values;
    shape s;
    TRY(onnx_floats(c, i, &values, &s));
    int64_t count = shape_count(s);
    if (count != 1 && (count != oc || s.dim[s.rank - 1] != oc))
        return onnx_fail(c, "a bias of %lld values (input %d), expected 1 or one for each of %lld outputs", (long long)count, i, (long long)oc);
    float *bias = ARENA_ARRAY(c->memory, float, oc);
    if (!bias) return FAIL_MEMORY(oc * 4);
    for (int64_t k = 0; k < oc; k++) bias[k] = beta * values[count == 1 ? 0 : k];
    return onnx_param(c, count == oc && beta == 1 ? c->in[i]->name : NULL, "bias", EDGE_PARAM, LAYOUT_PLAIN, shape_1(oc), bias, e);
}

/* The flattened image stays in our order: the weight is turned instead. */
static status linear_input(onnx_call *c, onnx_value *v, bool turned, edge_id *e)
{
    if (turned) return onnx_arrange(c, v, (const int32_t[]){1, 0}, e);
    if (v->chw[0] > 0) return onnx_edge(c, v, e);
    return onnx_plain(c, v, e);
}

static status check_product(const onnx_call *c, const onnx_value *v, int64_t features, shape b, int64_t b_features)
{
    if (v->shape.rank != 2 || b.rank != 2) return onnx_fail(c, "factors of %d and %d dimensions, expected 2", v->shape.rank, b.rank);
    if (features != b_features || shape_count(b) < 1)
        return onnx_fail(c, "the weight takes %lld features, the input has %lld", (long long)b_features, (long long)features);
    return OK;
}

static status read_gemm(onnx_call *c)
{
    onnx_value *v;
    const float *b;
    shape s;
    float alpha, beta;
    int64_t turn_a, turn_b;
    edge_id in[3] = {EDGE_NONE, EDGE_NONE, EDGE_NONE}, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_floats(c, 1, &b, &s));
    TRY(onnx_float(c, "alpha", 1, &alpha));
    TRY(onnx_float(c, "beta", 1, &beta));
    if (c->opset < 7) (void)onnx_find(c, "broadcast"); /* of a bias that is one value per output */
    TRY(onnx_int(c, "transA", 0, &turn_a));
    TRY(onnx_int(c, "transB", 0, &turn_b));
    TRY(check_product(c, v, v->shape.dim[turn_a ? 0 : 1], s, s.dim[turn_b ? 1 : 0]));
    int64_t oc = s.dim[turn_b ? 0 : 1];
    onnx_value order = *v;
    if (turn_a) order.chw[0] = 0;
    TRY(linear_input(c, v, turn_a, &in[0]));
    TRY(linear_weight(c, &order, b, oc, s.dim[turn_b ? 1 : 0], turn_b, alpha, &in[1]));
    if (c->in_count > 2 && c->in[2] && beta != 0) TRY(linear_bias(c, 2, oc, beta, &in[2]));
    linear_attr a = {0};
    TRY(onnx_node(c, &op_linear, NULL, &a, in, 3, &y));
    return onnx_put_plain(c, y);
}

/* With the addition of a constant behind it, if there is one. */
static status read_matmul(onnx_call *c)
{
    onnx_value *v;
    const float *b;
    shape s;
    edge_id in[3] = {EDGE_NONE, EDGE_NONE, EDGE_NONE}, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_floats(c, 1, &b, &s));
    TRY(check_product(c, v, v->shape.dim[1], s, s.dim[0]));
    TRY(linear_input(c, v, false, &in[0]));
    TRY(linear_weight(c, v, b, s.dim[1], s.dim[0], false, 1, &in[1]));
    onnx_call *add = onnx_only_reader(c, "Add");
    for (int32_t i = 0; add && i < 2; i++) {
        const onnx_value *other = add->in_count == 2 ? add->in[i] : NULL;
        if (!other || !other->constant || shape_count(other->shape) != s.dim[1] || other->shape.dim[other->shape.rank - 1] != s.dim[1]) continue;
        TRY(linear_bias(add, i, s.dim[1], 1, &in[2]));
        onnx_merge(c, add);
        break;
    }
    linear_attr a = {0};
    TRY(onnx_node(c, &op_linear, NULL, &a, in, 3, &y));
    return onnx_put_plain(c, y);
}

const op_onnx conv2d_onnx = {.read = {{"Conv", read_conv}, {NULL, NULL}}};
const op_onnx linear_onnx = {.read = {{"Gemm", read_gemm}, {"MatMul", read_matmul}, {NULL, NULL}}};
