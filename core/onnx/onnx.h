/* onnx.h: ONNX files in both directions.
 *
 * Reading. A file of opset 7 to 28 (older where its operators mean the same) with the operators that core/ops has rules
 * for (op.onnx) becomes a graph: values become f32, batch is 1, images are turned from NCHW to our NHWC. What is
 * computed from constants alone is folded (shape arithmetic, weights behind DequantizeLinear). Operators, attributes
 * and shapes that cannot be expressed are E_MODEL with the node's name and type. Every size is checked before it is
 * allocated. Values in other files ("external data") are read from the file's own folder (external.h).
 *
 *     model m;
 *     onnx_report report;
 *     onnx_options o = {.preprocess = wanted};
 *     TRY_OUT(onnx_import(&m, "resnet18.onnx", &o, &report));
 *     for (int64_t i = 0; i < report.note_count; i++) puts(report.note[i]);
 *     TRY_OUT(model_save(&m, "resnet18.safetensors"));
 * out:
 *     onnx_report_free(&report);
 *     model_free(&m);
 */
#ifndef GRAFT_ONNX_ONNX_H
#define GRAFT_ONNX_ONNX_H

#include <stdbool.h>

#include "core/graph/model.h"

typedef struct onnx_options {
    /* of a file that does not carry ours; width, height and channels only where the network leaves them open */
    preprocess preprocess;
    /* even of a file that does */
    bool force;
    const char *folder;    /* onnx_import_bytes: where values in other files lie, NULL: they are refused             */
} onnx_options;

/* What an import found, for people. */
typedef struct onnx_report {
    arena memory;
    const char *producer;   /* "pytorch 2.1", "" if the file does not say                  */
    int64_t opset, nodes, parameters; /* nodes: of the file; parameters: elements            */
    const char **note;      /* [note_count]: what was changed or left out, one line each     */
    int64_t note_count;
} onnx_report;
void onnx_report_free(onnx_report *r); /* accepts a zeroed one */

/* An image classifier: one input of rank 4, named "image" here; output 0 becomes [1, classes], a Softmax or
 * Sigmoid at the end is left out (logits). Class names and preprocessing come from the file's metadata when Graft
 * wrote it; else class_count is 0 (the caller knows better or names them by number). m and report are initialised
 * by the call, and empty on failure. */
status onnx_import(model *m, const char *path, const onnx_options *o, onnx_report *report);
status onnx_import_bytes(
    model *m, const uint8_t *bytes, size_t count, const char *what, const onnx_options *o, onnx_report *report);

/* Size of the image that the network takes, 0 where the file leaves it open, before anything of it is
 * built. E_MODEL: no image input. */
status onnx_image_size(const char *path, int32_t *width, int32_t *height, int32_t *channels);

/* Whether there is a rule for this operator at all. */
bool onnx_knows(const char *type);

/* Any graph: inputs and outputs of rank 4 become [n, h, w, c] ("as NCHW"), others stay as they are; types become f32.
 * The batch stays as the file says (1 where it is open). g is initialised by the call. */
status onnx_read_graph(graph *g, const uint8_t *bytes, size_t count, const char *what);

/* ------------------------------------------------------------------------------------------------ writing */

/* What stands beside the graph in the file's metadata_props, as in a model file (model.h). */
typedef struct onnx_about {
    const preprocess *preprocess;
    const char *const *class_name; /* [class_count] */
    int64_t class_count;
    const char *info_json;         /* "{}" if nothing is known */
    bool preprocess_inside;        /* pixels of 0 to 255 in, red first: see onnx_write */
} onnx_about;

/* Writes a graph for inference: fused floats (export_float_graph) or with integers (quantise_graph). Opset 13, IR
 * version 7, one file. Input "image" [N, c, h, w]; tensors have the names of the graph's edges, which are those of a
 * calibration cache. Integers: QuantizeLinear and DequantizeLinear (int8, zero point 0) on what integer layers read,
 * with the scales of the edges; weights int8 with one scale per output channel behind DequantizeLinear; biases f32. A
 * residual sum is taken of the unrounded product and the quantised other operand, as the integer kernels take it;
 * maxima are taken before quantising. preprocess_inside: the mean is subtracted by a node, since a bias could not do so
 * at padded borders. The deviation is folded into the weights that read the image; it is a node where these are
 * integers, whose scales stay as they are, or are depthwise. E_MODEL: names the node that cannot be written. */
status onnx_write(const graph *g, const onnx_about *about, const char *path, hash128 *file_hash);

#endif
