/* trainer.h: a training run from its spec to the last checkpoint and the report.
 *
 * In the folder train.output: last, last-1 and best (.safetensors and .state), log.csv, events/, report.html. A run is
 * a sequence of updates of train.accumulate batches each; it depends on the spec and the data only, never on when it
 * was stopped: everything that a later update depends on is in the checkpoint, and the order of the data, augmentation,
 * dropout and the rate are functions of the step.
 *
 *     trainer_summary done;
 *     const trainer_options o = {.spec = &c.spec, .spec_text = text, .build = models_build, .log = log};
 *     TRY(trainer_run(&o, &done));
 *
 * E_USAGE for what the spec asks and cannot be had; E_DATA; E_MEMORY with the largest batch that fits; E_DIVERGED after
 * train.max_bad_steps refused updates in a row; E_TEMPORARY when more than data.max_bad_fraction of an epoch's images
 * have gone while the run went on, after a checkpoint has been saved, or when another rank was lost; E_INTERRUPTED or
 * E_TERMINATED after a signal, when a checkpoint has been saved.
 */
#ifndef GRAFT_TRAIN_TRAINER_H
#define GRAFT_TRAIN_TRAINER_H

#include "core/base/log.h"
#include "core/config/spec.h"
#include "core/task/evaluator.h"
#include "core/train/prepare.h"

/* qat_insert, handed in because core knows no engines. */
typedef status fake_quantise_fn(graph *dst, const graph *src, float momentum);

typedef struct trainer_options {
    const spec *spec;
    const char *spec_text;     /* the resolved spec as INI text: stored in model and state */
    const task *task;          /* what is trained; NULL: classification */
    model_builder_fn *build;
    model_transfer_fn *transfer; /* reads model.pretrained; NULL: model_transfer */
    fake_quantise_fn *fake_quantise; /* wanted when qat.enable is                                                  */
    bool resume;               /* go on from the checkpoint in train.output; without one there: start              */
    bool overwrite;            /* start although the folder holds a checkpoint: refused otherwise                  */
    int64_t stop_at;           /* save and return OK after this many updates, as after a signal; 0: run to the end */
    bool any_precision;        /* also where only reference kernels have it, for checks: refused otherwise         */
    task_stop_fn *stop;       /* returns the signal that asks to stop, or 0; asked after every batch; may be NULL */
    void *stop_context;
    logger *log;
} trainer_options;

typedef struct trainer_summary {
    int64_t step, total_steps, epochs, bad_steps;
    int64_t replaced_images; /* could not be read although they could at the start; evaluation's too */
    int64_t train_images, val_images, classes, batch_size, parameters;
    double seconds, images_per_second; /* all sessions; of this session's training alone */
    loss_terms terms;                  /* of a step; edges mean nothing here             */
    double term[TERM_MAX];             /* train/TAG of the last row that has one         */
    figure figure[FIGURE_MAX];         /* [figure_count]                                 */
    int32_t figure_count, order[FIGURE_MAX]; /* as evaluation.order                      */
    double value[FIGURE_MAX];          /* of the last evaluation; NaN: none              */
    int64_t best_step;
    double best_criterion;             /* figure 0 of the best evaluation                */
    int64_t peak_bytes;                /* planned */
    bool stopped_early, finished;
    char model_hash[33];               /* of last.safetensors */
    char last_path[4096], best_path[4096], report_path[4096];
} trainer_summary;

/* *summary is filled as far as the run came, also on failure. */
status trainer_run(const trainer_options *options, trainer_summary *summary);

void trainer_summary_write(const trainer_summary *s, json_writer *w); /* one JSON object */

#endif
