/* box_statistics.h: what the boxes of a data set are like: how many of each class, how large, how wide.
 *
 *     box_statistics s;
 *     TRY(box_statistics_make(&s, &memory, &data));
 *     use(s.of_class[0].boxes, s.size[0], s.aspect[0]);
 */
#ifndef GRAFT_DATA_BOX_STATISTICS_H
#define GRAFT_DATA_BOX_STATISTICS_H

#include "core/data/dataset.h"

enum { BOX_SIZES = 8, BOX_ASPECTS = 7 };

/* Lower ends: of the square root of a box's area in pixels, and of its width / height. */
extern const double box_size_from[BOX_SIZES], box_aspect_from[BOX_ASPECTS];

typedef struct class_statistics {
    int64_t boxes, images, ignored; /* boxes to be found, images that have one; regions to ignore */
} class_statistics;

typedef struct box_statistics {
    class_statistics *of_class;                /* [class_count], in memory of the arena */
    int64_t images, empty_images, boxes, ignored; /* empty: without any box; ignored: those without class, too */
    int64_t most;                              /* boxes in one image */
    int64_t size[BOX_SIZES], aspect[BOX_ASPECTS]; /* boxes whose value is at least the lower end, and below the next */
} box_statistics;

/* Boxes that are not finite or reversed count for their class, but have no size. */
status box_statistics_make(box_statistics *s, arena *a, const dataset *ds);

#endif
