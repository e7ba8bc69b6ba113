#include <string.h>

#include "core/onnx/import.h"

status onnx_read_graph(graph *g, const uint8_t *bytes, size_t count, const char *what)
{
    onnx_file f = {.what = NULL};
    onnx_import_state s = {.g = g, .f = &f};
    status result = OK;
    *g = (graph){0};
    TRY_OUT(onnx_file_read(&f, &(onnx_source){.bytes = bytes, .count = count, .what = what}));
    TRY_OUT(graph_init(g));
    TRY_OUT(onnx_import_nodes(&s));
    TRY_OUT(onnx_import_outputs(&s));
out:
    onnx_import_free(&s);
    onnx_file_free(&f);
    if (result != OK) graph_free(g);
    return result;
}
