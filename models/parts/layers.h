/* layers.h: layers with torchvision's parameter names, appended to a network being built.
 *
 * A `net` carries what every layer needs. Each function takes the current edge in *x and leaves the new one there.
 *
 *     net n = {.g = g, .options = options, .block = 0};
 *     TRY(net_conv(&n, &x, "conv1", (conv_shape){.out_channels = 64, .kernel = 7, .stride = 2, .pad = 3}));
 *     TRY(net_batchnorm(&n, &x, "bn1"));
 *     TRY(net_activation(&n, &x, "relu", ACT_RELU));
 */
#ifndef GRAFT_MODELS_LAYERS_H
#define GRAFT_MODELS_LAYERS_H

#include "core/config/spec.h"
#include "core/graph/graph.h"
#include "core/ops/op.h"

typedef struct net {
    graph *g;
    const spec_model *options;
    int32_t block; /* freezing unit of the layers that follow */
} net;

typedef struct conv_shape {
    int64_t out_channels;
    int32_t kernel, stride, pad; /* square; stride 0 = 1 */
    int32_t groups, dilation;    /* 0 = 1 */
    bool bias;
} conv_shape;

/* The image input by the options: [1, input_height, input_width, channels]. */
status net_input(net *n, edge_id *x);
/* Parameters NAME.weight and, with bias, NAME.bias. */
status net_conv(net *n, edge_id *x, const char *name, conv_shape shape);
/* Parameters NAME.weight, NAME.bias; state NAME.running_mean, NAME.running_var. */
status net_batchnorm(net *n, edge_id *x, const char *name);
status net_activation(net *n, edge_id *x, const char *name, activation act);
status net_max_pool(net *n, edge_id *x, const char *name, int32_t side, int32_t stride, int32_t pad);
status net_global_pool(net *n, edge_id *x, const char *name);
status net_add(net *n, edge_id *x, edge_id other, const char *name);
/* dropout only when probability > 0; makes the graph's "sample_keys" input on first use. */
status net_dropout(net *n, edge_id *x, const char *name, double probability);
/* Flattens what is not flat yet (CHW order in files). Parameters NAME.weight, NAME.bias. */
status net_linear(net *n, edge_id *x, const char *name, int64_t out_features);

/* options.width times channels, rounded to a multiple of 8 (at least 8); channels itself at width 1. */
int64_t net_channels(const net *n, int64_t channels);

#endif
