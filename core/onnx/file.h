/* file.h: an ONNX file as plain structures. Only file_read.c and file_write.c know protobuf. Private to core/onnx. */
#ifndef GRAFT_ONNX_FILE_H
#define GRAFT_ONNX_FILE_H

#include "core/base/hash.h"
#include "core/ops/onnx.h"

enum { ONNX_FILE_MAX_NODES = 10000, ONNX_FILE_MAX_DEPTH = 24 };

/* An input or output of the graph. */
typedef struct onnx_port {
    const char *name;
    bool is_float;
    bool has_shape;
    int32_t rank;
    int64_t dim[SHAPE_MAX_RANK]; /* -1: open */
} onnx_port;

typedef struct onnx_file_node {
    const char *type, *name, *domain; /* "" if absent */
    const char **in, **out;           /* "": absent   */
    int32_t in_count, out_count;
    onnx_attribute *attributes;
    int32_t attribute_count;
} onnx_file_node;

typedef struct onnx_file {
    arena memory;
    const char *what;                 /* in messages */
    const char *producer;
    int64_t opset;
    onnx_tensor *tensors;             /* [tensor_count] initialisers, every one with its values */
    int64_t tensor_count;
    onnx_file_node *nodes;            /* [node_count] */
    int64_t node_count;
    onnx_port *inputs, *outputs;
    int64_t input_count, output_count;
    const char **meta_key, **meta_value;
    int64_t meta_count;
    int64_t external_tensors, external_files; /* whose values lay in other files  */
    const char *external_name;                /* the first of these files, or NULL */
    hash128 hash;                             /* of the bytes and of those values  */
} onnx_file;

typedef struct onnx_source {
    const uint8_t *bytes;
    size_t count;
    const char *what;
    const char *folder; /* where values in other files lie (external.h); NULL: such are refused */
    bool names_only;    /* tensors without values, no nodes                                     */
} onnx_source;

/* f is initialised by the call. Checked in this order: nesting and lengths of the bytes, then memory (at most 4 times
 * the bytes and 64 MiB while decoding), then types, dimensions and the number of values of every tensor, in the file
 * or in the one that it names. E_MODEL. */
status onnx_file_read(onnx_file *f, const onnx_source *from);
void onnx_file_free(onnx_file *f); /* accepts a zeroed one */

/* One serialised TensorProto, as data sets beside a model hold them: values in `a`. */
status onnx_tensor_read(onnx_tensor *t, arena *a, const uint8_t *bytes, size_t count, const char *what);

/* What is written: opset 13, IR version 7; dimensions of -1 are called N. */
typedef struct onnx_out_file {
    const onnx_sink *sink;
    const onnx_port *input, *output;
    const char *const *meta; /* [2 * meta_count] key, value ... */
    int64_t meta_count;
} onnx_out_file;
status onnx_file_write(const onnx_out_file *f, const char *path, hash128 *file_hash); /* atomic */

#endif
