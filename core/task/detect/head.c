#include <stdlib.h>
#include <string.h>

#include "core/graph/init.h"
#include "core/ops/op.h"
#include "core/task/detect/detect.h"
#include "core/task/rows.h"

/* ------------------------------------------------------------------------------------------------ attributes */

static void *attr_of(const node *n, const char *name, field_type type)
{
    for (const op_field *f = n->op->fields; f && f->name; f++)
        if (strcmp(f->name, name) == 0 && f->type == type) return (char *)n->attr + f->offset;
    return NULL;
}

int64_t *detect_attr_int64(const node *n, const char *name) { return attr_of(n, name, FIELD_INT64); }
float *detect_attr_float(const node *n, const char *name) { return attr_of(n, name, FIELD_FLOAT); }

node_id detect_head(const graph *g, int32_t output)
{
    edge_id e = output < g->output_count ? g->outputs[output] : EDGE_NONE;
    node_id n = e == EDGE_NONE ? NODE_NONE : g->edges[e].producer;
    return n != NODE_NONE && g->nodes[n].op->head_in ? n : NODE_NONE;
}

/* ------------------------------------------------------------------------------------------------ layers */

/* A visitor of the nodes that compute the head's scores. each: values of a prediction, which are
 * the classes and perhaps a background. */
typedef status node_fn(graph *g, node_id n, int64_t each, const void *context);

/* Calls the visitor for every node from edge e back to the layers that compute it. A layer ends the way; of layers with
 * the same parameters only the first is visited. seen: [edge_count], parameters of layers before. */
static status visit_behind(graph *g, edge_id e, int64_t each, bool *seen, node_fn *visit, const void *context)
{
    node_id id = g->edges[e].producer;
    if (id == NODE_NONE)
        return FAIL(E_MODEL, "the network's scores are not made by layers: its classes cannot be changed");
    const op *o = g->nodes[id].op;
    bool layer = o == &op_conv2d || o == &op_linear;
    if (!layer && o != &op_reshape && o != &op_concat && o != &op_activation)
        return FAIL(E_MODEL,
            "node '%s' (%s) stands between the network's layers and its scores: its classes cannot be changed",
            g->nodes[id].name, o->name);
    if (layer && seen[g->nodes[id].in[1]]) return OK;
    if (layer) seen[g->nodes[id].in[1]] = true;
    TRY(visit(g, id, each, context));
    for (int32_t i = 0; !layer && i < g->nodes[id].in_count; i++)
        TRY(visit_behind(g, g->nodes[id].in[i], each, seen, visit, context));
    return OK;
}

/* The scores, [n, predictions, each]. */
static edge_id find_scores(const node *head)
{
    for (int32_t i = 0; i < head->in_count; i++)
        if (head->op->class_in >> i & 1) return head->in[i];
    return EDGE_NONE;
}

static status visit_scores(graph *g, int32_t output, node_fn *visit, const void *context)
{
    node_id head = detect_head(g, output);
    const int64_t *classes = head == NODE_NONE ? NULL : detect_attr_int64(&g->nodes[head], "classes");
    edge_id e = classes ? find_scores(&g->nodes[head]) : EDGE_NONE;
    if (e == EDGE_NONE) return FAIL(E_MODEL, "the network ends in no head that counts classes");
    shape s = g->edges[e].shape;
    bool *seen = calloc((size_t)g->edge_count, sizeof *seen);
    if (!seen) return FAIL_MEMORY(g->edge_count);
    status result = visit_behind(g, e, s.dim[s.rank - 1], seen, visit, context);
    free(seen);
    return result;
}

/* A layer's weight and bias; EDGE_NONE for what is absent, and where n is no layer. */
static void layer_params(const graph *g, node_id n, edge_id param[2])
{
    const node *layer = &g->nodes[n];
    bool is_layer = layer->op == &op_conv2d || layer->op == &op_linear;
    for (int32_t i = 0; i < 2; i++) param[i] = is_layer && i + 1 < layer->in_count ? layer->in[i + 1] : EDGE_NONE;
}

/* ---------------------------------------------------------------------------------------------- the row's functions */

typedef struct name_search {
    const char *name;
    bool *found;
} name_search;

static status compare_names(graph *g, node_id n, int64_t each, const void *context)
{
    (void)each;
    const name_search *wanted = context;
    edge_id param[2];
    layer_params(g, n, param);
    for (int i = 0; i < 2; i++)
        if (param[i] != EDGE_NONE && strcmp(g->edges[param[i]].name, wanted->name) == 0) *wanted->found = true;
    return OK;
}

bool detect_is_head(const graph *g, int32_t output, const char *name)
{
    bool found = false;
    if (detect_head(g, output) == NODE_NONE) return false;
    graph *same = (graph *)(uintptr_t)g; /* nothing is changed */
    return visit_scores(same, output, compare_names, &(name_search){name, &found}) == OK && found;
}

typedef struct class_change {
    int64_t now; /* values of a prediction */
    uint64_t seed;
} class_change;

static status change_each(graph *g, node_id n, int64_t each, const void *context)
{
    const class_change *c = context;
    edge_id param[2];
    if (g->nodes[n].op == &op_reshape) {
        reshape_attr *a = g->nodes[n].attr;
        a->dim[a->rank - 1] = a->dim[a->rank - 1] / each * c->now;
    }
    layer_params(g, n, param);
    for (int i = 0; i < 2; i++)
        if (param[i] != EDGE_NONE) TRY(rows_resize(g, param[i], g->edges[param[i]].shape.dim[0] / each * c->now));
    if (param[0] != EDGE_NONE) init_node_params(g, n, c->seed);
    return OK;
}

status detect_fresh_head(graph *g, int64_t classes, uint64_t seed)
{
    node_id head = detect_head(g, 0);
    int64_t *had = head == NODE_NONE ? NULL : detect_attr_int64(&g->nodes[head], "classes");
    edge_id scores = had ? find_scores(&g->nodes[head]) : EDGE_NONE, pixels = graph_find_edge(g, "image");
    if (scores == EDGE_NONE || pixels == EDGE_NONE)
        return FAIL(E_MODEL, "the network ends in no head whose classes can be changed");
    shape s = g->edges[scores].shape;
    TRY(visit_scores(g, 0, change_each, &(class_change){s.dim[s.rank - 1] - *had + classes, seed}));
    *had = classes;
    return graph_resize(g, pixels, g->edges[pixels].shape);
}

typedef struct class_order {
    const int64_t *place;
    int64_t classes;
} class_order;

static status order_each(graph *g, node_id n, int64_t each, const void *context)
{
    const class_order *o = context;
    edge_id param[2];
    status result = OK;
    layer_params(g, n, param);
    for (int i = 0; i < 2 && result == OK; i++) {
        if (param[i] == EDGE_NONE) continue;
        int64_t rows = g->edges[param[i]].shape.dim[0], background = each - o->classes;
        int64_t *row = malloc((size_t)rows * sizeof *row);
        if (!row) return FAIL_MEMORY(rows * sizeof *row);
        for (int64_t r = 0; r < rows; r++) {
            int64_t c = r % each - background;
            row[r] = c < 0 ? r : r - c + o->place[c];
        }
        result = rows_order(g, param[i], row);
        free(row);
    }
    return result;
}

status detect_order_head(graph *g, const int64_t *place)
{
    node_id head = detect_head(g, 0);
    const int64_t *classes = head == NODE_NONE ? NULL : detect_attr_int64(&g->nodes[head], "classes");
    if (!classes) return FAIL(E_MODEL, "the network ends in no head that counts classes");
    return visit_scores(g, 0, order_each, &(class_order){place, *classes});
}
