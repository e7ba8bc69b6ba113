/* layers.h: layers with torchvision's parameter names, appended to a network being built.
 *
 * A `net` carries what every layer needs. Each function takes the current edge in *x and leaves the new one there.
 *
 *     net n = {.g = g, .options = options, .block = 0};
 *     TRY(net_conv(&n, &x, "conv1", (conv_shape){.out_channels = 64, .kernel = 7, .stride = 2, .pad = 3}));
 *     TRY(net_batchnorm(&n, &x, "bn1"));
 *     TRY(net_activation(&n, &x, "relu", ACT_RELU));
 *
 * or, by the options (use_batch_norm, use_bias), all three at once:
 *
 *     TRY(net_unit(&n, &x, "layer1.0", (unit_names){"conv1", "bn1", "relu1"}, shape, ACT_RELU));
 */
#ifndef GRAFT_MODELS_LAYERS_H
#define GRAFT_MODELS_LAYERS_H

#include "core/config/spec.h"
#include "core/graph/graph.h"
#include "core/ops/op.h"
#include "models/models.h"

typedef struct net {
    graph *g;
    const spec_model *options;
    int32_t block;        /* freezing unit of the layers that follow */
    model_stages *stages; /* filled by net_stage; NULL: nobody asks  */
} net;

typedef struct conv_shape {
    int64_t out_channels;
    int32_t kernel, stride, pad; /* square; stride 0 = 1; pad: see net_conv */
    int32_t groups, dilation;    /* 0 = 1 */
    bool bias;
} conv_shape;
typedef struct pool_shape {
    int32_t side, stride, pad;
    bool ceil_mode;
} pool_shape;
typedef struct unit_names {
    const char *conv, *bn, *act; /* behind PREFIX. */
} unit_names;

/* "PREFIX.SUFFIX" (no dot behind an empty prefix) in the graph's memory; a failure shows in
 * the layer that takes the name. */
const char *net_name(net *n, const char *prefix, const char *suffix);
/* The same from a format, for prefixes: net_prefix(n, "layer%d.%d", stage, i). */
const char *net_prefix(net *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The image input by the options: [1, input_height, input_width, channels]. */
status net_input(net *n, edge_id *x);
/* Parameters NAME.weight and, with bias, NAME.bias. With options.padding = same the pads are TensorFlow's whatever
 * shape.pad is: ceil(size / stride) outputs, of an odd number of pads the smaller half in front. */
status net_conv(net *n, edge_id *x, const char *name, conv_shape shape);
/* Parameters NAME.weight, NAME.bias; state NAME.running_mean, NAME.running_var. */
/* A 3x3 convolution with bias whose parameters several nodes share: the first, number 0, makes NAME.weight and
 * NAME.bias and is called NAME; the others find them and are called NAME/number. */
status net_share_conv(net *n, edge_id *x, const char *name, int32_t number, int64_t out_channels);
status net_batchnorm(net *n, edge_id *x, const char *name);
status net_activation(net *n, edge_id *x, const char *name, activation act); /* leaky: slope 0.1, as darknet's */
/* Convolution PREFIX.CONV, batch normalisation PREFIX.BN if options.use_batch_norm, activation
 * PREFIX.ACT unless ACT_NONE. The convolution has a bias when shape.bias or options.use_bias ask for it
 * or no batch normalisation follows. */
status net_unit(net *n, edge_id *x, const char *prefix, unit_names names, conv_shape shape, activation act);
status net_max_pool(net *n, edge_id *x, const char *name, pool_shape shape);
status net_global_pool(net *n, edge_id *x, const char *name);
/* Average pool to side x side pixels, PyTorch's adaptive windows. */
status net_adaptive_pool(net *n, edge_id *x, const char *name, int32_t side);
status net_add(net *n, edge_id *x, edge_id other, const char *name);
/* The product, value by value. */
status net_mul(net *n, edge_id *x, edge_id other, const char *name);
/* Nearest pixels up to the height and width of `like`: floor(o * size / wanted), as of OP_RESIZE_FORWARD. */
status net_upsample(net *n, edge_id *x, edge_id like, const char *name);
status net_concat(net *n, edge_id *x, const char *name, const edge_id *parts, int32_t count);
/* dropout only when probability > 0; makes the graph's "sample_keys" input on first use. */
status net_dropout(net *n, edge_id *x, const char *name, double probability);
/* Flattens what is not flat yet (CHW order in files). Parameters NAME.weight, NAME.bias. */
status net_linear(net *n, edge_id *x, const char *name, int64_t out_features);
status net_flatten(net *n, edge_id *x, const char *name);

/* Notes x as the last feature map (so far) of its stride, for n->stages. */
status net_stage(net *n, edge_id x);

/* options.width times channels, rounded to a multiple of 8, at least 8 and never below 0.9 of the product (MobileNet's
 * rule); channels itself at width 1. */
int64_t net_channels(const net *n, int64_t channels);
int64_t net_channels_at(double width, int64_t channels);

#endif
