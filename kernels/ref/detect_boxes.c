/* detect_boxes.c: predictions of a single-stage detector as boxes, the best of those that overlap. */
#include "kernels/boxes.h"
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char *detect_boxes_refuse(const void *desc)
{
    const detect_boxes_desc *d = desc;
    int64_t dim[] = {d->n, d->priors, d->classes + 1, 6}, kept[] = {d->n, d->classes, d->capacity, 6};
    if (d->classes < 1 || d->classes >= 1 << 24 || d->priors > INT32_MAX || !ref_dims_ok(dim, 4) ||
        !ref_dims_ok(kept, 4))
        return "images, priors, classes or detections below 1 or too large";
    if (!ref_is_float(d->type)) return "the type is no float";
    if (!(d->threshold >= 0 && d->threshold <= 1 && d->iou >= 0 && d->iou <= 1))
        return "threshold or iou not in 0 .. 1";
    if (d->top_k < 1) return "top_k below 1";
    if (!(d->width > 0 && d->height > 0)) return "width or height not above 0";
    for (int i = 0; i < 4; i++)
        if (!(d->variance[i] > 0)) return "a variance is not above 0";
    return NULL;
}

typedef struct candidate {
    float score;
    int32_t box_class;
    int64_t prior;
} candidate;

/* Best first; of equal scores the lower class, then the lower prior. */
static int better(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->score > y->score || x->score < y->score) return x->score > y->score ? -1 : 1;
    if (x->box_class != y->box_class) return x->box_class < y->box_class ? -1 : 1;
    return x->prior < y->prior ? -1 : 1;
}

static void decode(const detect_boxes_desc *d, const void *location, int64_t first, const float *prior, float box[4])
{
    double offset[4];
    for (int i = 0; i < 4; i++) offset[i] = dtype_load(location, d->type, first + i);
    box_decode(prior, offset, d->variance, d->width, d->height, box);
}

/* Score of class k in a row of confidence. */
static float score_of(const detect_boxes_desc *d, const void *confidence, int64_t row, int64_t k)
{
    if (d->sigmoid) return (float)(1 / (1 + exp(-dtype_load(confidence, d->type, row * d->classes + k))));
    int64_t first = row * (d->classes + 1);
    double max = dtype_load(confidence, d->type, first), sum = 0;
    for (int64_t c = 1; c <= d->classes; c++) max = fmax(max, dtype_load(confidence, d->type, first + c));
    for (int64_t c = 0; c <= d->classes; c++) sum += exp(dtype_load(confidence, d->type, first + c) - max);
    return (float)(exp(dtype_load(confidence, d->type, first + k + 1) - max) / sum);
}

/* What is left of `count` candidates of one class, best first, in place. */
static int64_t suppress(const detect_boxes_desc *d, candidate *item, int64_t count, const float *boxes)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count && kept < d->capacity; i++) {
        bool good = true;
        for (int64_t k = 0; k < kept; k++)
            good = good && !(box_iou(boxes + 4 * item[k].prior, boxes + 4 * item[i].prior) > d->iou);
        if (good) item[kept++] = item[i];
    }
    return kept;
}

/* Scratch: boxes of an image, candidates of a class, the best of all classes. */
static size_t detect_boxes_scratch(const void *desc, const void *state)
{
    const detect_boxes_desc *d = desc;
    (void)state;
    return (size_t)(d->priors + d->classes * d->capacity) * sizeof(candidate) + (size_t)d->priors * 4 * sizeof(float);
}

static void detect_image(const detect_boxes_desc *d, const kernel_call *call, int64_t image)
{
    candidate *all = call->scratch, *item = all + d->classes * d->capacity;
    float *boxes = (float *)(item + d->priors), *out = (float *)call->out[0] + image * d->capacity * 6;
    int64_t found = 0;
    for (int64_t p = 0; p < d->priors; p++)
        decode(d, call->in[0], 4 * (image * d->priors + p), (const float *)call->in[2] + 4 * p, boxes + 4 * p);
    for (int64_t k = 0; k < d->classes; k++) {
        int64_t count = 0;
        for (int64_t p = 0; p < d->priors; p++) {
            float score = score_of(d, call->in[1], image * d->priors + p, k);
            if (score > d->threshold) item[count++] = (candidate){score, (int32_t)k, p};
        }
        qsort(item, (size_t)count, sizeof *item, better);
        count = suppress(d, item, count < d->top_k ? count : d->top_k, boxes);
        memcpy(all + found, item, (size_t)count * sizeof *item);
        found += count;
    }
    qsort(all, (size_t)found, sizeof *all, better);
    for (int64_t i = 0; i < d->capacity; i++, out += 6) {
        memset(out, 0, 6 * sizeof *out);
        out[5] = -1;
        if (i >= found) continue;
        memcpy(out, boxes + 4 * all[i].prior, 4 * sizeof *out);
        out[4] = all[i].score;
        out[5] = (float)all[i].box_class;
    }
}

static status detect_boxes_run(const kernel_call *call)
{
    const detect_boxes_desc *d = call->desc;
    for (int64_t i = 0; i < d->n; i++) detect_image(d, call, i);
    return OK;
}

const kernel detect_boxes__ref_direct = {
    .op = OP_DETECT_BOXES,
    .backend = BACKEND_REF,
    .name = "detect_boxes__ref_direct",
    .refuse = detect_boxes_refuse,
    .scratch_bytes = detect_boxes_scratch,
    .run = detect_boxes_run,
};
