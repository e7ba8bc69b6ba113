/* model_layout.h: values between the layouts of a model file (torchvision's) and of a graph (channels last). */
#ifndef GRAFT_GRAPH_MODEL_LAYOUT_H
#define GRAFT_GRAPH_MODEL_LAYOUT_H

#include "core/graph/graph.h"

/* Shape of a parameter as it stands in a file. */
shape layout_file_shape(const edge *e);
/* Reorders elements of dtype_bytes(e->type); src and dst do not overlap; both aligned to the type. */
void layout_to_file(const edge *e, void *dst, const void *src);
void layout_from_file(const edge *e, void *dst, const void *src);

#endif
