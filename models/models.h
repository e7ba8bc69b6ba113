/* models.h: networks as graph-building functions. A network is one file and one line of models.def.
 *
 *     graph g;
 *     TRY(models_build(&g, &spec.model, class_count));      // spec.model.arch says which
 *
 * The graph has one input, "image" [1, input_height, input_width, channels] f32, and one output, the logits [1, classes].
 * Parameters carry torchvision's names; their values are zero: initialisation and transfer are the trainer's.
 * Blocks (freezing units, node.block): 0 the stem, 1 and up the stages, -1 the head.
 */
#ifndef GRAFT_MODELS_MODELS_H
#define GRAFT_MODELS_MODELS_H

#include "core/config/spec.h"
#include "core/graph/graph.h"

/* One network. `build` appends to a graph whose input it makes itself. */
typedef struct model_entry {
    const char *name;      /* "resnet18" */
    const char *summary;   /* one line   */
    int32_t default_width, default_height;
    status (*build)(graph *g, const struct model_entry *entry, const spec_model *options, int64_t classes);
    const int32_t *stages; /* units per stage, ends with 0 */
    bool bottleneck;
} model_entry;

extern const model_entry model_table[]; /* ends with a NULL name */

const model_entry *models_find(const char *name); /* NULL if unknown */
/* g is initialised by the call. E_USAGE: unknown arch, with the list. */
status models_build(graph *g, const spec_model *options, int64_t classes);

#endif
