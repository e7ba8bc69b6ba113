/* SSD on any backbone: further maps, predictions from each, anchors. */
#include "models/detectors/ssd.h"

#include <math.h>

#include "models/parts/anchors.h"

enum { FIRST_STRIDE = 8 };

static status check_options(const spec *s)
{
    const spec_ssd *o = &s->ssd;
    TRY(anchor_check_list("ssd.scales", &o->scales, SSD_MAPS + 1, SSD_MAPS + 1, true));
    TRY(anchor_check_list("ssd.aspect_ratios", &o->aspect_ratios, 1, ANCHOR_RATIOS_MAX, false));
    return anchor_check_list("ssd.variances", &o->variances, 4, 4, false);
}

/* ------------------------------------------------------------------------------------------------ maps */

/* The next map: half as wide and high, down to one pixel. It is normalised whatever the backbone is. */
static status add_map(net *n, edge_id *x, int32_t k, int64_t channels)
{
    const char *narrow = net_prefix(n, "ssd.extra.%d.reduce", k), *act = net_prefix(n, "ssd.extra.%d.reduce.relu", k);
    TRY(net_conv(n, x, narrow, (conv_shape){.out_channels = channels / 2, .kernel = 1, .bias = true}));
    TRY(net_activation(n, x, act, ACT_RELU));
    conv_shape half = {.out_channels = channels, .kernel = 3, .stride = 2, .pad = 1};
    TRY(net_conv(n, x, net_prefix(n, "ssd.extra.%d.conv", k), half));
    TRY(net_batchnorm(n, x, net_prefix(n, "ssd.extra.%d.bn", k)));
    return net_activation(n, x, net_prefix(n, "ssd.extra.%d.relu", k), ACT_RELU);
}

/* Backbones' stages stand in network order, so that those of stride 8 and more are the last ones. */
status ssd_find_maps(net *n, const model_stages *stages, const spec *s, edge_id map[SSD_MAPS])
{
    int32_t count = 0;
    TRY(check_options(s));
    for (int32_t i = 0; i < stages->count && count < SSD_MAPS; i++)
        if (stages->stage[i].stride >= FIRST_STRIDE) map[count++] = stages->stage[i].edge;
    if (count == 0)
        return FAIL(E_USAGE, "model.arch = %s: it has no map of stride %d or more", s->model.arch, FIRST_STRIDE);
    n->block = graph_last_block(n->g) + 1;
    /* Features without batch normalisation are of any size: scores made of them would be enormous (as the paper's
     * section 3.1 finds of conv4_3, which it scales to a norm of 20). */
    for (int32_t k = 0; k < count && !s->model.use_batch_norm; k++)
        TRY(net_batchnorm(n, &map[k], net_prefix(n, "ssd.norm.%d", k)));
    for (edge_id x = map[count - 1]; count < SSD_MAPS; count++) {
        TRY(add_map(n, &x, count, s->ssd.extra_channels));
        map[count] = x;
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ predictions */

/* Each ratio of 1 may have two shapes. */
static void set_anchors(const net *n, anchor_map anchors[SSD_MAPS], const edge_id map[SSD_MAPS], const spec *s)
{
    const spec_ssd *o = &s->ssd;
    int64_t smaller = s->model.input_width < s->model.input_height ? s->model.input_width : s->model.input_height;
    for (int32_t k = 0; k < SSD_MAPS; k++) {
        double side = o->scales.value[k] * (double)smaller, next = o->scales.value[k + 1] * (double)smaller;
        anchors[k] = anchor_map_of(n, map[k]);
        anchor_add_shapes(&anchors[k], side, o->two_boxes_for_ratio_1 ? sqrt(side * next) : 0, &o->aspect_ratios, 1);
    }
}

/* [1, anchors, each] of all maps behind one another. */
static status predict(net *n, const edge_id map[SSD_MAPS], const anchor_map anchors[SSD_MAPS], const char *what,
    int64_t each, edge_id *all)
{
    edge_id part[SSD_MAPS];
    for (int32_t k = 0; k < SSD_MAPS; k++) {
        conv_shape conv = {.out_channels = anchors[k].count * each, .kernel = 3, .pad = 1, .bias = true};
        part[k] = map[k];
        TRY(net_conv(n, &part[k], net_prefix(n, "ssd.%s.%d", what, k), conv));
    }
    return net_anchor_rows(n, all, net_prefix(n, "ssd.%s", what), part, SSD_MAPS, each);
}

status ssd_finish(net *n, const edge_id map[SSD_MAPS], const spec *s, int64_t classes)
{
    const spec_ssd *o = &s->ssd;
    anchor_map anchors[SSD_MAPS];
    edge_id in[3];
    ssd_head_attr attr = {.head = anchor_head(s, classes, &o->variances), .neg_pos_ratio = (float)o->neg_pos_ratio};
    attr.head.positive = (float)o->positive_iou;
    attr.head.negative = (float)o->negative_iou;
    attr.head.location_weight = (float)o->location_weight;
    set_anchors(n, anchors, map, s);
    n->block = -1;
    TRY(predict(n, map, anchors, "location", 4, &in[0]));
    TRY(predict(n, map, anchors, "confidence", classes + 1, &in[1]));
    TRY(net_anchors(n, &in[2], "ssd.anchors", anchors, SSD_MAPS, o->clip_boxes));
    TRY(graph_add(n->g, &op_ssd_head, "ssd", &attr, in, 3, -1, &in[0]));
    return graph_output(n->g, in[0]);
}

status ssd_build(net *n, const model_stages *stages, const spec *s, int64_t classes)
{
    edge_id map[SSD_MAPS];
    TRY(ssd_find_maps(n, stages, s, map));
    return ssd_finish(n, map, s, classes);
}
