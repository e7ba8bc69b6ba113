#include "core/graph/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"
#include "core/graph/model_internal.h"
#include "core/graph/model_layout.h"
#include "core/ops/op.h"

#define VERSION "1"
static const char mean_suffix[] = ".running_mean", tracked_suffix[] = ".num_batches_tracked";

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

static bool has_values(const edge *e)
{
    return e->kind == EDGE_PARAM || e->kind == EDGE_STATE || e->kind == EDGE_CONST;
}

void model_free(model *m)
{
    graph_free(&m->graph);
    arena_free(&m->memory);
    *m = (model){0};
}

status model_set_classes(model *m, const char *const *names, int64_t count)
{
    const char **copy;
    TRY_ALLOC(copy, ARENA_ARRAY(&m->memory, const char *, count));
    for (int64_t i = 0; i < count; i++) {
        const char *name = utf8_escaped(&m->memory, names[i]);
        if (!name) return E_MEMORY;
        TRY_ALLOC(copy[i], arena_strdup(&m->memory, name));
    }
    m->class_name = copy;
    m->class_count = count;
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- saving */

static const int64_t no_batches = 0;

static status add_tensors(arena *a, const graph *g, safetensor *list, int64_t *count)
{
    for (int64_t i = 0; i < g->edge_count; i++) {
        const edge *e = &g->edges[i];
        if (!has_values(e)) continue;
        safetensor *t = &list[(*count)++];
        *t = (safetensor){.name = e->name, .type = e->type, .shape = layout_file_shape(e), .data = e->data};
        t->bytes = (size_t)shape_count(e->shape) * dtype_bytes(e->type);
        if (e->layout != LAYOUT_PLAIN) {
            void *data;
            TRY_ALLOC(data, arena_alloc(a, t->bytes));
            layout_to_file(e, data, e->data);
            t->data = data;
        }
        if (e->kind != EDGE_STATE || !ends_with(e->name, mean_suffix)) continue;
        int stem = (int)(strlen(e->name) - strlen(mean_suffix));
        t = &list[(*count)++];
        *t = (safetensor){.name = arena_printf(a, "%.*s%s", stem, e->name, tracked_suffix), .type = DTYPE_I64,
            .data = (const uint8_t *)&no_batches, .bytes = sizeof no_batches};
        if (!t->name) return E_MEMORY;
    }
    return OK;
}

enum { META_ENTRIES = 7 };

/* The texts of the metadata; writers own them. */
static status put_metadata(const model *m, json_writer w[3], const char *meta[2 * META_ENTRIES], int64_t *entries)
{
    size_t bytes;
    TRY(graph_write_json(&m->graph, &w[0]));
    json_begin_array(&w[1]);
    for (int64_t i = 0; i < m->class_count; i++) json_put_string(&w[1], m->class_name[i]);
    json_end_array(&w[1]);
    preprocess_write(&m->preprocess, &w[2]);
    const char *entry[2 * META_ENTRIES] = {"graft.version", VERSION, "graft.graph", NULL, "graft.classes", NULL,
        "graft.preprocess", NULL, "graft.spec", m->spec_text ? m->spec_text : "", "graft.info",
        m->info_json ? m->info_json : "{}", "graft.task", m->task};
    *entries =
        m->task && *m->task ? META_ENTRIES : META_ENTRIES - 1; /* the last one: classification goes without saying */
    for (int i = 0; i < 3; i++) TRY(json_writer_finish(&w[i], &entry[2 * i + 3], &bytes));
    memcpy(meta, entry, sizeof entry);
    return OK;
}

status model_save(model *m, const char *path)
{
    arena a = {0};
    json_writer w[3] = {{0}};
    const char *meta[2 * META_ENTRIES];
    int64_t count = 0, entries;
    status result = OK;
    safetensor *list;
    TRY_ALLOC_OUT(list, ARENA_ARRAY(&a, safetensor, 2 * m->graph.edge_count));
    TRY_OUT(add_tensors(&a, &m->graph, list, &count));
    TRY_OUT(put_metadata(m, w, meta, &entries));
    TRY_OUT(safetensors_write(path, list, count, meta, entries, &m->file_hash));
out:
    for (int i = 0; i < 3; i++) json_writer_free(&w[i]);
    arena_free(&a);
    return result;
}

status model_save_weights(
    const model *m, const char *path, const char *const *meta, int64_t meta_count, hash128 *file_hash)
{
    arena a = {0};
    int64_t count = 0;
    safetensor *list = ARENA_ARRAY(&a, safetensor, 2 * m->graph.edge_count);
    status result = list ? add_tensors(&a, &m->graph, list, &count) : E_MEMORY;
    if (result == OK) result = safetensors_write(path, list, count, meta, meta_count, file_hash);
    arena_free(&a);
    return result;
}

/* ---------------------------------------------------------------------------------------------------- loading */

static status need_meta(const safetensors *st, const char *key, const char **text)
{
    *text = safetensors_meta(st, key);
    return *text ? OK : FAIL(E_MODEL, "%s: metadata %s is missing", st->what, key);
}

static status parse_meta(arena *a, const safetensors *st, const char *key, json_type type, json **root)
{
    const char *text;
    TRY(need_meta(st, key, &text));
    TRY(json_parse(a, text, strlen(text), st->what, root));
    if ((*root)->type != type)
        return FAIL(E_MODEL, "%s: metadata %s is no JSON %s", st->what, key, type == JSON_ARRAY ? "array" : "object");
    return OK;
}

static status read_values(const safetensors *st, edge *e)
{
    const safetensor *t = safetensors_find(st, e->name);
    if (!t) return FAIL(E_MODEL, "%s: tensor %s is missing", st->what, e->name);
    shape expected = layout_file_shape(e);
    if (!shape_equal(t->shape, expected) || t->type != e->type) {
        char have[128], want[128];
        shape_text(t->shape, have);
        shape_text(expected, want);
        return FAIL(E_MODEL, "%s: %s is %s %s, its graph says %s %s", st->what, e->name, dtype_name(t->type), have,
            dtype_name(e->type), want);
    }
    if (e->layout == LAYOUT_PLAIN || !t->bytes) {
        memcpy(e->data, t->data, t->bytes);
        return OK;
    }
    void *aligned; /* the mapping may not be */
    TRY_ALLOC(aligned, heap_alloc(t->bytes));
    memcpy(aligned, t->data, t->bytes);
    layout_from_file(e, e->data, aligned);
    free(aligned);
    return OK;
}

static status read_graph(model *m, arena *a, const safetensors *st)
{
    json *root;
    int64_t value_bytes, tensor_bytes = 0, tensors = 0, expected = 0;
    TRY(parse_meta(a, st, "graft.graph", JSON_OBJECT, &root));
    for (int64_t i = 0; i < st->count; i++) {
        tensor_bytes += (int64_t)st->tensors[i].bytes;
        tensors += !ends_with(st->tensors[i].name, tracked_suffix);
    }
    TRY(graph_json_value_bytes(root, &value_bytes));
    if (value_bytes > tensor_bytes)
        return FAIL(E_MODEL, "%s: the graph's parameters take %" PRId64 " bytes, the file holds %" PRId64, st->what,
            value_bytes, tensor_bytes);
    TRY(graph_read_json(&m->graph, root));
    for (int64_t i = 0; i < m->graph.edge_count; i++) {
        edge *e = &m->graph.edges[i];
        if (!has_values(e)) continue;
        expected++;
        TRY(read_values(st, e));
    }
    if (tensors != expected)
        return FAIL(E_MODEL, "%s: %" PRId64 " tensors, its graph has %" PRId64, st->what, tensors, expected);
    return OK;
}

static status read_classes(model *m, arena *a, const safetensors *st)
{
    json *list;
    TRY(parse_meta(a, st, "graft.classes", JSON_ARRAY, &list));
    const char **names;
    TRY_ALLOC(names, ARENA_ARRAY(a, const char *, list->count));
    for (int64_t i = 0; i < list->count; i++)
        if (!(names[i] = json_string(list->items[i]))) return FAIL(E_MODEL, "%s: a class name is no text", st->what);
    return model_set_classes(m, names, list->count);
}

static status check_model(const model *m, const char *what)
{
    const graph *g = &m->graph;
    if (g->input_count < 1) return FAIL(E_MODEL, "%s: the graph has no input", what);
    shape in = g->edges[g->inputs[0]].shape, out = g->edges[g->outputs[0]].shape;
    const preprocess *p = &m->preprocess;
    if (in.rank != 4 || in.dim[1] != p->height || in.dim[2] != p->width || in.dim[3] != p->channels)
        return FAIL(E_MODEL, "%s: the network's input does not have the preprocessing's size %dx%dx%d", what, p->width,
            p->height, p->channels);
    int64_t logits = out.rank > 0 ? out.dim[out.rank - 1] : 1;
    if (m->class_count < 1)
        return FAIL(
            E_MODEL, "%s: graft.classes is empty: expected a name for each of the %" PRId64 " outputs", what, logits);
    if (!*m->task && m->class_count != logits)
        return FAIL(E_MODEL, "%s: %" PRId64 " class names for %" PRId64 " outputs", what, m->class_count, logits);
    return OK;
}

static status read_parts(model *m, arena *a, const safetensors *st)
{
    const char *version = safetensors_meta(st, "graft.version"), *text;
    json *object;
    if (!version) return FAIL(E_MODEL, "%s: holds weights but no graph: name it in model.pretrained instead", st->what);
    if (strcmp(version, VERSION) != 0)
        return FAIL(E_MODEL, "%s: model version %s, this graft reads " VERSION, st->what, version);
    TRY(read_graph(m, a, st));
    TRY(read_classes(m, a, st));
    TRY(parse_meta(a, st, "graft.preprocess", JSON_OBJECT, &object));
    TRY(preprocess_read(&m->preprocess, object));
    TRY(parse_meta(a, st, "graft.info", JSON_OBJECT, &object));
    TRY(need_meta(st, "graft.info", &text));
    m->info_json = arena_strdup(&m->memory, text);
    TRY(need_meta(st, "graft.spec", &text));
    m->spec_text = arena_strdup(&m->memory, text);
    text = safetensors_meta(st, "graft.task");
    m->task = arena_strdup(&m->memory, text ? text : "");
    if (!m->info_json || !m->spec_text || !m->task) return E_MEMORY;
    return check_model(m, st->what);
}

status model_read(model *m, const safetensors *st)
{
    arena a = {0};
    *m = (model){0};
    status result = read_parts(m, &a, st);
    arena_free(&a);
    if (result != OK) model_free(m);
    return result;
}

status model_load(model *m, const char *path)
{
    *m = (model){0};
    safetensors st = {0};
    status result = OK;
    TRY_OUT(safetensors_open(&st, path));
    if (safetensors_meta(&st, "graft.version")) TRY_OUT(safetensors_verify(&st));
    TRY_OUT(model_read(m, &st));
    m->file_hash = hash128_of(st.map.data, st.map.bytes);
out:
    safetensors_close(&st);
    return result;
}
