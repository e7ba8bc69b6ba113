/* train_graph.h: from a model's graph to the graphs that are trained and evaluated.
 *
 *     trainable t;
 *     TRY(train_graph_build(&t, &model.graph, &setting, batch, grad_scale));
 *     TRY(plan_create(&p, &t.graph, dev, &options));
 *     trainable_free(&t);
 *
 * The model's own graph stays as it is: batch size, frozen parameters and the loss are matters of these copies.
 */
#ifndef GRAFT_TRAIN_TRAIN_GRAPH_H
#define GRAFT_TRAIN_TRAIN_GRAPH_H

#include "core/graph/transform.h"
#include "core/task/task.h"

typedef struct trainable {
    graph graph;                /* outputs: the network's own, then the terms                */
    edge_id image;              /* input f32 [batch, h, w, c]                                */
    edge_id label[LABEL_MAX];   /* inputs: field k of the labels [batch, each]; NONE: absent */
    const char *label_name[LABEL_MAX];
    edge_id sample_keys;        /* input i64 [batch]; NONE: no dropout                       */
    edge_id loss_scale;         /* input f32 [1], multiplies gradients; NONE: not f16        */
    loss_terms terms;           /* none without a loss                                       */
} trainable;

/* Forward with batch statistics, what the task minimises, and gradients of all that is not frozen, in the precision of
 * the spec. grad_scale multiplies gradients: 1 / (accumulated batches * devices). */
status train_graph_build(
    trainable *t, const graph *source, const task_setting *setting, int64_t rows, double grad_scale);

/* Loss and gradients of the network in evaluation mode: running statistics, no auxiliary heads, every parameter still
 * trained. For checks. */
status eval_gradient_build(trainable *t, const graph *source, const task_setting *setting, int64_t rows);

/* Forward with running statistics, no dropout, no loss. */
status eval_graph_build(trainable *t, const graph *source, int64_t rows, spec_precision precision);

size_t trainable_bytes(const trainable *t, edge_id e); /* of a tensor; EDGE_NONE: 0 */

/* Batch statistics are those of all ranks' images, of which this one has `here`
 * (pass_sync_batchnorm). Before trainable_fuse. */
status trainable_sync(trainable *t, int64_t here, int64_t everywhere);

/* Normalisation moves into the convolutions where kernels of backend b do it in
 * passing (transform.h). *saved is set. */
status trainable_fuse(trainable *t, backend b, spec_normalise_on_read on_read, fused_traffic *saved);

void trainable_free(trainable *t); /* accepts a zeroed struct */

/* Blocks below it are transfer.frozen_part of all; 0 without transfer. */
int32_t transfer_first_block(const graph *g, const spec *s);

/* Marks what model.freeze_blocks, freeze_layers, freeze_bn and transfer.frozen_part name as frozen: parameters are not
 * trained, and a frozen batch normalisation works with its running statistics, which stay. E_USAGE when a name or block
 * matches nothing, or nothing is left to train. */
status freeze_apply(graph *g, const spec *s);

/* name == pattern, or pattern ends with '*' and name begins with the rest. */
bool name_matches(const char *name, const char *pattern);

#endif
