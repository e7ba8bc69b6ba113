#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/graph/model.h"
#include "core/task/task.h"
#include "export/engine_format.h"

static bool all_zero(const uint8_t *bytes, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (bytes[i]) return false;
    }
    return true;
}

static bool hash_is(hash128 h, const uint64_t checksum[2])
{
    return h.low == checksum[0] && h.high == checksum[1];
}

static status check_header(const engine_front *front, size_t count, const char *what, bool check_checksums)
{
    const engine_header *h = &front->header;
    if (h->version < 1 || h->version > ENGINE_VERSION)
        return FAIL(E_MODEL,
            "%s: engine file of version %" PRIu32 ", this build reads versions 1 to %d: export the model again", what,
            h->version, ENGINE_VERSION);
    if (h->file_bytes != count)
        return FAIL(E_MODEL, "%s: %zu bytes, but its header says %" PRIu64 ": the file is %s", what, count,
            h->file_bytes, count < h->file_bytes ? "cut off" : "too long");
    if (h->section_count != SECTION_COUNT || !all_zero(h->zero, sizeof h->zero))
        return FAIL(E_MODEL, "%s: damaged header", what);
    if (check_checksums && !hash_is(engine_front_hash(*front), h->checksum))
        return FAIL(E_MODEL, "%s: damaged header: its checksum does not fit", what);
    return OK;
}

/* Sections lie one behind the other and end with the file. */
static status check_sections(
    const engine_front *front, const uint8_t *bytes, size_t count, const char *what, bool check_checksums)
{
    uint64_t offset = sizeof *front;
    for (int i = 0; i < SECTION_COUNT; i++) {
        const engine_section *s = &front->section[i];
        const char *tag = engine_section_tags[i];
        if (strncmp(s->tag, tag, sizeof s->tag) != 0 || !all_zero(s->zero, sizeof s->zero))
            return FAIL(E_MODEL, "%s: damaged section table: entry %d is not %s", what, i, tag);
        if (s->offset != offset || s->bytes > count - offset || engine_align(s->bytes) > count - offset)
            return FAIL(E_MODEL, "%s: section %s lies outside the file", what, tag);
        if (!all_zero(bytes + offset + s->bytes, engine_align(s->bytes) - s->bytes))
            return FAIL(E_MODEL, "%s: damaged padding behind section %s", what, tag);
        if (check_checksums && !hash_is(hash128_of(bytes + offset, s->bytes), s->checksum))
            return FAIL(E_MODEL, "%s: damaged section %s: its checksum does not fit", what, tag);
        offset += engine_align(s->bytes);
    }
    return offset == count ? OK : FAIL(E_MODEL, "%s: %zu bytes behind the last section", what, count - (size_t)offset);
}

/* Lets every edge with values point into the section. */
static status read_weights(graph *g, const uint8_t *data, uint64_t bytes, const char *what)
{
    uint64_t at = 0;
    for (edge_id e = 0; e < g->edge_count; e++) {
        edge *p = &g->edges[e];
        if (!engine_holds(p)) continue;
        uint64_t size = (uint64_t)shape_count(p->shape) * dtype_bytes(p->type);
        if (engine_align(size) > bytes - at)
            return FAIL(E_MODEL, "%s: WEIGHTS ends before the values of %s", what, p->name);
        if (!all_zero(data + at + size, engine_align(size) - size))
            return FAIL(E_MODEL, "%s: WEIGHTS: damaged padding behind %s", what, p->name);
        p->data = (void *)(uintptr_t)(data + at); /* nobody writes to an engine's values */
        at += engine_align(size);
    }
    return at == bytes ? OK : FAIL(E_MODEL, "%s: WEIGHTS has %" PRIu64 " bytes too many", what, bytes - at);
}

/* The parts must describe one network. */
static status check_whole(const engine *e, const char *what)
{
    const graph *g = &e->graph;
    if (g->input_count != 1 || g->output_count < 1) return FAIL(E_MODEL, "%s: expected one input and an output", what);
    const edge *in = &g->edges[g->inputs[0]];
    const preprocess *p = &e->preprocess;
    const task *t;
    if (in->type != DTYPE_F32 || !shape_equal(in->shape, shape_4(1, p->height, p->width, p->channels)))
        return FAIL(E_MODEL, "%s: the network's input is not f32 [1, %d, %d, %d] as preprocessing says", what,
            p->height, p->width, p->channels);
    TRY(task_of_file(&t, e->task, what));
    return t->check(g, e->class_count, what);
}

/* Before anything is allocated for them. */
static status check_value_bytes(const json *root, uint64_t bytes, const char *what)
{
    int64_t declared = 0;
    TRY(graph_json_value_bytes(root, &declared));
    if (declared >= 0 && (uint64_t)declared <= bytes) return OK;
    return FAIL(E_MODEL, "%s: GRAPH declares %" PRId64 " bytes of values, WEIGHTS has %" PRIu64, what, declared, bytes);
}

static status parse_sections(engine *e, const uint8_t *bytes, const engine_front *front, const char *what)
{
    char name[256];
    arena a = {0};
    json *root;
    const engine_section *meta = &front->section[SECTION_META], *g = &front->section[SECTION_GRAPH],
                         *w = &front->section[SECTION_WEIGHTS];
    status result = OK;
    snprintf(name, sizeof name, "%s: META", what);
    TRY_OUT(json_parse(&a, (const char *)bytes + meta->offset, meta->bytes, name, &root));
    TRY_OUT(engine_meta_read(e, root, what));
    snprintf(name, sizeof name, "%s: GRAPH", what);
    TRY_OUT(json_parse(&a, (const char *)bytes + g->offset, g->bytes, name, &root));
    TRY_OUT(check_value_bytes(root, w->bytes, what));
    TRY_OUT(graph_read_json(&e->graph, root));
    TRY_OUT(read_weights(&e->graph, bytes + w->offset, w->bytes, what));
    TRY_OUT(graph_check(&e->graph));
    TRY_OUT(check_whole(e, what));
out:
    arena_free(&a);
    return result;
}

/* bytes: at least the front, or the whole file where that is shorter. */
static status read_front(
    engine_front *front, const uint8_t *bytes, size_t count, const char *what, bool check_checksums)
{
    if (count < sizeof front->header.magic || memcmp(bytes, ENGINE_MAGIC, sizeof front->header.magic) != 0)
        return FAIL(E_MODEL, "%s: not a Graft engine", what);
    if (count < sizeof *front) return FAIL(E_MODEL, "%s: %zu bytes: the file is cut off", what, count);
    memcpy(front, bytes, sizeof *front);
    return check_header(front, count, what, check_checksums);
}

status engine_parse(engine *e, const uint8_t *bytes, size_t count, const char *what, bool check_checksums)
{
    engine_front front;
    *e = (engine){0};
    TRY(read_front(&front, bytes, count, what, check_checksums));
    TRY(check_sections(&front, bytes, count, what, check_checksums));
    status result = parse_sections(e, bytes, &front, what);
    if (result != OK) engine_free(e);
    return result;
}

status engine_load(engine *e, const char *path)
{
    file_map map = {0};
    engine_front front;
    *e = (engine){0};
    /* What is no engine, or not whole, is refused before memory is spent on it. */
    TRY(file_map_front(&map, path, sizeof front));
    status result = read_front(&front, map.data, map.file_bytes, path, true);
    file_map_close(&map);
    TRY(result);
    TRY(file_map_open(&map, path));
    result = engine_parse(e, map.data, map.bytes, path, true);
    if (result != OK) {
        file_map_close(&map);
        return result;
    }
    e->map = map;
    e->file_hash = hash128_of(map.data, map.bytes);
    return OK;
}

void engine_free(engine *e)
{
    graph_free(&e->graph);
    arena_free(&e->memory);
    file_map_close(&e->map);
    *e = (engine){0};
}

bool engine_is_engine(const char *path)
{
    file_map front;
    if (file_map_front(&front, path, sizeof ENGINE_MAGIC - 1) != OK) return false;
    bool is = front.bytes == sizeof ENGINE_MAGIC - 1 && memcmp(front.data, ENGINE_MAGIC, sizeof ENGINE_MAGIC - 1) == 0;
    file_map_close(&front);
    return is;
}

status engine_check_source(const engine *e, hash128 model_hash, const char *model_path, const char *engine_path)
{
    if (e->source_hash.low == model_hash.low && e->source_hash.high == model_hash.high) return OK;
    return FAIL(E_MODEL, "%s is stale: it was made from another model (%s) than %s: run graft export again",
        engine_path, e->source_name, model_path);
}

double engine_integer_part(const engine *e)
{
    double integer = 0, all = 0;
    for (int64_t i = 0; i < e->layer_count; i++) {
        all += (double)e->layers[i].macs;
        integer += e->layers[i].integer ? (double)e->layers[i].macs : 0;
    }
    return all > 0 ? integer / all : 0;
}
