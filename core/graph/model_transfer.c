/* Weights of any safetensors file into a graph. */
#include <stdlib.h>
#include <string.h>

#include "core/graph/model.h"
#include "core/graph/model_layout.h"

static bool is_float(dtype t) { return t == DTYPE_F32 || t == DTYPE_F64 || t == DTYPE_F16 || t == DTYPE_BF16; }

/* File layout and type to the graph's. */
static status convert(edge *e, const safetensor *t)
{
    int64_t count = shape_count(e->shape);
    size_t bytes = (size_t)count * dtype_bytes(e->type);
    void *typed = malloc(bytes ? bytes : 1), *aligned = malloc(t->bytes ? t->bytes : 1);
    status result = OK;
    if (!typed || !aligned) TRY_OUT(FAIL_MEMORY(bytes));
    memcpy(aligned, t->data, t->bytes);
    if (t->type == e->type) memcpy(typed, aligned, bytes);
    else
        for (int64_t i = 0; i < count; i++) dtype_store(typed, e->type, i, dtype_load(aligned, t->type, i));
    layout_from_file(e, e->data, typed);
out:
    free(typed);
    free(aligned);
    return result;
}

static status add_text(const char **list, int64_t *count, const char *text)
{
    if (!text) return FAIL_MEMORY(1);
    list[(*count)++] = text;
    return OK;
}

static status transfer_edge(const safetensors *st, edge *e, transfer_report *r)
{
    const safetensor *t = safetensors_find(st, e->name);
    const char *name = arena_strdup(&r->memory, e->name);
    if (!t) return add_text(r->missing, &r->missing_count, name);
    shape expected = layout_file_shape(e);
    if (shape_equal(t->shape, expected) && is_float(t->type) && is_float(e->type)) {
        TRY(convert(e, t));
        return add_text(r->loaded, &r->loaded_count, name);
    }
    char have[128], want[128];
    shape_text(t->shape, have);
    shape_text(expected, want);
    return add_text(r->reshaped, &r->reshaped_count, is_float(t->type)
        ? arena_printf(&r->memory, "%s: file %s, here %s", e->name, have, want)
        : arena_printf(&r->memory, "%s: file %s %s, here %s %s", e->name, dtype_name(t->type), have, dtype_name(e->type), want));
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool is_counter(const char *name)
{
    static const char suffix[] = "num_batches_tracked";
    size_t length = strlen(name), tail = sizeof suffix - 1;
    return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

static status list_unexpected(const graph *g, const safetensors *st, transfer_report *r)
{
    int64_t known = 0;
    const char **names = ARENA_ARRAY(&r->memory, const char *, g->edge_count);
    if (!names) return FAIL_MEMORY((size_t)g->edge_count * sizeof *names);
    for (int64_t i = 0; i < g->edge_count; i++)
        if (g->edges[i].kind == EDGE_PARAM || g->edges[i].kind == EDGE_STATE) names[known++] = g->edges[i].name;
    if (known) qsort(names, (size_t)known, sizeof *names, by_text);
    for (int64_t i = 0; i < st->count; i++) {
        const char *name = st->tensors[i].name;
        if (is_counter(name) || (known && bsearch(&name, names, (size_t)known, sizeof name, by_text))) continue;
        TRY(add_text(r->unexpected, &r->unexpected_count, arena_strdup(&r->memory, name)));
    }
    return OK;
}

static status transfer(graph *g, const safetensors *st, transfer_report *r)
{
    arena *a = &r->memory;
    r->loaded = ARENA_ARRAY(a, const char *, g->edge_count);
    r->missing = ARENA_ARRAY(a, const char *, g->edge_count);
    r->reshaped = ARENA_ARRAY(a, const char *, g->edge_count);
    r->unexpected = ARENA_ARRAY(a, const char *, st->count);
    if (!r->loaded || !r->missing || !r->reshaped || !r->unexpected) return FAIL_MEMORY((size_t)g->edge_count * sizeof(char *));
    for (int64_t i = 0; i < g->edge_count; i++)
        if (g->edges[i].kind == EDGE_PARAM || g->edges[i].kind == EDGE_STATE) TRY(transfer_edge(st, &g->edges[i], r));
    return list_unexpected(g, st, r);
}

/* By any of its metadata: a flipped byte in one key must not switch the check off. */
static bool is_ours(const safetensors *st)
{
    for (int64_t i = 0; i < st->meta_count; i++)
        if (strncmp(st->meta_key[i], "graft.", 6) == 0) return true;
    return false;
}

status model_transfer(graph *g, const char *path, transfer_report *report)
{
    *report = (transfer_report){0};
    safetensors st;
    TRY(safetensors_open(&st, path));
    status result = is_ours(&st) ? safetensors_verify(&st) : OK;
    if (result == OK) result = transfer(g, &st, report);
    safetensors_close(&st);
    if (result != OK) transfer_report_free(report);
    return result;
}

void transfer_report_free(transfer_report *report)
{
    arena_free(&report->memory);
    *report = (transfer_report){0};
}
