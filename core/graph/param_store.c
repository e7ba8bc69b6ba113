#include <stdlib.h>
#include <string.h>

#include "core/graph/plan_internal.h"

enum { SEGMENT_ALIGN = 64 };

struct param_store {
    arena memory;
    device *dev;
    store_layout layout;
    buffer blocks[BLOCK_COUNT], gradients;
    uint64_t version, upload_version;
};

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const store_entry *const *)a)->name, (*(const store_entry *const *)b)->name);
}

static bool is_kept(const edge *e) { return e->kind == EDGE_PARAM || e->kind == EDGE_STATE; }

static bool is_float(dtype type) { return type == DTYPE_F32 || type == DTYPE_F64; }

static status add_entry(store_layout *l, arena *a, const edge *e)
{
    store_entry *s = &l->entries[l->count];
    *s = (store_entry){.shape = e->shape, .type = e->type, .frozen = e->frozen};
    s->block = e->type != l->type ? BLOCK_OTHER : e->kind == EDGE_PARAM ? BLOCK_WEIGHTS : BLOCK_STATE;
    TRY_ALLOC(s->name, arena_strdup(a, e->name));
    s->bytes = shape_count(e->shape) * (int64_t)dtype_bytes(e->type);
    s->offset_bytes = l->bytes[s->block];
    l->bytes[s->block] += (s->bytes + SEGMENT_ALIGN - 1) / SEGMENT_ALIGN * SEGMENT_ALIGN;
    l->by_name[l->count++] = s;
    if (s->block != BLOCK_WEIGHTS) return OK;
    int64_t size = (int64_t)dtype_bytes(l->type);
    l->info[l->segments++] = (param_info){.name = s->name, .offset = s->offset_bytes / size, .count = s->bytes / size,
        .shape = s->shape, .frozen = s->frozen};
    return OK;
}

status store_layout_make(store_layout *l, arena *a, const graph *g)
{
    *l = (store_layout){.type = DTYPE_F32};
    int64_t count = 0;
    for (int64_t i = g->edge_count; i-- > 0;) {
        if (!is_kept(&g->edges[i])) continue;
        count++;
        if (g->edges[i].kind == EDGE_PARAM && is_float(g->edges[i].type)) l->type = g->edges[i].type;
    }
    l->entries = ARENA_ARRAY(a, store_entry, count);
    l->by_name = ARENA_ARRAY(a, const store_entry *, count);
    l->info = ARENA_ARRAY(a, param_info, count);
    if (!l->entries || !l->by_name || !l->info) return E_MEMORY;
    for (int64_t i = 0; i < g->edge_count; i++)
        if (is_kept(&g->edges[i])) TRY(add_entry(l, a, &g->edges[i]));
    if (count) qsort(l->by_name, (size_t)count, sizeof *l->by_name, by_name);
    for (int64_t i = 1; i < count; i++)
        if (strcmp(l->by_name[i - 1]->name, l->by_name[i]->name) == 0)
            return FAIL(E_INTERNAL, "two parameters are called %s", l->by_name[i]->name);
    return OK;
}

status param_store_create(param_store **out, const graph *g, device *dev, bool with_gradients)
{
    static const char *const what[BLOCK_COUNT] = {"weights", "running statistics", "integer weights"};
    *out = NULL;
    param_store *s;
    TRY_ALLOC(s, heap_alloc_array(1, sizeof *s));
    s->dev = dev;
    status result = OK;
    TRY_OUT(store_layout_make(&s->layout, &s->memory, g));
    for (int i = 0; i < BLOCK_COUNT; i++)
        TRY_OUT(buffer_init(&s->blocks[i], dev, (size_t)s->layout.bytes[i], what[i]));
    if (with_gradients)
        TRY_OUT(buffer_init(&s->gradients, dev, (size_t)s->layout.bytes[BLOCK_WEIGHTS], "gradients"));
    TRY_OUT(param_store_upload(s, g));
    *out = s;
    return OK;
out:
    param_store_destroy(s);
    return result;
}

void param_store_destroy(param_store *s)
{
    if (!s) return;
    for (int i = 0; i < BLOCK_COUNT; i++) buffer_free(&s->blocks[i]);
    buffer_free(&s->gradients);
    arena_free(&s->memory);
    free(s);
}

const store_entry *store_layout_find(const store_layout *l, const char *name)
{
    store_entry key = {.name = name};
    const store_entry *wanted = &key;
    const store_entry *const *found =
        l->count ? bsearch(&wanted, l->by_name, (size_t)l->count, sizeof wanted, by_name) : NULL;
    return found ? *found : NULL;
}

void *param_store_data(const param_store *s, const store_entry *e)
{
    return (char *)s->blocks[e->block].data + e->offset_bytes;
}

void *param_store_gradient(const param_store *s, const store_entry *e)
{
    if (!s->gradients.data || e->block != BLOCK_WEIGHTS) return NULL;
    return (char *)s->gradients.data + e->offset_bytes;
}

const store_layout *param_store_layout(const param_store *s) { return &s->layout; }

uint64_t param_store_version(const param_store *s, bool frozen) { return frozen ? s->upload_version : s->version; }

status param_store_entry(const param_store *s, const edge *e, const store_entry **entry)
{
    *entry = store_layout_find(&s->layout, e->name);
    if (!*entry) return FAIL(E_INTERNAL, "%s is not in the parameter store", e->name);
    if (!shape_equal((*entry)->shape, e->shape) || (*entry)->type != e->type) {
        char have[128], want[128];
        shape_text((*entry)->shape, have);
        shape_text(e->shape, want);
        return FAIL(E_INTERNAL, "%s: the parameter store holds %s %s, the graph %s %s", e->name,
            dtype_name((*entry)->type), have, dtype_name(e->type), want);
    }
    return OK;
}

status param_store_upload(param_store *s, const graph *g)
{
    for (int64_t i = 0; i < g->edge_count; i++) {
        const edge *e = &g->edges[i];
        const store_entry *entry;
        if (!is_kept(e)) continue;
        TRY(param_store_entry(s, e, &entry));
        TRY(device_upload(s->dev, param_store_data(s, entry), e->data, (size_t)entry->bytes));
    }
    s->upload_version = ++s->version;
    return OK;
}

status param_store_download(param_store *s, graph *g)
{
    for (int64_t i = 0; i < g->edge_count; i++) {
        edge *e = &g->edges[i];
        const store_entry *entry;
        if (!is_kept(e)) continue;
        TRY(param_store_entry(s, e, &entry));
        TRY(device_download(s->dev, e->data, param_store_data(s, entry), (size_t)entry->bytes));
    }
    return OK;
}

float *param_store_weights(param_store *s) { return s->blocks[BLOCK_WEIGHTS].data; }

float *param_store_gradients(param_store *s) { return s->gradients.data; }

int64_t param_store_count(const param_store *s)
{
    return s->layout.bytes[BLOCK_WEIGHTS] / (int64_t)dtype_bytes(s->layout.type);
}

int32_t param_store_segments(const param_store *s) { return s->layout.segments; }

const param_info *param_store_info(const param_store *s, int32_t i)
{
    if (i < 0 || i >= s->layout.segments) BUG("segment %d of %d", i, s->layout.segments);
    return &s->layout.info[i];
}

float *param_store_state(param_store *s, int64_t *count)
{
    *count = s->layout.bytes[BLOCK_STATE] / (int64_t)dtype_bytes(s->layout.type);
    return s->blocks[BLOCK_STATE].data;
}

void param_store_changed(param_store *s) { s->version++; }
