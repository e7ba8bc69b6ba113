#include "core/task/detect/coco_average.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

enum { RECALLS = 101 };

const char *const coco_figure_name[COCO_FIGURES] = {
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"};

/* numpy.linspace(0.5, 0.95, 10) and numpy.linspace(0, 1, 101), to the last bit. */
static double threshold_of(int t)
{
    return t == COCO_THRESHOLDS - 1 ? 0.95 : t * ((0.95 - 0.5) / (COCO_THRESHOLDS - 1)) + 0.5;
}

static double recall_of(int r) { return r == RECALLS - 1 ? 1 : r * (1.0 / (RECALLS - 1)); }

uint32_t coco_areas(double area)
{
    static const double range[COCO_AREAS][2] = {{0, 1e10}, {0, 32 * 32}, {32 * 32, 96 * 96}, {96 * 96, 1e10}};
    uint32_t areas = 0;
    for (uint32_t a = 0; a < COCO_AREAS; a++) areas |= (uint32_t)(area >= range[a][0] && area <= range[a][1]) << a;
    return areas;
}

/* ------------------------------------------------------------------------------------------------ one image */

static double area_of(const coco_box b) { return (b[2] - b[0]) * (b[3] - b[1]); }

static double overlap(const coco_box d, const coco_object *o)
{
    double width = fmin(d[2], o->box[2]) - fmax(d[0], o->box[0]);
    double height = fmin(d[3], o->box[3]) - fmax(d[1], o->box[1]);
    if (width <= 0 || height <= 0) return 0;
    double common = width * height, own = area_of(d);
    return common / (o->crowd ? own : own + area_of(o->box) - common);
}

static bool counts(const coco_object *o, int area)
{
    return !o->ignored && !o->crowd && (coco_areas(o->area) >> area & 1);
}

/* Chains the objects that a detection overlaps enough for the lowest threshold, in their order; the first; -1: none. */
static int64_t chain(const coco_box d, coco_object *object, int64_t count)
{
    int64_t first = -1, last = -1;
    for (int64_t i = 0; i < count; i++) {
        object[i].iou = overlap(d, &object[i]);
        object[i].next = -1;
        if (object[i].iou < threshold_of(0)) continue;
        if (last < 0) first = i;
        else object[last].next = i;
        last = i;
    }
    return first;
}

/* The object that a detection finds: the one it overlaps most, a counting one before any other, the later one of equal
 * ones; -1: none. */
static int64_t find(const coco_object *object, int64_t first, int area, int t)
{
    double most = threshold_of(t);
    int64_t best = -1;
    for (int pass = 0; pass < 2 && best < 0; pass++)
        for (int64_t i = first; i >= 0; i = object[i].next) {
            if (object[i].iou < most || counts(&object[i], area) != (pass == 0)) continue;
            if (object[i].taken >> (area * COCO_THRESHOLDS + t) & 1 && !object[i].crowd) continue;
            most = object[i].iou;
            best = i;
        }
    return best;
}

void coco_match_image(
    coco_match *match, const coco_box *detection, int64_t count, coco_object *object, int64_t object_count)
{
    for (int64_t i = 0; i < object_count; i++) object[i].taken = 0;
    for (int64_t k = 0; k < count && k < COCO_MOST; k++) {
        uint32_t areas = coco_areas(area_of(detection[k]));
        int64_t first = chain(detection[k], object, object_count);
        match[k] = (coco_match){0};
        for (int bit = 0; bit < COCO_AREAS * COCO_THRESHOLDS; bit++) {
            int area = bit / COCO_THRESHOLDS;
            int64_t i = find(object, first, area, bit % COCO_THRESHOLDS);
            uint64_t one = (uint64_t)1 << bit;
            if (i < 0) {
                if (!(areas >> area & 1)) match[k].ignored |= one;
                continue;
            }
            object[i].taken |= one;
            match[k].hit |= one;
            if (!counts(&object[i], area)) match[k].ignored |= one;
        }
    }
}

/* ------------------------------------------------------------------------------------------------ all images */

/* Of the detections whose place is below `most`: average precision and greatest recall. */
static void average(double *precision, double *recall, const coco_detection *d, int64_t count, int64_t objects, int bit,
    int32_t most)
{
    int64_t hits = 0, seen = 0;
    for (int64_t i = 0; i < count; i++) {
        if (d[i].place >= most || d[i].match.ignored >> bit & 1) continue;
        seen++;
        hits += (int64_t)(d[i].match.hit >> bit & 1);
    }
    *recall = (double)hits / (double)objects;
    /* From the worst detection to the best the envelope only grows; recalls above what is reached have precision 0. */
    double envelope = 0, sum = 0;
    int r = RECALLS - 1;
    while (r >= 0 && recall_of(r) > *recall) r--;
    for (int64_t i = count; i-- > 0;) {
        if (d[i].place >= most || d[i].match.ignored >> bit & 1) continue;
        bool hit = d[i].match.hit >> bit & 1;
        envelope = fmax(envelope, (double)hits / ((double)seen + DBL_EPSILON));
        seen--;
        hits -= hit;
        /* Every recall above that of the detection before is first reached here, or by a later one that is worse. */
        for (; hit && r >= 0 && recall_of(r) > (double)hits / (double)objects; r--) sum += envelope;
    }
    for (; r >= 0 && precision; r--) sum += envelope;
    if (precision) *precision = sum / RECALLS;
}

coco_class coco_average(const coco_detection *d, int64_t count, const int64_t objects[COCO_AREAS])
{
    coco_class c;
    for (int bit = 0; bit < COCO_AREAS * COCO_THRESHOLDS; bit++) {
        int area = bit / COCO_THRESHOLDS, t = bit % COCO_THRESHOLDS;
        c.precision[area][t] = c.recall[area][t] = NAN;
        if (area == 0) c.recall_of_1[t] = c.recall_of_10[t] = NAN;
        if (objects[area] == 0) continue;
        average(&c.precision[area][t], &c.recall[area][t], d, count, objects[area], bit, COCO_MOST);
        if (area > 0) continue;
        average(NULL, &c.recall_of_1[t], d, count, objects[0], bit, 1);
        average(NULL, &c.recall_of_10[t], d, count, objects[0], bit, 10);
    }
    return c;
}

static void add(coco_means *m, int figure, const double *value, int count)
{
    for (int t = 0; t < count; t++)
        if (!isnan(value[t])) m->sum[figure] += value[t], m->count[figure]++;
}

void coco_means_add(coco_means *m, const coco_class *c)
{
    enum { AT_75 = 5 };
    add(m, 0, c->precision[0], COCO_THRESHOLDS);
    add(m, 1, c->precision[0], 1);
    add(m, 2, c->precision[0] + AT_75, 1);
    add(m, 6, c->recall_of_1, COCO_THRESHOLDS);
    add(m, 7, c->recall_of_10, COCO_THRESHOLDS);
    add(m, 8, c->recall[0], COCO_THRESHOLDS);
    for (int a = 1; a < COCO_AREAS; a++) {
        add(m, 2 + a, c->precision[a], COCO_THRESHOLDS);
        add(m, 8 + a, c->recall[a], COCO_THRESHOLDS);
    }
}

void coco_figures(const coco_means *m, double figure[COCO_FIGURES])
{
    for (int i = 0; i < COCO_FIGURES; i++) figure[i] = m->count[i] ? m->sum[i] / (double)m->count[i] : NAN;
}
