/* Darknet's cfg as a graph, and the rest of the input as its weights. A 0 byte stands between them. */
#include <string.h>

#include "models/import/darknet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t values_of(const graph *g)
{
    int64_t count = 0;
    for (int64_t i = 0; i < g->edge_count; i++)
        if (g->edges[i].data) count += shape_count(g->edges[i].shape);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t length = end ? (size_t)(end - data) : size;
    darknet_cfg cfg;
    graph g;
    if (darknet_cfg_parse(&cfg, (const char *)data, length, "fuzz") != OK) return 0;
    if (darknet_build(&g, &cfg, 1e-5f) == OK) {
        if (end && values_of(&g) < 1 << 20)
            darknet_read(&g, end + 1, size - length - 1, "fuzz", DARKNET_EPSILON_OUTSIDE);
        graph_free(&g);
    }
    darknet_cfg_free(&cfg);
    return 0;
}
