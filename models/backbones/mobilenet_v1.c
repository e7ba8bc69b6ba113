/* MobileNet v1: a depthwise 3x3 and a 1x1 convolution per unit. Names are timm's. */
#include "models/backbones/backbones.h"
#include "models/parts/layers.h"

/* Every stage but the first strides in its first unit. */
static const int64_t widths[] = {64, 128, 256, 512, 1024};
static const unit_names depthwise_names = {"conv_dw", "bn1", "act1"}, pointwise_names = {"conv_pw", "bn2", "act2"};

status mobilenet_v1_build(net *n, edge_id x, const model_entry *entry, int64_t classes)
{
    conv_shape stem = {.out_channels = net_channels(n, 32), .kernel = 3, .stride = 2, .pad = 1};
    TRY(net_unit(n, &x, "", (unit_names){"conv_stem", "bn1", "act1"}, stem, ACT_RELU6));
    for (int32_t stage = 0; entry->stages[stage]; stage++) {
        for (int32_t i = 0; i < entry->stages[stage]; i++) {
            n->block++;
            int64_t channels = n->g->edges[x].shape.dim[3];
            const char *prefix = net_prefix(n, "blocks.%d.%d", stage, i);
            conv_shape depthwise = {.out_channels = channels, .kernel = 3, .pad = 1, .groups = (int32_t)channels,
                .stride = i == 0 && stage > 0 ? 2 : 1};
            TRY(net_unit(n, &x, prefix, depthwise_names, depthwise, ACT_RELU6));
            conv_shape pointwise = {.out_channels = net_channels(n, widths[stage]), .kernel = 1};
            TRY(net_unit(n, &x, prefix, pointwise_names, pointwise, ACT_RELU6));
        }
        TRY(net_stage(n, x));
    }
    if (classes == 0) return OK;
    n->block = -1;
    TRY(net_global_pool(n, &x, "global_pool"));
    TRY(net_dropout(n, &x, "dropout", n->options->dropout));
    TRY(net_linear(n, &x, "classifier", classes));
    return graph_output(n->g, x);
}
