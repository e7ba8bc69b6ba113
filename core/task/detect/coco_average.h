/* coco_average.h: COCO's figures of detection, number for number those of pycocotools 2.0 (COCOeval, iouType = bbox):
 * ten thresholds of IoU from 0.5 to 0.95, objects of four ranges of area, at most 1, 10 or 100 detections of a class in
 * an image, precision at 101 recalls.
 *
 *     coco_object truth[] = {{.box = {10, 10, 50, 60}, .area = 2000}};
 *     coco_box detection[] = {{12, 10, 50, 58}};
 *     coco_match match[1];
 *     coco_match_image(match, detection, 1, truth, 1);     // of one class in one image, best first
 *     coco_detection d[] = {{.score = 0.9f, .match = match[0]}};
 *     coco_class c = coco_average(d, 1, (int64_t[]){1, 0, 1, 0});
 *     coco_means means = {0};
 *     double figure[COCO_FIGURES];
 *     coco_means_add(&means, &c);                          // of every class
 *     coco_figures(&means, figure);
 */
#ifndef GRAFT_TASK_DETECT_COCO_AVERAGE_H
#define GRAFT_TASK_DETECT_COCO_AVERAGE_H

#include <stdbool.h>
#include <stdint.h>

enum { COCO_THRESHOLDS = 10, COCO_AREAS = 4, COCO_MOST = 100, COCO_FIGURES = 12 };

/* x0 y0 x1 y1 in pixels. */
typedef double coco_box[4];

typedef struct coco_object {
    coco_box box;
    double area;  /* of the object, which may be less than its box's */
    bool ignored; /* whether it is found counts for nothing */
    bool crowd;   /* ignored, too; the part of a detection inside it stands for IoU, and it takes any number of them */
    /* written by coco_match_image */
    uint64_t taken;
    double iou;
    int64_t next;
} coco_object;

/* Bit area * COCO_THRESHOLDS + threshold: the detection has found an object there; it counts for nothing there. */
typedef struct coco_match {
    uint64_t hit, ignored;
} coco_match;

/* A detection of a class in any image. */
typedef struct coco_detection {
    float score;
    int32_t place; /* among its image's detections of the class, from 0 */
    coco_match match;
} coco_detection;

/* Of one class; NaN where no object of the range counts. */
typedef struct coco_class {
    double precision[COCO_AREAS][COCO_THRESHOLDS]; /* average, of at most 100 detections */
    double recall[COCO_AREAS][COCO_THRESHOLDS];    /* the greatest, of at most 100 */
    double recall_of_1[COCO_THRESHOLDS], recall_of_10[COCO_THRESHOLDS]; /* of at most 1 and 10, objects of any area */
} coco_class;

/* Sums over the classes; begins zeroed. */
typedef struct coco_means {
    double sum[COCO_FIGURES];
    int64_t count[COCO_FIGURES];
} coco_means;

/* In the order in which pycocotools prints them: AP, AP50, AP75, AP of small, medium and large objects; AR of 1, 10 and
 * 100 detections, AR of small, medium and large objects. */
extern const char *const coco_figure_name[COCO_FIGURES];

/* Which ranges an area belongs to: bit 0 all, 1 small (up to 32^2), 2 medium (32^2 to 96^2), 3 large (from 96^2). */
uint32_t coco_areas(double area);

/* match: [count], of detections of one class in one image, best first, at most COCO_MOST of them; `object`: that
 * class's, in the order of the labels. A detection takes the free object that it overlaps most, if by the threshold. */
void coco_match_image(coco_match *match, const coco_box *detection, int64_t count, coco_object *object,
    int64_t object_count);

/* d: [count] detections of one class, best first; objects[area]: how many there are that count. */
coco_class coco_average(const coco_detection *d, int64_t count, const int64_t objects[COCO_AREAS]);

void coco_means_add(coco_means *m, const coco_class *c);
/* Means over the classes; NaN where there is nothing. */
void coco_figures(const coco_means *m, double figure[COCO_FIGURES]);

#endif
