/* average_precision.h: how well a ranked list of detections finds what is there.
 *
 *     ranked_detection d[] = {{.score = 0.9f, .hit = true}, {.score = 0.4f, .hit = false}};
 *     detections_rank(d, 2);
 *     double ap = average_precision(d, 2, 1, false);
 */
#ifndef GRAFT_TASK_DETECT_AVERAGE_PRECISION_H
#define GRAFT_TASK_DETECT_AVERAGE_PRECISION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/task/detect/coco_average.h"

/* One detection of a class, in any image. */
typedef struct ranked_detection {
    float score;
    int32_t class_index;
    /* where it is from: its place among the image's detections; equal scores stand in this order */
    int64_t sample, place;
    /* it is the best detection of an object; else nothing of its class is there, or a better one has it */
    bool hit;
    bool ignored;       /* what it shows counts for nothing: neither a hit nor false */
    int32_t class_place; /* its place among the image's detections of its class */
    coco_match match;   /* COCO's judgement */
} ranked_detection;

/* By class, then the best first. */
void detections_rank(ranked_detection *d, int64_t count);

/* The average precision of one class's ranked detections for `objects` objects (Everingham and others 2010, "The
 * Pascal VOC challenge", section 4.2, and the development kits). With precision envelope p(r) = the greatest
 * precision at any recall of at least r:
 *     integrate   sum over the recalls r_k that are reached of (r_k - r_(k-1)) p(r_k), VOC's since 2010
 *     sample      mean of p at the recalls 0, 0.1, ..., 1, VOC's of 2007
 * NaN without objects. */
double average_precision(const ranked_detection *d, int64_t count, int64_t objects, bool sample);

#endif
