/* GoogLeNet: inception modules of four branches side by side, every convolution with batch normalisation,
 * two auxiliary heads in training. Names and form are torchvision's: the branch of the paper's 5x5
 * convolutions has 3x3 ones, pools round up. */
#include "models/backbones/backbones.h"
#include "models/parts/layers.h"

/* Table 1 of the paper: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection. */
typedef struct inception_row {
    const char *name;
    int64_t one, three_reduce, three, five_reduce, five, pool;
} inception_row;
static const inception_row rows[] = {
    {"inception3a", 64, 96, 128, 16, 32, 32},
    {"inception3b", 128, 128, 192, 32, 96, 64},
    {"inception4a", 192, 96, 208, 16, 48, 64},
    {"inception4b", 160, 112, 224, 24, 64, 64},
    {"inception4c", 128, 128, 256, 24, 64, 64},
    {"inception4d", 112, 144, 288, 32, 64, 64},
    {"inception4e", 256, 160, 320, 32, 128, 128},
    {"inception5a", 256, 160, 320, 32, 128, 128},
    {"inception5b", 384, 192, 384, 48, 128, 128},
};
enum { AUX1_BEHIND = 2, AUX2_BEHIND = 5 }; /* 4a, 4d */

static const unit_names names = {"conv", "bn", "relu"};

static status conv(net *n, edge_id *x, const char *prefix, int64_t channels, int32_t side, int32_t stride)
{
    conv_shape s = {.out_channels = net_channels(n, channels), .kernel = side, .stride = stride, .pad = side / 2};
    return net_unit(n, x, prefix, names, s, ACT_RELU);
}

static status inception(net *n, edge_id *x, const inception_row *r)
{
    edge_id part[4] = {*x, *x, *x, *x};
    TRY(conv(n, &part[0], net_name(n, r->name, "branch1"), r->one, 1, 1));
    TRY(conv(n, &part[1], net_name(n, r->name, "branch2.0"), r->three_reduce, 1, 1));
    TRY(conv(n, &part[1], net_name(n, r->name, "branch2.1"), r->three, 3, 1));
    TRY(conv(n, &part[2], net_name(n, r->name, "branch3.0"), r->five_reduce, 1, 1));
    TRY(conv(n, &part[2], net_name(n, r->name, "branch3.1"), r->five, 3, 1));
    TRY(net_max_pool(n, &part[3], net_name(n, r->name, "branch4.0"),
        (pool_shape){.side = 3, .stride = 1, .pad = 1, .ceil_mode = true}));
    TRY(conv(n, &part[3], net_name(n, r->name, "branch4.1"), r->pool, 1, 1));
    return net_concat(n, x, net_name(n, r->name, "concat"), part, 4);
}

static status auxiliary(net *n, edge_id x, const char *prefix, int64_t classes, edge_id *logits)
{
    int32_t block = n->block;
    n->block = -1;
    TRY(net_adaptive_pool(n, &x, net_name(n, prefix, "pool"), 4));
    TRY(conv(n, &x, net_name(n, prefix, "conv"), 128, 1, 1));
    TRY(net_linear(n, &x, net_name(n, prefix, "fc1"), net_channels(n, 1024)));
    TRY(net_activation(n, &x, net_name(n, prefix, "relu"), ACT_RELU));
    TRY(net_dropout(n, &x, net_name(n, prefix, "dropout"), n->options->aux_dropout));
    TRY(net_linear(n, &x, net_name(n, prefix, "fc2"), classes));
    n->block = block;
    *logits = x;
    return OK;
}

/* aux: logits behind 4a and 4d, where classes and options ask for them. */
static status build_stages(net *n, edge_id *x, const model_entry *entry, int64_t classes, edge_id aux[2])
{
    bool heads = classes > 0 && n->options->aux_weight > 0;
    int32_t row = 0;
    for (int32_t stage = 0; entry->stages[stage]; stage++) {
        pool_shape pool = {.side = stage < 2 ? 3 : 2, .stride = 2, .ceil_mode = true};
        TRY(net_max_pool(n, x, net_prefix(n, "maxpool%d", stage + 2), pool));
        for (int32_t i = 0; i < entry->stages[stage]; i++, row++) {
            n->block = row + 1;
            TRY(inception(n, x, &rows[row]));
            if (heads && row == AUX1_BEHIND) TRY(auxiliary(n, *x, "aux1", classes, &aux[0]));
            if (heads && row == AUX2_BEHIND) TRY(auxiliary(n, *x, "aux2", classes, &aux[1]));
        }
        TRY(net_stage(n, *x));
    }
    return OK;
}

status googlenet_build(net *n, edge_id x, const model_entry *entry, int64_t classes)
{
    edge_id aux[2] = {EDGE_NONE, EDGE_NONE};
    TRY(conv(n, &x, "conv1", 64, 7, 2));
    TRY(net_max_pool(n, &x, "maxpool1", (pool_shape){.side = 3, .stride = 2, .ceil_mode = true}));
    TRY(conv(n, &x, "conv2", 64, 1, 1));
    TRY(conv(n, &x, "conv3", 192, 3, 1));
    TRY(net_stage(n, x));
    TRY(build_stages(n, &x, entry, classes, aux));
    if (classes == 0) return OK;
    n->block = -1;
    TRY(net_global_pool(n, &x, "avgpool"));
    TRY(net_dropout(n, &x, "dropout", n->options->dropout));
    TRY(net_linear(n, &x, "fc", classes));
    TRY(graph_output(n->g, x));
    for (int32_t i = 0; i < 2 && aux[i] != EDGE_NONE; i++) TRY(graph_output_auxiliary(n->g, aux[i]));
    return OK;
}
