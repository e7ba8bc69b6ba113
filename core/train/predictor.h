/* predictor.h: a model that predicts batches, and one data set judged by it: what evaluate, prune and export ask for.
 *
 *     predictor p;
 *     TRY_OUT(predictor_open(&p, &model.graph, dev, 64));
 *     TRY_OUT(evaluate_dataset(&e, &val, &model.preprocess, &spec, 64, &(evaluation_options){.predict = predictor_predict, .context = &p}));
 * out:
 *     predictor_close(&p);
 */
#ifndef GRAFT_TRAIN_PREDICTOR_H
#define GRAFT_TRAIN_PREDICTOR_H

#include "core/train/evaluator.h"

/* A plan in evaluation mode for one batch size. Must not move while open. */
typedef struct predictor {
    trainable graph;
    plan *plan;
} predictor;

status predictor_open(predictor *p, const graph *g, device *dev, int64_t batch_size);
void predictor_close(predictor *p); /* accepts a zeroed struct */
status predictor_predict(void *predictor, const batch *b, float *logits); /* an evaluator_predict_fn */

/* Goes once through `data`, in order, preprocessed as p says; loader options from s->data and s->train.seed. e is initialised by the
 * caller; o->total is set. E_DATA when a sample has no class or there is none. */
status evaluate_dataset(evaluation *e, const dataset *data, const preprocess *p, const spec *s, int64_t batch_size, evaluation_options o);

/* E_DATA naming the first difference unless both have the same classes in the same order. */
status check_same_classes(const dataset *data, const char *const *class_name, int64_t class_count, const char *model_path);

#endif
