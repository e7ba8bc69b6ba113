/* trainer_parts.h: what the files of the trainer share. Private to core/train/trainer*.c.
 *
 *     trainer_setup.c   data, model, device, plans
 *     trainer_save.c    checkpoints and resuming
 *     trainer_memory.c  what a run needs, and the batch size that fits
 *     trainer_update.c  one update
 *     trainer_bad.c     which tensor and which images a refused update is to blame on
 *     trainer_say.c     progress lines and the report
 *     trainer_summary.c what the caller gets
 *     trainer.c         the loop
 */
#ifndef GRAFT_TRAIN_TRAINER_PARTS_H
#define GRAFT_TRAIN_TRAINER_PARTS_H

#include "core/base/folder_lock.h"
#include "core/data/loader.h"
#include "core/device/device.h"
#include "core/dist/comm.h"
#include "core/graph/model.h"
#include "core/graph/plan.h"
#include "core/task/evaluator.h"
#include "core/train/loss_scale.h"
#include "core/train/optimiser.h"
#include "core/train/records.h"
#include "core/train/state.h"
#include "core/train/step_io.h"
#include "core/train/train_graph.h"
#include "core/train/trainer.h"

typedef struct trainer {
    const trainer_options *options;
    trainer_summary *summary;
    spec spec;               /* the caller's, with the batch size resolved */
    const char *folder;      /* train.output */
    folder_lock lock;        /* of it, held by rank 0 */
    logger *log;
    arena memory;

    dataset train_data, val_data;
    lint_report train_lint, val_lint;
    task_setting setting;    /* data: the training part */
    label_source labels;
    comm comm;
    plan_sums sums;          /* over comm's ranks */
    device *dev;
    model model;
    trainable graph, eval_graph;
    param_store *store;
    plan *plan, *eval_plan;
    optimiser optimiser;
    loader *loader, *eval_loader;
    records records;
    evaluation evaluation;
    bool evaluated;          /* this session: evaluation holds something */

    train_state resumed;     /* what was read; its lists stay in use     */
    bool resuming;
    bool fresh_head;         /* the last layer starts at random                  */
    train_progress progress;
    int64_t batches_per_epoch, total_steps, row_period;
    step_io io;
    state_block blocks[STATE_MAX_BLOCKS]; /* host copies, for state files */
    int32_t block_count;
    char info[512];          /* model.info_json */
    double session_start, session_train_seconds, report_time;
    int64_t session_images;
    train_window last_window; /* of the row before: shown until the new one holds something */
    int64_t epoch_replaced;   /* images of this epoch, of all ranks, that others took the place of */
    bool data_lost;           /* the same on all ranks: the run stops here */
    char data_text[1024];     /* why, as far as this rank knows */
    int64_t saved_step;       /* of the last checkpoint; -1: none in this session */
    step_state last_result;
} trainer;

/* setup */
status trainer_setup(trainer *t);
void trainer_teardown(trainer *t);

/* memory */
status trainer_build_training(const trainer *t, trainable *g, int64_t rows, fused_traffic *saved);
status trainer_build_evaluation(const trainer *t, trainable *g, int64_t rows);
status trainer_resolve_batch(trainer *t);    /* sets train.batch_size; E_MEMORY with the largest that fits        */

/* one update */
status trainer_update(trainer *t);           /* E_TEMPORARY when the data have gone                               */
int64_t trainer_epochs_at(const trainer *t, int64_t step); /* passes that are done after so many updates           */
/* Images that lint found good and that could not be read now: adds to *sum, and notes when they are too many. */
void trainer_count_replaced(trainer *t, int64_t replaced, int64_t *sum, const dataset *data, const char *what);
bool trainer_data_have_gone(const trainer *t, status failed, const loader *l);

/* saying */
/* as it is logged: a mean over batches, or a part of images */
double trainer_term_value(const trainer *t, const train_window *w, int32_t i);
void trainer_show_progress(const trainer *t);
void trainer_say_epoch(const trainer *t, bool evaluated, bool better);
status trainer_write_report(trainer *t);

/* summary */
void trainer_finish_summary(trainer *t);

/* save */
status trainer_open_checkpoint(trainer *t);  /* fills t->model, t->resumed, t->progress; checks the spec          */
status trainer_restore(trainer *t);          /* uploads what the state file holds; after the plans have been made */
status trainer_save(trainer *t);

/* bad steps */
void trainer_explain_bad_step(trainer *t, const step_state *result); /* only says; never fails the run */

status trainer_set_loss_scale(trainer *t, plan *p); /* the progress's, for the next updates through p */

/* A task_stop_fn. Of several ranks all get the same answer, and all must ask: one of them may have had the signal. */
int trainer_asked_to_stop(void *trainer);

#endif
