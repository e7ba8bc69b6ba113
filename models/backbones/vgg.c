/* VGG: blocks of 3x3 convolutions, a max pool behind each, three linear layers. Names are torchvision's
 * (vgg16_bn's, or with model.use_batch_norm = false vgg16's). Without pooling (TLT's detectors) the first
 * convolution of blocks 2 to 5 strides instead. */
#include "models/backbones/backbones.h"
#include "models/parts/layers.h"

static const pool_shape halve = {.side = 2, .stride = 2};

static status head(net *n, edge_id x, int64_t classes)
{
    n->block = -1;
    TRY(net_adaptive_pool(n, &x, "avgpool", 7));
    TRY(net_linear(n, &x, "classifier.0", net_channels(n, 4096)));
    TRY(net_activation(n, &x, "classifier.1", ACT_RELU));
    TRY(net_dropout(n, &x, "classifier.2", n->options->dropout));
    TRY(net_linear(n, &x, "classifier.3", net_channels(n, 4096)));
    TRY(net_activation(n, &x, "classifier.4", ACT_RELU));
    TRY(net_dropout(n, &x, "classifier.5", n->options->dropout));
    TRY(net_linear(n, &x, "classifier.6", classes));
    return graph_output(n->g, x);
}

/* "features.I" counts convolutions, norms, activations and pools; a pool that is left out keeps its number. */
status vgg_build(net *n, edge_id x, const model_entry *entry, int64_t classes)
{
    static const int64_t widths[] = {64, 128, 256, 512, 512};
    bool pooling = n->options->use_pooling;
    int32_t index = 0, layers = n->options->use_batch_norm ? 3 : 2;
    for (int32_t block = 0; entry->stages[block]; block++) {
        n->block = block + 1;
        for (int32_t i = 0; i < entry->stages[block]; i++, index += layers) {
            conv_shape conv = {.out_channels = net_channels(n, widths[block]), .kernel = 3, .pad = 1,
                .stride = !pooling && i == 0 && block > 0 ? 2 : 1};
            unit_names names = {
                net_prefix(n, "%d", index), net_prefix(n, "%d", index + 1), net_prefix(n, "%d", index + layers - 1)};
            TRY(net_unit(n, &x, "features", names, conv, ACT_RELU));
        }
        TRY(net_stage(n, x));
        if (pooling) TRY(net_max_pool(n, &x, net_prefix(n, "features.%d", index), halve));
        index++;
    }
    TRY(net_stage(n, x));
    return classes ? head(n, x, classes) : OK;
}
