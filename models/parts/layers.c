#include "models/parts/layers.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define LEAKY_SLOPE 0.1f

int64_t net_channels_at(double width, int64_t channels)
{
    if (width == 1) return channels;
    double wanted = (double)channels * width;
    int64_t scaled = (int64_t)lround(wanted / 8) * 8;
    if (scaled < 8) scaled = 8;
    return (double)scaled < 0.9 * wanted ? scaled + 8 : scaled;
}

int64_t net_channels(const net *n, int64_t channels) { return net_channels_at(n->options->width, channels); }

const char *net_name(net *n, const char *prefix, const char *suffix)
{
    return net_prefix(n, "%s%s%s", prefix, prefix[0] ? "." : "", suffix);
}

const char *net_prefix(net *n, const char *fmt, ...)
{
    char text[128]; /* longer than any layer's name */
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char *name = arena_strdup(&n->g->memory, text);
    return name ? name : "";
}

static status param(
    net *n, edge_id *e, const char *layer, const char *suffix, edge_kind kind, shape s, param_layout layout)
{
    char *name = arena_printf(&n->g->memory, "%s.%s", layer, suffix);
    if (!name) return FAIL_MEMORY(64);
    *e = graph_edge(n->g, name, kind, DTYPE_F32, s);
    if (*e == EDGE_NONE) return FAIL_MEMORY(shape_count(s) * 4);
    n->g->edges[*e].layout = layout;
    return OK;
}

static shape shape_of(const net *n, edge_id e) { return n->g->edges[e].shape; }

status net_input(net *n, edge_id *x)
{
    const spec_model *o = n->options;
    *x = graph_input(n->g, "image", DTYPE_F32, shape_4(1, o->input_height, o->input_width, o->channels));
    return *x == EDGE_NONE ? FAIL_MEMORY(64) : OK;
}

/* TensorFlow's SAME along one axis. */
static void same_pads(int32_t *before, int32_t *after, int64_t size, int32_t window, int32_t stride)
{
    int64_t pads = ((size + stride - 1) / stride - 1) * stride + window - size;
    if (pads < 0) pads = 0;
    *before = (int32_t)(pads / 2);
    *after = (int32_t)(pads - *before);
}

status net_conv(net *n, edge_id *x, const char *name, conv_shape c)
{
    int32_t groups = c.groups ? c.groups : 1, stride = c.stride ? c.stride : 1, dilation = c.dilation ? c.dilation : 1;
    int64_t in_channels = shape_of(n, *x).dim[3];
    edge_id in[3] = {*x, EDGE_NONE, EDGE_NONE};
    shape weight = shape_4(c.out_channels, c.kernel, c.kernel, in_channels / groups), s = shape_of(n, *x);
    TRY(param(n, &in[1], name, "weight", EDGE_PARAM, weight, LAYOUT_OIHW));
    if (c.bias) TRY(param(n, &in[2], name, "bias", EDGE_PARAM, shape_1(c.out_channels), LAYOUT_PLAIN));
    conv2d_attr attr = {.stride = {stride, stride},
        .pad = {c.pad, c.pad, c.pad, c.pad},
        .dilation = {dilation, dilation},
        .groups = groups};
    for (int32_t axis = 0; n->options->padding == PADDING_SAME && axis < 2; axis++)
        same_pads(&attr.pad[axis], &attr.pad[axis + 2], s.dim[1 + axis], (c.kernel - 1) * dilation + 1, stride);
    return graph_add(n->g, &op_conv2d, name, &attr, in, c.bias ? 3 : 2, n->block, x);
}

status net_share_conv(net *n, edge_id *x, const char *name, int32_t number, int64_t out_channels)
{
    if (number == 0)
        return net_conv(n, x, name, (conv_shape){.out_channels = out_channels, .kernel = 3, .pad = 1, .bias = true});
    const edge_id in[3] = {*x, graph_find_edge(n->g, net_name(n, name, "weight")),
        graph_find_edge(n->g, net_name(n, name, "bias"))};
    conv2d_attr attr = {.stride = {1, 1}, .pad = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = 1};
    return graph_add(n->g, &op_conv2d, net_prefix(n, "%s/%d", name, number), &attr, in, 3, n->block, x);
}

status net_batchnorm(net *n, edge_id *x, const char *name)
{
    shape channels = shape_1(shape_of(n, *x).dim[3]);
    edge_id in[5] = {*x};
    TRY(param(n, &in[1], name, "weight", EDGE_PARAM, channels, LAYOUT_PLAIN));
    TRY(param(n, &in[2], name, "bias", EDGE_PARAM, channels, LAYOUT_PLAIN));
    TRY(param(n, &in[3], name, "running_mean", EDGE_STATE, channels, LAYOUT_PLAIN));
    TRY(param(n, &in[4], name, "running_var", EDGE_STATE, channels, LAYOUT_PLAIN));
    batchnorm_attr attr = {.epsilon = (float)n->options->bn_epsilon, .momentum = (float)n->options->bn_momentum};
    return graph_add(n->g, &op_batchnorm, name, &attr, in, 5, n->block, x);
}

status net_activation(net *n, edge_id *x, const char *name, activation act)
{
    activation_attr attr = {.act = act, .alpha = act == ACT_LEAKY ? LEAKY_SLOPE : 0};
    return graph_add(n->g, &op_activation, name, &attr, x, 1, n->block, x);
}

status net_unit(net *n, edge_id *x, const char *prefix, unit_names names, conv_shape conv, activation act)
{
    const spec_model *o = n->options;
    conv.bias = conv.bias || o->use_bias || !o->use_batch_norm;
    TRY(net_conv(n, x, net_name(n, prefix, names.conv), conv));
    if (o->use_batch_norm) TRY(net_batchnorm(n, x, net_name(n, prefix, names.bn)));
    return act == ACT_NONE ? OK : net_activation(n, x, net_name(n, prefix, names.act), act);
}

status net_max_pool(net *n, edge_id *x, const char *name, pool_shape s)
{
    pool_attr attr = {.kind = POOL_MAX,
        .kernel = {s.side, s.side},
        .stride = {s.stride, s.stride},
        .pad = {s.pad, s.pad, s.pad, s.pad},
        .ceil_mode = s.ceil_mode};
    return graph_add(n->g, &op_pool, name, &attr, x, 1, n->block, x);
}

status net_global_pool(net *n, edge_id *x, const char *name)
{
    pool_attr attr = {.kind = POOL_AVERAGE, .kernel = {1, 1}, .stride = {1, 1}, .global = true};
    return graph_add(n->g, &op_pool, name, &attr, x, 1, n->block, x);
}

status net_adaptive_pool(net *n, edge_id *x, const char *name, int32_t side)
{
    pool_attr attr = {.kind = POOL_AVERAGE, .kernel = {1, 1}, .stride = {1, 1}, .adaptive = {side, side}};
    return graph_add(n->g, &op_pool, name, &attr, x, 1, n->block, x);
}

status net_add(net *n, edge_id *x, edge_id other, const char *name)
{
    binary_attr attr = {0};
    edge_id in[2] = {*x, other};
    return graph_add(n->g, &op_add, name, &attr, in, 2, n->block, x);
}

status net_mul(net *n, edge_id *x, edge_id other, const char *name)
{
    binary_attr attr = {0};
    edge_id in[2] = {*x, other};
    return graph_add(n->g, &op_mul, name, &attr, in, 2, n->block, x);
}

/* By a factor where there is one, so that the graph takes images of other sizes. */
status net_upsample(net *n, edge_id *x, edge_id like, const char *name)
{
    shape from = shape_of(n, *x), to = shape_of(n, like);
    int64_t factor = to.dim[1] / from.dim[1];
    resize_attr attr = {.factor = (int32_t)factor};
    if (factor * from.dim[1] != to.dim[1] || factor * from.dim[2] != to.dim[2])
        attr = (resize_attr){.height = (int32_t)to.dim[1], .width = (int32_t)to.dim[2]};
    return graph_add(n->g, &op_resize, name, &attr, x, 1, n->block, x);
}

status net_concat(net *n, edge_id *x, const char *name, const edge_id *parts, int32_t count)
{
    concat_attr attr = {0};
    return graph_add(n->g, &op_concat, name, &attr, parts, count, n->block, x);
}

status net_dropout(net *n, edge_id *x, const char *name, double probability)
{
    if (probability <= 0) return OK;
    edge_id keys = graph_find_edge(n->g, "sample_keys");
    if (keys == EDGE_NONE) keys = graph_input(n->g, "sample_keys", DTYPE_I64, shape_1(shape_of(n, *x).dim[0]));
    if (keys == EDGE_NONE) return FAIL_MEMORY(64);
    dropout_attr attr = {.probability = (float)probability};
    edge_id in[2] = {*x, keys};
    return graph_add(n->g, &op_dropout, name, &attr, in, 2, n->block, x);
}

status net_flatten(net *n, edge_id *x, const char *name)
{
    return graph_add(n->g, &op_flatten, name, NULL, x, 1, n->block, x);
}

status net_linear(net *n, edge_id *x, const char *name, int64_t out_features)
{
    shape s = shape_of(n, *x);
    int64_t height = 1, width = 1, channels = s.dim[s.rank - 1];
    if (s.rank == 4) {
        height = s.dim[1], width = s.dim[2];
        TRY(net_flatten(n, x, net_prefix(n, "%s/flatten", name)));
    }
    edge_id in[3] = {*x};
    TRY(param(n, &in[1], name, "weight", EDGE_PARAM, shape_4(out_features, height, width, channels), LAYOUT_LINEAR));
    TRY(param(n, &in[2], name, "bias", EDGE_PARAM, shape_1(out_features), LAYOUT_PLAIN));
    linear_attr attr = {0};
    return graph_add(n->g, &op_linear, name, &attr, in, 3, n->block, x);
}

/* Product of the strides on the way from the image, along first inputs. */
static int32_t stride_of(const graph *g, edge_id e)
{
    int32_t stride = 1;
    for (node_id id = g->edges[e].producer; id != NODE_NONE; id = g->edges[e].producer) {
        const node *n = &g->nodes[id];
        if (n->op == &op_conv2d) stride *= ((const conv2d_attr *)n->attr)->stride[0];
        if (n->op == &op_pool) stride *= ((const pool_attr *)n->attr)->stride[0];
        e = n->in[0];
    }
    return stride;
}

status net_stage(net *n, edge_id x)
{
    model_stages *s = n->stages;
    if (!s) return OK;
    int32_t stride = stride_of(n->g, x), at = 0;
    while (at < s->count && s->stage[at].stride != stride) at++;
    if (at == MODEL_MAX_STAGES) return FAIL(E_INTERNAL, "more than %d strides", MODEL_MAX_STAGES);
    if (at == s->count) s->count++;
    s->stage[at] = (model_stage){.edge = x, .stride = stride};
    return OK;
}
