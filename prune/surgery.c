#include <inttypes.h>
#include <string.h>

#include "core/graph/transform.h"
#include "prune/channels.h"

static bool is_value(const edge *e) { return e->kind == EDGE_PARAM || e->kind == EDGE_STATE || e->kind == EDGE_CONST; }

static int64_t count_kept(channel_map *m, const bool *keep, int64_t first, int64_t count)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) kept += keep[channel_root(m, first + i)];
    return kept;
}

/* Rows and the last dimension shrink; the taps of a weight (kh, kw, or the pixels of a flattened map) stay. */
static shape cut_shape(channel_map *m, const bool *keep, edge_id e)
{
    shape s = m->g->edges[e].shape;
    if (s.rank > 1) {
        int64_t taps = m->columns[e] / s.dim[s.rank - 1];
        s.dim[s.rank - 1] = count_kept(m, keep, m->column[e], m->columns[e]) / taps;
    }
    if (s.rank > 0) s.dim[0] = count_kept(m, keep, m->first[e], s.dim[0]);
    return s;
}

static void cut_values(float *dst, const float *src, channel_map *m, const bool *keep, edge_id e)
{
    int64_t rows = m->g->edges[e].shape.rank ? m->g->edges[e].shape.dim[0] : 1;
    int64_t columns = m->column[e] < 0 ? 1 : m->columns[e];
    for (int64_t r = 0; r < rows; r++) {
        if (!keep[channel_root(m, m->first[e] + r)]) continue;
        for (int64_t c = 0; c < columns; c++)
            if (m->column[e] < 0 || keep[channel_root(m, m->column[e] + c)]) *dst++ = src[r * columns + c];
    }
}

static status cut_edge(graph_builder *b, channel_map *m, const bool *keep, edge_id e)
{
    const edge *old = &b->src->edges[e];
    if (old->type != DTYPE_F32) return FAIL(E_MODEL, "%s: only f32 parameters can be pruned", old->name);
    edge_id id = graph_edge(b->dst, old->name, old->kind, old->type, cut_shape(m, keep, e));
    if (id == EDGE_NONE) return FAIL_MEMORY(shape_count(old->shape) * 4);
    edge *cut = &b->dst->edges[id];
    cut->layout = old->layout;
    cut->frozen = old->frozen;
    cut_values(cut->data, old->data, m, keep, e);
    b->map[e] = id;
    return OK;
}

static status cut_node(graph_builder *b, channel_map *m, const bool *keep, node_id i)
{
    const node *n = &b->src->nodes[i];
    for (int32_t k = 0; k < n->in_count; k++) {
        edge_id e = n->in[k];
        if (e == EDGE_NONE || b->map[e] != EDGE_NONE || !is_value(&b->src->edges[e])) continue;
        TRY(cut_edge(b, m, keep, e));
    }
    if (!n->op->cut) return builder_copy_node(b, i);

    edge_id in[NODE_MAX_IN];
    for (int32_t k = 0; k < n->in_count; k++) {
        in[k] = EDGE_NONE;
        if (n->in[k] != EDGE_NONE) TRY(builder_edge(b, n->in[k], &in[k]));
    }
    void *attr = arena_memdup(&b->dst->memory, n->attr, n->op->attr_bytes);
    if (!attr) return FAIL_MEMORY(n->op->attr_bytes);
    n->op->cut(attr, b->dst->edges[in[1]].shape);
    return graph_add(b->dst, n->op, n->name, attr, in, n->in_count, n->block, &b->map[n->out[0]]);
}

status cut_channels(graph *dst, channel_map *m, const bool *keep)
{
    graph_builder b;
    status result = OK;
    TRY(builder_init(&b, dst, m->g));
    for (node_id i = 0; i < m->g->node_count; i++) TRY_OUT(cut_node(&b, m, keep, i));
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    if (result != OK) graph_free(dst);
    return result;
}

status kept_channels(int64_t *kept, int64_t count, channel_map *m, const bool *keep, const char *node_name)
{
    node_id at = graph_find_node(m->g, node_name);
    if (at == NODE_NONE) return FAIL(E_INTERNAL, "'%s' is no node of the network that was pruned", node_name);
    edge_id e = m->g->nodes[at].out[0];
    shape s = m->g->edges[e].shape;
    int64_t found = 0, channels = s.dim[s.rank - 1];
    for (int64_t c = 0; c < channels; c++) {
        if (!keep[channel_root(m, m->first[e] + c)]) continue;
        if (found < count) kept[found] = c;
        found++;
    }
    if (found != count)
        return FAIL(E_INTERNAL, "'%s' kept %" PRId64 " channels, %" PRId64 " expected", node_name, found, count);
    return OK;
}
