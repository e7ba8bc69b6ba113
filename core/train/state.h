/* state.h: what only training needs to go on: the second file of a checkpoint, and its commit record.
 *
 * FILE.state, little-endian:
 *     0   8   magic "GRAFTSTA"
 *     8   4   version, 1
 *     12  4   0
 *     16  8   bytes of the header
 *     24  16  XXH3-128 of the header (low, high)
 *     40  n   header, JSON: the fields below and for every block its name, offset, bytes and XXH3-128
 *     then the blocks, each at the next multiple of 64, zero bytes between; the file ends with the last block.
 * Every truncation and every changed byte is detected on reading, before anything is used.
 *
 *     train_state s;
 *     TRY_OUT(state_read(&s, "runs/a/last.state"));
 *     const state_block *m = state_find(&s, "moment1");
 * out:
 *     state_free(&s);
 */
#ifndef GRAFT_TRAIN_STATE_H
#define GRAFT_TRAIN_STATE_H

#include <stdbool.h>

#include "core/base/arena.h"
#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/base/status.h"
#include "core/ops/terms.h"

/* Sums since the last row of the log: part of the state, so that a resumed run writes
 * the rows of an uninterrupted one. */
typedef struct train_window {
    double term[TERM_MAX];        /* sums over batches, as trainable.terms         */
    double penalty_sum, norm_sum; /* of the updates that counted                   */
    int64_t batches, images, updates;
    int64_t replaced;             /* images that could not be read; evaluation's too */
    double seconds, wait_seconds;
} train_window;

/* Plain values; all of them are in the header. */
typedef struct train_progress {
    int64_t step;               /* updates done, skipped ones included: where schedule and loader stand */
    int64_t applied;            /* updates that were not skipped: Adam's t                              */
    int64_t bad_total, bad_run; /* skipped updates, all and in a row                                    */
    int64_t batch_size, threads, world, seed;
    int64_t best_step;          /* -1: none */
    double best_criterion, best_watched; /* figures 0 and 1 of the best evaluation */
    int64_t stop_waited;        /* early stopping: evaluations since the best watched figure */
    double stop_watched;        /* INFINITY: none yet */
    bool stopped;               /* early stopping has ended the run */
    bool closed;                /* evaluation and log of this step are done: false after a signal in between */
    bool fitted;                /* the last layer was fitted to features before the first update */
    double seconds;             /* training time so far */
    train_window window;
    double loss_scale;          /* f16: the present one; else 1 (0: not set yet)      */
    int64_t scale_good;         /* f16: good updates since it changed                 */
    /* images that could not be read although they could at the start, and others took their place */
    int64_t replaced;
} train_progress;

enum { STATE_MAX_BLOCKS = 8, STATE_MAX_LISTS = 4 };

typedef struct state_block {
    const char *name;
    const void *data; /* reading: in the file's copy, 64-byte aligned */
    size_t bytes;
} state_block;

typedef struct state_list { /* names of chosen kernels */
    const char *name;
    const char *const *item;
    int64_t count;
} state_list;

typedef struct train_state {
    train_progress progress;
    hash128 model_hash;    /* of the model file that this state belongs to                 */
    uint64_t layout;       /* hash of the flat blocks' layout                              */
    const char *spec_text; /* the resolved spec */
    state_block block[STATE_MAX_BLOCKS];
    state_list list[STATE_MAX_LISTS];
    int32_t block_count, list_count;
    arena memory;          /* reading: of the strings  */
    file_map map;          /* reading: of the blocks   */
} train_state;

status state_write(const train_state *s, const char *path); /* atomic; E_IO */
/* E_MODEL with what is wrong; E_IO; s is initialised by the call */
status state_read(train_state *s, const char *path);
void state_free(train_state *s);                            /* after state_read; accepts a zeroed struct */
const state_block *state_find(const train_state *s, const char *name); /* NULL if absent */
const state_list *state_find_list(const train_state *s, const char *name);

#endif
