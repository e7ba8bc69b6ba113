#include "models/parts/anchors.h"

#include <math.h>

anchor_map anchor_map_of(const net *n, edge_id e)
{
    shape s = n->g->edges[e].shape;
    return (anchor_map){.height = s.dim[1],
        .width = s.dim[2],
        .step_x = (double)n->options->input_width / (double)s.dim[2],
        .step_y = (double)n->options->input_height / (double)s.dim[1],
        .offset = 0.5};
}

void anchor_add_shapes(anchor_map *m, double side, double square, const float_list *ratios, int64_t octaves)
{
    for (int64_t i = 0; i < ratios->count; i++) {
        double root = sqrt(ratios->value[i]);
        for (int64_t k = 0; k < octaves; k++) {
            double octave = side * pow(2, (double)k / (double)octaves);
            m->shape[m->count++] = (anchor_shape){octave * root, octave / root};
        }
        if (ratios->value[i] == 1 && square > 0) m->shape[m->count++] = (anchor_shape){square, square};
    }
}

status anchor_check_list(const char *key, const float_list *values, int64_t least, int64_t most, bool ascending)
{
    if (values->count < least || values->count > most) {
        if (least == most)
            return FAIL(E_USAGE, "%s has %d values: expected %d", key, (int)values->count, (int)least);
        return FAIL(
            E_USAGE, "%s has %d values: expected %d to %d", key, (int)values->count, (int)least, (int)most);
    }
    for (int64_t k = 1; ascending && k < values->count; k++)
        if (values->value[k - 1] >= values->value[k]) return FAIL(E_USAGE, "%s: expected ascending numbers", key);
    return OK;
}

static void put_anchor(float box[4], double x, double y, anchor_shape a, const spec_model *clip_to)
{
    const double corner[4] = {x - a.width / 2, y - a.height / 2, x + a.width / 2, y + a.height / 2};
    for (int i = 0; i < 4; i++) {
        double limit = !clip_to ? INFINITY : (double)(i % 2 ? clip_to->input_height : clip_to->input_width);
        box[i] = (float)(clip_to ? fmin(fmax(corner[i], 0), limit) : corner[i]);
    }
}

/* The anchors of a map; returns the row behind them. */
static float *put_anchors(float *row, const anchor_map *m, const spec_model *clip_to)
{
    for (int64_t y = 0; y < m->height; y++)
        for (int64_t x = 0; x < m->width; x++)
            for (int32_t i = 0; i < m->count; i++, row += 4)
                put_anchor(row, ((double)x + m->offset) * m->step_x, ((double)y + m->offset) * m->step_y, m->shape[i],
                    clip_to);
    return row;
}

status net_anchors(net *n, edge_id *e, const char *name, const anchor_map *maps, int32_t count, bool clip)
{
    int64_t rows = 0;
    for (int32_t k = 0; k < count; k++) rows += maps[k].height * maps[k].width * maps[k].count;
    *e = graph_edge(n->g, name, EDGE_CONST, DTYPE_F32, shape_2(rows, 4));
    if (*e == EDGE_NONE) return FAIL_MEMORY(rows * 4 * sizeof(float));
    float *row = n->g->edges[*e].data;
    for (int32_t k = 0; k < count; k++) row = put_anchors(row, &maps[k], clip ? n->options : NULL);
    return OK;
}

static status reshape_to(net *n, edge_id *x, const char *name, shape s)
{
    reshape_attr attr = {.rank = s.rank};
    for (int32_t i = 0; i < s.rank; i++) attr.dim[i] = i == 0 ? -1 : s.dim[i];
    return graph_add(n->g, &op_reshape, name, &attr, x, 1, n->block, x);
}

status net_anchor_rows(net *n, edge_id *all, const char *name, const edge_id *predictions, int32_t count, int64_t each)
{
    edge_id part[MODEL_MAX_STAGES];
    if (count > MODEL_MAX_STAGES) return FAIL(E_INTERNAL, "%d maps are more than %d", (int)count, MODEL_MAX_STAGES);
    for (int32_t k = 0; k < count; k++) {
        shape s = n->g->edges[predictions[k]].shape;
        part[k] = predictions[k];
        TRY(reshape_to(
            n, &part[k], net_prefix(n, "%s.%d.rows", name, k), shape_2(1, s.dim[1] * s.dim[2] * s.dim[3])));
    }
    TRY(net_concat(n, all, net_prefix(n, "%s.all", name), part, count));
    return reshape_to(n, all, name, (shape){3, {1, n->g->edges[*all].shape.dim[1] / each, each}});
}

prior_head_attr anchor_head(const spec *s, int64_t classes, const float_list *variances)
{
    prior_head_attr a = {.classes = classes,
        .capacity = s->detect.max_detections,
        .top_k = s->detect.nms_candidates,
        .threshold = (float)s->detect.score_threshold,
        .iou = (float)s->detect.nms_iou,
        .width = (int32_t)s->model.input_width,
        .height = (int32_t)s->model.input_height};
    for (int i = 0; i < 4; i++) a.variance[i] = (float)variances->value[i];
    return a;
}
