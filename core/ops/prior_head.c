#include "core/ops/prior_head.h"

#include <inttypes.h>
#include <string.h>

#include "core/graph/transform.h"

enum { LOCATION = PRIOR_HEAD_LOCATION, CONFIDENCE = PRIOR_HEAD_CONFIDENCE, PRIORS = PRIOR_HEAD_PRIORS };

status prior_head_infer(graph *g, const node *n, const prior_head_attr *a, int32_t backgrounds)
{
    TRY(infer_is_detector(g, n, backgrounds));
    shape s = infer_in(g, n, CONFIDENCE)->shape;
    if (s.dim[2] != a->classes + backgrounds)
        return infer_fail(n, "%" PRId64 " classes%s are no %" PRId64 " channels, as input %d has", a->classes,
            backgrounds ? " and a background" : "", s.dim[2], CONFIDENCE);
    if (a->negative > a->positive)
        return infer_fail(n, "negative %g is above positive %g", (double)a->negative, (double)a->positive);
    int64_t lists = 0;
    if (__builtin_mul_overflow(s.dim[0] * a->classes, a->capacity * 6, &lists) || lists > (int64_t)1 << 40)
        return infer_fail(n, "%" PRId64 " images, %" PRId64 " classes and capacity %" PRId64 " are too many", s.dim[0],
            a->classes, a->capacity);
    return infer_out(g, n, 0, DTYPE_F32, (shape){3, {s.dim[0], a->capacity, 6}});
}

status prior_head_describe(const graph *g, const node *n, const prior_head_attr *a, kernel_binding *b)
{
    const edge *location = infer_in(g, n, LOCATION);
    shape scores = infer_in(g, n, CONFIDENCE)->shape;
    detect_boxes_desc *d = &b->desc.detect_boxes;
    b->op = OP_DETECT_BOXES;
    *d = (detect_boxes_desc){.n = location->shape.dim[0],
        .priors = location->shape.dim[1],
        .classes = a->classes,
        .capacity = a->capacity,
        .type = location->type,
        .sigmoid = scores.dim[2] == a->classes,
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

status prior_head_add_loss(graph *g, const node *head, const prior_head_attr *attr, bool low_quality, const op *loss,
    const void *its_attr, edge_id loss_scale, loss_terms *terms)
{
    static const char *const tags[] = {"loss", "loss_box", "loss_class", "positives"};
    const node n = *head;               /* copies: the array of nodes grows */
    const prior_head_attr a = *attr;
    const match_boxes_attr match = {
        .positive = a.positive, .negative = a.negative, .bipartite = !low_quality, .low_quality = low_quality};
    int64_t images = g->edges[n.in[LOCATION]].shape.dim[0], capacity = a.label_capacity;
    edge_id matched, total;
    if (capacity < 1) return FAIL(E_INTERNAL, "node '%s' (%s): label_capacity is not set", n.name, n.op->name);
    if (terms->count + 4 > TERM_MAX)
        return FAIL(E_MODEL, "node '%s' (%s): more than %d terms", n.name, n.op->name, TERM_MAX);
    edge_id boxes = graph_input(g, "boxes", DTYPE_F32, (shape){3, {images, capacity, 4}});
    edge_id box_class = graph_input(g, "box_class", DTYPE_I32, shape_2(images, capacity));
    if (boxes == EDGE_NONE || box_class == EDGE_NONE) return E_MEMORY;
    TRY(append(g, &n, &op_match_boxes, "match", &match, (edge_id[]){n.in[PRIORS], boxes, box_class}, 3, &matched));
    const edge_id in[] = {n.in[LOCATION], n.in[CONFIDENCE], n.in[PRIORS], boxes, box_class, matched, loss_scale};
    TRY(append(g, &n, loss, "loss", its_attr, in, loss_scale == EDGE_NONE ? 6 : 7, &total));
    const node *made = &g->nodes[g->edges[total].producer];
    for (int32_t i = 0; i < 4; i++)
        terms->item[terms->count++] =
            (loss_term){.edge = made->out[i], .tag = tags[i], .label = i == 0 ? "loss" : NULL, .trained = i == 0};
    return OK;
}
