/* draw.h: boxes with a word, on pictures for people.
 *
 *     draw_objects(&im, &prediction, class_name, 1);
 */
#ifndef GRAFT_TASK_DRAW_H
#define GRAFT_TASK_DRAW_H

#include "core/data/dataset.h"
#include "core/data/image.h"

struct prediction;

/* Each object's box in the colour of its class, with the class's name and the score in per cent; the best on top.
 * scale: from pixels of the boxes to those of the picture. Grey pictures get grey boxes. */
void draw_objects(image *im, const struct prediction *p, const char *const *class_name, double scale);

/* The boxes that a sample's labels name, white, without words; those to be ignored are left out. */
void draw_labels(image *im, const sample *s, double scale);

#endif
