/* report.h: a run as one HTML file that needs nothing else: curves as inline SVG, what the task shows of the
 * last evaluation (page.h), and the spec. Made from the same records as CSV and TensorBoard.
 *
 *     report_data r = {.records = &records, .evaluation = &e, .spec = &spec, .progress = &progress};
 *     TRY(report_write("runs/a/report.html", &r));
 */
#ifndef GRAFT_TRAIN_REPORT_H
#define GRAFT_TRAIN_REPORT_H

#include "core/task/evaluator.h"
#include "core/train/records.h"
#include "core/train/state.h"

typedef struct report_data {
    const records *records;
    const evaluation *evaluation; /* the last one, or NULL */
    const loss_terms *terms;
    const figure *figure;         /* [figure_count] */
    int32_t figure_count;
    const spec *spec;
    const char *spec_text;
    const train_progress *progress;
    int64_t total_steps, parameters;
} report_data;

status report_write(const char *path, const report_data *r); /* atomic; E_IO */

#endif
