/* checkpoint.h: last, last-1 and best in a run's folder, so that no kill and no full disk
 * ever leaves nothing to go on from.
 *
 * A checkpoint is NAME.safetensors and NAME.state; the state is written last and names its model by hash, which commits
 * the pair. Saving: last becomes last-1 (by hard links, so last is never missing), then the new model replaces last,
 * then the new state. Whatever moment the process dies at, one state and the model it names are whole:
 *     before the model is replaced     last.state names last.safetensors
 *     between model and state          last-1.state names last-1.safetensors
 *     after the state                  last.state names last.safetensors
 * Opening takes the first of last, last-1 that verifies and says so when it is not the last.
 *
 *     TRY(checkpoint_save("runs/a", &model, &state));              // sets state.model_hash
 *     TRY(checkpoint_mark_best("runs/a"));
 *     TRY(checkpoint_open("runs/a", &model, &state, log));
 */
#ifndef GRAFT_TRAIN_CHECKPOINT_H
#define GRAFT_TRAIN_CHECKPOINT_H

#include "core/base/log.h"
#include "core/graph/model.h"
#include "core/train/state.h"

/* Writes model and state as the folder's `last`. E_IO leaves the checkpoints there were. */
status checkpoint_save(const char *folder, model *m, train_state *s);

/* best becomes what last is. */
status checkpoint_mark_best(const char *folder);

bool checkpoint_exists(const char *folder); /* a state file is there */

/* Both are initialised by the call and are the caller's to free. E_MODEL with the reason for
 * each candidate when none is whole. */
status checkpoint_open(const char *folder, model *m, train_state *s, logger *l);

/* E_IO when the folder's file system has not room for `checkpoints` of this size at once. */
status checkpoint_preflight(const char *folder, int64_t checkpoint_bytes, double checkpoints);

#endif
