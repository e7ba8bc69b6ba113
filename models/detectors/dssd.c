/* DSSD on any backbone: SSD's maps, made anew from the smallest one up. */
#include "models/detectors/ssd.h"

enum { BOTTLENECK = 4 };

typedef struct layer {
    int64_t channels;
    int32_t kernel;
} layer;

/* Convolution, batch normalisation and, with `relu`, a ReLU: PREFIX.conv, PREFIX.bn, PREFIX.relu. */
static status unit(net *n, edge_id *x, const char *prefix, layer l, bool relu)
{
    TRY(net_conv(n, x, net_name(n, prefix, "conv"),
        (conv_shape){.out_channels = l.channels, .kernel = l.kernel, .pad = l.kernel / 2}));
    TRY(net_batchnorm(n, x, net_name(n, prefix, "bn")));
    return relu ? net_activation(n, x, net_name(n, prefix, "relu"), ACT_RELU) : OK;
}

/* Map k, given the one made before it, half as wide. */
static status refine(net *n, edge_id *map, edge_id smaller, int32_t k, int64_t channels)
{
    const char *p = net_prefix(n, "dssd.deconv.%d", k);
    edge_id like = *map;
    TRY(unit(n, map, net_name(n, p, "large.0"), (layer){channels, 3}, true));
    TRY(unit(n, map, net_name(n, p, "large.1"), (layer){channels, 3}, false));
    TRY(net_upsample(n, &smaller, like, net_name(n, p, "small.upsample")));
    TRY(unit(n, &smaller, net_name(n, p, "small"), (layer){channels, 3}, false));
    TRY(net_mul(n, map, smaller, net_name(n, p, "mul")));
    return net_activation(n, map, net_name(n, p, "relu"), ACT_RELU);
}

/* The prediction module (figure 2 (c) of the paper). */
static status widen(net *n, edge_id *map, int32_t k, int64_t channels)
{
    const char *p = net_prefix(n, "dssd.predict.%d", k);
    edge_id shortcut = *map;
    TRY(unit(n, map, net_name(n, p, "0"), (layer){channels / BOTTLENECK, 1}, true));
    TRY(unit(n, map, net_name(n, p, "1"), (layer){channels / BOTTLENECK, 1}, true));
    TRY(unit(n, map, net_name(n, p, "2"), (layer){channels, 1}, false));
    TRY(unit(n, &shortcut, net_name(n, p, "shortcut"), (layer){channels, 1}, false));
    TRY(net_add(n, map, shortcut, net_name(n, p, "add")));
    return net_activation(n, map, net_name(n, p, "relu"), ACT_RELU);
}

status dssd_build(net *n, const model_stages *stages, const spec *s, int64_t classes)
{
    edge_id map[SSD_MAPS];
    int64_t channels = s->ssd.extra_channels;
    TRY(ssd_find_maps(n, stages, s, map));
    for (int32_t k = 0; k < SSD_MAPS; k++)
        if (n->g->edges[map[k]].shape.dim[3] != channels)
            TRY(unit(n, &map[k], net_prefix(n, "dssd.shrink.%d", k), (layer){channels, 1}, true));
    for (int32_t k = SSD_MAPS - 2; k >= 0; k--) TRY(refine(n, &map[k], map[k + 1], k, channels));
    for (int32_t k = 0; k < SSD_MAPS && s->dssd.prediction_channels > 0; k++)
        TRY(widen(n, &map[k], k, s->dssd.prediction_channels));
    return ssd_finish(n, map, s, classes);
}
