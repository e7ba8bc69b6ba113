#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/boxes.h"
#include "core/task/detect/detect.h"

/* The criterion is the mean average precision over the classes that have objects. */
int32_t detect_figures(const task_setting *t, figure f[FIGURE_MAX])
{
    (void)t;
    f[0] = (figure){"val/map", "mAP", true};
    return 1;
}

status detect_score_create(task_score **out, const task_setting *t, int64_t worst)
{
    detect_score *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return FAIL_MEMORY(sizeof *s);
    s->setting = t;
    s->poor_capacity = worst;
    s->objects = calloc((size_t)t->class_count + 1, sizeof *s->objects);
    s->average = calloc((size_t)t->class_count + 1, sizeof *s->average);
    s->poor = calloc((size_t)worst + 1, sizeof *s->poor);
    if (!s->objects || !s->average || !s->poor) {
        detect_score_destroy((task_score *)s);
        return FAIL_MEMORY((t->class_count + worst) * sizeof *s->poor);
    }
    *out = (task_score *)s;
    return OK;
}

void detect_score_reset(task_score *score)
{
    detect_score *s = detect_score_of(score);
    memset(s->objects, 0, (size_t)s->setting->class_count * sizeof *s->objects);
    for (int64_t i = 0; i < s->poor_count; i++) free(s->poor[i].object);
    s->images = s->ranked_count = s->poor_count = 0;
}

void detect_score_destroy(task_score *score)
{
    detect_score *s = detect_score_of(score);
    if (!s) return;
    if (s->objects) detect_score_reset(score);
    free(s->objects);
    free(s->average);
    free(s->poor);
    free(s->ranked);
    free(s);
}

/* ------------------------------------------------------------------------------------------------ one image */

/* An object to be found. */
typedef struct truth {
    label_box box;
    bool taken, taken_at_threshold;
} truth;

/* One image being judged. */
typedef struct judged_image {
    const sample *sample;
    int64_t index;
    truth *truth;         /* [truth_count] */
    found_object *object; /* [object_count] best first */
    int64_t truth_count, object_count;
} judged_image;

static double box_area(const float b[4])
{
    return fmax((double)b[2] - (double)b[0], 0) * fmax((double)b[3] - (double)b[1], 0);
}

static double overlap(const float a[4], const label_box *b)
{
    const float other[4] = {b->x0, b->y0, b->x1, b->y1};
    const float both[4] = {fmaxf(a[0], other[0]), fmaxf(a[1], other[1]), fminf(a[2], other[2]), fminf(a[3], other[3])};
    double common = box_area(both), all = box_area(a) + box_area(other) - common;
    return both[2] > both[0] && both[3] > both[1] && all > 0 ? common / all : 0;
}

/* The object of its class that a detection overlaps most, if by evaluate.iou; NULL: none. */
static truth *match(const detect_score *s, const judged_image *im, const found_object *f)
{
    truth *best = NULL;
    double most = s->setting->spec->evaluate.iou;
    for (int64_t i = 0; i < im->truth_count; i++) {
        if (im->truth[i].box.class_index != f->class_index) continue;
        double iou = overlap(f->box, &im->truth[i].box);
        if (iou < most || (best && iou <= most)) continue;
        most = iou;
        best = &im->truth[i];
    }
    return best;
}

static status keep_detection(detect_score *s, const judged_image *im, int64_t place, bool hit)
{
    if (s->ranked_count == s->ranked_capacity) {
        int64_t capacity = s->ranked_capacity ? 2 * s->ranked_capacity : 1024;
        ranked_detection *grown = realloc(s->ranked, (size_t)capacity * sizeof *grown);
        if (!grown) return FAIL_MEMORY(capacity * sizeof *grown);
        s->ranked = grown;
        s->ranked_capacity = capacity;
    }
    s->ranked[s->ranked_count++] =
        (ranked_detection){im->object[place].score, im->object[place].class_index, im->index, place, hit};
    return OK;
}

/* The development kits' rule: of the detections on an object the best counts, others are false; one on an object that
 * is to be ignored (difficult) counts for nothing. *mistakes: false ones of at least infer.threshold, and objects that
 * nothing of that score has found. */
static status judge(detect_score *s, judged_image *im, int64_t *mistakes)
{
    float threshold = (float)s->setting->spec->infer.threshold;
    *mistakes = 0;
    for (int64_t k = 0; k < im->object_count; k++) {
        truth *t = match(s, im, &im->object[k]);
        if (t && t->box.ignore) continue;
        bool hit = t && !t->taken, counts = im->object[k].score >= threshold;
        TRY(keep_detection(s, im, k, hit));
        if (hit) t->taken = true, t->taken_at_threshold = counts;
        *mistakes += counts && !hit;
    }
    for (int64_t i = 0; i < im->truth_count; i++) {
        if (im->truth[i].box.ignore) continue;
        s->objects[im->truth[i].box.class_index]++;
        *mistakes += !im->truth[i].taken_at_threshold;
    }
    return OK;
}

/* Labels outside the image, or of no class, are nothing to be found; boxes end at the
 * image's edge, as detections do. */
static status collect_objects(judged_image *im, int32_t width, int32_t height, arena *a)
{
    TRY_ALLOC(im->truth, ARENA_ARRAY(a, truth, im->sample->box_count + 1));
    for (int64_t i = 0; i < im->sample->box_count; i++) {
        label_box b = im->sample->box[i];
        if (b.class_index < 0 || box_clip(&b, width, height) >= BOX_OUTSIDE) continue;
        im->truth[im->truth_count++] = (truth){.box = b};
    }
    return OK;
}

/* Insertion into a short list, in the order of the images where mistakes are equal. */
static status keep_poor(detect_score *s, const judged_image *im, int64_t mistakes)
{
    int64_t at = s->poor_count, shown = 0;
    float threshold = (float)s->setting->spec->infer.threshold;
    while (at > 0 && mistakes > s->poor[at - 1].mistakes) at--;
    if (mistakes == 0 || at == s->poor_capacity) return OK;
    while (shown < im->object_count && im->object[shown].score >= threshold) shown++;
    found_object *copy = malloc((size_t)(shown + 1) * sizeof *copy);
    if (!copy) return FAIL_MEMORY((shown + 1) * sizeof *copy);
    memcpy(copy, im->object, (size_t)shown * sizeof *copy);
    if (s->poor_count < s->poor_capacity) s->poor_count++;
    else free(s->poor[s->poor_count - 1].object);
    memmove(s->poor + at + 1, s->poor + at, (size_t)(s->poor_count - 1 - at) * sizeof *s->poor);
    s->poor[at] = (poor_image){im->index, mistakes, copy, shown};
    return OK;
}

static status add_image(detect_score *s, const batch *b, int64_t i, const task_output *output, arena *a)
{
    judged_image im = {.index = b->sample_index[i]};
    int64_t most = output->each / DETECTION_SIZE, mistakes;
    const image_frame frame = {b->size[i][0], b->size[i][1], b->to_input + 9 * i};
    im.sample = &s->setting->data->samples[im.index];
    TRY_ALLOC(im.object, ARENA_ARRAY(a, found_object, most));
    im.object_count =
        detect_objects(output->value + i * output->each, most, 0, s->setting->class_count, &frame, im.object);
    TRY(collect_objects(&im, frame.width, frame.height, a));
    TRY(judge(s, &im, &mistakes));
    s->images++;
    return keep_poor(s, &im, mistakes);
}

status detect_score_add(task_score *score, const batch *b, const task_output *output)
{
    for (int64_t i = 0; i < b->count; i++) {
        arena a = {0};
        status result = add_image(detect_score_of(score), b, i, &output[0], &a);
        arena_free(&a);
        TRY(result);
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ all of them */

/* Sums over the ranks of `count` numbers of which each rank has some and zeros elsewhere. */
static status share(comm *c, double *numbers, int64_t count)
{
    enum { AT_ONCE = 1 << 16 };
    for (int64_t i = 0; i < count; i += AT_ONCE)
        TRY(comm_all_reduce_host(c, numbers + i, count - i < AT_ONCE ? count - i : AT_ONCE));
    return OK;
}

enum { NUMBERS = 5 }; /* of a detection */

static void write_numbers(double *n, const ranked_detection *d)
{
    n[0] = (double)d->score, n[1] = d->class_index, n[2] = (double)d->sample, n[3] = (double)d->place, n[4] = d->hit;
}

static ranked_detection read_numbers(const double *n)
{
    return (ranked_detection){(float)n[0], (int32_t)n[1], (int64_t)n[2], (int64_t)n[3], n[4] != 0};
}

/* All ranks' detections, in the order of the ranks; every number is exact in a double. */
static status gather(detect_score *s, comm *c, const double *counts, double total)
{
    int64_t before = 0, all = (int64_t)total;
    double *numbers = calloc((size_t)all * NUMBERS + 1, sizeof *numbers);
    ranked_detection *ranked = malloc(((size_t)all + 1) * sizeof *ranked);
    status result = numbers && ranked ? OK : FAIL_MEMORY(all * sizeof *ranked);
    for (int32_t r = 0; r < c->rank; r++) before += (int64_t)counts[r];
    for (int64_t i = 0; i < s->ranked_count && result == OK; i++)
        write_numbers(numbers + (before + i) * NUMBERS, &s->ranked[i]);
    if (result == OK) result = share(c, numbers, all * NUMBERS);
    for (int64_t i = 0; i < all && result == OK; i++) ranked[i] = read_numbers(numbers + i * NUMBERS);
    free(numbers);
    if (result != OK) {
        free(ranked);
        return result;
    }
    free(s->ranked);
    s->ranked = ranked;
    s->ranked_count = all;
    s->ranked_capacity = all + 1;
    return OK;
}

/* The images with most mistakes stay each rank's own. */
status detect_score_merge(task_score *score, comm *c)
{
    detect_score *s = detect_score_of(score);
    int64_t classes = s->setting->class_count, count = c->world + classes + 1;
    double total = 0, *sums = calloc((size_t)count, sizeof *sums);
    if (!sums) return FAIL_MEMORY(count * sizeof *sums);
    sums[c->rank] = (double)s->ranked_count;
    for (int64_t k = 0; k < classes; k++) sums[c->world + k] = (double)s->objects[k];
    sums[count - 1] = (double)s->images;
    status result = share(c, sums, count);
    for (int32_t r = 0; r < c->world; r++) total += sums[r];
    for (int64_t k = 0; k < classes && result == OK; k++) s->objects[k] = (int64_t)sums[c->world + k];
    if (result == OK) s->images = (int64_t)sums[count - 1];
    if (result == OK) result = gather(s, c, sums, total);
    free(sums);
    return result;
}

/* Precision and recall of the detections that users see. */
static void count_shown(class_average *a, const ranked_detection *d, float threshold)
{
    int64_t shown = 0, hits = 0;
    for (; shown < a->detections && d[shown].score >= threshold; shown++) hits += d[shown].hit;
    a->precision = shown > 0 ? (double)hits / (double)shown : NAN;
    a->recall = a->objects > 0 ? (double)hits / (double)a->objects : NAN;
}

const class_average *detect_averages(const detect_score *s)
{
    const spec *o = s->setting->spec;
    const ranked_detection *d = s->ranked, *end = d + s->ranked_count;
    detections_rank(s->ranked, s->ranked_count);
    for (int64_t k = 0; k < s->setting->class_count; k++) {
        class_average *a = &s->average[k];
        *a = (class_average){.objects = s->objects[k]};
        while (d + a->detections < end && d[a->detections].class_index == k) a->detections++;
        a->average_precision =
            average_precision(d, a->detections, a->objects, o->evaluate.average_precision == AVERAGE_PRECISION_SAMPLE);
        count_shown(a, d, (float)o->infer.threshold);
        d += a->detections;
    }
    return s->average;
}

void detect_score_values(const task_score *score, double value[FIGURE_MAX])
{
    const detect_score *s = detect_score_of_const(score);
    const class_average *a = detect_averages(s);
    double sum = 0, classes = 0;
    for (int64_t k = 0; k < s->setting->class_count; k++) {
        if (a[k].objects == 0) continue;
        sum += a[k].average_precision;
        classes++;
    }
    value[0] = classes > 0 ? sum / classes : NAN;
}
