/* records.h: the numbers of a run, once: rows in memory, appended to a CSV file and a TensorBoard event file.
 *
 * A row belongs to a step (updates done so far). Rows are written as they come and flushed. On resume, rows behind
 * the step that is resumed from (written before a kill, after the last checkpoint) and a torn last line are dropped,
 * so that no step stands twice. An absent value is NaN: empty in the CSV. What the columns are follows from the
 * task: its terms and its figures.
 *
 *     record_columns c;
 *     record_columns_init(&c, &trainable.terms, &evaluation);
 *     records r;
 *     TRY(records_open(&r, "runs/a", &c, -1));                      // -1: a new run
 *     double v[RECORD_MAX]; records_clear(v); v[c.term[0]] = 0.3;
 *     TRY(records_add(&r, step, epoch, seconds, v));
 *     records_close(&r);
 */
#ifndef GRAFT_TRAIN_RECORDS_H
#define GRAFT_TRAIN_RECORDS_H

#include <stdio.h>

#include "core/base/status.h"
#include "core/ops/terms.h"
#include "core/task/evaluator.h"
#include "core/train/tensorboard.h"

enum { RECORD_MAX = TERM_MAX + FIGURE_MAX + 6 };

/* Which column holds what; -1: none. */
typedef struct record_columns {
    char tag[RECORD_MAX][32];     /* [count] */
    int32_t count;
    int32_t term[TERM_MAX];       /* train/TAG of each term that is logged             */
    int32_t penalty, grad_norm;
    int32_t figure[FIGURE_MAX];   /* of each figure, in evaluation.order               */
    int32_t rate, images_per_second, data_wait;
    /* images, since the row before, whose place others took; earlier builds' runs lack it */
    int32_t replaced;
} record_columns;

void record_columns_init(record_columns *c, const loss_terms *terms, const evaluation *e);

typedef struct record {
    int64_t step;
    double epoch, seconds; /* passes over the data so far; training time so far, over all sessions */
    double value[RECORD_MAX];
} record;

typedef struct records {
    record *rows; /* [count] */
    int64_t count, capacity;
    record_columns columns;
    const char *tags[RECORD_MAX]; /* into columns */
    char *csv_path;
    FILE *csv;
    tensorboard events;
} records;

void records_clear(double value[RECORD_MAX]); /* all absent */

/* folder/log.csv and folder/events/. resume_step -1: starts new files (an old log.csv is replaced); else keeps the rows
 * up to that step. E_IO; E_DATA when the CSV has other columns. */
status records_open(records *r, const char *folder, const record_columns *columns, int64_t resume_step);
status records_add(records *r, int64_t step, double epoch, double seconds, const double value[RECORD_MAX]);
void records_close(records *r); /* accepts a zeroed struct */

#endif
