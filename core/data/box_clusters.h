/* box_clusters.h: a few sizes of boxes that stand for all of a data set's, by k-means with 1 - IoU of boxes of one
 * centre as distance (Redmon and Farhadi 2017, "YOLO9000: Better, Faster, Stronger", section 2, "Dimension Clusters").
 *
 *     box_size cluster[9];
 *     double mean_iou;
 *     TRY(box_clusters_find(cluster, 9, size, count, &mean_iou));
 */
#ifndef GRAFT_DATA_BOX_CLUSTERS_H
#define GRAFT_DATA_BOX_CLUSTERS_H

#include <stdint.h>

#include "core/base/status.h"

typedef struct box_size {
    double width, height; /* above 0 */
} box_size;

/* cluster: [clusters], by area, the smallest first. It starts from boxes at equal steps of the order by area, so that
 * the same boxes give the same clusters, and ends when no box changes its cluster. mean_iou: of each box with its
 * cluster. size: [count], which is put in order. E_DATA: fewer different sizes than clusters. */
status box_clusters_find(box_size *cluster, int64_t clusters, box_size *size, int64_t count, double *mean_iou);

#endif
