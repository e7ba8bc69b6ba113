#include <inttypes.h>
#include <string.h>

#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"
#include "core/ops/terms.h"

/* The end of a single-stage detector: predictions become boxes; in training, a loss. */

enum { LOCATION, CONFIDENCE, PRIORS };

#define FIELD_OF(name, type, count, low, high)                                                                         \
    {                                                                                                                  \
#name, type, offsetof(ssd_head_attr, name), count, low, high, NULL                                             \
    }
static const op_field fields[] = {
    FIELD_OF(classes, FIELD_INT64, 1, 1, SIZE_LIMIT),
    FIELD_OF(capacity, FIELD_INT64, 1, 1, SIZE_LIMIT),
    FIELD_OF(label_capacity, FIELD_INT64, 1, 0, SIZE_LIMIT),
    FIELD_OF(top_k, FIELD_INT64, 1, 1, SIZE_LIMIT),
    FIELD_OF(threshold, FIELD_FLOAT, 1, 0, 1),
    FIELD_OF(iou, FIELD_FLOAT, 1, 0, 1),
    FIELD_OF(variance, FIELD_FLOAT, 4, LEAST_VARIANCE, FLOAT_LIMIT),
    FIELD_OF(width, FIELD_INT32, 1, 1, SIZE_LIMIT),
    FIELD_OF(height, FIELD_INT32, 1, 1, SIZE_LIMIT),
    FIELD_OF(positive, FIELD_FLOAT, 1, LEAST_IOU, 1),
    FIELD_OF(negative, FIELD_FLOAT, 1, LEAST_IOU, 1),
    FIELD_OF(neg_pos_ratio, FIELD_FLOAT, 1, 0, SIZE_LIMIT),
    FIELD_OF(location_weight, FIELD_FLOAT, 1, 0, FLOAT_LIMIT),
    FIELDS_END,
};
#undef FIELD_OF

static status infer(graph *g, node *n)
{
    const ssd_head_attr *a = n->attr;
    TRY(infer_is_detector(g, n));
    shape s = infer_in(g, n, CONFIDENCE)->shape;
    if (s.dim[2] != a->classes + 1)
        return infer_fail(n, "%" PRId64 " classes and a background are no %" PRId64 " channels, as input %d has",
            a->classes, s.dim[2], CONFIDENCE);
    if (a->negative > a->positive)
        return infer_fail(n, "negative %g is above positive %g", (double)a->negative, (double)a->positive);
    int64_t lists = 0;
    if (__builtin_mul_overflow(s.dim[0] * a->classes, a->capacity * 6, &lists) || lists > (int64_t)1 << 40)
        return infer_fail(n, "%" PRId64 " images, %" PRId64 " classes and capacity %" PRId64 " are too many", s.dim[0],
            a->classes, a->capacity);
    return infer_out(g, n, 0, DTYPE_F32, (shape){3, {s.dim[0], a->capacity, 6}});
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const ssd_head_attr *a = n->attr;
    const edge *location = infer_in(g, n, LOCATION);
    detect_boxes_desc *d = &b->desc.detect_boxes;
    b->op = OP_DETECT_BOXES;
    *d = (detect_boxes_desc){.n = location->shape.dim[0],
        .priors = location->shape.dim[1],
        .classes = a->classes,
        .capacity = a->capacity,
        .type = location->type,
        .threshold = a->threshold,
        .iou = a->iou,
        .top_k = a->top_k,
        .width = (float)a->width,
        .height = (float)a->height};
    memcpy(d->variance, a->variance, sizeof d->variance);
    for (int32_t i = 0; i < n->in_count; i++) b->in[i] = n->in[i];
    b->out[0] = n->out[0];
    return OK;
}

/* Appends node "NAME/suffix" of the head; its first output. */
static status append(graph *g, const node *n, const op *o, const char *suffix, const void *attr, const edge_id *in,
    int32_t count, edge_id *out)
{
    char *name;
    TRY_ALLOC(name, arena_printf(&g->memory, "%s/%s", n->name, suffix));
    return graph_add(g, o, name, attr, in, count, n->block, out);
}

static status add_loss(graph *g, const node *head, double grad_scale, edge_id loss_scale, loss_terms *terms)
{
    static const char *const tags[] = {"loss", "loss_box", "loss_class", "positives"};
    const node n = *head; /* a copy: the array grows */
    const ssd_head_attr *a = n.attr;
    const match_boxes_attr match = {.positive = a->positive, .negative = a->negative, .bipartite = true};
    multibox_loss_attr loss = {
        .neg_pos_ratio = a->neg_pos_ratio, .location_weight = a->location_weight, .grad_scale = (float)grad_scale};
    int64_t images = g->edges[n.in[LOCATION]].shape.dim[0], capacity = a->label_capacity;
    edge_id matched, total;
    if (capacity < 1) return FAIL(E_INTERNAL, "node '%s' (%s): label_capacity is not set", n.name, n.op->name);
    if (terms->count + 4 > TERM_MAX)
        return FAIL(E_MODEL, "node '%s' (%s): more than %d terms", n.name, n.op->name, TERM_MAX);
    edge_id boxes = graph_input(g, "boxes", DTYPE_F32, (shape){3, {images, capacity, 4}});
    edge_id box_class = graph_input(g, "box_class", DTYPE_I32, shape_2(images, capacity));
    if (boxes == EDGE_NONE || box_class == EDGE_NONE) return E_MEMORY;
    memcpy(loss.variance, a->variance, sizeof loss.variance);
    TRY(append(g, &n, &op_match_boxes, "match", &match, (edge_id[]){n.in[PRIORS], boxes, box_class}, 3, &matched));
    const edge_id in[] = {n.in[LOCATION], n.in[CONFIDENCE], n.in[PRIORS], boxes, box_class, matched, loss_scale};
    TRY(append(g, &n, &op_multibox_loss, "loss", &loss, in, loss_scale == EDGE_NONE ? 6 : 7, &total));
    const node *made = &g->nodes[g->edges[total].producer];
    for (int32_t i = 0; i < 4; i++)
        terms->item[terms->count++] =
            (loss_term){.edge = made->out[i], .tag = tags[i], .label = i == 0 ? "loss" : NULL, .trained = i == 0};
    return OK;
}

const op op_ssd_head = {.name = "ssd_head",
    .attr_bytes = sizeof(ssd_head_attr),
    .fields = fields,
    .in_min = 3,
    .in_max = 3,
    .out_min = 1,
    .out_count = 1,
    .head_in = 1u << LOCATION | 1u << CONFIDENCE,
    .class_in = 1u << CONFIDENCE,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe,
    .add_loss = add_loss};
