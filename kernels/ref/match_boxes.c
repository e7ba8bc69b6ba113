/* match_boxes.c: which box of the labels each prior stands for. */
#include "kernels/boxes.h"
#include "kernels/ref/ref.h"

#include <stdint.h>

static const char *match_boxes_refuse(const void *desc)
{
    const match_boxes_desc *d = desc;
    int64_t dim[] = {d->n, d->priors, d->capacity};
    if (!ref_dims_ok(dim, 3)) return "images, priors or boxes below 1 or too large";
    if (!(d->negative > 0 && d->negative <= d->positive && d->positive <= 1))
        return "not 0 < negative <= positive <= 1";
    return NULL;
}

/* One image. */
typedef struct match_image {
    const match_boxes_desc *desc;
    const float *priors, *boxes;
    const int32_t *box_class;
    int32_t *match;
    float *greatest; /* [count] IoU of any prior with a box */
    int64_t count;   /* rows of boxes before the end of the list */
} match_image;

/* A box's free prior of greatest IoU. */
typedef struct best_pair {
    float iou; /* 0: there is none, or the box is matched */
    int64_t prior;
} best_pair;

static best_pair best_prior(const match_image *m, int64_t box)
{
    best_pair best = {0, -1};
    for (int64_t p = 0; p < m->desc->priors && m->box_class[box] >= 0; p++) {
        float iou = m->match[p] == MATCH_BACKGROUND ? box_iou(m->priors + 4 * p, m->boxes + 4 * box) : 0;
        if (iou > best.iou) best = (best_pair){iou, p};
    }
    return best;
}

/* The best of all boxes' best pairs, again and again; who has lost its prior to another box looks for the next best. */
static void match_pairs(const match_image *m, best_pair *best)
{
    for (int64_t k = 0; k < m->count; k++) best[k] = best_prior(m, k);
    for (;;) {
        int64_t box = -1;
        for (int64_t k = 0; k < m->count; k++)
            if (best[k].iou > (box < 0 ? 0 : best[box].iou)) box = k;
        if (box < 0) return;
        int64_t prior = best[box].prior;
        m->match[prior] = (int32_t)box;
        best[box].iou = 0;
        for (int64_t k = 0; k < m->count; k++)
            if (best[k].iou > 0 && best[k].prior == prior) best[k] = best_prior(m, k);
    }
}

static int32_t match_of(const match_image *m, const float *prior)
{
    float best = 0;
    int32_t box = MATCH_BACKGROUND;
    bool covered = false, closest = false;
    for (int64_t k = 0; k < m->count; k++) {
        const float *other = m->boxes + 4 * k;
        float iou = m->box_class[k] >= 0 ? box_iou(prior, other) : 0;
        if (iou > best) best = iou, box = (int32_t)k;
        closest = closest || (m->desc->low_quality && iou > 0 && iou >= m->greatest[k]);
        if (m->box_class[k] != BOX_CLASS_IGNORE) continue;
        float common = box_common(prior, other);
        covered = covered || (common > 0 && common >= 0.5f * box_area(prior));
    }
    if (best >= m->desc->positive || closest) return box;
    return best >= m->desc->negative || covered ? MATCH_IGNORED : MATCH_BACKGROUND;
}

static size_t match_boxes_scratch(const void *desc, const void *state)
{
    (void)state;
    return (size_t)((const match_boxes_desc *)desc)->capacity * (sizeof(best_pair) + sizeof(float));
}

static status match_boxes_run(const kernel_call *call)
{
    const match_boxes_desc *d = call->desc;
    for (int64_t i = 0; i < d->n; i++) {
        match_image m = {.desc = d,
            .priors = call->in[0],
            .boxes = (const float *)call->in[1] + i * d->capacity * 4,
            .box_class = (const int32_t *)call->in[2] + i * d->capacity,
            .match = (int32_t *)call->out[0] + i * d->priors};
        while (m.count < d->capacity && m.box_class[m.count] != BOX_CLASS_NONE) m.count++;
        m.greatest = (float *)((best_pair *)call->scratch + d->capacity);
        for (int64_t p = 0; p < d->priors; p++) m.match[p] = MATCH_BACKGROUND;
        for (int64_t k = 0; k < m.count && d->low_quality; k++) m.greatest[k] = best_prior(&m, k).iou;
        if (d->bipartite) match_pairs(&m, call->scratch);
        for (int64_t p = 0; p < d->priors; p++)
            if (m.match[p] == MATCH_BACKGROUND) m.match[p] = match_of(&m, m.priors + 4 * p);
    }
    return OK;
}

const kernel match_boxes__ref_direct = {
    .op = OP_MATCH_BOXES,
    .backend = BACKEND_REF,
    .name = "match_boxes__ref_direct",
    .refuse = match_boxes_refuse,
    .scratch_bytes = match_boxes_scratch,
    .run = match_boxes_run,
};
