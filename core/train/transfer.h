/* transfer.h: from pretrained weights and a fresh last layer to a network worth fine-tuning (spec section [transfer]).
 *
 * First the last layer is trained alone, on features that the rest of the network, as it came, gives for every training image: computed
 * once in evaluation mode, of each image as it is validated, of others of its views (transfer.probe_crops, probe_stretch) and, where
 * augment.hflip allows, of the mirror images of all. See probe.h. Only then are all layers trained, the front ones at lower rates: a random
 * last layer would first spoil the features that it is fed (Kumar and others, Fine-tuning can distort pretrained features and underperform
 * out-of-distribution, ICLR 2022: LP-FT).
 *
 *     TRY(transfer_fit_head(&model, &spec, &data, bad, dev, log, stop, context));
 *     TRY(transfer_rates(rates, store, &model.graph, &spec, fitted));
 *
 * A 1x1 convolution under a ReLU and an average (SqueezeNet) is fitted as if the ReLU were not there; then its biases are raised by one
 * number, the same for all classes, so that no training image falls below zero anywhere, with a tenth to spare. A softmax does not see that
 * number: the network's scores are those of the fit.
 */
#ifndef GRAFT_TRAIN_TRANSFER_H
#define GRAFT_TRAIN_TRANSFER_H

#include "core/data/dataset.h"
#include "core/graph/model.h"
#include "core/graph/plan.h"
#include "core/train/evaluator.h"

typedef struct transfer_input {
    const dataset *data;         /* the training part                    */
    const char *const *bad;      /* lint_report.reason, or NULL          */
    int64_t batch_size;
    evaluator_stop_fn *stop;     /* as evaluation_run's; may be NULL     */
    void *stop_context;
    logger *log;
} transfer_input;

/* Writes weight and bias of the last layer of m->graph. A network whose end is of no known form (head.h), or has no bias, keeps its fresh
 * last layer: *fitted false, and the log says why. E_INTERRUPTED or E_TERMINATED when
 * stopped. */
status transfer_fit_head(model *m, const spec *s, const transfer_input *in, device *dev, bool *fitted);

/* rate[i] for segment i of the store: 1 behind the blocks, transfer.front_rate at the first one that is trained, geometric in between; for
 * the last layer transfer.head_rate if it was fitted, else 1. */
status transfer_rates(float *rate, const param_store *store, const graph *g, const spec *s, bool fitted);

#endif
