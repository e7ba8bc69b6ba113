/* SSD on any backbone: further maps, predictions from each, anchors. */
#include <math.h>

#include "models/detectors/detectors.h"
#include "models/parts/layers.h"

enum { MAPS = 6, FIRST_STRIDE = 8, RATIOS_MAX = 16, SHAPES_MAX = 2 * RATIOS_MAX };

typedef struct anchor_shape {
    double width, height; /* pixels of the input */
} anchor_shape;

/* Fills the anchors of one cell of map k and returns how many they are: each ratio of 1 may have two. */
static int32_t anchor_shapes(anchor_shape shapes[SHAPES_MAX], const spec *s, int32_t k)
{
    const spec_ssd *o = &s->ssd;
    int64_t smaller = s->model.input_width < s->model.input_height ? s->model.input_width : s->model.input_height;
    double side = o->scales.value[k] * (double)smaller, next = o->scales.value[k + 1] * (double)smaller;
    int32_t count = 0;
    for (int64_t i = 0; i < o->aspect_ratios.count; i++) {
        double root = sqrt(o->aspect_ratios.value[i]);
        shapes[count++] = (anchor_shape){side * root, side / root};
        if (o->aspect_ratios.value[i] == 1 && o->two_boxes_for_ratio_1)
            shapes[count++] = (anchor_shape){sqrt(side * next), sqrt(side * next)};
    }
    return count;
}

static void put_anchor(float box[4], double x, double y, anchor_shape a, const spec *s)
{
    const double limit[2] = {(double)s->model.input_width, (double)s->model.input_height};
    const double corner[4] = {x - a.width / 2, y - a.height / 2, x + a.width / 2, y + a.height / 2};
    for (int i = 0; i < 4; i++)
        box[i] = (float)(s->ssd.clip_boxes ? fmin(fmax(corner[i], 0), limit[i % 2]) : corner[i]);
}

/* Rows of anchors behind `rows`, as the predictions of a map [h, w, anchors] stand. */
static float *put_anchors(float *rows, shape map, const spec *s, int32_t k)
{
    anchor_shape shapes[SHAPES_MAX];
    int32_t count = anchor_shapes(shapes, s, k);
    double step_x = (double)s->model.input_width / (double)map.dim[2],
           step_y = (double)s->model.input_height / (double)map.dim[1];
    for (int64_t y = 0; y < map.dim[1]; y++)
        for (int64_t x = 0; x < map.dim[2]; x++)
            for (int32_t i = 0; i < count; i++, rows += 4)
                put_anchor(rows, ((double)x + 0.5) * step_x, ((double)y + 0.5) * step_y, shapes[i], s);
    return rows;
}

static status check_options(const spec *s)
{
    const spec_ssd *o = &s->ssd;
    if (o->scales.count != MAPS + 1)
        return FAIL(E_USAGE, "ssd.scales has %d values: expected %d, one per map and one for the greatest square",
            (int)o->scales.count, MAPS + 1);
    for (int32_t k = 0; k < MAPS; k++)
        if (o->scales.value[k] >= o->scales.value[k + 1])
            return FAIL(E_USAGE, "ssd.scales: expected ascending numbers");
    if (o->aspect_ratios.count < 1 || o->aspect_ratios.count > RATIOS_MAX)
        return FAIL(
            E_USAGE, "ssd.aspect_ratios has %d values: expected 1 to %d", (int)o->aspect_ratios.count, RATIOS_MAX);
    if (o->variances.count != 4)
        return FAIL(E_USAGE, "ssd.variances has %d values: expected 4", (int)o->variances.count);
    return OK;
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
static status find_maps(net *n, const model_stages *stages, const spec *s, edge_id map[MAPS])
{
    int32_t count = 0;
    for (int32_t i = 0; i < stages->count && count < MAPS; i++)
        if (stages->stage[i].stride >= FIRST_STRIDE) map[count++] = stages->stage[i].edge;
    if (count == 0)
        return FAIL(E_USAGE, "model.arch = %s: it has no map of stride %d or more", s->model.arch, FIRST_STRIDE);
    n->block = graph_last_block(n->g) + 1;
    /* Features without batch normalisation are of any size: scores made of them would be enormous (as the paper's
     * section 3.1 finds of conv4_3, which it scales to a norm of 20). */
    for (int32_t k = 0; k < count && !s->model.use_batch_norm; k++)
        TRY(net_batchnorm(n, &map[k], net_prefix(n, "ssd.norm.%d", k)));
    for (edge_id x = map[count - 1]; count < MAPS; count++) {
        TRY(add_map(n, &x, count, s->ssd.extra_channels));
        map[count] = x;
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ predictions */

static status reshape_to(net *n, edge_id *x, const char *name, shape s)
{
    reshape_attr attr = {.rank = s.rank};
    for (int32_t i = 0; i < s.rank; i++) attr.dim[i] = i == 0 ? -1 : s.dim[i];
    return graph_add(n->g, &op_reshape, name, &attr, x, 1, n->block, x);
}

/* [n, anchors, each] of all maps behind one another. */
static status predict(
    net *n, const edge_id map[MAPS], const int32_t anchors[MAPS], const char *what, int64_t each, edge_id *all)
{
    edge_id part[MAPS];
    for (int32_t k = 0; k < MAPS; k++) {
        const char *name = net_prefix(n, "ssd.%s.%d", what, k);
        shape s = n->g->edges[map[k]].shape;
        part[k] = map[k];
        TRY(net_conv(
            n, &part[k], name, (conv_shape){.out_channels = anchors[k] * each, .kernel = 3, .pad = 1, .bias = true}));
        TRY(reshape_to(
            n, &part[k], net_prefix(n, "%s.rows", name), shape_2(1, s.dim[1] * s.dim[2] * anchors[k] * each)));
    }
    TRY(net_concat(n, all, net_prefix(n, "ssd.%s.all", what), part, MAPS));
    int64_t count = n->g->edges[*all].shape.dim[1] / each;
    return reshape_to(n, all, net_prefix(n, "ssd.%s", what), (shape){3, {1, count, each}});
}

static status add_anchors(net *n, const edge_id map[MAPS], const spec *s, int64_t count, edge_id *e)
{
    *e = graph_edge(n->g, "ssd.anchors", EDGE_CONST, DTYPE_F32, shape_2(count, 4));
    if (*e == EDGE_NONE) return E_MEMORY;
    float *row = n->g->edges[*e].data;
    for (int32_t k = 0; k < MAPS; k++) row = put_anchors(row, n->g->edges[map[k]].shape, s, k);
    return OK;
}

status ssd_build(net *n, const model_stages *stages, const spec *s, int64_t classes)
{
    const spec_ssd *o = &s->ssd;
    edge_id map[MAPS], in[3];
    int32_t anchors[MAPS];
    anchor_shape shapes[SHAPES_MAX];
    ssd_head_attr attr = {.classes = classes,
        .capacity = s->detect.max_detections,
        .top_k = s->detect.nms_candidates,
        .threshold = (float)s->detect.score_threshold,
        .iou = (float)s->detect.nms_iou,
        .width = (int32_t)s->model.input_width,
        .height = (int32_t)s->model.input_height,
        .positive = (float)o->positive_iou,
        .negative = (float)o->negative_iou,
        .neg_pos_ratio = (float)o->neg_pos_ratio,
        .location_weight = (float)o->location_weight};
    TRY(check_options(s));
    for (int i = 0; i < 4; i++) attr.variance[i] = (float)o->variances.value[i];
    TRY(find_maps(n, stages, s, map));
    for (int32_t k = 0; k < MAPS; k++) anchors[k] = anchor_shapes(shapes, s, k);
    n->block = -1;
    TRY(predict(n, map, anchors, "location", 4, &in[0]));
    TRY(predict(n, map, anchors, "confidence", classes + 1, &in[1]));
    TRY(add_anchors(n, map, s, n->g->edges[in[0]].shape.dim[1], &in[2]));
    TRY(graph_add(n->g, &op_ssd_head, "ssd", &attr, in, 3, -1, &in[0]));
    return graph_output(n->g, in[0]);
}
