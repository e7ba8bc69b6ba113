#include "core/graph/graph.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/ops/op.h"

/* ---------------------------------------------------------------------------------------------------- edges */

enum { DIM_LIMIT = INT32_MAX };
#define COUNT_LIMIT ((int64_t)1 << 40) /* what kernels accept */

static status check_shape(const char *name, dtype type, shape s)
{
    char text[128];
    int64_t count = 0;
    bool good = (unsigned)type < DTYPE_COUNT && shape_count_checked(s, &count);
    for (int32_t i = 0; good && i < s.rank; i++) good = s.dim[i] >= 1 && s.dim[i] <= DIM_LIMIT;
    if (good && count <= COUNT_LIMIT) return OK;
    if (s.rank < 0 || s.rank > SHAPE_MAX_RANK)
        return FAIL(E_MODEL, "edge '%s': rank %d is outside [0, %d]", name, s.rank, SHAPE_MAX_RANK);
    shape_text(s, text);
    return FAIL(E_MODEL,
        "edge '%s': shape %s is not one of a tensor: dimensions lie in [1, 2^31), at most 2^40 elements", name, text);
}

static status add_edge(graph *g, const char *name, edge_kind kind, dtype type, shape s, edge_id *e)
{
    if (g->edge_count >= INT32_MAX) return FAIL(E_MODEL, "graph has 2^31 edges: no model needs that");
    TRY(array_reserve((void **)&g->edges, &g->edge_capacity, g->edge_count + 1, sizeof(edge)));
    edge item = {.kind = kind, .type = type, .shape = s, .producer = NODE_NONE, .grad = EDGE_NONE};
    TRY_ALLOC(item.name, arena_strdup(&g->memory, text_printable(&g->memory, name)));
    if (kind == EDGE_PARAM || kind == EDGE_STATE || kind == EDGE_CONST) {
        size_t bytes = (size_t)shape_count(s) * dtype_bytes(type);
        TRY_ALLOC(item.data, arena_alloc(&g->memory, bytes));
    }
    *e = (edge_id)g->edge_count;
    g->edges[g->edge_count++] = item;
    return OK;
}

edge_id graph_edge(graph *g, const char *name, edge_kind kind, dtype type, shape s)
{
    edge_id e;
    for (int32_t i = s.rank < 0 ? 0 : s.rank; i < SHAPE_MAX_RANK; i++) s.dim[i] = 0; /* equal shapes are equal bytes */
    if (check_shape(name, type, s) != OK || add_edge(g, name, kind, type, s, &e) != OK) return EDGE_NONE;
    return e;
}

edge_id graph_input(graph *g, const char *name, dtype type, shape s)
{
    if (g->input_count == GRAPH_MAX_INPUTS) {
        (void)FAIL(E_MODEL, "input '%s': a graph has at most %d inputs", name, GRAPH_MAX_INPUTS);
        return EDGE_NONE;
    }
    edge_id e = graph_edge(g, name, EDGE_INPUT, type, s);
    if (e != EDGE_NONE) g->inputs[g->input_count++] = e;
    return e;
}

status graph_output(graph *g, edge_id e)
{
    if (e < 0 || e >= g->edge_count) return FAIL(E_MODEL, "output %d: there is no edge %d", g->output_count, e);
    if (g->output_count == GRAPH_MAX_OUTPUTS)
        return FAIL(E_MODEL, "output '%s': a graph has at most %d outputs", g->edges[e].name, GRAPH_MAX_OUTPUTS);
    g->outputs[g->output_count++] = e;
    return OK;
}

status graph_output_auxiliary(graph *g, edge_id e)
{
    TRY(graph_output(g, e));
    g->auxiliary_count++;
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- nodes */

static status make_output(graph *g, const node *n, int32_t slot, node_id producer, edge_id *e)
{
    char *name = slot == 0 ? arena_strdup(&g->memory, n->name) : arena_printf(&g->memory, "%s:%d", n->name, slot);
    if (!name) return E_MEMORY;
    TRY(add_edge(g, name, EDGE_ACTIVATION, DTYPE_F32, (shape){0}, e));
    g->edges[*e].producer = producer;
    g->edges[*e].producer_slot = slot;
    return OK;
}

/* Inputs must exist when the node runs: made before it, and not gradients or state in the making elsewhere. */
static status check_inputs(const graph *g, const node *n, int64_t position)
{
    const op *o = n->op;
    if (n->in_count < o->in_min || n->in_count > o->in_max)
        return FAIL(E_MODEL, "node '%s' (%s): %d inputs, expected %d to %d", n->name, o->name, n->in_count, o->in_min,
            o->in_max);
    for (int32_t i = 0; i < n->in_count; i++) {
        edge_id e = n->in[i];
        if (e == EDGE_NONE && i >= o->in_min) continue;
        if (e < 0 || e >= g->edge_count)
            return FAIL(E_MODEL, "node '%s' (%s): input %d is missing (edge %d of %" PRId64 ")", n->name, o->name, i,
                e, g->edge_count);
        if (g->edges[e].producer >= position)
            return FAIL(E_MODEL, "node '%s' (%s): input '%s' is made later, by node %d", n->name, o->name,
                g->edges[e].name, g->edges[e].producer);
    }
    return OK;
}

static status check_outputs(const graph *g, const node *n, node_id id)
{
    const op *o = n->op;
    for (int32_t i = 0; i < o->out_count; i++) {
        edge_id e = n->out[i];
        if (e == EDGE_NONE && i >= o->out_min) continue;
        if (e < 0 || e >= g->edge_count)
            return FAIL(E_MODEL, "node '%s' (%s): output %d is missing", n->name, o->name, i);
        const edge *out = &g->edges[e];
        bool in_place = out->kind == EDGE_STATE || out->kind == EDGE_GRAD;
        if (!in_place && (out->kind != EDGE_ACTIVATION || out->producer != id || out->producer_slot != i))
            return FAIL(E_MODEL, "node '%s' (%s): output %d is edge '%s', which this node does not make", n->name,
                o->name, i, out->name);
    }
    return OK;
}

static status infer_node(graph *g, node *n)
{
    TRY(n->op->infer(g, n));
    for (int32_t i = 0; i < n->out_count; i++) {
        if (n->out[i] == EDGE_NONE) continue;
        const edge *e = &g->edges[n->out[i]];
        if (e->kind == EDGE_ACTIVATION) TRY(check_shape(e->name, e->type, e->shape));
    }
    return OK;
}

static status append_node(graph *g, node *n, const void *attr, edge_id *out)
{
    const op *o = n->op;
    node_id id = (node_id)g->node_count;
    TRY_ALLOC(n->name, arena_strdup(&g->memory, text_printable(&g->memory, n->name)));
    if (o->attr_bytes > 0) {
        if (!attr) return FAIL(E_INTERNAL, "node '%s' (%s): attributes are missing", n->name, o->name);
        TRY(op_check_attr(o, attr, n->name));
        TRY_ALLOC(n->attr, arena_memdup(&g->memory, attr, o->attr_bytes));
    }
    TRY(check_inputs(g, n, id));
    for (int32_t i = 0; i < o->out_count; i++) {
        n->out[i] = out[i];
        if (out[i] == EDGE_NEW) TRY(make_output(g, n, i, id, &n->out[i]));
    }
    TRY(check_outputs(g, n, id));
    TRY(infer_node(g, n));
    TRY(array_reserve((void **)&g->nodes, &g->node_capacity, g->node_count + 1, sizeof(node)));
    g->nodes[g->node_count++] = *n;
    for (int32_t i = 0; i < o->out_count; i++) out[i] = n->out[i];
    return OK;
}

status graph_add_to(graph *g, const struct op *o, const char *name, const void *attr, const edge_id *in,
    int32_t in_count, int32_t block, edge_id *out)
{
    if (in_count < 0 || in_count > NODE_MAX_IN)
        return FAIL(E_MODEL, "node '%s' (%s): %d inputs, expected at most %d", name, o->name, in_count, NODE_MAX_IN);
    if (g->node_count >= INT32_MAX) return FAIL(E_MODEL, "graph has 2^31 nodes: no model needs that");
    node n = {.op = o, .name = name, .in_count = in_count, .out_count = o->out_count, .block = block};
    for (int32_t i = 0; i < NODE_MAX_IN; i++) n.in[i] = i < in_count ? in[i] : EDGE_NONE;
    for (int32_t i = 0; i < NODE_MAX_OUT; i++) n.out[i] = EDGE_NONE;
    int64_t edge_count = g->edge_count;
    status s = append_node(g, &n, attr, out);
    if (s != OK) g->edge_count = edge_count;
    return s;
}

status graph_add(graph *g, const struct op *o, const char *name, const void *attr, const edge_id *in, int32_t in_count,
    int32_t block, edge_id *first_out)
{
    edge_id out[NODE_MAX_OUT];
    for (int32_t i = 0; i < NODE_MAX_OUT; i++) out[i] = i < o->out_min ? EDGE_NEW : EDGE_NONE;
    TRY(graph_add_to(g, o, name, attr, in, in_count, block, out));
    if (first_out) *first_out = out[0];
    return OK;
}

status graph_want_output(graph *g, node_id id, int32_t slot, edge_id *e)
{
    node n = g->nodes[id];
    if (slot < 0 || slot >= n.out_count)
        return FAIL(E_INTERNAL, "node '%s' (%s) has no output %d", n.name, n.op->name, slot);
    if (n.out[slot] == EDGE_NONE) {
        TRY(make_output(g, &n, slot, id, &n.out[slot]));
        TRY(infer_node(g, &n));
        g->nodes[id] = n;
    }
    *e = n.out[slot];
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- queries */

edge_id graph_find_edge(const graph *g, const char *name)
{
    for (edge_id e = 0; e < g->edge_count; e++) {
        edge_kind kind = g->edges[e].kind;
        if (kind != EDGE_ACTIVATION && kind != EDGE_GRAD && strcmp(g->edges[e].name, name) == 0) return e;
    }
    return EDGE_NONE;
}

node_id graph_find_node(const graph *g, const char *name)
{
    for (node_id n = 0; n < g->node_count; n++)
        if (strcmp(g->nodes[n].name, name) == 0) return n;
    return NODE_NONE;
}

int64_t graph_param_count(const graph *g)
{
    int64_t count = 0;
    for (edge_id e = 0; e < g->edge_count; e++)
        if (g->edges[e].kind == EDGE_PARAM) count += shape_count(g->edges[e].shape);
    return count;
}

int64_t graph_macs(const graph *g)
{
    int64_t sum = 0;
    for (node_id n = 0; n < g->node_count; n++) {
        const op *o = g->nodes[n].op;
        if (o->macs && __builtin_add_overflow(sum, o->macs(g, &g->nodes[n]), &sum)) return INT64_MAX;
    }
    return sum;
}

int32_t graph_heads(const graph *g, edge_id heads[GRAPH_MAX_OUTPUTS])
{
    int32_t count = 0;
    for (int32_t k = 0; k < g->output_count; k++) {
        const edge *e = &g->edges[g->outputs[k]];
        const node *n = e->producer == NODE_NONE ? NULL : &g->nodes[e->producer];
        if (!n || !n->op->head_in) {
            if (count < GRAPH_MAX_OUTPUTS) heads[count++] = g->outputs[k];
            continue;
        }
        for (int32_t i = 0; i < n->in_count; i++)
            if (n->op->head_in >> i & 1 && n->in[i] != EDGE_NONE && count < GRAPH_MAX_OUTPUTS)
                heads[count++] = n->in[i];
    }
    return count;
}

int32_t graph_last_block(const graph *g)
{
    int32_t last = -1;
    for (node_id i = 0; i < g->node_count; i++)
        if (g->nodes[i].block > last) last = g->nodes[i].block;
    return last;
}

int32_t graph_consumers(const graph *g, edge_id e)
{
    int32_t count = 0;
    for (node_id n = 0; n < g->node_count; n++) {
        bool reads = false;
        for (int32_t i = 0; i < g->nodes[n].in_count; i++) reads = reads || g->nodes[n].in[i] == e;
        count += reads;
    }
    for (int32_t i = 0; i < g->output_count; i++) {
        if (g->outputs[i] != e) continue;
        count++;
        break;
    }
    return count;
}

/* ---------------------------------------------------------------------------------------------------- whole graphs */

status graph_init(graph *g)
{
    *g = (graph){0};
    return OK;
}

void graph_free(graph *g)
{
    free(g->nodes);
    free(g->edges);
    arena_free(&g->memory);
    *g = (graph){0};
}

/* Gives input e another shape or, with EDGE_NONE, every input another first dimension. */
static status resize(graph *g, edge_id e, shape s, int64_t batch)
{
    size_t bytes = (size_t)g->edge_count * sizeof(edge);
    edge *before;
    TRY_ALLOC(before, heap_alloc(bytes));
    memcpy(before, g->edges, bytes);
    if (e != EDGE_NONE) g->edges[e].shape = s;
    for (int32_t i = 0; e == EDGE_NONE && i < g->input_count; i++)
        if (g->edges[g->inputs[i]].shape.rank > 0) g->edges[g->inputs[i]].shape.dim[0] = batch;
    status result = OK;
    for (node_id n = 0; n < g->node_count && result == OK; n++) result = infer_node(g, &g->nodes[n]);
    if (result != OK) memcpy(g->edges, before, bytes);
    free(before);
    return result;
}

status graph_resize(graph *g, edge_id e, shape s)
{
    if (e < 0 || e >= g->edge_count || g->edges[e].kind != EDGE_INPUT)
        return FAIL(E_INTERNAL, "graph_resize: edge %d is no input", e);
    for (int32_t i = s.rank < 0 ? 0 : s.rank; i < SHAPE_MAX_RANK; i++) s.dim[i] = 0;
    TRY(check_shape(g->edges[e].name, g->edges[e].type, s));
    return resize(g, e, s, 0);
}

status graph_resize_batch(graph *g, int64_t batch)
{
    for (int32_t i = 0; i < g->input_count; i++) {
        shape s = g->edges[g->inputs[i]].shape;
        if (s.rank == 0) continue;
        s.dim[0] = batch;
        TRY(check_shape(g->edges[g->inputs[i]].name, g->edges[g->inputs[i]].type, s));
    }
    return resize(g, EDGE_NONE, (shape){0}, batch);
}

static status copy_edge(graph *dst, const edge *src)
{
    edge e = *src;
    size_t bytes = e.data ? (size_t)shape_count(e.shape) * dtype_bytes(e.type) : 0;
    e.name = arena_strdup(&dst->memory, src->name);
    if (src->data) e.data = arena_memdup(&dst->memory, src->data, bytes);
    if (!e.name || (src->data && !e.data)) return E_MEMORY;
    dst->edges[dst->edge_count++] = e;
    return OK;
}

static status copy_contents(graph *dst, const graph *src)
{
    TRY(array_reserve((void **)&dst->edges, &dst->edge_capacity, src->edge_count, sizeof(edge)));
    TRY(array_reserve((void **)&dst->nodes, &dst->node_capacity, src->node_count, sizeof(node)));
    for (edge_id e = 0; e < src->edge_count; e++) TRY(copy_edge(dst, &src->edges[e]));
    for (node_id i = 0; i < src->node_count; i++) {
        node n = src->nodes[i];
        n.name = arena_strdup(&dst->memory, n.name);
        if (n.attr) n.attr = arena_memdup(&dst->memory, n.attr, n.op->attr_bytes);
        if (!n.name || (n.op->attr_bytes > 0 && !n.attr)) return E_MEMORY;
        dst->nodes[dst->node_count++] = n;
    }
    memcpy(dst->inputs, src->inputs, sizeof dst->inputs);
    memcpy(dst->outputs, src->outputs, sizeof dst->outputs);
    dst->input_count = src->input_count;
    dst->output_count = src->output_count;
    dst->auxiliary_count = src->auxiliary_count;
    return OK;
}

status graph_copy(graph *dst, const graph *src)
{
    TRY(graph_init(dst));
    status s = copy_contents(dst, src);
    if (s != OK) graph_free(dst);
    return s;
}

/* ---------------------------------------------------------------------------------------------------- checking */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *find_twice(const char **names, int64_t count)
{
    qsort(names, (size_t)count, sizeof *names, compare_names);
    for (int64_t i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0) return names[i];
    return NULL;
}

static status check_names(const graph *g)
{
    int64_t count = g->node_count > g->edge_count ? g->node_count : g->edge_count, used = 0;
    const char **names = heap_alloc_array(count + 1, sizeof *names), *twice;
    if (!names) return E_MEMORY;
    for (node_id n = 0; n < g->node_count; n++) names[used++] = g->nodes[n].name;
    twice = find_twice(names, used);
    used = 0;
    for (edge_id e = 0; e < g->edge_count; e++) /* gradients carry their parameter's name */
        if (g->edges[e].kind != EDGE_ACTIVATION && g->edges[e].kind != EDGE_GRAD) names[used++] = g->edges[e].name;
    if (!twice) twice = find_twice(names, used);
    status s = twice ? FAIL(E_MODEL, "name '%s' stands twice in the graph", twice) : OK;
    free(names);
    return s;
}

static status check_edges(const graph *g)
{
    for (edge_id i = 0; i < g->edge_count; i++) {
        const edge *e = &g->edges[i];
        if ((unsigned)e->kind > EDGE_GRAD || (unsigned)e->type >= DTYPE_COUNT || (unsigned)e->layout > LAYOUT_LINEAR ||
            !e->name)
            return FAIL(E_MODEL, "edge %d: unknown kind, type or layout", i);
        TRY(check_shape(e->name, e->type, e->shape));
        if (!(e->scale >= 0.0f && e->scale <= 3.4e38f))
            return FAIL(E_MODEL, "edge '%s': scale %g, expected 0 or above", e->name, (double)e->scale);
        bool valued = e->kind == EDGE_PARAM || e->kind == EDGE_STATE || e->kind == EDGE_CONST;
        if (valued && !e->data) return FAIL(E_MODEL, "edge '%s' has no values", e->name);
        if ((e->kind == EDGE_ACTIVATION) != (e->producer != NODE_NONE) || e->producer < NODE_NONE ||
            e->producer >= g->node_count)
            return FAIL(E_MODEL, "edge '%s': producer %d does not fit", e->name, e->producer);
        if (e->layout == LAYOUT_OIHW && e->shape.rank != 4)
            return FAIL(E_MODEL, "edge '%s': layout oihw needs rank 4", e->name);
        if (e->layout == LAYOUT_LINEAR && e->shape.rank != 4)
            return FAIL(E_MODEL, "edge '%s': layout linear needs rank 4", e->name);
        if (e->grad != EDGE_NONE && (e->grad < 0 || e->grad >= g->edge_count || g->edges[e->grad].kind != EDGE_GRAD))
            return FAIL(E_MODEL, "edge '%s': gradient %d is none", e->name, e->grad);
    }
    return OK;
}

static status check_ports(const graph *g)
{
    if (g->input_count < 0 || g->input_count > GRAPH_MAX_INPUTS || g->output_count < 0 ||
        g->output_count > GRAPH_MAX_OUTPUTS)
        return FAIL(E_MODEL, "%d inputs and %d outputs, expected at most %d and %d", g->input_count, g->output_count,
            GRAPH_MAX_INPUTS, GRAPH_MAX_OUTPUTS);
    for (int32_t i = 0; i < g->input_count; i++)
        if (g->inputs[i] < 0 || g->inputs[i] >= g->edge_count || g->edges[g->inputs[i]].kind != EDGE_INPUT)
            return FAIL(E_MODEL, "input %d is no input edge", i);
    for (int32_t i = 0; i < g->output_count; i++)
        if (g->outputs[i] < 0 || g->outputs[i] >= g->edge_count)
            return FAIL(E_MODEL, "output %d: there is no edge %d", i, g->outputs[i]);
    if (g->auxiliary_count < 0 || (g->auxiliary_count > 0 && g->auxiliary_count >= g->output_count))
        return FAIL(E_MODEL, "%d auxiliary outputs of %d: at least one is none", g->auxiliary_count, g->output_count);
    return OK;
}

/* Infers a node again on the copied edges of `shadow` and compares. */
static status check_node(const graph *g, graph *shadow, node_id id)
{
    node n = g->nodes[id];
    if (!n.op || !n.name) return FAIL(E_MODEL, "node %d has no op or no name", id);
    if (n.out_count != n.op->out_count)
        return FAIL(
            E_MODEL, "node '%s' (%s): %d outputs, expected %d", n.name, n.op->name, n.out_count, n.op->out_count);
    if (n.op->attr_bytes > 0 && !n.attr)
        return FAIL(E_MODEL, "node '%s' (%s): attributes are missing", n.name, n.op->name);
    TRY(op_check_attr(n.op, n.attr, n.name));
    TRY(check_inputs(g, &n, id));
    TRY(check_outputs(g, &n, id));
    TRY(infer_node(shadow, &n));
    for (int32_t i = 0; i < n.out_count; i++) {
        if (n.out[i] == EDGE_NONE) continue;
        const edge *have = &g->edges[n.out[i]], *want = &shadow->edges[n.out[i]];
        char a[128], b[128];
        if (shape_equal(have->shape, want->shape) && have->type == want->type && have->scale == want->scale) continue;
        shape_text(have->shape, a);
        shape_text(want->shape, b);
        return FAIL(E_MODEL, "node '%s' (%s): output %d is %s %s scale %g, expected %s %s scale %g", n.name, n.op->name,
            i, dtype_name(have->type), a, (double)have->scale, dtype_name(want->type), b, (double)want->scale);
    }
    return OK;
}

status graph_check(const graph *g)
{
    TRY(check_edges(g));
    TRY(check_ports(g));
    size_t bytes = (size_t)g->edge_count * sizeof(edge);
    graph shadow = *g;
    TRY_ALLOC(shadow.edges, heap_alloc(bytes + 1));
    if (bytes > 0) memcpy(shadow.edges, g->edges, bytes);
    status s = OK;
    for (node_id n = 0; n < g->node_count && s == OK; n++) s = check_node(g, &shadow, n);
    free(shadow.edges);
    return s == OK ? check_names(g) : s;
}
