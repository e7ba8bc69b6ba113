/* detect_boxes, f32: scores are judged in float first and only those that may count are computed in double, as the
 * definition wants them; boxes are decoded where a score counts. Bound by reading the scores. Pieces of rows collect
 * the best of each class, then each class of each image is walked. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/boxes.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/isa.h"

/* Rows of a piece: one thread's work. */
enum { ROWS = 2048 };

/* A score that float arithmetic finds this much too small may still be above the threshold. */
#define DOUBT 1e-4f

typedef struct detect_call {
    const detect_boxes_desc *desc;
    const float *location, *confidence, *priors;
    float *out;
    int64_t pieces, limit, list, walked; /* of an image; candidates of a class in a piece, in all; those of the walk */
    uint64_t *key;                       /* [n, classes, pieces, limit] */
    int64_t *count;                      /* [n, classes, pieces]; then [n, classes, 0]: boxes that are kept */
    float *boxes;                        /* [n, classes, 4, walked] */
} detect_call;

static const char *refuse(const void *desc)
{
    return ((const detect_boxes_desc *)desc)->type == DTYPE_F32 ? CPU_REFUSE() : "f32 only";
}

static void set_sizes(detect_call *c, const detect_boxes_desc *d)
{
    c->desc = d;
    c->pieces = (d->priors + ROWS - 1) / ROWS;
    c->limit = cpu_min(d->top_k, cpu_min(d->priors, ROWS));
    c->list = c->pieces * c->limit;
    c->walked = cpu_min(d->top_k, d->priors);
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    const detect_boxes_desc *d = desc;
    detect_call c;
    (void)state;
    set_sizes(&c, d);
    return (size_t)(d->n * d->classes) * ((size_t)(c.list + c.pieces) * 8 + (size_t)c.walked * 4 * sizeof(float));
}

/* ------------------------------------------------------------------------------------------------ candidates */

/* Greater is better: the score, of equal ones the lower prior. Scores above 0 are ordered as their bits are. */
static uint64_t key_of(float score, int64_t prior)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return (uint64_t)bits << 32 | (uint32_t)~(uint32_t)prior;
}

static int64_t prior_of(uint64_t key) { return (int64_t)(uint32_t)~(uint32_t)key; }

static float score_of(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

/* Puts x where the heap's root, its smallest key, was. */
static void heap_replace(uint64_t *heap, int64_t count, uint64_t x)
{
    int64_t at = 0;
    for (int64_t child = 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= x) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = x;
}

static void heap_add(uint64_t *heap, int64_t *count, int64_t limit, uint64_t x)
{
    if (*count == limit) {
        if (x > heap[0]) heap_replace(heap, limit, x);
        return;
    }
    int64_t at = (*count)++;
    for (; at > 0 && heap[(at - 1) / 2] > x; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = x;
}

static int64_t list_of(const detect_call *c, int64_t image, int64_t box_class, int64_t piece)
{
    return (image * c->desc->classes + box_class) * c->pieces + piece;
}

/* Whether a score that float arithmetic finds to be `about` this may be one of the list's best. */
static bool may_count(const detect_call *c, int64_t list, float about)
{
    return c->count[list] < c->limit || !(about * (1 + DOUBT) < score_of(c->key[list * c->limit]));
}

static void add_candidate(const detect_call *c, int64_t list, int64_t p, double score)
{
    if ((float)score > c->desc->threshold)
        heap_add(c->key + list * c->limit, &c->count[list], c->limit, key_of((float)score, p));
}

/* Logits below this have sigmoids that do not count. */
static float least_logit(double threshold)
{
    return threshold > 0 && threshold < 1 ? (float)log(threshold / (1 - threshold))
                                          : (threshold > 0 ? 15.0f : -INFINITY);
}

static void collect_sigmoids(const detect_call *c, int64_t image, int64_t piece)
{
    const detect_boxes_desc *d = c->desc;
    float least = least_logit((double)d->threshold);
    int64_t end = cpu_min((piece + 1) * ROWS, d->priors);
    for (int64_t p = piece * ROWS; p < end; p++) {
        const float *x = c->confidence + (image * d->priors + p) * d->classes;
        int any = 0;
        _Pragma("omp simd reduction(| : any)") for (int64_t k = 0; k < d->classes; k++) any |= x[k] >= least;
        for (int64_t k = 0; any && k < d->classes; k++) {
            int64_t list = list_of(c, image, k, piece);
            if (x[k] >= least && may_count(c, list, cpu_sigmoid(x[k])))
                add_candidate(c, list, p, 1 / (1 + exp(-(double)x[k])));
        }
    }
}

/* The sum of a row's exponentials as the definition has it. */
static double exact_sum(const float *x, int64_t channels, double *max)
{
    double sum = 0;
    *max = (double)x[0];
    for (int64_t k = 1; k < channels; k++) *max = fmax(*max, (double)x[k]);
    for (int64_t k = 0; k < channels; k++) sum += exp((double)x[k] - *max);
    return sum;
}

static void collect_softmax(const detect_call *c, int64_t image, int64_t piece)
{
    const detect_boxes_desc *d = c->desc;
    int64_t end = cpu_min((piece + 1) * ROWS, d->priors), channels = d->classes + 1;
    for (int64_t p = piece * ROWS; p < end; p++) {
        const float *x = c->confidence + (image * d->priors + p) * channels;
        float best = x[1], max, sum = 0;
        _Pragma("omp simd reduction(max : best)") for (int64_t k = 2; k < channels; k++)
            best = x[k] > best ? x[k] : best;
        max = best > x[0] ? best : x[0];
        _Pragma("omp simd reduction(+ : sum)") for (int64_t k = 0; k < channels; k++) sum += cpu_exp(x[k] - max);
        float least = d->threshold * sum * (1 - DOUBT);
        if (cpu_exp(best - max) < least) continue; /* not so where there is a NaN */
        double exact_max, exact = exact_sum(x, channels, &exact_max);
        for (int64_t k = 0; k < d->classes; k++) {
            int64_t list = list_of(c, image, k, piece);
            float part = cpu_exp(x[k + 1] - max);
            if (!(part < least) && may_count(c, list, part / sum))
                add_candidate(c, list, p, exp((double)x[k + 1] - exact_max) / exact);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ suppression */

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

/* Brings the `wanted` greatest keys to the front (Hoare's quickselect). */
static void select_best(uint64_t *key, int64_t all, int64_t wanted)
{
    int64_t low = 0, high = all - 1;
    while (low < high) {
        uint64_t pivot = key[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (key[i] > pivot) i++;
            while (key[j] < pivot) j--;
            if (i > j) break;
            uint64_t swapped = key[i];
            key[i++] = key[j];
            key[j--] = swapped;
        }
        if (wanted <= j) high = j;
        else if (wanted >= i) low = i;
        else return;
    }
}

/* The best candidates of a class, best first; their number. */
static int64_t gather(const detect_call *c, int64_t row)
{
    uint64_t *key = c->key + row * c->list;
    int64_t all = 0, *count = c->count + row * c->pieces;
    for (int64_t k = 0; k < c->pieces; all += count[k++])
        memmove(key + all, key + k * c->limit, (size_t)count[k] * sizeof *key);
    int64_t walked = cpu_min(all, c->walked);
    if (walked < all) select_best(key, all, walked);
    qsort(key, (size_t)walked, sizeof *key, compare_keys);
    return walked;
}

static void decode(const detect_call *c, int64_t image, int64_t p, float box[4])
{
    const detect_boxes_desc *d = c->desc;
    const float *x = c->location + 4 * (image * d->priors + p);
    const double offset[4] = {(double)x[0], (double)x[1], (double)x[2], (double)x[3]};
    box_decode(c->priors + 4 * p, offset, d->variance, d->width, d->height, box);
}

/* Whether one of `count` boxes, side by side in four arrays, overlaps `box` by more than `iou` (box_iou). */
static bool overlaps(const float *boxes, int64_t stride, int64_t count, const float box[4], float iou)
{
    const float *left = boxes, *top = boxes + stride, *right = boxes + 2 * stride, *bottom = boxes + 3 * stride;
    float area = box_area(box);
    for (int64_t first = 0; first < count; first += 64) {
        int64_t some = cpu_min(first + 64, count);
        int any = 0;
        _Pragma("omp simd reduction(| : any)") for (int64_t k = first; k < some; k++)
        {
            float x0 = left[k] > box[0] ? left[k] : box[0], y0 = top[k] > box[1] ? top[k] : box[1];
            float x1 = right[k] < box[2] ? right[k] : box[2], y1 = bottom[k] < box[3] ? bottom[k] : box[3];
            float width = x1 - x0, height = y1 - y0, common = width * height;
            float both = (right[k] - left[k]) * (bottom[k] - top[k]) + area - common, part = common / both;
            any |= (width > 0) & (height > 0) & (common > 0) & (part > 0) & (part > iou);
        }
        if (any) return true;
    }
    return false;
}

/* Leaves the kept keys in front of the list, best first, and their boxes in front of the boxes. */
static void walk_class(const detect_call *c, int64_t row)
{
    const detect_boxes_desc *d = c->desc;
    uint64_t *key = c->key + row * c->list;
    float *boxes = c->boxes + row * 4 * c->walked;
    int64_t count = gather(c, row), kept = 0;
    for (int64_t k = 0; k < count && kept < d->capacity; k++) {
        float box[4];
        decode(c, row / d->classes, prior_of(key[k]), box);
        if (overlaps(boxes, c->walked, kept, box, d->iou)) continue;
        key[kept] = key[k];
        for (int i = 0; i < 4; i++) boxes[i * c->walked + kept] = box[i];
        kept++;
    }
    c->count[row * c->pieces] = kept;
}

/* The best of the lists' heads, again and again. */
static void merge_image(const detect_call *c, int64_t image)
{
    const detect_boxes_desc *d = c->desc;
    float *out = c->out + image * d->capacity * 6;
    int64_t first = image * d->classes;
    for (int64_t i = 0; i < d->capacity; i++, out += 6) {
        int64_t best = -1;
        for (int64_t row = first; row < first + d->classes; row++) {
            const uint64_t *key = c->key + row * c->list;
            if (c->count[row * c->pieces] && (best < 0 || key[0] >> 32 > c->key[best * c->list] >> 32)) best = row;
        }
        memset(out, 0, 6 * sizeof *out);
        out[5] = -1;
        if (best < 0) continue;
        uint64_t *key = c->key + best * c->list;
        decode(c, image, prior_of(key[0]), out);
        out[4] = score_of(key[0]);
        out[5] = (float)(best - first);
        memmove(key, key + 1, (size_t)--c->count[best * c->pieces] * sizeof *key);
    }
}

static status run(const kernel_call *call)
{
    const detect_boxes_desc *d = call->desc;
    detect_call c = {.location = call->in[0], .confidence = call->in[1], .priors = call->in[2], .out = call->out[0],
        .key = call->scratch};
    set_sizes(&c, d);
    int64_t rows = d->n * d->classes;
    c.count = (int64_t *)(c.key + rows * c.list);
    c.boxes = (float *)(c.count + rows * c.pieces);
    memset(c.count, 0, (size_t)(rows * c.pieces) * sizeof *c.count);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < d->n * c.pieces; i++) {
        if (d->sigmoid) collect_sigmoids(&c, i / c.pieces, i % c.pieces);
        else collect_softmax(&c, i / c.pieces, i % c.pieces);
    }
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < rows; i++) walk_class(&c, i);
    for (int64_t i = 0; i < d->n; i++) merge_image(&c, i);
    return OK;
}

CPU_KERNEL(detect_boxes, OP_DETECT_BOXES, .refuse = refuse, .scratch_bytes = scratch_bytes, .run = run);
