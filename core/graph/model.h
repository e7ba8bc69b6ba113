/* model.h: what Graft saves and loads: a graph with its weights, class names and preprocessing.
 *
 * The file is .safetensors with torchvision's tensor names and layouts, so that model.load_state_dict(load_file(...), strict=True)
 * takes it as it is. `__metadata__` entries (strings):
 *     graft.version    "1"
 *     graft.graph      JSON: inputs, nodes with attributes, parameter edges, outputs
 *     graft.classes    JSON array of names
 *     graft.preprocess JSON object
 *     graft.spec       the resolved spec as INI text
 *     graft.info       JSON object: provenance (parent's hash, metrics, epochs)
 *     graft.checksums  JSON object: XXH3-128 of every tensor's bytes by name, and "header": of everything else in the header
 * Every truncation and every flipped byte is detected on loading. num_batches_tracked is written as an I64 scalar.
 */
#ifndef GRAFT_GRAPH_MODEL_H
#define GRAFT_GRAPH_MODEL_H

#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/graph/graph.h"
#include "core/tensor/preprocess.h"

typedef struct model {
    graph graph;             /* as built: input "image" [1, h, w, c]; output 0: logits [1, classes] */
    arena memory;            /* of the strings below */
    const char **class_name; /* [class_count] */
    int64_t class_count;
    preprocess preprocess;
    const char *spec_text;   /* resolved spec, "" if unknown */
    const char *info_json;   /* "{}" if nothing is known     */
    hash128 file_hash;       /* of the file it was read from or written to */
} model;

status model_save(model *m, const char *path); /* atomic; sets file_hash */
status model_load(model *m, const char *path); /* E_MODEL with what is wrong; m is initialised by the call */
void model_free(model *m);                     /* accepts a zeroed model */
status model_set_classes(model *m, const char *const *names, int64_t count); /* copies */

/* Tensors of any safetensors file, checked in the order of the format's own reader before anything is allocated. */
typedef struct safetensor {
    const char *name;
    dtype type;
    shape shape;
    const uint8_t *data; /* in the file's mapping; may be unaligned */
    size_t bytes;
} safetensor;
typedef struct safetensors {
    arena memory;
    safetensor *tensors;
    int64_t count;
    const char **meta_key, **meta_value;
    int64_t meta_count;
    file_map map;
} safetensors;
status safetensors_open(safetensors *st, const char *path);
status safetensors_parse(safetensors *st, const uint8_t *bytes, size_t count, const char *what); /* bytes stay the caller's */
const safetensor *safetensors_find(const safetensors *st, const char *name);
const char *safetensors_meta(const safetensors *st, const char *key);
void safetensors_close(safetensors *st);

/* Copies every tensor of `path` that fits by name and shape into g's parameters and state, and lists the rest. */
typedef struct transfer_report {
    arena memory;
    const char **loaded, **missing, **unexpected, **reshaped; /* reshaped: "fc.weight: file [1000, 512], here [2, 512]" */
    int64_t loaded_count, missing_count, unexpected_count, reshaped_count;
} transfer_report;
status model_transfer(graph *g, const char *path, transfer_report *report);
void transfer_report_free(transfer_report *report);

/* A graph as JSON and back, for model and engine files: everything but the values. Reading checks all (E_MODEL). */
status graph_write_json(const graph *g, json_writer *w);
status graph_read_json(graph *g, const json *root);

#endif
