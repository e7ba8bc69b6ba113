/* rates.h: at which part of the learning rate each parameter is trained when a run starts from pretrained weights. */
#ifndef GRAFT_TRAIN_RATES_H
#define GRAFT_TRAIN_RATES_H

#include "core/graph/plan.h"
#include "core/task/task.h"

/* rate[i] for segment i of the store: 1 behind the blocks, transfer.front_rate at the first one that is trained,
 * geometric in between; for the last layer transfer.head_rate if it was fitted, else 1. */
void transfer_rates(float *rate, const param_store *store, const graph *g, const task_setting *t, bool fitted);

#endif
