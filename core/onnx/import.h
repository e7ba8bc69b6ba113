/* import.h: the walk from file to graph. Private to core/onnx. */
#ifndef GRAFT_ONNX_IMPORT_H
#define GRAFT_ONNX_IMPORT_H

#include "core/onnx/file.h"
#include "core/onnx/onnx.h"

typedef struct onnx_import_state {
    graph *g;
    const onnx_file *f;
    arena memory;
    onnx_value *values;    /* [value_count] sorted by name */
    int64_t value_count;
    onnx_call *calls;      /* [f->node_count]              */
    onnx_value **outputs;  /* [f->output_count]            */
    int32_t height, width; /* of an input that leaves them open; 0: refused */
} onnx_import_state;

/* NCHW, unless only the last dimension of an image can be its channels. -1: open, as height and width may be. */
bool onnx_is_channels_last(shape s);
/* s->g, f, height, width are given. */
status onnx_import_nodes(onnx_import_state *s);
void onnx_import_free(onnx_import_state *s);
/* The last call that made a value, or NULL. */
onnx_call *onnx_import_producer(const onnx_import_state *s, const onnx_value *v);
/* Outputs as the graph's: rank 4 channels last, others in ONNX's order. */
status onnx_import_outputs(onnx_import_state *s);

/* Computes a node from constants alone. *done false: no rule for it here, or its inputs are not all constant. */
status onnx_fold(onnx_call *c, bool *done);
bool onnx_folds(const char *type);

#endif
