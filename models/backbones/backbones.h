/* backbones.h: the build functions that models.def names. */
#ifndef GRAFT_MODELS_BACKBONES_H
#define GRAFT_MODELS_BACKBONES_H

#include "models/models.h"

/* He and others 2016, "Deep residual learning"; torchvision's v1.5 form (a bottleneck strides in its 3x3) unless options say otherwise. */
status resnet_build(graph *g, const model_entry *entry, const spec_model *options, int64_t classes);

#endif
