/* SqueezeNet: fire modules (1x1 squeeze, then 1x1 and 3x3 expand side by side), no batch
 * normalisation. Names are torchvision's. */
#include "models/backbones/backbones.h"
#include "models/parts/layers.h"

/* Channels of the squeeze and of each expand, per fire module. */
static const int64_t fires[][2] = {
    {16, 64}, {16, 64}, {32, 128}, {32, 128}, {48, 192}, {48, 192}, {64, 256}, {64, 256}};
static const pool_shape pool = {.side = 3, .stride = 2, .ceil_mode = true};

static status conv_relu(net *n, edge_id *x, const char *name, conv_shape conv)
{
    conv.bias = true;
    TRY(net_conv(n, x, name, conv));
    return net_activation(n, x, net_prefix(n, "%s_activation", name), ACT_RELU);
}

static status fire(net *n, edge_id *x, const char *prefix, int64_t squeeze, int64_t expand)
{
    TRY(conv_relu(n, x, net_name(n, prefix, "squeeze"), (conv_shape){.out_channels = squeeze, .kernel = 1}));
    edge_id part[2] = {*x, *x};
    TRY(conv_relu(n, &part[0], net_name(n, prefix, "expand1x1"), (conv_shape){.out_channels = expand, .kernel = 1}));
    TRY(conv_relu(
        n, &part[1], net_name(n, prefix, "expand3x3"), (conv_shape){.out_channels = expand, .kernel = 3, .pad = 1}));
    return net_concat(n, x, net_name(n, prefix, "concat"), part, 2);
}

static status head(net *n, edge_id x, int64_t classes)
{
    n->block = -1;
    TRY(net_dropout(n, &x, "classifier.0", n->options->dropout));
    TRY(conv_relu(n, &x, "classifier.1", (conv_shape){.out_channels = classes, .kernel = 1}));
    TRY(net_global_pool(n, &x, "classifier.3"));
    TRY(net_flatten(n, &x, "flatten"));
    return graph_output(n->g, x);
}

/* "features.I" counts convolutions, activations, pools and fires. A pool stands in front of every stage. */
status squeezenet_build(net *n, edge_id x, const model_entry *entry, int64_t classes)
{
    bool old = entry->variant == SQUEEZENET_1_0;
    conv_shape stem = {.out_channels = net_channels(n, old ? 96 : 64), .kernel = old ? 7 : 3, .stride = 2};
    TRY(conv_relu(n, &x, "features.0", stem));
    int32_t index = 2;
    for (int32_t stage = 0; entry->stages[stage]; stage++) {
        TRY(net_max_pool(n, &x, net_prefix(n, "features.%d", index++), pool));
        for (int32_t i = 0; i < entry->stages[stage]; i++) {
            const int64_t *channels = fires[n->block++];
            TRY(fire(n, &x, net_prefix(n, "features.%d", index++), net_channels(n, channels[0]),
                net_channels(n, channels[1])));
        }
        TRY(net_stage(n, x));
    }
    return classes ? head(n, x, classes) : OK;
}
