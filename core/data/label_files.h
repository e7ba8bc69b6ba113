/* label_files.h: a data set with boxes written as other programs want it: images, and labels as KITTI, Pascal VOC,
 * COCO or YOLO have them (docs/DATA.md says where they lie).
 *
 *     label_files_report r;
 *     TRY(label_files_write("raccoons", LABEL_FILES_COCO, parts, false, log, &r));
 *
 * What is read back is the same: boxes of KITTI and COCO to the last bit, those of VOC, which counts from 1, and YOLO,
 * which has parts of the image, to 1e-3 pixels; regions to ignore as far as the format can say them.
 */
#ifndef GRAFT_DATA_LABEL_FILES_H
#define GRAFT_DATA_LABEL_FILES_H

#include "core/data/dataset.h"

typedef enum label_files_format {
    LABEL_FILES_KITTI, LABEL_FILES_VOC, LABEL_FILES_COCO, LABEL_FILES_YOLO, LABEL_FILES_FORMATS
} label_files_format;

extern const char *const label_files_names[LABEL_FILES_FORMATS + 1]; /* "kitti", ...; ends with NULL */

typedef struct label_files_report {
    int64_t images, boxes;
    int64_t left_out; /* regions to ignore that the format cannot say */
} label_files_report;

/* parts: train, val and test; those without samples are left out. Image files are copied as they are, or with `link`
 * linked to where they are. Regions to ignore become DontCare (KITTI), difficult (VOC), crowds (COCO), or are left out.
 * E_USAGE: there is something at `folder`; a part has no boxes. E_DATA: an image cannot be read. */
status label_files_write(const char *folder, label_files_format format, const dataset parts[3], bool link, logger *l,
    label_files_report *report);

#endif
