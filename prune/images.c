#include "prune/images.h"

#include <stdlib.h>
#include <string.h>

enum { PIXELS_MIN = 4, PIXELS_MAX = 49 };

status prune_images_read(prune_images *x, const prune_data *data, int64_t each_image)
{
    *x = (prune_images){.each = each_image * data->batch};
    size_t bytes = (size_t)(x->each * data->batches) * sizeof *x->values;
    x->values = malloc(bytes);
    if (!x->values) return FAIL_MEMORY(bytes);
    for (bool done = false; x->batches < data->batches;) {
        TRY(data->next_batch(data->context, x->values + x->batches * x->each, &done));
        if (done) break;
        x->batches++;
    }
    return x->batches > 0 ? OK : FAIL(E_DATA, "pruning by what images show needs training images, and there are none");
}

void prune_images_free(prune_images *x)
{
    free(x->values);
    *x = (prune_images){0};
}

static bool is_made(const graph *g, edge_id e)
{
    return e != EDGE_NONE && (g->edges[e].kind == EDGE_ACTIVATION || g->edges[e].kind == EDGE_INPUT);
}

static size_t edge_bytes(const graph *g, edge_id e) { return (size_t)shape_count(g->edges[e].shape) * sizeof(float); }

status walk_init(walk *w, const graph *g, const prune_images *images, int64_t batch, device *dev, int64_t budget)
{
    *w = (walk){.dev = dev, .images = images, .budget = budget};
    TRY(pass_inference(&w->g, g));
    TRY(graph_resize_batch(&w->g, batch));
    if (w->g.input_count != 1) return FAIL(E_MODEL, "only networks with one input can be fitted to images");
    w->last_read = ARENA_ARRAY(&w->memory, node_id, w->g.edge_count);
    w->stored = ARENA_ARRAY(&w->memory, float **, w->g.edge_count);
    if (!w->last_read || !w->stored) return FAIL_MEMORY(w->g.edge_count * 12);
    for (edge_id e = 0; e < w->g.edge_count; e++) w->last_read[e] = NODE_NONE;
    for (node_id n = 0; n < w->g.node_count; n++)
        for (int32_t i = 0; i < w->g.nodes[n].in_count; i++)
            if (w->g.nodes[n].in[i] != EDGE_NONE) w->last_read[w->g.nodes[n].in[i]] = n;
    return OK;
}

static void drop_stored(walk *w, edge_id e)
{
    for (int64_t b = 0; w->stored[e] && b < w->images->batches; b++) free(w->stored[e][b]);
    w->stored[e] = NULL;
}

static void end_leg(walk *w)
{
    plan_destroy(w->plan);
    graph_free(&w->part);
    w->plan = NULL;
    w->part = (graph){0};
}

void walk_free(walk *w)
{
    end_leg(w);
    for (edge_id e = 0; w->stored && e < w->g.edge_count; e++) drop_stored(w, e);
    graph_free(&w->g);
    arena_free(&w->memory);
    *w = (walk){0};
}

/* Edges that nodes behind `until` read: those that the leg makes, and those that stay stored. false: too
 * many to be outputs, or too large. */
static bool find_alive(walk *w)
{
    const graph *g = &w->g;
    int64_t bytes = 0;
    w->alive_count = 0;
    for (edge_id e = 0; e < g->edge_count; e++) {
        if (g->edges[e].kind != EDGE_ACTIVATION || g->edges[e].producer > w->until || w->last_read[e] <= w->until)
            continue;
        bytes += (int64_t)edge_bytes(g, e) * w->images->batches;
        if (w->stored[e]) continue;
        if (w->alive_count + w->wanted_count == GRAPH_MAX_OUTPUTS) return false;
        w->alive[w->alive_count++] = e;
    }
    return bytes <= w->budget;
}

/* What nodes of the leg read and the leg does not make. */
static status find_fed(walk *w)
{
    const graph *g = &w->g;
    w->fed_count = 0;
    for (node_id n = w->at; n <= w->until; n++)
        for (int32_t i = 0; i < g->nodes[n].in_count; i++) {
            edge_id e = g->nodes[n].in[i];
            bool known = !is_made(g, e) || (g->edges[e].kind == EDGE_ACTIVATION && g->edges[e].producer >= w->at);
            for (int32_t k = 0; k < w->fed_count; k++) known = known || w->fed[k] == e;
            if (known) continue;
            if (w->fed_count == GRAPH_MAX_INPUTS)
                return FAIL(E_MODEL, "'%s': too many branches at once", g->nodes[n].name);
            w->fed[w->fed_count++] = e;
        }
    return OK;
}

static status build_part(walk *w)
{
    graph view = w->g, *whole = &w->part; /* view borrows */
    graph_builder b = {0};
    status result = OK;
    view.input_count = w->fed_count;
    memcpy(view.inputs, w->fed, sizeof w->fed);
    view.output_count = 0;
    TRY_OUT(builder_init(&b, whole, &view));
    for (node_id n = w->at; n <= w->until; n++) TRY_OUT(builder_copy_node(&b, n));
    int32_t outputs = 0;
    for (int32_t k = 0; k < w->wanted_count; k++) {
        w->slot[k] = -1;
        const edge *e = &w->g.edges[w->wanted[k]];
        if (e->kind != EDGE_ACTIVATION || e->producer < w->at) continue;
        TRY_OUT(graph_output(whole, b.map[w->wanted[k]]));
        w->slot[k] = outputs++;
    }
    for (int32_t k = 0; w->keeps && k < w->alive_count; k++) TRY_OUT(graph_output(whole, b.map[w->alive[k]]));
    if (whole->output_count == 0) goto out;
    TRY_OUT(graph_apply(whole, pass_remove_dead));
    TRY_OUT(graph_apply(whole, pass_lower_inference));
    TRY_OUT(plan_create(&w->plan, &w->part, w->dev, &(plan_options){0}));
out:
    builder_free(&b);
    return result;
}

static status make_room(walk *w)
{
    for (int32_t k = 0; k < w->alive_count; k++) {
        w->stored[w->alive[k]] = ARENA_ARRAY(&w->memory, float *, w->images->batches);
        if (!w->stored[w->alive[k]]) return FAIL_MEMORY(w->images->batches * 8);
    }
    return OK;
}

status walk_leg(walk *w, node_id until, const edge_id *wanted, int32_t wanted_count)
{
    if (wanted_count > GRAPH_MAX_OUTPUTS) BUG("%d edges wanted", (int)wanted_count);
    memcpy(w->wanted, wanted, sizeof *wanted * (size_t)wanted_count);
    w->wanted_count = wanted_count;
    w->until = until;
    w->keeps = find_alive(w);
    TRY(find_fed(w));
    TRY(build_part(w));
    return w->keeps ? make_room(w) : OK;
}

static const float *known_values(const walk *w, edge_id e)
{
    return w->g.edges[e].kind == EDGE_INPUT ? prune_images_batch(w->images, w->batch) : w->stored[e][w->batch];
}

static status store_alive(walk *w)
{
    int32_t first = 0;
    for (int32_t k = 0; k < w->wanted_count; k++) first += w->slot[k] >= 0;
    for (int32_t k = 0; k < w->alive_count; k++) {
        size_t bytes = edge_bytes(&w->g, w->alive[k]);
        float **place = &w->stored[w->alive[k]][w->batch];
        if (!*place) *place = malloc(bytes);
        if (!*place) return FAIL_MEMORY(bytes);
        TRY(plan_get(w->plan, w->part.outputs[first + k], *place, bytes));
    }
    return OK;
}

status walk_run(walk *w, int64_t b)
{
    w->batch = b;
    if (!w->plan) return OK;
    for (int32_t k = 0; k < w->fed_count; k++) {
        edge_id e = graph_find_edge(&w->part, w->g.edges[w->fed[k]].name);
        if (e != EDGE_NONE) TRY(plan_set_input(w->plan, e, known_values(w, w->fed[k]), edge_bytes(&w->g, w->fed[k])));
    }
    TRY(plan_run(w->plan));
    return w->keeps ? store_alive(w) : OK;
}

status walk_get(walk *w, int32_t k, float *values)
{
    size_t bytes = edge_bytes(&w->g, w->wanted[k]);
    if (w->slot[k] >= 0) return plan_get(w->plan, w->part.outputs[w->slot[k]], values, bytes);
    memcpy(values, known_values(w, w->wanted[k]), bytes);
    return OK;
}

status walk_arrive(walk *w)
{
    end_leg(w);
    if (!w->keeps) return OK;
    w->at = w->until + 1;
    for (edge_id e = 0; e < w->g.edge_count; e++)
        if (w->last_read[e] < w->at) drop_stored(w, e);
    return OK;
}

int64_t prune_pixels(const prune_images *x, int64_t batch, int64_t inputs, int64_t area, int64_t rows_per_input)
{
    int64_t images = x->batches * batch, pixels = (rows_per_input * inputs + images - 1) / images;
    if (pixels < PIXELS_MIN) pixels = PIXELS_MIN;
    if (pixels > PIXELS_MAX) pixels = PIXELS_MAX;
    return pixels < area ? pixels : area;
}

edge_id features_behind(const graph *g, edge_id output)
{
    for (edge_id e = output; g->edges[e].producer != NODE_NONE;) {
        const node *n = &g->nodes[g->edges[e].producer];
        e = n->in[0];
        if (n->op->coupling == COUPLE_WEIGHT) return e;
        if (n->op->coupling == COUPLE_CONCAT || n->op == &op_add || n->op == &op_mul) break;
    }
    return output;
}

status find_passes(const graph *g, edge_id *passes, int32_t *count)
{
    node_id *last_read = malloc((size_t)(g->edge_count + 1) * sizeof *last_read);
    bool *feeds = calloc((size_t)g->edge_count + 1, sizeof *feeds);
    status result = last_read && feeds ? OK : FAIL_MEMORY(g->edge_count * 5);
    int64_t alive = 0;
    *count = 0;
    for (node_id i = 0; result == OK && i < g->node_count; i++)
        for (int32_t k = 0; k < g->nodes[i].in_count; k++) {
            edge_id e = g->nodes[i].in[k];
            if (e != EDGE_NONE) last_read[e] = i, feeds[e] |= k == 0 && g->nodes[i].op->coupling == COUPLE_WEIGHT;
        }
    for (node_id i = 0; result == OK && i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        for (int32_t k = 0; k < n->in_count; k++) {
            edge_id e = n->in[k];
            bool ends = e != EDGE_NONE && g->edges[e].kind == EDGE_ACTIVATION && last_read[e] == i;
            for (int32_t q = 0; q < k; q++) ends &= n->in[q] != e;
            alive -= ends;
        }
        for (int32_t k = 0; k < n->out_count; k++) alive += n->out[k] != EDGE_NONE;
        if (alive == 1 && feeds[n->out[0]]) passes[(*count)++] = n->out[0];
    }
    free(last_read), free(feeds);
    return result;
}

void copy_values(graph *dst, const graph *from)
{
    for (edge_id e = 0; e < from->edge_count; e++) {
        const edge *f = &from->edges[e];
        edge_id own = f->kind == EDGE_PARAM || f->kind == EDGE_STATE ? graph_find_edge(dst, f->name) : EDGE_NONE;
        if (own != EDGE_NONE) memcpy(dst->edges[own].data, f->data, (size_t)shape_count(f->shape) * sizeof(float));
    }
}
