/* models.h: networks as graph-building functions. A network is one file and one line of models.def.
 *
 *     graph g;
 *     TRY(models_set_defaults(&config)); // what the network's authors chose, where the user said nothing
 *     TRY(models_build(&g, &spec, class_count));            // spec.model.arch says which
 *
 * The graph has one input, "image" [1, input_height, input_width, channels] f32, and one output: the logits [1,
 * classes], or with model.head what a detector finds (detectors/detectors.h). Parameters carry torchvision's names
 * (timm's where torchvision lacks the network); their values are zero: initialisation and transfer are the trainer's.
 * Blocks (freezing units, node.block): 0 the stem, 1 and up the stages, -1 the head.
 *
 * A detector takes the same network without its head:
 *
 *     model_stages s;
 *     TRY(models_build_backbone(&g, &spec.model, &s));
 *     edge_id c3 = model_stage_at(&s, 8), c4 = model_stage_at(&s, 16);
 */
#ifndef GRAFT_MODELS_MODELS_H
#define GRAFT_MODELS_MODELS_H

#include "core/config/config.h"
#include "core/graph/graph.h"

struct net; /* models/parts/layers.h */

/* One network. `build` appends everything behind the image x; without classes (0) it stops in front of the head. */
typedef struct model_entry {
    const char *name;      /* "resnet18" */
    const char *summary;   /* one line   */
    status (*build)(struct net *n, edge_id x, const struct model_entry *entry, int64_t classes);
    const int32_t *stages; /* units per stage, ends with 0              */
    int32_t variant;       /* within the family: the build function's   */
    const char *defaults;  /* "key=value ..." of [model]: what differs from spec.def's    */
    const char *options;   /* keys of [model] that make sense for some networks only, and do for this one */
} model_entry;

/* model.arch in the spec of a model whose network came as a whole from another program's
 * file. Nothing is built from it. */
#define MODELS_IMPORTED "imported"

extern const model_entry model_table[]; /* ends with a NULL name */

const model_entry *models_find(const char *name); /* NULL if unknown */
/* "resnet10, resnet18, ..." */
void models_list(char *text, size_t capacity);

/* Takes "ssd_mobilenet_v2" in model.arch for model.head = ssd, model.arch = mobilenet_v2. What
 * is no such pair stays as it is. */
status models_split_arch(config *c);

/* Sets what the network of c->spec.model.arch has as defaults, for all options of [model] that nobody has set, and
 * complains about options that were given a value other than the network's default but mean nothing to it. Before
 * config_finish; an unknown network changes nothing. */
status models_set_defaults(config *c);

/* What a network of these options is for, as model files name it; "" is classification (core/task/task.h). */
const char *models_task(const spec_model *options);

/* g is initialised by the call. E_USAGE: unknown arch, with the list. */
status models_build(graph *g, const spec *s, int64_t classes);

/* Feature maps: the last edge of each stride, in network order. */
enum { MODEL_MAX_STAGES = 8 };
typedef struct model_stage {
    edge_id edge;   /* [1, h, w, c] */
    int32_t stride; /* of the image */
} model_stage;
typedef struct model_stages {
    model_stage stage[MODEL_MAX_STAGES];
    int32_t count;
} model_stages;
/* The same without head: no output yet, the caller appends. Strides 4, 8, 16, 32 are there as far as
 * the options let the network go. */
status models_build_backbone(graph *g, const spec_model *options, model_stages *stages);
edge_id model_stage_at(const model_stages *s, int32_t stride); /* EDGE_NONE: the network has no such stage */

#endif
