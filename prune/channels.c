#include "prune/channels.h"

#include <string.h>

#include "core/ops/op.h"

int64_t channel_root(channel_map *m, int64_t element)
{
    while (m->parent[element] != element) {
        m->parent[element] = m->parent[m->parent[element]];
        element = m->parent[element];
    }
    return element;
}

/* The smaller element becomes the root, so that numbering follows the graph and not the order of unions. */
static void unite(channel_map *m, int64_t a, int64_t b)
{
    a = channel_root(m, a), b = channel_root(m, b);
    if (a == b) return;
    int64_t root = a < b ? a : b, child = a < b ? b : a;
    m->parent[child] = root;
    if (!m->pinned[root]) m->pinned[root] = m->pinned[child];
}

static void unite_ranges(channel_map *m, int64_t a, int64_t b, int64_t count)
{
    for (int64_t i = 0; i < count; i++) unite(m, a + i, b + i);
}

static void pin_range(channel_map *m, int64_t first, int64_t count, const char *why)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t root = channel_root(m, first + i);
        if (!m->pinned[root]) m->pinned[root] = why;
    }
}

static bool is_value(const edge *e) { return e->kind == EDGE_PARAM || e->kind == EDGE_STATE || e->kind == EDGE_CONST; }

/* Channels of an activation: its last dimension. Rows of a parameter: its first. */
static int64_t channels_of(const edge *e)
{
    if (e->shape.rank == 0) return 1;
    return is_value(e) ? e->shape.dim[0] : e->shape.dim[e->shape.rank - 1];
}

static void pin_edge(channel_map *m, edge_id e, const char *why)
{
    if (e != EDGE_NONE) pin_range(m, m->first[e], channels_of(&m->g->edges[e]), why);
}

static status number_elements(channel_map *m)
{
    const graph *g = m->g;
    m->first = ARENA_ARRAY(&m->memory, int64_t, g->edge_count);
    m->column = ARENA_ARRAY(&m->memory, int64_t, g->edge_count);
    m->columns = ARENA_ARRAY(&m->memory, int64_t, g->edge_count);
    if (!m->first || !m->column || !m->columns) return FAIL_MEMORY(g->edge_count * 24);
    int64_t count = 0;
    for (edge_id e = 0; e < g->edge_count; e++) {
        const edge *ed = &g->edges[e];
        m->first[e] = count;
        count += channels_of(ed);
        m->column[e] = -1;
        if (!is_value(ed) || ed->shape.rank < 2) continue;
        m->column[e] = count;
        m->columns[e] = shape_count(ed->shape) / ed->shape.dim[0];
        count += m->columns[e];
    }
    m->element_count = count;
    m->parent = ARENA_ARRAY(&m->memory, int64_t, count);
    m->pinned = ARENA_ARRAY(&m->memory, const char *, count);
    m->group = ARENA_ARRAY(&m->memory, int32_t, count);
    if (!m->parent || !m->pinned || !m->group) return FAIL_MEMORY(count * 20);
    for (int64_t i = 0; i < count; i++) m->parent[i] = i;
    return OK;
}

/* Every input that has as many channels goes along: activations, bias, gamma, statistics, a fused residual. */
static void unite_inputs(channel_map *m, const node *n, int32_t from)
{
    int64_t out = m->first[n->out[0]], channels = channels_of(&m->g->edges[n->out[0]]);
    for (int32_t k = from; k < n->in_count; k++) {
        edge_id e = n->in[k];
        if (e != EDGE_NONE && channels_of(&m->g->edges[e]) == channels) unite_ranges(m, out, m->first[e], channels);
    }
}

/* Output channels are rows of the weight, input channels its columns; every tap of an input channel is in that
 * channel's class. One row per input channel is a depthwise convolution. */
static void couple_weight(channel_map *m, const node *n)
{
    edge_id src = n->in[0], weight = n->in[1], out = n->out[0];
    const edge *w = &m->g->edges[weight];
    int64_t oc = w->shape.dim[0], ic = channels_of(&m->g->edges[src]), last = w->shape.dim[w->shape.rank - 1];
    bool flat = m->g->edges[src].shape.rank == 2; /* a linear layer behind flatten: its columns are the features */
    bool dense = last == ic || (flat && m->columns[weight] == ic), depthwise = !dense && last == 1 && oc == ic;
    unite_ranges(m, m->first[out], m->first[weight], oc);
    unite_inputs(m, n, 2);
    if (dense) {
        for (int64_t i = 0; i < m->columns[weight]; i++) unite(m, m->first[src] + i % ic, m->column[weight] + i);
    } else if (depthwise) {
        unite_ranges(m, m->first[out], m->first[src], ic);
    } else {
        pin_edge(m, src, "grouped convolution");
        pin_edge(m, out, "grouped convolution");
    }
}

static void couple_concat(channel_map *m, const node *n)
{
    int64_t at = m->first[n->out[0]];
    for (int32_t k = 0; k < n->in_count; k++) {
        int64_t channels = channels_of(&m->g->edges[n->in[k]]);
        unite_ranges(m, at, m->first[n->in[k]], channels);
        at += channels;
    }
}

static void couple_flatten(channel_map *m, const node *n)
{
    int64_t channels = channels_of(&m->g->edges[n->in[0]]), features = channels_of(&m->g->edges[n->out[0]]);
    for (int64_t i = 0; i < features; i++) unite(m, m->first[n->in[0]] + i % channels, m->first[n->out[0]] + i);
}

static void couple_node(channel_map *m, const node *n)
{
    static const char fixed[] = "layer whose channels are fixed";
    switch (n->op->coupling) {
    case COUPLE_SAME: unite_inputs(m, n, 0); break;
    case COUPLE_WEIGHT: couple_weight(m, n); break;
    case COUPLE_CONCAT: couple_concat(m, n); break;
    case COUPLE_FLATTEN: couple_flatten(m, n); break;
    case COUPLE_FIXED:
        for (int32_t k = 0; k < n->in_count; k++) pin_edge(m, n->in[k], fixed);
        for (int32_t k = 0; k < n->out_count; k++) pin_edge(m, n->out[k], fixed);
        break;
    }
}

static bool name_matches(const char *pattern, const char *name)
{
    size_t length = strlen(pattern);
    if (length && pattern[length - 1] == '*') return strncmp(pattern, name, length - 1) == 0;
    return strcmp(pattern, name) == 0;
}

static status find_prunables(channel_map *m)
{
    const graph *g = m->g;
    m->prunables = ARENA_ARRAY(&m->memory, prunable, g->node_count + 1);
    if (!m->prunables) return FAIL_MEMORY(g->node_count * sizeof(prunable));
    for (node_id i = 0; i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        if (n->op->coupling != COUPLE_WEIGHT) continue;
        m->prunables[m->prunable_count++] =
            (prunable){.node = i, .weight = n->in[1], .rows = g->edges[n->in[1]].shape.dim[0]};
    }
    return OK;
}

static status pin_excluded(channel_map *m, const char *const *excluded, int64_t excluded_count)
{
    for (int64_t k = 0; k < excluded_count; k++) {
        bool found = false;
        for (int64_t i = 0; i < m->prunable_count; i++) {
            const prunable *p = &m->prunables[i];
            if (!name_matches(excluded[k], m->g->nodes[p->node].name)) continue;
            found = true;
            pin_range(m, m->first[p->weight], p->rows, "excluded");
        }
        if (!found)
            return FAIL(E_USAGE, "prune.excluded_layers: no prunable layer is called '%s' (graft inspect lists them)",
                excluded[k]);
    }
    return OK;
}

/* Classes with the same member layers are one group. Each class gets a signature, folded
 * from its layers' numbers in order. */
static status number_groups(channel_map *m)
{
    uint64_t *signature = ARENA_ARRAY(&m->memory, uint64_t, m->element_count);
    int64_t *last = ARENA_ARRAY(&m->memory, int64_t, m->element_count);
    uint64_t *seen = ARENA_ARRAY(&m->memory, uint64_t, m->element_count);
    if (!signature || !last || !seen) return FAIL_MEMORY(m->element_count * 24);
    for (int64_t i = 0; i < m->prunable_count; i++)
        for (int64_t row = 0; row < m->prunables[i].rows; row++) {
            int64_t root = channel_root(m, m->first[m->prunables[i].weight] + row);
            if (last[root] == i + 1) continue; /* a layer counts once, however many of its rows meet */
            last[root] = i + 1;
            signature[root] = (signature[root] ^ (uint64_t)(i + 1)) * 0x9E3779B97F4A7C15u + 1;
        }
    for (int64_t r = 0; r < m->element_count; r++) {
        m->group[r] = -1;
        if (!signature[r]) continue;
        int32_t k = m->group_count; /* neighbours mostly share a group: the newest first */
        while (k > 0 && seen[k - 1] != signature[r]) k--;
        if (k == 0) seen[m->group_count++] = signature[r], k = m->group_count;
        m->group[r] = k - 1;
    }
    return OK;
}

status channel_map_init(channel_map *m, const graph *g, const char *const *excluded, int64_t excluded_count)
{
    *m = (channel_map){.g = g};
    TRY(number_elements(m));
    for (node_id i = 0; i < g->node_count; i++) couple_node(m, &g->nodes[i]);
    for (int32_t i = 0; i < g->input_count; i++) pin_edge(m, g->inputs[i], "network input");
    for (int32_t i = 0; i < g->output_count; i++) pin_edge(m, g->outputs[i], "network output");
    TRY(find_prunables(m));
    TRY(pin_excluded(m, excluded, excluded_count));
    return number_groups(m);
}

void channel_map_free(channel_map *m) { arena_free(&m->memory); }
