/* The statistics of one batch are read off the running statistics of a copy whose momentum is 1; their mean over
 * the batches is the new estimate. */
#include <stdlib.h>

#include "core/graph/transform.h"
#include "prune/prune.h"

static void track_last_batch(graph *g)
{
    for (node_id i = 0; i < g->node_count; i++) {
        if (g->nodes[i].op != &op_batchnorm) continue;
        batchnorm_attr *attr = g->nodes[i].attr;
        attr->momentum = 1;
        attr->frozen = false;
    }
}

static int64_t state_count(const graph *g)
{
    int64_t count = 0;
    for (edge_id e = 0; e < g->edge_count; e++)
        if (g->edges[e].kind == EDGE_STATE) count += shape_count(g->edges[e].shape);
    return count;
}

static void add_state(double *sum, const graph *g)
{
    for (edge_id e = 0; e < g->edge_count; e++) {
        if (g->edges[e].kind != EDGE_STATE) continue;
        const float *value = g->edges[e].data;
        for (int64_t i = 0, count = shape_count(g->edges[e].shape); i < count; i++) *sum++ += value[i];
    }
}

/* `from` has the order of the sums; names tell which state of g each is. */
static void set_state(graph *g, const graph *from, const double *sum, int64_t batches)
{
    for (edge_id e = 0; e < from->edge_count; e++) {
        if (from->edges[e].kind != EDGE_STATE) continue;
        edge_id own = graph_find_edge(g, from->edges[e].name);
        if (own == EDGE_NONE) BUG("no state is called %s", from->edges[e].name);
        float *value = g->edges[own].data;
        for (int64_t i = 0, count = shape_count(g->edges[own].shape); i < count; i++)
            value[i] = (float)(*sum++ / (double)batches);
    }
}

static status run_batches(graph *g, plan *p, param_store *store, prune_next_batch *next, void *context, int64_t batches,
    double *sum, int64_t *seen)
{
    edge_id image = g->inputs[0];
    size_t bytes = (size_t)shape_count(g->edges[image].shape) * sizeof(float);
    float *images = malloc(bytes);
    if (!images) return FAIL_MEMORY(bytes);
    status result = OK;
    while (*seen < batches) {
        bool done = false;
        TRY_OUT(next(context, images, &done));
        if (done) break;
        TRY_OUT(plan_set_input(p, image, images, bytes));
        TRY_OUT(plan_run(p));
        TRY_OUT(param_store_download(store, g));
        add_state(sum, g);
        ++*seen;
    }
out:
    free(images);
    return result;
}

status prune_reestimate(graph *g, device *dev, prune_next_batch *next_batch, void *context, int64_t batches)
{
    graph lowered = {0};
    param_store *store = NULL;
    plan *p = NULL;
    status result = OK;
    int64_t seen = 0;
    size_t bytes = (size_t)(state_count(g) + 1) * sizeof(double);
    double *sum = calloc(1, bytes);
    if (!sum) return FAIL_MEMORY(bytes);
    TRY_OUT(pass_inference(&lowered, g));
    track_last_batch(&lowered);
    TRY_OUT(graph_apply(&lowered, pass_lower_training));
    TRY_OUT(param_store_create(&store, &lowered, dev, false));
    TRY_OUT(plan_create(&p, &lowered, dev, &(plan_options){.store = store}));
    TRY_OUT(run_batches(&lowered, p, store, next_batch, context, batches, sum, &seen));
    if (seen) set_state(g, &lowered, sum, seen);
out:
    plan_destroy(p);
    param_store_destroy(store);
    graph_free(&lowered);
    free(sum);
    return result;
}
