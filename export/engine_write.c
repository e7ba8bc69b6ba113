#include <stdlib.h>
#include <string.h>

#include "core/graph/model.h"
#include "export/engine_format.h"

const char *const engine_section_tags[SECTION_COUNT] = {"META", "GRAPH", "WEIGHTS"};

hash128 engine_front_hash(engine_front front)
{
    front.header.checksum[0] = front.header.checksum[1] = 0;
    return hash128_of(&front, sizeof front);
}

/* All values, each at a multiple of 64, in edge order. */
static status collect_weights(const graph *g, uint8_t **data, size_t *bytes)
{
    uint64_t total = 0, at = 0;
    for (edge_id e = 0; e < g->edge_count; e++) {
        if (engine_holds(&g->edges[e]))
            total += engine_align((uint64_t)shape_count(g->edges[e].shape) * dtype_bytes(g->edges[e].type));
    }
    *data = calloc(1, total ? total : 1);
    *bytes = total;
    if (!*data) return FAIL_MEMORY(total);
    for (edge_id e = 0; e < g->edge_count; e++) {
        const edge *p = &g->edges[e];
        if (!engine_holds(p)) continue;
        size_t size = (size_t)shape_count(p->shape) * dtype_bytes(p->type);
        memcpy(*data + at, p->data, size);
        at += engine_align(size);
    }
    return OK;
}

static void fill_front(engine_front *front, const engine *e, const void *const data[], const size_t bytes[])
{
    *front =
        (engine_front){.header = {.version = e->task && *e->task ? ENGINE_VERSION : 1, .section_count = SECTION_COUNT}};
    memcpy(front->header.magic, ENGINE_MAGIC, sizeof front->header.magic);
    uint64_t offset = sizeof *front;
    for (int i = 0; i < SECTION_COUNT; i++) {
        engine_section *s = &front->section[i];
        hash128 h = hash128_of(data[i], bytes[i]);
        memcpy(s->tag, engine_section_tags[i], strlen(engine_section_tags[i]));
        s->offset = offset;
        s->bytes = bytes[i];
        s->checksum[0] = h.low;
        s->checksum[1] = h.high;
        offset += engine_align(bytes[i]);
    }
    front->header.file_bytes = offset;
    hash128 h = engine_front_hash(*front);
    front->header.checksum[0] = h.low;
    front->header.checksum[1] = h.high;
}

static status write_file(const engine *e, const char *path, const void *const data[], const size_t bytes[])
{
    static const uint8_t zero[ENGINE_ALIGN];
    engine_front front;
    file_writer w = {0};
    status result = OK;
    fill_front(&front, e, data, bytes);
    TRY(file_writer_open(&w, path));
    TRY_OUT(file_writer_write(&w, &front, sizeof front));
    for (int i = 0; i < SECTION_COUNT; i++) {
        TRY_OUT(file_writer_write(&w, data[i], bytes[i]));
        TRY_OUT(file_writer_write(&w, zero, engine_align(bytes[i]) - bytes[i]));
    }
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}

status engine_save(engine *e, const char *path)
{
    json_writer meta = {0}, text = {0};
    uint8_t *weights = NULL;
    const char *meta_text, *graph_text;
    size_t bytes[SECTION_COUNT];
    status result = OK;
    engine_describe(e, &meta);
    TRY_OUT(json_writer_finish(&meta, &meta_text, &bytes[SECTION_META]));
    TRY_OUT(graph_write_json(&e->graph, &text));
    TRY_OUT(json_writer_finish(&text, &graph_text, &bytes[SECTION_GRAPH]));
    TRY_OUT(collect_weights(&e->graph, &weights, &bytes[SECTION_WEIGHTS]));
    TRY_OUT(write_file(e, path, (const void *const[]){meta_text, graph_text, weights}, bytes));
    TRY_OUT(hash128_of_file(path, &e->file_hash));
out:
    json_writer_free(&meta);
    json_writer_free(&text);
    free(weights);
    return result;
}
