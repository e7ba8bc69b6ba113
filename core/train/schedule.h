/* schedule.h: the learning rate as a function of the step. No state: resume needs nothing but the step.
 *
 * Progress p = step / total, steps counted from 0; the rate is that of the update which follows. With r =
 * learning_rate, m = min_learning_rate, w = warmup, q = max(0, p - w) / (1 - w):
 *     constant     r
 *     step         r * gamma^(p / (step_size / 100)), a continuous exponent
 *     multistep    r * gamma^(milestones with p >= milestone)
 *     cosine       m + (r - m) * (1 + cos(pi * q)) / 2
 *     polynomial   m + (r - m) * (1 - q)^power
 * and while p < w each rises linearly from warmup_start to its own value at p = w. Without warm-up of that kind:
 *     soft_start   exp(ln m + t * (ln r - ln m)), t = p / s for p < s, (1 - p) / (1 - a) for p > a, else 1
 *                  (s = soft_start, a = annealing; s = 0 skips the rise, a = 1 the fall)
 *     soft_anneal  linear from warmup_start to r while p < soft_start; then as multistep
 * All rates are multiplied by the number of devices when scale_with_world.
 *
 *     TRY(schedule_check(&spec.schedule));
 *     float rate = (float)schedule_rate(&spec.schedule, step, total, comm.world);
 */
#ifndef GRAFT_TRAIN_SCHEDULE_H
#define GRAFT_TRAIN_SCHEDULE_H

#include "core/base/status.h"
#include "core/config/spec.h"

/* What single ranges in spec.def cannot say: E_USAGE naming the keys. */
status schedule_check(const spec_schedule *s);

/* Rate for update `step` (0-based) of `total` >= 1. */
double schedule_rate(const spec_schedule *s, int64_t step, int64_t total, int32_t world);

#endif
