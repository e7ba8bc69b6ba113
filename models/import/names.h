/* names.h: other projects' names of the same tensors. A project is one table of rules.
 *
 * A rule replaces the beginning of a name. `#` in `from` is any number; in `to`, $1 and $2 are these numbers and $n
 * counts the units of all stages: $n of stage s, unit i = first + units of the stages before s + i. The first rule that
 * fits is applied; a name that none fits stays as it is.
 *
 *     names_map(&name_maps[0], &a, "blocks.1.0.conv_pw.weight", &name);   // "features.2.conv.0.0.weight"
 */
#ifndef GRAFT_MODELS_IMPORT_NAMES_H
#define GRAFT_MODELS_IMPORT_NAMES_H

#include "core/base/arena.h"
#include "core/base/status.h"

typedef struct name_rule {
    const char *from, *to;
} name_rule;
typedef struct name_map {
    const char *what;        /* "timm's mobilenetv2"; "" for the names as they are */
    const name_rule *rules;  /* ends with a NULL from */
    const int32_t *stages;   /* units per stage, for $n; ends with 0 */
    int32_t first;           /* $n of the first unit                 */
} name_map;

extern const name_map name_maps[]; /* ends with a NULL what; the first changes nothing */

/* *mapped lies in a, or is name itself. */
status names_map(const name_map *m, arena *a, const char *name, const char **mapped);

#endif
