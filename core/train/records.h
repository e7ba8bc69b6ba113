/* records.h: the numbers of a run, once: rows in memory, appended to a CSV file and a TensorBoard event file.
 *
 * A row belongs to a step (updates done so far). Rows are written as they come and flushed. On resume, rows behind the step
 * that is resumed from (written before a kill, after the last checkpoint) and a torn last line are dropped, so that no step
 * stands twice. An absent value is NaN: empty in the CSV.
 *
 *     records r;
 *     TRY(records_open(&r, "runs/a", top_k, -1));                   // -1: a new run
 *     double v[RECORD_COUNT]; records_clear(v); v[RECORD_TRAIN_LOSS] = 0.3;
 *     TRY(records_add(&r, step, epoch, seconds, v));
 *     records_close(&r);
 */
#ifndef GRAFT_TRAIN_RECORDS_H
#define GRAFT_TRAIN_RECORDS_H

#include <stdio.h>

#include "core/base/status.h"
#include "core/train/tensorboard.h"

/* X(name, tag). The tag of TOP_K has the k behind it. REPLACED: images, since the row before, that could not be read and that others took the
 * place of; runs of earlier builds have no such column. */
#define RECORD_COLUMNS(X)                                                                                              \
    X(TRAIN_LOSS, "train/loss")                                                                                        \
    X(TRAIN_ACCURACY, "train/accuracy")                                                                                \
    X(TRAIN_PENALTY, "train/penalty")                                                                                  \
    X(GRAD_NORM, "train/grad_norm")                                                                                    \
    X(VAL_LOSS, "val/loss")                                                                                            \
    X(VAL_ACCURACY, "val/accuracy_top1")                                                                               \
    X(VAL_TOP_K, "val/accuracy_top")                                                                                   \
    X(RATE, "lr/group0")                                                                                               \
    X(IMAGES_PER_SECOND, "perf/images_per_second")                                                                     \
    X(DATA_WAIT, "perf/data_wait")                                                                                     \
    X(REPLACED, "data/replaced")

typedef enum record_column {
#define X(name, tag) RECORD_##name,
    RECORD_COLUMNS(X)
#undef X
    RECORD_COUNT
} record_column;

typedef struct record {
    int64_t step;
    double epoch, seconds; /* passes over the data so far; training time so far, over all sessions */
    double value[RECORD_COUNT];
} record;

typedef struct records {
    record *rows; /* [count] */
    int64_t count, capacity;
    char tag[RECORD_COUNT][32];
    const char *tags[RECORD_COUNT]; /* into tag */
    char *csv_path;
    FILE *csv;
    tensorboard events;
} records;

void records_clear(double value[RECORD_COUNT]); /* all absent */

/* folder/log.csv and folder/events/. resume_step -1: starts new files (an old log.csv is replaced); else keeps the rows up to
 * that step. E_IO; E_DATA when the CSV has other columns. */
status records_open(records *r, const char *folder, int64_t top_k, int64_t resume_step);
status records_add(records *r, int64_t step, double epoch, double seconds, const double value[RECORD_COUNT]);
void records_close(records *r); /* accepts a zeroed struct */

#endif
