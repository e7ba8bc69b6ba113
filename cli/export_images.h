/* export_images.h: the images that export and calibrate look at, as the callbacks that export/ wants.
 *
 *     export_images x;
 *     TRY(export_images_open(&x, &spec, &m, dev, true, log));
 *     export_options o = {.data = &x.calibration, .score = export_images_score, .score_context = &x, ...};
 *     export_images_close(&x);
 */
#ifndef GRAFT_CLI_EXPORT_IMAGES_H
#define GRAFT_CLI_EXPORT_IMAGES_H

#include "core/task/task.h"
#include "core/device/device.h"
#include "core/graph/model.h"
#include "export/export.h"

typedef struct export_images {
    dataset train, val;           /* all of it                                   */
    dataset chosen, held_out;     /* views: calibration images, check images     */
    loader *calibration_loader, *check_loader;
    calibration_data calibration; /* of the training part                        */
    int64_t check_count;
    task_setting setting;         /* data: the check images                      */
    device *dev;
    logger *log;
} export_images;

/* x is initialised by the call. with_check: also the validation part. E_DATA: classes are not the model's. */
status export_images_open(export_images *x, const spec *s, const model *m, device *dev, bool with_check, logger *log);
void export_images_close(export_images *x); /* accepts a zeroed one */

/* An export_score_fn: the task's criterion in per cent on the check images. */
status export_images_score(void *context, graph *g, double *points);

#endif
