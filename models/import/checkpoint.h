/* checkpoint.h: which dictionary of a PyTorch file holds the weights. A checkpoint is a dictionary of dictionaries,
 * some of which hold tensors.
 *
 *     checkpoint c;
 *     TRY(checkpoint_list(&c, &a, root, "last.pth.tar"));
 *     TRY(checkpoint_choose(&c, NULL, "last.pth.tar"));          // or "state_dict_ema", as the user says
 *     use(c.groups[c.chosen]);
 *
 * Without a name the choice is: the file's own dictionary when it holds tensors; else what state_dict, model,
 * model_state_dict, net, network, params or weights lead to, in that order; else the only one that lies least deep.
 * Where an average of the weights (a key with the word EMA) stands beside the dictionary so chosen and holds at least
 * nine tenths as many tensors, the average is taken: it is what was evaluated.
 */
#ifndef GRAFT_MODELS_IMPORT_CHECKPOINT_H
#define GRAFT_MODELS_IMPORT_CHECKPOINT_H

#include "models/import/pickle.h"
#include "models/import/weights.h"

typedef struct checkpoint {
    arena *memory;
    weights_group *groups;             /* [count] those that hold tensors, least deep first */
    const pickle_value **dictionary;   /* [count] */
    int64_t count, capacity;
    int64_t chosen;
    bool named;                        /* chosen is what the caller named */
    int64_t raw;                       /* what the chosen average is an average of, or -1 */
    int64_t passed;                    /* an average that holds too few tensors (no running statistics?), or -1 */
} checkpoint;

/* Every dictionary is looked at once, whatever holds it: the work is linear in the pickle. Lists live in a. E_MODEL:
 * there is none. */
status checkpoint_list(checkpoint *c, arena *a, const pickle_value *root, const char *what);
/* name: a group's name or the last part of it ("." for the file's own dictionary); NULL, and a name that no group has:
 * as above. E_MODEL naming the groups when none can be chosen. */
status checkpoint_choose(checkpoint *c, const char *name, const char *what);

/* Is `ema` a word of the text? "state_dict_ema", "model.EMA", "emaModel"; not "schema", "cinema". */
bool text_names_average(const char *text);

#endif
