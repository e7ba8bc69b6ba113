#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/boxes.h"
#include "core/task/detect/detect.h"

/* The criterion is the mean average precision over the classes that have objects, at one IoU or over COCO's ten. */
int32_t detect_figures(const task_setting *t, figure f[FIGURE_MAX])
{
    bool coco = t->spec->evaluate.criterion == CRITERION_COCO;
    f[coco] = (figure){"val/map", "mAP", true};
    f[!coco] = (figure){"val/map_coco", "mAP@[.5:.95]", true};
    return 2;
}

status detect_score_create(task_score **out, const task_setting *t, int64_t worst)
{
    detect_score *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return FAIL_MEMORY(sizeof *s);
    s->setting = t;
    s->poor_capacity = worst;
    s->objects = calloc((size_t)t->class_count + 1, sizeof *s->objects);
    s->coco_objects = calloc((size_t)t->class_count + 1, sizeof *s->coco_objects);
    s->average = calloc((size_t)t->class_count + 1, sizeof *s->average);
    s->poor = calloc((size_t)worst + 1, sizeof *s->poor);
    if (!s->objects || !s->coco_objects || !s->average || !s->poor) {
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
    memset(s->coco_objects, 0, (size_t)s->setting->class_count * sizeof *s->coco_objects);
    for (int64_t i = 0; i < s->poor_count; i++) free(s->poor[i].object);
    s->images = s->ranked_count = s->poor_count = 0;
}

void detect_score_destroy(task_score *score)
{
    detect_score *s = detect_score_of(score);
    if (!s) return;
    if (s->objects && s->coco_objects) detect_score_reset(score);
    free(s->objects);
    free(s->coco_objects);
    free(s->average);
    free(s->poor);
    free(s->ranked);
    free(s->coco);
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
    coco_match *match;    /* [object_count] */
    int32_t *class_place; /* [object_count] among the image's detections of its class */
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

/* Most of a detection lies in a region that is to be ignored: a crowd of its class, or one of no class. */
static bool is_in_region(const detect_score *s, const judged_image *im, const found_object *f)
{
    double own = box_area(f->box);
    for (int64_t i = 0; i < im->truth_count; i++) {
        const label_box *b = &im->truth[i].box;
        if (b->class_index >= 0 && !(b->crowd && b->class_index == f->class_index)) continue;
        const float both[4] = {
            fmaxf(f->box[0], b->x0), fmaxf(f->box[1], b->y0), fminf(f->box[2], b->x1), fminf(f->box[3], b->y1)};
        bool meet = both[2] > both[0] && both[3] > both[1];
        if (meet && box_area(both) >= s->setting->spec->evaluate.iou * own) return true;
    }
    return false;
}

static status keep_detection(detect_score *s, const judged_image *im, int64_t place, bool hit, bool ignored)
{
    if (s->ranked_count == s->ranked_capacity) {
        int64_t capacity = s->ranked_capacity ? 2 * s->ranked_capacity : 1024;
        ranked_detection *grown = realloc(s->ranked, (size_t)capacity * sizeof *grown);
        if (!grown) return FAIL_MEMORY(capacity * sizeof *grown);
        s->ranked = grown;
        coco_detection *coco = realloc(s->coco, (size_t)capacity * sizeof *coco);
        if (!coco) return FAIL_MEMORY(capacity * sizeof *coco);
        s->coco = coco;
        s->ranked_capacity = capacity;
    }
    s->ranked[s->ranked_count++] =
        (ranked_detection){im->object[place].score, im->object[place].class_index, im->index, place, hit, ignored,
            im->class_place[place], im->match[place]};
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
        bool ignored = t && t->box.ignore, hit = t && !ignored && !t->taken, counts = im->object[k].score >= threshold;
        if (!hit && !ignored) ignored = is_in_region(s, im, &im->object[k]);
        TRY(keep_detection(s, im, k, hit, ignored));
        if (hit) t->taken = true, t->taken_at_threshold = counts;
        *mistakes += counts && !hit && !ignored;
    }
    for (int64_t i = 0; i < im->truth_count; i++) {
        if (im->truth[i].box.ignore) continue;
        s->objects[im->truth[i].box.class_index]++;
        *mistakes += !im->truth[i].taken_at_threshold;
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ COCO's judgement */

static coco_object coco_object_of(const label_box *b)
{
    coco_object o = {{(double)b->x0, (double)b->y0, (double)b->x1, (double)b->y1}, .area = (double)b->area,
        .ignored = b->ignore, .crowd = b->crowd || b->class_index < 0};
    if (b->area <= 0) o.area = (o.box[2] - o.box[0]) * (o.box[3] - o.box[1]);
    return o;
}

/* What the detections of one class find. box, match, object: memory for the image's. */
static void coco_judge_class(
    judged_image *im, int32_t class_index, coco_box *box, coco_match *match, coco_object *object)
{
    int64_t objects = 0, count = 0;
    for (int64_t i = 0; i < im->truth_count; i++) {
        const label_box *b = &im->truth[i].box;
        if (b->class_index == class_index || b->class_index < 0) object[objects++] = coco_object_of(b);
    }
    for (int64_t k = 0; k < im->object_count && count < COCO_MOST; k++)
        if (im->object[k].class_index == class_index) {
            for (int e = 0; e < 4; e++) box[count][e] = (double)im->object[k].box[e];
            count++;
        }
    coco_match_image(match, box, count, object, objects);
    count = 0;
    for (int64_t k = 0; k < im->object_count; k++) {
        if (im->object[k].class_index != class_index) continue;
        if (count < COCO_MOST) im->match[k] = match[count];
        im->class_place[k] = (int32_t)count++;
    }
}

static status coco_judge(detect_score *s, judged_image *im, arena *a)
{
    coco_box *box = ARENA_ARRAY(a, coco_box, COCO_MOST);
    coco_match *match = ARENA_ARRAY(a, coco_match, COCO_MOST);
    coco_object *object = ARENA_ARRAY(a, coco_object, im->truth_count + 1);
    im->match = ARENA_ARRAY(a, coco_match, im->object_count + 1);
    im->class_place = ARENA_ARRAY(a, int32_t, im->object_count + 1);
    if (!box || !match || !object || !im->match || !im->class_place) return FAIL_MEMORY(COCO_MOST * sizeof *box);
    for (int64_t k = 0; k < im->object_count; k++) im->class_place[k] = -1;
    for (int64_t k = 0; k < im->object_count; k++)
        if (im->class_place[k] < 0) coco_judge_class(im, im->object[k].class_index, box, match, object);
    for (int64_t i = 0; i < im->truth_count; i++) {
        const label_box *b = &im->truth[i].box;
        if (b->ignore || b->crowd || b->class_index < 0) continue;
        uint32_t areas = coco_areas(coco_object_of(b).area);
        for (int area = 0; area < COCO_AREAS; area++) s->coco_objects[b->class_index][area] += areas >> area & 1;
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ an image's place */

/* Labels outside the image are nothing to be found; boxes end at the image's edge, as detections do. */
static status collect_objects(judged_image *im, int32_t width, int32_t height, arena *a)
{
    TRY_ALLOC(im->truth, ARENA_ARRAY(a, truth, im->sample->box_count + 1));
    for (int64_t i = 0; i < im->sample->box_count; i++) {
        label_box b = im->sample->box[i];
        if (box_clip(&b, width, height) >= BOX_OUTSIDE) continue;
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
    TRY(coco_judge(s, &im, a));
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

enum { NUMBERS = 9 }; /* of a detection */

static void write_numbers(double *n, const ranked_detection *d)
{
    n[0] = (double)d->score, n[1] = d->class_index, n[2] = (double)d->sample, n[3] = (double)d->place, n[4] = d->hit;
    n[5] = d->ignored, n[6] = d->class_place, n[7] = (double)d->match.hit, n[8] = (double)d->match.ignored;
}

static ranked_detection read_numbers(const double *n)
{
    return (ranked_detection){(float)n[0], (int32_t)n[1], (int64_t)n[2], (int64_t)n[3], n[4] != 0, n[5] != 0,
        (int32_t)n[6], {(uint64_t)n[7], (uint64_t)n[8]}};
}

/* All ranks' detections, in the order of the ranks; every number is exact in a double. */
static status gather(detect_score *s, comm *c, const double *counts, double total)
{
    int64_t before = 0, all = (int64_t)total;
    double *numbers = calloc((size_t)all * NUMBERS + 1, sizeof *numbers);
    ranked_detection *ranked = malloc(((size_t)all + 1) * sizeof *ranked);
    coco_detection *coco = malloc(((size_t)all + 1) * sizeof *coco);
    status result = numbers && ranked && coco ? OK : FAIL_MEMORY(all * sizeof *ranked);
    for (int32_t r = 0; r < c->rank; r++) before += (int64_t)counts[r];
    for (int64_t i = 0; i < s->ranked_count && result == OK; i++)
        write_numbers(numbers + (before + i) * NUMBERS, &s->ranked[i]);
    if (result == OK) result = share(c, numbers, all * NUMBERS);
    for (int64_t i = 0; i < all && result == OK; i++) ranked[i] = read_numbers(numbers + i * NUMBERS);
    free(numbers);
    if (result != OK) {
        free(ranked);
        free(coco);
        return result;
    }
    free(s->ranked);
    free(s->coco);
    s->ranked = ranked;
    s->coco = coco;
    s->ranked_count = all;
    s->ranked_capacity = all + 1;
    return OK;
}

/* The images with most mistakes stay each rank's own. */
status detect_score_merge(task_score *score, comm *c)
{
    detect_score *s = detect_score_of(score);
    int64_t classes = s->setting->class_count, areas = classes * COCO_AREAS, count = c->world + classes + areas + 1;
    int64_t *coco_objects = s->coco_objects[0];
    double total = 0, *sums = calloc((size_t)count, sizeof *sums);
    if (!sums) return FAIL_MEMORY(count * sizeof *sums);
    sums[c->rank] = (double)s->ranked_count;
    for (int64_t k = 0; k < classes; k++) sums[c->world + k] = (double)s->objects[k];
    for (int64_t k = 0; k < areas; k++) sums[c->world + classes + k] = (double)coco_objects[k];
    sums[count - 1] = (double)s->images;
    status result = share(c, sums, count);
    for (int32_t r = 0; r < c->world; r++) total += sums[r];
    for (int64_t k = 0; k < classes && result == OK; k++) s->objects[k] = (int64_t)sums[c->world + k];
    for (int64_t k = 0; k < areas && result == OK; k++) coco_objects[k] = (int64_t)sums[c->world + classes + k];
    if (result == OK) s->images = (int64_t)sums[count - 1];
    if (result == OK) result = gather(s, c, sums, total);
    free(sums);
    return result;
}

/* Precision and recall of the detections that users see. */
static void count_shown(class_average *a, const ranked_detection *d, int64_t count, float threshold)
{
    int64_t shown = 0, hits = 0;
    for (int64_t i = 0; i < count; i++) {
        a->detections += !d[i].ignored;
        if (d[i].score < threshold) continue;
        hits += d[i].hit;
        shown += !d[i].ignored;
    }
    a->precision = shown > 0 ? (double)hits / (double)shown : NAN;
    a->recall = a->objects > 0 ? (double)hits / (double)a->objects : NAN;
}

/* Of the `count` detections of one class, best first. coco: [count], memory. */
static coco_class coco_class_of(
    const ranked_detection *d, int64_t count, const int64_t objects[COCO_AREAS], coco_detection *coco)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++)
        if (d[i].class_place < COCO_MOST) coco[kept++] = (coco_detection){d[i].score, d[i].class_place, d[i].match};
    return coco_average(coco, kept, objects);
}

const class_average *detect_averages(const detect_score *s)
{
    const spec *o = s->setting->spec;
    const ranked_detection *d = s->ranked, *end = d + s->ranked_count;
    detections_rank(s->ranked, s->ranked_count);
    for (int64_t k = 0; k < s->setting->class_count; k++) {
        class_average *a = &s->average[k];
        int64_t count = 0;
        *a = (class_average){.objects = s->objects[k]};
        while (d + count < end && d[count].class_index == k) count++;
        a->average_precision =
            average_precision(d, count, a->objects, o->evaluate.average_precision == AVERAGE_PRECISION_SAMPLE);
        a->coco = coco_class_of(d, count, s->coco_objects[k], s->coco);
        count_shown(a, d, count, (float)o->infer.threshold);
        d += count;
    }
    return s->average;
}

double detect_mean_average(const detect_score *s, const class_average *a)
{
    double sum = 0, classes = 0;
    for (int64_t k = 0; k < s->setting->class_count; k++) {
        if (a[k].objects == 0) continue;
        sum += a[k].average_precision;
        classes++;
    }
    return classes > 0 ? sum / classes : NAN;
}

double detect_coco_precision(const class_average *a)
{
    coco_means m = {0};
    double coco[COCO_FIGURES];
    coco_means_add(&m, &a->coco);
    coco_figures(&m, coco);
    return coco[0];
}

void detect_coco_figures(const detect_score *s, const class_average *a, double coco[COCO_FIGURES])
{
    coco_means m = {0};
    for (int64_t k = 0; k < s->setting->class_count; k++) coco_means_add(&m, &a[k].coco);
    coco_figures(&m, coco);
}

void detect_score_values(const task_score *score, double value[FIGURE_MAX])
{
    const detect_score *s = detect_score_of_const(score);
    const class_average *a = detect_averages(s);
    bool first = s->setting->spec->evaluate.criterion == CRITERION_COCO;
    double coco[COCO_FIGURES];
    detect_coco_figures(s, a, coco);
    value[first] = detect_mean_average(s, a);
    value[!first] = coco[0];
}
