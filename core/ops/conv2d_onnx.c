#include <inttypes.h>
#include <string.h>

#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

/* [oc, ic, kh, kw] to [oc, kh, kw, ic]. */
static status turn_weight(onnx_call *c, const float *from, shape s, float **to)
{
    int64_t count, pixels = s.dim[2] * s.dim[3], channels = s.dim[1];
    if (!shape_count_checked(s, &count) || count < 1) return onnx_fail(c, "its weight is empty");
    TRY_ALLOC(*to, ARENA_ARRAY(c->memory, float, count));
    for (int64_t o = 0; o < s.dim[0]; o++)
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t i = 0; i < channels; i++)
                (*to)[(o * pixels + p) * channels + i] = from[(o * channels + i) * pixels + p];
    return OK;
}

static status read_conv(onnx_call *c)
{
    onnx_value *v, *weight;
    const float *values;
    float *turned = NULL;
    shape s;
    onnx_window w;
    int64_t groups;
    edge_id in[3] = {EDGE_NONE, EDGE_NONE, EDGE_NONE}, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_need(c, 1, &weight));
    TRY(onnx_floats(c, 1, &values, &s));
    if (s.rank != 4)
        return onnx_fail(c, "its weight has %d dimensions: only images (4 dimensions) are supported", s.rank);
    TRY(onnx_image(c, v, &in[0]));
    TRY(onnx_read_window(c, v, (int32_t[]){(int32_t)s.dim[2], (int32_t)s.dim[3]}, &w));
    TRY(onnx_int(c, "group", 1, &groups));
    if (groups < 1 || groups > INT32_MAX) return onnx_fail(c, "group = %" PRId64, groups);
    TRY(turn_weight(c, values, s, &turned));
    TRY(onnx_param(c, weight->name, "weight", EDGE_PARAM, LAYOUT_OIHW, shape_4(s.dim[0], s.dim[2], s.dim[3], s.dim[1]),
        turned, &in[1]));
    if (onnx_has(c, 2)) TRY(onnx_vector(c, 2, "bias", EDGE_PARAM, s.dim[0], &in[2]));
    conv2d_attr a = {.groups = (int32_t)groups};
    memcpy(a.stride, w.stride, sizeof a.stride);
    memcpy(a.pad, w.pad, sizeof a.pad);
    memcpy(a.dilation, w.dilation, sizeof a.dilation);
    TRY(onnx_node(c, &op_conv2d, NULL, &a, in, 3, &y));
    return onnx_put_image(c, y);
}

/* Rows of the weight as a linear layer has them; b is [features, oc], or [oc, features] when turned. */
static status linear_weight(onnx_call *c, const onnx_value *v, const float *b, int64_t oc, int64_t features,
    bool turned, float alpha, edge_id *e)
{
    int64_t ch = v->chw[0] > 0 ? v->chw[0] : features, height = v->chw[0] > 0 ? v->chw[1] : 1,
            width = v->chw[0] > 0 ? v->chw[2] : 1, at = 0;
    float *rows;
    TRY_ALLOC(rows, ARENA_ARRAY(c->memory, float, oc *features));
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
        return onnx_fail(c,
            "a bias of %" PRId64 " values (input %d), expected 1 or one for each of %" PRId64 " outputs", count, i, oc);
    float *bias;
    TRY_ALLOC(bias, ARENA_ARRAY(c->memory, float, oc));
    for (int64_t k = 0; k < oc; k++) bias[k] = beta * values[count == 1 ? 0 : k];
    return onnx_param(
        c, count == oc && beta == 1 ? c->in[i]->name : NULL, "bias", EDGE_PARAM, LAYOUT_PLAIN, shape_1(oc), bias, e);
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
    if (v->shape.rank != 2 || b.rank != 2)
        return onnx_fail(c, "factors of %d and %d dimensions, expected 2", v->shape.rank, b.rank);
    if (features != b_features || shape_count(b) < 1)
        return onnx_fail(c, "the weight takes %" PRId64 " features, the input has %" PRId64, b_features, features);
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
    if (onnx_has(c, 2) && beta != 0) TRY(linear_bias(c, 2, oc, beta, &in[2]));
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
        const onnx_value *other = add->in_count == 2 && add->attribute_count == 0 ? add->in[i] : NULL;
        if (!other || !other->constant || other->shape.rank < 1 || shape_count(other->shape) != s.dim[1] ||
            other->shape.dim[other->shape.rank - 1] != s.dim[1]) continue;
        TRY(linear_bias(add, i, s.dim[1], 1, &in[2]));
        onnx_merge(c, add);
        break;
    }
    linear_attr a = {0};
    TRY(onnx_node(c, &op_linear, NULL, &a, in, 3, &y));
    return onnx_put_plain(c, y);
}

/* ---------------------------------------------------------------------------------------------------- writing */


/* Inputs of conv2d and linear. */
enum { X, WEIGHT, BIAS, ADD, SCALE, LINEAR_SCALE = 3 };

/* A layer's weight on its way out, and what integers mean. */
typedef struct layer {
    const node *n;
    edge_id scale;      /* EDGE_NONE: floats                                       */
    float out_unit;     /* of its stored result: 1 for floats                      */
    const char *x, *weight, *bias;
} layer;

static edge_id input_of(const node *n, int32_t i) { return i < n->in_count ? n->in[i] : EDGE_NONE; }

/* Value of one integer step of output channel o, in double as export/quantise.h multiplies it. */
static double unit_of(const onnx_sink *s, const layer *l, int64_t o)
{
    return (double)((const float *)s->g->edges[l->scale].data)[o] * (double)l->out_unit;
}

/* values: elements of the weight's type in ONNX's order and shape. Integers stand behind
 * DequantizeLinear, one scale per output channel. */
static status weight_out(onnx_sink *s, layer *l, shape sh, const void *values)
{
    const edge *w = &s->g->edges[l->n->in[WEIGHT]];
    const char *name = l->n->name, *integers, *scale, *zero;
    onnx_out_node *o;
    if (l->scale == EDGE_NONE) return onnx_const_out(s, name, ".weight", w->type, sh, values, &l->weight);
    int64_t channels = sh.dim[0];
    float in_scale = s->g->edges[l->n->in[X]].scale, *scales = ARENA_ARRAY(&s->memory, float, channels);
    int8_t *zeros = ARENA_ARRAY(&s->memory, int8_t, channels);
    if (!scales || !zeros) return E_MEMORY;
    for (int64_t i = 0; i < channels; i++) scales[i] = (float)(unit_of(s, l, i) / (double)in_scale);
    TRY(onnx_const_out(s, name, ".weight_quantised", w->type, sh, values, &integers));
    TRY(onnx_const_out(s, name, ".weight_scale", DTYPE_F32, shape_1(channels), scales, &scale));
    TRY(onnx_const_out(s, name, ".weight_zero_point", DTYPE_I8, shape_1(channels), zeros, &zero));
    TRY(onnx_name(s, name, ".weight", &l->weight));
    TRY(onnx_node_out(s, "DequantizeLinear", (const char *[]){integers, scale, zero}, 3, l->weight, &o));
    onnx_attr_int(o, "axis", 0);
    return OK;
}

/* In floats, whatever the unit here. */
static status bias_out(onnx_sink *s, layer *l)
{
    edge_id e = input_of(l->n, BIAS);
    l->bias = NULL;
    if (e == EDGE_NONE) return OK;
    const edge *d = &s->g->edges[e];
    int64_t channels = shape_count(d->shape);
    float *values = ARENA_ARRAY(&s->memory, float, channels);
    if (!values || !d->data) return onnx_write_fail(l->n, "its bias is no constant");
    for (int64_t o = 0; o < channels; o++) {
        double b = dtype_load(d->data, d->type, o);
        values[o] = (float)(l->scale == EDGE_NONE ? b : b * unit_of(s, l, o));
    }
    return onnx_const_out(s, l->n->name, ".bias", DTYPE_F32, shape_1(channels), values, &l->bias);
}

static status open_layer(onnx_sink *s, layer *l, int32_t scale_input)
{
    const edge *w = &s->g->edges[l->n->in[WEIGHT]];
    const edge *out = &s->g->edges[l->n->out[0]];
    l->scale = input_of(l->n, scale_input);
    l->out_unit = out->type == DTYPE_F32 ? 1.0f : out->scale;
    if (!w->data || (w->type != DTYPE_F32 && w->type != DTYPE_I8) || (w->type == DTYPE_I8) != (l->scale != EDGE_NONE))
        return onnx_write_fail(l->n, "its weight is no constant of f32 or, with scales, of i8");
    return OK;
}

/* [oc, kh, kw, ic] to [oc, ic, kh, kw]; of the layer at the network's input with the deviation
 * and the order of channels inside. */
static status conv_weight(onnx_sink *s, layer *l)
{
    const edge *w = &s->g->edges[l->n->in[WEIGHT]];
    int64_t pixels = w->shape.dim[1] * w->shape.dim[2], channels = w->shape.dim[3], count = shape_count(w->shape);
    char *values = arena_alloc_array(&s->memory, count, dtype_bytes(w->type));
    bool inside = l->n->in[X] == s->g->inputs[0] && s->input_scale, reversed = inside && s->input_reversed;
    if (!values) return E_MEMORY;
    for (int64_t o = 0; o < w->shape.dim[0]; o++)
        for (int64_t i = 0; i < channels; i++)
            for (int64_t p = 0; p < pixels; p++) {
                int64_t from = (o * pixels + p) * channels + i,
                        to = (o * channels + (reversed ? channels - 1 - i : i)) * pixels + p;
                if (w->type == DTYPE_I8) values[to] = ((const char *)w->data)[from];
                else ((float *)(void *)values)[to] = ((const float *)w->data)[from] * (inside ? s->input_scale[i] : 1);
            }
    shape sh = shape_4(w->shape.dim[0], channels, w->shape.dim[1], w->shape.dim[2]);
    return weight_out(s, l, sh, values);
}

static void conv_attributes(onnx_sink *s, onnx_out_node *o, const conv2d_attr *a, shape w)
{
    onnx_attr_ints(s, o, "kernel_shape", (int64_t[]){w.dim[1], w.dim[2]}, 2);
    onnx_attr_ints(s, o, "strides", (int64_t[]){a->stride[0], a->stride[1]}, 2);
    onnx_attr_ints(s, o, "pads", (int64_t[]){a->pad[0], a->pad[1], a->pad[2], a->pad[3]}, 4);
    onnx_attr_ints(s, o, "dilations", (int64_t[]){a->dilation[0], a->dilation[1]}, 2);
    onnx_attr_int(o, "group", a->groups);
}

/* Convolution, then the addition, then the activation; the sum is taken before anything
 * is rounded, as the engine does. */
static status write_conv(onnx_sink *s, const node *n)
{
    const conv2d_attr *a = n->attr;
    layer l = {.n = n};
    const char *product, *sum, *other;
    onnx_out_node *o;
    edge_id add = input_of(n, ADD);
    TRY(open_layer(s, &l, SCALE));
    TRY(onnx_read_name(s, n->in[X], &l.x));
    TRY(conv_weight(s, &l));
    TRY(bias_out(s, &l));
    TRY(onnx_before_act(s, n, a->act, &sum));
    product = sum;
    if (add != EDGE_NONE) TRY(onnx_name(s, n->name, "product", &product));
    TRY(onnx_node_out(s, "Conv", (const char *[]){l.x, l.weight, l.bias}, l.bias ? 3 : 2, product, &o));
    conv_attributes(s, o, a, s->g->edges[n->in[WEIGHT]].shape);
    if (add != EDGE_NONE) {
        TRY(onnx_read_name(s, add, &other));
        TRY(onnx_node_out(s, "Add", (const char *[]){product, other}, 2, sum, &o));
    }
    return onnx_act_out(s, n, sum, a->act, a->alpha, a->beta, l.out_unit);
}

/* Rows as they are, or with their columns in ONNX's order when the input is an image flattened there. */
static status linear_weight_out(onnx_sink *s, layer *l, shape flat)
{
    const edge *w = &s->g->edges[l->n->in[WEIGHT]];
    int64_t oc = w->shape.dim[0], features = shape_count(w->shape) / oc;
    int64_t channels = flat.rank == 4 ? flat.dim[3] : features, pixels = features / channels;
    size_t size = dtype_bytes(w->type);
    char *values;
    TRY_ALLOC(values, arena_alloc_array(&s->memory, oc * features, size));
    for (int64_t o = 0; o < oc; o++)
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t i = 0; i < channels; i++)
                memcpy(values + (size_t)(o * features + i * pixels + p) * size,
                    (const char *)w->data + (size_t)(o * features + p * channels + i) * size, size);
    return weight_out(s, l, shape_2(oc, features), values);
}

/* An image in front: flattened by ONNX's order. */
static status flatten_input(onnx_sink *s, layer *l, shape *flat)
{
    const edge *x = &s->g->edges[l->n->in[X]];
    const char *flattened;
    onnx_out_node *o;
    TRY(onnx_read_name(s, l->n->in[X], &l->x));
    *flat = s->flat[l->n->in[X]];
    if (x->shape.rank != 4) return OK;
    *flat = x->shape;
    TRY(onnx_name(s, l->n->name, "flattened", &flattened));
    TRY(onnx_node_out(s, "Flatten", &l->x, 1, flattened, &o));
    onnx_attr_int(o, "axis", 1);
    l->x = flattened;
    return OK;
}

static status write_linear(onnx_sink *s, const node *n)
{
    const linear_attr *a = n->attr;
    layer l = {.n = n};
    shape flat;
    const char *product;
    onnx_out_node *o;
    TRY(open_layer(s, &l, LINEAR_SCALE));
    TRY(flatten_input(s, &l, &flat));
    TRY(linear_weight_out(s, &l, flat));
    TRY(bias_out(s, &l));
    TRY(onnx_before_act(s, n, a->act, &product));
    TRY(onnx_node_out(s, "Gemm", (const char *[]){l.x, l.weight, l.bias}, l.bias ? 3 : 2, product, &o));
    onnx_attr_int(o, "transB", 1);
    return onnx_act_out(s, n, product, a->act, a->alpha, a->beta, l.out_unit);
}

const op_onnx conv2d_onnx = {.read = {{"Conv", read_conv}, {NULL, NULL}}, .write = write_conv};
const op_onnx linear_onnx = {
    .read = {{"Gemm", read_gemm}, {"MatMul", read_matmul}, {NULL, NULL}}, .write = write_linear};
