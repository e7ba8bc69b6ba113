/* optimiser.h: one update of all parameters, on the device.
 *
 * Weights, gradients and moments are flat blocks of one layout (param_store); a table of segments on the device says
 * which tensors are frozen and which take no decay. What changes from step to step (rate, step, loss scale, what the
 * check found) is one step_state block on the device, so that the two kernel calls never change their arguments.
 *
 *     optimiser o;
 *     TRY_OUT(optimiser_init(&o, dev, store, &spec, NULL, NULL));
 *     TRY_OUT(plan_run(p));                                     // gradients
 *     TRY_OUT(optimiser_step(&o, &comm, rate, applied + 1));
 *     TRY_OUT(optimiser_result(&o, &measured));                 // measured.finite, norm, penalty
 * out:
 *     optimiser_free(&o);
 *
 * A step whose gradients hold a NaN or Inf changes neither weights nor moments nor EMA, and leaves the gradients zero.
 */
#ifndef GRAFT_TRAIN_OPTIMISER_H
#define GRAFT_TRAIN_OPTIMISER_H

#include "core/device/replay.h"
#include "core/dist/comm.h"
#include "core/graph/plan.h"
#include "core/train/state.h"

typedef struct optimiser {
    device *dev;
    param_store *store;
    optimiser_desc desc;
    float loss_scale;             /* what the gradients were multiplied with; 1 unless the caller sets it */
    buffer segments, state;
    buffer moment1, moment2;      /* as the rule needs, else empty                                        */
    buffer ema, ema_state;        /* averaged weights and running statistics; empty without EMA            */
    buffer spare;                 /* as large as the larger of the two: for swapping and for undoing       */
    buffer kept_state;            /* running statistics before the step                                    */
    const kernel *check, *update; /* OP_GRAD_CHECK, OP_OPTIMISER */
    void *check_state, *update_state;
    buffer scratch;
    const kernel *mix;            /* OP_ADD over the running statistics, for their average */
    void *mix_state;
    binary_desc mix_desc;
    step_state *sent, *received;  /* host memory, pinned where that exists */
    replay update_all;
    bool swapped;
} optimiser;

/* variants: kernel names of a checkpoint in the order of optimiser_variants, or NULL. rates: factors of the learning
 * rate, one a segment, or NULL: 1. E_MEMORY. */
status optimiser_init(
    optimiser *o, device *dev, param_store *store, const spec *s, const state_list *variants, const float *rates);
void optimiser_free(optimiser *o); /* accepts a zeroed struct */
int32_t optimiser_variants(const optimiser *o, const char *names[3]);

/* Before the first forward pass of a step: keeps the running statistics, so that a refused step can give them back. */
status optimiser_begin(optimiser *o);
/* Sums the gradients over ranks, checks and updates; does not wait. `applied`: 1 for the first update
 * (Adam's t). Then optimiser_result. */
status optimiser_step(optimiser *o, comm *c, double rate, int64_t applied);
/* What the last step found; waits for the device. When it was refused, running statistics are put back. */
status optimiser_result(optimiser *o, step_state *result);
/* Averages the running statistics; after a step that counted. Does nothing without EMA. */
status optimiser_average_state(optimiser *o);
status optimiser_restore_state(optimiser *o);

/* Exchanges weights and running statistics with their averages: before and after evaluating
 * and saving. Nothing without EMA. */
status optimiser_swap_ema(optimiser *o);

/* Bytes on the device beside weights and gradients, for `count` weights and `state_count` statistics. */
int64_t optimiser_bytes(const spec *s, int64_t count, int64_t state_count);

/* Blocks for a state file: their names and sizes, and the copies to and from host memory (blocks[i].data,
 * 64-byte aligned). Call optimiser_blocks, allocate, then download. With EMA the blocks hold the raw
 * weights, the model file the averages. */
int32_t optimiser_blocks(const optimiser *o, state_block blocks[STATE_MAX_BLOCKS]);
status optimiser_download(optimiser *o, const state_block *blocks, int32_t count); /* not while swapped */
status optimiser_upload(optimiser *o, const train_state *s);                       /* E_MODEL when a block is missing */

/* Hash of names, offsets and sizes of the segments: state files of another network are refused by it. */
uint64_t optimiser_layout(const param_store *store);

#endif
