/* loss_scale.h: what keeps f16 gradients in range (Micikevicius and others 2018, section 3.2). The loss is multiplied
 * by the scale before the backward pass, gradients divided by it in the update. An overflow halves the scale and
 * skips the update; train.loss_scale_period good updates in a row double it. The scale is part of train_progress, so
 * that a resumed run goes on with it.
 */
#ifndef GRAFT_TRAIN_LOSS_SCALE_H
#define GRAFT_TRAIN_LOSS_SCALE_H

#include "core/config/spec.h"
#include "core/train/state.h"

typedef enum loss_scale_change { LOSS_SCALE_KEPT, LOSS_SCALE_RAISED, LOSS_SCALE_LOWERED } loss_scale_change;

/* Sets p->loss_scale unless a resumed run has brought one: 1 except in f16. */
void loss_scale_start(train_progress *p, const spec_train *o);
/* After an update that was or was not finite. LOWERED: the update is to be skipped, and nothing is wrong yet. KEPT
 * after an update that was not finite: the scale is fixed or as low as it gets, so the fault lies elsewhere. */
loss_scale_change loss_scale_update(train_progress *p, const spec_train *o, bool finite);

#endif
