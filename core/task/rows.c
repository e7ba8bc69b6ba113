#include "core/task/rows.h"

#include <stdlib.h>
#include <string.h>

status rows_resize(graph *g, edge_id id, int64_t rows)
{
    edge *e = &g->edges[id];
    shape s = e->shape;
    s.dim[0] = rows;
    int64_t count;
    if (!shape_count_checked(s, &count)) return FAIL(E_MODEL, "%s: too large", e->name);
    void *data = arena_alloc_array(&g->memory, count, dtype_bytes(e->type));
    if (!data) return FAIL_MEMORY(count * sizeof(float));
    e->shape = s;
    e->data = data;
    return OK;
}

status rows_order(graph *g, edge_id id, const int64_t *place)
{
    const edge *e = &g->edges[id];
    int64_t rows = e->shape.dim[0];
    size_t each = (size_t)(shape_count(e->shape) / rows) * dtype_bytes(e->type);
    uint8_t *copy = malloc((size_t)rows * each), *data = e->data;
    if (!copy) return FAIL_MEMORY((size_t)rows * each);
    memcpy(copy, data, (size_t)rows * each);
    for (int64_t i = 0; i < rows; i++) memcpy(data + (size_t)i * each, copy + (size_t)place[i] * each, each);
    free(copy);
    return OK;
}
