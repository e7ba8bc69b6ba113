/* DarkNet-19 and 53: leaky ReLU of slope 0.1, batch normalisation everywhere. DarkNet-53 has timm's names, DarkNet-19
 * (which timm lacks) the like: stages.S.I. Weights stand in a darknet file in the order of the convolutions here. */
#include "models/backbones/backbones.h"
#include "models/parts/layers.h"

static const unit_names names = {"conv", "bn", "act"};

/* 3x3 convolutions with 1x1 bottlenecks of half the channels between them; a pool (darknet's, rounded up) in front of
 * every stage but the first. The head is a 1x1 convolution, then the average. */
status darknet19_build(net *n, edge_id x, const model_entry *entry, int64_t classes)
{
    static const int64_t widths[] = {32, 64, 128, 256, 512, 1024};
    static const pool_shape halve = {.side = 2, .stride = 2, .ceil_mode = true};
    for (int32_t stage = 0; entry->stages[stage]; stage++) {
        n->block = stage;
        if (stage > 0) TRY(net_max_pool(n, &x, net_prefix(n, "stages.%d.pool", stage), halve));
        for (int32_t i = 0; i < entry->stages[stage]; i++) {
            bool bottleneck = i % 2 == 1;
            conv_shape conv = {.out_channels = net_channels(n, bottleneck ? widths[stage] / 2 : widths[stage]),
                .kernel = bottleneck ? 1 : 3, .pad = bottleneck ? 0 : 1};
            TRY(net_unit(n, &x, net_prefix(n, "stages.%d.%d", stage, i), names, conv, ACT_LEAKY));
        }
        TRY(net_stage(n, x));
    }
    if (classes == 0) return OK;
    n->block = -1;
    TRY(net_dropout(n, &x, "dropout", n->options->dropout));
    TRY(net_conv(n, &x, "head.conv", (conv_shape){.out_channels = classes, .kernel = 1, .bias = true}));
    TRY(net_global_pool(n, &x, "head.pool"));
    TRY(net_flatten(n, &x, "flatten"));
    return graph_output(n->g, x);
}

static status residual(net *n, edge_id *x, const char *prefix)
{
    int64_t channels = n->g->edges[*x].shape.dim[3];
    edge_id skip = *x;
    TRY(net_unit(
        n, x, net_name(n, prefix, "conv1"), names, (conv_shape){.out_channels = channels / 2, .kernel = 1}, ACT_LEAKY));
    TRY(net_unit(n, x, net_name(n, prefix, "conv2"), names,
        (conv_shape){.out_channels = channels, .kernel = 3, .pad = 1}, ACT_LEAKY));
    return net_add(n, x, skip, net_name(n, prefix, "add"));
}

status darknet53_build(net *n, edge_id x, const model_entry *entry, int64_t classes)
{
    static const int64_t widths[] = {64, 128, 256, 512, 1024};
    conv_shape stem = {.out_channels = net_channels(n, 32), .kernel = 3, .pad = 1};
    TRY(net_unit(n, &x, "stem.conv1", names, stem, ACT_LEAKY));
    for (int32_t stage = 0; entry->stages[stage]; stage++) {
        n->block = stage + 1;
        conv_shape down = {.out_channels = net_channels(n, widths[stage]), .kernel = 3, .stride = 2, .pad = 1};
        TRY(net_unit(n, &x, net_prefix(n, "stages.%d.conv_down", stage), names, down, ACT_LEAKY));
        for (int32_t i = 0; i < entry->stages[stage]; i++)
            TRY(residual(n, &x, net_prefix(n, "stages.%d.blocks.%d", stage, i)));
        TRY(net_stage(n, x));
    }
    if (classes == 0) return OK;
    n->block = -1;
    TRY(net_global_pool(n, &x, "head.pool"));
    TRY(net_dropout(n, &x, "dropout", n->options->dropout));
    TRY(net_linear(n, &x, "head.fc", classes));
    return graph_output(n->g, x);
}
