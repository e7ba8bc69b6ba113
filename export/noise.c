#include "export/noise.h"

#include <math.h>
#include <stdlib.h>

#include "core/graph/plan.h"
#include "export/quantise.h"

#define NOISE_FREE_DB 200.0

/* Two tensors that should be equal, summed over images. */
typedef struct comparison {
    node_id node;
    edge_id exact, noisy;
    int64_t count;
    double signal, noise;
} comparison;

static double decibel(const comparison *c)
{
    if (c->noise <= 0) return NOISE_FREE_DB;
    return c->signal > 0 ? fmin(NOISE_FREE_DB, 10 * log10(c->signal / c->noise)) : 0;
}

static void compare(comparison *c, const float *exact, const float *noisy)
{
    for (int64_t i = 0; i < c->count; i++) {
        double difference = (double)exact[i] - noisy[i];
        c->signal += (double)exact[i] * exact[i];
        c->noise += difference * difference;
    }
}

static status run(plan *p, edge_id input, const float *image, int64_t size)
{
    TRY(plan_set_input(p, input, image, (size_t)size * sizeof *image));
    return plan_run(p);
}

static status get(plan *p, edge_id e, float *values, int64_t count)
{
    return plan_get(p, e, values, (size_t)count * sizeof *values);
}

/* Calls `one` with the first NOISE_IMAGES images. */
typedef status image_fn(void *context, const float *image);
static status for_images(const calibration_data *data, int64_t size, image_fn *one, void *context)
{
    int64_t seen = 0;
    TRY(data->rewind(data->context));
    while (seen < NOISE_IMAGES) {
        const float *images;
        int64_t count = 0;
        TRY(data->next(data->context, &images, &count));
        if (count == 0) break;
        for (int64_t i = 0; i < count && seen < NOISE_IMAGES; i++, seen++) TRY(one(context, images + i * size));
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ layers */

typedef struct layer_probe {
    plan *plan;
    edge_id input;
    int64_t input_size, count;
    comparison *layers; /* [count] */
    float *exact, *noisy;
} layer_probe;

static status probe_image(void *context, const float *image)
{
    layer_probe *p = context;
    TRY(run(p->plan, p->input, image, p->input_size));
    for (int64_t i = 0; i < p->count; i++) {
        comparison *c = &p->layers[i];
        TRY(get(p->plan, c->exact, p->exact, c->count));
        TRY(get(p->plan, c->noisy, p->noisy, c->count));
        compare(c, p->exact, p->noisy);
    }
    return OK;
}

static status find_twins(layer_probe *p, arena *a, const graph *g, const graph *twins)
{
    int64_t largest = 1;
    p->layers = ARENA_ARRAY(a, comparison, g->node_count);
    if (!p->layers) return FAIL_MEMORY(g->node_count * sizeof *p->layers);
    for (node_id n = 0; n < g->node_count; n++) {
        const char *name = arena_printf(a, "%s/int8", g->nodes[n].name);
        if (!name) return FAIL_MEMORY(64);
        node_id exact = graph_find_node(twins, g->nodes[n].name), noisy = graph_find_node(twins, name);
        if (!quantise_is_layer(g, n) || exact == NODE_NONE || noisy == NODE_NONE) continue;
        int64_t count = shape_count(g->edges[g->nodes[n].out[0]].shape);
        p->layers[p->count++] = (comparison){n, twins->nodes[exact].out[0], twins->nodes[noisy].out[0], count, 0, 0};
        largest = count > largest ? count : largest;
    }
    p->exact = ARENA_ARRAY(a, float, largest);
    p->noisy = ARENA_ARRAY(a, float, largest);
    return p->exact && p->noisy ? OK : FAIL_MEMORY(largest * 8);
}

status noise_layers(double *db, const graph *g, const float *scale, device *dev, const calibration_data *data)
{
    arena a = {0};
    graph twins = {0};
    layer_probe p = {0};
    status result = OK;
    TRY_OUT(quantise_probe_graph(&twins, g, scale));
    TRY_OUT(find_twins(&p, &a, g, &twins));
    p.input = twins.inputs[0];
    p.input_size = shape_count(twins.edges[p.input].shape);
    TRY_OUT(plan_create(&p.plan, &twins, dev, &(plan_options){.keep_activations = true}));
    TRY_OUT(for_images(data, p.input_size, probe_image, &p));
    for (node_id n = 0; n < g->node_count; n++) db[n] = 0;
    for (int64_t i = 0; i < p.count; i++) db[p.layers[i].node] = decibel(&p.layers[i]);
out:
    plan_destroy(p.plan);
    graph_free(&twins);
    arena_free(&a);
    return result;
}

/* ------------------------------------------------------------------------------------------------ networks */

typedef struct network_probe {
    plan *exact_plan, *noisy_plan;
    edge_id exact_input, noisy_input;
    int64_t input_size;
    comparison sum[GRAPH_MAX_OUTPUTS]; /* [count]: heads */
    int32_t count;
    bool inner;                        /* they are not the networks' outputs */
    float *exact, *noisy;
} network_probe;

/* The networks' predictions; returns the elements of the largest. */
static int64_t find_heads(network_probe *p, const graph *g, const graph *quantised)
{
    edge_id exact[GRAPH_MAX_OUTPUTS], noisy[GRAPH_MAX_OUTPUTS];
    int64_t largest = 1;
    p->count = graph_heads(g, exact);
    graph_heads(quantised, noisy);
    p->inner = exact[0] != g->outputs[0];
    for (int32_t k = 0; k < p->count; k++) {
        int64_t count = shape_count(g->edges[exact[k]].shape);
        p->sum[k] = (comparison){.exact = exact[k], .noisy = noisy[k], .count = count};
        largest = count > largest ? count : largest;
    }
    return largest;
}

static const comparison *add_up(network_probe *p)
{
    for (int32_t k = 1; k < p->count; k++) {
        p->sum[0].signal += p->sum[k].signal;
        p->sum[0].noise += p->sum[k].noise;
    }
    return &p->sum[0];
}

static status compare_image(void *context, const float *image)
{
    network_probe *p = context;
    TRY(run(p->exact_plan, p->exact_input, image, p->input_size));
    TRY(run(p->noisy_plan, p->noisy_input, image, p->input_size));
    for (int32_t k = 0; k < p->count; k++) {
        comparison *c = &p->sum[k];
        TRY(get(p->exact_plan, c->exact, p->exact, c->count));
        TRY(get(p->noisy_plan, c->noisy, p->noisy, c->count));
        compare(c, p->exact, p->noisy);
    }
    return OK;
}

status noise_network(double *db, const graph *g, const graph *quantised, device *dev, const calibration_data *data)
{
    arena a = {0};
    network_probe p = {.exact_input = g->inputs[0], .noisy_input = quantised->inputs[0]};
    const int64_t largest = find_heads(&p, g, quantised);
    p.input_size = shape_count(g->edges[g->inputs[0]].shape);
    status result = OK;
    p.exact = ARENA_ARRAY(&a, float, largest);
    p.noisy = ARENA_ARRAY(&a, float, largest);
    if (!p.exact || !p.noisy) TRY_OUT(FAIL_MEMORY(largest * 8));
    TRY_OUT(plan_create(&p.exact_plan, g, dev, &(plan_options){.keep_activations = p.inner}));
    TRY_OUT(plan_create(&p.noisy_plan, quantised, dev, &(plan_options){.keep_activations = p.inner}));
    TRY_OUT(for_images(data, p.input_size, compare_image, &p));
    *db = decibel(add_up(&p));
out:
    plan_destroy(p.exact_plan);
    plan_destroy(p.noisy_plan);
    arena_free(&a);
    return result;
}
