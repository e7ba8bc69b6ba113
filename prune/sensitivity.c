/* How much the features in front of the last layer would change without a channel, to first order.
 *
 * A channel acts through the columns of the weights that read it. With those of one weight times (1 - t) the features move by
 * -t sum w df/dw. Its square, summed over features, is estimated with random directions v (Hutchinson): E (sum w d(v'f)/dw)^2, which one backward
 * pass gives for all channels at once. First-order Taylor importance (Molchanov and others, Importance estimation for neural network
 * pruning, CVPR 2019, eq. 7) with features in the place of the loss: a fitted network's loss on its own training images has next to no
 * gradient, and no labels are needed. Where several weights read a channel (a residual trunk) their changes are added as sizes, the most that
 * they can come to: that they cancel now does not say that they will when the layers between are cut and fitted anew. Against a target the
 * squared change is divided by the parameters or products saved. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/graph/transform.h"
#include "prune/channels.h"

enum { DRAWS = 64, MOST_PER_BATCH = 8 }; /* directions in all: a score is good to about a sixth */

/* The graph with scalar outputs v'f, the store and plan that give their gradients. */
typedef struct probe {
    graph graph;
    edge_id direction[GRAPH_MAX_OUTPUTS];
    const char *reader[GRAPH_MAX_OUTPUTS];   /* parameter that reads f v: its gradient is f v          */
    edge_id features[GRAPH_MAX_OUTPUTS];     /* of the source                                          */
    int32_t direction_count;
    param_store *store;
    plan *plan;
    float *gradients; /* [store] */
    float *random;    /* the largest direction */
} probe;

/* scalar = sum over images, pixels, channels of f v; v [n, (1, 1,) c]. */
static status add_scalar(probe *p, int32_t k, edge_id *scalar)
{
    graph *g = &p->graph;
    char name[64];
    edge_id f = features_behind(g, g->outputs[k]), x, ones;
    shape s = g->edges[f].shape;
    int64_t channels = s.dim[s.rank - 1], total = shape_count(s);
    snprintf(name, sizeof name, "direction.%d", (int)k);
    edge_id v = graph_input(g, name, DTYPE_F32, s.rank == 4 ? shape_4(s.dim[0], 1, 1, channels) : s);
    if (v == EDGE_NONE) return FAIL_MEMORY(total * 4);
    TRY(graph_add(g, &op_mul, arena_printf(&g->memory, "%s/product", name), &(binary_attr){0}, (edge_id[]){f, v}, 2, -1, &x));
    const reshape_attr flat = {.rank = 2, .dim = {1, total}};
    TRY(graph_add(g, &op_reshape, arena_printf(&g->memory, "%s/flat", name), &flat, &x, 1, -1, &x));
    ones = graph_edge(g, arena_printf(&g->memory, "%s/ones", name), EDGE_PARAM, DTYPE_F32, shape_4(1, 1, 1, total));
    if (ones == EDGE_NONE) return FAIL_MEMORY(total * 4);
    p->reader[p->direction_count] = g->edges[ones].name;
    for (int64_t i = 0; i < total; i++) ((float *)g->edges[ones].data)[i] = 1;
    TRY(graph_add(g, &op_linear, arena_printf(&g->memory, "%s/sum", name), &(linear_attr){0}, (edge_id[]){x, ones, EDGE_NONE}, 3, -1, scalar));
    p->direction[p->direction_count++] = v;
    return OK;
}

static status probe_build(probe *p, const graph *src, int64_t batch)
{
    graph plain = {0};
    edge_id scalar[GRAPH_MAX_OUTPUTS];
    status result = OK;
    TRY_OUT(pass_inference(&plain, src));
    TRY_OUT(graph_resize_batch(&plain, batch));
    TRY_OUT(pass_lower(&p->graph, &plain, false));
    graph *g = &p->graph;
    for (edge_id e = 0; e < g->edge_count; e++) g->edges[e].frozen = false;
    for (int32_t k = 0; k < g->output_count; k++) {
        TRY_OUT(add_scalar(p, k, &scalar[k]));
        p->features[k] = features_behind(src, src->outputs[k]);
    }
    memcpy(g->outputs, scalar, sizeof *scalar * (size_t)g->output_count);
    TRY_OUT(graph_backward(g, scalar, g->output_count, NULL, 0, NULL));
out:
    graph_free(&plain);
    return result;
}

static status probe_open(probe *p, const graph *src, const prune_data *data)
{
    int64_t largest = 1;
    TRY(probe_build(p, src, data->batch));
    TRY(param_store_create(&p->store, &p->graph, data->dev, true));
    TRY(plan_create(&p->plan, &p->graph, data->dev, &(plan_options){.store = p->store}));
    for (int32_t k = 0; k < p->direction_count; k++) {
        int64_t count = shape_count(p->graph.edges[p->direction[k]].shape);
        if (count > largest) largest = count;
    }
    p->gradients = malloc((size_t)(param_store_count(p->store) + 1) * sizeof(float));
    p->random = malloc((size_t)largest * sizeof(float));
    return p->gradients && p->random ? OK : FAIL_MEMORY((param_store_count(p->store) + largest) * 4);
}

static void probe_close(probe *p)
{
    plan_destroy(p->plan);
    param_store_destroy(p->store);
    graph_free(&p->graph);
    free(p->gradients);
    free(p->random);
}

static status probe_run(probe *p, device *dev, rng *r)
{
    size_t bytes = (size_t)param_store_count(p->store) * sizeof(float);
    for (int32_t k = 0; k < p->direction_count; k++) {
        int64_t count = shape_count(p->graph.edges[p->direction[k]].shape);
        for (int64_t i = 0; i < count; i++) p->random[i] = rng_normal(r);
        TRY(plan_set_input(p->plan, p->direction[k], p->random, (size_t)count * sizeof(float)));
    }
    TRY(dev->api->zero(dev, param_store_gradients(p->store), bytes, dev->stream));
    TRY(plan_run(p->plan));
    return device_download(dev, p->gradients, param_store_gradients(p->store), bytes);
}

/* square[x] += (sum of w dw over the columns of one class in one weight)^2; x: the first of these columns. moved: zeros, and again on return. */
static void add_weight(channel_map *m, edge_id e, const float *dw, double *moved, double *square)
{
    const float *w = m->g->edges[e].data;
    int64_t columns = m->columns[e], count = shape_count(m->g->edges[e].shape);
    for (int64_t i = 0; i < count; i++) moved[channel_root(m, m->column[e] + i % columns)] += (double)w[i] * dw[i];
    for (int64_t c = 0; c < columns; c++) {
        double *sum = &moved[channel_root(m, m->column[e] + c)];
        square[m->column[e] + c] += *sum * *sum;
        *sum = 0;
    }
}

/* The same for what is asked after: a channel of the features is read by no weight in front of them. */
static void add_features(channel_map *m, edge_id features, const float *product, int64_t count, double *moved, double *square)
{
    shape s = m->g->edges[features].shape;
    int64_t first = m->first[features], channels = s.dim[s.rank - 1];
    for (int64_t i = 0; i < count; i++) moved[channel_root(m, first + i % channels)] += product[i];
    for (int64_t c = 0; c < channels; c++) {
        double *sum = &moved[channel_root(m, first + c)];
        square[first + c] += *sum * *sum;
        *sum = 0;
    }
}

static void add_draw(channel_map *m, const probe *p, double *moved, double *square)
{
    for (int32_t k = 0; k < param_store_segments(p->store); k++) {
        const param_info *info = param_store_info(p->store, k);
        const float *gradient = p->gradients + info->offset;
        edge_id e = graph_find_edge(m->g, info->name);
        if (e != EDGE_NONE && m->column[e] >= 0) add_weight(m, e, gradient, moved, square);
        for (int32_t d = 0; d < p->direction_count; d++)
            if (strcmp(info->name, p->reader[d]) == 0) add_features(m, p->features[d], gradient, info->count, moved, square);
    }
}

/* saved[root]: parameters or products that go with the class, counted in the whole network. */
static void find_savings(channel_map *m, prune_target target, double *saved)
{
    for (int64_t i = 0; i < m->prunable_count; i++) {
        const prunable *p = &m->prunables[i];
        const node *n = &m->g->nodes[p->node];
        double size = target == TARGET_PARAMS ? (double)shape_count(m->g->edges[p->weight].shape)
                                              : n->op->macs ? (double)n->op->macs(m->g, n) : 0;
        for (int64_t r = 0; r < p->rows; r++) saved[channel_root(m, m->first[p->weight] + r)] += size / (double)p->rows;
        if (m->column[p->weight] < 0) continue;
        int64_t columns = m->columns[p->weight];
        for (int64_t c = 0; c < columns; c++) saved[channel_root(m, m->column[p->weight] + c)] += size / (double)columns;
    }
}

/* Of a fraction to keep: squared change per saving. Of a threshold: change as part of the largest. */
static status finish(channel_map *m, prune_target target, const double *square, double *score)
{
    double *saved = ARENA_ARRAY(&m->memory, double, m->element_count), largest = 0;
    if (!saved) return FAIL_MEMORY(m->element_count * 8);
    for (int64_t x = 0; x < m->element_count; x++) score[channel_root(m, x)] += sqrt(square[x]);
    if (target != TARGET_NONE) find_savings(m, target, saved);
    for (int64_t r = 0; r < m->element_count; r++) {
        if (target != TARGET_NONE && saved[r] > 0) score[r] *= score[r] / saved[r];
        if (m->group[r] >= 0 && score[r] > largest) largest = score[r];
    }
    if (!isfinite(largest)) return FAIL(E_DIVERGED, "the network's features, or their gradients, are not finite");
    for (int64_t r = 0; largest > 0 && r < m->element_count; r++) score[r] /= largest;
    return OK;
}

static status score_batch(channel_map *m, probe *p, device *dev, int64_t b, int64_t draws, double *moved, double *square)
{
    rng r = rng_make(0, RNG_PRUNE, (uint64_t)b);
    for (int64_t k = 0; k < draws; k++) {
        TRY(probe_run(p, dev, &r));
        add_draw(m, p, moved, square);
    }
    return OK;
}

status score_sensitivity(channel_map *m, const prune_options *o, const prune_images *images, double **score)
{
    probe p = {0};
    const prune_data *data = o->data;
    double *moved = ARENA_ARRAY(&m->memory, double, m->element_count), *square = ARENA_ARRAY(&m->memory, double, m->element_count);
    *score = ARENA_ARRAY(&m->memory, double, m->element_count);
    if (!moved || !square || !*score) return FAIL_MEMORY(m->element_count * 24);
    int64_t used = images->batches < DRAWS ? images->batches : DRAWS, draws = (DRAWS + used - 1) / used;
    if (draws > MOST_PER_BATCH) draws = MOST_PER_BATCH;
    status result = OK;
    TRY_OUT(probe_open(&p, m->g, data));
    for (int64_t b = 0; b < used; b++) {
        TRY_OUT(plan_set_input(p.plan, p.graph.inputs[0], prune_images_batch(images, b), (size_t)images->each * sizeof(float)));
        TRY_OUT(score_batch(m, &p, data->dev, b, draws, moved, square));
        log_progress(data->log, false, "prune: channels scored on batch %lld/%lld", (long long)b + 1, (long long)used);
    }
    TRY_OUT(finish(m, o->target, square, *score));
out:
    probe_close(&p);
    return result;
}
