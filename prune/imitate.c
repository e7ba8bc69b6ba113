/* The pruned network as a whole learns to compute what the unpruned one does: the features in front of the last layer, and the outputs, on
 * training images whose values are known beforehand. No labels: a few hundred of them say little, while every image shows hundreds of
 * features (Romero and others, FitNets, ICLR 2015; Li and others, Few sample knowledge distillation, CVPR 2020). Adam (Kingma and Ba, ICLR
 * 2015), whose steps do not depend on a network's scales; statistics of batch normalisation stay. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "prune/channels.h"

enum { MATCHES_MAX = GRAPH_MAX_OUTPUTS, ATTEMPTS = 3, MEASURED_MAX = 8 };
static const double RATE = 3e-4, WARMUP = 0.1, FIRST_DECAY = 0.9, SECOND_DECAY = 0.999, EPSILON = 1e-8, TINY = 1e-12;

/* An edge of both networks that should agree. */
typedef struct match {
    edge_id dense, small;  /* of the walk's graph, of the pruned one for inference */
    edge_id target;        /* input of the student: minus what it should be        */
    int64_t count;         /* elements of one batch of the student's               */
    float *negative;       /* [batches, count]                                     */
    double spread;         /* their sum of squares about the channels' means, per batch */
} match;

typedef struct job {
    const prune_options *options;
    const prune_images *images;
    graph inference, student;
    match match[MATCHES_MAX];
    int32_t match_count;
    edge_id error;         /* scalar: sum over matches of the square error as part of the spread */
    param_store *store;
    plan *plan;
    float *weight, *gradient, *first, *second; /* [store] */
    int64_t step;
} job;

static status add_match(job *j, channel_map *m, const bool *keep, walk *dense, edge_id of_dense, edge_id of_small)
{
    for (int32_t k = 0; k < j->match_count; k++)
        if (j->match[k].small == of_small) return OK;
    if (j->match_count == MATCHES_MAX) return OK;
    match *t = &j->match[j->match_count++];
    shape s = j->inference.edges[of_small].shape;
    *t = (match){.dense = of_dense, .small = of_small, .count = shape_count(s)};
    t->negative = malloc((size_t)(t->count * j->images->batches) * sizeof(float));
    float *whole = malloc((size_t)shape_count(dense->g.edges[of_dense].shape) * sizeof *whole);
    int64_t channels = s.dim[s.rank - 1], *kept = malloc((size_t)channels * sizeof *kept);
    status result = t->negative && whole && kept ? OK : FAIL_MEMORY(t->count * j->images->batches * 4);
    if (result == OK) result = kept_channels(kept, channels, m, keep, dense->g.nodes[dense->g.edges[of_dense].producer].name);
    if (result == OK) result = walk_leg(dense, (node_id)dense->g.node_count - 1, &of_dense, 1);
    shape d = dense->g.edges[of_dense].shape;
    int64_t dense_channels = d.dim[d.rank - 1];
    for (int64_t b = 0; result == OK && b < j->images->batches; b++) {
        result = walk_run(dense, b);
        if (result == OK) result = walk_get(dense, 0, whole);
        for (int64_t i = 0; result == OK && i < t->count; i++)
            t->negative[b * t->count + i] = -whole[i / channels * dense_channels + kept[i % channels]];
    }
    walk_leave(dense);
    free(whole), free(kept);
    return result;
}

static status find_spread(match *t, int64_t channels, int64_t batches)
{
    double *sum = calloc((size_t)channels, sizeof *sum), square = 0;
    if (!sum) return FAIL_MEMORY(channels * 8);
    int64_t total = t->count * batches;
    for (int64_t i = 0; i < total; i++) {
        double v = t->negative[i];
        sum[i % channels] += v, square += v * v;
    }
    for (int64_t c = 0; c < channels; c++) square -= sum[c] * sum[c] / (double)(total / channels);
    free(sum);
    t->spread = square / (double)batches;
    return isfinite(square) ? OK : FAIL(E_DIVERGED, "the network's features are not finite");
}

static status find_matches(job *j, channel_map *m, const bool *keep)
{
    walk dense;
    status result = OK;
    TRY_OUT(walk_init(&dense, m->g, j->images, j->options->data->batch, j->options->data->dev, 0));
    for (int32_t k = 0; k < j->inference.output_count; k++) {
        edge_id output = j->inference.outputs[k], of_dense = dense.g.outputs[k];
        TRY_OUT(add_match(j, m, keep, &dense, features_behind(&dense.g, of_dense), features_behind(&j->inference, output)));
        TRY_OUT(add_match(j, m, keep, &dense, of_dense, output));
    }
    for (int32_t k = 0; k < j->match_count; k++) {
        shape s = j->inference.edges[j->match[k].small].shape;
        TRY_OUT(find_spread(&j->match[k], s.dim[s.rank - 1], j->images->batches));
    }
out:
    walk_free(&dense);
    return result;
}

/* sum (x - y)^2 / spread, y an input. */
static status add_error(job *j, match *t, edge_id x, edge_id *sum)
{
    graph *g = &j->student;
    char name[64];
    edge_id scale;
    snprintf(name, sizeof name, "target.%d", (int)(t - j->match));
    t->target = graph_input(g, name, DTYPE_F32, g->edges[x].shape);
    if (t->target == EDGE_NONE) return FAIL_MEMORY(t->count * 4);
    TRY(graph_add(g, &op_add, arena_printf(&g->memory, "%s/difference", name), &(binary_attr){0}, (edge_id[]){x, t->target}, 2, -1, &x));
    TRY(graph_add(g, &op_mul, arena_printf(&g->memory, "%s/square", name), &(binary_attr){0}, (edge_id[]){x, x}, 2, -1, &x));
    const reshape_attr flat = {.rank = 2, .dim = {1, t->count}};
    TRY(graph_add(g, &op_reshape, arena_printf(&g->memory, "%s/flat", name), &flat, &x, 1, -1, &x));
    scale = graph_edge(g, arena_printf(&g->memory, "%s/scale", name), EDGE_CONST, DTYPE_F32, shape_4(1, 1, 1, t->count));
    if (scale == EDGE_NONE) return FAIL_MEMORY(t->count * 4);
    for (int64_t i = 0; i < t->count; i++) ((float *)g->edges[scale].data)[i] = (float)(1 / fmax(t->spread, TINY));
    TRY(graph_add(g, &op_linear, arena_printf(&g->memory, "%s/sum", name), &(linear_attr){0}, (edge_id[]){x, scale, EDGE_NONE}, 3, -1, &x));
    if (*sum == EDGE_NONE) *sum = x;
    else TRY(graph_add(g, &op_add, arena_printf(&g->memory, "%s/total", name), &(binary_attr){0}, (edge_id[]){*sum, x}, 2, -1, sum));
    return OK;
}

/* Its outputs are the matched edges first, then only the error. */
static status build_student(job *j)
{
    graph *g = &j->student;
    graph matched = j->inference; /* borrows */
    edge_id x[MATCHES_MAX];
    matched.output_count = j->match_count;
    for (int32_t k = 0; k < j->match_count; k++) matched.outputs[k] = j->match[k].small;
    TRY(pass_lower(g, &matched, false));
    memcpy(x, g->outputs, sizeof *x * (size_t)j->match_count);
    j->error = EDGE_NONE;
    for (int32_t k = 0; k < j->match_count; k++) TRY(add_error(j, &j->match[k], x[k], &j->error));
    g->outputs[0] = j->error, g->output_count = 1;
    TRY(graph_backward(g, &j->error, 1, NULL, 0, NULL));
    TRY(param_store_create(&j->store, g, j->options->data->dev, true));
    TRY(plan_create(&j->plan, g, j->options->data->dev, &(plan_options){.store = j->store}));
    int64_t count = param_store_count(j->store);
    j->weight = malloc((size_t)count * 4), j->gradient = malloc((size_t)count * 4);
    j->first = calloc((size_t)count, 4), j->second = calloc((size_t)count, 4);
    if (!j->weight || !j->gradient || !j->first || !j->second) return FAIL_MEMORY(count * 16);
    device *dev = j->options->data->dev;
    return device_download(dev, j->weight, param_store_weights(j->store), (size_t)count * 4);
}

static status run_batch(job *j, int64_t b, double *error)
{
    const graph *g = &j->student;
    float value;
    for (int32_t k = 0; k < j->match_count; k++) {
        const match *t = &j->match[k];
        TRY(plan_set_input(j->plan, t->target, t->negative + b * t->count, (size_t)t->count * sizeof(float)));
    }
    TRY(plan_set_input(j->plan, g->inputs[0], prune_images_batch(j->images, b), (size_t)j->images->each * sizeof(float)));
    TRY(plan_run(j->plan));
    TRY(plan_get(j->plan, j->error, &value, sizeof value));
    *error += value;
    return OK;
}

/* Kingma and Ba, algorithm 1. */
static status update(job *j, double rate)
{
    device *dev = j->options->data->dev;
    int64_t count = param_store_count(j->store);
    size_t bytes = (size_t)count * sizeof(float);
    TRY(device_download(dev, j->gradient, param_store_gradients(j->store), bytes));
    j->step++;
    double first_part = 1 - pow(FIRST_DECAY, (double)j->step), second_part = 1 - pow(SECOND_DECAY, (double)j->step);
    for (int64_t i = 0; i < count; i++) {
        double d = j->gradient[i];
        j->first[i] = (float)(FIRST_DECAY * j->first[i] + (1 - FIRST_DECAY) * d);
        j->second[i] = (float)(SECOND_DECAY * j->second[i] + (1 - SECOND_DECAY) * d * d);
        j->weight[i] -= (float)(rate * (j->first[i] / first_part) / (sqrt(j->second[i] / second_part) + EPSILON));
    }
    TRY(device_upload(dev, param_store_weights(j->store), j->weight, bytes));
    param_store_changed(j->store);
    return dev->api->zero(dev, param_store_gradients(j->store), bytes, dev->stream);
}

/* Up along a line, down along half a cosine. */
static double rate_at(double rate, double progress)
{
    if (progress < WARMUP) return rate * (progress + 1e-3) / WARMUP;
    return rate * 0.5 * (1 + cos(3.14159265358979 * (progress - WARMUP) / (1 - WARMUP)));
}

/* Back to the weights at hand, and nothing remembered. */
static status restart(job *j, const float *weight)
{
    device *dev = j->options->data->dev;
    size_t bytes = (size_t)param_store_count(j->store) * sizeof(float);
    memcpy(j->weight, weight, bytes);
    memset(j->first, 0, bytes), memset(j->second, 0, bytes);
    j->step = 0;
    TRY(device_upload(dev, param_store_weights(j->store), j->weight, bytes));
    param_store_changed(j->store);
    return dev->api->zero(dev, param_store_gradients(j->store), bytes, dev->stream);
}

static status measure(job *j, double *error)
{
    int64_t batches = j->images->batches < MEASURED_MAX ? j->images->batches : MEASURED_MAX;
    double sum = 0;
    for (int64_t b = 0; b < batches; b++) TRY(run_batch(j, b, &sum));
    *error = sum / (double)(batches * j->match_count);
    return OK;
}

static status learn(job *j, double rate, int64_t *order)
{
    int64_t batches = j->images->batches, epochs = j->options->imitate_epochs;
    for (int64_t e = 0; e < epochs; e++) {
        rng r = rng_make(2, RNG_PRUNE, (uint64_t)e);
        double sum = 0;
        for (int64_t b = 0; b < batches; b++) order[b] = b;
        rng_shuffle(&r, order, batches);
        for (int64_t b = 0; b < batches; b++) {
            TRY(run_batch(j, order[b], &sum));
            TRY(update(j, rate_at(rate, (double)(e * batches + b) / (double)(epochs * batches))));
        }
        log_progress(j->options->data->log, false, "prune: imitation %lld/%lld, error %.4f of the variance", (long long)e + 1,
            (long long)epochs, sum / (double)(batches * j->match_count));
    }
    return OK;
}

/* The rate that suits most is too high for some: then a third of it, from the start again. Whatever comes, nothing is kept that is worse. */
static status learn_safely(job *j, double *error)
{
    size_t bytes = (size_t)param_store_count(j->store) * sizeof(float);
    int64_t *order = malloc((size_t)j->images->batches * sizeof *order);
    float *start = malloc(bytes);
    status result = start && order ? OK : FAIL_MEMORY(bytes);
    if (result != OK) goto out;
    memcpy(start, j->weight, bytes);
    TRY_OUT(measure(j, &error[0]));
    for (int32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        TRY_OUT(restart(j, start));
        TRY_OUT(learn(j, RATE * pow(3, -attempt), order));
        TRY_OUT(measure(j, &error[1]));
        if (error[1] < error[0]) goto out;
        log_verbose(j->options->data->log, "    imitation made it worse: %.4f -> %.4f", error[0], error[1]);
    }
    error[1] = error[0];
    result = restart(j, start);
out:
    free(start), free(order);
    return result;
}

status imitate(graph *g, channel_map *m, const bool *keep, const prune_options *o, const prune_images *images, double *error)
{
    job j = {.options = o, .images = images};
    status result = OK;
    TRY_OUT(pass_inference(&j.inference, g));
    TRY_OUT(graph_resize_batch(&j.inference, o->data->batch));
    TRY_OUT(find_matches(&j, m, keep));
    TRY_OUT(build_student(&j));
    TRY_OUT(learn_safely(&j, error));
    TRY_OUT(param_store_download(j.store, &j.student));
    take_values(g, &j.student);
out:
    plan_destroy(j.plan);
    param_store_destroy(j.store);
    graph_free(&j.inference), graph_free(&j.student);
    for (int32_t k = 0; k < j.match_count; k++) free(j.match[k].negative);
    free(j.weight), free(j.gradient), free(j.first), free(j.second);
    return result;
}
