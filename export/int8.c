/* The INT8 engine: which layers stay integers. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops/op.h"
#include "export/export_steps.h"
#include "export/noise.h"
#include "export/quantise.h"

typedef struct quantiser_state {
    engine *e;
    const export_options *o;
    const graph *g;     /* float                                                        */
    arena memory;
    float *scale;       /* [edge_count]                                                 */
    double *db;         /* [node_count]                                                 */
    bool *keep_float;   /* [node_count]                                                 */
    node_id *node;      /* [e->layer_count]: of each layer                              */
    int64_t *order;     /* [candidates]: layers that may fall back, noisiest first      */
    int64_t candidates;
} quantiser_state;

/* "layer1.*" matches any rest. */
static bool matches(const char *pattern, const char *name)
{
    size_t length = strlen(pattern);
    if (length && pattern[length - 1] == '*') return strncmp(pattern, name, length - 1) == 0;
    return strcmp(pattern, name) == 0;
}

static status apply_float_layers(quantiser_state *s)
{
    for (int64_t k = 0; k < s->o->float_layer_count; k++) {
        bool found = false;
        for (int64_t i = 0; i < s->e->layer_count; i++) {
            engine_layer *l = &s->e->layers[i];
            if (!matches(s->o->float_layers[k], l->name)) continue;
            s->keep_float[s->node[i]] = found = true;
            l->reason = "float_layers";
        }
        if (!found) return FAIL(E_USAGE, "export.float_layers: no layer is called %s", s->o->float_layers[k]);
    }
    return OK;
}

static status state_init(
    quantiser_state *s, engine *e, const graph *g, const export_scales *scales, const export_options *o)
{
    *s = (quantiser_state){.e = e, .o = o, .g = g};
    s->scale = ARENA_ARRAY(&s->memory, float, g->edge_count);
    s->db = ARENA_ARRAY(&s->memory, double, g->node_count);
    s->keep_float = ARENA_ARRAY(&s->memory, bool, g->node_count);
    s->node = ARENA_ARRAY(&s->memory, node_id, e->layer_count);
    s->order = ARENA_ARRAY(&s->memory, int64_t, e->layer_count);
    bool *wanted = ARENA_ARRAY(&s->memory, bool, g->edge_count);
    if (!s->scale || !s->db || !s->keep_float || !s->node || !s->order || !wanted)
        return FAIL_MEMORY(g->edge_count * 16);
    int64_t layer = 0;
    for (node_id n = 0; n < g->node_count; n++) {
        if (quantise_is_layer(g, n)) s->node[layer++] = n;
    }
    TRY(quantise_wanted(g, wanted));
    for (edge_id i = 0; i < g->edge_count; i++) {
        const cache_entry *entry = wanted[i] ? cache_find(&scales->table, g->edges[i].name) : NULL;
        if (entry) s->scale[i] = entry->scale;
    }
    return apply_float_layers(s);
}

/* The candidates, noisiest first; ties in network order. */
static void sort_candidates(quantiser_state *s)
{
    for (int64_t i = 0; i < s->e->layer_count; i++) {
        if (s->keep_float[s->node[i]]) continue;
        int64_t at = s->candidates++;
        while (at > 0 && s->db[s->node[s->order[at - 1]]] > s->db[s->node[i]]) s->order[at] = s->order[at - 1], at--;
        s->order[at] = i;
    }
}

/* Makes e->graph with the `count` noisiest layers in float, and measures it. */
static status quantise_with(quantiser_state *s, int64_t count, double *points)
{
    engine *e = s->e;
    bool *keep = malloc((size_t)s->g->node_count);
    if (!keep) return FAIL_MEMORY(s->g->node_count);
    memcpy(keep, s->keep_float, (size_t)s->g->node_count);
    for (int64_t i = 0; i < count; i++) keep[s->node[s->order[i]]] = true;
    for (int64_t i = 0; i < e->layer_count; i++) {
        e->layers[i].integer = !keep[s->node[i]];
        if (strcmp(e->layers[i].reason, "float_layers") != 0)
            e->layers[i].reason = e->layers[i].integer ? "" : "noisy: back to f32";
    }
    graph_free(&e->graph);
    status result = quantise_graph(&e->graph, s->g, s->scale, keep);
    free(keep);
    if (result == OK && s->o->score) result = export_score(s->o, &e->graph, points);
    return result;
}

/* The least number of float layers that holds max_drop: doubling, then bisection. */
static status fall_back(quantiser_state *s, double points)
{
    const export_options *o = s->o;
    double wanted = s->e->float_score - o->max_drop;
    int64_t failing = 0, passing = -1;
    for (int64_t count = 1; passing < 0; count *= 2) {
        if (count > s->candidates) count = s->candidates;
        double before = points;
        TRY(quantise_with(s, count, &points));
        log_info(o->log, "%" PRId64 " noisiest layers in f32: score %.2f, %.1f %% of the products in INT8", count,
            points, 100 * engine_integer_part(s->e));
        if (points >= wanted) passing = count;
        else if (count == s->candidates || engine_integer_part(s->e) < o->min_integer)
            return FAIL(E_GATE,
                "INT8 loses %.2f points (f32 %.2f, INT8 %.2f), export.max_drop = %g: more calibration images, another "
                "export.calibrator or a higher max_drop may help",
                s->e->float_score - before, s->e->float_score, before, o->max_drop);
        else failing = count;
    }
    while (passing - failing > 1) {
        int64_t middle = (failing + passing) / 2;
        TRY(quantise_with(s, middle, &points));
        if (points >= wanted) passing = middle;
        else failing = middle;
    }
    TRY(quantise_with(s, passing, &points));
    s->e->score = points;
    if (engine_integer_part(s->e) < o->min_integer)
        return FAIL(E_GATE,
            "holding export.max_drop = %g needs %" PRId64
            " layers in f32: only %.0f %% of the multiply-adds stay in INT8, "
            "export.min_int8 = %g",
            o->max_drop, passing, 100 * engine_integer_part(s->e), o->min_integer);
    return OK;
}

static void note_layers(quantiser_state *s)
{
    for (int64_t i = 0; i < s->e->layer_count; i++) {
        engine_layer *l = &s->e->layers[i];
        const node *p = &s->g->nodes[s->node[i]];
        node_id made = graph_find_node(&s->e->graph, p->name);
        const edge *out = made == NODE_NONE ? NULL : &s->e->graph.edges[s->e->graph.nodes[made].out[0]];
        l->sqnr_db = s->db[s->node[i]];
        l->in_scale = l->integer ? s->scale[p->in[0]] : 0;
        l->out_scale = out && out->type == DTYPE_I8 ? out->scale : 0;
    }
}

static status make_integer(quantiser_state *s)
{
    const export_options *o = s->o;
    double points = 0;
    if (o->data) TRY(noise_layers(s->db, s->g, s->scale, o->dev, o->data));
    sort_candidates(s);
    TRY(quantise_with(s, 0, &points));
    if (o->score) {
        s->e->score = points;
        s->e->check_images = o->check_images;
        if (s->e->float_score - points > o->max_drop) TRY(fall_back(s, points));
    }
    note_layers(s);
    return OK;
}

status export_int8(engine *e, const model *m, const export_scales *scales, const export_options *o)
{
    graph g;
    quantiser_state s = {0};
    status result = OK;
    *e = (engine){.precision = ENGINE_INT8};
    TRY(export_float_graph(&g, &m->graph));
    TRY_OUT(export_describe(e, m, &g, o));
    e->precision = ENGINE_INT8;
    e->calibration_images = scales->images;
    if (!(e->calibrator = arena_strdup(&e->memory, scales->calibrator))) TRY_OUT(FAIL_MEMORY(16));
    TRY_OUT(state_init(&s, e, &g, scales, o));
    if (o->score) TRY_OUT(export_score(o, &g, &e->float_score));
    TRY_OUT(make_integer(&s));
out:
    graph_free(&g);
    arena_free(&s.memory);
    if (result != OK) engine_free(e);
    return result;
}
