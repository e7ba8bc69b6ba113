#include "prune/policy.h"

/* Norms take no images, and what a cut by them costs, retraining on many images brings back: half the parameters of the
 * demo's network cost 90.24 to 90.15 % (README.md). A few hundred images are too few for that: there channels are
 * chosen by what the others can stand in for, 78.4 % of 85.5 % before retraining where first-order changes of the
 * features gave 73.3 (docs/TRANSFER.md, MobileNet v2 on a fold of caltech101, half the products). */
static bool needs_images(const prune_case *c)
{
    return c->has_images && (c->target == TARGET_MACS || c->transferred);
}

prune_score prune_choose_score(const prune_case *c)
{
    return needs_images(c) && c->target != TARGET_NONE ? SCORE_OBS : SCORE_L2;
}

bool prune_choose_reconstruct(const prune_case *c) { return needs_images(c); }

/* All layers have changed, so all are trained; the last one has learnt from the whole network and stays. On the fold
 * of caltech101 two epochs with half of the blocks frozen end at 80.6 % and a loss of 0.707, ten of all layers at
 * half the rate at 81.0 % and 0.682. */
#define ALL_LAYERS {"transfer", "enable", "true"}, {"transfer", "recipe", "false"}, {"transfer", "frozen_part", "0"}
static const retrain_change after_reconstruction[] = {ALL_LAYERS, {"transfer", "probe", "false"}};

/* Nothing was fitted to replace the lost channels, and the transferred run was too short and gentle to make up for
 * them: the last layer is fitted to what is left of the features, and all layers are trained ten times as long, at the
 * full rate. Gradients are large at first, hence the clipping. */
static const retrain_change after_norms[] = {ALL_LAYERS, {"transfer", "probe", "true"}, {"transfer", "front_rate", "1"},
    {"transfer", "head_rate", "1"}, {"transfer", "start_weight", "0"}, {"train", "clip_norm", "1"}};

#define CHANGES(list) (list), sizeof(list) / sizeof *(list)
const retrain_recipe *retrain_choose(bool transferred, bool reconstructed)
{
    /* A run from random weights has settled: the same run at a tenth of the rate brings the demo's
     * network from 88.47 back to 90.15 %. */
    static const retrain_recipe from_scratch = {1, 10, NULL, 0}, fitted = {4, 2, CHANGES(after_reconstruction)},
                                cut_by_norms = {10, 1, CHANGES(after_norms)};
    if (!transferred) return &from_scratch;
    return reconstructed ? &fitted : &cut_by_norms;
}
