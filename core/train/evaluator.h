/* evaluator.h: a validation pass. Who predicts is a callback, so that a model in training, a model file and an engine are judged by
 * the same code.
 *
 *     status predict(void *context, const batch *b, float *logits);      // logits [b->n, classes], on the host
 *     evaluation e;
 *     TRY(evaluation_init(&e, classes, top_k, loss, worst));
 *     TRY(evaluation_run(&e, loader, predict, context, &progress));
 *     print(metrics_accuracy(&e.metrics));
 *     evaluation_free(&e);
 *
 * The last batch is padded by the loader; only its real samples count. Samples are judged in data-set order whatever the batch
 * size, so the sums have the same bits for every batch size that gives the same logits.
 */
#ifndef GRAFT_TRAIN_EVALUATOR_H
#define GRAFT_TRAIN_EVALUATOR_H

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/data/loader.h"
#include "core/dist/comm.h"
#include "core/graph/plan.h"
#include "core/train/metrics.h"
#include "core/train/train_graph.h"

typedef status evaluator_predict_fn(void *context, const batch *b, float *logits);

/* A wrong prediction, for the report. */
typedef struct mistake {
    int64_t sample_index;
    int32_t label, predicted;
    float probability; /* of the predicted class, softmax */
    double loss;
} mistake;

typedef struct evaluation {
    metrics metrics;
    arena memory;
    float *logits;         /* [batch, classes], grown on first use */
    int64_t logits_rows;
    mistake *worst;        /* [worst_count], greatest loss first   */
    int64_t worst_count, worst_capacity;
    double seconds;        /* of the last run */
    double wait_seconds;   /* of it, waiting for data */
} evaluation;

/* worst: how many of the worst mistakes to keep. */
status evaluation_init(evaluation *e, int64_t classes, int64_t top_k, spec_loss loss, int64_t worst);
void evaluation_free(evaluation *e);

/* Resets e and goes once through `l`, an evaluation loader, from its start. stop: returns non-zero to break off with
 * E_INTERRUPTED, or NULL. what: for the progress line, e.g. "val". comm: sums are added over ranks; NULL: alone. */
typedef int evaluator_stop_fn(void *context);
typedef struct evaluation_options {
    evaluator_predict_fn *predict;
    void *context;
    evaluator_stop_fn *stop;
    void *stop_context;
    const char *what;
    int64_t total; /* samples, for the progress line */
    logger *log;
    comm *comm;
} evaluation_options;
status evaluation_run(evaluation *e, loader *l, const evaluation_options *options);

/* Goes once through `data`, in order, preprocessed as p says; loader options from s->data and s->train.seed. e is initialised by the
 * caller; o.total is set. E_DATA when a sample has no class or there is none. */
status evaluate_dataset(evaluation *e, const dataset *data, const preprocess *p, const spec *s, int64_t batch_size, evaluation_options o);

/* Predicts by running a plan made from eval_graph_build. */
typedef struct plan_predictor {
    plan *plan;
    const trainable *graph;
} plan_predictor;
status plan_predict(void *predictor, const batch *b, float *logits); /* an evaluator_predict_fn */

/* Tables as text: means, per-class rows (folded above max_rows), and the confusion matrix when it is small. */
status evaluation_print(const evaluation *e, FILE *stream, const char *const *class_name, int64_t max_rows);
/* One JSON object: count, loss, accuracy_top1, accuracy_topK, macro, weighted, classes[], confusion[][]. */
void evaluation_write(const evaluation *e, json_writer *w, const char *const *class_name);

#endif
