/* policy.h: what pruning does where the user leaves it open, and how the pruned network is trained again.
 *
 *     const prune_case c = {.has_images = true, .transferred = false, .target = TARGET_MACS};
 *     o.score = prune_choose_score(&c);
 *     const retrain_recipe *r = retrain_choose(c.transferred, o.reconstruct);
 */
#ifndef GRAFT_PRUNE_POLICY_H
#define GRAFT_PRUNE_POLICY_H

#include "prune/prune.h"

typedef struct prune_case {
    bool has_images;   /* training images are at hand                       */
    bool transferred;  /* the network was trained from pretrained weights   */
    prune_target target;
} prune_case;

/* By images (SCORE_OBS) where norms alone lose too much and images are there. */
prune_score prune_choose_score(const prune_case *c);
bool prune_choose_reconstruct(const prune_case *c);

typedef struct retrain_change {
    const char *section, *key, *value; /* of the spec of the run that made the network */
} retrain_change;

/* The same run again, from the pruned network, without a penalty, but for what follows. */
typedef struct retrain_recipe {
    int64_t times_longer;         /* train.epochs * this          */
    double times_slower;          /* learning rates / this        */
    const retrain_change *change; /* [change_count]               */
    int32_t change_count;
} retrain_recipe;

const retrain_recipe *retrain_choose(bool transferred, bool reconstructed);

#endif
