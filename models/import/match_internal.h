/* match_internal.h: what the parts of match.h share. Not for others. */
#ifndef GRAFT_MODELS_IMPORT_MATCH_INTERNAL_H
#define GRAFT_MODELS_IMPORT_MATCH_INTERNAL_H

#include "models/import/match.h"
#include "models/import/names.h"
#include "models/import/prefix.h"
#include "models/models.h"

#define SMALLEST_WIDTH 0.0625

/* A tensor of the file under another name. */
typedef struct named_tensor {
    const char *name;
    const safetensor *tensor;
} named_tensor;

/* The file's tensors without one prefix, under one name map. */
typedef struct name_set {
    const name_prefix *prefix;
    const name_map *map;
    named_tensor *by_name; /* [count] sorted; those that a network could want: counters are not in it */
    int64_t count;
} name_set;

enum { NAME_MAPS_MAX = 16 };
typedef struct name_sets {
    name_prefix prefixes[PREFIXES_MAX];
    name_set set[PREFIXES_MAX * NAME_MAPS_MAX];
    int32_t prefix_count, count;
} name_sets;

/* Every prefix that stands in front of known names (sorted here), under every map. Lists live in a. */
status name_sets_make(name_sets *sets, arena *a, const weights *w, const char **known, int64_t known_count);
/* NULL: not there. */
const safetensor *name_set_find(const name_set *set, const char *name);
/* Is a, which has `matched` of what is wanted, a better choice than b? More tensors, then an average of weights, then
 * the shorter prefix. */
bool name_set_is_better(const name_set *a, int64_t matched, const name_set *b, int64_t b_matched);
void name_set_sort(name_set *set);

typedef struct search {
    const weights *w;
    const config *given;
    arena memory;
    name_sets sets;
} search;

/* One network with its options, and how well it fits. */
typedef struct candidate {
    const model_entry *entry;
    const char *key[4], *value[4]; /* options beyond the network's defaults */
    int32_t options;
    name_set *set;
    int64_t matched, wanted, score;
} candidate;

bool match_is_weight(const edge *e);
bool match_is_counter(const char *name); /* num_batches_tracked: nobody wants it */
bool candidate_takes(const candidate *k, const char *key);
/* g stays empty when the options do not go together. width 0: as given. */
status candidate_build(const search *s, const candidate *k, double width, int64_t classes, graph *g);

/* The width with the fewest tensors of another shape, heads aside: the usual ones, and those that the shapes suggest.
 * What the user has set stays; when it does not fit and another one does, *fitting is that one, else 0. */
status match_width(const search *s, const candidate *k, double *width, double *fitting);

/* A last layer that the file keeps inside a Sequential (fc.1.weight), or without one (classifier.weight, where the
 * network has classifier.1.weight), gets the name that the network has, if nothing else stands there. *matched grows by
 * the tensors renamed. *note: what else stands there; "". */
status match_head(const graph *g, name_set *set, arena *a, int64_t *matched, const char **note);

#endif
