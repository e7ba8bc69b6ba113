/* import_onnx.h: `graft import` of ONNX files. */
#ifndef GRAFT_CLI_IMPORT_ONNX_H
#define GRAFT_CLI_IMPORT_ONNX_H

#include "cli/cli.h"
#include "core/graph/model.h"

/* Fills m from `path`: graph, preprocessing, and class names where the file has them; finishes the spec.
 * The options' preprocessing counts where the file has none of ours, or where data.preprocess is given. m
 * is the caller's to free in any case. */
status onnx_import_file(cli_context *c, const char *path, model *m, int64_t *classes);

#endif
