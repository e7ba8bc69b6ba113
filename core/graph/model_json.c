/* A graph as JSON and back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/model.h"
#include "core/ops/op.h"

static const char *const kind_name[] = {
    [EDGE_INPUT] = "input", [EDGE_PARAM] = "param", [EDGE_STATE] = "state", [EDGE_CONST] = "const", NULL};
static const char *const layout_name[] = {
    [LAYOUT_PLAIN] = "plain", [LAYOUT_OIHW] = "oihw", [LAYOUT_LINEAR] = "linear", NULL};
enum { KINDS = EDGE_CONST + 1, LAYOUTS = LAYOUT_LINEAR + 1 };

/* ---------------------------------------------------------------------------------------------------- writing */

static void put_field(json_writer *w, const op_field *f, const char *attr, int32_t i)
{
    const char *at = attr + f->offset;
    switch (f->type) {
    case FIELD_INT32: json_put_int(w, ((const int32_t *)at)[i]); break;
    case FIELD_INT64: json_put_int(w, ((const int64_t *)at)[i]); break;
    case FIELD_FLOAT: json_put_number(w, (double)((const float *)at)[i]); break;
    case FIELD_BOOL: json_put_bool(w, ((const bool *)at)[i]); break;
    case FIELD_ENUM: json_put_string(w, f->choices[((const int32_t *)at)[i]]); break;
    }
}

static void put_attributes(json_writer *w, const node *n)
{
    json_key(w, "attr");
    json_begin_object(w);
    for (const op_field *f = n->op->fields; f && f->name; f++) {
        json_key(w, f->name);
        if (f->count > 1) json_begin_array(w);
        for (int32_t i = 0; i < (f->count > 1 ? f->count : 1); i++) put_field(w, f, n->attr, i);
        if (f->count > 1) json_end_array(w);
    }
    json_end_object(w);
}

static void put_edge(json_writer *w, const edge *e)
{
    json_begin_object(w);
    json_key(w, "name");
    json_put_string(w, e->name);
    json_key(w, "kind");
    json_put_string(w, kind_name[e->kind]);
    json_key(w, "type");
    json_put_string(w, dtype_name(e->type));
    json_key(w, "shape");
    json_begin_array(w);
    for (int32_t i = 0; i < e->shape.rank; i++) json_put_int(w, e->shape.dim[i]);
    json_end_array(w);
    if (e->layout != LAYOUT_PLAIN) {
        json_key(w, "layout");
        json_put_string(w, layout_name[e->layout]);
    }
    if (e->frozen) {
        json_key(w, "frozen");
        json_put_bool(w, true);
    }
    if (e->scale != 0) {
        json_key(w, "scale");
        json_put_number(w, (double)e->scale);
    }
    json_end_object(w);
}

static void put_ids(json_writer *w, const char *key, const edge_id *ids, int32_t count, const int64_t *number)
{
    json_key(w, key);
    json_begin_array(w);
    for (int32_t i = 0; i < count; i++) json_put_int(w, ids[i] < 0 ? -1 : number[ids[i]]);
    json_end_array(w);
}

/* Ids of the file: edges without a producer first, then outputs by node. */
static status number_edges(const graph *g, int64_t *number)
{
    int64_t next = 0;
    for (int64_t i = 0; i < g->edge_count; i++) {
        if (g->edges[i].kind == EDGE_GRAD)
            return FAIL(E_MODEL, "%s: a graph with gradients cannot be saved", g->edges[i].name);
        if (g->edges[i].kind != EDGE_ACTIVATION) number[i] = next++;
    }
    for (int64_t n = 0; n < g->node_count; n++) {
        const node *d = &g->nodes[n];
        if (d->op->internal) return FAIL(E_MODEL, "%s: op %s cannot stand in a model file", d->name, d->op->name);
        for (int32_t i = 0; i < d->out_count; i++) {
            if (d->out[i] < 0) continue;
            if (g->edges[d->out[i]].kind != EDGE_ACTIVATION)
                return FAIL(E_MODEL, "%s updates %s in place: that cannot stand in a model file", d->name,
                    g->edges[d->out[i]].name);
            number[d->out[i]] = next++;
        }
    }
    return OK;
}

status graph_write_json(const graph *g, json_writer *w)
{
    int64_t *number;
    TRY_ALLOC(number, heap_alloc_array(g->edge_count + 1, sizeof *number));
    status result = OK;
    TRY_OUT(number_edges(g, number));
    json_begin_object(w);
    json_key(w, "edges");
    json_begin_array(w);
    for (int64_t i = 0; i < g->edge_count; i++)
        if (g->edges[i].kind != EDGE_ACTIVATION) put_edge(w, &g->edges[i]);
    json_end_array(w);
    json_key(w, "nodes");
    json_begin_array(w);
    for (int64_t i = 0; i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        json_begin_object(w);
        json_key(w, "op");
        json_put_string(w, n->op->name);
        json_key(w, "name");
        json_put_string(w, n->name);
        json_key(w, "block");
        json_put_int(w, n->block);
        put_ids(w, "in", n->in, n->in_count, number);
        put_ids(w, "out", n->out, n->out_count, number);
        put_attributes(w, n);
        json_end_object(w);
    }
    json_end_array(w);
    put_ids(w, "inputs", g->inputs, g->input_count, number);
    put_ids(w, "outputs", g->outputs, g->output_count, number);
    if (g->auxiliary_count > 0) {
        json_key(w, "auxiliary");
        json_put_int(w, g->auxiliary_count);
    }
    json_end_object(w);
out:
    free(number);
    return result;
}

/* ---------------------------------------------------------------------------------------------------- reading */

static int32_t find_choice(const char *const *choices, int32_t count, const char *text)
{
    for (int32_t i = 0; text && i < count; i++)
        if (choices[i] && strcmp(choices[i], text) == 0) return i;
    return -1;
}

/* Every key of `object` must be one of `keys`: what an unknown one means is unknown. */
static status check_keys(const json *object, const char *what, const char *const *keys)
{
    if (!object || object->type != JSON_OBJECT) return FAIL(E_MODEL, "graph: %s is no object", what);
    for (int64_t i = 0; i < object->count; i++) {
        int known = 0;
        for (int k = 0; keys[k] && !known; k++) known = strcmp(keys[k], object->keys[i]) == 0;
        if (!known)
            return FAIL(E_MODEL, "graph: %s has an unknown entry %s: written by a newer graft?", what, object->keys[i]);
    }
    return OK;
}

static status read_edge_facts(const json *object, edge *e)
{
    static const char *const keys[] = {"name", "kind", "type", "shape", "layout", "frozen", "scale", NULL};
    TRY(check_keys(object, "an edge", keys));
    const json *dims = json_get(object, "shape"), *layout = json_get(object, "layout");
    const json *frozen = json_get(object, "frozen"), *scale = json_get(object, "scale");
    double scale_value = 0;
    *e = (edge){.name = json_string(json_get(object, "name"))};
    int32_t kind = find_choice(kind_name, KINDS, json_string(json_get(object, "kind")));
    int32_t order = layout ? find_choice(layout_name, LAYOUTS, json_string(layout)) : LAYOUT_PLAIN;
    if (!e->name || !e->name[0]) return FAIL(E_MODEL, "graph: an edge without a name");
    if (kind < 0) return FAIL(E_MODEL, "graph: %s: kind is none of input, param, state, const", e->name);
    if (order < 0) return FAIL(E_MODEL, "graph: %s: layout is none of plain, oihw, linear", e->name);
    if (!dtype_from_name(json_string(json_get(object, "type")), &e->type))
        return FAIL(E_MODEL, "graph: %s: unknown type", e->name);
    if (!dims || dims->type != JSON_ARRAY || dims->count > SHAPE_MAX_RANK)
        return FAIL(E_MODEL, "graph: %s: shape is no list of at most %d sizes", e->name, SHAPE_MAX_RANK);
    e->kind = (edge_kind)kind;
    e->layout = (param_layout)order;
    e->shape.rank = (int32_t)dims->count;
    for (int32_t i = 0; i < e->shape.rank; i++)
        if (!json_int(json_at(dims, i), &e->shape.dim[i]) || e->shape.dim[i] < 1 || e->shape.dim[i] > INT32_MAX)
            return FAIL(E_MODEL, "graph: %s: a dimension is no size from 1 to 2147483647", e->name);
    if (e->layout != LAYOUT_PLAIN && e->shape.rank != 4)
        return FAIL(E_MODEL, "graph: %s: layout %s needs 4 dimensions", e->name, layout_name[e->layout]);
    if (frozen && !json_bool(frozen, &e->frozen))
        return FAIL(E_MODEL, "graph: %s: frozen is neither true nor false", e->name);
    if (scale && (!json_number(scale, &scale_value) || !(scale_value >= 0 && scale_value <= 1e30)))
        return FAIL(E_MODEL, "graph: %s: scale is no number from 0 to 1e30", e->name);
    e->scale = (float)scale_value;
    return OK;
}

status graph_json_value_bytes(const json *root, int64_t *bytes)
{
    const json *edges = json_get(root, "edges");
    *bytes = 0;
    if (!edges || edges->type != JSON_ARRAY) return FAIL(E_MODEL, "graph: no list of edges");
    for (int64_t i = 0; i < edges->count; i++) {
        edge e;
        int64_t count, size;
        TRY(read_edge_facts(json_at(edges, i), &e));
        if (e.kind == EDGE_INPUT) continue;
        if (!shape_count_checked(e.shape, &count) ||
            __builtin_mul_overflow(count, (int64_t)dtype_bytes(e.type), &size) ||
            __builtin_add_overflow(*bytes, size, bytes))
            return FAIL(E_MODEL, "graph: the shapes of parameters overflow");
    }
    return OK;
}

static status read_edge(graph *g, const json *object)
{
    edge facts;
    TRY(read_edge_facts(object, &facts));
    edge_id e = facts.kind == EDGE_INPUT ? graph_input(g, facts.name, facts.type, facts.shape)
                                         : graph_edge(g, facts.name, facts.kind, facts.type, facts.shape);
    if (e == EDGE_NONE)
        return FAIL(status_code() == E_MEMORY ? E_MEMORY : E_MODEL, "graph: %s: %s", facts.name, status_message());
    g->edges[e].layout = facts.layout;
    g->edges[e].frozen = facts.frozen;
    g->edges[e].scale = facts.scale;
    return OK;
}

static status read_value(const char *node_name, const op_field *f, const json *value, char *attr, int32_t i)
{
    int64_t integer = 0;
    double number = 0;
    bool truth = false, fine = false;
    char *at = attr + f->offset;
    int32_t choices = 0, choice;
    while (f->choices && f->choices[choices]) choices++;
    switch (f->type) {
    case FIELD_INT32:
    case FIELD_INT64:
        fine = json_int(value, &integer) && (double)integer >= f->min && (double)integer <= f->max &&
               (f->type == FIELD_INT64 || (integer >= INT32_MIN && integer <= INT32_MAX));
        if (fine && f->type == FIELD_INT32) ((int32_t *)at)[i] = (int32_t)integer;
        if (fine && f->type == FIELD_INT64) ((int64_t *)at)[i] = integer;
        break;
    case FIELD_FLOAT:
        fine = json_number(value, &number) && number >= f->min && number <= f->max && isfinite((float)number);
        if (fine) ((float *)at)[i] = (float)number;
        break;
    case FIELD_BOOL:
        fine = json_bool(value, &truth);
        if (fine) ((bool *)at)[i] = truth;
        break;
    case FIELD_ENUM:
        choice = find_choice(f->choices, choices, json_string(value));
        fine = choice >= 0;
        if (fine) ((int32_t *)at)[i] = choice;
        break;
    }
    if (fine) return OK;
    if (f->type == FIELD_BOOL || f->type == FIELD_ENUM)
        return FAIL(E_MODEL, "graph: %s: attribute %s is none of its choices", node_name, f->name);
    return FAIL(E_MODEL, "graph: %s: attribute %s: expected %g to %g", node_name, f->name, f->min, f->max);
}

static status read_attributes(const json *object, const op *o, const char *node_name, char *attr)
{
    int64_t fields = 0;
    if (!object || object->type != JSON_OBJECT) return FAIL(E_MODEL, "graph: %s has no attributes", node_name);
    for (const op_field *f = o->fields; f && f->name; f++, fields++) {
        const json *value = json_get(object, f->name);
        if (!value) return FAIL(E_MODEL, "graph: %s: attribute %s is missing", node_name, f->name);
        if (f->count > 1 && (value->type != JSON_ARRAY || value->count != f->count))
            return FAIL(E_MODEL, "graph: %s: attribute %s: expected %d values", node_name, f->name, f->count);
        for (int32_t i = 0; i < (f->count > 1 ? f->count : 1); i++)
            TRY(read_value(node_name, f, f->count > 1 ? json_at(value, i) : value, attr, i));
    }
    if (object->count != fields)
        return FAIL(E_MODEL, "graph: %s (%s) has attributes that are unknown", node_name, o->name);
    return OK;
}

/* Ids of the file and the edges that they have become. */
typedef struct id_map {
    edge_id *edge; /* [capacity] */
    int64_t count, capacity;
} id_map;

static status read_ids(const id_map *map, const json *list, const char *what, int32_t max, bool optional, edge_id *ids,
    int32_t *count)
{
    if (!list || list->type != JSON_ARRAY || list->count > max)
        return FAIL(E_MODEL, "graph: %s: expected a list of at most %d edges", what, max);
    for (int64_t i = 0; i < list->count; i++) {
        int64_t id;
        if (!json_int(json_at(list, i), &id) || id < (optional ? -1 : 0) || id >= map->count)
            return FAIL(E_MODEL, "graph: %s reads an edge that is not made before it", what);
        ids[i] = id < 0 ? EDGE_NONE : map->edge[id];
    }
    *count = (int32_t)list->count;
    return OK;
}

/* Outputs are the next ids in order, or absent. */
static status read_outputs(id_map *map, const json *list, const op *o, const char *name, edge_id *out)
{
    int64_t next = map->count;
    if (!list || list->type != JSON_ARRAY || list->count != o->out_count || list->count > NODE_MAX_OUT)
        return FAIL(E_MODEL, "graph: %s: expected %d outputs", name, o->out_count);
    for (int32_t i = 0; i < o->out_count; i++) {
        int64_t id;
        if (!json_int(json_at(list, i), &id) || (id != -1 && id != next))
            return FAIL(E_MODEL, "graph: %s: its outputs are not the next edges", name);
        out[i] = id < 0 ? EDGE_NONE : EDGE_NEW;
        next += id >= 0;
    }
    return OK;
}

static status read_node(graph *g, id_map *map, const json *object)
{
    static const char *const keys[] = {"op", "name", "block", "in", "out", "attr", NULL};
    enum { ATTR_BYTES = 1024 };
    _Alignas(16) char attr[ATTR_BYTES] = {0};
    TRY(check_keys(object, "a node", keys));
    const char *name = json_string(json_get(object, "name")), *op_name = json_string(json_get(object, "op"));
    if (!name || !name[0] || !op_name) return FAIL(E_MODEL, "graph: a node without name or op");
    const op *o = op_find(op_name);
    if (!o || o->internal) return FAIL(E_MODEL, "graph: %s: unknown op %s: written by a newer graft?", name, op_name);
    if (o->attr_bytes > ATTR_BYTES) BUG("%s has %zu bytes of attributes", o->name, o->attr_bytes);
    edge_id in[NODE_MAX_IN], out[NODE_MAX_OUT];
    int32_t in_count;
    int64_t block;
    TRY(read_ids(map, json_get(object, "in"), name, NODE_MAX_IN, true, in, &in_count));
    TRY(read_outputs(map, json_get(object, "out"), o, name, out));
    TRY(read_attributes(json_get(object, "attr"), o, name, attr));
    if (!json_int(json_get(object, "block"), &block) || block < -1 || block > 1000000)
        return FAIL(E_MODEL, "graph: %s: block: expected -1 to 1000000", name);
    TRY(graph_add_to(g, o, name, attr, in, in_count, (int32_t)block, out));
    for (int32_t i = 0; i < o->out_count; i++)
        if (out[i] >= 0) map->edge[map->count++] = out[i];
    return OK;
}

static status read_graph(graph *g, id_map *map, const json *edges, const json *nodes, const json *root)
{
    edge_id outputs[GRAPH_MAX_OUTPUTS], inputs[GRAPH_MAX_INPUTS];
    int32_t input_count, output_count;
    for (int64_t i = 0; i < edges->count; i++) {
        TRY(read_edge(g, json_at(edges, i)));
        map->edge[map->count++] = (edge_id)(g->edge_count - 1);
    }
    for (int64_t i = 0; i < nodes->count; i++) TRY(read_node(g, map, json_at(nodes, i)));
    TRY(read_ids(map, json_get(root, "inputs"), "the list of inputs", GRAPH_MAX_INPUTS, false, inputs, &input_count));
    TRY(read_ids(
        map, json_get(root, "outputs"), "the list of outputs", GRAPH_MAX_OUTPUTS, false, outputs, &output_count));
    if (input_count != g->input_count || memcmp(inputs, g->inputs, (size_t)input_count * sizeof *inputs) != 0)
        return FAIL(E_MODEL, "graph: the list of inputs does not name the edges of that kind in order");
    if (output_count < 1) return FAIL(E_MODEL, "graph: no output");
    for (int32_t i = 0; i < output_count; i++) TRY(graph_output(g, outputs[i]));
    int64_t auxiliary = 0;
    const json *count = json_get(root, "auxiliary");
    if (count && (!json_int(count, &auxiliary) || auxiliary < 0 || auxiliary >= output_count))
        return FAIL(E_MODEL, "graph: auxiliary: expected less than %d, the number of outputs", output_count);
    g->auxiliary_count = (int32_t)auxiliary;
    return graph_check(g);
}

status graph_read_json(graph *g, const json *root)
{
    static const char *const keys[] = {"edges", "nodes", "inputs", "outputs", "auxiliary", NULL};
    TRY(graph_init(g));
    id_map map = {0};
    status result = OK;
    TRY_OUT(check_keys(root, "the root", keys));
    const json *edges = json_get(root, "edges"), *nodes = json_get(root, "nodes");
    if (!edges || edges->type != JSON_ARRAY || !nodes || nodes->type != JSON_ARRAY)
        TRY_OUT(FAIL(E_MODEL, "graph: edges or nodes are no list"));
    map.capacity = edges->count + nodes->count * NODE_MAX_OUT;
    TRY_ALLOC_OUT(map.edge, heap_alloc_array(map.capacity + 1, sizeof *map.edge));
    TRY_OUT(read_graph(g, &map, edges, nodes, root));
out:
    free(map.edge);
    if (result != OK) graph_free(g);
    return result;
}
