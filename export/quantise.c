#include "export/quantise.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/transform.h"
#include "core/ops/op.h"

enum { WEIGHT_MAX = 127, INPUT_MAX = 127, FLOAT_DIGITS = 24 };
static const double BIAS_MAX = 1 << 30; /* a sum of products fits an int32 beside it */

/* Steps between scales that are powers of two: their binary digits, where the search begins below the finest that
 * saturates nothing, and how many are tried. SHORT_BIAS_MAX units still fit f32. */
enum { SHORT_DIGITS = 6, SHORT_TRIES = 16 };
static const double SHORT_STEP_LEAST = 0.95, SHORT_BIAS_MAX = 1 << (FLOAT_DIGITS - SHORT_DIGITS);

/* Inputs of conv2d and linear (op.h). */
enum { IN_X, IN_WEIGHT, IN_BIAS, CONV_IN_ADD, CONV_IN_SCALE, LINEAR_IN_SCALE = 3 };

typedef struct quantiser {
    graph_builder build; /* map: float images            */
    const graph *src;
    const float *scale;
    arena memory;
    bool *integer_node;  /* [node_count]: computes with integers               */
    bool *as_integer;    /* [edge_count]: some node reads it as integers       */
    bool *as_float;      /* [edge_count]: some node or the caller reads floats */
    edge_id *integer;    /* [edge_count]: image of type i8                     */
    float *image_scale;  /* [edge_count]: of that image                        */
} quantiser;

static bool is_values(const graph *g, edge_id e)
{
    return e != EDGE_NONE && g->edges[e].data && g->edges[e].type == DTYPE_F32 && g->edges[e].producer == NODE_NONE;
}

bool quantise_is_layer(const graph *g, node_id n)
{
    const node *p = &g->nodes[n];
    if (p->op != &op_conv2d && p->op != &op_linear) return false;
    if (g->edges[p->in[IN_X]].type != DTYPE_F32 || !is_values(g, p->in[IN_WEIGHT])) return false;
    return p->in_count <= IN_BIAS || p->in[IN_BIAS] == EDGE_NONE || is_values(g, p->in[IN_BIAS]);
}

bool quantise_passes(const node *p)
{
    if (p->op == &op_pool) return ((const pool_attr *)p->attr)->kind == POOL_MAX;
    return p->op->alias;
}

/* Integers in and out, each tensor with its own scale. */
static bool rescales_integers(const node *p)
{
    return p->op == &op_concat || (p->op == &op_add && ((const binary_attr *)p->attr)->act < ACT_SIGMOID);
}

static edge_id add_input(const node *p)
{
    return p->op == &op_conv2d && p->in_count > CONV_IN_ADD ? p->in[CONV_IN_ADD] : EDGE_NONE;
}

static bool stores_integers(const node *p)
{
    activation act = p->op == &op_conv2d ? ((const conv2d_attr *)p->attr)->act : ((const linear_attr *)p->attr)->act;
    return act != ACT_SIGMOID && act != ACT_SWISH; /* no two machines' exp agree in the last bit */
}

static bool can_be_integer(const quantiser *q, edge_id e)
{
    node_id n = q->src->edges[e].producer;
    return q->scale[e] > 0 && n != NODE_NONE && q->integer_node[n];
}

/* Front to back: which nodes could store integers. */
static void find_capable(quantiser *q, const bool *keep_float)
{
    for (node_id n = 0; n < q->src->node_count; n++) {
        const node *p = &q->src->nodes[n];
        if (quantise_is_layer(q->src, n)) {
            q->integer_node[n] = q->scale[p->in[IN_X]] > 0 && !(keep_float && keep_float[n]);
        } else if (quantise_passes(p)) {
            q->integer_node[n] = can_be_integer(q, p->in[0]);
        } else if (rescales_integers(p)) {
            bool scaled = q->scale[p->out[0]] > 0, any = false;
            for (int32_t i = 0; i < p->in_count; i++) {
                scaled = scaled && p->in[i] != EDGE_NONE && q->scale[p->in[i]] > 0;
                any = any || (scaled && can_be_integer(q, p->in[i]));
            }
            q->integer_node[n] = scaled && any;
        }
    }
}

static bool result_is_integer(const quantiser *q, node_id n)
{
    const node *p = &q->src->nodes[n];
    if (!q->integer_node[n] || !q->as_integer[p->out[0]] || q->scale[p->out[0]] <= 0) return false;
    return !quantise_is_layer(q->src, n) || stores_integers(p);
}

/* Back to front: how every tensor is read. A node that could compute with integers does so if
 * its result is read as integers. */
static void find_uses(quantiser *q)
{
    const graph *g = q->src;
    for (int32_t i = 0; i < g->output_count; i++) q->as_float[g->outputs[i]] = true;
    for (node_id n = (node_id)g->node_count - 1; n >= 0; n--) {
        const node *p = &g->nodes[n];
        bool layer = quantise_is_layer(g, n) && q->integer_node[n];
        if (!layer) q->integer_node[n] = result_is_integer(q, n);
        for (int32_t i = 0; i < p->in_count; i++) {
            edge_id e = p->in[i];
            if (e == EDGE_NONE || is_values(g, e)) continue;
            bool integer = q->integer_node[n];
            if (layer && i == CONV_IN_ADD && e == add_input(p)) integer = result_is_integer(q, n) && q->scale[e] > 0;
            (integer ? q->as_integer : q->as_float)[e] = true;
        }
    }
}

static status quantiser_init(quantiser *q, const graph *src, const float *scale, const bool *keep_float)
{
    *q = (quantiser){.src = src, .scale = scale};
    q->integer_node = ARENA_ARRAY(&q->memory, bool, src->node_count);
    q->as_integer = ARENA_ARRAY(&q->memory, bool, src->edge_count);
    q->as_float = ARENA_ARRAY(&q->memory, bool, src->edge_count);
    q->integer = ARENA_ARRAY(&q->memory, edge_id, src->edge_count);
    q->image_scale = ARENA_ARRAY(&q->memory, float, src->edge_count);
    if (!q->integer_node || !q->as_integer || !q->as_float || !q->integer || !q->image_scale)
        return FAIL_MEMORY(src->edge_count * 16);
    for (int64_t e = 0; e < src->edge_count; e++) q->integer[e] = EDGE_NONE;
    find_capable(q, keep_float);
    find_uses(q);
    return OK;
}

static void quantiser_free(quantiser *q)
{
    builder_free(&q->build);
    arena_free(&q->memory);
}

/* One-input node "EDGE/quantise" or "EDGE/dequantise" behind `from`. */
static status add_conversion(quantiser *q, const op *kind, edge_id from, const char *base, float scale, edge_id *to)
{
    const char *name = arena_printf(&q->memory, "%s/%s", base, kind->name);
    if (!name) return FAIL_MEMORY(64);
    return graph_add(q->build.dst, kind, name, &(quantise_attr){.scale = scale}, &from, 1, -1, to);
}

static status float_image(quantiser *q, edge_id e, edge_id *image)
{
    if (q->build.map[e] == EDGE_NONE && q->integer[e] != EDGE_NONE)
        TRY(add_conversion(
            q, &op_dequantise, q->integer[e], q->src->edges[e].name, q->image_scale[e], &q->build.map[e]));
    return builder_edge(&q->build, e, image);
}

static status integer_image(quantiser *q, edge_id e, edge_id *image)
{
    if (q->integer[e] == EDGE_NONE) {
        edge_id from;
        TRY(float_image(q, e, &from));
        q->image_scale[e] = q->scale[e];
        TRY(add_conversion(q, &op_quantise, from, q->src->edges[e].name, q->scale[e], &q->integer[e]));
    }
    *image = q->integer[e];
    return OK;
}

/* ------------------------------------------------------------------------------------------------ layers */

/* A constant named after its node. */
static status add_const(quantiser *q, const char *node_name, const char *part, dtype type, shape s, edge_id *e)
{
    const char *name = arena_printf(&q->memory, "%s/%s", node_name, part);
    *e = name ? graph_edge(q->build.dst, name, EDGE_CONST, type, s) : EDGE_NONE;
    return *e == EDGE_NONE ? FAIL_MEMORY(256) : OK;
}

static double round_to_step(double weight, double step)
{
    return fmax(-WEIGHT_MAX, fmin(WEIGHT_MAX, nearbyint(weight / step)));
}

/* The finest step that holds a filter's largest weight, and its bias as an integer. */
static double finest_step(const float *filter, int64_t count, double bias, double in_scale, double bias_max)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)filter[i]));
    double step = fmax(largest / WEIGHT_MAX, fabs(bias) / (in_scale * bias_max));
    return step > 1e-30 ? step : 1;
}

/* Mean square error of the result, for inputs of a quarter of their range. */
static double step_error(const float *filter, int64_t count, double bias, double in_scale, double step)
{
    double sum = 0, unit = in_scale * step, of_bias = bias - nearbyint(bias / unit) * unit;
    for (int64_t i = 0; i < count; i++) {
        double of_weight = filter[i] - round_to_step(filter[i], step) * step;
        sum += of_weight * of_weight;
    }
    return sum * in_scale * in_scale * (INPUT_MAX / 4.0) * (INPUT_MAX / 4.0) + of_bias * of_bias;
}

/* The best step of few binary digits: sums of products, which are whole multiples of it and of a power of two, are then
 * exact in f32 up to 2^18 units. */
static double short_step(const float *filter, int64_t count, double bias, double in_scale)
{
    int exponent;
    double finest = finest_step(filter, count, bias, in_scale, SHORT_BIAS_MAX), fraction = frexp(finest, &exponent);
    double grid = ldexp(1, exponent - SHORT_DIGITS), best = ldexp(1, exponent),
           least = step_error(filter, count, bias, in_scale, best);
    int64_t top = 1 << SHORT_DIGITS, first = (int64_t)ceil(ldexp(fraction, SHORT_DIGITS) * SHORT_STEP_LEAST);
    for (int64_t k = first; k < first + SHORT_TRIES; k++) {
        double step =
            grid * (double)(k <= top ? k : 2 * k - top); /* above a power of two the same digits reach twice as far */
        double error = step_error(filter, count, bias, in_scale, step);
        if (error < least) least = error, best = step;
    }
    return best;
}

/* A constant of one value per output channel. */
static float *values_of(quantiser *q, edge_id e) { return q->build.dst->edges[e].data; }

/* Layers that share their weights share the integers, too, where these are the same. */
static status add_weight(quantiser *q, const char *name, shape s, const int8_t *integers, edge_id *e)
{
    const graph *dst = q->build.dst;
    size_t bytes = (size_t)shape_count(s);
    for (*e = 0; *e < dst->edge_count; ++*e) {
        const edge *other = &dst->edges[*e];
        if (other->kind == EDGE_CONST && other->type == DTYPE_I8 && other->data && shape_equal(other->shape, s) &&
            memcmp(other->data, integers, bytes) == 0)
            return OK;
    }
    TRY(add_const(q, name, "weight", DTYPE_I8, s, e));
    memcpy(dst->edges[*e].data, integers, bytes);
    return OK;
}

typedef struct layer_consts {
    edge_id weight, bias, scale;
} layer_consts;

/* Weights as integers, bias in units of the accumulator, and the factor from accumulator to result. Weights that
 * are nothing beside their bias get coarser steps: else the bias would be more of them than an int32 holds. It
 * becomes a whole number of units where that moves the result by at most 1/64 of its own step; where it moves it
 * by more (batch-norm of a channel that hardly varies), who rounds it does harm. Between scales that are powers
 * of two steps are short, biases are whole, and the factor is exact: other programs get the same integers in
 * whatever order they add floats. */
static status make_consts(
    quantiser *q, const node *p, const char *name, float in_scale, float out_scale, int8_t *integers, layer_consts *c)
{
    const graph *g = q->src;
    const edge *weight = &g->edges[p->in[IN_WEIGHT]];
    const float *biases = NULL;
    bool is_short = quantise_is_power_of_two(in_scale) && quantise_is_power_of_two(out_scale);
    int64_t channels = weight->shape.dim[0], count = shape_count(weight->shape) / channels;
    c->bias = EDGE_NONE;
    TRY(add_const(q, name, "scale", DTYPE_F32, shape_1(channels), &c->scale));
    if (p->in_count > IN_BIAS && p->in[IN_BIAS] != EDGE_NONE) {
        biases = g->edges[p->in[IN_BIAS]].data;
        TRY(add_const(q, name, "bias", DTYPE_F32, shape_1(channels), &c->bias));
    }
    for (int64_t o = 0; o < channels; o++) {
        const float *filter = (const float *)weight->data + o * count;
        double bias = biases ? (double)biases[o] : 0;
        double step =
            is_short ? short_step(filter, count, bias, in_scale) : finest_step(filter, count, bias, in_scale, BIAS_MAX);
        double unit = in_scale * step, steps = bias / unit;
        for (int64_t i = 0; i < count; i++) integers[o * count + i] = (int8_t)round_to_step(filter[i], step);
        values_of(q, c->scale)[o] = (float)(unit / out_scale);
        if (biases) values_of(q, c->bias)[o] = (float)(is_short || unit <= out_scale / 32 ? nearbyint(steps) : steps);
    }
    return add_weight(q, name, weight->shape, integers, &c->weight);
}

/* The activation works on results in units of out_scale. */
static void scale_activation(activation *act, float *alpha, float *beta, float out_scale)
{
    if (*act == ACT_RELU6) *act = ACT_CLIP, *alpha = 0, *beta = 6 / out_scale;
    else if (*act == ACT_CLIP) *alpha /= out_scale, *beta /= out_scale;
}

/* integer: store i8 with q->scale of the result, else f32. */
static status add_layer(quantiser *q, const node *p, const char *name, bool integer, edge_id *out)
{
    float out_scale = integer ? q->scale[p->out[0]] : 1.0f;
    edge_id in[NODE_MAX_IN] = {EDGE_NONE, EDGE_NONE, EDGE_NONE, EDGE_NONE, EDGE_NONE}, add = add_input(p);
    layer_consts c;
    TRY(integer_image(q, p->in[IN_X], &in[IN_X]));
    shape weight = q->src->edges[p->in[IN_WEIGHT]].shape;
    int8_t *integers = malloc((size_t)shape_count(weight));
    if (!integers) return FAIL_MEMORY(shape_count(weight));
    status made = make_consts(q, p, name, q->image_scale[p->in[IN_X]], out_scale, integers, &c);
    free(integers);
    TRY(made);
    in[IN_WEIGHT] = c.weight;
    in[IN_BIAS] = c.bias;
    if (p->op == &op_linear) {
        linear_attr attr = *(const linear_attr *)p->attr;
        attr.out_type = integer ? DTYPE_I8 : DTYPE_F32;
        attr.out_scale = integer ? out_scale : 0;
        scale_activation(&attr.act, &attr.alpha, &attr.beta, out_scale);
        in[LINEAR_IN_SCALE] = c.scale;
        return graph_add(q->build.dst, p->op, name, &attr, in, LINEAR_IN_SCALE + 1, p->block, out);
    }
    conv2d_attr attr = *(const conv2d_attr *)p->attr;
    attr.out_type = integer ? DTYPE_I8 : DTYPE_F32;
    attr.out_scale = integer ? out_scale : 0;
    attr.add_scale = 1;
    scale_activation(&attr.act, &attr.alpha, &attr.beta, out_scale);
    if (add != EDGE_NONE && integer) {
        TRY(integer_image(q, add, &in[CONV_IN_ADD]));
        attr.add_scale = q->image_scale[add] / out_scale;
    } else if (add != EDGE_NONE) {
        TRY(float_image(q, add, &in[CONV_IN_ADD]));
    }
    in[CONV_IN_SCALE] = c.scale;
    return graph_add(q->build.dst, p->op, name, &attr, in, CONV_IN_SCALE + 1, p->block, out);
}

/* ------------------------------------------------------------------------------------------------ other nodes */

static status add_integer_node(quantiser *q, const node *p)
{
    edge_id in[NODE_MAX_IN], out = p->out[0];
    bool pass = quantise_passes(p);
    for (int32_t i = 0; i < p->in_count; i++) TRY(integer_image(q, p->in[i], &in[i]));
    q->image_scale[out] = pass ? q->image_scale[p->in[0]] : q->scale[out];
    binary_attr add = {0};
    concat_attr concat = {.out_scale = q->image_scale[out]};
    const void *attr = p->attr;
    if (p->op == &op_add) {
        add = *(const binary_attr *)p->attr;
        add.out_scale = q->image_scale[out];
        scale_activation(&add.act, &add.alpha, &add.beta, add.out_scale);
        attr = &add;
    } else if (p->op == &op_concat) {
        attr = &concat;
    }
    return graph_add(q->build.dst, p->op, p->name, attr, in, p->in_count, p->block, &q->integer[out]);
}

static status add_float_node(quantiser *q, node_id n)
{
    const node *p = &q->src->nodes[n];
    for (int32_t i = 0; i < p->in_count; i++) {
        edge_id image;
        if (p->in[i] != EDGE_NONE) TRY(float_image(q, p->in[i], &image));
    }
    return builder_copy_node(&q->build, n);
}

static status add_node(quantiser *q, node_id n)
{
    const node *p = &q->src->nodes[n];
    edge_id out = p->out[0];
    if (!q->integer_node[n]) return add_float_node(q, n);
    if (!quantise_is_layer(q->src, n)) return add_integer_node(q, p);
    if (!result_is_integer(q, n)) return add_layer(q, p, p->name, false, &q->build.map[out]);
    q->image_scale[out] = q->scale[out];
    return add_layer(q, p, p->name, true, &q->integer[out]);
}

/* ------------------------------------------------------------------------------------------------ public */

status quantise_graph(graph *dst, const graph *src, const float *scale, const bool *keep_float)
{
    quantiser q = {0};
    edge_id image;
    *dst = (graph){0};
    status result = OK;
    TRY_OUT(quantiser_init(&q, src, scale, keep_float));
    TRY_OUT(builder_init(&q.build, dst, src));
    for (node_id n = 0; n < src->node_count; n++) TRY_OUT(add_node(&q, n));
    for (int32_t i = 0; i < src->output_count; i++) TRY_OUT(float_image(&q, src->outputs[i], &image));
    TRY_OUT(builder_finish(&q.build));
out:
    quantiser_free(&q);
    if (result != OK) graph_free(dst);
    return result;
}

static status add_twin(quantiser *q, node_id n)
{
    const node *p = &q->src->nodes[n];
    const char *name = arena_printf(&q->memory, "%s/int8", p->name);
    edge_id twin;
    TRY(add_float_node(q, n));
    if (!quantise_is_layer(q->src, n) || q->scale[p->in[IN_X]] <= 0) return OK;
    return name ? add_layer(q, p, name, false, &twin) : FAIL_MEMORY(64);
}

status quantise_probe_graph(graph *dst, const graph *src, const float *scale)
{
    quantiser q = {0};
    *dst = (graph){0};
    status result = OK;
    TRY_OUT(quantiser_init(&q, src, scale, NULL));
    TRY_OUT(builder_init(&q.build, dst, src));
    for (node_id n = 0; n < src->node_count; n++) TRY_OUT(add_twin(&q, n));
    TRY_OUT(builder_finish(&q.build));
out:
    quantiser_free(&q);
    if (result != OK) graph_free(dst);
    return result;
}

status quantise_wanted(const graph *g, bool *wanted)
{
    quantiser q = {0};
    float *ones = ARENA_ARRAY(&q.memory, float, g->edge_count);
    if (!ones) return FAIL_MEMORY(g->edge_count * 4);
    for (int64_t e = 0; e < g->edge_count; e++) ones[e] = 1;
    arena keep = q.memory; /* quantiser_init starts afresh */
    status result = quantiser_init(&q, g, ones, NULL);
    for (int64_t e = 0; result == OK && e < g->edge_count; e++) wanted[e] = q.as_integer[e];
    arena_free(&q.memory);
    arena_free(&keep);
    return result;
}

void quantise_share_scales(const graph *g, float *scale)
{
    for (node_id n = (node_id)g->node_count - 1; n >= 0; n--) {
        const node *p = &g->nodes[n];
        if (quantise_passes(p) && scale[p->in[0]] > 0 && scale[p->out[0]] > 0 && graph_consumers(g, p->in[0]) == 1)
            scale[p->in[0]] = scale[p->out[0]];
    }
}

void quantise_round_scales(const graph *g, float *scale)
{
    for (edge_id e = 0; e < g->edge_count; e++)
        if (scale[e] > 0) scale[e] = exp2f(nearbyintf(log2f(scale[e])));
}

bool quantise_is_power_of_two(float scale)
{
    int exponent;
    return frexpf(scale, &exponent) == 0.5f;
}
