/* RetinaNet on any backbone: a feature pyramid, two small networks that all its levels share. */
#include <math.h>

#include "models/detectors/detectors.h"
#include "models/parts/anchors.h"

enum { LEVELS = 5, LATERALS = 3, SMALLEST = 32, TORCHVISION_OCTAVES = 3 };

static bool is_torchvision(const spec *s) { return s->retinanet.form == RETINANET_TORCHVISION; }

static status check_options(const spec *s)
{
    const spec_retinanet *o = &s->retinanet;
    int64_t least = o->two_boxes_for_ratio_1 ? LEVELS + 1 : LEVELS;
    if (o->scales.count) TRY(anchor_check_list("retinanet.scales", &o->scales, least, LEVELS + 1, true));
    TRY(anchor_check_list("retinanet.aspect_ratios", &o->aspect_ratios, 1, ANCHOR_RATIOS_MAX, false));
    return anchor_check_list("retinanet.variances", &o->variances, 4, 4, false);
}

/* ------------------------------------------------------------------------------------------------ pyramid */

static status conv(net *n, edge_id *x, const char *name, int32_t side, int32_t stride, int64_t channels)
{
    return net_conv(n, x, name,
        (conv_shape){
            .out_channels = channels, .kernel = side, .stride = stride, .pad = side / 2, .bias = true});
}

/* The backbone's maps of stride 8, 16 and 32; a backbone that ends at 16 gets one more. */
static status find_maps(net *n, const model_stages *stages, const spec *s, edge_id c[LATERALS])
{
    for (int32_t k = 0; k < LATERALS; k++) c[k] = model_stage_at(stages, 8 << k);
    if (c[0] == EDGE_NONE || c[1] == EDGE_NONE)
        return FAIL(E_USAGE, "model.arch = %s: it has no maps of stride 8 and 16", s->model.arch);
    n->block = graph_last_block(n->g) + 1;
    /* Features without batch normalisation are of any size (as for SSD). */
    for (int32_t k = 0; k < LATERALS && !s->model.use_batch_norm; k++)
        if (c[k] != EDGE_NONE) TRY(net_batchnorm(n, &c[k], net_prefix(n, "fpn.norm.%d", k)));
    if (c[2] != EDGE_NONE) return OK;
    c[2] = c[1];
    TRY(conv(n, &c[2], "fpn.c5", 3, 2, s->retinanet.channels));
    return net_activation(n, &c[2], "fpn.c5.relu", ACT_RELU);
}

/* Lin and others 2017, "Feature Pyramid Networks for Object Detection", figure 3; P6 and P7 as in RetinaNet's. */
static status add_pyramid(net *n, const edge_id c[LATERALS], const spec *s, edge_id p[LEVELS])
{
    int64_t channels = s->retinanet.channels;
    for (int32_t k = LATERALS - 1; k >= 0; k--) {
        p[k] = c[k];
        TRY(conv(n, &p[k], net_prefix(n, "fpn.inner_blocks.%d.0", k), 1, 1, channels));
        if (k == LATERALS - 1) continue;
        edge_id above = p[k + 1];
        TRY(net_upsample(n, &above, p[k], net_prefix(n, "fpn.upsample.%d", k)));
        TRY(net_add(n, &p[k], above, net_prefix(n, "fpn.add.%d", k)));
    }
    for (int32_t k = 0; k < LATERALS; k++) {
        TRY(conv(n, &p[k], net_prefix(n, "fpn.layer_blocks.%d.0", k), 3, 1, channels));
        if (!is_torchvision(s)) TRY(net_activation(n, &p[k], net_prefix(n, "fpn.relu.%d", k), ACT_RELU));
    }
    p[3] = is_torchvision(s) ? p[2] : c[2];
    TRY(conv(n, &p[3], "fpn.extra_blocks.p6", 3, 2, channels));
    p[4] = p[3];
    TRY(net_activation(n, &p[4], "fpn.extra_blocks.p6.relu", ACT_RELU));
    if (!is_torchvision(s)) p[3] = p[4];
    TRY(conv(n, &p[4], "fpn.extra_blocks.p7", 3, 2, channels));
    return is_torchvision(s) ? OK : net_activation(n, &p[4], "fpn.extra_blocks.p7.relu", ACT_RELU);
}

/* ------------------------------------------------------------------------------------------------ subnets */

static status add_subnet(net *n, const edge_id p[LEVELS], const char *prefix, const char *last, const char *rows,
    const spec *s, int32_t anchors, int64_t each, edge_id *all)
{
    edge_id x[LEVELS];
    int32_t block = n->block;
    for (int32_t k = 0; k < LEVELS; k++) {
        x[k] = p[k];
        n->block = block;
        for (int64_t i = 0; i < s->retinanet.subnet_layers; i++) {
            const char *name = net_prefix(n, "%s.conv.%d.0", prefix, (int)i);
            TRY(net_share_conv(n, &x[k], name, k, s->retinanet.channels));
            TRY(net_activation(n, &x[k], net_prefix(n, "%s.relu.%d.%d", prefix, (int)i, k), ACT_RELU));
        }
        n->block = -1;
        TRY(net_share_conv(n, &x[k], net_prefix(n, "%s.%s", prefix, last), k, anchors * each));
    }
    TRY(net_anchor_rows(n, all, rows, x, LEVELS, each));
    n->block = block;
    return OK;
}

/* ------------------------------------------------------------------------------------------------ anchors */

/* torchvision's: sides and steps of whole pixels, ratios of height to width, centres at the cells' corners. */
static void set_torchvision_anchors(const net *n, anchor_map anchors[LEVELS], const edge_id p[LEVELS])
{
    static const double ratios[] = {0.5, 1, 2};
    for (int32_t k = 0; k < LEVELS; k++) {
        anchor_map *m = &anchors[k];
        *m = anchor_map_of(n, p[k]);
        m->offset = 0;
        m->step_x = floor(m->step_x);
        m->step_y = floor(m->step_y);
        for (int32_t r = 0; r < 3; r++)
            for (int32_t i = 0; i < TORCHVISION_OCTAVES; i++) {
                int32_t side = (int32_t)((SMALLEST << k) * pow(2, i / 3.0));
                double root = sqrt(ratios[r]);
                m->shape[m->count++] =
                    (anchor_shape){2 * rint(side / root / 2), 2 * rint(side * root / 2)};
            }
    }
}

/* In pixels. The default is section 4 of the paper's. */
static double anchor_side(const spec *s, int32_t level)
{
    const spec_model *m = &s->model;
    int64_t smaller = m->input_width < m->input_height ? m->input_width : m->input_height;
    const float_list *scales = &s->retinanet.scales;
    return scales->count ? scales->value[level] * (double)smaller : SMALLEST << level;
}

static void set_anchors(const net *n, anchor_map anchors[LEVELS], const edge_id p[LEVELS], const spec *s)
{
    const spec_retinanet *o = &s->retinanet;
    for (int32_t k = 0; k < LEVELS; k++) {
        double side = anchor_side(s, k);
        double square = o->two_boxes_for_ratio_1 ? sqrt(side * anchor_side(s, k + 1)) : 0;
        anchors[k] = anchor_map_of(n, p[k]);
        anchor_add_shapes(&anchors[k], side, square, &o->aspect_ratios, o->octaves);
    }
}

status retinanet_build(net *n, const model_stages *stages, const spec *s, int64_t classes)
{
    const spec_retinanet *o = &s->retinanet;
    edge_id c[LATERALS], p[LEVELS], in[3];
    anchor_map anchors[LEVELS];
    TRY(check_options(s));
    retinanet_head_attr attr = {.head = anchor_head(s, classes, &o->variances),
        .alpha = (float)o->focal_alpha,
        .gamma = (float)o->focal_gamma,
        .beta = (float)o->smooth_l1_beta,
        .per_image = is_torchvision(s),
        .low_quality = is_torchvision(s)};
    attr.head.positive = (float)o->positive_iou;
    attr.head.negative = (float)o->negative_iou;
    attr.head.location_weight = (float)o->location_weight;
    TRY(find_maps(n, stages, s, c));
    TRY(add_pyramid(n, c, s, p));
    if (is_torchvision(s)) set_torchvision_anchors(n, anchors, p);
    else set_anchors(n, anchors, p, s);
    n->block++;
    TRY(add_subnet(n, p, "head.regression_head", "bbox_reg", "retinanet.location", s, anchors[0].count, 4, &in[0]));
    TRY(add_subnet(n, p, "head.classification_head", "cls_logits", "retinanet.confidence", s, anchors[0].count,
        classes, &in[1]));
    TRY(net_anchors(n, &in[2], "retinanet.anchors", anchors, LEVELS, o->clip_boxes));
    TRY(graph_add(n->g, &op_retinanet_head, "retinanet", &attr, in, 3, -1, &in[0]));
    return graph_output(n->g, in[0]);
}
