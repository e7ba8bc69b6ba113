/* model.h: what Graft saves and loads: a graph with its weights, class names and preprocessing.
 *
 * The file is .safetensors with torchvision's tensor names and layouts, so that model.load_state_dict(load_file(...),
 * strict=True) takes it as it is. `__metadata__` entries (strings):
 *     graft.version    "1"
 *     graft.graph      JSON: inputs, nodes with attributes, parameter edges, outputs
 *     graft.classes    JSON array of names
 *     graft.preprocess JSON object
 *     graft.spec       the resolved spec as INI text
 *     graft.task       what it is for; absent: classification
 *     graft.info       JSON object: provenance (parent's hash, metrics, epochs)
 *     graft.checksums  JSON object: "header": XXH3-128 of the file's bytes up to the first tensor with 32 zeros in
 *                      place of this value itself; then XXH3-128 of every tensor's bytes by name. Lower-case
 *                      hexadecimal, the high half first.
 *     format           "pt"
 * The header is padded with blanks to a multiple of 8 bytes. Every truncation and every flipped byte is detected on
 * loading. num_batches_tracked is written as an I64 scalar for every running_mean.
 *
 *     model m;
 *     TRY(model_load(&m, "best.safetensors"));
 *     printf("%" PRId64 " classes\n", m.class_count);
 *     TRY_OUT(model_save(&m, "copy.safetensors"));
 * out:
 *     model_free(&m);
 */
#ifndef GRAFT_GRAPH_MODEL_H
#define GRAFT_GRAPH_MODEL_H

#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/graph/graph.h"
#include "core/tensor/preprocess.h"

typedef struct model {
    /* as built: input "image" [1, h, w, c]; output 0: logits [1, classes], then auxiliary ones */
    graph graph;
    arena memory;            /* of the strings below */
    const char **class_name; /* [class_count] */
    int64_t class_count;
    preprocess preprocess;
    const char *task;        /* what it is for (core/task/task.h); NULL or "": classification */
    const char *spec_text;   /* resolved spec, "" if unknown */
    const char *info_json;   /* "{}" if nothing is known     */
    hash128 file_hash;       /* of the file it was read from or written to */
} model;

status model_save(model *m, const char *path); /* atomic; sets file_hash */
/* The tensors alone, without graph: names and layouts as above. meta: key, value, ...;
 * file_hash may be NULL. Atomic. */
status model_save_weights(
    const model *m, const char *path, const char *const *meta, int64_t meta_count, hash128 *file_hash);
status model_load(model *m, const char *path); /* E_MODEL with what is wrong; m is initialised by the call */
void model_free(model *m);                     /* accepts a zeroed model */
status model_set_classes(model *m, const char *const *names, int64_t count); /* copies */

/* Tensors of any safetensors file, checked in the order of the format's own reader before anything is allocated: length
 * of the header (at most 100 MB), JSON, metadata of strings (or null, as if there were none), types, shapes, offsets
 * without gap or overlap that end with the file. The limits are ten times what the largest networks for images have. */
enum { SAFETENSORS_MAX_TENSORS = 16384, SAFETENSORS_MAX_METADATA = 4096 };
typedef struct safetensor {
    const char *name;
    dtype type;          /* BOOL is read as u8 */
    shape shape;
    const uint8_t *data; /* in the file's copy; may be unaligned */
    size_t bytes;
} safetensor;
typedef struct safetensors {
    arena memory;
    safetensor *tensors; /* in file order */
    int64_t count;
    const char **meta_key, **meta_value;
    int64_t meta_count;
    const uint8_t *header; /* from the length on */
    size_t header_bytes;
    const char *what;    /* the file in messages */
    const safetensor **by_name;
    file_map map;
} safetensors;
status safetensors_open(safetensors *st, const char *path);
/* bytes stay the caller's */
status safetensors_parse(safetensors *st, const uint8_t *bytes, size_t count, const char *what);
const safetensor *safetensors_find(const safetensors *st, const char *name); /* NULL: not there */
const char *safetensors_meta(const safetensors *st, const char *key);        /* NULL: not there */
void safetensors_close(safetensors *st);                                     /* accepts a zeroed one */

/* Compares the file with its graft.checksums: E_MODEL when a byte has changed, and when there are none. */
status safetensors_verify(const safetensors *st);

/* Writes tensors (sorted as the format's own writer does: larger types first, then by name) and metadata,
 * and graft.checksums with them; atomic. meta: key, value, key, value ...; values are UTF-8. E_MODEL for
 * names that cannot stand in a file.
 *     safetensor t[] = {{"loss", DTYPE_F64, {0}, (const uint8_t *)&loss, sizeof loss}};
 *     TRY(safetensors_write("out.safetensors", t, 1, (const char *const[]){"graft.state", "1"}, 1, NULL)); */
status safetensors_write(const char *path, const safetensor *tensors, int64_t count, const char *const *meta,
    int64_t meta_count, hash128 *file_hash /* of what was written; may be NULL */);

/* Copies every tensor of `path` that fits by name and shape into g's parameters and state, and lists the
 * rest. Any float type is converted. num_batches_tracked is neither used nor unexpected. A file with
 * graft.checksums is verified first. */
typedef struct transfer_report {
    arena memory;
    /* reshaped: "fc.weight: file [1000, 512], here [2, 512]" */
    const char **loaded, **missing, **unexpected, **reshaped;
    int64_t loaded_count, missing_count, unexpected_count, reshaped_count;
    const char *note;   /* which of several weights in the file were taken; NULL or "": there is one */
    const char *advice; /* of which network the file's tensors are, when many have another shape; NULL: not known */
} transfer_report;
status model_transfer(graph *g, const char *path, transfer_report *report);
/* The same from tensors that some other format gave. */
status model_transfer_tensors(graph *g, const safetensor *tensors, int64_t count, transfer_report *report);
void transfer_report_free(transfer_report *report);

/* A graph as JSON and back, for model and engine files: everything but the values. E_MODEL: a node
 * that autodiff or lowering made.
 *     {"edges":  [{"name","kind": input|param|state|const,"type","shape", "layout": plain|oihw|linear, "frozen",
 *                  "scale"}, ...],
 *      "nodes":  [{"op","name","block","in":[id or -1, ...],"out":[id or -1, ...],"attr":{...}}, ...],
 *      "inputs": [id, ...], "outputs": [id, ...], "auxiliary": how many of the last outputs only training uses}
 * Ids count the entries of "edges" from 0, then the nodes' outputs in order. layout, frozen, scale and auxiliary may be
 * absent (plain, false, 0, 0); no other key may be, nor may an unknown one be there. */
status graph_write_json(const graph *g, json_writer *w);
/* What graph_read_json will allocate for values: a caller compares it with what its file
 * holds before it lets that happen. */
status graph_json_value_bytes(const json *root, int64_t *bytes);
/* g is initialised by the call; every op's shape rule and attribute range is checked (E_MODEL). Values are zero. */
status graph_read_json(graph *g, const json *root);

#endif
