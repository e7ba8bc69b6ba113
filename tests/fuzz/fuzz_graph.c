/* The graph section of model and engine files. What is accepted must survive a resize and write back to what it was
 * read from. With FUZZ_SEEDS set, graphs of real networks are written there first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/graph/model.h"
#include "models/models.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    const char *folder = getenv("FUZZ_SEEDS");
    for (int i = 0; folder && i < 4; i++) {
        spec_model options = {.arch = i & 1 ? "resnet50" : "resnet10",
            .input_width = 32,
            .input_height = 32,
            .channels = 3,
            .stem = STEM_SMALL,
            .width = 0.125,
            .use_batch_norm = i < 2,
            .use_pooling = true,
            .dropout = 0.2 * (i & 1)};
        graph g;
        json_writer w = {0};
        const char *text;
        size_t bytes;
        char path[4096];
        snprintf(path, sizeof path, "%s/network%d", folder, i);
        if (models_build(&g, &(spec){.model = options}, 3) != OK || graph_write_json(&g, &w) != OK) abort();
        if (json_writer_finish(&w, &text, &bytes) != OK || file_write_all(path, text, bytes) != OK) abort();
        json_writer_free(&w);
        graph_free(&g);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena a = {0};
    json *root;
    graph g;
    if (json_parse(&a, (const char *)data, size, "fuzz", &root) == OK && graph_read_json(&g, root) == OK) {
        json_writer w = {0};
        if (graph_write_json(&g, &w) != OK) abort();
        json_writer_free(&w);
        if (g.input_count > 0) {
            shape s = g.edges[g.inputs[0]].shape;
            if (s.rank > 0) s.dim[0] = 2;
            (void)graph_resize(&g, g.inputs[0], s);
        }
        graph_free(&g);
    }
    arena_free(&a);
    return 0;
}
