/* ResNet: stem, four stages of basic blocks or bottlenecks, global average pool, linear
 * layer. Names are torchvision's. */
#include "models/backbones/backbones.h"
#include "models/parts/layers.h"

typedef struct unit {
    const char *prefix;   /* "layer1.0" */
    int64_t width;        /* channels of the inner convolutions */
    int64_t out_channels;
    int32_t stride;
    bool projection, bottleneck;
} unit;

static const unit_names first = {"conv1", "bn1", "relu1"}, second = {"conv2", "bn2", "relu2"},
                        third = {"conv3", "bn3", "relu3"};

static status build_unit(net *n, edge_id *x, const unit *u)
{
    edge_id skip = *x;
    if (u->bottleneck) {
        bool stride_in_1x1 = n->options->bottleneck_stride == BOTTLENECK_STRIDE_1X1;
        conv_shape reduce = {.out_channels = u->width, .kernel = 1, .stride = stride_in_1x1 ? u->stride : 1};
        conv_shape middle = {.out_channels = u->width, .kernel = 3, .pad = 1, .stride = stride_in_1x1 ? 1 : u->stride};
        TRY(net_unit(n, x, u->prefix, first, reduce, ACT_RELU));
        TRY(net_unit(n, x, u->prefix, second, middle, ACT_RELU));
        TRY(net_unit(n, x, u->prefix, third, (conv_shape){.out_channels = u->out_channels, .kernel = 1}, ACT_NONE));
    } else {
        conv_shape strided = {.out_channels = u->width, .kernel = 3, .pad = 1, .stride = u->stride};
        TRY(net_unit(n, x, u->prefix, first, strided, ACT_RELU));
        TRY(net_unit(
            n, x, u->prefix, second, (conv_shape){.out_channels = u->out_channels, .kernel = 3, .pad = 1}, ACT_NONE));
    }
    conv_shape shortcut = {.out_channels = u->out_channels, .kernel = 1, .stride = u->stride};
    if (u->projection)
        TRY(net_unit(n, &skip, net_name(n, u->prefix, "downsample"), (unit_names){"0", "1", ""}, shortcut, ACT_NONE));
    TRY(net_add(n, x, skip, net_name(n, u->prefix, "add")));
    return net_activation(n, x, net_name(n, u->prefix, "relu"), ACT_RELU);
}

static status build_stem(net *n, edge_id *x)
{
    const spec_model *o = n->options;
    bool small = o->stem == STEM_SMALL;
    conv_shape conv = {
        .out_channels = net_channels(n, 64), .kernel = small ? 3 : 7, .stride = small ? 1 : 2, .pad = small ? 1 : 3};
    TRY(net_unit(n, x, "", (unit_names){"conv1", "bn1", "relu"}, conv, ACT_RELU));
    return !small && o->use_pooling ? net_max_pool(n, x, "maxpool", (pool_shape){.side = 3, .stride = 2, .pad = 1})
                                    : OK;
}

/* Stage strides: 1 2 2 2 behind a stem that has pooled (or a small one); TLT's form without
 * pooling, 2 2 2 1, ends at stride 16. */
static int32_t stage_stride(const spec_model *o, int32_t stage)
{
    if (o->use_pooling || o->stem == STEM_SMALL) return stage == 0 ? 1 : 2;
    return stage == 3 ? 1 : 2;
}

status resnet_build(net *n, edge_id x, const model_entry *entry, int64_t classes)
{
    static const int64_t widths[] = {64, 128, 256, 512};
    bool bottleneck = entry->variant == RESNET_BOTTLENECK;
    TRY(build_stem(n, &x));
    for (int32_t stage = 0; entry->stages[stage]; stage++) {
        n->block = stage + 1;
        for (int32_t i = 0; i < entry->stages[stage]; i++) {
            unit u = {.width = net_channels(n, widths[stage]), .bottleneck = bottleneck,
                .stride = i == 0 ? stage_stride(n->options, stage) : 1};
            u.out_channels = u.width * (bottleneck ? 4 : 1);
            u.projection =
                n->options->all_projections || u.stride != 1 || n->g->edges[x].shape.dim[3] != u.out_channels;
            u.prefix = net_prefix(n, "layer%d.%d", stage + 1, i);
            TRY(build_unit(n, &x, &u));
        }
        TRY(net_stage(n, x));
    }
    if (classes == 0) return OK;
    n->block = -1;
    TRY(net_global_pool(n, &x, "avgpool"));
    TRY(net_dropout(n, &x, "dropout", n->options->dropout));
    TRY(net_linear(n, &x, "fc", classes));
    return graph_output(n->g, x);
}
