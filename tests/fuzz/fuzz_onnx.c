/* The ONNX reader: as any graph, and as a model. What is accepted must be sound and survive another batch. With
 * FUZZ_SEEDS set, values of other files may lie in that folder. */
#include <stdlib.h>

#include "core/onnx/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(graph *g)
{
    if (graph_check(g) != OK) abort();
    if (g->input_count == 0) return;
    shape s = g->edges[g->inputs[0]].shape;
    if (s.rank > 0) s.dim[0] = 2;
    (void)graph_resize(g, g->inputs[0], s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    onnx_options options = {.folder = getenv("FUZZ_SEEDS"),
        .preprocess = {.width = 16, .height = 16, .channels = 3, .std = {1, 1, 1}, .crop_fraction = 1}};
    graph g;
    model m;
    onnx_report report;
    if (onnx_read_graph(&g, data, size, "fuzz") == OK) {
        use(&g);
        graph_free(&g);
    }
    if (onnx_import_bytes(&m, data, size, "fuzz", &options, &report) == OK) {
        use(&m.graph);
        onnx_report_free(&report);
        model_free(&m);
    }
    return 0;
}
