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
    void *typed = heap_alloc(bytes), *aligned = heap_alloc(t->bytes);
    status result = OK;
    if (!typed || !aligned) TRY_OUT(E_MEMORY);
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
    if (!text) return E_MEMORY;
    list[(*count)++] = text;
    return OK;
}

/* A linear layer's weight may stand as the convolution that it equals, [out, c, h, w]: the
 * same numbers in the same order. */
static bool fits(const edge *e, const safetensor *t)
{
    shape expected = layout_file_shape(e);
    if (shape_equal(t->shape, expected)) return true;
    return e->layout == LAYOUT_LINEAR && t->shape.rank == 4 && t->shape.dim[0] == expected.dim[0] &&
        shape_count(t->shape) == shape_count(expected);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const safetensor *const *)a)->name, (*(const safetensor *const *)b)->name);
}

/* The tensors of a file in the order of their names. */
typedef struct tensor_index {
    const safetensor **by_name;
    int64_t count;
} tensor_index;

static status index_tensors(tensor_index *x, arena *a, const safetensor *tensors, int64_t count)
{
    x->count = count;
    TRY_ALLOC(x->by_name, ARENA_ARRAY(a, const safetensor *, count));
    for (int64_t i = 0; i < count; i++) x->by_name[i] = &tensors[i];
    if (count) qsort(x->by_name, (size_t)count, sizeof *x->by_name, by_name);
    return OK;
}

static const safetensor *find_tensor(const tensor_index *x, const char *name)
{
    safetensor key = {.name = name};
    const safetensor *wanted = &key;
    const safetensor **found = x->count ? bsearch(&wanted, x->by_name, (size_t)x->count, sizeof wanted, by_name) : NULL;
    return found ? *found : NULL;
}

static status transfer_edge(const tensor_index *x, edge *e, transfer_report *r)
{
    const safetensor *t = find_tensor(x, e->name);
    const char *name = arena_strdup(&r->memory, e->name);
    if (!t) return add_text(r->missing, &r->missing_count, name);
    shape expected = layout_file_shape(e);
    if (fits(e, t) && is_float(t->type) && is_float(e->type)) {
        TRY(convert(e, t));
        return add_text(r->loaded, &r->loaded_count, name);
    }
    char have[128], want[128];
    shape_text(t->shape, have);
    shape_text(expected, want);
    return add_text(r->reshaped, &r->reshaped_count,
        is_float(t->type) ? arena_printf(&r->memory, "%s: file %s, here %s", e->name, have, want)
                          : arena_printf(&r->memory, "%s: file %s %s, here %s %s", e->name, dtype_name(t->type), have,
                                dtype_name(e->type), want));
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool is_counter(const char *name)
{
    static const char suffix[] = "num_batches_tracked";
    size_t length = strlen(name), tail = sizeof suffix - 1;
    return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

static status list_unexpected(const graph *g, const safetensor *tensors, int64_t count, transfer_report *r)
{
    int64_t known = 0;
    const char **names;
    TRY_ALLOC(names, ARENA_ARRAY(&r->memory, const char *, g->edge_count));
    for (int64_t i = 0; i < g->edge_count; i++)
        if (g->edges[i].kind == EDGE_PARAM || g->edges[i].kind == EDGE_STATE) names[known++] = g->edges[i].name;
    if (known) qsort(names, (size_t)known, sizeof *names, by_text);
    for (int64_t i = 0; i < count; i++) {
        const char *name = tensors[i].name;
        if (is_counter(name) || (known && bsearch(&name, names, (size_t)known, sizeof name, by_text))) continue;
        TRY(add_text(r->unexpected, &r->unexpected_count, arena_strdup(&r->memory, name)));
    }
    return OK;
}

static status transfer(graph *g, const safetensor *tensors, int64_t count, transfer_report *r)
{
    arena *a = &r->memory;
    tensor_index index;
    TRY(index_tensors(&index, a, tensors, count));
    r->loaded = ARENA_ARRAY(a, const char *, g->edge_count);
    r->missing = ARENA_ARRAY(a, const char *, g->edge_count);
    r->reshaped = ARENA_ARRAY(a, const char *, g->edge_count);
    r->unexpected = ARENA_ARRAY(a, const char *, count);
    if (!r->loaded || !r->missing || !r->reshaped || !r->unexpected) return E_MEMORY;
    for (int64_t i = 0; i < g->edge_count; i++)
        if (g->edges[i].kind == EDGE_PARAM || g->edges[i].kind == EDGE_STATE)
            TRY(transfer_edge(&index, &g->edges[i], r));
    return list_unexpected(g, tensors, count, r);
}

status model_transfer_tensors(graph *g, const safetensor *tensors, int64_t count, transfer_report *report)
{
    *report = (transfer_report){0};
    status result = transfer(g, tensors, count, report);
    if (result != OK) transfer_report_free(report);
    return result;
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
    if (result == OK) result = model_transfer_tensors(g, st.tensors, st.count, report);
    safetensors_close(&st);
    return result;
}

void transfer_report_free(transfer_report *report)
{
    arena_free(&report->memory);
    *report = (transfer_report){0};
}
