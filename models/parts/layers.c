#include "models/parts/layers.h"

#include <math.h>

int64_t net_channels(const net *n, int64_t channels)
{
    if (n->options->width == 1) return channels;
    int64_t scaled = (int64_t)lround((double)channels * n->options->width / 8) * 8;
    return scaled < 8 ? 8 : scaled;
}

static status param(net *n, edge_id *e, const char *layer, const char *suffix, edge_kind kind, shape s, param_layout layout)
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

status net_conv(net *n, edge_id *x, const char *name, conv_shape c)
{
    int32_t groups = c.groups ? c.groups : 1, stride = c.stride ? c.stride : 1, dilation = c.dilation ? c.dilation : 1;
    int64_t in_channels = shape_of(n, *x).dim[3];
    edge_id in[3] = {*x, EDGE_NONE, EDGE_NONE};
    shape weight = shape_4(c.out_channels, c.kernel, c.kernel, in_channels / groups);
    TRY(param(n, &in[1], name, "weight", EDGE_PARAM, weight, LAYOUT_OIHW));
    if (c.bias) TRY(param(n, &in[2], name, "bias", EDGE_PARAM, shape_1(c.out_channels), LAYOUT_PLAIN));
    conv2d_attr attr = {.stride = {stride, stride}, .pad = {c.pad, c.pad, c.pad, c.pad}, .dilation = {dilation, dilation},
        .groups = groups};
    return graph_add(n->g, &op_conv2d, name, &attr, in, c.bias ? 3 : 2, n->block, x);
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
    activation_attr attr = {.act = act};
    return graph_add(n->g, &op_activation, name, &attr, x, 1, n->block, x);
}

status net_max_pool(net *n, edge_id *x, const char *name, int32_t side, int32_t stride, int32_t pad)
{
    pool_attr attr = {.kind = POOL_MAX, .kernel = {side, side}, .stride = {stride, stride}, .pad = {pad, pad, pad, pad}};
    return graph_add(n->g, &op_pool, name, &attr, x, 1, n->block, x);
}

status net_global_pool(net *n, edge_id *x, const char *name)
{
    pool_attr attr = {.kind = POOL_AVERAGE, .kernel = {1, 1}, .stride = {1, 1}, .global = true};
    return graph_add(n->g, &op_pool, name, &attr, x, 1, n->block, x);
}

status net_add(net *n, edge_id *x, edge_id other, const char *name)
{
    binary_attr attr = {0};
    edge_id in[2] = {*x, other};
    return graph_add(n->g, &op_add, name, &attr, in, 2, n->block, x);
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

status net_linear(net *n, edge_id *x, const char *name, int64_t out_features)
{
    shape s = shape_of(n, *x);
    int64_t height = 1, width = 1, channels = s.dim[s.rank - 1];
    if (s.rank == 4) {
        height = s.dim[1], width = s.dim[2];
        TRY(graph_add(n->g, &op_flatten, arena_printf(&n->g->memory, "%s/flatten", name), NULL, x, 1, n->block, x));
    }
    edge_id in[3] = {*x};
    TRY(param(n, &in[1], name, "weight", EDGE_PARAM, shape_4(out_features, height, width, channels), LAYOUT_LINEAR));
    TRY(param(n, &in[2], name, "bias", EDGE_PARAM, shape_1(out_features), LAYOUT_PLAIN));
    linear_attr attr = {0};
    return graph_add(n->g, &op_linear, name, &attr, in, 3, n->block, x);
}
