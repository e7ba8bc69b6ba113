/* ResNet: stem, four stages of basic blocks or bottlenecks, global average pool, linear layer. Names are torchvision's. */
#include <stdio.h>

#include "models/backbones/backbones.h"
#include "models/parts/layers.h"

enum { NAME_CAPACITY = 64 };

typedef struct unit {
    char prefix[NAME_CAPACITY]; /* "layer1.0" */
    int64_t width;              /* channels of the inner convolutions */
    int64_t out_channels;
    int32_t stride;
    bool projection, bottleneck;
} unit;

/* Convolution, then batch normalisation and activation where there are any. index counts within the unit from 1; 0: no index. */
static status conv_bn(net *n, edge_id *x, const unit *u, int32_t index, conv_shape conv, bool activate)
{
    const spec_model *o = n->options;
    char name[NAME_CAPACITY + 16];
    conv.bias = o->use_bias || !o->use_batch_norm;
    snprintf(name, sizeof name, "%s.conv%d", u->prefix, index);
    TRY(net_conv(n, x, name, conv));
    if (o->use_batch_norm) {
        snprintf(name, sizeof name, "%s.bn%d", u->prefix, index);
        TRY(net_batchnorm(n, x, name));
    }
    if (!activate) return OK;
    snprintf(name, sizeof name, "%s.relu%d", u->prefix, index);
    return net_activation(n, x, name, ACT_RELU);
}

static status shortcut(net *n, edge_id *x, const unit *u)
{
    if (!u->projection) return OK;
    const spec_model *o = n->options;
    char name[NAME_CAPACITY + 16];
    snprintf(name, sizeof name, "%s.downsample.0", u->prefix);
    conv_shape conv = {.out_channels = u->out_channels, .kernel = 1, .stride = u->stride,
        .bias = o->use_bias || !o->use_batch_norm};
    TRY(net_conv(n, x, name, conv));
    if (!o->use_batch_norm) return OK;
    snprintf(name, sizeof name, "%s.downsample.1", u->prefix);
    return net_batchnorm(n, x, name);
}

static status build_unit(net *n, edge_id *x, const unit *u)
{
    edge_id skip = *x;
    if (u->bottleneck) {
        bool stride_in_1x1 = n->options->bottleneck_stride == BOTTLENECK_STRIDE_1X1;
        conv_shape reduce = {.out_channels = u->width, .kernel = 1, .stride = stride_in_1x1 ? u->stride : 1};
        conv_shape middle = {.out_channels = u->width, .kernel = 3, .pad = 1, .stride = stride_in_1x1 ? 1 : u->stride};
        conv_shape expand = {.out_channels = u->out_channels, .kernel = 1};
        TRY(conv_bn(n, x, u, 1, reduce, true));
        TRY(conv_bn(n, x, u, 2, middle, true));
        TRY(conv_bn(n, x, u, 3, expand, false));
    } else {
        conv_shape first = {.out_channels = u->width, .kernel = 3, .pad = 1, .stride = u->stride};
        conv_shape second = {.out_channels = u->out_channels, .kernel = 3, .pad = 1};
        TRY(conv_bn(n, x, u, 1, first, true));
        TRY(conv_bn(n, x, u, 2, second, false));
    }
    TRY(shortcut(n, &skip, u));
    char name[NAME_CAPACITY + 16];
    snprintf(name, sizeof name, "%s.add", u->prefix);
    TRY(net_add(n, x, skip, name));
    snprintf(name, sizeof name, "%s.relu", u->prefix);
    return net_activation(n, x, name, ACT_RELU);
}

static status build_stem(net *n, edge_id *x)
{
    const spec_model *o = n->options;
    bool small = o->stem == STEM_SMALL;
    conv_shape conv = {.out_channels = net_channels(n, 64), .kernel = small ? 3 : 7, .stride = small ? 1 : 2,
        .pad = small ? 1 : 3, .bias = o->use_bias || !o->use_batch_norm};
    TRY(net_conv(n, x, "conv1", conv));
    if (o->use_batch_norm) TRY(net_batchnorm(n, x, "bn1"));
    TRY(net_activation(n, x, "relu", ACT_RELU));
    return !small && o->use_pooling ? net_max_pool(n, x, "maxpool", 3, 2, 1) : OK;
}

/* Stage strides: 1 2 2 2 behind a stem that has pooled (or a small one); TLT's form without pooling, 2 2 2 1, ends at stride 16. */
static int32_t stage_stride(const spec_model *o, int32_t stage)
{
    if (o->use_pooling || o->stem == STEM_SMALL) return stage == 0 ? 1 : 2;
    return stage == 3 ? 1 : 2;
}

status resnet_build(graph *g, const model_entry *entry, const spec_model *options, int64_t classes)
{
    static const int64_t widths[] = {64, 128, 256, 512};
    net n = {.g = g, .options = options};
    edge_id x;
    TRY(net_input(&n, &x));
    TRY(build_stem(&n, &x));
    for (int32_t stage = 0; entry->stages[stage]; stage++) {
        n.block = stage + 1;
        for (int32_t i = 0; i < entry->stages[stage]; i++) {
            unit u = {.width = net_channels(&n, widths[stage]), .bottleneck = entry->bottleneck,
                .stride = i == 0 ? stage_stride(options, stage) : 1};
            u.out_channels = u.width * (entry->bottleneck ? 4 : 1);
            u.projection = options->all_projections || u.stride != 1 || g->edges[x].shape.dim[3] != u.out_channels;
            snprintf(u.prefix, sizeof u.prefix, "layer%d.%d", stage + 1, i);
            TRY(build_unit(&n, &x, &u));
        }
    }
    n.block = -1;
    TRY(net_global_pool(&n, &x, "avgpool"));
    TRY(net_dropout(&n, &x, "dropout", options->dropout));
    TRY(net_linear(&n, &x, "fc", classes));
    return graph_output(g, x);
}
