/* MobileNet v2: inverted residuals (1x1 up, depthwise 3x3, 1x1 down without activation). Names are torchvision's. */
#include "models/backbones/backbones.h"
#include "models/parts/layers.h"

/* Table 2 of the paper: expansion, channels, stride of the first of `units`; how many there are is in models.def. */
typedef struct stage_row {
    int32_t expansion;
    int64_t channels;
    int32_t stride;
} stage_row;
static const stage_row rows[] = {{1, 16, 1}, {6, 24, 2}, {6, 32, 2}, {6, 64, 2}, {6, 96, 1}, {6, 160, 2}, {6, 320, 1}};
static const unit_names sequential = {"0", "1", "2"};

/* torchvision counts the layers of a unit: ConvBNReLU blocks "conv.0", "conv.1", then the bare
 * "conv.K" and its norm "conv.K+1". */
static status build_unit(net *n, edge_id *x, const char *prefix, const stage_row *row, int64_t channels, int32_t stride)
{
    int64_t in_channels = n->g->edges[*x].shape.dim[3], wide = in_channels * row->expansion;
    edge_id skip = *x;
    int32_t at = 0;
    if (row->expansion != 1)
        TRY(net_unit(n, x, net_prefix(n, "%s.conv.%d", prefix, at++), sequential,
            (conv_shape){.out_channels = wide, .kernel = 1}, ACT_RELU6));
    conv_shape depthwise = {.out_channels = wide, .kernel = 3, .stride = stride, .pad = 1, .groups = (int32_t)wide};
    TRY(net_unit(n, x, net_prefix(n, "%s.conv.%d", prefix, at++), sequential, depthwise, ACT_RELU6));
    unit_names bare = {net_prefix(n, "%d", at), net_prefix(n, "%d", at + 1), ""};
    TRY(net_unit(
        n, x, net_name(n, prefix, "conv"), bare, (conv_shape){.out_channels = channels, .kernel = 1}, ACT_NONE));
    if (stride != 1 || in_channels != channels) return OK;
    if (n->options->all_projections)
        TRY(net_unit(n, &skip, net_name(n, prefix, "shortcut"), sequential,
            (conv_shape){.out_channels = channels, .kernel = 1}, ACT_NONE));
    return net_add(n, x, skip, net_name(n, prefix, "add"));
}

status mobilenet_v2_build(net *n, edge_id x, const model_entry *entry, int64_t classes)
{
    conv_shape stem = {.out_channels = net_channels(n, 32), .kernel = 3, .stride = 2, .pad = 1};
    TRY(net_unit(n, &x, "features.0", sequential, stem, ACT_RELU6));
    int32_t index = 1;
    for (int32_t stage = 0; entry->stages[stage]; stage++) {
        for (int32_t i = 0; i < entry->stages[stage]; i++, index++) {
            n->block = index;
            TRY(build_unit(n, &x, net_prefix(n, "features.%d", index), &rows[stage],
                net_channels(n, rows[stage].channels), i == 0 ? rows[stage].stride : 1));
        }
        TRY(net_stage(n, x));
    }
    if (classes == 0) return OK;
    n->block = index;
    double width = n->options->width > 1 ? n->options->width : 1; /* the last layer never shrinks */
    conv_shape last = {.out_channels = net_channels_at(width, 1280), .kernel = 1};
    TRY(net_unit(n, &x, net_prefix(n, "features.%d", index), sequential, last, ACT_RELU6));
    n->block = -1;
    TRY(net_global_pool(n, &x, "avgpool"));
    TRY(net_dropout(n, &x, "classifier.0", n->options->dropout));
    TRY(net_linear(n, &x, "classifier.1", classes));
    return graph_output(n->g, x);
}
