/* model_internal.h: for the fuzzer, which cannot guess checksums. */
#ifndef GRAFT_GRAPH_MODEL_INTERNAL_H
#define GRAFT_GRAPH_MODEL_INTERNAL_H

#include "core/graph/model.h"

/* model_load without comparing checksums. m is zeroed or as initialised on entry; freed on failure. */
status model_read(model *m, const safetensors *st);

#endif
