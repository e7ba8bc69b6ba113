/* prefix.h: what stands in front of tensors' names. Wrappers put module. or _orig_mod. in front of all names; a
 * training program keeps its network as model. or encoder. beside other things; a file of two networks has student. and
 * teacher. in front.
 *
 *     const char *known[] = {"conv1.weight", "fc.weight"};                     // sorted by strcmp
 *     TRY(prefixes_find(&a, tensors, count, known, 2, list, &found));
 *     // of model.conv1.weight, model.fc.weight, loss.weight: "" and "model."
 */
#ifndef GRAFT_MODELS_IMPORT_PREFIX_H
#define GRAFT_MODELS_IMPORT_PREFIX_H

#include "core/graph/model.h"

enum { PREFIXES_MAX = 8 };

typedef struct name_prefix {
    const char *text; /* "" or ends with a dot */
    int64_t names;    /* that are known behind it */
    int32_t parts;
    bool average;     /* it says EMA */
} name_prefix;

/* The prefixes in front of known names, under any name map: the empty one first, then those with the most, at most
 * PREFIXES_MAX in all; one with less than an eighth of the most, or less than four, is an accident ("layer1.0." in
 * front of conv1.weight). known: sorted. Time is linear in the names' length times the name maps.
 * Texts live in a. */
status prefixes_find(arena *a, const safetensor *tensors, int64_t count, const char *const *known, int64_t known_count,
    name_prefix *list, int32_t *found);

#endif
