/* metrics.h: what classification is judged by, from logits on the host.
 *
 * The same sums for training batches, validation, models and engines, added in sample order in double: the same samples
 * give the same bits whatever the batch size. A prediction is the largest logit, the first of equals; the true class is
 * among the top k when fewer than k classes stand before it in that order. NaN logits are wrong predictions. The loss
 * is plain cross-entropy (or mean binary cross-entropy with sigmoid) without smoothing or class weights, so that it can
 * be compared between runs. A mean over nothing is NaN: printed as "-", null in JSON, empty in CSV.
 *
 *     metrics m;
 *     TRY(metrics_init(&m, classes, top_k, LOSS_SOFTMAX));
 *     metrics_add(&m, logits, labels, count);          // per batch
 *     printf("%.2f %%\n", 100 * metrics_accuracy(&m));
 *     metrics_free(&m);
 */
#ifndef GRAFT_TASK_CLASSIFY_METRICS_H
#define GRAFT_TASK_CLASSIFY_METRICS_H

#include "core/base/arena.h"
#include "core/base/status.h"
#include "core/config/spec.h"

enum { METRICS_MAX_CONFUSION = 2048 }; /* classes up to which the whole matrix is kept */

typedef struct metrics {
    arena memory;
    int64_t classes, top_k; /* top_k is cut to the number of classes */
    spec_loss loss;
    int64_t count, correct, correct_top_k;
    double loss_sum;
    int64_t *support, *predicted, *hit; /* [classes]: true samples, predictions, both */
    int64_t *confusion;                 /* [true][predicted], or NULL above METRICS_MAX_CONFUSION */
} metrics;

status metrics_init(metrics *m, int64_t classes, int64_t top_k, spec_loss loss);
void metrics_free(metrics *m);
void metrics_reset(metrics *m); /* all sums to 0 */

/* Loss of one row of logits [classes]; prediction and rank of the true class (0: predicted) where not NULL. */
double metrics_row(
    const float *logits, int64_t classes, int32_t label, spec_loss loss, int32_t *predicted, int64_t *rank);

/* logits [count, classes], labels [count] in 0 .. classes-1; a label outside counts nowhere. */
void metrics_add(metrics *m, const float *logits, const int32_t *labels, int64_t count);

double metrics_loss(const metrics *m);
double metrics_accuracy(const metrics *m);
double metrics_accuracy_top_k(const metrics *m);

typedef struct class_metrics {
    double precision, recall, f1; /* NaN where nothing was predicted, or nothing was there */
    int64_t support;
} class_metrics;
class_metrics metrics_class(const metrics *m, int64_t c);

/* Means over the classes that occur or are predicted, an undefined value counting as 0
 * (scikit-learn's zero_division = 0). */
class_metrics metrics_macro(const metrics *m);
class_metrics metrics_weighted(const metrics *m); /* by support */

#endif
